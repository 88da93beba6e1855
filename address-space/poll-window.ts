/**
 * How long main keeps looking after an access before it sleeps in its event loop. To wake a sleeping thread costs 5 to 40 us, most of it where the host's
 * cores are virtual; guests that use a device do so again soon. The window follows what it would have caught, as the halt polling of Linux
 * (Documentation/virt/kvm/halt-polling.rst) does for the other direction: accesses far apart get none, and so does an idle guest.
 */
export class PollWindow {
  readonly #limit: number
  #window = 0
  #until = 0
  #last = -Infinity
  #inVain = 0
  #rest = 0

  /** @param limitMilliseconds longest window; 0: never any */
  constructor(limitMilliseconds: number) {
    this.#limit = limitMilliseconds
  }

  /** There was an access. @param now milliseconds, of a clock that `isOpen` is asked with as well */
  onAccess(now: number): void {
    const gap = now - this.#last
    this.#last = now
    if (now < this.#until) this.#inVain = 0
    else this.#adapt(gap)
    this.#until = now + this.#window
  }

  isOpen(now: number): boolean {
    return now < this.#until
  }

  #adapt(gap: number): void {
    // A window that ends in vain again and again, though it is long enough, is what keeps the vCPU from its core.
    if (this.#window > 0 && ++this.#inVain === VAIN) this.#rest = REST
    if (this.#rest > 0) {
      this.#rest--
      this.#inVain = 0
      this.#window = 0
      return
    }
    this.#window = gap < this.#limit ? Math.min(this.#limit, gap * MARGIN) : 0
  }
}

const MARGIN = 1.5
/** Windows in vain before main goes without them for REST accesses. */
const VAIN = 4, REST = 64
