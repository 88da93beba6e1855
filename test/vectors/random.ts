/** The deterministic generator behind the vectors: operands are drawn again from the seed instead of being stored. */

/** FNV-1a, 32 bits. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

/** sfc32 (Chris Doty-Humphrey), public domain algorithm. */
export class Random {
  private a = 0
  private b = 0
  private c = 0
  private counter = 1

  constructor(seed: string) {
    this.a = hashText(seed)
    this.b = hashText(`${seed}/b`)
    this.c = hashText(`${seed}/c`)
    for (let i = 0; i < 12; i++) this.next()
  }

  /** 32 random bits as an unsigned number. */
  next(): number {
    const result = (this.a + this.b + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = ((this.c << 21) | (this.c >>> 11)) + result | 0
    return result >>> 0
  }

  /** 0 .. limit - 1 */
  below(limit: number): number { return Math.floor(this.next() / 4294967296 * limit) }
  /** low .. high */
  between(low: number, high: number): number { return low + this.below(high - low + 1) }
  chance(percent: number): boolean { return this.next() < percent * 42949672.96 }
  pick<T>(list: readonly T[]): T { return list[this.below(list.length)] as T }
}
