import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { canLoad, describeWhere } from '../../test/support/optional.ts'
import { GuestMemory } from '../../address-space/guest-memory.ts'
import { SharedMemory } from '../../host/shared-memory.ts'
import { startBackEnd, until } from './back-end.fixture.ts'
import type { BackEnd, BackEndTask, Mischief } from './back-end.fixture.ts'
import { guestRegions } from './guest-regions.ts'
import { VhostUserBackEnd } from './vhost-user.ts'
import type { Used } from './driver-ring.ts'

const GET_FEATURES = 1, SET_MEM_TABLE = 5, GET_VRING_BASE = 11, GET_PROTOCOL_FEATURES = 15, GET_QUEUE_NUM = 17, SET_VRING_ENABLE = 18
const VERSION_1 = 1n << 32n, PROTOCOL = 1n << 30n, SOME_FEATURE = 1n << 5n, OTHER_FEATURE = 1n << 6n
const MIB = 2 ** 20
const IN = 0x1000, OUT = 0x8_0000

let folder: string
const closers: (() => unknown)[] = []
beforeEach(() => { folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-vhost-')) })
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  fs.rmSync(folder, { recursive: true })
})

async function bench(task: Partial<BackEndTask> = {}, { queues = 2, features = SOME_FEATURE } = {}) {
  const socket = path.join(folder, 'socket')
  let peer: BackEnd = await startBackEnd({ path: socket, ...task })
  closers.push(() => peer.end())
  const memory = new SharedMemory('test', MIB)
  closers.push(() => memory.close())
  const used: { queue: number; tag: string; written: number }[] = []
  const lost: string[] = []
  const backEnd = new VhostUserBackEnd<string>({
    path: socket, queues, features, regions: [{ guestAddress: 0x10_0000, size: MIB, userAddress: 0x7000_0000, fd: memory.fd, fdOffset: 0 }],
    onUsed: (queue, list: Used<string>[]) => used.push(...list.map((one) => ({ queue, ...one }))), onLost: (why) => lost.push(why),
  })
  closers.push(() => backEnd.close())
  const send = (queue: number, text: string, room = 64) => {
    memory.bytes.set(Buffer.from(text), IN)
    backEnd.add(queue, [{ address: 0x10_0000 + IN, length: text.length }], [{ address: 0x10_0000 + OUT, length: room }], text)
  }
  return {
    backEnd, memory, used, lost, send, socket, received: (length: number) => Buffer.from(memory.bytes.slice(OUT, OUT + length)).toString(), requests: () => peer.requests(),
    restart: async (again: Partial<BackEndTask> = {}) => {
      await peer.end()
      await until('the end of the connection', () => !backEnd.connected)
      peer = await startBackEnd({ path: socket, ...again })
    },
  }
}

const HAS_NATIVE = process.platform === 'linux' && canLoad('koffi')

describeWhere(HAS_NATIVE, 'Linux with the package koffi (npm install koffi)', 'a vhost-user back end', () => {
  it('is negotiated with, gets memory and rings, and answers through them', async () => {
    const { backEnd, used, send, received, requests } = await bench({ features: VERSION_1 | PROTOCOL | SOME_FEATURE | OTHER_FEATURE })
    backEnd.connect()
    expect(backEnd.features).toBe(SOME_FEATURE)
    expect(backEnd.start([0, 1], SOME_FEATURE)).toBe(true)
    send(1, 'hello')
    await until('an answer', () => used.length > 0)
    expect(used).toEqual([{ queue: 1, tag: 'hello', written: 5 }])
    expect(received(5)).toBe('hello')
    expect([...backEnd.stop().entries()]).toEqual([[0, []], [1, []]])
    expect(backEnd.start([1], 0n)).toBe(true)
    send(1, 'again')
    await until('another answer', () => used.length > 1)
    expect(await requests()).toEqual([1, 3, 15, 16, 17, 2, 5, 8, 10, 9, 13, 12, 8, 10, 9, 13, 12, 18, 18, 18, 11, 18, 11, 2, 5, 8, 10, 9, 13, 12, 18])
  })

  it('without acknowledgements is asked something after what matters', async () => {
    const { backEnd, used, send } = await bench({ protocol: 1n })
    backEnd.connect()
    expect(backEnd.start([0], 0n)).toBe(true)
    send(0, 'x')
    await until('an answer', () => used.length > 0)
  })

  it('that keeps buffers gives them up when it is stopped', async () => {
    const { backEnd, used, send } = await bench({ mischief: { kind: 'keeps' } })
    backEnd.connect()
    backEnd.start([0, 1], 0n)
    send(0, 'a')
    send(0, 'b')
    send(1, 'c')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect([...backEnd.stop().entries()]).toEqual([[0, ['a', 'b']], [1, ['c']]])
    expect(used).toEqual([])
  })

  it('that goes away is told once, with what it had; one that comes back is taken', async () => {
    const { backEnd, used, lost, send, restart } = await bench({ mischief: { kind: 'keeps' } })
    backEnd.connect()
    backEnd.start([0], 0n)
    send(0, 'a')
    await restart()
    await until('the news', () => lost.length > 0)
    expect(lost).toEqual(['it closed the connection'])
    expect([...backEnd.stop().entries()]).toEqual([[0, ['a']]])
    expect(backEnd.start([0], 0n)).toBe(false)
    backEnd.connect()
    expect(backEnd.start([0], 0n)).toBe(true)
    send(0, 'b')
    await until('an answer', () => used.length > 0)
    expect(lost).toHaveLength(1)
  })

  it('that comes back with fewer features is refused', async () => {
    const { backEnd, restart } = await bench({ features: VERSION_1 | PROTOCOL | SOME_FEATURE })
    backEnd.connect()
    backEnd.start([0], SOME_FEATURE)
    await restart()
    expect(() => backEnd.connect()).toThrow(/it lacks features that the guest uses \(0x20\); look at what listens there$/)
  })
})

