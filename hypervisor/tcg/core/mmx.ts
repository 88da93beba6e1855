/**
 * MMX instructions and their SSE, SSE2 and SSSE3 additions (Intel SDM volume 2). The 64 bits travel in the low half of a v128.
 * Leaves out the effect on the x87 state (TOP, tags, exponent bits), which is the caller's, and the store of MASKMOVQ.
 */
import { maddubs, mulhrs, mulhs, mulhu, sad, shuffleWords, signB, signD, signW } from './sse-int'
import {
  MMX_MOVQ, MMX_LOAD4, MMX_STORE4, MMX_PMOVMSKB, MMX_PAND, MMX_PANDN, MMX_POR, MMX_PXOR, MMX_PADDB, MMX_PADDW, MMX_PADDD, MMX_PADDQ, MMX_PSUBB,
  MMX_PSUBW, MMX_PSUBD, MMX_PSUBQ, MMX_PADDSB, MMX_PADDSW, MMX_PADDUSB, MMX_PADDUSW, MMX_PSUBSB, MMX_PSUBSW, MMX_PSUBUSB, MMX_PSUBUSW,
  MMX_PCMPEQB, MMX_PCMPEQW, MMX_PCMPEQD, MMX_PCMPGTB, MMX_PCMPGTW, MMX_PCMPGTD, MMX_PMINUB, MMX_PMINSW, MMX_PMAXUB, MMX_PMAXSW, MMX_PAVGB,
  MMX_PAVGW, MMX_PMULLW, MMX_PMULHW, MMX_PMULHUW, MMX_PMULHRSW, MMX_PMULUDQ, MMX_PMADDWD, MMX_PMADDUBSW, MMX_PSADBW, MMX_PHADDW, MMX_PHADDD,
  MMX_PHADDSW, MMX_PHSUBW, MMX_PHSUBD, MMX_PHSUBSW, MMX_PSIGNB, MMX_PSIGNW, MMX_PSIGND, MMX_PABSB, MMX_PABSW, MMX_PABSD, MMX_PSLLW, MMX_PSLLD,
  MMX_PSLLQ, MMX_PSRLW, MMX_PSRLD, MMX_PSRLQ, MMX_PSRAW, MMX_PSRAD, MMX_PSLLW_I, MMX_PSLLD_I, MMX_PSLLQ_I, MMX_PSRLW_I, MMX_PSRLD_I,
  MMX_PSRLQ_I, MMX_PSRAW_I, MMX_PSRAD_I, MMX_PACKSSWB, MMX_PACKSSDW, MMX_PACKUSWB, MMX_PUNPCKLBW, MMX_PUNPCKLWD, MMX_PUNPCKLDQ, MMX_PUNPCKHBW,
  MMX_PUNPCKHWD, MMX_PUNPCKHDQ, MMX_PSHUFB, MMX_PSHUFW, MMX_PALIGNR, MMX_PINSRW, MMX_PEXTRW,
} from './sse-ops'

@inline function get(p: usize): v128 { return v128.load64_zero(p) }
@inline function put(p: usize, v: v128): void { store<u64>(p, i64x2.extract_lane(v, 0)) }
@inline function putPair(p: usize, low: u32, high: u32): void { store<u64>(p, <u64>low | (<u64>high << 32)) }
/** Both operands side by side, the destination low. */
@inline function join(d: usize, s: usize): v128 { return v128.load64_lane(s, get(d), 1) }
@inline function evenWords(d: usize, s: usize): v128 { return v128.shuffle<i16>(get(d), get(s), 0, 2, 8, 10, 0, 2, 8, 10) }
@inline function oddWords(d: usize, s: usize): v128 { return v128.shuffle<i16>(get(d), get(s), 1, 3, 9, 11, 1, 3, 9, 11) }

/** Bytes `count` to `count + 7` of `high:low`, zeros beyond. */
function alignRight(high: u64, low: u64, count: u32): u64 {
  if (count == 0) return low
  if (count < 8) return (low >> (count << 3)) | (high << ((8 - count) << 3))
  return count < 16 ? high >> ((count - 8) << 3) : 0
}

