/** What a command line asks for, as one typed value: the only thing the rest of the program knows about options. */
import type { LogItem, ThreadMode, TranslatorMode } from '../../hypervisor/hypervisor.ts'
import type { ChardevConfig } from '../../device-model/chardev/open.ts'
import type { NetdevConfig } from '../../device-model/net/open.ts'
import type { RandomSourceConfig } from '../../device-model/random-source.ts'
import type { BlockImageConfig, ReadErrorPolicy, WriteErrorPolicy } from '../../device-model/block/config.ts'
import type { BalloonOptions } from '../../device-model/virtio/balloon.ts'
import type { RngLimit } from '../../device-model/virtio/rng.ts'

export type { ChardevConfig } from '../../device-model/chardev/open.ts'

export interface MachineConfig {
  readonly type: 'microvm'
  /** How the guest finds its hardware: ACPI tables, MP table with kernel command line, or both. */
  readonly acpi: 'auto' | 'on' | 'off'
  /** Whether a bzImage is unpacked on the host. */
  readonly unpackKernel: 'auto' | 'on' | 'off'
  /** Whether there are slots for disks that come later; auto: where a monitor could ask for that. */
  readonly hotplug: 'auto' | 'on' | 'off'
  /** Guest memory can be mapped by other processes. */
  readonly memShare: boolean
  /** Guest memory is part of a core dump. */
  readonly dumpGuestCore: boolean
}

export type AcceleratorName = 'kvm' | 'tcg'

/** Where nobody asked for one. */
export const DEFAULT_CANDIDATES: readonly AcceleratorName[] = ['kvm', 'tcg']

export interface AcceleratorConfig {
  /** In order of preference, each once: the first that works on this host is taken (machine-manager/accelerator.ts). */
  readonly candidates: readonly AcceleratorName[]
  /** `default`: nobody asked for one. */
  readonly chosenBy: 'user' | 'default'
  /** tcg: translate hot guest code; undefined: nobody said */
  readonly translator?: TranslatorMode | undefined
  /** tcg: items of -d */
  readonly log?: readonly LogItem[] | undefined
  /** tcg: symbols of the guest's kernel */
  readonly symbols?: string | undefined
  readonly threads?: ThreadMode | undefined
}

/** sockets * dies * clusters * cores * threads = maxCpus >= cpus. */
export interface CpuTopology {
  readonly cpus: number
  readonly maxCpus: number
  readonly sockets: number
  readonly dies: number
  readonly clusters: number
  readonly cores: number
  readonly threads: number
}

export interface MemoryConfig {
  /** Bytes, a multiple of 4096. */
  readonly size: number
  /** File or folder that backs it. */
  readonly path: string | undefined
  readonly preallocate: boolean
}

export interface BootConfig {
  readonly kernel: string
  readonly initrd: string | undefined
  /** Kernel command line, '' if none was given. */
  readonly append: string
}

export interface MonitorConfig {
  readonly id: string | undefined
  /** Label of its character device. */
  readonly chardev: string
  /** JSON is indented. */
  readonly pretty: boolean
}

interface CommonDeviceConfig {
  readonly id: string | undefined
  readonly rings: { readonly packed: boolean; readonly indirect: boolean; readonly eventIndex: boolean }
}

export interface RngConfig extends CommonDeviceConfig {
  readonly kind: 'virtio-rng'
  /** Id of its object; undefined: the system's generator. */
  readonly rng: string | undefined
  readonly limit: RngLimit | undefined
}

/** Sizes in bytes; undefined: as its image says. */
export interface DiskConfig extends CommonDeviceConfig {
  readonly kind: 'virtio-blk'
  /** Name of its image. */
  readonly drive: string
  readonly serial: string | undefined
  readonly queues: number
  readonly queueSize: number
  readonly logicalBlockSize: number | undefined
  readonly physicalBlockSize: number | undefined
  readonly minIoSize: number
  readonly optIoSize: number
  readonly discardGranularity: number
  readonly discard: boolean
  readonly writeZeroes: boolean
  readonly writeCache: boolean | undefined
  readonly configWce: boolean
  readonly onWriteError: WriteErrorPolicy | undefined
  readonly onReadError: ReadErrorPolicy | undefined
}

