/**
 * binary32 and binary64 arithmetic with SSE semantics: NaN operand rules, DAZ/FTZ, exception flags (SDM volume 1 chapter 11.5, appendix E).
 * Settings and flags are the globals of softfloat-core.ts, re-exported here. Minimum/maximum, which never round, belong to the SSE code.
 */
import {
  IE, DE, PE, sfRound, sfFlags, sfDaz, ZERO, FINITE, INF, QNAN, SNAN, aC, aS, aE, aM, aD, bC, bD, rS, rE, rM, sfRaise, setResult, setA, copyAToB,
  coreAdd, coreMultiply, coreDivide, coreSqrt, roundResult, integerMagnitude, integerInexact, roundToInteger, coreCompare,
} from './softfloat-core'
export {
  sfDaz, sfFlags, sfFtz, sfMask, sfRaise, sfRound, sfRoundUp, sfSetDenormals, sfSetFlags, sfSetMask, sfSetRound, sfUnmasked,
} from './softfloat-core'

const NAN32: u32 = 0xffc00000
const QUIET32: u32 = 0x00400000
const NAN64: u64 = 0xfff8000000000000
const QUIET64: u64 = 0x0008000000000000
const OP_ADD = 0, OP_SUB = 1, OP_MUL = 2, OP_DIV = 3

// ---- unpack, pack -------------------------------------------------------------------------------------------------------------

/** Unpacks into operand A. */
function load32(v: u32): void {
  const sign = v >> 31
  const e = i32((v >> 23) & 0xff)
  const f = v & 0x7fffff
  if (e == 0) {
    if (f == 0 || sfDaz) return setA(ZERO, sign, 0, 0, 0)
    const n = i32(clz(f))
    return setA(FINITE, sign, -118 - n, u64(f) << (n + 32), 1)
  }
  if (e == 255) return setA(f == 0 ? INF : f & QUIET32 ? QNAN : SNAN, sign, 0, u64(f) << 40, 0)
  setA(FINITE, sign, e - 127, u64(f | 0x800000) << 40, 0)
}

/** Unpacks into operand A. */
function load64(v: u64): void {
  const sign = u32(v >> 63)
  const e = i32((v >> 52) & 0x7ff)
  const f = v & 0xfffffffffffff
  if (e == 0) {
    if (f == 0 || sfDaz) return setA(ZERO, sign, 0, 0, 0)
    const n = i32(clz(f))
    return setA(FINITE, sign, -1011 - n, f << n, 1)
  }
  if (e == 0x7ff) return setA(f == 0 ? INF : f & QUIET64 ? QNAN : SNAN, sign, 0, f << 11, 0)
  setA(FINITE, sign, e - 1023, (f | 0x10000000000000) << 11, 0)
}

// With OE or UE unmasked the packed value is for nobody, but PE then tells about rounding with an unbounded exponent: hence the wraps.

/** Rounds and packs R of class `kind`. */
export function pack32(kind: i32): u32 {
  if (kind == FINITE) kind = roundResult(24, -126, 127, 192)
  const sign = rS << 31
  if (kind == FINITE) return sign | (rM >> 63 ? u32(rE + 127) << 23 : 0) | u32((rM >> 40) & 0x7fffff)
  if (kind == ZERO) return sign
  return kind == INF ? sign | 0x7f800000 : NAN32
}

/** Rounds and packs R of class `kind`. */
export function pack64(kind: i32): u64 {
  if (kind == FINITE) kind = roundResult(53, -1022, 1023, 1536)
  const sign = u64(rS) << 63
  if (kind == FINITE) return sign | (rM >> 63 ? u64(rE + 1023) << 52 : 0) | ((rM >> 11) & 0xfffffffffffff)
  if (kind == ZERO) return sign
  return kind == INF ? sign | 0x7ff0000000000000 : NAN64
}

// ---- arithmetic ---------------------------------------------------------------------------------------------------------------

function compute(op: i32): i32 {
  // Division by zero has precedence over a denormal operand.
  if ((aD | bD) && (op != OP_DIV || bC != ZERO)) sfRaise(DE)
  if (op == OP_ADD) return coreAdd(0)
  if (op == OP_SUB) return coreAdd(1)
  return op == OP_MUL ? coreMultiply() : coreDivide()
}

function binary32(op: i32, a: u32, b: u32): u32 {
  load32(b)
  copyAToB()
  load32(a)
  if (aC >= QNAN || bC >= QNAN) {
    if (aC == SNAN || bC == SNAN) sfRaise(IE)
    return (aC >= QNAN ? a : b) | QUIET32
  }
  return pack32(compute(op))
}

