/**
 * XMM moves, logic, packed integer, shuffle, insert and extract instructions (Intel SDM volume 2), on WebAssembly SIMD.
 * Leaves out string comparison (sse-str.ts) and everything that rounds or reads MXCSR (sse-fp.ts, sse-cvt.ts).
 */
import { XMM } from './layout'
import { setFlagsArith } from './flags'
import { stringCompare } from './sse-str'
import {
  SSE_MOV16, SSE_MOV8, SSE_MOV4, SSE_LOAD8, SSE_LOAD4, SSE_STORE4, SSE_MOVHLPS, SSE_MOVLHPS, SSE_MOVMSKPS, SSE_MOVMSKPD, SSE_PMOVMSKB,
  SSE_MOVDDUP, SSE_MOVSHDUP, SSE_MOVSLDUP, SSE_AND, SSE_ANDN, SSE_OR, SSE_XOR, SSE_PTEST,
  SSE_PADDB, SSE_PADDW, SSE_PADDD, SSE_PADDQ, SSE_PSUBB, SSE_PSUBW, SSE_PSUBD, SSE_PSUBQ, SSE_PADDSB, SSE_PADDSW, SSE_PADDUSB, SSE_PADDUSW,
  SSE_PSUBSB, SSE_PSUBSW, SSE_PSUBUSB, SSE_PSUBUSW, SSE_PCMPEQB, SSE_PCMPEQW, SSE_PCMPEQD, SSE_PCMPEQQ, SSE_PCMPGTB, SSE_PCMPGTW,
  SSE_PCMPGTD, SSE_PCMPGTQ, SSE_PMINUB, SSE_PMINUW, SSE_PMINUD, SSE_PMINSB, SSE_PMINSW, SSE_PMINSD, SSE_PMAXUB, SSE_PMAXUW, SSE_PMAXUD,
  SSE_PMAXSB, SSE_PMAXSW, SSE_PMAXSD, SSE_PAVGB, SSE_PAVGW,
  SSE_PMULLW, SSE_PMULHW, SSE_PMULHUW, SSE_PMULHRSW, SSE_PMULLD, SSE_PMULUDQ, SSE_PMULDQ, SSE_PMADDWD, SSE_PMADDUBSW, SSE_PSADBW,
  SSE_MPSADBW, SSE_PHMINPOSUW, SSE_PHADDW, SSE_PHADDD, SSE_PHADDSW, SSE_PHSUBW, SSE_PHSUBD, SSE_PHSUBSW, SSE_PSIGNB, SSE_PSIGNW,
  SSE_PSIGND, SSE_PABSB, SSE_PABSW, SSE_PABSD,
  SSE_PSLLW, SSE_PSLLD, SSE_PSLLQ, SSE_PSRLW, SSE_PSRLD, SSE_PSRLQ, SSE_PSRAW, SSE_PSRAD, SSE_PSLLW_I, SSE_PSLLD_I, SSE_PSLLQ_I,
  SSE_PSRLW_I, SSE_PSRLD_I, SSE_PSRLQ_I, SSE_PSRAW_I, SSE_PSRAD_I, SSE_PSLLDQ, SSE_PSRLDQ,
  SSE_PACKSSWB, SSE_PACKSSDW, SSE_PACKUSWB, SSE_PACKUSDW, SSE_PUNPCKLBW, SSE_PUNPCKLWD, SSE_PUNPCKLDQ, SSE_PUNPCKLQDQ, SSE_PUNPCKHBW,
  SSE_PUNPCKHWD, SSE_PUNPCKHDQ, SSE_PUNPCKHQDQ, SSE_PSHUFB, SSE_PSHUFD, SSE_PSHUFHW, SSE_PSHUFLW, SSE_SHUFPS, SSE_SHUFPD, SSE_PALIGNR,
  SSE_PBLENDVB, SSE_BLENDVPS, SSE_BLENDVPD, SSE_BLENDPS, SSE_BLENDPD, SSE_PBLENDW, SSE_PMOVSXBW, SSE_PMOVSXBD, SSE_PMOVSXBQ, SSE_PMOVSXWD,
  SSE_PMOVSXWQ, SSE_PMOVSXDQ, SSE_PMOVZXBW, SSE_PMOVZXBD, SSE_PMOVZXBQ, SSE_PMOVZXWD, SSE_PMOVZXWQ, SSE_PMOVZXDQ, SSE_PINSRB, SSE_PINSRW,
  SSE_PINSRD, SSE_PINSRQ, SSE_PEXTRB, SSE_PEXTRW, SSE_PEXTRD, SSE_PEXTRQ, SSE_INSERTPS_R, SSE_INSERTPS_M,
  SSE_PCMPESTRM, SSE_PCMPESTRM_W, SSE_PCMPESTRI, SSE_PCMPESTRI_W, SSE_PCMPISTRM, SSE_PCMPISTRI,
} from './sse-ops'

