import fc from 'fast-check'
import fs from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { VirtioBlk } from './blk.ts'
import { BlkBench, DATA, PLAIN_DISK } from './blk-bench.ts'
import type { BlkBenchOptions } from './blk-bench.ts'

const IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13
const OK = 0, IOERR = 1, UNSUPP = 2
const SECTOR = 512, SIZE = 1 << 20
const F_RO = 1n << 5n, F_FLUSH = 1n << 9n, F_CONFIG_WCE = 1n << 11n, F_MQ = 1n << 12n, F_DISCARD = 1n << 13n, F_WRITE_ZEROES = 1n << 14n
const RANGES = F_DISCARD | F_WRITE_ZEROES
const CONFIG = 0x100, WRITEBACK = 0x120
const NEEDS_RESET = 64

let bench: BlkBench
afterEach(() => bench.close())

const start = (options: BlkBenchOptions = {}) => bench = new BlkBench({ driver: { features: F_FLUSH | RANGES }, ...options }).start()
const filled = (byte: number, length: number, address = DATA) => {
  bench.memory.fill(address, length, byte)
  return [{ address, length }]
}
/** One range of DISCARD or WRITE_ZEROES. */
const range = (sector: number, sectors: number, flags = 0, address = DATA) => {
  bench.memory.writeU64(address, BigInt(sector))
  bench.memory.writeU32(address + 8, sectors)
  bench.memory.writeU32(address + 12, flags)
  return { address, length: 16 }
}

