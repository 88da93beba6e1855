/**
 * Chooses the fast handler of a decoded integer instruction; what has none stays OP_GENERIC.
 * The choice follows the measured instruction mix of a kernel boot; semantics are the generic ones.
 */
import { MODE_64, UOP_OP, UOP_AUX, UOP_IMM, UOP_DISP, UOP_BASE, UOP_OFFSET, UOP_SEG, UOP_X, UOP_D, UOP_S, ZERO } from './layout'
import {
  F_ADD, F_OR, F_ADC, F_SBB, F_AND, F_SUB, F_XOR, F_CMP, F_TEST, F_MOV, F_MOVZX8, F_MOVZX16, F_MOVSX8, F_MOVSX16, F_MOVSXD, F_LEA, F_INC, F_DEC, F_NEG, F_NOT,
  F_SHL, F_SHR, F_SAR, F_ROL, F_ROR, F_IMUL2, F_IMUL3, F_MUL, F_PUSH, F_POP, F_LEAVE, F_CBW, F_CWD, F_SETCC, F_CMOVCC, F_BSWAP, F_XCHG, F_BT,
  F_JMP, F_JCC, F_CALL, F_RET, F_JMP_IND, F_CALL_IND, F_NOP, F_CLI, F_STI, F_SWAPGS,
} from './decode-table.gen'
import {
  OP_GENERIC, OP_SYSTEM, OP_CLI, OP_STI, OP_SWAPGS, OP_LOCKED, OP_JMP, OP_CALL, OP_RET, OP_JMP_R, OP_JMP_M, OP_CALL_R, OP_CALL_M, OP_NOP, OP_JCC_O, OP_MOV_RR8, OP_MOV_RI8, OP_MOV_RI16, OP_MOV_RI64,
  OP_MOVZX_R8, OP_MOVZX_M8, OP_MOVZX_R16, OP_MOVZX_M16, OP_MOVSX_R8_32, OP_MOVSX_M8_32, OP_MOVSX_R8_64, OP_MOVSX_M8_64, OP_MOVSX_R16_32,
  OP_MOVSX_M16_32, OP_MOVSX_R16_64, OP_MOVSX_M16_64, OP_MOVSXD_R, OP_MOVSXD_M, OP_LEA32, OP_LEA64, OP_ADD_RR32, OP_ADD_RR64, OP_OR_RR32, OP_OR_RR64,
  OP_AND_RR32, OP_AND_RR64, OP_SUB_RR32, OP_SUB_RR64, OP_XOR_RR32, OP_XOR_RR64, OP_CMP_RR32, OP_CMP_RR64, OP_ADC_RR32, OP_ADC_RR64, OP_SBB_RR32,
  OP_SBB_RR64, OP_ZERO_R32, OP_CMP_RR8, OP_CMP_RR16, OP_TEST_RR8, OP_TEST_RR16, OP_TEST_RR32, OP_TEST_RR64, OP_INC_R32, OP_INC_R64, OP_SHL_RI32,
  OP_SHL_RC32, OP_IMUL_RR32, OP_IMUL_RR64, OP_MUL_R64, OP_PUSH_R, OP_PUSH_I, OP_PUSH_M, OP_POP_R, OP_LEAVE64, OP_CDQE, OP_CWDE, OP_CDQ, OP_CQO,
  OP_SETCC_R, OP_CMOV_RR32, OP_CMOV_RM32, OP_CMOV_RM64, OP_BSWAP32, OP_BSWAP64, OP_XCHG_RR64, OP_BT_RI64, OP_BT_RR64,
} from './ops'
import { AUX_DST_MEM, AUX_LOCK, AUX_SRC_MEM, AUX_SRC_IMM, UOP_MOFFS } from './decode'
import { multi } from './sync'

/** Specialisation can be switched off: every instruction then runs through the generic handlers (tests compare both). */
export let specialised: bool = true
export function setSpecialised(on: bool): void { specialised = on }

/** Operand shapes: 0 RR, 1 RI, 2 RM, 3 MR, 4 MI. */
function shapeOf(aux: u32): u32 {
  if (aux & AUX_DST_MEM) return aux & AUX_SRC_IMM ? 4 : 3
  if (aux & AUX_SRC_MEM) return 2
  return aux & AUX_SRC_IMM ? 1 : 0
}

