/**
 * 80-bit extended arithmetic with x87 semantics: precision control, NaN selection, unsupported formats (SDM volume 1 sections 4.2, 4.8.3.5, 8.1.5,
 * 8.2). A value is (significand u64, sign and exponent u16); results are left in fxSig and fxSe. Stack and masked responses belong to x87.ts.
 */
import { divRemainder, divide128 } from './math128'
import {
  IE, DE, ZE, OE, UE, PE, sfRound, sfMask, sfRoundUp, ZERO, FINITE, INF, QNAN, SNAN, UNSUPPORTED, aC, aS, aE, aM, aD, bC, bS, bE, bM, bD, rS, rE, rM,
  sfRaise, setResult, setA, copyAToB, swapAB, coreAdd, coreMultiply, coreDivide, coreSqrt, roundResult, integerMagnitude, integerInexact,
  integerRoundUp, roundToInteger, coreCompare,
} from './softfloat-core'
import { pack32, pack64, resultFromInteger } from './softfloat'

export const FX_ADD = 0, FX_SUB = 1, FX_MUL = 2, FX_DIV = 3
/** What unmasked overflow and underflow move the exponent by (3 * 2^13). */
export const FX_WRAP = 24576
export const FX_EMIN = -16382, FX_EMAX = 16383

/** Result. */
export let fxSig: u64 = 0
export let fxSe: u32 = 0
/** Significand bits of add, subtract, multiply, divide and square root: 24, 53 or 64. */
let fxPrecision: i32 = 64
/** 1 when the last fxFromF32/fxFromF64 met a denormal. */
export let fxDenormal: i32 = 0
/** 1 when the last rounding moved the magnitude up. */
export let fxRoundUp: i32 = 0
/** Low three quotient bits of the last remainder, and 1 when it is only partial. */
export let fxQuotient: u32 = 0
export let fxPartial: i32 = 0
/** 0 when that remainder was a special case: NaN, infinite dividend or zero divisor. */
export let fxReduced: i32 = 0

/** Starts an instruction: precision control, nothing rounded yet. */
export function fxSetPrecision(bits: i32): void {
  fxPrecision = bits
  fxRoundUp = 0
}

export function fxSet(sig: u64, se: u32): void {
  fxSig = sig
  fxSe = se
}
/** The real indefinite, answer to every masked invalid operation. */
export function fxIndefinite(): void { fxSet(0xc000000000000000, 0xffff) }

/** Unpacks into operand A. */
export function load80(sig: u64, se: u32): void {
  const sign = (se >> 15) & 1
  const e = i32(se & 0x7fff)
  if (e == 0) {
    if (sig == 0) return setA(ZERO, sign, 0, 0, 0)
    const n = clz(sig)
    return setA(FINITE, sign, FX_EMIN - i32(n), sig << n, 1)
  }
  if (!(sig >> 63)) return setA(UNSUPPORTED, sign, 0, sig, 0)
  if (e == 0x7fff) return setA(sig == 0x8000000000000000 ? INF : sig & 0x4000000000000000 ? QNAN : SNAN, sign, 0, sig, 0)
  setA(FINITE, sign, e - 16383, sig, 0)
}

/** Unpacks two operands. */
export function load80Pair(aSig: u64, aSe: u32, bSig: u64, bSe: u32): void {
  load80(bSig, bSe)
  copyAToB()
  load80(aSig, aSe)
}

/** Rounds R of class `kind` to `precision` bits and packs it. */
export function pack80(kind: i32, precision: i32): void {
  fxRoundUp = 0
  if (kind == FINITE) {
    kind = roundResult(precision, FX_EMIN, FX_EMAX, FX_WRAP)
    fxRoundUp = sfRoundUp
  }
  const sign = rS << 15
  if (kind == FINITE) return fxSet(rM, sign | (rM >> 63 ? u32(rE + 16383) & 0x7fff : 0))
  if (kind == ZERO) return fxSet(0, sign)
  if (kind == INF) return fxSet(0x8000000000000000, sign | 0x7fff)
  fxIndefinite()
}

/** Invalid operation: raises IE, result is the indefinite. */
export function fxInvalid(): void {
  sfRaise(IE)
  fxRoundUp = 0
  fxIndefinite()
}

