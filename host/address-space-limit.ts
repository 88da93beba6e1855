/** What a limit of the address space (getrlimit(2) RLIMIT_AS, `ulimit -v`) leaves to this process, as proc(5) shows it. Elsewhere there is none. */
import fs from 'node:fs'
import { MesovirtError } from './errors.ts'

const MIB = 2 ** 20
/** V8 reserves some 715 MiB for a thread (Node 20.20, x86-64), and ends the process where it cannot. */
const THREAD_BYTES = 768 * MIB

/** Bytes; Infinity without a limit. @param root where proc is */
export function addressSpaceLeft(root = ''): number {
  const limit = number(`${root}/proc/self/limits`, /^Max address space +(\d+) /m)
  const used = number(`${root}/proc/self/status`, /^VmSize:\s+(\d+) kB/m)
  return limit === undefined || used === undefined ? Infinity : Math.max(0, limit - used * 1024)
}

/**
 * Refuses a machine whose threads cannot be started any more.
 * @param left what is left beside its memory
 * @throws MesovirtError RAM_ALLOCATION
 */
export function checkThreadRoom(threads: number, left: number = addressSpaceLeft()): void {
  const needed = threads * THREAD_BYTES
  if (left >= needed) return
  throw new MesovirtError('RAM_ALLOCATION',
    `the limit of the address space (ulimit -v) leaves ${Math.floor(left / MIB)} MiB beside the guest's memory, and its threads need ${needed / MIB} MiB; raise it, or use a smaller -m or -smp`)
}

function number(file: string, pattern: RegExp): number | undefined {
  try {
    const digits = pattern.exec(fs.readFileSync(file, 'utf8'))?.[1]
    return digits === undefined ? undefined : Number(digits)
  } catch {
    return undefined
  }
}
