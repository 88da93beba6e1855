/** Main's side of the threads of the software CPU, one for all vCPUs or one for each: start, commands, pause, end. Steered as worker-control.ts says. */
import { fileURLToPath } from 'node:url'
import { MessageChannel, Worker } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { BusConnection, BusServer } from '../../address-space/bus.ts'
import { distFile } from '../../host/dist-file.ts'
import type { WasmMemory } from '../../host/wasm.ts'
import type { MachineClock, ThreadMode, TranslatorMode } from '../hypervisor.ts'
import { CPU_AREA, CPU_STRIDE, CPU_WAKE, G_CLOCK_ORIGIN, G_KICK, G_WAKE, G_WALL_NS } from './core/layout.ts'
import { COMMAND_QUIT, COMMAND_RUN, CONTROL_COMMAND, CONTROL_THREAD, CONTROL_WORDS } from './worker-control.ts'
import type { OwnWorkerSetup, WorkerMessage, WorkerSetup } from './worker-control.ts'

/** How long `threadId` waits for a thread. It answers within some 20 ms, when it can at all. */
const THREAD_WAIT_MS = 2000

/** How a run ended that nobody paused. */
export type RunEnd = Extract<WorkerMessage, { readonly kind: 'triple-fault' | 'internal-error' }>
type Answer = 'ready' | 'paused' | 'done'

export interface VcpuThreadsOptions {
  readonly mode: ThreadMode
  readonly memory: WasmMemory
  readonly cpus: number
  readonly apicIds: readonly number[]
  readonly clock: MachineClock
  readonly translator: TranslatorMode
  /** No vCPU runs any more; called before `pause` resolves. `end`: why, when one of them ended the run. */
  readonly onStopped: (end: RunEnd | undefined) => void
  /** A thread has died. */
  readonly onGone: (reason: string) => void
}

export class VcpuThreads {
  readonly #options: VcpuThreadsOptions
  readonly #words: Int32Array
  readonly #view: DataView
  readonly #count: number
  readonly #control: Int32Array
  readonly #workers: Worker[] = []
  #exited: Promise<unknown> = Promise.resolve()
  /** Who waits for the threads' next answer of a kind. */
  readonly #waiting = new Map<Answer, { resolve: () => void; reject: (error: Error) => void }>()
  /** Threads that are up and parked. */
  readonly #parked = new Set<number>()
  #end: RunEnd | undefined
  /** machine time 0 on the host's monotonic clock, and when the last run ended: seconds and ns */
  #origin: readonly [number, number] = [0, 0]
  #stopped: readonly [number, number] | undefined
  #closed = false

  constructor(options: VcpuThreadsOptions) {
    this.#options = options
    this.#words = new Int32Array(options.memory.buffer)
    this.#view = new DataView(options.memory.buffer)
    this.#count = options.mode === 'multi' ? options.cpus : 1
    this.#control = new Int32Array(new SharedArrayBuffer(this.#count * CONTROL_WORDS * 4))
  }

  /** How many there are; each has a slot of the bus. */
  get count(): number {
    return this.#count
  }

  /** Resolves when all threads are up, paused. */
  async start(bus: BusServer): Promise<void> {
    const ready = this.#answer('ready')
    ready.catch(() => undefined) // awaited below, unless the end comes first
    const { mode } = this.#options
    this.#exited = Promise.all(mode === 'multi' ? this.#startOwn(bus) : [this.#startShared(bus)])
    bus.ref()
    await ready
  }

