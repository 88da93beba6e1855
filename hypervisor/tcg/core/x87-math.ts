/**
 * Transcendental instructions (SDM volume 1 section 8.3.6-8.3.8): 80-bit operands, 128-bit intermediate results, so results are correctly rounded
 * but for near-ties. FSIN, FCOS, FSINCOS and FPTAN reduce by the 66-bit pi that the processors have. Outside the documented ranges F2XM1
 * returns its operand; FYL2XP1 continues to compute log2(1 + x), and for x <= -1 delivers x (what the reference processor does).
 */
import {
  DE, FINITE, INF, PE, QNAN, UE, ZE, ZERO, aC, aD, aE, aM, aS, bC, bD, bE, bM, bS, mulHigh, setResult, sfRaise,
} from './softfloat-core'
import {
  fxInvalid, fxPropagate, fxPropagateOne, fxSe, fxSet, fxSig, load80, load80Pair, pack80,
} from './softfloat80'
import {
  ATAN_STEPS, COS_TERMS, EXP_TERMS, LN2_HIGH, LN2_LOW, ODD_TERMS, PI_HIGH, PI_LOW, SIN_TERMS, SQRT2_HIGH, THREE_QUARTER_PI_HIGH,
  THREE_QUARTER_PI_LOW, TWO_OVER_LN2_HIGH, TWO_OVER_LN2_LOW,
} from './x87-tables'
import { wE, wH, wL, wideDivide, wideMultiply, wideNormalise, widePolynomial, wideSet, wideToFraction } from './x87-wide'

const ONE: u64 = 0x8000000000000000
const TOP: u64 = 0x8000000000000000

/** Result of the second output of FSINCOS and FPTAN. */
export let mathSig: u64 = 0
export let mathSe: u32 = 0
/** 1 when FSIN and its kin left the operand alone because it is 2^63 or more. */
export let mathOutOfRange: i32 = 0

/** Packs w with `sign`; every result that gets here is irrational or nearly so, hence inexact. */
function deliver(sign: u32): void {
  setResult(sign, wE, wH, wL | 1)
  pack80(FINITE, 64)
}

/** fx = sign * k * pi / 4 */
function deliverQuarterPi(sign: u32, k: u32): void {
  if (k == 3) wideSet(THREE_QUARTER_PI_HIGH, THREE_QUARTER_PI_LOW, 1)
  else wideSet(PI_HIGH, PI_LOW, k == 1 ? -1 : k == 2 ? 0 : 1)
  deliver(sign)
}

// ---- sine, cosine, tangent ----------------------------------------------------------------------------------------------------

/** |A| modulo pi/2 folded into [-pi/4, pi/4]: magnitude rH128:rL128 * 2^rExp, its sign, and the quadrant. */
let quadrant: u32 = 0
let foldSign: u32 = 0
let foldH: u64 = 0
let foldL: u64 = 0
let foldE: i32 = 0
let squareH: u64 = 0
let squareL: u64 = 0

/** 66-bit pi / 2 = this / 2^127 */
const HALF_PI_HIGH: u64 = 0xc90fdaa22168c234
const HALF_PI_LOW: u64 = 0xc000000000000000

/** Reduces finite A, |A| < 2^63, exactly. */
function fold(): void {
  quadrant = 0
  foldSign = 0
  let high = aM
  let low: u64 = 0
  let exponent = aE
  if (aE >= -1) {
    // Long division of the significand by pi/2 (exponent 0), keeping the low bits of the quotient: high:low stays below pi/2.
    let steps = aE
    if (steps < 0) {
      high = aM >> 1
      low = aM << 63
      steps = 0
    }
    exponent = 0
    for (let i = 0; ; i++) {
      if (high > HALF_PI_HIGH || (high == HALF_PI_HIGH && low >= HALF_PI_LOW)) {
        high -= HALF_PI_HIGH + u64(low < HALF_PI_LOW)
        low -= HALF_PI_LOW
        quadrant++
      }
      if (i == steps) break
      quadrant <<= 1
      const carry = high >> 63
      high = (high << 1) | (low >> 63)
      low <<= 1
      if (carry) {
        high -= HALF_PI_HIGH + u64(low < HALF_PI_LOW)
        low -= HALF_PI_LOW
        quadrant++
      }
    }
    // Above pi/4: use the distance to the next multiple.
    const quarterH = HALF_PI_HIGH >> 1
    if (high > quarterH) {
      const l = HALF_PI_LOW - low
      high = HALF_PI_HIGH - high - u64(HALF_PI_LOW < low)
      low = l
      quadrant++
      foldSign = 1
    }
  }
  wideSet(high, low, exponent)
  if ((high | low) != 0) wideNormalise()
  foldH = wH
  foldL = wL
  foldE = wE
  wideMultiply(foldH, foldL, foldE, foldH, foldL, foldE)
  wideToFraction(wH, wL, wE)
  squareH = wH
  squareL = wL
}

