import type { AccessSize } from './region.ts'

/**
 * Layout of the shared memory between vCPU workers and main: one Int32Array, indices in words. Not guest-visible, and apart from guest memory,
 * so a guest cannot reach it. Words that different threads write often are 16 words (a cache line) apart.
 */

/** Which address space an access goes to. */
export const SPACE_MEMORY = 0
export const SPACE_PORTS = 1
export type Space = 0 | 1

/** What a worker gets to make its VcpuBus. The port goes into the worker's transferList. */
export interface BusConnection {
  readonly buffer: SharedArrayBuffer
  readonly slot: number
  readonly port: { postMessage(message: unknown): void }
}

export const MAX_SLOTS = 254
export const MAX_PAGES = 128

// ---- header ----
export const ABORTED = 0 // 1: main has quit, calls return all ones
export const TOLD = 16 // 1: main is awake or a wake-up message is on its way
export const TICKET = 32 // the next ticket, wraps
export const TABLE_VERSION = 48 // odd while main writes the table
export const PENDING = 64 // per shadow page: posts made and not yet applied

// ---- decision table ----
export const RANGE_COUNT = PENDING + MAX_PAGES
export const NOTIFIER_COUNT = RANGE_COUNT + 1
export const RANGES = RANGE_COUNT + 16
/** {start low, start high, end low, end high, space, page, word of the first register's cell, 0}; sorted by space, then address */
export const RANGE_WORDS = 8
export const MAX_RANGES = 256
export const NOTIFIERS = RANGES + MAX_RANGES * RANGE_WORDS
/** {address low, high, space, size (0 any), 1 = has datamatch, datamatch, 0, 0} */
export const NOTIFIER_WORDS = 8
export const MAX_NOTIFIERS = 512

// ---- one slot per vCPU worker ----
export const SLOTS = NOTIFIERS + MAX_NOTIFIERS * NOTIFIER_WORDS
export const S_STATUS = 0 // STATUS_*
export const S_SLEEPING = 1 // 1: the vCPU is in Atomics.wait, or about to be
export const S_OPERATION = 2 // bit 0 space, bit 1 write, bits 4..7 size
export const S_ADDRESS_LOW = 3
export const S_ADDRESS_HIGH = 4
export const S_VALUE_LOW = 5
export const S_VALUE_HIGH = 6
export const S_HEAD = 16 // count of posts taken out, wraps; written by main
export const S_TAIL = 32 // count of posts put in, wraps; written by the vCPU
export const S_RING = 48
/** {ticket, operation, address low, address high, value, page + 1 or 0, 0, 0} */
export const POST_WORDS = 8
export const RING_POSTS = 256
export const SLOT_WORDS = S_RING + RING_POSTS * POST_WORDS

export const STATUS_IDLE = 0
export const STATUS_REQUEST = 1
export const STATUS_DONE = 2
export const STATUS_ABORTED = 3

// ---- register cells, two words for each byte offset of a shadow page: control, value ----
export const CELL_WORDS = 2
export const CELL_SHADOW_SIZE = 0b111 // the shadow is valid for reads of this size, 0 = for none
export const CELL_POSTED_SHIFT = 4 // writes of the size in bits 4..6 are posted
export const CELL_KEEPS_SHADOW = 0x100 // such a post leaves the shadows of its device valid
/** Cells of all pages together: 64 virtio-mmio pages of 512 bytes. Untouched pages of it cost no memory. */
export const CELL_COUNT = 32_768

export const OPERATION_WRITE = 2
export const OPERATION_SIZE_SHIFT = 4

export const TWO_TO_32 = 0x1_0000_0000

export function slotBase(slot: number): number {
  return SLOTS + slot * SLOT_WORDS
}

export function cellsBase(slots: number): number {
  return SLOTS + slots * SLOT_WORDS
}

export function totalWords(slots: number): number {
  return cellsBase(slots) + CELL_COUNT * CELL_WORDS
}

/** Wrapping comparison of tickets; right while fewer than 2^31 are outstanding, and the rings hold far fewer. */
export function isBefore(a: number, b: number): boolean {
  return ((a - b) | 0) < 0
}

export function takeTicket(words: Int32Array): number {
  return Atomics.add(words, TICKET, 1)
}

export interface Post {
  ticket: number
  space: Space
  address: number
  size: AccessSize
  value: number
  /** page whose pending count this post holds, -1 for none */
  page: number
}

/** Single-producer, single-consumer ring of one slot. The vCPU uses isFull and push, main peekTicket and shift. */
export class PostRing {
  readonly #words: Int32Array
  readonly #base: number
  /** The vCPU's last look at the head: it only grows, so the vCPU need not fetch main's cache line for each post. */
  #seenHead = 0

  constructor(words: Int32Array, slot: number) {
    this.#words = words
    this.#base = slotBase(slot)
    this.#seenHead = Atomics.load(words, this.#base + S_HEAD)
  }

  isFull(): boolean {
    const tail = Atomics.load(this.#words, this.#base + S_TAIL)
    if (((tail - this.#seenHead) | 0) < RING_POSTS) return false
    this.#seenHead = Atomics.load(this.#words, this.#base + S_HEAD)
    return ((tail - this.#seenHead) | 0) >= RING_POSTS
  }

  push(ticket: number, space: Space, address: number, size: AccessSize, value: number, page: number): void {
    const words = this.#words
    const tail = Atomics.load(words, this.#base + S_TAIL)
    const at = this.#entry(tail)
    words[at] = ticket
    words[at + 1] = space | OPERATION_WRITE | (size << OPERATION_SIZE_SHIFT)
    words[at + 2] = address | 0
    words[at + 3] = Math.floor(address / TWO_TO_32)
    words[at + 4] = value
    words[at + 5] = page + 1
    Atomics.store(words, this.#base + S_TAIL, (tail + 1) | 0)
  }

  /** Ticket of the oldest post, undefined if there is none. */
  peekTicket(): number | undefined {
    const words = this.#words
    const head = Atomics.load(words, this.#base + S_HEAD)
    return head === Atomics.load(words, this.#base + S_TAIL) ? undefined : words[this.#entry(head)]
  }

  /** Takes the oldest post out; only after peekTicket gave one. */
  shift(): Post {
    const words = this.#words
    const head = Atomics.load(words, this.#base + S_HEAD)
    const at = this.#entry(head)
    const operation = words[at + 1] ?? 0
    const post: Post = {
      ticket: words[at] ?? 0,
      space: operation & 1 ? SPACE_PORTS : SPACE_MEMORY,
      address: joinAddress(words[at + 2] ?? 0, words[at + 3] ?? 0),
      size: accessSize(operation),
      value: (words[at + 4] ?? 0) >>> 0,
      page: (words[at + 5] ?? 0) - 1,
    }
    Atomics.store(words, this.#base + S_HEAD, (head + 1) | 0)
    return post
  }

  #entry(index: number): number {
    return this.#base + S_RING + (index & (RING_POSTS - 1)) * POST_WORDS
  }
}

export function joinAddress(low: number, high: number): number {
  return (high >>> 0) * TWO_TO_32 + (low >>> 0)
}

/** Size of an operation of at most 4 bytes. */
export function accessSize(operation: number): AccessSize {
  const size = (operation >>> OPERATION_SIZE_SHIFT) & 0b111
  return size === 1 || size === 2 ? size : 4
}
