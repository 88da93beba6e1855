import type { Duplex } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { CID, EVENT, RX, settle, TX, vsockBench } from './vsock-bench.ts'

const REQUEST = 1, RESPONSE = 2, RST = 3, SHUTDOWN = 4, RW = 5, CREDIT_UPDATE = 6, CREDIT_REQUEST = 7
const RECEIVE = 1, SEND = 2
const BUFFER = 128 * 1024
const PORT = 5000, LOCAL = 1025

type Bench = ReturnType<typeof vsockBench>

const read = (far: Duplex) => (far.read() as Buffer | null)?.toString('latin1') ?? ''

/** A connection that the guest has made. */
async function connected(options: Parameters<typeof vsockBench>[0] = {}, buf_alloc = 65536) {
  const bench = vsockBench(options)
  const ends: Duplex[] = []
  bench.hostSide.served.set(PORT, ends)
  bench.give(40)
  bench.send({ op: REQUEST, src_port: LOCAL, dst_port: PORT, buf_alloc })
  await settle()
  const far = ends[0]
  if (far === undefined) throw new Error('nobody was connected')
  const answers = bench.packets()
  const say = (op: number, data: string | Uint8Array = '', more = {}) => bench.send({ op, src_port: LOCAL, dst_port: PORT, buf_alloc, ...more }, data)
  return { ...bench, far, answers, say }
}

describe.each([['split', false], ['packed', true]] as const)('the socket device over %s rings (virtio 1.2 section 5.10)', (_, packed) => {
  it('has the address of the guest in its configuration, and three queues', () => {
    const { driver } = vsockBench({ packed })
    expect([driver.read(0x100), driver.read(0x104)]).toEqual([CID, 0])
  })

  it('connects the guest to a program of the host that listens, and carries bytes both ways', async () => {
    const { answers, far, say, packets } = await connected({ packed })
    expect(answers).toEqual([expect.objectContaining({ src_cid: 2, dst_cid: CID, src_port: PORT, dst_port: LOCAL, type: 1, op: RESPONSE, buf_alloc: BUFFER, fwd_cnt: 0, len: 0 })])
    say(RW, 'from the guest')
    await settle()
    expect(read(far)).toBe('from the guest')
    far.write('from the host')
    await settle()
    expect(packets()).toEqual([expect.objectContaining({ op: RW, len: 13, data: 'from the host', fwd_cnt: 14 })])
  })

  it('connects a program of the host to the guest, once the guest agrees', async () => {
    const { give, call, packets, send } = vsockBench({ packed })
    give(8)
    const { far, accepted } = call(52)
    const [request] = packets()
    expect(request).toMatchObject({ op: REQUEST, dst_port: 52, buf_alloc: BUFFER })
    far.write('early')
    await settle()
    expect(packets()).toEqual([])
    expect(accepted).toEqual([])
    send({ op: RESPONSE, src_port: 52, dst_port: request?.src_port ?? 0 })
    await settle()
    expect(accepted).toEqual([request?.src_port])
    expect(packets()).toEqual([expect.objectContaining({ op: RW, data: 'early' })])
  })
})

