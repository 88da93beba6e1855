import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { canLoad, describeWhere } from '../../test/support/optional.ts'
import { startBackEnd, until } from '../vhost/back-end.fixture.ts'
import type { BackEnd, BackEndTask } from '../vhost/back-end.fixture.ts'
import type { NetBackend } from './backend.ts'
import { openVhostUserNet } from './vhost-user.ts'

const SLOTS = 256, LONGEST = 12_276

let folder: string
const closers: (() => unknown)[] = []
beforeEach(() => { folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-vhost-net-')) })
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  fs.rmSync(folder, { recursive: true })
})

async function bench(task: Partial<BackEndTask> = {}, { queues = 1, reconnectMs }: { queues?: number; reconnectMs?: number } = {}) {
  const socket = path.join(folder, 'socket')
  const start = async (again: Partial<BackEndTask>): Promise<BackEnd> => {
    const peer = await startBackEnd({ path: socket, service: 'cable', ...again })
    closers.push(() => peer.end())
    return peer
  }
  const peer = await start(task)
  const logged: string[] = []
  const backend = openVhostUserNet({ id: 'n0', path: socket, queues, reconnectMs, log: (message) => logged.push(message) })
  closers.push(() => backend.close())
  return { backend, peer, logged, restart: () => start({}), seen: card(backend, queues) }
}

/** Takes down what a card is told, and the frames. */
function card(backend: NetBackend, queues: number) {
  const seen = { frames: Array.from({ length: queues }, () => [] as Buffer[]), links: [] as boolean[], writable: 0, takes: true }
  backend.attach({
    readable: (queue) => { for (let frame = seen.takes ? backend.take(queue) : undefined; frame !== undefined; frame = backend.take(queue)) seen.frames[queue]?.push(Buffer.from(frame)) },
    writable: () => { seen.writable++ },
    linkChanged: () => { seen.links.push(backend.connected) },
  })
  return seen
}

const frame = (number: number, length = 60) => Buffer.alloc(length, number & 0xff)

describeWhere(process.platform === 'linux' && canLoad('koffi'), 'Linux with the package koffi (npm install koffi)', 'a network behind vhost-user', () => {
  it('carries frames both ways, of every length and for longer than there are places for them', async () => {
    const { backend, seen } = await bench()
    const lengths = Array.from({ length: 1000 }, (_, index) => index % 50 === 0 ? LONGEST - index : 60 + index)
    for (const [index, length] of lengths.entries()) {
      backend.send(frame(index, length), 0)
      if (index % 20 === 19) await until('frames', () => seen.frames[0]?.length === index + 1)
    }
    expect(seen.frames[0]?.map((one) => one.length)).toEqual(lengths)
    expect(seen.frames[0]?.every((one, index) => one.every((byte) => byte === (index & 0xff)))).toBe(true)
  })

  it('has as many queue pairs as were asked for', async () => {
    const { backend, seen } = await bench({ queues: 4 }, { queues: 2 })
    expect(backend.queues).toBe(2)
    backend.send(frame(1), 0)
    backend.send(frame(2), 1)
    await until('frames', () => seen.frames.every((frames) => frames.length === 1))
    expect(seen.frames.map(([one]) => one?.[0])).toEqual([1, 2])
  })

  it('makes the guest wait where the other side takes nothing, drops what finds no place, and tells when there is room', async () => {
    const { backend, seen, peer } = await bench({ mischief: { kind: 'keeps' } })
    for (let count = 0; count < SLOTS + 10; count++) backend.send(frame(count), 0)
    expect(backend.ready(0)).toBe(false)
    await peer.end()
    await until('the end', () => seen.links.length > 0)
    expect([backend.connected, backend.ready(0), seen.writable]).toEqual([false, true, 1])
  })

  it('holds no more frames than there are places, and goes on where the card did not take them', async () => {
    const { backend, seen } = await bench()
    seen.takes = false
    for (let count = 0; count < 100; count++) backend.send(frame(count), 0)
    let taken = 0
    await until('all frames', () => {
      while (backend.take(0) !== undefined) taken++
      return taken === 100
    })
    expect(seen.frames[0]).toEqual([])
  })

  it('that goes away is a cable pulled out, and one that was told to try again comes back', async () => {
    const { backend, seen, peer, restart, logged } = await bench({}, { reconnectMs: 20 })
    await peer.end()
    await until('the end', () => seen.links.length > 0)
    expect(seen.links).toEqual([false])
    backend.send(frame(1), 0)
    await restart()
    await until('a connection', () => seen.links.length > 1)
    expect(seen.links).toEqual([false, true])
    backend.send(frame(2), 0)
    await until('a frame', () => seen.frames[0]?.length === 1)
    expect(seen.frames[0]?.[0]?.[0]).toBe(2)
    expect(logged).toEqual([expect.stringMatching(/^netdev n0: vhost-user:.*\/socket is gone \(it closed the connection\); tried again every 20 ms$/), expect.stringMatching(/ is there$/)])
  })

  it('that is not there is an error, unless it may come', async () => {
    const absent = { id: 'n0', path: path.join(folder, 'absent'), queues: 1 }
    expect(() => openVhostUserNet(absent)).toThrow(/absent: there is no such socket; start what listens there first$/)
    const backend = openVhostUserNet({ ...absent, reconnectMs: 10_000 })
    expect(backend.connected).toBe(false)
    await backend.close()
  })

  it('that breaks the rules is lost, once, and frames to it are dropped', async () => {
    const { backend, seen, logged } = await bench({ mischief: { kind: 'other-buffers' } })
    backend.send(frame(1), 0)
    await until('the end', () => seen.links.length > 0)
    expect([backend.connected, seen.links, logged.length]).toEqual([false, [false], 1])
    backend.send(frame(2), 0)
    expect(backend.ready(0)).toBe(true)
  })
})
