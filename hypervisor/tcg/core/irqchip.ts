/**
 * The machine's interrupt wiring and timers: lines 0..23 to the IOAPIC and (0..15) to the PIC, and the machine-wide timer deadline. Chips are in
 * ioapic.ts, pic.ts, pit.ts; their state is at G_IRQCHIP:
 *   +0x000 u64 next deadline (ns), +0x008 u32 lowest-priority rotor, +0x00c u32 lines that are high
 *   +0x100 IOAPIC, +0x200 PIC pair, +0x300 PIT and port 0x61
 *
 * Line 0 (the PIT) drives PIC IR0 and IOAPIC pin 2 (where ACPI and MP tables announce it) and pin 0 (where a guest without an override
 * looks for it): guests unmask only one of them.
 *
 * Where each vCPU has a thread, it runs its own timer; the thread of vCPU 0 runs the PIT, too, whose deadline then is the machine-wide one, and main wakes it
 * when a line changes. Whoever sees a change of a line first applies it.
 */
import { G_CHIP_LOCK, G_CPU_COUNT, G_IRQCHIP, G_IRQ_DIRTY, G_LINES } from './layout'
import { timerDeadline, timerExpire } from './apic-timer'
import { IOAPIC_PINS, ioapicReset, ioapicSetPin } from './ioapic'
import { cpuAt } from './lapic'
import { picReset, picSetLine } from './pic'
import { acquire, multi, own, release, wake } from './sync'
import { pitDeadline, pitExpire, pitReset } from './pit'

export { ioapicRead, ioapicWrite } from './ioapic'
export { picPending, picRead, picWrite } from './pic'
export { pitPort61Read, pitPort61Write, pitRead, pitWrite } from './pit'

const NEXT_DEADLINE: usize = G_IRQCHIP
const LINES: usize = G_IRQCHIP + 12

export const NEVER: u64 = 0xffffffffffffffff
/**
 * No periodic timer interrupts more often than this: 20 us is 50000 interrupts a second, far above what any guest asks for (KVM's
 * default is 200 us), and leaves an interpreter time for the guest's own work.
 */
export const MIN_PERIOD: u64 = 20000

/** Power-up state of the shared chips. Levels of lines come back with the next irqApplyLines. */
export function irqchipReset(): void {
  memory.fill(G_IRQCHIP, 0, 0x100)
  ioapicReset()
  picReset()
  pitReset()
  for (let line: usize = 0; line < 32; line++) {
    let record = <usize>G_LINES + (line << 4)
    store<u32>(record + 8, atomic.load<u32>(record + 4))
  }
  atomic.store<i32>(G_IRQ_DIRTY, 1)
  updateDeadline()
}

/** Level of a line as its device drives it. `latch` false: the level only, its edge was already counted. */
export function setLine(gsi: u32, level: bool, latch: bool): void {
  if (gsi >= IOAPIC_PINS) return
  let lines = load<u32>(LINES)
  store<u32>(LINES, level ? lines | (1 << gsi) : lines & ~(1 << gsi))
  if (gsi < 16) picSetLine(gsi, level, latch)
  ioapicSetPin(gsi, level, latch)
  if (gsi == 0) ioapicSetPin(2, level, latch)
}

/** Raises or lowers interrupt line `gsi` (0..23). */
export function irqLine(gsi: i32, level: i32): void {
  setLine(gsi, level != 0, true)
}

/**
 * Applies what the main thread put into G_LINES. The main thread changes the level first, then counts a rising edge, then sets
 * G_IRQ_DIRTY; here edges are read before the level, so an edge is seen once and one that came and went is still latched.
 */
export function irqApplyLines(): void {
  atomic.store<i32>(G_IRQ_DIRTY, 0)
  applyLines()
}

function applyLines(): void {
  for (let gsi: u32 = 0; gsi < IOAPIC_PINS; gsi++) {
    let record = <usize>G_LINES + (gsi << 4)
    let edges = atomic.load<u32>(record + 4)
    let level = atomic.load<u32>(record) != 0
    let high = ((load<u32>(LINES) >> gsi) & 1) != 0
    if (edges != load<u32>(record + 8)) {
      store<u32>(record + 8, edges)
      if (high) setLine(gsi, false, true)
      setLine(gsi, true, true)
      if (!level) setLine(gsi, false, true)
    } else if (level != high) {
      setLine(gsi, level, false)
    }
  }
}

/** Recomputes the earliest deadline of all timers. */
export function updateDeadline(): void {
  let next = pitDeadline()
  if (multi) {
    if (next == load<u64>(NEXT_DEADLINE)) return
    store<u64>(NEXT_DEADLINE, next)
    wake(cpuAt(0))
    return
  }
  for (let i: u32 = 0, n = load<u32>(G_CPU_COUNT); i < n; i++) next = min(next, timerDeadline(cpuAt(i)))
  store<u64>(NEXT_DEADLINE, next)
}

/** Runs every timer that is due at `now` (ns). Cheap when none is. */
export function irqchipTick(now: u64): void {
  if (now < load<u64>(NEXT_DEADLINE)) return
  pitExpire(now)
  for (let i: u32 = 0, n = load<u32>(G_CPU_COUNT); i < n; i++) timerExpire(cpuAt(i), now)
  updateDeadline()
}

// ---- with a thread for each vCPU --------------------------------------------------------------------------------------------------

/**
 * Applies lines that have changed, or waits for the thread that is about it: who sees G_IRQ_DIRTY has the interrupt when it goes on. G_IRQ_DIRTY is 2 for as
 * long as that takes, unless main changes a line meanwhile.
 */
export function shareLines(): void {
  acquire(G_CHIP_LOCK)
  if (atomic.load<i32>(G_IRQ_DIRTY)) {
    atomic.store<i32>(G_IRQ_DIRTY, 2)
    applyLines()
    atomic.cmpxchg<i32>(G_IRQ_DIRTY, 2, 0)
  }
  release(G_CHIP_LOCK)
}

/** When a timer that this thread runs is due. */
export function ownDeadline(): u64 {
  return own == cpuAt(0) ? min(timerDeadline(own), load<u64>(NEXT_DEADLINE)) : timerDeadline(own)
}

/** Runs this thread's timers that are due. */
export function ownTick(now: u64): void {
  if (now < ownDeadline()) return
  acquire(G_CHIP_LOCK)
  timerExpire(own, now)
  if (own == cpuAt(0)) {
    pitExpire(now)
    updateDeadline()
  }
  release(G_CHIP_LOCK)
}

/** Machine time (ns) at which irqchipTick has work to do, all ones = no timer runs. */
export function irqchipNextDeadline(): u64 {
  return load<u64>(NEXT_DEADLINE)
}
