/**
 * The core's side of the translator: which blocks are hot, the way into translated code, and what that code calls for everything it does not do itself.
 * A region is a WebAssembly function (cpu, read TLB, budget, first uop) -> {what is left of the budget, uops behind it, REGION_* | uop}; it retires instructions at the same places as
 * exec() does, so that both count alike. While one runs, `retired` stands where its last transition left it only when one of these functions is called.
 */
import {
  G_JIT_HEAD, G_JIT_HOOK, G_JIT_QUEUE, G_JIT_SAMPLED_NS, G_JIT_SAMPLES, G_JIT_TAIL, G_JIT_THRESHOLD, G_NEVER_TLB, BLOCK_BYTES, BLOCK_HEAT,
  HEAT_QUEUED, HEAT_REGION, JIT_QUEUE, MODE, MODE_64, REGION_BEHIND_BITS, REGION_DONE, REGION_LEAVE, STAT_INVALIDATIONS, UOP_OP, UOP_X, UOP_IMM, UOP_OFFSET, RIP_BASE, CPL,
  JIT_TARGET, REGION_DIRECT, REGION_INDIRECT, REGION_RESUME, REGION_ON, REGION_OUT, UOP_LEN, RIP, RIP_SET, RFLAGS, EXCEPTION,
  BLOCK_HOST, BLOCK_STATE, CPU_AREA, G_CODE_LOCK, G_FLUSH, G_JIT_ALIVE, G_JIT_EPOCH, G_JIT_MADE, G_STOP, HEAT_DEAD,
  G_IRQ_DIRTY, G_KICK, DR, EVENTS, HALTED, TRIPLE_FAULT, INHIBIT, TLB_USER_READ, TLB_KERNEL_READ, JIT_HOT, LOG_JIT,
} from './layout'
import { log, logs } from './log'
import { hostNs } from './imports'
import { OP_END, OP_FENCE, OP_LOCKED, OP_SYSTEM, OP_GENERIC, OP_SIMD_RR, OP_SIMD_RM, OP_SIMD_ST, OP_X87 } from './ops'
import { condition, getFlags, setFlagsArith, FL_TF, FL_RF, FL_AC } from './flags'
import { hostHasStored } from './host-stores'
import { slowAccess } from './access-check'
import { execSystem } from './system'
import { findBlock } from './cache'
import { knownBlock } from './jump-cache'
import { execLocked, wantAlone } from './locked'
import { acquire, enteredAt, fence, multi, noStore, release, runsAt, statsAt, translatedAt, wake } from './sync'
import { slowRead, slowWrite, slowModify, commitWrite } from './access'
import { multiply, multiplySigned, highHalf } from './alu'
import { execGeneric } from './generic'
import { execSimdRegister, execSimdLoad, execSimdStore, execX87 } from './simd'
import { retired, sliceEnd, setRetired } from './time'

/** Entries after which a block is hot; all ones: never. */
export let threshold: u32 = 0xffffffff
export function setThreshold(entries: u32): void {
  threshold = entries
  store<u32>(G_JIT_THRESHOLD, entries)
  clockNs = Infinity
  for (let i = 0; i < 32; i++) {
    const before = hostNs()
    clockNs = min(clockNs, hostNs() - before)
  }
}

/** `retired` when the running region's budget is used up. */
let regionEnd: u64 = 0
/** The slice's end when the region was entered. */
let regionSlice: u64 = 0
/** Uops of the block that the last region had executed since its last transition. */
export let regionBehind: u32 = 0
/** One in so many entries is timed: asking for the time costs about as much as an entry. */
const TIMED: u32 = 1023
/** What asking for the time costs. */
let clockNs: f64 = 0
let translatedRuns: u64 = 0
let translatedRetired: u64 = 0
let translatedEntries: u64 = 0

/** Most instructions of a region's budget: an i32 less REGION_BEHIND_BITS. */
const LARGEST_BUDGET: u64 = 0xffffff

/**
 * A block that is hot was reached: enters its region, or asks for one.
 * @returns what the region returned, 0 when there is none: interpret
 */
