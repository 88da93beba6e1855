/** The vCPU thread's side of the translator: starts its thread when the first block gets hot, and puts in place what it has made. */
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { distFile } from '../../../host/dist-file.ts'
import type { WasmMemory } from '../../../host/wasm.ts'
import { G_JIT_BYTES, G_JIT_COMPILE_US, G_JIT_HEAD, G_JIT_READY, G_JIT_UOPS } from '../core/layout.ts'
import { RegionTable } from './region-table.ts'
import type { TranslatingCore } from './region-table.ts'
import type { Entry } from './translator.ts'

/** Entries that make a block hot. */
export const HOT = 1000

export interface TranslatorSetup {
  readonly memory: WasmMemory
  readonly port: MessagePort
  /** threads of further vCPUs, where each has one; then slots are given out here */
  readonly others?: readonly MessagePort[]
  readonly limits: { readonly initial: number; readonly maximum: number }
}

export interface Translated {
  readonly module: object
  readonly entries: readonly Entry[]
  /** G_JIT_EPOCH when the blocks were read */
  readonly epoch: number
  /** where each vCPU has a thread: the slot of the first entry, the others follow */
  readonly firstSlot?: number | undefined
  readonly uops: number
  readonly bytes: number
  readonly microseconds: number
}

export class TranslatorClient {
  readonly #memory: WasmMemory
  readonly #view: DataView
  readonly #words: Int32Array
  readonly #table: RegionTable
  #port: MessagePort | undefined

  /** @param atOnce translates in this thread: `translator=force` */
  constructor(core: TranslatingCore, memory: WasmMemory, atOnce?: (table: RegionTable) => void) {
    this.#memory = memory
    this.#view = new DataView(memory.buffer)
    this.#words = new Int32Array(memory.buffer)
    this.#table = new RegionTable(core, memory)
    if (atOnce === undefined) core.setThreshold(HOT)
    else atOnce(this.#table)
  }

  /** Called between slices. */
  serve(): void {
    if (this.#port === undefined) {
      if (Atomics.load(this.#words, G_JIT_HEAD >> 2) !== 0) this.#start()
      else this.#table.makeRoom()
      return
    }
    if (Atomics.exchange(this.#words, G_JIT_READY >> 2, 0) === 0) return
    for (;;) {
      const message = receiveMessageOnPort(this.#port) as { readonly message: Translated } | undefined
      if (message === undefined) return
      const { module, entries, epoch, uops, bytes, microseconds } = message.message
      this.#table.install(module, entries, epoch)
      this.#add(G_JIT_UOPS, uops)
      this.#add(G_JIT_BYTES, bytes)
      this.#add(G_JIT_COMPILE_US, microseconds)
    }
  }

  #add(at: number, value: number): void {
    this.#view.setBigUint64(at, this.#view.getBigUint64(at, true) + BigInt(Math.round(value)), true)
  }

  #start(): void {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    const workerData: TranslatorSetup = { memory: this.#memory, port: port2, limits: this.#table.limits }
    const worker = new Worker(distFile('tcg-translator-worker.js'), { workerData, transferList: [port2], stdin: false })
    worker.unref() // it ends with this thread
    port1.unref()
  }
}
