/**
 * F2XM1, FYL2X and FYL2XP1 (SDM volume 1 section 8.3.9).
 * Operands have 80 bits, intermediate results 128, so results are correctly rounded but for near-ties (SDM volume 1 section 8.3.8 asks for 1 ulp).
 * Outside the documented ranges F2XM1 returns its operand; FYL2XP1 continues to compute log2(1 + x), and for x <= -1 delivers x (what the
 * reference processor does).
 */
import { DE, FINITE, INF, PE, QNAN, UE, ZE, ZERO, aC, aD, aE, aM, aS, bC, bD, bE, bM, bS, setResult, sfRaise } from './softfloat-core'
import { fxInvalid, fxPropagate, fxPropagateOne, fxSe, fxSet, load80, load80Pair, pack80 } from './softfloat80'
import { EXP_TERMS, LN2_HIGH, LN2_LOW, ODD_TERMS, SQRT2_HIGH, TWO_OVER_LN2_HIGH, TWO_OVER_LN2_LOW } from './x87-tables'
import { deliver, wE, wH, wL, wideDivide, wideMultiply, wideNormalise, widePolynomial, wideSet, wideToFraction } from './x87-wide'

const ONE: u64 = 0x8000000000000000
const TOP: u64 = 0x8000000000000000

// ---- 2^x - 1 ------------------------------------------------------------------------------------------------------------------

export function fx2xm1(sig: u64, se: u32): void {
  load80(sig, se)
  if (aC >= QNAN) return fxPropagateOne()
  if (aC == ZERO) return fxSet(sig, se)
  if (aC == INF) return aS ? fxSet(ONE, 0xbfff) : fxSet(sig, se)
  if (aD) sfRaise(DE)
  if (aE >= 0) {
    sfRaise(PE)
    if (aE == 0 && aM == ONE && aS) return fxSet(ONE, 0xbffe)
    return fxSet(sig, se)
  }
  // With t = x ln 2: 2^x - 1 = t * (1 + t/2! + t^2/3! + ...)
  wideMultiply(aM, 0, aE, LN2_HIGH, LN2_LOW, -1)
  const tH = wH, tL = wL, tE = wE
  wideToFraction(tH, tL, tE)
  widePolynomial(EXP_TERMS, 29, wH, wL, aS != 0)
  wE = 0
  wideNormalise()
  wideMultiply(tH, tL, tE, wH, wL, wE)
  deliver(aS)
}

// ---- logarithms ---------------------------------------------------------------------------------------------------------------

/** w = log2((1 + s) / (1 - s)) = 2 / ln 2 * s * (1 + s^2/3 + s^4/5 + ...) for s in w, |s| <= 0.172. */
function logarithmOfRatio(): void {
  const sH = wH, sL = wL, sE = wE
  wideMultiply(sH, sL, sE, sH, sL, sE)
  wideToFraction(wH, wL, wE)
  widePolynomial(ODD_TERMS, 24, wH, wL, false)
  wideMultiply(wH, wL, 0, sH, sL, sE)
  wideMultiply(wH, wL, wE, TWO_OVER_LN2_HIGH, TWO_OVER_LN2_LOW, 1)
}

/** Sign of the logarithm in w; it is 0 when `logZero`. */
let logSign: u32 = 0
let logZero: i32 = 0
/** 1 when the logarithm in w is an integer. */
let logExact: i32 = 0

/** log2 of the positive number high:low / 2^127 * 2^exponent. */
function logarithm(high: u64, low: u64, exponent: i32): void {
  // Into [sqrt(1/2), sqrt(2)), where s = (m - 1) / (m + 1) is small and log2(m) cannot cancel the exponent.
  logZero = 0
  logExact = 0
  const big: bool = high > SQRT2_HIGH
  if (big) exponent++
  if (high == TOP && low == 0) {
    logExact = 1
    logSign = u32(exponent < 0)
    if (exponent == 0) {
      logZero = 1
      return
    }
    wideSet(u64(exponent < 0 ? -exponent : exponent), 0, 63)
    return wideNormalise()
  }
  // (m - 1) / (m + 1), or (m - 2) / (m + 2) instead of halving m, in units of 2^-126 (the common factor 2 is left out).
  const mH = high >> 1
  const mL = (high << 63) | (low >> 1)
  if (big) {
    wideSet(TOP - mH - u64(mL != 0), 0 - mL, 0)
    logSign = 1
  } else {
    const rest = mH - (TOP >> 1)
    wideSet((rest << 1) | (mL >> 63), (mL << 1) | (low & 1), -1)
    logSign = 0
  }
  wideNormalise()
  const numeratorH = wH, numeratorL = wL, numeratorE = wE
  wideSet(mH + (big ? TOP : TOP >> 1), mL, 0)
  wideNormalise()
  wideDivide(numeratorH, numeratorL, numeratorE, wH, wL, wE)
  logarithmOfRatio()
  if (exponent == 0) return
  // |log2 m| <= 1/2 < |exponent|: align it to the exponent's fixed point with 14 integer bits.
  const magnitude = exponent < 0 ? -exponent : exponent
  const n = 14 - wE
  let fH: u64 = 0
  let fL: u64 = 0
  if (n < 64) {
    fH = wH >> n
    fL = (wL >> n) | (wH << (64 - n))
  } else if (n < 128) fL = n == 64 ? wH : wH >> (n - 64)
  const iH = u64(magnitude) << 49
  const exponentSign = u32(exponent < 0)
  if (logSign == exponentSign) wideSet(iH + fH, fL, 14)
  else wideSet(iH - fH - u64(fL != 0), 0 - fL, 14)
  logSign = exponentSign
  wideNormalise()
}

