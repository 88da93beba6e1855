/** Between a source of input and a device that may not want it yet: holds up to 64 KiB back, then pauses the source. */

export const INPUT_BOUND = 64 * 1024

/** What can be told to deliver or not; Node's readable streams fit. */
export interface PausableSource {
  pause(): unknown
  resume(): unknown
}

/**
 * Reading ahead a little lets the backend notice a peer that leaves while the guest does not listen yet, and keeps what it said. A source
 * without pause (a terminal, whose Ctrl-A x must always be seen) loses what exceeds the bound.
 */
export class InputGate {
  #handler: ((bytes: Uint8Array) => void) | null = null
  #open = false
  #held: Uint8Array[] = []
  #heldBytes = 0
  #source: PausableSource | undefined
  #paused = false
  #dropped = 0

  /** Bytes lost because a source without pause brought too many. */
  get dropped(): number {
    return this.#dropped
  }

  /** Sets the source that `accept` speaks for; undefined when the peer is gone. What it sent stays. */
  attach(source: PausableSource | undefined): void {
    this.#source = source
    this.#paused = false
    this.#throttle()
  }

  accept(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    if (this.#source === undefined && this.#heldBytes + bytes.length > INPUT_BOUND) {
      this.#dropped += bytes.length
      return
    }
    this.#held.push(bytes)
    this.#heldBytes += bytes.length
    this.#deliver()
  }

  onInput(handler: ((bytes: Uint8Array) => void) | null): void {
    this.#handler = handler
    this.#deliver()
  }

  setFlow(ready: boolean): void {
    this.#open = ready
    this.#deliver()
  }

  /** The device may close the gate from inside its handler, after each chunk. */
  #deliver(): void {
    while (this.#open && this.#handler !== null) {
      const bytes = this.#held.shift()
      if (bytes === undefined) break
      this.#heldBytes -= bytes.length
      this.#handler(bytes)
    }
    this.#throttle()
  }

  #throttle(): void {
    const full = this.#heldBytes >= INPUT_BOUND
    if (full === this.#paused || this.#source === undefined) return
    this.#paused = full
    if (full) this.#source.pause()
    else this.#source.resume()
  }
}
