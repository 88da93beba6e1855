import type { FlatNotifier, FlatRange } from './flat-view.ts'
import {
  CELL_WORDS, joinAddress, MAX_NOTIFIERS, MAX_RANGES, NOTIFIER_COUNT, NOTIFIER_WORDS, NOTIFIERS, RANGE_COUNT, RANGE_WORDS, RANGES, TABLE_VERSION, TWO_TO_32,
} from './bus-layout.ts'
import type { Space } from './bus-layout.ts'

/**
 * The decision table: which addresses have shadow-page cells and which are notifiers. Main publishes it from the flat views under a sequence
 * lock; a vCPU keeps a copy and takes a new one when the version changes. What does not fit is left out, and is then a synchronous call.
 */

export interface TablePage {
  readonly page: number
  /** word of the cell of register offset 0 */
  readonly cells: number
  /** register offsets [0, span) have cells */
  readonly span: number
}

export interface TableSource {
  readonly space: Space
  readonly ranges: readonly FlatRange[]
  readonly notifiers: readonly FlatNotifier[]
}

/** Main side. `pageOf` gives the shadow page of a region. */
export function publishTable(words: Int32Array, sources: readonly TableSource[], pageOf: (range: FlatRange) => TablePage | undefined): void {
  Atomics.add(words, TABLE_VERSION, 1)
  let ranges = 0
  let notifiers = 0
  for (const source of sources) {
    for (const range of source.ranges) {
      const page = range.kind === 'io' ? pageOf(range) : undefined
      const size = page === undefined ? 0 : Math.min(range.size, page.span - range.offsetInRegion)
      if (page === undefined || size <= 0 || ranges === MAX_RANGES) continue
      const at = RANGES + ranges++ * RANGE_WORDS
      putAddress(words, at, range.start)
      putAddress(words, at + 2, range.start + size)
      words[at + 4] = source.space
      words[at + 5] = page.page
      words[at + 6] = page.cells + range.offsetInRegion * CELL_WORDS
    }
    for (const { address, size, datamatch } of source.notifiers) {
      // The bus posts at most 4 bytes; a wider doorbell is rung by a call of 8 bytes.
      if (size === 8 || (datamatch ?? 0n) >= BigInt(TWO_TO_32) || notifiers === MAX_NOTIFIERS) continue
      const at = NOTIFIERS + notifiers++ * NOTIFIER_WORDS
      putAddress(words, at, address)
      words[at + 2] = source.space
      words[at + 3] = size
      words[at + 4] = datamatch === undefined ? 0 : 1
      words[at + 5] = Number(BigInt.asIntN(32, datamatch ?? 0n))
    }
  }
  words[RANGE_COUNT] = ranges
  words[NOTIFIER_COUNT] = notifiers
  Atomics.add(words, TABLE_VERSION, 1)
}

interface Doorbell {
  readonly size: number
  readonly datamatch: number | undefined
}

/** The vCPU's copy of one version of the table. */
export class DecisionTable {
  readonly version: number
  /** page and cell of the address last found */
  page = -1
  cell = -1
  readonly #ranges: readonly [RangeList, RangeList]
  readonly #doorbells: readonly [Map<number, Doorbell[]>, Map<number, Doorbell[]>] = [new Map(), new Map()]

  private constructor(words: Int32Array, version: number) {
    this.version = version
    this.#ranges = [new RangeList(words, 0), new RangeList(words, 1)]
    const count = Math.min(words[NOTIFIER_COUNT] ?? 0, MAX_NOTIFIERS)
    for (let i = 0; i < count; i++) {
      const at = NOTIFIERS + i * NOTIFIER_WORDS
      const address = joinAddress(words[at] ?? 0, words[at + 1] ?? 0)
      const doorbell = { size: words[at + 3] ?? 0, datamatch: words[at + 4] === 1 ? (words[at + 5] ?? 0) >>> 0 : undefined }
      const map = this.#doorbells[words[at + 2] === 1 ? 1 : 0]
      const list = map.get(address)
      if (list === undefined) map.set(address, [doorbell])
      else list.push(doorbell)
    }
  }

  /** A consistent copy, or undefined while main is writing (the access is then a call). */
  static load(words: Int32Array): DecisionTable | undefined {
    const version = Atomics.load(words, TABLE_VERSION)
    if (version & 1) return undefined
    const table = new DecisionTable(words, version)
    return Atomics.load(words, TABLE_VERSION) === version ? table : undefined
  }

  /** Finds the cell of `address` and leaves it in `cell` and `page`: no allocation on this path. */
  find(space: Space, address: number): boolean {
    const list = this.#ranges[space]
    const index = list.indexOf(address)
    if (index < 0) return false
    this.page = list.pages[index] as number
    this.cell = (list.cells[index] as number) + (address - (list.starts[index] as number)) * CELL_WORDS
    return true
  }

  isDoorbell(space: Space, address: number, size: number, value: number): boolean {
    const map = this.#doorbells[space]
    if (map.size === 0) return false
    const list = map.get(address)
    if (list === undefined) return false
    const written = size === 1 ? value & 0xff : size === 2 ? value & 0xffff : value >>> 0
    return list.some((doorbell) => (doorbell.size === 0 || doorbell.size === size) && (doorbell.datamatch ?? written) === written)
  }
}

class RangeList {
  readonly starts: Float64Array
  readonly pages: Int32Array
  readonly cells: Int32Array
  readonly #ends: Float64Array
  #last = 0

  constructor(words: Int32Array, space: Space) {
    const rows: number[] = []
    const count = Math.min(words[RANGE_COUNT] ?? 0, MAX_RANGES)
    for (let i = 0; i < count; i++) {
      const at = RANGES + i * RANGE_WORDS
      if (words[at + 4] === space) rows.push(at)
    }
    this.starts = Float64Array.from(rows, (at) => joinAddress(words[at] ?? 0, words[at + 1] ?? 0))
    this.#ends = Float64Array.from(rows, (at) => joinAddress(words[at + 2] ?? 0, words[at + 3] ?? 0))
    this.pages = Int32Array.from(rows, (at) => words[at + 5] ?? 0)
    this.cells = Int32Array.from(rows, (at) => words[at + 6] ?? 0)
  }

  indexOf(address: number): number {
    const last = this.#last
    if (address >= (this.starts[last] ?? Infinity) && address < (this.#ends[last] ?? 0)) return last
    let low = 0
    let high = this.starts.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ends[middle] as number) > address) high = middle
      else low = middle + 1
    }
    if (address < (this.starts[low] ?? Infinity)) return -1
    this.#last = low
    return low
  }
}

function putAddress(words: Int32Array, at: number, address: number): void {
  words[at] = address | 0
  words[at + 1] = Math.floor(address / TWO_TO_32)
}