/** Runs operation `op` (MMX_MOVQ .. MMX_PEXTRW) on the 8 bytes at `d` and `s`; returns 0 or the vector to raise. See sseOp. */
export function mmxOp(cpu: usize, op: i32, d: usize, s: usize, imm: i32): i32 {
  switch (op) {
    case MMX_MOVQ: store<u64>(d, load<u64>(s)); break
    case MMX_LOAD4: store<u64>(d, <u64>load<u32>(s)); break
    case MMX_STORE4: store<u64>(d, <u64>load<u32>(s)); break
    case MMX_PMOVMSKB: store<u64>(d, <u64>i8x16.bitmask(get(s))); break
    case MMX_PAND: put(d, v128.and(get(d), get(s))); break
    case MMX_PANDN: put(d, v128.andnot(get(s), get(d))); break
    case MMX_POR: put(d, v128.or(get(d), get(s))); break
    case MMX_PXOR: put(d, v128.xor(get(d), get(s))); break
    case MMX_PADDB: put(d, i8x16.add(get(d), get(s))); break
    case MMX_PADDW: put(d, i16x8.add(get(d), get(s))); break
    case MMX_PADDD: put(d, i32x4.add(get(d), get(s))); break
    case MMX_PADDQ: put(d, i64x2.add(get(d), get(s))); break
    case MMX_PSUBB: put(d, i8x16.sub(get(d), get(s))); break
    case MMX_PSUBW: put(d, i16x8.sub(get(d), get(s))); break
    case MMX_PSUBD: put(d, i32x4.sub(get(d), get(s))); break
    case MMX_PSUBQ: put(d, i64x2.sub(get(d), get(s))); break
    case MMX_PADDSB: put(d, i8x16.add_sat_s(get(d), get(s))); break
    case MMX_PADDSW: put(d, i16x8.add_sat_s(get(d), get(s))); break
    case MMX_PADDUSB: put(d, i8x16.add_sat_u(get(d), get(s))); break
    case MMX_PADDUSW: put(d, i16x8.add_sat_u(get(d), get(s))); break
    case MMX_PSUBSB: put(d, i8x16.sub_sat_s(get(d), get(s))); break
    case MMX_PSUBSW: put(d, i16x8.sub_sat_s(get(d), get(s))); break
    case MMX_PSUBUSB: put(d, i8x16.sub_sat_u(get(d), get(s))); break
    case MMX_PSUBUSW: put(d, i16x8.sub_sat_u(get(d), get(s))); break
    case MMX_PCMPEQB: put(d, i8x16.eq(get(d), get(s))); break
    case MMX_PCMPEQW: put(d, i16x8.eq(get(d), get(s))); break
    case MMX_PCMPEQD: put(d, i32x4.eq(get(d), get(s))); break
    case MMX_PCMPGTB: put(d, i8x16.gt_s(get(d), get(s))); break
    case MMX_PCMPGTW: put(d, i16x8.gt_s(get(d), get(s))); break
    case MMX_PCMPGTD: put(d, i32x4.gt_s(get(d), get(s))); break
    case MMX_PMINUB: put(d, i8x16.min_u(get(d), get(s))); break
    case MMX_PMINSW: put(d, i16x8.min_s(get(d), get(s))); break
    case MMX_PMAXUB: put(d, i8x16.max_u(get(d), get(s))); break
    case MMX_PMAXSW: put(d, i16x8.max_s(get(d), get(s))); break
    case MMX_PAVGB: put(d, i8x16.avgr_u(get(d), get(s))); break
    case MMX_PAVGW: put(d, i16x8.avgr_u(get(d), get(s))); break
    case MMX_PMULLW: put(d, i16x8.mul(get(d), get(s))); break
    case MMX_PMULHW: put(d, mulhs(get(d), get(s))); break
    case MMX_PMULHUW: put(d, mulhu(get(d), get(s))); break
    case MMX_PMULHRSW: put(d, mulhrs(get(d), get(s))); break
    case MMX_PMULUDQ: store<u64>(d, <u64>load<u32>(d) * <u64>load<u32>(s)); break
    case MMX_PMADDWD: put(d, i32x4.dot_i16x8_s(get(d), get(s))); break
    case MMX_PMADDUBSW: put(d, maddubs(get(d), get(s))); break
    case MMX_PSADBW: put(d, sad(get(d), get(s))); break
    case MMX_PHADDW: put(d, i16x8.add(evenWords(d, s), oddWords(d, s))); break
    case MMX_PHADDD: putPair(d, load<u32>(d) + load<u32>(d, 4), load<u32>(s) + load<u32>(s, 4)); break
    case MMX_PHADDSW: put(d, i16x8.add_sat_s(evenWords(d, s), oddWords(d, s))); break
    case MMX_PHSUBW: put(d, i16x8.sub(evenWords(d, s), oddWords(d, s))); break
    case MMX_PHSUBD: putPair(d, load<u32>(d) - load<u32>(d, 4), load<u32>(s) - load<u32>(s, 4)); break
    case MMX_PHSUBSW: put(d, i16x8.sub_sat_s(evenWords(d, s), oddWords(d, s))); break
    case MMX_PSIGNB: put(d, signB(get(d), get(s))); break
    case MMX_PSIGNW: put(d, signW(get(d), get(s))); break
    case MMX_PSIGND: put(d, signD(get(d), get(s))); break
    case MMX_PABSB: put(d, i8x16.abs(get(s))); break
    case MMX_PABSW: put(d, i16x8.abs(get(s))); break
    case MMX_PABSD: put(d, i32x4.abs(get(s))); break
    case MMX_PSLLW: put(d, load<u64>(s) > 15 ? i64x2.splat(0) : i16x8.shl(get(d), load<i32>(s))); break
    case MMX_PSLLD: put(d, load<u64>(s) > 31 ? i64x2.splat(0) : i32x4.shl(get(d), load<i32>(s))); break
    case MMX_PSLLQ: put(d, load<u64>(s) > 63 ? i64x2.splat(0) : i64x2.shl(get(d), load<i32>(s))); break
    case MMX_PSRLW: put(d, load<u64>(s) > 15 ? i64x2.splat(0) : i16x8.shr_u(get(d), load<i32>(s))); break
    case MMX_PSRLD: put(d, load<u64>(s) > 31 ? i64x2.splat(0) : i32x4.shr_u(get(d), load<i32>(s))); break
    case MMX_PSRLQ: put(d, load<u64>(s) > 63 ? i64x2.splat(0) : i64x2.shr_u(get(d), load<i32>(s))); break
    case MMX_PSRAW: put(d, i16x8.shr_s(get(d), <i32>min<u64>(load<u64>(s), 15))); break
    case MMX_PSRAD: put(d, i32x4.shr_s(get(d), <i32>min<u64>(load<u64>(s), 31))); break
    case MMX_PSLLW_I: put(d, <u32>imm > 15 ? i64x2.splat(0) : i16x8.shl(get(d), imm)); break
    case MMX_PSLLD_I: put(d, <u32>imm > 31 ? i64x2.splat(0) : i32x4.shl(get(d), imm)); break
    case MMX_PSLLQ_I: put(d, <u32>imm > 63 ? i64x2.splat(0) : i64x2.shl(get(d), imm)); break
    case MMX_PSRLW_I: put(d, <u32>imm > 15 ? i64x2.splat(0) : i16x8.shr_u(get(d), imm)); break
    case MMX_PSRLD_I: put(d, <u32>imm > 31 ? i64x2.splat(0) : i32x4.shr_u(get(d), imm)); break
    case MMX_PSRLQ_I: put(d, <u32>imm > 63 ? i64x2.splat(0) : i64x2.shr_u(get(d), imm)); break
    case MMX_PSRAW_I: put(d, i16x8.shr_s(get(d), min<u32>(imm, 15))); break
    case MMX_PSRAD_I: put(d, i32x4.shr_s(get(d), min<u32>(imm, 31))); break
    case MMX_PACKSSWB: put(d, i8x16.narrow_i16x8_s(join(d, s), i64x2.splat(0))); break
    case MMX_PACKSSDW: put(d, i16x8.narrow_i32x4_s(join(d, s), i64x2.splat(0))); break
    case MMX_PACKUSWB: put(d, i8x16.narrow_i16x8_u(join(d, s), i64x2.splat(0))); break
    case MMX_PUNPCKLBW: put(d, v128.shuffle<i8>(get(d), v128.load32_zero(s), 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)); break
    case MMX_PUNPCKLWD: put(d, v128.shuffle<i16>(get(d), v128.load32_zero(s), 0, 8, 1, 9, 2, 10, 3, 11)); break
    case MMX_PUNPCKLDQ: store<u32>(d, load<u32>(s), 4); break
    case MMX_PUNPCKHBW: put(d, v128.shuffle<i8>(get(d), get(s), 4, 20, 5, 21, 6, 22, 7, 23, 4, 20, 5, 21, 6, 22, 7, 23)); break
    case MMX_PUNPCKHWD: put(d, v128.shuffle<i16>(get(d), get(s), 2, 10, 3, 11, 2, 10, 3, 11)); break
    case MMX_PUNPCKHDQ: putPair(d, load<u32>(d, 4), load<u32>(s, 4)); break
    case MMX_PSHUFB: put(d, i8x16.swizzle(get(d), v128.and(get(s), i8x16.splat(<i8>0x87)))); break
    case MMX_PSHUFW: store<u64>(d, shuffleWords(s, imm)); break
    case MMX_PALIGNR: store<u64>(d, alignRight(load<u64>(d), load<u64>(s), imm & 0xff)); break
    case MMX_PINSRW: store<u16>(d + ((imm & 3) << 1), load<u16>(s)); break
    case MMX_PEXTRW: store<u64>(d, <u64>load<u16>(s + ((imm & 3) << 1))); break
    default: return 6
  }
  return 0
}
