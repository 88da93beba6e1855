/**
 * The decoded-instruction cache: blocks of uops keyed by where their code lies in RAM and the code size, dropped when the code is written.
 * A dropped block's uops all become OP_LEAVE, so whoever still points at them (a link, the jump cache, the block that runs now)
 * falls out at the next instruction and looks the address up again; their memory is reused only by a full flush.
 *
 * Where each vCPU has a thread, all share this cache. Everything here is written under G_CODE_LOCK, but for the count in BLOCK_HEAT and the links in
 * UOP_X, which everybody may write at any time (a link leads to the right block, alive or dropped). The table and the blocks in it are read without the
 * lock: a block is complete before it is entered into the table, and does not change afterwards until it is dropped.
 *
 * No store to decoded code may be missed. The one who decodes marks the page's lines, takes the page out of all write TLBs, waits until nobody can have a
 * store under way that found it there (awaitStores), and reads the code only then (openPage). Every other store to RAM that does not come from a write TLB is
 * followed by a barrier and a look at the lines: either it sees the mark and waits for the lock to drop what was decoded, or its bytes were
 * there before the code was read. translate() does the same when it fills a write TLB.
 *
 * A full flush reuses memory: it takes place while no other vCPU is in the guest (run.ts), and counts G_JIT_EPOCH.
 */
import {
  G_CODE_LOCK, G_CPU_COUNT, G_FLUSH, G_UOP_BASE, G_UOP_END, G_UOP_NEXT, G_BLOCK_TABLE, G_BLOCK_MASK, G_PAGE_INFO, G_RAM_BASE, G_RAM_END, CPU_AREA, CPU_STRIDE, UOP_SIZE,
  PAGE_BYTES, PAGE_BLOCKS, PAGE_LINES, BLOCK_BYTES, BLOCK_NEXT1, BLOCK_NEXT2, BLOCK_HOST, BLOCK_MODE, BLOCK_COUNT, STAT_INVALIDATIONS,
  STAT_CACHE_FLUSHES, BLOCK_STATE, HEAT_DEAD, HEAT_REGION, G_JIT_ALIVE, G_JIT_EPOCH, G_JIT_DROPPED, JIT_DROPPED, JIT_FLUSHED, LOG_JIT,
} from './layout'
import { OP_LEAVE } from './ops'
import { flushJumpCache } from './jump-cache'
import { dropWriteEntries } from './tlb'
import { pageRecord } from './ram'
import { log, logs } from './log'
import { acquire, fence, multi, release } from './sync'
import { tally } from './counters'

const PROBES: u32 = 8

// @ts-ignore: decorator
@inline function hash(host: usize, mode: u32): u32 { return (<u32>host * 0x9e3779b1 >> 11) ^ mode }

/** @returns first uop of the block at this place, 0 if there is none */
export function findBlock(host: usize, mode: u32): usize {
  const table = load<u32>(G_BLOCK_TABLE), mask = load<u32>(G_BLOCK_MASK)
  let slot = hash(host, mode)
  for (let i: u32 = 0; i < PROBES; i++, slot++) {
    const block = load<u32>(table + ((slot & mask) << 2))
    if (block && load<u32>(block, BLOCK_HOST) == host && load<u32>(block, BLOCK_MODE) == mode) return block + BLOCK_BYTES
  }
  return 0
}

export function insertBlock(block: usize): void {
  const table = load<u32>(G_BLOCK_TABLE), mask = load<u32>(G_BLOCK_MASK)
  const host = load<u32>(block, BLOCK_HOST), mode = load<u32>(block, BLOCK_MODE)
  const slot = hash(host, mode)
  let free = slot // full neighbourhood: the first one is replaced (its code is decoded again if it is still used)
  for (let i: u32 = 0; i < PROBES; i++) {
    const other = load<u32>(table + (((slot + i) & mask) << 2))
    if (!other || (load<u32>(other, BLOCK_HOST) == host && load<u32>(other, BLOCK_MODE) == mode)) { free = slot + i; break }
  }
  atomic.store<u32>(table + ((free & mask) << 2), <u32>block)
}

function removeBlock(block: usize): void {
  const table = load<u32>(G_BLOCK_TABLE), mask = load<u32>(G_BLOCK_MASK)
  const slot = hash(load<u32>(block, BLOCK_HOST), load<u32>(block, BLOCK_MODE))
  for (let i: u32 = 0; i < PROBES; i++) {
    const entry: usize = table + (((slot + i) & mask) << 2)
    if (load<u32>(entry) == block) { store<u32>(entry, 0); return }
  }
}

/** Room for a header and `uops` records; when the cache is full, flushes everything or asks for it. @returns 0 when there is none for now */
export function allocateBlock(uops: u32): usize {
  const need: u32 = BLOCK_BYTES + uops * UOP_SIZE
  if (load<u32>(G_UOP_NEXT) + need > load<u32>(G_UOP_END)) {
    if (multi) { atomic.store<i32>(G_FLUSH, 1); return 0 }
    flushAll()
  }
  return load<u32>(G_UOP_NEXT)
}
export function commitBlock(block: usize, uops: u32): void {
  store<u32>(G_UOP_NEXT, <u32>block + BLOCK_BYTES + uops * UOP_SIZE)
}

/**
 * Before code of a page is read to be decoded: from here on no store to the page is missed. Under the lock, and only with threads.
 * @returns the marked lines, for closePage
 */