describe('the socket device', () => {
  it('refuses a port where nobody listens', async () => {
    const { give, send, packets, device } = vsockBench()
    give(2)
    send({ op: REQUEST, src_port: LOCAL, dst_port: 9 })
    await settle()
    expect(packets()).toEqual([expect.objectContaining({ src_cid: 2, src_port: 9, dst_port: LOCAL, op: RST })])
    expect(device.connections).toBe(0)
  })

  it('closes a call that the guest refuses, and one that it does not answer in ten seconds', async () => {
    const { give, call, packets, send, clock, device } = vsockBench()
    give(8)
    const first = call(52), second = call(53)
    const [one] = packets()
    send({ op: RST, src_port: 52, dst_port: one?.src_port ?? 0 })
    expect(first.near.destroyed).toBe(true)
    expect(second.near.destroyed).toBe(false)
    clock.advance(10_000_000_000n)
    expect(second.near.destroyed).toBe(true)
    expect(packets()).toEqual([expect.objectContaining({ op: RST, dst_port: 53 })])
    expect(device.connections).toBe(0)
  })

  it('closes a call while the guest has no driver', () => {
    const { mmio, call } = vsockBench()
    mmio.reset()
    expect(call(52).near.destroyed).toBe(true)
  })

  it('sends no more than the guest has room for, and asks once for room (virtio_5_10_6_3)', async () => {
    const { far, say, packets, give } = await connected({}, 1000)
    far.write('x'.repeat(2500))
    await settle()
    expect(packets().map(({ op, len }) => [op, len])).toEqual([[RW, 1000], [CREDIT_REQUEST, 0]])
    give(4)
    await settle()
    expect(packets()).toEqual([])
    say(CREDIT_UPDATE, '', { fwd_cnt: 600 })
    await settle()
    expect(packets().map(({ op, len }) => [op, len])).toEqual([[RW, 600], [CREDIT_REQUEST, 0]])
    say(CREDIT_UPDATE, '', { fwd_cnt: 1600 })
    await settle()
    expect(packets().map(({ op, len }) => [op, len])).toEqual([[RW, 900]])
  })

  it('counts in 32 bits: a guest whose numbers are nonsense has no room', async () => {
    const { far, say, packets } = await connected()
    far.write('a')
    await settle()
    packets()
    say(CREDIT_UPDATE, '', { fwd_cnt: 5 })
    far.write('b')
    await settle()
    expect(packets().map(({ op }) => op)).toEqual([CREDIT_REQUEST])
    say(CREDIT_UPDATE, '', { fwd_cnt: 1 })
    await settle()
    expect(packets().map(({ data }) => data)).toEqual(['b'])
  })

  it('tells the guest of room as a program reads, and what is passed on when it is asked', async () => {
    const { far, say, packets } = await connected()
    const piece = 'y'.repeat(32 * 1024)
    for (let index = 0; index < 4; index++) say(RW, piece)
    await settle()
    far.resume()
    await settle(40)
    const told = packets()
    expect(told.every(({ op }) => op === CREDIT_UPDATE)).toBe(true)
    expect(told.at(-1)?.fwd_cnt).toBe(BUFFER)
    say(CREDIT_REQUEST)
    expect(packets()).toEqual([expect.objectContaining({ op: CREDIT_UPDATE, fwd_cnt: BUFFER, buf_alloc: BUFFER })])
  })

  it('ends a connection whose guest sends more than it may', async () => {
    const { say, packets, device, guestErrors } = await connected().then((bench) => ({ ...bench, guestErrors: bench.device.guestErrors }))
    for (let index = 0; index < 5; index++) say(RW, 'z'.repeat(32 * 1024))
    expect(packets()).toEqual([expect.objectContaining({ op: RST })])
    expect(device.connections).toBe(0)
    expect(guestErrors.counts()).toEqual({ 'data without credit, or after the end': 1 })
  })

  it('keeps single bytes for a program that does not read in one piece', async () => {
    const { far, say } = await connected()
    const chunks: number[] = []
    for (let index = 0; index < 1000; index++) say(RW, 'b')
    far.on('data', (data: Buffer) => chunks.push(data.length))
    await settle()
    expect(chunks).toEqual([1, 999])
  })

  it('gives buffers of any size their turn, one packet of each connection after the other', async () => {
    const bench = await connected({ rxBytes: 144 })
    bench.send({ op: REQUEST, src_port: 2000, dst_port: PORT })
    await settle()
    bench.packets()
    const [one, two] = bench.hostSide.served.get(PORT) ?? []
    one?.write('1'.repeat(250))
    two?.write('2'.repeat(250))
    await settle()
    const data = bench.packets().map((packet) => packet.data)
    expect(data.map(({ length }) => length).filter((length) => length > 100)).toEqual([])
    expect(data.join('').replaceAll('2', '')).toBe('1'.repeat(250))
    expect(data.join('').replaceAll('1', '')).toBe('2'.repeat(250))
  })

  describe('an end', () => {
    it('of the program is told after the last byte, and the guest may go on to send', async () => {
      const { far, say, packets } = await connected()
      far.end('last')
      await settle()
      expect(packets().map(({ op, flags, data }) => [op, flags, data])).toEqual([[RW, 0, 'last'], [SHUTDOWN, SEND, '']])
      say(RW, 'still')
      await settle()
      expect(read(far)).toBe('still')
    })

    it('of the guest is the end of the stream after the last byte, and the program may go on to send', async () => {
      const { far, say, packets } = await connected()
      let ended = false
      far.once('end', () => { ended = true })
      say(RW, 'last')
      say(SHUTDOWN, '', { flags: SEND })
      await settle()
      expect(read(far)).toBe('last')
      await settle()
      read(far)
      await settle()
      expect(ended).toBe(true)
      far.write('still')
      await settle()
      expect(packets().map(({ data }) => data)).toEqual(['still'])
    })

    it('of both sides, one after the other, leaves nothing', async () => {
      const { far, say, packets, device } = await connected()
      say(SHUTDOWN, '', { flags: SEND })
      far.resume()
      far.end()
      await settle()
      expect(packets().at(-1)).toMatchObject({ op: SHUTDOWN, flags: SEND | RECEIVE })
      say(RST)
      expect(packets()).toEqual([])
      expect(device.connections).toBe(0)
    })

    it('of the guest for both directions is confirmed, and the program gets what was sent (virtio_5_10_6_6)', async () => {
      const { far, say, packets, device } = await connected()
      say(RW, 'w'.repeat(40_000))
      say(RW, 'v'.repeat(40_000))
      say(SHUTDOWN, '', { flags: SEND | RECEIVE })
      expect(packets()).toEqual([expect.objectContaining({ op: RST })])
      expect(device.connections).toBe(0)
      let bytes = 0, ended = false
      far.on('data', (data: Buffer) => { bytes += data.length }).once('end', () => { ended = true })
      await settle(40)
      expect([bytes, ended]).toEqual([80_000, true])
    })

    it('by a program that goes without a word is a reset', async () => {
      const bench = vsockBench()
      bench.give(8)
      const { near, accepted } = bench.call(52)
      const [request] = bench.packets()
      bench.send({ op: RESPONSE, src_port: 52, dst_port: request?.src_port ?? 0 })
      expect(accepted).toHaveLength(1)
      near.destroy(new Error('reset by peer'))
      await settle()
      expect(bench.packets()).toEqual([expect.objectContaining({ op: RST, dst_port: 52 })])
      expect(bench.device.connections).toBe(0)
    })

    it('of what the guest wants to hear: the program may talk on into nothing', async () => {
      const { far, say, packets } = await connected()
      say(SHUTDOWN, '', { flags: RECEIVE })
      far.write('unheard')
      await settle()
      expect(packets()).toEqual([])
      say(RW, 'heard')
      await settle()
      expect(read(far)).toBe('heard')
    })
  })

  describe('refuses', () => {
    it.each<[string, (bench: Bench) => void, Record<string, unknown>]>([
      ['data for no connection', ({ send }) => send({ op: RW, src_port: 1, dst_port: 2 }, 'x'), { op: RST, src_port: 2, dst_port: 1 }],
      ['another type of socket', ({ send }) => send({ op: REQUEST, type: 2, src_port: 1, dst_port: PORT }), { op: RST }],
      ['an unknown operation', ({ send }) => send({ op: 99, src_port: LOCAL, dst_port: PORT }), { op: RST }],
      ['an answer that nobody waits for', ({ send }) => send({ op: RESPONSE, src_port: LOCAL, dst_port: PORT }), { op: RST }],
      ['a second request on the same ports', ({ send }) => send({ op: REQUEST, src_port: LOCAL, dst_port: PORT }), { op: RST }],
      ['a length beyond the buffer', ({ send }) => send({ op: RW, src_port: LOCAL, dst_port: PORT, len: 100 }, 'x'), { op: RST }],
      ['a credit update with data', ({ send }) => send({ op: CREDIT_UPDATE, src_port: LOCAL, dst_port: PORT }, 'x'), { op: RST }],
      ['another host', ({ send }) => send({ op: REQUEST, dst_cid: 9, src_port: LOCAL, dst_port: PORT }), { op: RST, src_cid: 9, src_port: PORT }],
      ['data after the end of data', ({ send }) => {
        send({ op: SHUTDOWN, flags: SEND, src_port: LOCAL, dst_port: PORT })
        send({ op: RW, src_port: LOCAL, dst_port: PORT }, 'x')
      }, { op: RST }],
    ])('%s', async (_, act, expected) => {
      const bench = await connected()
      act(bench)
      await settle()
      expect(bench.packets()).toEqual([expect.objectContaining({ len: 0, type: 1, ...expected })])
    })

    it('without an answer: resets for no connection, packets that are cut off, and those in another\'s name', async () => {
      const { send, packets, device, memory, driver } = await connected()
      send({ op: RST, src_port: 1, dst_port: 2 })
      send({ op: REQUEST, src_cid: 8, src_port: 1, dst_port: PORT })
      memory.fill(0x3f_0000, 43, 0)
      driver.queue(TX).add({ readable: [{ address: 0x3f_0000, length: 43 }] })
      driver.kick(TX)
      await settle()
      expect(packets()).toEqual([])
      expect(device.guestErrors.counts()).toEqual({ 'a packet that is cut off': 1, 'a packet from an address that is not the guest\'s': 1 })
    })

    it('more than 1024 connections', async () => {
      const bench = vsockBench()
      bench.hostSide.served.set(PORT, [])
      for (let index = 0; index < 1025; index++) bench.send({ op: REQUEST, src_port: 2000 + index, dst_port: PORT })
      expect(bench.device.connections).toBe(1024)
      bench.give(1)
      expect(bench.packets()).toEqual([expect.objectContaining({ op: RST, dst_port: 3024 })])
      expect(bench.call(52).near.destroyed).toBe(true)
    })
  })

  it('looks at no more packets while 256 refusals wait for room, and goes on when there is some', async () => {
    const { send, driver, give, packets } = vsockBench({ queueSize: 128 })
    for (let index = 0; index < 300; index++) send({ op: RW, src_port: index, dst_port: 1 })
    expect(driver.queue(TX).outstanding).toBe(300 - 256)
    let refused = 0
    for (let round = 0; round < 4; round++) {
      give(100)
      await settle()
      refused += packets().length
    }
    driver.queue(TX).takeUsed()
    expect([refused, driver.queue(TX).outstanding]).toEqual([300, 0])
  })

  it('drops all connections at a reset, and tells the next driver (virtio_5_10_6_7)', async () => {
    const { far, mmio, start, driver, memory, device } = await connected()
    let closed = false
    far.once('end', () => { closed = true }).resume()
    mmio.reset()
    await settle()
    expect([closed, device.connections, device.state()]).toEqual([true, 0, { interrupted: true }])
    start()
    memory.writeU32(0x3f_0000, 0xffff_ffff)
    driver.queue(EVENT).add({ writable: [{ address: 0x3f_0000, length: 4 }] })
    driver.queue(EVENT).add({ writable: [{ address: 0x3f_0010, length: 4 }] })
    driver.kick(EVENT)
    expect(driver.queue(EVENT).takeUsed().map(({ written }) => written)).toEqual([4])
    expect(memory.readU32(0x3f_0000)).toBe(0)
    expect(device.state()).toEqual({ interrupted: false })
  })

  it('tells a driver that came out of a saved state that its connections are gone', async () => {
    const { device } = await connected()
    const { driver } = vsockBench({ state: device.state() })
    driver.queue(EVENT).add({ writable: [{ address: 0x3f_0000, length: 4 }] })
    driver.kick(EVENT)
    expect(driver.queue(EVENT).takeUsed()).toHaveLength(1)
    expect(() => vsockBench({ state: { interrupted: 1 } })).toThrow(expect.objectContaining({ code: 'DEVICE_STATE' }))
  })

  it('touches no memory of a stopped machine', async () => {
    const { far, mmio, packets, driver } = await connected()
    await mmio.pause()
    far.write('later')
    await settle()
    expect(packets()).toEqual([])
    mmio.resume()
    driver.kick(RX)
    expect(packets().map(({ data }) => data)).toEqual(['later'])
  })
})
