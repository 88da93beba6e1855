/** Entropy device. OASIS virtio 1.2 section 5.4: one queue of buffers that the device fills, in part or whole, with random bytes of the host. */
import type { Clock, DeviceEvents, Timer } from '../contracts.ts'
import { GuestErrors } from '../contracts.ts'
import type { RandomSource } from '../random-source.ts'
import { stateNumber, stateRecord } from '../state.ts'
import { DEVICE_TYPE_ENTROPY } from './constants.ts'
import type { Activation, VirtioDevice, VirtioHost } from './device.ts'
import { copyTo } from './queue/chain.ts'
import type { Chain } from './queue/chain.ts'
import type { VirtQueue } from './queue/queue.ts'

const QUEUE_SIZE = 8
/** A driver gets what it asks for piece by piece (5.4.6.2 allows it): a buffer of gigabytes costs no more than one of this size. */
const LONGEST_REQUEST = 4096
const NS_PER_MS = 1_000_000n

/** At most `bytes` in each `periodMs` milliseconds of machine time. */
export interface RngLimit {
  readonly bytes: number
  readonly periodMs: number
}

export interface VirtioRngState {
  /** Bytes left in the present period; 0 without a limit. */
  readonly quota: number
}

export interface VirtioRngWiring {
  /** Not closed by the device. */
  readonly source: RandomSource
  readonly clock: Clock
  readonly limit?: RngLimit | undefined
  readonly events?: DeviceEvents | undefined
}

export class VirtioRng implements VirtioDevice {
  readonly name = 'virtio-rng'
  readonly deviceType = DEVICE_TYPE_ENTROPY
  readonly features = 0n
  readonly queueSizes = [QUEUE_SIZE]
  readonly config = new Uint8Array(0)
  readonly guestErrors: GuestErrors
  readonly #wiring: VirtioRngWiring
  #host: VirtioHost | undefined
  #queue: VirtQueue | undefined
  /** The buffer that waits for the source: one at a time, whatever the queue holds. */
  #current: Chain | undefined
  /** The source was asked. A guest that resets the device in a loop does not make more questions. */
  #asking = false
  #paused = false
  /** Came during a pause. */
  #held: Uint8Array | undefined
  #quota: number
  #refill: Timer | undefined

  constructor(state: VirtioRngState, wiring: VirtioRngWiring) {
    this.#wiring = wiring
    this.guestErrors = new GuestErrors(this.name, wiring.events)
    this.#quota = wiring.limit === undefined ? Infinity : state.quota
    if (wiring.limit !== undefined && this.#quota < wiring.limit.bytes) this.#startPeriod()
  }

  static create(wiring: VirtioRngWiring): VirtioRng {
    return new VirtioRng({ quota: wiring.limit?.bytes ?? 0 }, wiring)
  }

  /** @throws MesovirtError DEVICE_STATE */
  static fromState(state: unknown, wiring: VirtioRngWiring): VirtioRng {
    return new VirtioRng({ quota: stateNumber('virtio-rng', stateRecord('virtio-rng', state), 'quota', wiring.limit?.bytes ?? 0) }, wiring)
  }

  state(): VirtioRngState {
    return { quota: this.#wiring.limit === undefined ? 0 : this.#quota }
  }

  attach(host: VirtioHost): void {
    this.#host = host
  }

  activate({ queues }: Activation): void {
    this.#queue = queues[0]
  }

  kick(): void {
    this.#serve()
  }

  stopQueue(): void {
    this.reset()
  }

  /** The quota stays: a reset must not be a way around it. */
  reset(): void {
    this.#queue = undefined
    this.#current = undefined
  }

  async pause(): Promise<void> {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    const bytes = this.#held
    this.#held = undefined
    if (bytes !== undefined) this.#host?.update(() => this.#arrived(bytes))
  }

  #serve(): void {
    this.#queue?.serve((chain) => this.#fill(chain), () => this.#current === undefined && this.#quota > 0 && !this.#paused)
  }

  #fill(chain: Chain): void {
    if (chain.readableLength > 0) this.guestErrors.count('a buffer for random bytes that cannot be written')
    const length = Math.min(chain.writableLength, LONGEST_REQUEST, this.#quota)
    if (length === 0) {
      this.#queue?.push(chain, 0)
      return
    }
    this.#current = chain
    if (this.#asking) return
    this.#asking = true
    this.#wiring.source.read(length, (bytes) => this.#host?.update(() => this.#arrived(bytes)))
  }

  /** The bytes may come after a reset: they are good for the buffer of today, too. */
  #arrived(bytes: Uint8Array): void {
    if (this.#paused) {
      this.#held = bytes
      return
    }
    this.#asking = false
    const chain = this.#current
    if (chain === undefined) return
    this.#current = undefined
    const count = copyTo(chain.writable, 0, bytes.subarray(0, Math.min(bytes.length, this.#quota)))
    if (this.#wiring.limit !== undefined) {
      this.#quota -= count
      this.#startPeriod()
    }
    this.#queue?.push(chain, count)
    this.#serve()
    this.#queue?.notify()
  }

  #startPeriod(): void {
    const { limit, clock } = this.#wiring
    if (limit === undefined || this.#refill !== undefined) return
    this.#refill = clock.schedule(clock.now() + BigInt(limit.periodMs) * NS_PER_MS, () => {
      this.#refill = undefined
      this.#quota = limit.bytes
      this.#host?.update(() => this.#serve())
    })
  }
}
