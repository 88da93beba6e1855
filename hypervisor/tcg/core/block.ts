/**
 * From a RIP to decoded uops: fetch translation, block look-up, decoding. Outside 64-bit mode no instruction may reach beyond the limit of CS, so a block
 * ends before the first that would. What cannot be a block (code outside RAM, a block that reaches beyond the present limit, single steps) runs one
 * instruction at a time from CPU_STEP.
 */
import {
  RIP_BASE, SEG, SEG_SIZE, SEG_BASE, SEG_LIMIT, CS, EXCEPTION, CPL, MODE, TMP, TLB_BYTES, TLB_KERNEL_FETCH, TLB_USER_FETCH,
  MODE_64, UOP_SIZE, UOP_OP, UOP_OFFSET, BLOCK_BYTES, BLOCK_NEXT1, BLOCK_NEXT2, BLOCK_HOST, BLOCK_MODE, BLOCK_COUNT, BLOCK_PAGE2, BLOCK_LENGTH, BLOCK_HEAT,
  STAT_BLOCKS, STAT_UOPS, LOG_IN_ASM, CPU_STEP, G_CODE_LOCK,
} from './layout'
import { needMore, decodeInstruction } from './decode'
import { OP_END, OP_SYSTEM, OP_UD, OP_GP, OP_JMP, OP_CALL, OP_RET, OP_JMP_R, OP_JMP_M, OP_CALL_R, OP_CALL_M } from './ops'
import { ACCESS_FETCH, xlPhys } from './paging'
import { VEC_GP, raise } from './fault'
import { canonical } from './address'
import { mmioRead } from './mmio'
import { tally } from './counters'
import { xlFault, translate } from './tlb'
import { log, logs } from './log'
import { announceCode } from './host-stores'
import { findBlock, insertBlock, allocateBlock, commitBlock, openPage, closePage, registerCode } from './cache'
import { rememberBlock } from './jump-cache'
import { acquire, multi, release } from './sync'

const MAX_UOPS: u32 = 48

/** Host address of a code byte. @returns 0 with an exception pending, or `outsideRam` (then xlPhys tells where) */
function fetchHost(cpu: usize, linear: u64): usize {
  const user = load<u32>(cpu, CPL) == 3
  const entry: usize = cpu + (user ? TLB_USER_FETCH : TLB_KERNEL_FETCH) + ((<usize>(linear >> 8)) & (TLB_BYTES - 16))
  if (load<u64>(entry) == (linear & ~0xfff)) return <usize>linear + load<u32>(entry, 8)
  const host = translate(cpu, linear, ACCESS_FETCH, user)
  outsideRam = !host && !xlFault
  return host
}
let outsideRam: bool = false

function linearOf(cpu: usize, rip: u64): u64 {
  if (load<u32>(cpu, MODE) == MODE_64) return rip
  return (load<u64>(cpu + SEG + CS * SEG_SIZE, SEG_BASE) + (rip & 0xffffffff)) & 0xffffffff
}

/** @returns false with #GP(0) pending */
function fetchAllowed(cpu: usize, rip: u64): bool {
  if (load<u32>(cpu, MODE) == MODE_64) {
    if (canonical(rip)) return true
  } else if ((rip & 0xffffffff) <= <u64>load<u32>(cpu + SEG + CS * SEG_SIZE, SEG_LIMIT)) return true
  raise(cpu, VEC_GP, 0)
  return false
}

/** How many bytes of code there are from `rip` to the limit of CS: at least one, for fetchAllowed has passed. */
function codeRoom(cpu: usize, rip: u64): u64 {
  const limit = load<u32>(cpu + SEG + CS * SEG_SIZE, SEG_LIMIT)
  return load<u32>(cpu, MODE) == MODE_64 || limit == 0xffffffff ? NO_LIMIT : <u64>limit + 1 - (rip & 0xffffffff)
}
const NO_LIMIT: u64 = 0x100000000

