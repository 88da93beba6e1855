/** Guests that break the rules: each ends in one named fault, nothing is read outside of guest memory, and the work stays bounded. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GuestMemory } from '../../../address-space/guest-memory.ts'
import { MesovirtError } from '../../../host/errors.ts'
import { RingFault } from './faults.ts'
import { openQueue } from './open.ts'
import { Bench, DATA, Host, RAM_SIZE, TABLES } from './test-bench.ts'

const NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 0x80

/** A split queue whose first available chain starts at descriptor 0. */
function split(size = 8, options: { indirect?: boolean } = {}): Bench & {
  descriptor(index: number, address: number, length: number, flags: number, next?: number): void
} {
  const bench = new Bench({ size, ...options })
  bench.memory.writeU16(bench.driver.driverArea + 2, 1)
  return Object.assign(bench, {
    descriptor: (index: number, address: number, length: number, flags: number, next = 0) =>
      bench.driver.writeDescriptor(bench.driver.descriptors + index * 16, address, length, next, flags),
  })
}

function packed(size = 8, options: { indirect?: boolean } = {}): Bench & { descriptor(index: number, address: number, length: number, flags: number): void } {
  const bench = new Bench({ packed: true, size, ...options })
  return Object.assign(bench, {
    descriptor: (index: number, address: number, length: number, flags: number) =>
      bench.driver.writeDescriptor(bench.driver.descriptors + index * 16, address, length, index, flags | AVAIL),
  })
}

function expectFault(bench: Bench, fault: RegExp): void {
  const before = bench.memory.read(0, RAM_SIZE)
  expect(bench.queue.pop()).toBeUndefined()
  expect(bench.host.faults).toEqual([expect.stringMatching(fault)])
  expect(bench.queue.usable).toBe(false)
  bench.queue.serve(() => { throw new Error('called') })
  bench.queue.notify()
  expect(bench.queue.pop()).toBeUndefined()
  expect(bench.host.faults).toHaveLength(1)
  expect(Buffer.compare(bench.memory.read(0, RAM_SIZE), before)).toBe(0)
}

describe('a split ring', () => {
  it('with an available index more than the queue size ahead (2.7.13.3)', () => {
    const bench = split()
    bench.memory.writeU16(bench.driver.driverArea + 2, 9)
    expectFault(bench, /available index/)
  })

  it('with an available index that went back (2.7.6.1)', () => {
    const bench = split()
    bench.descriptor(0, DATA, 1, 0)
    bench.queue.pop()
    bench.memory.writeU16(bench.driver.driverArea + 2, 0)
    expectFault(bench, /available index/)
  })

  it('that makes more available than the queue holds without waiting for what is used', () => {
    const bench = split(2)
    bench.descriptor(0, DATA, 1, 0)
    for (let index = 1; index <= 2; index++) {
      bench.memory.writeU16(bench.driver.driverArea + 2, index)
      bench.queue.pop()
    }
    bench.memory.writeU16(bench.driver.driverArea + 2, 3)
    expectFault(bench, /in flight/)
  })

  it('with a head beyond the table', () => {
    const bench = split()
    bench.memory.writeU16(bench.driver.driverArea + 4, 8)
    expectFault(bench, /index is out of range/)
  })

  it('with a next beyond the table', () => {
    const bench = split()
    bench.descriptor(0, DATA, 1, NEXT, 0xffff)
    expectFault(bench, /index is out of range/)
  })

  it('with a descriptor that continues in itself (virtio_2_7_5_2)', () => {
    const bench = split()
    bench.descriptor(0, DATA, 1, NEXT, 0)
    expectFault(bench, /loop/)
  })

  it('with a loop of several descriptors (virtio_2_7_5_2)', () => {
    const bench = split()
    for (let index = 0; index < 8; index++) bench.descriptor(index, DATA, 1, NEXT, (index + 1) % 8)
    expectFault(bench, /loop/)
  })

  it('with a loop in an indirect table', () => {
    const bench = split()
    bench.descriptor(0, TABLES, 64, INDIRECT)
    for (let index = 0; index < 4; index++) bench.driver.writeDescriptor(TABLES + index * 16, DATA, 1, (index + 1) % 4, NEXT)
    expectFault(bench, /loop/)
  })

  it('with a long table that loops: the walk ends at 1024 descriptors', () => {
    const bench = split()
    bench.descriptor(0, TABLES, 0x4_0000, INDIRECT)
    for (let index = 0; index < 0x4000; index++) bench.driver.writeDescriptor(TABLES + index * 16, DATA, 1, (index + 1) % 0x4000, NEXT)
    expectFault(bench, /too long/)
  })

  it('with a nested indirect table (virtio_2_7_5_3_1)', () => {
    const bench = split()
    bench.descriptor(0, TABLES, 16, INDIRECT)
    bench.driver.writeDescriptor(TABLES, TABLES, 16, 0, INDIRECT)
    expectFault(bench, /inside an indirect table/)
  })

  it('with an indirect descriptor that continues (virtio_2_7_5_3_1)', () => {
    const bench = split()
    bench.descriptor(0, TABLES, 16, INDIRECT | NEXT, 1)
    expectFault(bench, /continues/)
  })

  it('with an indirect descriptor that was not negotiated (virtio_2_7_5_3_1)', () => {
    const bench = split(8, { indirect: false })
    bench.descriptor(0, TABLES, 16, INDIRECT)
    expectFault(bench, /without the feature/)
  })

  it('that writes before it reads (virtio_2_7_4_2)', () => {
    const bench = split()
    bench.descriptor(0, DATA, 1, WRITE | NEXT, 1)
    bench.descriptor(1, DATA, 1, 0)
    expectFault(bench, /comes after one that it writes/)
  })

  it('whose descriptors describe more than 2^32 bytes', () => {
    const memory = hugeMemory()
    const host = new Host()
    const queue = openQueue(false, { size: 4, descriptors: 0, driver: 0x100, device: 0x200 }, memory, { indirect: true, eventIndex: false }, host)
    if (queue instanceof RingFault) throw queue
    for (let index = 0; index < 4; index++) {
      memory.writeU64(index * 16, 0x1000n)
      memory.writeU32(index * 16 + 8, 0x6000_0000)
      memory.writeU16(index * 16 + 12, index < 3 ? NEXT : 0)
      memory.writeU16(index * 16 + 14, index + 1)
    }
    memory.writeU16(0x102, 1)
    expect(queue.pop()).toBeUndefined()
    expect(host.faults).toEqual([expect.stringMatching(/2\^32/)])
  })

  it('may overlap its own buffers: the guest only confuses itself', () => {
    const bench = split()
    bench.descriptor(0, bench.driver.descriptors, 0x400, WRITE)
    const chain = bench.queue.pop()
    for (const { bytes } of chain?.writable ?? []) bytes.fill(0xff)
    if (chain !== undefined) bench.queue.push(chain, 0x400)
    expect(bench.queue.pop()).toBeUndefined()
    expect(bench.host.faults.length).toBeLessThanOrEqual(1)
  })
})

