/** The operating system's id of the calling thread (gettid(2)), as QMP's query-cpus reports it. Off Linux there is none: the process id stands in. */
import { readlinkSync } from 'node:fs'
import { ffi } from './ffi.ts'

/**
 * Id of the calling thread. /proc/thread-self comes first: a synchronous readlink runs on the calling thread and costs microseconds, loading
 * koffi costs milliseconds of start-up; koffi serves where /proc is not mounted.
 */
export function currentThreadId(): number {
  if (process.platform !== 'linux') return process.pid
  return fromProc() ?? fromLibc() ?? process.pid
}

function fromProc(): number | undefined {
  try {
    const match = /^\d+\/task\/(\d+)$/.exec(readlinkSync('/proc/thread-self'))
    return match?.[1] === undefined ? undefined : Number(match[1])
  } catch {
    return undefined
  }
}

function fromLibc(): number | undefined {
  try {
    return ffi().libc.gettid()
  } catch {
    return undefined
  }
}
