/**
 * 82093AA I/O APIC, version 0x11 as KVM reports it: 24 pins, index/data window, remote IRR for level-triggered pins. Left out: polarity
 * (lines arrive as asserted/deasserted, as in KVM), arbitration, the ExtINT delivery mode (the PIC reaches a processor through LINT0).
 */
import { G_IRQCHIP } from './layout'
import { MODE_EXTINT, MODE_SMI } from './lapic'
import { deliver } from './apic-message'

const SELECT: usize = G_IRQCHIP + 0x100 // u32 IOREGSEL
const ID: usize = G_IRQCHIP + 0x104 // u32, bits 27:24
const LINES: usize = G_IRQCHIP + 0x108 // u32: pins that are high
export const IOAPIC_ENTRIES: usize = G_IRQCHIP + 0x140 // 24 * u64 redirection table
export const IOAPIC_PINS: u32 = 24

const VERSION_VALUE: u32 = 0x00170011
const MMIO_SELECT: u32 = 0x00, MMIO_WINDOW: u32 = 0x10

const RTE_LOGICAL: u64 = 1 << 11, RTE_REMOTE_IRR: u64 = 1 << 14, RTE_LEVEL: u64 = 1 << 15, RTE_MASKED: u64 = 1 << 16
const RTE_WRITABLE_LOW: u32 = 0x1afff

function entry(pin: u32): u64 {
  return load<u64>(IOAPIC_ENTRIES + (pin << 3))
}

function setEntry(pin: u32, value: u64): void {
  store<u64>(IOAPIC_ENTRIES + (pin << 3), value)
}

export function ioapicReset(): void {
  memory.fill(SELECT, 0, 0x40)
  for (let pin: u32 = 0; pin < IOAPIC_PINS; pin++) setEntry(pin, RTE_MASKED)
}

function send(pin: u32): void {
  let rte = entry(pin)
  let mode = <u32>(rte >> 8) & 7
  if (mode == MODE_SMI || mode == MODE_EXTINT) return
  let level = (rte & RTE_LEVEL) != 0 && mode <= 1
  let taken = deliver(<u32>(rte >> 56), (rte & RTE_LOGICAL) != 0, false, mode, <u32>rte & 0xff, level, 0)
  if (level && taken) setEntry(pin, entry(pin) | RTE_REMOTE_IRR)
}

/** Sends a level-triggered pin that is high and has no message outstanding. */
function serviceLevel(pin: u32): void {
  let rte = entry(pin)
  if ((rte & (RTE_LEVEL | RTE_MASKED | RTE_REMOTE_IRR)) == RTE_LEVEL && (load<u32>(LINES) >> pin) & 1) send(pin)
}

/**
 * A pin changes. An edge on a masked pin is lost, as the data sheet says. `latch` false raises the level without counting as an edge
 * (the edge was seen before).
 */
export function ioapicSetPin(pin: u32, level: bool, latch: bool): void {
  let lines = load<u32>(LINES)
  let bit: u32 = 1 << pin
  store<u32>(LINES, level ? lines | bit : lines & ~bit)
  let rte = entry(pin)
  if (!level || rte & RTE_MASKED) return
  if (rte & RTE_LEVEL) serviceLevel(pin)
  else if (latch && !(lines & bit)) send(pin)
}

/** EOI broadcast of a local APIC: the pin may interrupt again, and does if its line is still high. */
export function ioapicEoi(vector: u32): void {
  for (let pin: u32 = 0; pin < IOAPIC_PINS; pin++) {
    let rte = entry(pin)
    if ((<u32>rte & 0xff) != vector || !(rte & RTE_REMOTE_IRR)) continue
    setEntry(pin, rte & ~RTE_REMOTE_IRR)
    serviceLevel(pin)
  }
}

/** Tries level-triggered pins again that no local APIC accepted so far. */
export function ioapicRetry(): void {
  if (!load<u32>(LINES)) return
  for (let pin: u32 = 0; pin < IOAPIC_PINS; pin++) serviceLevel(pin)
}

export function ioapicRead(offset: u32): u32 {
  if (offset == MMIO_SELECT) return load<u32>(SELECT)
  if (offset != MMIO_WINDOW) return 0
  let index = load<u32>(SELECT)
  switch (index) {
    case 0: case 2: return load<u32>(ID) // 2: arbitration ID, loaded with the ID
    case 1: return VERSION_VALUE
    default: {
      let pin = (index - 0x10) >> 1
      if (index < 0x10 || pin >= IOAPIC_PINS) return 0
      return <u32>(entry(pin) >> ((index & 1) << 5))
    }
  }
}

export function ioapicWrite(offset: u32, value: u32): void {
  if (offset == MMIO_SELECT) {
    store<u32>(SELECT, value & 0xff)
    return
  }
  if (offset != MMIO_WINDOW) return
  let index = load<u32>(SELECT)
  if (index == 0) {
    store<u32>(ID, value & 0x0f000000)
    return
  }
  let pin = (index - 0x10) >> 1
  if (index < 0x10 || pin >= IOAPIC_PINS) return
  let rte = entry(pin)
  if (index & 1) {
    rte = (rte & 0xffffffff) | <u64>(value & 0xff000000) << 32
  } else {
    rte = (rte & ~(<u64>RTE_WRITABLE_LOW)) | (value & RTE_WRITABLE_LOW)
    // Guests of a version-0x11 IOAPIC end a level interrupt by switching the entry to edge and back.
    if (!(rte & RTE_LEVEL)) rte &= ~RTE_REMOTE_IRR
  }
  setEntry(pin, rte)
  serviceLevel(pin)
}