const zeros = (count: number) => Array.from({ length: count }, () => 0)
const reply = (request: number, flags: number, size: number) => [request, 0, 0, 0, flags, 0, 0, 0, size & 0xff, size >> 8 & 0xff, size >> 16 & 0xff, size >>> 24]

describeWhere(HAS_NATIVE, 'Linux with the package koffi (npm install koffi)', 'a back end that is none', () => {
  it.each<[string, Partial<BackEndTask>, RegExp]>([
    ['legacy', { features: PROTOCOL }, /: it knows only the legacy interface of virtio;/],
    ['without protocol features', { features: VERSION_1 }, /: it cannot be asked for its features;/],
    ['with too few queues', { queues: 1 }, /: it has 1 queues, and 2 are needed;/],
    ['that closes', { mischief: { kind: 'closes', request: GET_PROTOCOL_FEATURES } }, /: the connection was closed;/],
    ['of another version', { mischief: { kind: 'answers', request: GET_FEATURES, bytes: [...reply(1, 6, 8), ...zeros(8)] } }, /: it speaks version 2 of the protocol;/],
    ['that asks', { mischief: { kind: 'answers', request: GET_FEATURES, bytes: [...reply(1, 1, 8), ...zeros(8)] } }, /: it asks where it should answer;/],
    ['that answers something else', { mischief: { kind: 'answers', request: GET_FEATURES, bytes: [...reply(17, 5, 8), ...zeros(8)] } }, /: it answers request 17 instead of 1;/],
    ['with endless answers', { mischief: { kind: 'answers', request: GET_QUEUE_NUM, bytes: reply(17, 5, 0xffff_ffff) } }, /: its answer has 4294967295 bytes;/],
    ['with short answers', { mischief: { kind: 'answers', request: GET_FEATURES, bytes: [...reply(1, 5, 4), ...zeros(4)] } }, /: its answer to request 1 has 4 bytes;/],
  ])('is refused: %s', async (_, task, message) => {
    const { backEnd } = await bench(task)
    expect(() => backEnd.connect()).toThrow(message)
    expect(backEnd.connected).toBe(false)
  })

  it.each<[string, Mischief, RegExp]>([
    ['refuses memory', { kind: 'answers', request: SET_MEM_TABLE, bytes: [...reply(5, 5, 8), 1, ...zeros(7)] }, /^it refuses request 5 \(1\)$/],
    ['closes at the memory table', { kind: 'closes', request: SET_MEM_TABLE }, /^(the connection was closed|.*(ECONNRESET|EPIPE))$/],
    ['closes when a ring starts', { kind: 'closes', request: SET_VRING_ENABLE }, /^(the connection was closed|.*(ECONNRESET|EPIPE))$/],
  ])('is lost at the start: one that %s', async (_, mischief, why) => {
    const { backEnd, lost } = await bench({ mischief })
    backEnd.connect()
    expect(backEnd.start([0, 1], 0n)).toBe(false)
    await until('the news', () => lost.length > 0)
    expect(lost[0]).toMatch(why)
    expect(lost).toHaveLength(1)
  })

  it.each<[string, Mischief]>([['says it is done with another buffer', { kind: 'other-buffers' }], ['says it has done more than there was', { kind: 'runs-ahead' }]])('is lost, and its buffers are not: one that %s', async (_, mischief) => {
    const { backEnd, used, lost, send } = await bench({ mischief })
    backEnd.connect()
    backEnd.start([0], 0n)
    send(0, 'a')
    await until('the news', () => lost.length > 0)
    expect(lost).toEqual(['it gave back a buffer that it does not have'])
    expect(used).toEqual([])
    expect([...backEnd.stop().entries()]).toEqual([[0, ['a']]])
  })

  it('does not hold the machine: one that does not answer when it is to stop is lost after some seconds', async () => {
    const { backEnd, lost, send } = await bench({ mischief: { kind: 'silent', request: GET_VRING_BASE } })
    backEnd.connect()
    backEnd.start([0, 1], 0n)
    send(0, 'a')
    backEnd.stop()
    await until('the news', () => lost.length > 0)
    expect(lost).toEqual(['no answer in time'])
    expect(backEnd.connected).toBe(false)
  })
})

describe('guest memory for a back end', () => {
  const block = (guestAddress: number, size: number, shared?: { fd: number; offset: number }) => ({ guestAddress, size, bytes: new Uint8Array(size), hostOffset: guestAddress, shared })

  it('is in as few pieces as it is', () => {
    const memory = new GuestMemory([block(0, 0x2000, { fd: 7, offset: 0 }), block(0x2000, 0x1000, { fd: 7, offset: 0x2000 }), block(0x10_0000, 0x1000, { fd: 7, offset: 0x3000 })])
    expect(guestRegions(memory).map(({ guestAddress, size, fd, fdOffset }) => [guestAddress, size, fd, fdOffset])).toEqual([[0, 0x3000, 7, 0], [0x10_0000, 0x1000, 7, 0x3000]])
  })

  it('must be such that others can map it', () => {
    expect(() => guestRegions(new GuestMemory([block(0, 0x1000)]))).toThrow(expect.objectContaining({ code: 'VHOST_MEMORY' }))
  })
})
