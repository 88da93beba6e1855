/** What the host side writes into the shared memory before the core runs: the machine-wide control words and each vCPU's CPUID table (core/layout.ts). */
import { MesovirtError } from '../../host/errors.ts'
import type { MachineClock } from '../hypervisor.ts'
import {
  CPUID_COUNT, CPUID_MAX, CPUID_TABLE, G_BLOCK_MASK, G_BLOCK_TABLE, G_CLOCK_MODE, G_CPU_COUNT, G_ICOUNT_SHIFT, G_PAGE_INFO, G_RAM_BASE, G_RAM_END, G_UOP_BASE, G_UOP_END, G_UOP_NEXT,
} from './core/layout.ts'
import type { CpuidEntry } from './cpuid.ts'
import { BLOCK_TABLE_ENTRIES } from './memory-plan.ts'
import type { MemoryPlan } from './memory-plan.ts'

export function writeControlWords(view: DataView, plan: MemoryPlan, cpus: number, clock: MachineClock): void {
  const set = (place: number, value: number) => view.setUint32(place, value, true)
  set(G_CPU_COUNT, cpus)
  set(G_CLOCK_MODE, clock.kind === 'instruction-count' ? 1 : 0)
  set(G_ICOUNT_SHIFT, clock.kind === 'instruction-count' ? clock.shift : 0)
  set(G_BLOCK_TABLE, plan.blockTable)
  set(G_BLOCK_MASK, BLOCK_TABLE_ENTRIES - 1)
  set(G_PAGE_INFO, plan.pageInfo)
  set(G_UOP_BASE, plan.decoded)
  set(G_UOP_NEXT, plan.decoded)
  set(G_UOP_END, plan.decodedEnd)
  set(G_RAM_BASE, plan.ramBase)
  set(G_RAM_END, plan.ramEnd)
}

/** @param cpu offset of the vCPU's block. @throws MesovirtError TCG_CPUID where the table is too long */
export function writeCpuid(view: DataView, cpu: number, table: readonly CpuidEntry[]): void {
  if (table.length > CPUID_MAX) throw new MesovirtError('TCG_CPUID', `${table.length} CPUID entries do not fit into ${CPUID_MAX}`)
  table.forEach(({ leaf, subleaf, eax, ebx, ecx, edx }, at) => {
    [leaf, subleaf, eax, ebx, ecx, edx].forEach((value, word) => view.setUint32(cpu + CPUID_TABLE + at * 32 + word * 4, value, true))
  })
  view.setUint32(cpu + CPUID_COUNT, table.length, true)
}
