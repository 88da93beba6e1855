/** Page walks: none, 32-bit, PAE and 4-level paging. Intel SDM volume 3, chapter 4. Left out, and not in CPUID: PCID, PKU, SMAP and LA57. */
import { CR0, CR2, CR3, CR4, EFER, PDPTE, PAGE_LINES } from './layout'
import { VEC_PF, raise } from './fault'
import { invalidateCode } from './cache'
import { xlReadOnly, physToHost, pageRecord } from './ram'
import { multi } from './sync'

export const ACCESS_READ: u32 = 0, ACCESS_WRITE: u32 = 1, ACCESS_FETCH: u32 = 2
const MAX_PHYSICAL_BITS: u64 = 46
const RESERVED_HIGH: u64 = 0x000fffffffffffff & ~((<u64>1 << MAX_PHYSICAL_BITS) - 1)
const ADDRESS_MASK: u64 = 0x000ffffffffff000

/** The guest-physical address that the last walk() found. */
export let xlPhys: u64 = 0

/** Of the page that walk() found: bit 0 global, bit 1 larger than 4 KiB. */
export let leafFlags: u32 = 0

/** May it be entered into the TLB for writes? */
export let leafWritable: bool = false

/** Walks the page tables. @returns true with xlPhys set, false with #PF pending. */
export function walk(cpu: usize, va: u64, access: u32, user: bool): bool {
  while (true) {
    changed = false
    const found = walkOnce(cpu, va, access, user)
    if (!changed) return found
  }
}
/** Another vCPU has changed an entry between reading it and setting its bits. */
let changed: bool = false

function walkOnce(cpu: usize, va: u64, access: u32, user: bool): bool {
  const cr0 = load<u32>(cpu, CR0)
  leafFlags = 0
  leafWritable = true
  if (!(cr0 & 0x80000000)) {
    xlPhys = va & 0xffffffff
    return true
  }
  const cr4 = load<u32>(cpu, CR4)
  const efer = load<u32>(cpu, EFER)
  const noExecute = (efer & 0x800) != 0
  let us = true, rw = true, nx = false
  let a0: u64 = 0, a1: u64 = 0, a2: u64 = 0 // places of entries whose accessed bit must be set
  let e0: u64 = 0, e1: u64 = 0, e2: u64 = 0 // what was read there
  let entry: u64 = 0
  let leaf: u64 = 0
  let pageMask: u64 = 0xfff
  const wide = (cr4 & 0x20) != 0
  if (wide) {
    let reserved: u64 = RESERVED_HIGH | (noExecute ? 0 : <u64>1 << 63)
    let table: u64
    if (efer & 0x400) {
      a0 = (load<u64>(cpu, CR3) & ADDRESS_MASK) + ((va >> 36) & 0xff8)
      entry = readEntry64(a0)
      if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
      if (entry & (reserved | 0x80)) { pageFault(cpu, va, access, user, true, true); return false }
      us = (entry & 4) != 0; rw = (entry & 2) != 0; nx = (entry >> 63) != 0
      e0 = entry
      a1 = (entry & ADDRESS_MASK) + ((va >> 27) & 0xff8)
      entry = readEntry64(a1)
      if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
      us = us && (entry & 4) != 0; rw = rw && (entry & 2) != 0; nx = nx || (entry >> 63) != 0
      if (entry & 0x80) {
        if (entry & (reserved | 0x3fffe000)) { pageFault(cpu, va, access, user, true, true); return false }
        leaf = a1; a1 = 0; pageMask = 0x3fffffff
      } else if (entry & reserved) { pageFault(cpu, va, access, user, true, true); return false }
      e1 = entry
      table = entry
    } else {
      entry = load<u64>(cpu + ((<usize>va >> 27) & 0x18), PDPTE) // cached, checked and without an accessed bit
      if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
      table = entry
      reserved |= <u64>0x7ff << 52
    }
    if (!leaf) {
      a2 = (table & ADDRESS_MASK) + ((va >> 18) & 0xff8)
      entry = readEntry64(a2)
      if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
      us = us && (entry & 4) != 0; rw = rw && (entry & 2) != 0; nx = nx || (entry >> 63) != 0
      if (entry & 0x80) {
        if (entry & (reserved | 0x1fe000)) { pageFault(cpu, va, access, user, true, true); return false }
        leaf = a2; a2 = 0; pageMask = 0x1fffff
      } else {
        if (entry & reserved) { pageFault(cpu, va, access, user, true, true); return false }
        e2 = entry
        leaf = (entry & ADDRESS_MASK) + ((va >> 9) & 0xff8)
        entry = readEntry64(leaf)
        if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
        if (entry & reserved) { pageFault(cpu, va, access, user, true, true); return false }
        us = us && (entry & 4) != 0; rw = rw && (entry & 2) != 0; nx = nx || (entry >> 63) != 0
      }
    }
    xlPhys = (entry & ADDRESS_MASK & ~pageMask) | (va & pageMask)
  } else {
    a2 = (load<u64>(cpu, CR3) & 0xfffff000) + ((va >> 20) & 0xffc)
    let host = physToHost(a2)
    entry = host ? <u64>load<u32>(host) : 0
    if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
    us = (entry & 4) != 0; rw = (entry & 2) != 0
    if ((entry & 0x80) && (cr4 & 0x10)) {
      if (entry & 0x200000) { pageFault(cpu, va, access, user, true, true); return false } // PSE-36 bits 13..20 extend the address, bit 21 is reserved
      leaf = a2; a2 = 0; pageMask = 0x3fffff
      xlPhys = (entry & 0xffc00000) | ((entry & 0x1fe000) << 19) | (va & pageMask)
    } else {
      e2 = entry
      leaf = (entry & 0xfffff000) + ((va >> 10) & 0xffc)
      host = physToHost(leaf)
      entry = host ? <u64>load<u32>(host) : 0
      if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
      us = us && (entry & 4) != 0; rw = rw && (entry & 2) != 0
      xlPhys = (entry & 0xfffff000) | (va & 0xfff)
    }
  }
  leafWritable = rw || (!user && !(cr0 & 0x10000))
  if ((user && !us) || (access == ACCESS_WRITE && !leafWritable) || (access == ACCESS_FETCH && ((nx && noExecute) || (!user && us && (cr4 & 0x100000) != 0)))) {
    pageFault(cpu, va, access, user, true, false)
    return false
  }
  // Accessed and dirty bits are set only when the whole translation is allowed.
  const physical = xlPhys
  if (a0 && !(e0 & 0x20)) updateEntry(a0, e0, 0x20, wide)
  if (a1 && !(e1 & 0x20)) updateEntry(a1, e1, 0x20, wide)
  if (a2 && !(e2 & 0x20)) updateEntry(a2, e2, 0x20, wide)
  const want: u64 = access == ACCESS_WRITE ? 0x60 : 0x20
  if ((entry & want) != want) updateEntry(leaf, entry, want, wide)
  if (changed) return false
  if (!((entry | want) & 0x40)) leafWritable = false // the write TLB is filled when the dirty bit is set
  xlPhys = physical
  leafFlags = u32((entry & 0x100) != 0 && (cr4 & 0x80) != 0) | (u32(pageMask != 0xfff) << 1)
  return true
}

