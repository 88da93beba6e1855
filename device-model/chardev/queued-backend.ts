/** What character devices with something behind them have in common: queued output, gated input, and an end that comes once and writes out what is queued. */
import type { CharBackend } from '../contracts.ts'
import { InputGate } from './input-gate.ts'
import type { OutputWriter } from './writers.ts'

export abstract class QueuedBackend implements CharBackend {
  readonly label: string
  abstract readonly kind: string
  abstract readonly filename: string
  /** Undefined while nobody is connected. */
  protected abstract readonly writer: OutputWriter | undefined
  protected readonly gate = new InputGate()
  readonly #drainMs: number
  #closed = false

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

  write(bytes: Uint8Array): void {
    this.writer?.write(bytes)
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
