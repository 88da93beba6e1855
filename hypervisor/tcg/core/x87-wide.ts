/**
 * 128-bit arithmetic for the transcendental instructions: positive floating numbers H:L / 2^127 * 2^E (bit 127 set) and polynomials in 128-bit
 * fixed point. Errors are a few units in the last of 128 bits, far below the 64 bits that are kept.
 */
import { mulHigh } from './math128'
import { FINITE, setResult } from './softfloat-core'
import { pack80 } from './softfloat80'

/** Result of every function here. */
export let wH: u64 = 0
export let wL: u64 = 0
export let wE: i32 = 0

export function wideSet(high: u64, low: u64, exponent: i32): void {
  wH = high
  wL = low
  wE = exponent
}

/** Top half of the 256-bit product, without the carries of the lowest quarter. */
function product(aH: u64, aL: u64, bH: u64, bL: u64): void {
  const cross1 = aH * bL
  const cross2 = aL * bH
  const middle = cross1 + cross2
  const low = aH * bH
  const carry = mulHigh(aH, bL)
  const sum1 = low + carry
  const sum2 = sum1 + mulHigh(aL, bH)
  const sum3 = sum2 + u64(middle < cross1)
  wH = mulHigh(aH, bH) + u64(sum1 < low) + u64(sum2 < sum1) + u64(sum3 < sum2)
  wL = sum3
}

/** Brings bit 127 up; the value must not be 0. */
export function wideNormalise(): void {
  if (wH == 0) {
    wH = wL
    wL = 0
    wE -= 64
  }
  const n = clz(wH)
  if (n != 0) {
    wH = (wH << n) | (wL >> (64 - n))
    wL <<= n
    wE -= i32(n)
  }
}

export function wideMultiply(aH: u64, aL: u64, aE: i32, bH: u64, bL: u64, bE: i32): void {
  product(aH, aL, bH, bL)
  wE = aE + bE + 1
  if (!(wH >> 63)) {
    wH = (wH << 1) | (wL >> 63)
    wL <<= 1
    wE--
  }
}

/** a / b, bit by bit: exact but for the last bit, which is set when a remainder is left. */
export function wideDivide(aH: u64, aL: u64, aE: i32, bH: u64, bL: u64, bE: i32): void {
  let rH = aH
  let rL = aL
  let qH: u64 = 0
  let qL: u64 = 0
  let bits = 128
  wE = aE - bE
  if (rH > bH || (rH == bH && rL >= bL)) {
    rH -= bH + u64(rL < bL)
    rL -= bL
    qL = 1
    bits = 127
  } else wE--
  for (let i = 0; i < bits; i++) {
    const carry = rH >> 63
    rH = (rH << 1) | (rL >> 63)
    rL <<= 1
    qH = (qH << 1) | (qL >> 63)
    qL <<= 1
    if (carry || rH > bH || (rH == bH && rL >= bL)) {
      rH -= bH + u64(rL < bL)
      rL -= bL
      qL |= 1
    }
  }
  wH = qH
  wL = qL | u64((rH | rL) != 0)
}

/** A value below 1 as a fraction in units of 2^-128; drops what falls out. */
export function wideToFraction(high: u64, low: u64, exponent: i32): void {
  const n = -1 - exponent
  if (n <= 0) wideSet(high, low, 0)
  else if (n < 64) wideSet(high >> n, (low >> n) | (high << (64 - n)), 0)
  else if (n < 128) wideSet(0, high >> (n - 64), 0)
  else wideSet(0, 0, 0)
}

/**
 * Horner's rule: c0 + y * (c1 + y * ...) with `terms` coefficients {high, low} in units of 2^-127 and y in units of 2^-128; with `alternate` the
 * signs alternate. The value must stay within [0, 2).
 */
export function widePolynomial(table: usize, terms: i32, yH: u64, yL: u64, alternate: bool): void {
  let p = table + (usize(terms - 1) << 4)
  let high = load<u64>(p)
  let low = load<u64>(p, 8)
  while (p > table) {
    p -= 16
    product(high, low, yH, yL)
    const cH = load<u64>(p)
    const cL = load<u64>(p, 8)
    if (alternate) {
      low = cL - wL
      high = cH - wH - u64(cL < wL)
    } else {
      low = cL + wL
      high = cH + wH + u64(low < cL)
    }
  }
  wH = high
  wL = low
}

/** Packs w with `sign`; every result that gets here is irrational or nearly so, hence inexact. */
export function deliver(sign: u32): void {
  setResult(sign, wE, wH, wL | 1)
  pack80(FINITE, 64)
}
