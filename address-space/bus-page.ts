import { CELL_KEEPS_SHADOW, CELL_POSTED_SHIFT, CELL_SHADOW_SIZE, CELL_WORDS } from './bus-layout.ts'
import type { TablePage } from './bus-table.ts'
import type { RegisterSet, ShadowPage } from './shadow-page.ts'

/** A ShadowPage whose cells are in the memory shared with the vCPUs. Made by BusServer.shadowPage. */
interface PostQueue {
  applyPosts(): void
  update(change: () => void): void
}

export class SharedPage implements ShadowPage, TablePage {
  readonly page: number
  readonly cells: number
  readonly span: number
  readonly #server: PostQueue
  readonly #words: Int32Array
  readonly #registers: RegisterSet
  /** publishes so far, per offset: tells a publish that a post it applied has published something newer */
  readonly #generation = new Map<number, number>()
  readonly #release: () => void
  #closed = false

  constructor(server: PostQueue, words: Int32Array, registers: RegisterSet, page: number, cells: number, release: () => void) {
    this.#server = server
    this.#words = words
    this.#registers = registers
    this.page = page
    this.cells = cells
    this.span = registers.span
    this.#release = release
    for (let word = 0; word < this.span * CELL_WORDS; word++) Atomics.store(words, cells + word, 0)
    for (const { offset, size, keepsShadow } of registers.allPosted) this.#setPosted(offset, size, keepsShadow ?? false)
  }

  publish(offset: number, value: number | (() => number)): void {
    const size = this.#registers.shadowSize(offset)
    const generation = this.#generation.get(offset) ?? 0
    this.#server.applyPosts()
    const published = this.#generation.get(offset) ?? 0
    if (this.#closed || (published !== generation && typeof value === 'number')) return
    const cell = this.#cell(offset)
    Atomics.store(this.#words, cell + 1, typeof value === 'number' ? value : value())
    Atomics.store(this.#words, cell, (Atomics.load(this.#words, cell) & ~CELL_SHADOW_SIZE) | size)
    this.#generation.set(offset, published + 1)
  }

  withdraw(offset: number): void {
    this.#registers.shadowSize(offset)
    this.#server.applyPosts()
    if (this.#closed) return
    Atomics.and(this.#words, this.#cell(offset), ~CELL_SHADOW_SIZE)
    this.#generation.set(offset, (this.#generation.get(offset) ?? 0) + 1)
  }

  setPosted(offset: number, enabled: boolean, options: { keepsShadow?: boolean } = {}): void {
    const register = this.#registers.posted(offset)
    this.#server.applyPosts()
    if (!this.#closed) this.#setPosted(offset, enabled ? register.size : 0, options.keepsShadow ?? register.keepsShadow ?? false)
  }

  update(change: () => void): void {
    this.#server.update(change)
  }

  close(): void {
    if (this.#closed) return
    this.#server.applyPosts()
    this.#closed = true
    this.#release()
  }

  #setPosted(offset: number, size: number, keepsShadow: boolean): void {
    const cell = this.#cell(offset)
    const shadow = Atomics.load(this.#words, cell) & CELL_SHADOW_SIZE
    Atomics.store(this.#words, cell, shadow | (size << CELL_POSTED_SHIFT) | (keepsShadow ? CELL_KEEPS_SHADOW : 0))
  }

  #cell(offset: number): number {
    return this.cells + offset * CELL_WORDS
  }
}
