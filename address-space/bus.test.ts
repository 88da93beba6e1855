import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { AddressSpace } from './address-space.ts'
import { PostRing, takeTicket } from './bus-layout.ts'
import { BusServer, LocalShadowPage, VcpuBus } from './bus.ts'
import { Region } from './region.ts'
import type { AccessSize } from './region.ts'

/** Both ends of the bus in one thread: a vCPU that waits in a call runs main's side. */
const MEMORY = 0, PORTS = 1
const BASE = 0x1_0000_1000 // above 4 GiB, so both halves of addresses count
const STATUS = 0, ACK = 4, DATA = 8, MODE = 12, COUNT = 16, DOORBELL = 20
const RING_POSTS = 256

/** STATUS: write posted, read shadowed. ACK: posted, clears bits. DATA: posted, keeps the shadow, unless in loopback. MODE bit 0: loopback. */
class Device {
  status = 0
  mode = 0
  writes = 0
  log: string[] = []
  onChange: () => void = () => undefined

  read(offset: number): number {
    if (offset === STATUS) return this.status
    return offset === COUNT ? this.writes : 0
  }

  write(offset: number, value: number): void {
    this.writes++
    this.log.push(`${offset}=${value}`)
    if (offset === STATUS) this.status = value >>> 0
    if (offset === ACK) this.status = (this.status & ~value) >>> 0
    if (offset === MODE) this.mode = value
    if (offset === DATA && this.mode & 1) this.status = (this.status | 0x100) >>> 0
    this.onChange()
  }

  ring(): void {
    this.log.push('ring')
  }
}

function setUp(slots = 2, overrides: { onFault?: (error: unknown) => void } = {}) {
  const device = new Device()
  const region = Region.io('device', 0x100, { read: (offset) => device.read(offset), write: (offset, _, value) => device.write(offset, value) })
  region.addNotifier({ offset: DOORBELL, size: 4, datamatch: 3n, notify: () => device.ring() })
  const root = Region.container('memory', 2 ** 40)
  root.add(region, BASE)
  const memory = new AddressSpace('memory', root)
  const ports = new AddressSpace('I/O', Region.container('io', 0x1_0000))
  const server = new BusServer({ memory, ports, slots, spinMicroseconds: 0, gapMilliseconds: 0, ...overrides })
  const page = server.shadowPage(region, {
    shadow: [{ offset: STATUS, size: 4 }],
    posted: [{ offset: STATUS, size: 4 }, { offset: ACK, size: 4 }, { offset: DATA, size: 4, keepsShadow: true }],
  })
  device.onChange = () => {
    page.publish(STATUS, device.status)
    page.setPosted(DATA, (device.mode & 1) === 0)
  }
  device.onChange()
  const messages = { count: 0 }
  const buses = Array.from({ length: slots }, (_, slot) => {
    const connection = server.connect(slot)
    connection.port.close()
    const port = { postMessage: () => void messages.count++ }
    return new VcpuBus({ buffer: connection.buffer, slot, port }, { wait: () => void server.service() })
  })
  const [bus, other] = [buses[0] as VcpuBus, buses[1] as VcpuBus]
  const words = new Int32Array(server.connect(0).buffer)
  return { device, region, root, memory, ports, server, page, buses, bus, other, messages, words }
}

