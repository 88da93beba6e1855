/**
 * Test part: the driver's side of a virtqueue in guest memory, as a guest would do it, for the tests of every virtio device. It trusts nobody to be right: what the
 * device writes is checked against the specification. virtio 1.2 sections 2.7 and 2.8.
 */
import type { GuestMemory } from '../../address-space/guest-memory.ts'

const NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 0x80, USED = 0x8000

export interface DriverBuffer {
  readonly address: number
  readonly length: number
}

export interface DriverRequest {
  readonly readable?: readonly DriverBuffer[]
  readonly writable?: readonly DriverBuffer[]
  /** Puts the descriptors into a table of their own. @see VirtqDriverOptions.tables */
  readonly indirect?: boolean
}

export interface UsedBuffer {
  readonly id: number
  /** Bytes written, as the device says. Packed rings tell it only where something was written. */
  readonly written: number
}

export interface VirtqDriverOptions {
  readonly memory: GuestMemory
  readonly size: number
  /** Place of the rings, aligned to 16; `ringBytes` long. */
  readonly base: number
  readonly packed?: boolean
  readonly eventIndex?: boolean
  /** Place of indirect tables: one per id, `tableLength` descriptors each. */
  readonly tables?: { readonly base: number; readonly tableLength: number }
}

export abstract class VirtqDriver {
  readonly memory: GuestMemory
  readonly size: number
  readonly packed: boolean
  readonly eventIndex: boolean
  /** Guest addresses of the three parts. */
  readonly descriptors: number
  readonly driverArea: number
  readonly deviceArea: number
  readonly #tables: VirtqDriverOptions['tables']

  static create(options: VirtqDriverOptions): VirtqDriver {
    return options.packed === true ? new PackedDriver(options) : new SplitDriver(options)
  }

  /** Bytes that the rings of a queue take. */
  static ringBytes(size: number): number {
    return size * 16 + align16(6 + size * 2) + align16(6 + size * 8)
  }

  protected constructor(options: VirtqDriverOptions) {
    this.memory = options.memory
    this.size = options.size
    this.packed = options.packed ?? false
    this.eventIndex = options.eventIndex ?? false
    this.#tables = options.tables
    this.descriptors = options.base
    this.driverArea = this.descriptors + this.size * 16
    this.deviceArea = this.driverArea + align16(6 + this.size * 2)
    this.memory.fill(options.base, VirtqDriver.ringBytes(this.size), 0)
  }

  /** Makes a buffer available. @returns its id, or undefined where the ring has no room. */
  abstract add(request: DriverRequest): number | undefined
  /** Takes what the device has used, in its order. Throws where the device gave back what it does not have. */
  abstract takeUsed(): UsedBuffer[]
  /** Whether the device wants to be notified of what was added since the last question. */
  abstract wantsKick(): boolean
  /** Whether the device shall interrupt: with the event index after the next `count` buffers (1: at once). */
  abstract setInterrupts(on: boolean, count?: number): void
  /** Buffers added and not yet used. */
  abstract get outstanding(): number

  protected elements({ readable = [], writable = [] }: DriverRequest): { address: number; length: number; flags: number }[] {
    return [...readable.map((buffer) => ({ ...buffer, flags: 0 })), ...writable.map((buffer) => ({ ...buffer, flags: WRITE }))]
  }

  /** Writes a table for buffer `id`. @returns the element that refers to it */
  protected table(id: number, elements: readonly { address: number; length: number; flags: number }[]): { address: number; length: number; flags: number } {
    const tables = this.#tables
    if (tables === undefined || elements.length > tables.tableLength) throw new Error('VirtqDriver: no place for an indirect table')
    const address = tables.base + (id % this.size) * tables.tableLength * 16
    elements.forEach(({ address: target, length, flags }, index) => {
      const isLast = index === elements.length - 1
      this.writeDescriptor(address + index * 16, target, length, this.packed ? 0 : isLast ? 0 : index + 1, this.packed ? flags : isLast ? flags : flags | NEXT)
    })
    return { address, length: elements.length * 16, flags: INDIRECT }
  }

  /** `third` and `fourth` are next and flags in the order of the kind of ring. */
  writeDescriptor(at: number, address: number, length: number, nextOrId: number, flags: number): void {
    this.memory.writeU64(at, BigInt(address))
    this.memory.writeU32(at + 8, length)
    this.memory.writeU16(at + (this.packed ? 12 : 14), nextOrId)
    this.memory.writeU16(at + (this.packed ? 14 : 12), flags)
  }
}

class SplitDriver extends VirtqDriver {
  readonly #free: number[]
  /** head -> descriptors of its chain */
  readonly #chains = new Map<number, number[]>()
  #available = 0
  #asked = 0
  #used = 0

  constructor(options: VirtqDriverOptions) {
    super(options)
    this.#free = Array.from({ length: this.size }, (_, index) => index)
  }

  get outstanding(): number {
    return this.#chains.size
  }

