/** The lines typed before, kept in the user's state folder (XDG Base Directory Specification). A history that cannot be read or written is no error. */
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'

const MAX_LINES = 1000
/** A longer line is not worth keeping. */
const MAX_LINE_LENGTH = 4096

export function historyPath(environment: NodeJS.ProcessEnv): string {
  const state = environment['XDG_STATE_HOME'] ?? ''
  return join(isAbsolute(state) ? state : join(homedir(), '.local', 'state'), 'mesovirt', 'qmp-history')
}

export class History {
  private readonly path: string

  constructor(path: string) {
    this.path = path
  }

  /** The newest lines, oldest first. Cuts the file when it has grown beyond twice the bound. */
  load(): readonly string[] {
    try {
      const lines = readFileSync(this.path, 'utf8').split('\n').filter((line) => line !== '')
      const kept = lines.slice(-MAX_LINES)
      if (lines.length > 2 * MAX_LINES) writeFileSync(this.path, `${kept.join('\n')}\n`, { mode: 0o600 })
      return kept
    } catch {
      return []
    }
  }

  add(line: string): void {
    if (line.trim() === '' || line.length > MAX_LINE_LENGTH || line.includes('\n')) return
    try {
      mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 })
      appendFileSync(this.path, `${line}\n`, { mode: 0o600 })
    } catch {
      // A read-only home keeps nothing; the session itself goes on.
    }
  }
}
