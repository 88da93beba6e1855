import { describe, expect, it } from 'vitest'
import { VirtioConsole } from './console.ts'
import type { FarEnd } from './console-bench.ts'
import { consoleBench, rxOf, txOf } from './console-bench.ts'
import type { ConsoleBench } from './console-bench.ts'

const DEVICE_READY = 0, PORT_ADD = 1, PORT_REMOVE = 2, PORT_READY = 3, CONSOLE_PORT = 4, RESIZE = 5, PORT_OPEN = 6, PORT_NAME = 7
const CONTROL_RX = 2
const BAD_PORT = 0xffff_ffff

/** As Linux does: ready, then every port that is added, then open. */
function ready(bench: ConsoleBench, open: readonly number[] = []): void {
  for (let index = 0; index < 12; index++) bench.give(CONTROL_RX, 64)
  bench.control(BAD_PORT, DEVICE_READY, 1)
  for (const [port, event] of bench.messages()) if (event === PORT_ADD) bench.control(port as number, PORT_READY, 1)
  bench.messages()
  for (const nr of open) bench.control(nr, PORT_OPEN, 1)
}

describe.each([['split', false], ['packed', true]] as const)('a console device over %s queues (virtio 1.2 section 5.3)', (_, packed) => {
  it('tells of its ports, which are consoles, their names, and which are open (virtio_5_3_6_2)', () => {
    const bench = consoleBench({ packed })
    for (let index = 0; index < 8; index++) bench.give(CONTROL_RX, 64)
    expect(bench.messages()).toEqual([])
    bench.control(BAD_PORT, DEVICE_READY, 1)
    expect(bench.messages()).toEqual([[0, PORT_ADD, 1, ''], [1, PORT_ADD, 1, '']])
    bench.control(0, PORT_READY, 1)
    expect(bench.messages()).toEqual([[0, CONSOLE_PORT, 1, ''], [0, PORT_OPEN, 1, '']])
    bench.control(1, PORT_READY, 1)
    expect(bench.messages()).toEqual([[1, PORT_NAME, 1, 'org.example'], [1, PORT_OPEN, 1, '']])
    expect(bench.logged).toEqual([])
  })

  it('carries output of every port, however it is cut, in order', () => {
    const bench = consoleBench({ packed })
    bench.send(txOf(0), 'hello ')
    const at = bench.place(16)
    bench.memory.write(at, Buffer.from('worldagain'))
    bench.driver.queue(txOf(0)).add({ indirect: true, readable: [{ address: at, length: 5 }, { address: at + 5, length: 5 }] })
    bench.driver.kick(txOf(0))
    bench.send(txOf(1), 'channel')
    expect([bench.far[0]?.text, bench.far[1]?.text]).toEqual(['hello worldagain', 'channel'])
    expect([bench.used(txOf(0)), bench.used(txOf(1))]).toEqual([2, 1])
  })

  it('brings input only to a port that the guest has open, and as much as it gives room for', () => {
    const bench = consoleBench({ packed })
    ready(bench)
    bench.give(rxOf(1), 4)
    expect(bench.far[1]?.flow).toBe(false)
    bench.control(1, PORT_OPEN, 1)
    expect(bench.far[1]?.flow).toBe(true)
    bench.far[1]?.say('123456789')
    expect(bench.far[1]?.flow).toBe(false)
    expect(bench.received(rxOf(1))).toBe('1234')
    bench.give(rxOf(1), 3)
    bench.give(rxOf(1), 3)
    expect(bench.received(rxOf(1))).toBe('56789')
    expect(bench.far[1]?.flow).toBe(true)
    bench.control(1, PORT_OPEN, 0)
    expect(bench.far[1]?.flow).toBe(false)
  })

  it('keeps what a guest that reads in tiny buffers has not taken, and lets the rest come after a turn of the event loop', () => {
    const bench = consoleBench({ packed, queueSize: 128 })
    ready(bench, [1])
    for (let index = 0; index < 128; index++) bench.give(rxOf(1), 1)
    bench.far[1]?.say('x'.repeat(128))
    bench.runDeferred()
    expect(bench.received(rxOf(1))).toHaveLength(128)
    expect(bench.far[1]?.flow).toBe(true)
  })

  it('makes the guest of a channel wait for a host that does not read, and loses nothing', () => {
    const bench = consoleBench({ packed })
    const far = bench.far[1] as FarEnd
    far.canWrite = false
    bench.send(txOf(1), 'one ')
    bench.send(txOf(1), 'two')
    expect([far.text, bench.used(txOf(1))]).toEqual(['', 0])
    far.canWrite = true
    far.tell('writable')
    expect([far.text, bench.used(txOf(1))]).toEqual(['one two', 2])
  })

  it('does not make a console wait: a kernel that prints would stand still', () => {
    const bench = consoleBench({ packed })
    const far = bench.far[0] as FarEnd
    far.canWrite = false
    bench.send(txOf(0), 'panic')
    expect([far.text, bench.used(txOf(0))]).toEqual(['panic', 1])
  })

  it('moves a buffer of megabytes in pieces, with turns for others between', () => {
    const bench = consoleBench({ packed })
    const far = bench.far[1] as FarEnd
    far.forgets = true
    // One piece of memory again and again: a guest may ask for more than it has.
    const readable = Array.from({ length: 32 }, () => ({ address: 0x8_0000, length: 0x8_0000 }))
    bench.driver.queue(txOf(1)).add({ indirect: true, readable })
    bench.driver.kick(txOf(1))
    expect(far.writtenBytes).toBe(256 * 1024)
    expect(bench.runDeferred()).toBeGreaterThan(32)
    expect([far.writtenBytes, bench.used(txOf(1))]).toEqual([32 * 0x8_0000, 1])
  })
})

