/** The software TLB: linear address to place in the WebAssembly memory. exec.ts looks into it inline, everybody else calls translate(). */
import {
  G_CPU_COUNT, CPU_AREA, CPU_STRIDE, TLB_LARGE, TLB_BYTES, TLB_KERNEL_READ, TLB_KERNEL_WRITE, TLB_KERNEL_FETCH, TLB_USER_READ, TLB_USER_WRITE,
  TLB_USER_FETCH, TLB_FILLED, TLB_FILLED_COUNT, TLB_FILLED_LIST, PAGE_LINES, STAT_TLB_FILLS, STAT_TLB_FLUSHES, ERROR_CODE, LOG_MMU,
} from './layout'
import { ACCESS_WRITE, ACCESS_FETCH, xlPhys, leafFlags, leafWritable, walk } from './paging'
import { xlReadOnly, pageRecord } from './ram'
import { ramBehind } from './mmio'
import { log, logs } from './log'
import { awaitStores, fence, multi, own } from './sync'
import { tally } from './counters'

const INVALID: u64 = 0xffffffffffffffff

/** The page of the last translate() for a write holds decoded code. */
export let xlCode: bool = false

/** The last translate() failed with an exception pending; without one a 0 from it means that there is no RAM (MMIO). */
export let xlFault: bool = false

/**
 * Translates one linear address and fills the TLB.
 * @returns wasm offset, or 0: then xlFault says whether an exception is pending or xlPhys is no RAM
 */
export function translate(cpu: usize, va: u64, access: u32, user: bool): usize {
  xlFault = false
  xlCode = false
  if (!walk(cpu, va, access, user)) {
    xlFault = true
    if (logs(LOG_MMU)) log(cpu, LOG_MMU, va, 0, access | (<u32>user << 8) | 0x10000 | (<u64>load<u32>(cpu, ERROR_CODE) << 32))
    return 0
  }
  if (logs(LOG_MMU)) log(cpu, LOG_MMU, va, xlPhys, access | (<u32>user << 8))
  const physical = xlPhys
  const host = ramBehind(cpu, physical)
  if (!host) return 0
  tally(STAT_TLB_FILLS)
  if (leafFlags & 2) store<u64>(cpu, load<u64>(cpu, TLB_LARGE) | reachBit(va), TLB_LARGE)
  const slot: usize = (<usize>(va >> 8)) & (TLB_BYTES - 16)
  if (access == ACCESS_FETCH) {
    tlbSet(cpu, slot + (user ? TLB_USER_FETCH : TLB_KERNEL_FETCH), va, host)
    return host
  }
  tlbSet(cpu, slot + (user ? TLB_USER_READ : TLB_KERNEL_READ), va, host)
  if (access == ACCESS_WRITE) {
    xlCode = load<u64>(pageRecord(host), PAGE_LINES) != 0
    if (!xlReadOnly && !xlCode && leafWritable) {
      const at: usize = slot + (user ? TLB_USER_WRITE : TLB_KERNEL_WRITE)
      tlbSet(cpu, at, va, host)
      if (multi) {
        fence() // who decodes marks the page first and looks for entries second
        xlCode = load<u64>(pageRecord(host), PAGE_LINES) != 0
        if (xlCode) store<u64>(cpu + at, INVALID)
      }
    }
  }
  return host
}

/** TLB look-up for reads: host pointer, or 0. */
// @ts-ignore: decorator
@inline export function tlbRead(tlb: usize, va: u64, bytes: u32): usize {
  const e: usize = tlb + ((<usize>(va >> 8)) & 0x3ff0)
  return load<u64>(e) == ((va + bytes - 1) & ~0xfff) ? <usize>va + load<u32>(e, 8) : 0
}

