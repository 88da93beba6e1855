import { MesovirtError } from '../host/errors.ts'
import type { Discarded } from '../host/ram.ts'

/**
 * Guest RAM as the rest of the machine sees it: a few blocks of bytes at guest physical addresses, and bounds-checked doors to them.
 * Models no I/O and no ROM (those are regions of the address space) and no dirty tracking. Addresses are bytes, numbers below 2^53.
 */
export interface RamBlock {
  readonly guestAddress: number
  readonly size: number
  readonly bytes: Uint8Array
  /** place in the accelerator's memory: on tcg an offset in the WebAssembly memory, on kvm a host address */
  readonly hostOffset: number
  /** What other processes map to see these bytes; undefined where they cannot. Open for as long as the accelerator is. */
  readonly shared?: { readonly fd: number; readonly offset: number } | undefined
  /** Told of bytes stored to, at an offset of the block, by an accelerator that keeps something derived from RAM, such as decoded code. */
  readonly written?: ((offset: number, length: number) => void) | undefined
  /** Gives whole pages back to the host (Ram.discard); undefined where nothing can be given back. */
  readonly discard?: ((offset: number, length: number) => Discarded) | undefined
}

const PAGE = 4096
/** From good to bad, for RAM of several blocks. */
const DISCARDED: readonly Discarded[] = ['zeros', 'file', 'kept']

interface Block extends RamBlock {
  readonly end: number
  readonly view: DataView
}

/** All RAM of one machine. Every access is checked; one outside RAM throws `GUEST_ADDRESS`, and nothing is read or written then. */
export class GuestMemory {
  readonly blocks: readonly RamBlock[]
  readonly #blocks: readonly Block[]
  /** Most accesses follow one another in the same block. */
  #last: Block | undefined

