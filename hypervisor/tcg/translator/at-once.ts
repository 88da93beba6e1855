/** Translation in the vCPU thread, at once: the same in every run, and slow. For tests, and for `translator=force`. */
import { wasm } from '../../../host/wasm.ts'
import { BLOCK_BYTES, G_JIT_EPOCH } from '../core/layout.ts'
import { I32, moduleBytes } from './encoder.ts'
import type { Limits } from './region.ts'
import type { RegionTable, TranslatingCore } from './region-table.ts'
import { translate } from './translator.ts'
import { UopReader } from './uops.ts'

const GET_0 = [0x20, 0], CALL_0 = [0x10, 0], END = 0x0b

/**
 * From now on a block is translated when it is entered the `threshold`th time, and what it makes is entered right then.
 * @param missing counts the instructions that are left to the core's handlers
 */
export function translateAtOnce(table: RegionTable, core: TranslatingCore, threshold: number, limits?: Limits, missing?: Map<string, number>): void {
  const view = new DataView(table.memory.buffer)
  const reader = new UopReader(view)
  const now = (block: number): void => {
    if (table.isFull) return // nothing may be dropped here: a region may be running
    const translation = translate(reader, [block + BLOCK_BYTES], table.limits, limits, missing)
    if (translation !== undefined) table.install(new wasm.Module(translation.bytes), translation.entries, view.getUint32(G_JIT_EPOCH, true))
  }
  // The core's table takes functions of WebAssembly only: a module that hands on ours.
  const bytes = moduleBytes([{ parameters: [I32], results: [] }], [{ module: 'host', name: 'translate', type: 0 }], [
    { type: 0, locals: [], body: [...GET_0, ...CALL_0, END], name: 'hook' },
  ], undefined)
  table.hook((new wasm.Instance(new wasm.Module(bytes), { host: { translate: now } }).exports as { hook: unknown }).hook)
  core.setThreshold(threshold)
}
