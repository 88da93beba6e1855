/** What the bench runs on: figures mean nothing without it. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'

export const QEMU = 'qemu-system-x86_64'

export interface HostFacts {
  readonly cpu: string
  readonly cores: number
  readonly memoryGib: number
  readonly kernel: string
  readonly node: string
  readonly v8: string
  /** first line of QEMU's -version, undefined without QEMU */
  readonly qemu: string | undefined
  /** load average of the last minute */
  readonly load: number
}

export function hostFacts(): HostFacts {
  const cpus = os.cpus()
  return {
    cpu: cpus[0]?.model.trim() ?? 'unknown processor', cores: cpus.length, memoryGib: Math.round(os.totalmem() / 2 ** 30), kernel: os.release().split('-')[0] ?? '',
    node: process.version, v8: process.versions.v8, qemu: qemuVersion(), load: os.loadavg()[0] ?? 0,
  }
}

function qemuVersion(): string | undefined {
  const { status, stdout } = spawnSync(QEMU, ['--version'], { encoding: 'utf8' })
  return status === 0 ? stdout.split('\n')[0]?.replace('emulator version ', '') : undefined
}

const TICKS_PER_SECOND = 100 // USER_HZ, the unit of /proc in every Linux ABI

/** CPU seconds that a process, or one of its threads, has used; proc(5). undefined when it is gone. */
export function cpuSeconds(pid: number, thread?: number): number | undefined {
  const file = thread === undefined ? `/proc/${pid}/stat` : `/proc/${pid}/task/${thread}/stat`
  try {
    // Field 2 is a name in parentheses that may hold anything; fields 14 and 15 are user and system time.
    const fields = fs.readFileSync(file, 'utf8').replace(/^.*\) /s, '').split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  } catch {
    return undefined
  }
}

/** How often the threads of a process went to sleep of their own accord. */
export function sleeps(pid: number): number {
  let total = 0
  for (const thread of fs.readdirSync(`/proc/${pid}/task`)) {
    try {
      total += Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'))?.[1] ?? 0)
    } catch {
      // a thread that has just ended
    }
  }
  return total
}

/** Proportional set size of a process in MiB, undefined when it cannot be read. */
export function memoryMib(pid: number): number | undefined {
  try {
    const kib = /^Pss:\s*(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]
    return kib === undefined ? undefined : Number(kib) / 1024
  } catch {
    return undefined
  }
}
