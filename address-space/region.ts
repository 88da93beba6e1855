import { MesovirtError } from '../host/errors.ts'

/**
 * A node of the address-space tree: RAM, ROM, ROM device, I/O, container or alias, placed in its parent by offset and priority.
 * The vocabulary is that of QEMU's "memory API" document (docs/devel/memory.rst); IOMMU regions and RAM discard are left out.
 *
 * Overlaps: among siblings the higher priority wins; on a tie the one added later wins, and moving a region counts as adding it again.
 * Priorities are local to one parent. A child hides its parent's own content; a container (and a hole in it) lets lower siblings show through.
 */
export type RegionKind = 'ram' | 'rom' | 'romd' | 'io' | 'container' | 'alias'
export type AccessSize = 1 | 2 | 4

/** What a device implements. Offsets are bytes from the start of its region; values are unsigned. Must not throw, whatever the guest does. */
export interface IoOps {
  read(offset: number, size: AccessSize): number
  write(offset: number, size: AccessSize, value: number): void
  read64?(offset: number): bigint
  write64?(offset: number, value: bigint): void
}

/**
 * The access sizes a device implements. Wider accesses are split, low address first. Narrower reads take their bytes out of the aligned cell of `min`
 * bytes; narrower writes write that cell with zeros in the other bytes (no read-modify-write: it could have side effects).
 */
export interface AccessRules {
  /** default 1 */
  readonly min?: AccessSize | 8
  /** default 4, or 8 where the ops have read64 and write64 */
  readonly max?: AccessSize | 8
  /** true: the device takes unaligned offsets. Default false: an unaligned access is split into aligned ones. */
  readonly unaligned?: boolean
}

/** A doorbell: a write at `offset` of `size` bytes (0: any size) and, if given, of value `datamatch` calls `notify` and does not reach the ops. */
export interface Notifier {
  readonly offset: number
  readonly size: 0 | 1 | 2 | 4 | 8
  readonly datamatch?: bigint
  /** Gets no value: on kvm this is an eventfd, which has none either. */
  notify(): void
}

/** Whoever renders trees that contain a region (AddressSpace). */
export interface RegionObserver {
  regionChanged(): void
  begin(): void
  commit(): void
}

export interface RegionOptions {
  readonly enabled?: boolean
  readonly readOnly?: boolean
}

/** Addresses and sizes stop at 2^52: x86 physical addresses have at most 52 bits (Intel SDM 3A 4.1.4), and sums stay exact in a number. */
export const MAX_ADDRESS = 2 ** 52

interface Content {
  readonly bytes?: Uint8Array
  readonly hostOffset?: number
  readonly ops?: IoOps
  readonly access?: AccessRules
  readonly target?: Region
  readonly targetOffset?: number
}

const NO_OPS: IoOps = { read: () => 0xffff_ffff, write: () => undefined }

export class Region {
  readonly name: string
  readonly kind: RegionKind
  /** RAM, ROM and ROM device: the bytes; empty otherwise */
  readonly bytes: Uint8Array
  readonly view: DataView
  /** RAM, ROM and ROM device: offset of byte 0 in the accelerator's memory, -1 where it has none */
  readonly hostOffset: number
  readonly ops: IoOps
  readonly minAccess: number
  readonly maxAccess: number
  readonly unaligned: boolean
  /** alias only */
  readonly target: Region | undefined
  readonly targetOffset: number
  #size: number
  #offset = 0
  #priority = 0
  #enabled: boolean
  #readOnly: boolean
  #romdMode = true
  #parent: Region | undefined
  readonly #children: Region[] = []
  readonly #aliases = new Set<Region>()
  readonly #observers = new Set<RegionObserver>()
  #notifiers: readonly Notifier[] = []

