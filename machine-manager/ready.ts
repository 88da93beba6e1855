/** The word of a background copy to the command that started it: ready. The other end is src/daemonize.ts. */
import fs from 'node:fs'

/** Holds the number of the descriptor on which the starting command waits. Its presence marks the background copy. */
export const READY_FD_VARIABLE = 'MESOVIRT_DAEMON_READY_FD'
export const READY_WORD = 'ready\n'

let readyFd = takeReadyFd()
const daemonChild = readyFd !== undefined

/** The variable is taken out, so that no program we start believes it is a background copy. */
function takeReadyFd(): number | undefined {
  const text = process.env[READY_FD_VARIABLE]
  delete process.env[READY_FD_VARIABLE]
  return text !== undefined && /^\d{1,4}$/.test(text) && Number(text) > 2 ? Number(text) : undefined
}

/** True in the background copy that -daemonize starts. */
export function isDaemonChild(): boolean {
  return daemonChild
}

/** To be called once, when the monitors listen: lets the command that started this background copy return. Elsewhere without effect. */
export function notifyReady(): void {
  if (readyFd === undefined) return
  const fd = readyFd
  readyFd = undefined
  try {
    fs.writeSync(fd, READY_WORD)
    fs.closeSync(fd)
  } catch {
    // The starting command is gone (killed): the machine runs on, as it would have after a good start.
  }
}
