/** The outer loop: exceptions, interrupts, INIT/SIPI, halt, single step; and the round-robin of vCPUs on this thread, or its one vCPU. */
import {
  G_CPU_COUNT, G_IRQ_DIRTY, G_KICK, G_ICOUNT_SKIP, G_RETIRED, G_NEVER_TLB, CPU_AREA, CPU_STRIDE, GPR, ZERO, RIP, RFLAGS, SEG_BASE, SEG_LIMIT,
  SEG_ATTR, SEG_SELECTOR, CS, LDTR, TR, GDTR_LIMIT, IDTR_LIMIT, CR0, CR3, CR4, DR, MSR_STAR, MSR_PAT, MSR_MISC_ENABLE, MSR_MTRR_DEF_TYPE, XMM, MXCSR,
  FCW, FPR, CPU_INDEX, HALTED, EVENTS, EXCEPTION, RIP_SET, CPL, INHIBIT, SIPI_VECTOR, INSTRUCTIONS, TRIPLE_FAULT, NMI_BLOCKED, LAST_DEBUG, TLB_BYTES,
  EVENT_INTR, EVENT_NMI, EVENT_INIT, EVENT_SIPI, EXIT_SLICE, EXIT_HALT, EXIT_KICK, EXIT_SHUTDOWN, EXIT_TRANSLATED,
  G_JIT_READY, LOG_CPU_RESET, LOG_EXEC, MODE, G_PROFILE, G_PROFILE_COUNT, G_PROFILE_RING, G_RUN_NS, PROFILE,
  CPU_JIT_READY, G_CHIP_LOCK, G_FLUSH, G_JIT_EPOCH, G_STOP, EXIT_ALONE, EXIT_STOP,
} from './layout'
import { VEC_DB, raise } from './fault'
import { setSlowAccess, codeBreakpoint } from './access-check'
import { flushTlb } from './tlb'
import { loadPdptes } from './paging'
import { FL_TF, FL_IF, FL_RF } from './flags'
import { segment, updateMode } from './segment'
import { deliverException, tookSoftwareInterrupt, clearSoftwareInterrupt, externalInterrupt } from './interrupt'
import { lookup, lookupOne } from './block'
import { setSingleIteration } from './string'
import { exec } from './exec'
import { log, logs } from './log'
import { hostNs } from './imports'
import { flushAll } from './cache'
import { applyHostStores, hostHasStored } from './host-stores'
import { saveTranslated } from './translate'
import { retired, loadRetired, saveRetired, setSliceEnd, machineNs } from './time'
import { lapicReset, lapicInit, lapicPending, lapicAck } from './lapic'
import { irqchipReset, irqApplyLines, irqchipTick, irqchipNextDeadline, ownDeadline, ownTick, shareLines } from './irqchip'
import { clearWantAlone, setAlone, wantAlone } from './locked'
import { acquire, enterGuest, leaveGuest, multi, noStore, own, release, resumeWorld, stopWorld } from './sync'

/** Instructions a vCPU runs before timers and lines are looked at again. */
const SLICE: u64 = 20000

/** Machine-wide power-up state. The host has filled the control block (layout.ts G_*) before. */
export function initialise(): void {
  memory.fill(G_NEVER_TLB, 0xff, TLB_BYTES)
  store<u64>(G_RETIRED, 0)
  store<u64>(G_ICOUNT_SKIP, 0)
  irqchipReset()
  flushAll()
}

