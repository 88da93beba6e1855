import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { VsockCall } from '../virtio/vsock.ts'
import { HostSockets } from './host-sockets.ts'

let folder = '', socket = ''
let sockets: HostSockets
const calls: VsockCall[] = []
const ends: (() => void)[] = []

beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mv-'))
  socket = path.join(folder, 'vm.vsock')
  calls.length = 0
  sockets = await HostSockets.open(socket)
  sockets.onCall((call) => calls.push(call))
})
afterEach(async () => {
  ends.splice(0).forEach((end) => end())
  await sockets.close()
  fs.rmSync(folder, { recursive: true })
})

function dial(words: string): net.Socket {
  const client = net.connect({ path: socket, allowHalfOpen: true })
  ends.push(() => client.destroy())
  client.on('error', () => undefined)
  client.write(words)
  return client
}

const textOf = (stream: Duplex, length: number) => new Promise<string>((resolve) => {
  let text = ''
  stream.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1')
    if (text.length >= length) resolve(text)
  })
})
/** The other side is gone. */
const closed = (stream: Duplex) => new Promise<void>((resolve) => { stream.once('end', resolve).once('close', resolve).resume() })
const called = async () => {
  while (calls.length === 0) await new Promise((resolve) => { setTimeout(resolve, 5) })
  return calls[0] as VsockCall
}

describe('sockets of the host', () => {
  it.each(['CONNECT 52\n', 'connect  52 \r\n'])('take %j as a call to a port of the guest, and answer when it is accepted', async (line) => {
    const client = dial(`${line}first bytes`)
    const call = await called()
    expect(call.port).toBe(52)
    call.accepted(1073741824)
    expect(await textOf(client, 14)).toBe('OK 1073741824\n')
    expect(await textOf(call.stream, 11)).toBe('first bytes')
  })

  it('take a line that comes in pieces', async () => {
    const client = dial('CONN')
    await new Promise((resolve) => { setTimeout(resolve, 20) })
    client.write('ECT 4294967294\n')
    expect((await called()).port).toBe(4294967294)
  })

  it('keep what a client says before it ends its half', async () => {
    const client = dial('CONNECT 1\nall of it')
    client.end()
    const { stream } = await called()
    expect(await textOf(stream, 9)).toBe('all of it')
    stream.end('answer')
    expect(await textOf(client, 6)).toBe('answer')
  })

  it.each(['HELLO 1\n', 'CONNECT\n', 'CONNECT 4294967295\n', 'CONNECT -1\n', `CONNECT ${'1'.repeat(40)}`, 'CONNECT 1 2\n'])('close a client that says %j', async (line) => {
    await closed(dial(line))
    expect(calls).toEqual([])
  })

  it('close a client that ends without a line, and all of them when nobody takes calls', async () => {
    const silent = dial('CONN')
    silent.end()
    await closed(silent)
    sockets.onCall(null)
    await closed(dial('CONNECT 1\n'))
  })

  it('connect the guest to the socket of a port, or to nothing', async () => {
    const server = net.createServer((stream) => { stream.end('served') }).listen(`${socket}_80`)
    ends.push(() => server.close())
    await new Promise((resolve) => { server.once('listening', resolve) })
    const stream = await new Promise<Duplex | undefined>((resolve) => { sockets.connect(80, resolve) })
    if (stream === undefined) throw new Error('nobody')
    expect(await textOf(stream, 6)).toBe('served')
    expect(await new Promise((resolve) => { sockets.connect(81, resolve) })).toBeUndefined()
  })

  it('are at most 1024, those included that are being connected', async () => {
    const failures: string[] = []
    const others = await HostSockets.open(path.join(folder, 'other'), (message) => failures.push(message))
    const results = await Promise.all(Array.from({ length: 1030 }, () => new Promise((resolve) => { others.connect(1, resolve) })))
    expect(results.every((result) => result === undefined)).toBe(true)
    expect(failures).toHaveLength(1024)
    await others.close()
  })

  it('are gone when they are closed, with what was written before', async () => {
    const client = dial('CONNECT 52\n')
    const { stream } = await called()
    const idle = closed(dial('CONN'))
    stream.write('the last words')
    stream.end()
    stream.once('finish', () => stream.destroy())
    await sockets.close()
    expect(await textOf(client, 14)).toBe('the last words')
    await idle
    expect(fs.readdirSync(folder)).toEqual([])
  })
})