describe.each([['threads', false], ['io_uring', false], ['io_uring', true], ['native', true], ['threads', true]] as const)('a disk with aio=%s, direct=%s', (aio, direct) => {
  it.each([false, true])('reads and writes, packed rings: %s', async (packed) => {
    start({ image: { aio, direct }, driver: { features: F_FLUSH, packed, eventIndex: true } })
    expect(await bench.request(IN, 7, { into: [{ address: DATA, length: 1024 }] })).toBe(OK)
    expect([...bench.memory.read(DATA + 511, 2)]).toEqual([7, 8])
    expect(await bench.request(OUT, 3, { out: filled(0xaa, 1536) })).toBe(OK)
    expect(await bench.request(FLUSH, 0)).toBe(OK)
    expect(bench.content().subarray(3 * SECTOR - 1, 6 * SECTOR + 1).equals(Buffer.from([2, ...Array<number>(1536).fill(0xaa), 6]))).toBe(true)
    expect(bench.interrupts).toBeGreaterThan(0)
  })

  it('does not care how a request is cut into descriptors, nor where its bytes lie', async () => {
    start({ image: { aio, direct } })
    const pieces = [1, 510, 3, 700, 834].map((length, index) => ({ address: DATA + index * 5001 + 3, length }))
    for (const [index, { address, length }] of pieces.entries()) bench.memory.fill(address, length, index + 1)
    expect(await bench.request(OUT, 9, { out: pieces })).toBe(OK)
    const back = [1000, 48, 1000].map((length, index) => ({ address: DATA + 0x10_0001 + index * 3000, length }))
    expect(await bench.request(IN, 9, { into: back })).toBe(OK)
    expect(back.flatMap(({ address, length }) => [...bench.memory.read(address, length)])).toEqual(pieces.flatMap(({ length }, index) => Array<number>(length).fill(index + 1)))
  })

  it('serves many requests at once', async () => {
    start({ image: { aio, direct } })
    const statuses = Array.from({ length: 20 }, (_, index) => bench.add(IN, index * 8, { into: [{ address: DATA + index * 4096, length: 4096 }] }))
    bench.driver.kick(0)
    await bench.settled()
    expect(statuses.map((at) => bench.memory.readU8(at))).toEqual(statuses.map(() => OK))
    expect(Array.from({ length: 20 }, (_, index) => bench.memory.readU8(DATA + index * 4096))).toEqual(Array.from({ length: 20 }, (_, index) => index * 8))
  })

  it('touches no memory of the guest after a reset, whatever is under way', async () => {
    start({ image: { aio, direct } })
    for (let index = 0; index < 20; index++) bench.add(IN, index * 8, { into: [{ address: DATA + index * 4096, length: 4096 }] })
    bench.driver.kick(0)
    bench.driver.write(0x070, 0)
    bench.memory.fill(0, bench.memory.size, 0x5a)
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(Buffer.compare(bench.memory.read(0, bench.memory.size), Buffer.alloc(bench.memory.size, 0x5a))).toBe(0)
    bench.start()
    expect(await bench.request(IN, 1, { into: [{ address: DATA, length: 512 }] })).toBe(OK)
  })

  it('touches no memory of the guest in a pause, and goes on after it', async () => {
    start({ image: { aio, direct } })
    const statuses = Array.from({ length: 10 }, (_, index) => bench.add(IN, index, { into: [{ address: DATA + index * 512, length: 512 }] }))
    bench.driver.kick(0)
    await bench.mmio.pause()
    const late = bench.add(IN, 100, { into: [{ address: DATA + 0x1000, length: 512 }] })
    const added = bench.memory.read(0, bench.memory.size)
    bench.driver.kick(0)
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(Buffer.compare(bench.memory.read(0, bench.memory.size), added)).toBe(0)
    bench.mmio.resume()
    await bench.settled()
    expect([...statuses, late].map((at) => bench.memory.readU8(at))).toEqual(Array<number>(11).fill(OK))
  })

  it('reads zeros behind the end of a file that is no whole number of sectors', async () => {
    start({ image: { aio, direct }, size: 1000 })
    expect(bench.mmio.read(CONFIG, 4)).toBe(2)
    expect(await bench.request(IN, 0, { into: filled(0xff, 1024) })).toBe(OK)
    expect([...bench.memory.read(DATA + 998, 4)]).toEqual([1, 1, 0, 0])
  })

  it('zeroes and discards ranges', async () => {
    start({ image: { aio, direct } })
    expect(await bench.request(WRITE_ZEROES, 0, { out: [range(2, 3)] })).toBe(OK)
    expect(await bench.request(WRITE_ZEROES, 0, { out: [range(64, 16, 1), range(100, 1, 0, DATA + 16)] })).toBe(OK)
    expect(await bench.request(DISCARD, 0, { out: [range(128, 64)] })).toBe(OK)
    const content = bench.content()
    const zero = (sector: number, count: number) => content.subarray(sector * SECTOR, (sector + count) * SECTOR).every((byte) => byte === 0)
    expect([zero(2, 3), zero(64, 16), zero(100, 1), zero(128, 64)]).toEqual([true, true, true, true])
    expect([content[SECTOR * 5], content[SECTOR * 101], content[SECTOR * 192]]).toEqual([5, 101, 192])
    expect(content.length).toBe(SIZE)
  })
})

