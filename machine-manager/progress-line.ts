/** How far something slow is, as a line on standard error that goes away when it is done. On terminals only: nothing is written elsewhere. */
const PERIOD_MS = 100
const ERASE_LINE = '\r\x1b[K'
const MIB = 2 ** 20

export class ProgressLine {
  readonly #what: string
  readonly #out: Pick<NodeJS.WriteStream, 'isTTY' | 'write'>
  #shownAt = -Infinity
  #visible = false

  constructor(what: string, out: Pick<NodeJS.WriteStream, 'isTTY' | 'write'> = process.stderr) {
    this.#what = what
    this.#out = out
  }

  readonly show = (doneBytes: number, totalBytes: number): void => {
    if (!this.#out.isTTY) return
    if (doneBytes >= totalBytes) return this.clear()
    const now = performance.now()
    if (now - this.#shownAt < PERIOD_MS) return
    this.#shownAt = now
    this.#visible = true
    this.#out.write(`${ERASE_LINE}${this.#what}: ${Math.floor(doneBytes / totalBytes * 100)}% of ${Math.ceil(totalBytes / MIB)} MiB`)
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#visible) this.#out.write(ERASE_LINE)
    this.#visible = false
  }
}
