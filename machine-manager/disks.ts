/** The disk images of a machine by name, and the disks that show them: what the command line opens, and what QMP's block commands are about. */
import fs from 'node:fs'
import { BlockImage } from '../device-model/block/image.ts'
import type { Throttle } from '../device-model/block/throttle.ts'
import type { Clock } from '../device-model/contracts.ts'
import { MesovirtError } from '../host/errors.ts'
import type { LightDisk } from '../machine/light-disks.ts'
import type { LightMachine } from '../machine/light.ts'
import type { VirtioBlkOptions } from '../machine/light-virtio.ts'
import type { DiskConfig, ImageConfig } from './options/config.ts'
import { blockdevConfig, resolveNode, throttleLimits } from './options/disks.ts'
import { readVariant, Values } from './options/interpret.ts'
import { BLOCK_NODES, THROTTLE_KEYS } from './options/table-disks.ts'
import { parseInteger } from './options/values.ts'
import type { DiskControl, DiskInfo } from './vm.ts'

const SMALLEST_BLOCK = 512
/** Names of images that went with their devices; a client may still ask to remove so many of them. */
const REMEMBERED = 64
const SECTOR = 512

interface Entry {
  readonly config: ImageConfig
  readonly image: BlockImage
}

export class Disks implements DiskControl {
  /** Set once it exists. */
  machine: LightMachine | undefined
  readonly #images = new Map<string, Entry>()
  readonly #throttleGroups = new Map<string, Throttle>()
  readonly #gone = new Set<string>()
  /** Images exist before the machine does, and ask for time only once they are used. */
  readonly #clock: Clock = {
    now: () => this.machine?.clock.now() ?? 0n,
    schedule: (atNs, callback) => (this.machine?.clock ?? noTime()).schedule(atNs, callback),
  }

  /** @throws MesovirtError DISK_NAME, and of the image */
  open(config: ImageConfig): void {
    if (this.#images.has(config.id)) throw new MesovirtError('DISK_NAME', `disk ${config.id}: another image has this name; use another name`)
    this.#images.set(config.id, { config, image: BlockImage.open(config, { clock: this.#clock, throttleGroups: this.#throttleGroups }) })
    this.#gone.delete(config.id)
  }

  /** What a machine needs to know of a disk. @throws MesovirtError DISK_BLOCK_SIZE */
  device(disk: DiskConfig): VirtioBlkOptions {
    const { config, image } = this.#get(disk.drive)
    const logicalBlockSize = disk.logicalBlockSize ?? image.blockSize
    checkBlockSize(config, image, logicalBlockSize)
    return {
      kind: 'virtio-blk', id: disk.id, rings: disk.rings, image,
      blk: {
        serial: disk.serial ?? config.serial, queues: disk.queues, queueSize: disk.queueSize, readOnly: config.readOnly,
        topology: {
          logicalBlockSize, physicalBlockSize: Math.max(disk.physicalBlockSize ?? SMALLEST_BLOCK, logicalBlockSize), minIoSize: disk.minIoSize, optIoSize: disk.optIoSize,
          discardGranularity: disk.discardGranularity,
        },
        configWce: disk.configWce, writeCache: disk.writeCache ?? config.writeCache, discard: disk.discard && config.discard === 'unmap', writeZeroes: disk.writeZeroes,
        onWriteError: disk.onWriteError ?? config.onWriteError ?? 'enospc', onReadError: disk.onReadError ?? config.onReadError ?? 'report',
      },
    }
  }

  list(): readonly DiskInfo[] {
    return [...this.#images.values()].map(({ config, image }) => {
      const disk = this.#disks.find((one) => one.image === image)
      return {
        config, used: disk !== undefined, deviceId: disk?.id, writeCache: disk === undefined ? config.writeCache : disk.device.state().writeCache, size: image.size,
        actualSize: allocated(config.filename), ioStatus: disk?.ioStatus ?? 'ok', statistics: image.statistics, throttle: image.throttle?.limits,
      }
    })
  }

  resize(name: string, bytes: number): void {
    const { image } = this.#find(name)
    image.resize(bytes)
    this.#disks.find((disk) => disk.image === image)?.resized()
  }

  setThrottle(name: string, values: Readonly<Record<string, number>>): void {
    const given = Object.entries(values)
    const negative = given.find(([, value]) => value < 0)
    if (negative !== undefined) throw new MesovirtError('OPTION_VALUE', `block_set_io_throttle ${negative[0]}: a limit cannot be negative; 0 is none`)
    // The command's names are the older spellings of -drive's.
    const keys = given.flatMap(([key, value]): [string, number][] => {
      const rate = THROTTLE_KEYS.find(({ old }) => key.replace(/_max(_length)?$/, '') === old)
      if (key === 'iops_size') return [['throttling.iops-size', value]]
      return rate === undefined ? [] : [[`throttling.${rate.key}${key.slice(rate.old.length).replaceAll('_', '-')}`, value]]
    })
    this.#find(name).image.setLimits(throttleLimits(new Values(keys), `disk ${name}`) ?? {})
  }

  async add(members: Readonly<Record<string, unknown>>): Promise<void> {
    const driver = 'filename' in members ? 'file' : 'raw'
    const named = readVariant(JSON.stringify({ driver, ...members }), 'driver', BLOCK_NODES, 'blockdev-add')
    const node = blockdevConfig(named, 'blockdev-add')
    if ('filename' in node) return this.open(node)
    const below = this.#get(node.file)
    this.#checkUnused(below)
    // Two nodes with one file are one image here: the upper one takes its place.
    const config = resolveNode(node, below.config)
    await this.#close(below)
    this.open(config)
  }

  async remove(nodeName: string): Promise<void> {
    if (this.#gone.delete(nodeName)) return
    const entry = this.#get(nodeName)
    this.#checkUnused(entry)
    await this.#close(entry)
  }

  plug(members: { readonly driver: string; readonly id: string; readonly [key: string]: unknown }): void {
    const { driver, id } = members
    const machine = this.machine
    if (!driver.includes('blk')) throw new MesovirtError('DISK_SLOT', `device_add ${driver}: only disks and network cards can be added to a running machine; use virtio-blk-device or virtio-net-device`)
    if (machine === undefined || this.#disks.some((disk) => disk.id === id)) throw new MesovirtError('DISK_SLOT', `device_add id=${id}: another device has this id; use another id`)
    const { config, image } = this.#get(text(members['drive']) ?? id)
    if (this.#disks.some((disk) => disk.image === image)) throw new MesovirtError('DISK_SLOT', `device_add drive=${config.id}: another disk uses this image; add another one`)
    checkBlockSize(config, image, SECTOR)
    for (const key of ['logical_block_size', 'physical_block_size']) {
      if (members[key] !== undefined && members[key] !== SECTOR) throw new MesovirtError('DISK_SLOT', `device_add ${key}: a slot has blocks of ${SECTOR} bytes; leave it out`)
    }
    machine.plugDisk(this.#slot(members), {
      id, image, serial: text(members['serial']) ?? config.serial, onWriteError: config.onWriteError ?? 'enospc', onReadError: config.onReadError ?? 'report',
    })
  }

  async unplug(id: string): Promise<void> {
    const disk = this.#disks.find((one) => one.id === id)
    const image = disk?.image
    if (disk === undefined || image === undefined) throw new MesovirtError('DISK_NAME', `no device has the id ${id}`)
    this.machine?.unplugDisk(disk)
    const entry = this.#images.get(image.config.id)
    if (entry === undefined) return
    // Callers add an image for each disk, and some never remove it: it goes with its disk.
    if (this.#gone.size >= REMEMBERED) this.#gone.delete([...this.#gone][0] ?? '')
    this.#gone.add(image.config.id)
    await this.#close(entry)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#images.values()].map((entry) => this.#close(entry)))
  }

  get #disks(): readonly LightDisk[] {
    return this.machine?.disks ?? []
  }

  async #close(entry: Entry): Promise<void> {
    this.#images.delete(entry.config.id)
    await entry.image.close()
  }

  #get(name: string): Entry {
    const found = this.#images.get(name)
    if (found === undefined) throw new MesovirtError('DISK_NAME', `no image has the name ${name}`)
    return found
  }

  /** @param name of an image, or of the device that shows it */
  #find(name: string): Entry {
    const disk = this.#disks.find(({ id }) => id === name)
    return this.#get(disk?.image?.config.id ?? name)
  }

  #checkUnused({ config, image }: Entry): void {
    const disk = this.#disks.find((one) => one.image === image)
    if (disk !== undefined) throw new MesovirtError('DISK_NAME', `image ${config.id} is used by ${disk.id ?? 'a disk'}; remove that first`)
  }

  /** As StratoVirt: `addr`, or `lun` + 1; without either the first that is empty. */
  #slot(members: Readonly<Record<string, unknown>>): number {
    const { addr, lun } = members
    if (typeof addr === 'string') {
      const number = parseInteger(addr)
      if (number === undefined) throw new MesovirtError('DISK_SLOT', `device_add addr=${addr}: not a number of a slot; use 0 to ${this.#disks.length - 1}`)
      return number
    }
    if (typeof lun === 'number') return lun + 1
    const empty = this.#disks.findIndex(({ image }) => image === undefined)
    if (empty < 0) throw new MesovirtError('DISK_SLOT', `there is no empty disk slot; ${this.#disks.length === 0 ? 'use -machine hotplug=on' : 'remove a disk first'}`)
    return empty
  }
}

function checkBlockSize(config: ImageConfig, image: BlockImage, logicalBlockSize: number): void {
  if (logicalBlockSize >= image.blockSize) return
  throw new MesovirtError('DISK_BLOCK_SIZE', `disk ${config.id}: O_DIRECT works on ${config.filename} in blocks of ${image.blockSize} bytes; `
    + `use logical_block_size=${image.blockSize} on the command line, or direct=off`)
}

function allocated(filename: string): number {
  return (fs.statSync(filename, { throwIfNoEntry: false })?.blocks ?? 0) * SECTOR
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function noTime(): never {
  throw new MesovirtError('DISK_CLOCK', 'an image is used before its machine exists')
}
