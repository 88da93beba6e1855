/** How the command line talks: one line on standard error per error or notice. */
import { MesovirtError } from '../host/errors.ts'
import { printable } from '../machine-manager/options/errors.ts'

const MAX_LINE = 1000

/** `mesovirt: text`, always one line. */
export function say(text: string): void {
  process.stderr.write(`mesovirt: ${printable(text, MAX_LINE)}\n`)
}

/** Says what went wrong. Errors of ours explain themselves; anything else is a defect, and MESOVIRT_LOG_LEVEL=debug shows where. */
export function sayError(error: unknown): void {
  if (error instanceof MesovirtError) {
    say(error.message)
    return
  }
  say(`internal error: ${error instanceof Error ? error.message : String(error)}; MESOVIRT_LOG_LEVEL=debug shows where`)
  const level = process.env['MESOVIRT_LOG_LEVEL'] ?? ''
  if ((level === 'debug' || level === 'trace') && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
}

/** Prints text that was asked for. A reader that goes away early (`mesovirt -help | head -1`) is no error of ours. */
export function print(text: string): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') say(`cannot write the output (${error.code ?? error.message})`)
    process.exit(error.code === 'EPIPE' ? 0 : 1)
  })
  process.stdout.write(text)
}

/** Width of the terminal that text goes to, 80 where there is none. */
export function columnsOf(stream: NodeJS.WriteStream): number {
  return stream.isTTY ? stream.columns : 80
}
