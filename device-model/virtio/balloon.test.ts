import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GuestMemory } from '../../address-space/guest-memory.ts'
import type { Discarded } from '../../host/ram.ts'
import { VirtualClock } from '../clock.ts'
import { VirtioBalloon } from './balloon.ts'
import { VirtioMmio } from './mmio.ts'
import { MmioDriver } from './mmio-driver.ts'

const BALLOON = 5
const PAGE = 4096
const RAM_PAGES = 1024
const LIST = 0x1000, LIST_PAGES = 16
const RINGS = 0x8_0000
const TARGET_AT = 0x100, ACTUAL_AT = 0x104, POISON_AT = 0x10c
const STATS = 1n << 1n, OOM = 1n << 2n, POISON = 1n << 4n, REPORTING = 1n << 5n
const INFLATE = 0, DEFLATE = 1, STATISTICS = 2
const SECOND = 1_000_000_000n
const CONFIG_CHANGE = 2
const MOST_NUMBERS = 16_384

interface BenchOptions {
  readonly features?: bigint
  readonly packed?: boolean
  readonly queues?: number
  readonly deflateOnOom?: boolean
  readonly freePageReporting?: boolean
  readonly leaves?: Discarded
}

function bench({ features = STATS, packed = false, queues = 3, deflateOnOom = false, freePageReporting = true, leaves = 'zeros' }: BenchOptions = {}) {
  const size = RAM_PAGES * PAGE
  const bytes = new Uint8Array(new SharedArrayBuffer(size))
  const discarded: [number, number][] = []
  const written: [number, number][] = []
  const discard = (offset: number, length: number) => {
    if (length > 0) discarded.push([offset / PAGE, length / PAGE])
    return leaves
  }
  const memory = new GuestMemory([{ guestAddress: 0, size, bytes, hostOffset: 0, discard, written: (offset, length) => written.push([offset, length]) }])
  const clock = new VirtualClock()
  const logged: string[] = []
  const events = { log: (message: string) => logged.push(message) }
  const changes: number[] = []
  const device = VirtioBalloon.create({ options: { deflateOnOom, freePageReporting }, memory, clock, events, onChange: (left) => changes.push(left) })
  let pulses = 0
  const mmio = VirtioMmio.create({ device, memory, irq: { setLevel: () => undefined, pulse: () => { pulses++ } }, events })
  const driver = new MmioDriver({ access: mmio, memory, base: RINGS, packed, indirect: true, features, queueSize: 16 }).start(BALLOON, queues)
  const send = (queue: number, buffer: { readable?: { address: number; length: number }[]; writable?: { address: number; length: number }[] }) => {
    const id = driver.queue(queue).add(buffer)
    driver.kick(queue)
    return id
  }
  const list = (queue: number, pages: readonly number[], at = LIST) => {
    pages.forEach((page, index) => memory.writeU32(at + index * 4, page))
    written.length = 0
    return send(queue, { readable: [{ address: at, length: pages.length * 4 }] })
  }
  return { memory, device, mmio, driver, clock, discarded, written, changes, logged, send, list, used: (queue: number) => driver.queue(queue).takeUsed(), pulses: () => pulses }
}

describe.each([['split', false], ['packed', true]] as const)('a balloon over %s queues (virtio 1.2 section 5.5)', (_, packed) => {
  it('gives the pages it gets back to the host, neighbours together, and code on them is forgotten (virtio_5_5_6)', () => {
    const { list, used, discarded, written } = bench({ packed })
    const id = list(INFLATE, [300, 302, 301, 700, 301])
    expect(used(INFLATE)).toEqual([{ id, written: 0 }])
    expect(discarded).toEqual([[300, 3], [700, 1]])
    expect(written.filter(([, length]) => length >= PAGE)).toEqual([[300 * PAGE, 3 * PAGE], [700 * PAGE, PAGE]])
  })

  it('takes pages back without touching them', () => {
    const { list, used, discarded } = bench({ packed })
    const id = list(DEFLATE, [300, 301])
    expect(used(DEFLATE)).toEqual([{ id, written: 0 }])
    expect(discarded).toEqual([])
  })

  it.each([[3, STATS], [4, STATS], [2, 0n]])('gives pages that are reported free back, in whole pages, on queue %i', (queue, features) => {
    const { send, used, discarded } = bench({ packed, features: features | REPORTING, queues: queue + 1 })
    const id = send(queue, { writable: [{ address: 512 * PAGE, length: 64 * PAGE }, { address: 700 * PAGE + 100, length: 3 * PAGE }] })
    expect(used(queue)).toEqual([{ id, written: 0 }])
    expect(discarded).toEqual([[512, 64], [701, 2]])
  })
})