describe('the vCPU-side bus', () => {
  it('answers before it acknowledges the wake-up, and a vCPU that comes after that rings anew', () => {
    const { bus, device, server, messages } = setUp()
    const told: number[] = []
    bus.write(MEMORY, BASE + DATA, 4, 7)
    const first = messages.count

    server.wake(() => told.push(device.writes))
    bus.write(MEMORY, BASE + DATA, 4, 8)

    expect(told).toEqual([1])
    expect(first).toBe(1)
    expect(messages.count).toBe(2)
  })

  it('answers a shadow read without a call, in both halves of memory and only at the declared size', () => {
    const { bus, device, page } = setUp()
    device.status = 0x8000_0001
    page.publish(STATUS, device.status)
    expect(bus.read(MEMORY, BASE + STATUS, 4)).toBe(0x8000_0001)
    expect(bus.counters).toMatchObject({ shadowReads: 1, calls: 0 })
    expect(bus.read(MEMORY, BASE + STATUS, 1)).toBe(1)
    expect(bus.counters).toMatchObject({ shadowReads: 1, calls: 1 })
    page.withdraw(STATUS)
    expect(bus.read(MEMORY, BASE + STATUS, 4)).toBe(0x8000_0001)
    expect(bus.counters).toMatchObject({ shadowReads: 1, calls: 2 })
  })

  it('keeps memory and ports apart', () => {
    const { bus, ports } = setUp()
    const write = vi.fn()
    ports.root.add(Region.io('port', 1, { read: () => 0x42, write }), 0x64)
    expect(bus.read(PORTS, 0x64, 1)).toBe(0x42)
    expect(bus.read(MEMORY, 0x64, 1)).toBe(0xff)
    bus.write(PORTS, 0x64, 1, 0xfe)
    expect(write).toHaveBeenCalledWith(0, 1, 0xfe)
  })

  it('posts a write, applies it before main does anything else, and shows it to whoever reads', () => {
    const { bus, other, device, server } = setUp()
    bus.write(MEMORY, BASE + STATUS, 4, 0xffff_fffe)
    expect(device.log).toEqual([])
    expect(other.read(MEMORY, BASE + STATUS, 4)).toBe(0xffff_fffe)
    expect(other.counters).toMatchObject({ shadowReads: 0, calls: 1 })
    expect(other.read(MEMORY, BASE + STATUS, 4)).toBe(0xffff_fffe)
    expect(other.counters).toMatchObject({ shadowReads: 1, calls: 1 })
    expect(server.counters).toMatchObject({ posts: 1, calls: 1 })
  })

  it('leaves the shadow valid while a post that keeps it is pending, and posts no more in loopback', () => {
    const { bus, device } = setUp()
    bus.write(MEMORY, BASE + DATA, 4, 0x41)
    expect(bus.read(MEMORY, BASE + STATUS, 4)).toBe(0)
    expect(bus.counters).toMatchObject({ posts: 1, shadowReads: 1, calls: 0 })
    bus.write(MEMORY, BASE + MODE, 4, 1)
    bus.write(MEMORY, BASE + DATA, 4, 0x42)
    expect(bus.read(MEMORY, BASE + STATUS, 4)).toBe(0x100)
    expect(device.log).toEqual(['8=65', '12=1', '8=66'])
    expect(bus.counters).toMatchObject({ posts: 1, calls: 2 })
  })

  it('rings a doorbell by post: exact size and value, and passes others to the device', () => {
    const { bus, device, server } = setUp()
    bus.write(MEMORY, BASE + DOORBELL, 4, 3)
    expect(device.log).toEqual([])
    bus.write(MEMORY, BASE + DOORBELL, 4, 4)
    bus.write(MEMORY, BASE + DOORBELL, 4, 3)
    server.applyPosts()
    expect(device.log).toEqual(['ring', '20=4', 'ring'])
    expect(bus.counters).toMatchObject({ posts: 2, calls: 1 })
  })

  it('carries 8-byte accesses whole', () => {
    const { bus, root } = setUp()
    const write64 = vi.fn()
    root.add(Region.io('wide', 16, { read: () => 0, write: () => undefined, read64: () => 0xfedc_ba98_7654_3210n, write64 }), 0x100)
    expect(bus.read64(MEMORY, 0x108)).toBe(0xfedc_ba98_7654_3210n)
    bus.write64(MEMORY, 0x100, 0xffff_fffe_8000_0001n)
    expect(write64).toHaveBeenCalledWith(0, 0xffff_fffe_8000_0001n)
    expect(bus.read64(MEMORY, 0x200)).toBe(0xffff_ffff_ffff_ffffn)
  })

  it('sends one message for a burst', () => {
    const { bus, other, messages, server } = setUp()
    for (let i = 0; i < 50; i++) {
      bus.write(MEMORY, BASE + DATA, 4, i)
      other.write(MEMORY, BASE + DATA, 4, i)
    }
    expect(messages.count).toBe(1)
    server.applyPosts()
    expect(server.counters.posts).toBe(100)
  })

  it('turns a post into a call when the ring is full, in order and with nothing lost', () => {
    const { bus, device } = setUp()
    for (let i = 0; i <= RING_POSTS; i++) bus.write(MEMORY, BASE + DATA, 4, i)
    expect(bus.counters).toMatchObject({ posts: RING_POSTS, calls: 1, ringFull: 1 })
    expect(device.log).toEqual(Array.from({ length: RING_POSTS + 1 }, (_, i) => `8=${i}`))
  })

  it('follows a region that moves and forgets a page that is closed', () => {
    const { bus, device, region, server, page } = setUp()
    bus.read(MEMORY, BASE + STATUS, 4)
    region.move(0x5000)
    expect(bus.read(MEMORY, BASE + STATUS, 4)).toBe(0xffff_ffff)
    expect(bus.read(MEMORY, 0x5000 + STATUS, 4)).toBe(0)
    expect(bus.counters).toMatchObject({ shadowReads: 2, calls: 1 })
    device.onChange = () => undefined
    page.close()
    page.publish(STATUS, 99)
    expect(bus.read(MEMORY, 0x5000 + STATUS, 4)).toBe(0)
    expect(bus.counters).toMatchObject({ shadowReads: 2, calls: 2 })
    const again = server.shadowPage(region, { shadow: [{ offset: STATUS, size: 4 }] })
    expect(bus.read(MEMORY, 0x5000 + STATUS, 4)).toBe(0)
    expect(bus.counters.shadowReads).toBe(2)
    again.publish(STATUS, 5)
    expect(bus.read(MEMORY, 0x5000 + STATUS, 4)).toBe(5)
    expect(bus.counters.shadowReads).toBe(3)
  })

  it('lets pages come and go without end', () => {
    const { server } = setUp()
    for (let i = 0; i < 2000; i++) {
      const region = Region.io('plugged', 0x1000, { read: () => 0, write: () => undefined })
      server.shadowPage(region, { shadow: [{ offset: 0xffc, size: 4 }] }).close()
    }
    const make = () => server.shadowPage(Region.io('many', 0x200, { read: () => 0, write: () => undefined }), { shadow: [{ offset: 0, size: 4 }] })
    expect(() => { for (let i = 0; i < 200; i++) make() }).toThrow(expect.objectContaining({ code: 'SHADOW_PAGE' }))
  })

  it('runs an update after pending posts: an acknowledge does not swallow the interrupt raised since', () => {
    const { bus, device, server, page } = setUp()
    device.status = 1
    page.publish(STATUS, 1)
    bus.write(MEMORY, BASE + ACK, 4, 1)
    page.update(() => {
      device.status |= 1
      page.publish(STATUS, device.status)
    })
    expect(device.log).toEqual(['4=1'])
    expect(bus.read(MEMORY, BASE + STATUS, 4)).toBe(1)
    expect(server.inHandler).toBe(false)
  })

  it('runs an update asked for inside a handler after posts made meanwhile, and before the call is answered', () => {
    const { bus, other, device, page, root } = setUp()
    root.add(Region.io('completer', 4, {
      read: () => {
        // Another vCPU acknowledges while this register is being read.
        other.write(MEMORY, BASE + ACK, 4, 1)
        page.update(() => {
          device.status |= 1
          page.publish(STATUS, device.status)
        })
        expect(device.log).toEqual([])
        return 7
      },
      write: () => undefined,
    }), 0x100)
    expect(bus.read(MEMORY, 0x100, 4)).toBe(7)
    expect(device.log).toEqual(['4=1'])
    expect(bus.read(MEMORY, BASE + STATUS, 4)).toBe(1)
    expect(bus.counters.shadowReads).toBe(1)
  })

  it('keeps the newer of two values when a publish from outside finds a post that publishes', () => {
    const { bus, device, page } = setUp()
    bus.write(MEMORY, BASE + ACK, 4, 1)
    device.status = 3
    page.publish(STATUS, device.status)
    expect(bus.read(MEMORY, BASE + STATUS, 4)).toBe(2)
    bus.write(MEMORY, BASE + ACK, 4, 2)
    device.status = 2
    page.publish(STATUS, () => device.status)
    expect(bus.read(MEMORY, BASE + STATUS, 4)).toBe(0)
    expect(bus.counters.calls).toBe(0)
  })

  it('applies posts before an ordered line changes', () => {
    const { bus, device, server } = setUp()
    const seen: number[] = []
    const line = server.orderedLine({ setLevel: () => seen.push(device.writes), pulse: () => seen.push(device.writes) })
    bus.write(MEMORY, BASE + ACK, 4, 1)
    line.pulse()
    bus.write(MEMORY, BASE + ACK, 4, 1)
    line.setLevel(1)
    expect(seen).toEqual([1, 2])
  })

  it('comes to an end when updates keep asking for updates', () => {
    const { server, page } = setUp()
    let runs = 0
    const again = (): void => {
      if (++runs < 1000) page.update(again)
    }
    page.update(again)
    expect(runs).toBeLessThan(50)
    for (let i = 0; i < 100; i++) server.service()
    expect(runs).toBe(1000)
  })

  it('answers all ones when a device throws, and reports it', () => {
    const onFault = vi.fn()
    const { bus, device, root, server } = setUp(2, { onFault })
    root.add(Region.io('broken', 4, { read: () => { throw new Error('bug') }, write: () => { throw new Error('bug') } }), 0x100)
    expect(bus.read(MEMORY, 0x100, 4)).toBe(0xffff_ffff)
    bus.write(MEMORY, 0x100, 4, 1)
    device.onChange = () => { throw new Error('bug') }
    bus.write(MEMORY, BASE + ACK, 4, 1)
    server.applyPosts()
    expect(onFault).toHaveBeenCalledTimes(3)
    expect(server.inHandler).toBe(false)
    device.onChange = () => undefined
    expect(bus.read(MEMORY, BASE + COUNT, 4)).toBe(1)
  })

  it('answers all ones and drops writes once main has quit, a waiting vCPU included', () => {
    const { device, server, words } = setUp()
    const port = { postMessage: () => undefined }
    const waiting = new VcpuBus({ buffer: words.buffer as SharedArrayBuffer, slot: 0, port }, { wait: () => {
      expect(server.isWaiting(0)).toBe(true)
      server.abort()
    } })
    expect(waiting.read(MEMORY, BASE + COUNT, 2)).toBe(0xffff)
    expect(waiting.aborted).toBe(true)
    waiting.write(MEMORY, BASE + STATUS, 4, 1)
    waiting.write(MEMORY, BASE + MODE, 4, 1)
    expect(waiting.read64(MEMORY, BASE)).toBe(0xffff_ffff_ffff_ffffn)
    server.service()
    expect(device.log).toEqual([])
    expect(server.isWaiting(0)).toBe(false)
  })

  it('holds calls while paused but still applies posts', () => {
    const { server, device, words } = setUp()
    let rounds = 0
    const port = { postMessage: () => undefined }
    const bus = new VcpuBus({ buffer: words.buffer as SharedArrayBuffer, slot: 0, port }, { wait: () => {
      if (++rounds === 5) server.releaseCalls()
      server.service()
      if (rounds < 5) expect(server.isWaiting(0)).toBe(true)
    } })
    bus.write(MEMORY, BASE + ACK, 4, 1)
    server.holdCalls()
    expect(bus.read(MEMORY, BASE + COUNT, 4)).toBe(1)
    expect(rounds).toBe(5)
    expect(device.log).toEqual(['4=1'])
  })

  it('refuses what was not declared', () => {
    const { server, region, page } = setUp()
    const register = expect.objectContaining({ code: 'SHADOW_REGISTER' })
    expect(() => page.publish(ACK, 1)).toThrow(register)
    expect(() => page.setPosted(MODE, true)).toThrow(register)
    expect(() => server.shadowPage(region, {})).toThrow(expect.objectContaining({ code: 'SHADOW_PAGE' }))
    expect(() => new LocalShadowPage({ shadow: [{ offset: 4096, size: 1 }] })).toThrow(register)
    expect(() => server.connect(2)).toThrow(expect.objectContaining({ code: 'BUS_SLOTS' }))
  })

  it('remembers what a device publishes where there is no bus', () => {
    const page = new LocalShadowPage({ shadow: [{ offset: 5, size: 1 }], posted: [{ offset: 0, size: 1, keepsShadow: true }] })
    page.publish(5, 0x60)
    page.setPosted(0, false)
    expect(page.published.get(5)).toBe(0x60)
    expect(page.posted.has(0)).toBe(false)
    page.setPosted(0, true)
    page.withdraw(5)
    expect(page.published.size).toBe(0)
    expect(page.posted.get(0)).toBe(true)
  })
})

