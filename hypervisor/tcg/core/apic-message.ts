/**
 * Interrupt messages between APICs: ICR (SDM volume 3 section 11.6), destinations of xAPIC and x2APIC (11.6.2, 11.12.10) and the
 * arbitration of lowest-priority messages, which here is a plain rotation over the APICs that match.
 */
import { EVENTS, EVENT_INIT, EVENT_SIPI, G_CPU_COUNT, G_IRQCHIP, HALTED, SIPI_VECTOR } from './layout'
import {
  APIC_REG_DFR, APIC_REG_ID, APIC_REG_LDR, ESR_SEND_ILLEGAL, MODE_FIXED, MODE_INIT, MODE_LOWEST, MODE_SIPI,
  accept, apicEnabled, apicError, apicReg, cpuAt, inX2apicMode, raise, softwareEnabled,
} from './lapic'

const ROTOR: usize = G_IRQCHIP + 8 // u32: index of the vCPU that took the last lowest-priority message

const ICR_LOGICAL: u32 = 1 << 11, ICR_ASSERT: u32 = 1 << 14, ICR_LEVEL: u32 = 1 << 15
const SHORTHAND_NONE: u32 = 0, SHORTHAND_SELF: u32 = 1, SHORTHAND_OTHERS: u32 = 3
const HALTED_FOR_SIPI: u32 = 2

/** Does the message's destination name this APIC? `wide`: 32-bit destination of an x2APIC ICR, else the 8 bits of ICR or IOAPIC. */
function matches(cpu: usize, destination: u32, logical: bool, wide: bool): bool {
  if (!apicEnabled(cpu)) return false
  if (destination == (wide ? 0xffffffff : 0xff)) return true
  let x2apic = inX2apicMode(cpu)
  let id = apicReg(cpu, APIC_REG_ID)
  if (!logical) return destination == (x2apic ? id : id >> 24)
  let ldr = apicReg(cpu, APIC_REG_LDR)
  if (x2apic) return ldr >> 16 == destination >> 16 && (ldr & destination & 0xffff) != 0
  if (destination > 0xff) return false
  ldr >>= 24
  switch (apicReg(cpu, APIC_REG_DFR) >> 28) {
    case 0xf: return (ldr & destination) != 0
    case 0: return (ldr >> 4 == destination >> 4 || destination >> 4 == 0xf) && (ldr & destination & 15) != 0
    default: return false
  }
}

function takeSipi(cpu: usize, vector: u32): void {
  // Only a processor that waits for it takes a SIPI (SDM 9.4.3); the second one of the usual pair falls on a running processor.
  if (atomic.load<u32>(cpu + HALTED) != HALTED_FOR_SIPI && !(atomic.load<i32>(cpu + EVENTS) & EVENT_INIT)) return
  store<u32>(cpu + SIPI_VECTOR, vector)
  raise(cpu, EVENT_SIPI)
}

/** Hands one message to every APIC it names. Returns how many accepted it. `except` is left out (0 = nobody). */
export function deliver(destination: u32, logical: bool, wide: bool, mode: u32, vector: u32, level: bool, except: usize): i32 {
  let count = load<u32>(G_CPU_COUNT)
  let taken = 0
  if (mode == MODE_LOWEST) {
    let start = load<u32>(ROTOR)
    for (let i: u32 = 1; i <= count; i++) {
      let index = (start + i) % count
      let cpu = cpuAt(index)
      if (cpu == except || !softwareEnabled(cpu) || !matches(cpu, destination, logical, wide)) continue
      store<u32>(ROTOR, index)
      return accept(cpu, mode, vector, level) ? 1 : 0
    }
    return 0
  }
  for (let i: u32 = 0; i < count; i++) {
    let cpu = cpuAt(i)
    if (cpu == except || !matches(cpu, destination, logical, wide)) continue
    if (mode == MODE_SIPI) {
      takeSipi(cpu, vector)
      taken++
    } else if (accept(cpu, mode, vector, level)) {
      taken++
    }
  }
  return taken
}

/** What a write to the ICR does. `icr` is its low half. */
export function sendIpi(cpu: usize, destination: u32, icr: u32, wide: bool): void {
  let mode = (icr >> 8) & 7
  let vector = icr & 0xff
  let shorthand = (icr >> 18) & 3
  if ((mode == MODE_FIXED || mode == MODE_LOWEST) && vector < 16) {
    apicError(cpu, ESR_SEND_ILLEGAL)
    return
  }
  // INIT level de-assert only synchronizes arbitration IDs, which this family does not have.
  if (mode == MODE_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT)) return
  if (shorthand == SHORTHAND_NONE) {
    deliver(destination, (icr & ICR_LOGICAL) != 0, wide, mode, vector, false, 0)
  } else if (shorthand == SHORTHAND_SELF) {
    if (mode == MODE_FIXED || mode == MODE_LOWEST) accept(cpu, MODE_FIXED, vector, false) // other modes are invalid (table 11-3)
  } else {
    deliver(0xffffffff, false, true, mode, vector, false, shorthand == SHORTHAND_OTHERS ? cpu : 0)
  }
}
