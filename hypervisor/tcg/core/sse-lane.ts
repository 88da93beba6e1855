/**
 * One element of SSE floating point arithmetic, exact in result and MXCSR flags (Intel SDM volume 1 chapter 11 and appendix E), and the frame
 * around an instruction: MXCSR in, flags and unmasked exceptions out. WebAssembly's own operations serve wherever they provably give the same
 * bits and flags; everything else goes through softfloat.ts.
 */
import { MXCSR, TMP } from './layout'
import {
  f32Add, f32Compare, f32Div, f32Mul, f32Sqrt, f32Sub, f64Add, f64Compare, f64Div, f64Mul, f64Sqrt, f64Sub,
  sfFlags, sfSetDenormals, sfSetFlags, sfSetMask, sfSetRound,
} from './softfloat'

/** Packed results wait here until it is known that nothing faults: the last bytes of the operand buffer, which no operand reaches. */
export const RESULT: usize = TMP + 960

// Kinds in the order of the operation numbers from SSE_FP_FIRST, four formats (PS PD SS SD) each.
export const ADD = 0, SUB = 1, MUL = 2, DIV = 3, MIN = 4, MAX = 5, SQRT = 6, CMP = 7

export const DE = 2, PE = 0x20, DAZ = 0x40
/** MXCSR bits that must read QUICK for native arithmetic: all masked, to nearest, no DAZ and FTZ; with PE sticky, inexactness is free too. */
const QUICK_MASK = 0xffc0, QUICK = 0x1f80, FREE_MASK = 0xffe0, FREE = 0x1fa0

export const LEAST32: f32 = 1.1754943508222875e-38
export const LEAST64: f64 = 2.2250738585072014e-308

/** MXCSR of the instruction at hand, and the flags of its finished stages. */
export let mode: u32 = 0
let staged: i32 = 0

@inline export function isFree(cpu: usize): bool { return (load<u32>(cpu, MXCSR) & FREE_MASK) == FREE }

// "Ordinary" operands are zero, normal or infinite; "settled" results are normal and away from the overflow and underflow thresholds.
@inline export function ordinary32(v: f32): bool { return abs(v) >= LEAST32 || v == 0 }
@inline export function ordinary64(v: f64): bool { return abs(v) >= LEAST64 || v == 0 }
@inline export function settled32(v: f32): bool { return abs(v) > LEAST32 && abs(v) < Infinity }
@inline export function settled64(v: f64): bool { return abs(v) > LEAST64 && abs(v) < Infinity }

/** Starts an instruction that may leave the native path. */
export function begin(cpu: usize): void {
  const mxcsr = load<u32>(cpu, MXCSR)
  mode = mxcsr
  staged = 0
  sfSetFlags(0)
  sfSetRound((mxcsr >>> 13) & 3)
  sfSetMask((mxcsr >>> 7) & 0x3f)
  // FTZ works only while underflow is masked.
  sfSetDenormals((mxcsr >>> 6) & 1, (mxcsr >>> 15) & (mxcsr >>> 11) & 1)
}

/** Merges the flags into MXCSR; returns 19 when one is unmasked. The flags known before rounding (IE DE ZE) then hide the later ones. */
export function finish(cpu: usize): i32 {
  const unmasked = sfFlags & ~(mode >>> 7) & 0x3f
  store<u32>(cpu, mode | staged | (unmasked & 7 ? sfFlags & 7 : sfFlags), MXCSR)
  return unmasked ? 19 : 0
}

/** Ends a packed instruction: RESULT becomes the destination unless an unmasked exception is due. */
export function commit(cpu: usize, d: usize): i32 {
  const vector = finish(cpu)
  if (!vector) v128.store(d, v128.load(cpu, RESULT))
  return vector
}

/** Ends one stage of an instruction that rounds several times; true when it raised an unmasked exception. */
export function stageFaults(): bool {
  if (sfFlags & ~(mode >>> 7) & 0x3f) return true
  staged |= sfFlags
  sfSetFlags(0)
  return false
}

/** Native rounding to an integral value in x86's RC encoding. */
@inline
export function integral(v: f64, rounding: i32): f64 {
  return rounding == 0 ? nearest<f64>(v) : rounding == 1 ? floor<f64>(v) : rounding == 2 ? ceil<f64>(v) : trunc<f64>(v)
}

// ---- one element ---------------------------------------------------------------------------------------------------------------

/** a * b needs no rounding: their significant bits fit together (sufficient, not necessary). */
@inline
function exactProduct(a: f64, b: f64): bool {
  return ctz(reinterpret<u64>(a) | (1 << 52)) + ctz(reinterpret<u64>(b) | (1 << 52)) > 52
}

/** Native result, or NaN when it is not certain to be right in bits and flags. `free`: an inexact result needs no flag. */
function quick64(kind: i32, a: f64, b: f64, free: bool): f64 {
  switch (kind) {
    case SUB: b = -b // fall through
    case ADD: {
      const r = a + b
      if (r != 0 && !settled64(r)) return NaN
      const part = r - a
      return free || (a - (r - part)) + (b - part) == 0 ? r : NaN
    }
    case MUL: {
      const r = a * b
      if (r == 0) return a == 0 || b == 0 ? r : NaN
      return settled64(r) && (free || exactProduct(a, b)) ? r : NaN
    }
    case DIV: {
      const r = a / b
      if (r == 0) return a == 0 ? r : NaN
      return settled64(r) && (free || (exactProduct(r, b) && r * b == a)) ? r : NaN
    }
    case SQRT: {
      const r = sqrt(b)
      return r == 0 || (settled64(r) && (free || (exactProduct(r, r) && r * r == b))) ? r : NaN
    }
    case MIN: return a < b ? a : b
    case MAX: return a > b ? a : b
  }
  return NaN
}