/** First uop of the block at `rip`, RIP_BASE set for it. @returns 0 with an exception pending, or while the cache is full */
export function lookup(cpu: usize, rip: u64): usize {
  if (!fetchAllowed(cpu, rip)) return 0
  const mode = load<u32>(cpu, MODE)
  const linear = linearOf(cpu, rip)
  const room = codeRoom(cpu, rip)
  const host = fetchHost(cpu, linear)
  if (!host) return outsideRam ? fetchOne(cpu, rip, linear, room) : 0
  let u = findBlock(host, mode)
  if (u && load<u32>(u - BLOCK_BYTES, BLOCK_LENGTH) > room) return lookupOne(cpu, rip)
  if (u && load<u32>(u - BLOCK_BYTES, BLOCK_PAGE2)) {
    const second = fetchHost(cpu, (linear | 0xfff) + 1)
    if (!second) return outsideRam ? fetchOne(cpu, rip, linear, room) : 0
    if ((second & ~0xfff) != load<u32>(u - BLOCK_BYTES, BLOCK_PAGE2)) u = 0
  }
  if (!u) {
    u = decodeBlock(cpu, linear, host, mode, room)
    if (!u) return load<i32>(cpu, EXCEPTION) < 0 && !cacheFull ? fetchOne(cpu, rip, linear, room) : 0
  }
  store<u64>(cpu, rip - (linear & 0xfff), RIP_BASE)
  if (mode == MODE_64 && !load<u32>(u - BLOCK_BYTES, BLOCK_PAGE2)) rememberBlock(cpu, rip, u)
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

/** The last decodeBlock() gave up because the cache is full, with threads. */
let cacheFull: bool = false

/** @returns its first uop; 0 with an exception pending, with `cacheFull`, or when its one instruction goes on outside RAM */
function decodeBlock(cpu: usize, linear: u64, host: usize, mode: u32, room: u64): usize {
  let page2: usize = 0
  while (true) {
    acquire(G_CODE_LOCK)
    // Another vCPU may have been here first.
    let u = multi && !page2 ? findBlock(host, mode) : 0
    if (!u || load<u32>(u - BLOCK_BYTES, BLOCK_PAGE2) || load<u32>(u - BLOCK_BYTES, BLOCK_LENGTH) > room) u = decodeLocked(cpu, linear, host, mode, room, page2)
    release(G_CODE_LOCK)
    if (u || cacheFull) return u
    if (page2) { raise(cpu, VEC_GP, 0); return 0 } // beyond the limit even so
    // The one instruction of the block goes on in the next page. That is looked up without the lock: it may fault, and writes accessed bits.
    if (room <= 0x1000 - (host & 0xfff)) { raise(cpu, VEC_GP, 0); return 0 } // the limit comes before the page border
    const second = fetchHost(cpu, (linear | 0xfff) + 1)
    if (!second) return 0
    page2 = second & ~0xfff
  }
}

/** Under the lock. @param page2 where the next page lies, 0: not known. @returns 0 with `cacheFull`, or when page2 must be known */
function decodeLocked(cpu: usize, linear: u64, host: usize, mode: u32, room: u64, page2: usize): usize {
  const block = allocateBlock(MAX_UOPS + 2)
  cacheFull = !block
  if (!block) return 0
  const page = host & ~0xfff
  const lines1 = multi ? openPage(page) : 0, lines2 = multi && page2 && page2 != page ? openPage(page2) : 0
  const pageEnd = page + 0x1000
  const end = <usize>min<u64>(pageEnd, host + room)
  let u: usize = block + BLOCK_BYTES
  let at = host
  announceCode(host)
  let count: u32 = 0
  while (count < MAX_UOPS && at < end) {
    memory.fill(u, 0, UOP_SIZE)
    store<u16>(u, <u16>(at - page), UOP_OFFSET)
    let length: u32
    if (page2) length = decodeAcross(cpu, u, at, page2, mode, room)
    else length = decodeInstruction(u, at, end, mode)
    if (needMore) break // an instruction across two pages gets a block of its own, one across the limit faults when its turn comes
    const op: u32 = load<u16>(u)
    u += UOP_SIZE
    count++
    at += length
    if (page2 || endsBlock(op)) break
  }
  if (multi) {
    closePage(page, lines1)
    if (page2 && page2 != page) closePage(page2, lines2)
  }
  if (!count) return 0
  putEnd(u, <u32>(at - page))
  count++
  store<u32>(block, <u32>host, BLOCK_HOST)
  store<u32>(block, mode, BLOCK_MODE)
  store<u32>(block, count, BLOCK_COUNT)
  store<u32>(block, <u32>page2, BLOCK_PAGE2)
  store<u32>(block, <u32>(at - host), BLOCK_LENGTH)
  store<u32>(block, 0, BLOCK_NEXT1)
  store<u32>(block, 0, BLOCK_NEXT2)
  store<u32>(block, 0, BLOCK_HEAT)
  commitBlock(block, count)
  registerCode(block, host, min<u32>(<u32>(at - host), <u32>(pageEnd - host)), page2, page2 ? <u32>(at - pageEnd) : 0)
  insertBlock(block)
  if (logs(LOG_IN_ASM)) log(cpu, LOG_IN_ASM, linear, host, <u64>(at - host) | (<u64>mode << 32))
  tally(STAT_BLOCKS)
  tally(STAT_UOPS, count - 1)
  return block + BLOCK_BYTES
}

/** Decodes one instruction whose bytes lie on two pages. @returns its length; `needMore` where it goes on beyond the limit */
function decodeAcross(cpu: usize, u: usize, at: usize, page2: usize, mode: u32, room: u64): u32 {
  const first = 0x1000 - (<u32>at & 0xfff)
  const buffer: usize = cpu + TMP + 960
  announceCode(page2)
  memory.copy(buffer, at, first)
  memory.copy(buffer + first, page2, 16)
  clearUop(u)
  return decodeInstruction(u, buffer, buffer + <usize>min<u64>(16, room), mode)
}

/** As decodeAcross, where the second page is not known yet. @returns 0 with an exception pending, or `outsideRam` */
function decodeCrossing(cpu: usize, u: usize, linear: u64, at: usize, mode: u32, room: u64): u32 {
  if (room <= 0x1000 - (at & 0xfff)) { raise(cpu, VEC_GP, 0); return 0 } // the limit comes before the page border
  const second = fetchHost(cpu, (linear | 0xfff) + 1)
  if (!second) return 0
  const length = decodeAcross(cpu, u, at, second & ~0xfff, mode, room)
  if (needMore) raise(cpu, VEC_GP, 0)
  return length
}

/** Empties a uop but for its place in the page. */
function clearUop(u: usize): void {
  const offset: u32 = load<u16>(u, UOP_OFFSET)
  memory.fill(u, 0, UOP_SIZE)
  store<u16>(u, <u16>offset, UOP_OFFSET)
}

/** The uop at CPU_STEP, for one instruction that is never cached: emptied, for the instruction at `linear`. */
function openStep(cpu: usize, linear: u64): usize {
  const step = cpu + CPU_STEP
  memory.fill(step, 0, BLOCK_BYTES + UOP_SIZE)
  store<u32>(step, 1, BLOCK_PAGE2) // keeps exec() from linking jumps to it
  store<u16>(step + BLOCK_BYTES, <u16>(linear & 0xfff), UOP_OFFSET)
  return step + BLOCK_BYTES
}
function closeStep(cpu: usize, rip: u64, linear: u64, length: u32): usize {
  putEnd(cpu + CPU_STEP + BLOCK_BYTES + UOP_SIZE, <u32>(linear & 0xfff) + length)
  store<u64>(cpu, rip - (linear & 0xfff), RIP_BASE)
  return cpu + CPU_STEP + BLOCK_BYTES
}

/** Decodes just the instruction at `rip` and an END. @returns its uop, 0 with an exception pending */
export function lookupOne(cpu: usize, rip: u64): usize {
  if (!fetchAllowed(cpu, rip)) return 0
  const mode = load<u32>(cpu, MODE)
  const linear = linearOf(cpu, rip)
  const room = codeRoom(cpu, rip)
  const host = fetchHost(cpu, linear)
  if (!host) return outsideRam ? fetchOne(cpu, rip, linear, room) : 0
  const pageEnd = (host & ~0xfff) + 0x1000
  const u = openStep(cpu, linear)
  let length = decodeInstruction(u, host, <usize>min<u64>(pageEnd, host + room), mode)
  if (needMore) {
    length = decodeCrossing(cpu, u, linear, host, mode, room)
    if (!length) return load<i32>(cpu, EXCEPTION) < 0 ? fetchOne(cpu, rip, linear, room) : 0
  }
  return closeStep(cpu, rip, linear, length)
}

/**
 * An instruction that lies outside RAM, at least in part: fetched byte by byte, and no byte more than it has, because a device may notice.
 * @returns its uop, 0 with an exception pending
 */
function fetchOne(cpu: usize, rip: u64, linear: u64, room: u64): usize {
  const buffer: usize = cpu + TMP + 960
  const mode = load<u32>(cpu, MODE)
  const mask: u64 = mode == MODE_64 ? 0xffffffffffffffff : 0xffffffff
  for (let i: u32 = 0; i < MAX_INSTRUCTION; i++) {
    if (i >= room) { raise(cpu, VEC_GP, 0); return 0 }
    const host = fetchHost(cpu, (linear + i) & mask)
    if (!host && !outsideRam) return 0
    store<u8>(buffer + i, host ? load<u8>(host) : <u8>mmioRead(cpu, xlPhys, 1))
    const u = openStep(cpu, linear)
    const length = decodeInstruction(u, buffer, buffer + i + 1, mode)
    if (!needMore) return closeStep(cpu, rip, linear, length)
  }
  return 0 // not reached: what needs more than 15 bytes decodes to #GP
}
const MAX_INSTRUCTION: u32 = 15
