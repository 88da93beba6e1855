import { describe, expect, it } from 'vitest'
import fc from 'fast-check'
import { AddressSpace } from '../../address-space/address-space.ts'
import { BusServer, LocalShadowPage, SPACE_MEMORY, VcpuBus } from '../../address-space/bus.ts'
import { Region } from '../../address-space/region.ts'
import type { Activation, VirtioDevice, VirtioHost } from './device.ts'
import { VirtioMmio, VIRTIO_MMIO_SHADOW, VIRTIO_MMIO_SIZE } from './mmio.ts'
import type { RingOptions } from './mmio.ts'
import { MmioDriver } from './mmio-driver.ts'
import type { MmioDriverOptions } from './mmio-driver.ts'
import { newMemory } from './queue/test-bench.ts'
import type { Chain } from './queue/chain.ts'

const ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64
const STATUS = 0x070, INTERRUPT_STATUS = 0x060, INTERRUPT_ACK = 0x064, QUEUE_SEL = 0x030, QUEUE_NUM = 0x038, QUEUE_READY = 0x044, QUEUE_NOTIFY = 0x050
const DRIVER_FEATURES_SEL = 0x024, DRIVER_FEATURES = 0x020, CONFIG_GENERATION = 0x0fc, CONFIG = 0x100
const USED_BUFFER = 1, CONFIG_CHANGE = 2
const F_DEVICE = 1n << 5n
const DEVICE_TYPE = 42
const DATA = 0x4_0000
const ALL_ONES = 0xffff_ffff

/** Gives buffers back when told to. */
class TestDevice implements VirtioDevice {
  readonly name = 'test-device'
  readonly deviceType = DEVICE_TYPE
  readonly features = F_DEVICE
  readonly queueSizes = [8, 4]
  readonly config = Uint8Array.from([1, 2, 3, 4, 5, 6])
  readonly calls: string[] = []
  readonly taken: Chain[] = []
  host: VirtioHost | undefined
  active: Activation | undefined

  attach(host: VirtioHost): void { this.host = host }
  activate(activation: Activation): void {
    this.calls.push(`activate ${activation.features.toString(16)}`)
    this.active = activation
  }

  kick(queue: number): void {
    this.calls.push(`kick ${queue}`)
    this.active?.queues[queue]?.serve((chain) => this.taken.push(chain))
  }

  finish(queue = 0): void {
    for (const chain of this.taken.splice(0)) this.active?.queues[queue]?.push(chain, chain.writableLength)
    this.active?.queues[queue]?.notify()
  }

  configWritten(offset: number, size: number, value: number): void { this.calls.push(`config ${offset} ${size} ${value}`) }
  reset(): void {
    this.calls.push('reset')
    this.active = undefined
  }

  stopQueue(queue: number): void { this.calls.push(`stop ${queue}`) }
  state(): unknown { return { some: 'state' } }
}

class Line {
  pulses = 0
  setLevel(): void { throw new Error('an edge-triggered line is pulsed') }
  pulse(): void { this.pulses++ }
}

function bench(driverOptions: Partial<MmioDriverOptions> = {}, rings: RingOptions = {}) {
  const memory = newMemory()
  const device = new TestDevice()
  const irq = new Line()
  const shadow = new LocalShadowPage(VIRTIO_MMIO_SHADOW)
  const logged: string[] = []
  const deferred: (() => void)[] = []
  const events = { log: (message: string) => logged.push(message) }
  const wiring = { device, memory, irq, rings, shadow, events, defer: (callback: () => void) => deferred.push(callback) }
  const mmio = VirtioMmio.create(wiring)
  const driver = new MmioDriver({ access: mmio, memory, base: 0x1000, ...driverOptions })
  return { memory, device, irq, shadow, logged, deferred, wiring, mmio, driver }
}

