/** A QMP client of the tests' own: one JSON text per line, replies in order, events kept in the order they came. */
import net from 'node:net'
import { afterAll } from 'vitest'
import { PATIENCE_MS } from './transcript.ts'

export interface QmpEvent { readonly event: string; readonly data: Readonly<Record<string, unknown>>; readonly timestamp: { readonly seconds: number; readonly microseconds: number } }
export interface QmpError { readonly class: string; readonly desc: string }
export interface QmpReply { readonly return?: unknown; readonly error?: QmpError; readonly id?: unknown }
export interface Greeting { readonly QMP: { readonly version: { readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number }; readonly package: string }; readonly capabilities: readonly string[] } }

const open = new Set<net.Socket>()
afterAll(() => open.forEach((socket) => socket.destroy()))

export class Qmp {
  readonly events: QmpEvent[] = []
  readonly closed: Promise<void>
  readonly #socket: net.Socket
  readonly #replies: QmpReply[] = []
  readonly #waiting = new Set<() => void>()
  #greeting: Greeting | undefined
  #text = ''
  #over = false
  #seen = 0

  private constructor(socket: net.Socket) {
    this.#socket = socket
    open.add(socket)
    socket.setEncoding('utf8').on('data', (chunk: string) => this.#take(chunk))
    socket.on('error', () => undefined)
    this.closed = new Promise((resolve) => socket.once('close', () => {
      open.delete(socket)
      this.#over = true
      this.#wake()
      resolve()
    }))
  }

  /** Connects and reads the greeting. */
  static async connect(address: { readonly path: string } | { readonly host: string; readonly port: number }): Promise<Qmp> {
    const socket = await Qmp.dial(address)
    const qmp = new Qmp(socket)
    await qmp.#until('a greeting', () => qmp.#greeting !== undefined)
    return qmp
  }

  static dial(address: { readonly path: string } | { readonly host: string; readonly port: number }): Promise<net.Socket> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(address)
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(socket)
      })
    })
  }

  get greeting(): Greeting {
    if (this.#greeting === undefined) throw new Error('no greeting yet')
    return this.#greeting
  }

  /** Sends bytes as they are. */
  send(text: string | Uint8Array): void {
    this.#socket.write(text)
  }

  /** Next reply in order. */
  async reply(): Promise<QmpReply> {
    await this.#until('a reply', () => this.#replies.length > 0)
    return this.#replies.shift() as QmpReply
  }

  /** Runs a command. @returns what it returns @throws Error with the error's text */
  async run<T = unknown>(name: string, args?: Readonly<Record<string, unknown>>): Promise<T> {
    this.send(`${JSON.stringify({ execute: name, ...(args === undefined ? {} : { arguments: args }) })}\n`)
    const { return: value, error } = await this.reply()
    if (error !== undefined) throw new Error(`${name}: ${error.class}: ${error.desc}`)
    return value as T
  }

  async status(): Promise<string> {
    return (await this.run<{ status: string }>('query-status')).status
  }

  /** A line of the human monitor. */
  human(line: string): Promise<string> {
    return this.run('human-monitor-command', { 'command-line': line })
  }

  /** Waits for the next event of a name after the one waited for last. */
  async event(name: string): Promise<QmpEvent> {
    const find = () => this.events.findIndex((event, index) => index >= this.#seen && event.event === name)
    await this.#until(`the event ${name}`, () => find() >= 0)
    const at = find()
    this.#seen = at + 1
    return this.events[at] as QmpEvent
  }

  /** Names of the events so far. */
  get eventNames(): string[] {
    return this.events.map(({ event }) => event)
  }

  close(): Promise<void> {
    this.#socket.end()
    return this.closed
  }

  async #until(what: string, done: () => boolean): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS
    while (!done()) {
      const seen = `events so far: ${this.eventNames.join(' ')}; unread: ${JSON.stringify(this.#text.slice(0, 300))}`
      if (this.#over) throw new Error(`QMP: waited for ${what}, but the connection closed; ${seen}`)
      if (Date.now() > deadline) throw new Error(`QMP: waited for ${what} in vain; ${seen}`)
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer)
          this.#waiting.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, Math.max(1, deadline - Date.now()))
        this.#waiting.add(wake)
      })
    }
  }

  #take(chunk: string): void {
    this.#text += chunk
    for (let end = this.#text.indexOf('\r\n'); end >= 0; end = this.#text.indexOf('\r\n')) {
      const line = JSON.parse(this.#text.slice(0, end)) as unknown
      this.#text = this.#text.slice(end + 2)
      if (typeof line !== 'object' || line === null) throw new Error(`QMP: not an object: ${String(line)}`)
      if ('QMP' in line) this.#greeting = line as Greeting
      else if ('event' in line) this.events.push(line as QmpEvent)
      else this.#replies.push(line as QmpReply)
    }
    this.#wake()
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake()
  }
}
