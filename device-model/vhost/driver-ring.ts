/**
 * The driver's end of a split virtqueue in memory that is shared with a back end in another process, which is not trusted. OASIS virtio 1.2 section 2.7; direct
 * descriptors, flags instead of the event index. The first descriptor of the chains is what they are known by.
 */
import { DESC_F_NEXT, DESC_F_WRITE, DESCRIPTOR_SIZE } from '../virtio/constants.ts'

/** The most that back ends commonly take. */
export const RING_SIZE = 1024
/** Offsets in the memory of one ring. */
const DESCRIPTORS = 0, AVAILABLE = RING_SIZE * DESCRIPTOR_SIZE, USED = AVAILABLE + 4096
export const RING_BYTES = USED + 4096 * 3
export const RING_PARTS = { descriptors: DESCRIPTORS, available: AVAILABLE, used: USED } as const
/** Offsets in the available and used rings. */
const FLAGS = 0, INDEX = 2, ENTRIES = 4
const USED_ENTRY_BYTES = 8
const USED_F_NO_NOTIFY = 1

/** What a descriptor points to, as the back end knows it. */
export interface Place {
  readonly address: number
  readonly length: number
}

export interface Used<T> {
  readonly tag: T
  /** Bytes written, as the back end says. */
  readonly written: number
}

interface Chain<T> {
  readonly tag: T
  readonly descriptors: readonly number[]
}

export class DriverRing<T> {
  readonly #view: DataView
  readonly #halves: Uint16Array
  #free: number[] = []
  #chains = new Map<number, Chain<T>>()
  #nextAvailable = 0
  #nextUsed = 0
  /** Chains were added that nobody was told of. */
  #untold = false

  /** @param bytes RING_BYTES of shared memory */
  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, RING_BYTES)
    this.#halves = new Uint16Array(bytes.buffer, bytes.byteOffset, RING_BYTES / 2)
    this.reset()
  }

  /** Descriptors that are free. */
  get room(): number {
    return this.#free.length
  }

  /** Of the chains that are with the back end, in their order. */
  get tags(): T[] {
    return [...this.#chains.values()].map(({ tag }) => tag)
  }

  /** Forgets everything; the back end must not be using it. */
  reset(): void {
    this.#free = Array.from({ length: RING_SIZE }, (_, index) => RING_SIZE - 1 - index)
    this.#chains.clear()
    this.#nextAvailable = this.#nextUsed = 0
    this.#untold = false
    this.#halves.fill(0)
  }

  /** Makes a chain available. There must be room for it, and something in it. */
  add(readable: readonly Place[], writable: readonly Place[], tag: T): void {
    const places = [...readable, ...writable]
    const descriptors = places.map(() => this.#free.pop() as number)
    places.forEach(({ address, length }, index) => {
      const at = DESCRIPTORS + (descriptors[index] as number) * DESCRIPTOR_SIZE
      const next = descriptors[index + 1]
      this.#view.setBigUint64(at, BigInt(address), true)
      this.#view.setUint32(at + 8, length, true)
      this.#view.setUint16(at + 12, (index < readable.length ? 0 : DESC_F_WRITE) | (next === undefined ? 0 : DESC_F_NEXT), true)
      this.#view.setUint16(at + 14, next ?? 0, true)
    })
    const head = descriptors[0] as number
    this.#chains.set(head, { tag, descriptors })
    this.#view.setUint16(AVAILABLE + ENTRIES + this.#nextAvailable % RING_SIZE * 2, head, true)
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff
    Atomics.store(this.#halves, AVAILABLE + INDEX >> 1, this.#nextAvailable)
    this.#untold = true
  }

  /** Whether the back end wants to be told of what was added since the last question. */
  takeNotification(): boolean {
    const wanted = this.#untold && (Atomics.load(this.#halves, USED + FLAGS >> 1) & USED_F_NO_NOTIFY) === 0
    this.#untold = false
    return wanted
  }

  /** @returns what the back end is done with, in its order; undefined where it breaks the rules */
  takeUsed(): Used<T>[] | undefined {
    const ahead = (Atomics.load(this.#halves, USED + INDEX >> 1) - this.#nextUsed) & 0xffff
    if (ahead > this.#chains.size) return undefined
    const result: Used<T>[] = []
    for (let count = 0; count < ahead; count++) {
      const at = USED + ENTRIES + this.#nextUsed % RING_SIZE * USED_ENTRY_BYTES
      const head = this.#view.getUint32(at, true)
      const chain = this.#chains.get(head)
      if (chain === undefined) return undefined
      this.#chains.delete(head)
      this.#free.push(...chain.descriptors)
      this.#nextUsed = (this.#nextUsed + 1) & 0xffff
      result.push({ tag: chain.tag, written: this.#view.getUint32(at + 4, true) })
    }
    return result
  }
}
