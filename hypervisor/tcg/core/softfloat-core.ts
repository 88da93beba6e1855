/**
 * The number model of our IEEE 754 arithmetic: unpacked operands A and B, a 128-bit result R, add/multiply/divide/square root on them and rounding
 * with x86 semantics (SDM volume 1 chapters 4.8-4.9, 8.5, 11.5). IEEE 754-2008 sections 4-7. Formats (f32, f64, 80-bit) live in softfloat.ts and
 * softfloat80.ts: they unpack into this model and pack out of it.
 *
 * A finite number is M / 2^63 * 2^E with bit 63 of M set. A result has 64 more bits in rL; the lowest one stands for everything below it.
 * State is in globals, because the compiled core has no heap: none of it survives a call except sfFlags, the settings, and what is documented.
 */
import { mulHigh, divRemainder, divide128 } from './math128'

export const IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32

/** Rounding: 0 nearest even, 1 down, 2 up, 3 towards zero (x86 RC encoding). */
export let sfRound: i32 = 0
/** Exceptions raised so far, in the bit order of MXCSR and FSW. */
export let sfFlags: i32 = 0
/** Exception masks, same bit order, 1 = masked. Unmasked underflow is raised for exact tiny results too. */
export let sfMask: i32 = 0x3f
/** MXCSR.DAZ and MXCSR.FZ; both must be 0 for x87 operations. */
export let sfDaz: i32 = 0
export let sfFtz: i32 = 0
/** 1 when the last rounding moved the magnitude up (x87 C1). */
export let sfRoundUp: i32 = 0

export const ZERO = 0, FINITE = 1, INF = 2, QNAN = 3, SNAN = 4, UNSUPPORTED = 5

/** Operand A: class, sign, exponent, significand, 1 = denormal. */
export let aC: i32 = 0
export let aS: u32 = 0
export let aE: i32 = 0
export let aM: u64 = 0
export let aD: i32 = 0
/** Operand B. */
export let bC: i32 = 0
export let bS: u32 = 0
export let bE: i32 = 0
export let bM: u64 = 0
export let bD: i32 = 0
/** Result before and after rounding. */
export let rS: u32 = 0
export let rE: i32 = 0
export let rM: u64 = 0
export let rL: u64 = 0

export function sfSetRound(mode: i32): void { sfRound = mode }
export function sfSetFlags(flags: i32): void { sfFlags = flags }
export function sfRaise(flags: i32): void { sfFlags |= flags }
export function sfSetMask(mask: i32): void { sfMask = mask }
export function sfSetDenormals(daz: i32, ftz: i32): void {
  sfDaz = daz
  sfFtz = ftz
}

/**
 * Unmasked exceptions among those of one instruction (sfFlags was 0 before it). IE, DE and ZE stop an instruction before it computes, so with one of
 * them unmasked OE, UE and PE never came up: they are dropped from sfFlags.
 */
export function sfUnmasked(): i32 {
  const unmasked = sfFlags & ~sfMask
  if (!(unmasked & (IE | DE | ZE))) return unmasked
  sfFlags &= IE | DE | ZE
  return sfFlags & ~sfMask
}

export function setResult(sign: u32, exponent: i32, high: u64, low: u64): void {
  rS = sign
  rE = exponent
  rM = high
  rL = low
}

// ---- operands -----------------------------------------------------------------------------------------------------------------

export function setA(kind: i32, sign: u32, exponent: i32, significand: u64, denormal: i32): void {
  aC = kind
  aS = sign
  aE = exponent
  aM = significand
  aD = denormal
}

function setB(kind: i32, sign: u32, exponent: i32, significand: u64, denormal: i32): void {
  bC = kind
  bS = sign
  bE = exponent
  bM = significand
  bD = denormal
}

/** B = A, so that one unpack routine per format serves both operands (load B first). */
export function copyAToB(): void {
  bC = aC
  bS = aS
  bE = aE
  bM = aM
  bD = aD
}

export function swapAB(): void {
  const c = aC, s = aS, e = aE, m = aM, d = aD
  setA(bC, bS, bE, bM, bD)
  setB(c, s, e, m, d)
}

function invalid(): i32 {
  sfFlags |= IE
  return QNAN
}

// ---- arithmetic on numbers and infinities; each returns the class of R; NaN operands are the format's business -----------------