export function enterHot(cpu: usize, u: usize, heat: u32, rt: usize): u32 {
  if (!(heat & <u32>HEAT_REGION)) {
    if (heat >= <u32>HEAT_QUEUED || sliceEnd <= retired || !request(cpu, u)) return 0
    heat = load<u32>(u - BLOCK_BYTES, BLOCK_HEAT)
    if (!(heat & <u32>HEAT_REGION)) return 0
  }
  if (sliceEnd <= retired || rt == G_NEVER_TLB) return 0
  const budget = min(sliceEnd - retired, LARGEST_BUDGET)
  regionSlice = sliceEnd
  regionEnd = retired + budget
  let left = <i32>budget
  let next = u
  let code: u32
  const timed = (<u32>++translatedRuns & TIMED) == 0
  const before: f64 = timed ? hostNs() : 0
  let system: usize = 0 // a block that begins with a system instruction has no region: that is what is executed next
  while (true) {
    if (system) {
      regionBehind = 0
      code = <u32>system | REGION_RESUME
    } else {
      const result = call_indirect<u64>((heat & ~<u32>HEAT_REGION) >> 16, cpu, rt, <u32>left, next)
      translatedEntries++
      const rest = <i32>(result >> 32)
      left = rest >> REGION_BEHIND_BITS
      regionBehind = rest & ((1 << REGION_BEHIND_BITS) - 1)
      code = <u32>result
    }
    // What exec() would do with this, as long as it leads into the next region.
    const at: usize = code & ~31
    const what = code & 31
    let target: u64 = 0
    let count = <i32>regionBehind + 1
    next = 0
    if (what == REGION_DIRECT) {
      next = load<u32>(at, UOP_X)
      const offset = load<u64>(at, UOP_IMM)
      if (!next && offset < 0x1000) break
      target = load<u64>(cpu, RIP_BASE) + offset
    } else if (what == REGION_INDIRECT) target = load<u64>(cpu, JIT_TARGET)
    else if (what == REGION_RESUME && <u32>load<u16>(at) == OP_END) {
      target = load<u64>(cpu, RIP_BASE) + load<u16>(at, UOP_OFFSET)
      count--
    } else if (what == REGION_RESUME && <u32>load<u16>(at) == OP_SYSTEM) {
      setRetired(regionEnd - <i64>left)
      execSystem(cpu, at)
      if (load<i32>(cpu, EXCEPTION) >= 0) { code |= REGION_LEAVE; left = <i32>(regionEnd - retired); break }
      if (!load<u32>(cpu, RIP_SET)) store<u64>(cpu, load<u64>(cpu, RIP_BASE) + load<u16>(at, UOP_OFFSET) + (load<u8>(at, UOP_LEN) & 15), RIP)
      store<u32>(cpu, 0, RIP_SET)
      left = <i32>(regionEnd - retired) - count
      regionBehind = 0
      setRetired(regionEnd - <i64>left)
      code = REGION_OUT
      next = onward(cpu)
      if (!next) break
      code = <u32>next | REGION_ON
      heat = load<u32>(next - BLOCK_BYTES, BLOCK_HEAT)
      system = heat & <u32>HEAT_REGION ? 0 : next
      if ((system && <u32>load<u16>(next) != OP_SYSTEM) || left <= 0) break
      rt = cpu + (load<u32>(cpu, CPL) == 3 ? TLB_USER_READ : TLB_KERNEL_READ)
      continue
    } else break
    if (left <= count || sliceEnd != regionSlice) break
    if (!next) {
      next = knownBlock(cpu, target)
      if (!next) break
    }
    heat = load<u32>(next - BLOCK_BYTES, BLOCK_HEAT)
    system = heat & <u32>HEAT_REGION ? 0 : next
    if (system && <u32>load<u16>(next) != OP_SYSTEM) break
    store<u64>(cpu, target - load<u16>(next, UOP_OFFSET), RIP_BASE)
    left -= count
  }
  if (timed) {
    atomic.add<u64>(G_JIT_SAMPLED_NS, <u64>max(hostNs() - before - clockNs, 0))
    atomic.add<u64>(G_JIT_SAMPLES, 1)
  }
  const at = regionEnd - <i64>left
  translatedRetired += at + regionBehind - (regionEnd - budget)
  setRetired(at)
  return code
}