  /** @param blocks in any order; they must not overlap. Throws `GUEST_MEMORY_LAYOUT` if they do or a size does not match its bytes. */
  constructor(blocks: readonly RamBlock[]) {
    const sorted = [...blocks].sort((a, b) => a.guestAddress - b.guestAddress)
    let previousEnd = 0
    this.#blocks = sorted.map((block) => {
      const end = block.guestAddress + block.size
      const valid = isAddress(block.guestAddress) && isAddress(block.size) && isAddress(end) && isAddress(block.hostOffset)
        && block.size > 0 && block.bytes.length === block.size && block.guestAddress >= previousEnd
      if (!valid) {
        throw new MesovirtError('GUEST_MEMORY_LAYOUT',
          `RAM block at ${hex(block.guestAddress)} of ${block.size} bytes overlaps another block or does not match its ${block.bytes.length} host bytes`)
      }
      previousEnd = end
      const view = new DataView(block.bytes.buffer, block.bytes.byteOffset, block.bytes.byteLength)
      const { guestAddress, size, bytes, hostOffset, written, discard } = block
      return { guestAddress, size, bytes, hostOffset, written, discard, end, view }
    })
    this.blocks = sorted
    this.#last = this.#blocks[0]
  }

  /** Total bytes of RAM. */
  get size(): number {
    return this.#blocks.reduce((sum, block) => sum + block.size, 0)
  }

  /** Whether all of [gpa, gpa + length) is RAM. An empty range is contained where its address is RAM or the end of a block. */
  contains(gpa: number, length: number): boolean {
    if (!isAddress(gpa) || !isAddress(length)) return false
    if (length === 0) return this.#blocks.some((block) => gpa >= block.guestAddress && gpa <= block.end)
    let at = gpa
    const end = gpa + length
    while (at < end) {
      const block = this.#find(at)
      if (block === undefined) return false
      at = block.end
    }
    return true
  }

  /** A copy of `length` bytes; may cross from one block into an adjacent one. */
  read(gpa: number, length: number): Uint8Array {
    this.#check(gpa, length)
    const result = new Uint8Array(length)
    this.#eachPart(gpa, length, (block, from, count, done) => result.set(block.bytes.subarray(from, from + count), done))
    return result
  }

  /** Stores all of `bytes`; may cross from one block into an adjacent one. */
  write(gpa: number, bytes: Uint8Array): void {
    this.#check(gpa, bytes.length)
    this.#eachPart(gpa, bytes.length, (block, from, count, done) => {
      block.bytes.set(bytes.subarray(done, done + count), from)
      block.written?.(from, count)
    })
  }

  /** A live view of `length` bytes inside one block: the guest may change it at any time, so read a value once and check that copy. */
  slice(gpa: number, length: number): Uint8Array {
    if (!isAddress(gpa) || !isAddress(length)) throw outside(gpa, length)
    const block = this.#find(gpa)
    if (block === undefined || gpa + length > block.end) throw outside(gpa, length)
    const from = gpa - block.guestAddress
    return block.bytes.subarray(from, from + length)
  }

  /** Live views (see slice) of all of [gpa, gpa + length), one for each block it lies in; undefined where some of it is no RAM. */
  parts(gpa: number, length: number): readonly Uint8Array[] | undefined {
    if (!isAddress(gpa) || !isAddress(length)) return undefined
    const first = this.#find(gpa)
    if (first === undefined) return undefined
    const from = gpa - first.guestAddress
    if (gpa + length <= first.end) return [first.bytes.subarray(from, from + length)]
    if (!this.contains(gpa, length)) return undefined
    const parts: Uint8Array[] = []
    this.#eachPart(gpa, length, (block, start, count) => parts.push(block.bytes.subarray(start, start + count)))
    return parts
  }

  /** Sets `length` bytes to `byte`. */
  fill(gpa: number, length: number, byte: number): void {
    this.#check(gpa, length)
    this.#eachPart(gpa, length, (block, from, count) => {
      block.bytes.fill(byte, from, from + count)
      block.written?.(from, count)
    })
  }

  /** For those who store through live views (slice, parts): called after the bytes are there and before the guest is told. */
  written(gpa: number, length: number): void {
    this.#eachPart(gpa, length, (block, from, count) => block.written?.(from, count))
  }

  /**
   * Gives the memory of whole pages back to the host. They stay RAM: the guest may use them again, and views of them stay good.
   * @param length bytes; 0 to ask how it will work
   * @returns what is to be read there now, the worst where it differs
   * @throws MesovirtError GUEST_ADDRESS for what is no RAM or no whole pages; RAM_DISCARD, FFI_MISSING where it cannot work
   */
  discard(gpa: number, length: number): Discarded {
    if (gpa % PAGE !== 0 || length % PAGE !== 0) throw outside(gpa, length)
    this.#check(gpa, length)
    let worst = 0
    const give = (block: Block, from: number, count: number): void => {
      worst = Math.max(worst, DISCARDED.indexOf(block.discard?.(from, count) ?? 'kept'))
      block.written?.(from, count)
    }
    if (length === 0) for (const block of this.#blocks) give(block, 0, 0)
    else this.#eachPart(gpa, length, give)
    return DISCARDED[worst] as Discarded
  }

  readU8(gpa: number): number {
    const block = this.#whole(gpa, 1)
    return block.view.getUint8(gpa - block.guestAddress)
  }

  readU16(gpa: number): number {
    const block = this.#within(gpa, 2)
    return block !== undefined ? block.view.getUint16(gpa - block.guestAddress, true) : viewOf(this.read(gpa, 2)).getUint16(0, true)
  }

  readU32(gpa: number): number {
    const block = this.#within(gpa, 4)
    return block !== undefined ? block.view.getUint32(gpa - block.guestAddress, true) : viewOf(this.read(gpa, 4)).getUint32(0, true)
  }

  readU64(gpa: number): bigint {
    const block = this.#within(gpa, 8)
    return block !== undefined ? block.view.getBigUint64(gpa - block.guestAddress, true) : viewOf(this.read(gpa, 8)).getBigUint64(0, true)
  }

  writeU8(gpa: number, value: number): void {
    const block = this.#whole(gpa, 1)
    block.view.setUint8(gpa - block.guestAddress, value)
    block.written?.(gpa - block.guestAddress, 1)
  }

  writeU16(gpa: number, value: number): void {
    const block = this.#within(gpa, 2)
    if (block !== undefined) {
      block.view.setUint16(gpa - block.guestAddress, value, true)
      block.written?.(gpa - block.guestAddress, 2)
      return
    }
    this.write(gpa, Uint8Array.of(value & 0xff, (value >>> 8) & 0xff))
  }

  writeU32(gpa: number, value: number): void {
    const block = this.#within(gpa, 4)
    if (block !== undefined) {
      block.view.setUint32(gpa - block.guestAddress, value, true)
      block.written?.(gpa - block.guestAddress, 4)
      return
    }
    const bytes = new Uint8Array(4)
    viewOf(bytes).setUint32(0, value, true)
    this.write(gpa, bytes)
  }

  writeU64(gpa: number, value: bigint): void {
    const block = this.#within(gpa, 8)
    if (block !== undefined) {
      block.view.setBigUint64(gpa - block.guestAddress, value, true)
      block.written?.(gpa - block.guestAddress, 8)
      return
    }
    const bytes = new Uint8Array(8)
    viewOf(bytes).setBigUint64(0, value, true)
    this.write(gpa, bytes)
  }

  #find(gpa: number): Block | undefined {
    const last = this.#last
    if (last !== undefined && gpa >= last.guestAddress && gpa < last.end) return last
    for (const block of this.#blocks) {
      if (gpa >= block.guestAddress && gpa < block.end) {
        this.#last = block
        return block
      }
    }
    return undefined
  }

  /** The block that holds all of the access, or undefined if it crosses a block's end (the caller then goes byte by byte). */
  #within(gpa: number, length: number): Block | undefined {
    if (!isAddress(gpa)) throw outside(gpa, length)
    const block = this.#find(gpa)
    if (block === undefined) throw outside(gpa, length)
    return gpa + length <= block.end ? block : undefined
  }

  #whole(gpa: number, length: number): Block {
    const block = this.#within(gpa, length)
    if (block === undefined) throw outside(gpa, length)
    return block
  }

  #check(gpa: number, length: number): void {
    if (!this.contains(gpa, length)) throw outside(gpa, length)
  }

  #eachPart(gpa: number, length: number, visit: (block: Block, from: number, count: number, done: number) => void): void {
    let done = 0
    while (done < length) {
      const block = this.#find(gpa + done)
      if (block === undefined) throw outside(gpa, length)
      const from = gpa + done - block.guestAddress
      const count = Math.min(length - done, block.size - from)
      visit(block, from, count, done)
      done += count
    }
  }
}

/** -0 is refused with the negatives: it would print and compare oddly, and no honest computation of an address yields it. */
function isAddress(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0)
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function hex(value: number): string {
  return isAddress(value) ? `0x${value.toString(16)}` : String(value)
}

function outside(gpa: number, length: number): MesovirtError {
  return new MesovirtError('GUEST_ADDRESS', `guest address ${hex(gpa)}, length ${length}, is not all in guest RAM`)
}
