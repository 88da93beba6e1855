/**
 * Local APIC registers, acceptance and priority, Intel SDM volume 3 chapter 11 (xAPIC page at IA32_APIC_BASE); the timer is in
 * apic-timer.ts, interrupt messages in apic-message.ts, x2APIC MSRs and IA32_APIC_BASE in x2apic.ts. Left out: SMI, remote read,
 * CMCI, focus processor, EOI-broadcast suppression, writable APIC ID.
 *
 * State is the register page image of the SDM (32-bit registers every 16 bytes) in the first 1 KiB at `cpu + LAPIC`, followed by the
 * private fields below, so a reader of the page sees what the guest would see (the current-count register is computed on read).
 *
 * EVENT_INTR is exact: it is set if and only if lapicPending(cpu) >= 0 (IF and the interrupt shadow are the interpreter's business).
 * No function here takes a lock: where vCPUs have threads of their own, G_CHIP_LOCK goes around the calls that come from outside these files.
 */
import {
  APIC_ID, CPU_AREA, CPU_STRIDE, EVENTS, EVENT_INIT, EVENT_INTR, EVENT_NMI, EVENT_SIPI, G_CPU_COUNT, LAPIC, MSR_APIC_BASE,
} from './layout'
import { sendIpi } from './apic-message'
import { timerCurrentCount, timerStop, timerWriteDivide, timerWriteInitialCount, timerWriteLvt } from './apic-timer'
import { ioapicEoi, ioapicRetry } from './ioapic'
import { picAck, picOutput, picPending } from './pic'
import { wake } from './sync'

export { sendIpi } from './apic-message'
export { lapicTscChanged, tscDeadlineRead, tscDeadlineWrite } from './apic-timer'
export { apicBaseWrite, apicValue, x2apicRead, x2apicWrite } from './x2apic'

// Offsets in the register page (SDM table 11-1).
export const APIC_REG_ID: u32 = 0x20, APIC_REG_VERSION: u32 = 0x30, APIC_REG_TPR: u32 = 0x80, APIC_REG_APR: u32 = 0x90
export const APIC_REG_PPR: u32 = 0xa0, APIC_REG_EOI: u32 = 0xb0, APIC_REG_RRD: u32 = 0xc0, APIC_REG_LDR: u32 = 0xd0
export const APIC_REG_DFR: u32 = 0xe0, APIC_REG_SVR: u32 = 0xf0, APIC_REG_ISR: u32 = 0x100, APIC_REG_TMR: u32 = 0x180
export const APIC_REG_IRR: u32 = 0x200, APIC_REG_ESR: u32 = 0x280, APIC_REG_ICR_LOW: u32 = 0x300, APIC_REG_ICR_HIGH: u32 = 0x310
export const APIC_REG_LVT_TIMER: u32 = 0x320, APIC_REG_LVT_THERMAL: u32 = 0x330, APIC_REG_LVT_PERF: u32 = 0x340, APIC_REG_LVT_LINT0: u32 = 0x350
export const APIC_REG_LVT_LINT1: u32 = 0x360, APIC_REG_LVT_ERROR: u32 = 0x370, APIC_REG_INITIAL_COUNT: u32 = 0x380
export const APIC_REG_CURRENT_COUNT: u32 = 0x390, APIC_REG_DIVIDE: u32 = 0x3e0

// Private fields, offsets from cpu + LAPIC.
export const APIC_ERRORS: u32 = 0x400 // u32: errors seen since the last write of ESR
export const APIC_TIMER_START: u32 = 0x408 // u64 ns when the counter held APIC_TIMER_COUNT
export const APIC_TIMER_DEADLINE: u32 = 0x410 // u64 ns of the next expiry, all ones = none
export const APIC_TIMER_COUNT: u32 = 0x418 // u32 counter value at APIC_TIMER_START, 0 = stopped

export const APIC_BASE_BSP: u64 = 1 << 8
export const APIC_BASE_X2APIC: u64 = 1 << 10
export const APIC_BASE_ENABLE: u64 = 1 << 11
export const APIC_BASE_DEFAULT: u64 = 0xfee00000

