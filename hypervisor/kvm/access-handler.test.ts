/** KVM_EXIT_IO and KVM_EXIT_MMIO as the kernel describes them in kvm_run, answered over a bus that remembers. No /dev/kvm needed. */
import { describe, expect, it } from 'vitest'
import { AccessHandler } from './access-handler.ts'

// struct kvm_run, include/uapi/linux/kvm.h
const IO_DIRECTION = 32, IO_SIZE = 33, IO_PORT = 34, IO_COUNT = 36, IO_DATA_OFFSET = 40
const MMIO_ADDRESS = 32, MMIO_DATA = 40, MMIO_LENGTH = 48, MMIO_IS_WRITE = 52
const IN = 0, OUT = 1
const DATA = 4096
const MEMORY = 0, PORTS = 1

function setUp() {
  const run = new DataView(new ArrayBuffer(3 * 4096))
  const log: unknown[][] = []
  const PATTERN = 0x8877_6655_4433_2211n
  let reads = 0
  const handler = new AccessHandler(run, {
    read: (space, address, size) => {
      log.push(['read', space, address, size])
      return (0xa1b2_c3d4 + 0x0101_0101 * reads++) % 2 ** (8 * size)
    },
    write: (space, address, size, value) => void log.push(['write', space, address, size, value]),
    read64: (space, address) => {
      log.push(['read', space, address, 8])
      return PATTERN
    },
    write64: (space, address, value) => void log.push(['write', space, address, 8, value]),
  })
  return {
    run, log, handler,
    port(direction: number, port: number, size: number, count: number) {
      run.setUint8(IO_DIRECTION, direction)
      run.setUint8(IO_SIZE, size)
      run.setUint16(IO_PORT, port, true)
      run.setUint32(IO_COUNT, count, true)
      run.setBigUint64(IO_DATA_OFFSET, BigInt(DATA), true)
      handler.port()
    },
    memory(address: bigint, length: number, isWrite: boolean) {
      run.setBigUint64(MMIO_ADDRESS, address, true)
      run.setUint32(MMIO_LENGTH, length, true)
      run.setUint8(MMIO_IS_WRITE, isWrite ? 1 : 0)
      handler.memory()
    },
  }
}

describe('port accesses in kvm_run', () => {
  it.each([[1, 0x11], [2, 0x2211], [4, 0x4433_2211]])('OUT of %s bytes', (size, value) => {
    const { run, log, port } = setUp()
    run.setBigUint64(DATA, 0x8877_6655_4433_2211n, true)
    port(OUT, 0x3f8, size, 1)
    expect(log).toEqual([['write', PORTS, 0x3f8, size, value]])
  })

  it.each([[1, [0xd4, 0, 0, 0]], [2, [0xd4, 0xc3, 0, 0]], [4, [0xd4, 0xc3, 0xb2, 0xa1]]])('IN of %s bytes changes no byte beyond them', (size, bytes) => {
    const { run, log, port } = setUp()
    port(IN, 0xcfc, size, 1)
    expect(log).toEqual([['read', PORTS, 0xcfc, size]])
    expect([...new Uint8Array(run.buffer, DATA, 4)]).toEqual(bytes)
  })

  it('string instructions bring their elements in a row, all for the same port', () => {
    const { run, log, port } = setUp()
    for (let at = 0; at < 6; at++) run.setUint8(DATA + at, at + 1)
    port(OUT, 0x1f0, 2, 3)
    expect(log).toEqual([0x0201, 0x0403, 0x0605].map((value) => ['write', PORTS, 0x1f0, 2, value]))
    log.length = 0
    port(IN, 0x1f0, 4, 2)
    expect(log).toHaveLength(2)
    expect([run.getUint32(DATA, true), run.getUint32(DATA + 4, true)]).toEqual([0xa1b2_c3d4, 0xa2b3_c4d5])
  })

  it('a page of elements, and none', () => {
    const { log, port } = setUp()
    port(OUT, 0x1f0, 1, 4096)
    expect(log).toHaveLength(4096)
    port(OUT, 0x1f0, 1, 0)
    expect(log).toHaveLength(4096)
  })
})

describe('memory accesses in kvm_run', () => {
  const HIGH = 0xf_ffff_f000n

  it.each([[1, 0x11], [2, 0x2211], [4, 0x4433_2211], [8, 0x8877_6655_4433_2211n]])('a write of %s bytes is one access', (length, value) => {
    const { run, log, memory } = setUp()
    run.setBigUint64(MMIO_DATA, 0x8877_6655_4433_2211n, true)
    memory(HIGH, length, true)
    expect(log).toEqual([['write', MEMORY, Number(HIGH), length, value]])
  })

  it.each([[1, 0xd4n], [2, 0xc3d4n], [4, 0xa1b2_c3d4n], [8, 0x8877_6655_4433_2211n]])('a read of %s bytes is one access', (length, value) => {
    const { run, log, memory } = setUp()
    memory(HIGH, length, false)
    expect(log).toEqual([['read', MEMORY, Number(HIGH), length]])
    expect(run.getBigUint64(MMIO_DATA, true)).toBe(value)
  })

  it.each([[3, [[0, 2], [2, 1]]], [5, [[0, 4], [4, 1]]], [6, [[0, 4], [4, 2]]], [7, [[0, 4], [4, 2], [6, 1]]]])('%s bytes of an access that crosses a page come as powers of two', (length, parts) => {
    const { run, log, memory } = setUp()
    run.setBigUint64(MMIO_DATA, 0x8877_6655_4433_2211n, true)
    memory(0x1000n, length, true)
    expect(log.map(([, , address, size]) => [Number(address) - 0x1000, size])).toEqual(parts)
    const bytes = log.flatMap(([, , , size, value]) => Array.from({ length: Number(size) }, (_, at) => Math.floor(Number(value) / 256 ** at) % 256))
    expect(bytes).toEqual([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88].slice(0, length))
    log.length = 0
    memory(0x1000n, length, false)
    expect(log.map(([, , address, size]) => [Number(address) - 0x1000, size])).toEqual(parts)
  })

  it.each([0, 9, 0xffff_ffff])('a length of %s, which no kernel gives, stays inside the 8 bytes of data', (length) => {
    const { run, log, memory } = setUp()
    run.setUint8(MMIO_IS_WRITE + 1, 0x5a)
    memory(0x1000n, length, false)
    expect(log.reduce((sum, [, , , size]) => sum + Number(size), 0)).toBe(Math.min(length, 8))
    expect(run.getUint32(MMIO_LENGTH, true)).toBe(length)
    expect(run.getUint8(MMIO_IS_WRITE + 1)).toBe(0x5a)
  })
})
