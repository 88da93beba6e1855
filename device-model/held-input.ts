/** Host input that a device has taken from its backend and the guest has no room for yet: a bounded queue of bytes. */

/** What a backend may hand over before it obeys setFlow(false). */
export const HELD_INPUT_LIMIT = 256 * 1024

const NOTHING = new Uint8Array(0)

export class HeldInput {
  #chunks: Uint8Array[] = []
  #offset = 0
  #length = 0

  /** Bytes waiting. */
  get length(): number {
    return this.#length
  }

  /** Copies the bytes in. @returns false when they would exceed the bound: none of them is kept */
  push(bytes: Uint8Array): boolean {
    if (this.#length + bytes.length > HELD_INPUT_LIMIT) return false
    if (bytes.length === 0) return true
    this.#chunks.push(bytes.slice())
    this.#length += bytes.length
    return true
  }

  /** A view of the oldest bytes that lie together; empty where there are none. */
  peek(): Uint8Array {
    return this.#chunks[0]?.subarray(this.#offset) ?? NOTHING
  }

  /** Takes the oldest `count` bytes off, at most as many as `peek` has shown. */
  consume(count: number): void {
    this.#offset += count
    this.#length -= count
    if (this.#offset !== this.#chunks[0]?.length) return
    this.#chunks.shift()
    this.#offset = 0
  }

  /** The oldest byte, or undefined when there is none. */
  shift(): number | undefined {
    const chunk = this.#chunks[0]
    if (chunk === undefined) return undefined
    const byte = chunk[this.#offset]
    this.consume(1)
    return byte
  }

  /** What waits, oldest first, as plain data. */
  toArray(): number[] {
    return this.#chunks.flatMap((chunk, index) => [...(index === 0 ? chunk.subarray(this.#offset) : chunk)])
  }

  /** Replaces the content. */
  load(bytes: readonly number[]): void {
    this.#chunks = bytes.length === 0 ? [] : [Uint8Array.from(bytes)]
    this.#offset = 0
    this.#length = bytes.length
  }
}