/** NaN result of a one-operand instruction whose operand A is NaN or unsupported. */
export function fxPropagateOne(): void {
  fxRoundUp = 0
  if (aC == UNSUPPORTED) return fxInvalid()
  if (aC == SNAN) sfRaise(IE)
  fxSet(aM | 0x4000000000000000, (aS << 15) | 0x7fff)
}

/** NaN result of two operands, at least one being NaN or unsupported (SDM table 4-7). */
export function fxPropagate(): void {
  fxRoundUp = 0
  if (aC == UNSUPPORTED || bC == UNSUPPORTED) return fxInvalid()
  if (aC == SNAN || bC == SNAN) sfRaise(IE)
  let first = aC >= QNAN
  if (first && bC >= QNAN) first = aC != bC ? aC == QNAN : aM != bM ? aM > bM : bS != 0
  if (first) fxSet(aM | 0x4000000000000000, (aS << 15) | 0x7fff)
  else fxSet(bM | 0x4000000000000000, (bS << 15) | 0x7fff)
}

// ---- arithmetic ---------------------------------------------------------------------------------------------------------------

/** a op b; `reverse` computes b op a. `denormal`: b was a denormal in its memory format. */
export function fxBinary(op: i32, aSig: u64, aSe: u32, bSig: u64, bSe: u32, reverse: bool, denormal: i32): void {
  load80Pair(aSig, aSe, bSig, bSe)
  if (aC >= QNAN || bC >= QNAN) return fxPropagate()
  if (reverse) swapAB()
  // Division by zero has precedence over a denormal operand.
  if ((aD | bD | denormal) && (op != FX_DIV || bC != ZERO)) sfRaise(DE)
  let kind: i32
  if (op == FX_MUL) kind = coreMultiply()
  else if (op == FX_DIV) kind = coreDivide()
  else kind = coreAdd(u32(op))
  pack80(kind, fxPrecision)
}

export function fxSqrt(sig: u64, se: u32): void {
  load80(sig, se)
  if (aC >= QNAN) return fxPropagateOne()
  if (aD && !aS) sfRaise(DE)
  pack80(coreSqrt(), fxPrecision)
}

/** FRNDINT. */
export function fxRound(sig: u64, se: u32): void {
  load80(sig, se)
  if (aC >= QNAN) return fxPropagateOne()
  fxRoundUp = 0
  fxSet(sig, se)
  if (aC == INF || aC == ZERO || aE >= 63) return
  if (aD) sfRaise(DE)
  roundToInteger(sfRound)
  if (integerInexact) sfRaise(PE)
  const up = integerRoundUp
  const kind = resultFromInteger(i64(integerMagnitude))
  setResult(aS, rE, rM, 0)
  pack80(kind, 64)
  fxRoundUp = up
}

/** FSCALE: a * 2^trunc(b). */
export function fxScale(aSig: u64, aSe: u32, bSig: u64, bSe: u32): void {
  load80Pair(aSig, aSe, bSig, bSe)
  if (aC >= QNAN || bC >= QNAN) return fxPropagate()
  fxRoundUp = 0
  if (bC == INF) {
    if (bS ? aC == INF : aC == ZERO) return fxInvalid()
    if (aD) sfRaise(DE)
    setResult(aS, 0, 0, 0)
    return pack80(bS ? ZERO : INF, 64)
  }
  if (aD | bD) sfRaise(DE)
  if (aC != FINITE || bC == ZERO) {
    fxSet(aSig, aSe)
    if (aC != FINITE) return
  }
  let n = 0
  if (bC == FINITE && bE >= 0) {
    n = bE > 16 ? 0x20000 : i32(bM >> (63 - bE))
    if (bS) n = -n
  }
  setResult(aS, aE + n, aM, 0)
  // Unmasked, but out of reach even of the moved exponent: zero or infinity, reported as inexact.
  if (!(sfMask & UE) && rE < FX_EMIN - FX_WRAP) {
    sfRaise(UE | PE)
    return pack80(ZERO, 64)
  }
  if (!(sfMask & OE) && rE > FX_EMAX + FX_WRAP) {
    sfRaise(OE | PE)
    pack80(INF, 64)
    fxRoundUp = 1
    return
  }
  pack80(FINITE, 64)
}

