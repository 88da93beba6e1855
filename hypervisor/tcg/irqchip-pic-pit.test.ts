/** 8259A pair and 8254 of the core at register level, against their data sheets. */
import { beforeAll, describe, expect, it } from 'vitest'
import { Chips, compileChips } from './irqchip-driver.ts'

const MASTER = 0x20, SLAVE = 0xa0
const MASTER_BASE = 0x20, SLAVE_BASE = 0x28
const EOI = 0x20, SPECIFIC_EOI = 0x60, ROTATE_EOI = 0xa0, SET_PRIORITY = 0xc0
const READ_IRR = 0x0a, READ_ISR = 0x0b, POLL = 0x0c, SPECIAL_MASK_ON = 0x68, SPECIAL_MASK_OFF = 0x48
const GATE2 = 1, OUT2 = 0x20
const PIT_HZ = 1193182n

let module: WebAssembly.Module
beforeAll(() => { module = compileChips('irqchip-test-pic-pit') })

/** One vCPU whose LINT0 takes the PIC as at power-up; PIC programmed as a PC's. */
function pc(icw4 = 1): Chips {
  const chips = new Chips(module)
  for (const [port, base, cascade] of [[MASTER, MASTER_BASE, 4], [SLAVE, SLAVE_BASE, 2]] as const) {
    chips.x.picWrite(port, 0x11)
    chips.x.picWrite(port + 1, base)
    chips.x.picWrite(port + 1, cascade)
    chips.x.picWrite(port + 1, icw4)
  }
  return chips
}

function pulse(chips: Chips, irq: number): void {
  chips.x.irqLine(irq, 1)
  chips.x.irqLine(irq, 0)
}

function register(chips: Chips, port: number, which: number): number {
  chips.x.picWrite(port, which)
  return chips.x.picRead(port)
}

