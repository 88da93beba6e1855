/**
 * FSIN, FCOS, FSINCOS and FPTAN (SDM volume 1 section 8.3.6). Arguments are reduced by the 66-bit pi that the processors have.
 * Operands have 80 bits, intermediate results 128, so results are correctly rounded but for near-ties (SDM volume 1 section 8.3.8 asks for 1 ulp).
 */
import { DE, INF, QNAN, ZERO, aC, aD, aE, aM, aS, sfRaise } from './softfloat-core'
import { fxInvalid, fxPropagateOne, fxSe, fxSet, fxSig, load80 } from './softfloat80'
import { COS_TERMS, SIN_TERMS } from './x87-tables'
import { deliver, wE, wH, wL, wideDivide, wideMultiply, wideNormalise, widePolynomial, wideSet, wideToFraction } from './x87-wide'

const ONE: u64 = 0x8000000000000000
const TOP: u64 = 0x8000000000000000

/** Result of the second output of FSINCOS and FPTAN. */
export let mathSig: u64 = 0
export let mathSe: u32 = 0
/** 1 when FSIN and its kin left the operand alone because it is 2^63 or more. */
export let mathOutOfRange: i32 = 0

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