@inline function get(p: usize): v128 { return v128.load(p) }
@inline function put(p: usize, v: v128): void { v128.store(p, v) }

/** Dot product of unsigned bytes `a` and signed bytes `b` in pairs, saturated (PMADDUBSW). */
@inline
export function maddubs(a: v128, b: v128): v128 {
  const even = i16x8.mul(v128.and(a, i16x8.splat(0xff)), i16x8.shr_s(i16x8.shl(b, 8), 8))
  const odd = i16x8.mul(i16x8.shr_u(a, 8), i16x8.shr_s(b, 8))
  return i16x8.add_sat_s(even, odd)
}

/** WebAssembly saturates 0x8000 * 0x8000 to 0x7fff, PMULHRSW wraps to 0x8000. */
@inline
export function mulhrs(a: v128, b: v128): v128 {
  const least = i16x8.splat(-32768)
  return v128.xor(i16x8.q15mulr_sat_s(a, b), v128.and(i16x8.eq(a, least), i16x8.eq(b, least)))
}

@inline
export function mulhs(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(i32x4.extmul_low_i16x8_s(a, b), i32x4.extmul_high_i16x8_s(a, b), 1, 3, 5, 7, 9, 11, 13, 15)
}

@inline
export function mulhu(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(i32x4.extmul_low_i16x8_u(a, b), i32x4.extmul_high_i16x8_u(a, b), 1, 3, 5, 7, 9, 11, 13, 15)
}

/** Sum of absolute differences of each 8 bytes. */
@inline
export function sad(a: v128, b: v128): v128 {
  const difference = v128.or(i8x16.sub_sat_u(a, b), i8x16.sub_sat_u(b, a))
  const sums = i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(difference))
  return i64x2.add(v128.and(sums, i64x2.splat(0xffffffff)), i64x2.shr_u(sums, 32))
}

// PSIGN: b < 0 negates, b = 0 clears.
@inline export function signB(a: v128, b: v128): v128 {
  const negative = i8x16.shr_s(b, 7)
  return v128.andnot(i8x16.sub(v128.xor(a, negative), negative), i8x16.eq(b, i8x16.splat(0)))
}
@inline export function signW(a: v128, b: v128): v128 {
  const negative = i16x8.shr_s(b, 15)
  return v128.andnot(i16x8.sub(v128.xor(a, negative), negative), i16x8.eq(b, i16x8.splat(0)))
}
@inline export function signD(a: v128, b: v128): v128 {
  const negative = i32x4.shr_s(b, 31)
  return v128.andnot(i32x4.sub(v128.xor(a, negative), negative), i32x4.eq(b, i32x4.splat(0)))
}

@inline function byteIndexes(): v128 { return i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) }

/** Shift right by bytes; 16 and more give 0 (a swizzle index beyond 15 reads as 0). */
@inline
function bytesRight(v: v128, count: i32): v128 {
  return i8x16.swizzle(v, i8x16.add(byteIndexes(), i8x16.splat(<i8>count)))
}

/** Words picked by two-bit fields of `imm` from the 8 bytes at `s`. */
export function shuffleWords(s: usize, imm: i32): u64 {
  return load<u16>(s + ((imm & 3) << 1)) | (<u64>load<u16>(s + ((imm >>> 1) & 6)) << 16) |
    (<u64>load<u16>(s + ((imm >>> 3) & 6)) << 32) | (<u64>load<u16>(s + ((imm >>> 5) & 6)) << 48)
}

