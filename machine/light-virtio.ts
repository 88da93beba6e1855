/**
 * The virtio-mmio windows of the LightMachine: which there are, what sits in them, and how a guest learns of them. Places as StratoVirt's microvm has them: the
 * first six windows belong to disks and network cards that can be plugged in later; the devices of the command line follow.
 */
import type { BusServer } from '../address-space/bus.ts'
import type { GuestMemory } from '../address-space/guest-memory.ts'
import { Region } from '../address-space/region.ts'
import type { Clock, DeviceEvents, InterruptLine } from '../device-model/contracts.ts'
import type { BlockImage } from '../device-model/block/image.ts'
import type { NetBackend } from '../device-model/net/backend.ts'
import type { RandomSource } from '../device-model/random-source.ts'
import type { BalloonOptions } from '../device-model/virtio/balloon.ts'
import type { BlkError, BlkOptions } from '../device-model/virtio/blk.ts'
import type { VirtioDevice } from '../device-model/virtio/device.ts'
import { VirtioMmio, VIRTIO_MMIO_SHADOW, VIRTIO_MMIO_SIZE } from '../device-model/virtio/mmio.ts'
import type { RingOptions } from '../device-model/virtio/mmio.ts'
import type { NetOptions } from '../device-model/virtio/net.ts'
import { VirtioRng } from '../device-model/virtio/rng.ts'
import type { RngLimit } from '../device-model/virtio/rng.ts'
import { VhostUserFs } from '../device-model/virtio/vhost-user-fs.ts'
import type { VhostUserFsOptions } from '../device-model/virtio/vhost-user-fs.ts'
import { VirtioVsock } from '../device-model/virtio/vsock.ts'
import type { VsockHostSide } from '../device-model/virtio/vsock.ts'
import { MesovirtError } from '../host/errors.ts'
import { LightBalloon } from './light-balloon.ts'
import { LightConsole } from './light-consoles.ts'
import type { SerialPort } from './light-consoles.ts'
import { emptyCard, LightCard } from './light-cards.ts'
import { EMPTY_SLOT, LightDisk } from './light-disks.ts'

const BASE = 0xf010_0000
const FIRST_INTERRUPT = 5

/** Windows by number; each has the interrupt 5 + its number, up to 15. */
export const VIRTIO_WINDOWS = {
  disks: { first: 0, count: 4, owner: 'machine' }, //            in the order of the command line
  networkCards: { first: 4, count: 2, owner: 'machine' }, //     likewise
  devices: { first: 6, count: 5, owner: 'machine' }, //          in the order of the command line
} as const

interface CommonOptions {
  readonly id?: string | undefined
  readonly rings?: RingOptions | undefined
}

export interface VirtioRngOptions extends CommonOptions {
  readonly kind: 'virtio-rng'
  /** The machine does not close it. */
  readonly source: RandomSource
  readonly limit?: RngLimit | undefined
}

export interface VirtioBlkOptions extends CommonOptions {
  readonly kind: 'virtio-blk'
  readonly blk: BlkOptions
  /** The machine does not close it. */
  readonly image: BlockImage | undefined
}

export interface VirtioNetOptions extends CommonOptions {
  readonly kind: 'virtio-net'
  readonly net: NetOptions
  /** The machine does not close it. */
  readonly backend: NetBackend | undefined
}

export interface VirtioBalloonOptions extends CommonOptions {
  readonly kind: 'virtio-balloon'
  readonly balloon: BalloonOptions
}

export interface VirtioSerialOptions extends CommonOptions {
  readonly kind: 'virtio-serial'
  /** 1..31 */
  readonly maxPorts: number
  /** The machine does not close their backends. */
  readonly ports: readonly SerialPort[]
}

export interface SharedFolderOptions extends CommonOptions {
  readonly kind: 'vhost-user-fs'
  readonly fs: VhostUserFsOptions
}

export interface VirtioVsockOptions extends CommonOptions {
  readonly kind: 'virtio-vsock'
  /** 3 to 2^32 - 2 */
  readonly guestCid: number
  /** The machine does not close it. */
  readonly hostSide: VsockHostSide
}

/** One virtio device of a machine. */
export type VirtioDeviceOptions = VirtioRngOptions | SharedFolderOptions | VirtioVsockOptions | VirtioBalloonOptions | VirtioBlkOptions | VirtioNetOptions | VirtioSerialOptions

