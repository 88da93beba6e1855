/** The counters of the software CPU in the words of `info accel`; layout.ts STAT_* names them. */
import type { AcceleratorStatistics, Counter } from '../hypervisor.ts'
import {
  G_JIT_ALIVE, G_JIT_BYTES, G_JIT_COMPILE_US, G_JIT_DROPPED, G_JIT_ENTRIES, G_JIT_HEAD, G_JIT_MADE, G_JIT_RETIRED, G_JIT_RUNS,
  G_JIT_SAMPLED_NS, G_JIT_SAMPLES, G_JIT_TAIL, G_JIT_UOPS, G_RETIRED, G_RUN_NS, G_STATS, G_UOP_BASE, G_UOP_NEXT, STAT_BLOCKS, STAT_CACHE_FLUSHES, STAT_EXCEPTIONS, STAT_HALTS, STAT_INTERRUPTS, STAT_INVALIDATIONS, STAT_MMIO, STAT_PIO, STAT_TLB_FILLS, STAT_TLB_FLUSHES,
  STAT_UOPS, CPU_AREA, CPU_JIT_ENTRIES, CPU_JIT_RETIRED, CPU_JIT_RUNS, CPU_RETIRED, CPU_STATS, CPU_STRIDE, G_CPU_COUNT,
} from './core/layout.ts'

const COUNTERS = [
  ['blocks decoded', STAT_BLOCKS], ['instructions decoded', STAT_UOPS], ['code invalidations', STAT_INVALIDATIONS], ['code cache flushes', STAT_CACHE_FLUSHES],
  ['TLB fills', STAT_TLB_FILLS], ['TLB flushes', STAT_TLB_FLUSHES], ['exceptions', STAT_EXCEPTIONS], ['interrupts', STAT_INTERRUPTS],
  ['MMIO accesses', STAT_MMIO], ['port accesses', STAT_PIO], ['halts', STAT_HALTS],
] as const

/** Called at a reset, while no vCPU runs. The instruction count of a single thread is the core's to clear. */
export function clearStatistics(view: DataView): void {
  for (const [, index] of COUNTERS) {
    view.setBigUint64(G_STATS + index * 8, 0n, true)
    for (const cpu of vcpus(view)) view.setBigUint64(cpu + CPU_STATS + index * 8, 0n, true)
  }
  for (const cpu of vcpus(view)) view.setBigUint64(cpu + CPU_RETIRED, 0n, true)
}

function vcpus(view: DataView): number[] {
  return Array.from({ length: view.getUint32(G_CPU_COUNT, true) }, (_, index) => CPU_AREA + index * CPU_STRIDE)
}

/** A count of the one thread for all vCPUs, or the sum of those that each has: the other is 0. */
function total(view: DataView, machine: number, own: number): bigint {
  return vcpus(view).reduce((sum, cpu) => sum + view.getBigUint64(cpu + own, true), view.getBigUint64(machine, true))
}

/** @param view the shared memory; the vCPU thread flushes its instruction count every few milliseconds */
export function coreStatistics(view: DataView): Pick<AcceleratorStatistics, 'instructions' | 'counters'> {
  return {
    instructions: total(view, G_RETIRED, CPU_RETIRED),
    counters: COUNTERS.map(([name, index]) => ({ name, value: total(view, G_STATS + index * 8, CPU_STATS + index * 8) })),
  }
}

/** Host time in translated code: of the entries that were timed, for all of them. */
function regionsNs(view: DataView): bigint {
  const samples = view.getBigUint64(G_JIT_SAMPLES, true), running = view.getBigUint64(G_RUN_NS, true)
  if (samples === 0n) return 0n
  const estimate = view.getBigUint64(G_JIT_SAMPLED_NS, true) * total(view, G_JIT_RUNS, CPU_JIT_RUNS) / samples
  return estimate < running ? estimate : running
}

/** As coreStatistics, of the translator. */
export function translatorStatistics(view: DataView): Counter[] {
  const long = (at: number): bigint => view.getBigUint64(at, true)
  return [
    { name: 'blocks waiting', value: BigInt(view.getInt32(G_JIT_HEAD, true) - view.getInt32(G_JIT_TAIL, true)) },
    { name: 'entries into regions made', value: long(G_JIT_MADE) }, { name: 'entries into regions alive', value: long(G_JIT_ALIVE) },
    { name: 'entries dropped with their code', value: BigInt(view.getUint32(G_JIT_DROPPED, true)) }, { name: 'instructions translated', value: long(G_JIT_UOPS) },
    { name: 'bytes of WebAssembly', value: long(G_JIT_BYTES) }, { name: 'time translating, us', value: long(G_JIT_COMPILE_US) },
    { name: 'time running, us', value: long(G_RUN_NS) / 1000n }, { name: 'time in regions, us, by samples', value: regionsNs(view) / 1000n },
    { name: 'time interpreting, us, the rest', value: (long(G_RUN_NS) - regionsNs(view)) / 1000n },
    { name: 'code invalidations', value: total(view, G_STATS + STAT_INVALIDATIONS * 8, CPU_STATS + STAT_INVALIDATIONS * 8) }, { name: 'code cache flushes', value: total(view, G_STATS + STAT_CACHE_FLUSHES * 8, CPU_STATS + STAT_CACHE_FLUSHES * 8) },
    { name: 'bytes of decoded code', value: BigInt(view.getUint32(G_UOP_NEXT, true) - view.getUint32(G_UOP_BASE, true)) },
    { name: 'instructions executed in regions', value: total(view, G_JIT_RETIRED, CPU_JIT_RETIRED) }, { name: 'times a region was entered', value: total(view, G_JIT_ENTRIES, CPU_JIT_ENTRIES) },
  ]
}
