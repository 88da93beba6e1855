/** From a RIP to decoded uops: fetch translation, block look-up, decoding. */
import {
  CPL, MODE, MODE_64, SEG, SEG_SIZE, SEG_BASE, SEG_LIMIT, CS, RIP_BASE, TLB_KERNEL_FETCH, TLB_USER_FETCH, TLB_BYTES, JUMP_CACHE, JUMP_ENTRIES, TMP,
  BLOCK_BYTES, BLOCK_HOST, BLOCK_MODE, BLOCK_COUNT, BLOCK_PAGE2, BLOCK_LENGTH, BLOCK_NEXT1, BLOCK_NEXT2, UOP_SIZE, UOP_OP, UOP_OFFSET, G_STATS,
  STAT_BLOCKS, STAT_UOPS,
} from './layout'
import { translate, raise, xlFault, ACCESS_FETCH, VEC_GP, VEC_UD } from './mmu'
import { findBlock, insertBlock, allocateBlock, commitBlock, registerCode } from './cache'
import { decodeInstruction, needMore } from './decode'
import { OP_END, OP_JMP, OP_RET, OP_JMP_R, OP_JMP_M, OP_CALL, OP_CALL_R, OP_CALL_M, OP_SYSTEM, OP_UD, OP_GP } from './ops'

const MAX_UOPS: u32 = 48

// @ts-ignore: decorator
@inline function stat(index: usize, by: u64): void { store<u64>(G_STATS + index * 8, load<u64>(G_STATS + index * 8) + by) }

/** Host address of a code byte. @returns 0 with an exception pending */
function fetchHost(cpu: usize, linear: u64): usize {
  const user = load<u32>(cpu, CPL) == 3
  const entry: usize = cpu + (user ? TLB_USER_FETCH : TLB_KERNEL_FETCH) + ((<usize>(linear >> 8)) & (TLB_BYTES - 16))
  if (load<u64>(entry) == (linear & ~0xfff)) return <usize>linear + load<u32>(entry, 8)
  const host = translate(cpu, linear, ACCESS_FETCH, user)
  if (!host && !xlFault) raise(cpu, VEC_UD, 0) // code outside RAM reads as all ones
  return host
}

function linearOf(cpu: usize, rip: u64): u64 {
  if (load<u32>(cpu, MODE) == MODE_64) return rip
  return (load<u64>(cpu + SEG + CS * SEG_SIZE, SEG_BASE) + (rip & 0xffffffff)) & 0xffffffff
}

/** @returns false with #GP(0) pending */
function fetchAllowed(cpu: usize, rip: u64): bool {
  if (load<u32>(cpu, MODE) == MODE_64) {
    if (<u64>((<i64>rip << 16) >> 16) == rip) return true
  } else if ((rip & 0xffffffff) <= <u64>load<u32>(cpu + SEG + CS * SEG_SIZE, SEG_LIMIT)) return true
  raise(cpu, VEC_GP, 0)
  return false
}

/** First uop of the block at `rip`, RIP_BASE set for it. @returns 0 with an exception pending */
export function lookup(cpu: usize, rip: u64): usize {
  if (!fetchAllowed(cpu, rip)) return 0
  const mode = load<u32>(cpu, MODE)
  const linear = linearOf(cpu, rip)
  const host = fetchHost(cpu, linear)
  if (!host) return 0
  let u = findBlock(host, mode)
  if (u && load<u32>(u - BLOCK_BYTES, BLOCK_PAGE2)) {
    const second = fetchHost(cpu, (linear | 0xfff) + 1)
    if (!second) return 0
    if ((second & ~0xfff) != load<u32>(u - BLOCK_BYTES, BLOCK_PAGE2)) u = 0
  }
  if (!u) {
    u = decodeBlock(cpu, linear, host, mode)
    if (!u) return 0
  }
  store<u64>(cpu, rip - (linear & 0xfff), RIP_BASE)
  if (mode == MODE_64 && !load<u32>(u - BLOCK_BYTES, BLOCK_PAGE2)) {
    const slot: usize = cpu + JUMP_CACHE + (((<usize>rip ^ <usize>(rip >> 12)) & (JUMP_ENTRIES - 1)) << 4)
    store<u64>(slot, rip)
    store<u32>(slot, <u32>u, 8)
    store<u32>(slot, (load<u32>(cpu, CPL) << 8) | mode, 12)
  }
  return u
}

