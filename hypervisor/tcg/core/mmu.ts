/**
 * Address translation: page walks (none, 32-bit, PAE, 4-level), the software TLB, guest-physical access.
 * Intel SDM volume 3, chapter 4. PCID, PKU, SMAP and LA57 are not offered by CPUID and not modelled.
 */
import {
  CR0, CR2, CR3, CR4, EFER, CPL, EXCEPTION, ERROR_CODE, RFLAGS, SCRATCH, SEG, SEG_SIZE, SEG_BASE, SEG_LIMIT, SEG_ATTR, SS, MODE, MODE_64,
  TLB_KERNEL_READ, TLB_KERNEL_WRITE, TLB_KERNEL_FETCH, TLB_USER_READ, TLB_USER_WRITE, TLB_USER_FETCH, TLB_BYTES, TLB_HAS_LARGE, JUMP_CACHE,
  JUMP_ENTRIES, PDPTE, CPU_AREA, CPU_STRIDE, G_CPU_COUNT, G_RANGE_COUNT, G_RANGES, RANGE_READ_ONLY, G_PAGE_INFO, G_RAM_BASE, PAGE_BYTES, PAGE_LINES,
  G_STATS, STAT_TLB_FILLS, STAT_TLB_FLUSHES, STAT_MMIO, MSR_APIC_BASE, DR, LAST_DEBUG, UOP_BASE, UOP_INDEX, UOP_SCALE, UOP_DISP, UOP_SEG, UOP_LEN,
  LEN_STACK, AS_SEG, AS_BASE, AS_LEGACY, AS_32, AS_16,
} from './layout'
import { busRead, busWrite } from './imports'
import { ioapicRead, ioapicWrite } from './ioapic'
import { lapicRead, lapicWrite } from './lapic'
import { machineNs, cutBudget } from './time'
import { invalidateCode } from './cache'

export const ACCESS_READ: u32 = 0, ACCESS_WRITE: u32 = 1, ACCESS_FETCH: u32 = 2
export const VEC_DB: i32 = 1, VEC_UD: i32 = 6, VEC_NM: i32 = 7, VEC_DF: i32 = 8, VEC_TS: i32 = 10, VEC_NP: i32 = 11, VEC_SS: i32 = 12, VEC_GP: i32 = 13, VEC_PF: i32 = 14, VEC_AC: i32 = 17
const MAX_PHYSICAL_BITS: u64 = 46
const RESERVED_HIGH: u64 = 0x000fffffffffffff & ~((<u64>1 << MAX_PHYSICAL_BITS) - 1)
const ADDRESS_MASK: u64 = 0x000ffffffffff000
const INVALID: u64 = 0xffffffffffffffff

/** Answer of `translate` and `physToHost`: guest-physical address, and whether the page may not be written or holds decoded code. */
export let xlPhys: u64 = 0
export let xlReadOnly: bool = false
export let xlCode: bool = false
/** 1 when the last translate() failed with an exception, 0 when it hit no RAM (MMIO). */
export let xlFault: bool = false
/** Data breakpoints or alignment checks are on: every access takes the slow path. */
export let slowAccess: bool = false
export function setSlowAccess(on: bool): void { slowAccess = on }

// @ts-ignore: decorator
@inline function stat(index: usize): void {
  store<u64>(G_STATS + index * 8, load<u64>(G_STATS + index * 8) + 1)
}

/** Marks an exception as pending; the run loop delivers it with the RIP of the instruction. */
export function raise(cpu: usize, vector: i32, error: u32): void {
  store<i32>(cpu, vector, EXCEPTION)
  store<u32>(cpu, error, ERROR_CODE)
}

/** @returns the wasm offset of a guest-physical byte, 0 when no RAM is there */
export function physToHost(physical: u64): usize {
  const count = load<u32>(G_RANGE_COUNT)
  for (let i: u32 = 0; i < count; i++) {
    const range: usize = G_RANGES + i * 32
    if (physical < load<u64>(range)) return 0
    if (physical < load<u64>(range, 8)) {
      xlReadOnly = (load<u32>(range, 20) & RANGE_READ_ONLY) != 0
      return <usize>load<u32>(range, 16) + <usize>(physical - load<u64>(range))
    }
  }
  return 0
}