/**
 * Behind an instruction that has stored RIP: is there nothing that the outer loop (run.ts) would do but go on? An interrupt shadow ends here, for at least one
 * instruction runs before anybody looks at events again.
 * @returns the first uop there, 0: ask the outer loop
 */
export function onward(cpu: usize): usize {
  if (multi) {
    noStore()
    if (u32(wantAlone) | atomic.load<i32>(G_STOP) | atomic.load<i32>(G_FLUSH)) return 0
  }
  if (retired >= sliceEnd || slowAccess || atomic.load<i32>(cpu + EVENTS) | atomic.load<i32>(G_IRQ_DIRTY) | atomic.load<i32>(G_KICK)) return 0
  if (load<u32>(cpu, HALTED) | load<u32>(cpu, TRIPLE_FAULT) | (load<u32>(cpu, DR + 56) & 0xff) | (load<u32>(cpu, RFLAGS) & (FL_TF | FL_RF | FL_AC))) return 0
  if (hostHasStored(cpu) || load<u32>(cpu, MODE) != MODE_64) return 0
  const target = load<u64>(cpu, RIP)
  const u = knownBlock(cpu, target)
  if (!u) return 0
  store<u64>(cpu, target - load<u16>(u, UOP_OFFSET), RIP_BASE)
  store<u32>(cpu, 0, INHIBIT)
  return u
}

/** @returns whether it was translated at once */
function request(cpu: usize, u: usize): bool {
  const block = u - BLOCK_BYTES
  if (load<u32>(cpu, MODE) == MODE_64 && logs(LOG_JIT)) log(cpu, LOG_JIT, JIT_HOT, load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET), 0)
  const hook = load<u32>(G_JIT_HOOK)
  if (hook && load<u32>(cpu, MODE) == MODE_64) {
    setState(block, HEAT_QUEUED)
    call_indirect<void>(hook, <u32>block)
    return true
  }
  acquire(G_CODE_LOCK)
  if (!load<u16>(block, BLOCK_STATE)) queue(cpu, block)
  release(G_CODE_LOCK)
  return false
}

// @ts-ignore: decorator
@inline function setState(block: usize, state: u32): void { store<u16>(block, <u16>(state >> 16), BLOCK_STATE) }

function queue(cpu: usize, block: usize): void {
  if (load<u32>(cpu, MODE) != MODE_64) { setState(block, HEAT_QUEUED); return }
  const head = atomic.load<i32>(G_JIT_HEAD)
  if (head - atomic.load<i32>(G_JIT_TAIL) >= JIT_QUEUE) { store<u16>(block, 0, BLOCK_HEAT); return }
  setState(block, HEAT_QUEUED)
  store<u32>(G_JIT_QUEUE + ((<usize>head & (JIT_QUEUE - 1)) << 2), <u32>block)
  atomic.store<i32>(G_JIT_HEAD, head + 1)
  atomic.notify(G_JIT_HEAD, 1)
  if (multi && head == 0) wake(CPU_AREA) // its thread starts the translator
}

/**
 * The region of a block is in this thread's table at `slot`: whoever enters the block calls it from now on. Other threads may still have
 * `regionMissing` there.
 * @param first the block's first uop, as it was found in `epoch`. @returns whether the block was there, and had none
 */
export function placeRegion(first: usize, slot: u32, epoch: u32): bool {
  acquire(G_CODE_LOCK)
  let placed = false
  if (load<u32>(G_JIT_EPOCH) == epoch) {
    const block = first - BLOCK_BYTES
    // The queue may hold places from before the last flush, where by now something else is.
    if (findBlock(load<u32>(block, BLOCK_HOST), MODE_64) == first && load<u32>(block, BLOCK_HEAT) < <u32>HEAT_DEAD) {
      setState(block, <u32>HEAT_REGION | (slot << 16))
      if (multi) {
        store<u64>(G_JIT_MADE, load<u64>(G_JIT_MADE) + 1)
        store<u64>(G_JIT_ALIVE, load<u64>(G_JIT_ALIVE) + 1)
      }
      placed = true
    }
  }
  release(G_CODE_LOCK)
  return placed
}

