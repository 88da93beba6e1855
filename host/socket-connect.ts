/** Connecting to a unix or TCP socket as a client, once or again and again. Used by socket character devices and by networks on a stream. */
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { MesovirtError } from './errors.ts'
import { formatAddress } from './socket-listener.ts'
import type { SocketAddress } from './socket-listener.ts'

const TIMEOUT_MS = 10_000

export interface ConnectFailure {
  /** Code of the error. */
  readonly code: string
  /** What to do. */
  readonly hint: string
}

/** @throws MesovirtError with the code given */
export function connectTo(address: SocketAddress, { code, hint }: ConnectFailure): Promise<Socket> {
  return new Promise((done, fail) => {
    const socket = 'unix' in address ? connect({ path: address.unix }) : connect({ host: address.host, port: address.port })
    const refuse = (why: string, cause?: Error) => {
      socket.destroy()
      fail(new MesovirtError(code, `Cannot connect to ${formatAddress(address)} (${why}): ${hint}`, { cause }))
    }
    const onError = (error: Error) => refuse('code' in error ? String(error.code) : error.message, error)
    socket.once('error', onError)
    socket.setTimeout(TIMEOUT_MS, () => refuse('no answer'))
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.off('error', onError)
      done(socket)
    })
  })
}

export interface ReconnectorOptions {
  readonly address: SocketAddress
  /** Time from a failure, or from the end of a connection, to the next attempt. */
  readonly afterMs: number
  readonly onSocket: (socket: Socket) => void
  /** Told of the first failure in a row. */
  readonly onFailure: (message: string) => void
}

/** A client that is connected whenever its server is there. It keeps no process alive. */
export class Reconnector {
  readonly #options: ReconnectorOptions
  #timer: NodeJS.Timeout | undefined
  #failedBefore = false
  #stopped = false

  constructor(options: ReconnectorOptions) {
    this.#options = options
    this.#attempt()
  }

  /** Tries no more; a connection that was handed out stays. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #attempt(): void {
    const { address, onSocket, onFailure } = this.#options
    connectTo(address, { code: 'SOCKET_CONNECT', hint: 'it is tried again' }).then((socket) => {
      this.#failedBefore = false
      if (this.#stopped) return void socket.destroy()
      socket.once('close', () => this.#later())
      onSocket(socket)
    }, (error: Error) => {
      if (!this.#failedBefore && !this.#stopped) onFailure(error.message)
      this.#failedBefore = true
      this.#later()
    })
  }

  #later(): void {
    if (!this.#stopped) this.#timer = setTimeout(() => this.#attempt(), this.#options.afterMs).unref()
  }
}
