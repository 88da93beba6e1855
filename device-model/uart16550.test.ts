import fc from 'fast-check'
import { beforeEach, expect, test } from 'vitest'
import { LocalShadowPage } from '../address-space/shadow-page.ts'
import { VirtualClock } from './clock.ts'
import type { CharBackend, CharEvent, RegisterShadow } from './contracts.ts'
import { Uart16550, UART16550_SHADOW, type Uart16550Wiring } from './uart16550.ts'

// Data sheet values, declared again.
const DATA = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7
const IER_RX = 1, IER_THRE = 2, IER_LINE = 4, IER_MODEM = 8
const MCR_OUT2 = 0x08, MCR_LOOP = 0x10
const LCR_8N1 = 0x03, LCR_DLAB = 0x80
const NO_INTERRUPT = 0x01
const RESET_FIFO_TRIGGER_8 = 0x87

class FakeBackend implements CharBackend {
  readonly label = 'serial0'
  readonly kind = 'fake'
  readonly filename = 'fake'
  readonly connected = true
  written: number[] = []
  flow: boolean[] = []
  send: (bytes: Uint8Array) => void = () => undefined
  write(bytes: Uint8Array): void {
    this.written.push(...bytes)
  }
  onInput(handler: ((bytes: Uint8Array) => void) | null): void {
    this.send = handler ?? (() => undefined)
  }
  setFlow(ready: boolean): void {
    this.flow.push(ready)
  }
  async close(): Promise<void> {}
  tell: (event: CharEvent) => void = () => undefined
  onEvent(handler: ((event: CharEvent) => void) | null): void {
    this.tell = handler ?? (() => undefined)
  }
  type(text: string): void {
    this.send(Buffer.from(text))
  }
}

let backend: FakeBackend
let clock: VirtualClock
let levels: number[]
let uart: Uart16550

function wiring(extra: Partial<Uart16550Wiring> = {}): Uart16550Wiring {
  return { irq: { setLevel: (level) => levels.push(level), pulse: () => undefined }, clock, backend, ...extra }
}

const read = (register: number) => uart.read(register)
const write = (register: number, value: number) => uart.write(register, 1, value)
const line = () => levels.at(-1) ?? 0

/** What a driver does to receive by interrupt. */
function startUp(fifo = RESET_FIFO_TRIGGER_8, ier = IER_RX): void {
  write(LCR, LCR_DLAB)
  write(DATA, 1)
  write(IER, 0)
  write(LCR, LCR_8N1)
  write(FCR, fifo)
  write(MCR, 0x0b)
  write(IER, ier)
}

beforeEach(() => {
  backend = new FakeBackend()
  clock = new VirtualClock()
  levels = []
  uart = Uart16550.create(wiring())
})

test('Linux autoconfig finds a 16550A: IER keeps four bits, loopback connects the modem lines, the FIFO bits tell the type', () => {
  write(IER, 0)
  const cleared = read(IER)
  write(IER, 0xff)
  const set = read(IER)
  write(IER, 0)
  write(MCR, MCR_LOOP | 0x0a)
  const looped = read(MSR) & 0xf0
  write(MCR, 0)
  write(LCR, 0xbf)
  write(FCR, 0)
  write(LCR, 0)
  write(FCR, 0x01)
  const type = read(IIR) >> 6
  write(LCR, LCR_DLAB)
  const enhanced = read(2)
  write(LCR, 0)
  write(FCR, 0x21)
  const with64Bytes = read(IIR) >> 5

  expect(cleared).toBe(0)
  expect(set).toBe(0x0f)
  expect(looped).toBe(0x90)
  expect(type).toBe(3)
  expect(enhanced).not.toBe(0)
  expect(with64Bytes).toBe(6)
})

test('the FIFO bits of IIR follow FCR bit 0, and other FCR bits need it', () => {
  const off = read(IIR)
  write(FCR, 0xc0)
  const withoutEnable = read(IIR)
  write(FCR, 0x01)

  expect([off, withoutEnable, read(IIR)]).toEqual([0x01, 0x01, 0xc1])
})

