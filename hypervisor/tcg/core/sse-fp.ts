/**
 * SSE floating point arithmetic, comparison and rounding with exact results and MXCSR flags (Intel SDM volume 1 chapter 11, volume 2).
 * WebAssembly's own operations serve wherever they provably give the same bits and flags; everything else goes through softfloat.ts.
 */
import { MXCSR, TMP } from './layout'
import { setFlagsArith } from './flags'
import {
  f32Add, f32Compare, f32Div, f32Mul, f32Round, f32Sqrt, f32Sub, f64Add, f64Compare, f64Div, f64Mul, f64Round, f64Sqrt, f64Sub,
  sfFlags, sfRaise, sfSetDenormals, sfSetFlags, sfSetMask, sfSetRound,
} from './softfloat'
import {
  SSE_FP_FIRST, SSE_ADDPS, SSE_ADDPD, SSE_ADDSS, SSE_ADDSD, SSE_SUBPS, SSE_SUBPD, SSE_SUBSS, SSE_SUBSD, SSE_MULPS, SSE_MULPD, SSE_MULSS,
  SSE_MULSD, SSE_DIVPS, SSE_DIVPD, SSE_DIVSS, SSE_DIVSD, SSE_MINPS, SSE_MINPD, SSE_MAXPS, SSE_MAXPD, SSE_SQRTPS, SSE_SQRTPD, SSE_SQRTSD,
  SSE_CMPPS, SSE_CMPPD, SSE_CMPSD, SSE_RCPPS, SSE_RCPSS, SSE_RSQRTPS, SSE_RSQRTSS, SSE_UCOMISS, SSE_COMISS, SSE_UCOMISD, SSE_COMISD,
  SSE_HADDPS, SSE_HADDPD, SSE_HSUBPS, SSE_HSUBPD, SSE_ADDSUBPS, SSE_ADDSUBPD, SSE_DPPS, SSE_DPPD, SSE_ROUNDPS, SSE_ROUNDPD, SSE_ROUNDSS,
  SSE_ROUNDSD,
} from './sse-ops'

/** Packed results wait here until it is known that nothing faults: the last bytes of the operand buffer, which no operand reaches. */
export const RESULT: usize = TMP + 960

// Kinds in the order of the operation numbers from SSE_FP_FIRST, four formats (PS PD SS SD) each.
const ADD = 0, SUB = 1, MUL = 2, DIV = 3, MIN = 4, MAX = 5, SQRT = 6, CMP = 7

const DE = 2, PE = 0x20, DAZ = 0x40
/** MXCSR bits that must read QUICK for native arithmetic: all masked, to nearest, no DAZ and FTZ; with PE sticky, inexactness is free too. */
const QUICK_MASK = 0xffc0, QUICK = 0x1f80, FREE_MASK = 0xffe0, FREE = 0x1fa0

const LEAST32: f32 = 1.1754943508222875e-38
const LEAST64: f64 = 2.2250738585072014e-308
const NAN32: u32 = 0xffc00000

/** MXCSR of the instruction at hand, and the flags of its finished stages. */
let mode: u32 = 0
let staged: i32 = 0

@inline export function isFree(cpu: usize): bool { return (load<u32>(cpu, MXCSR) & FREE_MASK) == FREE }

// "Ordinary" operands are zero, normal or infinite; "settled" results are normal and away from the overflow and underflow thresholds.
@inline export function ordinary32(v: f32): bool { return abs(v) >= LEAST32 || v == 0 }
@inline export function ordinary64(v: f64): bool { return abs(v) >= LEAST64 || v == 0 }
@inline export function settled32(v: f32): bool { return abs(v) > LEAST32 && abs(v) < Infinity }
@inline export function settled64(v: f64): bool { return abs(v) > LEAST64 && abs(v) < Infinity }

@inline function ordinary4(v: v128): v128 {
  const size = f32x4.abs(v)
  return v128.or(f32x4.ge(size, f32x4.splat(LEAST32)), f32x4.eq(size, f32x4.splat(0)))
}
@inline function ordinary2(v: v128): v128 {
  const size = f64x2.abs(v)
  return v128.or(f64x2.ge(size, f64x2.splat(LEAST64)), f64x2.eq(size, f64x2.splat(0)))
}
@inline function settled4(v: v128): v128 {
  const size = f32x4.abs(v)
  return v128.and(f32x4.gt(size, f32x4.splat(LEAST32)), f32x4.lt(size, f32x4.splat(Infinity)))
}
@inline function settled2(v: v128): v128 {
  const size = f64x2.abs(v)
  return v128.and(f64x2.gt(size, f64x2.splat(LEAST64)), f64x2.lt(size, f64x2.splat(Infinity)))
}

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

