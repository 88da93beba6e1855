import { describe, expect, it } from 'vitest'
import { GuestMemory } from '../../../address-space/guest-memory.ts'
import { copyFrom, copyTo, sliceSegments } from './chain.ts'
import type { Chain } from './chain.ts'
import { RingFault } from './faults.ts'
import { openQueue } from './open.ts'
import type { VirtQueue } from './queue.ts'
import { Bench, DATA, Host, newMemory } from './test-bench.ts'

const FEATURES = { indirect: true, eventIndex: true }
const bytes = (...values: number[]) => Uint8Array.from(values)
const pop = (queue: VirtQueue): Chain => {
  const chain = queue.pop()
  if (chain === undefined) throw new Error('nothing is available')
  return chain
}

describe.each([['split', false], ['packed', true]] as const)('a %s queue', (_, packed) => {
  it('gives the device what the driver made available, as live views of guest memory, and the driver what the device wrote', () => {
    const { memory, driver, queue } = new Bench({ packed })
    memory.write(DATA, bytes(1, 2, 3))
    const id = driver.add({ readable: [{ address: DATA, length: 3 }], writable: [{ address: DATA + 0x100, length: 4 }, { address: DATA + 0x200, length: 4 }] })
    const chain = pop(queue)
    expect(queue.pop()).toBeUndefined()
    expect([chain.readableLength, chain.writableLength, queue.inFlight]).toEqual([3, 8, 1])
    memory.writeU8(DATA, 9)
    expect(chain.readable[0]?.bytes).toEqual(bytes(9, 2, 3))
    expect(copyTo(chain.writable, 0, bytes(5, 6, 7, 8, 9, 10))).toBe(6)
    queue.push(chain, 6)
    expect(driver.takeUsed()).toEqual([{ id, written: 6 }])
    expect([...memory.read(DATA + 0x100, 4), ...memory.read(DATA + 0x200, 4)]).toEqual([5, 6, 7, 8, 9, 10, 0, 0])
    expect(queue.inFlight).toBe(0)
  })

  it('announces what the device wrote before the driver gets the buffer back', () => {
    const announced: [number, number, number][] = []
    const ram = new Uint8Array(new SharedArrayBuffer(0x10_0000))
    let used = () => 0
    const memory = new GuestMemory([{ guestAddress: 0, size: ram.length, bytes: ram, hostOffset: 0, written: (offset, length) => announced.push([offset, length, used()]) }])
    const { driver, queue } = new Bench({ packed, memory })
    used = () => driver.takeUsed().length
    driver.add({ readable: [{ address: DATA, length: 3 }], writable: [{ address: DATA + 0x100, length: 4 }, { address: DATA + 0x200, length: 4 }, { address: DATA + 0x300, length: 4 }] })
    const chain = pop(queue)
    announced.length = 0
    queue.push(chain, 6)
    expect(announced).toEqual([[DATA + 0x100, 4, 0], [DATA + 0x200, 2, 0]])
    expect(driver.takeUsed()).toHaveLength(1)
  })

  it('takes buffers in order and lets the device give them back in any order, round after round', () => {
    const { driver, queue } = new Bench({ packed, size: 4 })
    for (let round = 0; round < 20; round++) {
      const ids = [0, 1].map((index) => driver.add({ readable: [{ address: DATA, length: 1 }], ...(index === 1 ? { writable: [{ address: DATA, length: 8 }] } : {}) }))
      const [first, second] = [pop(queue), pop(queue)]
      expect([first.id, second.id]).toEqual(ids)
      queue.push(second, 8)
      queue.push(first, 0)
      expect(driver.takeUsed()).toEqual([{ id: ids[1], written: 8 }, { id: ids[0], written: 0 }])
    }
  })

  it('reads a table of indirect descriptors', () => {
    const { memory, driver, queue } = new Bench({ packed, size: 2 })
    memory.write(DATA, bytes(1, 2, 3, 4))
    const id = driver.add({ indirect: true, readable: [{ address: DATA + 2, length: 2 }, { address: DATA, length: 2 }], writable: [{ address: DATA + 16, length: 5 }] })
    const chain = pop(queue)
    const data = new Uint8Array(8)
    expect(copyFrom(chain.readable, 1, data)).toBe(3)
    expect(data).toEqual(bytes(4, 1, 2, 0, 0, 0, 0, 0))
    expect([chain.id, chain.descriptors, chain.slots, chain.writableLength]).toEqual([id, 3, 1, 5])
  })

  it('cuts a buffer that crosses two blocks of RAM into two segments', () => {
    const block = (guestAddress: number, size: number) => ({ guestAddress, size, bytes: new Uint8Array(size), hostOffset: guestAddress })
    const memory = new GuestMemory([block(0, 0x10_0000), block(0x10_0000, 0x1000)])
    const { driver, queue } = new Bench({ packed, memory })
    memory.write(0x10_0000 - 2, bytes(1, 2, 3, 4))
    driver.add({ readable: [{ address: 0x10_0000 - 2, length: 4 }] })
    const { readable, readableLength } = pop(queue)
    expect(readable.map(({ address, bytes: part }) => [address, [...part]])).toEqual([[0x10_0000 - 2, [1, 2]], [0x10_0000, [3, 4]]])
    expect(readableLength).toBe(4)
  })

  it('never reports more bytes written than there were to write', () => {
    const { driver, queue } = new Bench({ packed })
    driver.add({ writable: [{ address: DATA, length: 4 }] })
    queue.push(pop(queue), 100)
    expect(driver.takeUsed()[0]?.written).toBe(4)
  })

  it('refuses a buffer from the device that it does not have: our own mistake, not a guest\'s', () => {
    const { driver, queue } = new Bench({ packed })
    driver.add({ writable: [{ address: DATA, length: 4 }] })
    const chain = pop(queue)
    queue.push(chain, 0)
    expect(() => queue.push(chain, 0)).toThrow(/does not have/)
  })

  it('after close touches nothing, even when a backend finishes late', () => {
    const { memory, driver, queue, host } = new Bench({ packed })
    driver.add({ writable: [{ address: DATA, length: 4 }] })
    const chain = pop(queue)
    driver.add({ writable: [{ address: DATA, length: 4 }] })
    queue.close()
    const before = memory.read(0, memory.size)
    queue.push(chain, 4)
    queue.notify()
    queue.setKicks(true)
    queue.serve(() => { throw new Error('called') })
    expect(queue.pop()).toBeUndefined()
    expect(queue.hasAvailable()).toBe(false)
    expect(host.interrupts).toBe(0)
    expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
  })

  it('without the event index interrupts for every batch unless the driver said no (virtio_2_7_7_2, 2.8.10)', () => {
    const bench = new Bench({ packed })
    const { driver, queue, host } = bench
    const use = () => {
      bench.addWritable()
      bench.addWritable()
      queue.push(pop(queue), 1)
      queue.push(pop(queue), 1)
      queue.notify()
      queue.notify()
      driver.takeUsed()
    }
    driver.setInterrupts(true)
    use()
    expect(host.interrupts).toBe(1)
    driver.setInterrupts(false)
    use()
    expect(host.interrupts).toBe(1)
    driver.setInterrupts(true)
    use()
    expect(host.interrupts).toBe(2)
  })

  it('with the event index interrupts when the index reaches what the driver asked for, and not before (virtio_2_7_7_2, 2.8.14)', () => {
    const bench = new Bench({ packed, size: 4, eventIndex: true })
    const { driver, queue, host } = bench
    for (let round = 0; round < 50; round++) {
      host.interrupts = 0
      driver.setInterrupts(true, 3)
      const seen = [1, 2, 3, 4].map(() => {
        bench.addWritable()
        queue.push(pop(queue), 1)
        queue.notify()
        return host.interrupts
      })
      expect(seen).toEqual([0, 0, 1, 1])
      driver.takeUsed()
    }
  })

  it('with the event index interrupts once for a batch that passes the event', () => {
    const bench = new Bench({ packed, size: 8, eventIndex: true })
    const { driver, queue, host } = bench
    for (let round = 0; round < 20; round++) {
      host.interrupts = 0
      driver.setInterrupts(true, 2)
      for (let index = 0; index < 5; index++) bench.addWritable()
      for (let index = 0; index < 5; index++) queue.push(pop(queue), 1)
      queue.notify()
      expect(host.interrupts).toBe(1)
      driver.takeUsed()
      driver.setInterrupts(false)
      bench.addWritable()
      queue.push(pop(queue), 1)
      queue.notify()
      expect(host.interrupts).toBe(1)
      driver.takeUsed()
    }
  })

  it.each([[false], [true]])('tells the driver whether it wants to be notified (virtio_2_7_10_2, 2.8.10; event index %s)', (eventIndex) => {
    const bench = new Bench({ packed, size: 4, eventIndex })
    const { driver, queue } = bench
    for (let round = 0; round < 20; round++) {
      queue.setKicks(true)
      bench.addWritable()
      expect(driver.wantsKick()).toBe(true)
      queue.setKicks(false)
      queue.push(pop(queue), 1)
      bench.addWritable()
      expect(driver.wantsKick()).toBe(false)
      queue.push(pop(queue), 1)
      driver.takeUsed()
    }
  })

  it('sees what came between the last look and the switching on of notifications', () => {
    const bench = new Bench({ packed, eventIndex: true })
    bench.queue.setKicks(false)
    expect(bench.queue.hasAvailable()).toBe(false)
    bench.addWritable()
    bench.queue.setKicks(true)
    expect(bench.queue.hasAvailable()).toBe(true)
  })

  it('serves all that is there, with one interrupt at the end and notifications on again', () => {
    const bench = new Bench({ packed, size: 8, eventIndex: true })
    const { driver, queue, host } = bench
    for (let index = 0; index < 5; index++) bench.addWritable()
    driver.wantsKick()
    const wanted: boolean[] = []
    queue.serve((chain) => {
      if (driver.outstanding === 5) {
        bench.addWritable()
        wanted.push(driver.wantsKick())
      }
      queue.push(chain, 1)
    })
    expect(wanted).toEqual([false])
    expect(driver.takeUsed()).toHaveLength(6)
    expect(host.interrupts).toBe(1)
    bench.addWritable()
    expect(driver.wantsKick()).toBe(true)
  })

  it('serves a driver that never stops in turns of at most the queue size', () => {
    const bench = new Bench({ packed, size: 4 })
    const { driver, queue, host } = bench
    let handled = 0
    const handle = (chain: Chain) => {
      handled++
      queue.push(chain, 0)
      driver.takeUsed()
      if (handled < 40) bench.addWritable()
    }
    bench.addWritable()
    queue.serve(handle)
    expect(handled).toBe(4)
    expect(host.deferred).toHaveLength(1)
    queue.serve(handle) // a kick meanwhile changes nothing: the turn will come
    expect(handled).toBe(4)
    host.runDeferred()
    expect(handled).toBe(40)
  })

  it('bounds the descriptors of one turn as well', () => {
    const bench = new Bench({ packed, size: 256 })
    const writable = Array.from({ length: 32 }, (_unused, index) => ({ address: DATA + index, length: 1 }))
    while (bench.driver.add({ indirect: true, writable }) !== undefined);
    let handled = 0
    bench.queue.serve(() => { handled++ })
    expect(handled).toBe(4096 / 32)
    bench.host.runDeferred()
    expect(handled).toBe(256)
  })

  it('stops when the device wants no more, and goes on when it is asked again', () => {
    const bench = new Bench({ packed })
    for (let index = 0; index < 3; index++) bench.addWritable()
    bench.driver.wantsKick()
    const taken: Chain[] = []
    bench.queue.serve((chain) => taken.push(chain), () => taken.length < 2)
    expect(taken).toHaveLength(2)
    bench.addWritable()
    expect(bench.driver.wantsKick()).toBe(false)
    bench.queue.serve((chain) => taken.push(chain))
    expect(taken).toHaveLength(4)
    bench.addWritable()
    expect(bench.driver.wantsKick()).toBe(true)
  })

  it('is the same after its state went through JSON, with the buffers in flight coming first', () => {
    const bench = new Bench({ packed, size: 4, eventIndex: true })
    for (let index = 0; index < 3; index++) {
      bench.addWritable(8, DATA + index * 8)
      bench.queue.push(pop(bench.queue), 0)
      bench.driver.takeUsed()
    }
    const ids = [bench.addWritable(8, DATA + 0x100), bench.addWritable(8, DATA + 0x200), bench.addWritable(8, DATA + 0x300)]
    pop(bench.queue)
    pop(bench.queue)
    const state: unknown = JSON.parse(JSON.stringify(bench.queue.state()))
    bench.queue.close()
    bench.queue = bench.open(state)
    expect(bench.queue.inFlight).toBe(2)
    expect(bench.queue.state()).toEqual(state)
    const chains = [pop(bench.queue), pop(bench.queue), pop(bench.queue)]
    expect(chains.map(({ id, writable }) => [id, writable[0]?.address])).toEqual([[ids[0], DATA + 0x100], [ids[1], DATA + 0x200], [ids[2], DATA + 0x300]])
    expect(bench.queue.pop()).toBeUndefined()
    for (const chain of [...chains].reverse()) bench.queue.push(chain, 8)
    expect(bench.driver.takeUsed().map(({ id }) => id)).toEqual([...ids].reverse())
  })

  it('may interrupt once too often after it was restored, never once too few', () => {
    const bench = new Bench({ packed, size: 4, eventIndex: true })
    bench.driver.setInterrupts(true)
    bench.addWritable()
    bench.queue.push(pop(bench.queue), 1)
    bench.queue = bench.open(JSON.parse(JSON.stringify(bench.queue.state()))) // saved between used and interrupt
    bench.queue.notify()
    expect(bench.host.interrupts).toBe(1)
  })

  it.each([
    [null], [[]], [{}],
    [{ nextAvailable: 70_000, nextUsed: 0, availableWrap: true, usedWrap: true, inFlight: [] }],
    [{ nextAvailable: 0, nextUsed: 0, availableWrap: 1, usedWrap: true, inFlight: [] }],
    [{ nextAvailable: 0, nextUsed: 0, availableWrap: true, usedWrap: true, inFlight: 'x' }],
    [{ nextAvailable: 0, nextUsed: 0, availableWrap: true, usedWrap: true, inFlight: [{ id: 0, slots: 1, descriptors: 1, readable: [[1]], writable: [] }] }],
    [{ nextAvailable: 0, nextUsed: 0, availableWrap: true, usedWrap: true, inFlight: [{ id: 0, slots: 9, descriptors: 1, readable: [], writable: [] }] }],
    [{ nextAvailable: 0, nextUsed: 0, availableWrap: true, usedWrap: true, inFlight: [{ id: 0, slots: 1, descriptors: 1, readable: [[2 ** 40, 8]], writable: [] }] }],
  ])('refuses the saved state %j', (state) => {
    const bench = new Bench({ packed })
    expect(() => bench.open(state)).toThrow(expect.objectContaining({ code: 'DEVICE_STATE' }))
  })

  it.each([
    ['a size of 0', { size: 0 }], ['a size above 32768', { size: 65536 }], ['descriptors that are not aligned', { descriptors: 0x1008 }],
    ['descriptors outside RAM', { descriptors: 0xff_fff0 }], ['descriptors at the end of the address space', { descriptors: 2 ** 64 - 16 }],
    ['a driver area outside RAM', { driver: 2 ** 52 }], ['a driver area that is not aligned', { driver: 0x2001 }],
    ['a device area outside RAM', { device: 0xff_ffff_fffc }], ['a device area that is not aligned', { device: 0x3002 }],
  ])('cannot have %s (2.7.1, 2.8.11)', (_name, change) => {
    const layout = { size: 8, descriptors: 0x1000, driver: 0x2000, device: 0x3000, ...change }
    expect(openQueue(packed, layout, newMemory(), FEATURES, new Host())).toBeInstanceOf(RingFault)
  })
})

