/** The software TLB: linear address to place in the WebAssembly memory. exec.ts looks into it inline, everybody else calls translate(). */
import {
  G_CPU_COUNT, CPU_AREA, CPU_STRIDE, TLB_HAS_LARGE, TLB_BYTES, TLB_KERNEL_READ, TLB_KERNEL_WRITE, TLB_KERNEL_FETCH, TLB_USER_READ, TLB_USER_WRITE,
  TLB_USER_FETCH, JUMP_CACHE, JUMP_ENTRIES, PAGE_LINES, STAT_TLB_FILLS, STAT_TLB_FLUSHES, ERROR_CODE, LOG_MMU,
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
  if (leafFlags & 2) store<u32>(cpu, 1, TLB_HAS_LARGE)
  const slot: usize = (<usize>(va >> 8)) & (TLB_BYTES - 16)
  if (access == ACCESS_FETCH) {
    tlbSet(cpu + slot + (user ? TLB_USER_FETCH : TLB_KERNEL_FETCH), va, host)
    return host
  }
  tlbSet(cpu + slot + (user ? TLB_USER_READ : TLB_KERNEL_READ), va, host)
  if (access == ACCESS_WRITE) {
    xlCode = load<u64>(pageRecord(host), PAGE_LINES) != 0
    if (!xlReadOnly && !xlCode && leafWritable) {
      const entry: usize = cpu + slot + (user ? TLB_USER_WRITE : TLB_KERNEL_WRITE)
      tlbSet(entry, va, host)
      if (multi) {
        fence() // who decodes marks the page first and looks for entries second
        xlCode = load<u64>(pageRecord(host), PAGE_LINES) != 0
        if (xlCode) store<u64>(entry, INVALID)
      }
    }
  }
  return host
}

function tlbSet(entry: usize, va: u64, host: usize): void {
  store<u64>(entry, va & ~0xfff)
  store<u32>(entry, <u32>(host - <usize>va), 8)
  store<u32>(entry, leafFlags, 12)
}

export function flushTlb(cpu: usize, keepGlobal: bool): void {
  tally(STAT_TLB_FLUSHES)
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