/** Power-up (`init` false) or INIT state of one vCPU: real mode at F000:FFF0, caches empty. SDM volume 3, table 10-1. */
export function resetCpu(cpu: usize, index: u32, init: bool): void {
  if (logs(LOG_CPU_RESET)) log(0, LOG_CPU_RESET, index, init, 0)
  memory.fill(cpu, 0, init ? MSR_STAR : 1024)
  for (let i: u32 = 0; i < 8; i++) {
    const s = segment(cpu, i)
    store<u32>(s, 0xffff, SEG_LIMIT)
    store<u32>(s, i == CS ? 0x9b00 : i == LDTR ? 0x8200 : i == TR ? 0x8b00 : 0x9300, SEG_ATTR)
  }
  store<u16>(segment(cpu, CS), 0xf000, SEG_SELECTOR)
  store<u64>(segment(cpu, CS), 0xffff0000, SEG_BASE)
  store<u64>(cpu, 0xfff0, RIP)
  store<u64>(cpu, 2, RFLAGS)
  store<u64>(cpu, 0x000306c0, GPR + 16)
  store<u32>(cpu, 0xffff, GDTR_LIMIT)
  store<u32>(cpu, 0xffff, IDTR_LIMIT)
  store<u64>(cpu, 0x60000010, CR0)
  store<u64>(cpu, 0xffff0ff0, DR + 48)
  store<u64>(cpu, 0x400, DR + 56)
  store<i32>(cpu, -1, EXCEPTION)
  store<u32>(cpu, 0, RIP_SET)
  store<u32>(cpu, 0, CPL)
  store<u32>(cpu, 0, INHIBIT)
  store<u32>(cpu, 0, NMI_BLOCKED)
  store<u32>(cpu, 0, TRIPLE_FAULT)
  store<u64>(cpu, 0, LAST_DEBUG)
  store<u32>(cpu, index, CPU_INDEX)
  const bsp = index == 0
  store<u32>(cpu, bsp ? 0 : 2, HALTED)
  if (!init) {
    memory.fill(cpu + XMM, 0, FPR + 128 - XMM)
    store<u32>(cpu, 0x1f80, MXCSR)
    store<u16>(cpu, 0x37f, FCW)
    store<u64>(cpu, 0x0007040600070406, MSR_PAT)
    store<u64>(cpu, 1, MSR_MISC_ENABLE)
    store<u64>(cpu, 0xc00, MSR_MTRR_DEF_TYPE)
    store<u64>(cpu, 0, INSTRUCTIONS)
    lapicReset(cpu, index, bsp)
  } else lapicInit(cpu)
  updateMode(cpu)
  flushTlb(cpu, false)
}

/** After the host has written registers: derived state and TLBs follow. */
export function refreshCpu(cpu: usize): void {
  store<u64>(cpu, 0, ZERO)
  loadPdptes(cpu, load<u64>(cpu, CR0), load<u64>(cpu, CR3), load<u64>(cpu, CR4))
  updateMode(cpu)
  flushTlb(cpu, false)
}

function startupIpi(cpu: usize): void {
  const vector = load<u32>(cpu, SIPI_VECTOR) & 0xff
  const cs = segment(cpu, CS)
  store<u16>(cs, <u16>(vector << 8), SEG_SELECTOR)
  store<u64>(cs, <u64>vector << 12, SEG_BASE)
  store<u64>(cpu, 0, RIP)
  store<u32>(cpu, 0, HALTED)
  updateMode(cpu)
}