describe('a disk tells its driver', () => {
  it('capacity, geometry, blocks and limits (virtio_5_2_4)', () => {
    start({ disk: { queues: 3, queueSize: 128, topology: { logicalBlockSize: 4096, physicalBlockSize: 16_384, minIoSize: 8192, optIoSize: 65_536, discardGranularity: 0 } } })
    const read = (offset: number, size: 1 | 2 | 4) => bench.mmio.read(CONFIG + offset, size)
    expect([read(0, 4), read(4, 4)]).toEqual([2048, 0])
    expect(read(12, 4)).toBe(126)
    expect([read(16, 2), read(18, 1), read(19, 1)]).toEqual([2, 16, 63])
    expect([read(20, 4), read(24, 1), read(26, 2), read(28, 4)]).toEqual([4096, 2, 2, 16])
    expect([read(32, 1), read(34, 2)]).toEqual([1, 3])
    expect([read(36, 4), read(40, 4), read(44, 4)]).toEqual([2 ** 21, 16, 8])
    expect([read(48, 4), read(52, 4), read(56, 1)]).toEqual([2 ** 21, 16, 1])
    expect(bench.driver.offered() & (F_MQ | F_RO)).toBe(F_MQ)
  })

  it('its serial number, 20 bytes of it', async () => {
    start({ disk: { serial: 'abcdefghijklmnopqrst' } })
    expect(await bench.request(GET_ID, 0, { into: filled(0xff, 20) })).toBe(OK)
    expect(Buffer.from(bench.memory.read(DATA, 20)).toString()).toBe('abcdefghijklmnopqrst')
    expect(await bench.request(GET_ID, 0, { into: filled(0xff, 19) })).toBe(IOERR)
  })

  it('a new size, by an interrupt', async () => {
    start()
    const generation = bench.driver.read(0x0fc)
    bench.image.resize(2 * SIZE)
    bench.device.changeImage(bench.image)
    expect(bench.driver.acknowledge()).toBe(2)
    expect(bench.mmio.read(CONFIG, 4)).toBe(4096)
    expect(bench.driver.read(0x0fc)).not.toBe(generation)
    expect(await bench.request(OUT, 4095, { out: filled(9, 512) })).toBe(OK)
  })

  it('that it has gone, and that it is there again', async () => {
    start()
    bench.device.changeImage(undefined)
    expect(bench.mmio.read(CONFIG, 4)).toBe(0)
    expect(await bench.request(IN, 0, { into: filled(0, 512) })).toBe(IOERR)
    expect(await bench.request(FLUSH, 0)).toBe(IOERR)
    bench.device.changeImage(bench.image)
    expect(await bench.request(IN, 5, { into: filled(0, 512) })).toBe(OK)
    expect(bench.memory.readU8(DATA)).toBe(5)
  })
})

describe('a write cache', () => {
  const flushes = () => bench.image.statistics.flushes
  it('is on with FLUSH, and the driver flushes', async () => {
    start()
    await bench.request(OUT, 0, { out: filled(1, 512) })
    expect(flushes()).toBe(0)
    await bench.request(FLUSH, 0)
    expect(flushes()).toBe(1)
  })

  it('is off for a driver without FLUSH and CONFIG_WCE: every write is flushed (virtio_5_2_6_2)', async () => {
    start({ driver: { features: 0n } })
    await bench.request(OUT, 0, { out: filled(1, 512) })
    expect(flushes()).toBe(1)
  })

  it('is switched by the driver with CONFIG_WCE, and back at a reset', async () => {
    start({ driver: { features: F_FLUSH | F_CONFIG_WCE } })
    bench.mmio.write(WRITEBACK, 1, 0)
    expect(bench.mmio.read(WRITEBACK, 1)).toBe(0)
    await bench.request(OUT, 0, { out: filled(1, 512) })
    expect(flushes()).toBe(1)
    bench.mmio.write(WRITEBACK, 1, 2)
    bench.mmio.write(CONFIG, 4, 5)
    expect([bench.mmio.read(WRITEBACK, 1), bench.mmio.read(CONFIG, 4)]).toEqual([0, 2048])
    bench.driver.reset()
    expect(bench.mmio.read(WRITEBACK, 1)).toBe(1)
  })

  it('is part of its state', () => {
    start({ driver: { features: F_FLUSH | F_CONFIG_WCE } })
    bench.mmio.write(WRITEBACK, 1, 0)
    const copy = VirtioBlk.fromState(structuredClone(bench.device.state()), { options: PLAIN_DISK })
    expect(copy.state()).toEqual({ writeCache: false })
    expect(() => VirtioBlk.fromState({}, { options: PLAIN_DISK })).toThrow(expect.objectContaining({ code: 'DEVICE_STATE' }))
  })
})

