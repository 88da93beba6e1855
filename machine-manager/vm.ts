/** What QMP and the command line may ask of a running machine: the one interface between steering and machine. */

import type { AcceleratorStatistics } from '../hypervisor/hypervisor.ts'
import type { DiskErrorData } from '../machine/light.ts'

/** QEMU's run states that this project can be in. */
export type RunState = 'prelaunch' | 'running' | 'paused' | 'io-error' | 'shutdown' | 'internal-error' | 'guest-panicked'

/** QEMU's ShutdownCause, as SHUTDOWN and RESET events print it. */
export type ShutdownReason =
  | 'host-qmp-quit' | 'host-qmp-system-reset' | 'host-signal' | 'host-error' | 'guest-shutdown' | 'guest-reset' | 'guest-panic'

export type VmEvent =
  | { readonly name: 'STOP' | 'RESUME' | 'POWERDOWN'; readonly data?: undefined }
  | { readonly name: 'BLOCK_IO_ERROR'; readonly data: DiskErrorData }
  | { readonly name: 'SHUTDOWN' | 'RESET'; readonly data: { readonly guest: boolean; readonly reason: ShutdownReason } }

export interface CpuInfo {
  readonly index: number
  /** Host thread id of the thread that runs this vCPU, > 0. */
  readonly threadId: number
  readonly halted: boolean
  readonly props: { readonly socketId: number; readonly dieId: number; readonly coreId: number; readonly threadId: number }
}

export interface ChardevInfo { readonly label: string; readonly filename: string; readonly frontendOpen: boolean }

export interface VirtualMachine {
  readonly name: string | undefined
  readonly uuid: string | undefined
  readonly accelerator: 'kvm' | 'tcg' | 'test'
  /** Machine type as on the command line, e.g. `microvm`. */
  readonly machineType: string
  readonly maxCpus: number
  status(): RunState
  /** Pauses every vCPU; resolves when none runs. No effect and no event when already paused. */
  stop(): Promise<void>
  cont(): Promise<void>
  /** Restarts the machine: RESET event with reason `host-qmp-system-reset`. */
  reset(): Promise<void>
  /** Presses the power button: POWERDOWN event, the guest decides. */
  powerdown(): void
  /** Ends the machine: SHUTDOWN event, then the process ends with status 0. Returns at once. */
  quit(reason: ShutdownReason): void
  cpus(): readonly CpuInfo[]
  chardevs(): readonly ChardevInfo[]
  /** Text of `info registers` for one vCPU; pauses it for the time of reading. */
  registers(cpuIndex: number): Promise<string>
  /** What the accelerator has done since the last reset. */
  acceleratorStatistics(): AcceleratorStatistics
  /** Text of `info mtree`. */
  memoryTree(): string
  /** Guest-physical bytes, RAM only. @throws MesovirtError('GUEST_ADDRESS') */
  readPhysical(address: number, length: number): Uint8Array
  /** Bytes behind a linear address through the page tables of one vCPU. @throws MesovirtError('GUEST_ADDRESS') */
  readVirtual(cpuIndex: number, address: bigint, length: number): Promise<Uint8Array>
  /** @returns a function that unsubscribes */
  subscribe(listener: (event: VmEvent) => void): () => void
}
