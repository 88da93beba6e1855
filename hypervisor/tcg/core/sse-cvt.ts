/**
 * SSE conversions between integers, single and double precision, general and MMX registers included (Intel SDM volume 2; volume 1 table E-1).
 * Native where WebAssembly gives the same bits and flags, else through softfloat.ts.
 */
import {
  f32ToF64, f32ToI32, f32ToI64, f64ToF32, f64ToI32, f64ToI64, i32ToF32, i64ToF32, i64ToF64, sfRaise, sfRound,
} from './softfloat'
import { PE, RESULT, begin, commit, finish, integral, isFree, ordinary32, ordinary64, settled32 } from './sse-lane'
import {
  SSE_CVTPI2PS, SSE_CVTPI2PD, SSE_CVTSI2SS, SSE_CVTSI2SS_W, SSE_CVTSI2SD, SSE_CVTSI2SD_W, SSE_CVTPS2PI, SSE_CVTTPS2PI, SSE_CVTPD2PI,
  SSE_CVTTPD2PI, SSE_CVTSS2SI, SSE_CVTSS2SI_W, SSE_CVTTSS2SI, SSE_CVTTSS2SI_W, SSE_CVTSD2SI, SSE_CVTSD2SI_W, SSE_CVTTSD2SI,
  SSE_CVTTSD2SI_W, SSE_CVTPS2PD, SSE_CVTPD2PS, SSE_CVTSS2SD, SSE_CVTSD2SS, SSE_CVTDQ2PS, SSE_CVTPS2DQ, SSE_CVTTPS2DQ, SSE_CVTDQ2PD,
  SSE_CVTPD2DQ, SSE_CVTTPD2DQ,
} from './sse-ops'

// ---- one element (after begin()) ------------------------------------------------------------------------------------------------

/** Rounds an ordinary number and fits it into 32 bits; out of range is softfloat's business. */
function int32Of64(a: u64, truncate: bool): i32 {
  const v = reinterpret<f64>(a)
  const r = integral(v, truncate ? 3 : sfRound)
  if (!ordinary64(v) || !(r >= -2147483648.0 && r <= 2147483647.0)) return f64ToI32(a, truncate)
  if (r != v) sfRaise(PE)
  return <i32>r
}

function int32Of32(a: u32, truncate: bool): i32 {
  const v = <f64>reinterpret<f32>(a)
  const r = integral(v, truncate ? 3 : sfRound)
  if (!ordinary32(reinterpret<f32>(a)) || !(r >= -2147483648.0 && r <= 2147483647.0)) return f32ToI32(a, truncate)
  if (r != v) sfRaise(PE)
  return <i32>r
}

function int64Of64(a: u64, truncate: bool): i64 {
  const v = reinterpret<f64>(a)
  const r = integral(v, truncate ? 3 : sfRound)
  if (!ordinary64(v) || !(r >= -9223372036854775808.0 && r < 9223372036854775808.0)) return f64ToI64(a, truncate)
  if (r != v) sfRaise(PE)
  return <i64>r
}

function int64Of32(a: u32, truncate: bool): i64 {
  const v = <f64>reinterpret<f32>(a)
  const r = integral(v, truncate ? 3 : sfRound)
  if (!ordinary32(reinterpret<f32>(a)) || !(r >= -9223372036854775808.0 && r < 9223372036854775808.0)) return f32ToI64(a, truncate)
  if (r != v) sfRaise(PE)
  return <i64>r
}

function doubleOf(a: u32): u64 {
  const v = reinterpret<f32>(a)
  return ordinary32(v) ? reinterpret<u64>(<f64>v) : f32ToF64(a)
}

function singleOf(cpu: usize, a: u64): u32 {
  const v = reinterpret<f64>(a), r = <f32>v
  // An exact result is right in every rounding mode.
  if (settled32(r) ? <f64>r == v || isFree(cpu) : v == 0) return reinterpret<u32>(r)
  return f64ToF32(a)
}

/** Integers of up to 24 bits are exact. */
function singleOfInt32(v: i32): u32 {
  return <u32>(v + 0x1000000) <= 0x2000000 ? reinterpret<u32>(<f32>v) : i32ToF32(v)
}

// ---- whole instructions -----------------------------------------------------------------------------------------------------------

/** Ends an instruction with a general register as destination. */
@inline function commitInteger(cpu: usize, d: usize, value: u64): i32 {
  const vector = finish(cpu)
  if (!vector) store<u64>(d, value)
  return vector
}

@inline function commit32(cpu: usize, d: usize, value: u32): i32 {
  const vector = finish(cpu)
  if (!vector) store<u32>(d, value)
  return vector
}

/** Two doubles to two integers: XMM destinations (`upper`) have their high half cleared, MMX destinations are 8 bytes. */
function doublesToInts(cpu: usize, d: usize, s: usize, truncate: bool, upper: bool): i32 {
  begin(cpu)
  const low = int32Of64(load<u64>(s), truncate), high = int32Of64(load<u64>(s, 8), truncate)
  const vector = finish(cpu)
  if (vector) return vector
  store<u64>(d, <u64><u32>low | (<u64><u32>high << 32))
  if (upper) store<u64>(d, 0, 8)
  return 0
}