function binary64(op: i32, a: u64, b: u64): u64 {
  load64(b)
  copyAToB()
  load64(a)
  if (aC >= QNAN || bC >= QNAN) {
    if (aC == SNAN || bC == SNAN) sfRaise(IE)
    return (aC >= QNAN ? a : b) | QUIET64
  }
  return pack64(compute(op))
}

// The processor's own operation gives the right bits when rounding is to nearest, the inexact flag is already up (so it need not be known), the
// operands are not denormal and the result is an ordinary number away from the underflow threshold. Everything else takes the long way.

// @ts-ignore: decorator
@inline
function shortWay(): bool { return sfRound == 0 && (sfFlags & PE) != 0 }
// @ts-ignore: decorator
@inline
function ordinary32(v: u32): bool { return ((v >> 23) & 0xff) != 0 || (v << 1) == 0 }
// @ts-ignore: decorator
@inline
function ordinary64(v: u64): bool { return ((v >> 52) & 0x7ff) != 0 || (v << 1) == 0 }
// @ts-ignore: decorator
@inline
function settled32(v: u32): bool { return ((v >> 23) & 0xff) - 2 < 253 }
// @ts-ignore: decorator
@inline
function settled64(v: u64): bool { return ((v >> 52) & 0x7ff) - 2 < 2045 }

export function f32Add(a: u32, b: u32): u32 {
  if (shortWay()) {
    const r = reinterpret<u32>(reinterpret<f32>(a) + reinterpret<f32>(b))
    if (settled32(r) && ordinary32(a) && ordinary32(b)) return r
  }
  return binary32(OP_ADD, a, b)
}

export function f32Sub(a: u32, b: u32): u32 {
  if (shortWay()) {
    const r = reinterpret<u32>(reinterpret<f32>(a) - reinterpret<f32>(b))
    if (settled32(r) && ordinary32(a) && ordinary32(b)) return r
  }
  return binary32(OP_SUB, a, b)
}

export function f32Mul(a: u32, b: u32): u32 {
  if (shortWay()) {
    const r = reinterpret<u32>(reinterpret<f32>(a) * reinterpret<f32>(b))
    if (settled32(r) && ordinary32(a) && ordinary32(b)) return r
  }
  return binary32(OP_MUL, a, b)
}

export function f32Div(a: u32, b: u32): u32 {
  if (shortWay()) {
    const r = reinterpret<u32>(reinterpret<f32>(a) / reinterpret<f32>(b))
    if (settled32(r) && ordinary32(a) && ordinary32(b)) return r
  }
  return binary32(OP_DIV, a, b)
}

export function f64Add(a: u64, b: u64): u64 {
  if (shortWay()) {
    const r = reinterpret<u64>(reinterpret<f64>(a) + reinterpret<f64>(b))
    if (settled64(r) && ordinary64(a) && ordinary64(b)) return r
  }
  return binary64(OP_ADD, a, b)
}

export function f64Sub(a: u64, b: u64): u64 {
  if (shortWay()) {
    const r = reinterpret<u64>(reinterpret<f64>(a) - reinterpret<f64>(b))
    if (settled64(r) && ordinary64(a) && ordinary64(b)) return r
  }
  return binary64(OP_SUB, a, b)
}

export function f64Mul(a: u64, b: u64): u64 {
  if (shortWay()) {
    const r = reinterpret<u64>(reinterpret<f64>(a) * reinterpret<f64>(b))
    if (settled64(r) && ordinary64(a) && ordinary64(b)) return r
  }
  return binary64(OP_MUL, a, b)
}

export function f64Div(a: u64, b: u64): u64 {
  if (shortWay()) {
    const r = reinterpret<u64>(reinterpret<f64>(a) / reinterpret<f64>(b))
    if (settled64(r) && ordinary64(a) && ordinary64(b)) return r
  }
  return binary64(OP_DIV, a, b)
}

export function f32Sqrt(a: u32): u32 {
  load32(a)
  if (aC >= QNAN) {
    if (aC == SNAN) sfRaise(IE)
    return a | QUIET32
  }
  if (aD && !aS) sfRaise(DE)
  return pack32(coreSqrt())
}

export function f64Sqrt(a: u64): u64 {
  if (shortWay() && settled64(a) && !(a >> 63)) return reinterpret<u64>(Math.sqrt(reinterpret<f64>(a)))
  load64(a)
  if (aC >= QNAN) {
    if (aC == SNAN) sfRaise(IE)
    return a | QUIET64
  }
  if (aD && !aS) sfRaise(DE)
  return pack64(coreSqrt())
}

// ---- conversions --------------------------------------------------------------------------------------------------------------