describe('registers (virtio 1.2 section 4.2.2)', () => {
  it('identify a device of version 2, by magic, type and no vendor (virtio_4_2_2_1)', () => {
    const { mmio } = bench()
    expect([0x000, 0x004, 0x008, 0x00c].map((offset) => mmio.read(offset, 4))).toEqual([0x7472_6976, 2, DEVICE_TYPE, 0])
  })

  it('have no shared memory: length and base are all ones', () => {
    const { mmio } = bench()
    mmio.write(0x0ac, 4, 0)
    expect([0x0b0, 0x0b4, 0x0b8, 0x0bc].map((offset) => mmio.read(offset, 4))).toEqual([ALL_ONES, ALL_ONES, ALL_ONES, ALL_ONES])
  })

  it('take accesses of 32 bits only; the configuration space takes any (virtio_4_2_2_2)', () => {
    const { mmio, logged, device } = bench()
    expect([mmio.read(0, 1), mmio.read(0, 2), mmio.read(2, 2)]).toEqual([ALL_ONES, ALL_ONES, ALL_ONES])
    mmio.write(STATUS, 1, 1)
    expect(mmio.read(STATUS, 4)).toBe(0)
    expect(logged).toHaveLength(2)
    expect([mmio.read(CONFIG, 1), mmio.read(CONFIG + 1, 1), mmio.read(CONFIG + 2, 2), mmio.read(CONFIG, 4)]).toEqual([1, 2, 0x0403, 0x0403_0201])
    mmio.write(CONFIG + 4, 2, 77)
    expect(device.calls).toEqual(['config 4 2 77'])
  })

  it('beyond what exists read all ones and swallow writes, counted and logged once', () => {
    const { mmio, logged } = bench()
    for (const offset of [0x010 + 0x20, 0x040, 0x0c0, 0x0f8]) {
      expect(mmio.read(offset, 4)).toBe(ALL_ONES)
      mmio.write(offset, 4, 1)
    }
    expect([mmio.read(CONFIG + 4, 4), mmio.read(CONFIG + 6, 1), mmio.read(CONFIG + 0xff, 1)]).toEqual([ALL_ONES, ALL_ONES, ALL_ONES])
    mmio.write(CONFIG + 6, 1, 1)
    expect(logged.length).toBeLessThanOrEqual(4)
    expect(mmio.guestErrors.counts()['read beyond the configuration space']).toBe(3)
  })

  it('are published to the vCPUs, and an acknowledgement may be posted', () => {
    const { shadow, driver, device } = bench()
    expect([...shadow.published]).toEqual([[0, 0x7472_6976], [4, 2], [8, DEVICE_TYPE], [0xc, 0], [INTERRUPT_STATUS, 0], [STATUS, 0], [CONFIG_GENERATION, 0]])
    expect([...shadow.posted]).toEqual([[INTERRUPT_ACK, false]])
    driver.start(DEVICE_TYPE, 2)
    expect(shadow.published.get(STATUS)).toBe(15)
    device.host?.configChanged()
    expect([shadow.published.get(INTERRUPT_STATUS), shadow.published.get(CONFIG_GENERATION)]).toEqual([CONFIG_CHANGE, 1])
    driver.acknowledge()
    expect(shadow.published.get(INTERRUPT_STATUS)).toBe(0)
  })
})

