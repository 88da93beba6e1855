/** Character device on the process's own terminal or pipes. A terminal is raw and has the Ctrl-A commands; a pipe is passed on byte for byte. */
import { closeSync, constants, openSync } from 'node:fs'
import { isatty, type ReadStream } from 'node:tty'
import { onProcessEnd } from '../../host/cleanup.ts'
import { enterRawMode, type RawTerminal } from '../../host/terminal.ts'
import type { TerminalSize } from '../contracts.ts'
import { EscapeFilter } from './escape.ts'
import { QueuedBackend } from './queued-backend.ts'
import { DescriptorWriter, StreamWriter, type OutputWriter } from './writers.ts'

const DRAIN_MS = 500
/** Keys that the terminal turns into signals unless it is raw; the same here when the user asked for `signal=on`. */
const SIGNAL_KEYS: Readonly<Record<number, 'SIGINT' | 'SIGQUIT' | 'suspend'>> = { 0x03: 'SIGINT', 0x1c: 'SIGQUIT', 0x1a: 'suspend' }

export interface StdioOptions {
  readonly label: string
  /** Ctrl-C, Ctrl-\ and Ctrl-Z act on the process instead of the guest. */
  readonly signal?: boolean | undefined
  /** Ctrl-A commands on a terminal. Default true. */
  readonly escape?: boolean | undefined
  /** Ctrl-A x. */
  readonly onQuit?: (() => void) | undefined
}

export class StdioBackend extends QueuedBackend {
  readonly kind = 'stdio'
  readonly filename = 'stdio'
  protected readonly writer: OutputWriter
  readonly #closeOutput: () => void
  readonly #signal: boolean
  readonly #escape: EscapeFilter | undefined
  readonly #terminal: RawTerminal | undefined
  readonly #stdin = process.stdin

  constructor(options: StdioOptions) {
    super(options.label, DRAIN_MS)
    this.#signal = options.signal ?? false
    const output = openOutput()
    this.writer = output.writer
    this.#closeOutput = output.close
    if (this.#stdin.isTTY) {
      this.#terminal = enterRawMode(this.#stdin as ReadStream)
      const show = (text: string) => this.writer.write(Buffer.from(text))
      if (options.escape !== false) this.#escape = new EscapeFilter({ quit: () => options.onQuit?.(), show, sendBreak: () => this.emit('break') })
    } else {
      this.gate.attach(this.#stdin)
    }
    this.#stdin.on('data', this.#onData)
    // A terminal that hangs up and a pipe that breaks end the input, never the machine.
    this.#stdin.on('error', ignore)
    this.#stdin.resume()
    if (process.stdout.isTTY) process.stdout.on('resize', this.#onResize)
  }

  /** Of the terminal that shows the output. */
  get size(): TerminalSize | undefined {
    const { isTTY, columns, rows } = process.stdout
    return isTTY && columns > 0 && rows > 0 ? { columns, rows } : undefined
  }

  protected override stopInput(): void {
    process.stdout.off('resize', this.#onResize)
    this.#stdin.off('data', this.#onData)
    this.#stdin.pause()
  }

  /** The terminal is given back after the last of the output. */
  protected release(): void {
    this.#closeOutput()
    this.#terminal?.restore()
  }

  readonly #onResize = (): void => this.emit('resized')

  readonly #onData = (bytes: Uint8Array): void => {
    const plain = this.#signal && this.#terminal !== undefined ? this.#takeSignals(bytes, this.#terminal) : bytes
    if (this.#escape === undefined) this.gate.accept(plain)
    else this.#escape.feed(plain, (typed) => this.gate.accept(typed))
  }

  #takeSignals(bytes: Uint8Array, terminal: RawTerminal): Uint8Array {
    return bytes.filter((byte) => {
      const action = SIGNAL_KEYS[byte]
      if (action === undefined) return true
      if (action === 'suspend') terminal.suspend()
      else process.kill(process.pid, action)
      return false
    })
  }
}

function ignore(): void {}

/**
 * Node writes to a terminal synchronously, so a stalled one would stall the machine: on Linux the terminal is opened anew, non-blocking, and apart
 * from the descriptor that the shell shares. Pipes and sockets are asynchronous in Node already; a file is as fast as memory.
 */
function openOutput(): { writer: OutputWriter; close: () => void } {
  if (process.platform === 'linux' && isatty(1)) {
    try {
      const fd = openSync('/proc/self/fd/1', constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
      const writer = new DescriptorWriter(fd, ignore)
      const lastWords = onProcessEnd(() => writer.flush())
      const close = () => {
        lastWords.forget()
        closeSync(fd)
      }
      return { writer, close }
    } catch {
      // A terminal of another user (su): written the slow way.
    }
  }
  process.stdout.on('error', ignore)
  return { writer: new StreamWriter(process.stdout), close: () => process.stdout.off('error', ignore) }
}
