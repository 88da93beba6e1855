/** Character device on a unix or TCP socket, as server (one client at a time, others wait, a client may come back) or as client (connects once). */
import { connect, type Socket } from 'node:net'
import { MesovirtError } from '../../host/errors.ts'
import { formatAddress, listen, serveOneAtATime, type Listener, type SocketAddress } from '../../host/socket-listener.ts'
import type { CharBackend } from '../contracts.ts'
import { QueuedBackend } from './queued-backend.ts'
import { StreamWriter } from './writers.ts'

const DRAIN_MS = 500
const CONNECT_TIMEOUT_MS = 10_000

export interface SocketOptions {
  readonly label: string
  readonly address: SocketAddress
  readonly server: boolean
  /** Server only: opening waits for the first client. */
  readonly wait: boolean
  readonly log?: ((message: string) => void) | undefined
}

/** @throws MesovirtError of `listen`, or CHARDEV_CONNECT */
export async function openSocket(options: SocketOptions): Promise<CharBackend> {
  if (!options.server) {
    const backend = new SocketBackend(options.label, options.address, undefined)
    backend.use(await connectTo(options.address))
    return backend
  }
  const listener = await listen(options.address)
  const backend = new SocketBackend(options.label, listener.address, listener)
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
  #socket: Socket | undefined
  protected writer: StreamWriter | undefined
  #peer = ''
  #droppedBefore = 0

  constructor(label: string, address: SocketAddress, listener: Listener | undefined) {
    super(label, DRAIN_MS)
    this.#address = address
    this.#listener = listener
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
    this.emit('opened')
  }

  protected override async stopInput(): Promise<void> {
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

function connectTo(address: SocketAddress): Promise<Socket> {
  return new Promise((done, fail) => {
    const socket = 'unix' in address ? connect({ path: address.unix }) : connect({ host: address.host, port: address.port })
    const refuse = (why: string, cause?: Error) => {
      socket.destroy()
      const message = `Cannot connect to ${formatAddress(address)} (${why}): start the program that listens there first`
      fail(new MesovirtError('CHARDEV_CONNECT', message, { cause }))
    }
    const onError = (error: Error) => refuse('code' in error ? String(error.code) : error.message, error)
    socket.once('error', onError)
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => refuse('no answer'))
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.off('error', onError)
      done(socket)
    })
  })
}
