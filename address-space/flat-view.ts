import type { Notifier, Region } from './region.ts'

/**
 * The flat view: a region tree rendered to sorted, non-overlapping ranges (QEMU's docs/devel/memory.rst, "Visibility"), and the difference
 * between two of them. Adjacent pieces of one region are merged.
 */
export type FlatKind = 'ram' | 'rom' | 'romd' | 'io'

/** One visible piece of one region. A ROM device out of ROM mode shows as `io`. */
export interface FlatRange {
  readonly start: number
  readonly size: number
  readonly region: Region
  readonly offsetInRegion: number
  readonly kind: FlatKind
  /** guest writes to memory here are dropped; says nothing for `io` */
  readonly readOnly: boolean
}

/** A notifier at its absolute address. */
export interface FlatNotifier {
  readonly address: number
  readonly size: Notifier['size']
  readonly datamatch: bigint | undefined
  readonly region: Region
  readonly notifier: Notifier
}

export interface FlatDelta {
  readonly del: readonly FlatRange[]
  /** ascending; `isNew` false: the range was there before */
  readonly present: readonly { range: FlatRange; isNew: boolean }[]
  readonly notifierDel: readonly FlatNotifier[]
  readonly notifierAdd: readonly FlatNotifier[]
}

export class FlatView {
  readonly ranges: readonly FlatRange[]
  readonly notifiers: readonly FlatNotifier[]
  readonly #notifiersByAddress = new Map<number, FlatNotifier[]>()
  #last: FlatRange | undefined

  constructor(ranges: readonly FlatRange[], notifiers: readonly FlatNotifier[]) {
    this.ranges = ranges
    this.notifiers = notifiers
    for (const notifier of notifiers) {
      const list = this.#notifiersByAddress.get(notifier.address)
      if (list === undefined) this.#notifiersByAddress.set(notifier.address, [notifier])
      else list.push(notifier)
    }
  }

  /** The range that holds `address`. */
  find(address: number): FlatRange | undefined {
    const last = this.#last
    if (last !== undefined && address >= last.start && address < last.start + last.size) return last
    const range = this.ranges[firstEndingAfter(this.ranges, address)]
    if (range === undefined || range.start > address) return undefined
    this.#last = range
    return range
  }

  /** Where the next range at or after `address` begins; Infinity if there is none. For the length of a hole. */
  nextStart(address: number): number {
    const range = this.ranges[firstEndingAfter(this.ranges, address)]
    return range === undefined ? Infinity : Math.max(range.start, address)
  }

  /** The notifier a write of this size and value triggers: an exact address, as KVM's ioeventfd has it. */
  findNotifier(address: number, size: number, value: bigint | number): FlatNotifier | undefined {
    if (this.#notifiersByAddress.size === 0) return undefined
    return this.#notifiersByAddress.get(address)?.find((notifier) =>
      (notifier.size === 0 || notifier.size === size) && (notifier.datamatch === undefined || notifier.datamatch === BigInt(value)))
  }
}

/** Renders the tree below `root`, whose byte 0 is address 0. */
export function renderFlatView(root: Region): FlatView {
  const pieces: FlatRange[] = []
  render(pieces, root, 0, 0, root.size, false)
  const ranges = merge(pieces)
  return new FlatView(ranges, collectNotifiers(ranges))
}

/**
 * What changed from `before` to `after`. An unchanged range keeps its old object (replaced in the returned view), so that a listener may
 * key its own records by it.
 */
