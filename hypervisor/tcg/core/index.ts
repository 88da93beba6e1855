/** The core's exports: what the vCPU worker and the tests call. */
export { initialise, resetCpu, refreshCpu, runCpu, runMachine, nextDeadline, skipIdle, stepCpu, machineTime } from './run'
export { invalidateRange, flushAll } from './cache'
export { flushTlb, translate } from './tlb'
export { physToHost } from './ram'
export { getFlags, getRflags, setFlagsArith } from './flags'
export { setSpecialised } from './specialise'
export { irqLine } from './irqchip'
export { regionRead, regionWrite, regionModify, regionCommit, regionStep, regionCondition, regionCarry, regionMultiply, setThreshold } from './translate'
