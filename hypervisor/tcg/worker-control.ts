/**
 * How the main thread and the vCPU worker steer each other. The worker obeys commands only while it is paused; to pause it, main sets G_KICK and
 * wakes it. Words of a small shared array, and messages from the worker (it never returns to its own event loop).
 */
import type { MessagePort } from 'node:worker_threads'
import type { BusConnection } from '../../address-space/bus.ts'
import type { MachineClock, TranslatorMode } from '../hypervisor.ts'
import type { WasmMemory } from '../../host/wasm.ts'
import type { TranslatingCore } from './translator/region-table.ts'

/** Words of a thread's control array; with a thread for each vCPU they follow one another. */
export const CONTROL_COMMAND = 0 // COMMAND_*, stored by main and notified; the worker takes it by storing COMMAND_NONE
export const CONTROL_THREAD = 1 // host thread id of the worker, 0 until it runs; notified
export const CONTROL_WORDS = 16

export const COMMAND_NONE = 0
/** Leave the pause. Not answered. */
export const COMMAND_RUN = 1
/** Power-up state of everything; answered by `done`. */
export const COMMAND_RESET = 2
/** Registers or the memory map were changed by main: derived state and caches follow. Answered by `done`. */
export const COMMAND_REFRESH = 3
/** End the thread. */
export const COMMAND_QUIT = 4

export interface WorkerSetup {
  readonly memory: WasmMemory
  readonly control: SharedArrayBuffer
  readonly bus: BusConnection
  readonly cpus: number
  readonly apicIds: readonly number[]
  readonly clock: MachineClock
  readonly translator: TranslatorMode
  /** Path of core.wasm. */
  readonly core: string
}

/** Of a thread that runs one vCPU; thread 0 obeys the commands that concern all. */
export interface OwnWorkerSetup extends WorkerSetup {
  readonly index: number
  /** where translated regions arrive */
  readonly regions: MessagePort
  /** thread 0: the other ends of all threads' `regions`, for the translator */
  readonly senders: readonly MessagePort[] | undefined
}

export type WorkerMessage =
  /** The thread is up, paused. */
  | { readonly kind: 'ready' }
  | { readonly kind: 'paused' }
  | { readonly kind: 'done' }
  /** Paused as well from here on. */
  | { readonly kind: 'triple-fault'; readonly cpu: number }
  | { readonly kind: 'internal-error'; readonly message: string }

/** Exports of core.wasm that the worker uses; see core/run.ts. */
export interface Core extends TranslatingCore {
  initialise(): void
  resetCpu(cpu: number, index: number, init: number): void
  refreshCpu(cpu: number): void
  runMachine(rounds: number): number
  nextDeadline(): bigint
  attachCpu(cpu: number): void
  runOwn(slices: number): number
  mustSleep(cpu: number): number
  knowEpoch(epoch: number): void
  readonly regionMissing: unknown
  skipIdle(): number
  machineTime(): bigint
  getRflags(cpu: number): bigint
}