describe('8259A pair', () => {
  it('is silent before it is programmed and after a reset', () => {
    const chips = new Chips(module)
    pulse(chips, 1)
    expect(chips.pending()).toBe(-1)
  })
  it('gives the vector of the best request and moves it to the ISR', () => {
    const chips = pc()
    pulse(chips, 4)
    pulse(chips, 1)
    expect(register(chips, MASTER, READ_IRR)).toBe(0x12)
    expect(chips.events() & 1).toBe(1)
    expect(chips.pending()).toBe(MASTER_BASE + 1)
    expect(chips.ack()).toBe(MASTER_BASE + 1)
    expect(register(chips, MASTER, READ_ISR)).toBe(0x02)
    expect(chips.pending()).toBe(-1)
    pulse(chips, 0)
    expect(chips.ack()).toBe(MASTER_BASE)
    chips.x.picWrite(MASTER, EOI)
    expect(register(chips, MASTER, READ_ISR)).toBe(0x02)
    chips.x.picWrite(MASTER, EOI)
    expect(chips.ack()).toBe(MASTER_BASE + 4)
    expect(chips.events() & 1).toBe(0)
  })
  it('cascades the slave through IR2, between IR1 and IR3', () => {
    const chips = pc()
    pulse(chips, 3)
    pulse(chips, 12)
    expect(chips.ack()).toBe(SLAVE_BASE + 4)
    expect(register(chips, MASTER, READ_ISR)).toBe(0x04)
    expect(register(chips, SLAVE, READ_ISR)).toBe(0x10)
    pulse(chips, 8)
    expect(chips.pending()).toBe(-1)
    chips.x.picWrite(SLAVE, EOI)
    chips.x.picWrite(MASTER, EOI)
    expect(chips.ack()).toBe(SLAVE_BASE)
  })
  it('lets a better slave request through in special fully nested mode', () => {
    const chips = pc(0x11)
    pulse(chips, 12)
    expect(chips.ack()).toBe(SLAVE_BASE + 4)
    pulse(chips, 3)
    expect(chips.pending()).toBe(-1)
    pulse(chips, 8)
    expect(chips.ack()).toBe(SLAVE_BASE)
  })
  it('honours the mask and keeps the request', () => {
    const chips = pc()
    chips.x.picWrite(MASTER + 1, 0x10)
    expect(chips.x.picRead(MASTER + 1)).toBe(0x10)
    pulse(chips, 4)
    expect(chips.pending()).toBe(-1)
    chips.x.picWrite(MASTER + 1, 0)
    expect(chips.pending()).toBe(MASTER_BASE + 4)
  })
  it('rotates on EOI and by command', () => {
    const chips = pc()
    pulse(chips, 3)
    chips.ack()
    chips.x.picWrite(MASTER, ROTATE_EOI)
    pulse(chips, 3)
    pulse(chips, 5)
    expect(chips.ack()).toBe(MASTER_BASE + 5)
    chips.x.picWrite(MASTER, SPECIFIC_EOI | 5)
    chips.x.picWrite(MASTER, SET_PRIORITY | 2)
    pulse(chips, 1)
    expect(chips.ack()).toBe(MASTER_BASE + 3)
  })
  it('ends interrupts by itself in automatic mode, rotating if told', () => {
    const chips = pc(3)
    chips.x.picWrite(MASTER, 0x80)
    pulse(chips, 3)
    chips.ack()
    expect(register(chips, MASTER, READ_ISR)).toBe(0)
    pulse(chips, 3)
    pulse(chips, 4)
    expect(chips.ack()).toBe(MASTER_BASE + 4)
  })
  it('lets lower levels through in special mask mode', () => {
    const chips = pc()
    pulse(chips, 3)
    chips.ack()
    pulse(chips, 6)
    chips.x.picWrite(MASTER + 1, 0x08)
    expect(chips.pending()).toBe(-1)
    chips.x.picWrite(MASTER, SPECIAL_MASK_ON)
    expect(chips.ack()).toBe(MASTER_BASE + 6)
    chips.x.picWrite(MASTER, EOI)
    expect(register(chips, MASTER, READ_ISR)).toBe(0x08)
    chips.x.picWrite(MASTER, SPECIAL_MASK_OFF)
    chips.x.picWrite(MASTER, EOI)
    expect(register(chips, MASTER, READ_ISR)).toBe(0)
  })
  it('answers a poll instead of an acknowledge', () => {
    const chips = pc()
    pulse(chips, 6)
    chips.x.picWrite(MASTER, POLL)
    expect(chips.x.picRead(MASTER)).toBe(0x86)
    expect(chips.pending()).toBe(-1)
    expect(register(chips, MASTER, READ_ISR)).toBe(0x40)
    chips.x.picWrite(MASTER, POLL)
    expect(chips.x.picRead(MASTER)).toBe(0)
  })
  it('follows the level of lines that the ELCR names and withdraws the request', () => {
    const chips = pc()
    chips.x.picWrite(0x4d0, 0xff)
    chips.x.picWrite(0x4d1, 0xff)
    expect([chips.x.picRead(0x4d0), chips.x.picRead(0x4d1)]).toEqual([0xf8, 0xde])
    chips.x.irqLine(5, 1)
    chips.ack()
    chips.x.picWrite(MASTER, EOI)
    expect(chips.pending()).toBe(MASTER_BASE + 5)
    chips.x.irqLine(5, 0)
    expect(chips.pending()).toBe(-1)
    expect(chips.ack()).toBe(-1)
  })
  it('resets by ICW1: mask and service cleared, a high line needs a new edge', () => {
    const chips = pc()
    chips.x.irqLine(4, 1)
    chips.ack()
    chips.x.picWrite(MASTER + 1, 0xff)
    chips.x.picWrite(MASTER, 0x11)
    chips.x.picWrite(MASTER + 1, 0x30)
    chips.x.picWrite(MASTER + 1, 4)
    chips.x.picWrite(MASTER + 1, 1)
    expect([register(chips, MASTER, READ_ISR), chips.x.picRead(MASTER + 1), chips.pending()]).toEqual([0, 0, -1])
    chips.x.irqLine(4, 0)
    chips.x.irqLine(4, 1)
    expect(chips.ack()).toBe(0x34)
  })
  it('reaches the processor only through an ExtINT LINT0, or as its LVT entry says', () => {
    const chips = pc()
    chips.write(0xf0, 0x1ff)
    chips.write(0x350, 0x10700)
    pulse(chips, 1)
    expect(chips.pending()).toBe(-1)
    chips.write(0x350, 0x700)
    expect(chips.pending()).toBe(MASTER_BASE + 1)
    chips.ack()
    chips.x.picWrite(MASTER, EOI)
    chips.write(0x350, 0x58)
    pulse(chips, 1)
    expect(chips.ack()).toBe(0x58)
  })
})

