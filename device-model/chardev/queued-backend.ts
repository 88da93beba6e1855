/** What character devices with something behind them have in common: queued output, gated input, and an end that comes once and writes out what is queued. */
import type { CharBackend, CharEvent } from '../contracts.ts'
import { InputGate } from './input-gate.ts'
import type { OutputWriter } from './writers.ts'

/** Output that waits for its reader at which 'canWrite' turns false, and at which it turns true again. */
const HIGH_WATER = 256 * 1024, LOW_WATER = 64 * 1024

export abstract class QueuedBackend implements CharBackend {
  readonly label: string
  abstract readonly kind: string
  abstract readonly filename: string
  /** Undefined while nobody is connected. */
  protected abstract readonly writer: OutputWriter | undefined
  protected readonly gate = new InputGate()
  readonly #drainMs: number
  #closed = false
  #full = false
  #onEvent: ((event: CharEvent) => void) | null = null

  /** @param drainMs how long the end waits for a peer that does not read */
  constructor(label: string, drainMs: number) {
    this.label = label
    this.#drainMs = drainMs
  }

  get connected(): boolean {
    return true
  }

  /** Output bytes lost because nobody read them. */
  get dropped(): number {
    return this.writer?.dropped ?? 0
  }

  get canWrite(): boolean {
    return !this.#full
  }

  write(bytes: Uint8Array): void {
    const { writer } = this
    if (writer === undefined) return
    writer.write(bytes)
    if (writer.queued < HIGH_WATER) return
    this.#full = true
    writer.onShrink ??= () => this.outputShrunk()
  }

  onEvent(handler: ((event: CharEvent) => void) | null): void {
    this.#onEvent = handler
  }

  protected emit(event: CharEvent): void {
    this.#onEvent?.(event)
  }

  /** Also to be called when the writer has gone. */
  protected outputShrunk(): void {
    if (!this.#full || (this.writer?.queued ?? 0) > LOW_WATER) return
    this.#full = false
    this.emit('writable')
  }

  onInput(handler: ((bytes: Uint8Array) => void) | null): void {
    this.gate.onInput(handler)
  }

  setFlow(ready: boolean): void {
    this.gate.setFlow(ready)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.gate.onInput(null)
    this.#onEvent = null
    await this.stopInput()
    await this.writer?.drain(this.#drainMs)
    this.writer?.stop()
    await this.release()
  }

  /** First step of the end: nothing new comes in, output still goes out. */
  protected stopInput(): void | Promise<void> {}

  /** Last step: lets go of what the device holds. */
  protected abstract release(): void | Promise<void>
}
