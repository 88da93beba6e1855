/**
 * Pair of 8259A interrupt controllers as in a PC: master at 0x20, slave at 0xa0 on IR2, ELCR at 0x4d0/0x4d1 (Intel 8259A data sheet;
 * ELCR from the 82371SB). Left out: MCS-80 mode, buffered mode, slave positions other than IR2. As in KVM an edge stays latched even
 * if the line falls before it is acknowledged. All lines are masked until the first ICW1, as firmware leaves them.
 */
import { G_IRQCHIP } from './layout'
import { lint0Edge, refreshAll } from './lapic'

const MASTER: usize = G_IRQCHIP + 0x200
const SLAVE: usize = G_IRQCHIP + 0x240
const OUTPUT: usize = G_IRQCHIP + 0x280 // u32: level of the master's INT

// u32 fields of one chip
const IRR = 0, ISR = 4, IMR = 8, LINE = 12, ELCR = 16
const LOWEST = 20 // the level that has the lowest priority
const BASE = 24 // vector of IR0
const EXPECT = 28 // 0, or the ICW (2..4) that the next write to the odd port is
const WANTS_ICW4 = 32
const FLAGS = 36

const READ_ISR: u32 = 1, POLL: u32 = 2, SPECIAL_MASK: u32 = 4, AUTO_EOI: u32 = 8, ROTATE_AUTO_EOI: u32 = 16, FULLY_NESTED: u32 = 32
const LEVEL_TRIGGERED: u32 = 64, SINGLE: u32 = 128
const CASCADE: u32 = 2

// @ts-ignore: decorator
@inline function get(chip: usize, field: usize): u32 {
  return load<u32>(chip + field)
}

// @ts-ignore: decorator
@inline function set(chip: usize, field: usize, value: u32): void {
  store<u32>(chip + field, value)
}

// @ts-ignore: decorator
@inline function flag(chip: usize, bit: u32): bool {
  return (get(chip, FLAGS) & bit) != 0
}

function setFlag(chip: usize, bit: u32, on: bool): void {
  let flags = get(chip, FLAGS)
  set(chip, FLAGS, on ? flags | bit : flags & ~bit)
}

export function picReset(): void {
  memory.fill(MASTER, 0, 0x100)
  set(MASTER, LOWEST, 7)
  set(SLAVE, LOWEST, 7)
  set(MASTER, IMR, 0xff)
  set(SLAVE, IMR, 0xff)
}

/** Rank (0 best .. 7) of the best level in `levels` under the present rotation, 8 = empty. */
function bestRank(chip: usize, levels: u32): u32 {
  let lowest = get(chip, LOWEST)
  for (let rank: u32 = 0; rank < 8; rank++) {
    if ((levels >> ((lowest + 1 + rank) & 7)) & 1) return rank
  }
  return 8
}

/** Level that the chip requests INT for, -1 = none. */
function requested(chip: usize): i32 {
  let mask = get(chip, IMR)
  let rank = bestRank(chip, get(chip, IRR) & ~mask)
  if (rank == 8) return -1
  let level = (get(chip, LOWEST) + 1 + rank) & 7
  let service = get(chip, ISR)
  if (flag(chip, SPECIAL_MASK)) service &= ~mask
  let serving = bestRank(chip, service)
  if (rank < serving) return level
  // Special fully nested mode: a better request of the slave passes while the slave is in service.
  return rank == serving && chip == MASTER && level == CASCADE && flag(chip, FULLY_NESTED) ? level : -1
}

/** Carries the slave's INT to the master and the master's to the processors. */
function update(): void {
  let irr = get(MASTER, IRR) & ~(1 << CASCADE)
  if (requested(SLAVE) >= 0) irr |= 1 << CASCADE
  set(MASTER, IRR, irr)
  let output: u32 = requested(MASTER) >= 0 ? 1 : 0
  let before = load<u32>(OUTPUT)
  store<u32>(OUTPUT, output)
  if (output != before) {
    if (output) lint0Edge()
    refreshAll()
  }
}

function isLevel(chip: usize, bit: u32): bool {
  return flag(chip, LEVEL_TRIGGERED) || (get(chip, ELCR) & bit) != 0
}

/** ISA line 0..15 (2 is the cascade and has no pin). `latch` false raises the level without counting as an edge. */
export function picSetLine(irq: u32, level: bool, latch: bool): void {
  if (irq == CASCADE) return
  let chip = irq < 8 ? MASTER : SLAVE
  let bit: u32 = 1 << (irq & 7)
  let line = get(chip, LINE)
  let irr = get(chip, IRR)
  if (isLevel(chip, bit)) irr = level ? irr | bit : irr & ~bit
  else if (level && latch && !(line & bit)) irr |= bit
  set(chip, LINE, level ? line | bit : line & ~bit)
  set(chip, IRR, irr)
  update()
}

/** Is the INT wire to the processors high? */
export function picOutput(): bool {
  return load<u32>(OUTPUT) != 0
}

/** Vector that an INTA cycle would give now, -1 = INT is low. */
export function picPending(): i32 {
  let level = requested(MASTER)
  if (level < 0) return -1
  if (level != CASCADE) return get(MASTER, BASE) + level
  let second = requested(SLAVE)
  return get(SLAVE, BASE) + (second < 0 ? 7 : second)
}