test('Linux start-up: enabling the transmitter interrupt with an empty transmitter asserts it, each time, with the line idle', () => {
  write(MCR, MCR_OUT2)
  write(IER, IER_THRE)
  const first = read(IIR)
  write(IER, 0)
  write(IER, IER_THRE)
  const second = read(IIR)

  expect([first, second]).toEqual([0x02, 0x02])
  expect(read(LSR) & 0x60).toBe(0x60)
})

test('reading IIR takes the transmitter interrupt back, writing THR brings a new edge', () => {
  write(MCR, MCR_OUT2)
  write(IER, IER_THRE)
  const raised = line()
  read(IIR)
  const taken = line()
  write(DATA, 0x41)
  write(DATA, 0x42)

  expect([raised, taken]).toEqual([1, 0])
  expect(levels).toEqual([1, 0, 1, 0, 1])
  expect(read(IIR)).toBe(0x02)
  expect(read(IIR)).toBe(NO_INTERRUPT)
})

test('output reaches the backend in order, together, without a request', async () => {
  for (const byte of Buffer.from('hello')) write(DATA, byte)
  const before = backend.written.length

  await new Promise((next) => setImmediate(next))

  expect(before).toBe(0)
  expect(Buffer.from(backend.written).toString()).toBe('hello')
})

test('with DLAB the first two registers are the divisor and nothing is sent', () => {
  write(LCR, LCR_DLAB)
  write(DATA, 0x0c)
  write(IER, 0x01)
  const divisor = read(IER) * 256 + read(DATA)
  write(LCR, LCR_8N1)
  uart.flush()

  expect(divisor).toBe(0x010c)
  expect(read(IER)).toBe(0)
  expect(backend.written).toEqual([])
})

test('input survives a probe that switches all interrupts on and off, even on a port that a console has set up', () => {
  const ALL = 0x0f
  backend.type('ab')
  write(FCR, RESET_FIFO_TRIGGER_8)
  write(IER, ALL)
  const withoutOut2 = read(LSR) & 1
  write(IER, 0)
  write(MCR, MCR_OUT2)
  write(IER, ALL)
  const withOut2 = read(LSR) & 1
  write(IER, 0)
  write(FCR, RESET_FIFO_TRIGGER_8)
  write(IER, IER_RX | IER_LINE)
  expect([withoutOut2, withOut2]).toEqual([0, 0])
  expect([read(DATA), read(DATA)]).toEqual([0x61, 0x62])
})

test('a character that came before the driver switched the FIFO on is not lost', () => {
  backend.type('abc')
  write(LCR, LCR_8N1)
  write(MCR, MCR_OUT2)
  write(IER, IER_RX | IER_LINE)
  write(FCR, 0x01)
  write(FCR, 0x81)
  expect([read(DATA), read(DATA), read(DATA)]).toEqual([0x61, 0x62, 0x63])
})

test('a guest that keeps all interrupts on gets its input 20 ms later', () => {
  backend.type('a')
  startUp(RESET_FIFO_TRIGGER_8, 0x0f)
  const early = read(LSR) & 1
  clock.advance(20_000_000n)
  expect([early, read(LSR) & 1, read(DATA)]).toEqual([0, 1, 0x61])
})

test('input is held until the guest enables the receive interrupt, and nothing of it is lost by the probing before', () => {
  backend.type('uname -a\n')
  write(FCR, 0x07)
  const early = [read(LSR) & 1, read(DATA), read(IIR) & 0x0f]
  startUp()
  let text = ''
  while ((read(LSR) & 1) !== 0) text += String.fromCharCode(read(DATA))

  expect(early).toEqual([0, 0, NO_INTERRUPT])
  expect(text).toBe('uname -a\n')
})

test('flow is off before the receive interrupt is enabled, off while bytes wait, on again when the guest has drained them', () => {
  const early = [...backend.flow]
  startUp()
  const started = [...backend.flow]
  backend.type('x'.repeat(40))
  const waiting = [...backend.flow]
  for (let i = 0; i < 40; i++) read(DATA)

  expect(early).toEqual([])
  expect(started).toEqual([true])
  expect(waiting).toEqual([true, false])
  expect(backend.flow).toEqual([true, false, true])
})