@inline function shuffleDwords(a: usize, b: usize, imm: i32): v128 {
  let v = v128.load32_zero(a + ((imm & 3) << 2))
  v = v128.load32_lane(a + (imm & 12), v, 1)
  v = v128.load32_lane(b + ((imm >>> 2) & 12), v, 2)
  return v128.load32_lane(b + ((imm >>> 4) & 12), v, 3)
}

/** Eight sums of four absolute differences: block `imm & 3` of the source against a window that slides over the destination. */
function multiSad(d: usize, s: usize, imm: i32): void {
  const block = load<u32>(s + ((imm & 3) << 2))
  const window = d + (imm & 4)
  const low = load<u64>(window), high = load<u64>(window + 3)
  let r0: u64 = 0, r1: u64 = 0
  for (let i = 0; i < 8; i++) {
    const four = i < 4 ? <u32>(low >> (i << 3)) : <u32>(high >> ((i - 3) << 3))
    let sum: u32 = 0
    for (let k = 0; k < 32; k += 8) sum += <u32>abs<i32>(<i32>((four >> k) & 0xff) - <i32>((block >> k) & 0xff))
    if (i < 4) r0 |= <u64>sum << (i << 4)
    else r1 |= <u64>sum << ((i - 4) << 4)
  }
  store<u64>(d, r0)
  store<u64>(d, r1, 8)
}

function minimumPosition(d: usize, s: usize): void {
  let least = <u32>load<u16>(s), at: u32 = 0
  for (let i: u32 = 1; i < 8; i++) {
    const value = <u32>load<u16>(s + (i << 1))
    if (value < least) {
      least = value
      at = i
    }
  }
  store<u64>(d, <u64>(least | (at << 16)))
  store<u64>(d, 0, 8)
}

function insertPs(d: usize, value: u32, imm: i32): void {
  store<u32>(d + ((imm >>> 2) & 12), value)
  for (let i = 0; i < 4; i++) if (imm & (1 << i)) store<u32>(d + (i << 2), 0)
}

function testFlags(cpu: usize, a: v128, b: v128): void {
  setFlagsArith(cpu, (v128.any_true(v128.and(a, b)) ? 0 : 64) | (v128.any_true(v128.andnot(b, a)) ? 0 : 1))
}