it.each([
  ['zeros', 0, true], ['zeros', 0xaaaa_aaaa, false], ['file', 0, false],
] as const)('a driver that fills free pages finds them as they were, or zeros where that is its value: %s, 0x%s', (leaves, poison, given) => {
  const { send, mmio, discarded } = bench({ features: REPORTING | POISON | STATS, queues: 4, leaves })
  mmio.write(POISON_AT, 4, poison)
  send(3, { writable: [{ address: 512 * PAGE, length: PAGE }] })
  expect(discarded).toHaveLength(given ? 1 : 0)
})

it('offers what was asked for', () => {
  const own = (options: BenchOptions) => bench(options).driver.offered() & 0xff_ffffn
  expect(own({ freePageReporting: false })).toBe(STATS)
  expect(own({ freePageReporting: true, deflateOnOom: true })).toBe(STATS | OOM | REPORTING | POISON)
})

describe('the size of a balloon', () => {
  it('is asked for by the host, and told by the guest', () => {
    const { device, driver, mmio, changes } = bench()
    device.setTarget((RAM_PAGES - 100) * PAGE)
    expect(driver.read(TARGET_AT)).toBe(100)
    expect(driver.acknowledge() & CONFIG_CHANGE).toBe(CONFIG_CHANGE)
    expect(device.bytesLeft).toBe(RAM_PAGES * PAGE)
    mmio.write(ACTUAL_AT, 4, 60)
    mmio.write(ACTUAL_AT, 4, 60)
    mmio.write(ACTUAL_AT, 1, 100)
    expect(changes).toEqual([(RAM_PAGES - 60) * PAGE, (RAM_PAGES - 100) * PAGE])
    device.setTarget(Number.MAX_SAFE_INTEGER)
    expect(driver.read(TARGET_AT)).toBe(0)
    driver.reset()
    expect(device.bytesLeft).toBe(RAM_PAGES * PAGE)
    expect(changes.at(-1)).toBe(RAM_PAGES * PAGE)
  })

  it('is never more than there is, and its driver writes only what is its own', () => {
    const { device, mmio, driver, logged } = bench()
    mmio.write(ACTUAL_AT, 4, 0xffff_ffff)
    expect(device.bytesLeft).toBe(0)
    mmio.write(TARGET_AT, 4, 5)
    mmio.write(ACTUAL_AT + 3, 2, 0xffff)
    expect(driver.read(TARGET_AT)).toBe(0)
    expect(logged.map((line) => line.replace(/^virtio-balloon: guest error: /, ''))).toEqual([
      'more pages in the balloon than there are (4294967295)', 'write to a field that only the device writes (0x0)',
    ])
  })
})

describe('statistics', () => {
  const entry = (memory: GuestMemory, at: number, tag: number, value: bigint) => {
    memory.writeU16(at, tag)
    memory.write(at + 2, new Uint8Array(BigUint64Array.of(value).buffer))
  }

  it('come with the first buffer, and again when they are asked for (virtio_5_5_6_5)', () => {
    const { memory, device, clock, send, used } = bench()
    entry(memory, LIST, 4, 0x1234_5678_9000n)
    entry(memory, LIST + 10, 5, 99n)
    entry(memory, LIST + 20, 777, 1n)
    const fill = () => send(STATISTICS, { readable: [{ address: LIST, length: 35 }] })
    fill()
    expect(device.statistics.stats).toEqual({ 'stat-free-memory': 0x1234_5678_9000, 'stat-total-memory': 99 })
    expect(device.statistics.lastUpdate).toBeGreaterThan(1_700_000_000)
    expect(used(STATISTICS)).toEqual([])
    clock.advance(1000n * SECOND)
    expect(used(STATISTICS)).toEqual([])
    device.pollSeconds = 5
    expect(used(STATISTICS)).toHaveLength(1)
    entry(memory, LIST, 4, 7n)
    fill()
    expect(device.statistics.stats['stat-free-memory']).toBe(7)
    clock.advance(4n * SECOND)
    expect(used(STATISTICS)).toEqual([])
    clock.advance(1n * SECOND)
    expect(used(STATISTICS)).toHaveLength(1)
    fill()
    device.pollSeconds = 0
    clock.advance(1000n * SECOND)
    expect(used(STATISTICS)).toEqual([])
  })

  it('are not asked of a stopped machine, and of one that goes on', async () => {
    const { mmio, memory, device, send, used } = bench()
    send(STATISTICS, { readable: [{ address: LIST, length: 10 }] })
    await mmio.pause()
    const before = memory.read(0, memory.size)
    device.pollSeconds = 1
    expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
    mmio.resume()
    expect(used(STATISTICS)).toHaveLength(1)
  })
})