it('a split queue has a size that is a power of two, a packed one any (2.7, 2.8.10.1)', () => {
  const layout = { size: 6, descriptors: 0x1000, driver: 0x2000, device: 0x3000 }
  expect(openQueue(false, layout, newMemory(), FEATURES, new Host())).toBeInstanceOf(RingFault)
  expect(openQueue(true, layout, newMemory(), FEATURES, new Host())).not.toBeInstanceOf(RingFault)
})

it('a split queue takes plain descriptors followed by one indirect one, whatever its write flag says (virtio_2_7_5_3_2)', () => {
  const { memory, driver, queue } = new Bench()
  const NEXT = 1, WRITE = 2, INDIRECT = 4
  driver.writeDescriptor(driver.descriptors, DATA, 4, 5, NEXT)
  driver.writeDescriptor(driver.descriptors + 5 * 16, 0x5000, 32, 0, INDIRECT | WRITE)
  driver.writeDescriptor(0x5000, DATA + 4, 4, 1, NEXT)
  driver.writeDescriptor(0x5010, DATA + 8, 4, 0, WRITE)
  memory.writeU16(driver.driverArea + 2, 1)
  const chain = pop(queue)
  expect([chain.readableLength, chain.writableLength, chain.descriptors]).toEqual([8, 4, 3])
})

