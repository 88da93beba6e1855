/** One character device for several front ends, as QEMU's mux=on: all of them write to it, and what is typed goes to one of them, which Ctrl-A c chooses. */
import type { CharBackend, CharEvent, TerminalSize } from '../contracts.ts'
import { EscapeFilter } from './escape.ts'
import { InputGate } from './input-gate.ts'

const LINE_FEED = 0x0a

export interface MuxOptions {
  /** Ctrl-A x. */
  readonly onQuit?: (() => void) | undefined
  /** Milliseconds, for times in front of lines. Default the host's. */
  readonly now?: (() => number) | undefined
}

export class Mux {
  readonly #backend: CharBackend
  readonly #frontends: MuxFrontend[] = []
  readonly #escape: EscapeFilter
  readonly #now: () => number
  #focus = 0
  /** When times were switched on. */
  #since: number | undefined
  #atLineStart = true

  /** @param backend not closed by the mux */
  constructor(backend: CharBackend, { onQuit, now }: MuxOptions = {}) {
    this.#backend = backend
    this.#now = now ?? (() => performance.now())
    this.#escape = new EscapeFilter({
      quit: () => onQuit?.(),
      show: (text) => backend.write(Buffer.from(text)),
      next: () => this.#switch(),
      timestamps: () => { this.#since = this.#since === undefined ? this.#now() : undefined },
      sendBreak: () => this.#focused?.tell('break'),
    })
    backend.onInput((bytes) => this.#escape.feed(bytes, (plain) => this.#focused?.gate.accept(plain)))
    backend.onEvent?.((event) => this.#frontends.forEach((frontend) => frontend.tell(event)))
    backend.setFlow(true)
  }

  /** One more that shares it. The first has what is typed. */
  frontend(): CharBackend {
    const frontend = new MuxFrontend(this.#backend, (bytes) => this.#write(bytes), (one) => this.#leave(one))
    // A terminal is read on though nobody takes what is typed: Ctrl-A must work.
    if (this.#backend.size === undefined) {
      const flow = (ready: boolean) => { if (frontend === this.#focused) this.#backend.setFlow(ready) }
      frontend.gate.attach({ pause: () => flow(false), resume: () => flow(true) })
    }
    this.#frontends.push(frontend)
    return frontend
  }

  get #focused(): MuxFrontend | undefined {
    return this.#frontends[this.#focus]
  }

  #switch(): void {
    this.#focus = (this.#focus + 1) % Math.max(1, this.#frontends.length)
    this.#backend.setFlow(true)
  }

  #leave(frontend: MuxFrontend): void {
    const at = this.#frontends.indexOf(frontend)
    if (at < 0) return
    this.#frontends.splice(at, 1)
    if (this.#focus > at || this.#focus >= this.#frontends.length) this.#focus = Math.max(0, this.#focus - 1)
    this.#backend.setFlow(true)
  }

  #write(bytes: Uint8Array): void {
    if (this.#since === undefined) {
      this.#backend.write(bytes)
      if (bytes.length > 0) this.#atLineStart = bytes.at(-1) === LINE_FEED
      return
    }
    const stamp = Buffer.from(`[${formatTime(this.#now() - this.#since)}] `)
    const parts: Uint8Array[] = []
    let from = 0
    while (from < bytes.length) {
      if (this.#atLineStart) parts.push(stamp)
      const feed = bytes.indexOf(LINE_FEED, from)
      const end = feed < 0 ? bytes.length : feed + 1
      parts.push(bytes.subarray(from, end))
      this.#atLineStart = feed >= 0
      from = end
    }
    this.#backend.write(Buffer.concat(parts))
  }
}

class MuxFrontend implements CharBackend {
  readonly gate = new InputGate()
  readonly #backend: CharBackend
  readonly #write: (bytes: Uint8Array) => void
  readonly #leave: (frontend: MuxFrontend) => void
  #onEvent: ((event: CharEvent) => void) | null = null

  constructor(backend: CharBackend, write: (bytes: Uint8Array) => void, leave: (frontend: MuxFrontend) => void) {
    this.#backend = backend
    this.#write = write
    this.#leave = leave
  }

  get label(): string { return this.#backend.label }
  get kind(): string { return this.#backend.kind }
  get filename(): string { return this.#backend.filename }
  get connected(): boolean { return this.#backend.connected }
  get canWrite(): boolean { return this.#backend.canWrite !== false }
  get size(): TerminalSize | undefined { return this.#backend.size }

  write(bytes: Uint8Array): void { this.#write(bytes) }
  onInput(handler: ((bytes: Uint8Array) => void) | null): void { this.gate.onInput(handler) }
  onEvent(handler: ((event: CharEvent) => void) | null): void { this.#onEvent = handler }
  setFlow(ready: boolean): void { this.gate.setFlow(ready) }
  tell(event: CharEvent): void { this.#onEvent?.(event) }

  /** It shares no more. */
  async close(): Promise<void> {
    this.gate.onInput(null)
    this.#onEvent = null
    this.#leave(this)
  }
}

/** `00:01:02.345` */
function formatTime(ms: number): string {
  const pad = (value: number, digits = 2) => String(Math.floor(value)).padStart(digits, '0')
  return `${pad(ms / 3_600_000)}:${pad(ms / 60_000 % 60)}:${pad(ms / 1000 % 60)}.${pad(ms % 1000, 3)}`
}
