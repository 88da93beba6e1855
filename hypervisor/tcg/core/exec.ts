/**
 * The interpreter's inner loop: one big switch over decoded uops. Handlers that end with `continue` go on with `u`;
 * `break` goes to the tail, where `leave` says what happened (JUMP_*; 0 = exception or a system instruction is done).
 * Loads and stores look into the TLB inline; a miss calls the slow path of access.ts (operands: exec-inline.ts).
 * Pushes are written out on purpose: a helper that returns whether it faulted, inlined, costs 1 to 2 % of a kernel's boot.
 */
import * as OP from './ops'
import {
  G_IRQ_DIRTY, G_KICK, G_NEVER_TLB, EVENTS, RFLAGS, GPR, RIP_BASE, RIP, EXCEPTION, RIP_SET, CPL, TLB_KERNEL_READ, TLB_KERNEL_WRITE, TLB_USER_READ, TLB_USER_WRITE,
  CC_SUB, CC_LOGIC, CC_INC, CC_DEC, CC_SHL, CC_SAR, CC_MUL, UOP_LEN, UOP_AUX, UOP_D, UOP_S, UOP_IMM, UOP_DISP, UOP_BASE, UOP_INDEX,
  UOP_SCALE, UOP_OFFSET, UOP_X, UOP_NEAR, UOP_FAR, BLOCK_BYTES, BLOCK_PAGE2, BLOCK_HEAT, UOP_SIZE, JIT_TARGET, REGION_DIRECT, REGION_INDIRECT, REGION_LEAVE, REGION_DONE,
  REGION_OUT, REGION_ON,
} from './layout'
import { VEC_UD, VEC_GP, raise } from './fault'
import {
  hit, readPointer, writeMemory, modifyPointer, commit, reg32, d32, s32, d64, s64, imm32, imm64, set64, add32, add64, sub32, sub64, logic32, logic64,
  carry, adc32, adc64, sbb32, sbb64, below, less,
} from './exec-inline'
import { badCall } from './branch'
import { canonical } from './address'
import { slowAccess } from './access-check'
import { slowRead, slowWrite } from './access'
import { FL_IF, setcc, flagO, flagZ, flagS, getFlags, setFlagsArith, condition } from './flags'
import { highHalf, multiply, multiplySigned } from './alu'
import { execGeneric } from './generic'
import { execSystem, swapGs } from './system'
import { execSimdRegister, execSimdLoad, execSimdStore, execX87 } from './simd'
import { lookup } from './block'
import { knownBlock } from './jump-cache'
import { generation } from './cache'
import { execLocked } from './locked'
import { fence } from './sync'
import { enterHot, onward, regionBehind, threshold } from './translate'
import { retired, sliceEnd, addRetired } from './time'

const JUMP_DIRECT: u32 = 1, JUMP_INDIRECT: u32 = 2, JUMP_NEXT: u32 = 3, JUMP_DROPPED: u32 = 4, JUMP_ENTER: u32 = 5, JUMP_LEFT: u32 = 6
/** The uop that exec() begins with: it goes to the tail, where translated code is entered. */
const ENTER: usize = memory.data<u64>([223, 0, 0, 0], 32) // OP_ENTER

/** Runs uops from `first` until the slice ends or something needs the outer loop; RIP is stored then. */
export function exec(cpu: usize, first: usize): void {
  let u = first
  do u = run(cpu, u)
  while (u)
}