test('a driver that masks interrupts for a moment keeps what is in the FIFO and gets the rest later', () => {
  startUp()
  backend.type('x'.repeat(20))
  write(IER, 0)
  for (let i = 0; i < 16; i++) read(DATA)
  const masked = read(LSR) & 1
  write(IER, IER_RX)

  expect(masked).toBe(0)
  expect(read(LSR) & 1).toBe(1)
})

test.each([[0x07, 1], [0x47, 4], [0x87, 8], [0xc7, 14]])('FCR %i: the received interrupt comes at %i bytes and goes below', (fcr, trigger) => {
  startUp(fcr)
  backend.type('x'.repeat(trigger - 1))
  const below = [line(), read(IIR) & 0x0f]
  backend.type('x')
  const reached = [line(), read(IIR) & 0x0f]
  read(DATA)

  expect(below).toEqual([0, NO_INTERRUPT])
  expect(reached).toEqual([1, 0x04])
  expect(line()).toBe(0)
})

test('fewer bytes than the trigger level interrupt after four character times, and reading takes that back', () => {
  const fourCharactersNs = 347_222n // 10 bits each at 115200 baud
  startUp()
  backend.type('ls')
  clock.advance(fourCharactersNs - 10n)
  const early = line()
  clock.advance(20n)
  const due = [line(), read(IIR)]
  read(DATA)
  const afterOne = line()
  clock.advance(fourCharactersNs + 10n)
  const again = line()
  read(DATA)
  clock.advance(fourCharactersNs * 10n)

  expect(early).toBe(0)
  expect(due).toEqual([1, 0xcc])
  expect([afterOne, again]).toEqual([0, 1])
  expect(line()).toBe(0)
  expect(read(IIR)).toBe(0xc1)
})

test('without the FIFO every byte interrupts and the next one enters when it is read', () => {
  startUp(0)
  backend.type('ab')

  const first = [read(IIR), read(DATA)]
  const second = [read(IIR), read(DATA)]

  expect(first).toEqual([0x04, 0x61])
  expect(second).toEqual([0x04, 0x62])
  expect(read(IIR)).toBe(NO_INTERRUPT)
})

test('causes are reported by priority and the line stays high until the last is served', () => {
  write(FCR, 0x01)
  write(MCR, MCR_LOOP)
  for (let i = 0; i < 17; i++) write(DATA, i)
  write(MCR, MCR_OUT2 | 0x03)
  write(IER, IER_RX | IER_THRE | IER_LINE | IER_MODEM)
  read(MCR)
  const served: number[] = []
  const note = () => served.push(read(IIR) & 0x0f, line())

  note()
  read(LSR)
  note()
  for (let i = 0; i < 16; i++) read(DATA)
  note()
  note()
  read(MSR)
  note()

  // Reading IIR serves the transmitter, so the line is sampled after it.
  expect(served).toEqual([0x06, 1, 0x04, 1, 0x02, 1, 0x00, 1, 0x01, 0])
  expect(levels).toEqual([1, 0])
})

test('OUT2 gates the interrupt as on a PC', () => {
  write(IER, IER_THRE)
  const gated = line()
  write(MCR, MCR_OUT2)
  const open = line()
  write(MCR, MCR_OUT2 | MCR_LOOP)

  expect([gated, open, line()]).toEqual([0, 1, 0])
})

test('loopback returns what is sent, keeps it from the backend, and an overrun is reported once', () => {
  write(FCR, 0x01)
  write(MCR, MCR_LOOP)
  for (let i = 0; i < 17; i++) write(DATA, 0x30 + i)
  const status = [read(LSR) & 0x03, read(LSR) & 0x03]
  const bytes = Array.from({ length: 16 }, () => read(DATA))
  uart.flush()

  expect(status).toEqual([0x03, 0x01])
  expect(bytes).toEqual(Array.from({ length: 16 }, (_, i) => 0x30 + i))
  expect(backend.written).toEqual([])
})

test('loopback without the FIFO overwrites the character', () => {
  write(MCR, MCR_LOOP)
  write(DATA, 1)
  write(DATA, 2)

  expect(read(LSR) & 0x02).toBe(0x02)
  expect(read(DATA)).toBe(2)
})

