import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync, readFileSync } from 'node:fs'
import { spawn } from 'node:child_process'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { formatAddress, listen, serveOneAtATime, type Listener } from './socket-listener.ts'

let folder: string
const open: Listener[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'listener-'))
})
afterEach(async () => {
  for (const listener of open.splice(0)) await listener.close()
  rmSync(folder, { recursive: true })
})

async function listenHere(...parameters: Parameters<typeof listen>): Promise<Listener> {
  const listener = await listen(...parameters)
  open.push(listener)
  return listener
}

/** A socket file whose owner died without removing it. */
async function leaveStaleSocket(path: string): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
  await once(spawn(process.execPath, ['-e', script]), 'close')
  expect(existsSync(path)).toBe(true)
}

test('a unix socket is for its owner only and disappears at close', async () => {
  const path = join(folder, 'vm.sock')

  const listener = await listenHere({ unix: path })
  const mode = statSync(path).mode & 0o777
  await listener.close()

  expect(mode).toBe(0o600)
  expect(existsSync(path)).toBe(false)
})

test('a left-over socket file is replaced', async () => {
  const path = join(folder, 'vm.sock')
  await leaveStaleSocket(path)

  const listener = await listenHere({ unix: path })
  const accepted = new Promise<net.Socket>((done) => listener.onConnection(done))
  const client = net.connect(path)

  await once(client, 'connect')
  ;(await accepted).destroy()
  client.destroy()
})

test('a path with a live listener is refused and the listener keeps it', async () => {
  const path = join(folder, 'vm.sock')
  await listenHere({ unix: path })

  await expect(listen({ unix: path })).rejects.toMatchObject({ code: 'SOCKET_IN_USE', message: expect.stringContaining(path) })
  expect(existsSync(path)).toBe(true)
})

test('a path that is no socket is refused and left alone', async () => {
  const path = join(folder, 'precious')
  writeFileSync(path, 'data')

  await expect(listen({ unix: path })).rejects.toMatchObject({ code: 'NOT_A_SOCKET' })
  expect(readFileSync(path, 'utf8')).toBe('data')
})

test('a path that is too long or whose directory is missing is refused with the reason', async () => {
  await expect(listen({ unix: join(folder, 'x'.repeat(200)) })).rejects.toMatchObject({ code: 'SOCKET_PATH', message: expect.stringContaining('shorter') })
  await expect(listen({ unix: join(folder, 'no', 'vm.sock') })).rejects.toMatchObject({ code: 'SOCKET_PATH' })
})

test('tcp: port 0 is answered with the chosen port, a taken port is refused', async () => {
  const listener = await listenHere({ host: '127.0.0.1', port: 0 })
  const address = listener.address

  expect('port' in address && address.port).toBeGreaterThan(0)
  await expect(listen(address)).rejects.toMatchObject({ code: 'SOCKET_IN_USE' })
})

test('a connection that comes before the handler is delivered with its data', async () => {
  const path = join(folder, 'vm.sock')
  const listener = await listenHere({ unix: path })
  const client = net.connect(path)
  client.write('early')
  await once(client, 'connect')

  const socket = await new Promise<net.Socket>((done) => listener.onConnection(done))
  const [data] = (await once(socket, 'data')) as [Buffer]

  expect(data.toString()).toBe('early')
  socket.destroy()
  client.destroy()
})

test('one at a time: the second client is served after the first leaves, with what it wrote meanwhile', async () => {
  const path = join(folder, 'vm.sock')
  const listener = await listenHere({ unix: path })
  const served: string[] = []
  serveOneAtATime(listener, (socket) => socket.on('data', (data) => served.push(data.toString())))
  const first = net.connect(path)
  await once(first, 'connect')
  first.write('one')
  const second = net.connect(path)
  await once(second, 'connect')
  second.write('two')
  while (served.length < 1) await new Promise((next) => setImmediate(next))
  const before = [...served]

  first.end()
  while (served.length < 2) await new Promise((next) => setImmediate(next))

  expect(before).toEqual(['one'])
  expect(served).toEqual(['one', 'two'])
  second.destroy()
})

test('addresses are written as people type them', () => {
  expect(formatAddress({ unix: '/run/vm.sock' })).toBe('unix:/run/vm.sock')
  expect(formatAddress({ host: '::1', port: 4444 })).toBe('tcp:[::1]:4444')
  expect(formatAddress({ host: 'localhost', port: 4444 })).toBe('tcp:localhost:4444')
})