const VERSION_VALUE: u32 = 0x00050014 // integrated APIC, six LVT entries, no EOI-broadcast suppression
const SVR_ENABLED: u32 = 0x100
const SVR_WRITABLE: u32 = 0x3ff
export const LVT_MASKED: u32 = 0x10000
const LVT_TIMER_WRITABLE: u32 = 0x700ff
const LVT_LINT_WRITABLE: u32 = 0x1a7ff // vector, mode, polarity, trigger, mask
const LVT_MODE_WRITABLE: u32 = 0x107ff // thermal, performance
const LVT_ERROR_WRITABLE: u32 = 0x100ff

export const ESR_SEND_ILLEGAL: u32 = 0x20, ESR_RECEIVE_ILLEGAL: u32 = 0x40, ESR_ILLEGAL_REGISTER: u32 = 0x80

export const MODE_FIXED: u32 = 0, MODE_LOWEST: u32 = 1, MODE_SMI: u32 = 2, MODE_NMI: u32 = 4
export const MODE_INIT: u32 = 5, MODE_SIPI: u32 = 6, MODE_EXTINT: u32 = 7

// @ts-ignore: decorator
@inline export function cpuAt(index: u32): usize {
  return <usize>CPU_AREA + index * CPU_STRIDE
}

// @ts-ignore: decorator
@inline export function apicReg(cpu: usize, offset: u32): u32 {
  return load<u32>(cpu + LAPIC + offset)
}

// @ts-ignore: decorator
@inline export function setApicReg(cpu: usize, offset: u32, value: u32): void {
  store<u32>(cpu + LAPIC + offset, value)
}

// @ts-ignore: decorator
@inline export function apicEnabled(cpu: usize): bool {
  return (load<u64>(cpu + MSR_APIC_BASE) & APIC_BASE_ENABLE) != 0
}

// @ts-ignore: decorator
@inline export function inX2apicMode(cpu: usize): bool {
  return (load<u64>(cpu + MSR_APIC_BASE) & APIC_BASE_X2APIC) != 0
}

/** True when the APIC takes fixed interrupts: enabled in IA32_APIC_BASE and in SVR. */
export function softwareEnabled(cpu: usize): bool {
  return apicEnabled(cpu) && (apicReg(cpu, APIC_REG_SVR) & SVR_ENABLED) != 0
}

/** Power-up state of vCPU `index`. LINT0 of the boot processor takes the PIC (virtual wire), as firmware would leave it. */
export function lapicReset(cpu: usize, index: i32, bsp: bool): void {
  store<u32>(cpu + APIC_ID, index)
  store<u64>(cpu + MSR_APIC_BASE, APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0))
  atomic.and<i32>(cpu + EVENTS, ~(EVENT_INTR | EVENT_NMI | EVENT_INIT | EVENT_SIPI))
  lapicInit(cpu)
}

/** What INIT does to the local APIC (SDM 11.4.7.3): as power-up, but IA32_APIC_BASE and the ID stay. */
export function lapicInit(cpu: usize): void {
  memory.fill(cpu + LAPIC, 0, 0x1000)
  let base = load<u64>(cpu + MSR_APIC_BASE)
  let x2apic = (base & APIC_BASE_X2APIC) != 0
  setApicId(cpu, x2apic)
  setApicReg(cpu, APIC_REG_VERSION, VERSION_VALUE)
  if (!x2apic) setApicReg(cpu, APIC_REG_DFR, 0xffffffff)
  setApicReg(cpu, APIC_REG_SVR, 0xff)
  for (let lvt: u32 = APIC_REG_LVT_TIMER; lvt <= APIC_REG_LVT_ERROR; lvt += 16) setApicReg(cpu, lvt, LVT_MASKED)
  if (base & APIC_BASE_BSP) setApicReg(cpu, APIC_REG_LVT_LINT0, MODE_EXTINT << 8)
  timerStop(cpu)
  refresh(cpu)
}

/** ID register and, in x2APIC mode, the logical destination derived from it (SDM 11.12.10.2). */
export function setApicId(cpu: usize, x2apic: bool): void {
  let id = load<u32>(cpu + APIC_ID)
  setApicReg(cpu, APIC_REG_ID, x2apic ? id : id << 24)
  setApicReg(cpu, APIC_REG_LDR, x2apic ? ((id & ~15) << 12) | (1 << (id & 15)) : 0)
}

// ---- events ---------------------------------------------------------------------------------------------------------------------

export function raise(cpu: usize, event: i32): void {
  if (!(atomic.or<i32>(cpu + EVENTS, event) & event)) wake(cpu)
}