/** Ends one stage of an instruction that rounds several times; true when it raised an unmasked exception. */
function stageFaults(): bool {
  if (sfFlags & ~(mode >>> 7) & 0x3f) return true
  staged |= sfFlags
  sfSetFlags(0)
  return false
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

@inline function order64(a: f64, b: f64): i32 { return a < b ? -1 : <i32>(a > b) }

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

function lane32(kind: i32, a: u32, b: u32, imm: i32): u32 {
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

function lane64(kind: i32, a: u64, b: u64, imm: i32): u64 {
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

// ---- whole registers, element by element ----------------------------------------------------------------------------------------

/** Any operation of SSE_ADDPS .. SSE_CMPSD. */
function arithmetic(cpu: usize, op: i32, d: usize, s: usize, imm: i32): i32 {
  begin(cpu)
  const kind = (op - SSE_FP_FIRST) >>> 2
  switch (op & 3) {
    case 0:
      for (let i = 0; i < 16; i += 4) store<u32>(cpu + i, lane32(kind, load<u32>(d + i), load<u32>(s + i), imm), RESULT)
      return commit(cpu, d)
    case 1:
      for (let i = 0; i < 16; i += 8) store<u64>(cpu + i, lane64(kind, load<u64>(d + i), load<u64>(s + i), imm), RESULT)
      return commit(cpu, d)
    case 2: {
      const r = lane32(kind, load<u32>(d), load<u32>(s), imm)
      const vector = finish(cpu)
      if (!vector) store<u32>(d, r)
      return vector
    }
    default: {
      const r = lane64(kind, load<u64>(d), load<u64>(s), imm)
      const vector = finish(cpu)
      if (!vector) store<u64>(d, r)
      return vector
    }
  }
}

/** Ends a packed instruction: RESULT becomes the destination unless an unmasked exception is due. */
export function commit(cpu: usize, d: usize): i32 {
  const vector = finish(cpu)
  if (!vector) v128.store(d, v128.load(cpu, RESULT))
  return vector
}

/** HADD, HSUB (neighbours within an operand) and ADDSUB (subtract in even elements). */
function horizontal32(cpu: usize, kind: i32, d: usize, s: usize): i32 {
  begin(cpu)
  for (let i = 0; i < 16; i += 4) {
    const p = i < 8 ? d + (i << 1) : s + ((i - 8) << 1)
    store<u32>(cpu + i, lane32(kind, load<u32>(p), load<u32>(p, 4), 0), RESULT)
  }
  return commit(cpu, d)
}

function horizontal64(cpu: usize, kind: i32, d: usize, s: usize): i32 {
  begin(cpu)
  store<u64>(cpu, lane64(kind, load<u64>(d), load<u64>(d, 8), 0), RESULT)
  store<u64>(cpu, lane64(kind, load<u64>(s), load<u64>(s, 8), 0), RESULT + 8)
  return commit(cpu, d)
}

function addSub32(cpu: usize, d: usize, s: usize): i32 {
  begin(cpu)
  for (let i = 0; i < 16; i += 4) store<u32>(cpu + i, lane32(i & 4 ? ADD : SUB, load<u32>(d + i), load<u32>(s + i), 0), RESULT)
  return commit(cpu, d)
}

function addSub64(cpu: usize, d: usize, s: usize): i32 {
  begin(cpu)
  store<u64>(cpu, lane64(SUB, load<u64>(d), load<u64>(s), 0), RESULT)
  store<u64>(cpu, lane64(ADD, load<u64>(d, 8), load<u64>(s, 8), 0), RESULT + 8)
  return commit(cpu, d)
}

/** Product `i` where the immediate selects it, else +0. */
@inline function term32(d: usize, s: usize, i: i32, imm: i32): u32 {
  return imm & (16 << i) ? lane32(MUL, load<u32>(d + (i << 2)), load<u32>(s + (i << 2)), 0) : 0
}

function dotProduct32(cpu: usize, d: usize, s: usize, imm: i32): i32 {
  begin(cpu)
  const t0 = term32(d, s, 0, imm), t1 = term32(d, s, 1, imm), t2 = term32(d, s, 2, imm), t3 = term32(d, s, 3, imm)
  if (stageFaults()) return finish(cpu)
  const low = lane32(ADD, t0, t1, 0), high = lane32(ADD, t2, t3, 0)
  if (stageFaults()) return finish(cpu)
  const sum = lane32(ADD, low, high, 0)
  for (let i = 0; i < 4; i++) store<u32>(cpu + (i << 2), imm & (1 << i) ? sum : 0, RESULT)
  return commit(cpu, d)
}

function dotProduct64(cpu: usize, d: usize, s: usize, imm: i32): i32 {
  begin(cpu)
  const t0 = imm & 16 ? lane64(MUL, load<u64>(d), load<u64>(s), 0) : 0
  const t1 = imm & 32 ? lane64(MUL, load<u64>(d, 8), load<u64>(s, 8), 0) : 0
  if (stageFaults()) return finish(cpu)
  const sum = lane64(ADD, t0, t1, 0)
  store<u64>(cpu, imm & 1 ? sum : 0, RESULT)
  store<u64>(cpu, imm & 2 ? sum : 0, RESULT + 8)
  return commit(cpu, d)
}

// ---- rounding to integral values, approximations, flags -------------------------------------------------------------------------

/** Native rounding to an integral value in x86's RC encoding. */
@inline
export function integral(v: f64, rounding: i32): f64 {
  return rounding == 0 ? nearest<f64>(v) : rounding == 1 ? floor<f64>(v) : rounding == 2 ? ceil<f64>(v) : trunc<f64>(v)
}

function round32(a: u32, imm: i32): u32 {
  const rounding = imm & 4 ? (mode >>> 13) & 3 : imm & 3
  const v = reinterpret<f32>(a)
  if (!ordinary32(v)) return f32Round(a, rounding, (imm & 8) != 0)
  const r = <f32>integral(v, rounding)
  if (r != v && !(imm & 8)) sfRaise(PE)
  return reinterpret<u32>(r)
}

function round64(a: u64, imm: i32): u64 {
  const rounding = imm & 4 ? (mode >>> 13) & 3 : imm & 3
  const v = reinterpret<f64>(a)
  if (!ordinary64(v)) return f64Round(a, rounding, (imm & 8) != 0)
  const r = integral(v, rounding)
  if (r != v && !(imm & 8)) sfRaise(PE)
  return reinterpret<u64>(r)
}

/** RCP: no exceptions, denormals count as zero, tiny results become zero. Accurate to f32, well within 1.5 * 2^-12. */
function reciprocal(a: u32): u32 {
  if ((a & 0x7fffffff) > 0x7f800000) return a | 0x400000
  const sign = a & 0x80000000
  if ((a & 0x7f800000) == 0) return sign | 0x7f800000
  const r = reinterpret<u32>(<f32>1 / reinterpret<f32>(a))
  return r & 0x7f800000 ? r : sign
}

/** RSQRT, same rules; negative numbers give the default NaN. */
function reciprocalRoot(a: u32): u32 {
  if ((a & 0x7fffffff) > 0x7f800000) return a | 0x400000
  if ((a & 0x7f800000) == 0) return (a & 0x80000000) | 0x7f800000
  if (a & 0x80000000) return NAN32
  return reinterpret<u32>(<f32>(1 / sqrt(<f64>reinterpret<f32>(a))))
}

/** ZF, PF, CF of (U)COMIS for an order as f32Compare returns it. */
@inline function orderFlags(order: i32): u32 { return order == 2 ? 0x45 : order == 0 ? 0x40 : order < 0 ? 1 : 0 }

function compare32(cpu: usize, d: usize, s: usize, signalling: bool): i32 {
  const a = load<f32>(d), b = load<f32>(s)
  if (ordinary32(a) && ordinary32(b)) {
    setFlagsArith(cpu, orderFlags(order64(a, b)))
    return 0
  }
  begin(cpu)
  const order = f32Compare(load<u32>(d), load<u32>(s), signalling)
  const vector = finish(cpu)
  if (!vector) setFlagsArith(cpu, orderFlags(order))
  return vector
}

function compare64(cpu: usize, d: usize, s: usize, signalling: bool): i32 {
  const a = load<f64>(d), b = load<f64>(s)
  if (ordinary64(a) && ordinary64(b)) {
    setFlagsArith(cpu, orderFlags(order64(a, b)))
    return 0
  }
  begin(cpu)
  const order = f64Compare(load<u64>(d), load<u64>(s), signalling)
  const vector = finish(cpu)
  if (!vector) setFlagsArith(cpu, orderFlags(order))
  return vector
}

// ---- dispatch -------------------------------------------------------------------------------------------------------------------

@inline function all4(a: v128, b: v128, r: v128): bool { return i32x4.all_true(v128.and(v128.and(ordinary4(a), ordinary4(b)), settled4(r))) }
@inline function all2(a: v128, b: v128, r: v128): bool { return i64x2.all_true(v128.and(v128.and(ordinary2(a), ordinary2(b)), settled2(r))) }

@inline function done4(cpu: usize, op: i32, d: usize, s: usize, a: v128, b: v128, r: v128): i32 {
  if (!isFree(cpu) || !all4(a, b, r)) return arithmetic(cpu, op, d, s, 0)
  v128.store(d, r)
  return 0
}
@inline function done2(cpu: usize, op: i32, d: usize, s: usize, a: v128, b: v128, r: v128): i32 {
  if (!isFree(cpu) || !all2(a, b, r)) return arithmetic(cpu, op, d, s, 0)
  v128.store(d, r)
  return 0
}
@inline function done32(cpu: usize, op: i32, d: usize, s: usize, a: f32, b: f32, r: f32): i32 {
  if (!isFree(cpu) || !settled32(r) || !ordinary32(a) || !ordinary32(b)) return arithmetic(cpu, op, d, s, 0)
  store<f32>(d, r)
  return 0
}
@inline function done64(cpu: usize, op: i32, d: usize, s: usize, a: f64, b: f64, r: f64): i32 {
  if (!isFree(cpu) || !settled64(r) || !ordinary64(a) || !ordinary64(b)) return arithmetic(cpu, op, d, s, 0)
  store<f64>(d, r)
  return 0
}

/** Runs operation `op` (SSE_ADDPS .. SSE_ROUNDSD); see sseOp. */
export function sseFloat(cpu: usize, op: i32, d: usize, s: usize, imm: i32): i32 {
  switch (op) {
    case SSE_ADDPS: { const a = v128.load(d), b = v128.load(s); return done4(cpu, op, d, s, a, b, f32x4.add(a, b)) }
    case SSE_SUBPS: { const a = v128.load(d), b = v128.load(s); return done4(cpu, op, d, s, a, b, f32x4.sub(a, b)) }
    case SSE_MULPS: { const a = v128.load(d), b = v128.load(s); return done4(cpu, op, d, s, a, b, f32x4.mul(a, b)) }
    case SSE_DIVPS: { const a = v128.load(d), b = v128.load(s); return done4(cpu, op, d, s, a, b, f32x4.div(a, b)) }
    case SSE_ADDPD: { const a = v128.load(d), b = v128.load(s); return done2(cpu, op, d, s, a, b, f64x2.add(a, b)) }
    case SSE_SUBPD: { const a = v128.load(d), b = v128.load(s); return done2(cpu, op, d, s, a, b, f64x2.sub(a, b)) }
    case SSE_MULPD: { const a = v128.load(d), b = v128.load(s); return done2(cpu, op, d, s, a, b, f64x2.mul(a, b)) }
    case SSE_DIVPD: { const a = v128.load(d), b = v128.load(s); return done2(cpu, op, d, s, a, b, f64x2.div(a, b)) }
    case SSE_ADDSS: { const a = load<f32>(d), b = load<f32>(s); return done32(cpu, op, d, s, a, b, a + b) }
    case SSE_SUBSS: { const a = load<f32>(d), b = load<f32>(s); return done32(cpu, op, d, s, a, b, a - b) }
    case SSE_MULSS: { const a = load<f32>(d), b = load<f32>(s); return done32(cpu, op, d, s, a, b, a * b) }
    case SSE_DIVSS: { const a = load<f32>(d), b = load<f32>(s); return done32(cpu, op, d, s, a, b, a / b) }
    case SSE_ADDSD: { const a = load<f64>(d), b = load<f64>(s); return done64(cpu, op, d, s, a, b, a + b) }
    case SSE_SUBSD: { const a = load<f64>(d), b = load<f64>(s); return done64(cpu, op, d, s, a, b, a - b) }
    case SSE_MULSD: { const a = load<f64>(d), b = load<f64>(s); return done64(cpu, op, d, s, a, b, a * b) }
    case SSE_DIVSD: { const a = load<f64>(d), b = load<f64>(s); return done64(cpu, op, d, s, a, b, a / b) }
    case SSE_SQRTPS: { const b = v128.load(s); return done4(cpu, op, d, s, b, b, f32x4.sqrt(b)) }
    case SSE_SQRTPD: { const b = v128.load(s); return done2(cpu, op, d, s, b, b, f64x2.sqrt(b)) }
    case SSE_SQRTSD: { const b = load<f64>(s); return done64(cpu, op, d, s, b, b, sqrt(b)) }
    // pmin(b, a) is `a < b ? a : b`, which is what MINPS does; nothing can be raised for ordinary operands.
    case SSE_MINPS: case SSE_MAXPS: {
      const a = v128.load(d), b = v128.load(s)
      if (!i32x4.all_true(v128.and(ordinary4(a), ordinary4(b)))) return arithmetic(cpu, op, d, s, 0)
      v128.store(d, op == SSE_MINPS ? f32x4.pmin(b, a) : f32x4.pmax(b, a))
      return 0
    }
    case SSE_MINPD: case SSE_MAXPD: {
      const a = v128.load(d), b = v128.load(s)
      if (!i64x2.all_true(v128.and(ordinary2(a), ordinary2(b)))) return arithmetic(cpu, op, d, s, 0)
      v128.store(d, op == SSE_MINPD ? f64x2.pmin(b, a) : f64x2.pmax(b, a))
      return 0
    }
    case SSE_RCPPS: for (let i = 0; i < 16; i += 4) store<u32>(d + i, reciprocal(load<u32>(s + i))); return 0
    case SSE_RCPSS: store<u32>(d, reciprocal(load<u32>(s))); return 0
    case SSE_RSQRTPS: for (let i = 0; i < 16; i += 4) store<u32>(d + i, reciprocalRoot(load<u32>(s + i))); return 0
    case SSE_RSQRTSS: store<u32>(d, reciprocalRoot(load<u32>(s))); return 0
    case SSE_UCOMISS: return compare32(cpu, d, s, false)
    case SSE_COMISS: return compare32(cpu, d, s, true)
    case SSE_UCOMISD: return compare64(cpu, d, s, false)
    case SSE_COMISD: return compare64(cpu, d, s, true)
    case SSE_HADDPS: return horizontal32(cpu, ADD, d, s)
    case SSE_HSUBPS: return horizontal32(cpu, SUB, d, s)
    case SSE_HADDPD: return horizontal64(cpu, ADD, d, s)
    case SSE_HSUBPD: return horizontal64(cpu, SUB, d, s)
    case SSE_ADDSUBPS: return addSub32(cpu, d, s)
    case SSE_ADDSUBPD: return addSub64(cpu, d, s)
    case SSE_DPPS: return dotProduct32(cpu, d, s, imm)
    case SSE_DPPD: return dotProduct64(cpu, d, s, imm)
    case SSE_ROUNDPS:
      begin(cpu)
      for (let i = 0; i < 16; i += 4) store<u32>(cpu + i, round32(load<u32>(s + i), imm), RESULT)
      return commit(cpu, d)
    case SSE_ROUNDPD:
      begin(cpu)
      for (let i = 0; i < 16; i += 8) store<u64>(cpu + i, round64(load<u64>(s + i), imm), RESULT)
      return commit(cpu, d)
    case SSE_ROUNDSS: {
      begin(cpu)
      const r = round32(load<u32>(s), imm), vector = finish(cpu)
      if (!vector) store<u32>(d, r)
      return vector
    }
    case SSE_ROUNDSD: {
      begin(cpu)
      const r = round64(load<u64>(s), imm), vector = finish(cpu)
      if (!vector) store<u64>(d, r)
      return vector
    }
  }
  return op < SSE_RCPPS ? arithmetic(cpu, op, d, s, imm) : 6
}
