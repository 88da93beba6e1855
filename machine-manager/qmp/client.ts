/** A typed QMP client for the `mesovirt qmp` command, tests and programs; talks to QEMU and StratoVirt too. Leaves out: out-of-band commands. */
import { connect as connectSocket } from 'node:net'
import { StringDecoder } from 'node:string_decoder'
import { MesovirtError } from '../../host/errors.ts'
import { formatAddress } from '../../host/socket-listener.ts'
import type { Socket } from 'node:net'
import type { SocketAddress } from '../../host/socket-listener.ts'
import type { CommandArguments, CommandName, CommandResult } from './commands/table.ts'
import type { VersionInfo } from './protocol.ts'

export interface QmpGreeting { readonly QMP: { readonly version: VersionInfo; readonly capabilities: readonly string[] } }
export interface QmpEvent {
  readonly event: string
  readonly data?: Readonly<Record<string, unknown>>
  readonly timestamp: { readonly seconds: number; readonly microseconds: number }
}
/** A reply as it came: `return` or `error`, and the request's `id`. */
export type QmpReply =
  | { readonly return: unknown; readonly id?: unknown }
  | { readonly error: { readonly class: string; readonly desc: string }; readonly id?: unknown }

/** The machine refused a command. `errorClass` is QMP's, e.g. `CommandNotFound`. */
export class QmpCommandError extends MesovirtError {
  readonly errorClass: string
  constructor(errorClass: string, description: string) {
    super('QMP_COMMAND', description)
    this.name = 'QmpCommandError'
    this.errorClass = errorClass
  }
}

export interface ConnectOptions {
  /** Milliseconds to wait for the greeting; default 10 000. */
  readonly timeoutMs?: number
}

const DEFAULT_TIMEOUT_MS = 10_000
/** Longest line taken from a server, in UTF-16 units. */
const MAX_LINE = 64 * 1024 * 1024

type Pending = { resolve(reply: QmpReply): void; reject(error: Error): void }

export class QmpClient {
  readonly greeting: QmpGreeting
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>
  private readonly socket: Socket
  private readonly where: string
  private readonly pending: Pending[] = []
  private readonly listeners = new Set<(event: QmpEvent) => void>()

  private constructor(socket: Socket, where: string, lines: LineReader, greeting: QmpGreeting) {
    this.socket = socket
    this.where = where
    this.greeting = greeting
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        for (const { reject } of this.pending.splice(0)) reject(new MesovirtError('QMP_CLOSED', `${where} closed the connection before it answered`))
        resolve()
      })
    })
    lines.deliver((line) => this.receive(line))
  }

  /**
   * Connects, reads the greeting and negotiates.
   * @throws MesovirtError QMP_CONNECT when nothing listens, QMP_TIMEOUT when no greeting comes (another client may hold the monitor),
   * QMP_PROTOCOL when it is no QMP server
   */
  static async connect(address: SocketAddress, { timeoutMs = DEFAULT_TIMEOUT_MS }: ConnectOptions = {}): Promise<QmpClient> {
    const where = formatAddress(address)
    const socket = await openSocket(address, where)
    const lines = new LineReader(socket)
    const greeting = await readGreeting(socket, lines, where, timeoutMs)
    const client = new QmpClient(socket, where, lines, greeting)
    const reply = await client.send({ execute: 'qmp_capabilities' })
    if ('error' in reply) {
      client.close()
      throw new QmpCommandError(reply.error.class, reply.error.desc)
    }
    return client
  }

  /**
   * Runs a command. Commands may be sent without waiting; they are answered in order.
   * @throws QmpCommandError when the machine refuses it, MesovirtError QMP_CLOSED when the connection ends first
   */
  execute<Name extends CommandName>(name: Name, args?: CommandArguments<Name>): Promise<CommandResult<Name>>
  execute(name: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>
  async execute(name: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    const reply = await this.send(args === undefined ? { execute: name } : { execute: name, arguments: args })
    if ('error' in reply) throw new QmpCommandError(reply.error.class, reply.error.desc)
    return reply.return
  }

  /** Sends any request object and returns the reply as it came, an error too. */
  send(request: Readonly<Record<string, unknown>>): Promise<QmpReply> {
    return new Promise((resolve, reject) => {
      if (!this.socket.writable) {
        reject(new MesovirtError('QMP_CLOSED', `The connection to ${this.where} is closed`))
        return
      }
      this.pending.push({ resolve, reject })
      this.socket.write(`${encode(request)}\n`)
    })
  }

  /** @returns a function that unsubscribes */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Resolves with the next event of that name. @throws MesovirtError QMP_CLOSED when the connection ends first */
  waitForEvent(name: string): Promise<QmpEvent> {
    return new Promise((resolve, reject) => {
      const unsubscribe = this.onEvent((event) => {
        if (event.event !== name) return
        unsubscribe()
        resolve(event)
      })
      void this.closed.then(() => {
        unsubscribe()
        reject(new MesovirtError('QMP_CLOSED', `${this.where} closed the connection before the event ${name}`))
      })
    })
  }

  close(): void {
    this.socket.destroy()
  }

  private receive(line: string): void {
    const message = parseObject(line)
    if (message === undefined) {
      this.socket.destroy()
      return
    }
    if (typeof message['event'] === 'string') {
      for (const listener of [...this.listeners]) listener(message as unknown as QmpEvent)
      return
    }
    if ('return' in message || 'error' in message) this.pending.shift()?.resolve(message as unknown as QmpReply)
  }
}

