/** What a machine has said so far, and waiting for what it says next. */
import { IS_IN_LAB } from './accelerator.ts'

/** A busy box may be many times slower than an idle one, and the lab is slower again: this limit only ends a test that hangs. */
export const PATIENCE_MS = IS_IN_LAB ? 900_000 : 180_000

const SHOWN_ON_FAILURE = 1500

export class Transcript {
  readonly #name: string
  readonly #wakeups = new Set<() => void>()
  #text = ''
  #read = 0
  #ended: string | undefined

  /** @param name what talks, for error messages */
  constructor(name: string) {
    this.#name = name
  }

  /** All text so far. */
  get all(): string {
    return this.#text
  }

  /** What `until` has not passed yet. */
  get rest(): string {
    return this.#text.slice(this.#read)
  }

  append(chunk: string): void {
    this.#text += chunk
    this.#wake()
  }

  /** Nothing more will come. */
  end(why: string): void {
    this.#ended ??= why
    this.#wake()
  }

  /**
   * Waits for text after the end of the last match, as a person reads on.
   * @returns the text from there to the end of this match
   */
  async until(wanted: string | RegExp, patienceMs = PATIENCE_MS): Promise<string> {
    const deadline = Date.now() + patienceMs
    for (;;) {
      const rest = this.rest
      const at = typeof wanted === 'string' ? rest.indexOf(wanted) : rest.search(wanted)
      if (at >= 0) {
        const length = typeof wanted === 'string' ? wanted.length : wanted.exec(rest)?.[0].length ?? 0
        this.#read += at + length
        return rest.slice(0, at + length)
      }
      if (this.#ended !== undefined) throw this.#missing(wanted, this.#ended)
      const left = deadline - Date.now()
      if (left <= 0) throw this.#missing(wanted, `nothing of it within ${patienceMs / 1000} s`)
      await this.#change(left)
    }
  }

  #missing(wanted: string | RegExp, why: string): Error {
    return new Error(`${this.#name}: waited for ${String(wanted)}, but ${why}; the last it said: ${JSON.stringify(this.#text.slice(-SHOWN_ON_FAILURE))}`)
  }

  #change(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        this.#wakeups.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, limitMs)
      this.#wakeups.add(wake)
    })
  }

  #wake(): void {
    for (const wake of [...this.#wakeups]) wake()
  }
}
