/**
 * Generic integer handlers: every instruction of the integer rows in any size and operand shape, chosen at run time.
 * exec.ts holds fast versions of the frequent ones. Semantics: Intel SDM volume 2.
 */
import {
  GPR, RIP, RFLAGS, SEG, SEG_SIZE, SEG_BASE, SEG_SELECTOR, ES, CS, DS, FS, GS, CR0, CR4, RIP_SET, CC_LOGIC, UOP_AUX, UOP_D, UOP_S, UOP_IMM, UOP_SEG,
  UOP_X,
} from './layout'
import {
  F_ADD, F_PUSH_SEG, F_POP_SEG, F_OR, F_ADC, F_SBB, F_AND, F_DAA, F_SUB, F_DAS, F_XOR, F_AAA, F_CMP, F_AAS, F_INC, F_DEC, F_PUSH, F_POP, F_PUSHA,
  F_POPA, F_BOUND, F_ARPL, F_MOVSXD, F_IMUL3, F_JCC, F_TEST, F_XCHG, F_MOV, F_MOV_FROM_SEG, F_LEA, F_MOV_TO_SEG, F_NOP, F_CBW, F_CWD, F_PUSHF, F_POPF,
  F_SAHF, F_LAHF, F_MOVS, F_CMPS, F_STOS, F_LODS, F_SCAS, F_ROL, F_ROR, F_RCL, F_RCR, F_SHL, F_SHR, F_SAR, F_RET, F_LSEG0, F_LSEG3, F_ENTER, F_LEAVE,
  F_AAM, F_AAD, F_SALC, F_XLAT, F_LOOPNE, F_LOOPE, F_LOOP, F_JCXZ, F_CALL, F_JMP, F_CMC, F_NOT, F_NEG, F_MUL, F_IMUL1, F_DIV, F_IDIV, F_CLC, F_STC,
  F_CLD, F_STD, F_CALL_IND, F_JMP_IND, F_RDTSCP, F_UD2, F_RDTSC, F_CMOVCC, F_SETCC, F_CPUID, F_BT, F_SHLD, F_BTS, F_SHRD, F_CLFLUSH, F_RDFSBASE,
  F_RDGSBASE, F_WRFSBASE, F_WRGSBASE, F_IMUL2, F_CMPXCHG, F_BTR, F_MOVZX8, F_MOVZX16, F_POPCNT, F_BTC, F_BSF, F_BSR, F_MOVSX8, F_MOVSX16, F_XADD,
  F_CMPXCHG8B, F_RDRAND, F_BSWAP, F_CRC32B, F_CRC32,
} from './decode-table.gen'
import { AUX_DST_MEM, AUX_SRC_IMM } from './decode'
import { hostRandom } from './imports'
import { VEC_UD, VEC_GP, raise } from './fault'
import { loadFarPointer, afterSegmentLoad } from './segment-load'
import { bitTest, compareExchangeWide } from './bits'
import { nextRip, branch, call, loop } from './branch'
import { canonical } from './address'
import { rdtsc, cpuid } from './msr'
import { fence, multi } from './sync'
import { cutBudget } from './time'
import { decimal } from './decimal'
import { pop, pushAll, popAll, enter, leaveFrame } from './stack'
import { loadSegment } from './segment'
import { FL_CF, FL_ZF, FL_OF, FL_DF, FL_IOPL, FL_RF, FL_VM, setcc, sext, flagC, flagZ, getFlags, setFlagsArith, getRflags, condition } from './flags'
import { alu, inc, dec, shift, doubleShift, mul, imul1, imul, div, idiv, crc32c } from './alu'
import {
  failed, clearFailed, loadN, writeRegister, loadLinear, address, addressOffset, source, openDestination, closeDestination, push, peek, dropStack,
  stringLinear, readDestination, writeDestination,
} from './operand'
import { moveToRflags } from './system'
import { stringMove, stringStore, stringLoad, stringScan, stringCompare } from './string'