function acknowledge(chip: usize, level: u32): void {
  let bit: u32 = 1 << level
  if (flag(chip, AUTO_EOI)) {
    if (flag(chip, ROTATE_AUTO_EOI)) set(chip, LOWEST, level)
  } else {
    set(chip, ISR, get(chip, ISR) | bit)
  }
  if (!isLevel(chip, bit)) set(chip, IRR, get(chip, IRR) & ~bit)
}

/** INTA cycle: returns the vector. A request that went away gives the spurious level 7 without an ISR bit. */
export function picAck(): i32 {
  let level = requested(MASTER)
  let vector: i32
  if (level < 0) {
    vector = get(MASTER, BASE) + 7
  } else {
    acknowledge(MASTER, level)
    if (level == CASCADE) {
      let second = requested(SLAVE)
      if (second >= 0) acknowledge(SLAVE, second)
      vector = get(SLAVE, BASE) + (second < 0 ? 7 : second)
    } else {
      vector = get(MASTER, BASE) + level
    }
  }
  update()
  return vector
}

function endOfInterrupt(chip: usize, level: u32): void {
  set(chip, ISR, get(chip, ISR) & ~(1 << level))
}

function writeOcw2(chip: usize, value: u32): void {
  let command = value >> 5
  let level = value & 7
  if (command == 0 || command == 4) {
    setFlag(chip, ROTATE_AUTO_EOI, command == 4)
  } else if (command == 1 || command == 5) { // non-specific EOI; in special mask mode it leaves masked levels alone
    let service = get(chip, ISR)
    if (flag(chip, SPECIAL_MASK)) service &= ~get(chip, IMR)
    let rank = bestRank(chip, service)
    if (rank == 8) return
    level = (get(chip, LOWEST) + 1 + rank) & 7
    endOfInterrupt(chip, level)
    if (command == 5) set(chip, LOWEST, level)
  } else if (command == 3 || command == 7) {
    endOfInterrupt(chip, level)
    if (command == 7) set(chip, LOWEST, level)
  } else if (command == 6) {
    set(chip, LOWEST, level)
  }
}

function writeIcw1(chip: usize, value: u32): void {
  set(chip, ISR, 0)
  set(chip, IMR, 0)
  set(chip, LOWEST, 7)
  set(chip, FLAGS, (value & 8 ? LEVEL_TRIGGERED : 0) | (value & 2 ? SINGLE : 0))
  // Edge sense is reset: what is high now needs a new edge, level-triggered lines stay requested.
  set(chip, IRR, get(chip, LINE) & (value & 8 ? 0xff : get(chip, ELCR)))
  set(chip, WANTS_ICW4, value & 1)
  set(chip, EXPECT, 2)
}

function writeData(chip: usize, value: u32): void {
  switch (get(chip, EXPECT)) {
    case 2:
      set(chip, BASE, value & 0xf8)
      set(chip, EXPECT, flag(chip, SINGLE) ? (get(chip, WANTS_ICW4) ? 4 : 0) : 3)
      break
    case 3: // the wiring is fixed: slave on IR2
      set(chip, EXPECT, get(chip, WANTS_ICW4) ? 4 : 0)
      break
    case 4:
      setFlag(chip, AUTO_EOI, (value & 2) != 0)
      setFlag(chip, FULLY_NESTED, (value & 16) != 0)
      set(chip, EXPECT, 0)
      break
    default:
      set(chip, IMR, value)
  }
}

/** Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1; others read as 0xff. */
export function picRead(port: u32): u32 {
  if (port == 0x4d0) return get(MASTER, ELCR)
  if (port == 0x4d1) return get(SLAVE, ELCR)
  if ((port & ~0x81) != 0x20) return 0xff
  let chip = port & 0x80 ? SLAVE : MASTER
  if (flag(chip, POLL)) { // the next read after a poll command is an acknowledge
    setFlag(chip, POLL, false)
    let level = requested(chip)
    if (level < 0) return 0
    acknowledge(chip, level)
    update()
    return 0x80 | level
  }
  if (port & 1) return get(chip, IMR)
  return flag(chip, READ_ISR) ? get(chip, ISR) : get(chip, IRR)
}

export function picWrite(port: u32, value: u32): void {
  value &= 0xff
  if (port == 0x4d0 || port == 0x4d1) {
    let slave = port == 0x4d1
    let chip = slave ? SLAVE : MASTER
    let elcr = value & (slave ? 0xde : 0xf8) // IRQ 0, 1, 2, 8, 13 are always edges
    let changed = elcr & ~get(chip, ELCR)
    set(chip, ELCR, elcr)
    set(chip, IRR, (get(chip, IRR) & ~changed) | (get(chip, LINE) & elcr))
  } else if ((port & ~0x81) == 0x20) {
    let chip = port & 0x80 ? SLAVE : MASTER
    if (port & 1) {
      writeData(chip, value)
    } else if (value & 0x10) {
      writeIcw1(chip, value)
    } else if (value & 8) { // OCW3
      if (value & 4) setFlag(chip, POLL, true)
      if (value & 2) setFlag(chip, READ_ISR, (value & 1) != 0)
      if (value & 0x40) setFlag(chip, SPECIAL_MASK, (value & 0x20) != 0)
    } else {
      writeOcw2(chip, value)
    }
  }
  update()
}
