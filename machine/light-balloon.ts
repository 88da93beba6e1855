/** The memory balloon of the LightMachine: the device, its name, and news of it at a pace that a monitor can follow. */
import type { GuestMemory } from '../address-space/guest-memory.ts'
import type { Clock, DeviceEvents } from '../device-model/contracts.ts'
import { VirtioBalloon } from '../device-model/virtio/balloon.ts'
import type { BalloonOptions } from '../device-model/virtio/balloon.ts'

/** As QEMU's: a guest that lets its balloon swing does not flood a monitor. */
const PAUSE_NS = 1_000_000_000n

export interface LightBalloonOptions {
  readonly id: string | undefined
  readonly options: BalloonOptions
  readonly memory: GuestMemory
  readonly clock: Clock
  readonly events: DeviceEvents
  /** At most once a second, with the newest value. @param bytes of memory that are left to the guest */
  readonly onChange: (bytes: number) => void
}

export class LightBalloon {
  readonly id: string | undefined
  readonly options: BalloonOptions
  readonly device: VirtioBalloon
  readonly #clock: Clock
  readonly #onChange: (bytes: number) => void
  #told: number
  #waits = false

  /** @throws MesovirtError RAM_DISCARD, FFI_MISSING */
  constructor({ id, options, memory, clock, events, onChange }: LightBalloonOptions) {
    this.id = id
    this.options = options
    this.#clock = clock
    this.#onChange = onChange
    this.device = VirtioBalloon.create({ options, memory, clock, events, onChange: () => this.#changed() })
    this.#told = this.device.bytesLeft
  }

  #changed(): void {
    const bytes = this.device.bytesLeft
    if (this.#waits || bytes === this.#told) return
    this.#told = bytes
    this.#waits = true
    this.#clock.schedule(this.#clock.now() + PAUSE_NS, () => {
      this.#waits = false
      this.#changed()
    })
    this.#onChange(bytes)
  }
}
