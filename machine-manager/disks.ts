/** The disk images of a running machine by name, and the disks of the machine that show them: what the command line opens, and what QMP's block commands are about. */
import { BlockImage } from '../device-model/block/image.ts'
import type { Throttle } from '../device-model/block/throttle.ts'
import type { Clock } from '../device-model/contracts.ts'
import { MesovirtError } from '../host/errors.ts'
import type { VirtioBlkOptions } from '../machine/light-virtio.ts'
import type { DiskConfig, ImageConfig } from './options/config.ts'

const SMALLEST_BLOCK = 512

export class Disks {
  readonly #images = new Map<string, { readonly config: ImageConfig; readonly image: BlockImage }>()
  readonly #throttleGroups = new Map<string, Throttle>()
  readonly #clock: Clock

  /** @param clock of the machine; images exist before it does, and ask for time only once they are used */
  constructor(clock: () => Clock | undefined) {
    this.#clock = {
      now: () => clock()?.now() ?? 0n,
      schedule: (atNs, callback) => (clock() ?? noTime()).schedule(atNs, callback),
    }
  }

  /** @throws MesovirtError DISK_NAME, and of the image */
  open(config: ImageConfig): void {
    if (this.#images.has(config.id)) throw new MesovirtError('DISK_NAME', `disk ${config.id}: another image has this name; use another name`)
    this.#images.set(config.id, { config, image: BlockImage.open(config, { clock: this.#clock, throttleGroups: this.#throttleGroups }) })
  }

  /** What a machine needs to know of a disk. @throws MesovirtError DISK_BLOCK_SIZE */
  device(disk: DiskConfig): VirtioBlkOptions {
    const { config, image } = this.#get(disk.drive)
    const logicalBlockSize = disk.logicalBlockSize ?? image.blockSize
    if (logicalBlockSize < image.blockSize) {
      throw new MesovirtError('DISK_BLOCK_SIZE', `-device virtio-blk-device drive=${disk.drive}: O_DIRECT works on ${config.filename} in blocks of ${image.blockSize} bytes; `
        + `use logical_block_size=${image.blockSize}, or direct=off`)
    }
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

  async close(): Promise<void> {
    const images = [...this.#images.values()]
    this.#images.clear()
    await Promise.all(images.map(({ image }) => image.close()))
  }

  #get(name: string): { readonly config: ImageConfig; readonly image: BlockImage } {
    const found = this.#images.get(name)
    if (found === undefined) throw new MesovirtError('DISK_NAME', `no image has the name ${name}`)
    return found
  }
}

function noTime(): never {
  throw new MesovirtError('DISK_CLOCK', 'an image is used before its machine exists')
}
