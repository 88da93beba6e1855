/**
 * SSE floating point arithmetic, comparison, rounding and approximation (Intel SDM volume 2). Ordinary numbers in the usual mode are computed on
 * WebAssembly SIMD, the rest element by element in sse-lane.ts.
 */
import {
  SSE_ADDPS, SSE_ADDPD, SSE_ADDSS, SSE_ADDSD, SSE_SUBPS, SSE_SUBPD, SSE_SUBSS, SSE_SUBSD, SSE_MULPS, SSE_MULPD, SSE_MULSS, SSE_MULSD, SSE_DIVPS,
  SSE_DIVPD, SSE_DIVSS, SSE_DIVSD, SSE_MINPS, SSE_MINPD, SSE_MAXPS, SSE_MAXPD, SSE_SQRTPS, SSE_SQRTPD, SSE_SQRTSD, SSE_RCPPS, SSE_RCPSS, SSE_RSQRTPS,
  SSE_RSQRTSS, SSE_UCOMISS, SSE_COMISS, SSE_UCOMISD, SSE_COMISD, SSE_HADDPS, SSE_HADDPD, SSE_HSUBPS, SSE_HSUBPD, SSE_ADDSUBPS, SSE_ADDSUBPD, SSE_DPPS,
  SSE_DPPD, SSE_ROUNDPS, SSE_ROUNDPD, SSE_ROUNDSS, SSE_ROUNDSD, SSE_FP_FIRST,
} from './sse-ops'
import { sfRaise } from './softfloat-core'
import { setFlagsArith } from './flags'
import { f32Round, f64Round, f32Compare, f64Compare } from './softfloat'
import {
  RESULT, ADD, SUB, MUL, PE, LEAST32, LEAST64, mode, isFree, ordinary32, ordinary64, settled32, settled64, begin, finish, commit, stageFaults,
  integral, order64, lane32, lane64,
} from './sse-lane'

const NAN32: u32 = 0xffc00000

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

// A zero result is exact when an operand is zero.
@inline function right4(a: v128, b: v128, r: v128): bool {
  const none = f32x4.splat(0)
  const zero = v128.and(f32x4.eq(r, none), v128.or(f32x4.eq(a, none), f32x4.eq(b, none)))
  return i32x4.all_true(v128.and(v128.and(ordinary4(a), ordinary4(b)), v128.or(settled4(r), zero)))
}
@inline function right2(a: v128, b: v128, r: v128): bool {
  const none = f64x2.splat(0)
  const zero = v128.and(f64x2.eq(r, none), v128.or(f64x2.eq(a, none), f64x2.eq(b, none)))
  return i64x2.all_true(v128.and(v128.and(ordinary2(a), ordinary2(b)), v128.or(settled2(r), zero)))
}
@inline function right32(a: f32, b: f32, r: f32): bool {
  return (settled32(r) || (r == 0 && (a == 0 || b == 0))) && ordinary32(a) && ordinary32(b)
}
@inline function right64(a: f64, b: f64, r: f64): bool {
  return (settled64(r) || (r == 0 && (a == 0 || b == 0))) && ordinary64(a) && ordinary64(b)
}

@inline function done4(cpu: usize, op: i32, d: usize, s: usize, a: v128, b: v128, r: v128): i32 {
  if (!isFree(cpu) || !right4(a, b, r)) return arithmetic(cpu, op, d, s, 0)
  v128.store(d, r)
  return 0
}
@inline function done2(cpu: usize, op: i32, d: usize, s: usize, a: v128, b: v128, r: v128): i32 {
  if (!isFree(cpu) || !right2(a, b, r)) return arithmetic(cpu, op, d, s, 0)
  v128.store(d, r)
  return 0
}
@inline function done32(cpu: usize, op: i32, d: usize, s: usize, a: f32, b: f32, r: f32): i32 {
  if (!isFree(cpu) || !right32(a, b, r)) return arithmetic(cpu, op, d, s, 0)
  store<f32>(d, r)
  return 0
}
@inline function done64(cpu: usize, op: i32, d: usize, s: usize, a: f64, b: f64, r: f64): i32 {
  if (!isFree(cpu) || !right64(a, b, r)) return arithmetic(cpu, op, d, s, 0)
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