/** As quick64; products of two 24-bit significands are exact in f64. */
function quick32(kind: i32, a: f32, b: f32, free: bool): f32 {
  switch (kind) {
    case SUB: b = -b // fall through
    case ADD: {
      const r = a + b
      if (r != 0 && !settled32(r)) return NaN
      const part = r - a
      return free || (a - (r - part)) + (b - part) == 0 ? r : NaN
    }
    case MUL: {
      const r = a * b
      if (r == 0) return a == 0 || b == 0 ? r : NaN
      return settled32(r) && (free || <f64>a * <f64>b == <f64>r) ? r : NaN
    }
    case DIV: {
      const r = a / b
      if (r == 0) return a == 0 ? r : NaN
      return settled32(r) && (free || <f64>r * <f64>b == <f64>a) ? r : NaN
    }
    case SQRT: {
      const r = sqrt(b)
      return r == 0 || (settled32(r) && (free || <f64>r * <f64>r == <f64>b)) ? r : NaN
    }
    case MIN: return a < b ? a : b
    case MAX: return a > b ? a : b
  }
  return NaN
}

/** Truth of CMP predicate `imm` for an order as f32Compare returns it. */
@inline
function predicate(order: i32, imm: i32): bool {
  let truth: bool
  switch (imm & 3) {
    case 0: truth = order == 0; break
    case 1: truth = order == -1; break
    case 2: truth = order <= 0; break
    default: truth = order == 2
  }
  return truth != <bool>((imm >>> 2) & 1)
}
/** LT, LE and their negations raise IE for a quiet NaN, the others do not. */
@inline function signals(imm: i32): bool { return (imm & 3) == 1 || (imm & 3) == 2 }

@inline export function order64(a: f64, b: f64): i32 { return a < b ? -1 : <i32>(a > b) }

// Division by zero goes before the denormal exception (SDM volume 1 section 4.9.2).
function divide32(a: u32, b: u32): u32 {
  const before = sfFlags, r = f32Div(a, b)
  if (b << 1 == 0) sfSetFlags((sfFlags & ~DE) | (before & DE))
  return r
}
function divide64(a: u64, b: u64): u64 {
  const before = sfFlags, r = f64Div(a, b)
  if (b << 1 == 0) sfSetFlags((sfFlags & ~DE) | (before & DE))
  return r
}

function soft32(kind: i32, a: u32, b: u32, imm: i32): u32 {
  switch (kind) {
    case ADD: return f32Add(a, b)
    case SUB: return f32Sub(a, b)
    case MUL: return f32Mul(a, b)
    case DIV: return divide32(a, b)
    case SQRT: return f32Sqrt(b)
    case CMP: return predicate(f32Compare(a, b, signals(imm)), imm) ? -1 : 0
  }
  // MIN and MAX return the second operand as it is, unless the first one wins.
  const order = f32Compare(a, b, true)
  const r = order == (kind == MIN ? -1 : 1) ? a : b
  return mode & DAZ && (r & 0x7f800000) == 0 ? r & 0x80000000 : r
}

function soft64(kind: i32, a: u64, b: u64, imm: i32): u64 {
  switch (kind) {
    case ADD: return f64Add(a, b)
    case SUB: return f64Sub(a, b)
    case MUL: return f64Mul(a, b)
    case DIV: return divide64(a, b)
    case SQRT: return f64Sqrt(b)
    case CMP: return predicate(f64Compare(a, b, signals(imm)), imm) ? -1 : 0
  }
  const order = f64Compare(a, b, true)
  const r = order == (kind == MIN ? -1 : 1) ? a : b
  return mode & DAZ && (r & 0x7ff0000000000000) == 0 ? r & 0x8000000000000000 : r
}

export function lane32(kind: i32, a: u32, b: u32, imm: i32): u32 {
  const x = reinterpret<f32>(a), y = reinterpret<f32>(b)
  if (ordinary32(y) && (kind == SQRT || ordinary32(x))) {
    if (kind == CMP) return predicate(order64(x, y), imm) ? -1 : 0
    if ((mode & QUICK_MASK) == QUICK || kind == MIN || kind == MAX) {
      const r = quick32(kind, x, y, (mode & PE) != 0)
      if (r == r) return reinterpret<u32>(r)
    }
  }
  return soft32(kind, a, b, imm)
}

export function lane64(kind: i32, a: u64, b: u64, imm: i32): u64 {
  const x = reinterpret<f64>(a), y = reinterpret<f64>(b)
  if (ordinary64(y) && (kind == SQRT || ordinary64(x))) {
    if (kind == CMP) return predicate(order64(x, y), imm) ? -1 : 0
    if ((mode & QUICK_MASK) == QUICK || kind == MIN || kind == MAX) {
      const r = quick64(kind, x, y, (mode & PE) != 0)
      if (r == r) return reinterpret<u64>(r)
    }
  }
  return soft64(kind, a, b, imm)
}
