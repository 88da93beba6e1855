import { MesovirtError } from '../host/errors.ts'
import { describeAddressSpace } from './describe.ts'
import type { FlatNotifier, FlatRange, FlatView } from './flat-view.ts'
import { diffFlatViews, renderFlatView } from './flat-view.ts'
import { fitsDevice, readIo, writeIo } from './io-access.ts'
import type { AccessSize, Region, RegionObserver } from './region.ts'

/**
 * An address space (guest memory, or the I/O ports): a region tree, its flat view, listeners to changes of it, and dispatch of accesses.
 * After QEMU's docs/devel/memory.rst; bus masters with their own view (IOMMU) are left out.
 */

/**
 * Hears of changes between two flat views, in this order: begin, notifierDel..., del..., add and unchanged in ascending order,
 * notifierAdd..., commit. On registration it gets begin, everything as add, commit. A range keeps its identity while unchanged.
 */
export interface AddressSpaceListener {
  begin?(): void
  del?(range: FlatRange): void
  add?(range: FlatRange): void
  unchanged?(range: FlatRange): void
  notifierAdd?(notifier: FlatNotifier): void
  notifierDel?(notifier: FlatNotifier): void
  commit?(view: FlatView): void
}

/** An access to nothing, told once per window of addresses. */
export interface UnassignedAccess {
  readonly space: string
  readonly address: number
  readonly size: number
  readonly isWrite: boolean
}

export interface AddressSpaceOptions {
  /** Called for the first access to nothing in each 4 KiB window (16-byte window in a space of at most 64 KiB), at most 256 times in all. */
  readonly onUnassigned?: (access: UnassignedAccess) => void
}

const LOG_LIMIT = 256
const PORT_SPACE_SIZE = 0x1_0000
const BULK_LIMIT = 2 ** 30
/** Listeners may change the tree, which renders again; one that always does is a bug. */
const ROUND_LIMIT = 100

export class AddressSpace {
  readonly name: string
  readonly root: Region
  /** Accesses (parts of accesses, where one straddles) to nothing, and writes to read-only memory. */
  readonly counters = { unassignedReads: 0, unassignedWrites: 0, readOnlyWrites: 0 }
  readonly #onUnassigned: ((access: UnassignedAccess) => void) | undefined
  readonly #logged = new Set<number>()
  readonly #logWindow: number
  readonly #listeners = new Set<AddressSpaceListener>()
  readonly #observer: RegionObserver
  #view: FlatView
  #depth = 0
  #dirty = false
  #updating = false

  constructor(name: string, root: Region, options: AddressSpaceOptions = {}) {
    this.name = name
    this.root = root
    this.#onUnassigned = options.onUnassigned
    this.#logWindow = root.size <= PORT_SPACE_SIZE ? 16 : 4096
    this.#view = renderFlatView(root)
    this.#observer = {
      regionChanged: () => {
        this.#dirty = true
        this.#update()
      },
      begin: () => this.begin(),
      commit: () => this.commit(),
    }
    root.observe(this.#observer)
  }

  /** The flat view; replaced, never changed, when the tree changes. */
  get view(): FlatView {
    return this.#view
  }

  /** Delays rendering until the matching `commit`. Nests. */
  begin(): void {
    this.#depth++
  }