/** Is this page the register window of the vCPU's local APIC? It lies over RAM, too, and moves with IA32_APIC_BASE. */
// @ts-ignore: decorator
@inline function isLapicPage(cpu: usize, physical: u64): bool {
  const base = load<u64>(cpu, MSR_APIC_BASE)
  return physical >> 12 == base >> 12 && (base & 0xc00) == 0x800
}

/** As physToHost, for the accesses of one vCPU. */
function ramBehind(cpu: usize, physical: u64): usize {
  return isLapicPage(cpu, physical) ? 0 : physToHost(physical)
}

// @ts-ignore: decorator
@inline export function pageRecord(host: usize): usize {
  return load<u32>(G_PAGE_INFO) + ((host - load<u32>(G_RAM_BASE)) >> 12) * PAGE_BYTES
}

function readEntry64(physical: u64): u64 {
  const host = physToHost(physical)
  return host ? load<u64>(host) : 0
}

/** Writes a page-table entry back (A/D bits); decoded code on the same line is dropped like by any other store. */
function updateEntry(physical: u64, bits: u64, wide: bool): void {
  const host = physToHost(physical)
  if (!host || xlReadOnly) return
  if (wide) store<u64>(host, load<u64>(host) | bits)
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

let leafFlags: u32 = 0 // bit 0 global, bit 1 larger than 4 KiB
let leafWritable: bool = false

/** Walks the page tables. @returns true with xlPhys set, false with #PF pending. */
function walk(cpu: usize, va: u64, access: u32, user: bool): bool {
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
  let a0: u64 = 0, a1: u64 = 0, a2: u64 = 0, a3: u64 = 0 // entries whose accessed bit must be set
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
      a1 = (entry & ADDRESS_MASK) + ((va >> 27) & 0xff8)
      entry = readEntry64(a1)
      if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
      us = us && (entry & 4) != 0; rw = rw && (entry & 2) != 0; nx = nx || (entry >> 63) != 0
      if (entry & 0x80) {
        if (entry & (reserved | 0x3fffe000)) { pageFault(cpu, va, access, user, true, true); return false }
        leaf = a1; a1 = 0; pageMask = 0x3fffffff
      } else if (entry & reserved) { pageFault(cpu, va, access, user, true, true); return false }
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
        a3 = (entry & ADDRESS_MASK) + ((va >> 9) & 0xff8)
        entry = readEntry64(a3)
        if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
        if (entry & reserved) { pageFault(cpu, va, access, user, true, true); return false }
        us = us && (entry & 4) != 0; rw = rw && (entry & 2) != 0; nx = nx || (entry >> 63) != 0
        leaf = a3; a3 = 0
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
      a3 = (entry & 0xfffff000) + ((va >> 10) & 0xffc)
      host = physToHost(a3)
      entry = host ? <u64>load<u32>(host) : 0
      if (!(entry & 1)) { pageFault(cpu, va, access, user, false, false); return false }
      us = us && (entry & 4) != 0; rw = rw && (entry & 2) != 0
      leaf = a3; a3 = 0
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
  if (a0 && !(readEntryLow(a0) & 0x20)) updateEntry(a0, 0x20, wide)
  if (a1 && !(readEntryLow(a1) & 0x20)) updateEntry(a1, 0x20, wide)
  if (a2 && !(readEntryLow(a2) & 0x20)) updateEntry(a2, 0x20, wide)
  const want: u64 = access == ACCESS_WRITE ? 0x60 : 0x20
  if ((entry & want) != want) updateEntry(leaf, want, wide)
  if (!((entry | want) & 0x40)) leafWritable = false // the write TLB is filled when the dirty bit is set
  xlPhys = physical
  leafFlags = u32((entry & 0x100) != 0 && (cr4 & 0x80) != 0) | (u32(pageMask != 0xfff) << 1)
  return true
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

function readEntryLow(physical: u64): u32 {
  const host = physToHost(physical)
  return host ? load<u32>(host) : 0x60
}

function tlbSet(entry: usize, va: u64, host: usize): void {
  store<u64>(entry, va & ~0xfff)
  store<u32>(entry, <u32>(host - <usize>va), 8)
  store<u32>(entry, leafFlags, 12)
}

/**
 * Translates one linear address and fills the TLB.
 * @returns wasm offset, or 0: then xlFault says whether an exception is pending or xlPhys is no RAM
 */
export function translate(cpu: usize, va: u64, access: u32, user: bool): usize {
  xlFault = false
  xlCode = false
  if (!walk(cpu, va, access, user)) { xlFault = true; return 0 }
  const physical = xlPhys
  const host = ramBehind(cpu, physical)
  if (!host) return 0
  stat(STAT_TLB_FILLS)
  if (leafFlags & 2) store<u32>(cpu, 1, TLB_HAS_LARGE)
  const slot: usize = (<usize>(va >> 8)) & (TLB_BYTES - 16)
  if (access == ACCESS_FETCH) {
    tlbSet(cpu + slot + (user ? TLB_USER_FETCH : TLB_KERNEL_FETCH), va, host)
    return host
  }
  tlbSet(cpu + slot + (user ? TLB_USER_READ : TLB_KERNEL_READ), va, host)
  if (access == ACCESS_WRITE) {
    xlCode = load<u64>(pageRecord(host), PAGE_LINES) != 0
    if (!xlReadOnly && !xlCode && leafWritable) tlbSet(cpu + slot + (user ? TLB_USER_WRITE : TLB_KERNEL_WRITE), va, host)
  }
  return host
}

export function flushTlb(cpu: usize, keepGlobal: bool): void {
  stat(STAT_TLB_FLUSHES)
  if (!keepGlobal) {
    memory.fill(cpu + TLB_KERNEL_READ, 0xff, 6 * TLB_BYTES)
    store<u32>(cpu, 0, TLB_HAS_LARGE)
  } else {
    for (let entry: usize = cpu + TLB_KERNEL_READ, end: usize = entry + 6 * TLB_BYTES; entry < end; entry += 16) {
      if (!(load<u32>(entry, 12) & 1)) store<u64>(entry, INVALID)
    }
  }
  flushJumpCache(cpu)
}

export function flushJumpCache(cpu: usize): void {
  memory.fill(cpu + JUMP_CACHE, 0xff, JUMP_ENTRIES * 16)
}

/** INVLPG: a larger page may sit in many slots, so its whole reach (1 GiB) is dropped. */
export function flushPage(cpu: usize, va: u64): void {
  const slot: usize = (<usize>(va >> 8)) & (TLB_BYTES - 16)
  for (let array: usize = 0; array < 6; array++) {
    const entry: usize = cpu + TLB_KERNEL_READ + array * TLB_BYTES + slot
    if (load<u64>(entry) == (va & ~0xfff)) store<u64>(entry, INVALID)
  }
  if (load<u32>(cpu, TLB_HAS_LARGE)) {
    const reach = va >> 30
    for (let entry: usize = cpu + TLB_KERNEL_READ, end: usize = entry + 6 * TLB_BYTES; entry < end; entry += 16) {
      if ((load<u32>(entry, 12) & 2) && (load<u64>(entry) >> 30) == reach) store<u64>(entry, INVALID)
    }
  }
  flushJumpCache(cpu)
}

/** A page got decoded code: no vCPU may write it through the TLB any more. */
export function dropWriteEntries(host: usize): void {
  const page = host & ~0xfff
  const count = load<u32>(G_CPU_COUNT)
  for (let i: u32 = 0; i < count; i++) {
    const cpu: usize = CPU_AREA + i * CPU_STRIDE
    dropIn(cpu + TLB_KERNEL_WRITE, page)
    dropIn(cpu + TLB_USER_WRITE, page)
  }
}
function dropIn(array: usize, page: usize): void {
  for (let entry = array, end = array + TLB_BYTES; entry < end; entry += 16) {
    const tag = load<u64>(entry)
    if (tag != INVALID && <usize>tag + load<u32>(entry, 8) == page) store<u64>(entry, INVALID)
  }
}

// ---- MMIO ---------------------------------------------------------------------------------------------------------------------
/** Reads 1..8 bytes of guest-physical space outside RAM. */
export function mmioRead(cpu: usize, physical: u64, size: u32): u64 {
  stat(STAT_MMIO)
  const page = physical >> 12
  if (isLapicPage(cpu, physical)) {
    const value: u64 = lapicRead(cpu, <u32>physical & 0xffc, machineNs())
    return value >> ((physical & 3) << 3)
  }
  if (page == 0xfec00) return <u64>ioapicRead(<u32>physical & 0xffc) >> ((physical & 3) << 3)
  if (size == 8) {
    const low: u64 = busRead(0, <u32>physical, <u32>(physical >> 32), 4)
    return low | (<u64>busRead(0, <u32>(physical + 4), <u32>((physical + 4) >> 32), 4) << 32)
  }
  if (size == 1 || size == 2 || size == 4) return busRead(0, <u32>physical, <u32>(physical >> 32), size)
  let value: u64 = 0
  for (let i: u32 = 0; i < size; i++) value |= <u64>busRead(0, <u32>(physical + i), <u32>((physical + i) >> 32), 1) << (i << 3)
  return value
}

export function mmioWrite(cpu: usize, physical: u64, size: u32, value: u64): void {
  stat(STAT_MMIO)
  const page = physical >> 12
  cutBudget() // the write may have raised an interrupt or asked for an exit
  if (isLapicPage(cpu, physical)) {
    if (size >= 4 && !(physical & 3)) lapicWrite(cpu, <u32>physical & 0xffc, <u32>value, machineNs())
    return
  }
  if (page == 0xfec00) {
    if (!(physical & 3)) ioapicWrite(<u32>physical & 0xffc, <u32>value)
    return
  }
  if (size == 8) {
    busWrite(0, <u32>physical, <u32>(physical >> 32), 4, <u32>value)
    busWrite(0, <u32>(physical + 4), <u32>((physical + 4) >> 32), 4, <u32>(value >> 32))
  } else if (size == 1 || size == 2 || size == 4) busWrite(0, <u32>physical, <u32>(physical >> 32), size, <u32>value)
  else for (let i: u32 = 0; i < size; i++) busWrite(0, <u32>(physical + i), <u32>((physical + i) >> 32), 1, <u32>(value >> (i << 3)) & 0xff)
}

// ---- slow paths of guest loads and stores -------------------------------------------------------------------------------------
/** @returns true when the address is usable; else #GP(0) or #SS(0) is pending */
function canonical(cpu: usize, stack: bool, va: u64, size: u32): bool {
  if (load<i32>(cpu, EXCEPTION) >= 0) return false // the address computation already failed
  if (load<u32>(cpu, MODE) != MODE_64) return true
  if (<u64>((<i64>va << 16) >> 16) == va && <u64>((<i64>(va + size - 1) << 16) >> 16) == va + size - 1) return true
  raise(cpu, stack ? VEC_SS : VEC_GP, 0)
  return false
}

/** Address bits that alignment checking wants clear (SDM volume 3, table 6-7). Of 16 bytes and more a processor may check or not: not here. */
function alignmentMask(size: u32): u64 {
  if (size <= 8) return size - 1
  if (size == 10) return 7 // 80-bit real and decimal
  if (size == 28 || size == 108) return 3 // x87 environment and state of 32-bit operand size
  return size == 14 || size == 94 ? 1 : 0 // of 16-bit operand size
}

/**
 * Alignment check and data breakpoints, only while slowAccess is on. #AC goes before #PF: both are of one class in the SDM's table of priorities, within
 * which the order is the implementation's (volume 3, 6.9). Zen 5 has this one, for absent, read-only and page-crossing operands.
 * @returns false with #AC pending
 */
function checkedAccess(cpu: usize, va: u64, size: u32, write: bool, user: bool): bool {
  if (user && (load<u32>(cpu, CR0) & 0x40000) && (load<u32>(cpu, RFLAGS) & 0x40000) && va & alignmentMask(size)) {
    raise(cpu, VEC_AC, 0)
    return false
  }
  const dr7 = load<u32>(cpu, DR + 56)
  if (dr7 & 0xff) {
    for (let i: u32 = 0; i < 4; i++) {
      if (!(dr7 & (3 << (i * 2)))) continue
      const kind = (dr7 >> (16 + i * 4)) & 3
      if (kind != 3 && !(kind == 1 && write)) continue
      const code = (dr7 >> (18 + i * 4)) & 3
      const length: u64 = code == 2 ? 8 : code + 1
      const at = load<u64>(cpu + i * 8, DR) & ~(length - 1)
      if (va < at + length && at < va + size) {
        store<u64>(cpu, load<u64>(cpu, LAST_DEBUG) | (<u64>1 << i), LAST_DEBUG)
        cutBudget()
      }
    }
  }
  return true
}

/** I/O breakpoints of DR7, only with CR4.DE: the trap comes after the instruction. */
export function checkPortBreakpoint(cpu: usize, port: u32, bytes: u32): void {
  const dr7 = load<u32>(cpu, DR + 56)
  if (!(dr7 & 0xff) || !(load<u32>(cpu, CR4) & 8)) return
  for (let i: u32 = 0; i < 4; i++) {
    if (!(dr7 & (3 << (i * 2))) || ((dr7 >> (16 + i * 4)) & 3) != 2) continue
    const length: u64 = ((dr7 >> (18 + i * 4)) & 3) + 1
    const at = load<u64>(cpu + i * 8, DR) & ~(length - 1)
    if (<u64>port < at + length && at < <u64>(port + bytes)) store<u64>(cpu, load<u64>(cpu, LAST_DEBUG) | (<u64>1 << i), LAST_DEBUG)
  }
}

// @ts-ignore: decorator
@inline function isUser(cpu: usize): bool { return load<u32>(cpu, CPL) == 3 }
// @ts-ignore: decorator
@inline function wrapLinear(cpu: usize, va: u64): u64 { return load<u32>(cpu, MODE) == MODE_64 ? va : va & 0xffffffff }

/**
 * Load that missed the TLB: translates, or gathers MMIO and page-crossing bytes.
 * @param u the uop (decides #SS or #GP), 0 for implicit stack accesses
 * @returns address of the bytes (RAM or SCRATCH), 0 with an exception pending
 */
export function slowRead(cpu: usize, u: usize, va: u64, size: u32): usize {
  return readFor(cpu, u ? (load<u8>(u, UOP_LEN) & LEN_STACK) != 0 : true, va, size, isUser(cpu), cpu + SCRATCH)
}

/** The general load: `size` up to 512 bytes into `buffer` unless the bytes are plain RAM. */
export function readFor(cpu: usize, stack: bool, va: u64, size: u32, user: bool, buffer: usize): usize {
  if (!canonical(cpu, stack, va, size)) return 0
  if (slowAccess && !checkedAccess(cpu, va, size, false, user)) return 0
  const first = <u32>(0x1000 - (va & 0xfff))
  if (size <= first) {
    const host = translate(cpu, va, ACCESS_READ, user)
    if (host) return host
    if (xlFault) return 0
    for (let i: u32 = 0; i < size; i += 8) {
      const chunk = min<u32>(8, size - i)
      const value = mmioRead(cpu, xlPhysOf(cpu, va + i, user), chunk)
      if (chunk == 8) store<u64>(buffer + i, value)
      else for (let k: u32 = 0; k < chunk; k++) store<u8>(buffer + i + k, <u8>(value >> (k << 3)))
    }
    return buffer
  }
  // Both pages must be readable before anything is.
  const second = wrapLinear(cpu, va + first)
  const host1 = translate(cpu, va, ACCESS_READ, user)
  if (xlFault) return 0
  const phys1 = xlPhys
  const host2 = translate(cpu, second, ACCESS_READ, user)
  if (xlFault) return 0
  const phys2 = xlPhys
  gather(cpu, buffer, host1, phys1, first)
  gather(cpu, buffer + first, host2, phys2, size - first)
  return buffer
}

function xlPhysOf(cpu: usize, va: u64, user: bool): u64 {
  walk(cpu, va, ACCESS_READ, user)
  return xlPhys
}

function gather(cpu: usize, to: usize, host: usize, physical: u64, length: u32): void {
  if (host) { memory.copy(to, host, length); return }
  for (let i: u32 = 0; i < length; i++) store<u8>(to + i, <u8>mmioRead(cpu, physical + i, 1))
}

/** Store that missed the TLB. @returns 0 done, 1 exception pending (then nothing was written) */
export function slowWrite(cpu: usize, u: usize, va: u64, size: u32, value: u64): u32 {
  const from = cpu + SCRATCH + 32
  store<u64>(from, value)
  return writeFor(cpu, u ? (load<u8>(u, UOP_LEN) & LEN_STACK) != 0 : true, va, size, isUser(cpu), from)
}

/** The general store of up to 512 bytes from `from`. @returns 0 done, 1 exception pending */
export function writeFor(cpu: usize, stack: bool, va: u64, size: u32, user: bool, from: usize): u32 {
  if (!canonical(cpu, stack, va, size)) return 1
  if (slowAccess && !checkedAccess(cpu, va, size, true, user)) return 1
  const first = <u32>(0x1000 - (va & 0xfff))
  if (size <= first) {
    const host = translate(cpu, va, ACCESS_WRITE, user)
    if (xlFault) return 1
    scatter(cpu, from, host, xlPhys, size)
    return 0
  }
  const second = wrapLinear(cpu, va + first)
  translate(cpu, va, ACCESS_WRITE, user)
  if (xlFault) return 1
  const phys1 = xlPhys
  translate(cpu, second, ACCESS_WRITE, user)
  if (xlFault) return 1
  const phys2 = xlPhys
  scatter(cpu, from, ramBehind(cpu, phys1), phys1, first)
  scatter(cpu, from + first, ramBehind(cpu, phys2), phys2, size - first)
  return 0
}

function scatter(cpu: usize, from: usize, host: usize, physical: u64, length: u32): void {
  if (host) {
    physToHost(physical)
    if (xlReadOnly) return
    if (length == 8) store<u64>(host, load<u64>(from))
    else if (length == 4) store<u32>(host, load<u32>(from))
    else if (length == 2) store<u16>(host, load<u16>(from))
    else memory.copy(host, from, length)
    if (load<u64>(pageRecord(host), PAGE_LINES)) invalidateCode(host, length)
    return
  }
  for (let i: u32 = 0; i < length;) {
    const chunk: u32 = length - i >= 8 ? 8 : length - i >= 4 ? 4 : length - i >= 2 ? 2 : 1
    const value: u64 = chunk == 8 ? load<u64>(from + i) : chunk == 4 ? load<u32>(from + i) : chunk == 2 ? load<u16>(from + i) : load<u8>(from + i)
    mmioWrite(cpu, physical + i, chunk, value)
    i += chunk
  }
}

/**
 * Read-modify-write operand that missed the write TLB: the destination is proven writable first.
 * @returns address of the bytes: RAM without code (write in place), or SCRATCH (then commitWrite must follow), 0 with an exception pending
 */
export function slowModify(cpu: usize, u: usize, va: u64, size: u32): usize {
  const stack = u ? (load<u8>(u, UOP_LEN) & LEN_STACK) != 0 : true
  const user = isUser(cpu)
  if (!probeWrite(cpu, stack, va, size, user)) return 0
  const first = <u32>(0x1000 - (va & 0xfff))
  if (size <= first && !slowAccess) {
    const host = translate(cpu, va, ACCESS_WRITE, user)
    if (host && !xlReadOnly && !xlCode) return host
  }
  const buffer = cpu + SCRATCH
  const from = readFor(cpu, stack, va, size, user, buffer)
  if (!from) return 0
  if (from != buffer) memory.copy(buffer, from, size)
  return buffer
}

/** Writes back what slowModify left in SCRATCH. Cannot fault: the destination was probed. */
export function commitWrite(cpu: usize, u: usize, va: u64, size: u32): void {
  const from = cpu + SCRATCH
  writeFor(cpu, u ? (load<u8>(u, UOP_LEN) & LEN_STACK) != 0 : true, va, size, isUser(cpu), from)
}

/** @returns true when all bytes may be written; else an exception is pending */
export function probeWrite(cpu: usize, stack: bool, va: u64, size: u32, user: bool): bool {
  if (!canonical(cpu, stack, va, size)) return false
  if (slowAccess && !checkedAccess(cpu, va, size, true, user)) return false
  translate(cpu, va, ACCESS_WRITE, user)
  if (xlFault) return false
  if ((va & 0xfff) + size > 0x1000) {
    translate(cpu, wrapLinear(cpu, (va + size - 1) & ~0xfff), ACCESS_WRITE, user)
    if (xlFault) return false
  }
  return true
}

// ---- implicit supervisor accesses (descriptor tables, task segments) ----------------------------------------------------------
/** Reads 1..8 bytes with supervisor rights. EXCEPTION tells success. */
export function systemRead(cpu: usize, va: u64, size: u32): u64 {
  const from = readFor(cpu, false, va, size, false, cpu + SCRATCH + 16)
  if (!from) return 0
  if (size == 8) return load<u64>(from)
  if (size == 4) return load<u32>(from)
  if (size == 2) return load<u16>(from)
  return load<u8>(from)
}

export function systemWrite(cpu: usize, va: u64, size: u32, value: u64): u32 {
  const from = cpu + SCRATCH + 40
  store<u64>(from, value)
  return writeFor(cpu, false, va, size, false, from)
}

// ---- effective addresses that are not flat 64-bit -----------------------------------------------------------------------------
/**
 * @param size bytes accessed; bit 16 set for a write
 * @returns the linear address; when a segment check fails, an exception is pending and the address never hits the TLB
 */
export function eaSlow(cpu: usize, u: usize, size: u32): u64 {
  const bits: u32 = load<u8>(u, UOP_SEG)
  let offset = load<u64>(cpu + load<u16>(u, UOP_BASE)) + (load<u64>(cpu + load<u16>(u, UOP_INDEX)) << load<u8>(u, UOP_SCALE)) + <i64>load<i32>(u, UOP_DISP)
  if (bits & AS_16) offset &= 0xffff
  else if (bits & (AS_32 | AS_LEGACY)) offset &= 0xffffffff
  const segment: u32 = bits & AS_SEG
  if (bits & AS_LEGACY) return segmentAddress(cpu, segment, offset, size & 0xffff, (size >> 16) != 0)
  if (bits & AS_BASE) offset += load<u64>(cpu + SEG + segment * SEG_SIZE, SEG_BASE)
  return offset
}

const NEVER: u64 = 0x8000000000000000

/** Segment limit, type and presence checks outside 64-bit mode (SDM volume 3, 5.3 to 5.5). */
export function segmentAddress(cpu: usize, segment: u32, offset: u64, size: u32, write: bool): u64 {
  const s = cpu + SEG + segment * SEG_SIZE
  const attributes = load<u32>(s, SEG_ATTR)
  const limit = <u64>load<u32>(s, SEG_LIMIT)
  const protectedMode = (load<u32>(cpu, CR0) & 1) != 0 && !(load<u32>(cpu, RFLAGS) & 0x20000)
  let ok = true
  if (protectedMode) {
    if (attributes & 1) ok = false // null selector
    const type = (attributes >> 8) & 15
    if (write && (type & 10) != 2) ok = false
    if (!write && (type & 10) == 8) ok = false
  }
  const last = offset + size - 1
  if ((attributes & 0xc00) == 0x400 && (attributes & 0x1000)) { // expand-down data
    const top: u64 = attributes & 0x400000 ? 0xffffffff : 0xffff
    if (offset <= limit || last > top) ok = false
  } else if (last > limit) ok = false
  if (!ok) {
    if (load<i32>(cpu, EXCEPTION) < 0) raise(cpu, segment == SS ? VEC_SS : VEC_GP, 0)
    return NEVER
  }
  return (load<u64>(s, SEG_BASE) + offset) & 0xffffffff
}
