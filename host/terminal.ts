/** A terminal in raw mode that is put back on every way out of the process (termios(3) through Node's tty). Left out: window size, output modes. */
import type { ReadStream } from 'node:tty'
import { onProcessEnd } from './cleanup.ts'

/** A terminal that is in raw mode now. */
export interface RawTerminal {
  /** Puts the terminal back as it was. Later calls do nothing. */
  restore(): void
  /** Puts the terminal back, stops the process as Ctrl-Z does, and returns to raw mode when the shell continues it. */
  suspend(): void
}

/**
 * Switches a terminal to raw mode: no echo, no line editing, no signals from keys. It is restored by `restore()`, at process end, on ending
 * signals and after an uncaught exception. A terminal whose mode the shell changed while the process was stopped becomes raw again on SIGCONT.
 * @param input the terminal; must be a TTY
 */
export function enterRawMode(input: ReadStream = process.stdin as ReadStream): RawTerminal {
  let raw = true
  input.setRawMode(true)
  const again = () => {
    // libuv remembers the mode and ignores a repeated request, hence the way through cooked mode.
    input.setRawMode(false)
    input.setRawMode(true)
  }
  process.on('SIGCONT', again)
  const restore = onProcessEnd(() => {
    if (!raw) return
    raw = false
    process.off('SIGCONT', again)
    input.setRawMode(false)
  })
  return {
    restore: () => restore.run(),
    suspend() {
      if (!raw) return
      input.setRawMode(false)
      process.kill(process.pid, 'SIGTSTP')
    },
  }
}
