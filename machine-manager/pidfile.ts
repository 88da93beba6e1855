/** The file of -pidfile: made before the machine, mode 0600, removed at the end. Left out: locking, which QEMU adds. */
import fs from 'node:fs'
import { resolve } from 'node:path'
import { onProcessEnd } from '../host/cleanup.ts'
import type { Cleanup } from '../host/cleanup.ts'
import { MesovirtError } from '../host/errors.ts'

/** A pid file holds one decimal number and a line end. */
const MAX_PID_FILE_BYTES = 32

/**
 * Writes our process id to a new file. The file of a process that is gone is replaced; anything else that is in the way is an error.
 * @returns its removal, which also happens at process end
 * @throws MesovirtError PIDFILE
 */
export function createPidFile(path: string): Cleanup {
  const absolute = resolve(path)
  if (!create(absolute)) {
    removeStale(absolute)
    if (!create(absolute)) throw new MesovirtError('PIDFILE', `-pidfile ${path}: another process is just creating it; use another file`)
  }
  const { ino } = fs.lstatSync(absolute)
  return onProcessEnd(() => {
    // Only what we made: somebody may have replaced it.
    if (fs.lstatSync(absolute).ino === ino) fs.unlinkSync(absolute)
  })
}

/** @returns false if the file exists */
function create(path: string): boolean {
  try {
    fs.writeFileSync(path, `${process.pid}\n`, { flag: 'wx', mode: 0o600 })
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw new MesovirtError('PIDFILE', `-pidfile ${path}: cannot be created (${codeOf(error)}); check the path and its permissions`, { cause: error })
  }
}

function removeStale(path: string): void {
  const pid = readPid(path)
  if (pid === undefined) throw new MesovirtError('PIDFILE', `-pidfile ${path}: exists and is no pid file; remove it or use another file`)
  // Our own number means a file from before a restart that gave us the same number, as happens in containers.
  if (pid !== process.pid && isAlive(pid)) throw new MesovirtError('PIDFILE', `-pidfile ${path}: process ${pid} still runs; end it or use another file`)
  try {
    fs.unlinkSync(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw new MesovirtError('PIDFILE', `-pidfile ${path}: cannot replace the file of a process that is gone (${codeOf(error)}); remove it`,
      { cause: error })
  }
}

function readPid(path: string): number | undefined {
  try {
    const stat = fs.lstatSync(path)
    if (!stat.isFile() || stat.size > MAX_PID_FILE_BYTES) return undefined
    const text = fs.readFileSync(path, 'utf8').trim()
    return /^[1-9]\d{0,9}$/.test(text) ? Number(text) : undefined
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
}
