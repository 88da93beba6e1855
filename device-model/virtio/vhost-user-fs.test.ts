import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { GuestMemory } from '../../address-space/guest-memory.ts'
import { SharedMemory } from '../../host/shared-memory.ts'
import { canLoad, describeWhere } from '../../test/support/optional.ts'
import { VirtualClock } from '../clock.ts'
import { startBackEnd, until } from '../vhost/back-end.fixture.ts'
import type { BackEnd, BackEndTask } from '../vhost/back-end.fixture.ts'
import { VirtioMmio } from './mmio.ts'
import { MmioDriver } from './mmio-driver.ts'
import { VhostUserFs } from './vhost-user-fs.ts'

const FS = 26
const MIB = 2 ** 20
const RINGS = 0x1000, REQUEST = 0xc0_0000, ANSWER = 0xd0_0000
const LOOKUP = 1, FORGET = 2, INIT = 26, BATCH_FORGET = 42
const ENOTCONN = 107
const HIGH = 0, NORMAL = 1
const CONFIG = 0x100
const SECOND = 1_000_000_000n

let folder: string
const closers: (() => unknown)[] = []
beforeEach(() => { folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-fs-')) })
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  fs.rmSync(folder, { recursive: true })
})

async function bench({ packed = false, queueSize = 128, ...task }: Partial<BackEndTask> & { packed?: boolean; queueSize?: number } = {}) {
  const socket = path.join(folder, 'socket')
  const ram = new SharedMemory('test-ram', 16 * MIB)
  closers.push(() => ram.close())
  let peer: BackEnd = await startBackEnd({ path: socket, ...task })
  closers.push(() => peer.end())
  const written: [number, number][] = []
  const memory = new GuestMemory([{ guestAddress: 0, size: ram.bytes.length, bytes: ram.bytes, hostOffset: 0, shared: { fd: ram.fd, offset: 0 }, written: (offset, length) => written.push([offset, length]) }])
  const logged: string[] = []
  const connections: boolean[] = []
  const clock = new VirtualClock()
  const device = new VhostUserFs({
    options: { path: socket, tag: 'shared', requestQueues: 1, queueSize }, memory, clock, events: { log: (message) => logged.push(message) }, onConnection: (connected) => connections.push(connected),
  })
  closers.push(() => device.close())
  let pulses = 0
  const mmio = VirtioMmio.create({ device, memory, irq: { setLevel: () => undefined, pulse: () => { pulses++ } } })
  const driver = new MmioDriver({ access: mmio, memory, base: RINGS, packed, indirect: true }).start(FS, 2)
  const ask = (queue: number, opcode: number, unique = 7n, answer = 64, at = 0) => {
    memory.fill(REQUEST + at, 64, 0)
    memory.writeU32(REQUEST + at + 4, opcode)
    memory.writeU64(REQUEST + at + 8, unique)
    const id = driver.queue(queue).add({ indirect: true, readable: [{ address: REQUEST + at, length: 40 }], writable: answer === 0 ? [] : [{ address: ANSWER + at, length: answer }] })
    driver.kick(queue)
    return id
  }
  const answer = () => ({ length: memory.readU32(ANSWER), error: memory.readU32(ANSWER + 4) | 0, unique: memory.readU64(ANSWER + 8) })
  const lose = async () => {
    await peer.end()
    await until('the end of the connection', () => connections.at(-1) === false)
  }
  return {
    device, mmio, driver, memory, written, logged, connections, clock, ask, answer, lose, pulses: () => pulses, used: (queue: number) => driver.queue(queue).takeUsed(),
    restart: async (again: Partial<BackEndTask> = {}) => { peer = await startBackEnd({ path: socket, ...again }) },
  }
}

const HAS_NATIVE = process.platform === 'linux' && canLoad('koffi')

