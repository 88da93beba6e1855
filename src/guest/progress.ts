/** Progress of long steps on standard error: one line that is rewritten on a terminal, one line per step elsewhere. */

export interface Progress {
  /** A step begins. */
  step(text: string): void
  /** The running step moves on; shown on a terminal only. */
  detail(text: string): void
  /** All is done: a terminal's progress line disappears. */
  done(): void
}

/** Where progress goes; `process.stderr` is one. */
export interface ProgressStream { readonly isTTY?: boolean; readonly columns?: number; write(text: string): unknown }

const CLEAR_LINE = '\r\x1b[K'

export function createProgress(stream: ProgressStream = process.stderr): Progress {
  let current = ''
  const show = (text: string) => stream.write(`${CLEAR_LINE}${text.slice(0, Math.max(10, (stream.columns ?? 80) - 1))}`)
  return {
    step(text) {
      current = text
      if (stream.isTTY === true) show(`${text} ...`)
      else stream.write(`${text} ...\n`)
    },
    detail(text) {
      if (stream.isTTY === true) show(`${current} ... ${text}`)
    },
    done() {
      if (stream.isTTY === true) stream.write(CLEAR_LINE)
    },
  }
}

/** For tests and programs that want silence. */
export const silentProgress: Progress = { step() {}, detail() {}, done() {} }
