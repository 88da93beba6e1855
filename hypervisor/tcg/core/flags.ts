/**
 * Lazy arithmetic flags (layout.ts, CC_*): the last flag-setting operation is remembered, single flags are computed when asked.
 * Intel SDM volume 1, 3.4.3. CC_DST and operands are sign-extended, so ZF, SF and unsigned order do not depend on the size.
 */
import { CC_OP, CC_DST, CC_SRC, CC_SRC2, CC_EFLAGS, CC_ADD, CC_ADC, CC_SUB, CC_SBB, CC_LOGIC, CC_INC, CC_DEC, CC_SHL, CC_SAR, CC_MUL, RFLAGS } from './layout'

export const FL_CF: u32 = 1, FL_PF: u32 = 4, FL_AF: u32 = 16, FL_ZF: u32 = 64, FL_SF: u32 = 128, FL_OF: u32 = 2048
export const FL_TF: u32 = 0x100, FL_IF: u32 = 0x200, FL_DF: u32 = 0x400, FL_IOPL: u32 = 0x3000, FL_NT: u32 = 0x4000
export const FL_RF: u32 = 0x10000, FL_VM: u32 = 0x20000, FL_AC: u32 = 0x40000, FL_VIF: u32 = 0x80000, FL_VIP: u32 = 0x100000, FL_ID: u32 = 0x200000
export const FL_ARITH: u32 = 0x8d5

// @ts-ignore: decorator
@inline export function setcc(cpu: usize, kind: u32, dst: i64, src: i64): void {
  store<u32>(cpu, kind, CC_OP)
  store<i64>(cpu, dst, CC_DST)
  store<i64>(cpu, src, CC_SRC)
}

// @ts-ignore: decorator
@inline export function sext(value: i64, size: u32): i64 {
  const shift = <i64>(64 - (8 << size))
  return (value << shift) >> shift
}

export function flagC(cpu: usize): u32 {
  const op = load<u32>(cpu, CC_OP)
  const dst = load<i64>(cpu, CC_DST)
  const src = load<i64>(cpu, CC_SRC)
  switch (op >> 2) {
    case CC_EFLAGS >> 2: return <u32>src & FL_CF
    case CC_ADD >> 2: return u32(<u64>dst < <u64>src)
    case CC_ADC >> 2: return load<u64>(cpu, CC_SRC2) ? u32(<u64>dst <= <u64>src) : u32(<u64>dst < <u64>src)
    case CC_SUB >> 2: return u32(<u64>sext(dst + src, op & 3) < <u64>src)
    case CC_SBB >> 2: {
      const carry = load<i64>(cpu, CC_SRC2)
      const a = sext(dst + src + carry, op & 3)
      return carry ? u32(<u64>a <= <u64>src) : u32(<u64>a < <u64>src)
    }
    case CC_LOGIC >> 2: return 0
    case CC_INC >> 2: case CC_DEC >> 2: return <u32>src & 1
    case CC_SHL >> 2: return u32(src < 0)
    case CC_SAR >> 2: return <u32>src & 1
    case CC_MUL >> 2: return u32(src != 0)
    default: return 0
  }
}

export function flagO(cpu: usize): u32 {
  const op = load<u32>(cpu, CC_OP)
  const dst = load<i64>(cpu, CC_DST)
  const src = load<i64>(cpu, CC_SRC)
  switch (op >> 2) {
    case CC_EFLAGS >> 2: return (<u32>src >> 11) & 1
    case CC_ADD >> 2: { const a = sext(dst - src, op & 3); return u32(((a ^ dst) & (src ^ dst)) < 0) }
    case CC_ADC >> 2: { const a = sext(dst - src - load<i64>(cpu, CC_SRC2), op & 3); return u32(((a ^ dst) & (src ^ dst)) < 0) }
    case CC_SUB >> 2: { const a = sext(dst + src, op & 3); return u32(((a ^ src) & (a ^ dst)) < 0) }
    case CC_SBB >> 2: { const a = sext(dst + src + load<i64>(cpu, CC_SRC2), op & 3); return u32(((a ^ src) & (a ^ dst)) < 0) }
    case CC_LOGIC >> 2: return 0
    case CC_INC >> 2: return u32(dst == <i64>(-1) << <i64>((8 << (op & 3)) - 1)) // INC wrapped to the most negative value
    case CC_DEC >> 2: return u32(dst == sext(~(<i64>(-1) << <i64>((8 << (op & 3)) - 1)), op & 3))
    case CC_SHL >> 2: return u32((src ^ dst) < 0)
    // SHR: OF = sign of the original operand, which for a one-bit shift is bit 7/15/31/63 of src; SAR leaves sign(src) == sign(dst): OF = 0
    case CC_SAR >> 2: return u32((src ^ dst) < 0)
    case CC_MUL >> 2: return u32(src != 0)
    default: return 0
  }
}

