/** Packed virtqueue, the device's end. OASIS virtio 1.2 section 2.8. */
import type { GuestMemory } from '../../../address-space/guest-memory.ts'
import { DESC_F_AVAIL, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_USED, DESC_F_WRITE, DESCRIPTOR_SIZE } from '../constants.ts'
import type { Chain } from './chain.ts'
import { ChainBuilder } from './chain-builder.ts'
import { FAULTS, RingFault } from './faults.ts'
import { VirtQueue } from './queue.ts'
import type { QueueHost, QueueLayout, RingFeatures } from './queue.ts'
import { RingMemory } from './ring-memory.ts'
import type { QueueState } from './state.ts'

/** Offsets in a descriptor. */
const LENGTH = 8, ID = 12, FLAGS = 14
/** Offsets in an event suppression structure, and its flags. */
const EVENT_PLACE = 0, EVENT_FLAGS = 2
const EVENT_FLAGS_MASK = 0b11
const EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_AT_DESCRIPTOR = 2
const EVENT_WRAP = 0x8000

export class PackedQueue extends VirtQueue {
  readonly #ring: RingMemory
  readonly #driverEvent: RingMemory
  readonly #deviceEvent: RingMemory
  #nextAvailable = 0
  #nextUsed = 0
  #availableWrap = true
  #usedWrap = true

  /** @throws RingFault; MesovirtError DEVICE_STATE */
  constructor(layout: QueueLayout, memory: GuestMemory, features: RingFeatures, host: QueueHost, state?: QueueState) {
    const { size } = layout
    if (size < 1 || size > 0x8000) throw new RingFault(FAULTS.ringSize, `${size}`)
    super(size, memory, features, host)
    this.#ring = new RingMemory(memory, layout.descriptors, DESCRIPTOR_SIZE * size, 16)
    this.#driverEvent = new RingMemory(memory, layout.driver, 4, 4)
    this.#deviceEvent = new RingMemory(memory, layout.device, 4, 4)
    if (state === undefined) return
    this.#nextAvailable = state.nextAvailable
    this.#nextUsed = state.nextUsed
    this.#availableWrap = state.availableWrap
    this.#usedWrap = state.usedWrap
    this.restore(state)
  }

  hasAvailable(): boolean {
    return this.usable && this.#isAvailable(this.#ring.load(this.#nextAvailable * DESCRIPTOR_SIZE + FLAGS))
  }

  setKicks(on: boolean): void {
    if (!this.usable) return
    if (on && this.features.eventIndex) this.#deviceEvent.store(EVENT_PLACE, this.#nextAvailable | (this.#availableWrap ? EVENT_WRAP : 0))
    this.#deviceEvent.store(EVENT_FLAGS, !on ? EVENT_DISABLE : this.features.eventIndex ? EVENT_AT_DESCRIPTOR : EVENT_ENABLE)
  }

  protected take(): Chain | undefined {
    const ring = this.#ring
    let slot = this.#nextAvailable
    let flags = ring.load(slot * DESCRIPTOR_SIZE + FLAGS)
    if (!this.#isAvailable(flags)) return undefined
    const free = this.size - this.slotsInFlight
    const builder = new ChainBuilder(this.memory, this.size)
    for (let slots = 1; ; slots++) {
      if (slots > free) throw new RingFault(this.slotsInFlight > 0 ? FAULTS.inFlight : FAULTS.loop)
      const at = slot * DESCRIPTOR_SIZE
      if ((flags & DESC_F_INDIRECT) === 0) {
        builder.add(ring.view, at, flags)
      } else {
        if (!this.features.indirect) throw new RingFault(FAULTS.indirectFeature)
        if (slots > 1 || (flags & DESC_F_NEXT) !== 0) throw new RingFault(FAULTS.indirectNext)
        addTable(builder, builder.indirectTable(ring.view, at))
      }
      slot = slot + 1 === this.size ? 0 : slot + 1
      if ((flags & DESC_F_NEXT) === 0) {
        const chain = builder.build(ring.view.getUint16(at + ID, true), slots)
        if (slot <= this.#nextAvailable) this.#availableWrap = !this.#availableWrap
        this.#nextAvailable = slot
        return chain
      }
      flags = ring.load(slot * DESCRIPTOR_SIZE + FLAGS)
    }
  }

  protected putUsed(chain: Chain, written: number): void {
    const at = this.#nextUsed * DESCRIPTOR_SIZE
    this.#ring.view.setUint16(at + ID, chain.id, true)
    this.#ring.view.setUint32(at + LENGTH, written, true)
    this.#ring.store(at + FLAGS, (this.#usedWrap ? DESC_F_AVAIL | DESC_F_USED : 0) | (written > 0 ? DESC_F_WRITE : 0))
    this.#nextUsed += chain.slots
    if (this.#nextUsed < this.size) return
    this.#nextUsed -= this.size
    this.#usedWrap = !this.#usedWrap
  }

  protected wantsInterrupt(count: number): boolean {
    const flags = this.#driverEvent.load(EVENT_FLAGS) & EVENT_FLAGS_MASK
    if (flags !== EVENT_AT_DESCRIPTOR || !this.features.eventIndex) return flags !== EVENT_DISABLE
    const event = this.#driverEvent.load(EVENT_PLACE)
    const isThisRound = ((event & EVENT_WRAP) !== 0) === this.#usedWrap
    const behind = this.#nextUsed - (event & ~EVENT_WRAP) + (isThisRound ? 0 : this.size)
    return behind >= 1 && behind <= count
  }

  protected position(): Omit<QueueState, 'inFlight'> {
    return { nextAvailable: this.#nextAvailable, nextUsed: this.#nextUsed, availableWrap: this.#availableWrap, usedWrap: this.#usedWrap }
  }

  #isAvailable(flags: number): boolean {
    return ((flags & DESC_F_AVAIL) !== 0) === this.#availableWrap && ((flags & DESC_F_USED) !== 0) !== this.#availableWrap
  }
}

/** In the table of a packed ring the descriptors follow one another, and of their flags only "device writes" counts: an indirect one is a plain one (2.8.7). */
function addTable(builder: ChainBuilder, table: DataView): void {
  for (let at = 0; at < table.byteLength; at += DESCRIPTOR_SIZE) {
    builder.add(table, at, table.getUint16(at + FLAGS, true))
  }
}