/** w = |sin| of the folded argument. */
function foldedSine(): void {
  widePolynomial(SIN_TERMS, 16, squareH, squareL, true)
  if (wH >> 63) wideSet(TOP - 1, 0xffffffffffffffff, 0) // sin x / x is below 1, however little
  wideSet((wH << 1) | (wL >> 63), wL << 1, -1)
  wideMultiply(foldH, foldL, foldE, wH, wL, wE)
}

/** w = cos of the folded argument. */
function foldedCosine(): void {
  widePolynomial(COS_TERMS, 17, squareH, squareL, true)
  if (wH >> 63) wideSet(TOP - 1, 0xffffffffffffffff, 0)
  wE = 0
  wideNormalise()
}

/** sin (shift 0) or cos (shift 1) of A after fold(). */
function sineOrCosine(shift: u32): void {
  const q = quadrant + shift
  let sign = (q >> 1) & 1
  if (!shift) sign ^= aS
  if (q & 1) foldedCosine()
  else {
    // An exact multiple of the reduced pi cannot occur: 66 bits of pi against 64 bits of operand.
    foldedSine()
    sign ^= foldSign
  }
  deliver(sign)
}

/** Common head: NaN, infinity, zero, range. Returns true when done. */
function circularSpecial(sig: u64, se: u32, ofZero: u64, ofZeroSe: u32): bool {
  load80(sig, se)
  mathOutOfRange = 0
  if (aC >= QNAN) fxPropagateOne()
  else if (aC == INF) fxInvalid()
  else if (aC == ZERO) fxSet(ofZero, ofZeroSe)
  else {
    if (aE < 63) {
      if (aD) sfRaise(DE)
      fold()
      return false
    }
    mathOutOfRange = 1
    fxSet(sig, se)
  }
  return true
}

export function fxSin(sig: u64, se: u32): void {
  if (!circularSpecial(sig, se, 0, se)) sineOrCosine(0)
}

export function fxCos(sig: u64, se: u32): void {
  if (!circularSpecial(sig, se, ONE, 0x3fff)) sineOrCosine(1)
}

/** fx = sine, math = cosine. */
export function fxSinCos(sig: u64, se: u32): void {
  if (circularSpecial(sig, se, ONE, 0x3fff)) {
    mathSig = fxSig
    mathSe = fxSe
    if (aC == ZERO) fxSet(0, se)
    return
  }
  sineOrCosine(1)
  mathSig = fxSig
  mathSe = fxSe
  sineOrCosine(0)
}

/** fx = tangent, math = 1 (or the NaN that ST(0) becomes too). */
export function fxTan(sig: u64, se: u32): void {
  mathSig = ONE
  mathSe = 0x3fff
  if (circularSpecial(sig, se, 0, se)) {
    if (aC >= INF) {
      mathSig = fxSig
      mathSe = fxSe
    }
    return
  }
  const sign = aS ^ foldSign ^ (quadrant & 1)
  if (foldE < -64 && !(quadrant & 1)) {
    // tan x = x + x^3 / 3: the argument and a little more
    wideSet(foldH, foldL | 1, foldE)
    return deliver(sign)
  }
  foldedSine()
  const sineH = wH, sineL = wL, sineE = wE
  foldedCosine()
  if (quadrant & 1) wideDivide(wH, wL, wE, sineH, sineL, sineE)
  else wideDivide(sineH, sineL, sineE, wH, wL, wE)
  deliver(sign)
}

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

// ---- arc tangent --------------------------------------------------------------------------------------------------------------