describe('several queues', () => {
  it('each serve requests, and one that is stopped leaves the others alone', async () => {
    start({ disk: { queues: 4 }, driver: { features: F_FLUSH | F_MQ } })
    const statuses = [0, 1, 2, 3].map((queue) => bench.add(IN, queue, { queue, into: [{ address: DATA + queue * 512, length: 512 }] }))
    for (const queue of [0, 1, 2, 3]) bench.driver.kick(queue)
    bench.driver.write(0x030, 2)
    bench.driver.write(0x044, 0)
    for (const queue of [0, 1, 3]) await bench.settled(queue)
    expect([0, 1, 3].map((queue) => [bench.memory.readU8(statuses[queue] as number), bench.memory.readU8(DATA + queue * 512)])).toEqual([[OK, 0], [OK, 1], [OK, 3]])
  })
})

describe('requests that break the rules', () => {
  it.each([
    ['a read that begins behind the end', IN, SIZE / SECTOR, 512], ['a read that ends behind it', IN, SIZE / SECTOR - 1, 1024],
    ['a read of half a sector', IN, 0, 256], ['a write behind the end', OUT, SIZE / SECTOR, 512], ['a write of a sector and a byte', OUT, 0, 513],
    ['a read at sector 2^53', IN, 2 ** 53 - 1, 512],
  ])('%s is an I/O error and changes nothing', async (_what, type, sector, length) => {
    start()
    const before = bench.content()
    expect(await bench.request(type, sector, type === IN ? { into: filled(0xee, length) } : { out: filled(0xee, length) })).toBe(IOERR)
    expect(bench.content().equals(before)).toBe(true)
    // What the length that was given back covers is defined.
    if (type === IN) expect(bench.memory.read(DATA, length).every((byte) => byte === 0)).toBe(true)
    expect(bench.driver.status & NEEDS_RESET).toBe(0)
  })

  it('at sector 2^64 - 1 are no wrap around', async () => {
    start()
    const status = bench.add(IN, 0, { into: filled(0, 1024) })
    bench.memory.writeU64(0x10_0008, 2n ** 64n - 1n)
    bench.driver.kick(0)
    await bench.settled()
    expect(bench.memory.readU8(status)).toBe(IOERR)
  })

  it('to a read-only disk are I/O errors, and its driver knows before (virtio_5_2_6_2)', async () => {
    start({ disk: { readOnly: true }, image: { readOnly: true }, driver: { features: F_RO | F_FLUSH } })
    const before = bench.content()
    expect(await bench.request(OUT, 0, { out: filled(1, 512) })).toBe(IOERR)
    expect(await bench.request(DISCARD, 0, { out: [range(0, 1)] })).toBe(UNSUPP)
    expect(await bench.request(IN, 3, { into: filled(0, 512) })).toBe(OK)
    expect(bench.content().equals(before)).toBe(true)
    expect(bench.driver.offered() & (F_RO | RANGES)).toBe(F_RO)
  })

  it.each([2, 3, 5, 10, 14, 0xffff_ffff])('of type %i are not supported', async (type) => {
    start()
    expect(await bench.request(type, 0, { into: filled(1, 512) })).toBe(UNSUPP)
  })

  it.each([
    ['an unknown flag', WRITE_ZEROES, 0, 1, 2, UNSUPP], ['unmap for a discard', DISCARD, 0, 1, 1, UNSUPP], ['sectors behind the end', WRITE_ZEROES, 2047, 2, 0, IOERR],
    ['too many sectors', DISCARD, 0, 2 ** 21 + 1, 0, IOERR], ['a wild sector', DISCARD, 2 ** 52, 1, 0, IOERR],
  ])('in a range: %s', async (_what, type, sector, sectors, flags, expected) => {
    start()
    const before = bench.content()
    expect(await bench.request(type, 0, { out: [range(sector, sectors, flags)] })).toBe(expected)
    expect(bench.content().equals(before)).toBe(true)
  })

  it('with half a range, none, or seventeen, are I/O errors', async () => {
    start()
    for (const length of [8, 17 * 16]) expect(await bench.request(DISCARD, 0, { out: filled(0, length) })).toBe(IOERR)
    expect(await bench.request(DISCARD, 0)).toBe(IOERR)
  })

  it.each([['no header', 8, true], ['no room for a status', 16, false]])('with %s end in DEVICE_NEEDS_RESET', (_what, length, room) => {
    start()
    bench.driver.queue(0).add({ readable: [{ address: DATA, length }], writable: room ? [{ address: DATA + 64, length: 1 }] : [] })
    bench.driver.kick(0)
    expect(bench.driver.status & NEEDS_RESET).toBe(NEEDS_RESET)
  })
})

