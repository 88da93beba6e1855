import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { AddressSpace } from './address-space.ts'
import { startBusWorker } from './bus-worker.fixture.ts'
import { BusServer } from './bus.ts'
import { Region } from './region.ts'

/**
 * Real vCPU workers against main. Each worker has a device at 0x1000 or 0x2000: +0 posted value, +4 its shadow, +8 count of posts applied (call),
 * +0x10 an 8-byte register. Both share 0x8000, posted. 0x9000 is an interrupt status (shadow), 0x9004 its acknowledge (posted).
 */
const MAX_POSTS = 65_536
let server: BusServer | undefined

afterEach(() => server?.close())

function setUp() {
  const root = Region.container('memory', 2 ** 32)
  const memory = new AddressSpace('memory', root)
  const ports = new AddressSpace('I/O', Region.container('io', 0x1_0000))
  const faults: unknown[] = []
  server = new BusServer({ memory, ports, slots: 2, onFault: (error) => faults.push(error) })
  server.ref()
  return { root, server, faults }
}

function addOwnDevice(root: Region, bus: BusServer, slot: number) {
  const counts = { applied: 0, value: 0, wide: 0n }
  const region = Region.io(`own${slot}`, 0x100, {
    read: (offset) => (offset === 8 ? counts.applied : offset === 4 ? counts.value : 0),
    write: (offset, _, value) => {
      if (offset !== 0) return
      counts.applied++
      counts.value = value
      page.publish(4, value)
    },
    read64: () => counts.wide,
    write64: (_, value) => { counts.wide = value },
  })
  const page = bus.shadowPage(region, { posted: [{ offset: 0, size: 4 }], shadow: [{ offset: 4, size: 4 }] })
  page.publish(4, 0)
  root.add(region, 0x1000 + slot * 0x1000)
  return counts
}

describe('the bus between real threads', () => {
  it('shows each vCPU its own writes, lets no call overtake a post, and orders posts of two vCPUs by cause', async () => {
    const { root, server, faults } = setUp()
    const own = [addOwnDevice(root, server, 0), addOwnDevice(root, server, 1)]
    const shared = new SharedArrayBuffer((16 + 2 * MAX_POSTS) * 4)
    const words = new Int32Array(shared)
    const applied = [0, 0]
    const orderFaults: string[] = []
    const region = Region.io('shared', 4, { read: () => 0, write: (_offset, _size, value) => {
      const slot = value >>> 24
      const index = value & 0xff_ffff
      if (applied[slot] !== index) orderFaults.push(`slot ${slot}: post ${index} after ${applied[slot]} others`)
      const finishedByOther = words[16 + slot * MAX_POSTS + index] ?? 0
      if ((applied[1 - slot] ?? 0) < finishedByOther) orderFaults.push(`slot ${slot}: post ${index} overtook a finished post of the other vCPU`)
      applied[slot] = index + 1
    } })
    server.shadowPage(region, { posted: [{ offset: 0, size: 4 }] })
    root.add(region, 0x8000)
    const workers = await Promise.all([0, 1].map((slot) => startBusWorker(server, { task: 'stress', slot, seed: 7 + slot, rounds: 3000, shared })))
    expect(workers.length).toBe(2)
    const reports = workers as { faults: string[]; posts: number; done: number }[]
    expect(reports.map((report) => report.faults)).toEqual([[], []])
    server.applyPosts()
    expect(orderFaults).toEqual([])
    expect(applied).toEqual(reports.map((report) => report.done))
    expect(own.map((counts) => counts.applied)).toEqual(reports.map((report) => report.posts))
    expect(faults).toEqual([])
  })

  it('loses no interrupt when the vCPU acknowledges by post while main raises the next', async () => {
    const { root, server } = setUp()
    const rounds = 20_000
    const words = new Int32Array(new SharedArrayBuffer(64))
    let status = 0
    const region = Region.io('status', 8, { read: (offset) => (offset === 0 ? status : 0), write: (offset, _, value) => {
      if (offset !== 4) return
      status &= ~value
      page.publish(0, status)
    } })
    const page = server.shadowPage(region, { posted: [{ offset: 4, size: 4 }], shadow: [{ offset: 0, size: 4 }] })
    page.publish(0, 0)
    root.add(region, 0x9000)
    const report = startBusWorker(server, { task: 'interrupts', slot: 0, seed: 1, rounds, shared: words.buffer })
    let over = false
    void report.finally(() => { over = true })
    for (let i = 0; i < rounds && !over;) {
      for (let burst = i % 7; burst >= 0 && i < rounds; burst--, i++) {
        Atomics.add(words, 0, 1)
        page.update(() => {
          status |= 1
          page.publish(0, status)
          Atomics.store(words, 1, 1)
        })
      }
      if (i % 3 === 0) await turn()
    }
    expect(await report).toMatchObject({ consumed: rounds, faults: [] })
  })

  it('releases a vCPU that waits in a call when main quits', async () => {
    const { root, server } = setUp()
    const counts = addOwnDevice(root, server, 0)
    server.holdCalls()
    const report = startBusWorker(server, { task: 'hang', slot: 0, seed: 1, rounds: 0, shared: new SharedArrayBuffer(64) })
    while (!server.isWaiting(0)) await turn()
    server.abort()
    expect(await report).toMatchObject({ value: 0xffff_ffff, wide: String(2n ** 64n - 1n), aborted: true })
    expect(counts.applied).toBe(0)
  })

  it('wakes a sleeping vCPU when held calls are released', async () => {
    const { root, server } = setUp()
    const counts = addOwnDevice(root, server, 0)
    counts.wide = 5n
    server.holdCalls()
    const report = startBusWorker(server, { task: 'hang', slot: 0, seed: 1, rounds: 0, shared: new SharedArrayBuffer(64) })
    while (!server.isWaiting(0)) await turn()
    server.releaseCalls()
    expect(await report).toMatchObject({ value: 0, wide: '5', aborted: false })
    expect(counts.value).toBe(7)
  })
})