  commit(): void {
    if (this.#depth === 0) throw new MesovirtError('REGION', `address space ${this.name}: commit without begin`)
    this.#depth--
    this.#update()
  }

  /** Runs `change` between begin and commit. */
  transaction<T>(change: () => T): T {
    this.begin()
    try {
      return change()
    } finally {
      this.commit()
    }
  }

  /** Registers and replays the present view. Returns the function that unregisters (without `del` calls). */
  addListener(listener: AddressSpaceListener): () => void {
    this.#listeners.add(listener)
    const view = this.#view
    listener.begin?.()
    for (const range of view.ranges) listener.add?.(range)
    for (const notifier of view.notifiers) listener.notifierAdd?.(notifier)
    listener.commit?.(view)
    return () => this.#listeners.delete(listener)
  }

  /** Stops following the tree. */
  close(): void {
    this.root.unobserve(this.#observer)
    this.#listeners.clear()
  }

  /** `info mtree`: the tree, aliased regions, the flat view. */
  describe(): string {
    return describeAddressSpace(this)
  }

  /** @returns unsigned value; all ones where nothing answers. Never throws: `address` may come from the guest. */
  read(address: number, size: AccessSize): number {
    const range = this.#wholeRange(address, size)
    if (range !== undefined) {
      const offset = address - range.start + range.offsetInRegion
      if (range.kind !== 'io') return readView(range.region.view, offset, size)
      if (fitsDevice(range.region, offset, size)) return truncate(range.region.ops.read(offset, size), size)
    }
    const cell = new DataView(new ArrayBuffer(8))
    this.#readParts(address, new Uint8Array(cell.buffer, 0, size))
    return readView(cell, 0, size)
  }

  write(address: number, size: AccessSize, value: number): void {
    const range = this.#wholeRange(address, size)
    if (range !== undefined) {
      const offset = address - range.start + range.offsetInRegion
      if (range.kind === 'ram' || range.kind === 'rom') {
        if (range.readOnly) this.counters.readOnlyWrites++
        else writeView(range.region.view, offset, size, value)
        return
      }
      const unsigned = truncate(value, size)
      if (this.#notify(address, size, unsigned)) return
      if (fitsDevice(range.region, offset, size)) {
        range.region.ops.write(offset, size, unsigned)
        return
      }
    }
    const cell = new DataView(new ArrayBuffer(8))
    cell.setUint32(0, value, true)
    this.#writeParts(address, new Uint8Array(cell.buffer, 0, size))
  }

  /** The 8-byte variant of read. */
  read64(address: number): bigint {
    const cell = new DataView(new ArrayBuffer(8))
    this.#readParts(address, new Uint8Array(cell.buffer))
    return cell.getBigUint64(0, true)
  }

  /** The 8-byte variant of write. */
  write64(address: number, value: bigint): void {
    const range = this.#wholeRange(address, 8)
    const unsigned = BigInt.asUintN(64, value)
    if (range !== undefined && (range.kind === 'io' || range.kind === 'romd') && this.#notify(address, 8, unsigned)) return
    const cell = new DataView(new ArrayBuffer(8))
    cell.setBigUint64(0, unsigned, true)
    this.#writeParts(address, new Uint8Array(cell.buffer))
  }

  /** Reads `length` bytes (at most 1 GiB); 0xff where nothing answers. Device registers are read with the widest accesses they implement. */
  readBytes(address: number, length: number): Uint8Array {
    if (!Number.isSafeInteger(length) || length < 0 || length > BULK_LIMIT) {
      throw new MesovirtError('ACCESS_LENGTH', `cannot read ${length} bytes at once: at most ${BULK_LIMIT}`)
    }
    const bytes = new Uint8Array(length)
    this.#readParts(address, bytes)
    return bytes
  }

  /** Writes all of `bytes`, as readBytes reads them. Triggers no notifier. */
  writeBytes(address: number, bytes: Uint8Array): void {
    this.#writeParts(address, bytes)
  }

  /** The range, if all of the access lies in one. */
  #wholeRange(address: number, size: number): FlatRange | undefined {
    if (!Number.isSafeInteger(address)) return undefined
    const range = this.#view.find(address)
    return range !== undefined && address + size <= range.start + range.size ? range : undefined
  }

  #notify(address: number, size: number, value: number | bigint): boolean {
    const notifier = this.#view.findNotifier(address, size, value)
    notifier?.notifier.notify()
    return notifier !== undefined
  }

  /** Cuts the access at the borders of the ranges; one view for all parts, though a part may change the tree. */
  #eachPart(address: number, length: number, isWrite: boolean, visit: (range: FlatRange, offset: number, at: number, count: number) => void): void {
    const view = this.#view
    if (!Number.isSafeInteger(address) || address < 0 || !Number.isSafeInteger(address + length)) {
      this.#unassigned(address, length, isWrite)
      return
    }
    for (let at = 0; at < length;) {
      const here = address + at
      const range = view.find(here)
      const end = range === undefined ? view.nextStart(here) : range.start + range.size
      const count = Math.min(length - at, end - here)
      if (range === undefined) this.#unassigned(here, count, isWrite)
      else visit(range, here - range.start + range.offsetInRegion, at, count)
      at += count
    }
  }

  #readParts(address: number, into: Uint8Array): void {
    into.fill(0xff)
    this.#eachPart(address, into.length, false, ({ kind, region }, offset, at, count) => {
      if (kind === 'io') readIo(region, offset, into, at, count)
      else into.set(region.bytes.subarray(offset, offset + count), at)
    })
  }

  #writeParts(address: number, bytes: Uint8Array): void {
    this.#eachPart(address, bytes.length, true, ({ kind, region, readOnly }, offset, at, count) => {
      if (kind === 'io' || kind === 'romd') writeIo(region, offset, bytes, at, count)
      else if (readOnly) this.counters.readOnlyWrites++
      else region.bytes.set(bytes.subarray(at, at + count), offset)
    })
  }

  #unassigned(address: number, size: number, isWrite: boolean): void {
    if (isWrite) this.counters.unassignedWrites++
    else this.counters.unassignedReads++
    if (this.#onUnassigned === undefined || this.#logged.size >= LOG_LIMIT) return
    const window = Math.floor(address / this.#logWindow)
    if (this.#logged.has(window)) return
    this.#logged.add(window)
    this.#onUnassigned({ space: this.name, address, size, isWrite })
  }

  #update(): void {
    if (this.#depth > 0 || this.#updating) return
    this.#updating = true
    try {
      for (let round = 0; this.#dirty; round++) {
        if (round === ROUND_LIMIT) throw new MesovirtError('REGION', `address space ${this.name}: a listener changes it on every change`)
        this.#dirty = false
        this.#render()
      }
    } finally {
      this.#updating = false
    }
  }

  /** Listeners hear even of a render that changed nothing: they may count on a commit after each transaction. */
  #render(): void {
    const { view, delta } = diffFlatViews(this.#view, renderFlatView(this.root))
    this.#view = view
    for (const listener of this.#listeners) {
      listener.begin?.()
      for (const notifier of delta.notifierDel) listener.notifierDel?.(notifier)
      for (const range of delta.del) listener.del?.(range)
      for (const { range, isNew } of delta.present) {
        if (isNew) listener.add?.(range)
        else listener.unchanged?.(range)
      }
      for (const notifier of delta.notifierAdd) listener.notifierAdd?.(notifier)
      listener.commit?.(view)
    }
  }
}

function readView(view: DataView, offset: number, size: AccessSize): number {
  if (size === 1) return view.getUint8(offset)
  return size === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true)
}

function writeView(view: DataView, offset: number, size: AccessSize, value: number): void {
  if (size === 1) view.setUint8(offset, value)
  else if (size === 2) view.setUint16(offset, value, true)
  else view.setUint32(offset, value, true)
}

function truncate(value: number, size: AccessSize): number {
  if (size === 1) return value & 0xff
  return size === 2 ? value & 0xffff : value >>> 0
}
