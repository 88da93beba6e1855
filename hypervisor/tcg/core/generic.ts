/**
 * Generic integer handlers: every instruction of the integer rows in any size and operand shape, chosen at run time.
 * exec.ts holds fast versions of the frequent ones. Semantics: Intel SDM volume 2.
 */
import {
  GPR, CC_LOGIC, SEG, SEG_SIZE, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, ES, CS, SS, DS, MODE, MODE_64, RFLAGS, RIP, RIP_BASE, RIP_SET, CPL, CR0, CR4,
  UOP_LEN, UOP_AUX, UOP_D, UOP_S, UOP_IMM, UOP_OFFSET, UOP_X, UOP_SEG, INHIBIT, FS, GS, EXCEPTION,
} from './layout'
import {
  F_ADD, F_OR, F_ADC, F_SBB, F_AND, F_SUB, F_XOR, F_CMP, F_TEST, F_MOV, F_MOVZX8, F_MOVZX16, F_MOVSX8, F_MOVSX16, F_MOVSXD, F_LEA, F_INC, F_DEC, F_NEG, F_NOT,
  F_ROL, F_ROR, F_RCL, F_RCR, F_SHL, F_SHR, F_SAR, F_IMUL1, F_IMUL2, F_IMUL3, F_MUL, F_DIV, F_IDIV, F_PUSH, F_POP, F_LEAVE, F_ENTER, F_CBW, F_CWD, F_SETCC, F_CMOVCC, F_BSWAP,
  F_XCHG, F_XADD, F_CMPXCHG, F_CMPXCHG8B, F_BT, F_BTS, F_BTR, F_BTC, F_BSF, F_BSR, F_POPCNT, F_CRC32, F_CRC32B, F_SHLD, F_SHRD, F_JMP, F_JCC, F_CALL, F_RET, F_JMP_IND, F_CALL_IND,
  F_NOP, F_SAHF, F_LAHF, F_CMC, F_CLC, F_STC, F_CLD, F_STD, F_DAA, F_DAS, F_AAA, F_AAS, F_AAM, F_AAD, F_SALC, F_XLAT, F_MOVS, F_CMPS, F_STOS, F_LODS, F_SCAS,
  F_LOOP, F_LOOPE, F_LOOPNE, F_JCXZ, F_PUSHA, F_POPA, F_PUSHF, F_POPF, F_BOUND, F_ARPL, F_RDRAND, F_CPUID, F_RDTSC, F_RDTSCP, F_RDFSBASE, F_RDGSBASE, F_WRFSBASE, F_WRGSBASE,
  F_PUSH_SEG, F_POP_SEG, F_MOV_FROM_SEG, F_MOV_TO_SEG, F_LSEG0, F_LSEG3, F_UD2, F_CLFLUSH,
} from './decode-table.gen'
import { AUX_DST_MEM, AUX_SRC_IMM } from './decode'
import {
  sext, setcc, condition, flagC, flagZ, getFlags, setFlagsArith, getRflags, FL_CF, FL_AF, FL_ZF, FL_OF, FL_DF, FL_IOPL, FL_VM, FL_RF,
} from './flags'
import { alu, inc, dec, shift, doubleShift, mul, imul1, imul, div, idiv, crc32c } from './alu'
import {
  failed, clearFailed, loadN, writeRegister, loadLinear, storeLinear, address, addressOffset, bitStringAddress, source, openDestination, closeDestination, push, peek,
  dropStack, stackMask, setStackPointer, stackLinear, stringLinear,
} from './operand'
import { raise, VEC_GP, VEC_UD, probeWrite } from './mmu'
import { hostRandom } from './imports'
import { misaligned, isStack } from './simd'
import { cpuid, rdtsc, loadSegment, moveToRflags } from './system'
import { stringMove, stringStore, stringLoad, stringScan, stringCompare } from './string'

/** RIP behind the instruction. */
export function nextRip(cpu: usize, u: usize): u64 {
  return load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET) + (load<u8>(u, UOP_LEN) & 15)
}