/** w = atan(w) for a positive w <= 1. */
function arcTangent(): void {
  const zH = wH, zL = wL, zE = wE
  // Nearest step i / 32; t = (z - c) / (1 + z c).
  let step: u32 = 0
  if (zE >= -6) {
    step = (u32(zH >> (57 - zE)) + 1) >> 1
  }
  if (step != 0) {
    wideToFraction(zH, zL, zE - 1) // z / 2 in units of 2^-128, that is z in units of 2^-127
    const fH = wH, fL = wL
    const cH = u64(step) << 58
    let nH = fH - cH
    let nL = fL
    let negative = false
    if (fH < cH) {
      negative = true
      nL = 0 - fL
      nH = cH - fH - u64(fL != 0)
    }
    // 1 + z c, z c = fH:fL * step / 32
    const scaled = ((fH & 31) << 59) | (fL >> 5)
    const dH = TOP + (fH >> 5) * u64(step) + mulHigh(scaled, u64(step))
    const dL = scaled * u64(step)
    if ((nH | nL) == 0) {
      wideSet(load<u64>(ATAN_STEPS + (step << 4)), load<u64>(ATAN_STEPS + (step << 4), 8), 0)
      return wideNormalise()
    }
    wideSet(nH, nL, 0)
    wideNormalise()
    const numeratorH = wH, numeratorL = wL, numeratorE = wE
    wideSet(dH, dL, 0)
    if (!(dH >> 63)) wideSet((dH >> 1) | TOP, (dL >> 1) | (dH << 63), 1) // the sum passed 2
    wideDivide(numeratorH, numeratorL, numeratorE, wH, wL, wE)
    series()
    // back to units of 2^-127
    wideToFraction(wH, wL, wE - 1)
    const baseH = load<u64>(ATAN_STEPS + (step << 4))
    const baseL = load<u64>(ATAN_STEPS + (step << 4), 8)
    if (negative) wideSet(baseH - wH - u64(baseL < wL), baseL - wL, 0)
    else {
      const low = baseL + wL
      wideSet(baseH + wH + u64(low < baseL), low, 0)
    }
    return wideNormalise()
  }
  series()
}

/** w = atan(w) for 0 < w <= 1/64 by its Taylor series. */
function series(): void {
  const tH = wH, tL = wL, tE = wE
  wideMultiply(tH, tL, tE, tH, tL, tE)
  wideToFraction(wH, wL, wE)
  widePolynomial(ODD_TERMS, 12, wH, wL, true)
  if (wH >> 63) wideSet(TOP - 1, 0xffffffffffffffff, 0)
  wideMultiply(tH, tL, tE, (wH << 1) | (wL >> 63), wL << 1, -1)
}

/** FPATAN: the angle of the point (x, y), x = ST(0), y = ST(1), in (-pi, pi]. */
export function fxAtan(xSig: u64, xSe: u32, ySig: u64, ySe: u32): void {
  load80Pair(xSig, xSe, ySig, ySe)
  if (aC >= QNAN || bC >= QNAN) return fxPropagate()
  if (aD | bD) sfRaise(DE)
  const sign = bS
  if (bC == ZERO || (aC == INF && bC == FINITE)) {
    if (aS) return deliverQuarterPi(sign, 4)
    return fxSet(0, sign << 15)
  }
  if (bC == INF && aC == INF) return deliverQuarterPi(sign, aS ? 3 : 1)
  if (bC == INF || aC == ZERO) return deliverQuarterPi(sign, 2)
  const left = aS
  const steep = bE > aE || (bE == aE && bM > aM)
  if (steep) wideDivide(aM, 0, aE, bM, 0, bE)
  else wideDivide(bM, 0, bE, aM, 0, aE)
  if (!steep && !left && wE < FX_TINY) {
    // The quotient itself, a little less.
    if (wL == 0) {
      wH--
      wL = 0xffffffffffffffff
      wideNormalise()
    }
    return deliver(sign)
  }
  if (wE < -130) {
    if (steep) return deliverQuarterPi(sign, 2)
    if (left) return deliverQuarterPi(sign, 4)
  }
  arcTangent()
  if (!steep && !left) return deliver(sign)
  // pi/2 - v, pi/2 + v or pi - v, in units of 2^-126
  wideToFraction(wH, wL, wE - 2)
  const vH = wH, vL = wL
  const baseH = steep ? PI_HIGH >> 1 : PI_HIGH
  const baseL = steep ? (PI_HIGH << 63) | (PI_LOW >> 1) : PI_LOW
  if (steep && left) {
    const low = baseL + vL
    wideSet(baseH + vH + u64(low < baseL), low, 1)
  } else wideSet(baseH - vH - u64(baseL < vL), baseL - vL, 1)
  wideNormalise()
  deliver(sign)
}

/** Below 2^this the arc tangent differs from its argument only beyond 128 bits. */
const FX_TINY = -70