/** FXTRACT: leaves the significand; the exponent as an 80-bit number is in fxExponentSig/fxExponentSe. */
export let fxExponentSig: u64 = 0
export let fxExponentSe: u32 = 0
export function fxExtract(sig: u64, se: u32): void {
  load80(sig, se)
  fxRoundUp = 0
  if (aC >= QNAN) {
    fxPropagateOne()
    fxExponentSig = fxSig
    fxExponentSe = fxSe
    return
  }
  if (aC == INF || aC == ZERO) {
    if (aC == ZERO) sfRaise(ZE)
    fxExponentSig = 0x8000000000000000
    fxExponentSe = aC == ZERO ? 0xffff : 0x7fff
    return fxSet(sig, se)
  }
  if (aD) sfRaise(DE)
  const significand = aM
  const sign = aS
  pack80(resultFromInteger(aE), 64)
  fxExponentSig = fxSig
  fxExponentSe = fxSe
  fxSet(significand, (sign << 15) | 0x3fff)
}

/** FPREM (`nearest` false) and FPREM1 (true). Exponents 64 or more apart give a partial remainder, reducing by 32 + difference mod 32 bits. */
export function fxRemainder(aSig: u64, aSe: u32, bSig: u64, bSe: u32, nearest: bool): void {
  load80Pair(aSig, aSe, bSig, bSe)
  fxQuotient = 0
  fxPartial = 0
  fxReduced = 0
  if (aC >= QNAN || bC >= QNAN) return fxPropagate()
  fxRoundUp = 0
  if (aC == INF || bC == ZERO) return fxInvalid()
  fxReduced = 1
  if (aD | bD) sfRaise(DE)
  if (aC == ZERO) return fxSet(aSig, aSe)
  const difference = aE - bE
  if (bC == INF || difference < -1 || (difference < 0 && !nearest)) {
    setResult(aS, aE, aM, 0)
    return pack80(FINITE, 64)
  }
  let m = aM
  let quotient: u64 = 0
  let sign = aS
  let exponent = bE
  if (difference < 0) {
    // |a| < |b|, but it may be more than half of it: then a - b, both on a's scale (b needs one more bit, so compare first).
    if (aM <= bM) {
      setResult(aS, aE, aM, 0)
      return pack80(FINITE, 64)
    }
    m = bM - (aM - bM)
    sign ^= 1
    exponent = aE
    quotient = 1
  } else {
    let bits = difference
    if (difference >= 64) {
      fxPartial = 1
      bits = 32 + (difference & 31)
      exponent = aE - bits
    }
    if (m >= bM) {
      m -= bM
      quotient = 1
    }
    if (bits > 0 && m != 0) {
      quotient = (quotient << bits) + divide128(m >> (64 - bits), m << bits, bM)
      m = divRemainder
    } else quotient <<= bits
    if (nearest && !fxPartial) {
      const rest = bM - m
      if (m > rest || (m == rest && quotient & 1)) {
        m = rest
        sign ^= 1
        quotient++
      }
    }
  }
  fxQuotient = u32(quotient & 7)
  if (m == 0) return fxSet(0, aS << 15) // a zero remainder has the dividend's sign
  const n = clz(m)
  setResult(sign, exponent - i32(n), m << n, 0)
  pack80(FINITE, 64)
}

/** -1 less, 0 equal, 1 greater, 2 unordered; `quiet`: only signalling NaNs and unsupported formats are invalid (FUCOM). */
export function fxCompare(aSig: u64, aSe: u32, bSig: u64, bSe: u32, denormal: i32, quiet: bool): i32 {
  load80Pair(aSig, aSe, bSig, bSe)
  if (aC >= QNAN || bC >= QNAN) {
    if (!quiet || aC > QNAN || bC > QNAN) sfRaise(IE)
    return 2
  }
  if (aD | bD | denormal) sfRaise(DE)
  return coreCompare()
}

// ---- conversions --------------------------------------------------------------------------------------------------------------

/** Exact; NaNs stay signalling (the caller raises for loads), fxDenormal tells of a denormal. */
export function fxFromF32(v: u32): void {
  const sign = (v >> 31) << 15
  const e = (v >> 23) & 0xff
  const f = u64(v & 0x7fffff)
  fxDenormal = 0
  if (e == 0) {
    if (f == 0) return fxSet(0, sign)
    const n = clz(f)
    fxDenormal = 1
    return fxSet(f << n, sign | u32(16383 - 86 - i32(n)))
  }
  fxSet(0x8000000000000000 | (f << 40), sign | (e == 255 ? 0x7fff : e + 16256))
}