describe('what fails on the host', () => {
  /** A disk that is full: a file system has no room behind a limit on the size of files, and /dev/full is none that an image could be. */
  const failing = (disk: NonNullable<BlkBenchOptions['disk']>, errno: number) => {
    start({ disk })
    const { image } = bench
    Object.defineProperty(image, 'write', { configurable: true, value: (_position: number, _buffers: unknown, _length: number, done: (errno: number) => void) => queueMicrotask(() => done(errno)) })
    return () => Reflect.deleteProperty(image, 'write')
  }
  const ENOSPC = 28, EIO = 5

  it.each([
    ['report', EIO, 'report', IOERR], ['ignore', EIO, 'ignore', OK], ['enospc', EIO, 'report', IOERR], ['report', ENOSPC, 'report', IOERR],
  ] as const)('with werror=%s and errno %i: %s, status %i', async (onWriteError, errno, action, status) => {
    failing({ onWriteError }, errno)
    expect(await bench.request(OUT, 0, { out: filled(1, 512) })).toBe(status)
    expect(bench.errors).toEqual([{ operation: 'write', action, noSpace: errno === ENOSPC, errno }])
  })

  it.each([['stop', EIO], ['enospc', ENOSPC]] as const)('with werror=%s and errno %i waits for the machine to go on, and is tried again', async (onWriteError, errno) => {
    const repair = failing({ onWriteError }, errno)
    const status = bench.add(OUT, 0, { out: filled(7, 512) })
    bench.driver.kick(0)
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(bench.errors.map(({ action }) => action)).toEqual(['stop'])
    expect(bench.memory.readU8(status)).toBe(0xff)
    await bench.mmio.pause()
    repair()
    bench.mmio.resume()
    await bench.settled()
    expect(bench.memory.readU8(status)).toBe(OK)
    expect(bench.content()[0]).toBe(7)
  })
})

describe('any requests', () => {
  const piece = fc.record({ address: fc.integer({ min: 0, max: 0x60_0000 - 0x2_0000 }), length: fc.integer({ min: 1, max: 0x1_0000 }) })
  const request = fc.record({
    type: fc.oneof(fc.constantFrom(IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES), fc.integer({ min: 0, max: 20 })),
    sector: fc.oneof(fc.integer({ min: 0, max: 2100 }), fc.maxSafeNat()), out: fc.array(piece, { maxLength: 3 }), into: fc.array(piece, { maxLength: 3 }),
  })

  it('are answered: none is lost, nothing throws, and the disk keeps its size', async () => {
    await fc.assert(fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 8 }), fc.boolean(), async (requests, packed) => {
      const one = new BlkBench({ driver: { features: F_FLUSH | RANGES, packed }, size: 1 << 18 }).start()
      try {
        // Data that goes over rings and headers may break them: then the device says so.
        const safe = requests.map(({ out, into, ...rest }) => ({ ...rest, out, into: into.map(({ address, length }) => ({ address: DATA + address % 0x30_0000, length })) }))
        for (const { type, sector, out, into } of safe) one.add(type, sector, { out, into })
        one.driver.kick(0)
        await one.settled()
        expect(one.driver.status & NEEDS_RESET).toBe(0)
        expect(fs.statSync(one.file).size).toBe(1 << 18)
      } finally {
        await one.close()
      }
    }), { numRuns: 150, interruptAfterTimeLimit: 8000 })
    bench = new BlkBench()
  })
})