test('modem deltas: lines that change in loopback are told once; ring only at its trailing edge', () => {
  read(MSR)
  write(MCR, MCR_LOOP)
  const dropped = read(MSR)
  write(MCR, MCR_LOOP | 0x0f)
  const raised = read(MSR)
  write(MCR, MCR_LOOP | 0x0b)
  const ringEnds = read(MSR)

  expect(dropped).toBe(0x0b)
  expect(raised).toBe(0xfb)
  expect(ringEnds).toBe(0xb4)
  expect(read(MSR)).toBe(0xb0)
})

test('outside loopback the other end is present', () => {
  expect(read(MSR)).toBe(0xb0)
})

test('clearing the receiver FIFO drops its bytes and the interrupt', () => {
  startUp()
  backend.type('12345678')
  const before = line()
  write(FCR, 0x83)

  expect(before).toBe(1)
  expect(line()).toBe(0)
  expect(read(LSR) & 1).toBe(0)
})

test('the scratch register keeps its value and tells of each write', () => {
  const seen: number[] = []
  uart = Uart16550.create(wiring({ onScratch: (value) => seen.push(value) }))
  write(SCR, 1)
  write(SCR, 2)

  expect(seen).toEqual([1, 2])
  expect(read(SCR)).toBe(2)
})

test('the shadow holds what a read would answer, THR is posted only while it transmits, and side effects withdraw a register', () => {
  const shadowed = new Map<number, number>()
  const posted: [number, boolean][] = []
  const shadow: RegisterShadow = {
    publish: (offset, value) => shadowed.set(offset, value),
    withdraw: (offset) => shadowed.delete(offset),
    setPosted: (offset, enabled) => posted.push([offset, enabled]),
  }
  uart = Uart16550.create(wiring({ shadow }))
  startUp()
  const idle = shadowed.get(LSR)
  backend.type('x')
  const ready = shadowed.get(LSR)
  read(DATA)
  const drained = shadowed.get(LSR)
  write(MCR, MCR_LOOP)
  for (let i = 0; i < 17; i++) write(DATA, i)
  const overrun = shadowed.has(LSR)
  read(LSR)

  expect([idle, ready, drained]).toEqual([0x60, 0x61, 0x60])
  expect(overrun).toBe(false)
  expect(shadowed.get(LSR)).toBe(0x61)
  expect(shadowed.has(MSR)).toBe(false)
  expect(posted).toEqual([[DATA, true], [DATA, false], [DATA, true], [DATA, false]])
})

test('a bus that cannot withdraw never publishes a bit that reading should clear', () => {
  const shadowed = new Map<number, number>()
  uart = Uart16550.create(wiring({ shadow: { publish: (offset, value) => shadowed.set(offset, value), setPosted: () => undefined } }))
  write(MCR, MCR_LOOP)
  write(DATA, 1)
  write(DATA, 2)

  expect(shadowed.get(LSR)).toBe(0x61)
  expect((shadowed.get(MSR) ?? 0xff) & 0x0f).toBe(0)
})

test('host input and timers go through the bus, which applies posted writes first', () => {
  const order: string[] = []
  const update = (change: () => void) => {
    order.push('posts')
    change()
  }
  const shadow = { publish: () => undefined, setPosted: () => undefined, update }
  uart = Uart16550.create(wiring({ shadow, irq: { setLevel: (level) => order.push(`line ${level}`), pulse: () => undefined } }))
  startUp()
  backend.type('x')
  const atInput = [...order]
  clock.advance(1_000_000n)

  expect(atInput).toEqual(['posts'])
  expect(order).toEqual(['posts', 'posts', 'line 1'])
})

test('the shadow page of the address space fits: what it would answer is what a read answers', () => {
  const page = new LocalShadowPage(UART16550_SHADOW)
  uart = Uart16550.create(wiring({ shadow: page }))
  startUp()
  backend.type('abc')
  write(SCR, 0x5a)
  for (const [offset, value] of page.published) expect([offset, value]).toEqual([offset, read(offset)])

  expect([...page.published.keys()].sort()).toEqual([IER, LCR, MCR, LSR, MSR, SCR])
  expect([...page.posted]).toEqual([[DATA, true]])
})

