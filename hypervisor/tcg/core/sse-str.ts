/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: packed string comparison of SSE4.2. Intel SDM volume 2, section 4.1.
 */
import { GPR, XMM } from './layout'
import { setFlagsArith } from './flags'

const CF = 1, ZF = 64, SF = 128, OF = 2048
const RAX = GPR, RCX = GPR + 8, RDX = GPR + 16

/** Element `i`; words: two bytes each; signed as imm8[1] says. */
@inline
function element(p: usize, i: i32, imm: i32): i32 {
  return imm & 1 ? (imm & 2 ? <i32>load<i16>(p + (i << 1)) : <i32>load<u16>(p + (i << 1))) : (imm & 2 ? <i32>load<i8>(p + i) : <i32>load<u8>(p + i))
}

function implicitLength(p: usize, count: i32, imm: i32): i32 {
  let i = 0
  while (i < count && element(p, i, imm) != 0) i++
  return i
}

/** Absolute value of a length register, at most `count`. */
function explicitLength(p: usize, count: i32, wide: bool): i32 {
  const length = wide ? load<i64>(p) : <i64>load<i32>(p)
  return <i32>min<u64>(<u64>(length < 0 ? -length : length), count)
}

/** One bit for each element of the second operand, before polarity ("IntRes1"). */
function aggregate(a: usize, lengthA: i32, b: usize, lengthB: i32, count: i32, imm: i32): u32 {
  let result: u32 = 0
  switch ((imm >>> 2) & 3) {
    case 0: // equal any: characters of a set
      for (let j = 0; j < lengthB; j++) {
        const value = element(b, j, imm)
        for (let i = 0; i < lengthA; i++) {
          if (element(a, i, imm) == value) {
            result |= 1 << j
            break
          }
        }
      }
      break
    case 1: // ranges: pairs of lower and upper bound
      for (let j = 0; j < lengthB; j++) {
        const value = element(b, j, imm)
        for (let i = 0; i + 1 < lengthA; i += 2) {
          if (element(a, i, imm) <= value && value <= element(a, i + 1, imm)) {
            result |= 1 << j
            break
          }
        }
      }
      break
    case 2: // equal each: beyond both ends counts as equal
      for (let j = 0; j < count; j++) {
        const inA = j < lengthA, inB = j < lengthB
        if (inA && inB ? element(a, j, imm) == element(b, j, imm) : inA == inB) result |= 1 << j
      }
      break
    default: // equal ordered: the first operand occurs here
      for (let j = 0; j < count; j++) {
        let i = 0
        while (i < count - j && i < lengthA && i + j < lengthB && element(a, i, imm) == element(b, i + j, imm)) i++
        if (i >= lengthA || i >= count - j) result |= 1 << j
      }
  }
  return result
}

/**
 * Compares the strings at `a` and `b` and writes ECX or, with `mask`, XMM0, and all arithmetic flags.
 * `explicit`: lengths come from EAX and EDX (`wide`: RAX and RDX), else a null element ends a string.
 */
export function stringCompare(cpu: usize, a: usize, b: usize, imm: i32, explicit: bool, wide: bool, mask: bool): void {
  const count = imm & 1 ? 8 : 16
  const lengthA = explicit ? explicitLength(cpu + RAX, count, wide) : implicitLength(a, count, imm)
  const lengthB = explicit ? explicitLength(cpu + RDX, count, wide) : implicitLength(b, count, imm)
  let bits = aggregate(a, lengthA, b, lengthB, count, imm)
  if (imm & 0x10) bits ^= imm & 0x20 ? (1 << lengthB) - 1 : (1 << count) - 1
  if (!mask) {
    store<u64>(cpu + RCX, bits == 0 ? <u64>count : <u64>(imm & 0x40 ? 31 - clz<u32>(bits) : ctz<u32>(bits)))
  } else if (imm & 0x40) {
    if (count == 8) {
      const lanes = i16x8(1, 2, 4, 8, 16, 32, 64, 128)
      v128.store(cpu + XMM, i16x8.eq(v128.and(i16x8.splat(<i16>bits), lanes), lanes))
    } else {
      const lanes = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128)
      const spread = i64x2((bits & 0xff) * <i64>0x0101010101010101, (bits >>> 8) * <i64>0x0101010101010101)
      v128.store(cpu + XMM, i8x16.eq(v128.and(spread, lanes), lanes))
    }
  } else {
    store<u64>(cpu + XMM, <u64>bits)
    store<u64>(cpu + XMM, 0, 8)
  }
  setFlagsArith(cpu, (bits ? CF : 0) | (lengthB < count ? ZF : 0) | (lengthA < count ? SF : 0) | (bits & 1 ? OF : 0))
}
