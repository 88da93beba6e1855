/** Where everything goes in the one shared WebAssembly memory of the software CPU; the fixed part is core/layout.ts. */
import { MesovirtError } from '../../host/errors.ts'
import type { RamRequest } from '../hypervisor.ts'
import { CPU_AREA, CPU_STRIDE, PAGE_BYTES } from './core/layout.ts'
import { wasm } from '../../host/wasm.ts'
import type { WasmMemory } from '../../host/wasm.ts'

export const WASM_PAGE = 65_536
const GUEST_PAGE = 4096
const MIB = 2 ** 20
/** RAM starts on such a border, so that the host can back it with huge pages. */
const RAM_ALIGNMENT = 2 * MIB
/** A 32-bit offset one past the end must exist. */
const MEMORY_LIMIT = 2 ** 32 - WASM_PAGE
/** core.wasm asks for at least this much (scripts/build.mjs, --initialMemory). */
const MIN_PAGES = 1024

export const BLOCK_TABLE_ENTRIES = 2 ** 17
/** Decoded instructions: 32 bytes each; a Debian kernel's boot to user space fills some 8 MiB. */
export const DECODED_BYTES = 32 * MIB

export interface MemoryPlan {
  readonly blockTable: number
  readonly pageInfo: number
  readonly decoded: number
  readonly decodedEnd: number
  readonly ramBase: number
  readonly ramEnd: number
  /** Offset of each requested block. */
  readonly ramOffsets: readonly number[]
  /** Size of the memory in WebAssembly pages. */
  readonly pages: number
}

/**
 * @param cpus number of vCPUs
 * @param ram blocks of whole 4 KiB pages; they follow one another in the memory, in this order
 * @throws MesovirtError TCG_MEMORY when it does not fit into 4 GiB
 */
export function planMemory(cpus: number, ram: readonly RamRequest[]): MemoryPlan {
  const ramSize = ram.reduce((sum, { size }) => sum + size, 0)
  const blockTable = alignUp(CPU_AREA + cpus * CPU_STRIDE, WASM_PAGE)
  const pageInfo = blockTable + BLOCK_TABLE_ENTRIES * 4
  const decoded = alignUp(pageInfo + ramSize / GUEST_PAGE * PAGE_BYTES, WASM_PAGE)
  const ramBase = alignUp(decoded + DECODED_BYTES, RAM_ALIGNMENT)
  const ramEnd = ramBase + ramSize
  if (ramEnd > MEMORY_LIMIT) {
    const most = Math.floor((MEMORY_LIMIT - ramBase) / MIB)
    throw new MesovirtError('TCG_MEMORY', `${Math.ceil(ramSize / MIB)} MiB of memory do not fit beside ${cpus} vCPUs of the tcg accelerator; use -m ${most} or less`)
  }
  let next = ramBase
  const ramOffsets = ram.map(({ size }) => {
    const offset = next
    next += size
    return offset
  })
  return { blockTable, pageInfo, decoded, decodedEnd: decoded + DECODED_BYTES, ramBase, ramEnd, ramOffsets, pages: Math.max(MIN_PAGES, Math.ceil(ramEnd / WASM_PAGE)) }
}

/** @throws MesovirtError TCG_MEMORY when the host has no room for it */
export function makeMemory(plan: MemoryPlan): WasmMemory {
  try {
    return new wasm.Memory({ initial: plan.pages, maximum: plan.pages, shared: true })
  } catch (cause) {
    throw new MesovirtError('TCG_MEMORY', `the host cannot give the machine ${Math.ceil(plan.pages * WASM_PAGE / MIB)} MiB of memory; use a smaller -m`, { cause })
  }
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment
}