/** Which windows a kind of device sits in, and what there is when there are too many. */
const WINDOWS_OF = { 'virtio-blk': 'disks', 'virtio-net': 'networkCards', 'virtio-rng': 'devices', 'virtio-balloon': 'devices', 'virtio-serial': 'devices', 'vhost-user-fs': 'devices', 'virtio-vsock': 'devices' } as const
const NAMES = { disks: 'disks', networkCards: 'network cards', devices: 'virtio devices beside disks and network cards' } as const

export interface VirtioWindow {
  readonly base: number
  readonly size: number
  readonly gsi: number
}

/** What the devices need of the board. */
export interface VirtioBoard {
  readonly memoryRoot: Region
  readonly ram: GuestMemory
  readonly bus: BusServer
  readonly clock: Clock
  readonly events: DeviceEvents
  /** Writes are never posted. */
  readonly repeatable: boolean
  line(gsi: number): InterruptLine
  onDiskError(disk: LightDisk, error: BlkError): void
  /** @param bytes of memory that are left to the guest; at most once a second */
  onBalloonChange(bytes: number): void
  /** The guest has opened or closed a port. */
  onPortChange(id: string, isOpen: boolean): void
  /** @param id of the device whose back end is gone, or there again */
  onBackEndChange(id: string | undefined, connected: boolean): void
  /** Every window for disks and network cards has one, empty or not, so that they can come and go. */
  readonly slots: boolean
}

/** A device in its window. */
export interface PlacedDevice {
  readonly window: VirtioWindow
  readonly mmio: VirtioMmio
}

export class VirtioWindows {
  /** In ascending order of their windows. */
  readonly devices: readonly PlacedDevice[]
  /** In ascending order of their slots. */
  readonly disks: readonly LightDisk[]
  /** In ascending order of their slots. */
  readonly cards: readonly LightCard[]
  readonly balloon: LightBalloon | undefined
  /** In the order of the command line. */
  readonly consoles: readonly LightConsole[]

  /** @throws MesovirtError VIRTIO_WINDOWS for more devices than there are windows */
  constructor(devices: readonly VirtioDeviceOptions[], board: VirtioBoard) {
    const slots: Slots = { disks: [], cards: [], balloons: [], consoles: [] }
    this.devices = assignWindows(devices, board.slots).map(({ options, window }) => {
      const device = make(options, board, slots)
      return { window, mmio: place(device, options.rings, window, board) }
    })
    this.disks = slots.disks
    this.cards = slots.cards
    this.balloon = slots.balloons[0]
    this.consoles = slots.consoles
  }

  /** Those that hold a device, in ascending order. */
  get used(): readonly VirtioWindow[] {
    return this.devices.map(({ window }) => window)
  }

  reset(): void {
    for (const { mmio } of this.devices) mmio.reset()
  }

  /** Resolves when no device touches guest memory any more, until `resume`. */
  async pause(): Promise<void> {
    await Promise.all(this.devices.map(({ mmio }) => mmio.pause()))
  }

  resume(): void {
    for (const { mmio } of this.devices) mmio.resume()
  }

  close(): void {
    for (const { mmio } of this.devices) mmio.device.close?.()
  }
}

/** The windows of the devices of each kind, in their order. */
function assignWindows(devices: readonly VirtioDeviceOptions[], slots: boolean): { options: VirtioDeviceOptions; window: VirtioWindow }[] {
  return (['disks', 'networkCards', 'devices'] as const).flatMap((kind) => {
    const { first, count } = VIRTIO_WINDOWS[kind]
    const ours = devices.filter((options) => WINDOWS_OF[options.kind] === kind)
    if (ours.length > count) throw new MesovirtError('VIRTIO_WINDOWS', `there are ${ours.length} ${NAMES[kind]}, and room for ${count}; leave some out`)
    const empty = slots ? Array.from({ length: count - ours.length }, (_, index) => emptySlot(kind, ours.length + index)).filter((one) => one !== undefined) : []
    return [...ours, ...empty].map((options, index) => ({ options, window: virtioWindow(first + index) }))
  })
}

