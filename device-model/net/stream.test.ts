import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { NetBackend } from './backend.ts'
import { openStream } from './stream.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

function socketPath(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mv-net-'))
  closers.push(() => fs.rmSync(folder, { recursive: true }))
  return path.join(folder, 's')
}

/** Takes down what a card is told, and the frames. */
function card(backend: NetBackend) {
  const seen = { frames: [] as number[][], links: [] as boolean[], writable: 0, takes: true }
  backend.attach({
    readable: () => { for (let frame = seen.takes ? backend.take(0) : undefined; frame !== undefined; frame = backend.take(0)) seen.frames.push([...frame]) },
    writable: () => { seen.writable++ },
    linkChanged: () => { seen.links.push(backend.connected) },
  })
  closers.push(() => backend.close())
  return seen
}

async function until(what: string, look: () => boolean): Promise<void> {
  for (let turn = 0; !look(); turn++) {
    if (turn > 5000) throw new Error(`waited for ${what} in vain`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

async function listener(address: string): Promise<{ server: net.Server; sockets: net.Socket[]; received: () => Buffer }> {
  const sockets: net.Socket[] = []
  const chunks: Buffer[] = []
  const server = net.createServer((socket) => {
    sockets.push(socket)
    socket.on('data', (bytes) => void chunks.push(Buffer.from(bytes)))
    socket.on('error', () => undefined)
  })
  await new Promise<void>((done) => server.listen(address, done))
  closers.push(() => { sockets.forEach((socket) => socket.destroy()); server.close() })
  return { server, sockets, received: () => Buffer.concat(chunks) }
}

const framed = (...frames: number[][]) => Buffer.concat(frames.map((frame) => Buffer.from([0, 0, frame.length >> 8, frame.length & 0xff, ...frame])))

describe('a network on a stream', () => {
  it('puts the length before each frame', async () => {
    const unix = socketPath()
    const peer = await listener(unix)
    const backend = await openStream({ id: 'n0', address: { unix }, server: false })
    card(backend)
    for (const frame of [[1, 2, 3], [4]]) backend.send(Uint8Array.from(frame), 0)
    backend.commit(0)
    await until('bytes', () => peer.received().length === 12)
    expect(peer.received()).toEqual(framed([1, 2, 3], [4]))
  })

  it('finds frames however the bytes come', async () => {
    const unix = socketPath()
    const peer = await listener(unix)
    const seen = card(await openStream({ id: 'n0', address: { unix }, server: false }))
    await until('a connection', () => peer.sockets.length === 1)
    const bytes = framed([1, 2, 3], [], [4, 5])
    for (const byte of bytes) {
      peer.sockets[0]?.write(Uint8Array.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
    peer.sockets[0]?.write(framed([6], [7, 8]))
    await until('frames', () => seen.frames.length === 4)
    expect(seen.frames).toEqual([[1, 2, 3], [4, 5], [6], [7, 8]])
  })

  it('closes a connection that sends what is no frame', async () => {
    const unix = socketPath()
    const peer = await listener(unix)
    const logged: string[] = []
    const backend = await openStream({ id: 'n0', address: { unix }, server: false, log: (message) => logged.push(message) })
    const seen = card(backend)
    await until('a connection', () => peer.sockets.length === 1)
    peer.sockets[0]?.write(Uint8Array.of(0xff, 0, 0, 0))
    await until('the end', () => seen.links.length === 1)
    expect(seen.links).toEqual([false])
    expect(logged[0]).toBe('netdev n0: the other side sent a frame of 4278190080 bytes, which is none; the connection is closed')
  })

  it('has the other side wait while the card takes nothing, and loses nothing', async () => {
    const unix = socketPath()
    const peer = await listener(unix)
    const backend = await openStream({ id: 'n0', address: { unix }, server: false })
    const seen = card(backend)
    seen.takes = false
    await until('a connection', () => peer.sockets.length === 1)
    const frame = new Array<number>(1000).fill(7)
    const socket = peer.sockets[0]
    let sent = 0
    while (socket !== undefined && socket.writableLength < 2 ** 20) {
      socket.write(framed(frame))
      sent++
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(socket?.writableLength).toBeGreaterThan(0)
    seen.takes = true
    for (let taken = backend.take(0); taken !== undefined; taken = backend.take(0)) seen.frames.push([taken.length])
    await until('all frames', () => seen.frames.length === sent)
  })

  it('has the guest wait while the other side reads nothing', async () => {
    const unix = socketPath()
    const peer = await listener(unix)
    const backend = await openStream({ id: 'n0', address: { unix }, server: false })
    const seen = card(backend)
    await until('a connection', () => peer.sockets.length === 1)
    peer.sockets[0]?.pause()
    const frame = new Uint8Array(60_000)
    for (let count = 0; backend.ready(0); count++) {
      if (count > 200) throw new Error('it is never full')
      backend.send(frame, 0)
      backend.commit(0)
      await new Promise((resolve) => setImmediate(resolve))
    }
    peer.sockets[0]?.resume()
    await until('room', () => backend.ready(0))
    await until('a word of it', () => seen.writable > 0)
  })

  it('is a server that the other side may come back to', async () => {
    const unix = socketPath()
    const backend = await openStream({ id: 'n0', address: { unix }, server: true })
    const seen = card(backend)
    for (const byte of [1, 2]) {
      const client = net.connect(unix)
      client.write(framed([byte]))
      await until('a frame', () => seen.frames.length === byte)
      client.destroy()
      await until('the end', () => !backend.connected)
    }
    expect(seen.links).toEqual([true, false, true, false])
  })

  it('is a client that tries again where it was told so, and otherwise says what to do', async () => {
    const unix = socketPath()
    await expect(openStream({ id: 'n0', address: { unix }, server: false })).rejects.toMatchObject({ code: 'NETDEV_CONNECT', message: expect.stringContaining('reconnect-ms=') as string })
    const logged: string[] = []
    const backend = await openStream({ id: 'n0', address: { unix }, server: false, reconnectMs: 5, log: (message) => logged.push(message) })
    card(backend)
    expect(backend.connected).toBe(false)
    const peer = await listener(unix)
    await until('a connection', () => backend.connected && peer.sockets.length === 1)
    peer.sockets[0]?.destroy()
    await until('another connection', () => peer.sockets.length === 2 && backend.connected)
    expect(logged.length).toBe(1)
  })
})
