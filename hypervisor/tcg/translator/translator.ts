/** Hot blocks to a module of regions. */
import { moduleBytes } from './encoder.ts'
import type { WasmFunction } from './encoder.ts'
import { RegionEmitter } from './emit.ts'
import { IMPORTS, TYPES } from './frame.ts'
import { formRegion } from './region.ts'
import type { Limits } from './region.ts'
import type { UopReader } from './uops.ts'

/** A block and the function that begins with it. */
export interface Entry {
  /** its first uop */
  readonly first: number
  /** export r0, r1 ... of the module */
  readonly region: number
}

export interface Translation {
  readonly bytes: Uint8Array
  readonly entries: readonly Entry[]
  readonly uops: number
}

export const LIMITS: Limits = { blocks: 40, uops: 300, heat: 100, farHeat: 1000, farUops: 150 }

const imported = IMPORTS.map(({ name, type }) => ({ module: 'core', name, type }))

/**
 * @param memory its limits, in WebAssembly pages
 * @returns undefined when none of the blocks is worth it
 */
export function translate(reader: UopReader, entries: readonly number[], memory: { readonly initial: number; readonly maximum: number }, limits: Limits = LIMITS, missing?: Map<string, number>): Translation | undefined {
  const made: Entry[] = []
  const done = new Set<number>()
  const wanted = new Set(entries)
  const functions: WasmFunction[] = []
  let uops = 0
  for (const first of entries) {
    if (done.has(first)) continue
    const region = formRegion(reader, first, limits, wanted)
    if (region === undefined) continue
    for (const { target } of region.root.edges) {
      if (done.has(target.first)) continue
      done.add(target.first)
      made.push({ first: target.first, region: functions.length })
    }
    uops += region.uops
    functions.push({ type: 0, ...new RegionEmitter(region, missing).emit(region), name: `r${functions.length}` })
  }
  return functions.length === 0 ? undefined : { bytes: moduleBytes(TYPES, imported, functions, memory), entries: made, uops }
}