function openSocket(address: SocketAddress, where: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket('unix' in address ? { path: address.unix } : { host: address.host, port: address.port })
    socket.once('connect', () => {
      socket.setNoDelay(true)
      socket.removeAllListeners('error')
      socket.on('error', () => undefined) // 'close' follows and tells everybody.
      resolve(socket)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => reject(connectError(error, where)))
  })
}

function connectError(error: NodeJS.ErrnoException, where: string): MesovirtError {
  const reason: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such socket: is the machine running with this -qmp?',
    ECONNREFUSED: 'nothing listens there: is the machine running?',
    EACCES: 'no permission: run as the user who started the machine',
    ENOTSOCK: 'it is not a socket',
  }
  return new MesovirtError('QMP_CONNECT', `Cannot connect to ${where}: ${reason[error.code ?? ''] ?? error.message}`, { cause: error })
}

async function readGreeting(socket: Socket, lines: LineReader, where: string, timeoutMs: number): Promise<QmpGreeting> {
  const fail = (code: string, message: string) => {
    socket.destroy()
    return new MesovirtError(code, message)
  }
  const line = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(fail('QMP_TIMEOUT', `${where} sent no greeting: another client may hold this monitor, end it or use a second -qmp`))
    }, timeoutMs)
    socket.once('close', () => {
      clearTimeout(timer)
      reject(fail('QMP_PROTOCOL', `${where} closed the connection without a greeting`))
    })
    lines.deliver((text) => {
      const message = parseObject(text)
      if (message !== undefined && 'event' in message) return
      clearTimeout(timer)
      lines.deliver(null)
      resolve(text)
    })
  })
  const greeting = parseObject(line)
  if (greeting === undefined || typeof greeting['QMP'] !== 'object') throw fail('QMP_PROTOCOL', `${where} is not a QMP monitor: it did not greet`)
  return greeting as unknown as QmpGreeting
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value as Record<string, unknown> : undefined
  } catch {
    return undefined
  }
}

/** JSON text; a bigint is an integer of any size, which JSON.stringify refuses. */
function encode(value: unknown): string {
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return `[${value.map(encode).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${encode(member)}`).join(',')}}`
}

/** Lines of a socket, handed to one reader at a time and kept while there is none. */
class LineReader {
  private readonly decoder = new StringDecoder('utf8')
  private readonly lines: string[] = []
  private parts: string[] = []
  private length = 0
  private reader: ((line: string) => void) | null = null

  constructor(socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      const [first = '', ...others] = this.decoder.write(chunk).split('\n')
      this.append(first)
      for (const part of others) {
        this.lines.push(this.parts.join(''))
        this.parts = []
        this.length = 0
        this.append(part)
      }
      if (this.length > MAX_LINE) socket.destroy()
      this.drain()
    })
  }

  deliver(reader: ((line: string) => void) | null): void {
    this.reader = reader
    this.drain()
  }

  private append(part: string): void {
    this.parts.push(part)
    this.length += part.length
  }

  private drain(): void {
    while (this.reader !== null) {
      const line = this.lines.shift()
      if (line === undefined) return
      if (line.trim() !== '') this.reader(line)
    }
  }
}