/** Handles INIT, SIPI, NMI and maskable interrupts. @returns true when the vCPU may execute */
function handleEvents(cpu: usize): bool {
  const events = atomic.load<i32>(cpu + EVENTS)
  if (events & EVENT_INIT) {
    // A SIPI that is there was sent after the INIT, which took away any older one.
    acquire(G_CHIP_LOCK)
    atomic.and<i32>(cpu + EVENTS, ~EVENT_INIT)
    resetCpu(cpu, load<u32>(cpu, CPU_INDEX), true)
    release(G_CHIP_LOCK)
  }
  if (events & EVENT_SIPI) {
    atomic.and<i32>(cpu + EVENTS, ~EVENT_SIPI)
    if (load<u32>(cpu, HALTED) == 2) startupIpi(cpu)
  }
  if (load<u32>(cpu, HALTED) == 2) return false
  if (load<u32>(cpu, INHIBIT)) return true
  if (events & EVENT_NMI && !load<u32>(cpu, NMI_BLOCKED)) {
    atomic.and<i32>(cpu + EVENTS, ~EVENT_NMI)
    store<u32>(cpu, 1, NMI_BLOCKED)
    store<u32>(cpu, 0, HALTED)
    externalInterrupt(cpu, 2)
    return true
  }
  if (events & EVENT_INTR && load<u32>(cpu, RFLAGS) & FL_IF) {
    acquire(G_CHIP_LOCK)
    const pending = lapicPending(cpu) >= 0
    const vector = pending ? lapicAck(cpu) : -1
    release(G_CHIP_LOCK)
    if (pending) {
      store<u32>(cpu, 0, HALTED)
      if (vector >= 0) externalInterrupt(cpu, vector)
      return true
    }
  }
  return !load<u32>(cpu, HALTED)
}

/** One instruction with everything that single stepping, breakpoints and interrupt shadows ask for. */
function runOne(cpu: usize, breakpoints: bool): void {
  if (breakpoints && codeBreakpoint(cpu)) return
  const trap = (load<u32>(cpu, RFLAGS) & FL_TF) != 0
  const shadow = load<u32>(cpu, INHIBIT)
  store<u32>(cpu, 0, INHIBIT)
  store<u64>(cpu, load<u64>(cpu, RFLAGS) & ~<u64>FL_RF, RFLAGS) // the instruction itself may set it again: IRET, a repeat that is not over
  setSingleIteration(trap || breakpoints)
  const debugBefore = load<u64>(cpu, LAST_DEBUG)
  clearSoftwareInterrupt()
  const u = lookupOne(cpu, load<u64>(cpu, RIP))
  setSliceEnd(0)
  if (u) exec(cpu, u)
  setSingleIteration(false)
  if (wantAlone) { store<u32>(cpu, shadow, INHIBIT); return } // it has not happened yet
  if (load<i32>(cpu, EXCEPTION) >= 0) {
    // An instruction that faults did not make its accesses: their breakpoints are forgotten.
    if (load<i32>(cpu, EXCEPTION) != VEC_DB) store<u64>(cpu, debugBefore, LAST_DEBUG)
    return
  }
  // Only the first of two MOV SS in a row inhibits (SDM volume 3, 6.8.3).
  if (shadow == 2 && load<u32>(cpu, INHIBIT) == 2) store<u32>(cpu, 0, INHIBIT)
  if (trap && !tookSoftwareInterrupt) store<u64>(cpu, load<u64>(cpu, LAST_DEBUG) | 0x4000, LAST_DEBUG)
  // A MOV SS shadow holds debug traps back for one instruction.
  if (load<u64>(cpu, LAST_DEBUG) && load<u32>(cpu, INHIBIT) != 2) raise(cpu, VEC_DB, 0)
}

