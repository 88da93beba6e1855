/** APIC ids and the shares of them: Intel SDM volume 3, 10.9.1 "Hierarchical Mapping of Shared Resources". Clusters have no level of their own. */
import type { CpuTopology } from './hypervisor.ts'

/** Bits of an APIC id below each level. */
export interface TopologyShifts { readonly core: number; readonly die: number; readonly package: number }

export function topologyShifts({ threads, cores, dies }: CpuTopology): TopologyShifts {
  const core = bitsFor(threads)
  const die = core + bitsFor(cores)
  return { core, die, package: die + bitsFor(dies) }
}

/** Place of a processor in the machine. */
export interface CpuPlace { readonly socket: number; readonly die: number; readonly core: number; readonly thread: number }

export function placeOf(index: number, { threads, cores, dies }: CpuTopology): CpuPlace {
  const core = Math.floor(index / threads)
  const die = Math.floor(core / cores)
  return { socket: Math.floor(die / dies), die: die % dies, core: core % cores, thread: index % threads }
}

export function apicIdOf(index: number, topology: CpuTopology): number {
  const shifts = topologyShifts(topology)
  const { socket, die, core, thread } = placeOf(index, topology)
  return (socket << shifts.package) | (die << shifts.die) | (core << shifts.core) | thread
}

/** Bits that number `count` things: 0 for one. */
function bitsFor(count: number): number {
  return Math.ceil(Math.log2(count))
}
