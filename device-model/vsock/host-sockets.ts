/**
 * Guest ports as unix sockets of the host, by Firecracker's protocol (its docs/vsock.md): at `path` a client says "CONNECT <port>\n", reads "OK <host port>\n" and has a
 * stream to the guest; what the guest connects to at port P is the socket `<path>_P`.
 */
import type { Socket } from 'node:net'
import { connectTo } from '../../host/socket-connect.ts'
import { listen } from '../../host/socket-listener.ts'
import type { Listener } from '../../host/socket-listener.ts'
import { MOST_CONNECTIONS } from '../virtio/vsock.ts'
import type { VsockCall, VsockHostSide } from '../virtio/vsock.ts'

const LINE_BYTES = 32
const LINE_MS = 10_000
/** What the guest has said last may still be on its way to a process that reads. */
const END_MS = 1000
const LINE = /^connect +(\d{1,10})\s*$/i
const NEWLINE = 10

export class HostSockets implements VsockHostSide {
  readonly #path: string
  readonly #listener: Listener
  readonly #log: (message: string) => void
  /** All there are, those included that the guest has given up and a process has not read to the end. */
  readonly #streams = new Set<Socket>()
  #connecting = 0
  #handler: ((call: VsockCall) => void) | null = null
  #closed = false

  /** Listens at `path`. @throws MesovirtError as `listen` */
  static async open(path: string, log: (message: string) => void = () => undefined): Promise<HostSockets> {
    return new HostSockets(path, await listen({ unix: path }), log)
  }

  private constructor(path: string, listener: Listener, log: (message: string) => void) {
    this.#path = path
    this.#listener = listener
    this.#log = log
    listener.onConnection((socket) => this.#greet(socket))
  }

  connect(port: number, done: (stream: Socket | undefined) => void): void {
    if (this.#isFull()) return void setImmediate(done, undefined)
    this.#connecting++
    connectTo({ unix: `${this.#path}_${port}` }, { code: 'SOCKET_CONNECT', hint: 'start what serves this port of the host' }).then((socket) => {
      this.#connecting--
      if (this.#closed) return void socket.destroy()
      this.#keep(socket)
      done(socket)
    }, (error: Error) => {
      this.#connecting--
      this.#log(error.message)
      done(undefined)
    })
  }

  onCall(handler: ((call: VsockCall) => void) | null): void {
    this.#handler = handler
  }

  /** Removes the socket file. Resolves when what was written has gone out, or after a second. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#listener.close()
    const deadline = setTimeout(() => this.#streams.forEach((stream) => stream.destroy()), END_MS)
    for (const stream of this.#streams) if (!stream.writableEnded) stream.destroy()
    await Promise.all([...this.#streams].map((stream) => stream.closed ? undefined : new Promise((resolve) => { stream.once('close', resolve) })))
    clearTimeout(deadline)
  }

  #isFull(): boolean {
    return this.#closed || this.#streams.size + this.#connecting >= MOST_CONNECTIONS
  }

  #keep(socket: Socket): void {
    this.#streams.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => this.#streams.delete(socket))
  }

  /** Reads the first line and no more. */
  #greet(socket: Socket): void {
    if (this.#isFull()) return void socket.destroy()
    this.#keep(socket)
    socket.allowHalfOpen = true
    const giveUp = () => { socket.destroy() }
    socket.setTimeout(LINE_MS, giveUp)
    socket.once('end', giveUp)
    let line = Buffer.alloc(0)
    const onReadable = () => {
      const bytes = socket.read() as Buffer | null
      if (bytes === null) return
      const at = bytes.indexOf(NEWLINE)
      line = Buffer.concat([line, at < 0 ? bytes : bytes.subarray(0, at)])
      if (at < 0 && line.length <= LINE_BYTES) return
      const port = at < 0 || line.length > LINE_BYTES ? NaN : Number(LINE.exec(line.toString('latin1'))?.[1] ?? NaN)
      if (!(port < 2 ** 32 - 1) || this.#handler === null) return void socket.destroy()
      socket.setTimeout(0, giveUp)
      socket.off('end', giveUp)
      socket.off('readable', onReadable)
      if (at + 1 < bytes.length) socket.unshift(bytes.subarray(at + 1))
      this.#handler({ port, stream: socket, accepted: (hostPort) => { socket.write(`OK ${hostPort}\n`) } })
    }
    socket.on('readable', onReadable)
  }
}
