/** The serial port of a machine inside a program: its output as a Readable, its input as a Writable. Bounded both ways. */
import { Readable, Writable } from 'node:stream'
import type { CharBackend } from '../device-model/contracts.ts'

/** Output that nobody reads is kept up to this many bytes, then the oldest is dropped. */
const OUTPUT_BOUND = 1024 * 1024

export class StreamBackend implements CharBackend {
  readonly label = 'serial0'
  readonly kind = 'stream'
  readonly filename = 'stream'
  readonly connected = true
  /** What the guest writes. */
  readonly output: Readable
  /** What the guest reads; a write completes when the guest's driver takes it. */
  readonly input: Writable
  #queue: Uint8Array[] = []
  #queued = 0
  #dropped = 0
  #wanted = false
  #handler: ((bytes: Uint8Array) => void) | null = null
  #ready = false
  #waiting: { bytes: Uint8Array; done: () => void } | undefined
  #closed = false

  constructor() {
    this.output = new Readable({
      read: () => {
        this.#wanted = true
        this.#pump()
      },
    })
    this.input = new Writable({
      write: (chunk: Uint8Array, _encoding, done) => {
        this.#waiting = { bytes: chunk, done }
        this.#deliver()
      },
    })
  }

  /** Output bytes lost because nobody read them. */
  get dropped(): number {
    return this.#dropped
  }

  write(bytes: Uint8Array): void {
    if (this.#closed) return
    this.#queue.push(bytes.slice())
    this.#queued += bytes.length
    while (this.#queued > OUTPUT_BOUND && this.#queue.length > 1) {
      const oldest = this.#queue.shift() as Uint8Array
      this.#queued -= oldest.length
      this.#dropped += oldest.length
    }
    this.#pump()
  }

  onInput(handler: ((bytes: Uint8Array) => void) | null): void {
    this.#handler = handler
    this.#deliver()
  }

  setFlow(ready: boolean): void {
    this.#ready = ready
    this.#deliver()
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#handler = null
    this.#waiting?.done()
    this.#waiting = undefined
    this.input.destroy()
    this.#wanted = true
    this.#pump()
    this.output.push(null)
  }

  #pump(): void {
    while (this.#wanted || this.#closed) {
      const bytes = this.#queue.shift()
      if (bytes === undefined) return
      this.#queued -= bytes.length
      this.#wanted = this.output.push(Buffer.from(bytes))
    }
  }

  /** The device may close the gate from inside its handler, and a completed write may bring the next one. */
  #deliver(): void {
    const waiting = this.#waiting
    if (!this.#ready || this.#handler === null || waiting === undefined) return
    this.#waiting = undefined
    this.#handler(waiting.bytes)
    waiting.done()
  }
}
