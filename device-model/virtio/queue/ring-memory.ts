/**
 * The memory of one part of a ring. Indices and flags, which order everything else, go through Atomics (sequentially consistent: a store is a full
 * barrier against the load after it); the rest is plain. Little-endian hosts only, like WebAssembly memories.
 */
import type { GuestMemory } from '../../../address-space/guest-memory.ts'
import { FAULTS, RingFault } from './faults.ts'

export class RingMemory {
  readonly view: DataView
  readonly #halves: Uint16Array

  /**
   * @param length bytes
   * @param alignment bytes, at least 2
   * @throws RingFault where that is not RAM of one block. Drivers get rings as naturally aligned pages, which no border of two blocks cuts.
   */
  constructor(memory: GuestMemory, address: number, length: number, alignment: number) {
    const parts = address % alignment === 0 ? memory.parts(address, length) : undefined
    const bytes = parts?.length === 1 ? parts[0] : undefined
    if (bytes === undefined || bytes.byteOffset % 2 !== 0) throw new RingFault(FAULTS.ringPlace, `0x${address.toString(16)}, ${length} bytes`)
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1)
  }

  /** @param offset bytes, even */
  load(offset: number): number {
    return Atomics.load(this.#halves, offset >> 1)
  }

  /** @param offset bytes, even */
  store(offset: number, value: number): void {
    Atomics.store(this.#halves, offset >> 1, value)
  }
}
