/** One disk of the LightMachine: a window that has a disk from the start, or is a slot that disks are plugged into and taken out of while the guest runs. */
import type { BlockImage } from '../device-model/block/image.ts'
import type { DeviceEvents } from '../device-model/contracts.ts'
import { VirtioBlk } from '../device-model/virtio/blk.ts'
import type { BlkError, BlkOptions } from '../device-model/virtio/blk.ts'

/** What an empty slot offers its driver, before it is known what comes. */
export const EMPTY_SLOT: BlkOptions = {
  queues: 1, queueSize: 256, topology: { logicalBlockSize: 512, physicalBlockSize: 512, minIoSize: 0, optIoSize: 0, discardGranularity: 0 },
  readOnly: false, configWce: true, writeCache: true, discard: true, writeZeroes: true, onWriteError: 'enospc', onReadError: 'report',
}

/** What a disk brings into a slot. */
export interface PluggedDisk extends Pick<BlkOptions, 'serial' | 'onWriteError' | 'onReadError'> {
  readonly id: string
  /** The machine does not close it. */
  readonly image: BlockImage
}

export interface LightDiskOptions {
  /** 0..3 */
  readonly slot: number
  readonly id: string | undefined
  readonly blk: BlkOptions
  readonly image: BlockImage | undefined
  readonly events: DeviceEvents
  readonly onError: (disk: LightDisk, error: BlkError) => void
}

export class LightDisk {
  readonly slot: number
  readonly device: VirtioBlk
  id: string | undefined
  /** What the last failure was, until the machine goes on. */
  ioStatus: 'ok' | 'failed' | 'nospace' = 'ok'

  constructor({ slot, id, blk, image, events, onError }: LightDiskOptions) {
    this.slot = slot
    this.id = id
    this.device = VirtioBlk.create({
      options: blk, image, events,
      onError: (error) => {
        if (error.action === 'stop') this.ioStatus = error.noSpace ? 'nospace' : 'failed'
        onError(this, error)
      },
    })
  }

  get image(): BlockImage | undefined {
    return this.device.image
  }

  plug({ id, image, ...options }: PluggedDisk): void {
    this.id = id
    this.device.changeImage(image, options)
  }

  /** Nothing touches the image any more when this returns. */
  unplug(): void {
    this.id = undefined
    this.ioStatus = 'ok'
    this.device.changeImage(undefined)
  }

  /** The image has another size. */
  resized(): void {
    this.device.changeImage(this.image)
  }
}
