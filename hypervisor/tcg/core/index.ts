/** The core's exports: what the vCPU worker and the tests call. */
export { initialise, resetCpu, refreshCpu, runCpu, runMachine, nextDeadline, skipIdle, stepCpu, machineTime } from './run'
export { invalidateRange, flushAll } from './cache'
export { flushTlb, translate, physToHost } from './mmu'
export { getFlags, getRflags, setFlagsArith } from './flags'
export { setSpecialised } from './specialise'
export { irqLine } from './irqchip'
import { setFlagsArith, FL_ARITH } from './flags'
import { RFLAGS } from './layout'

/** Sets RFLAGS from its architectural image. */
export function setRflagsImage(cpu: usize, value: u64): void {
  setFlagsArith(cpu, <u32>value)
  store<u64>(cpu, (value & ~<u64>FL_ARITH) | 2, RFLAGS)
}

import { retired } from './time'
/** Instructions retired so far, exact between calls. */
export function retiredNow(): u64 { return retired }
