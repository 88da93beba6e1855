import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../clock.ts'
import type { RandomSource } from '../random-source.ts'
import { VirtioMmio } from './mmio.ts'
import { MmioDriver } from './mmio-driver.ts'
import { newMemory } from './queue/test-bench.ts'
import { VirtioRng } from './rng.ts'
import type { RngLimit } from './rng.ts'

const ENTROPY = 4
const DATA = 0x4_0000
const MS = 1_000_000n

class Source implements RandomSource {
  readonly id = 'rng0'
  readonly asked: { length: number; done: (bytes: Uint8Array) => void }[] = []
  read(length: number, done: (bytes: Uint8Array) => void): void { this.asked.push({ length, done }) }
  async close(): Promise<void> {}
  /** Answers the oldest question, wholly or with `count` bytes. */
  answer(fill: number, count = Infinity): void {
    const { length, done } = this.asked.shift() ?? { length: 0, done: () => { throw new Error('nobody asked') } }
    done(new Uint8Array(Math.min(length, count)).fill(fill))
  }
}

function bench({ limit, packed = false }: { limit?: RngLimit; packed?: boolean } = {}) {
  const memory = newMemory()
  const source = new Source()
  const clock = new VirtualClock()
  const logged: string[] = []
  const events = { log: (message: string) => logged.push(message) }
  const device = VirtioRng.create({ source, clock, limit, events })
  let pulses = 0
  const irq = { setLevel: () => undefined, pulse: () => { pulses++ } }
  const mmio = VirtioMmio.create({ device, memory, irq, events })
  const driver = new MmioDriver({ access: mmio, memory, base: 0x1000, packed, indirect: true })
  driver.start(ENTROPY, 1)
  const ask = (length: number, at = DATA) => {
    const id = driver.queue(0).add({ writable: [{ address: at, length }] })
    driver.kick(0)
    return id
  }
  return { memory, source, clock, logged, device, mmio, driver, ask, used: () => driver.queue(0).takeUsed(), pulses: () => pulses }
}

describe.each([['split', false], ['packed', true]] as const)('the entropy device over a %s queue (virtio 1.2 section 5.4)', (_, packed) => {
  it('fills a buffer when the source answers, and says how much (virtio_5_4_6_2)', () => {
    const { source, memory, ask, used, pulses } = bench({ packed })
    const id = ask(64)
    expect(source.asked.map(({ length }) => length)).toEqual([64])
    expect(used()).toEqual([])
    source.answer(0xab, 40)
    expect(used()).toEqual([{ id, written: 40 }])
    expect([...memory.read(DATA + 39, 2)]).toEqual([0xab, 0])
    expect(pulses()).toBe(1)
  })

  it('serves several buffers one after the other', () => {
    const { source, ask, used } = bench({ packed })
    const ids = [ask(16, DATA), ask(32, DATA + 16), ask(48, DATA + 48)]
    expect(source.asked).toHaveLength(1)
    for (const fill of [1, 2, 3]) source.answer(fill)
    expect(used()).toEqual([{ id: ids[0], written: 16 }, { id: ids[1], written: 32 }, { id: ids[2], written: 48 }])
    expect(source.asked).toHaveLength(0)
  })

  it('fills a buffer in pieces of a list or a table', () => {
    const { source, memory, driver, used } = bench({ packed })
    const id = driver.queue(0).add({ indirect: true, writable: [{ address: DATA, length: 3 }, { address: DATA + 0x100, length: 3 }] })
    driver.kick(0)
    source.answer(9, 5)
    expect(used()).toEqual([{ id, written: 5 }])
    expect([...memory.read(DATA, 4), ...memory.read(DATA + 0x100, 3)]).toEqual([9, 9, 9, 0, 9, 9, 0])
  })

  it('asks for no more than 4096 bytes at once, whatever the buffer', () => {
    const { source, ask, used } = bench({ packed })
    const id = ask(0x8_0000)
    expect(source.asked[0]?.length).toBe(4096)
    source.answer(1)
    expect(used()).toEqual([{ id, written: 4096 }])
  })

  it('gives a buffer that cannot be written back empty, and counts it (virtio_5_4_6_1)', () => {
    const { source, driver, used, logged } = bench({ packed })
    const id = driver.queue(0).add({ readable: [{ address: DATA, length: 16 }] })
    driver.kick(0)
    expect(source.asked).toHaveLength(0)
    expect(used()).toEqual([{ id, written: 0 }])
    expect(logged).toEqual(['virtio-rng: guest error: a buffer for random bytes that cannot be written'])
  })

  it('forgets a request at a reset, and a guest that resets without end asks the source once', () => {
    const { source, driver, ask, used, memory, pulses } = bench({ packed })
    ask(64)
    for (let round = 0; round < 100; round++) {
      driver.start(ENTROPY, 1)
      ask(64)
    }
    expect(source.asked).toHaveLength(1)
    driver.reset()
    const before = memory.read(0, memory.size)
    source.answer(7)
    expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
    expect(pulses()).toBe(0)
    driver.start(ENTROPY, 1)
    const id = ask(8)
    source.answer(7)
    expect(used()).toEqual([{ id, written: 8 }])
  })
})

