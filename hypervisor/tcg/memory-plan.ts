/** Where everything goes in the one shared WebAssembly memory of the software CPU; the fixed part is core/layout.ts. */
import { addressSpaceLeft, checkThreadRoom } from '../../host/address-space-limit.ts'
import { MesovirtError } from '../../host/errors.ts'
import type { RamRequest } from '../hypervisor.ts'
import { CPU_AREA, CPU_STRIDE, PAGE_BYTES } from './core/layout.ts'
import { wasm } from '../../host/wasm.ts'
import type { WasmMemory } from '../../host/wasm.ts'
import { alignedOffset, ramAlignment, ramInBuffer, withRamFile } from '../../host/ram.ts'
import type { Ram } from '../../host/ram.ts'
import { nativeOption } from '../../host/ram-backing.ts'
import type { RamBacking } from '../../host/ram-backing.ts'

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

export interface TcgMemory {
  readonly plan: MemoryPlan
  readonly memory: WasmMemory
  /** RAM as native code has it, where something is wanted of it that WebAssembly alone cannot do. */
  readonly native: Ram | undefined
}

/**
 * Makes the memory, and has a file back the part that is RAM where the user wants one. Needs no native code otherwise.
 * @throws MesovirtError TCG_MEMORY, RAM_FILE, RAM_HUGE_PAGES, RAM_PREALLOCATION, RAM_MAPPING, RAM_ALLOCATION, FFI_MISSING
 */
export function allocateMemory(cpus: number, ram: readonly RamRequest[], backing: RamBacking = {}, threads = 1): TcgMemory {
  if (nativeOption(backing) === undefined) {
    const plan = planMemory(cpus, ram)
    return { plan, memory: makeMemory(plan, threads), native: undefined }
  }
  const size = totalSize(ram)
  return withRamFile(size, backing, (file) => {
    // Where the memory begins is known only when it is there, and RAM is to begin on a border of the host's huge pages.
    const alignment = ramAlignment(file)
    const loose = planMemory(cpus, ram, alignment)
    const memory = makeMemory(loose, threads)
    const plan = moveRam(loose, alignedOffset(memory.buffer, loose.ramBase, alignment) - loose.ramBase)
    return { plan, memory, native: ramInBuffer(memory.buffer, plan.ramBase, size, file, backing) }
  })
}

function moveRam(plan: MemoryPlan, by: number): MemoryPlan {
  return { ...plan, ramBase: plan.ramBase + by, ramEnd: plan.ramEnd + by, ramOffsets: plan.ramOffsets.map((offset) => offset + by) }
}

function totalSize(ram: readonly RamRequest[]): number {
  return ram.reduce((sum, { size }) => sum + size, 0)
}

/**
 * @param cpus number of vCPUs
 * @param ram blocks of whole 4 KiB pages; they follow one another in the memory, in this order
 * @param room bytes left free behind RAM
 * @throws MesovirtError TCG_MEMORY when it does not fit into 4 GiB
 */
export function planMemory(cpus: number, ram: readonly RamRequest[], room = 0): MemoryPlan {
  const ramSize = totalSize(ram)
  const blockTable = alignUp(CPU_AREA + cpus * CPU_STRIDE, WASM_PAGE)
  const pageInfo = blockTable + BLOCK_TABLE_ENTRIES * 4
  const decoded = alignUp(pageInfo + ramSize / GUEST_PAGE * PAGE_BYTES, WASM_PAGE)
  const ramBase = alignUp(decoded + DECODED_BYTES, RAM_ALIGNMENT)
  const ramEnd = ramBase + ramSize
  if (ramEnd + room > MEMORY_LIMIT) {
    const most = Math.floor((MEMORY_LIMIT - room - ramBase) / MIB)
    throw new MesovirtError('TCG_MEMORY', `${Math.ceil(ramSize / MIB)} MiB of memory do not fit beside ${cpus} vCPUs of the tcg accelerator; use -m ${most} or less`)
  }
  let next = ramBase
  const ramOffsets = ram.map(({ size }) => {
    const offset = next
    next += size
    return offset
  })
  return { blockTable, pageInfo, decoded, decodedEnd: decoded + DECODED_BYTES, ramBase, ramEnd, ramOffsets, pages: Math.max(MIN_PAGES, Math.ceil((ramEnd + room) / WASM_PAGE)) }
}

/** @throws MesovirtError TCG_MEMORY when the host has no room for it, RAM_ALLOCATION when its thread has none beside it */
export function makeMemory(plan: MemoryPlan, threads = 1): WasmMemory {
  let memory: WasmMemory
  try {
    memory = new wasm.Memory({ initial: plan.pages, maximum: plan.pages, shared: true })
  } catch (cause) {
    const advice = addressSpaceLeft() === Infinity ? 'use a smaller -m' : 'raise the limit of the address space (ulimit -v): WebAssembly reserves 10 GiB of it'
    throw new MesovirtError('TCG_MEMORY', `the host cannot give the machine ${Math.ceil(plan.pages * WASM_PAGE / MIB)} MiB of memory; ${advice}`, { cause })
  }
  checkThreadRoom(threads)
  return memory
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment
}
