/** Whether each vCPU of the software CPU has a thread of its own (docs/adr/0006-threads-for-vcpus.md). */
import { MesovirtError } from '../../host/errors.ts'
import type { MachineClock, ThreadMode } from '../hypervisor.ts'

export const MOST_THREADS = 16

export interface ThreadFacts {
  readonly cpus: number
  readonly clock: MachineClock
  /** as the user wants it */
  readonly wanted: ThreadMode | undefined
  readonly architecture?: string
}

/** @throws MesovirtError TCG_THREADS where threads were asked for and cannot be */
export function threadMode({ cpus, clock, wanted, architecture = process.arch }: ThreadFacts): ThreadMode {
  const obstacle = clock.kind === 'instruction-count' ? '-icount counts the instructions of all vCPUs in one thread'
    : cpus > MOST_THREADS ? `at most ${MOST_THREADS} vCPUs have threads of their own`
      : architecture !== 'x64' ? 'only x86-64 hosts keep the memory order that guests expect' : undefined
  if (wanted === 'multi' && obstacle !== undefined) throw new MesovirtError('TCG_THREADS', `-accel tcg,thread=multi: ${obstacle}; leave it out, or use thread=single`)
  return wanted ?? 'single'
}