/** Exact; NaNs stay signalling (the caller raises for loads), fxDenormal tells of a denormal. */
export function fxFromF64(v: u64): void {
  const sign = u32(v >> 63) << 15
  const e = u32(v >> 52) & 0x7ff
  const f = v & 0xfffffffffffff
  fxDenormal = 0
  if (e == 0) {
    if (f == 0) return fxSet(0, sign)
    const n = clz(f)
    fxDenormal = 1
    return fxSet(f << n, sign | u32(16383 - 1011 - i32(n)))
  }
  fxSet(0x8000000000000000 | (f << 11), sign | (e == 0x7ff ? 0x7fff : e + 15360))
}

export function fxFromInteger(v: i64): void {
  pack80(resultFromInteger(v), 64)
}

export function fxToF32(sig: u64, se: u32): u32 {
  load80(sig, se)
  fxRoundUp = 0
  if (aC >= QNAN) {
    fxPropagateOne()
    return ((fxSe >> 15) << 31) | 0x7f800000 | (u32(fxSig >> 40) & 0x7fffff)
  }
  setResult(aS, aE, aM, 0)
  const v = pack32(aC)
  if (aC == FINITE) fxRoundUp = sfRoundUp
  return v
}

export function fxToF64(sig: u64, se: u32): u64 {
  load80(sig, se)
  fxRoundUp = 0
  if (aC >= QNAN) {
    fxPropagateOne()
    return (u64(fxSe >> 15) << 63) | 0x7ff0000000000000 | ((fxSig >> 11) & 0xfffffffffffff)
  }
  setResult(aS, aE, aM, 0)
  const v = pack64(aC)
  if (aC == FINITE) fxRoundUp = sfRoundUp
  return v
}

/** To a signed integer of `bits` bits with rounding `mode`; IE and the most negative integer when it does not fit. */
export function fxToInteger(sig: u64, se: u32, bits: i32, mode: i32): i64 {
  load80(sig, se)
  fxRoundUp = 0
  if (aC >= INF || !roundToInteger(mode) || integerMagnitude > (u64(1) << (bits - 1)) - 1 + u64(aS)) {
    sfRaise(IE)
    return i64(-1) << (bits - 1)
  }
  if (integerInexact) sfRaise(PE)
  fxRoundUp = integerRoundUp
  return aS ? -i64(integerMagnitude) : i64(integerMagnitude)
}

/** 18 packed digits at `p` to 80 bits; digits above 9 count as they are. */
export function fxFromBcd(p: usize): void {
  let v: u64 = 0
  for (let i = 8; i >= 0; i--) {
    const byte = load<u8>(p + i)
    v = v * 100 + u64(byte >> 4) * 10 + u64(byte & 15)
  }
  const kind = resultFromInteger(i64(v))
  setResult(u32(load<u8>(p + 9) >> 7), rE, rM, 0)
  pack80(kind, 64)
}

/** Writes 10 bytes of packed decimal at `p`; IE and the packed indefinite when 18 digits do not hold it. */
export function fxToBcd(sig: u64, se: u32, p: usize): void {
  load80(sig, se)
  fxRoundUp = 0
  if (aC >= INF || !roundToInteger(sfRound) || integerMagnitude >= 1000000000000000000) {
    sfRaise(IE)
    store<u64>(p, 0xc000000000000000)
    store<u16>(p + 8, 0xffff)
    return
  }
  if (integerInexact) sfRaise(PE)
  fxRoundUp = integerRoundUp
  let v = integerMagnitude
  for (let i = 0; i < 9; i++) {
    const pair = u32(v % 100)
    v /= 100
    store<u8>(p + i, (pair / 10) << 4 | pair % 10)
  }
  store<u8>(p + 9, aS << 7)
}

/** Classes as FXAM reports them, C3 C2 C0 in their FSW positions; the caller adds C1 and knows about empty registers. */
export function fxExamine(sig: u64, se: u32): u32 {
  load80(sig, se)
  if (aC == UNSUPPORTED) return 0
  if (aC >= QNAN) return 0x100
  if (aC == INF) return 0x500
  if (aC == ZERO) return 0x4000
  return aD ? 0x4400 : 0x400
}
