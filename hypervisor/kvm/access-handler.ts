/** Answers KVM_EXIT_IO and KVM_EXIT_MMIO over the bus. Sizes come from the kernel, and are 1 to 8; the bus knows powers of two. */
import { SPACE_MEMORY, SPACE_PORTS } from '../../address-space/bus-layout.ts'
import type { AccessSize } from '../../address-space/region.ts'
import type { VcpuBus } from '../../address-space/vcpu-bus.ts'
import {
  RUN_IO_COUNT, RUN_IO_DATA_OFFSET, RUN_IO_DIRECTION, RUN_IO_PORT, RUN_IO_SIZE, RUN_MMIO_ADDRESS, RUN_MMIO_DATA, RUN_MMIO_IS_WRITE, RUN_MMIO_LENGTH,
} from './abi.ts'

const TWO_TO_32 = 0x1_0000_0000

export class AccessHandler {
  readonly #run: DataView
  readonly #bus: Pick<VcpuBus, 'read' | 'write' | 'read64' | 'write64'>

  constructor(run: DataView, bus: Pick<VcpuBus, 'read' | 'write' | 'read64' | 'write64'>) {
    this.#run = run
    this.#bus = bus
  }

  /** One port instruction; INS and OUTS with REP bring several elements. */
  port(): void {
    const run = this.#run
    const size = run.getUint8(RUN_IO_SIZE) as AccessSize
    const port = run.getUint16(RUN_IO_PORT, true)
    const count = run.getUint32(RUN_IO_COUNT, true)
    let at = run.getUint32(RUN_IO_DATA_OFFSET, true)
    const isOut = run.getUint8(RUN_IO_DIRECTION) === 1
    for (let left = count; left > 0; left--, at += size) {
      if (isOut) this.#bus.write(SPACE_PORTS, port, size, this.#get(at, size))
      else this.#put(at, size, this.#bus.read(SPACE_PORTS, port, size))
    }
  }

  /** One access to guest-physical memory that is no RAM, or a write to ROM. */
  memory(): void {
    const run = this.#run
    const address = run.getUint32(RUN_MMIO_ADDRESS + 4, true) * TWO_TO_32 + run.getUint32(RUN_MMIO_ADDRESS, true)
    const length = run.getUint32(RUN_MMIO_LENGTH, true)
    const isWrite = run.getUint8(RUN_MMIO_IS_WRITE) !== 0
    if (length === 1 || length === 2 || length === 4) this.#part(address, 0, length, isWrite)
    else if (length === 8) this.#whole(address, isWrite)
    // An access that crosses a page comes in pieces of any length.
    else for (let at = 0, size: AccessSize; at < Math.min(length, 8); at += size) this.#part(address + at, at, size = pieceOf(length - at), isWrite)
  }

  #part(address: number, at: number, size: AccessSize, isWrite: boolean): void {
    if (isWrite) this.#bus.write(SPACE_MEMORY, address, size, this.#get(RUN_MMIO_DATA + at, size))
    else this.#put(RUN_MMIO_DATA + at, size, this.#bus.read(SPACE_MEMORY, address, size))
  }

  #whole(address: number, isWrite: boolean): void {
    if (isWrite) this.#bus.write64(SPACE_MEMORY, address, this.#run.getBigUint64(RUN_MMIO_DATA, true))
    else this.#run.setBigUint64(RUN_MMIO_DATA, this.#bus.read64(SPACE_MEMORY, address), true)
  }

  #get(at: number, size: AccessSize): number {
    if (size === 1) return this.#run.getUint8(at)
    return size === 2 ? this.#run.getUint16(at, true) : this.#run.getUint32(at, true)
  }

  #put(at: number, size: AccessSize, value: number): void {
    if (size === 1) this.#run.setUint8(at, value)
    else if (size === 2) this.#run.setUint16(at, value, true)
    else this.#run.setUint32(at, value, true)
  }
}

/** The largest power of two in `length`. */
function pieceOf(length: number): AccessSize {
  return length >= 4 ? 4 : length >= 2 ? 2 : 1
}
