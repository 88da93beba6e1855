/**
 * Local APIC timer: one-shot, periodic, TSC-deadline (Intel SDM volume 3 section 11.5.4). Input clock 1 GHz, so a count of the divided
 * clock is `divisor` ns; the TSC runs at 1 GHz too. Counters are computed from time, never stepped. A periodic timer interrupts at most
 * every MIN_PERIOD and makes up for at most one missed period, whatever the guest programs; the count it reads stays exact.
 */
import { LAPIC, MSR_TSC_DEADLINE, MSR_TSC_OFFSET } from './layout'
import {
  APIC_REG_DIVIDE, APIC_REG_INITIAL_COUNT, APIC_REG_LVT_TIMER, APIC_TIMER_COUNT, APIC_TIMER_DEADLINE, APIC_TIMER_START,
  apicEnabled, apicReg, localInterrupt, setApicReg,
} from './lapic'
import { MIN_PERIOD, NEVER, updateDeadline } from './irqchip'

const TIMER_PERIODIC: u32 = 1, TIMER_TSC_DEADLINE: u32 = 2

function timerMode(cpu: usize): u32 {
  return (apicReg(cpu, APIC_REG_LVT_TIMER) >> 17) & 3
}

function divisor(cpu: usize): u64 {
  let code = apicReg(cpu, APIC_REG_DIVIDE)
  return 1 << (((((code & 8) >> 1) | (code & 3)) + 1) & 7)
}

export function timerDeadline(cpu: usize): u64 {
  return load<u64>(cpu + LAPIC + APIC_TIMER_DEADLINE)
}

function setDeadline(cpu: usize, at: u64): void {
  store<u64>(cpu + LAPIC + APIC_TIMER_DEADLINE, at)
  updateDeadline()
}

export function timerStop(cpu: usize): void {
  store<u64>(cpu + MSR_TSC_DEADLINE, 0)
  setApicReg(cpu, APIC_TIMER_COUNT, 0)
  setDeadline(cpu, NEVER)
}

export function timerCurrentCount(cpu: usize, now: u64): u32 {
  let count = apicReg(cpu, APIC_TIMER_COUNT)
  let start = load<u64>(cpu + LAPIC + APIC_TIMER_START)
  if (count == 0 || timerMode(cpu) >= TIMER_TSC_DEADLINE) return 0
  if (now <= start) return count
  let elapsed = (now - start) / divisor(cpu)
  if (elapsed < count) return count - <u32>elapsed
  let initial = apicReg(cpu, APIC_REG_INITIAL_COUNT)
  if (timerMode(cpu) != TIMER_PERIODIC || initial == 0) return 0
  return initial - <u32>((elapsed - count) % initial)
}

/** Starts counting down from `count` at `now`. */
function run(cpu: usize, count: u32, now: u64): void {
  setApicReg(cpu, APIC_TIMER_COUNT, count)
  store<u64>(cpu + LAPIC + APIC_TIMER_START, now)
  setDeadline(cpu, count == 0 ? NEVER : now + <u64>count * divisor(cpu))
}

export function timerWriteInitialCount(cpu: usize, value: u32, now: u64): void {
  if (timerMode(cpu) == TIMER_TSC_DEADLINE) return // SDM: writes to the initial-count register are ignored
  setApicReg(cpu, APIC_REG_INITIAL_COUNT, value)
  run(cpu, value, now)
}

export function timerWriteDivide(cpu: usize, value: u32, now: u64): void {
  let count = timerCurrentCount(cpu, now)
  setApicReg(cpu, APIC_REG_DIVIDE, value)
  if (timerMode(cpu) < TIMER_TSC_DEADLINE) run(cpu, count, now)
}

/** A change to or from TSC-deadline mode disarms the timer (SDM 11.5.4.1); one-shot and periodic may be exchanged while it counts. */
export function timerWriteLvt(cpu: usize, value: u32, now: u64): void {
  let before = timerMode(cpu)
  let after = (value >> 17) & 3
  if (before == after) {
    setApicReg(cpu, APIC_REG_LVT_TIMER, value)
  } else if (before >= TIMER_TSC_DEADLINE || after >= TIMER_TSC_DEADLINE) {
    timerStop(cpu)
    setApicReg(cpu, APIC_REG_INITIAL_COUNT, 0)
    setApicReg(cpu, APIC_REG_LVT_TIMER, value)
  } else {
    let count = timerCurrentCount(cpu, now)
    setApicReg(cpu, APIC_REG_LVT_TIMER, value)
    run(cpu, count, now)
  }
}

/** IA32_TSC_DEADLINE: 0 disarms; a time that has passed expires at once. Ignored outside TSC-deadline mode. */
export function tscDeadlineWrite(cpu: usize, value: u64, now: u64): void {
  if (!apicEnabled(cpu) || timerMode(cpu) != TIMER_TSC_DEADLINE) return
  store<u64>(cpu + MSR_TSC_DEADLINE, value)
  lapicTscChanged(cpu, now)
}

export function tscDeadlineRead(cpu: usize): u64 {
  return timerMode(cpu) == TIMER_TSC_DEADLINE ? load<u64>(cpu + MSR_TSC_DEADLINE) : 0
}

/** To be called after MSR_TSC_OFFSET of this vCPU changed: an armed TSC deadline moves with it. */
export function lapicTscChanged(cpu: usize, now: u64): void {
  if (timerMode(cpu) != TIMER_TSC_DEADLINE) return
  let deadline = load<u64>(cpu + MSR_TSC_DEADLINE)
  if (deadline == 0) {
    setDeadline(cpu, NEVER)
    return
  }
  let tsc = now + load<u64>(cpu + MSR_TSC_OFFSET)
  if (deadline <= tsc) {
    store<u64>(cpu + LAPIC + APIC_TIMER_DEADLINE, now)
    timerExpire(cpu, now)
    updateDeadline()
  } else {
    let wait = deadline - tsc
    setDeadline(cpu, wait >= NEVER - now ? NEVER - 1 : now + wait)
  }
}

/** Fires the timer if it is due. The caller brings the machine-wide deadline up to date. */
export function timerExpire(cpu: usize, now: u64): void {
  if (timerDeadline(cpu) > now) return
  let next = NEVER
  if (timerMode(cpu) == TIMER_TSC_DEADLINE) {
    store<u64>(cpu + MSR_TSC_DEADLINE, 0)
  } else {
    let initial = apicReg(cpu, APIC_REG_INITIAL_COUNT)
    if (timerMode(cpu) == TIMER_PERIODIC && initial != 0) {
      let start = load<u64>(cpu + LAPIC + APIC_TIMER_START)
      let count: u64 = apicReg(cpu, APIC_TIMER_COUNT)
      let step = divisor(cpu)
      let elapsed = (now - start) / step
      let whole = elapsed < count ? 0 : (elapsed - count) / initial
      start += (count + whole * initial) * step
      store<u64>(cpu + LAPIC + APIC_TIMER_START, start)
      setApicReg(cpu, APIC_TIMER_COUNT, initial)
      next = max(start + <u64>initial * step, now + MIN_PERIOD)
    } else {
      setApicReg(cpu, APIC_TIMER_COUNT, 0)
    }
  }
  store<u64>(cpu + LAPIC + APIC_TIMER_DEADLINE, next)
  localInterrupt(cpu, APIC_REG_LVT_TIMER)
}