/** Stands in the table where this thread has not made the region yet: interpret. */
export function regionMissing(cpu: usize, rt: usize, budget: u32, u: usize): u64 { return (<u64>budget << (32 + REGION_BEHIND_BITS)) | <u64>u }

export function saveTranslated(): void {
  store<u64>(translatedAt, translatedRetired)
  store<u64>(enteredAt, translatedEntries)
  store<u64>(runsAt, translatedRuns)
}

// ---- called by regions ----------------------------------------------------------------------------------------------------------
// `left`: what was left of the budget at the last transition. Devices and clocks see `retired` as it was there, as under the interpreter.

let invalidationsBefore: u64 = 0
let retiredBefore: u64 = 0

// @ts-ignore: decorator
@inline function enter(left: i32): void {
  retiredBefore = regionEnd - <i64>left
  setRetired(retiredBefore)
  invalidationsBefore = load<u64>(statsAt + STAT_INVALIDATIONS * 8)
}

/** After a call that may have written: did it touch code, the slice, or count? Then the interpreter goes on. */
// @ts-ignore: decorator
@inline function settled(): u32 {
  regionEnd += retired - retiredBefore
  return sliceEnd != regionSlice || retired != retiredBefore || load<u64>(statsAt + STAT_INVALIDATIONS * 8) != invalidationsBefore ? REGION_DONE : 0
}

/** @returns address of the bytes, 0 with an exception pending */
export function regionRead(cpu: usize, u: usize, va: u64, left: i32, size: u32): usize {
  enter(left)
  return slowRead(cpu, u, va, size)
}
/** @returns 0, or REGION_* */
export function regionWrite(cpu: usize, u: usize, va: u64, left: i32, size: u32, value: u64): u32 {
  enter(left)
  if (slowWrite(cpu, u, va, size, value)) return REGION_LEAVE
  return settled()
}
/** @returns address of the bytes, SCRATCH if regionCommit must follow, 0 with an exception pending */
export function regionModify(cpu: usize, u: usize, va: u64, left: i32, size: u32): usize {
  enter(left)
  return slowModify(cpu, u, va, size)
}
export function regionCommit(cpu: usize, u: usize, va: u64, left: i32, size: u32): u32 {
  enter(left)
  commitWrite(cpu, u, va, size)
  return settled()
}
/** Runs one uop; registers and flags are in memory. */
export function regionStep(cpu: usize, u: usize, left: i32): u32 {
  enter(left)
  let end: u32
  switch (<u32>load<u16>(u, UOP_OP)) {
    case OP_GENERIC: end = execGeneric(cpu, u); break
    case OP_SIMD_RR: end = execSimdRegister(cpu, u); break
    case OP_SIMD_RM: end = execSimdLoad(cpu, u); break
    case OP_SIMD_ST: end = execSimdStore(cpu, u); break
    case OP_X87: end = execX87(cpu, u); break
    case OP_LOCKED: end = execLocked(cpu, u); break
    case OP_FENCE: fence(); end = 0; break
    default: return REGION_LEAVE // not reached: the translator leaves the region before any other
  }
  const state = settled()
  return end ? REGION_LEAVE : state
}
/** Condition of the flags in memory. */
export function regionCondition(cpu: usize, cc: u32): u32 { return condition(cpu, cc) }
/** Replaces the flags of `mask` by `bits`. */
export function regionCarry(cpu: usize, mask: u32, bits: u32): void { setFlagsArith(cpu, (getFlags(cpu) & ~mask) | bits) }
/** High half of a 128-bit product. */
export function regionMultiply(a: i64, b: i64, signed: u32): i64 {
  if (signed) multiplySigned(a, b)
  else multiply(<u64>a, <u64>b)
  return <i64>highHalf
}