it('what arrives in a pause reaches the guest when the machine goes on', async () => {
  const { mmio, source, memory, ask, used } = bench()
  ask(4)
  await mmio.pause()
  const before = memory.read(0, memory.size)
  source.answer(6)
  expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
  ask(8, DATA + 0x100)
  expect(source.asked).toHaveLength(0)
  mmio.resume()
  expect(used()).toEqual([{ id: 0, written: 4 }])
  expect([...memory.read(DATA, 4)]).toEqual([6, 6, 6, 6])
  expect(source.asked.map(({ length }) => length)).toEqual([8])
})

describe('a limit', () => {
  it('is given out per period of machine time', () => {
    const { source, clock, ask, used } = bench({ limit: { bytes: 100, periodMs: 1000 } })
    const ids = [ask(64), ask(64), ask(64)]
    expect(source.asked.map(({ length }) => length)).toEqual([64])
    source.answer(1)
    expect(source.asked.map(({ length }) => length)).toEqual([36])
    source.answer(1)
    expect(source.asked).toHaveLength(0)
    clock.advance(999n * MS)
    expect(source.asked).toHaveLength(0)
    clock.advance(1n * MS)
    expect(source.asked.map(({ length }) => length)).toEqual([64])
    source.answer(1)
    expect(used()).toEqual([{ id: ids[0], written: 64 }, { id: ids[1], written: 36 }, { id: ids[2], written: 64 }])
  })

  it('holds although the guest resets the device', () => {
    const { source, clock, ask, driver } = bench({ limit: { bytes: 10, periodMs: 50 } })
    ask(10)
    source.answer(1)
    driver.start(ENTROPY, 1)
    ask(10)
    expect(source.asked).toHaveLength(0)
    clock.advance(50n * MS)
    expect(source.asked).toHaveLength(1)
  })

  it('survives a saved state; what cannot be is refused', () => {
    const wiring = { source: new Source(), clock: new VirtualClock(), limit: { bytes: 10, periodMs: 50 } }
    expect(VirtioRng.fromState({ quota: 3 }, wiring).state()).toEqual({ quota: 3 })
    for (const state of [null, {}, { quota: 11 }, { quota: -1 }, { quota: 'x' }]) {
      expect(() => VirtioRng.fromState(state, wiring)).toThrow(expect.objectContaining({ code: 'DEVICE_STATE' }))
    }
  })
})

it('a request in flight comes back with a saved state', () => {
  const first = bench()
  const id = first.ask(16)
  const state = JSON.parse(JSON.stringify(first.mmio.state())) as { device: unknown }
  const source = new Source()
  const deferred: (() => void)[] = []
  const device = VirtioRng.fromState(state.device, { source, clock: new VirtualClock() })
  VirtioMmio.fromState(state, { device, memory: first.memory, irq: { setLevel: () => undefined, pulse: () => undefined }, defer: (callback) => deferred.push(callback) })
  for (const callback of deferred) callback()
  source.answer(5)
  expect(first.used()).toEqual([{ id, written: 16 }])
})
