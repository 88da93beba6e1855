/** Split virtqueue, the device's end. OASIS virtio 1.2 section 2.7. */
import type { GuestMemory } from '../../../address-space/guest-memory.ts'
import { DESC_F_INDIRECT, DESC_F_NEXT, DESCRIPTOR_SIZE } from '../constants.ts'
import type { Chain } from './chain.ts'
import { ChainBuilder } from './chain-builder.ts'
import { FAULTS, RingFault } from './faults.ts'
import { VirtQueue } from './queue.ts'
import type { QueueHost, QueueLayout, RingFeatures } from './queue.ts'
import { RingMemory } from './ring-memory.ts'
import type { QueueState } from './state.ts'

/** Offsets in both rings. */
const FLAGS = 0, INDEX = 2, RING = 4
const USED_ELEMENT_SIZE = 8
const AVAIL_F_NO_INTERRUPT = 1, USED_F_NO_NOTIFY = 1

export class SplitQueue extends VirtQueue {
  readonly #descriptors: RingMemory
  readonly #available: RingMemory
  readonly #used: RingMemory
  /** Free-running 16-bit indices. */
  #nextAvailable = 0
  #nextUsed = 0

  /** @throws RingFault; MesovirtError DEVICE_STATE */
  constructor(layout: QueueLayout, memory: GuestMemory, features: RingFeatures, host: QueueHost, state?: QueueState) {
    const { size } = layout
    if (size < 1 || size > 0x8000 || (size & (size - 1)) !== 0) throw new RingFault(FAULTS.ringSize, `${size}`)
    super(size, memory, features, host)
    this.#descriptors = new RingMemory(memory, layout.descriptors, DESCRIPTOR_SIZE * size, 16)
    // The event field behind each ring is there with the event index only (2.7.6, 2.7.8).
    const event = features.eventIndex ? 2 : 0
    this.#available = new RingMemory(memory, layout.driver, RING + 2 * size + event, 2)
    this.#used = new RingMemory(memory, layout.device, RING + USED_ELEMENT_SIZE * size + event, 4)
    if (state === undefined) return
    this.#nextAvailable = state.nextAvailable
    this.#nextUsed = state.nextUsed
    this.restore(state)
  }

  hasAvailable(): boolean {
    return this.usable && this.#available.load(INDEX) !== this.#nextAvailable
  }

  setKicks(on: boolean): void {
    if (!this.usable) return
    if (!this.features.eventIndex) this.#used.store(FLAGS, on ? 0 : USED_F_NO_NOTIFY)
    // Off is to leave the event where it is: the driver has passed it.
    else if (on) this.#used.store(RING + USED_ELEMENT_SIZE * this.size, this.#nextAvailable)
  }

  protected take(): Chain | undefined {
    const ahead = (this.#available.load(INDEX) - this.#nextAvailable) & 0xffff
    if (ahead === 0) return undefined
    if (ahead > this.size) throw new RingFault(FAULTS.availableIndex, `by ${ahead} of ${this.size}`)
    if (this.inFlight >= this.size) throw new RingFault(FAULTS.inFlight)
    const head = this.#available.view.getUint16(RING + 2 * (this.#nextAvailable & (this.size - 1)), true)
    const chain = this.#walk(head)
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff
    return chain
  }

  protected putUsed(chain: Chain, written: number): void {
    const at = RING + USED_ELEMENT_SIZE * (this.#nextUsed & (this.size - 1))
    this.#used.view.setUint32(at, chain.id, true)
    this.#used.view.setUint32(at + 4, written, true)
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff
    this.#used.store(INDEX, this.#nextUsed)
  }

  protected wantsInterrupt(count: number): boolean {
    if (!this.features.eventIndex) return (this.#available.load(FLAGS) & AVAIL_F_NO_INTERRUPT) === 0
    const event = this.#available.load(RING + 2 * this.size)
    const behind = (this.#nextUsed - event) & 0xffff
    return behind >= 1 && behind <= count
  }

  protected position(): Omit<QueueState, 'inFlight'> {
    return { nextAvailable: this.#nextAvailable, nextUsed: this.#nextUsed, availableWrap: true, usedWrap: true }
  }

  #walk(head: number): Chain {
    const builder = new ChainBuilder(this.memory, this.size)
    let table = this.#descriptors.view
    let length = this.size
    let isIndirect = false
    let index = head
    for (let walked = 0; ; ) {
      if (index >= length) throw new RingFault(FAULTS.descriptorIndex, `${index} of ${length}`)
      if (++walked > length) throw new RingFault(FAULTS.loop)
      const at = index * DESCRIPTOR_SIZE
      const flags = table.getUint16(at + 12, true)
      if ((flags & DESC_F_INDIRECT) !== 0) {
        if (isIndirect) throw new RingFault(FAULTS.indirectNested)
        if (!this.features.indirect) throw new RingFault(FAULTS.indirectFeature)
        if ((flags & DESC_F_NEXT) !== 0) throw new RingFault(FAULTS.indirectNext)
        table = builder.indirectTable(table, at)
        length = table.byteLength / DESCRIPTOR_SIZE
        isIndirect = true
        index = 0
        walked = 0
        continue
      }
      builder.add(table, at, flags)
      if ((flags & DESC_F_NEXT) === 0) return builder.build(head, 1)
      index = table.getUint16(at + 14, true)
    }
  }
}
