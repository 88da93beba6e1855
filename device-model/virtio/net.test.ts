import { describe, expect, it } from 'vitest'
import type { NetBackend, NetPeer } from '../net/backend.ts'
import { VirtioMmio } from './mmio.ts'
import { MmioDriver } from './mmio-driver.ts'
import { VirtioNet } from './net.ts'
import type { NetOptions } from './net.ts'
import { newMemory } from './queue/test-bench.ts'

const NET = 1
const RX = 0, TX = 1, CONTROL = 2
const HEADER = 12
const CSUM = 1n << 0n, GUEST_CSUM = 1n << 1n, CTRL_GUEST_OFFLOADS = 1n << 2n, MTU = 1n << 3n, MAC = 1n << 5n, GUEST_TSO4 = 1n << 7n, HOST_TSO4 = 1n << 11n, MRG_RXBUF = 1n << 15n
const STATUS = 1n << 16n, CTRL_VQ = 1n << 17n, CTRL_RX = 1n << 18n, CTRL_VLAN = 1n << 19n, CTRL_RX_EXTRA = 1n << 20n, ANNOUNCE = 1n << 21n, MQ = 1n << 22n, CTRL_MAC = 1n << 23n
const RX_DATA = 0x8_0000, TX_DATA = 0xc_0000, COMMAND = 0xe_0000, ACK = 0xe_8000
const OUR_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56]
const BROADCAST = [255, 255, 255, 255, 255, 255]

class Cable implements NetBackend {
  readonly id = 'n0'
  readonly kind = 'test'
  readonly description = 'test'
  queues = 1
  hasHeader = false
  trusted = false
  connected = true
  room = Infinity
  peer: NetPeer | null = null
  readonly sent: { frame: number[]; queue: number }[] = []
  readonly waiting: Uint8Array[][] = [[], [], [], []]
  readonly offloads: unknown[] = []
  readonly pairs: number[] = []
  commits = 0
  attach(peer: NetPeer | null): void { this.peer = peer }
  take(queue: number): Uint8Array | undefined { return this.waiting[queue]?.shift() }
  ready(): boolean { return this.sent.length < this.room }
  send(frame: Uint8Array, queue: number): void { this.sent.push({ frame: [...frame], queue }) }
  commit(): void { this.commits++ }
  setOffloads(offloads: unknown): void { this.offloads.push(offloads) }
  setQueues(count: number): void { this.pairs.push(count) }
  async close(): Promise<void> {}
  bring(bytes: number[], queue = 0): void {
    this.waiting[queue]?.push(Uint8Array.from(bytes))
    this.peer?.readable(queue)
  }
}

interface Setup { packed?: boolean; features?: bigint; options?: Partial<NetOptions>; cable?: Partial<Cable>; queues?: number; start?: boolean }