function flagA(cpu: usize): u32 {
  const op = load<u32>(cpu, CC_OP)
  const dst = load<i64>(cpu, CC_DST)
  const src = load<i64>(cpu, CC_SRC)
  switch (op >> 2) {
    case CC_EFLAGS >> 2: return <u32>src & FL_AF
    case CC_ADD >> 2: return <u32>((dst - src) ^ src ^ dst) & FL_AF
    case CC_ADC >> 2: return <u32>((dst - src - load<i64>(cpu, CC_SRC2)) ^ src ^ dst) & FL_AF
    case CC_SUB >> 2: return <u32>((dst + src) ^ src ^ dst) & FL_AF
    case CC_SBB >> 2: return <u32>((dst + src + load<i64>(cpu, CC_SRC2)) ^ src ^ dst) & FL_AF
    case CC_INC >> 2: return <u32>((dst - 1) ^ 1 ^ dst) & FL_AF
    case CC_DEC >> 2: return <u32>((dst + 1) ^ 1 ^ dst) & FL_AF
    default: return 0
  }
}

// @ts-ignore: decorator
@inline export function flagZ(cpu: usize): u32 {
  return load<u32>(cpu, CC_OP) ? u32(load<i64>(cpu, CC_DST) == 0) : (<u32>load<u64>(cpu, CC_SRC) >> 6) & 1
}
// @ts-ignore: decorator
@inline export function flagS(cpu: usize): u32 {
  return load<u32>(cpu, CC_OP) ? u32(load<i64>(cpu, CC_DST) < 0) : (<u32>load<u64>(cpu, CC_SRC) >> 7) & 1
}
function flagP(cpu: usize): u32 {
  if (!load<u32>(cpu, CC_OP)) return (<u32>load<u64>(cpu, CC_SRC) >> 2) & 1
  return ~popcnt<u32>(<u32>load<u8>(cpu, CC_DST)) & 1
}

/** The six arithmetic flags in their RFLAGS positions. */
export function getFlags(cpu: usize): u32 {
  if (!load<u32>(cpu, CC_OP)) return <u32>load<u64>(cpu, CC_SRC) & FL_ARITH
  return flagC(cpu) | (flagP(cpu) << 2) | flagA(cpu) | (flagZ(cpu) << 6) | (flagS(cpu) << 7) | (flagO(cpu) << 11)
}

/** Sets all six arithmetic flags. */
export function setFlagsArith(cpu: usize, bits: u32): void {
  store<u32>(cpu, CC_EFLAGS, CC_OP)
  store<u64>(cpu, <u64>(bits & FL_ARITH), CC_SRC)
}

/** The whole RFLAGS image. */
export function getRflags(cpu: usize): u64 {
  return (load<u64>(cpu, RFLAGS) & ~<u64>FL_ARITH) | 2 | getFlags(cpu)
}

/** Condition `cc` of Jcc/SETcc/CMOVcc (SDM volume 1, appendix B). */
export function condition(cpu: usize, cc: u32): u32 {
  let value: u32
  switch (cc >> 1) {
    case 0: value = flagO(cpu); break
    case 1: value = flagC(cpu); break
    case 2: value = flagZ(cpu); break
    case 3: value = flagC(cpu) | flagZ(cpu); break
    case 4: value = flagS(cpu); break
    case 5: value = flagP(cpu); break
    case 6: value = flagS(cpu) ^ flagO(cpu); break
    default: value = flagZ(cpu) | (flagS(cpu) ^ flagO(cpu)); break
  }
  return (value & 1) ^ (cc & 1)
}