describe('a packed ring', () => {
  it('with a list that never ends (virtio_2_8_17)', () => {
    const bench = packed()
    for (let index = 0; index < 8; index++) bench.descriptor(index, DATA, 1, NEXT)
    expectFault(bench, /loop/)
  })

  it('with a list that runs into descriptors in flight', () => {
    const bench = packed(4)
    bench.descriptor(0, DATA, 1, 0)
    bench.queue.pop()
    for (let index = 1; index < 4; index++) bench.descriptor(index, DATA, 1, NEXT)
    expectFault(bench, /in flight/)
  })

  it('that offers descriptors again which are in flight', () => {
    const bench = packed(1)
    bench.descriptor(0, DATA, 1, 0)
    bench.queue.pop()
    bench.driver.writeDescriptor(bench.driver.descriptors, DATA, 1, 0, 0x8000)
    expectFault(bench, /in flight/)
  })

  it('with an indirect descriptor in a list (virtio_2_8_19)', () => {
    const bench = packed()
    bench.descriptor(0, DATA, 1, NEXT)
    bench.descriptor(1, TABLES, 16, INDIRECT)
    expectFault(bench, /part of a list/)
  })

  it('with an indirect descriptor that continues (virtio_2_8_19)', () => {
    const bench = packed()
    bench.descriptor(0, TABLES, 16, INDIRECT | NEXT)
    expectFault(bench, /part of a list/)
  })

  it('with an indirect descriptor that was not negotiated (virtio_2_8_19)', () => {
    const bench = packed(8, { indirect: false })
    bench.descriptor(0, TABLES, 16, INDIRECT)
    expectFault(bench, /without the feature/)
  })

  it('with a table of more than 1024 descriptors', () => {
    const bench = packed()
    bench.descriptor(0, TABLES, 16 * 1025, INDIRECT)
    for (let index = 0; index < 1025; index++) bench.driver.writeDescriptor(TABLES + index * 16, DATA, 1, 0, 0)
    expectFault(bench, /too long/)
  })

  it('that writes before it reads (virtio_2_8_17)', () => {
    const bench = packed()
    bench.descriptor(0, DATA, 1, WRITE | NEXT)
    bench.descriptor(1, DATA, 1, 0)
    expectFault(bench, /comes after one that it writes/)
  })

  it('ignores all flags in a table but "device writes" (2.8.7)', () => {
    const bench = packed()
    bench.descriptor(0, TABLES, 32, INDIRECT)
    bench.driver.writeDescriptor(TABLES, DATA, 4, 0xffff, INDIRECT | NEXT)
    bench.driver.writeDescriptor(TABLES + 16, DATA, 4, 0xffff, WRITE | 0x8000)
    const chain = bench.queue.pop()
    expect([chain?.readableLength, chain?.writableLength]).toEqual([4, 4])
  })
})

