/**
 * The device's end of a virtqueue, what both kinds of rings have in common: buffers in flight, notifications both ways, bounded work, and the end of
 * everything at the first malformed descriptor. virtio 1.2 sections 2.6 to 2.8; in-order use, notification data and ring reset are left out.
 */
import type { GuestMemory } from '../../../address-space/guest-memory.ts'
import { MesovirtError } from '../../../host/errors.ts'
import type { Chain } from './chain.ts'
import { RingFault } from './faults.ts'
import type { QueueFault } from './faults.ts'
import { restoreChains, saveChain } from './state.ts'
import type { QueueState } from './state.ts'

/** Places of the three parts, guest-physical, and the number of descriptors. */
export interface QueueLayout {
  readonly size: number
  /** descriptor table or ring */
  readonly descriptors: number
  /** available ring, or driver event suppression */
  readonly driver: number
  /** used ring, or device event suppression */
  readonly device: number
}

/** What of section 6 was negotiated. */
export interface RingFeatures {
  readonly indirect: boolean
  readonly eventIndex: boolean
}

/** What a queue asks of the transport. */
export interface QueueHost {
  /** Sends the driver a used buffer notification. */
  interrupt(): void
  /** The driver broke the rules: the device works no more until it is reset. */
  broken(fault: QueueFault, detail: string): void
  /** Calls back in a later turn of the event loop. */
  defer(callback: () => void): void
}

/** Descriptors that one call of `serve` walks: with them, main is away from everything else for about a millisecond. */
const WORK_LIMIT = 4096

export abstract class VirtQueue {
  readonly size: number
  protected readonly memory: GuestMemory
  protected readonly features: RingFeatures
  readonly #host: QueueHost
  readonly #inFlight = new Set<Chain>()
  #slotsInFlight = 0
  /** Buffers that were in flight when the state was saved; they come before those of the ring. */
  #restored: Chain[] = []
  /** Places of the used ring filled since the driver was last asked whether it wants to know. */
  #unannounced = 0
  #closed = false
  #broken = false
  #deferred = false

  protected constructor(size: number, memory: GuestMemory, features: RingFeatures, host: QueueHost) {
    this.size = size
    this.memory = memory
    this.features = features
    this.#host = host
  }

  /** False once the queue was closed or the driver has broken it: nothing of it is touched any more. */
  get usable(): boolean {
    return !this.#closed && !this.#broken
  }

  /** Buffers that the device has taken and not yet given back. */
  get inFlight(): number {
    return this.#inFlight.size
  }

  /** Places of a packed ring that those take. */
  protected get slotsInFlight(): number {
    return this.#slotsInFlight
  }

  /** Takes the next buffer the driver made available, or undefined where there is none. A malformed one breaks the queue. */
  pop(): Chain | undefined {
    if (!this.usable) return undefined
    const restored = this.#restored.shift()
    if (restored !== undefined) return restored
    try {
      const chain = this.take()
      if (chain === undefined) return undefined
      this.#inFlight.add(chain)
      this.#slotsInFlight += chain.slots
      return chain
    } catch (error) {
      if (!(error instanceof RingFault)) throw error
      this.#broken = true
      this.#host.broken(error.fault, error.detail)
      return undefined
    }
  }

  /**
   * Gives a buffer back to the driver; `notify` tells it. Does nothing once the queue is closed: a backend may finish after a reset.
   * @param written bytes the device wrote, from the first writable one on without a gap
   */
  push(chain: Chain, written: number): void {
    if (!this.usable) return
    if (!this.#inFlight.delete(chain)) throw new MesovirtError('VIRTQUEUE', 'a device gave back a buffer that it does not have')
    this.#slotsInFlight -= chain.slots
    this.#announce(chain, written)
    this.putUsed(chain, Math.min(written, chain.writableLength))
    this.#unannounced += chain.slots
  }

  /** The device stored through live views; some accelerators must know where. What the queue itself puts into its rings is not told: rings hold no code. */
  #announce(chain: Chain, written: number): void {
    let left = written
    for (const { address, bytes } of chain.writable) {
      if (left <= 0) return
      this.memory.written(address, Math.min(left, bytes.length))
      left -= bytes.length
    }
  }

  /** Interrupts the driver, if it wants to know of what was pushed since the last call. */
  notify(): void {
    if (!this.usable || this.#unannounced === 0) return
    const isWanted = this.wantsInterrupt(this.#unannounced)
    this.#unannounced = 0
    if (isWanted) this.#host.interrupt()
  }

  /**
   * Hands available buffers to `handle` until there are none or `wants` says no, with the driver's notifications off meanwhile. After a bounded amount of work
   * it goes on in a later turn of the event loop. Where `wants` ended it, notifications stay off: the device calls again when it wants more.
   */
  serve(handle: (chain: Chain) => void, wants: () => boolean = () => true): void {
    if (!this.usable || this.#deferred) return
    this.setKicks(false)
    let chains = 0
    let work = 0
    while (wants()) {
      const chain = this.pop()
      if (chain === undefined) {
        if (!this.usable) return
        this.setKicks(true)
        if (this.hasAvailable()) continue
        break
      }
      handle(chain)
      if (!this.usable) return
      work += chain.descriptors
      if (++chains < this.size && work < WORK_LIMIT) continue
      this.#deferred = true
      this.#host.defer(() => {
        this.#deferred = false
        this.serve(handle, wants)
      })
      break
    }
    this.notify()
  }

  /** From now on nothing of the queue is touched: the driver has stopped it, or the device was reset. */
  close(): void {
    this.#closed = true
    this.#inFlight.clear()
    this.#restored = []
  }

  state(): QueueState {
    return { ...this.position(), inFlight: [...this.#inFlight].map(saveChain) }
  }

  /** Continues where `state` was taken. Last in a constructor. @throws MesovirtError DEVICE_STATE */
  protected restore(state: QueueState): void {
    // How much of what was used the driver had been told of is not kept: it is told once more, should it have waited for any of it.
    this.#unannounced = Infinity
    this.#restored = restoreChains(state.inFlight, this.memory, this.size)
    for (const chain of this.#restored) {
      this.#inFlight.add(chain)
      this.#slotsInFlight += chain.slots
    }
  }

  /** Whether the driver has made available what was not taken yet. After `setKicks(true)` it sees all that came without a notification. */
  abstract hasAvailable(): boolean
  /** Whether the driver shall notify of new buffers. An optimization only: it may at any time. */
  abstract setKicks(on: boolean): void
  /** @throws RingFault */
  protected abstract take(): Chain | undefined
  protected abstract putUsed(chain: Chain, written: number): void
  /** @param count how many places of the used ring were filled since the last question */
  protected abstract wantsInterrupt(count: number): boolean
  protected abstract position(): Omit<QueueState, 'inFlight'>
}