/** A + B, or A - B with `negate` 1. */
export function coreAdd(negate: u32): i32 {
  const bSign = bS ^ negate
  if (aC == INF) {
    if (bC == INF && aS != bSign) return invalid()
    rS = aS
    return INF
  }
  if (bC == INF) {
    rS = bSign
    return INF
  }
  if (bC == ZERO) {
    if (aC == ZERO) {
      rS = aS == bSign ? aS : (sfRound == 1 ? 1 : 0)
      return ZERO
    }
    setResult(aS, aE, aM, 0)
    return FINITE
  }
  if (aC == ZERO) {
    setResult(bSign, bE, bM, 0)
    return FINITE
  }
  let high = aM
  let small = bM
  let diff = aE - bE
  rE = aE
  rS = aS
  if (diff < 0 || (diff == 0 && aM < bM)) {
    high = bM
    small = aM
    diff = -diff
    rE = bE
    rS = bSign
  }
  let smallLow: u64 = 0
  if (diff > 0) {
    if (diff < 64) {
      smallLow = small << (64 - diff)
      small >>= diff
    } else {
      const rest = diff - 64
      smallLow = rest == 0 ? small : rest < 64 ? (small >> rest) | u64((small << (64 - rest)) != 0) : 1
      small = 0
    }
  }
  let low = smallLow
  if (aS == bSign) {
    const sum = high + small
    if (sum < high) {
      low = (low >> 1) | (low & 1) | (sum << 63)
      high = (sum >> 1) | 0x8000000000000000
      rE++
    } else high = sum
  } else {
    low = 0 - smallLow
    high = high - small - u64(smallLow != 0)
    if (high == 0) {
      if (low == 0) {
        rS = sfRound == 1 ? 1 : 0
        return ZERO
      }
      high = low
      low = 0
      rE -= 64
    }
    const n = clz(high)
    if (n != 0) {
      high = (high << n) | (low >> (64 - n))
      low <<= n
      rE -= i32(n)
    }
  }
  rM = high
  rL = low
  return FINITE
}

/** A * B. */
export function coreMultiply(): i32 {
  rS = aS ^ bS
  if (aC == INF || bC == INF) return aC == ZERO || bC == ZERO ? invalid() : INF
  if (aC == ZERO || bC == ZERO) return ZERO
  const high = mulHigh(aM, bM)
  const low = aM * bM
  rE = aE + bE + 1
  if (high >> 63) {
    rM = high
    rL = low
  } else {
    rM = (high << 1) | (low >> 63)
    rL = low << 1
    rE--
  }
  return FINITE
}

/** A / B. */
export function coreDivide(): i32 {
  rS = aS ^ bS
  if (aC == INF) return bC == INF ? invalid() : INF
  if (bC == INF) return ZERO
  if (bC == ZERO) {
    if (aC == ZERO) return invalid()
    sfFlags |= ZE
    return INF
  }
  if (aC == ZERO) return ZERO
  rE = aE - bE
  if (aM >= bM) rM = divide128(aM >> 1, aM << 63, bM)
  else {
    rM = divide128(aM, 0, bM)
    rE--
  }
  const remainder = divRemainder
  const doubled = remainder << 1
  const half = (remainder >> 63) != 0 || doubled >= bM
  rL = (u64(half) << 63) | u64(remainder != 0 && doubled != bM)
  return FINITE
}

/** Square root of A: a binary64 estimate, one Newton step, and an exact correction against the 128-bit remainder. */
export function coreSqrt(): i32 {
  rS = aS
  if (aC == ZERO) return ZERO
  if (aS) return invalid()
  if (aC == INF) return INF
  const odd = aE & 1
  rE = (aE - odd) >> 1
  const nHigh = odd ? aM : aM >> 1
  const nLow: u64 = odd ? 0 : aM << 63
  const estimate = Math.sqrt(f64(nHigh) * 18446744073709551616.0 + f64(nLow))
  let root: u64 = estimate >= 18446744073709551615.0 ? 0xffffffffffffffff : u64(estimate)
  // N - root^2 as a signed 128-bit number; |difference| < 2^78, so its f64 value is good to far below one unit of the correction.
  let dLow = nLow - root * root
  let dHigh = i64(nHigh - mulHigh(root, root) - u64(nLow < root * root))
  const correction = (f64(dHigh) * 18446744073709551616.0 + f64(dLow)) / (2.0 * f64(root))
  if (correction >= 0.0) {
    const next = root + u64(correction)
    root = next < root ? 0xffffffffffffffff : next
  } else root -= u64(-correction) + 1
  while (true) {
    const square = root * root
    dLow = nLow - square
    dHigh = i64(nHigh - mulHigh(root, root) - u64(nLow < square))
    if (dHigh < 0) root--
    else if (dHigh > 1 || (dHigh == 1 && dLow > (root << 1)) || (dHigh == 0 && (root >> 63) == 0 && dLow > (root << 1))) root++
    else break
  }
  rM = root
  rL = dHigh > 0 || dLow > root ? 0x8000000000000001 : u64(dLow != 0)
  return FINITE
}

// ---- rounding -----------------------------------------------------------------------------------------------------------------

/** Would a result with this sign grow, given the bits to be dropped? `half` = first dropped bit, `rest` = any later one, `odd` = last kept bit. */
// @ts-ignore: decorator
@inline function grows(sign: u32, odd: bool, half: bool, rest: bool): bool {
  if (sfRound == 0) return half && (rest || odd)
  if (sfRound == 3) return false
  return (half || rest) && (sign != 0) == (sfRound == 1)
}

