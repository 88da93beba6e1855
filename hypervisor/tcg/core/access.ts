/**
 * Loads and stores that missed the TLB: MMIO, page-crossing operands, stores to pages with decoded code, and accesses of the processor itself. All that
 * can fault does so before a byte is written.
 */
import { CPL, MODE, TLB_KERNEL_READ, TLB_KERNEL_WRITE, TLB_USER_READ, TLB_USER_WRITE, SCRATCH, MODE_64, UOP_LEN, PAGE_LINES, LEN_STACK } from './layout'
import { ACCESS_READ, ACCESS_WRITE, xlPhys, walk } from './paging'
import { slowAccess, canonicalAccess, checkedAccess } from './access-check'
import { invalidateCode } from './cache'
import { ramBehind, mmioRead, mmioWrite } from './mmio'
import { xlReadOnly, physToHost, pageRecord } from './ram'
import { fence, multi } from './sync'
import { xlCode, xlFault, tlbRead, translate } from './tlb'

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
  if (!canonicalAccess(cpu, stack, va, size)) return 0
  if (slowAccess && !checkedAccess(cpu, va, size, false, user)) return 0
  const first = <u32>(0x1000 - (va & 0xfff))
  if (size <= first) {
    const known = tlbRead(cpu + (user ? TLB_USER_READ : TLB_KERNEL_READ), va, size) // accesses of the processor itself have not looked there yet
    if (known) return known
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
  if (!canonicalAccess(cpu, stack, va, size)) return 1
  if (slowAccess && !checkedAccess(cpu, va, size, true, user)) return 1
  const first = <u32>(0x1000 - (va & 0xfff))
  if (size <= first) {
    const known = tlbRead(cpu + (user ? TLB_USER_WRITE : TLB_KERNEL_WRITE), va, size)
    if (known) { put(known, from, size); return 0 }
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

function put(to: usize, from: usize, length: u32): void {
  if (length == 8) store<u64>(to, load<u64>(from))
  else if (length == 4) store<u32>(to, load<u32>(from))
  else if (length == 2) store<u16>(to, load<u16>(from))
  else memory.copy(to, from, length)
}

function scatter(cpu: usize, from: usize, host: usize, physical: u64, length: u32): void {
  if (host) {
    physToHost(physical)
    if (xlReadOnly) return
    put(host, from, length)
    if (multi) fence() // cache.ts
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
  if (!canonicalAccess(cpu, stack, va, size)) return false
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
