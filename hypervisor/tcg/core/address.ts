/** Linear addresses: canonical form, segmentation (SDM volume 3, 5.3 to 5.5) and effective addresses that are not flat 64-bit ones. */
import {
  RFLAGS, SEG, SEG_SIZE, SEG_BASE, SEG_LIMIT, SEG_ATTR, SS, CR0, EXCEPTION, UOP_DISP, UOP_BASE, UOP_INDEX, UOP_SCALE, UOP_SEG, AS_SEG, AS_BASE,
  AS_LEGACY, AS_32, AS_16,
} from './layout'
import { VEC_SS, VEC_GP, raise } from './fault'

/** Bits 63..47 are equal. */
// @ts-ignore: decorator
@inline export function canonical(value: u64): bool { return <u64>((<i64>value << 16) >> 16) == value }

/**
 * @param size bytes accessed; bit 16 set for a write
 * @returns the linear address; when a segment check fails, an exception is pending and the address never hits the TLB
 */
export function eaSlow(cpu: usize, u: usize, size: u32): u64 {
  const bits: u32 = load<u8>(u, UOP_SEG)
  let offset = load<u64>(cpu + load<u16>(u, UOP_BASE)) + (load<u64>(cpu + load<u16>(u, UOP_INDEX)) << load<u8>(u, UOP_SCALE)) + <i64>load<i32>(u, UOP_DISP)
  if (bits & AS_16) offset &= 0xffff
  else if (bits & (AS_32 | AS_LEGACY)) offset &= 0xffffffff
  const segment: u32 = bits & AS_SEG
  if (bits & AS_LEGACY) return segmentAddress(cpu, segment, offset, size & 0xffff, (size >> 16) != 0)
  if (bits & AS_BASE) offset += load<u64>(cpu + SEG + segment * SEG_SIZE, SEG_BASE)
  return offset
}

const NEVER: u64 = 0x8000000000000000

/** Segment limit, type and presence checks outside 64-bit mode (SDM volume 3, 5.3 to 5.5). */
export function segmentAddress(cpu: usize, segment: u32, offset: u64, size: u32, write: bool): u64 {
  const s = cpu + SEG + segment * SEG_SIZE
  const attributes = load<u32>(s, SEG_ATTR)
  const limit = <u64>load<u32>(s, SEG_LIMIT)
  const protectedMode = (load<u32>(cpu, CR0) & 1) != 0 && !(load<u32>(cpu, RFLAGS) & 0x20000)
  let ok = true
  if (protectedMode) {
    if (attributes & 1) ok = false // null selector
    const type = (attributes >> 8) & 15
    if (write && (type & 10) != 2) ok = false
    if (!write && (type & 10) == 8) ok = false
  }
  const last = offset + size - 1
  if ((attributes & 0xc00) == 0x400 && (attributes & 0x1000)) { // expand-down data
    const top: u64 = attributes & 0x400000 ? 0xffffffff : 0xffff
    if (offset <= limit || last > top) ok = false
  } else if (last > limit) ok = false
  if (!ok) {
    if (load<i32>(cpu, EXCEPTION) < 0) raise(cpu, segment == SS ? VEC_SS : VEC_GP, 0)
    return NEVER
  }
  return (load<u64>(s, SEG_BASE) + offset) & 0xffffffff
}
