/**
 * The stored results. A vector's initial state follows from its group's seed, so a file holds, per group, a check of the drawn states and
 * the bytes in which each final snapshot differs from its initial one. Columns of equal kind lie together, then brotli.
 *
 *   file: u32 groups, then per group {key length u16, key, check u32, vectors u16}, then five columns {u32 length, bytes}
 *   columns: counts of changed words; their numbers (delta from the previous, 0xff escapes u16); byte masks; changed bytes of registers; of memory
 */
import zlib from 'node:zlib'
import { S_MEMORY, SNAPSHOT } from './arena.ts'

const WORDS = SNAPSHOT / 8

class Column {
  bytes = new Uint8Array(1 << 16)
  length = 0
  push(value: number): void {
    if (this.length === this.bytes.length) {
      const grown = new Uint8Array(this.length * 2)
      grown.set(this.bytes)
      this.bytes = grown
    }
    this.bytes[this.length++] = value
  }
}

export interface StoredGroup { readonly key: string, readonly check: number, readonly vectors: number }

/** FNV-1a over a state: tells when generator and data no longer belong together. */
export function checkState(sum: number, registers: Uint8Array, code: Uint8Array, length: number): number {
  let hash = sum
  for (let i = 0; i < 144; i += 4) hash = Math.imul(hash ^ (registers[i]! | registers[i + 1]! << 8 | registers[i + 2]! << 16 | registers[i + 3]! << 24), 0x01000193)
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ code[i]!, 0x01000193)
  return hash >>> 0
}

export class Writer {
  private readonly groups: StoredGroup[] = []
  private readonly columns = [new Column(), new Column(), new Column(), new Column(), new Column()] as const

  beginGroup(group: StoredGroup): void { this.groups.push(group) }

  add(initial: Uint8Array, final: Uint8Array): void {
    const [counts, numbers, masks, registers, memory] = this.columns
    const from = new BigUint64Array(initial.buffer, initial.byteOffset, WORDS), to = new BigUint64Array(final.buffer, final.byteOffset, WORDS)
    let count = 0, previous = 0
    for (let word = 0; word < WORDS; word++) {
      if (from[word] === to[word]) continue
      count++
      const gap = word - previous
      previous = word
      if (gap < 0xff) numbers.push(gap)
      else { numbers.push(0xff); numbers.push(gap & 0xff); numbers.push(gap >> 8) }
      let mask = 0
      const target = word * 8 < S_MEMORY ? registers : memory
      for (let i = 0; i < 8; i++) {
        if (initial[word * 8 + i] === final[word * 8 + i]) continue
        mask |= 1 << i
        target.push(final[word * 8 + i]!)
      }
      masks.push(mask)
    }
    counts.push(count & 0xff)
    if (count > 0xff) throw new Error('a vector changed too much')
  }

  finish(): Uint8Array {
    const header: Buffer[] = []
    const u32 = (value: number): Buffer => { const out = Buffer.alloc(4); out.writeUInt32LE(value); return out }
    header.push(u32(this.groups.length))
    for (const group of this.groups) {
      const key = Buffer.from(group.key)
      const head = Buffer.alloc(2); head.writeUInt16LE(key.length)
      const tail = Buffer.alloc(6); tail.writeUInt32LE(group.check); tail.writeUInt16LE(group.vectors, 4)
      header.push(head, key, tail)
    }
    for (const column of this.columns) header.push(u32(column.length), Buffer.from(column.bytes.subarray(0, column.length)))
    const raw = Buffer.concat(header)
    return zlib.brotliCompressSync(raw, { params: {
      [zlib.constants.BROTLI_PARAM_QUALITY]: 9, [zlib.constants.BROTLI_PARAM_LGWIN]: 24, [zlib.constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
    } })
  }
}

export class Reader {
  readonly groups: StoredGroup[] = []
  private readonly columns: Uint8Array[] = []
  private readonly at = [0, 0, 0, 0, 0]

  constructor(compressed: Uint8Array) {
    const raw = zlib.brotliDecompressSync(compressed)
    let at = 4
    for (let left = raw.readUInt32LE(0); left > 0; left--) {
      const length = raw.readUInt16LE(at)
      const key = raw.toString('utf8', at + 2, at + 2 + length)
      at += 2 + length
      this.groups.push({ key, check: raw.readUInt32LE(at), vectors: raw.readUInt16LE(at + 4) })
      at += 6
    }
    for (let i = 0; i < 5; i++) {
      const length = raw.readUInt32LE(at)
      this.columns.push(raw.subarray(at + 4, at + 4 + length))
      at += 4 + length
    }
  }

  private take(column: number): number { return this.columns[column]![this.at[column]!++]! }

  /** Turns an initial snapshot into the next vector's final one. */
  apply(snapshot: Uint8Array): void {
    let word = 0
    for (let count = this.take(0); count > 0; count--) {
      let gap = this.take(1)
      if (gap === 0xff) { gap = this.take(1); gap |= this.take(1) << 8 }
      word += gap
      const mask = this.take(2)
      const column = word * 8 < S_MEMORY ? 3 : 4
      for (let i = 0; i < 8; i++) if ((mask & 1 << i) !== 0) snapshot[word * 8 + i] = this.take(column)
    }
  }
}