function bench({ packed = false, features = MAC | STATUS, options = {}, cable: changes = {}, queues, start = true }: Setup = {}) {
  const memory = newMemory()
  const cable = Object.assign(new Cable(), changes)
  const logged: string[] = []
  const deferred: (() => void)[] = []
  const events = { log: (message: string) => logged.push(message) }
  const device = VirtioNet.create({
    options: {
      mac: Uint8Array.from(OUR_MAC), pairs: 1, rxQueueSize: 16, txQueueSize: 16, checksum: true, guestChecksum: true, segmentation: true, guestSegmentation: false, mergeable: true,
      ...options,
    },
    backend: cable, events, defer: (callback) => void deferred.push(callback),
  })
  let pulses = 0
  const mmio = VirtioMmio.create({ device, memory, irq: { setLevel: () => undefined, pulse: () => { pulses++ } }, events })
  const driver = new MmioDriver({ access: mmio, memory, base: 0x1000, packed, features })
  if (start) driver.start(NET, queues ?? ((features & CTRL_VQ) !== 0n ? 3 : 2))
  const config = (offset: number, size: 1 | 2 = 1) => mmio.read(0x100 + offset, size)
  let slot = 0
  return {
    memory, cable, logged, device, mmio, driver, config, deferred,
    pulses: () => pulses,
    room: (length: number, at = RX_DATA + slot++ * 0x1000, queue = RX) => {
      driver.queue(queue).add({ writable: [{ address: at, length }] })
      driver.kick(queue)
      return at
    },
    transmit: (bytes: number[], { cut = bytes.length, queue = TX } = {}) => {
      memory.write(TX_DATA, Uint8Array.from(bytes))
      const parts = [{ address: TX_DATA, length: cut }, { address: TX_DATA + cut, length: bytes.length - cut }].filter(({ length }) => length > 0)
      driver.queue(queue).add({ readable: parts })
      driver.kick(queue)
    },
    command: (bytes: number[], queue = CONTROL) => {
      memory.write(COMMAND, Uint8Array.from(bytes))
      memory.writeU8(ACK, 0xee)
      driver.queue(queue).add({ readable: [{ address: COMMAND, length: 2 }, ...(bytes.length > 2 ? [{ address: COMMAND + 2, length: bytes.length - 2 }] : [])], writable: [{ address: ACK, length: 1 }] })
      driver.kick(queue)
      driver.queue(queue).takeUsed()
      return memory.readU8(ACK)
    },
  }
}

const frame = (to: number[] = OUR_MAC, length = 60) => [...to, 2, 0, 0, 0, 0, 9, 8, 0, ...Array.from({ length: length - 14 }, (_, index) => index & 0xff)]
const noHeader = new Array<number>(HEADER).fill(0)

