/**
 * Main's side of the vCPU threads: start, pause, resume, end. Steered as worker-control.ts says. A thread may sit in the kernel for as long as the guest
 * likes, so each step that needs it sets immediate_exit and sends the kick signal first.
 */
import { Worker } from 'node:worker_threads'
import type { BusServer } from '../../address-space/bus.ts'
import { onProcessEnd, runCleanup } from '../../host/cleanup.ts'
import type { Cleanup } from '../../host/cleanup.ts'
import { distFile } from '../../host/dist-file.ts'
import { MesovirtError } from '../../host/errors.ts'
import { EventFd } from '../../host/eventfd.ts'
import { watchFd } from '../../host/fd-watch.ts'
import type { FdWatch } from '../../host/fd-watch.ts'
import { checked, ffi, viewOf } from '../../host/ffi.ts'
import { shareMallocArenas } from '../../host/malloc-arenas.ts'
import { kickThread } from '../../host/signals.ts'
import { RUN_IMMEDIATE_EXIT } from './abi.ts'
import { CONTROL_WORDS, ENDED, REQUEST, REQUEST_PARK, REQUEST_QUIT, REQUEST_RUN, SETUP, STATE, STATE_GONE, STATE_RUNNING, THREAD } from './worker-control.ts'
import type { WorkerMessage, WorkerSetup, WorkerStart } from './worker-control.ts'

const PROT_READ_WRITE = 3, MAP_SHARED = 1
/** How long main sleeps between looks at a thread that is to park; its answer ends the sleep. */
const PARK_WAIT_MS = 1
/** A kick is never lost; this is for a thread that was being born when it came. */
const KICK_AGAIN_MS = 10
/** How long an ending process waits for threads in the kernel before it leaves without them. */
const END_WAIT_MS = 100
const THREAD_WAIT_MS = 2000

interface Machine extends VcpuThreadsOptions {
  readonly bell: EventFd
  readonly watch: FdWatch
}

export interface VcpuThreadsOptions {
  /** descriptor of each vCPU */
  readonly vcpus: readonly number[]
  /** size of a kvm_run */
  readonly runBytes: number
  readonly bus: BusServer
  /** A thread has left the guest for good; it is parked. */
  readonly onEnd: (message: WorkerMessage) => void
}

export class VcpuThreads {
  readonly #control: Int32Array
  readonly #workers: Worker[] = []
  readonly #exits: Promise<unknown>[] = []
  /** kvm_run of each vCPU */
  readonly #runs: { readonly address: number; readonly bytes: Uint8Array }[] = []
  #machine: Machine | undefined
  /** why the first thread died before `start` */
  #failure: string | undefined
  readonly #cleanup: Cleanup
  #closed = false

  /**
   * Starts the thread of the first vCPU: a thread takes 30 ms until it can run a guest, in which main makes the machine.
   * @throws what Node says of a thread that cannot be
   */
  constructor(cpus: number) {
    this.#control = new Int32Array(new SharedArrayBuffer(cpus * CONTROL_WORDS * 4))
    this.#cleanup = onProcessEnd((status) => this.#leave(status))
    this.#startThread(0)
    shareMallocArenas()
  }

  /** The virtual machine that the threads are for. Called once. */
  attach(options: VcpuThreadsOptions): void {
    const bell = new EventFd()
    const watch = watchFd(bell.fd, () => options.bus.wake(() => bell.drain()))
    watch.unref()
    this.#machine = { ...options, bell, watch }
  }