function singlesToInts2(cpu: usize, d: usize, s: usize, truncate: bool): i32 {
  begin(cpu)
  const low = int32Of32(load<u32>(s), truncate), high = int32Of32(load<u32>(s, 4), truncate)
  return commitInteger(cpu, d, <u64><u32>low | (<u64><u32>high << 32))
}

function singlesToInts4(cpu: usize, d: usize, s: usize, truncate: bool): i32 {
  begin(cpu)
  for (let i = 0; i < 16; i += 4) store<i32>(cpu + i, int32Of32(load<u32>(s + i), truncate), RESULT)
  return commit(cpu, d)
}

/** Runs operation `op` (SSE_CVTPI2PS .. SSE_CVTTPD2DQ); see sseOp. */
export function sseConvert(cpu: usize, op: i32, d: usize, s: usize): i32 {
  switch (op) {
    case SSE_CVTPI2PS: {
      begin(cpu)
      const low = singleOfInt32(load<i32>(s)), high = singleOfInt32(load<i32>(s, 4))
      return commitInteger(cpu, d, <u64>low | (<u64>high << 32))
    }
    case SSE_CVTPI2PD: case SSE_CVTDQ2PD: v128.store(d, f64x2.convert_low_i32x4_s(v128.load64_zero(s))); return 0
    case SSE_CVTSI2SS: {
      begin(cpu)
      return commit32(cpu, d, singleOfInt32(load<i32>(s)))
    }
    case SSE_CVTSI2SS_W: {
      const v = load<i64>(s)
      begin(cpu)
      return commit32(cpu, d, <i64><i32>v == v ? singleOfInt32(<i32>v) : i64ToF32(v))
    }
    case SSE_CVTSI2SD: store<f64>(d, <f64>load<i32>(s)); return 0
    case SSE_CVTSI2SD_W: {
      const v = load<i64>(s)
      if (<u64>(v + 0x20000000000000) <= 0x40000000000000) {
        store<f64>(d, <f64>v)
        return 0
      }
      begin(cpu)
      return commitInteger(cpu, d, i64ToF64(v))
    }
    case SSE_CVTPS2PI: return singlesToInts2(cpu, d, s, false)
    case SSE_CVTTPS2PI: return singlesToInts2(cpu, d, s, true)
    case SSE_CVTPD2PI: return doublesToInts(cpu, d, s, false, false)
    case SSE_CVTTPD2PI: return doublesToInts(cpu, d, s, true, false)
    case SSE_CVTPD2DQ: return doublesToInts(cpu, d, s, false, true)
    case SSE_CVTTPD2DQ: return doublesToInts(cpu, d, s, true, true)
    case SSE_CVTPS2DQ: return singlesToInts4(cpu, d, s, false)
    case SSE_CVTTPS2DQ: return singlesToInts4(cpu, d, s, true)
    case SSE_CVTSS2SI: begin(cpu); return commitInteger(cpu, d, <u64><u32>int32Of32(load<u32>(s), false))
    case SSE_CVTTSS2SI: begin(cpu); return commitInteger(cpu, d, <u64><u32>int32Of32(load<u32>(s), true))
    case SSE_CVTSD2SI: begin(cpu); return commitInteger(cpu, d, <u64><u32>int32Of64(load<u64>(s), false))
    case SSE_CVTTSD2SI: begin(cpu); return commitInteger(cpu, d, <u64><u32>int32Of64(load<u64>(s), true))
    case SSE_CVTSS2SI_W: begin(cpu); return commitInteger(cpu, d, int64Of32(load<u32>(s), false))
    case SSE_CVTTSS2SI_W: begin(cpu); return commitInteger(cpu, d, int64Of32(load<u32>(s), true))
    case SSE_CVTSD2SI_W: begin(cpu); return commitInteger(cpu, d, int64Of64(load<u64>(s), false))
    case SSE_CVTTSD2SI_W: begin(cpu); return commitInteger(cpu, d, int64Of64(load<u64>(s), true))
    case SSE_CVTPS2PD:
      begin(cpu)
      store<u64>(cpu, doubleOf(load<u32>(s)), RESULT)
      store<u64>(cpu, doubleOf(load<u32>(s, 4)), RESULT + 8)
      return commit(cpu, d)
    case SSE_CVTPD2PS:
      begin(cpu)
      store<u32>(cpu, singleOf(cpu, load<u64>(s)), RESULT)
      store<u32>(cpu, singleOf(cpu, load<u64>(s, 8)), RESULT + 4)
      store<u64>(cpu, 0, RESULT + 8)
      return commit(cpu, d)
    case SSE_CVTSS2SD: {
      const v = load<f32>(s)
      if (ordinary32(v)) {
        store<f64>(d, <f64>v)
        return 0
      }
      begin(cpu)
      return commitInteger(cpu, d, f32ToF64(load<u32>(s)))
    }
    case SSE_CVTSD2SS: {
      begin(cpu)
      return commit32(cpu, d, singleOf(cpu, load<u64>(s)))
    }
    case SSE_CVTDQ2PS: {
      if (isFree(cpu)) {
        v128.store(d, f32x4.convert_i32x4_s(v128.load(s)))
        return 0
      }
      begin(cpu)
      for (let i = 0; i < 16; i += 4) store<u32>(cpu + i, singleOfInt32(load<i32>(s + i)), RESULT)
      return commit(cpu, d)
    }
  }
  return 6
}
