/**
 * A vCPU thread's side of the translator, where each vCPU has a thread. The translator gives every region a slot and sends its module to all threads;
 * each makes an instance and puts the functions into its own table, whose other slots hold a function that says "interpret". The first to have a region
 * marks its block (placeRegion), and from then on all call it. A slot gets another region only after a full flush, when every table was emptied before its
 * thread went on.
 */
import { receiveMessageOnPort, Worker } from 'node:worker_threads'
import { distFile } from '../../../host/dist-file.ts'
import { wasm } from '../../../host/wasm.ts'
import { CPU_AREA, CPU_JIT_READY, CPU_STRIDE, G_JIT_BYTES, G_JIT_COMPILE_US, G_JIT_EPOCH, G_JIT_HEAD, G_JIT_UOPS, JIT_REGIONS } from '../core/layout.ts'
import type { Core, OwnWorkerSetup } from '../worker-control.ts'
import { HOT } from './client.ts'
import type { Translated, TranslatorSetup } from './client.ts'

/** Modules taken between two calls of the core: after a long sleep there may be hundreds, and the guest waits. */
const AT_ONCE = 8

export class RegionReceiver {
  readonly #core: Core
  readonly #setup: OwnWorkerSetup
  readonly #view: DataView
  readonly #words: Int32Array
  readonly #imports: object
  readonly #ready: number
  /** table index of slot 0 */
  readonly #base: number
  readonly #used: number[] = []
  #epoch = 0
  #started = false

  constructor(core: Core, setup: OwnWorkerSetup) {
    this.#core = core
    this.#setup = setup
    this.#view = new DataView(setup.memory.buffer)
    this.#words = new Int32Array(setup.memory.buffer)
    this.#imports = { core, env: { memory: setup.memory } }
    this.#ready = CPU_AREA + setup.index * CPU_STRIDE + CPU_JIT_READY >> 2
    this.#base = setup.translator === 'off' ? 0 : core.table.grow(JIT_REGIONS, core.regionMissing)
    // Forced: every block is asked for when it is first entered.
    if (setup.translator !== 'off') core.setThreshold(setup.translator === 'force' ? 1 : HOT)
  }

  /** Called while this thread is not in the guest, and before it enters it after a full flush. */
  serve(): void {
    this.#followEpoch()
    if (this.#setup.translator === 'off') return
    if (!this.#started && this.#setup.senders !== undefined && Atomics.load(this.#words, G_JIT_HEAD >> 2) !== 0) this.#start(this.#setup.senders)
    if (Atomics.exchange(this.#words, this.#ready, 0) === 0) return
    for (let count = 0; count < AT_ONCE; count++) {
      const message = receiveMessageOnPort(this.#setup.regions) as { readonly message: Translated } | undefined
      if (message === undefined) return
      this.#install(message.message)
    }
    Atomics.store(this.#words, this.#ready, 1)
  }

  #followEpoch(): void {
    const epoch = this.#view.getUint32(G_JIT_EPOCH, true)
    if (epoch === this.#epoch) return
    for (const index of this.#used) this.#core.table.set(index, this.#core.regionMissing)
    this.#used.length = 0
    this.#epoch = epoch
    this.#core.knowEpoch(epoch)
  }

  #install({ module, entries, epoch, firstSlot, uops, bytes, microseconds }: Translated): void {
    if (this.#setup.index === 0) {
      this.#add(G_JIT_UOPS, uops)
      this.#add(G_JIT_BYTES, bytes)
      this.#add(G_JIT_COMPILE_US, microseconds)
    }
    if (epoch !== this.#epoch) return
    const functions = new wasm.Instance(module, this.#imports).exports as Record<string, unknown>
    entries.forEach(({ first, region }, at) => {
      const index = this.#base + (firstSlot ?? 0) + at
      this.#core.table.set(index, functions[`r${region}`])
      this.#used.push(index)
      this.#core.placeRegion(first, index, epoch)
    })
  }

  #add(at: number, value: number): void {
    this.#view.setBigUint64(at, this.#view.getBigUint64(at, true) + BigInt(Math.round(value)), true)
  }

  #start(senders: OwnWorkerSetup['senders'] & object): void {
    this.#started = true
    const [port, ...others] = senders
    if (port === undefined) return
    const limits = { initial: this.#setup.memory.buffer.byteLength / 65536, maximum: 65536 }
    const workerData: TranslatorSetup = { memory: this.#setup.memory, port, others, limits }
    const worker = new Worker(distFile('tcg-translator-worker.js'), { workerData, transferList: [...senders], stdin: false })
    worker.unref() // it ends with this thread
  }
}