/** Brings EVENT_INTR in line with what is deliverable. Called after every change of IRR, ISR, TPR, LVT or the PIC's output. */
export function refresh(cpu: usize): void {
  if (lapicPending(cpu) >= 0) raise(cpu, EVENT_INTR)
  else atomic.and<i32>(cpu + EVENTS, ~EVENT_INTR)
}

export function refreshAll(): void {
  for (let i: u32 = 0, n = load<u32>(G_CPU_COUNT); i < n; i++) refresh(cpuAt(i))
}

// ---- 256-bit vector sets --------------------------------------------------------------------------------------------------------

function highest(cpu: usize, set: u32): i32 {
  for (let word: i32 = 7; word >= 0; word--) {
    let bits = apicReg(cpu, set + (word << 4))
    if (bits) return (word << 5) + 31 - <i32>clz(bits)
  }
  return -1
}

function setBit(cpu: usize, set: u32, vector: u32): void {
  let at = set + (vector >> 5 << 4)
  setApicReg(cpu, at, apicReg(cpu, at) | (1 << (vector & 31)))
}

function clearBit(cpu: usize, set: u32, vector: u32): void {
  let at = set + (vector >> 5 << 4)
  setApicReg(cpu, at, apicReg(cpu, at) & ~(1 << (vector & 31)))
}

function testBit(cpu: usize, set: u32, vector: u32): bool {
  return ((apicReg(cpu, set + (vector >> 5 << 4)) >> (vector & 31)) & 1) != 0
}

// ---- priority, acknowledge, EOI ---------------------------------------------------------------------------------------------------

/** Processor priority (SDM 11.8.3.1), kept in the page image. */
function processorPriority(cpu: usize): u32 {
  let task = apicReg(cpu, APIC_REG_TPR)
  let isr = highest(cpu, APIC_REG_ISR)
  let service: u32 = isr < 0 ? 0 : isr & 0xf0
  let priority = (task & 0xf0) >= service ? task : service
  setApicReg(cpu, APIC_REG_PPR, priority)
  return priority
}

/** ExtINT: LINT0 in that mode, or no APIC at all (then INTR is the PIC's wire to the boot processor). */
function takesPic(cpu: usize): bool {
  if (!apicEnabled(cpu)) return (load<u64>(cpu + MSR_APIC_BASE) & APIC_BASE_BSP) != 0
  let lint0 = apicReg(cpu, APIC_REG_LVT_LINT0)
  return !(lint0 & LVT_MASKED) && ((lint0 >> 8) & 7) == MODE_EXTINT
}

/** Vector that this vCPU would take now if interrupts are enabled, -1 = none. ExtINT goes before the local APIC, as in KVM. */
export function lapicPending(cpu: usize): i32 {
  if (picOutput() && takesPic(cpu)) return picPending()
  if (!apicEnabled(cpu)) return -1
  let priority = processorPriority(cpu)
  let vector = highest(cpu, APIC_REG_IRR)
  return vector >= 0 && <u32>(vector >> 4) > priority >> 4 ? vector : -1
}

/** Takes the interrupt of lapicPending: IRR to ISR, or the PIC's INTA cycle. -1 = nothing to take any more. */
export function lapicAck(cpu: usize): i32 {
  if (picOutput() && takesPic(cpu)) return picAck()
  let vector = lapicPending(cpu)
  if (vector >= 0) {
    clearBit(cpu, APIC_REG_IRR, vector)
    setBit(cpu, APIC_REG_ISR, vector)
  }
  refresh(cpu)
  return vector
}

/** End of interrupt: retires the highest ISR bit and tells the IOAPIC if it was level-triggered. */
export function lapicEoi(cpu: usize): void {
  let vector = highest(cpu, APIC_REG_ISR)
  if (vector < 0) return
  clearBit(cpu, APIC_REG_ISR, vector)
  if (testBit(cpu, APIC_REG_TMR, vector)) ioapicEoi(vector)
  refresh(cpu)
}

/** CR8 read and write: bits 7:4 of the TPR. */
export function getTpr(cpu: usize): u32 {
  return apicReg(cpu, APIC_REG_TPR) >> 4
}

export function setTpr(cpu: usize, cr8: u32): void {
  setApicReg(cpu, APIC_REG_TPR, (cr8 & 15) << 4)
  refresh(cpu)
}

// ---- acceptance -------------------------------------------------------------------------------------------------------------------

