/** Character device that keeps the last of the output in memory, for QMP's ringbuf-read. What ringbuf-write brings goes the same way, as in QEMU; there is no input. */
import type { CharBackend } from '../contracts.ts'
import { ByteQueue } from './byte-queue.ts'

export class RingBackend implements CharBackend {
  readonly label: string
  readonly kind = 'ringbuf'
  readonly filename = 'ringbuf'
  readonly connected = true
  readonly #queue: ByteQueue

  /** @param size bytes that are kept; the oldest go */
  constructor(label: string, size: number) {
    this.label = label
    this.#queue = new ByteQueue(size)
  }

  write(bytes: Uint8Array): void {
    this.#queue.push(bytes)
  }

  /** Takes out the oldest bytes, at most `count`. */
  take(count: number): Uint8Array {
    const bytes = this.#queue.copy().subarray(0, count)
    this.#queue.consume(bytes.length)
    return bytes
  }

  onInput(): void {}
  setFlow(): void {}
  async close(): Promise<void> {}
}