  #startShared(bus: BusServer): Promise<unknown> {
    const connection = bus.connect(0)
    return this.#startThread(0, 'tcg-vcpu-worker.js', this.#setup(connection), [connection.port])
  }

  #startOwn(bus: BusServer): Promise<unknown>[] {
    const channels = Array.from({ length: this.#count }, () => new MessageChannel())
    const senders = channels.map(({ port1 }) => port1)
    return channels.map(({ port2 }, index) => {
      const connection = bus.connect(index)
      const setup: OwnWorkerSetup = { ...this.#setup(connection), index, regions: port2, senders: index === 0 ? senders : undefined }
      return this.#startThread(index, 'tcg-own-vcpu-worker.js', setup, [connection.port, port2, ...index === 0 ? senders : []])
    })
  }

  #setup(bus: BusConnection): WorkerSetup {
    const { memory, cpus, apicIds, clock, translator } = this.#options
    return { memory, cpus, apicIds, clock, translator, bus, control: this.#control.buffer as SharedArrayBuffer, core: fileURLToPath(distFile('core.wasm')) }
  }

  #startThread(index: number, file: string, workerData: object, transferList: MessagePort[]): Promise<unknown> {
    const worker = new Worker(distFile(file), { workerData, transferList, stdin: false })
    this.#workers.push(worker)
    worker.on('message', (message: WorkerMessage) => {
      if (!this.#closed) this.#onMessage(index, message)
    })
    worker.on('error', (error) => this.#gone(error instanceof Error ? error.message : String(error)))
    const exited = new Promise((resolve) => worker.once('exit', resolve))
    void exited.then(() => this.#gone('its thread ended'))
    return exited
  }

  #gone(reason: string): void {
    if (!this.#closed) this.#options.onGone(reason)
  }

  // ---- steering ----
  /** What the first thread does for all while they are paused. */
  async command(command: number): Promise<void> {
    const done = this.#answer('done')
    this.#tell(0, command)
    await done
  }

  run(): void {
    Atomics.store(this.#words, G_KICK >> 2, 0)
    this.#parked.clear()
    if (this.#options.mode === 'multi') this.#setClock()
    for (let index = 0; index < this.#count; index++) this.#tell(index, COMMAND_RUN)
  }

  /** Resolves when no vCPU runs. */
  async pause(): Promise<void> {
    const paused = this.#answer('paused')
    this.#kick()
    await paused
  }

  /** A line has changed. */
  lineChanged(): void {
    this.#wake(0)
  }

  /** Ends the threads. Whoever waits for an answer gets `error`. */
  async close(error: Error): Promise<void> {
    this.abandon(error)
    for (let index = 0; index < this.#count; index++) this.#tell(index, COMMAND_QUIT)
    this.#kick()
    // Compiled code that runs on regardless is stopped by V8; both take about a millisecond.
    await Promise.all(this.#workers.map(async (worker) => worker.terminate()))
    await this.#exited
  }

  /** Nobody will answer any more. */
  abandon(error: Error): void {
    this.#closed = true
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  /** Host id of the thread of a vCPU. */
  threadId(cpu: number): number {
    const word = (this.#options.mode === 'multi' ? cpu : 0) * CONTROL_WORDS + CONTROL_THREAD
    Atomics.wait(this.#control, word, 0, THREAD_WAIT_MS)
    return Atomics.load(this.#control, word) || process.pid
  }

  #wake(index: number): void {
    const word = (this.#options.mode === 'multi' ? CPU_AREA + index * CPU_STRIDE + CPU_WAKE : G_WAKE) >> 2
    Atomics.store(this.#words, word, 1)
    Atomics.notify(this.#words, word)
  }

  #kick(): void {
    Atomics.store(this.#words, G_KICK >> 2, 1)
    for (let index = 0; index < this.#count; index++) this.#wake(index)
  }

  #tell(index: number, command: number): void {
    const word = index * CONTROL_WORDS + CONTROL_COMMAND
    Atomics.store(this.#control, word, command)
    Atomics.notify(this.#control, word)
  }

  #answer(kind: Answer): Promise<void> {
    return new Promise((resolve, reject) => this.#waiting.set(kind, { resolve, reject }))
  }

  #resolve(kind: Answer): void {
    this.#waiting.get(kind)?.resolve()
    this.#waiting.delete(kind)
  }

  #onMessage(index: number, message: WorkerMessage): void {
    switch (message.kind) {
      case 'ready':
        this.#parked.add(index)
        if (this.#parked.size === this.#count) this.#resolve('ready')
        return
      case 'done':
        this.#resolve('done')
        return
      case 'paused':
        break
      case 'triple-fault':
      case 'internal-error':
        this.#end ??= message
        this.#kick() // the others must not go on without it
    }
    this.#parked.add(index)
    if (this.#parked.size < this.#count) return
    const end = this.#end
    this.#end = undefined
    if (this.#options.mode === 'multi') this.#stopped = process.hrtime()
    this.#options.onStopped(end)
    this.#resolve('paused')
  }

  // ---- the clock of threads that have a vCPU each ----
  /** Machine time goes on where it was when the last of them had stopped. */
  #setClock(): void {
    const now = process.hrtime()
    const stopped = this.#stopped ?? now
    if (this.#stopped === undefined) this.#origin = now
    const origin: readonly [number, number] = [this.#origin[0] + now[0] - stopped[0], this.#origin[1] + now[1] - stopped[1]]
    this.#origin = origin
    this.#view.setFloat64(G_CLOCK_ORIGIN, origin[0], true)
    this.#view.setFloat64(G_CLOCK_ORIGIN + 8, origin[1], true)
    const machineNs = (now[0] - origin[0]) * 1e9 + now[1] - origin[1]
    this.#view.setBigUint64(G_WALL_NS, BigInt(Math.round(Date.now() * 1e6 - machineNs)), true)
  }
}