export function diffFlatViews(before: FlatView, after: FlatView): { view: FlatView; delta: FlatDelta } {
  const old = new Map(before.ranges.map((range) => [range.start, range]))
  const present = after.ranges.map((range) => {
    const previous = old.get(range.start)
    if (previous === undefined || !sameRange(previous, range)) return { range, isNew: true }
    old.delete(range.start)
    return { range: previous, isNew: false }
  })
  const same = (a: FlatNotifier) => (b: FlatNotifier): boolean =>
    a.notifier === b.notifier && a.address === b.address && a.region === b.region
  const notifierDel = before.notifiers.filter((notifier) => !after.notifiers.some(same(notifier)))
  const kept = after.notifiers.map((notifier) => ({ notifier, previous: before.notifiers.find(same(notifier)) }))
  return {
    view: new FlatView(present.map((entry) => entry.range), kept.map(({ notifier, previous }) => previous ?? notifier)),
    delta: {
      del: [...old.values()],
      present,
      notifierDel,
      notifierAdd: kept.filter(({ previous }) => previous === undefined).map(({ notifier }) => notifier),
    },
  }
}

/** `base` is the absolute address of the region's byte 0 (negative for a target an alias enters in the middle), [start, end) the part in sight. */
function render(out: FlatRange[], region: Region, base: number, start: number, end: number, readOnly: boolean): void {
  if (!region.enabled) return
  const from = Math.max(start, base)
  const to = Math.min(end, base + region.size)
  if (from >= to) return
  const dropsWrites = readOnly || region.readOnly
  if (region.target !== undefined) return render(out, region.target, base - region.targetOffset, from, to, dropsWrites)
  for (const child of region.children) render(out, child, base + child.offset, from, to, dropsWrites)
  const kind = flatKind(region)
  if (kind !== undefined) fillGaps(out, region, kind, base, from, to, dropsWrites)
}

function flatKind(region: Region): FlatKind | undefined {
  switch (region.kind) {
    case 'romd': return region.romdMode ? 'romd' : 'io'
    case 'ram': case 'rom': case 'io': return region.kind
    default: return undefined
  }
}

/** Claims the part of [from, to) that nothing rendered earlier (and so of higher precedence) holds. */
function fillGaps(out: FlatRange[], region: Region, kind: FlatKind, base: number, from: number, to: number, readOnly: boolean): void {
  let index = firstEndingAfter(out, from)
  let at = from
  while (at < to) {
    const next = out[index]
    const gapEnd = next === undefined ? to : Math.min(next.start, to)
    if (gapEnd > at) {
      out.splice(index, 0, { start: at, size: gapEnd - at, region, offsetInRegion: at - base, kind, readOnly })
      index++
    }
    if (next === undefined) return
    at = next.start + next.size
    index++
  }
}

function merge(pieces: readonly FlatRange[]): FlatRange[] {
  const merged: FlatRange[] = []
  for (const piece of pieces) {
    const last = merged[merged.length - 1]
    const continues = last !== undefined && last.region === piece.region && last.kind === piece.kind && last.readOnly === piece.readOnly
      && last.start + last.size === piece.start && last.offsetInRegion + last.size === piece.offsetInRegion
    if (continues) merged[merged.length - 1] = { ...last, size: last.size + piece.size }
    else merged.push(piece)
  }
  return merged
}

function collectNotifiers(ranges: readonly FlatRange[]): FlatNotifier[] {
  const found: FlatNotifier[] = []
  for (const { region, start, size, offsetInRegion, kind } of ranges) {
    if (kind !== 'io' && kind !== 'romd') continue
    for (const notifier of region.notifiers) {
      const from = notifier.offset - offsetInRegion
      if (from < 0 || from + Math.max(1, notifier.size) > size) continue
      found.push({ address: start + from, size: notifier.size, datamatch: notifier.datamatch, region, notifier })
    }
  }
  return found.sort((a, b) => a.address - b.address || a.size - b.size)
}

function sameRange(a: FlatRange, b: FlatRange): boolean {
  return a.start === b.start && a.size === b.size && a.region === b.region && a.offsetInRegion === b.offsetInRegion
    && a.kind === b.kind && a.readOnly === b.readOnly
}

/** Index of the first range whose end lies above `address` (= length of the list if none). */
function firstEndingAfter(ranges: readonly FlatRange[], address: number): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const range = ranges[middle] as FlatRange
    if (range.start + range.size > address) high = middle
    else low = middle + 1
  }
  return low
}