/** @param at offset of the entry from the vCPU pointer */
function tlbSet(cpu: usize, at: usize, va: u64, host: usize): void {
  const entry = cpu + at
  store<u64>(entry, va & ~0xfff)
  store<u32>(entry, <u32>(host - <usize>va), 8)
  store<u32>(entry, leafFlags, 12)
  if (leafFlags & 1) return
  const count = load<u32>(cpu, TLB_FILLED_COUNT)
  if (count > <u32>TLB_FILLED) return
  store<u32>(cpu, count + 1, TLB_FILLED_COUNT)
  if (count < <u32>TLB_FILLED) store<u16>(cpu + TLB_FILLED_LIST + (<usize>count << 1), <u16>((at - TLB_KERNEL_READ) >> 4))
}

/** The bit of TLB_LARGE for the 1 GiB around an address. */
// @ts-ignore: decorator
@inline function reachBit(va: u64): u64 { return <u64>1 << (((va >> 30) * 0x9e3779b97f4a7c15) >> 58) }

export function flushTlb(cpu: usize, keepGlobal: bool): void {
  tally(STAT_TLB_FLUSHES)
  if (!keepGlobal) {
    memory.fill(cpu + TLB_KERNEL_READ, 0xff, 6 * TLB_BYTES)
    store<u64>(cpu, 0, TLB_LARGE)
  } else if (load<u32>(cpu, TLB_FILLED_COUNT) <= <u32>TLB_FILLED) {
    for (let at: usize = cpu + TLB_FILLED_LIST, end: usize = at + (load<u32>(cpu, TLB_FILLED_COUNT) << 1); at < end; at += 2) {
      const entry: usize = cpu + TLB_KERNEL_READ + (<usize>load<u16>(at) << 4)
      if (!(load<u32>(entry, 12) & 1)) store<u64>(entry, INVALID)
    }
  } else {
    for (let entry: usize = cpu + TLB_KERNEL_READ, end: usize = entry + 6 * TLB_BYTES; entry < end; entry += 16) {
      if (!(load<u32>(entry, 12) & 1)) store<u64>(entry, INVALID)
    }
  }
  store<u32>(cpu, 0, TLB_FILLED_COUNT)
}

/** INVLPG: a larger page may sit in many slots, so its whole reach (1 GiB) is dropped. */
export function flushPage(cpu: usize, va: u64): void {
  const slot: usize = (<usize>(va >> 8)) & (TLB_BYTES - 16)
  for (let array: usize = 0; array < 6; array++) {
    const entry: usize = cpu + TLB_KERNEL_READ + array * TLB_BYTES + slot
    if (load<u64>(entry) == (va & ~0xfff)) store<u64>(entry, INVALID)
  }
  if (load<u64>(cpu, TLB_LARGE) & reachBit(va)) {
    const reach = va >> 30
    for (let entry: usize = cpu + TLB_KERNEL_READ, end: usize = entry + 6 * TLB_BYTES; entry < end; entry += 16) {
      if ((load<u32>(entry, 12) & 2) && (load<u64>(entry) >> 30) == reach) store<u64>(entry, INVALID)
    }
  }
}

/** A page gets decoded code: no vCPU may write it through the TLB any more, and when this returns none does. */
export function dropWriteEntries(host: usize): void {
  const page = host & ~0xfff
  const count = load<u32>(G_CPU_COUNT)
  for (let i: u32 = 0; i < count; i++) {
    const cpu: usize = CPU_AREA + i * CPU_STRIDE
    const had = dropIn(cpu + TLB_KERNEL_WRITE, page) | dropIn(cpu + TLB_USER_WRITE, page)
    if (multi && had && cpu != own) awaitStores(cpu)
  }
}

function dropIn(array: usize, page: usize): u32 {
  let had: u32 = 0
  for (let entry = array, end = array + TLB_BYTES; entry < end; entry += 16) {
    const tag = load<u64>(entry)
    if (tag != INVALID && <usize>tag + load<u32>(entry, 8) == page) { store<u64>(entry, INVALID); had = 1 }
  }
  return had
}
