/** One network card of the LightMachine: a window that has a network from the start, or is a slot that networks are plugged into and taken out of while the guest runs. */
import type { DeviceEvents } from '../device-model/contracts.ts'
import type { NetBackend } from '../device-model/net/backend.ts'
import { defaultMac } from '../device-model/net/mac.ts'
import { VirtioNet } from '../device-model/virtio/net.ts'
import type { NetOptions } from '../device-model/virtio/net.ts'

/** What an empty slot offers its driver, before it is known what comes. */
export function emptyCard(slot: number): NetOptions {
  return {
    mac: defaultMac(slot), pairs: 1, rxQueueSize: 256, txQueueSize: 256, checksum: true, guestChecksum: true, segmentation: true, guestSegmentation: true, mergeable: true,
  }
}

/** What a network brings into a slot. */
export interface PluggedNetwork {
  readonly id: string
  /** The machine does not close it. */
  readonly backend: NetBackend
  /** undefined: the address of the slot */
  readonly mac: Uint8Array | undefined
}

export interface LightCardOptions {
  /** 0 or 1 */
  readonly slot: number
  readonly id: string | undefined
  readonly net: NetOptions
  readonly backend: NetBackend | undefined
  readonly events: DeviceEvents
}

export class LightCard {
  readonly slot: number
  readonly device: VirtioNet
  id: string | undefined

  constructor({ slot, id, net, backend, events }: LightCardOptions) {
    this.slot = slot
    this.id = id
    this.device = VirtioNet.create({ options: net, backend, events })
  }

  get backend(): NetBackend | undefined {
    return this.device.backend
  }

  plug({ id, backend, mac }: PluggedNetwork): void {
    this.id = id
    this.device.setLink(true)
    this.device.changeBackend(backend, mac)
  }

  /** Nothing uses the network any more when this returns. */
  unplug(): void {
    this.id = undefined
    this.device.changeBackend(undefined)
  }
}