describe('a console device', () => {
  it('with one port is a plain console without control queues, also where a driver knows of no more', () => {
    for (const bench of [consoleBench({ maxPorts: 1, multiport: false, ports: [{ nr: 0, isConsole: true }] }), consoleBench({ multiport: false })]) {
      bench.give(0)
      expect(bench.far[0]?.flow).toBe(true)
      bench.far[0]?.say('in')
      bench.send(1, 'out')
      expect([bench.received(0), bench.far[0]?.text]).toEqual(['in', 'out'])
    }
    expect(consoleBench({ maxPorts: 1, multiport: false, ports: [] }).device.queueSizes).toHaveLength(2)
    expect(consoleBench({ maxPorts: 31 }).device.queueSizes).toHaveLength(64)
  })

  it('has the number of ports and the size of its terminal in the configuration space, and tells of a new size (virtio_5_3_4)', () => {
    const bench = consoleBench({ size: { columns: 132, rows: 43 }, extra: 1n })
    const shown = () => [0, 2].map((offset) => bench.mmio.read(0x100 + offset, 2)).concat(bench.mmio.read(0x104, 4))
    expect(shown()).toEqual([132, 43, 4])
    ready(bench)
    const far = bench.far[0] as FarEnd
    far.size = { columns: 80, rows: 24 }
    const before = bench.driver.acknowledge()
    far.tell('resized')
    expect(shown()).toEqual([80, 24, 4])
    expect([before & 2, bench.driver.acknowledge() & 2]).toEqual([0, 2])
    expect(bench.messages()).toEqual([[0, RESIZE, 0, '\x50\0\x18\0']])
  })

  it('has doorbells for the ports that are there from the start; others are told by ordinary writes', () => {
    const bench = consoleBench({ ports: [{ nr: 0, isConsole: true }] })
    expect(bench.mmio.notifiers().map(({ datamatch }) => Number(datamatch))).toEqual([0, 1, 2, 3])
    const far = bench.newEnd(2)
    bench.device.addPort({ nr: 2, isConsole: false, backend: far })
    bench.send(txOf(2), 'late')
    expect(far.text).toBe('late')
  })

  it('takes emergency writes at any time (virtio_5_3_4_1)', () => {
    const bench = consoleBench()
    bench.mmio.reset()
    for (const character of 'oops') bench.mmio.write(0x108, 4, character.charCodeAt(0))
    expect(bench.far[0]?.text).toBe('oops')
    bench.mmio.write(0x104, 4, 1)
    expect(bench.device.guestErrors.counts()).toEqual({ 'write to a part of the configuration space that cannot be written': 1 })
  })

  it('tells when a peer of a channel comes and goes; a console is always open', () => {
    const bench = consoleBench()
    ready(bench)
    for (const nr of [0, 1]) {
      const far = bench.far[nr] as FarEnd
      far.connected = false
      far.tell('closed')
    }
    expect(bench.messages()).toEqual([[1, PORT_OPEN, 0, '']])
    const far = bench.far[1] as FarEnd
    far.connected = true
    far.tell('opened')
    expect(bench.messages()).toEqual([[1, PORT_OPEN, 1, '']])
  })

  it('keeps one message of a kind for each port, whatever happens while the driver takes none', () => {
    const bench = consoleBench()
    bench.give(CONTROL_RX, 64)
    bench.give(CONTROL_RX, 64)
    bench.control(BAD_PORT, DEVICE_READY, 1)
    bench.messages()
    for (let index = 0; index < 1000; index++) {
      bench.control(1, PORT_READY, 1)
      bench.used(3)
    }
    for (let index = 0; index < 12; index++) bench.give(CONTROL_RX, 64)
    expect(bench.messages().map(([port, event]) => [port, event])).toEqual([[1, PORT_NAME], [1, PORT_OPEN]])
  })

  it('says who has opened a port, and that nobody has after a reset', () => {
    const told: boolean[] = []
    const bench = consoleBench({ ports: [{ nr: 1, isConsole: false, onGuestOpen: (isOpen) => void told.push(isOpen) }] })
    ready(bench, [1])
    bench.control(1, PORT_OPEN, 1)
    bench.mmio.reset()
    expect(told).toEqual([true, false])
    expect(bench.far[1]?.flow).toBe(false)
  })

  it('takes ports in and out while the guest runs, also with buffers under way', () => {
    const bench = consoleBench()
    ready(bench, [1])
    bench.give(rxOf(1), 16)
    const far = bench.far[1] as FarEnd
    far.canWrite = false
    bench.send(txOf(1), 'stuck')
    bench.device.removePort(1)
    expect(bench.messages()).toEqual([[1, PORT_REMOVE, 1, '']])
    expect([bench.used(txOf(1)), far.text, far.isUsed]).toEqual([1, '', false])
    const second = bench.newEnd(1)
    bench.device.addPort({ nr: 1, isConsole: false, name: 'again', backend: second })
    expect(bench.messages()).toEqual([[1, PORT_ADD, 1, '']])
    bench.control(1, PORT_READY, 1)
    expect(bench.messages()).toEqual([[1, PORT_NAME, 1, 'again'], [1, PORT_OPEN, 1, '']])
    bench.control(1, PORT_OPEN, 1)
    second.say('new')
    expect(bench.received(rxOf(1))).toBe('new')
  })

  it('keeps input for the next guest through a reset, and for a machine that stands still', async () => {
    const bench = consoleBench({ maxPorts: 1, multiport: false, ports: [{ nr: 0, isConsole: true }] })
    bench.far[0]?.say('typed')
    bench.mmio.reset()
    bench.driver.start(3, 2)
    await bench.mmio.pause()
    bench.give(0)
    expect(bench.received(0)).toBe('')
    expect(bench.far[0]?.flow).toBe(false)
    bench.mmio.resume()
    expect(bench.received(0)).toBe('typed')
    expect(bench.far[0]?.flow).toBe(true)
  })

  it('goes on from a saved state, in the middle of a buffer and with input that waits', () => {
    const bench = consoleBench()
    ready(bench, [1])
    bench.far[1]?.say('waits')
    const state = JSON.parse(JSON.stringify(bench.device.state())) as unknown
    const restored = VirtioConsole.fromState(state, bench.wiring)
    expect(restored.state()).toEqual(bench.device.state())
    expect(bench.device.state().lanes[1]).toEqual({ guestOpen: true, announced: true, sent: 0, held: [...Buffer.from('waits')] })
    for (const broken of [{}, { ready: 1, due: [], lanes: [] }, { ready: true, due: [300], lanes: [] }, { ready: true, due: [], lanes: [{}] }, { ready: true, due: [], lanes: [{}, {}, {}, {}, {}] }]) {
      expect(() => VirtioConsole.fromState(broken, bench.wiring)).toThrow(expect.objectContaining({ code: 'DEVICE_STATE' }))
    }
  })

  it.each([
    ['a control message that is cut off', (bench: ConsoleBench) => bench.send(3, 'short')],
    ['a control message for a port that is not there', (bench: ConsoleBench) => bench.control(2, PORT_READY, 1)],
    ['a control message for a port that is not there', (bench: ConsoleBench) => bench.control(BAD_PORT, PORT_OPEN, 1)],
    ['a control message of an unknown kind', (bench: ConsoleBench) => bench.control(1, 99, 1)],
    ['the driver has failed to set the device up', (bench: ConsoleBench) => bench.control(BAD_PORT, DEVICE_READY, 0)],
    ['the driver has failed to set a port up', (bench: ConsoleBench) => bench.control(1, PORT_READY, 0)],
    ['a buffer of output that cannot be read', (bench: ConsoleBench) => bench.give(txOf(0), 16)],
  ])('counts %s and works on', (kind, act) => {
    const bench = consoleBench()
    act(bench)
    expect(bench.device.guestErrors.counts()).toEqual({ [kind]: 1 })
    bench.send(txOf(1), 'fine')
    expect(bench.far[1]?.text).toBe('fine')
  })

  it('gives back buffers that no message and no input fits into', () => {
    const bench = consoleBench()
    bench.give(CONTROL_RX, 4)
    bench.control(BAD_PORT, DEVICE_READY, 1)
    expect(bench.device.guestErrors.counts()).toEqual({ 'a buffer too small for a control message': 1 })
    bench.used(CONTROL_RX)
    bench.give(CONTROL_RX, 64)
    expect(bench.messages()).toEqual([[0, PORT_ADD, 1, '']])
    bench.control(1, PORT_OPEN, 1)
    bench.driver.queue(rxOf(1)).add({ readable: [{ address: 0x8_0000, length: 4 }] })
    bench.driver.kick(rxOf(1))
    bench.give(rxOf(1), 8)
    bench.far[1]?.say('text')
    expect(bench.received(rxOf(1))).toBe('text')
  })
})