/** Runs one vCPU for up to `instructions`. @returns EXIT_* */
export function runCpu(cpu: usize, instructions: u64): u32 {
  const limit = retired + instructions
  const before = retired
  let reason: u32 = EXIT_SLICE
  while (true) {
    if (load<u32>(cpu, TRIPLE_FAULT)) { reason = EXIT_SHUTDOWN; break }
    if (retired >= limit) { reason = EXIT_SLICE; break }
    if (atomic.load<i32>(G_KICK)) { reason = EXIT_KICK; break }
    if (multi) {
      noStore()
      if (wantAlone) { reason = EXIT_ALONE; break }
      if (atomic.load<i32>(G_STOP) | atomic.load<i32>(G_FLUSH)) { reason = EXIT_STOP; break }
    }
    if (load<i32>(cpu, EXCEPTION) >= 0) { deliverException(cpu); continue }
    // A device access may have changed a line: it is seen by the next instruction.
    if (atomic.load<i32>(G_IRQ_DIRTY)) {
      if (multi) shareLines()
      else irqApplyLines()
    }
    if ((atomic.load<i32>(cpu + EVENTS) | load<u32>(cpu, HALTED)) && !handleEvents(cpu)) { reason = EXIT_HALT; break }
    // After the interrupt that tells of them was taken.
    if (hostHasStored(cpu)) { applyHostStores(cpu); continue }
    if (load<i32>(cpu, EXCEPTION) >= 0 || load<u32>(cpu, TRIPLE_FAULT)) continue
    const breakpoints = (load<u32>(cpu, DR + 56) & 0xff) != 0
    setSlowAccess(breakpoints || (load<u32>(cpu, CPL) == 3 && (load<u32>(cpu, CR0) & 0x40000) != 0 && (load<u32>(cpu, RFLAGS) & 0x40000) != 0))
    const single = breakpoints || (load<u32>(cpu, RFLAGS) & FL_TF) != 0
    // An interrupt shadow holds back what waits: without that it ends here, for at least one instruction runs before anybody looks again.
    if (!single && !atomic.load<i32>(cpu + EVENTS) && !load<u64>(cpu, LAST_DEBUG)) store<u32>(cpu, 0, INHIBIT)
    if (single || load<u32>(cpu, INHIBIT)) { runOne(cpu, breakpoints); continue }
    store<u64>(cpu, load<u64>(cpu, RFLAGS) & ~<u64>FL_RF, RFLAGS)
    const executions = logs(LOG_EXEC)
    setSliceEnd(executions ? retired + 1 : limit) // one block at a time
    const u = lookup(cpu, load<u64>(cpu, RIP))
    if (executions && u) log(cpu, LOG_EXEC, load<u64>(cpu, RIP), load<u32>(cpu, CPL), load<u32>(cpu, MODE))
    if (u) exec(cpu, u)
  }
  store<u64>(cpu, load<u64>(cpu, INSTRUCTIONS) + retired - before, INSTRUCTIONS)
  if (load<u32>(G_PROFILE) && reason == EXIT_SLICE) {
    store<u64>(G_PROFILE_RING + ((<usize>atomic.add<u32>(G_PROFILE_COUNT, 1) & (PROFILE - 1)) << 3), load<u64>(cpu, RIP))
  }
  return reason
}

/** Lines and timers that came due. */
function pump(): void {
  if (atomic.load<i32>(G_IRQ_DIRTY)) irqApplyLines()
  const now = machineNs()
  if (now >= irqchipNextDeadline()) irqchipTick(now)
}

/**
 * Runs all vCPUs in turns.
 * @param rounds slices per vCPU before it returns in any case (V8 replaces hot code only between calls)
 * @returns EXIT_SLICE, EXIT_HALT (every vCPU sleeps), EXIT_TRANSLATED, EXIT_KICK or EXIT_SHUTDOWN (triple fault)
 */
export function runMachine(rounds: u32): u32 {
  const before = hostNs()
  const reason = runRounds(rounds)
  atomic.add<u64>(G_RUN_NS, <u64>(hostNs() - before))
  saveRetired()
  saveTranslated()
  return reason
}

function runRounds(rounds: u32): u32 {
  loadRetired()
  const count = load<u32>(G_CPU_COUNT)
  let reason: u32 = EXIT_SLICE
  for (let round: u32 = 0; round < rounds; round++) {
    let awake = false
    for (let i: u32 = 0; i < count; i++) {
      pump()
      reason = runCpu(CPU_AREA + i * CPU_STRIDE, SLICE)
      if (reason == EXIT_KICK || reason == EXIT_SHUTDOWN) return reason
      if (reason != EXIT_HALT) awake = true
    }
    if (!awake) return EXIT_HALT
    if (atomic.load<i32>(G_JIT_READY)) return EXIT_TRANSLATED
  }
  return EXIT_SLICE
}