  add(request: DriverRequest): number | undefined {
    const elements = this.elements(request)
    if (this.#free.length < (request.indirect === true ? 1 : elements.length)) return undefined
    const head = this.#free[0] as number
    const placed = request.indirect === true ? [this.table(head, elements)] : elements
    const chain = this.#free.splice(0, placed.length)
    placed.forEach(({ address, length, flags }, index) => {
      const next = chain[index + 1]
      this.writeDescriptor(this.descriptors + (chain[index] as number) * 16, address, length, next ?? 0, next === undefined ? flags : flags | NEXT)
    })
    this.#chains.set(head, chain)
    this.memory.writeU16(this.driverArea + 4 + (this.#available % this.size) * 2, head)
    this.#available = (this.#available + 1) & 0xffff
    this.memory.writeU16(this.driverArea + 2, this.#available)
    return head
  }

  takeUsed(): UsedBuffer[] {
    const result: UsedBuffer[] = []
    while (this.memory.readU16(this.deviceArea + 2) !== this.#used) {
      const at = this.deviceArea + 4 + (this.#used % this.size) * 8
      const id = this.memory.readU32(at)
      const chain = this.#chains.get(id)
      if (chain === undefined) throw new Error(`the device used descriptor ${id}, which it does not have`)
      this.#chains.delete(id)
      this.#free.push(...chain)
      this.#used = (this.#used + 1) & 0xffff
      result.push({ id, written: this.memory.readU32(at + 4) })
    }
    return result
  }

  wantsKick(): boolean {
    const before = this.#asked
    this.#asked = this.#available
    if (before === this.#available) return false
    if (!this.eventIndex) return (this.memory.readU16(this.deviceArea) & 1) === 0
    const event = this.memory.readU16(this.deviceArea + 4 + this.size * 8)
    return ((this.#available - event - 1) & 0xffff) < ((this.#available - before) & 0xffff)
  }

  setInterrupts(on: boolean, count = 1): void {
    if (!this.eventIndex) this.memory.writeU16(this.driverArea, on ? 0 : 1)
    else this.memory.writeU16(this.driverArea + 4 + this.size * 2, (this.#used + (on ? count - 1 : 0x8000)) & 0xffff)
  }
}

class PackedDriver extends VirtqDriver {
  readonly #freeIds: number[]
  /** id -> places of the ring */
  readonly #chains = new Map<number, number>()
  #next = 0
  #wrap = true
  #added = 0
  #asked = 0
  #used = 0
  #usedWrap = true
  #freeSlots: number

  constructor(options: VirtqDriverOptions) {
    super(options)
    this.#freeSlots = this.size
    this.#freeIds = Array.from({ length: this.size }, (_, index) => index)
  }

  get outstanding(): number {
    return this.#chains.size
  }

  add(request: DriverRequest): number | undefined {
    const elements = this.elements(request)
    const id = this.#freeIds[0]
    const slots = request.indirect === true ? 1 : elements.length
    if (id === undefined || this.#freeSlots < slots) return undefined
    this.#freeIds.shift()
    const placed = request.indirect === true ? [this.table(id, elements)] : elements
    const first = this.descriptors + this.#next * 16
    let firstFlags = 0
    placed.forEach(({ address, length, flags }, index) => {
      const all = flags | (index + 1 < placed.length ? NEXT : 0) | (this.#wrap ? AVAIL : USED)
      if (index === 0) firstFlags = all
      // The first becomes available last (2.8.6).
      this.writeDescriptor(this.descriptors + this.#next * 16, address, length, id, index === 0 ? this.memory.readU16(first + 14) : all)
      if (++this.#next < this.size) return
      this.#next = 0
      this.#wrap = !this.#wrap
    })
    this.memory.writeU16(first + 14, firstFlags)
    this.#freeSlots -= slots
    this.#added += slots
    this.#chains.set(id, slots)
    return id
  }

  takeUsed(): UsedBuffer[] {
    const result: UsedBuffer[] = []
    for (;;) {
      const at = this.descriptors + this.#used * 16
      const flags = this.memory.readU16(at + 14)
      if (((flags & AVAIL) !== 0) !== this.#usedWrap || ((flags & USED) !== 0) !== this.#usedWrap) return result
      const id = this.memory.readU16(at + 12)
      const slots = this.#chains.get(id)
      if (slots === undefined) throw new Error(`the device used buffer ${id}, which it does not have`)
      this.#chains.delete(id)
      this.#freeIds.push(id)
      this.#freeSlots += slots
      this.#used += slots
      if (this.#used >= this.size) {
        this.#used -= this.size
        this.#usedWrap = !this.#usedWrap
      }
      result.push({ id, written: (flags & WRITE) === 0 ? 0 : this.memory.readU32(at + 8) })
    }
  }

  wantsKick(): boolean {
    const count = this.#added - this.#asked
    this.#asked = this.#added
    if (count === 0) return false
    const flags = this.memory.readU16(this.deviceArea + 2) & 3
    if (flags !== 2) return flags === 0
    const event = this.memory.readU16(this.deviceArea)
    const behind = this.#next - (event & 0x7fff) + (((event & 0x8000) !== 0) === this.#wrap ? 0 : this.size)
    return behind >= 1 && behind <= count
  }

  setInterrupts(on: boolean, count = 1): void {
    if (!on || !this.eventIndex) {
      this.memory.writeU16(this.driverArea + 2, on ? 0 : 1)
      return
    }
    const place = this.#used + count - 1
    const isNextRound = place >= this.size
    this.memory.writeU16(this.driverArea, (isNextRound ? place - this.size : place) | (this.#usedWrap !== isNextRound ? 0x8000 : 0))
    this.memory.writeU16(this.driverArea + 2, 2)
  }
}

function align16(bytes: number): number {
  return Math.ceil(bytes / 16) * 16
}