/** @returns 0 go on with the next uop, 1 leave the block (exception pending, or RIP stored) */
export function execGeneric(cpu: usize, u: usize): u32 {
  const x = load<u32>(u, UOP_X)
  const family = x & 0xffff
  const aux: u32 = load<u8>(u, UOP_AUX)
  const size = aux & 3
  clearFailed()
  switch (family) {
    case F_ADD: return arithmetic(cpu, u, 0, size)
    case F_OR: return arithmetic(cpu, u, 1, size)
    case F_ADC: return arithmetic(cpu, u, 2, size)
    case F_SBB: return arithmetic(cpu, u, 3, size)
    case F_AND: return arithmetic(cpu, u, 4, size)
    case F_SUB: return arithmetic(cpu, u, 5, size)
    case F_XOR: return arithmetic(cpu, u, 6, size)
    case F_CMP: case F_TEST: {
      const a = readDestination(cpu, u, size)
      if (failed) return 1
      const b = source(cpu, u, size)
      if (failed) return 1
      alu(cpu, family == F_CMP ? 7 : 4, size, a, b)
      return 0
    }
    case F_MOV: {
      const value = source(cpu, u, size)
      if (failed) return 1
      return writeDestination(cpu, u, size, value)
    }
    case F_MOVZX8: case F_MOVSX8: case F_MOVZX16: case F_MOVSX16: case F_MOVSXD: {
      const from: u32 = family == F_MOVZX8 || family == F_MOVSX8 ? 0 : family == F_MOVSXD ? 2 : 1
      let value = source(cpu, u, from)
      if (failed) return 1
      if (family == F_MOVSX8 || family == F_MOVSX16 || family == F_MOVSXD) value = sext(value, from)
      writeRegister(cpu, load<u16>(u, UOP_D), size, value)
      return 0
    }
    case F_LEA: writeRegister(cpu, load<u16>(u, UOP_D), size, addressOffset(cpu, u)); return 0
    case F_INC: case F_DEC: case F_NEG: case F_NOT: {
      const p = openDestination(cpu, u, size, 0)
      if (!p) return 1
      const a = loadN(p, size)
      const r = family == F_INC ? inc(cpu, size, a) : family == F_DEC ? dec(cpu, size, a) : family == F_NEG ? alu(cpu, 5, size, 0, a) : ~a
      closeDestination(cpu, u, p, size, r)
      return 0
    }
    case F_ROL: return rotate(cpu, u, 0, size)
    case F_ROR: return rotate(cpu, u, 1, size)
    case F_RCL: return rotate(cpu, u, 2, size)
    case F_RCR: return rotate(cpu, u, 3, size)
    case F_SHL: return rotate(cpu, u, 4, size)
    case F_SHR: return rotate(cpu, u, 5, size)
    case F_SAR: return rotate(cpu, u, 7, size)
    case F_SHLD: case F_SHRD: {
      const p = openDestination(cpu, u, size, 0)
      if (!p) return 1
      const amount = load<i64>(u, UOP_IMM) < 0 ? <u64>load<u8>(cpu, GPR + 8) : load<u64>(u, UOP_IMM)
      closeDestination(cpu, u, p, size, doubleShift(cpu, size, loadN(p, size), loadN(cpu + load<u16>(u, UOP_S), size), amount, family == F_SHLD))
      return 0
    }
    case F_MUL: case F_IMUL1: case F_DIV: case F_IDIV: {
      const y = readDestination(cpu, u, size)
      if (failed) return 1
      if (family == F_MUL) mul(cpu, size, y)
      else if (family == F_IMUL1) imul1(cpu, size, y)
      else if (!(family == F_DIV ? div(cpu, size, y) : idiv(cpu, size, y))) { raise(cpu, 0, 0); return 1 }
      return 0
    }
    case F_IMUL2: case F_IMUL3: {
      const y = source(cpu, u, size)
      if (failed) return 1
      const a = family == F_IMUL3 ? load<u64>(u, UOP_IMM) : loadN(cpu + load<u16>(u, UOP_D), size)
      writeRegister(cpu, load<u16>(u, UOP_D), size, imul(cpu, size, a, y))
      return 0
    }
    case F_CBW:
      if (size == 3) store<i64>(cpu, <i64>load<i32>(cpu, GPR), GPR)
      else if (size == 2) store<u64>(cpu, <u64><u32><i32>load<i16>(cpu, GPR), GPR)
      else store<i16>(cpu, <i16>load<i8>(cpu, GPR), GPR)
      return 0
    case F_CWD: writeRegister(cpu, GPR + 16, size, <u64>(sext(load<u64>(cpu, GPR), size) >> 63)); return 0
    case F_SETCC: return writeDestination(cpu, u, 0, condition(cpu, (x >> 24) & 15))
    case F_CMOVCC: {
      const value = source(cpu, u, size)
      if (failed) return 1
      // A false condition still zero-extends a 32-bit destination.
      if (condition(cpu, (x >> 24) & 15)) writeRegister(cpu, load<u16>(u, UOP_D), size, value)
      else if (size == 2) writeRegister(cpu, load<u16>(u, UOP_D), 2, load<u32>(cpu + load<u16>(u, UOP_D)))
      return 0
    }
    case F_BSWAP: {
      const p: usize = cpu + load<u16>(u, UOP_D)
      if (size == 3) store<u64>(p, bswap<u64>(load<u64>(p)))
      else if (size == 2) store<u64>(p, <u64>bswap<u32>(load<u32>(p)))
      else store<u16>(p, 0) // undefined; silicon clears the word
      return 0
    }
    case F_XCHG: {
      const p = openDestination(cpu, u, size, 0)
      if (!p) return 1
      const a = loadN(p, size)
      const s: u32 = load<u16>(u, UOP_S)
      closeDestination(cpu, u, p, size, loadN(cpu + s, size))
      writeRegister(cpu, s, size, a)
      return 0
    }
    case F_XADD: {
      const p = openDestination(cpu, u, size, 0)
      if (!p) return 1
      const a = loadN(p, size)
      const s: u32 = load<u16>(u, UOP_S)
      const r = alu(cpu, 0, size, a, loadN(cpu + s, size))
      if (aux & AUX_DST_MEM) { closeDestination(cpu, u, p, size, r); writeRegister(cpu, s, size, a) }
      else { writeRegister(cpu, s, size, a); writeRegister(cpu, load<u16>(u, UOP_D), size, r) }
      return 0
    }
    case F_CMPXCHG: {
      const p = openDestination(cpu, u, size, 0)
      if (!p) return 1
      const a = loadN(p, size)
      alu(cpu, 7, size, loadN(cpu + GPR, size), a)
      if (flagZ(cpu)) closeDestination(cpu, u, p, size, loadN(cpu + load<u16>(u, UOP_S), size))
      else {
        // The bus cycle is always a write; a register keeps even its upper half.
        if (aux & AUX_DST_MEM) closeDestination(cpu, u, p, size, a)
        writeRegister(cpu, GPR, size, a)
      }
      return 0
    }
    case F_CMPXCHG8B: return compareExchangeWide(cpu, u, size)
    case F_BT: case F_BTS: case F_BTR: case F_BTC: return bitTest(cpu, u, family, size, aux)
    case F_BSF: case F_BSR: {
      const value = source(cpu, u, size)
      if (failed) return 1
      const masked = size == 3 ? value : size == 2 ? value & 0xffffffff : value & 0xffff
      setcc(cpu, CC_LOGIC + size, masked == 0 ? 0 : 1, 0)
      // A zero source leaves the destination unchanged, as AMD documents and Intel does.
      if (masked) writeRegister(cpu, load<u16>(u, UOP_D), size, family == F_BSF ? ctz<u64>(masked) : 63 - clz<u64>(masked))
      return 0
    }
    case F_POPCNT: {
      const value = source(cpu, u, size)
      if (failed) return 1
      const masked = size == 3 ? value : size == 2 ? value & 0xffffffff : value & 0xffff
      setFlagsArith(cpu, masked ? 0 : FL_ZF)
      writeRegister(cpu, load<u16>(u, UOP_D), size, popcnt<u64>(masked))
      return 0
    }
    case F_CRC32: case F_CRC32B: {
      const from: u32 = family == F_CRC32B ? 0 : size
      const value = source(cpu, u, from)
      if (failed) return 1
      store<u64>(cpu + load<u16>(u, UOP_D), <u64>crc32c(load<u32>(cpu + load<u16>(u, UOP_D)), value, 1 << from))
      return 0
    }
    // ---- control flow outside the fast paths ------------------------------------------------------------------------------
    case F_JMP: return branch(cpu, nextRip(cpu, u) + load<u64>(u, UOP_IMM), size)
    case F_JCC: return condition(cpu, (x >> 24) & 15) ? branch(cpu, nextRip(cpu, u) + load<u64>(u, UOP_IMM), size) : 0
    case F_CALL: return call(cpu, u, nextRip(cpu, u) + load<u64>(u, UOP_IMM), size)
    case F_JMP_IND: {
      const target = readDestination(cpu, u, size)
      return failed ? 1 : branch(cpu, target, size)
    }
    case F_CALL_IND: {
      const target = readDestination(cpu, u, size)
      if (failed) return 1
      return call(cpu, u, target, size)
    }
    case F_RET: {
      const target = peek(cpu, size, 0)
      if (failed) return 1
      branch(cpu, target, size)
      if (load<u32>(cpu, RIP_SET)) dropStack(cpu, (1 << size) + (aux & AUX_SRC_IMM ? load<u64>(u, UOP_IMM) & 0xffff : 0))
      return 1
    }
    case F_LOOP: case F_LOOPE: case F_LOOPNE: case F_JCXZ: return loop(cpu, u, family)
    // ---- stack -------------------------------------------------------------------------------------------------------------
    case F_PUSH: {
      const value = aux & AUX_SRC_IMM ? load<u64>(u, UOP_IMM) : readDestination(cpu, u, size)
      return failed || !push(cpu, size, value) ? 1 : 0
    }
    case F_POP: return pop(cpu, u, size, aux)
    case F_PUSHF: {
      const flags = <u32>getRflags(cpu)
      if ((flags & FL_VM) && (flags & FL_IOPL) != FL_IOPL) { raise(cpu, VEC_GP, 0); return 1 }
      return push(cpu, size, flags & ~(FL_VM | FL_RF)) ? 0 : 1
    }
    case F_POPF: {
      const value = peek(cpu, size, 0)
      if (failed) return 1
      if (!moveToRflags(cpu, value, size)) return 1
      dropStack(cpu, 1 << size)
      store<u64>(cpu, nextRip(cpu, u), RIP)
      store<u32>(cpu, 1, RIP_SET)
      return 1 // IF or TF may have changed
    }
    case F_PUSHA: return pushAll(cpu, size)
    case F_POPA: return popAll(cpu, size)
    case F_ENTER: return enter(cpu, u)
    case F_LEAVE: return leaveFrame(cpu, size)
    // ---- strings -----------------------------------------------------------------------------------------------------------
    case F_MOVS: return stringMove(cpu, u, size)
    case F_STOS: return stringStore(cpu, u, size)
    case F_LODS: return stringLoad(cpu, u, size)
    case F_SCAS: return stringScan(cpu, u, size)
    case F_CMPS: return stringCompare(cpu, u, size)
    // ---- flags and decimal -------------------------------------------------------------------------------------------------
    case F_NOP: return 0
    case F_SAHF: setFlagsArith(cpu, (getFlags(cpu) & FL_OF) | (<u32>load<u8>(cpu, GPR + 1) & 0xd5)); return 0
    case F_LAHF: store<u8>(cpu, <u8>((getFlags(cpu) & 0xd5) | 2), GPR + 1); return 0
    case F_CMC: setFlagsArith(cpu, getFlags(cpu) ^ FL_CF); return 0
    case F_CLC: setFlagsArith(cpu, getFlags(cpu) & ~FL_CF); return 0
    case F_STC: setFlagsArith(cpu, getFlags(cpu) | FL_CF); return 0
    case F_CLD: store<u64>(cpu, load<u64>(cpu, RFLAGS) & ~<u64>FL_DF, RFLAGS); return 0
    case F_STD: store<u64>(cpu, load<u64>(cpu, RFLAGS) | FL_DF, RFLAGS); return 0
    case F_DAA: case F_DAS: case F_AAA: case F_AAS: case F_AAM: case F_AAD: return decimal(cpu, u, family)
    case F_SALC: store<u8>(cpu, flagC(cpu) ? 0xff : 0, GPR); return 0
    case F_XLAT: {
      const width = (x >> 16) & 3
      const offset = (width == 3 ? load<u64>(cpu, GPR + 24) : width == 2 ? <u64>load<u32>(cpu, GPR + 24) : <u64>load<u16>(cpu, GPR + 24)) + load<u8>(cpu, GPR)
      const segment: u32 = load<u8>(u, UOP_SEG) & 7
      const value = loadLinear(cpu, u, stringLinear(cpu, segment, width == 3 ? offset : width == 2 ? offset & 0xffffffff : offset & 0xffff, 0, false), 0)
      if (failed) return 1
      store<u8>(cpu, <u8>value, GPR)
      return 0
    }
    case F_BOUND: {
      const va = address(cpu, u, 2 << size)
      const low = sext(loadLinear(cpu, u, va, size), size)
      if (failed) return 1
      const high = sext(loadLinear(cpu, u, va + (1 << size), size), size)
      if (failed) return 1
      const index = sext(loadN(cpu + load<u16>(u, UOP_D), size), size)
      if (index < low || index > high) { raise(cpu, 5, 0); return 1 }
      return 0
    }
    case F_ARPL: {
      if (!(load<u32>(cpu, CR0) & 1) || (load<u32>(cpu, RFLAGS) & FL_VM)) { raise(cpu, VEC_UD, 0); return 1 }
      // Silicon reads first and writes only a selector that changes.
      const d: u32 = aux & AUX_DST_MEM ? <u32>loadLinear(cpu, u, address(cpu, u, 2), 1) : load<u16>(cpu + load<u16>(u, UOP_D))
      if (failed) return 1
      const s: u32 = load<u16>(cpu + load<u16>(u, UOP_S))
      const lower = (d & 3) < (s & 3)
      if (lower) {
        const p = openDestination(cpu, u, 1, 0)
        if (!p) return 1
        closeDestination(cpu, u, p, 1, (d & ~3) | (s & 3))
      }
      setFlagsArith(cpu, (getFlags(cpu) & ~FL_ZF) | (lower ? FL_ZF : 0))
      return 0
    }
    // ---- machine facts available to user mode ------------------------------------------------------------------------------
    case F_RDRAND: {
      writeRegister(cpu, load<u16>(u, UOP_D), size, <u64>hostRandom() | (<u64>hostRandom() << 32))
      setFlagsArith(cpu, FL_CF)
      return 0
    }
    case F_CPUID:
      cpuid(cpu)
      if (multi) { cutBudget(); fence() } // serializing: what others have changed of the code ahead is looked up anew
      return 0
    case F_RDTSC: case F_RDTSCP: return rdtsc(cpu, family == F_RDTSCP)
    case F_RDFSBASE: case F_RDGSBASE: case F_WRFSBASE: case F_WRGSBASE: {
      if (!(load<u32>(cpu, CR4) & 0x10000)) { raise(cpu, VEC_UD, 0); return 1 }
      const base: usize = cpu + SEG + (family == F_RDFSBASE || family == F_WRFSBASE ? FS : GS) * SEG_SIZE
      if (family == F_RDFSBASE || family == F_RDGSBASE) { writeRegister(cpu, load<u16>(u, UOP_D), size, load<u64>(base, SEG_BASE)); return 0 }
      const value = loadN(cpu + load<u16>(u, UOP_D), size)
      if (!canonical(value)) { raise(cpu, VEC_GP, 0); return 1 }
      store<u64>(base, value, SEG_BASE)
      return 0
    }
    case F_UD2: raise(cpu, VEC_UD, 0); return 1
    case F_CLFLUSH: loadLinear(cpu, u, address(cpu, u, 1), 0); return failed ? 1 : 0
    // ---- segment registers -------------------------------------------------------------------------------------------------
    case F_PUSH_SEG: return push(cpu, size, load<u16>(cpu + SEG + load<u16>(u, UOP_D) * SEG_SIZE, SEG_SELECTOR)) ? 0 : 1
    case F_POP_SEG: {
      const selector = <u32>peek(cpu, size, 0) & 0xffff
      const segment: u32 = load<u16>(u, UOP_D)
      if (failed || !loadSegment(cpu, segment, selector)) return 1
      dropStack(cpu, 1 << size)
      return afterSegmentLoad(cpu, u, segment)
    }
    case F_MOV_FROM_SEG: {
      const selector: u64 = load<u16>(cpu + SEG + (load<u16>(u, UOP_S) > 5 ? 0 : load<u16>(u, UOP_S)) * SEG_SIZE, SEG_SELECTOR)
      if (load<u16>(u, UOP_S) > 5) { raise(cpu, VEC_UD, 0); return 1 }
      return writeDestination(cpu, u, aux & AUX_DST_MEM ? 1 : size, selector)
    }
    case F_MOV_TO_SEG: {
      const segment: u32 = load<u16>(u, UOP_D)
      if (segment == CS || segment > 5) { raise(cpu, VEC_UD, 0); return 1 }
      const selector = <u32>source(cpu, u, 1)
      if (failed || !loadSegment(cpu, segment, selector & 0xffff)) return 1
      return afterSegmentLoad(cpu, u, segment)
    }
    case F_LSEG0: case F_LSEG3: return loadFarPointer(cpu, u, size, family == F_LSEG0 ? ES : DS)
    default: raise(cpu, VEC_UD, 0); return 1
  }
}

function arithmetic(cpu: usize, u: usize, kind: u32, size: u32): u32 {
  const aux: u32 = load<u8>(u, UOP_AUX)
  if (aux & AUX_DST_MEM) {
    const p = openDestination(cpu, u, size, 0)
    if (!p) return 1
    const b = aux & AUX_SRC_IMM ? load<u64>(u, UOP_IMM) : loadN(cpu + load<u16>(u, UOP_S), size)
    closeDestination(cpu, u, p, size, alu(cpu, kind, size, loadN(p, size), b))
    return 0
  }
  const b = source(cpu, u, size)
  if (failed) return 1
  const d: u32 = load<u16>(u, UOP_D)
  writeRegister(cpu, d, size, alu(cpu, kind, size, loadN(cpu + d, size), b))
  return 0
}

function rotate(cpu: usize, u: usize, kind: u32, size: u32): u32 {
  const amount = load<u8>(u, UOP_AUX) & AUX_SRC_IMM ? load<u64>(u, UOP_IMM) : <u64>load<u8>(cpu, GPR + 8)
  const p = openDestination(cpu, u, size, 0)
  if (!p) return 1
  closeDestination(cpu, u, p, size, shift(cpu, kind, size, loadN(p, size), amount))
  return 0
}