test('a port restored with DLAB set does not let the divisor be posted', () => {
  write(LCR, LCR_DLAB)
  const saved = uart.state()
  const page = new LocalShadowPage(UART16550_SHADOW)

  uart = Uart16550.fromState(saved, wiring({ shadow: page }))

  expect([...page.posted]).toEqual([])
})

test('a restored port answers as the saved one and raises its interrupt again', () => {
  startUp(RESET_FIFO_TRIGGER_8, IER_RX | IER_LINE)
  backend.type('0123456789abcdefghij')
  const saved = JSON.parse(JSON.stringify(uart.state())) as unknown
  levels = []
  backend = new FakeBackend()

  uart = Uart16550.fromState(saved, wiring())

  expect(line()).toBe(1)
  let text = ''
  while ((read(LSR) & 1) !== 0) text += String.fromCharCode(read(DATA))
  expect(text).toBe('0123456789abcdefghij')
})

test('damaged state is an error that names the field', () => {
  const good = uart.state()

  expect(() => Uart16550.fromState({ ...good, ier: 300 }, wiring())).toThrow(/ier/)
  expect(() => Uart16550.fromState({ ...good, received: new Array(17).fill(0) }, wiring())).toThrow(/received/)
  expect(() => Uart16550.fromState({ ...good, held: ['a'] }, wiring())).toThrow(/held/)
  expect(() => Uart16550.fromState(null, wiring())).toThrow(/record/)
})

test('machine reset puts the registers back, lowers the line and keeps unseen input for the next boot', () => {
  startUp()
  backend.type('x'.repeat(20))
  uart.reset()
  const afterReset = [line(), read(IER), read(LSR) & 1, read(IIR)]
  startUp()

  expect(afterReset).toEqual([0, 0, 0, 0x01])
  expect(read(LSR) & 1).toBe(1)
  expect(uart.pendingInput).toBe(4)
})

test('whatever the guest does: reads are bytes, the line tells the truth, and the state survives a round trip', () => {
  const access = fc.record({ register: fc.integer({ min: 0, max: 9 }), value: fc.option(fc.integer({ min: 0, max: 255 })), input: fc.integer({ min: 0, max: 20 }) })
  fc.assert(fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
    backend = new FakeBackend()
    clock = new VirtualClock()
    levels = []
    uart = Uart16550.create(wiring())
    for (const { register, value, input } of accesses) {
      if (value === null) {
        const result = read(register)
        if (!Number.isInteger(result) || result < 0 || result > 255) return false
      } else {
        write(register, value)
      }
      if (backend.flow.at(-1) === true) backend.send(new Uint8Array(input))
      clock.advance(100_000n)
    }
    const saved = uart.state()
    const copy = Uart16550.fromState(JSON.parse(JSON.stringify(saved)), { ...wiring(), backend: new FakeBackend(), irq: { setLevel: () => undefined, pulse: () => undefined } })
    expect(copy.state()).toEqual(saved)
    const gated = (read(MCR) & 0x18) === 0x08
    return line() === (gated && (copy.read(IIR) & 1) === 0 ? 1 : 0)
  }), { numRuns: 300, interruptAfterTimeLimit: 5000 })
})

test('a break is a marked character of zeros, told once by the line status, and missed by a driver that does not listen', () => {
  const BREAK = 0x10, READY = 0x01, LINE_STATUS = 0x06
  backend.tell('break')
  startUp(RESET_FIFO_TRIGGER_8, IER_RX | IER_LINE)
  const before = read(LSR) & (BREAK | READY)

  backend.tell('break')

  expect(before).toBe(0)
  expect(line()).toBe(1)
  expect(read(IIR) & 0x0f).toBe(LINE_STATUS)
  expect(read(LSR) & (BREAK | READY)).toBe(BREAK | READY)
  expect(read(LSR) & BREAK).toBe(0)
  expect(read(DATA)).toBe(0)
  expect(line()).toBe(0)
})
