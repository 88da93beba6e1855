/** Collects the descriptors of one buffer and checks what holds for both kinds of rings. virtio 1.2 sections 2.7.4.2, 2.7.5.2, 2.8.17. */
import type { GuestMemory } from '../../../address-space/guest-memory.ts'
import { DESC_F_WRITE, DESCRIPTOR_SIZE } from '../constants.ts'
import { Chain } from './chain.ts'
import type { Segment } from './chain.ts'
import { FAULTS, RingFault } from './faults.ts'

/**
 * Most descriptors in a buffer. The driver's limit is the queue size (2.7.5.3.1, 2.8.17), but Linux drivers with indirect tables go by the device's
 * limits instead, and device and driver of a small queue get along beyond it.
 */
const LONGEST_CHAIN = 1024
const MOST_BYTES = 2 ** 32
/** `next` has 16 bits: no more of a table can be reached. */
const LONGEST_TABLE = 0x1_0000
const TWO_TO_32 = 2 ** 32

export class ChainBuilder {
  readonly #memory: GuestMemory
  readonly #limit: number
  readonly #readable: Segment[] = []
  readonly #writable: Segment[] = []
  #count = 0
  #bytes = 0

  constructor(memory: GuestMemory, queueSize: number) {
    this.#memory = memory
    this.#limit = Math.max(queueSize, LONGEST_CHAIN)
  }

  /** The descriptor at `offset` of `table`, whose flags the caller has read. */
  add(table: DataView, offset: number, flags: number): void {
    if (++this.#count > this.#limit) throw new RingFault(FAULTS.length, `more than ${this.#limit} descriptors`)
    const address = table.getUint32(offset, true) + table.getUint32(offset + 4, true) * TWO_TO_32
    const length = table.getUint32(offset + 8, true)
    if (length === 0) throw new RingFault(FAULTS.empty)
    this.#bytes += length
    if (this.#bytes > MOST_BYTES) throw new RingFault(FAULTS.bytes)
    const isWritable = (flags & DESC_F_WRITE) !== 0
    if (!isWritable && this.#writable.length > 0) throw new RingFault(FAULTS.order)
    const parts = this.#memory.parts(address, length)
    if (parts === undefined) throw new RingFault(FAULTS.memory, `0x${address.toString(16)}, ${length} bytes`)
    const list = isWritable ? this.#writable : this.#readable
    let at = address
    for (const bytes of parts) {
      list.push({ address: at, bytes })
      at += bytes.length
    }
  }

  /** The table that the indirect descriptor at `offset` of `table` refers to. */
  indirectTable(table: DataView, offset: number): DataView {
    const address = table.getUint32(offset, true) + table.getUint32(offset + 4, true) * TWO_TO_32
    const length = table.getUint32(offset + 8, true)
    const isPossible = length > 0 && length % DESCRIPTOR_SIZE === 0 && length <= LONGEST_TABLE * DESCRIPTOR_SIZE
    const parts = isPossible ? this.#memory.parts(address, length) : undefined
    const first = parts?.[0]
    if (parts === undefined || first === undefined) throw new RingFault(FAULTS.indirectTable, `0x${address.toString(16)}, ${length} bytes`)
    const bytes = parts.length === 1 ? first : this.#memory.read(address, length)
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  build(id: number, slots: number): Chain {
    return new Chain(id, slots, this.#count, this.#readable, this.#writable)
  }
}