export function specialise(u: usize, family: u32, mode: u32, opcode: u32, length: u32): void {
  if (load<u16>(u, UOP_OP) == OP_SYSTEM && specialised && mode == MODE_64) {
    if (family == F_CLI) store<u16>(u, <u16>OP_CLI, UOP_OP)
    else if (family == F_STI) store<u16>(u, <u16>OP_STI, UOP_OP)
    else if (family == F_SWAPGS) store<u16>(u, <u16>OP_SWAPGS, UOP_OP)
  }
  if (load<u16>(u, UOP_OP) != OP_GENERIC) return
  const aux: u32 = load<u8>(u, UOP_AUX)
  const size = aux & 3
  const is32 = size == 2, is64 = size == 3
  if (multi && (aux & AUX_LOCK || (family == F_XCHG && aux & AUX_DST_MEM))) { store<u16>(u, <u16>OP_LOCKED, UOP_OP); return }
  if (load<u16>(u, UOP_BASE) == UOP_MOFFS) {
    const offset = load<i64>(u, UOP_IMM)
    if (offset != <i64><i32>offset) return
    store<u16>(u, <u16>ZERO, UOP_BASE)
    store<i32>(u, <i32>offset, UOP_DISP)
  }
  const shape = shapeOf(aux)
  let op: u32 = OP_GENERIC
  // Direct branches keep their target relative to RIP_BASE.
  if (family == F_JMP || family == F_JCC || family == F_CALL) {
    if (mode != MODE_64) return
    store<i64>(u, load<i64>(u, UOP_IMM) + <i64>load<u16>(u, UOP_OFFSET) + <i64>length, UOP_IMM)
    store<u32>(u, 0, UOP_X)
    store<u16>(u, <u16>(family == F_JMP ? OP_JMP : family == F_CALL ? OP_CALL : OP_JCC_O + (opcode & 15)), UOP_OP)
    return
  }
  if (!specialised) return
  switch (family) {
    case F_NOP: if ((load<u32>(u, UOP_X) & 0xffff) == F_NOP) op = OP_NOP; break // 41 90 has become XCHG
    case F_RET: if (mode == MODE_64 && size == 3) op = OP_RET; break
    case F_JMP_IND: if (mode == MODE_64 && size == 3) op = aux & AUX_DST_MEM ? OP_JMP_M : OP_JMP_R; break
    case F_CALL_IND: if (mode == MODE_64 && size == 3) op = aux & AUX_DST_MEM ? OP_CALL_M : OP_CALL_R; break
    case F_MOV:
      if (shape == 1) op = size == 0 ? OP_MOV_RI8 : size == 1 ? OP_MOV_RI16 : OP_MOV_RI64
      else op = OP_MOV_RR8 + size * 4 + (shape == 0 ? 0 : shape - 1)
      if (shape == 1 && is32) store<i64>(u, load<i64>(u, UOP_IMM) & 0xffffffff, UOP_IMM)
      break
    case F_MOVZX8: if (size >= 2) op = shape == 2 ? OP_MOVZX_M8 : OP_MOVZX_R8; break
    case F_MOVZX16: if (size >= 2) op = shape == 2 ? OP_MOVZX_M16 : OP_MOVZX_R16; break
    case F_MOVSX8: if (is32) op = shape == 2 ? OP_MOVSX_M8_32 : OP_MOVSX_R8_32; else if (is64) op = shape == 2 ? OP_MOVSX_M8_64 : OP_MOVSX_R8_64; break
    case F_MOVSX16: if (is32) op = shape == 2 ? OP_MOVSX_M16_32 : OP_MOVSX_R16_32; else if (is64) op = shape == 2 ? OP_MOVSX_M16_64 : OP_MOVSX_R16_64; break
    case F_MOVSXD: if (is64) op = shape == 2 ? OP_MOVSXD_M : OP_MOVSXD_R; break
    case F_LEA: if (load<u8>(u, UOP_SEG) == 0) { if (is64) op = OP_LEA64; else if (is32) op = OP_LEA32 } break
    case F_ADD: if (size >= 2) op = (is64 ? OP_ADD_RR64 : OP_ADD_RR32) + shape; break
    case F_OR: if (size >= 2) op = (is64 ? OP_OR_RR64 : OP_OR_RR32) + shape; break
    case F_AND: if (size >= 2) op = (is64 ? OP_AND_RR64 : OP_AND_RR32) + shape; break
    case F_SUB: if (size >= 2) op = (is64 ? OP_SUB_RR64 : OP_SUB_RR32) + shape; break
    case F_XOR:
      if (size >= 2) op = shape == 0 && load<u16>(u, UOP_D) == load<u16>(u, UOP_S) ? OP_ZERO_R32 : (is64 ? OP_XOR_RR64 : OP_XOR_RR32) + shape
      break
    case F_CMP: op = (size == 0 ? OP_CMP_RR8 : size == 1 ? OP_CMP_RR16 : is64 ? OP_CMP_RR64 : OP_CMP_RR32) + shape; break
    case F_ADC: if (size >= 2 && shape < 3) op = (is64 ? OP_ADC_RR64 : OP_ADC_RR32) + shape; break
    case F_SBB: if (size >= 2 && shape < 3) op = (is64 ? OP_SBB_RR64 : OP_SBB_RR32) + shape; break
    case F_TEST: {
      const base: u32 = size == 0 ? OP_TEST_RR8 : size == 1 ? OP_TEST_RR16 : is64 ? OP_TEST_RR64 : OP_TEST_RR32
      op = shape == 0 ? base : shape == 1 ? base + 1 : shape == 4 ? base + 2 : base + 3
      break
    }
    case F_INC: if (size >= 2) op = (is64 ? OP_INC_R64 : OP_INC_R32) + (aux & AUX_DST_MEM ? 4 : 0); break
    case F_DEC: if (size >= 2) op = (is64 ? OP_INC_R64 : OP_INC_R32) + 1 + (aux & AUX_DST_MEM ? 4 : 0); break
    case F_NEG: if (size >= 2 && !(aux & AUX_DST_MEM)) op = (is64 ? OP_INC_R64 : OP_INC_R32) + 2; break
    case F_NOT: if (size >= 2 && !(aux & AUX_DST_MEM)) op = (is64 ? OP_INC_R64 : OP_INC_R32) + 3; break
    case F_SHL: case F_SHR: case F_SAR: case F_ROL: case F_ROR: {
      if (size < 2 || shape > 1) break
      const kind: u32 = family == F_SHL ? 0 : family == F_SHR ? 1 : family == F_SAR ? 2 : family == F_ROL ? 3 : 4
      if (shape == 1) {
        const count = load<i64>(u, UOP_IMM) & (is64 ? 63 : 31)
        store<i64>(u, count, UOP_IMM)
        if (count) op = OP_SHL_RI32 + kind * 2 + (is64 ? 1 : 0) // a zero count leaves the flags alone: generic
      } else if (kind < 3) op = OP_SHL_RC32 + kind * 2 + (is64 ? 1 : 0)
      break
    }
    case F_IMUL2: if (size >= 2) op = (is64 ? OP_IMUL_RR64 : OP_IMUL_RR32) + (shape == 2 ? 1 : 0); break
    case F_IMUL3: if (size >= 2 && shape == 0) op = (is64 ? OP_IMUL_RR64 : OP_IMUL_RR32) + 2; break
    case F_MUL: if (is64 && !(aux & AUX_DST_MEM)) op = OP_MUL_R64; break
    case F_PUSH: if (mode == MODE_64 && is64) op = aux & AUX_DST_MEM ? OP_PUSH_M : aux & AUX_SRC_IMM ? OP_PUSH_I : OP_PUSH_R; break
    case F_POP: if (mode == MODE_64 && is64 && !(aux & AUX_DST_MEM)) op = OP_POP_R; break
    case F_LEAVE: if (mode == MODE_64 && is64) op = OP_LEAVE64; break
    case F_CBW: if (is64) op = OP_CDQE; else if (is32) op = OP_CWDE; break
    case F_CWD: if (is64) op = OP_CQO; else if (is32) op = OP_CDQ; break
    case F_SETCC: if (!(aux & AUX_DST_MEM)) op = OP_SETCC_R; break
    case F_CMOVCC: if (size >= 2) op = (shape == 2 ? OP_CMOV_RM32 : OP_CMOV_RR32) + (is64 ? 1 : 0); break
    case F_BSWAP: if (size >= 2) op = is64 ? OP_BSWAP64 : OP_BSWAP32; break
    case F_XCHG: if (is64 && shape == 0) op = OP_XCHG_RR64; break
    case F_BT: if (is64 && shape == 1) op = OP_BT_RI64; else if (is64 && shape == 0) op = OP_BT_RR64; break
    default: break
  }
  if (op == OP_GENERIC) return
  if (op == OP_SETCC_R || (op >= OP_CMOV_RR32 && op <= OP_CMOV_RM64)) store<u32>(u, opcode & 15, UOP_X)
  store<u16>(u, <u16>op, UOP_OP)
}