export interface CardConfig extends CommonDeviceConfig {
  readonly kind: 'virtio-net'
  readonly netdev: string
  /** undefined: one by the number of the card */
  readonly mac: Uint8Array | undefined
  /** As many queue pairs as its network has. */
  readonly multiQueue: boolean
  readonly rxQueueSize: number
  readonly txQueueSize: number
  readonly mtu: number | undefined
  readonly checksum: boolean
  readonly guestChecksum: boolean
  readonly segmentation: boolean
  readonly mergeable: boolean
}

export interface BalloonConfig extends CommonDeviceConfig {
  readonly kind: 'virtio-balloon'
  readonly balloon: BalloonOptions
}

/** A console or channel on a controller. */
export interface PortConfig {
  readonly id: string | undefined
  readonly isConsole: boolean
  /** Label of its character device. */
  readonly chardev: string
  readonly name: string | undefined
  readonly nr: number
}

export interface SerialConfig extends CommonDeviceConfig {
  readonly kind: 'virtio-serial'
  readonly maxPorts: number
  readonly ports: readonly PortConfig[]
}

export interface SharedFolderConfig extends CommonDeviceConfig {
  readonly kind: 'vhost-user-fs'
  /** Label of a unix socket among the character devices, where the back end listens. */
  readonly chardev: string
  readonly tag: string
  readonly requestQueues: number
  readonly queueSize: number
}

export interface VsockConfig extends CommonDeviceConfig {
  readonly kind: 'virtio-vsock'
  readonly guestCid: number
  /** Of the unix socket for processes that want to talk to the guest; its ports of the host are `<path>_<port>`. */
  readonly path: string
}

/** A device of -device. */
export type DeviceConfig = RngConfig | SharedFolderConfig | VsockConfig | BalloonConfig | DiskConfig | CardConfig | SerialConfig

/** An image of -drive or -blockdev, with what its disk takes over from it. */
export interface ImageConfig extends BlockImageConfig {
  readonly writeCache: boolean
  readonly serial?: string | undefined
  readonly onWriteError?: WriteErrorPolicy | undefined
  readonly onReadError?: ReadErrorPolicy | undefined
}

/** A helper object of -object. */
export type ObjectConfig = RandomSourceConfig

export interface ActionConfig {
  readonly reboot: 'reset' | 'shutdown'
  readonly shutdown: 'poweroff' | 'pause'
  /** undefined: not given; a machine with a monitor is then kept for it */
  readonly panic: 'pause' | 'shutdown' | 'exit-failure' | 'none' | undefined
}

export type ClockConfig =
  | { readonly kind: 'host' }
  /** One instruction takes 2^shift ns; with sleep off an idle machine jumps to its next timer. */
  | { readonly kind: 'instruction-count'; readonly shift: number; readonly sleep: boolean }

export type LogConfig = { readonly kind: 'none' } | { readonly kind: 'stderr' } | { readonly kind: 'file'; readonly path: string }

export type TraceEvent = 'boot'

/** One virtual machine and the process around it. Checked: see build.ts and validate.ts. */
export interface VmConfig {
  readonly machine: MachineConfig
  readonly accelerator: AcceleratorConfig
  readonly cpu: { readonly model: 'host' | 'max' }
  readonly smp: CpuTopology
  readonly memory: MemoryConfig
  readonly boot: BootConfig
  /** Every character device, named or not; labels are unique. */
  readonly chardevs: readonly ChardevConfig[]
  /** Label of the character device behind ttyS0. */
  readonly serial: string | undefined
  /** Helper objects; ids are unique. */
  readonly objects: readonly ObjectConfig[]
  /** Disk images; names are unique. */
  readonly images: readonly ImageConfig[]
  /** Networks; ids are unique. */
  readonly netdevs: readonly NetdevConfig[]
  /** Devices, in command-line order; their objects and images exist. */
  readonly devices: readonly DeviceConfig[]
  /** QMP monitors, in command-line order. */
  readonly monitors: readonly MonitorConfig[]
  readonly name: string | undefined
  readonly uuid: string | undefined
  /** -S: the vCPUs wait for `cont`. */
  readonly startPaused: boolean
  readonly daemonize: boolean
  readonly pidFile: string | undefined
  readonly log: LogConfig
  readonly actions: ActionConfig
  readonly clock: ClockConfig
  readonly trace: readonly TraceEvent[]
}