/** Shifts rM:rL right, collecting what falls out in bit 0 of rL. */
function shiftRightSticky(n: i32): void {
  if (n == 0) return
  if (n < 64) {
    rL = (rM << (64 - n)) | (rL >> n) | u64((rL << (64 - n)) != 0)
    rM >>= n
  } else if (n < 128) {
    const rest = n - 64
    const lost = rest == 0 ? rL != 0 : (rM << (64 - rest)) != 0 || rL != 0
    rL = (rM >> rest) | u64(lost)
    rM = 0
  } else {
    rL = 1
    rM = 0
  }
}

/**
 * Rounds the finite non-zero R to `precision` bits with exponents emin..emax and raises PE, UE, OE.
 * Returns FINITE (subnormal: bit 63 of rM clear, rE = emin), ZERO or INF. With `wrap` non-zero, unmasked UE/OE deliver the result with the
 * exponent moved by `wrap` (SDM 8.5.4, 8.5.5). Tininess is detected after rounding.
 */
export function roundResult(precision: i32, emin: i32, emax: i32, wrap: i32): i32 {
  const drop = 64 - precision
  const unit: u64 = u64(1) << drop
  sfRoundUp = 0
  let tiny = false
  let wrapped = false
  if (rE < emin) {
    tiny = true
    if (rE == emin - 1 && (rM | (unit - 1)) == 0xffffffffffffffff) {
      const half = drop ? ((rM >> (drop - 1)) & 1) != 0 : (rL >> 63) != 0
      const rest = drop ? (rM & ((unit >> 1) - 1)) != 0 || rL != 0 : (rL << 1) != 0
      tiny = !grows(rS, true, half, rest)
    }
    if (tiny && !(sfMask & UE)) {
      sfFlags |= UE
      if (wrap) {
        rE += wrap
        wrapped = true
      }
    } else if (tiny && sfFtz) {
      sfFlags |= UE | PE
      return ZERO
    }
    if (!wrapped) {
      shiftRightSticky(emin - rE)
      rE = emin
    }
  }
  const rest = rM & (unit - 1)
  if ((rest | rL) != 0) {
    sfFlags |= PE
    if (tiny) sfFlags |= UE
    const half = drop ? ((rest >> (drop - 1)) & 1) != 0 : (rL >> 63) != 0
    const below = drop ? (rest & ((unit >> 1) - 1)) != 0 || rL != 0 : (rL << 1) != 0
    const up = grows(rS, (rM & unit) != 0, half, below)
    rM -= rest
    if (up) {
      sfRoundUp = 1
      rM += unit
      if (rM == 0) {
        rM = 0x8000000000000000
        rE++
      }
    }
    if (rM == 0) return ZERO
  }
  if (rE > emax) {
    sfFlags |= OE
    if (wrap && !(sfMask & OE)) {
      rE -= wrap
      return FINITE
    }
    sfFlags |= PE
    if (sfRound == 0 || (sfRound == 2 && !rS) || (sfRound == 1 && rS)) {
      sfRoundUp = 1
      return INF
    }
    sfRoundUp = 0
    rM = 0 - unit
    rE = emax
  }
  return FINITE
}

// ---- integers -----------------------------------------------------------------------------------------------------------------

/** Magnitude left by roundToInteger; exact results leave integerInexact 0. */
export let integerMagnitude: u64 = 0
export let integerInexact: i32 = 0
export let integerRoundUp: i32 = 0

/** Rounds |A| (finite or zero) to an integer; returns false when it does not fit 64 bits. Raises nothing. */
export function roundToInteger(mode: i32): bool {
  integerInexact = 0
  integerRoundUp = 0
  integerMagnitude = 0
  if (aC == ZERO) return true
  if (aE > 63) return false
  const shift = 63 - aE
  let fraction: u64 = 1
  if (shift == 0) {
    integerMagnitude = aM
    return true
  }
  if (shift < 64) {
    integerMagnitude = aM >> shift
    fraction = aM << (64 - shift)
  } else if (shift == 64) fraction = aM
  if (fraction == 0) return true
  integerInexact = 1
  const saved = sfRound
  sfRound = mode
  const up = grows(aS, (integerMagnitude & 1) != 0, (fraction >> 63) != 0, (fraction << 1) != 0)
  sfRound = saved
  if (up) {
    integerRoundUp = 1
    integerMagnitude++
    if (integerMagnitude == 0) return false
  }
  return true
}

/** Orders two operands that are not NaN: -1, 0, 1. */
export function coreCompare(): i32 {
  if (aC == ZERO && bC == ZERO) return 0
  const aSign = aC == ZERO ? bS ^ 1 : aS
  const bSign = bC == ZERO ? aS ^ 1 : bS
  if (aSign != bSign) return aC == ZERO ? (bS ? 1 : -1) : bC == ZERO ? (aS ? -1 : 1) : aS ? -1 : 1
  const bigger = aS ? -1 : 1
  if (aC == INF || bC == INF) return aC == bC ? 0 : aC == INF ? bigger : -bigger
  if (aE != bE) return aE > bE ? bigger : -bigger
  return aM == bM ? 0 : aM > bM ? bigger : -bigger
}
