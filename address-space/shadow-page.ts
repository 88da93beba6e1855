import { MesovirtError } from '../host/errors.ts'
import type { AccessSize } from './region.ts'

/** What a device says about its registers to the vCPU-side bus, and how it publishes their values. Rules in bus.ts. */

/** A register whose read has no side effect. It is read by call until the first publish. */
export interface ShadowRegister {
  readonly offset: number
  readonly size: AccessSize
}

/** A register whose write may be delayed. Never one that can lower a level-triggered line. */
export interface PostedRegister {
  readonly offset: number
  readonly size: AccessSize
  /** true: a pending write of this register does not change what any shadow of the device would read. Default false. */
  readonly keepsShadow?: boolean
}

export interface ShadowPageOptions {
  readonly shadow?: readonly ShadowRegister[]
  readonly posted?: readonly PostedRegister[]
}

/** A device's handle. Offsets are those of its region and must have been declared, or `SHADOW_REGISTER` is thrown. */
export interface ShadowPage {
  /**
   * Makes `value` what a vCPU reads at `offset`. Change the device's own state first, publish after. Outside a register access it applies
   * pending posts first; a function is called after that, and a plain number yields to a newer one that a post published.
   */
  publish(offset: number, value: number | (() => number)): void
  /** Reads of `offset` become calls until the next publish. */
  withdraw(offset: number): void
  /** Switches posting of a declared register, for instance off while in loopback mode. */
  setPosted(offset: number, enabled: boolean, options?: { keepsShadow?: boolean }): void
  /**
   * Runs `change` with every post made so far applied: at once from an event (timer, backend input), after the present register access
   * otherwise, and before that is answered. Change a state that posts also change (interrupt status against InterruptACK), publish it and
   * raise the interrupt in here, or a pending acknowledge would swallow the newer interrupt.
   */
  update(change: () => void): void
  /** Gives the page back; the device's registers are then reached by call. */
  close(): void
}

/** A ShadowPage without a bus, for tests of devices and for accelerators that have none: remembers what was published. */
export class LocalShadowPage implements ShadowPage {
  /** what a vCPU would read without a call */
  readonly published = new Map<number, number>()
  /** offset -> whether a write leaves the shadow valid */
  readonly posted = new Map<number, boolean>()
  readonly #registers: RegisterSet

  constructor(options: ShadowPageOptions) {
    this.#registers = new RegisterSet(options)
    for (const { offset, keepsShadow } of options.posted ?? []) this.posted.set(offset, keepsShadow ?? false)
  }

  publish(offset: number, value: number | (() => number)): void {
    this.#registers.shadowSize(offset)
    this.published.set(offset, (typeof value === 'function' ? value() : value) >>> 0)
  }

  withdraw(offset: number): void {
    this.#registers.shadowSize(offset)
    this.published.delete(offset)
  }

  setPosted(offset: number, enabled: boolean, options: { keepsShadow?: boolean } = {}): void {
    const declared = this.#registers.posted(offset)
    if (enabled) this.posted.set(offset, options.keepsShadow ?? declared.keepsShadow ?? false)
    else this.posted.delete(offset)
  }

  update(change: () => void): void {
    change()
  }

  close(): void {
    this.published.clear()
    this.posted.clear()
  }
}

/** Register offsets end here: a page of cells stays small even where the region is a large BAR. */
export const MAX_SPAN = 4096

/** The declared registers of one page. */
export class RegisterSet {
  /** register offsets [0, span) need cells */
  readonly span: number
  readonly #shadow = new Map<number, AccessSize>()
  readonly #posted = new Map<number, PostedRegister>()

  constructor({ shadow = [], posted = [] }: ShadowPageOptions) {
    let span = 1
    for (const { offset } of [...shadow, ...posted]) {
      const valid = Number.isSafeInteger(offset) && offset >= 0 && offset < MAX_SPAN
      if (!valid) throw new MesovirtError('SHADOW_REGISTER', `a shadowed or posted register at offset ${offset} is outside the first ${MAX_SPAN} bytes`)
      span = Math.max(span, offset + 1)
    }
    this.span = span
    for (const { offset, size } of shadow) this.#shadow.set(offset, size)
    for (const register of posted) this.#posted.set(register.offset, register)
  }

  get allPosted(): Iterable<PostedRegister> {
    return this.#posted.values()
  }

  shadowSize(offset: number): AccessSize {
    const size = this.#shadow.get(offset)
    if (size === undefined) throw new MesovirtError('SHADOW_REGISTER', `no shadow register is declared at offset ${offset}`)
    return size
  }

  posted(offset: number): PostedRegister {
    const register = this.#posted.get(offset)
    if (register === undefined) throw new MesovirtError('SHADOW_REGISTER', `no posted register is declared at offset ${offset}`)
    return register
  }
}
