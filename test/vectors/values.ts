/** Edge-weighted operand values: integers, binary32, binary64, 80-bit reals, packed BCD. Each writes its bytes into a view. */
import type { Random } from './random.ts'

const FLOAT32 = [
  0, 0x80000000, 0x3f800000, 0xbf800000, 0x3f000000, 0x40000000, 0x40400000, 0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x80800000,
  0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0xffbfffff, 0x7fffffff, 0x4f000000, 0xcf000000, 0x4effffff,
  0x5f000000, 0xdf000000, 0x4f800000, 0x3f7fffff, 0x3f800001, 0x3fc00000, 0x40200000, 0x34000000, 0x4b000001, 0x47000000, 0x46fffe00, 0x3dcccccd,
]
const FLOAT64: readonly (readonly [number, number])[] = [
  [0, 0], [0x80000000, 0], [0x3ff00000, 0], [0xbff00000, 0], [0x3fe00000, 0], [0x40000000, 0], [0x40080000, 0], [0, 1], [0x80000000, 1],
  [0x000fffff, 0xffffffff], [0x800fffff, 0xffffffff], [0x00100000, 0], [0x80100000, 0], [0x7fefffff, 0xffffffff], [0xffefffff, 0xffffffff],
  [0x7ff00000, 0], [0xfff00000, 0], [0x7ff80000, 0], [0xfff80000, 0], [0x7ff00000, 1], [0xfff7ffff, 0xffffffff], [0x7fffffff, 0xffffffff],
  [0x41e00000, 0], [0xc1e00000, 0], [0x41dfffff, 0xffc00000], [0xc1e00000, 0x00200000], [0x43e00000, 0], [0xc3e00000, 0], [0x3fefffff, 0xffffffff],
  [0x3ff00000, 1], [0x3ff80000, 0], [0x40040000, 0], [0x36a00000, 0], [0x380fffff, 0xe0000000], [0x47efffff, 0xe0000000], [0x47f00000, 0],
  [0x3fb99999, 0x9999999a], [0x43300000, 1], [0x40dfffc0, 0],
]

/** A 64-bit integer with edges at every operand width. */
export function integer(random: Random, view: DataView, at: number): void {
  const kind = random.next()
  let low = random.next(), high = random.next()
  switch (kind & 7) {
    case 0: case 1: { // a power of two, or one beside it, sign-extended or not
      const bit = (kind >>> 3) & 63
      low = bit < 32 ? 1 << bit : 0
      high = bit < 32 ? 0 : 1 << (bit - 32)
      const delta = (kind >>> 9) % 3
      if (delta === 1) { if (low === 0) high -= 1; low -= 1 }
      if (delta === 2) { low += 1; if ((low | 0) === 0) high += 1 }
      if (kind & 0x10000) { low = ~low; high = ~high }
      break
    }
    case 2: high = low = -((kind >>> 3) & 1); break // 0 or -1
    case 3: low = ((kind >>> 3) & 0xff) - 128; high = low >> 31; break // small and signed
    case 4: low = random.pick(EDGES); high = random.pick(EDGES); break
    case 5: high = (low | 0) >> 31; break // sign-extended doubleword
    default:
  }
  view.setInt32(at, low | 0, true)
  view.setInt32(at + 4, high | 0, true)
}
const EDGES = [
  0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x7f7f7f7f, 0x80808080, 0x80008000,
  0x7fff7fff, 0x00ff00ff, 0xff00ff00, 0x01010101, 0x00010001, 0xfffe0001, 0x8000007f, 0x7fff8000, 0x99999999, 0x12345678,
]

export function float32(random: Random, view: DataView, at: number): void {
  const kind = random.below(10)
  if (kind < 4) view.setUint32(at, random.pick(FLOAT32), true)
  else if (kind < 8) view.setUint32(at, (random.next() & 0x807fffff) | (random.between(127 - 26, 127 + 33) << 23), true)
  else view.setUint32(at, random.next(), true)
}

export function float64(random: Random, view: DataView, at: number): void {
  const kind = random.below(10)
  let high: number, low: number
  if (kind < 4) [high, low] = random.pick(FLOAT64)
  else {
    high = random.next(); low = random.next()
    if (kind < 8) high = (high & 0x800fffff) | (random.between(1023 - 55, 1023 + 65) << 20)
    if (kind === 7) low &= 0xe0000000 // exact as binary32
  }
  view.setUint32(at, low >>> 0, true)
  view.setUint32(at + 4, high >>> 0, true)
}

/** 10 bytes; the six behind them are zero as FXSAVE stores them. `spread` bounds the exponent of ordinary numbers. */
export function float80(random: Random, view: DataView, at: number, spread = 70): void {
  const sign = random.next() & 0x8000
  let exponent = 0x3fff + random.between(-spread, spread), high = random.next() | 0x80000000, low = random.next()
  const kind = random.below(20)
  if (kind < 2) { exponent = 0; high = low = 0 } // zero
  else if (kind === 2) { exponent = 0x7fff; high = 0x80000000; low = 0 } // infinity
  else if (kind === 3) { exponent = 0x7fff; high |= 0x40000000 } // quiet NaN
  else if (kind === 4) { exponent = 0x7fff; high = (high & ~0x40000000) | 0x80000000; low |= 1 } // signalling NaN
  else if (kind === 5) { exponent = 0; high &= 0x7fffffff } // denormal
  else if (kind === 6) { // what is no number since the 387: pseudo-denormal, unnormal, pseudo-NaN, pseudo-infinity
    exponent = random.pick([0, 1, 0x3fff, 0x7ffe, 0x7fff])
    high = exponent === 0 ? high | 0x80000000 : high & 0x7fffffff
    if (random.chance(30)) high = low = 0
  } else if (kind === 7) { exponent = random.pick([1, 2, 0x7ffe, 0x7ffd, 0x3fff - 16382, 0x43fe, 0x43ff, 0x3c01, 0x3c00, 0x407e, 0x3f81]) }
  else if (kind < 12) { low = 0; high &= random.pick([0x80000000, 0xc0000000, 0xff000000, 0xffffff00]) } // few significant bits
  else if (kind < 14) { exponent = 0x3fff + random.below(64); low = 0; high &= 0xfff00000 } // integers
  else if (kind === 14) { high = low = 0xffffffff }
  view.setUint32(at, low >>> 0, true)
  view.setUint32(at + 4, high >>> 0, true)
  view.setUint16(at + 8, exponent | sign, true)
}

/** 18 packed decimal digits and a sign byte; a few with digits above 9. */
export function packedDecimal(random: Random, view: DataView, at: number): void {
  const empty = random.chance(15)
  for (let i = 0; i < 9; i++) {
    const digits = empty ? 0 : random.below(10) << 4 | random.below(10)
    view.setUint8(at + i, digits)
  }
  view.setUint8(at + 9, random.pick([0, 0x80, 0, 0x80, 0x7f]))
}

export type Lanes = 'integer' | 'float32' | 'float64' | 'count'

/** 16 bytes of lanes of one kind. */
export function lanes(random: Random, view: DataView, at: number, kind: Lanes): void {
  if (kind === 'float32') for (let i = 0; i < 16; i += 4) float32(random, view, at + i)
  else if (kind === 'float64') { float64(random, view, at); float64(random, view, at + 8) }
  else if (kind === 'count') {
    view.setUint32(at, random.below(72), true)
    view.setUint32(at + 4, random.chance(5) ? 1 : 0, true)
    integer(random, view, at + 8)
  } else { integer(random, view, at); integer(random, view, at + 8) }
}