export function openPage(host: usize): u64 {
  const record = pageRecord(host)
  const lines = load<u64>(record, PAGE_LINES)
  store<u64>(record, 0xffffffffffffffff, PAGE_LINES)
  fence()
  if (!lines) dropWriteEntries(host)
  return lines
}
/** Only the lines that hold code stay marked. */
export function closePage(host: usize, lines: u64): void { store<u64>(pageRecord(host), lines, PAGE_LINES) }

/** Enters the block into the lists of the page(s) its bytes [host, host+length) lie on. */
export function registerCode(block: usize, host: usize, length: u32, page2: usize, length2: u32): void {
  const record = pageRecord(host)
  if (!multi && !load<u64>(record, PAGE_LINES)) dropWriteEntries(host)
  store<u64>(record, load<u64>(record, PAGE_LINES) | lineMask(<u32>host & 0xfff, length), PAGE_LINES)
  store<u32>(block, load<u32>(record, PAGE_BLOCKS), BLOCK_NEXT1)
  store<u32>(record, <u32>block, PAGE_BLOCKS)
  if (page2) {
    const record2 = pageRecord(page2)
    if (!multi && !load<u64>(record2, PAGE_LINES)) dropWriteEntries(page2)
    store<u64>(record2, load<u64>(record2, PAGE_LINES) | lineMask(0, length2), PAGE_LINES)
    store<u32>(block, load<u32>(record2, PAGE_BLOCKS), BLOCK_NEXT2)
    store<u32>(record2, <u32>block, PAGE_BLOCKS)
  }
}

/** 64-byte lines of a page that [offset, offset+length) touches. */
function lineMask(offset: u32, length: u32): u64 {
  if (!length) return 0
  const first = offset >> 6
  const last = min<u32>((offset + length - 1) >> 6, 63)
  return (<u64>(-1) >> <u64>(63 - (last - first))) << <u64>first
}

/** A store hit [host, host+length) on one page that holds code: drops the page's blocks if any covers those lines. */
export function invalidateCode(host: usize, length: u32): void {
  const record = pageRecord(host)
  const mask = lineMask(<u32>host & 0xfff, length)
  if (!(load<u64>(record, PAGE_LINES) & mask)) return
  acquire(G_CODE_LOCK)
  if (load<u64>(record, PAGE_LINES) & mask) dropPage(host, length, record)
  release(G_CODE_LOCK)
}

/** Drops all blocks that touch a page. */
function dropPage(host: usize, length: u32, record: usize): void {
  tally(STAT_INVALIDATIONS)
  if (logs(LOG_JIT)) log(0, LOG_JIT, JIT_DROPPED, host, length)
  const page = host & ~0xfff
  let block: usize = load<u32>(record, PAGE_BLOCKS)
  store<u32>(record, 0, PAGE_BLOCKS)
  store<u64>(record, 0, PAGE_LINES)
  while (block) {
    const next: usize = (load<u32>(block, BLOCK_HOST) & ~0xfff) == page ? load<u32>(block, BLOCK_NEXT1) : load<u32>(block, BLOCK_NEXT2)
    removeBlock(block)
    if (<u32>load<u16>(block, BLOCK_STATE) & (<u32>HEAT_REGION >> 16)) {
      store<u32>(G_JIT_DROPPED, load<u32>(G_JIT_DROPPED) + 1)
      if (multi) store<u64>(G_JIT_ALIVE, load<u64>(G_JIT_ALIVE) - 1)
    }
    store<u16>(block, <u16>(HEAT_DEAD >> 16), BLOCK_STATE)
    let u: usize = block + BLOCK_BYTES
    for (let i = load<u32>(block, BLOCK_COUNT); i > 0; i--, u += UOP_SIZE) store<u16>(u, OP_LEAVE)
    block = next
  }
}

/** Drops code in any stretch of RAM (stores that did not come from a vCPU). */
export function invalidateRange(host: usize, length: u32): void {
  if (!length) return
  if (multi) fence()
  const end = host + length
  for (let at = host; at < end;) {
    const chunk = min<u32>(<u32>(end - at), 0x1000 - (<u32>at & 0xfff))
    if (load<u64>(pageRecord(at), PAGE_LINES)) invalidateCode(at, chunk)
    at += chunk
  }
}

/** Counts full flushes: a uop pointer from before one may point into somebody else's block. */
export let generation: u32 = 0

/** Forgets every decoded block: reset, or the cache is full. Nobody else is in the guest. */
export function flushAll(): void {
  acquire(G_CODE_LOCK) // a thread that is not in the guest may be putting translated code in place
  generation++
  atomic.store<i32>(G_FLUSH, 0)
  if (multi) store<u64>(G_JIT_ALIVE, 0)
  store<u32>(G_JIT_EPOCH, load<u32>(G_JIT_EPOCH) + 1)
  tally(STAT_CACHE_FLUSHES)
  if (logs(LOG_JIT)) log(0, LOG_JIT, JIT_FLUSHED, 0, 0)
  memory.fill(load<u32>(G_BLOCK_TABLE), 0, (load<u32>(G_BLOCK_MASK) + 1) << 2)
  memory.fill(load<u32>(G_PAGE_INFO), 0, ((load<u32>(G_RAM_END) - load<u32>(G_RAM_BASE)) >> 12) * PAGE_BYTES)
  store<u32>(G_UOP_NEXT, load<u32>(G_UOP_BASE))
  const count = load<u32>(G_CPU_COUNT)
  for (let i: u32 = 0; i < count; i++) flushJumpCache(CPU_AREA + i * CPU_STRIDE)
  release(G_CODE_LOCK)
}