describe('a guest that does as it likes', () => {
  it('cannot name a page that is no RAM', () => {
    const { list, discarded, logged } = bench()
    list(INFLATE, [RAM_PAGES - 1, RAM_PAGES, RAM_PAGES + 1, 0xffff_ffff])
    expect(discarded).toEqual([[RAM_PAGES - 1, 1]])
    expect(logged).toEqual(['virtio-balloon: guest error: a page that is no RAM (0x400000)'])
  })

  it('does not keep the event loop: what is long goes on in later turns', () => {
    const { memory, driver, discarded, clock } = bench()
    const bytes = MOST_NUMBERS * 4
    // No two are neighbours.
    for (let index = 0; index < MOST_NUMBERS; index++) memory.writeU32(0x10_0000 + index * 4, 513 + (index % 255) * 2)
    for (let count = 0; count < 16; count++) driver.queue(INFLATE).add({ indirect: true, readable: [{ address: 0x10_0000, length: bytes }] })
    driver.kick(INFLATE)
    const first = discarded.length
    let used = driver.queue(INFLATE).takeUsed().length
    for (let turn = 0; turn < 10; turn++, used += driver.queue(INFLATE).takeUsed().length) clock.advance(1n)
    expect(first).toBeGreaterThan(0)
    expect(first).toBeLessThan(16 * 255)
    expect(used).toBe(16)
    expect(discarded).toHaveLength(16 * 255)
  })

  it('breaks nothing', () => {
    const buffer = fc.record({ address: fc.oneof(fc.integer({ min: 0, max: RAM_PAGES * PAGE }), fc.constant(LIST)), length: fc.integer({ min: 0, max: 40_000 }) })
    fc.assert(fc.property(
      fc.array(fc.oneof(
        fc.record({ kind: fc.constant('buffer' as const), queue: fc.integer({ min: 0, max: 4 }), readable: fc.array(buffer, { maxLength: 3 }), writable: fc.array(buffer, { maxLength: 3 }) }),
        fc.record({ kind: fc.constant('list' as const), queue: fc.integer({ min: 0, max: 4 }), pages: fc.array(fc.oneof(fc.integer({ min: 0, max: RAM_PAGES + 10 }), fc.nat(0xffff_ffff)), { maxLength: 200 }) }),
        fc.record({ kind: fc.constant('write' as const), at: fc.integer({ min: 0x100, max: 0x110 }), size: fc.constantFrom(1 as const, 2 as const, 4 as const), value: fc.nat(0xffff_ffff) }),
        fc.record({ kind: fc.constant('time' as const), poll: fc.integer({ min: 0, max: 2 }), target: fc.nat(RAM_PAGES * PAGE * 2) }),
      ), { maxLength: 30 }),
      fc.boolean(),
      (steps, packed) => {
        const { device, mmio, clock, send, list, discarded } = bench({ packed, features: STATS | REPORTING | POISON, queues: 5 })
        for (const step of steps) {
          if (step.kind === 'write') mmio.write(step.at, step.size, step.value)
          else if (step.kind === 'list' && step.pages.length > 0 && step.pages.length <= LIST_PAGES * 1024) list(step.queue, step.pages)
          else if (step.kind === 'buffer' && step.readable.length + step.writable.length > 0) send(step.queue, step)
          else if (step.kind === 'time') {
            device.pollSeconds = step.poll
            device.setTarget(step.target)
            clock.advance(SECOND)
          }
        }
        for (const [first, count] of discarded) {
          expect(Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count > 0 && first + count <= RAM_PAGES).toBe(true)
        }
        expect(device.bytesLeft).toBeGreaterThanOrEqual(0)
        expect(VirtioBalloon.fromState(JSON.parse(JSON.stringify(device.state())), {
          options: { deflateOnOom: false, freePageReporting: true }, memory: new GuestMemory([{ guestAddress: 0, size: PAGE, bytes: new Uint8Array(PAGE), hostOffset: 0 }]), clock,
        }).state()).toEqual(device.state())
      },
    ), { numRuns: 200 })
  })
})

it('memory that the kernel keeps is told once', () => {
  const { list, logged, clock } = bench({ leaves: 'kept' })
  list(INFLATE, [300])
  list(INFLATE, [400])
  clock.advance(1n)
  expect(logged).toEqual(['virtio-balloon: the kernel does not take memory back (is it locked?)'])
})

it('a saved state that cannot be is refused', () => {
  const wiring = { options: { deflateOnOom: false, freePageReporting: false }, memory: new GuestMemory([{ guestAddress: 0, size: PAGE, bytes: new Uint8Array(PAGE), hostOffset: 0 }]), clock: new VirtualClock() }
  for (const state of [null, {}, { target: -1, actual: 0, poison: 0 }, { target: 0, actual: 2 ** 32, poison: 0 }]) {
    expect(() => VirtioBalloon.fromState(state, wiring)).toThrow(expect.objectContaining({ code: 'DEVICE_STATE' }))
  }
})
