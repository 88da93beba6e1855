/**
 * Character device on a unix or TCP socket, as server (one client at a time, others wait, a client may come back) or as client (connects once, or again and again). A server may show each
 * new client the last of the output that came before it.
 */
import type { Socket } from 'node:net'
import { connectTo, Reconnector } from '../../host/socket-connect.ts'
import { formatAddress, listen, serveOneAtATime, type Listener, type SocketAddress } from '../../host/socket-listener.ts'
import type { CharBackend } from '../contracts.ts'
import { ByteQueue } from './byte-queue.ts'
import { QueuedBackend } from './queued-backend.ts'
import { StreamWriter } from './writers.ts'

const DRAIN_MS = 500

export interface SocketOptions {
  readonly label: string
  readonly address: SocketAddress
  readonly server: boolean
  /** Server only: opening waits for the first client. */
  readonly wait: boolean
  /** Client only: opening succeeds without a server, and a connection is tried so many milliseconds after each failure or end. */
  readonly reconnectMs?: number | undefined
  /** Server only: so many bytes of the last output are shown to each new client. */
  readonly replay?: number | undefined
  readonly log?: ((message: string) => void) | undefined
}

/** @throws MesovirtError of `listen`, or CHARDEV_CONNECT */
export async function openSocket(options: SocketOptions): Promise<CharBackend> {
  const { reconnectMs, replay } = options
  if (!options.server) {
    const backend = new SocketBackend(options.label, options.address)
    if (reconnectMs !== undefined) backend.connectAgain(reconnectMs, options.log)
    else backend.use(await connectTo(options.address, { code: 'CHARDEV_CONNECT', hint: 'start the program that listens there first, or use reconnect=' }))
    return backend
  }
  const listener = await listen(options.address)
  const backend = new SocketBackend(options.label, listener.address, listener, replay === undefined ? undefined : new ByteQueue(replay))
  await new Promise<void>((ready) => {
    serveOneAtATime(listener, (socket) => {
      backend.use(socket)
      ready()
    })
    if (!options.wait) ready()
    else options.log?.(`chardev ${options.label}: waiting for a connection on ${formatAddress(listener.address)}`)
  })
  return backend
}

class SocketBackend extends QueuedBackend {
  readonly kind = 'socket'
  readonly #address: SocketAddress
  readonly #listener: Listener | undefined
  readonly #replay: ByteQueue | undefined
  #reconnector: Reconnector | undefined
  #socket: Socket | undefined
  protected writer: StreamWriter | undefined
  #peer = ''
  #droppedBefore = 0

  constructor(label: string, address: SocketAddress, listener?: Listener, replay?: ByteQueue) {
    super(label, DRAIN_MS)
    this.#address = address
    this.#listener = listener
    this.#replay = replay
  }

  override write(bytes: Uint8Array): void {
    this.#replay?.push(bytes)
    super.write(bytes)
  }

  connectAgain(afterMs: number, log: ((message: string) => void) | undefined): void {
    this.#reconnector = new Reconnector({
      address: this.#address, afterMs, onSocket: (socket) => this.use(socket), onFailure: (message) => log?.(`chardev ${this.label}: ${message}`),
    })
  }

  override get connected(): boolean {
    return this.#socket !== undefined
  }

  get filename(): string {
    const name = formatAddress(this.#address) + (this.#listener === undefined ? '' : ',server=on')
    return this.connected ? name + this.#peer : `disconnected:${name}`
  }

  /** Output bytes lost because the peer did not read them. Output while nobody is connected is not counted: nobody missed it. */
  override get dropped(): number {
    return this.#droppedBefore + super.dropped
  }

  /** Makes a connection the current one, until it closes. */
  use(socket: Socket): void {
    this.#socket = socket
    this.writer = new StreamWriter(socket)
    this.#peer = socket.remoteAddress === undefined ? '' : ` <-> ${socket.remoteAddress}:${socket.remotePort}`
    socket.setNoDelay(true)
    socket.on('error', () => undefined) // 'close' follows and is what counts
    socket.on('data', (bytes: Uint8Array) => this.gate.accept(bytes))
    socket.once('close', () => this.#disconnect(socket))
    this.gate.attach(socket)
    if (this.#replay !== undefined) this.writer.write(this.#replay.copy())
    this.emit('opened')
  }

  protected override async stopInput(): Promise<void> {
    this.#reconnector?.stop()
    await this.#listener?.close()
  }

  protected async release(): Promise<void> {
    const socket = this.#socket
    if (socket === undefined) return
    const closed = new Promise((done) => socket.once('close', done))
    socket.end()
    socket.destroySoon()
    const giveUp = setTimeout(() => socket.destroy(), DRAIN_MS)
    await closed
    clearTimeout(giveUp)
  }

  #disconnect(socket: Socket): void {
    if (this.#socket !== socket) return
    this.#droppedBefore = this.dropped
    this.writer?.stop()
    this.writer = undefined
    this.#socket = undefined
    this.gate.attach(undefined)
    this.outputShrunk()
    this.emit('closed')
  }
}