/** A block ends where control does not simply fall through. A conditional branch does not end it. */
function endsBlock(op: u32): bool {
  return op == OP_JMP || op == OP_RET || op == OP_JMP_R || op == OP_JMP_M || op == OP_CALL || op == OP_CALL_R || op == OP_CALL_M || op == OP_SYSTEM || op == OP_UD || op == OP_GP
}

function putEnd(u: usize, offset: u32): void {
  memory.fill(u, 0, UOP_SIZE)
  store<u16>(u, OP_END, UOP_OP)
  store<u16>(u, <u16>offset, UOP_OFFSET)
}

function decodeBlock(cpu: usize, linear: u64, host: usize, mode: u32): usize {
  const block = allocateBlock(MAX_UOPS + 2)
  const page = host & ~0xfff
  const pageEnd = page + 0x1000
  let u: usize = block + BLOCK_BYTES
  let at = host
  let count: u32 = 0
  let page2: usize = 0
  let length2: u32 = 0
  while (count < MAX_UOPS && at < pageEnd) {
    memory.fill(u, 0, UOP_SIZE)
    store<u16>(u, <u16>(at - page), UOP_OFFSET)
    let length = decodeInstruction(u, at, pageEnd, mode)
    if (needMore) {
      if (count) break // the page-crossing instruction gets a block of its own
      length = decodeCrossing(cpu, u, linear, at, pageEnd, mode)
      if (!length) return 0
      page2 = crossingPage
      length2 = <u32>(at + length - pageEnd)
      u += UOP_SIZE
      count++
      at += length
      break
    }
    const op: u32 = load<u16>(u)
    u += UOP_SIZE
    count++
    at += length
    if (endsBlock(op)) break
  }
  putEnd(u, <u32>(at - page))
  count++
  store<u32>(block, <u32>host, BLOCK_HOST)
  store<u32>(block, mode, BLOCK_MODE)
  store<u32>(block, count, BLOCK_COUNT)
  store<u32>(block, <u32>page2, BLOCK_PAGE2)
  store<u32>(block, <u32>(at - host), BLOCK_LENGTH)
  store<u32>(block, 0, BLOCK_NEXT1)
  store<u32>(block, 0, BLOCK_NEXT2)
  commitBlock(block, count)
  registerCode(block, host, min<u32>(<u32>(at - host), <u32>(pageEnd - host)), page2, length2)
  insertBlock(block)
  stat(STAT_BLOCKS, 1)
  stat(STAT_UOPS, count - 1)
  return block + BLOCK_BYTES
}

let crossingPage: usize = 0
/** Decodes one instruction whose bytes lie on two pages. @returns its length, 0 with an exception pending */
function decodeCrossing(cpu: usize, u: usize, linear: u64, at: usize, pageEnd: usize, mode: u32): u32 {
  const second = fetchHost(cpu, (linear | 0xfff) + 1)
  if (!second) return 0
  crossingPage = second & ~0xfff
  const buffer: usize = cpu + TMP + 960
  const first = <u32>(pageEnd - at)
  memory.copy(buffer, at, first)
  memory.copy(buffer + first, crossingPage, 16)
  const offset: u32 = load<u16>(u, UOP_OFFSET)
  memory.fill(u, 0, UOP_SIZE)
  store<u16>(u, <u16>offset, UOP_OFFSET)
  return decodeInstruction(u, buffer, buffer + 16, mode)
}

/** Memory for one instruction that must run alone (single step, interrupt shadow); never cached. */
const STEP: usize = memory.data<u64>([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 16)

/** Decodes just the instruction at `rip` and an END. @returns its uop, 0 with an exception pending */
export function lookupOne(cpu: usize, rip: u64): usize {
  if (!fetchAllowed(cpu, rip)) return 0
  const mode = load<u32>(cpu, MODE)
  const linear = linearOf(cpu, rip)
  const host = fetchHost(cpu, linear)
  if (!host) return 0
  const page = host & ~0xfff
  const u = STEP + BLOCK_BYTES
  memory.fill(STEP, 0, BLOCK_BYTES + UOP_SIZE)
  store<u16>(u, <u16>(host - page), UOP_OFFSET)
  let length = decodeInstruction(u, host, page + 0x1000, mode)
  if (needMore) {
    length = decodeCrossing(cpu, u, linear, host, page + 0x1000, mode)
    if (!length) return 0
  }
  putEnd(u + UOP_SIZE, <u32>(host - page) + length)
  store<u64>(cpu, rip - (linear & 0xfff), RIP_BASE)
  return u
}
