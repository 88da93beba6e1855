/** Publishes registers to the vCPU-side shadow, only what changed. Without a shadow (tests, a machine without a bus) it does nothing. */
import type { RegisterShadow } from './contracts.ts'

export class ShadowPublisher {
  readonly #shadow: RegisterShadow | undefined
  readonly #published = new Map<number, number | undefined>()
  readonly #posted = new Map<number, boolean>()

  constructor(shadow: RegisterShadow | undefined) {
    this.#shadow = shadow
  }

  publish(offset: number, value: number): void {
    if (this.#shadow === undefined || this.#published.get(offset) === value) return
    // Before the call: it may apply posted writes, and what those publish is newer.
    this.#published.set(offset, value)
    this.#shadow.publish(offset, value)
  }

  /** For a register whose next read has a side effect; `fallback` is published where the bus cannot withdraw. */
  withdraw(offset: number, fallback: number): void {
    if (this.#shadow?.withdraw === undefined) return this.publish(offset, fallback)
    if (!this.#published.has(offset)) return
    this.#shadow.withdraw(offset)
    // After the call: it may apply posted writes, and what those publish is withdrawn as well.
    this.#published.delete(offset)
  }

  setPosted(offset: number, enabled: boolean, options?: { keepsShadow?: boolean }): void {
    if (this.#shadow === undefined || this.#posted.get(offset) === enabled) return
    this.#posted.set(offset, enabled)
    this.#shadow.setPosted(offset, enabled, options)
  }
}