/** Takes one interrupt message. False: this APIC does not accept it (disabled), so a level-triggered source must try again. */
export function accept(cpu: usize, mode: u32, vector: u32, level: bool): bool {
  if (!apicEnabled(cpu)) return false
  switch (mode) {
    case 0: // fixed
    case 1: // lowest priority, already arbitrated
      if (!softwareEnabled(cpu)) return false
      if (vector < 16) {
        apicError(cpu, ESR_RECEIVE_ILLEGAL)
        return true
      }
      if (level) setBit(cpu, APIC_REG_TMR, vector)
      else clearBit(cpu, APIC_REG_TMR, vector)
      setBit(cpu, APIC_REG_IRR, vector)
      refresh(cpu)
      return true
    case 4:
      raise(cpu, EVENT_NMI)
      return true
    case 5: // INIT also forgets a SIPI that was not taken yet
      atomic.and<i32>(cpu + EVENTS, ~EVENT_SIPI)
      raise(cpu, EVENT_INIT)
      return true
    default: // SMI: no SMM here; ExtINT only comes through LINT0
      return true
  }
}

/** An event of one of the APIC's own sources (SDM 11.5.1). */
export function localInterrupt(cpu: usize, lvt: u32): void {
  let entry = apicReg(cpu, lvt)
  if (entry & LVT_MASKED) return
  let mode = lvt == APIC_REG_LVT_TIMER || lvt == APIC_REG_LVT_ERROR ? MODE_FIXED : (entry >> 8) & 7
  if (mode == MODE_EXTINT) {
    refresh(cpu)
  } else if (mode == MODE_FIXED && (entry & 0xff) < 16 && lvt == APIC_REG_LVT_ERROR) {
    setErrors(cpu, ESR_RECEIVE_ILLEGAL) // reporting it through the same entry would never end
  } else if (mode == MODE_FIXED || mode == MODE_NMI || mode == MODE_INIT) {
    accept(cpu, mode, entry & 0xff, false)
  }
}

/** Rising edge of the PIC's INT output on every LINT0 that is not ExtINT (those look at the PIC itself). */
export function lint0Edge(): void {
  for (let i: u32 = 0, n = load<u32>(G_CPU_COUNT); i < n; i++) {
    let cpu = cpuAt(i)
    if (apicEnabled(cpu)) localInterrupt(cpu, APIC_REG_LVT_LINT0)
  }
}

/** The NMI button: a pulse on LINT1. */
export function lapicNmi(cpu: usize): void {
  if (!apicEnabled(cpu)) raise(cpu, EVENT_NMI)
  else localInterrupt(cpu, APIC_REG_LVT_LINT1)
}

function setErrors(cpu: usize, errors: u32): void {
  setApicReg(cpu, APIC_ERRORS, apicReg(cpu, APIC_ERRORS) | errors)
}

export function apicError(cpu: usize, errors: u32): void {
  let known = apicReg(cpu, APIC_ERRORS)
  setErrors(cpu, errors)
  if (errors & ~known) localInterrupt(cpu, APIC_REG_LVT_ERROR)
}

// ---- register access --------------------------------------------------------------------------------------------------------------

/** Bits of a register that software may write, 0 for registers that cannot be written as plain values. */
export function writableBits(offset: u32): u32 {
  switch (offset) {
    case APIC_REG_TPR: return 0xff
    case APIC_REG_SVR: return SVR_WRITABLE
    case APIC_REG_LVT_TIMER: return LVT_TIMER_WRITABLE
    case APIC_REG_LVT_THERMAL:
    case APIC_REG_LVT_PERF: return LVT_MODE_WRITABLE
    case APIC_REG_LVT_LINT0:
    case APIC_REG_LVT_LINT1: return LVT_LINT_WRITABLE
    case APIC_REG_LVT_ERROR: return LVT_ERROR_WRITABLE
    case APIC_REG_DIVIDE: return 0xb
    case APIC_REG_INITIAL_COUNT: return 0xffffffff
    default: return 0
  }
}

export function readable(offset: u32): bool {
  switch (offset) {
    case APIC_REG_ID: case APIC_REG_VERSION: case APIC_REG_TPR: case APIC_REG_APR: case APIC_REG_PPR: case APIC_REG_EOI: case APIC_REG_RRD:
    case APIC_REG_LDR: case APIC_REG_DFR: case APIC_REG_SVR: case APIC_REG_ESR: case APIC_REG_ICR_LOW: case APIC_REG_ICR_HIGH: case APIC_REG_DIVIDE:
      return true
    default:
      return (offset >= APIC_REG_ISR && offset < APIC_REG_ESR) || (offset >= APIC_REG_LVT_TIMER && offset <= APIC_REG_CURRENT_COUNT)
  }
}

