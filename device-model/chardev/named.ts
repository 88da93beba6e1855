/** A character device by its name: what is behind it may be exchanged while it is in use, and its output may be copied to a file. */
import type { CharBackend, CharEvent, TerminalSize } from '../contracts.ts'

export class NamedBackend implements CharBackend {
  readonly label: string
  #backend: CharBackend
  #logFile: CharBackend | undefined
  #onInput: ((bytes: Uint8Array) => void) | null = null
  #onEvent: ((event: CharEvent) => void) | null = null
  #flow = false

  constructor(backend: CharBackend, logFile?: CharBackend) {
    this.label = backend.label
    this.#backend = backend
    this.#logFile = logFile
    this.#wire()
  }

  get backend(): CharBackend { return this.#backend }
  get kind(): string { return this.#backend.kind }
  get filename(): string { return this.#backend.filename }
  get connected(): boolean { return this.#backend.connected }
  get canWrite(): boolean { return this.#backend.canWrite !== false }
  get size(): TerminalSize | undefined { return this.#backend.size }

  write(bytes: Uint8Array): void {
    this.#logFile?.write(bytes)
    this.#backend.write(bytes)
  }

  onInput(handler: ((bytes: Uint8Array) => void) | null): void {
    this.#onInput = handler
    this.#backend.onInput(handler)
  }

  onEvent(handler: ((event: CharEvent) => void) | null): void {
    this.#onEvent = handler
  }

  setFlow(ready: boolean): void {
    this.#flow = ready
    this.#backend.setFlow(ready)
  }

  /** Puts something else behind it; who uses it is told as of a peer that leaves and one that comes. @returns what was there, to be closed by the caller */
  replace(backend: CharBackend, logFile?: CharBackend): readonly CharBackend[] {
    const before = [this.#backend, ...this.#logFile === undefined ? [] : [this.#logFile]]
    const wasConnected = this.connected
    this.#backend.setFlow(false)
    this.#backend.onInput(null)
    this.#backend.onEvent?.(null)
    this.#backend = backend
    this.#logFile = logFile
    if (wasConnected) this.#onEvent?.('closed')
    this.#wire()
    if (this.connected) this.#onEvent?.('opened')
    this.#onEvent?.('writable')
    if (this.size !== undefined) this.#onEvent?.('resized')
    return before
  }

  async close(): Promise<void> {
    await this.#backend.close()
    await this.#logFile?.close()
  }

  #wire(): void {
    const backend = this.#backend
    backend.onEvent?.((event) => this.#onEvent?.(event))
    backend.onInput(this.#onInput)
    backend.setFlow(this.#flow)
  }
}