export function f32ToF64(a: u32): u64 {
  load32(a)
  if (aC >= QNAN) {
    if (aC == SNAN) sfRaise(IE)
    return (u64(a >> 31) << 63) | 0x7ff0000000000000 | QUIET64 | (u64(a & 0x7fffff) << 29)
  }
  if (aD) sfRaise(DE)
  setResult(aS, aE, aM, 0)
  return pack64(aC)
}

export function f64ToF32(a: u64): u32 {
  load64(a)
  if (aC >= QNAN) {
    if (aC == SNAN) sfRaise(IE)
    return (u32(a >> 63) << 31) | 0x7f800000 | QUIET32 | (u32(a >> 29) & 0x7fffff)
  }
  if (aD) sfRaise(DE)
  setResult(aS, aE, aM, 0)
  return pack32(aC)
}

/** Operand A to a signed integer of `bits` bits; out of range or NaN: IE and the most negative integer. No DE (SDM 4.9.1.2). */
function toInteger(bits: i32, truncate: bool): i64 {
  const indefinite = i64(-1) << (bits - 1)
  if (aC >= INF || !roundToInteger(truncate ? 3 : sfRound) || integerMagnitude > (u64(1) << (bits - 1)) - 1 + u64(aS)) {
    sfRaise(IE)
    return indefinite
  }
  if (integerInexact) sfRaise(PE)
  return aS ? -i64(integerMagnitude) : i64(integerMagnitude)
}

export function f32ToI32(a: u32, truncate: bool): i32 {
  load32(a)
  return i32(toInteger(32, truncate))
}

export function f32ToI64(a: u32, truncate: bool): i64 {
  load32(a)
  return toInteger(64, truncate)
}

export function f64ToI32(a: u64, truncate: bool): i32 {
  load64(a)
  return i32(toInteger(32, truncate))
}

export function f64ToI64(a: u64, truncate: bool): i64 {
  load64(a)
  return toInteger(64, truncate)
}

/** R = v; returns its class. */
export function resultFromInteger(v: i64): i32 {
  if (v == 0) {
    setResult(0, 0, 0, 0)
    return ZERO
  }
  const magnitude = v < 0 ? 0 - u64(v) : u64(v)
  const n = clz(magnitude)
  setResult(u32(v < 0), 63 - i32(n), magnitude << n, 0)
  return FINITE
}

export function i32ToF32(v: i32): u32 { return pack32(resultFromInteger(v)) }
export function i64ToF32(v: i64): u32 { return pack32(resultFromInteger(v)) }
export function i64ToF64(v: i64): u64 { return pack64(resultFromInteger(v)) }

/** Round to an integral value (ROUNDPS): `mode` 0..3 as sfRound. */
export function f32Round(a: u32, mode: i32, suppressInexact: bool): u32 {
  load32(a)
  if (aC >= QNAN) {
    if (aC == SNAN) sfRaise(IE)
    return a | QUIET32
  }
  if (aC == INF || aE >= 23) return a
  roundToInteger(mode)
  if (integerInexact && !suppressInexact) sfRaise(PE)
  const kind = resultFromInteger(i64(integerMagnitude))
  setResult(aS, rE, rM, 0)
  return pack32(kind)
}

/** Round to an integral value (ROUNDPD): `mode` 0..3 as sfRound. */
export function f64Round(a: u64, mode: i32, suppressInexact: bool): u64 {
  load64(a)
  if (aC >= QNAN) {
    if (aC == SNAN) sfRaise(IE)
    return a | QUIET64
  }
  if (aC == INF || aE >= 52) return a
  roundToInteger(mode)
  if (integerInexact && !suppressInexact) sfRaise(PE)
  const kind = resultFromInteger(i64(integerMagnitude))
  setResult(aS, rE, rM, 0)
  return pack64(kind)
}

// ---- comparison ---------------------------------------------------------------------------------------------------------------

function compareLoaded(signalling: bool): i32 {
  if (aC >= QNAN || bC >= QNAN) {
    if (signalling || aC == SNAN || bC == SNAN) sfRaise(IE)
    return 2
  }
  if (aD | bD) sfRaise(DE)
  return coreCompare()
}

/** -1 less, 0 equal, 1 greater, 2 unordered; `signalling`: a quiet NaN raises IE too. */
export function f32Compare(a: u32, b: u32, signalling: bool): i32 {
  load32(b)
  copyAToB()
  load32(a)
  return compareLoaded(signalling)
}

/** -1 less, 0 equal, 1 greater, 2 unordered; `signalling`: a quiet NaN raises IE too. */
export function f64Compare(a: u64, b: u64, signalling: bool): i32 {
  load64(b)
  copyAToB()
  load64(a)
  return compareLoaded(signalling)
}
