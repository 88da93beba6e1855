/**
 * Network backend on a byte stream, as QEMU's -netdev stream frames it (and passt and gvproxy understand): each Ethernet frame behind its length, four bytes big-endian. As server
 * (one peer at a time, which may come back) or as client, which may try again.
 */
import { Socket } from 'node:net'
import { MesovirtError } from '../../host/errors.ts'
import { connectTo, Reconnector } from '../../host/socket-connect.ts'
import { formatAddress, listen, serveOneAtATime } from '../../host/socket-listener.ts'
import type { Listener, SocketAddress } from '../../host/socket-listener.ts'
import type { NetBackend, NetPeer } from './backend.ts'

const LENGTH = 4
/** What the other side may send at most; longer than any frame, and anything longer is no frame. */
const LONGEST = 2 ** 16 + 4096
/** Bytes on their way out at which the guest has to wait. */
const OUTPUT_BOUND = 2 ** 18
/** Bytes that the guest has not taken at which the other side has to wait. */
const INPUT_BOUND = 2 ** 18

export type StreamAddress = SocketAddress | { readonly fd: number }

export interface StreamOptions {
  readonly id: string
  readonly address: StreamAddress
  readonly server: boolean
  /** A client tries again after so many milliseconds; without it, it connects once. */
  readonly reconnectMs?: number | undefined
  readonly log?: ((message: string) => void) | undefined
}

/** @throws MesovirtError of `listen`, NETDEV_CONNECT */
export async function openStream(options: StreamOptions): Promise<NetBackend> {
  const { address, server, reconnectMs } = options
  const backend = new StreamBackend(options)
  if ('fd' in address) backend.use(adopt(address.fd))
  else if (server) backend.listenOn(await listen(address))
  else if (reconnectMs !== undefined) backend.connectAgain(address, reconnectMs)
  else backend.use(await connectTo(address, { code: 'NETDEV_CONNECT', hint: 'start the program that listens there first, or use reconnect-ms=' }))
  return backend
}

class StreamBackend implements NetBackend {
  readonly kind = 'stream'
  readonly id: string
  readonly queues = 1
  readonly hasHeader = false
  readonly trusted = false
  readonly #options: StreamOptions
  #listener: Listener | undefined
  #socket: Socket | undefined
  #peer: NetPeer | null = null
  #reconnector: Reconnector | undefined
  #closed = false
  /** What came and was not taken yet, from `#at` on. */
  #input: Buffer = Buffer.alloc(0)
  #at = 0
  /** Chunks behind it. */
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #corked = false

  constructor(options: StreamOptions) {
    this.id = options.id
    this.#options = options
  }

  get description(): string {
    const { address, server } = this.#options
    return 'fd' in address ? `fd:${address.fd}` : `${formatAddress(this.#listener?.address ?? address)}${server ? ',server=on' : ''}`
  }

  get connected(): boolean {
    return this.#socket !== undefined
  }

  attach(peer: NetPeer | null): void {
    this.#peer = peer
    this.#drop()
    this.#socket?.resume()
  }

  take(): Uint8Array | undefined {
    for (;;) {
      const have = this.#input.length - this.#at
      const length = have >= LENGTH ? this.#input.readUInt32BE(this.#at) : undefined
      if (length !== undefined && length > LONGEST) {
        this.#fail(`the other side sent a frame of ${length} bytes, which is none`)
        return undefined
      }
      if (length !== undefined && have >= LENGTH + length) {
        const from = this.#at + LENGTH
        this.#at = from + length
        if (length > 0) return this.#input.subarray(from, this.#at)
        continue
      }
      if (this.#waiting.length === 0) {
        this.#socket?.resume()
        return undefined
      }
      this.#input = Buffer.concat([this.#input.subarray(this.#at), ...this.#waiting])
      this.#at = 0
      this.#waiting = []
      this.#waitingBytes = 0
    }
  }

  ready(): boolean {
    return this.#socket === undefined || this.#socket.writableLength < OUTPUT_BOUND
  }

  send(frame: Uint8Array): void {
    const socket = this.#socket
    if (socket === undefined) return
    if (!this.#corked) {
      this.#corked = true
      socket.cork()
    }
    const bytes = Buffer.allocUnsafe(LENGTH + frame.length)
    bytes.writeUInt32BE(frame.length, 0)
    bytes.set(frame, LENGTH)
    socket.write(bytes)
  }

  commit(): void {
    if (!this.#corked) return
    this.#corked = false
    this.#socket?.uncork()
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#peer = null
    this.#reconnector?.stop()
    await this.#listener?.close()
    this.#socket?.destroy()
    this.#socket = undefined
  }

  listenOn(listener: Listener): void {
    this.#listener = listener
    serveOneAtATime(listener, (socket) => this.use(socket))
  }

  connectAgain(address: SocketAddress, afterMs: number): void {
    this.#reconnector = new Reconnector({
      address, afterMs, onSocket: (socket) => this.use(socket), onFailure: (message) => this.#options.log?.(`netdev ${this.id}: ${message}`),
    })
  }

  /** Makes a connection the current one, until it closes. */
  use(socket: Socket): void {
    this.#socket = socket
    this.#drop()
    socket.setNoDelay(true)
    // A machine lives by itself, not by its cable.
    socket.unref()
    socket.on('error', () => undefined) // 'close' follows and is what counts
    socket.on('data', (bytes: Buffer) => this.#arrived(socket, bytes))
    socket.on('drain', () => { if (socket === this.#socket) this.#peer?.writable(0) })
    socket.once('close', () => this.#disconnect(socket))
    this.#peer?.linkChanged()
  }

  #arrived(socket: Socket, bytes: Buffer): void {
    if (socket !== this.#socket || this.#peer === null) return
    this.#waiting.push(bytes)
    this.#waitingBytes += bytes.length
    if (this.#waitingBytes + this.#input.length - this.#at > INPUT_BOUND) socket.pause()
    this.#peer.readable(0)
  }

  #fail(why: string): void {
    this.#options.log?.(`netdev ${this.id}: ${why}; the connection is closed`)
    this.#drop()
    this.#socket?.destroy()
  }

  #disconnect(socket: Socket): void {
    if (this.#socket !== socket) return
    this.#socket = undefined
    this.#corked = false
    this.#drop()
    if (this.#closed) return
    if (this.#reconnector === undefined && this.#listener === undefined) this.#options.log?.(`netdev ${this.id}: the other side of ${this.description} has closed; the guest sees its cable pulled out`)
    this.#peer?.linkChanged()
  }

  #drop(): void {
    this.#input = Buffer.alloc(0)
    this.#at = 0
    this.#waiting = []
    this.#waitingBytes = 0
  }
}

function adopt(fd: number): Socket {
  try {
    return new Socket({ fd, readable: true, writable: true })
  } catch (error) {
    throw new MesovirtError('NETDEV_CONNECT', `descriptor ${fd} is no stream socket (${error instanceof Error ? error.message : String(error)}); pass a connected one on`)
  }
}