  /**
   * Starts the others and lets all wait for `resume`. Some may still be on their way then; the guest does not run on those yet.
   * @throws MesovirtError KVM_START
   */
  start(): void {
    if (this.#failure !== undefined) throw new MesovirtError('KVM_START', `a vCPU thread cannot run here (${this.#failure})`)
    const { vcpus, runBytes, bus, bell } = this.#attached
    const { libc } = ffi()
    for (const vcpu of vcpus) {
      const address = checked(libc.mmap(0, runBytes, PROT_READ_WRITE, MAP_SHARED, vcpu, 0), 'mapping a vCPU')
      this.#runs.push({ address, bytes: new Uint8Array(viewOf(address, runBytes)) })
    }
    // A thread allocates next to nothing while it runs a guest. V8 reads this for each thread that starts later: half a megabyte less, bench/LOSERS.md.
    if (vcpus.length > 1) process.getBuiltinModule('node:v8').setFlagsFromString('--max-semi-space-size=1')
    vcpus.forEach((vcpu, index) => {
      if (index > 0) this.#startThread(index)
      const setup: WorkerSetup = { vcpu, runBytes, bus: bus.memory, bell: bell.fd }
      this.#workers[index]?.postMessage(setup)
      this.#store(index, SETUP, 1)
    })
  }

  get #attached(): Machine {
    if (this.#machine === undefined) throw new Error('vCPU threads without a machine')
    return this.#machine
  }

  #startThread(index: number): void {
    const workerData: WorkerStart = { index, control: this.#control.buffer as SharedArrayBuffer }
    // It reads no environment; a copy of it would cost each thread 0.1 MiB.
    const worker = new Worker(distFile('kvm-vcpu-worker.js'), { workerData, env: {}, stdin: false, trackUnmanagedFds: false })
    this.#workers.push(worker)
    this.#exits.push(new Promise((resolve) => worker.once('exit', () => {
      this.#store(index, STATE, STATE_GONE)
      resolve(undefined)
    })))
    worker.on('message', (message: WorkerMessage) => {
      if (!this.#closed) this.#machine?.onEnd(message)
    })
    worker.on('error', (error) => {
      if (this.#closed) return
      const reason = error instanceof Error ? error.message : String(error)
      this.#store(index, STATE, STATE_GONE)
      if (this.#runs.length === 0) this.#failure = reason
      else this.#machine?.onEnd({ kind: 'internal-error', cpu: index, detail: `the thread of vCPU ${index} failed: ${reason}` })
    })
  }

  /** Lets all run, unless one has ended since the last reset. */
  resume(): void {
    if (this.#workers.some((_, index) => this.#load(index, ENDED) === 1)) return
    this.#workers.forEach((_, index) => this.#request(index, REQUEST_RUN))
  }

  /**
   * Returns when no vCPU runs. Accesses that are under way are served, and complete; from inside the handler of one, the vCPU that waits for it counts as
   * parked.
   */
  park(): void {
    const { vcpus, bus } = this.#attached
    for (let index = 0; index < vcpus.length; index++) this.#request(index, REQUEST_PARK)
    // All are kicked before any is waited for: with more vCPUs than processors each would otherwise compute on, in the way of the one that is to park.
    for (let index = 0; index < vcpus.length; index++) this.#kick(index)
    for (let index = 0; index < vcpus.length; index++) {
      let kickAt = performance.now() + KICK_AGAIN_MS
      while (!this.#isParked(index)) {
        if (!bus.service()) Atomics.wait(this.#control, index * CONTROL_WORDS + STATE, STATE_RUNNING, PARK_WAIT_MS)
        const now = performance.now()
        if (now < kickAt) continue
        this.#kick(index)
        kickAt = now + KICK_AGAIN_MS
      }
    }
  }

  /** A reset lets ended vCPUs run again. */
  forgetEnds(): void {
    this.#workers.forEach((_, index) => this.#store(index, ENDED, 0))
  }

  /** After a park from inside an access: waits for the vCPUs that only counted as parked. Does nothing inside one. */
  settle(): void {
    if (this.#attached.bus.inHandler) return
    if (this.#workers.some((_, index) => this.#load(index, STATE) === STATE_RUNNING)) this.park()
  }

  /** Ends the threads: each leaves by itself, see STATE_GONE. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#askToQuit()
    await Promise.all(this.#exits)
    this.#cleanup.forget()
    for (const { address } of this.#runs) ffi().libc.munmap(address, this.#attached.runBytes)
  }

  /** No thread is left to ring. */
  closeBell(): void {
    this.#machine?.watch.close()
    this.#machine?.bell.close()
  }

  /** Host id of a thread; waits some milliseconds for one that is starting. */
  threadId(index: number): number {
    const word = index * CONTROL_WORDS + THREAD
    Atomics.wait(this.#control, word, 0, THREAD_WAIT_MS)
    return Atomics.load(this.#control, word) || process.pid
  }

  /**
   * The process ends, perhaps by an error: no guest may keep running, and no thread in the kernel may keep the process.
   * @param status undefined where a signal kills the process now, which needs no thread's consent
   */
  #leave(status: number | undefined): void {
    this.#closed = true
    this.#askToQuit()
    if (status === undefined) return
    const end = performance.now() + END_WAIT_MS
    for (let index = 0; index < this.#workers.length; index++) {
      for (let state = this.#load(index, STATE); state !== STATE_GONE; state = this.#load(index, STATE)) {
        const left = end - performance.now()
        if (left <= 0) {
          runCleanup(status)
          ffi().libc._exit(status)
        }
        Atomics.wait(this.#control, index * CONTROL_WORDS + STATE, state, Math.min(left, PARK_WAIT_MS))
      }
    }
  }

  #askToQuit(): void {
    this.#machine?.bus.abort()
    for (let index = 0; index < this.#workers.length; index++) {
      this.#request(index, REQUEST_QUIT)
      this.#store(index, SETUP, 1)
      this.#kick(index)
    }
  }

  #kick(index: number): void {
    const run = this.#runs[index]
    if (run !== undefined) Atomics.store(run.bytes, RUN_IMMEDIATE_EXIT, 1)
    const thread = Atomics.load(this.#control, index * CONTROL_WORDS + THREAD)
    if (thread !== 0) kickThread(thread)
  }

  #isParked(index: number): boolean {
    const bus = this.#machine?.bus
    return this.#load(index, STATE) !== STATE_RUNNING || (bus !== undefined && bus.inHandler && bus.isWaiting(index))
  }

  #request(index: number, request: number): void {
    this.#store(index, REQUEST, request)
  }

  #load(index: number, word: number): number {
    return Atomics.load(this.#control, index * CONTROL_WORDS + word)
  }

  #store(index: number, word: number, value: number): void {
    Atomics.store(this.#control, index * CONTROL_WORDS + word, value)
    Atomics.notify(this.#control, index * CONTROL_WORDS + word)
  }
}