describe('the bus, properties', () => {
  const op = fc.oneof(
    { weight: 6, arbitrary: fc.record({ what: fc.constant('write' as const), slot: fc.nat(2), offset: fc.constantFrom(STATUS, ACK, DATA, MODE, DOORBELL), value: fc.oneof(fc.nat(7), fc.constant(0xffff_ffff)) }) },
    { weight: 5, arbitrary: fc.record({ what: fc.constant('read' as const), slot: fc.nat(2), offset: fc.constantFrom(STATUS, COUNT, MODE), size: fc.constantFrom<AccessSize[]>(1, 2, 4) }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constant('burst' as const), slot: fc.nat(2), count: fc.integer({ min: 100, max: 600 }) }) },
    { weight: 2, arbitrary: fc.record({ what: fc.constant('event' as const), bits: fc.nat(255) }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constant('service' as const) }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constant('move' as const), to: fc.constantFrom(BASE, 0x4000, 0xfe00_0000) }) },
  )

  it('is indistinguishable from a plain device that sees each access at once', () => {
    fc.assert(fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
      const { device, region, server, page, buses } = setUp(3)
      const plain = new Device()
      let base = BASE
      for (const step of ops) {
        switch (step.what) {
          case 'write':
            buses[step.slot]?.write(MEMORY, base + step.offset, 4, step.value)
            if (step.offset === DOORBELL && step.value === 3) plain.ring()
            else plain.write(step.offset, step.value)
            break
          case 'read': {
            const mask = step.size === 4 ? 0xffff_ffff : 2 ** (8 * step.size) - 1
            expect(buses[step.slot]?.read(MEMORY, base + step.offset, step.size)).toBe((plain.read(step.offset) & mask) >>> 0)
            break
          }
          case 'burst':
            for (let i = 0; i < step.count; i++) {
              buses[step.slot]?.write(MEMORY, base + DATA, 4, i)
              plain.write(DATA, i)
            }
            break
          case 'event':
            page.update(() => {
              device.status = (device.status | step.bits) >>> 0
              page.publish(STATUS, device.status)
            })
            plain.status = (plain.status | step.bits) >>> 0
            break
          case 'service':
            server.service()
            break
          case 'move':
            server.applyPosts()
            region.move(step.to)
            base = step.to
            break
        }
      }
      server.applyPosts()
      expect(device.log).toEqual(plain.log)
      expect(device.status).toBe(plain.status)
    }), { numRuns: 200, interruptAfterTimeLimit: 15_000 })
  })

  it('applies posts in ticket order, whenever each becomes visible between the taking of its ticket and main looking', () => {
    const step = fc.oneof(fc.record({ take: fc.nat(2) }), fc.record({ push: fc.nat(2) }), fc.constant('apply' as const))
    fc.assert(fc.property(fc.array(step, { maxLength: 120 }), fc.constantFrom(0, 2 ** 31 - 20, -20), (steps, firstTicket) => {
      const { device, server, words } = setUp(3)
      // Start near a wrap of the 32-bit ticket: main and the counter agree on the first one by an empty round trip.
      const TICKET = 32
      const start = Atomics.load(words, TICKET)
      const rings = [0, 1, 2].map((slot) => new PostRing(words, slot))
      const taken: (number | undefined)[] = [undefined, undefined, undefined]
      if (firstTicket !== 0) {
        Atomics.store(words, TICKET, firstTicket)
        rings[0]?.push(takeTicket(words), MEMORY, BASE + DATA, 4, 0, -1)
        server.applyPosts()
        device.log.length = 0
      }
      const origin = firstTicket === 0 ? start : firstTicket + 1
      const visible: number[] = []
      const expected: string[] = []
      const apply = (): void => {
        server.applyPosts()
        expected.push(...visible.sort((a, b) => a - b).map((order) => `8=${order}`))
        visible.length = 0
        expect(device.log).toEqual(expected)
      }
      for (const next of steps) {
        if (next === 'apply') apply()
        else if ('take' in next) taken[next.take] ??= takeTicket(words)
        else {
          const ticket = taken[next.push]
          if (ticket === undefined) continue
          rings[next.push]?.push(ticket, MEMORY, BASE + DATA, 4, (ticket - origin) | 0, -1)
          visible.push((ticket - origin) | 0)
          taken[next.push] = undefined
        }
      }
      apply()
    }), { numRuns: 200, interruptAfterTimeLimit: 10_000 })
  })
})