it('the indices of a split queue wrap at 65536', () => {
  const bench = new Bench({ size: 2, eventIndex: true })
  const { queue, driver, host } = bench
  let seen = 0
  for (let index = 0; index < 70_000; index++) {
    driver.setInterrupts(true)
    bench.addWritable()
    queue.push(pop(queue), 1)
    queue.notify()
    seen += driver.takeUsed().length
  }
  expect(seen).toBe(70_000)
  expect(host.interrupts).toBe(70_000)
})

it('segments are one run of bytes, wherever it is cut (virtio_2_7_4_1)', () => {
  const segments = [[0, [1, 2]], [10, [3]], [20, [4, 5, 6]]].map(([address, part]) => ({ address: address as number, bytes: Uint8Array.from(part as number[]) }))
  const into = new Uint8Array(3)
  expect(copyFrom(segments, 1, into)).toBe(3)
  expect(into).toEqual(bytes(2, 3, 4))
  expect(copyFrom(segments, 5, into)).toBe(1)
  expect(copyFrom(segments, 6, into)).toBe(0)
  expect(sliceSegments(segments, 2, 2).map(({ address, bytes: part }) => [address, [...part]])).toEqual([[10, [3]], [20, [4]]])
  expect(copyTo(segments, 1, bytes(9, 8, 7, 6, 5, 4))).toBe(5)
  expect(segments.map(({ bytes: part }) => [...part])).toEqual([[1, 9], [8], [7, 6, 5]])
})
