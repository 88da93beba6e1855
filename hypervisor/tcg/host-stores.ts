/** Main's side of core/host-stores.ts: which of its stores into guest memory vCPUs must hear of, because they have decoded code there. */
import { G_PAGE_INFO, G_RAM_BASE, G_STORES, G_STORES_HEAD, PAGE_BYTES, PAGE_CODE, STORES } from './core/layout.ts'

const PAGE = 4096

export class HostStores {
  readonly #words: Int32Array

  /** @param memory the shared memory, its control words written */
  constructor(memory: ArrayBufferLike) {
    this.#words = new Int32Array(memory)
  }

  /** To be called after the bytes at an offset of the shared memory were stored, and before the guest is told that they are there. */
  written(offset: number, length: number): void {
    if (length === 0) return
    const words = this.#words
    // A full barrier between the caller's stores and what is read below.
    Atomics.add(words, G_STORES_HEAD >> 2, 0)
    const records = ((words[G_PAGE_INFO >> 2] as number) >>> 0), base = (words[G_RAM_BASE >> 2] as number) >>> 0
    for (let page = offset - offset % PAGE; page < offset + length; page += PAGE) {
      if (Atomics.load(words, records + (page - base) / PAGE * PAGE_BYTES + PAGE_CODE >>> 2) === 0) continue
      const from = Math.max(page, offset)
      this.#list(from, Math.min(page + PAGE, offset + length) - from)
    }
  }

  #list(offset: number, length: number): void {
    const words = this.#words
    const head = Atomics.load(words, G_STORES_HEAD >> 2)
    const entry = (G_STORES >> 2) + (head & STORES - 1) * 2
    Atomics.store(words, entry, offset)
    Atomics.store(words, entry + 1, length)
    Atomics.add(words, G_STORES_HEAD >> 2, 1)
  }
}