describe.each([['split', false], ['packed', true]] as const)('a network card with %s queues (virtio 1.2 section 5.1)', (_, packed) => {
  it('has its address, its link and its MTU in the configuration space (5.1.4)', () => {
    const { config, driver } = bench({ packed, options: { mtu: 9000 }, features: MAC | STATUS | MTU })
    expect(OUR_MAC.map((_byte, index) => config(index))).toEqual(OUR_MAC)
    expect(config(6, 2)).toBe(1)
    expect(config(8, 2)).toBe(1)
    expect(config(10, 2)).toBe(9000)
    expect(driver.offered() & (MQ | GUEST_TSO4)).toBe(0n)
  })

  it('sends what lies behind the header, however it is cut', () => {
    for (const cut of [HEADER, 5, HEADER + 20]) {
      const { transmit, cable, driver } = bench({ packed })
      transmit([...noHeader, ...frame()], { cut })
      expect(cable.sent).toEqual([{ frame: frame(), queue: 0 }])
      expect(cable.commits).toBeGreaterThan(0)
      expect(driver.queue(TX).takeUsed().length).toBe(1)
    }
  })

  it('waits while its backend is full, and goes on', () => {
    const { transmit, cable, driver } = bench({ packed, cable: { room: 1 } })
    transmit([...noHeader, ...frame()])
    transmit([...noHeader, ...frame()])
    expect(driver.queue(TX).takeUsed().length).toBe(1)
    cable.room = Infinity
    cable.peer?.writable(0)
    expect(cable.sent.length).toBe(2)
    expect(driver.queue(TX).takeUsed().length).toBe(1)
  })

  it('drops and counts frames of impossible length, and gives their buffers back', () => {
    const { transmit, cable, driver, device, logged } = bench({ packed })
    transmit(noHeader)
    transmit([1])
    driver.queue(TX).add({ readable: [{ address: 0, length: 0x1_8000 }] })
    driver.queue(TX).add({ readable: [{ address: TX_DATA, length: 100 }], writable: [{ address: RX_DATA, length: 1 }] })
    driver.kick(TX)
    expect(cable.sent).toEqual([])
    expect(driver.queue(TX).takeUsed().length).toBe(4)
    expect(device.statistics.txDropped).toBe(4)
    expect(logged).toEqual(['virtio-net: guest error: a frame of impossible length (12 bytes)'])
  })

  it('brings a frame behind a header that says one buffer', () => {
    const { room, cable, memory, driver, pulses } = bench({ packed })
    const at = room(2048)
    cable.bring(frame())
    expect(driver.queue(RX).takeUsed().map(({ written }) => written)).toEqual([HEADER + 60])
    expect([...memory.read(at, HEADER)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
    expect([...memory.read(at + HEADER, 60)]).toEqual(frame())
    expect(pulses()).toBe(1)
  })

  it('holds a frame until there is a buffer, and leaves the next ones with the backend', () => {
    const { room, cable, driver } = bench({ packed })
    cable.bring(frame())
    cable.bring(frame())
    expect(cable.waiting[0]?.length).toBe(1)
    room(2048)
    room(2048)
    expect(driver.queue(RX).takeUsed().length).toBe(2)
  })

  it('spreads a frame over buffers where they may be merged, and says how many (5.1.6.4)', () => {
    const { room, cable, memory, driver } = bench({ packed, features: MAC | MRG_RXBUF })
    const places = [room(40), room(40)]
    cable.bring(frame(OUR_MAC, 100))
    expect(driver.queue(RX).takeUsed()).toEqual([])
    places.push(room(40))
    expect(driver.queue(RX).takeUsed().map(({ written }) => written)).toEqual([40, 40, 32])
    const bytes = places.flatMap((at, index) => [...memory.read(at, index === 2 ? 32 : 40)])
    expect(bytes.slice(10, 12)).toEqual([3, 0])
    expect(bytes.slice(HEADER)).toEqual(frame(OUR_MAC, 100))
  })

  it('drops a frame that all buffers of a queue together have no room for', () => {
    const { room, cable, driver, device } = bench({ packed, features: MAC | MRG_RXBUF })
    cable.bring(frame(OUR_MAC, 1000))
    for (let count = 0; count < 16; count++) room(20)
    expect(device.statistics.rxDropped).toBe(1)
    cable.bring(frame(OUR_MAC, 60))
    expect(driver.queue(RX).takeUsed().length).toBe(4)
  })

  it('drops a frame too long for its buffer where buffers are not merged', () => {
    const { room, cable, driver, device } = bench({ packed })
    room(100)
    cable.bring(frame(OUR_MAC, 200))
    expect(device.statistics.rxDropped).toBe(1)
    cable.bring(frame(OUR_MAC, 60))
    expect(driver.queue(RX).takeUsed().map(({ written }) => written)).toEqual([72])
  })

  it('has no memory for frames while nobody drives it', () => {
    const { cable, device } = bench({ packed, start: false })
    cable.bring(frame())
    expect(cable.waiting[0]).toEqual([])
    expect(device.statistics.rxDropped).toBe(1)
  })

  it('moves nothing during a pause, and all afterwards', async () => {
    const { mmio, room, transmit, cable, driver } = bench({ packed })
    room(2048)
    await mmio.pause()
    cable.bring(frame())
    transmit([...noHeader, ...frame()])
    expect([cable.sent.length, cable.waiting[0]?.length]).toEqual([0, 1])
    mmio.resume()
    expect(cable.sent.length).toBe(1)
    expect(driver.queue(RX).takeUsed().length).toBe(1)
  })

  it('lets others have a turn after so many frames, and goes on', () => {
    const { room, cable, driver, deferred, device } = bench({ packed })
    for (let count = 0; count < 300; count++) cable.waiting[0]?.push(Uint8Array.from(frame([2, 2, 2, 2, 2, 2])))
    device.filter.clear(false, false)
    room(2048)
    cable.bring(frame())
    expect(driver.queue(RX).takeUsed()).toEqual([])
    deferred.shift()?.()
    expect(driver.queue(RX).takeUsed().length).toBe(1)
  })
})

describe('helpers of a network card', () => {
  const OFFLOADS = CSUM | GUEST_CSUM | HOST_TSO4

  it('computes a checksum that the driver left open', () => {
    const { transmit, cable } = bench({ features: MAC | CSUM })
    const open = frame(OUR_MAC, 60)
    transmit([1, 0, 0, 0, 0, 0, 14, 0, 10, 0, 0, 0, ...open])
    expect(cable.sent[0]?.frame.slice(0, 24)).toEqual(open.slice(0, 24))
    expect(cable.sent[0]?.frame.slice(24, 26)).not.toEqual(open.slice(24, 26))
  })

  it('drops a frame whose header asks for what cannot be, and counts it', () => {
    const { transmit, cable, logged, driver } = bench({ features: MAC | OFFLOADS })
    transmit([1, 1, 0, 0, 1, 0, 255, 255, 0, 0, 0, 0, ...frame()])
    expect(cable.sent).toEqual([])
    expect(driver.queue(TX).takeUsed().length).toBe(1)
    expect(logged[0]).toContain('a frame whose header asks for what cannot be')
  })

  it('does not look at a header whose fields were not negotiated', () => {
    const { transmit, cable } = bench()
    transmit([1, 1, 0, 0, 1, 0, 255, 255, 0, 0, 0, 0, ...frame()])
    expect(cable.sent.map((one) => one.frame)).toEqual([frame()])
  })

  it('says that a checksum is right only where the backend vouches for it and the driver knows', () => {
    for (const [trusted, features, flags] of [[true, GUEST_CSUM, 2], [false, GUEST_CSUM, 0], [true, 0n, 0]] as const) {
      const { room, cable, memory } = bench({ features: MAC | features, cable: { trusted } })
      const at = room(2048)
      cable.bring(frame())
      expect(memory.readU8(at)).toBe(flags)
    }
  })

  it('hands headers through to a backend that has them, and tells it what the guest takes (5.1.6.5.8)', () => {
    const features = MAC | OFFLOADS | GUEST_TSO4 | CTRL_VQ | CTRL_GUEST_OFFLOADS | MRG_RXBUF
    const { transmit, room, cable, memory, command } = bench({ features, cable: { hasHeader: true }, options: { guestSegmentation: true } })
    transmit([1, 1, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0, ...frame()])
    expect(cable.sent[0]?.frame).toEqual([1, 1, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0, ...frame()])
    const at = room(2048)
    cable.bring([1, 1, 54, 0, 100, 0, 34, 0, 16, 0, 9, 9, ...frame()])
    expect([...memory.read(at, HEADER)]).toEqual([1, 1, 54, 0, 100, 0, 34, 0, 16, 0, 1, 0])
    expect(cable.offloads.at(-1)).toEqual({ checksum: true, tso4: true, tso6: false, ecn: false, ufo: false })
    expect(command([5, 0, 2, 0, 0, 0, 0, 0, 0, 0])).toBe(0)
    expect(cable.offloads.at(-1)).toEqual({ checksum: true, tso4: false, tso6: false, ecn: false, ufo: false })
    expect(command([5, 0, 0, 1, 0, 0, 0, 0, 0, 0])).toBe(1)
  })

  it('are not offered where they are switched off', () => {
    const { driver } = bench({ options: { checksum: false, guestChecksum: false, mergeable: false }, start: false })
    driver.write(0x070, 0)
    expect(driver.offered() & (CSUM | GUEST_CSUM | HOST_TSO4 | MRG_RXBUF | CTRL_GUEST_OFFLOADS)).toBe(0n)
  })
})

describe('the control queue of a network card (virtio 1.2 section 5.1.6.5)', () => {
  const FEATURES = MAC | STATUS | CTRL_VQ | CTRL_RX | CTRL_RX_EXTRA | CTRL_VLAN | CTRL_MAC | ANNOUNCE
  const OTHER = [2, 0, 0, 0, 0, 1], GROUP = [1, 0, 0x5e, 0, 0, 1]
  const vlan = (id: number) => [...OUR_MAC, 2, 0, 0, 0, 0, 9, 0x81, 0, 0, id, 8, 0, ...new Array<number>(42).fill(0)]

  /** Which of the frames get through. */
  function passing(setup: ReturnType<typeof bench>, frames: Record<string, number[]>): string[] {
    return Object.entries(frames).filter(([, bytes]) => {
      setup.room(2048, RX_DATA)
      setup.cable.bring(bytes)
      const isIn = setup.driver.queue(RX).takeUsed().length === 1
      if (!isIn) {
        setup.cable.bring(frame(BROADCAST))
        if (setup.driver.queue(RX).takeUsed().length !== 1) setup.driver.queue(RX).takeUsed()
      }
      return isIn
    }).map(([name]) => name)
  }
  const frames = { own: frame(), other: frame(OTHER), group: frame(GROUP), tagged: vlan(5) }

  it('lets through what the driver asked for', () => {
    const setup = bench({ features: FEATURES })
    expect(passing(setup, frames)).toEqual(['own'])
    expect(setup.command([1, 0, 1, 0, 0, 0, ...OTHER, 1, 0, 0, 0, ...GROUP])).toBe(0)
    expect(passing(setup, frames)).toEqual(['own', 'other', 'group'])
    expect(setup.command([2, 0, 5, 0])).toBe(0)
    expect(passing(setup, frames)).toEqual(['own', 'other', 'group', 'tagged'])
    expect(setup.command([2, 1, 5, 0])).toBe(0)
    expect(setup.command([0, 3, 1])).toBe(0)
    expect(passing(setup, frames)).toEqual(['own', 'other'])
    expect(setup.command([0, 0, 1])).toBe(0)
    expect(passing(setup, frames)).toEqual(['own', 'other', 'group', 'tagged'])
  })

  it('lets everything through for a driver without filters', () => {
    expect(passing(bench(), frames)).toEqual(['own', 'other', 'group', 'tagged'])
  })

  it('takes all addresses of a kind where the table is longer than ours', () => {
    const setup = bench({ features: FEATURES })
    const many = Array.from({ length: 65 }, (_, index) => [2, 7, 7, 7, 7, index]).flat()
    expect(setup.command([1, 0, 65, 0, 0, 0, ...many, 0, 0, 0, 0])).toBe(0)
    expect(passing(setup, frames)).toEqual(['own', 'other'])
  })

  it('changes the address, until a reset', () => {
    const setup = bench({ features: FEATURES })
    expect(setup.command([1, 1, ...OTHER])).toBe(0)
    expect(setup.config(5)).toBe(1)
    expect(passing(setup, frames)).toEqual(['other'])
    setup.mmio.reset()
    expect(setup.config(5)).toBe(0x56)
  })

  it.each([
    ['a class that nobody has', [9, 0, 1]], ['a mode that nobody has', [0, 6, 1]], ['a mode without a value', [0, 0]], ['a table that is cut off', [1, 0, 2, 0, 0, 0, ...OTHER]],
    ['a table of four thousand million addresses', [1, 0, 255, 255, 255, 255, 0, 0, 0, 0]], ['the address of a group', [1, 1, ...GROUP]], ['VLAN 4096', [2, 0, 0, 16]],
    ['two queue pairs of one', [4, 0, 2, 0]], ['offloads that were not negotiated', [5, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
  ])('answers with an error to %s', (_, bytes) => {
    const setup = bench({ features: FEATURES })
    expect(setup.command(bytes)).toBe(1)
    expect(passing(setup, frames)).toEqual(['own'])
  })

  it('survives commands without room for the answer, or of no bytes', () => {
    const { driver, memory } = bench({ features: FEATURES })
    driver.queue(CONTROL).add({ readable: [{ address: COMMAND, length: 4 }] })
    driver.queue(CONTROL).add({ writable: [{ address: ACK, length: 1 }] })
    driver.kick(CONTROL)
    expect(driver.queue(CONTROL).takeUsed().map(({ written }) => written)).toEqual([0, 1])
    expect(memory.readU8(ACK)).toBe(1)
  })

  it('tells of a cable that is pulled out and comes back, and asks for an announcement (5.1.6.5.4)', () => {
    const { device, config, command, driver, cable, transmit } = bench({ features: FEATURES })
    device.setLink(false)
    expect(config(6, 2)).toBe(0)
    expect(driver.acknowledge() & 2).toBe(2)
    transmit([...noHeader, ...frame()])
    cable.bring(frame())
    expect([cable.sent.length, cable.waiting[0]?.length]).toEqual([0, 0])
    device.setLink(true)
    expect(config(6, 2)).toBe(3)
    expect(command([3, 0])).toBe(0)
    expect(config(6, 2)).toBe(1)
  })

  it('follows its backend: gone, and another one', () => {
    const { device, cable, config, transmit } = bench({ features: FEATURES })
    cable.connected = false
    cable.peer?.linkChanged()
    expect(config(6, 2)).toBe(0)
    const next = new Cable()
    device.changeBackend(next, Uint8Array.from(OTHER))
    expect([cable.peer, config(6, 2) & 1, config(5)]).toEqual([null, 1, 1])
    transmit([...noHeader, ...frame()])
    expect(next.sent.length).toBe(1)
    device.changeBackend(undefined)
    transmit([...noHeader, ...frame()])
    expect(config(6, 2)).toBe(0)
  })
})

describe('queue pairs of a network card (virtio 1.2 section 5.1.6.5.6)', () => {
  const FEATURES = MAC | CTRL_VQ | MQ

  it('carry frames once the driver asks for them', () => {
    const { cable, command, driver, room, transmit, config } = bench({ features: FEATURES, options: { pairs: 2 }, queues: 5, cable: { queues: 2 } })
    expect(config(8, 2)).toBe(2)
    expect(command([4, 0, 2, 0], 4)).toBe(0)
    expect(cable.pairs.at(-1)).toBe(2)
    room(2048, RX_DATA, 2)
    cable.bring(frame(), 1)
    expect(driver.queue(2).takeUsed().length).toBe(1)
    transmit([...noHeader, ...frame()], { queue: 3 })
    expect(cable.sent.map(({ queue }) => queue)).toEqual([1])
    expect([command([4, 0, 3, 0], 4), command([4, 0, 0, 0], 4)]).toEqual([1, 1])
  })

  it('are one for a driver that knows of no more: its control queue is the third', () => {
    const { command, cable } = bench({ features: MAC | CTRL_VQ | CTRL_RX, options: { pairs: 2 }, queues: 3, cable: { queues: 2 } })
    expect(command([0, 1, 1])).toBe(0)
    expect(command([4, 0, 2, 0])).toBe(1)
    expect(cable.pairs.at(-1)).toBe(1)
  })
})

describe('the state of a network card', () => {
  it('comes back whole', () => {
    const { device, command } = bench({ features: MAC | STATUS | CTRL_VQ | CTRL_RX | CTRL_MAC | CTRL_VLAN })
    command([1, 1, 2, 0, 0, 0, 0, 1])
    command([2, 0, 5, 0])
    device.setLink(false)
    const saved = JSON.parse(JSON.stringify(device.state())) as unknown
    const again = VirtioNet.fromState(saved, { options: device.options })
    expect(again.state()).toMatchObject({ mac: [2, 0, 0, 0, 0, 1], linkUp: false })
  })

  it.each([['no record', null], ['no filter', { mac: OUR_MAC, linkUp: true, announce: false, pairs: 1, offloads: 0 }], ['bytes that are none', { mac: [999] }]])('is refused with %s', (_, state) => {
    const { device } = bench()
    expect(() => VirtioNet.fromState(state, { options: device.options })).toThrow(expect.objectContaining({ code: 'DEVICE_STATE' }))
  })
})