/** @returns where to go on with the privilege that the last instruction has left, 0: nowhere */
function run(cpu: usize, first: usize): usize {
  let u = ENTER
  let entry = first
  let leave: u32 = 0
  let target: u64 = 0
  let user = load<u32>(cpu, CPL) == 3
  // A table of never-matching entries makes every access slow while breakpoints or alignment checks are on.
  let rt: usize = slowAccess ? G_NEVER_TLB : cpu + (user ? TLB_USER_READ : TLB_KERNEL_READ)
  let wt: usize = slowAccess ? G_NEVER_TLB : cpu + (user ? TLB_USER_WRITE : TLB_KERNEL_WRITE)
  while (true) {
    switch (<u32>load<u16>(u)) {
      case OP.OP_ENTER: { leave = JUMP_ENTER; break }
      case OP.OP_END: { leave = JUMP_NEXT; break }
      case OP.OP_LEAVE: { leave = JUMP_DROPPED; break }
      case OP.OP_GENERIC: { if (execGeneric(cpu, u)) break; u += 32; continue }
      case OP.OP_SYSTEM: { execSystem(cpu, u); break }
      case OP.OP_SIMD_RR: { if (execSimdRegister(cpu, u)) break; u += 32; continue }
      case OP.OP_SIMD_RM: { if (execSimdLoad(cpu, u)) break; u += 32; continue }
      case OP.OP_SIMD_ST: { if (execSimdStore(cpu, u)) break; u += 32; continue }
      case OP.OP_X87: { if (execX87(cpu, u)) break; u += 32; continue }
      case OP.OP_UD: { raise(cpu, VEC_UD, 0); break }
      case OP.OP_GP: { raise(cpu, VEC_GP, 0); break }
      case OP.OP_JMP: { leave = JUMP_DIRECT; break }
      case OP.OP_CALL: {
        const back = load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET) + (load<u8>(u, UOP_LEN) & 15)
        const sp = load<u64>(cpu, GPR + 32) - 8
        const p = hit<u64>(wt, sp)
        if (p) store<u64>(p, back)
        else if (slowWrite(cpu, 0, sp, 8, back)) break
        store<u64>(cpu, sp, GPR + 32)
        leave = JUMP_DIRECT
        break
      }
      case OP.OP_RET: {
        const sp = load<u64>(cpu, GPR + 32)
        let p = hit<u64>(rt, sp)
        if (!p) { p = slowRead(cpu, 0, sp, 8); if (!p) break }
        const to = load<u64>(p)
        if (!canonical(to)) { raise(cpu, VEC_GP, 0); break }
        store<u64>(cpu, sp + 8 + (load<u8>(u, UOP_AUX) & 16 ? load<u64>(u, UOP_IMM) & 0xffff : 0), GPR + 32)
        target = to
        leave = JUMP_INDIRECT
        break
      }
      case OP.OP_JMP_R: {
        const to = <u64>d64(cpu, u)
        if (!canonical(to)) { raise(cpu, VEC_GP, 0); break }
        target = to
        leave = JUMP_INDIRECT
        break
      }
      case OP.OP_JMP_M: {
        const p = readPointer<u64>(cpu, u, rt)
        if (!p) break
        const to = load<u64>(p)
        if (!canonical(to)) { raise(cpu, VEC_GP, 0); break }
        target = to
        leave = JUMP_INDIRECT
        break
      }
      case OP.OP_CALL_R: {
        const to = <u64>d64(cpu, u)
        if (!canonical(to)) { badCall(cpu, 3); break }
        const back = load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET) + (load<u8>(u, UOP_LEN) & 15)
        const sp = load<u64>(cpu, GPR + 32) - 8
        const p = hit<u64>(wt, sp)
        if (p) store<u64>(p, back)
        else if (slowWrite(cpu, 0, sp, 8, back)) break
        store<u64>(cpu, sp, GPR + 32)
        target = to
        leave = JUMP_INDIRECT
        break
      }
      case OP.OP_CALL_M: {
        const q = readPointer<u64>(cpu, u, rt)
        if (!q) break
        const to = load<u64>(q)
        if (!canonical(to)) { badCall(cpu, 3); break }
        const back = load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET) + (load<u8>(u, UOP_LEN) & 15)
        const sp = load<u64>(cpu, GPR + 32) - 8
        const p = hit<u64>(wt, sp)
        if (p) store<u64>(p, back)
        else if (slowWrite(cpu, 0, sp, 8, back)) break
        store<u64>(cpu, sp, GPR + 32)
        target = to
        leave = JUMP_INDIRECT
        break
      }
      case OP.OP_NOP: { u += 32; continue }
      case OP.OP_JCC_O: { if (flagO(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_NO: { if (!flagO(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_B: { if (below(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_AE: { if (!below(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_E: { if (flagZ(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_NE: { if (!flagZ(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_BE: { if ((flagZ(cpu) | below(cpu))) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_A: { if (!(flagZ(cpu) | below(cpu))) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_S: { if (flagS(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_NS: { if (!flagS(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_P: { if (condition(cpu, 10)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_NP: { if (condition(cpu, 11)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_L: { if (less(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_GE: { if (!less(cpu)) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_LE: { if ((flagZ(cpu) | less(cpu))) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_JCC_G: { if (!(flagZ(cpu) | less(cpu))) { leave = JUMP_DIRECT; break } u += 32; continue }
      case OP.OP_MOV_RR8: { store<u8>(cpu + load<u16>(u, UOP_D), load<u8>(cpu + load<u16>(u, UOP_S))); u += 32; continue }
      case OP.OP_MOV_RR16: { store<u16>(cpu + load<u16>(u, UOP_D), load<u16>(cpu + load<u16>(u, UOP_S))); u += 32; continue }
      case OP.OP_MOV_RR32: { reg32(cpu, u, s32(cpu, u)); u += 32; continue }
      case OP.OP_MOV_RR64: { set64(cpu, u, s64(cpu, u)); u += 32; continue }
      case OP.OP_MOV_RI8: { store<u8>(cpu + load<u16>(u, UOP_D), <u8>imm32(u)); u += 32; continue }
      case OP.OP_MOV_RI16: { store<u16>(cpu + load<u16>(u, UOP_D), <u16>imm32(u)); u += 32; continue }
      case OP.OP_MOV_RI64: { set64(cpu, u, imm64(u)); u += 32; continue }
      case OP.OP_MOV_RM8: { const p = readPointer<u8>(cpu, u, rt); if (!p) break; store<u8>(cpu + load<u16>(u, UOP_D), load<u8>(p)); u += 32; continue }
      case OP.OP_MOV_RM16: { const p = readPointer<u16>(cpu, u, rt); if (!p) break; store<u16>(cpu + load<u16>(u, UOP_D), load<u16>(p)); u += 32; continue }
      case OP.OP_MOV_RM32: { const p = readPointer<u32>(cpu, u, rt); if (!p) break; reg32(cpu, u, load<u32>(p)); u += 32; continue }
      case OP.OP_MOV_RM64: { const p = readPointer<u64>(cpu, u, rt); if (!p) break; set64(cpu, u, load<i64>(p)); u += 32; continue }
      case OP.OP_MOV_MR8: { if (!writeMemory<u8>(cpu, u, wt, load<u8>(cpu + load<u16>(u, UOP_S)))) break; u += 32; continue }
      case OP.OP_MOV_MI8: { if (!writeMemory<u8>(cpu, u, wt, load<u8>(u, UOP_IMM))) break; u += 32; continue }
      case OP.OP_MOV_MR16: { if (!writeMemory<u16>(cpu, u, wt, load<u16>(cpu + load<u16>(u, UOP_S)))) break; u += 32; continue }
      case OP.OP_MOV_MI16: { if (!writeMemory<u16>(cpu, u, wt, load<u16>(u, UOP_IMM))) break; u += 32; continue }
      case OP.OP_MOV_MR32: { if (!writeMemory<u32>(cpu, u, wt, load<u32>(cpu + load<u16>(u, UOP_S)))) break; u += 32; continue }
      case OP.OP_MOV_MI32: { if (!writeMemory<u32>(cpu, u, wt, load<u32>(u, UOP_IMM))) break; u += 32; continue }
      case OP.OP_MOV_MR64: { if (!writeMemory<u64>(cpu, u, wt, load<u64>(cpu + load<u16>(u, UOP_S)))) break; u += 32; continue }
      case OP.OP_MOV_MI64: { if (!writeMemory<u64>(cpu, u, wt, load<u64>(u, UOP_IMM))) break; u += 32; continue }
      case OP.OP_MOVZX_R8: { reg32(cpu, u, load<u8>(cpu + load<u16>(u, UOP_S))); u += 32; continue }
      case OP.OP_MOVZX_M8: { const p = readPointer<u8>(cpu, u, rt); if (!p) break; reg32(cpu, u, load<u8>(p)); u += 32; continue }
      case OP.OP_MOVSX_R8_32: { reg32(cpu, u, <u32><i32>load<i8>(cpu + load<u16>(u, UOP_S))); u += 32; continue }
      case OP.OP_MOVSX_M8_32: { const p = readPointer<u8>(cpu, u, rt); if (!p) break; reg32(cpu, u, <u32><i32>load<i8>(p)); u += 32; continue }
      case OP.OP_MOVSX_R8_64: { set64(cpu, u, <i64>load<i8>(cpu + load<u16>(u, UOP_S))); u += 32; continue }
      case OP.OP_MOVSX_M8_64: { const p = readPointer<u8>(cpu, u, rt); if (!p) break; set64(cpu, u, <i64>load<i8>(p)); u += 32; continue }
      case OP.OP_MOVZX_R16: { reg32(cpu, u, load<u16>(cpu + load<u16>(u, UOP_S))); u += 32; continue }
      case OP.OP_MOVZX_M16: { const p = readPointer<u16>(cpu, u, rt); if (!p) break; reg32(cpu, u, load<u16>(p)); u += 32; continue }
      case OP.OP_MOVSX_R16_32: { reg32(cpu, u, <u32><i32>load<i16>(cpu + load<u16>(u, UOP_S))); u += 32; continue }
      case OP.OP_MOVSX_M16_32: { const p = readPointer<u16>(cpu, u, rt); if (!p) break; reg32(cpu, u, <u32><i32>load<i16>(p)); u += 32; continue }
      case OP.OP_MOVSX_R16_64: { set64(cpu, u, <i64>load<i16>(cpu + load<u16>(u, UOP_S))); u += 32; continue }
      case OP.OP_MOVSX_M16_64: { const p = readPointer<u16>(cpu, u, rt); if (!p) break; set64(cpu, u, <i64>load<i16>(p)); u += 32; continue }
      case OP.OP_MOVSXD_R: { set64(cpu, u, <i64>s32(cpu, u)); u += 32; continue }
      case OP.OP_MOVSXD_M: { const p = readPointer<u32>(cpu, u, rt); if (!p) break; set64(cpu, u, <i64>load<i32>(p)); u += 32; continue }
      case OP.OP_LEA32: { reg32(cpu, u, <u32>(load<u64>(cpu + load<u16>(u, UOP_BASE)) + (load<u64>(cpu + load<u16>(u, UOP_INDEX)) << load<u8>(u, UOP_SCALE)) + <i64>load<i32>(u, UOP_DISP))); u += 32; continue }
      case OP.OP_LEA64: { set64(cpu, u, load<u64>(cpu + load<u16>(u, UOP_BASE)) + (load<u64>(cpu + load<u16>(u, UOP_INDEX)) << load<u8>(u, UOP_SCALE)) + <i64>load<i32>(u, UOP_DISP)); u += 32; continue }
      case OP.OP_ADD_RR32: { reg32(cpu, u, add32(cpu, d32(cpu, u), s32(cpu, u))); u += 32; continue }
      case OP.OP_ADD_RI32: { reg32(cpu, u, add32(cpu, d32(cpu, u), imm32(u))); u += 32; continue }
      case OP.OP_ADD_RM32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; reg32(cpu, u, add32(cpu, d32(cpu, u), load<i32>(p))); u += 32; continue }
      case OP.OP_ADD_MR32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, add32(cpu, load<i32>(p), s32(cpu, u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_ADD_MI32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, add32(cpu, load<i32>(p), imm32(u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_ADD_RR64: { set64(cpu, u, add64(cpu, d64(cpu, u), s64(cpu, u))); u += 32; continue }
      case OP.OP_ADD_RI64: { set64(cpu, u, add64(cpu, d64(cpu, u), imm64(u))); u += 32; continue }
      case OP.OP_ADD_RM64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; set64(cpu, u, add64(cpu, d64(cpu, u), load<i64>(p))); u += 32; continue }
      case OP.OP_ADD_MR64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, add64(cpu, load<i64>(p), s64(cpu, u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_ADD_MI64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, add64(cpu, load<i64>(p), imm64(u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_OR_RR32: { reg32(cpu, u, logic32(cpu, d32(cpu, u) | s32(cpu, u))); u += 32; continue }
      case OP.OP_OR_RI32: { reg32(cpu, u, logic32(cpu, d32(cpu, u) | imm32(u))); u += 32; continue }
      case OP.OP_OR_RM32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; reg32(cpu, u, logic32(cpu, d32(cpu, u) | load<i32>(p))); u += 32; continue }
      case OP.OP_OR_MR32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, logic32(cpu, load<i32>(p) | s32(cpu, u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_OR_MI32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, logic32(cpu, load<i32>(p) | imm32(u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_OR_RR64: { set64(cpu, u, logic64(cpu, d64(cpu, u) | s64(cpu, u))); u += 32; continue }
      case OP.OP_OR_RI64: { set64(cpu, u, logic64(cpu, d64(cpu, u) | imm64(u))); u += 32; continue }
      case OP.OP_OR_RM64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; set64(cpu, u, logic64(cpu, d64(cpu, u) | load<i64>(p))); u += 32; continue }
      case OP.OP_OR_MR64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, logic64(cpu, load<i64>(p) | s64(cpu, u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_OR_MI64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, logic64(cpu, load<i64>(p) | imm64(u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_AND_RR32: { reg32(cpu, u, logic32(cpu, d32(cpu, u) & s32(cpu, u))); u += 32; continue }
      case OP.OP_AND_RI32: { reg32(cpu, u, logic32(cpu, d32(cpu, u) & imm32(u))); u += 32; continue }
      case OP.OP_AND_RM32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; reg32(cpu, u, logic32(cpu, d32(cpu, u) & load<i32>(p))); u += 32; continue }
      case OP.OP_AND_MR32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, logic32(cpu, load<i32>(p) & s32(cpu, u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_AND_MI32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, logic32(cpu, load<i32>(p) & imm32(u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_AND_RR64: { set64(cpu, u, logic64(cpu, d64(cpu, u) & s64(cpu, u))); u += 32; continue }
      case OP.OP_AND_RI64: { set64(cpu, u, logic64(cpu, d64(cpu, u) & imm64(u))); u += 32; continue }
      case OP.OP_AND_RM64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; set64(cpu, u, logic64(cpu, d64(cpu, u) & load<i64>(p))); u += 32; continue }
      case OP.OP_AND_MR64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, logic64(cpu, load<i64>(p) & s64(cpu, u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_AND_MI64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, logic64(cpu, load<i64>(p) & imm64(u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_SUB_RR32: { reg32(cpu, u, sub32(cpu, d32(cpu, u), s32(cpu, u))); u += 32; continue }
      case OP.OP_SUB_RI32: { reg32(cpu, u, sub32(cpu, d32(cpu, u), imm32(u))); u += 32; continue }
      case OP.OP_SUB_RM32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; reg32(cpu, u, sub32(cpu, d32(cpu, u), load<i32>(p))); u += 32; continue }
      case OP.OP_SUB_MR32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, sub32(cpu, load<i32>(p), s32(cpu, u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_SUB_MI32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, sub32(cpu, load<i32>(p), imm32(u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_SUB_RR64: { set64(cpu, u, sub64(cpu, d64(cpu, u), s64(cpu, u))); u += 32; continue }
      case OP.OP_SUB_RI64: { set64(cpu, u, sub64(cpu, d64(cpu, u), imm64(u))); u += 32; continue }
      case OP.OP_SUB_RM64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; set64(cpu, u, sub64(cpu, d64(cpu, u), load<i64>(p))); u += 32; continue }
      case OP.OP_SUB_MR64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, sub64(cpu, load<i64>(p), s64(cpu, u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_SUB_MI64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, sub64(cpu, load<i64>(p), imm64(u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_XOR_RR32: { reg32(cpu, u, logic32(cpu, d32(cpu, u) ^ s32(cpu, u))); u += 32; continue }
      case OP.OP_XOR_RI32: { reg32(cpu, u, logic32(cpu, d32(cpu, u) ^ imm32(u))); u += 32; continue }
      case OP.OP_XOR_RM32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; reg32(cpu, u, logic32(cpu, d32(cpu, u) ^ load<i32>(p))); u += 32; continue }
      case OP.OP_XOR_MR32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, logic32(cpu, load<i32>(p) ^ s32(cpu, u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_XOR_MI32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; store<i32>(p, logic32(cpu, load<i32>(p) ^ imm32(u))); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_XOR_RR64: { set64(cpu, u, logic64(cpu, d64(cpu, u) ^ s64(cpu, u))); u += 32; continue }
      case OP.OP_XOR_RI64: { set64(cpu, u, logic64(cpu, d64(cpu, u) ^ imm64(u))); u += 32; continue }
      case OP.OP_XOR_RM64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; set64(cpu, u, logic64(cpu, d64(cpu, u) ^ load<i64>(p))); u += 32; continue }
      case OP.OP_XOR_MR64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, logic64(cpu, load<i64>(p) ^ s64(cpu, u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_XOR_MI64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; store<i64>(p, logic64(cpu, load<i64>(p) ^ imm64(u))); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_ADC_RR32: { reg32(cpu, u, adc32(cpu, d32(cpu, u), s32(cpu, u))); u += 32; continue }
      case OP.OP_ADC_RI32: { reg32(cpu, u, adc32(cpu, d32(cpu, u), imm32(u))); u += 32; continue }
      case OP.OP_ADC_RM32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; reg32(cpu, u, adc32(cpu, d32(cpu, u), load<i32>(p))); u += 32; continue }
      case OP.OP_ADC_RR64: { set64(cpu, u, adc64(cpu, d64(cpu, u), s64(cpu, u))); u += 32; continue }
      case OP.OP_ADC_RI64: { set64(cpu, u, adc64(cpu, d64(cpu, u), imm64(u))); u += 32; continue }
      case OP.OP_ADC_RM64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; set64(cpu, u, adc64(cpu, d64(cpu, u), load<i64>(p))); u += 32; continue }
      case OP.OP_SBB_RR32: { reg32(cpu, u, sbb32(cpu, d32(cpu, u), s32(cpu, u))); u += 32; continue }
      case OP.OP_SBB_RI32: { reg32(cpu, u, sbb32(cpu, d32(cpu, u), imm32(u))); u += 32; continue }
      case OP.OP_SBB_RM32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; reg32(cpu, u, sbb32(cpu, d32(cpu, u), load<i32>(p))); u += 32; continue }
      case OP.OP_SBB_RR64: { set64(cpu, u, sbb64(cpu, d64(cpu, u), s64(cpu, u))); u += 32; continue }
      case OP.OP_SBB_RI64: { set64(cpu, u, sbb64(cpu, d64(cpu, u), imm64(u))); u += 32; continue }
      case OP.OP_SBB_RM64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; set64(cpu, u, sbb64(cpu, d64(cpu, u), load<i64>(p))); u += 32; continue }
      case OP.OP_CMP_RR32: { sub32(cpu, d32(cpu, u), s32(cpu, u)); u += 32; continue }
      case OP.OP_CMP_RI32: { sub32(cpu, d32(cpu, u), imm32(u)); u += 32; continue }
      case OP.OP_CMP_RM32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; sub32(cpu, d32(cpu, u), load<i32>(p)); u += 32; continue }
      case OP.OP_CMP_MR32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; sub32(cpu, load<i32>(p), s32(cpu, u)); u += 32; continue }
      case OP.OP_CMP_MI32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; sub32(cpu, load<i32>(p), imm32(u)); u += 32; continue }
      case OP.OP_CMP_RR64: { sub64(cpu, d64(cpu, u), s64(cpu, u)); u += 32; continue }
      case OP.OP_CMP_RI64: { sub64(cpu, d64(cpu, u), imm64(u)); u += 32; continue }
      case OP.OP_CMP_RM64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; sub64(cpu, d64(cpu, u), load<i64>(p)); u += 32; continue }
      case OP.OP_CMP_MR64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; sub64(cpu, load<i64>(p), s64(cpu, u)); u += 32; continue }
      case OP.OP_CMP_MI64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; sub64(cpu, load<i64>(p), imm64(u)); u += 32; continue }
      case OP.OP_ZERO_R32: { set64(cpu, u, 0); setcc(cpu, CC_LOGIC + 3, 0, 0); u += 32; continue }
      case OP.OP_ZERO_R64: { set64(cpu, u, 0); setcc(cpu, CC_LOGIC + 3, 0, 0); u += 32; continue }
      case OP.OP_CMP_RR8: { { const b = <i32>load<i8>(cpu + load<u16>(u, UOP_S)); setcc(cpu, CC_SUB + 0, <i64><i8>(<i32>load<i8>(cpu + load<u16>(u, UOP_D)) - b), b) } u += 32; continue }
      case OP.OP_CMP_RI8: { { const b = <i32><i8>imm32(u); setcc(cpu, CC_SUB + 0, <i64><i8>(<i32>load<i8>(cpu + load<u16>(u, UOP_D)) - b), b) } u += 32; continue }
      case OP.OP_CMP_RM8: { const p = readPointer<i8>(cpu, u, rt); if (!p) break; { const b = <i32>load<i8>(p); setcc(cpu, CC_SUB + 0, <i64><i8>(<i32>load<i8>(cpu + load<u16>(u, UOP_D)) - b), b) } u += 32; continue }
      case OP.OP_CMP_MR8: { const p = readPointer<i8>(cpu, u, rt); if (!p) break; { const b = <i32>load<i8>(cpu + load<u16>(u, UOP_S)); setcc(cpu, CC_SUB + 0, <i64><i8>(<i32>load<i8>(p) - b), b) } u += 32; continue }
      case OP.OP_CMP_MI8: { const p = readPointer<i8>(cpu, u, rt); if (!p) break; { const b = <i32><i8>imm32(u); setcc(cpu, CC_SUB + 0, <i64><i8>(<i32>load<i8>(p) - b), b) } u += 32; continue }
      case OP.OP_CMP_RR16: { { const b = <i32>load<i16>(cpu + load<u16>(u, UOP_S)); setcc(cpu, CC_SUB + 1, <i64><i16>(<i32>load<i16>(cpu + load<u16>(u, UOP_D)) - b), b) } u += 32; continue }
      case OP.OP_CMP_RI16: { { const b = <i32><i16>imm32(u); setcc(cpu, CC_SUB + 1, <i64><i16>(<i32>load<i16>(cpu + load<u16>(u, UOP_D)) - b), b) } u += 32; continue }
      case OP.OP_CMP_RM16: { const p = readPointer<i16>(cpu, u, rt); if (!p) break; { const b = <i32>load<i16>(p); setcc(cpu, CC_SUB + 1, <i64><i16>(<i32>load<i16>(cpu + load<u16>(u, UOP_D)) - b), b) } u += 32; continue }
      case OP.OP_CMP_MR16: { const p = readPointer<i16>(cpu, u, rt); if (!p) break; { const b = <i32>load<i16>(cpu + load<u16>(u, UOP_S)); setcc(cpu, CC_SUB + 1, <i64><i16>(<i32>load<i16>(p) - b), b) } u += 32; continue }
      case OP.OP_CMP_MI16: { const p = readPointer<i16>(cpu, u, rt); if (!p) break; { const b = <i32><i16>imm32(u); setcc(cpu, CC_SUB + 1, <i64><i16>(<i32>load<i16>(p) - b), b) } u += 32; continue }
      case OP.OP_TEST_RR8: { setcc(cpu, CC_LOGIC + 0, <i64>load<i8>(cpu + load<u16>(u, UOP_D)) & <i64>load<i8>(cpu + load<u16>(u, UOP_S)), 0); u += 32; continue }
      case OP.OP_TEST_RI8: { setcc(cpu, CC_LOGIC + 0, <i64>load<i8>(cpu + load<u16>(u, UOP_D)) & <i64><i8>imm64(u), 0); u += 32; continue }
      case OP.OP_TEST_MI8: { const p = readPointer<i8>(cpu, u, rt); if (!p) break; setcc(cpu, CC_LOGIC + 0, <i64>load<i8>(p) & <i64><i8>imm64(u), 0); u += 32; continue }
      case OP.OP_TEST_MR8: { const p = readPointer<i8>(cpu, u, rt); if (!p) break; setcc(cpu, CC_LOGIC + 0, <i64>load<i8>(p) & <i64>load<i8>(cpu + load<u16>(u, UOP_S)), 0); u += 32; continue }
      case OP.OP_TEST_RR16: { setcc(cpu, CC_LOGIC + 1, <i64>load<i16>(cpu + load<u16>(u, UOP_D)) & <i64>load<i16>(cpu + load<u16>(u, UOP_S)), 0); u += 32; continue }
      case OP.OP_TEST_RI16: { setcc(cpu, CC_LOGIC + 1, <i64>load<i16>(cpu + load<u16>(u, UOP_D)) & <i64><i16>imm64(u), 0); u += 32; continue }
      case OP.OP_TEST_MI16: { const p = readPointer<i16>(cpu, u, rt); if (!p) break; setcc(cpu, CC_LOGIC + 1, <i64>load<i16>(p) & <i64><i16>imm64(u), 0); u += 32; continue }
      case OP.OP_TEST_MR16: { const p = readPointer<i16>(cpu, u, rt); if (!p) break; setcc(cpu, CC_LOGIC + 1, <i64>load<i16>(p) & <i64>load<i16>(cpu + load<u16>(u, UOP_S)), 0); u += 32; continue }
      case OP.OP_TEST_RR32: { setcc(cpu, CC_LOGIC + 2, <i64>load<i32>(cpu + load<u16>(u, UOP_D)) & <i64>load<i32>(cpu + load<u16>(u, UOP_S)), 0); u += 32; continue }
      case OP.OP_TEST_RI32: { setcc(cpu, CC_LOGIC + 2, <i64>load<i32>(cpu + load<u16>(u, UOP_D)) & <i64><i32>imm64(u), 0); u += 32; continue }
      case OP.OP_TEST_MI32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; setcc(cpu, CC_LOGIC + 2, <i64>load<i32>(p) & <i64><i32>imm64(u), 0); u += 32; continue }
      case OP.OP_TEST_MR32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; setcc(cpu, CC_LOGIC + 2, <i64>load<i32>(p) & <i64>load<i32>(cpu + load<u16>(u, UOP_S)), 0); u += 32; continue }
      case OP.OP_TEST_RR64: { setcc(cpu, CC_LOGIC + 3, <i64>load<i64>(cpu + load<u16>(u, UOP_D)) & <i64>load<i64>(cpu + load<u16>(u, UOP_S)), 0); u += 32; continue }
      case OP.OP_TEST_RI64: { setcc(cpu, CC_LOGIC + 3, <i64>load<i64>(cpu + load<u16>(u, UOP_D)) & <i64><i64>imm64(u), 0); u += 32; continue }
      case OP.OP_TEST_MI64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; setcc(cpu, CC_LOGIC + 3, <i64>load<i64>(p) & <i64><i64>imm64(u), 0); u += 32; continue }
      case OP.OP_TEST_MR64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; setcc(cpu, CC_LOGIC + 3, <i64>load<i64>(p) & <i64>load<i64>(cpu + load<u16>(u, UOP_S)), 0); u += 32; continue }
      case OP.OP_INC_R32: { const c: i64 = carry(cpu); const r = d32(cpu, u) + 1; setcc(cpu, CC_INC + 2, r, c); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_DEC_R32: { const c: i64 = carry(cpu); const r = d32(cpu, u) - 1; setcc(cpu, CC_DEC + 2, r, c); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_NEG_R32: { reg32(cpu, u, sub32(cpu, 0, d32(cpu, u))); u += 32; continue }
      case OP.OP_NOT_R32: { reg32(cpu, u, ~d32(cpu, u)); u += 32; continue }
      case OP.OP_INC_M32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; const c: i64 = carry(cpu); const r = load<i32>(p) + 1; setcc(cpu, CC_INC + 2, r, c); store<i32>(p, r); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_DEC_M32: { const p = modifyPointer<i32>(cpu, u, wt); if (!p) break; const c: i64 = carry(cpu); const r = load<i32>(p) - 1; setcc(cpu, CC_DEC + 2, r, c); store<i32>(p, r); commit<i32>(cpu, u, p); u += 32; continue }
      case OP.OP_INC_R64: { const c: i64 = carry(cpu); const r = d64(cpu, u) + 1; setcc(cpu, CC_INC + 3, r, c); set64(cpu, u, r); u += 32; continue }
      case OP.OP_DEC_R64: { const c: i64 = carry(cpu); const r = d64(cpu, u) - 1; setcc(cpu, CC_DEC + 3, r, c); set64(cpu, u, r); u += 32; continue }
      case OP.OP_NEG_R64: { set64(cpu, u, sub64(cpu, 0, d64(cpu, u))); u += 32; continue }
      case OP.OP_NOT_R64: { set64(cpu, u, ~d64(cpu, u)); u += 32; continue }
      case OP.OP_INC_M64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; const c: i64 = carry(cpu); const r = load<i64>(p) + 1; setcc(cpu, CC_INC + 3, r, c); store<i64>(p, r); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_DEC_M64: { const p = modifyPointer<i64>(cpu, u, wt); if (!p) break; const c: i64 = carry(cpu); const r = load<i64>(p) - 1; setcc(cpu, CC_DEC + 3, r, c); store<i64>(p, r); commit<i64>(cpu, u, p); u += 32; continue }
      case OP.OP_SHL_RI32: { const n = imm32(u); const b = d32(cpu, u) << (n - 1); const r = b << 1; setcc(cpu, CC_SHL + 2, r, b); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_SHL_RI64: { const n = imm64(u); const b = d64(cpu, u) << (n - 1); const r = b << 1; setcc(cpu, CC_SHL + 3, r, b); set64(cpu, u, r); u += 32; continue }
      case OP.OP_SHR_RI32: { const n = imm32(u); const b = <u32>d32(cpu, u) >> (n - 1); const r = <i32>(b >> 1); setcc(cpu, CC_SAR + 2, r, <i32>b); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_SHR_RI64: { const n = imm64(u); const b = <u64>d64(cpu, u) >> (n - 1); const r = <i64>(b >> 1); setcc(cpu, CC_SAR + 3, r, <i64>b); set64(cpu, u, r); u += 32; continue }
      case OP.OP_SAR_RI32: { const n = imm32(u); const b = d32(cpu, u) >> (n - 1); const r = b >> 1; setcc(cpu, CC_SAR + 2, r, b); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_SAR_RI64: { const n = imm64(u); const b = d64(cpu, u) >> (n - 1); const r = b >> 1; setcc(cpu, CC_SAR + 3, r, b); set64(cpu, u, r); u += 32; continue }
      case OP.OP_SHL_RC32: { const n = <i32>load<u8>(cpu, GPR + 8) & 31; if (!n) { reg32(cpu, u, d32(cpu, u)); u += 32; continue } const b = d32(cpu, u) << (n - 1); const r = b << 1; setcc(cpu, CC_SHL + 2, r, b); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_SHL_RC64: { const n = <i64>load<u8>(cpu, GPR + 8) & 63; if (!n) { u += 32; continue } const b = d64(cpu, u) << (n - 1); const r = b << 1; setcc(cpu, CC_SHL + 3, r, b); set64(cpu, u, r); u += 32; continue }
      case OP.OP_SHR_RC32: { const n = <i32>load<u8>(cpu, GPR + 8) & 31; if (!n) { reg32(cpu, u, d32(cpu, u)); u += 32; continue } const b = <u32>d32(cpu, u) >> (n - 1); const r = <i32>(b >> 1); setcc(cpu, CC_SAR + 2, r, <i32>b); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_SHR_RC64: { const n = <i64>load<u8>(cpu, GPR + 8) & 63; if (!n) { u += 32; continue } const b = <u64>d64(cpu, u) >> (n - 1); const r = <i64>(b >> 1); setcc(cpu, CC_SAR + 3, r, <i64>b); set64(cpu, u, r); u += 32; continue }
      case OP.OP_SAR_RC32: { const n = <i32>load<u8>(cpu, GPR + 8) & 31; if (!n) { reg32(cpu, u, d32(cpu, u)); u += 32; continue } const b = d32(cpu, u) >> (n - 1); const r = b >> 1; setcc(cpu, CC_SAR + 2, r, b); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_SAR_RC64: { const n = <i64>load<u8>(cpu, GPR + 8) & 63; if (!n) { u += 32; continue } const b = d64(cpu, u) >> (n - 1); const r = b >> 1; setcc(cpu, CC_SAR + 3, r, b); set64(cpu, u, r); u += 32; continue }
      case OP.OP_ROL_RI32: { const r = rotl<i32>(d32(cpu, u), imm32(u)); const c: u32 = <u32>r & 1; setFlagsArith(cpu, (getFlags(cpu) & ~0x801) | c | ((c ^ <u32>(<u32>r >> 31)) << 11)); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_ROL_RI64: { const r = rotl<i64>(d64(cpu, u), imm64(u)); const c: u32 = <u32>r & 1; setFlagsArith(cpu, (getFlags(cpu) & ~0x801) | c | ((c ^ <u32>(<u64>r >> 63)) << 11)); set64(cpu, u, r); u += 32; continue }
      case OP.OP_ROR_RI32: { const r = rotr<i32>(d32(cpu, u), imm32(u)); const c: u32 = <u32>(<u32>r >> 31); setFlagsArith(cpu, (getFlags(cpu) & ~0x801) | c | (((<u32>(<u32>r >> 31) ^ <u32>(<u32>r >> 30)) & 1) << 11)); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_ROR_RI64: { const r = rotr<i64>(d64(cpu, u), imm64(u)); const c: u32 = <u32>(<u64>r >> 63); setFlagsArith(cpu, (getFlags(cpu) & ~0x801) | c | (((<u32>(<u64>r >> 63) ^ <u32>(<u64>r >> 62)) & 1) << 11)); set64(cpu, u, r); u += 32; continue }
      case OP.OP_IMUL_RR32: { const product = <i64>d32(cpu, u) * <i64>s32(cpu, u); const r = <i32>product; setcc(cpu, CC_MUL + 2, r, product - r); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_IMUL_RM32: { const p = readPointer<i32>(cpu, u, rt); if (!p) break; const product = <i64>d32(cpu, u) * <i64>load<i32>(p); const r = <i32>product; setcc(cpu, CC_MUL + 2, r, product - r); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_IMUL_RRI32: { const product = <i64>s32(cpu, u) * <i64>imm32(u); const r = <i32>product; setcc(cpu, CC_MUL + 2, r, product - r); reg32(cpu, u, r); u += 32; continue }
      case OP.OP_IMUL_RR64: { const r = <i64>multiplySigned(d64(cpu, u), s64(cpu, u)); setcc(cpu, CC_MUL + 3, r, <i64>highHalf - (r >> 63)); set64(cpu, u, r); u += 32; continue }
      case OP.OP_IMUL_RM64: { const p = readPointer<i64>(cpu, u, rt); if (!p) break; const r = <i64>multiplySigned(d64(cpu, u), load<i64>(p)); setcc(cpu, CC_MUL + 3, r, <i64>highHalf - (r >> 63)); set64(cpu, u, r); u += 32; continue }
      case OP.OP_IMUL_RRI64: { const r = <i64>multiplySigned(s64(cpu, u), imm64(u)); setcc(cpu, CC_MUL + 3, r, <i64>highHalf - (r >> 63)); set64(cpu, u, r); u += 32; continue }
      case OP.OP_MUL_R64: { const low = multiply(load<u64>(cpu, GPR), d64(cpu, u)); store<u64>(cpu, low, GPR); store<u64>(cpu, highHalf, GPR + 16); setcc(cpu, CC_MUL + 3, low, highHalf); u += 32; continue }
      case OP.OP_PUSH_R: {
        const value = <u64>d64(cpu, u)
        const sp = load<u64>(cpu, GPR + 32) - 8
        const p = hit<u64>(wt, sp)
        if (p) store<u64>(p, value)
        else if (slowWrite(cpu, 0, sp, 8, value)) break
        store<u64>(cpu, sp, GPR + 32)
        u += 32; continue
      }
      case OP.OP_PUSH_I: {
        const value = <u64>imm64(u)
        const sp = load<u64>(cpu, GPR + 32) - 8
        const p = hit<u64>(wt, sp)
        if (p) store<u64>(p, value)
        else if (slowWrite(cpu, 0, sp, 8, value)) break
        store<u64>(cpu, sp, GPR + 32)
        u += 32; continue
      }
      case OP.OP_PUSH_M: {
        const q = readPointer<u64>(cpu, u, rt)
        if (!q) break
        const value = load<u64>(q)
        const sp = load<u64>(cpu, GPR + 32) - 8
        const p = hit<u64>(wt, sp)
        if (p) store<u64>(p, value)
        else if (slowWrite(cpu, 0, sp, 8, value)) break
        store<u64>(cpu, sp, GPR + 32)
        u += 32; continue
      }
      case OP.OP_POP_R: {
        const sp = load<u64>(cpu, GPR + 32)
        let p = hit<u64>(rt, sp)
        if (!p) { p = slowRead(cpu, 0, sp, 8); if (!p) break }
        store<u64>(cpu, sp + 8, GPR + 32)
        store<u64>(cpu + load<u16>(u, UOP_D), load<u64>(p))
        u += 32; continue
      }
      case OP.OP_LEAVE64: {
        const sp = load<u64>(cpu, GPR + 40)
        let p = hit<u64>(rt, sp)
        if (!p) { p = slowRead(cpu, 0, sp, 8); if (!p) break }
        store<u64>(cpu, load<u64>(p), GPR + 40)
        store<u64>(cpu, sp + 8, GPR + 32)
        u += 32; continue
      }
      case OP.OP_CDQE: { store<i64>(cpu, <i64>load<i32>(cpu, GPR), GPR); u += 32; continue }
      case OP.OP_CWDE: { store<u64>(cpu, <u64><u32><i32>load<i16>(cpu, GPR), GPR); u += 32; continue }
      case OP.OP_CDQ: { store<u64>(cpu, <u64><u32>(load<i32>(cpu, GPR) >> 31), GPR + 16); u += 32; continue }
      case OP.OP_CQO: { store<i64>(cpu, load<i64>(cpu, GPR) >> 63, GPR + 16); u += 32; continue }
      case OP.OP_SETCC_R: { store<u8>(cpu + load<u16>(u, UOP_D), <u8>condition(cpu, load<u32>(u, UOP_X))); u += 32; continue }
      case OP.OP_CMOV_RR32: { if (condition(cpu, load<u32>(u, UOP_X))) reg32(cpu, u, s32(cpu, u)); else reg32(cpu, u, d32(cpu, u)); u += 32; continue }
      case OP.OP_CMOV_RR64: { if (condition(cpu, load<u32>(u, UOP_X))) set64(cpu, u, s64(cpu, u)); u += 32; continue }
      case OP.OP_CMOV_RM32: { const p = readPointer<u32>(cpu, u, rt); if (!p) break; if (condition(cpu, load<u32>(u, UOP_X))) reg32(cpu, u, load<u32>(p)); else reg32(cpu, u, d32(cpu, u)); u += 32; continue }
      case OP.OP_CMOV_RM64: { const p = readPointer<u64>(cpu, u, rt); if (!p) break; if (condition(cpu, load<u32>(u, UOP_X))) set64(cpu, u, load<i64>(p)); u += 32; continue }
      case OP.OP_BSWAP32: { reg32(cpu, u, bswap<u32>(d32(cpu, u))); u += 32; continue }
      case OP.OP_BSWAP64: { set64(cpu, u, bswap<u64>(d64(cpu, u))); u += 32; continue }
      case OP.OP_XCHG_RR64: { const a = d64(cpu, u); set64(cpu, u, s64(cpu, u)); store<i64>(cpu + load<u16>(u, UOP_S), a); u += 32; continue }
      case OP.OP_LOCKED: { if (execLocked(cpu, u)) break; u += 32; continue }
      case OP.OP_FENCE: { fence(); u += 32; continue }
      case OP.OP_CLI: {
        if (load<u32>(cpu, CPL)) { execSystem(cpu, u); break }
        store<u64>(cpu, load<u64>(cpu, RFLAGS) & ~<u64>FL_IF, RFLAGS)
        u += 32; continue
      }
      case OP.OP_STI: {
        // Where something waits, or the block ends here, the shadow of STI has to be kept.
        const waits = atomic.load<i32>(cpu + EVENTS) | atomic.load<i32>(G_IRQ_DIRTY) | atomic.load<i32>(G_KICK)
        if (load<u32>(cpu, CPL) | waits || <u32>load<u16>(u, UOP_SIZE) <= OP.OP_END) { execSystem(cpu, u); break }
        store<u64>(cpu, load<u64>(cpu, RFLAGS) | FL_IF, RFLAGS)
        u += 32; continue
      }
      case OP.OP_SWAPGS: {
        if (load<u32>(cpu, CPL)) { execSystem(cpu, u); break }
        swapGs(cpu)
        u += 32; continue
      }
      case OP.OP_BT_RI64: { setFlagsArith(cpu, (getFlags(cpu) & ~1) | (<u32>(<u64>d64(cpu, u) >> (imm64(u) & 63)) & 1)); u += 32; continue }
      case OP.OP_BT_RR64: { setFlagsArith(cpu, (getFlags(cpu) & ~1) | (<u32>(<u64>d64(cpu, u) >> (s64(cpu, u) & 63)) & 1)); u += 32; continue }
      default: break
    }
    // ---- tail ---------------------------------------------------------------------------------------------------------------
    do {
      if (leave == JUMP_DIRECT) {
        addRetired(((u - entry) >> 5) + 1)
        let v: usize = load<u32>(u, UOP_X)
        target = load<u64>(cpu, RIP_BASE) + load<u64>(u, UOP_IMM)
        if (retired >= sliceEnd) { store<u64>(cpu, target, RIP); return 0 }
        if (!v) {
          if (load<u64>(u, UOP_IMM) >= 0x1000) v = knownBlock(cpu, target)
          if (v) {
            store<u64>(cpu, target - load<u16>(v, UOP_OFFSET), RIP_BASE)
            store<u32>(u, <u32>v, UOP_NEAR)
          }
        }
        if (!v) {
          const before = generation
          v = lookup(cpu, target)
          if (!v) { store<u64>(cpu, target, RIP); return 0 }
          // Within one page the link lives as long as the block itself; a page-crossing target has its own check in lookup().
          if (generation == before && !load<u32>(v - BLOCK_BYTES, BLOCK_PAGE2)) {
            if (load<u64>(u, UOP_IMM) < 0x1000) store<u32>(u, <u32>v, UOP_X)
            else store<u32>(u, <u32>v, UOP_NEAR)
          }
        }
        u = v
      } else if (leave == JUMP_ENTER) u = first
      else if (leave != 0 && leave != JUMP_LEFT) {
        addRetired(((u - entry) >> 5) + (leave == JUMP_INDIRECT ? 1 : 0))
        if (leave != JUMP_INDIRECT) target = load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET)
        if (retired >= sliceEnd) { store<u64>(cpu, target, RIP); return 0 }
        const from = u
        // The jump cache may still point at the dropped block itself.
        u = leave != JUMP_DROPPED ? knownBlock(cpu, target) : 0
        if (u) {
          store<u64>(cpu, target - load<u16>(u, UOP_OFFSET), RIP_BASE)
          if (leave == JUMP_INDIRECT) store<u32>(from, <u32>u, UOP_FAR)
          else if (leave == JUMP_NEXT) store<u32>(from, <u32>u, UOP_NEAR)
        } else {
          u = lookup(cpu, target)
          if (!u) { store<u64>(cpu, target, RIP); return 0 }
        }
      } else {
        // Exception, or an instruction that ends its block.
        if (load<i32>(cpu, EXCEPTION) >= 0) {
          addRetired((u - entry) >> 5)
          store<u64>(cpu, load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET), RIP)
          store<u32>(cpu, 0, RIP_SET)
          return 0
        }
        addRetired(((u - entry) >> 5) + 1)
        if (!load<u32>(cpu, RIP_SET)) store<u64>(cpu, load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET) + (load<u8>(u, UOP_LEN) & 15), RIP)
        store<u32>(cpu, 0, RIP_SET)
        return onward(cpu)
      }
      entry = u
      leave = 0
      const heat = load<u32>(u - BLOCK_BYTES, BLOCK_HEAT) + 1
      if (heat < threshold) store<u16>(u - BLOCK_BYTES, <u16>heat, BLOCK_HEAT)
      else {
        const code = enterHot(cpu, u, heat - 1, rt)
        if (code) {
          u = code & ~31
          entry = u - (regionBehind << 5)
          // On the way there may have been a change of privilege. (slowAccess is off, or no region would have been entered.)
          if ((load<u32>(cpu, CPL) == 3) != user) {
            user = !user
            rt = cpu + (user ? TLB_USER_READ : TLB_KERNEL_READ)
            wt = cpu + (user ? TLB_USER_WRITE : TLB_KERNEL_WRITE)
          }
          const what = code & 31
          if (what == REGION_DIRECT) leave = JUMP_DIRECT
          else if (what == REGION_INDIRECT) { leave = JUMP_INDIRECT; target = load<u64>(cpu, JIT_TARGET) }
          else if (what == REGION_LEAVE) leave = JUMP_LEFT
          else if (what == REGION_DONE) u += UOP_SIZE
          else if (what == REGION_ON) return u
          else if (what == REGION_OUT) return 0
        }
      }
    } while (leave)
  }
}