describeWhere(HAS_NATIVE, 'Linux with the package koffi (npm install koffi)', 'a folder behind a vhost-user back end (virtio 1.2 section 5.11)', () => {
  it.each([['split', false], ['packed', true]])('has its tag and its queues, and carries requests there and back over a %s ring of the guest', async (_, packed) => {
    const { driver, mmio, memory, written, ask, used, pulses } = await bench({ packed })
    expect(Buffer.from(Array.from({ length: 36 }, (_byte, index) => mmio.read(CONFIG + index, 1))).toString()).toBe('shared'.padEnd(36, '\0'))
    expect(driver.read(CONFIG + 36)).toBe(1)
    const id = ask(NORMAL, LOOKUP, 0x1234n)
    await until('an answer', () => pulses() > 0)
    expect(used(NORMAL)).toEqual([{ id, written: 40 }])
    expect(memory.readU64(ANSWER + 8)).toBe(0x1234n)
    // Code that was there must be forgotten.
    expect(written).toContainEqual([ANSWER, 40])
  })

  it('has more requests than the back end has room for, and none is lost', async () => {
    const { ask, used, lose } = await bench({ queueSize: 1024, mischief: { kind: 'keeps' } })
    const ids = Array.from({ length: 600 }, (_, index) => ask(NORMAL, LOOKUP, BigInt(index), 16, index * 64))
    await lose()
    const answers: number[] = []
    await until('all answers', () => answers.push(...used(NORMAL).map(({ id }) => id)) >= ids.length)
    expect(answers.sort()).toEqual(ids.sort())
  })

  it('keeps its requests through a stop of the machine', async () => {
    const { mmio, ask, used, restart, lose, memory } = await bench({ mischief: { kind: 'keeps' } })
    const id = ask(NORMAL, LOOKUP)
    await mmio.pause()
    const before = memory.read(0, memory.size)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
    mmio.resume()
    await lose()
    expect(used(NORMAL)).toEqual([{ id, written: 16 }])
    await restart()
  })

  it('forgets them at a reset', async () => {
    const { driver, ask, used, lose, memory } = await bench({ mischief: { kind: 'keeps' } })
    ask(NORMAL, LOOKUP)
    driver.reset()
    const before = memory.read(0, memory.size)
    await lose()
    expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
    expect(used(NORMAL)).toEqual([])
  })
})

describeWhere(HAS_NATIVE, 'Linux with the package koffi (npm install koffi)', 'a folder whose back end is gone', () => {
  it('answers what was under way and what comes as a FUSE server would that lost its connection', async () => {
    const { ask, answer, used, lose, logged, pulses } = await bench({ mischief: { kind: 'keeps' } })
    const first = ask(NORMAL, LOOKUP, 9n)
    const forgotten = ask(HIGH, FORGET, 0n, 0, 128)
    await lose()
    expect(used(NORMAL)).toEqual([{ id: first, written: 16 }])
    expect(answer()).toEqual({ length: 16, error: -ENOTCONN, unique: 9n })
    expect(used(HIGH)).toEqual([{ id: forgotten, written: 0 }])
    expect(pulses()).toBeGreaterThan(0)
    expect(logged[0]).toMatch(/^vhost-user-fs: the back end at .*\/socket is gone: it closed the connection; mount shared again once it is back$/)
    const next = ask(NORMAL, LOOKUP, 10n)
    expect(used(NORMAL)).toEqual([{ id: next, written: 16 }])
    const batch = ask(NORMAL, BATCH_FORGET, 11n)
    expect(used(NORMAL)).toEqual([{ id: batch, written: 0 }])
  })

  it('that went while the machine stood is answered for when it goes on, and guest memory is left alone until then', async () => {
    const { mmio, ask, used, answer, lose, memory } = await bench({ mischief: { kind: 'keeps' } })
    const id = ask(NORMAL, LOOKUP, 5n)
    await mmio.pause()
    const before = memory.read(0, memory.size)
    await lose()
    expect(Buffer.compare(memory.read(0, memory.size), before)).toBe(0)
    mmio.resume()
    expect(used(NORMAL)).toEqual([{ id, written: 16 }])
    expect(answer()).toEqual({ length: 16, error: -ENOTCONN, unique: 5n })
  })

  it('is there again for a new mount, and tries no more than once a second', async () => {
    const { ask, used, lose, restart, clock, connections, pulses } = await bench()
    await lose()
    ask(NORMAL, INIT)
    expect(used(NORMAL)).toEqual([{ id: 0, written: 16 }])
    await restart()
    ask(NORMAL, LOOKUP)
    ask(NORMAL, INIT, 7n, 64, 128)
    expect(used(NORMAL).map(({ written }) => written)).toEqual([16, 16])
    expect(connections).toEqual([false])
    clock.advance(SECOND)
    const before = pulses()
    ask(NORMAL, INIT)
    expect(connections).toEqual([false, true])
    await until('an answer', () => pulses() > before)
    expect(used(NORMAL).map(({ written }) => written)).toEqual([40])
  })

  it('gives every request back, whatever is in it', async () => {
    const { driver, used, lose, ask } = await bench()
    await lose()
    ask(NORMAL, LOOKUP)
    used(NORMAL)
    const pieces = fc.array(fc.record({ address: fc.integer({ min: REQUEST, max: REQUEST + 4096 }), length: fc.integer({ min: 1, max: 100 }) }), { maxLength: 4 })
    fc.assert(fc.property(fc.constantFrom(HIGH, NORMAL), pieces, pieces, fc.boolean(), (queue, readable, writable, indirect) => {
      if (readable.length + writable.length === 0) return
      const id = driver.queue(queue).add({ readable, writable, indirect })
      driver.kick(queue)
      expect(used(queue).map((one) => one.id)).toEqual([id])
    }), { numRuns: 300 })
  })
})