/** Value of an existing register, both modes. */
export function registerValue(cpu: usize, offset: u32, now: u64): u32 {
  if (offset == APIC_REG_PPR) return processorPriority(cpu)
  if (offset == APIC_REG_CURRENT_COUNT) return timerCurrentCount(cpu, now)
  return apicReg(cpu, offset)
}

/** Write of a register that both modes have; reserved bits are dropped. */
export function registerWrite(cpu: usize, offset: u32, value: u32, now: u64): void {
  value &= writableBits(offset)
  switch (offset) {
    case APIC_REG_SVR: {
      setApicReg(cpu, offset, value)
      if (value & SVR_ENABLED) {
        ioapicRetry()
      } else { // SDM 11.4.7.2: the mask bits of all LVT entries are set
        for (let lvt: u32 = APIC_REG_LVT_TIMER; lvt <= APIC_REG_LVT_ERROR; lvt += 16) setApicReg(cpu, lvt, apicReg(cpu, lvt) | LVT_MASKED)
      }
      break
    }
    case APIC_REG_LVT_TIMER: case APIC_REG_LVT_THERMAL: case APIC_REG_LVT_PERF:
    case APIC_REG_LVT_LINT0: case APIC_REG_LVT_LINT1: case APIC_REG_LVT_ERROR:
      if (!(apicReg(cpu, APIC_REG_SVR) & SVR_ENABLED)) value |= LVT_MASKED
      if (offset == APIC_REG_LVT_TIMER) timerWriteLvt(cpu, value, now)
      else setApicReg(cpu, offset, value)
      break
    case APIC_REG_INITIAL_COUNT:
      timerWriteInitialCount(cpu, value, now)
      break
    case APIC_REG_DIVIDE:
      timerWriteDivide(cpu, value, now)
      break
    default: // TPR
      setApicReg(cpu, offset, value)
  }
  refresh(cpu)
}

/** Write of ESR: shows what was seen since the previous write (SDM 11.5.3). */
export function latchErrors(cpu: usize): void {
  setApicReg(cpu, APIC_REG_ESR, apicReg(cpu, APIC_ERRORS))
  setApicReg(cpu, APIC_ERRORS, 0)
}

/** Read in the xAPIC page; `offset` is 0..0xfff. Bytes 4..15 of each 16 read as 0, a reserved register sets ESR bit 7. */
export function lapicRead(cpu: usize, offset: u32, now: u64): u32 {
  if (!apicEnabled(cpu) || inX2apicMode(cpu)) return 0xffffffff
  let register = offset & 0xff0
  if (!readable(register)) {
    apicError(cpu, ESR_ILLEGAL_REGISTER)
    return 0
  }
  if (offset & 12) return 0
  return registerValue(cpu, register, now) >> ((offset & 3) << 3)
}

/** Write in the xAPIC page. Only aligned 32-bit writes exist (SDM 11.4.1); others are ignored. */
export function lapicWrite(cpu: usize, offset: u32, value: u32, now: u64): void {
  if (!apicEnabled(cpu) || inX2apicMode(cpu) || (offset & 15)) return
  offset &= 0xff0
  switch (offset) {
    case APIC_REG_EOI:
      lapicEoi(cpu)
      return
    case APIC_REG_LDR:
      setApicReg(cpu, offset, value & 0xff000000)
      ioapicRetry()
      return
    case APIC_REG_DFR:
      setApicReg(cpu, offset, value | 0x0fffffff)
      ioapicRetry()
      return
    case APIC_REG_ESR:
      latchErrors(cpu)
      return
    case APIC_REG_ICR_LOW:
      setApicReg(cpu, offset, value & 0xccfff & ~0x1000) // delivery status: always idle
      sendIpi(cpu, apicReg(cpu, APIC_REG_ICR_HIGH) >> 24, value, false)
      return
    case APIC_REG_ICR_HIGH:
      setApicReg(cpu, offset, value & 0xff000000)
      return
    default:
      if (writableBits(offset)) registerWrite(cpu, offset, value, now)
      else if (!readable(offset)) apicError(cpu, ESR_ILLEGAL_REGISTER)
  }
}
