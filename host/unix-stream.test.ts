import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { canLoad, describeWhere } from '../test/support/optional.ts'
import { UnixStream } from './unix-stream.ts'

let folder: string
const closers: (() => void)[] = []
beforeEach(() => { folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-stream-')) })
afterEach(() => {
  for (const close of closers.splice(0)) close()
  fs.rmSync(folder, { recursive: true })
})

/** A server that sends `bytes` to whoever comes, and ends the connection where it is told to. */
async function listen(bytes: Uint8Array, ends = false): Promise<{ socket: string; received: () => Buffer }> {
  const socket = path.join(folder, 'socket')
  const chunks: Buffer[] = []
  const server = net.createServer((client) => {
    client.on('data', (chunk) => void chunks.push(Buffer.from(chunk))).on('error', () => undefined)
    closers.push(() => client.destroy())
    client.write(bytes)
    if (ends) client.end()
  })
  await new Promise<void>((done) => server.listen(socket, done))
  closers.push(() => server.close())
  return { socket, received: () => Buffer.concat(chunks) }
}

function connect(socket: string): UnixStream {
  const stream = UnixStream.connect(socket)
  closers.push(() => stream.close())
  return stream
}

const soon = () => performance.now() + 100
/** Lets the server, which is in this thread, do its part. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 20))

describeWhere(process.platform === 'linux' && canLoad('koffi'), 'Linux with the package koffi (npm install koffi)', 'a stream to a unix socket', () => {
  it('carries bytes both ways, as many as were asked for', async () => {
    const { socket, received } = await listen(Uint8Array.of(1, 2, 3, 4, 5))
    const stream = connect(socket)
    stream.send(Uint8Array.of(9, 8), [], soon())
    while (received().length < 2) await turn()
    expect([...stream.receive(2, soon()), ...stream.receive(3, soon())]).toEqual([1, 2, 3, 4, 5])
  })

  it('does not wait for ever, neither to be answered nor to be heard', async () => {
    const { socket } = await listen(Uint8Array.of(1))
    const stream = connect(socket)
    await turn()
    expect(() => stream.receive(2, soon())).toThrow(expect.objectContaining({ code: 'SOCKET_TIME' }))
    expect(() => stream.send(new Uint8Array(16 * 2 ** 20), [], soon())).toThrow(expect.objectContaining({ code: 'SOCKET_TIME' }))
  })

  it('that ends is told from one that is silent', async () => {
    const { socket, received } = await listen(Uint8Array.of(), true)
    const stream = connect(socket)
    stream.send(Uint8Array.of(1), [], soon())
    while (received().length < 1) await turn()
    expect(() => stream.receive(1, soon())).toThrow(expect.objectContaining({ code: 'SOCKET_CLOSED' }))
  })

  it.each([
    ['nothing is', 'absent', /absent: there is no such socket; start what listens there first$/],
    ['a file is', 'file', /file: nobody listens there; start it again$/],
    ['the path is too long', 'x'.repeat(120), /the path of a socket has 1 to 107 bytes$/],
  ])('says why it cannot be: %s', (_, name, message) => {
    fs.writeFileSync(path.join(folder, 'file'), '')
    expect(() => UnixStream.connect(path.join(folder, name))).toThrow(message)
  })
})
