/** A bounded first-in first-out queue of bytes that drops the oldest when it is full: output a peer does not read. */

export const OUTPUT_BOUND = 1024 * 1024
const FIRST_CAPACITY = 4096

export class ByteQueue {
  readonly #bound: number
  #ring: Uint8Array
  #head = 0
  #length = 0
  #dropped = 0

  /** @param bound most bytes kept */
  constructor(bound = OUTPUT_BOUND) {
    this.#bound = bound
    this.#ring = new Uint8Array(Math.min(FIRST_CAPACITY, bound))
  }

  get length(): number {
    return this.#length
  }

  /** Bytes lost so far because the queue was full. */
  get dropped(): number {
    return this.#dropped
  }

  push(bytes: Uint8Array): void {
    const kept = bytes.length > this.#bound ? bytes.subarray(bytes.length - this.#bound) : bytes
    this.#dropped += bytes.length - kept.length
    this.#grow(Math.min(this.#length + kept.length, this.#bound))
    const overflow = this.#length + kept.length - this.#ring.length
    if (overflow > 0) {
      this.#dropped += overflow
      this.consume(overflow)
    }
    const tail = (this.#head + this.#length) % this.#ring.length
    const first = Math.min(kept.length, this.#ring.length - tail)
    this.#ring.set(kept.subarray(0, first), tail)
    this.#ring.set(kept.subarray(first), 0)
    this.#length += kept.length
  }

  /** A view of the oldest bytes that lie together; valid until the next push. Empty when the queue is. */
  peek(): Uint8Array {
    return this.#ring.subarray(this.#head, this.#head + Math.min(this.#length, this.#ring.length - this.#head))
  }

  /** All of it, which stays. */
  copy(): Uint8Array {
    const first = this.peek()
    const all = new Uint8Array(this.#length)
    all.set(first)
    all.set(this.#ring.subarray(0, this.#length - first.length), first.length)
    return all
  }

  /** Takes the oldest `count` bytes off. */
  consume(count: number): void {
    this.#head = (this.#head + count) % this.#ring.length
    this.#length -= count
    if (this.#length === 0) this.#head = 0
  }

  clear(): void {
    this.consume(this.#length)
  }

  #grow(needed: number): void {
    if (needed <= this.#ring.length) return
    let capacity = this.#ring.length
    while (capacity < needed) capacity *= 2
    const larger = new Uint8Array(Math.min(capacity, this.#bound))
    larger.set(this.copy())
    this.#ring = larger
    this.#head = 0
  }
}