/** Near branch: checks the target and stores RIP. @returns 1 (always leaves the block) */
function branch(cpu: usize, target: u64, size: u32): u32 {
  let rip = target
  if (load<u32>(cpu, MODE) == MODE_64) {
    if (<u64>((<i64>rip << 16) >> 16) != rip) { raise(cpu, VEC_GP, 0); return 1 }
  } else {
    rip &= size == 1 ? 0xffff : 0xffffffff
    if (rip > <u64>load<u32>(cpu + SEG + CS * SEG_SIZE, SEG_LIMIT)) { raise(cpu, VEC_GP, 0); return 1 }
  }
  store<u64>(cpu, rip, RIP)
  store<u32>(cpu, 1, RIP_SET)
  return 1
}

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
      const from: u32 = family == F_CRC32B ? 0 : opSizeOf(u)
      const value = source(cpu, u, from)
      if (failed) return 1
      store<u64>(cpu + load<u16>(u, UOP_D), <u64>crc32c(load<u32>(cpu + load<u16>(u, UOP_D)), value, 1 << from))
      return 0
    }
    // ---- control flow outside the fast paths ------------------------------------------------------------------------------
    case F_JMP: return branch(cpu, nextRip(cpu, u) + load<u64>(u, UOP_IMM), size)
    case F_JCC: return condition(cpu, (x >> 24) & 15) ? branch(cpu, nextRip(cpu, u) + load<u64>(u, UOP_IMM), opSizeOf(u)) : 0
    case F_CALL: {
      return call(cpu, u, nextRip(cpu, u) + load<u64>(u, UOP_IMM), opSizeOf(u))
    }
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
    case F_PUSHA: {
      const sp = load<u64>(cpu, GPR + 32)
      const mask = stackMask(cpu)
      const bytes: u32 = 8 << size
      // All eight slots must be writable before the first is written.
      for (let i: u64 = 0; i < 8; i++) {
        const offset = (sp - ((i + 1) << size)) & mask
        if (!probeWrite(cpu, true, stackLinear(cpu, offset, size, true), 1 << size, load<u32>(cpu, CPL) == 3)) return 1
      }
      for (let i: u32 = 0; i < 8; i++) {
        const offset = (sp - ((i + 1) << size)) & mask
        if (!storeLinear(cpu, 0, stackLinear(cpu, offset, size, true), size, i == 4 ? sp : loadN(cpu + GPR + i * 8, size))) return 1
      }
      setStackPointer(cpu, sp - bytes, mask)
      return 0
    }
    case F_POPA: {
      for (let i: u64 = 0; i < 8; i++) { peek(cpu, size, i << size); if (failed) return 1 }
      const sp = load<u64>(cpu, GPR + 32)
      const mask = stackMask(cpu)
      for (let i: u32 = 0; i < 8; i++) {
        const register: u32 = 7 - i
        const value = loadLinear(cpu, 0, stackLinear(cpu, (sp + (i << size)) & mask, size, false), size)
        if (register != 4) writeRegister(cpu, GPR + register * 8, size, value)
      }
      setStackPointer(cpu, sp + (8 << size), mask)
      return 0
    }
    case F_ENTER: return enter(cpu, u)
    case F_LEAVE: {
      const mask = stackMask(cpu)
      const frame = load<u64>(cpu, GPR + 40) & mask
      const value = loadLinear(cpu, 0, stackLinear(cpu, frame, size, false), size)
      if (failed) return 1
      setStackPointer(cpu, frame + (1 << size), mask)
      writeRegister(cpu, GPR + 40, size, value)
      return 0
    }
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
      const segment: u32 = xlatSegment(u)
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
    case F_CPUID: cpuid(cpu); return 0
    case F_RDTSC: case F_RDTSCP: return rdtsc(cpu, family == F_RDTSCP)
    case F_RDFSBASE: case F_RDGSBASE: case F_WRFSBASE: case F_WRGSBASE: {
      if (!(load<u32>(cpu, CR4) & 0x10000)) { raise(cpu, VEC_UD, 0); return 1 }
      const base: usize = cpu + SEG + (family == F_RDFSBASE || family == F_WRFSBASE ? FS : GS) * SEG_SIZE
      if (family == F_RDFSBASE || family == F_RDGSBASE) { writeRegister(cpu, load<u16>(u, UOP_D), size, load<u64>(base, SEG_BASE)); return 0 }
      const value = loadN(cpu + load<u16>(u, UOP_D), size)
      if (<u64>((<i64>value << 16) >> 16) != value) { raise(cpu, VEC_GP, 0); return 1 }
      store<u64>(base, value, SEG_BASE)
      return 0
    }
    case F_UD2: raise(cpu, VEC_UD, 0); return 1
    case F_CLFLUSH: loadLinear(cpu, u, address(cpu, u, 1), 0); return failed ? 1 : 0
    // ---- segment registers -------------------------------------------------------------------------------------------------
    case F_PUSH_SEG: return push(cpu, opSizeOf(u), load<u16>(cpu + SEG + load<u16>(u, UOP_D) * SEG_SIZE, SEG_SELECTOR)) ? 0 : 1
    case F_POP_SEG: {
      const opSize = opSizeOf(u)
      const selector = <u32>peek(cpu, opSize, 0) & 0xffff
      const segment: u32 = load<u16>(u, UOP_D)
      if (failed || !loadSegment(cpu, segment, selector)) return 1
      dropStack(cpu, 1 << opSize)
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

/** LES LDS LSS LFS LGS. */
export function loadFarPointer(cpu: usize, u: usize, size: u32, segment: u32): u32 {
  clearFailed()
  const va = address(cpu, u, (1 << size) + 2)
  const offset = loadLinear(cpu, u, va, size)
  if (failed) return 1
  const selector = <u32>loadLinear(cpu, u, va + (1 << size), 1)
  if (failed || !loadSegment(cpu, segment, selector)) return 1
  writeRegister(cpu, load<u16>(u, UOP_D), size, offset)
  return afterSegmentLoad(cpu, u, segment)
}

/** A segment load changes how later uops must be executed: leave the block; SS also inhibits interrupts for one instruction. */
function afterSegmentLoad(cpu: usize, u: usize, segment: u32): u32 {
  if (segment == SS) store<u32>(cpu, 2, INHIBIT)
  store<u64>(cpu, nextRip(cpu, u), RIP)
  store<u32>(cpu, 1, RIP_SET)
  return 1
}

/** Operand size of forms whose operands do not tell it. */
function opSizeOf(u: usize): u32 { return load<u8>(u, UOP_AUX) & 3 }
function xlatSegment(u: usize): u32 { return load<u8>(u, UOP_SEG) & 7 }

function readDestination(cpu: usize, u: usize, size: u32): u64 {
  if (load<u8>(u, UOP_AUX) & AUX_DST_MEM) return loadLinear(cpu, u, address(cpu, u, 1 << size), size)
  return loadN(cpu + load<u16>(u, UOP_D), size)
}
function writeDestination(cpu: usize, u: usize, size: u32, value: u64): u32 {
  if (load<u8>(u, UOP_AUX) & AUX_DST_MEM) return storeLinear(cpu, u, address(cpu, u, (1 << size) | 0x10000), size, value) ? 0 : 1
  writeRegister(cpu, load<u16>(u, UOP_D), size, value)
  return 0
}
/** The return address is on the stack already; a bad target takes it back. */
/** A near call to a target out of bounds: #GP, unless the stack faults first. Nothing is pushed. */
export function badCall(cpu: usize, size: u32): void {
  const top = stackLinear(cpu, (load<u64>(cpu, GPR + 32) - (1 << size)) & stackMask(cpu), size, true)
  if (load<i32>(cpu, EXCEPTION) < 0 && probeWrite(cpu, true, top, 1 << size, load<u32>(cpu, CPL) == 3)) raise(cpu, VEC_GP, 0)
}
function call(cpu: usize, u: usize, target: u64, size: u32): u32 {
  branch(cpu, target, size)
  if (!load<u32>(cpu, RIP_SET)) {
    store<i32>(cpu, -1, EXCEPTION)
    badCall(cpu, size)
  } else if (!push(cpu, size, nextRip(cpu, u))) store<u32>(cpu, 0, RIP_SET)
  return 1
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

function pop(cpu: usize, u: usize, size: u32, aux: u32): u32 {
  const value = peek(cpu, size, 0)
  if (failed) return 1
  if (!(aux & AUX_DST_MEM)) {
    dropStack(cpu, 1 << size)
    writeRegister(cpu, load<u16>(u, UOP_D), size, value)
    return 0
  }
  // POP m computes its address with the incremented stack pointer.
  const before = load<u64>(cpu, GPR + 32)
  dropStack(cpu, 1 << size)
  if (storeLinear(cpu, u, address(cpu, u, (1 << size) | 0x10000), size, value)) return 0
  store<u64>(cpu, before, GPR + 32)
  return 1
}

function compareExchangeWide(cpu: usize, u: usize, size: u32): u32 {
  if (size == 3) {
    const va = address(cpu, u, 16 | 0x10000)
    if (va & 15) { misaligned(cpu, u, va); return 1 }
    if (!probeWrite(cpu, isStack(u), va, 16, load<u32>(cpu, CPL) == 3)) return 1
    const low = loadLinear(cpu, u, va, 3), high = loadLinear(cpu, u, va + 8, 3)
    if (failed) return 1
    const equal = low == load<u64>(cpu, GPR) && high == load<u64>(cpu, GPR + 16)
    storeLinear(cpu, u, va, 3, equal ? load<u64>(cpu, GPR + 24) : low)
    storeLinear(cpu, u, va + 8, 3, equal ? load<u64>(cpu, GPR + 8) : high)
    if (!equal) { store<u64>(cpu, low, GPR); store<u64>(cpu, high, GPR + 16) }
    setFlagsArith(cpu, (getFlags(cpu) & ~FL_ZF) | (equal ? FL_ZF : 0))
    return 0
  }
  const p = openDestination(cpu, u, 3, 0)
  if (!p) return 1
  const value = load<u64>(p)
  const equal = value == (<u64>load<u32>(cpu, GPR) | (<u64>load<u32>(cpu, GPR + 16) << 32))
  closeDestination(cpu, u, p, 3, equal ? <u64>load<u32>(cpu, GPR + 24) | (<u64>load<u32>(cpu, GPR + 8) << 32) : value)
  if (!equal) { store<u64>(cpu, value & 0xffffffff, GPR); store<u64>(cpu, value >> 32, GPR + 16) }
  setFlagsArith(cpu, (getFlags(cpu) & ~FL_ZF) | (equal ? FL_ZF : 0))
  return 0
}

function bitTest(cpu: usize, u: usize, family: u32, size: u32, aux: u32): u32 {
  const immediate = (aux & AUX_SRC_IMM) != 0
  const index: i64 = immediate ? load<i64>(u, UOP_IMM) : sext(loadN(cpu + load<u16>(u, UOP_S), size), size)
  const bit = <u64>index & ((8 << size) - 1)
  // A register index reaches beyond the operand: a bit string.
  const offset: i64 = aux & AUX_DST_MEM && !immediate ? (index >> <i64>(3 + size)) << <i64>size : 0
  let value: u64
  if (family == F_BT) {
    value = aux & AUX_DST_MEM ? loadLinear(cpu, u, bitStringAddress(cpu, u, 1 << size, offset), size) : loadN(cpu + load<u16>(u, UOP_D), size)
    if (failed) return 1
  } else {
    const p = openDestination(cpu, u, size, offset)
    if (!p) return 1
    value = loadN(p, size)
    const mask: u64 = <u64>1 << bit
    closeDestination(cpu, u, p, size, family == F_BTS ? value | mask : family == F_BTR ? value & ~mask : value ^ mask)
  }
  setFlagsArith(cpu, (getFlags(cpu) & ~FL_CF) | (<u32>(value >> bit) & 1))
  return 0
}

function loop(cpu: usize, u: usize, family: u32): u32 {
  const width = (load<u32>(u, UOP_X) >> 16) & 3
  let count = width == 3 ? load<u64>(cpu, GPR + 8) : width == 2 ? <u64>load<u32>(cpu, GPR + 8) : <u64>load<u16>(cpu, GPR + 8)
  let taken: bool
  if (family == F_JCXZ) taken = count == 0
  else {
    count -= 1
    if (width == 2) count &= 0xffffffff
    else if (width == 1) count &= 0xffff
    taken = count != 0 && (family == F_LOOP || (family == F_LOOPE) == (flagZ(cpu) != 0))
  }
  if (taken) {
    branch(cpu, nextRip(cpu, u) + load<u64>(u, UOP_IMM), load<u32>(cpu, MODE) == MODE_64 ? 3 : opSizeOf(u))
    if (!load<u32>(cpu, RIP_SET)) return 1
  }
  if (family != F_JCXZ) writeRegister(cpu, GPR + 8, width, count)
  return taken ? 1 : 0
}

function enter(cpu: usize, u: usize): u32 {
  const size = load<u32>(cpu, MODE) == MODE_64 ? (opSizeOfEnter(u)) : opSizeOfEnter(u)
  const bytes = load<u64>(u, UOP_IMM) & 0xffff
  const level = (load<u64>(u, UOP_IMM) >> 16) & 31
  const mask = stackMask(cpu)
  const sp = load<u64>(cpu, GPR + 32)
  const frame = load<u64>(cpu, GPR + 40)
  let at = (sp - (1 << size)) & mask
  const newFrame = at
  if (!storeLinear(cpu, 0, stackLinear(cpu, at, size, true), size, frame)) return 1
  for (let i: u64 = 1; i < level; i++) {
    const value = loadLinear(cpu, 0, stackLinear(cpu, (frame - (i << size)) & mask, size, false), size)
    if (failed) return 1
    at = (at - (1 << size)) & mask
    if (!storeLinear(cpu, 0, stackLinear(cpu, at, size, true), size, value)) return 1
  }
  if (level) {
    at = (at - (1 << size)) & mask
    if (!storeLinear(cpu, 0, stackLinear(cpu, at, size, true), size, newFrame)) return 1
  }
  const end = (at - bytes) & mask
  if (!probeWrite(cpu, true, stackLinear(cpu, end, 0, true), 1, load<u32>(cpu, CPL) == 3)) return 1
  if (size == 1 && mask != 0xffff) writeRegister(cpu, GPR + 40, 1, newFrame)
  else writeRegister(cpu, GPR + 40, size, newFrame)
  setStackPointer(cpu, end, mask)
  return 0
}
/** ENTER's own operands are immediates; its operand size sits in bits 40.. of IMM (decode.ts). */
function opSizeOfEnter(u: usize): u32 { return <u32>(load<u64>(u, UOP_IMM) >> 40) & 3 }

function decimal(cpu: usize, u: usize, family: u32): u32 {
  let al: u32 = load<u8>(cpu, GPR), ah: u32 = load<u8>(cpu, GPR + 1)
  let flags = getFlags(cpu)
  const carry = flags & FL_CF, auxiliary = flags & FL_AF
  if (family == F_DAA || family == F_DAS) {
    const old = al
    flags = 0
    if ((al & 15) > 9 || auxiliary) {
      if (family == F_DAA) { if (al + 6 > 0xff || carry) flags |= FL_CF; al += 6 }
      else { if (al < 6 || carry) flags |= FL_CF; al -= 6 }
      flags |= FL_AF
    }
    if (old > 0x99 || carry) { al = family == F_DAA ? al + 0x60 : al - 0x60; flags |= FL_CF }
    else if (family == F_DAA) flags &= ~FL_CF
    al &= 0xff
    store<u8>(cpu, <u8>al, GPR)
  } else if (family == F_AAA || family == F_AAS) {
    flags = 0
    if ((al & 15) > 9 || auxiliary) {
      const ax: u32 = family == F_AAA ? (al | (ah << 8)) + 0x106 : (al | (ah << 8)) - 0x106
      ah = (ax >> 8) & 0xff; al = ax & 15
      flags = FL_AF | FL_CF
    } else al &= 15
    store<u8>(cpu, <u8>al, GPR); store<u8>(cpu, <u8>ah, GPR + 1)
  } else if (family == F_AAM) {
    const base = <u32>load<u64>(u, UOP_IMM) & 0xff
    if (!base) { raise(cpu, 0, 0); return 1 }
    ah = al / base; al = al % base
    flags = 0
    store<u8>(cpu, <u8>al, GPR); store<u8>(cpu, <u8>ah, GPR + 1)
  } else {
    al = (al + ah * (<u32>load<u64>(u, UOP_IMM) & 0xff)) & 0xff
    flags = 0
    store<u16>(cpu, <u16>al, GPR)
  }
  flags |= (al ? 0 : FL_ZF) | (al & 0x80) | ((~popcnt<u32>(al) & 1) << 2)
  setFlagsArith(cpu, flags)
  return 0
}