/** w * B, packed. */
function timesB(): void {
  const sign = logSign ^ bS
  wideMultiply(wH, wL, wE, bM, 0, bE)
  setResult(sign, wE, wH, wL | u64(!logExact))
  pack80(FINITE, 64)
  // Processors report even exact products as inexact, and tiny ones as underflow.
  sfRaise((fxSe & 0x7fff) == 0 ? PE | UE : PE)
}

/** FYL2X: y * log2(x) with x = ST(0), y = ST(1). */
export function fxYl2x(xSig: u64, xSe: u32, ySig: u64, ySe: u32): void {
  load80Pair(xSig, xSe, ySig, ySe)
  if (aC >= QNAN || bC >= QNAN) return fxPropagate()
  if (aC != ZERO && aS) return fxInvalid()
  if (aC == ZERO) {
    if (bC == ZERO) return fxInvalid()
    if (bC == FINITE) sfRaise(ZE)
    return fxSet(TOP, ((bS ^ 1) << 15) | 0x7fff)
  }
  if (aC == INF) {
    if (bC == ZERO) return fxInvalid()
    if (bD) sfRaise(DE)
    return fxSet(TOP, (bS << 15) | 0x7fff)
  }
  const below = u32(aE < 0)
  const one = aE == 0 && aM == ONE
  if (bC == INF) {
    if (one) return fxInvalid()
    if (aD) sfRaise(DE)
    return fxSet(TOP, ((bS ^ below) << 15) | 0x7fff)
  }
  if (aD | bD) sfRaise(DE)
  if (bC == ZERO || one) return fxSet(0, (bS ^ below) << 15)
  logarithm(aM, 0, aE)
  timesB()
}

/** FYL2XP1: y * log2(1 + x). */
export function fxYl2xp1(xSig: u64, xSe: u32, ySig: u64, ySe: u32): void {
  load80Pair(xSig, xSe, ySig, ySe)
  if (aC >= QNAN || bC >= QNAN) return fxPropagate()
  if (aC == ZERO) {
    if (bC == INF) return fxInvalid()
    if (bD) sfRaise(DE)
    return fxSet(0, (aS ^ bS) << 15)
  }
  if (aC == INF) {
    if (aS || bC == ZERO) return fxInvalid()
    if (bD) sfRaise(DE)
    return fxSet(TOP, (bS << 15) | 0x7fff)
  }
  if (bC == INF) {
    if (aD) sfRaise(DE)
    return fxSet(TOP, ((aS ^ bS) << 15) | 0x7fff)
  }
  if (aD | bD) sfRaise(DE)
  if (bC == ZERO) return fxSet(0, (aS ^ bS) << 15)
  if (aS && aE >= 0) {
    sfRaise(PE)
    return fxSet(xSig, xSe)
  }
  if (aE < -2) {
    // s = x / (2 + x), |x| < 1/4. Below 2^-70 the x in the divisor is beyond 64 bits, but keep what 128 bits hold.
    wideToFraction(aM, 0, aE - 2) // x / 4, that is x in units of 2^-126
    if (aS) wideSet(TOP - wH - u64(wL != 0), 0 - wL, 1)
    else wideSet(TOP + wH, wL, 1)
    wideNormalise()
    wideDivide(aM, 0, aE, wH, wL, wE)
    logSign = aS
    logExact = 0
    logarithmOfRatio()
  } else {
    // 1 + x fits 128 bits for -1 < x < 2^63; a larger x is its own sum.
    if (aE < 63) {
      const n = aE < 0 ? -aE : aE
      if (aS) wideSet(TOP - (aM >> n) - u64((aM << (64 - n)) != 0), 0 - (aM << (64 - n)), 0)
      else if (aE < 0) wideSet(TOP + (aM >> n), aM << (64 - n), 0)
      else if (aE == 0) wideSet((aM >> 1) + (TOP >> 1), aM << 63, 1)
      else {
        const sum = aM + (TOP >> n)
        if (sum < aM) wideSet((sum >> 1) | TOP, sum << 63, aE + 1)
        else wideSet(sum, 0, aE)
      }
      wideNormalise()
    } else wideSet(aM, 0, aE)
    logarithm(wH, wL, wE)
    if (logZero) return fxSet(0, (aS ^ bS) << 15)
  }
  timesB()
}