// ---- a thread for each vCPU -------------------------------------------------------------------------------------------------------

/** Instructions until timers are looked at again: the others' interrupts and stops wait as long. */
const OWN_SLICE: u64 = 5000
/** G_JIT_EPOCH for which this thread's table of translated code is. */
let knownEpoch: u32 = 0
/** The table of translated code is empty, as of this epoch. */
export function knowEpoch(epoch: u32): void { knownEpoch = epoch }

/**
 * Runs this thread's vCPU.
 * @returns EXIT_SLICE after `slices`, EXIT_HALT, EXIT_KICK, EXIT_SHUTDOWN, or EXIT_TRANSLATED: the table of translated code wants attention
 */
export function runOwn(slices: u32): u32 {
  loadRetired()
  clearWantAlone() // it will be asked for again, unless a reset came in between
  enterGuest()
  const before = hostNs()
  const reason = runSlices(slices)
  leaveGuest()
  atomic.add<u64>(G_RUN_NS, <u64>(hostNs() - before))
  saveRetired()
  saveTranslated()
  if (reason == EXIT_ALONE) {
    stopWorld()
    setAlone(true)
    runOne(own, (load<u32>(own, DR + 56) & 0xff) != 0)
    setAlone(false)
    resumeWorld()
    return EXIT_SLICE
  }
  if (reason != EXIT_STOP) return reason
  if (atomic.load<i32>(G_FLUSH)) {
    stopWorld()
    if (atomic.load<i32>(G_FLUSH)) flushAll()
    resumeWorld()
  }
  return EXIT_TRANSLATED
}

function runSlices(slices: u32): u32 {
  for (let i: u32 = 0; i < slices; i++) {
    if (atomic.load<u32>(G_JIT_EPOCH) != knownEpoch) return EXIT_TRANSLATED
    if (atomic.load<i32>(G_IRQ_DIRTY)) shareLines()
    ownTick(machineNs())
    const reason = runCpu(own, OWN_SLICE)
    if (reason != EXIT_SLICE) return reason
    if (atomic.load<i32>(own + CPU_JIT_READY)) return EXIT_TRANSLATED
  }
  return EXIT_SLICE
}

/** May a vCPU that sleeps go on sleeping? Looked at after its wake word was cleared. */
export function mustSleep(cpu: usize): bool {
  const events = atomic.load<i32>(cpu + EVENTS)
  if (events & (EVENT_INIT | EVENT_SIPI)) return false
  if (load<u32>(cpu, HALTED) == 2) return true
  if (events & EVENT_NMI && !load<u32>(cpu, NMI_BLOCKED)) return false
  return !(events & EVENT_INTR && load<u32>(cpu, RFLAGS) & FL_IF)
}

/** ns of machine time at which something is due for this thread, all ones if nothing is. */
export function nextDeadline(): u64 { return multi ? ownDeadline() : irqchipNextDeadline() }

/** Instruction-count clock: jumps over the time in which every vCPU sleeps. @returns false when nothing is due */
export function skipIdle(): bool {
  loadRetired()
  const deadline = irqchipNextDeadline()
  if (deadline == 0xffffffffffffffff) return false
  const now = machineNs()
  if (deadline > now) store<u64>(G_ICOUNT_SKIP, load<u64>(G_ICOUNT_SKIP) + deadline - now)
  return true
}

/**
 * For instruction tests: runs the one instruction at RIP; an exception stays pending.
 * @returns its vector, -1 if there was none
 */
export function stepCpu(cpu: usize): i32 {
  setSlowAccess((load<u32>(cpu, CR0) & 0x40000) != 0 && load<u32>(cpu, CPL) == 3 && (load<u32>(cpu, RFLAGS) & 0x40000) != 0)
  runOne(cpu, false)
  return load<i32>(cpu, EXCEPTION)
}

/** ns since machine start. */
export function machineTime(): u64 { return machineNs() }