describe('negotiation', () => {
  it('offers what the device and the rings can do, VERSION_1 always (virtio_6_2)', () => {
    const INDIRECT = 1n << 28n, EVENT = 1n << 29n, VERSION_1 = 1n << 32n, PACKED = 1n << 34n
    expect(bench().driver.offered()).toBe(F_DEVICE | INDIRECT | EVENT | VERSION_1 | PACKED)
    expect(bench({}, { packed: false, indirect: false, eventIndex: false }).driver.offered()).toBe(F_DEVICE | VERSION_1)
    const { mmio } = bench()
    mmio.write(0x014, 4, 2)
    expect(mmio.read(0x010, 4)).toBe(0)
  })

  it.each([
    ['VERSION_1 is missing (virtio_6_1)', [[0, 0], [1, 0]]], ['a feature was not offered (virtio_2_2_1)', [[0, 2], [1, 1]]],
    ['a feature beyond bit 63 is accepted', [[1, 1], [2, 1]]], ['a ring feature was not offered', [[1, 1 | 4]]],
  ])('refuses FEATURES_OK where %s', (_, words) => {
    const { mmio } = bench({}, { packed: false })
    mmio.write(STATUS, 4, ACKNOWLEDGE | DRIVER)
    for (const [word, value] of words) {
      mmio.write(DRIVER_FEATURES_SEL, 4, word as number)
      mmio.write(DRIVER_FEATURES, 4, value as number)
    }
    mmio.write(STATUS, 4, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    expect(mmio.read(STATUS, 4)).toBe(ACKNOWLEDGE | DRIVER)
  })

  it('takes features between DRIVER and FEATURES_OK only', () => {
    const { mmio, driver, device } = bench()
    mmio.write(DRIVER_FEATURES, 4, ALL_ONES)
    driver.negotiate(DEVICE_TYPE)
    mmio.write(DRIVER_FEATURES_SEL, 4, 0)
    mmio.write(DRIVER_FEATURES, 4, 0x20)
    driver.write(STATUS, 15)
    expect(device.calls.at(-1)).toBe('activate 100000000')
    expect(mmio.guestErrors.counts()['features were written outside of the negotiation']).toBe(2)
  })

  it('activates the device once, with its queues, and rings every doorbell once', () => {
    const { device, driver, mmio } = bench({ features: F_DEVICE, packed: true, queueSize: 4 })
    driver.start(DEVICE_TYPE, 1)
    mmio.write(STATUS, 4, 15)
    expect(device.calls).toEqual(['reset', 'activate 500000020', 'kick 0'])
    expect(device.active?.queues.map((queue) => queue?.size)).toEqual([4, undefined])
  })
})

describe.each([['split', false], ['packed', true]] as const)('%s queues', (_, packed) => {
  it('carry buffers to the device and back, with one pulse for each interrupt', () => {
    const { driver, device, mmio, irq, memory } = bench({ packed })
    driver.start(DEVICE_TYPE, 2)
    const id = driver.queue(1).add({ readable: [{ address: DATA, length: 4 }], writable: [{ address: DATA + 16, length: 4 }] })
    driver.kick(1)
    expect(device.taken).toHaveLength(1)
    device.taken[0]?.writable[0]?.bytes.fill(7)
    device.finish(1)
    expect([irq.pulses, mmio.read(INTERRUPT_STATUS, 4)]).toEqual([1, USED_BUFFER])
    expect(driver.queue(1).takeUsed()).toEqual([{ id, written: 4 }])
    expect([...memory.read(DATA + 16, 4)]).toEqual([7, 7, 7, 7])
    expect([driver.acknowledge(), driver.acknowledge()]).toEqual([USED_BUFFER, 0])
  })

  it('are set up between FEATURES_OK and DRIVER_OK only (4.2.3.2)', () => {
    const { driver, mmio } = bench({ packed })
    mmio.write(QUEUE_READY, 4, 1)
    expect(mmio.read(QUEUE_READY, 4)).toBe(0)
    driver.start(DEVICE_TYPE, 1)
    mmio.write(QUEUE_SEL, 4, 1)
    mmio.write(QUEUE_NUM, 4, 2)
    mmio.write(QUEUE_READY, 4, 1)
    expect(mmio.read(QUEUE_READY, 4)).toBe(0)
    expect(mmio.guestErrors.counts()['a queue was set up outside of its time']).toBe(3)
  })

  it('keep size and place while they are ready (virtio_4_2_2_2)', () => {
    const { driver, mmio, device } = bench({ packed })
    driver.negotiate(DEVICE_TYPE)
    driver.setUpQueue(0)
    mmio.write(QUEUE_NUM, 4, 2)
    mmio.write(0x080, 4, 0x8000)
    driver.write(STATUS, 15)
    driver.queue(0).add({ writable: [{ address: DATA, length: 1 }] })
    driver.kick(0)
    expect(device.active?.queues[0]?.size).toBe(8)
    expect(device.taken).toHaveLength(1)
  })

  it('that are set up outside RAM are not ready, and the device needs a reset', () => {
    const { driver, mmio, irq } = bench({ packed })
    driver.negotiate(DEVICE_TYPE)
    mmio.write(QUEUE_SEL, 4, 0)
    for (const offset of [0x084, 0x094, 0x0a4]) mmio.write(offset, 4, 0x7fff_ffff)
    mmio.write(QUEUE_READY, 4, 1)
    expect(mmio.read(QUEUE_READY, 4)).toBe(0)
    expect(mmio.read(STATUS, 4)).toBe(ACKNOWLEDGE | DRIVER | FEATURES_OK | NEEDS_RESET)
    expect(irq.pulses).toBe(0) // before DRIVER_OK there is nobody to tell (2.1.2)
  })

  it.each([[0], [9], [0x8000_0000]])('cannot have the size %i', (size) => {
    const { driver, mmio } = bench({ packed })
    driver.negotiate(DEVICE_TYPE)
    mmio.write(QUEUE_NUM, 4, size)
    for (const [offset, address] of [[0x080, 0x1000], [0x090, 0x2000], [0x0a0, 0x3000]] as const) mmio.write(offset, 4, address)
    mmio.write(QUEUE_READY, 4, 1)
    expect(mmio.read(QUEUE_READY, 4)).toBe(0)
  })

  it('that the device does not have have no size and cannot be set up', () => {
    const { driver, mmio } = bench({ packed })
    driver.negotiate(DEVICE_TYPE)
    for (const queue of [2, ALL_ONES]) {
      mmio.write(QUEUE_SEL, 4, queue)
      mmio.write(QUEUE_READY, 4, 1)
      expect([mmio.read(0x034, 4), mmio.read(QUEUE_READY, 4)]).toEqual([0, 0])
    }
  })

  it('stop one by one', () => {
    const { driver, mmio, device, memory, irq } = bench({ packed })
    driver.start(DEVICE_TYPE, 2)
    driver.queue(0).add({ writable: [{ address: DATA, length: 1 }] })
    driver.kick(0)
    mmio.write(QUEUE_SEL, 4, 0)
    mmio.write(QUEUE_READY, 4, 0)
    expect(mmio.read(QUEUE_READY, 4)).toBe(0)
    expect(device.calls.at(-1)).toBe('stop 0')
    const before = memory.read(0, memory.size)
    device.finish(0)
    driver.kick(0)
    expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
    expect(irq.pulses).toBe(0)
    driver.queue(1).add({ writable: [{ address: DATA, length: 1 }] })
    driver.kick(1)
    expect(device.taken).toHaveLength(1)
  })

  it('are not looked at before DRIVER_OK, and then without a notification (virtio_2_1_2)', () => {
    const { driver, device } = bench({ packed })
    driver.negotiate(DEVICE_TYPE)
    driver.setUpQueue(0).add({ writable: [{ address: DATA, length: 1 }] })
    driver.kick(0)
    expect(device.calls).toEqual(['reset'])
    driver.write(STATUS, 15)
    expect(device.taken).toHaveLength(1)
  })

  it('that are malformed end in DEVICE_NEEDS_RESET with a configuration interrupt, told once (virtio_2_1_2)', () => {
    const { driver, mmio, memory, irq, logged, device } = bench({ packed })
    driver.start(DEVICE_TYPE, 2)
    driver.queue(0).add({ writable: [{ address: 2 ** 40, length: 16 }] })
    driver.queue(1).add({ writable: [{ address: DATA, length: 1 }] })
    driver.kick(1)
    driver.kick(0)
    driver.kick(0)
    expect(mmio.read(STATUS, 4)).toBe(15 | NEEDS_RESET)
    expect([irq.pulses, mmio.read(INTERRUPT_STATUS, 4)]).toEqual([1, CONFIG_CHANGE])
    expect(logged).toEqual([expect.stringMatching(/^test-device: guest error: a descriptor points outside guest RAM \(queue 0: 0x10000000000, 16 bytes\)$/)])
    const before = memory.read(0, memory.size)
    device.finish(1) // a backend that comes late finds the queue closed
    expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
    // The way out is a reset.
    driver.start(DEVICE_TYPE, 2)
    driver.queue(0).add({ writable: [{ address: DATA, length: 1 }] })
    driver.kick(0)
    expect(device.taken).toHaveLength(1)
  })

  it('are forgotten by a reset, with requests in flight (virtio_2_4_1, virtio_4_2_2_1)', () => {
    const { driver, mmio, device, memory, irq } = bench({ packed })
    driver.start(DEVICE_TYPE, 2)
    driver.queue(0).add({ writable: [{ address: DATA, length: 1 }] })
    driver.kick(0)
    device.host?.configChanged()
    const late = [...device.taken]
    const queue = device.active?.queues[0]
    driver.write(STATUS, 0)
    expect([mmio.read(STATUS, 4), mmio.read(INTERRUPT_STATUS, 4)]).toEqual([0, 0])
    for (const index of [0, 1]) {
      mmio.write(QUEUE_SEL, 4, index)
      expect(mmio.read(QUEUE_READY, 4)).toBe(0)
      mmio.write(QUEUE_READY, 4, 0) // Linux does
    }
    const before = memory.read(0, memory.size)
    for (const chain of late) queue?.push(chain, 1)
    queue?.notify()
    driver.kick(0)
    expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
    expect(irq.pulses).toBe(1)
    expect(mmio.read(CONFIG_GENERATION, 4)).toBe(1) // goes on, so that no driver takes old bytes for new ones
  })

  it('come back from a saved state, requests in flight included', () => {
    const first = bench({ packed, eventIndex: true })
    first.driver.start(DEVICE_TYPE, 2)
    const id = first.driver.queue(1).add({ writable: [{ address: DATA, length: 3 }] })
    first.driver.kick(1)
    first.device.host?.configChanged()
    const state: unknown = JSON.parse(JSON.stringify(first.mmio.state()))
    const device = new TestDevice()
    const irq = new Line()
    const deferred: (() => void)[] = []
    const shadow = new LocalShadowPage(VIRTIO_MMIO_SHADOW)
    const mmio = VirtioMmio.fromState(state, { ...first.wiring, device, irq, shadow, defer: (callback) => deferred.push(callback) })
    expect(mmio.state()).toEqual(state)
    expect([irq.pulses, mmio.read(INTERRUPT_STATUS, 4)]).toEqual([1, CONFIG_CHANGE])
    for (const callback of deferred.splice(0)) callback()
    expect(device.calls).toEqual([packed ? 'activate 520000000' : 'activate 120000000', 'kick 0', 'kick 1'])
    device.finish(1)
    expect(first.driver.queue(1).takeUsed()).toEqual([{ id, written: 3 }])
    expect(irq.pulses).toBeGreaterThan(1) // once too often does no harm
  })
})

describe('interrupts', () => {
  it('are pulsed for each event, also while the bit is set', () => {
    const { driver, device, mmio, irq } = bench()
    driver.start(DEVICE_TYPE, 2)
    device.host?.configChanged()
    device.host?.configChanged()
    expect([irq.pulses, mmio.read(INTERRUPT_STATUS, 4), mmio.read(CONFIG_GENERATION, 4)]).toEqual([2, CONFIG_CHANGE, 2])
  })

  it('are acknowledged bit by bit', () => {
    const { driver, device, mmio } = bench()
    driver.start(DEVICE_TYPE, 2)
    device.host?.configChanged()
    driver.queue(0).add({ writable: [{ address: DATA, length: 1 }] })
    driver.kick(0)
    device.finish()
    expect(mmio.read(INTERRUPT_STATUS, 4)).toBe(CONFIG_CHANGE | USED_BUFFER)
    mmio.write(INTERRUPT_ACK, 4, CONFIG_CHANGE | 0xf0)
    expect(mmio.read(INTERRUPT_STATUS, 4)).toBe(USED_BUFFER)
  })

  it('of configuration changes wait for a driver that has begun but is not ready', () => {
    const { driver, device, irq } = bench()
    device.host?.configChanged()
    driver.negotiate(DEVICE_TYPE)
    expect(irq.pulses).toBe(0)
    device.host?.configChanged()
    driver.write(STATUS, 15)
    expect([irq.pulses, driver.acknowledge()]).toEqual([1, CONFIG_CHANGE])
  })

  it('of a device that says itself that it needs a reset', () => {
    const { driver, device, irq, mmio } = bench()
    driver.start(DEVICE_TYPE, 2)
    device.host?.needsReset('a request of an impossible kind', '7')
    expect([irq.pulses, mmio.read(STATUS, 4)]).toEqual([1, 15 | NEEDS_RESET])
  })
})

describe('a saved state', () => {
  const good = () => JSON.parse(JSON.stringify(bench().mmio.state())) as Record<string, unknown>
  it.each([
    ['no record', () => null], ['an unknown status bit', () => ({ ...good(), status: 0x10 })], ['too many queues', () => ({ ...good(), queues: [{}, {}, {}] })],
    ['features that are no words', () => ({ ...good(), driverFeatures: [1] })], ['an address that is none', () => ({ ...good(), queues: [{}, {}] })],
    ['a ready queue outside RAM', () => ({ ...good(), queues: (good()['queues'] as object[]).map((queue) => ({ ...queue, ready: true, driver: [0, 0x7fff_ffff] })) })],
  ])('with %s is refused', (_, state) => {
    expect(() => VirtioMmio.fromState(state(), bench().wiring)).toThrow(expect.objectContaining({ code: 'DEVICE_STATE' }))
  })
})

describe('over the bus', () => {
  const BASE = 0xf010_0c00

  function onBus() {
    const memory = newMemory()
    const space = new AddressSpace('memory', Region.container('system', 2 ** 40))
    const bus = new BusServer({ memory: space, ports: new AddressSpace('I/O', Region.container('io', 0x1_0000)), slots: 2, spinMicroseconds: 0 })
    const device = new TestDevice()
    const irq = new Line()
    const late: { mmio?: VirtioMmio } = {}
    const region = Region.io('virtio-mmio', VIRTIO_MMIO_SIZE, {
      read: (offset, size) => late.mmio?.read(offset, size) ?? ALL_ONES, write: (offset, size, value) => late.mmio?.write(offset, size, value),
    })
    const shadow = bus.shadowPage(region, VIRTIO_MMIO_SHADOW)
    const mmio = late.mmio = VirtioMmio.create({ device, memory, irq: bus.orderedLine(irq), shadow })
    for (const notifier of mmio.notifiers()) region.addNotifier(notifier)
    space.root.add(region, BASE)
    const [vcpu, other] = [0, 1].map((slot) => new VcpuBus(bus.connect(slot), { wait: () => { bus.service() } })) as [VcpuBus, VcpuBus]
    const access = {
      read: (offset: number, size: 1 | 2 | 4) => vcpu.read(SPACE_MEMORY, BASE + offset, size),
      write: (offset: number, size: 1 | 2 | 4, value: number) => vcpu.write(SPACE_MEMORY, BASE + offset, size, value),
    }
    const driver = new MmioDriver({ access, memory, base: 0x1000 })
    return { memory, bus, device, irq, mmio, driver, vcpu, other }
  }

  it('a kick is a doorbell and an acknowledgement is posted: the vCPU runs on', () => {
    const { driver, device, vcpu, bus, irq } = onBus()
    driver.start(DEVICE_TYPE, 2)
    driver.queue(0).add({ writable: [{ address: DATA, length: 1 }] })
    const before = { ...vcpu.counters }
    driver.kick(0)
    expect(device.taken).toHaveLength(0)
    bus.service()
    expect(device.taken).toHaveLength(1)
    device.finish()
    expect(driver.acknowledge()).toBe(USED_BUFFER)
    const { calls, posts, shadowReads } = vcpu.counters
    expect([calls - before.calls, posts - before.posts, shadowReads - before.shadowReads]).toEqual([0, 2, 1])
    expect(driver.read(INTERRUPT_STATUS)).toBe(0) // waits for the posted acknowledgement
    expect(irq.pulses).toBe(1)
    bus.close()
  })

  it('a kick of another queue than the device has is an ordinary write', () => {
    const { driver, vcpu, mmio, bus } = onBus()
    driver.start(DEVICE_TYPE, 2)
    const { calls } = vcpu.counters
    driver.write(QUEUE_NOTIFY, 2)
    expect(vcpu.counters.calls).toBe(calls + 1)
    expect(mmio.guestErrors.counts()['a notification for a queue that the device does not have']).toBe(1)
    bus.close()
  })

  it('no posted acknowledgement swallows an event that came after it, whatever the interleaving', () => {
    fc.assert(fc.property(fc.array(fc.constantFrom('finish', 'config', 'ack', 'service', 'foreign'), { maxLength: 40 }), (moves) => {
      const { driver, device, bus, irq, other } = onBus()
      driver.start(DEVICE_TYPE, 2)
      const fill = () => {
        if (driver.queue(0).add({ writable: [{ address: DATA, length: 1 }] }) !== undefined) driver.kick(0)
        bus.service()
      }
      fill()
      let configs = 0
      let seenConfigs = 0
      let handledPulses = 0
      // A driver: on an interrupt it reads, acknowledges, and then looks at what there is.
      const handle = () => {
        handledPulses = irq.pulses
        const status = driver.acknowledge()
        if ((status & USED_BUFFER) !== 0) driver.queue(0).takeUsed()
        if ((status & CONFIG_CHANGE) !== 0) seenConfigs = configs
      }
      for (const move of moves) {
        switch (move) {
          case 'finish': device.host?.update(() => device.finish()); break
          case 'config':
            configs++
            device.host?.configChanged()
            break
          case 'ack': if (irq.pulses !== handledPulses) handle(); break
          case 'service': bus.service(); fill(); break
          case 'foreign': other.write(SPACE_MEMORY, BASE + INTERRUPT_ACK, 4, 0); break
        }
      }
      for (let rounds = 0; irq.pulses !== handledPulses && rounds < 4; rounds++) handle()
      expect(seenConfigs).toBe(configs)
      expect(driver.queue(0).outstanding).toBe(device.taken.length)
      bus.close()
    }), { numRuns: 200, interruptAfterTimeLimit: 10_000 })
  })
})

it('random register accesses never throw, never leave the registers, and never interrupt a driver that is not there', () => {
  const likely = [STATUS, QUEUE_SEL, QUEUE_NUM, QUEUE_READY, QUEUE_NOTIFY, INTERRUPT_ACK, DRIVER_FEATURES, DRIVER_FEATURES_SEL, 0x080, 0x090, 0x0a0]
  const offsets = fc.oneof(fc.constantFrom(...likely), fc.nat(0x7f).map((cell) => cell * 4), fc.nat(0x1fc))
  const values = fc.oneof(fc.constantFrom(0, 1, 2, 3, 8, 11, 15, 0x1000, 0x2000, 0x3000), fc.nat(ALL_ONES))
  const access = fc.record({ offset: offsets, size: fc.constantFrom(1, 2, 4, 4, 4), value: values, isWrite: fc.boolean() })
  fc.assert(fc.property(fc.array(access, { maxLength: 200 }), (accesses) => {
    const { mmio, deferred, irq, logged } = bench()
    for (const { offset, size, value, isWrite } of accesses) {
      if (isWrite) mmio.write(offset, size as 1 | 2 | 4, value)
      else expect(mmio.read(offset, size as 1 | 2 | 4)).toBeGreaterThanOrEqual(0)
      for (const callback of deferred.splice(0)) callback()
      if ((mmio.read(STATUS, 4) & DRIVER_OK) === 0) irq.pulses = 0
      expect(mmio.read(INTERRUPT_STATUS, 4) === 0 || irq.pulses > 0).toBe(true)
    }
    expect(logged.length).toBeLessThan(40)
  }), { numRuns: 300, interruptAfterTimeLimit: 10_000 })
})