function readEntry64(physical: u64): u64 {
  const host = physToHost(physical)
  return host ? load<u64>(host) : 0
}

/** Writes a page-table entry back (A/D bits); decoded code on the same line is dropped like by any other store. `changed`: it is not `seen` any more. */
function updateEntry(physical: u64, seen: u64, bits: u64, wide: bool): void {
  const host = physToHost(physical)
  if (!host || xlReadOnly || changed) return
  if (multi) {
    if (wide) changed = atomic.cmpxchg<u64>(host, seen, seen | bits) != seen
    else changed = atomic.cmpxchg<u32>(host, <u32>seen, <u32>(seen | bits)) != <u32>seen
    if (changed) return
  } else if (wide) store<u64>(host, load<u64>(host) | bits)
  else store<u32>(host, load<u32>(host) | <u32>bits)
  if (load<u64>(pageRecord(host), PAGE_LINES)) invalidateCode(host, 8)
}

function pageFault(cpu: usize, va: u64, access: u32, user: bool, present: bool, reserved: bool): void {
  let code: u32 = u32(present) | (u32(access == ACCESS_WRITE) << 1) | (u32(user) << 2) | (u32(reserved) << 3)
  if (access == ACCESS_FETCH) {
    const cr4 = load<u32>(cpu, CR4)
    if (((cr4 & 0x20) && (load<u32>(cpu, EFER) & 0x800)) || (cr4 & 0x100000)) code |= 16
  }
  store<u64>(cpu, va, CR2)
  raise(cpu, VEC_PF, code)
}

const PDPTE_RESERVED: u64 = RESERVED_HIGH | (<u64>0xfff << 52) | 0x1e6

/** Is PAE paging (not 4-level) what these control registers select? */
function paePaging(cpu: usize, cr0: u64, cr4: u64): bool {
  return (cr0 & 0x80000000) != 0 && (cr4 & 0x20) != 0 && !(load<u32>(cpu, EFER) & 0x400)
}

/**
 * Loads the four page-directory pointers, as MOV to CR3 and the paging bits of CR0 and CR4 do (SDM volume 3, 4.4.1).
 * @returns false when a present one has reserved bits: #GP(0), nothing was loaded
 */
export function loadPdptes(cpu: usize, cr0: u64, cr3: u64, cr4: u64): bool {
  if (!paePaging(cpu, cr0, cr4)) return true
  const table = cr3 & 0xffffffe0
  for (let i: u32 = 0; i < 4; i++) {
    const entry = readEntry64(table + i * 8)
    if (entry & 1 && entry & PDPTE_RESERVED) return false
  }
  for (let i: u32 = 0; i < 4; i++) store<u64>(cpu + i * 8, readEntry64(table + i * 8), PDPTE)
  return true
}
