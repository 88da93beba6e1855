import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { CharBackend } from '../contracts.ts'
import { openChardev, type ChardevConfig } from './open.ts'

const MIB = 1024 * 1024
let folder: string
let path: string
const backends: CharBackend[] = []
const sockets: net.Socket[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chardev-socket-'))
  path = join(folder, 'console.sock')
})
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const backend of backends.splice(0)) await backend.close()
  rmSync(folder, { recursive: true })
})

async function open(config: Partial<Extract<ChardevConfig, { kind: 'socket' }>> = {}, log?: (line: string) => void): Promise<CharBackend> {
  const full = { kind: 'socket', label: 'serial0', address: { unix: path }, server: true, wait: false, ...config } as const
  const backend = await openChardev(full, log === undefined ? {} : { log })
  backends.push(backend)
  return backend
}

async function client(): Promise<net.Socket> {
  const socket = net.connect(path)
  sockets.push(socket)
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

/** Waits for a state of the world that an event of the operating system brings. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((next) => setTimeout(next, 1))
}

function collect(backend: CharBackend): { text: string } {
  const seen = { text: '' }
  backend.onInput((bytes) => {
    seen.text += Buffer.from(bytes).toString()
  })
  return seen
}

test('a client gets output and its input reaches the device', async () => {
  const backend = await open()
  const seen = collect(backend)
  backend.setFlow(true)
  const peer = await client()
  await until(() => backend.connected)

  peer.write('ls\n')
  backend.write(Buffer.from('file'))
  const [output] = (await once(peer, 'data')) as [Buffer]
  await until(() => seen.text !== '')

  expect(output.toString()).toBe('file')
  expect(seen.text).toBe('ls\n')
})

test('input is held until the device is ready, also what a client said that has left since', async () => {
  const backend = await open()
  const seen = collect(backend)
  const peer = await client()
  peer.end('early')
  await until(() => backend.connected)
  await until(() => !backend.connected)
  const before = seen.text

  backend.setFlow(true)

  expect(before).toBe('')
  expect(seen.text).toBe('early')
})

test('a client that floods a device which is not ready is slowed down, and every byte arrives in the end', async () => {
  const backend = await open()
  const peer = await client()
  let received = 0
  backend.onInput((bytes) => {
    received += bytes.length
  })
  let flushed = false
  peer.write(Buffer.alloc(4 * MIB), () => {
    flushed = true
  })
  for (let i = 0; i < 50; i++) await new Promise((next) => setTimeout(next, 1))
  const early = [received, flushed]

  backend.setFlow(true)
  await until(() => received === 4 * MIB)

  expect(early).toEqual([0, false])
})

test('clients are served one after the other', async () => {
  const backend = await open()
  const first = await client()
  await until(() => backend.connected)
  const second = await client()
  let secondSaw = ''
  second.on('data', (data) => {
    secondSaw += data.toString()
  })

  backend.write(Buffer.from('for the first'))
  const [firstSaw] = (await once(first, 'data')) as [Buffer]
  first.destroy()
  await until(() => {
    backend.write(Buffer.from('*'))
    return secondSaw !== ''
  })

  expect(firstSaw.toString()).toBe('for the first')
  expect(secondSaw).toMatch(/^\*+$/)
})

test('a client that does not read loses the oldest output, counted, and the newest arrives', async () => {
  const backend = await open() as CharBackend & { dropped: number }
  const peer = await client()
  peer.pause()
  await until(() => backend.connected)

  for (let i = 0; i < 8; i++) backend.write(Buffer.alloc(MIB, i))
  const dropped = backend.dropped
  let total = 0
  let last = -1
  peer.on('data', (data: Buffer) => {
    total += data.length
    last = data.at(-1) ?? -1
  })
  peer.resume()
  await until(() => total + dropped === 8 * MIB)

  expect(dropped).toBeGreaterThan(5 * MIB)
  expect(last).toBe(7)
})

test('query-chardev names: server, disconnected, tcp with its peer', async () => {
  const unix = await open()
  const tcp = await open({ address: { host: '127.0.0.1', port: 0 } })
  const port = Number(/:(\d+),/.exec(tcp.filename)?.[1])
  const before = [unix.filename, tcp.filename]
  await client()
  const peer = net.connect(port, '127.0.0.1')
  sockets.push(peer)
  await until(() => unix.connected && tcp.connected)

  expect(before).toEqual([`disconnected:unix:${path},server=on`, `disconnected:tcp:127.0.0.1:${port},server=on`])
  expect(unix.filename).toBe(`unix:${path},server=on`)
  expect(tcp.filename).toBe(`tcp:127.0.0.1:${port},server=on <-> 127.0.0.1:${peer.localPort}`)
})

test('with wait=on opening ends when the first client comes, and says what it waits for', async () => {
  const lines: string[] = []
  const opening = open({ wait: true }, (line) => lines.push(line))
  await until(() => existsSync(path))
  await client()

  expect((await opening).connected).toBe(true)
  expect(lines[0]).toContain(path)
})

test('as a client it connects once, and a refused connection is an error that says what to do', async () => {
  await expect(open({ server: false })).rejects.toMatchObject({ code: 'CHARDEV_CONNECT', message: expect.stringContaining('ENOENT') })
  const server = net.createServer().listen(path)
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[net.Socket]>

  const backend = await open({ server: false })
  const [peer] = await accepted
  backend.write(Buffer.from('hello'))
  const [data] = (await once(peer, 'data')) as [Buffer]
  const name = backend.filename
  peer.destroy()
  await until(() => !backend.connected)
  server.close()

  expect(data.toString()).toBe('hello')
  expect(name).toBe(`unix:${path}`)
})

test('closing sends what is queued, then removes the socket', async () => {
  const backend = await open()
  const peer = await client()
  await until(() => backend.connected)
  let seen = ''
  peer.on('data', (data) => {
    seen += data.toString()
  })
  const ended = once(peer, 'close')

  backend.write(Buffer.from('goodbye'))
  await backend.close()
  await ended

  expect(seen).toBe('goodbye')
  expect(existsSync(path)).toBe(false)
})

test('a client with reconnect comes whenever the server is there, and the start does not need it', async () => {
  const lines: string[] = []
  const backend = await open({ server: false, reconnectMs: 5 }, (line) => lines.push(line))
  const seen = collect(backend)
  const events: string[] = []
  backend.onEvent?.((event) => events.push(event))
  backend.setFlow(true)
  await until(() => lines.length > 0)
  for (const text of ['first', 'second']) {
    const server = net.createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => undefined)
      socket.write(text)
    }).listen(path)
    await until(() => seen.text.endsWith(text))
    server.close()
    sockets.pop()?.destroy()
    await until(() => !backend.connected)
  }

  expect(seen.text).toBe('firstsecond')
  expect(events).toEqual(['opened', 'closed', 'opened', 'closed'])
  expect(lines[0]).toMatch(/chardev serial0: Cannot connect to unix:.* it is tried again/)
})

test('a client that comes late sees the last of the output where replay asks for it, and each later one too', async () => {
  const backend = await open({ replay: 8 })
  backend.write(Buffer.from('0123456789'))
  const outputs: string[] = []
  for (const more of ['ab', 'cd']) {
    const peer = await client()
    let text = ''
    peer.on('data', (data) => { text += data.toString() })
    await until(() => text.length >= 8)
    backend.write(Buffer.from(more))
    await until(() => text.endsWith(more))
    outputs.push(text)
    peer.destroy()
    await until(() => !backend.connected)
  }

  expect(outputs).toEqual(['23456789ab', '456789abcd'])
})

test('output that nobody reads is told of, and that there is room again', async () => {
  const backend = await open()
  const peer = await client()
  peer.pause()
  await until(() => backend.connected)
  const events: string[] = []
  backend.onEvent?.((event) => events.push(event))

  let written = 0
  while (backend.canWrite !== false) {
    backend.write(Buffer.alloc(64 * 1024))
    written += 64 * 1024
    await new Promise((next) => setImmediate(next))
  }
  let received = 0
  peer.on('data', (data: Buffer) => { received += data.length })
  peer.resume()
  await until(() => received === written && backend.canWrite !== false)

  expect(events).toEqual(['writable'])
})
