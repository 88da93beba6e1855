/** What QMP and the command line may ask of a running machine: the one interface between steering and machine. */

import type { AcceleratorStatistics } from '../hypervisor/hypervisor.ts'
import type { BlockImageConfig, BlockStatistics } from '../device-model/block/config.ts'
import type { ThrottleLimits } from '../device-model/block/throttle.ts'
import type { StatisticsReport } from '../device-model/virtio/balloon-statistics.ts'
import type { BalloonOptions } from '../device-model/virtio/balloon.ts'
import type { NetStatistics } from '../device-model/virtio/net.ts'
import type { MachineEvent, ShutdownReason } from '../machine/light.ts'

/** QEMU's run states that this project can be in. */
export type RunState = 'prelaunch' | 'running' | 'paused' | 'io-error' | 'shutdown' | 'internal-error' | 'guest-panicked'

export type { ShutdownReason }
export type VmEvent = MachineEvent

export interface CpuInfo {
  readonly index: number
  /** Host thread id of the thread that runs this vCPU, > 0. */
  readonly threadId: number
  readonly halted: boolean
  readonly props: { readonly socketId: number; readonly dieId: number; readonly coreId: number; readonly threadId: number }
}

export interface ChardevInfo { readonly label: string; readonly filename: string; readonly frontendOpen: boolean }

/** Character devices. What is given a name fails with CHARDEV_NAME where nothing has it. */
export interface ChardevControl {
  list(): readonly ChardevInfo[]
  /** Opens one. @param backend `{type, data}`. @returns the terminal's name for a pty. @throws MesovirtError CHARDEV_..., OPTION_..., SOCKET_... */
  add(id: string, backend: unknown): Promise<{ pty?: string }>
  /** Puts something else behind one. */
  change(id: string, backend: unknown): Promise<{ pty?: string }>
  /** Closes one that nobody uses. @throws MesovirtError CHARDEV_BUSY */
  remove(id: string): Promise<void>
  /** Takes bytes out of a ring buffer. @throws MesovirtError CHARDEV_KIND */
  readRing(id: string, count: number): Uint8Array
  writeRing(id: string, bytes: Uint8Array): void
}

/** Consoles and channels on virtio controllers. */
export interface ConsoleControl {
  /** Adds one. @param members of device_add. @throws MesovirtError SERIAL_PORT, CHARDEV_..., OPTION_... */
  plug(members: { readonly driver: string; readonly id: string; readonly [key: string]: unknown }): void
  /** Takes one out: DEVICE_DELETED. Its character device stays. */
  unplug(id: string): void
  has(id: string): boolean
}

/** A disk image and the disk that shows it. */
export interface DiskInfo {
  readonly config: BlockImageConfig
  /** Whether a disk of the machine shows it. */
  readonly used: boolean
  /** Of that disk, where it has one. */
  readonly deviceId: string | undefined
  readonly writeCache: boolean
  /** bytes */
  readonly size: number
  /** Bytes that the file takes on the host. */
  readonly actualSize: number
  readonly ioStatus: 'ok' | 'failed' | 'nospace'
  readonly statistics: Readonly<BlockStatistics>
  readonly throttle: ThrottleLimits | undefined
}

/** Disks and their images. What is given a name fails with DISK_NAME where nothing has it. */
export interface DiskControl {
  list(): readonly DiskInfo[]
  /** @param name of an image or a device; @param bytes a multiple of 512. @throws MesovirtError DISK_FILE */
  resize(name: string, bytes: number): void
  /** @param values members of block_set_io_throttle: bps, iops_rd_max, ... @throws MesovirtError OPTION_CONFLICT, OPTION_MISSING, OPTION_VALUE */
  setThrottle(name: string, values: Readonly<Record<string, number>>): void
  /** Opens an image. @param members of blockdev-add. @throws MesovirtError OPTION_..., DISK_... */
  add(members: Readonly<Record<string, unknown>>): Promise<void>
  /** Closes an image that no disk shows. */
  remove(nodeName: string): Promise<void>
  /** Shows an image in a slot. @param members of device_add. @throws MesovirtError DISK_SLOT */
  plug(members: { readonly driver: string; readonly id: string; readonly [key: string]: unknown }): void
  /** Empties a slot and closes its image: DEVICE_DELETED. */
  unplug(id: string): Promise<void>
}

/** A network and the card on it. */
export interface NetworkInfo {
  readonly id: string
  readonly kind: string
  /** For people. */
  readonly description: string
  readonly connected: boolean
  /** Whether a card of the machine is on it. */
  readonly used: boolean
  /** Of that card, where it has one. */
  readonly deviceId: string | undefined
  readonly mac: string | undefined
  readonly linkUp: boolean
  readonly statistics: Readonly<NetStatistics> | undefined
}

/** Networks and their cards. What is given a name fails with NETWORK_NAME where nothing has it. */
export interface NetworkControl {
  list(): readonly NetworkInfo[]
  /** @param name of a card or a network */
  setLink(name: string, up: boolean): void
  /** Opens a network. @param members of netdev_add. @throws MesovirtError OPTION_..., and of the backend */
  add(members: Readonly<Record<string, unknown>>): Promise<void>
  /** Closes a network that no card uses. */
  remove(name: string): Promise<void>
  /** Puts a network into a slot. @param members of device_add. @throws MesovirtError NETWORK_SLOT */
  plug(members: { readonly driver: string; readonly id: string; readonly [key: string]: unknown }): void
  /** Empties a slot and closes its network: DEVICE_DELETED. */
  unplug(id: string): Promise<void>
  /** Whether a card of this name is plugged in. */
  has(id: string): boolean
}

export interface BalloonControl {
  readonly id: string | undefined
  readonly options: BalloonOptions
  /** Bytes of memory that are left to the guest. */
  readonly bytesLeft: number
  /** Asks the guest to keep no more than so many bytes. */
  setTarget(bytes: number): void
  /** What the guest said last about its memory. */
  readonly statistics: StatisticsReport
  /** Seconds after which it is asked again; 0: never. */
  pollSeconds: number
}

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
  readonly chardevs: ChardevControl
  readonly consoles: ConsoleControl
  readonly disks: DiskControl
  readonly networks: NetworkControl
  /** undefined: the machine has none */
  readonly balloon: BalloonControl | undefined
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
