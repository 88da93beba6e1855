/**
 * x2APIC: the local APIC as MSRs 0x800..0x83f, and the mode switch in IA32_APIC_BASE (Intel SDM volume 3 section 11.12).
 * Every function returns 0, or -1 where the processor raises #GP(0).
 */
import { CPUID_COUNT, CPUID_TABLE, MSR_APIC_BASE } from './layout'
import {
  APIC_BASE_BSP, APIC_BASE_ENABLE, APIC_BASE_X2APIC, APIC_REG_APR, APIC_REG_DFR, APIC_REG_EOI, APIC_REG_ESR, APIC_REG_ICR_HIGH, APIC_REG_ICR_LOW,
  APIC_REG_RRD, ESR_SEND_ILLEGAL, MODE_FIXED,
  accept, apicEnabled, apicError, apicReg, inX2apicMode, lapicEoi, lapicInit, latchErrors, readable, refresh, registerValue, registerWrite, sendIpi,
  setApicId, setApicReg, writableBits,
} from './lapic'

const MSR_FIRST: u32 = 0x800, MSR_LAST: u32 = 0x83f
const SELF_IPI: u32 = 0x3f0 // 0x83f as an offset in the page
const ICR_RESERVED: u32 = 0xfff32000
const LVT_READ_ONLY: u32 = 0x5000 // delivery status, remote IRR: read-modify-write must not fault

let value: u64 = 0

/** Value of the last successful x2apicRead of this instance. */
export function apicValue(): u64 {
  return value
}

export function x2apicRead(cpu: usize, msr: u32, now: u64): i32 {
  if (msr < MSR_FIRST || msr > MSR_LAST || !inX2apicMode(cpu)) return -1
  let offset = (msr - MSR_FIRST) << 4
  switch (offset) {
    case APIC_REG_APR: case APIC_REG_EOI: case APIC_REG_RRD: case APIC_REG_DFR: case APIC_REG_ICR_HIGH:
      return -1
    case APIC_REG_ICR_LOW:
      value = <u64>apicReg(cpu, APIC_REG_ICR_HIGH) << 32 | apicReg(cpu, APIC_REG_ICR_LOW)
      return 0
    default:
      if (!readable(offset)) return -1
      value = registerValue(cpu, offset, now)
      return 0
  }
}

export function x2apicWrite(cpu: usize, msr: u32, written: u64, now: u64): i32 {
  if (msr < MSR_FIRST || msr > MSR_LAST || !inX2apicMode(cpu)) return -1
  let offset = (msr - MSR_FIRST) << 4
  let low = <u32>written
  if (offset == APIC_REG_ICR_LOW) {
    if (low & ICR_RESERVED) return -1
    setApicReg(cpu, APIC_REG_ICR_LOW, low & ~0x1000)
    setApicReg(cpu, APIC_REG_ICR_HIGH, <u32>(written >> 32))
    sendIpi(cpu, <u32>(written >> 32), low, true)
    return 0
  }
  if (written >> 32) return -1
  switch (offset) {
    case APIC_REG_EOI:
      if (low) return -1
      lapicEoi(cpu)
      return 0
    case APIC_REG_ESR:
      if (low) return -1
      latchErrors(cpu)
      return 0
    case SELF_IPI:
      if (low & ~0xff) return -1
      if (low < 16) apicError(cpu, ESR_SEND_ILLEGAL)
      else accept(cpu, MODE_FIXED, low, false)
      return 0
    default: {
      let bits = writableBits(offset)
      if (bits == 0) return -1
      if (offset >= 0x320 && offset <= 0x370) bits |= LVT_READ_ONLY
      if (low & ~bits) return -1
      registerWrite(cpu, offset, low, now)
      return 0
    }
  }
}

/** Physical address width from the CPUID table, 36 when the table does not say. */
function physicalBits(cpu: usize): u64 {
  let entry = cpu + CPUID_TABLE
  for (let i: u32 = 0, n = load<u32>(cpu + CPUID_COUNT); i < n; i++, entry += 32) {
    if (load<u32>(entry) == 0x80000008) return min<u64>(max<u64>(load<u8>(entry + 8), 32), 52)
  }
  return 36
}

/**
 * Write of IA32_APIC_BASE. Allowed steps (SDM figure 11-27): disabled -> xAPIC -> x2APIC -> disabled, xAPIC -> disabled. Disabling
 * resets the APIC. The integrator clears CPUID.1:EDX.APIC while the enable bit is 0 and moves the MMIO page with the base.
 */
export function apicBaseWrite(cpu: usize, written: u64): i32 {
  let before = load<u64>(cpu + MSR_APIC_BASE)
  let allowed = APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE | (((<u64>1 << physicalBits(cpu)) - 1) & ~0xfff)
  if (written & ~allowed) return -1
  let on = (written & APIC_BASE_ENABLE) != 0
  let extended = (written & APIC_BASE_X2APIC) != 0
  if (extended && !on) return -1
  if (extended && !apicEnabled(cpu)) return -1
  if (on && !extended && inX2apicMode(cpu)) return -1
  store<u64>(cpu + MSR_APIC_BASE, written)
  if (!on && (before & APIC_BASE_ENABLE)) {
    lapicInit(cpu)
  } else if (extended && !(before & APIC_BASE_X2APIC)) {
    setApicId(cpu, true)
    setApicReg(cpu, APIC_REG_ICR_HIGH, 0)
  }
  refresh(cpu)
  return 0
}