function emptySlot(kind: keyof typeof VIRTIO_WINDOWS, slot: number): VirtioDeviceOptions | undefined {
  switch (kind) {
    case 'disks': return { kind: 'virtio-blk', blk: EMPTY_SLOT, image: undefined }
    case 'networkCards': return { kind: 'virtio-net', net: emptyCard(slot), backend: undefined }
    case 'devices': return undefined
  }
}

/** @param number 0..10 */
export function virtioWindow(number: number): VirtioWindow {
  return { base: BASE + number * VIRTIO_MMIO_SIZE, size: VIRTIO_MMIO_SIZE, gsi: FIRST_INTERRUPT + number }
}

/**
 * The kernel command line with the windows announced on it (Linux, drivers/virtio/virtio_mmio.c), as StratoVirt does: ` virtio_mmio.device=512@0xf0100c00:11`.
 * What follows a ` -- ` is init's: the announcement goes before it.
 */
export function announceWindows(commandLine: string, windows: readonly VirtioWindow[]): string {
  const words = windows.map(({ base, size, gsi }) => ` virtio_mmio.device=${size}@0x${base.toString(16).padStart(8, '0')}:${gsi}`).join('')
  const at = /(^|\s)--(\s|$)/.exec(commandLine)?.index ?? commandLine.length
  return commandLine.slice(0, at) + words + (at === 0 && words !== '' && commandLine !== '' ? ' ' : '') + commandLine.slice(at)
}

interface Slots {
  readonly disks: LightDisk[]
  readonly cards: LightCard[]
  readonly balloons: LightBalloon[]
  readonly consoles: LightConsole[]
}

function make(options: VirtioDeviceOptions, { clock, events, ram, onDiskError, onBalloonChange, onPortChange, onBackEndChange }: VirtioBoard, { disks, cards, balloons, consoles }: Slots): VirtioDevice {
  switch (options.kind) {
    case 'virtio-rng': return VirtioRng.create({ source: options.source, limit: options.limit, clock, events })
    case 'virtio-vsock': return VirtioVsock.create({ guestCid: options.guestCid, hostSide: options.hostSide, clock, events })
    case 'vhost-user-fs': return new VhostUserFs({ options: options.fs, memory: ram, clock, events, onConnection: (connected) => onBackEndChange(options.id, connected) })
    case 'virtio-balloon': {
      if (balloons.length > 0) throw new MesovirtError('VIRTIO_WINDOWS', 'there are two balloons, and room for one; leave one out')
      const balloon = new LightBalloon({ id: options.id, options: options.balloon, memory: ram, clock, events, onChange: onBalloonChange })
      balloons.push(balloon)
      return balloon.device
    }
    case 'virtio-blk': {
      const { id, blk, image } = options
      const disk = new LightDisk({ slot: disks.length, id, blk, image, events, onError: onDiskError })
      disks.push(disk)
      return disk.device
    }
    case 'virtio-net': {
      const { id, net, backend } = options
      const card = new LightCard({ slot: cards.length, id, net, backend, events })
      cards.push(card)
      return card.device
    }
    case 'virtio-serial': {
      const { id, maxPorts, ports } = options
      const controller = new LightConsole({ id, maxPorts, ports, events, clock, onChange: onPortChange })
      consoles.push(controller)
      return controller.device
    }
  }
}

function place(device: VirtioDevice, rings: RingOptions | undefined, { base, size, gsi }: VirtioWindow, board: VirtioBoard): VirtioMmio {
  const { bus, ram, events, repeatable } = board
  // The region wants its device and the device its page of the bus, which wants the region.
  const late: { mmio?: VirtioMmio } = {}
  const region = Region.io(`${device.name}@${base.toString(16)}`, size, {
    read: (offset, width) => late.mmio?.read(offset, width) ?? 0xffff_ffff,
    write: (offset, width, value) => late.mmio?.write(offset, width, value),
  })
  const page = bus.shadowPage(region, repeatable ? { shadow: VIRTIO_MMIO_SHADOW.shadow } : VIRTIO_MMIO_SHADOW)
  const mmio = late.mmio = VirtioMmio.create({ device, memory: ram, irq: board.line(gsi), rings, shadow: page, events })
  // A doorbell is a posted write too.
  if (!repeatable) for (const notifier of mmio.notifiers()) region.addNotifier(notifier)
  board.memoryRoot.add(region, base)
  return mmio
}
