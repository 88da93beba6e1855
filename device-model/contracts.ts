/** What a device knows of the world around it: an interrupt line, a clock, a character backend, and the vCPU-side shadow of its registers. */

/** One input of an interrupt controller. */
export interface InterruptLine {
  setLevel(level: 0 | 1): void
  /** A rise followed by a fall: one edge. */
  pulse(): void
}

/** A cancellable appointment of a `Clock`. */
export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Nanoseconds since machine start. */
  now(): bigint
  /** Calls back once at or after `atNs`, never from inside this call. */
  schedule(atNs: bigint, callback: () => void): Timer
}

/** What happens at the far end of a character device: a peer comes or goes, output has room again, a terminal has another size, somebody sends a break. */
export type CharEvent = 'opened' | 'closed' | 'writable' | 'resized' | 'break'

export interface TerminalSize { readonly columns: number; readonly rows: number }

/** Host side of a character device. `write` never blocks: it queues up to a bound, then drops the oldest bytes and counts them. */
export interface CharBackend {
  readonly label: string
  /** 'stdio' | 'pty' | 'socket' | 'file' | 'pipe' | 'ringbuf' | 'null' */
  readonly kind: string
  /** As query-chardev prints it, e.g. `pty:/dev/pts/3`. */
  readonly filename: string
  readonly connected: boolean
  /** False while much output waits for its reader: who must not lose any waits for 'writable'. Without it there is always room. */
  readonly canWrite?: boolean
  /** Of the terminal behind it, where there is one. */
  readonly size?: TerminalSize | undefined
  /** The bytes are copied or sent before the call returns; the caller may reuse the array. */
  write(bytes: Uint8Array): void
  onInput(handler: ((bytes: Uint8Array) => void) | null): void
  /** false: keep input back in the backend. The start state is false. */
  setFlow(ready: boolean): void
  /** Backends of which there is nothing to tell have none. */
  onEvent?(handler: ((event: CharEvent) => void) | null): void
  close(): Promise<void>
}

/**
 * The part of a device's registers that vCPUs serve without asking the device (`ShadowPage` of the address space fits). Offsets are byte offsets
 * from the device's base.
 */
export interface RegisterShadow {
  /** From now on a one-byte read of `offset` answers `value` without reaching the device. */
  publish(offset: number, value: number): void
  /** Reads of `offset` reach the device again, because reading now has a side effect. */
  withdraw?(offset: number): void
  /**
   * Whether the vCPU may run on after writing `offset` instead of waiting for the device. `keepsShadow`: such a write changes no published
   * register, so shadow reads stay local while it is pending.
   */
  setPosted(offset: number, enabled: boolean, options?: { keepsShadow?: boolean }): void
  /** Runs a change that comes from the host (input, a timer) after the posted writes made so far. */
  update?(change: () => void): void
}

/** Where a device reports what an operator may want to know. */
export interface DeviceEvents {
  log(message: string): void
}

/** Mistakes of the guest: counted by kind, logged once per kind, never thrown. The kinds are fixed by the device, so memory is bounded. */
export class GuestErrors {
  readonly #device: string
  readonly #events: DeviceEvents | undefined
  readonly #counts = new Map<string, number>()

  constructor(device: string, events?: DeviceEvents) {
    this.#device = device
    this.#events = events
  }

  /** @param kind a constant of the device's source, never built from guest data; @param detail shown with the first one */
  count(kind: string, detail = ''): void {
    const seen = this.#counts.get(kind) ?? 0
    this.#counts.set(kind, seen + 1)
    if (seen === 0) this.#events?.log(`${this.#device}: guest error: ${kind}${detail === '' ? '' : ` (${detail})`}`)
  }

  /** Counts so far, by kind. */
  counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts)
  }
}