describe.each([['split', split], ['packed', packed]] as const)('a %s ring', (_, make) => {
  it.each([
    ['of no bytes', DATA, 0, /no bytes/], ['just beyond the end of RAM', RAM_SIZE, 1, /outside guest RAM/],
    ['across the end of RAM', RAM_SIZE - 1, 2, /outside guest RAM/],
    ['of 2^32-1 bytes', 0, 0xffff_ffff, /outside guest RAM/], ['whose end wraps to 0', 2 ** 64 - 2048, 4096, /outside guest RAM/],
    ['far above all memory', 2 ** 63, 16, /outside guest RAM/],
  ])('with a descriptor %s', (_name, address, length, fault) => {
    const bench = make()
    bench.descriptor(0, address, length, WRITE)
    expectFault(bench, fault)
  })

  it.each([
    ['of no bytes', TABLES, 0], ['of a length that is no multiple of 16', TABLES, 24], ['of 2^32-16 bytes', TABLES, 0xffff_fff0], ['outside RAM', RAM_SIZE, 16],
    ['across the end of RAM', RAM_SIZE - 16, 32],
  ])('with an indirect table %s', (_name, address, length) => {
    const bench = make()
    bench.descriptor(0, address, length, INDIRECT)
    expectFault(bench, /indirect table with/)
  })
})

/** Guest memory full of descriptors, plausible ones more likely than others, wherever one looks. */
const FUZZ_RAM = 0x4000
const descriptor = fc.record({
  address: fc.oneof({ weight: 6, arbitrary: fc.nat(FUZZ_RAM / 16).map((cell) => cell * 16) }, fc.nat(FUZZ_RAM + 64), fc.bigInt(0n, 2n ** 64n - 1n).map(Number)),
  length: fc.oneof({ weight: 6, arbitrary: fc.integer({ min: 1, max: 8 }).map((count) => count * 16) }, fc.nat(64), fc.nat(0xffff_ffff)),
  flags: fc.oneof({ weight: 6, arbitrary: fc.constantFrom(0, NEXT, WRITE, NEXT | WRITE, INDIRECT) }, fc.nat(0xffff))
    .chain((flags) => fc.boolean().map((on) => on ? flags | AVAIL : flags)),
  next: fc.oneof({ weight: 6, arbitrary: fc.nat(7) }, fc.nat(0xffff)),
})
const seen = new Map<string, number>()

describe.each([['split', false], ['packed', true]] as const)('random memory as a %s ring', (_, isPacked) => {
  it('neither throws, nor works without end, nor touches anything but guest memory', () => {
    fc.assert(fc.property(fc.array(descriptor, { minLength: 8, maxLength: 40 }), fc.constantFrom(1, 2, 4, 8, 64), fc.boolean(), fc.array(fc.nat(9), { maxLength: 8 }),
      (descriptors, size, eventIndex, heads) => {
        const memory = new GuestMemory([{ guestAddress: 0, size: FUZZ_RAM, bytes: new Uint8Array(FUZZ_RAM), hostOffset: 0 }])
        for (let cell = 0; cell < FUZZ_RAM / 16; cell++) {
          const { address, length, flags, next } = descriptors[cell % descriptors.length] as (typeof descriptors)[number]
          memory.writeU64(cell * 16, BigInt(address) & 0xffff_ffff_ffff_ffffn)
          memory.writeU32(cell * 16 + 8, length)
          memory.writeU16(cell * 16 + (isPacked ? 14 : 12), flags)
          memory.writeU16(cell * 16 + (isPacked ? 12 : 14), next)
        }
        const layout = { size, descriptors: 0x1000, driver: 0x2000, device: 0x3000 }
        if (!isPacked) {
          memory.writeU16(0x2002, heads.length)
          heads.forEach((head, index) => memory.writeU16(0x2004 + (index % size) * 2, head))
        }
        const host = new Host()
        const queue = openQueue(isPacked, layout, memory, { indirect: true, eventIndex }, host)
        if (queue instanceof RingFault) throw queue
        let handled = 0
        queue.serve((chain) => {
          handled++
          expect(chain.descriptors).toBeLessThanOrEqual(1024)
          for (const { address, bytes } of [...chain.readable, ...chain.writable]) expect(memory.contains(address, bytes.length)).toBe(true)
          for (const { bytes } of chain.writable) bytes.fill(handled & 0xff)
          queue.push(chain, chain.writableLength)
        })
        host.runDeferred(50)
        expect(queue.inFlight).toBe(0)
        expect(host.faults.length).toBeLessThanOrEqual(1)
        for (const outcome of [...host.faults, ...(handled > 0 ? ['handled'] : [])]) seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
      }), { numRuns: 100_000, interruptAfterTimeLimit: 4000, markInterruptAsFailure: false })
  })
})

it('the random memory above reached the faults, and buffers that are fine', () => {
  for (const outcome of ['handled', 'a descriptor points outside guest RAM', 'a descriptor chain is a loop',
    'a descriptor that the device reads comes after one that it writes']) {
    expect([...seen.keys()]).toContain(outcome)
  }
})

/** A block that claims to be 3 GiB: bytes that nobody touches cost nothing. */
function hugeMemory(): GuestMemory {
  const size = 0x8000_0000
  try {
    return new GuestMemory([{ guestAddress: 0, size, bytes: new Uint8Array(size), hostOffset: 0 }])
  } catch (error) {
    if (error instanceof MesovirtError) throw error
    throw new Error('this host gives no 2 GiB of address space', { cause: error })
  }
}