/** Runs operation `op` (SSE_MOV16 .. SSE_PCMPISTRI); see sseOp. */
export function sseInteger(cpu: usize, op: i32, d: usize, s: usize, imm: i32): i32 {
  switch (op) {
    case SSE_MOV16: put(d, get(s)); break
    case SSE_MOV8: store<u64>(d, load<u64>(s)); break
    case SSE_MOV4: store<u32>(d, load<u32>(s)); break
    case SSE_LOAD8: put(d, v128.load64_zero(s)); break
    case SSE_LOAD4: put(d, v128.load32_zero(s)); break
    case SSE_STORE4: store<u64>(d, <u64>load<u32>(s)); break
    case SSE_MOVHLPS: store<u64>(d, load<u64>(s, 8)); break
    case SSE_MOVLHPS: store<u64>(d, load<u64>(s), 8); break
    case SSE_MOVMSKPS: store<u64>(d, <u64>i32x4.bitmask(get(s))); break
    case SSE_MOVMSKPD: store<u64>(d, <u64>i64x2.bitmask(get(s))); break
    case SSE_PMOVMSKB: store<u64>(d, <u64>i8x16.bitmask(get(s))); break
    case SSE_MOVDDUP: put(d, v128.load64_splat(s)); break
    case SSE_MOVSHDUP: put(d, v128.shuffle<i32>(get(s), get(s), 1, 1, 3, 3)); break
    case SSE_MOVSLDUP: put(d, v128.shuffle<i32>(get(s), get(s), 0, 0, 2, 2)); break

    case SSE_AND: put(d, v128.and(get(d), get(s))); break
    case SSE_ANDN: put(d, v128.andnot(get(s), get(d))); break
    case SSE_OR: put(d, v128.or(get(d), get(s))); break
    case SSE_XOR: put(d, v128.xor(get(d), get(s))); break
    case SSE_PTEST: testFlags(cpu, get(d), get(s)); break

    case SSE_PADDB: put(d, i8x16.add(get(d), get(s))); break
    case SSE_PADDW: put(d, i16x8.add(get(d), get(s))); break
    case SSE_PADDD: put(d, i32x4.add(get(d), get(s))); break
    case SSE_PADDQ: put(d, i64x2.add(get(d), get(s))); break
    case SSE_PSUBB: put(d, i8x16.sub(get(d), get(s))); break
    case SSE_PSUBW: put(d, i16x8.sub(get(d), get(s))); break
    case SSE_PSUBD: put(d, i32x4.sub(get(d), get(s))); break
    case SSE_PSUBQ: put(d, i64x2.sub(get(d), get(s))); break
    case SSE_PADDSB: put(d, i8x16.add_sat_s(get(d), get(s))); break
    case SSE_PADDSW: put(d, i16x8.add_sat_s(get(d), get(s))); break
    case SSE_PADDUSB: put(d, i8x16.add_sat_u(get(d), get(s))); break
    case SSE_PADDUSW: put(d, i16x8.add_sat_u(get(d), get(s))); break
    case SSE_PSUBSB: put(d, i8x16.sub_sat_s(get(d), get(s))); break
    case SSE_PSUBSW: put(d, i16x8.sub_sat_s(get(d), get(s))); break
    case SSE_PSUBUSB: put(d, i8x16.sub_sat_u(get(d), get(s))); break
    case SSE_PSUBUSW: put(d, i16x8.sub_sat_u(get(d), get(s))); break
    case SSE_PCMPEQB: put(d, i8x16.eq(get(d), get(s))); break
    case SSE_PCMPEQW: put(d, i16x8.eq(get(d), get(s))); break
    case SSE_PCMPEQD: put(d, i32x4.eq(get(d), get(s))); break
    case SSE_PCMPEQQ: put(d, i64x2.eq(get(d), get(s))); break
    case SSE_PCMPGTB: put(d, i8x16.gt_s(get(d), get(s))); break
    case SSE_PCMPGTW: put(d, i16x8.gt_s(get(d), get(s))); break
    case SSE_PCMPGTD: put(d, i32x4.gt_s(get(d), get(s))); break
    case SSE_PCMPGTQ: put(d, i64x2.gt_s(get(d), get(s))); break
    case SSE_PMINUB: put(d, i8x16.min_u(get(d), get(s))); break
    case SSE_PMINUW: put(d, i16x8.min_u(get(d), get(s))); break
    case SSE_PMINUD: put(d, i32x4.min_u(get(d), get(s))); break
    case SSE_PMINSB: put(d, i8x16.min_s(get(d), get(s))); break
    case SSE_PMINSW: put(d, i16x8.min_s(get(d), get(s))); break
    case SSE_PMINSD: put(d, i32x4.min_s(get(d), get(s))); break
    case SSE_PMAXUB: put(d, i8x16.max_u(get(d), get(s))); break
    case SSE_PMAXUW: put(d, i16x8.max_u(get(d), get(s))); break
    case SSE_PMAXUD: put(d, i32x4.max_u(get(d), get(s))); break
    case SSE_PMAXSB: put(d, i8x16.max_s(get(d), get(s))); break
    case SSE_PMAXSW: put(d, i16x8.max_s(get(d), get(s))); break
    case SSE_PMAXSD: put(d, i32x4.max_s(get(d), get(s))); break
    case SSE_PAVGB: put(d, i8x16.avgr_u(get(d), get(s))); break
    case SSE_PAVGW: put(d, i16x8.avgr_u(get(d), get(s))); break

    case SSE_PMULLW: put(d, i16x8.mul(get(d), get(s))); break
    case SSE_PMULHW: put(d, mulhs(get(d), get(s))); break
    case SSE_PMULHUW: put(d, mulhu(get(d), get(s))); break
    case SSE_PMULHRSW: put(d, mulhrs(get(d), get(s))); break
    case SSE_PMULLD: put(d, i32x4.mul(get(d), get(s))); break
    case SSE_PMULUDQ: {
      const low = i64x2.splat(0xffffffff)
      put(d, i64x2.mul(v128.and(get(d), low), v128.and(get(s), low)))
      break
    }
    case SSE_PMULDQ: {
      const a = get(d), b = get(s)
      put(d, i64x2.extmul_low_i32x4_s(v128.shuffle<i32>(a, a, 0, 2, 0, 2), v128.shuffle<i32>(b, b, 0, 2, 0, 2)))
      break
    }
    case SSE_PMADDWD: put(d, i32x4.dot_i16x8_s(get(d), get(s))); break
    case SSE_PMADDUBSW: put(d, maddubs(get(d), get(s))); break
    case SSE_PSADBW: put(d, sad(get(d), get(s))); break
    case SSE_MPSADBW: multiSad(d, s, imm); break
    case SSE_PHMINPOSUW: minimumPosition(d, s); break
    case SSE_PHADDW: case SSE_PHADDSW: case SSE_PHSUBW: case SSE_PHSUBSW: {
      const a = get(d), b = get(s)
      const even = v128.shuffle<i16>(a, b, 0, 2, 4, 6, 8, 10, 12, 14), odd = v128.shuffle<i16>(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
      if (op == SSE_PHADDW) put(d, i16x8.add(even, odd))
      else if (op == SSE_PHADDSW) put(d, i16x8.add_sat_s(even, odd))
      else if (op == SSE_PHSUBW) put(d, i16x8.sub(even, odd))
      else put(d, i16x8.sub_sat_s(even, odd))
      break
    }
    case SSE_PHADDD: case SSE_PHSUBD: {
      const a = get(d), b = get(s)
      const even = v128.shuffle<i32>(a, b, 0, 2, 4, 6), odd = v128.shuffle<i32>(a, b, 1, 3, 5, 7)
      put(d, op == SSE_PHADDD ? i32x4.add(even, odd) : i32x4.sub(even, odd))
      break
    }
    case SSE_PSIGNB: put(d, signB(get(d), get(s))); break
    case SSE_PSIGNW: put(d, signW(get(d), get(s))); break
    case SSE_PSIGND: put(d, signD(get(d), get(s))); break
    case SSE_PABSB: put(d, i8x16.abs(get(s))); break
    case SSE_PABSW: put(d, i16x8.abs(get(s))); break
    case SSE_PABSD: put(d, i32x4.abs(get(s))); break

    case SSE_PSLLW: put(d, load<u64>(s) > 15 ? i64x2.splat(0) : i16x8.shl(get(d), load<i32>(s))); break
    case SSE_PSLLD: put(d, load<u64>(s) > 31 ? i64x2.splat(0) : i32x4.shl(get(d), load<i32>(s))); break
    case SSE_PSLLQ: put(d, load<u64>(s) > 63 ? i64x2.splat(0) : i64x2.shl(get(d), load<i32>(s))); break
    case SSE_PSRLW: put(d, load<u64>(s) > 15 ? i64x2.splat(0) : i16x8.shr_u(get(d), load<i32>(s))); break
    case SSE_PSRLD: put(d, load<u64>(s) > 31 ? i64x2.splat(0) : i32x4.shr_u(get(d), load<i32>(s))); break
    case SSE_PSRLQ: put(d, load<u64>(s) > 63 ? i64x2.splat(0) : i64x2.shr_u(get(d), load<i32>(s))); break
    case SSE_PSRAW: put(d, i16x8.shr_s(get(d), <i32>min<u64>(load<u64>(s), 15))); break
    case SSE_PSRAD: put(d, i32x4.shr_s(get(d), <i32>min<u64>(load<u64>(s), 31))); break
    case SSE_PSLLW_I: put(d, <u32>imm > 15 ? i64x2.splat(0) : i16x8.shl(get(d), imm)); break
    case SSE_PSLLD_I: put(d, <u32>imm > 31 ? i64x2.splat(0) : i32x4.shl(get(d), imm)); break
    case SSE_PSLLQ_I: put(d, <u32>imm > 63 ? i64x2.splat(0) : i64x2.shl(get(d), imm)); break
    case SSE_PSRLW_I: put(d, <u32>imm > 15 ? i64x2.splat(0) : i16x8.shr_u(get(d), imm)); break
    case SSE_PSRLD_I: put(d, <u32>imm > 31 ? i64x2.splat(0) : i32x4.shr_u(get(d), imm)); break
    case SSE_PSRLQ_I: put(d, <u32>imm > 63 ? i64x2.splat(0) : i64x2.shr_u(get(d), imm)); break
    case SSE_PSRAW_I: put(d, i16x8.shr_s(get(d), min<u32>(imm, 15))); break
    case SSE_PSRAD_I: put(d, i32x4.shr_s(get(d), min<u32>(imm, 31))); break
    case SSE_PSLLDQ: put(d, bytesRight(get(d), -<i32>min<u32>(imm, 16))); break
    case SSE_PSRLDQ: put(d, bytesRight(get(d), min<u32>(imm, 16))); break

    case SSE_PACKSSWB: put(d, i8x16.narrow_i16x8_s(get(d), get(s))); break
    case SSE_PACKSSDW: put(d, i16x8.narrow_i32x4_s(get(d), get(s))); break
    case SSE_PACKUSWB: put(d, i8x16.narrow_i16x8_u(get(d), get(s))); break
    case SSE_PACKUSDW: put(d, i16x8.narrow_i32x4_u(get(d), get(s))); break
    case SSE_PUNPCKLBW: put(d, v128.shuffle<i8>(get(d), get(s), 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)); break
    case SSE_PUNPCKLWD: put(d, v128.shuffle<i16>(get(d), get(s), 0, 8, 1, 9, 2, 10, 3, 11)); break
    case SSE_PUNPCKLDQ: put(d, v128.shuffle<i32>(get(d), get(s), 0, 4, 1, 5)); break
    case SSE_PUNPCKLQDQ: store<u64>(d, load<u64>(s), 8); break
    case SSE_PUNPCKHBW: put(d, v128.shuffle<i8>(get(d), get(s), 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)); break
    case SSE_PUNPCKHWD: put(d, v128.shuffle<i16>(get(d), get(s), 4, 12, 5, 13, 6, 14, 7, 15)); break
    case SSE_PUNPCKHDQ: put(d, v128.shuffle<i32>(get(d), get(s), 2, 6, 3, 7)); break
    case SSE_PUNPCKHQDQ: put(d, v128.shuffle<i64>(get(d), get(s), 1, 3)); break
    case SSE_PSHUFB: put(d, i8x16.swizzle(get(d), v128.and(get(s), i8x16.splat(<i8>0x8f)))); break
    case SSE_PSHUFD: put(d, shuffleDwords(s, s, imm)); break
    case SSE_PSHUFLW: put(d, i64x2.replace_lane(get(s), 0, shuffleWords(s, imm))); break
    case SSE_PSHUFHW: put(d, i64x2.replace_lane(get(s), 1, shuffleWords(s + 8, imm))); break
    case SSE_SHUFPS: put(d, shuffleDwords(d, s, imm)); break
    case SSE_SHUFPD: {
      const low = load<u64>(d + ((imm & 1) << 3)), high = load<u64>(s + ((imm & 2) << 2))
      store<u64>(d, low)
      store<u64>(d, high, 8)
      break
    }
    case SSE_PALIGNR: {
      // Both indexes run beyond 15 (or below 0, an unsigned byte above 239) where their operand does not contribute.
      const count = min<u32>(imm & 0xff, 32)
      put(d, v128.or(bytesRight(get(s), count), bytesRight(get(d), count - 16)))
      break
    }
    case SSE_PBLENDVB: put(d, v128.bitselect(get(s), get(d), i8x16.shr_s(get(cpu + XMM), 7))); break
    case SSE_BLENDVPS: put(d, v128.bitselect(get(s), get(d), i32x4.shr_s(get(cpu + XMM), 31))); break
    case SSE_BLENDVPD: put(d, v128.bitselect(get(s), get(d), i64x2.shr_s(get(cpu + XMM), 63))); break
    case SSE_BLENDPS: {
      const bits = i32x4(1, 2, 4, 8)
      put(d, v128.bitselect(get(s), get(d), i32x4.eq(v128.and(i32x4.splat(imm), bits), bits)))
      break
    }
    case SSE_BLENDPD: {
      const bits = i64x2(1, 2)
      put(d, v128.bitselect(get(s), get(d), i64x2.eq(v128.and(i64x2.splat(imm), bits), bits)))
      break
    }
    case SSE_PBLENDW: {
      const bits = i16x8(1, 2, 4, 8, 16, 32, 64, 128)
      put(d, v128.bitselect(get(s), get(d), i16x8.eq(v128.and(i16x8.splat(<i16>imm), bits), bits)))
      break
    }
    case SSE_PMOVSXBW: put(d, v128.load8x8_s(s)); break
    case SSE_PMOVSXWD: put(d, v128.load16x4_s(s)); break
    case SSE_PMOVSXDQ: put(d, v128.load32x2_s(s)); break
    case SSE_PMOVZXBW: put(d, v128.load8x8_u(s)); break
    case SSE_PMOVZXWD: put(d, v128.load16x4_u(s)); break
    case SSE_PMOVZXDQ: put(d, v128.load32x2_u(s)); break
    case SSE_PMOVSXBD: put(d, i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(s)))); break
    case SSE_PMOVSXWQ: put(d, i64x2.extend_low_i32x4_s(i32x4.extend_low_i16x8_s(v128.load32_zero(s)))); break
    case SSE_PMOVZXBD: put(d, i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(s)))); break
    case SSE_PMOVZXWQ: put(d, i64x2.extend_low_i32x4_u(i32x4.extend_low_i16x8_u(v128.load32_zero(s)))); break
    case SSE_PMOVSXBQ: put(d, i64x2(load<i8>(s), load<i8>(s, 1))); break
    case SSE_PMOVZXBQ: put(d, i64x2(load<u8>(s), load<u8>(s, 1))); break

    case SSE_PINSRB: store<u8>(d + (imm & 15), load<u8>(s)); break
    case SSE_PINSRW: store<u16>(d + ((imm & 7) << 1), load<u16>(s)); break
    case SSE_PINSRD: store<u32>(d + ((imm & 3) << 2), load<u32>(s)); break
    case SSE_PINSRQ: store<u64>(d + ((imm & 1) << 3), load<u64>(s)); break
    case SSE_PEXTRB: store<u64>(d, <u64>load<u8>(s + (imm & 15))); break
    case SSE_PEXTRW: store<u64>(d, <u64>load<u16>(s + ((imm & 7) << 1))); break
    case SSE_PEXTRD: store<u64>(d, <u64>load<u32>(s + ((imm & 3) << 2))); break
    case SSE_PEXTRQ: store<u64>(d, load<u64>(s + ((imm & 1) << 3))); break
    case SSE_INSERTPS_R: insertPs(d, load<u32>(s + ((imm >>> 4) & 12)), imm); break
    case SSE_INSERTPS_M: insertPs(d, load<u32>(s), imm); break

    case SSE_PCMPESTRM: stringCompare(cpu, d, s, imm, true, false, true); break
    case SSE_PCMPESTRM_W: stringCompare(cpu, d, s, imm, true, true, true); break
    case SSE_PCMPESTRI: stringCompare(cpu, d, s, imm, true, false, false); break
    case SSE_PCMPESTRI_W: stringCompare(cpu, d, s, imm, true, true, false); break
    case SSE_PCMPISTRM: stringCompare(cpu, d, s, imm, false, false, true); break
    case SSE_PCMPISTRI: stringCompare(cpu, d, s, imm, false, false, false); break
    default: return 6
  }
  return 0
}
