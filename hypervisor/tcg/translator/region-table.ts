/**
 * Translated code in a vCPU thread: modules become instances on the core's functions, their regions go into the core's own table, and the blocks they were
 * made of point there. Slots of regions whose code was dropped are used again.
 */
import { wasm } from '../../../host/wasm.ts'
import type { WasmMemory } from '../../../host/wasm.ts'
import {
  BLOCK_BYTES, BLOCK_HEAT, G_JIT_ALIVE, G_JIT_DROPPED, G_JIT_EPOCH, G_JIT_HOOK, G_JIT_MADE, HEAT_DEAD, HEAT_REGION, JIT_REGIONS,
} from '../core/layout.ts'
import type { Entry } from './translator.ts'

interface Table { readonly length: number; grow(by: number, value?: unknown): number; set(index: number, value: unknown): void }
/** Exports of the core that regions and this file use. */
export interface TranslatingCore {
  readonly table: Table
  flushAll(): void
  setThreshold(entries: number): void
  /** @returns 0 when the block is not there or has a region */
  placeRegion(first: number, slot: number, epoch: number): number
}

/** Regions whose blocks were dropped are looked for when there are this many. */
const SWEEP = 64
const MOST_ENTRIES = 64

export class RegionTable {
  readonly #core: TranslatingCore
  readonly #memory: WasmMemory
  readonly #view: DataView
  readonly #imports: object
  readonly #pages: number
  readonly #most: number
  /** slot -> address of the block it belongs to, 0: free */
  readonly #slots = new Map<number, number>()
  #free: number[] = []
  #epoch: number
  #droppedSeen = 0
  regions = 0
  installed = 0

  /** @param most entries alive at a time; with one more, everything is forgotten, and what is still hot comes back */
  constructor(core: TranslatingCore, memory: WasmMemory, most = JIT_REGIONS) {
    this.#most = most
    this.#core = core
    this.#memory = memory
    this.#view = new DataView(memory.buffer)
    this.#imports = { core, env: { memory } }
    this.#pages = memory.buffer.byteLength / 65536
    this.#epoch = this.#u32(G_JIT_EPOCH)
  }

  get limits(): { readonly initial: number; readonly maximum: number } {
    return { initial: this.#pages, maximum: 65536 }
  }

  #u32(at: number): number {
    return this.#view.getUint32(at, true)
  }

  /** Puts the regions of a module in place, unless what they were made of is gone. Called while no region runs. */
  install(module: object, entries: readonly Entry[], epoch: number): void {
    this.sweep()
    if (epoch !== this.#epoch) return
    if (this.#slots.size + entries.length > this.#most) {
      this.#flush()
      return
    }
    if (!entries.some(({ first }) => this.#isWaiting(first))) return
    const functions = new wasm.Instance(module, this.#imports).exports as Record<string, unknown>
    for (const { first, region } of entries) {
      if (!this.#isWaiting(first)) continue
      const slot = this.#slot()
      this.#core.table.set(slot, functions[`r${region}`])
      if (this.#core.placeRegion(first, slot, epoch) === 0) {
        this.#free.push(slot)
        continue
      }
      this.#slots.set(slot, first)
      this.installed++
    }
    this.#count()
  }

  /** Neither dropped nor translated yet, whether it was asked for or just lay in the region. */
  #isWaiting(first: number): boolean {
    return this.#u32(first - BLOCK_BYTES + BLOCK_HEAT) < HEAT_DEAD
  }

  #count(): void {
    this.regions = this.#slots.size
    this.#view.setBigUint64(G_JIT_MADE, BigInt(this.installed), true)
    this.#view.setBigUint64(G_JIT_ALIVE, BigInt(this.regions), true)
  }

  /** Takes back the slots of dropped regions. */
  sweep(): void {
    const epoch = this.#u32(G_JIT_EPOCH), dropped = this.#u32(G_JIT_DROPPED)
    if (epoch === this.#epoch && dropped - this.#droppedSeen < SWEEP) return
    for (const [slot, first] of this.#slots) {
      if (epoch === this.#epoch && this.#u32(first - BLOCK_BYTES + BLOCK_HEAT) >>> 16 === (HEAT_REGION >>> 16 | slot)) continue
      this.#core.table.set(slot, null)
      this.#slots.delete(slot)
      this.#free.push(slot)
    }
    this.#epoch = epoch
    this.#droppedSeen = dropped
    this.#count()
  }

  #slot(): number {
    if (this.#free.length === 0) {
      const from = this.#core.table.grow(256)
      this.#free = Array.from({ length: 256 }, (_, index) => from + 255 - index)
    }
    return this.#free.pop() as number
  }

  /** Room for one more module's entries. */
  get isFull(): boolean {
    return this.#slots.size >= this.#most - MOST_ENTRIES
  }

  /** For translation at once, which cannot flush while a region may be running: called between slices. */
  makeRoom(): void {
    this.sweep()
    if (this.isFull) this.#flush()
  }

  #flush(): void {
    this.#core.flushAll()
    this.sweep()
  }

  /** What the core calls with each block that gets hot, instead of queueing it; it must be a function of WebAssembly. */
  hook(call: unknown): void {
    const slot = this.#slot()
    this.#core.table.set(slot, call)
    this.#view.setUint32(G_JIT_HOOK, slot, true)
  }

  get memory(): WasmMemory {
    return this.#memory
  }
}
