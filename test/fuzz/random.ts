/** A seeded source of the numbers that break things: borders, powers of two, all ones, and plain random ones. */
export class Random {
  private state: number

  constructor(seed: number) {
    this.state = (seed ^ 0x9e37_79b9) >>> 0
    for (let i = 0; i < 4; i++) this.u32()
  }

  /** splitmix32 */
  u32(): number {
    this.state = (this.state + 0x9e37_79b9) >>> 0
    let z = this.state
    z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a_2d97)
    return (z ^ (z >>> 15)) >>> 0
  }

  /** 0 .. limit - 1 */
  below(limit: number): number { return Math.floor(this.u32() / 2 ** 32 * limit) }
  chance(percent: number): boolean { return this.below(100) < percent }
  pick<T>(from: readonly T[]): T { return from[this.below(from.length)] as T }
  u64(): bigint { return BigInt(this.u32()) << 32n | BigInt(this.u32()) }

  /** 64 bits, mostly such as lie on a border of something. */
  value(): bigint {
    switch (this.below(8)) {
      case 0: return BigInt(this.below(0x200))
      case 1: return BigInt.asUintN(64, -BigInt(this.below(0x200)))
      case 2: return BigInt.asUintN(64, (1n << BigInt(this.below(64))) + BigInt(this.below(17) - 8))
      case 3: return BigInt(this.below(0x200) * 0x1000 + this.below(33) - 16) & 0xffff_ffffn
      case 4: return BigInt(this.u32())
      case 5: return 0x7fff_ffff_ffffn + BigInt(this.below(17) - 8)
      default: return this.u64()
    }
  }
}