describe('8254', () => {
  /** Time of tick `n`: the first nanosecond of it. */
  const at = (n: bigint): bigint => (n * 1_000_000_000n + PIT_HZ - 1n) / PIT_HZ
  function channel2(mode: number, count: number, gate = GATE2): Chips {
    const chips = new Chips(module)
    chips.x.pitPort61Write(gate, 0n)
    chips.x.pitWrite(0x43, 0xb0 | mode << 1, 0n)
    chips.x.pitWrite(0x42, count & 0xff, 0n)
    chips.x.pitWrite(0x42, count >> 8, 0n)
    return chips
  }
  const out = (chips: Chips, tick: number): number => chips.x.pitPort61Read(at(BigInt(tick))) & OUT2 ? 1 : 0
  const wave = (chips: Chips, from: number, to: number): string => Array.from({ length: to - from + 1 }, (_, i) => out(chips, from + i)).join('')
  function count(chips: Chips, tick: number): number {
    chips.x.pitWrite(0x43, 0x80, at(BigInt(tick)))
    return chips.x.pitRead(0x42, 0n) | chips.x.pitRead(0x42, 0n) << 8
  }

  it('mode 0 raises OUT N + 1 clocks after the write and wraps', () => {
    const chips = channel2(0, 4)
    expect(wave(chips, 0, 7)).toBe('00000111')
    expect([1, 2, 4, 5, 6].map((t) => count(chips, t))).toEqual([4, 3, 1, 0, 0xffff])
  })
  it('mode 0 stops while the gate is low and lowers OUT at the first byte of a new count', () => {
    const chips = channel2(0, 10)
    chips.x.pitPort61Write(0, at(4n))
    expect(count(chips, 100)).toBe(7)
    chips.x.pitPort61Write(GATE2, at(100n))
    expect([out(chips, 106), out(chips, 107)]).toEqual([0, 1])
    chips.x.pitWrite(0x42, 5, at(110n))
    expect(out(chips, 130)).toBe(0)
    chips.x.pitWrite(0x42, 0, at(130n))
    expect([out(chips, 135), out(chips, 136)]).toEqual([0, 1])
  })
  it('mode 1 makes one low pulse per trigger and a new count waits for the next', () => {
    const chips = channel2(1, 3, 0)
    expect(out(chips, 5)).toBe(1)
    chips.x.pitPort61Write(GATE2, at(10n))
    expect(wave(chips, 10, 15)).toBe('100011')
    chips.x.pitWrite(0x42, 2, at(16n))
    chips.x.pitWrite(0x42, 0, at(16n))
    chips.x.pitPort61Write(0, at(17n))
    chips.x.pitPort61Write(GATE2, at(20n))
    expect(wave(chips, 20, 24)).toBe('10011')
  })
  it('mode 2 is low for one clock in N and takes a new count at the end of the period', () => {
    const chips = channel2(2, 3)
    expect(wave(chips, 1, 9)).toBe('110110110')
    expect([1, 2, 3, 4].map((t) => count(chips, t))).toEqual([3, 2, 1, 3])
    chips.x.pitWrite(0x42, 5, at(11n))
    chips.x.pitWrite(0x42, 0, at(11n))
    expect(wave(chips, 11, 18)).toBe('10111101')
  })
  it('mode 2 raises OUT at once when the gate falls and reloads on its rise', () => {
    const chips = channel2(2, 3)
    chips.x.pitPort61Write(0, at(3n))
    expect(out(chips, 3)).toBe(1)
    chips.x.pitPort61Write(GATE2, at(20n))
    expect(wave(chips, 20, 24)).toBe('11101')
  })
  it('mode 3 is a square wave that counts by two, also for odd counts', () => {
    expect(wave(channel2(3, 4), 1, 8)).toBe('11001100')
    expect(wave(channel2(3, 5), 1, 10)).toBe('1110011100')
    const chips = channel2(3, 5)
    expect([1, 2, 3, 4, 5, 6].map((t) => count(chips, t))).toEqual([4, 2, 0, 4, 2, 4])
  })
  it('mode 3 takes a new count at the end of the half period', () => {
    const chips = channel2(3, 4)
    chips.x.pitWrite(0x42, 8, at(1n))
    chips.x.pitWrite(0x42, 0, at(1n))
    expect(wave(chips, 1, 14)).toBe('11000011110000')
  })
  it('modes 4 and 5 strobe low for one clock', () => {
    expect(wave(channel2(4, 3), 0, 6)).toBe('1111011')
    const chips = channel2(5, 3, 0)
    expect(out(chips, 8)).toBe(1)
    chips.x.pitPort61Write(GATE2, at(10n))
    expect(wave(chips, 10, 16)).toBe('1111011')
  })
  it('counts in BCD', () => {
    const chips = new Chips(module)
    chips.x.pitPort61Write(GATE2, 0n)
    chips.x.pitWrite(0x43, 0xb1, 0n)
    chips.x.pitWrite(0x42, 0x00, 0n)
    chips.x.pitWrite(0x42, 0x10, 0n)
    expect([1, 2, 1001, 1002].map((t) => count(chips, t))).toEqual([0x1000, 0x0999, 0, 0x9999])
  })
  it('reads one byte, both bytes, and latches until read', () => {
    const chips = channel2(2, 0x1234)
    expect([chips.x.pitRead(0x42, at(1n)), chips.x.pitRead(0x42, at(1n))]).toEqual([0x34, 0x12])
    chips.x.pitWrite(0x43, 0x80, at(2n))
    chips.x.pitWrite(0x43, 0x80, at(500n))
    expect([chips.x.pitRead(0x42, at(600n)), chips.x.pitRead(0x42, at(700n))]).toEqual([0x33, 0x12])
    chips.x.pitWrite(0x43, 0xa4, 0n) // high byte only, mode 2
    chips.x.pitWrite(0x42, 0x12, 0n)
    expect(chips.x.pitRead(0x42, at(2n))).toBe(0x11)
  })
  it('reads back status before count, with OUT, null count and mode', () => {
    const chips = channel2(0, 4)
    chips.x.pitWrite(0x43, 0xc8, 0n) // count and status of channel 2
    expect(chips.x.pitRead(0x42, 0n)).toBe(0x70)
    expect([chips.x.pitRead(0x42, 0n), chips.x.pitRead(0x42, 0n)]).toEqual([4, 0])
    chips.x.pitWrite(0x43, 0xe8, at(5n))
    expect(chips.x.pitRead(0x42, at(5n))).toBe(0xb0)
  })
  it('interrupts through line 0 once, or at every period without drift', () => {
    const chips = pc()
    chips.x.pitWrite(0x43, 0x30, 0n)
    chips.x.pitWrite(0x40, 0xe8, 0n)
    chips.x.pitWrite(0x40, 0x03, 0n)
    expect(chips.nextDeadline()).toBe(at(1001n))
    chips.tick(at(1001n))
    expect(chips.ack()).toBe(MASTER_BASE)
    chips.x.picWrite(MASTER, EOI)
    expect(chips.nextDeadline()).toBe(0xffffffffffffffffn)
    chips.x.pitWrite(0x43, 0x34, chips.now)
    chips.x.pitWrite(0x40, 0xa9, chips.now)
    chips.x.pitWrite(0x40, 0x04, chips.now) // 1193 ticks: 1 kHz
    const begin = 1001n + 1n
    for (let period = 1n; period <= 3000n; period++) {
      expect(chips.nextDeadline()).toBe(at(begin + 1193n * period))
      chips.tick(chips.nextDeadline() + 5000n)
      expect(chips.ack()).toBe(MASTER_BASE)
      chips.x.picWrite(MASTER, EOI)
    }
  })
  it('bounds the interrupt rate and makes up for one missed edge only', () => {
    const chips = pc()
    chips.x.pitWrite(0x43, 0x14, 0n)
    chips.x.pitWrite(0x40, 2, 0n)
    chips.tick(1_000_000n)
    expect(chips.ack()).toBe(MASTER_BASE)
    chips.x.picWrite(MASTER, EOI)
    chips.tick(1_000_000n)
    expect(chips.pending()).toBe(-1)
    expect(chips.nextDeadline()).toBe(1_020_000n)
  })
  it('toggles the refresh bit and keeps the writable bits of port 0x61', () => {
    const chips = new Chips(module)
    chips.x.pitPort61Write(0xff, 0n)
    expect(chips.x.pitPort61Read(0n) & 0x0f).toBe(0x0f)
    expect((chips.x.pitPort61Read(0n) ^ chips.x.pitPort61Read(15_085n)) & 0x10).toBe(0x10)
  })
})
