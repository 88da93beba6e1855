/** One queue as a transport's registers see it: size and places as the driver writes them, and the queue itself once it is ready. virtio 1.2 section 4.2.3.2. */
import type { GuestMemory } from '../../address-space/guest-memory.ts'
import { damaged, stateBoolean, stateNumber, stateRecord } from '../state.ts'
import { FAULTS, RingFault } from './queue/faults.ts'
import { openQueue } from './queue/open.ts'
import type { QueueHost, RingFeatures, VirtQueue } from './queue/queue.ts'

const TWO_TO_32 = 2 ** 32

/** Low and high half of a guest-physical address. */
export type Halves = [number, number]

export interface RingFormat extends RingFeatures {
  readonly isPacked: boolean
}

export interface QueueSetupState {
  readonly size: number
  readonly ready: boolean
  readonly descriptors: Readonly<Halves>
  readonly driver: Readonly<Halves>
  readonly device: Readonly<Halves>
  /** QueueState of a queue that is ready */
  readonly ring: unknown
}

export class QueueSetup {
  readonly maxSize: number
  size: number
  descriptors: Halves = [0, 0]
  driver: Halves = [0, 0]
  device: Halves = [0, 0]
  /** Present from QueueReady on until the queue is stopped. */
  queue: VirtQueue | undefined
  readonly #memory: GuestMemory
  readonly #host: QueueHost

  constructor(maxSize: number, memory: GuestMemory, host: QueueHost) {
    this.maxSize = maxSize
    this.size = maxSize
    this.#memory = memory
    this.#host = host
  }

  get isReady(): boolean {
    return this.queue !== undefined
  }

  /** @returns what is wrong with size or places; the queue is not ready then */
  open(format: RingFormat, ring?: unknown): RingFault | undefined {
    if (this.size > this.maxSize) return new RingFault(FAULTS.ringSize, `${this.size} of ${this.maxSize}`)
    const layout = { size: this.size, descriptors: join(this.descriptors), driver: join(this.driver), device: join(this.device) }
    const result = openQueue(format.isPacked, layout, this.#memory, format, this.#host, ring)
    if (result instanceof RingFault) return result
    this.queue = result
    return undefined
  }

  close(): void {
    this.queue?.close()
    this.queue = undefined
  }

  reset(): void {
    this.close()
    this.size = this.maxSize
    this.descriptors = [0, 0]
    this.driver = [0, 0]
    this.device = [0, 0]
  }

  state(): QueueSetupState {
    const { size, descriptors, driver, device } = this
    return { size, ready: this.isReady, descriptors: [...descriptors], driver: [...driver], device: [...device], ring: this.queue?.state() ?? null }
  }

  /** @throws MesovirtError DEVICE_STATE */
  restore(state: QueueSetupState, format: RingFormat): void {
    this.reset()
    this.size = state.size
    this.descriptors = [...state.descriptors]
    this.driver = [...state.driver]
    this.device = [...state.device]
    if (!state.ready) return
    const fault = this.open(format, state.ring)
    if (fault !== undefined) throw damaged('virtqueue', fault.fault)
  }
}

/** @throws MesovirtError DEVICE_STATE */
export function checkQueueSetup(state: unknown): QueueSetupState {
  const record = stateRecord('virtqueue', state)
  const halves = (field: string): Halves => {
    const value = record[field]
    const isHalf = (half: unknown) => typeof half === 'number' && Number.isInteger(half) && half >= 0 && half < TWO_TO_32
    if (!Array.isArray(value) || value.length !== 2 || !value.every(isHalf)) throw damaged('virtqueue', `${field} is not an address`)
    return [value[0] as number, value[1] as number]
  }
  return {
    size: stateNumber('virtqueue', record, 'size', TWO_TO_32 - 1), ready: stateBoolean('virtqueue', record, 'ready'),
    descriptors: halves('descriptors'), driver: halves('driver'), device: halves('device'), ring: record['ring'],
  }
}

function join([low, high]: Readonly<Halves>): number {
  return high * TWO_TO_32 + low
}