  private constructor(kind: RegionKind, name: string, size: number, content: Content, options: RegionOptions) {
    check(Number.isSafeInteger(size) && size > 0 && size <= MAX_ADDRESS, `region ${name}: size ${size} is not between 1 and 2^52`)
    this.kind = kind
    this.name = name
    this.#size = size
    this.bytes = content.bytes ?? new Uint8Array(0)
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength)
    this.hostOffset = content.hostOffset ?? -1
    this.ops = content.ops ?? NO_OPS
    const has64 = this.ops.read64 !== undefined && this.ops.write64 !== undefined
    this.minAccess = content.access?.min ?? 1
    this.maxAccess = content.access?.max ?? (has64 ? 8 : 4)
    this.unaligned = content.access?.unaligned ?? false
    check(this.minAccess <= this.maxAccess, `region ${name}: smallest access size ${this.minAccess} is above the largest, ${this.maxAccess}`)
    check(this.maxAccess < 8 || has64, `region ${name}: 8-byte accesses need read64 and write64`)
    this.target = content.target
    this.targetOffset = content.targetOffset ?? 0
    this.#enabled = options.enabled ?? true
    this.#readOnly = options.readOnly ?? kind === 'rom'
  }

  /** RAM of `bytes.length` bytes. `hostOffset`: where the accelerator sees byte 0. */
  static ram(name: string, bytes: Uint8Array, options: RegionOptions & { hostOffset?: number } = {}): Region {
    return new Region('ram', name, bytes.length, { bytes, hostOffset: options.hostOffset ?? -1 }, options)
  }

  /** ROM: guest writes are ignored and counted. */
  static rom(name: string, bytes: Uint8Array, options: RegionOptions & { hostOffset?: number } = {}): Region {
    return new Region('rom', name, bytes.length, { bytes, hostOffset: options.hostOffset ?? -1 }, options)
  }

  /** ROM device: reads come from `bytes` (until `setRomdMode(false)`), writes go to `ops`. For flash. */
  static romd(name: string, bytes: Uint8Array, ops: IoOps, options: RegionOptions & { access?: AccessRules; hostOffset?: number } = {}): Region {
    return new Region('romd', name, bytes.length, { bytes, ops, access: options.access ?? {}, hostOffset: options.hostOffset ?? -1 }, options)
  }

  /** Registers of a device. */
  static io(name: string, size: number, ops: IoOps, options: RegionOptions & { access?: AccessRules } = {}): Region {
    return new Region('io', name, size, { ops, access: options.access ?? {} }, options)
  }

  /** Nothing of its own, only children. */
  static container(name: string, size: number, options: RegionOptions = {}): Region {
    return new Region('container', name, size, {}, options)
  }

  /** A window of `size` bytes onto `target` from `targetOffset` on. Where the window leaves the target there is nothing. */
  static alias(name: string, target: Region, targetOffset: number, size: number, options: RegionOptions = {}): Region {
    checkOffset(name, targetOffset)
    return new Region('alias', name, size, { target, targetOffset }, options)
  }

  get size(): number { return this.#size }
  /** offset in the parent */
  get offset(): number { return this.#offset }
  get priority(): number { return this.#priority }
  get enabled(): boolean { return this.#enabled }
  /** also makes everything below read-only */
  get readOnly(): boolean { return this.#readOnly }
  /** ROM device: true while reads come from memory */
  get romdMode(): boolean { return this.#romdMode }
  get parent(): Region | undefined { return this.#parent }
  /** in the order in which they win */
  get children(): readonly Region[] { return this.#children }
  get notifiers(): readonly Notifier[] { return this.#notifiers }

  /** Puts `child` at `offset`. Throws `REGION` where it already has a parent, would contain itself, or this is an alias. */
  add(child: Region, offset: number, priority = 0): void {
    checkOffset(child.name, offset)
    check(Number.isSafeInteger(priority), `region ${child.name}: priority ${priority} is not a whole number`)
    check(this.kind !== 'alias', `region ${this.name} is an alias and cannot have children: add ${child.name} to its target`)
    check(child.#parent === undefined, `region ${child.name} is already in ${child.parent?.name ?? ''}: remove it first`)
    check(!child.#reaches(this), `region ${child.name} contains ${this.name} and cannot be put into it`)
    child.#offset = offset
    child.#priority = priority
    child.#parent = this
    this.#insert(child)
    child.#listenToTarget(true)
    this.#changed()
  }

  /** Takes `child` out. Throws `REGION` where it is not a child. */
  remove(child: Region): void {
    check(child.#parent === this, `region ${child.name} is not in ${this.name}`)
    this.#take(child)
    child.#parent = undefined
    if (child.#observers.size === 0) child.#listenToTarget(false)
    this.#changed()
  }

  setEnabled(enabled: boolean): void {
    if (enabled === this.#enabled) return
    this.#enabled = enabled
    this.#changed()
  }

  setReadOnly(readOnly: boolean): void {
    if (readOnly === this.#readOnly) return
    this.#readOnly = readOnly
    this.#changed()
  }

  /** ROM device only: false sends reads to the ops too. */
  setRomdMode(romdMode: boolean): void {
    check(this.kind === 'romd', `region ${this.name} is ${this.kind}, not a ROM device`)
    if (romdMode === this.#romdMode) return
    this.#romdMode = romdMode
    this.#changed()
  }

  /** @param size bytes; memory cannot grow past its bytes. */
  resize(size: number): void {
    const limit = this.bytes.length > 0 ? this.bytes.length : MAX_ADDRESS
    check(Number.isSafeInteger(size) && size > 0 && size <= limit, `region ${this.name}: size ${size} is not between 1 and ${limit}`)
    if (size === this.#size) return
    this.#size = size
    this.#changed()
  }

  /** New place in the same parent. A caller that takes the offset from a guest (a BAR) must leave values above 2^52 unmapped instead. */
  move(offset: number, priority = this.#priority): void {
    checkOffset(this.name, offset)
    check(Number.isSafeInteger(priority), `region ${this.name}: priority ${priority} is not a whole number`)
    if (offset === this.#offset && priority === this.#priority) return
    this.#offset = offset
    this.#priority = priority
    if (this.#parent === undefined) return
    this.#parent.#take(this)
    this.#parent.#insert(this)
    this.#changed()
  }

  addNotifier(notifier: Notifier): void {
    checkOffset(this.name, notifier.offset)
    check(notifier.offset < this.#size, `region ${this.name}: notifier at ${notifier.offset} is outside it`)
    this.#notifiers = [...this.#notifiers, notifier]
    this.#changed()
  }

  removeNotifier(notifier: Notifier): void {
    check(this.#notifiers.includes(notifier), `region ${this.name} does not have this notifier`)
    this.#notifiers = this.#notifiers.filter((other) => other !== notifier)
    this.#changed()
  }

  /** Runs `change` with the address spaces that see this region rendering once, at its end. */
  transaction<T>(change: () => T): T {
    const observers = this.#allObservers()
    for (const observer of observers) observer.begin()
    try {
      return change()
    } finally {
      for (const observer of observers) observer.commit()
    }
  }

  /** For AddressSpace: hear of every change below this region. */
  observe(observer: RegionObserver): void {
    this.#observers.add(observer)
    this.#listenToTarget(true)
  }

  unobserve(observer: RegionObserver): void {
    this.#observers.delete(observer)
    if (this.#parent === undefined && this.#observers.size === 0) this.#listenToTarget(false)
  }

  /** An alias hears of changes of its target only while it is in use, so that a dropped alias can be collected. */
  #listenToTarget(listen: boolean): void {
    if (this.target === undefined) return
    if (listen) this.target.#aliases.add(this)
    else this.target.#aliases.delete(this)
  }

  /** The first sibling of the same or a lower priority comes after the new one, so the later of two equals wins. */
  #insert(child: Region): void {
    const at = this.#children.findIndex((other) => other.#priority <= child.#priority)
    this.#children.splice(at < 0 ? this.#children.length : at, 0, child)
  }

  #take(child: Region): void {
    this.#children.splice(this.#children.indexOf(child), 1)
  }

  #reaches(wanted: Region): boolean {
    if (this === wanted || (this.target !== undefined && this.target.#reaches(wanted))) return true
    return this.#children.some((child) => child.#reaches(wanted))
  }

  #changed(): void {
    for (const observer of this.#allObservers()) observer.regionChanged()
  }

  #allObservers(): Set<RegionObserver> {
    const found = new Set<RegionObserver>()
    const seen = new Set<Region>()
    const visit = (region: Region): void => {
      if (seen.has(region)) return
      seen.add(region)
      for (const observer of region.#observers) found.add(observer)
      if (region.#parent !== undefined) visit(region.#parent)
      for (const alias of region.#aliases) visit(alias)
    }
    visit(this)
    return found
  }
}

function check(condition: boolean, message: string): void {
  if (!condition) throw new MesovirtError('REGION', message)
}

function checkOffset(name: string, offset: number): void {
  check(Number.isSafeInteger(offset) && offset >= 0 && offset <= MAX_ADDRESS, `region ${name}: offset ${offset} is not between 0 and 2^52`)
}
