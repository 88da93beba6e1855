/**
 * Instruction decoder: bytes -> uops, driven by the generated decode table. Intel SDM volume 2, chapters 2 and appendix A.
 * Anything without a row is #UD; more than 15 bytes is #GP.
 */
import {
  GPR, ZERO, RIP_BASE, XMM, FPR, SEG, SEG_SIZE, SEG_BASE, ES, CS, SS, DS, FS, GS, MODE_32, MODE_64, UOP_OP, UOP_LEN, UOP_AUX, UOP_D, UOP_S, UOP_IMM,
  UOP_DISP, UOP_BASE, UOP_INDEX, UOP_SCALE, UOP_SEG, UOP_OFFSET, UOP_X, LEN_STACK, AS_BASE, AS_LEGACY, AS_32, AS_16,
} from './layout'
import {
  OPCODE_INDEX, ROWS, ROW_BYTES, K_E, K_G, K_M, K_R, K_Z, K_A, K_O, K_S, K_C, K_D, K_I, K_J, K_1, K_CL, K_DX, K_STR, K_FAR, K_V, K_W, K_U, K_P, K_Q,
  K_N, K_LD, K_ST, K_MASKMOV, K_IU, S_B, S_W, S_D, S_Q, S_Y, S_Z, S_64, F_NOP, F_XCHG, F_XLAT, F_LEA,
} from './decode-table.gen'
import { OP_FENCE, OP_GENERIC, OP_SYSTEM, OP_SIMD_RR, OP_SIMD_RM, OP_SIMD_ST, OP_X87, OP_UD, OP_GP } from './ops'
import { specialise } from './specialise'
import { multi } from './sync'

/** UOP_AUX of generic uops: operand size and where the operands are. */
// bits 0 and 1: log2 of the operand size
export const AUX_DST_MEM: u32 = 4
export const AUX_SRC_MEM: u32 = 8
export const AUX_SRC_IMM: u32 = 16
export const AUX_REPNE: u32 = 32
export const AUX_REP: u32 = 64
export const AUX_LOCK: u32 = 128
/** UOP_X of generic uops: family in the low half, address size (log2) in bits 16..17, second operand present in bit 18, opcode byte in bits 24..31. */
export const X_ADDRESS: u32 = 16
/** UOP_AUX of SIMD uops. */
export const SIMD_ALIGN: u32 = 1, SIMD_MMX: u32 = 2, SIMD_MMX_DST: u32 = 4, SIMD_MASKMOV: u32 = 8, SIMD_XMM: u32 = 16
/** UOP_AUX of x87 uops. */
export const X87_LOAD: u32 = 1, X87_STORE: u32 = 2, X87_NO_WAIT: u32 = 4

let at: usize = 0
let end: usize = 0
let start: usize = 0
/** The bytes ran out: the instruction goes on in the next page. */
export let needMore: bool = false

// @ts-ignore: decorator
@inline function next8(): u32 {
  if (at >= end) { needMore = true; return 0 }
  return load<u8>(at++)
}
function next16(): u32 { const low = next8(); return low | (next8() << 8) }
function next32(): u32 { const low = next16(); return low | (next16() << 16) }
function next64(): u64 { const low: u64 = next32(); return low | (<u64>next32() << 32) }

let mode: u32 = 0
let rex: u32 = 0
let prefix66: bool = false
let prefix67: bool = false
let repeat: u32 = 0 // 0, 0xf2, 0xf3
let lock: bool = false
let overrideSegment: i32 = -1
let modrm: u32 = 0
let opSize: u32 = 0
let ripRelative: bool = false

function gpr(n: u32, size: u32): u32 {
  if (size == 0 && !rex && n >= 4 && n < 8) return GPR + (n - 4) * 8 + 1 // AH CH DH BH
  return GPR + n * 8
}
function addressSize(): u32 {
  if (mode == MODE_64) return prefix67 ? 2 : 3
  return (mode == MODE_32) != prefix67 ? 2 : 1
}

/** Segment bits of an address whose default segment is `segment`. */
function segmentBits(u: usize, segment: u32, indexFree: bool): u32 {
  const used: u32 = overrideSegment >= 0 ? <u32>overrideSegment : segment
  const size = addressSize()
  if (mode == MODE_64) {
    if (segment == SS && (overrideSegment < 0 || (overrideSegment != FS && overrideSegment != GS))) store<u8>(u, load<u8>(u, UOP_LEN) | LEN_STACK, UOP_LEN)
    const based = overrideSegment == FS || overrideSegment == GS
    if (size == 3) {
      if (!based) return 0
      if (indexFree) { // the segment base takes the free index slot: still a flat address
        store<u16>(u, <u16>(SEG + <u32>overrideSegment * SEG_SIZE + SEG_BASE), UOP_INDEX)
        store<u8>(u, 0, UOP_SCALE)
        return 0
      }
      return AS_BASE | <u32>overrideSegment
    }
    return AS_32 | (based ? AS_BASE | <u32>overrideSegment : 0)
  }
  if (used == SS) store<u8>(u, load<u8>(u, UOP_LEN) | LEN_STACK, UOP_LEN)
  return AS_LEGACY | used | (size == 2 ? AS_32 : AS_16)
}

/** ModRM memory operand into the uop's address fields. */
function decodeMemory(u: usize): void {
  const mod = modrm >> 6
  let rm = modrm & 7
  let base: u32 = ZERO, index: u32 = ZERO, scale: u32 = 0
  let disp: i32 = 0
  let segment: u32 = DS
  if (addressSize() == 1) {
    switch (rm) {
      case 0: base = GPR + 3 * 8; index = GPR + 6 * 8; break
      case 1: base = GPR + 3 * 8; index = GPR + 7 * 8; break
      case 2: base = GPR + 5 * 8; index = GPR + 6 * 8; segment = SS; break
      case 3: base = GPR + 5 * 8; index = GPR + 7 * 8; segment = SS; break
      case 4: base = GPR + 6 * 8; break
      case 5: base = GPR + 7 * 8; break
      case 6: if (mod) { base = GPR + 5 * 8; segment = SS } break
      default: base = GPR + 3 * 8
    }
    if (mod == 1) disp = <i8>next8()
    else if (mod == 2 || (mod == 0 && rm == 6)) disp = <i16>next16()
  } else {
    if (rm == 4) {
      const sib = next8()
      const i = ((sib >> 3) & 7) | ((rex & 2) << 2)
      if (i != 4) { index = GPR + i * 8; scale = sib >> 6 }
      rm = sib & 7
      if (rm == 5 && mod == 0) disp = <i32>next32()
      else {
        const b = rm | ((rex & 1) << 3)
        base = GPR + b * 8
        if (rm == 4 && b == 4) segment = SS
        if (b == 5) segment = SS
      }
    } else if (rm == 5 && mod == 0) {
      disp = <i32>next32()
      if (mode == MODE_64) { base = RIP_BASE; ripRelative = true }
    } else {
      const b = rm | ((rex & 1) << 3)
      base = GPR + b * 8
      if (b == 5) segment = SS
    }
    if (mod == 1) disp = <i8>next8()
    else if (mod == 2) disp = <i32>next32()
  }
  store<u16>(u, <u16>base, UOP_BASE)
  store<u16>(u, <u16>index, UOP_INDEX)
  store<u8>(u, <u8>scale, UOP_SCALE)
  store<i32>(u, disp, UOP_DISP)
  store<u8>(u, <u8>segmentBits(u, segment, index == ZERO), UOP_SEG)
}

function sizeOf(code: u32): u32 {
  if (code == S_B) return 0
  if (code == S_W) return 1
  if (code == S_D) return 2
  if (code == S_Q) return 3
  if (code == S_Y) return opSize == 3 ? 3 : 2
  return opSize
}

function immediate(size: u32): i64 {
  if (size == S_B) return <i64><i8>next8()
  if (size == S_W) return <i64><i16>next16()
  if (size == S_Z) return opSize == 1 ? <i64><i16>next16() : <i64><i32>next32()
  if (opSize == 3) return <i64>next64() // Iv of MOV
  return opSize == 1 ? <i64><i16>next16() : <i64><i32>next32()
}

/** Finds the table row of an opcode; 0 if the encoding is undefined. */
function findRow(slot: u32, pp: u32): usize {
  const entry: usize = OPCODE_INDEX + slot * 4
  let row: usize = ROWS + <usize>load<u16>(entry) * ROW_BYTES
  const modBit: u32 = modrm >= 0xc0 ? 1 : 2
  const w = (rex >> 3) & 1
  for (let i: u32 = load<u8>(entry, 2); i > 0; i--, row += ROW_BYTES) {
    const rowMode: u32 = load<u8>(row, 8)
    if (rowMode && (rowMode == 1) != (mode == MODE_64)) continue
    const rowPp: u32 = load<u8>(row, 3)
    if (rowPp != 255 && rowPp != pp) continue
    if (load<u8>(entry, 3)) {
      const reg: u32 = load<u8>(row, 4)
      if (reg != 255 && reg != ((modrm >> 3) & 7)) continue
      if (!(load<u8>(row, 6) & modBit)) continue
      const rm: u32 = load<u8>(row, 5)
      if (rm != 255 && rm != (modrm & 7)) continue
    }
    const rowW: u32 = load<u8>(row, 7)
    if (rowW != 255 && rowW != w) continue
    return row
  }
  return 0
}

function undefined(u: usize): u32 {
  store<u16>(u, OP_UD, UOP_OP)
  store<u8>(u, <u8>max<u32>(1, <u32>(at - start)), UOP_LEN)
  return load<u8>(u, UOP_LEN)
}

/**
 * Decodes one instruction into `u` (zeroed by the caller, UOP_OFFSET set).
 * @param from first byte, @param limit end of the bytes at hand, @param codeMode MODE_*
 * @returns its length; needMore tells that the bytes ran out
 */
export function decodeInstruction(u: usize, from: usize, limit: usize, codeMode: u32): u32 {
  start = at = from
  end = min<usize>(limit, from + 15)
  needMore = false
  mode = codeMode
  rex = 0; prefix66 = false; prefix67 = false; repeat = 0; lock = false; overrideSegment = -1; modrm = 0; ripRelative = false
  let opcode: u32
  while (true) {
    opcode = next8()
    if (needMore) return shortage(u, limit)
    if (opcode == 0x66) { prefix66 = true; rex = 0 }
    else if (opcode == 0x67) { prefix67 = true; rex = 0 }
    else if (opcode == 0xf2 || opcode == 0xf3) { repeat = opcode; rex = 0 }
    else if (opcode == 0xf0) { lock = true; rex = 0 }
    else if (opcode == 0x2e) { overrideSegment = mode == MODE_64 ? overrideSegment : CS; rex = 0 }
    else if (opcode == 0x36) { overrideSegment = mode == MODE_64 ? overrideSegment : SS; rex = 0 }
    else if (opcode == 0x3e) { overrideSegment = mode == MODE_64 ? overrideSegment : DS; rex = 0 }
    else if (opcode == 0x26) { overrideSegment = mode == MODE_64 ? overrideSegment : ES; rex = 0 }
    else if (opcode == 0x64) { overrideSegment = FS; rex = 0 }
    else if (opcode == 0x65) { overrideSegment = GS; rex = 0 }
    else if (mode == MODE_64 && (opcode & 0xf0) == 0x40) rex = opcode
    else break
  }
  let slot = opcode
  if (opcode == 0x0f) {
    opcode = next8()
    if (opcode == 0x38) { opcode = next8(); slot = 512 + opcode }
    else if (opcode == 0x3a) { opcode = next8(); slot = 768 + opcode }
    else slot = 256 + opcode
  }
  if (mode == MODE_64) opSize = rex & 8 ? 3 : prefix66 ? 1 : 2
  else opSize = (mode == MODE_32) != prefix66 ? 2 : 1
  const entry: usize = OPCODE_INDEX + slot * 4
  if (load<u8>(entry, 3)) modrm = next8()
  if (needMore) return shortage(u, limit)
  const pp: u32 = repeat == 0xf3 ? 2 : repeat == 0xf2 ? 3 : prefix66 ? 1 : 0
  const row = findRow(slot, pp)
  if (!row) return undefined(u)
  const flags: u32 = load<u8>(row, 9)
  const unit: u32 = load<u8>(row, 2)
  const family: u32 = load<u16>(row)
  if ((flags & 32) && mode == MODE_64 && opSize == 2) opSize = 3
  const mem = modrm < 0xc0 && load<u8>(entry, 3) != 0
  if (unit == 2) decodeX87(u, row, mem, opcode)
  else if (unit >= 3) decodeSimd(u, row, mem, unit)
  else decodeInteger(u, row, mem, unit, family, opcode)
  if (needMore) return shortage(u, limit)
  const length = <u32>(at - start)
  if (lock && (!(flags & 16) || !(load<u8>(u, UOP_AUX) & AUX_DST_MEM) || unit >= 2)) return undefined(u)
  store<u8>(u, <u8>((load<u8>(u, UOP_LEN) & 0xf0) | length), UOP_LEN)
  if (ripRelative) store<i32>(u, load<i32>(u, UOP_DISP) + <i32>load<u16>(u, UOP_OFFSET) + <i32>length, UOP_DISP)
  if (unit < 2 && load<u16>(u, UOP_OP) != OP_UD) specialise(u, family, mode, opcode, length)
  if (multi && slot == 256 + 0xae && family == F_NOP && (modrm & 0xf8) == 0xf0) store<u16>(u, OP_FENCE, UOP_OP) // MFENCE
  return length
}

/** The bytes ran out at the 15-byte limit (then it is #GP) or at the end of what was given. */
function shortage(u: usize, limit: usize): u32 {
  if (limit - start < 15) return 0
  needMore = false
  store<u16>(u, OP_GP, UOP_OP)
  store<u8>(u, 15, UOP_LEN)
  return 15
}

function decodeX87(u: usize, row: usize, mem: bool, opcode: u32): void {
  const kind: u32 = load<u8>(row, 12)
  let aux: u32 = load<u8>(row, 9) & 8 ? X87_NO_WAIT : 0
  store<u16>(u, OP_X87, UOP_OP)
  store<u32>(u, load<u16>(row), UOP_X)
  let bytes: i64 = load<u16>(row, 10)
  // 16-bit operand size selects the short environment, which is the next operation number.
  if (bytes >= 0xfffd && opSize == 1) store<u32>(u, load<u32>(u, UOP_X) + 1, UOP_X)
  if (bytes == 0xfffe) bytes = opSize == 1 ? 14 : 28
  else if (bytes == 0xfffd) bytes = opSize == 1 ? 94 : 108
  if (kind == K_LD) aux |= X87_LOAD
  else if (kind == K_ST) aux |= X87_STORE
  store<u16>(u, <u16>(modrm & 7), UOP_S)
  store<i64>(u, bytes | (<i64>opSize << 16) | (<i64>(modrm | ((opcode & 7) << 8)) << 24), UOP_IMM)
  store<u8>(u, <u8>aux, UOP_AUX)
  if (mem) decodeMemory(u)
}

function isXmm(kind: u32): bool { return kind == K_V || kind == K_W || kind == K_U }
function simdRegister(kind: u32, field: u32): u32 {
  if (kind == K_V || kind == K_W || kind == K_U) return XMM + field * 16
  if (kind == K_P || kind == K_Q || kind == K_N) return FPR + (field & 7) * 16
  return GPR + field * 8
}

function decodeSimd(u: usize, row: usize, mem: bool, unit: u32): void {
  const reg = ((modrm >> 3) & 7) | ((rex & 4) << 1)
  const rm = (modrm & 7) | ((rex & 1) << 3)
  const kind0: u32 = load<u8>(row, 12), kind1: u32 = load<u8>(row, 14), kind2: u32 = load<u8>(row, 16)
  const rowFlags: u32 = load<u8>(row, 9)
  let aux: u32 = rowFlags & 1 ? SIMD_ALIGN : 0
  store<u32>(u, load<u16>(row), UOP_X)
  // CVTPI2PS and CVTPI2PD with a memory operand touch no MMX register.
  if (kind0 == K_P || kind0 == K_Q || kind0 == K_N || kind1 == K_P || (kind1 == K_Q && (!mem || unit == 3)) || kind1 == K_N || unit == 3) aux |= SIMD_MMX
  if (kind0 == K_P || kind0 == K_Q || kind0 == K_N) aux |= SIMD_MMX_DST
  if (isXmm(kind0) || isXmm(kind1)) aux |= SIMD_XMM
  if (kind0 == K_MASKMOV) {
    // MASKMOVQ/MASKMOVDQU: data in reg, mask in rm, address DS:rDI
    const mmx = unit == 3
    store<u16>(u, <u16>(mmx ? FPR + (reg & 7) * 16 : XMM + reg * 16), UOP_D)
    store<u16>(u, <u16>(mmx ? FPR + (rm & 7) * 16 : XMM + rm * 16), UOP_S)
    store<u8>(u, <u8>(SIMD_MASKMOV | (mmx ? SIMD_MMX : SIMD_XMM)), UOP_AUX)
    store<u16>(u, OP_SIMD_RR, UOP_OP)
    store<u16>(u, <u16>(GPR + 7 * 8), UOP_BASE)
    store<u16>(u, <u16>ZERO, UOP_INDEX)
    store<i32>(u, 0, UOP_DISP)
    store<i64>(u, mmx ? 8 : 16, UOP_IMM)
    store<u8>(u, <u8>segmentBits(u, DS, true), UOP_SEG)
    return
  }
  const rmFirst = kind0 == K_W || kind0 == K_Q || kind0 == K_U || kind0 == K_N || kind0 == K_E || kind0 == K_M
  const d = simdRegister(kind0, rmFirst ? rm : reg)
  const s = kind1 == 0 || kind1 == K_IU ? d : simdRegister(kind1, rmFirst ? reg : rm)
  store<u16>(u, <u16>d, UOP_D)
  store<u16>(u, <u16>s, UOP_S)
  if (mem) decodeMemory(u)
  if (kind1 == K_IU || kind2 == K_IU) store<i64>(u, next8(), UOP_IMM)
  store<u8>(u, <u8>aux, UOP_AUX)
  // Memory forms carry their byte count in bits 16.. of IMM.
  if (mem) store<i64>(u, load<i64>(u, UOP_IMM) | (<i64>load<u16>(row, 10) << 16), UOP_IMM)
  store<u16>(u, !mem ? OP_SIMD_RR : rmFirst ? OP_SIMD_ST : OP_SIMD_RM, UOP_OP)
}

function decodeInteger(u: usize, row: usize, mem: bool, unit: u32, family: u32, opcode: u32): void {
  let aux: u32 = 0
  let address = addressSize()
  let hasSource: u32 = 0
  store<u16>(u, unit == 1 ? OP_SYSTEM : OP_GENERIC, UOP_OP)
  const reg = ((modrm >> 3) & 7) | ((rex & 4) << 1)
  const rm = (modrm & 7) | ((rex & 1) << 3)
  if (family == F_LEA) overrideSegment = -1 // no segment base goes into an effective address
  if (mem) decodeMemory(u)
  let size = opSize
  for (let i: u32 = 0; i < 3; i++) {
    const kind: u32 = load<u8>(row + i * 2, 12)
    const code: u32 = load<u8>(row + i * 2, 13)
    if (!kind) break
    if (i == 1) hasSource = 1
    let register: u32 = 0
    let isRegister = true
    // Immediates, branch targets and segment registers do not tell the operand size.
    const operandSize = kind == K_S ? (mode == MODE_64 && opSize == 2 && i == 0 && code != 15 ? 3 : opSize) : (kind == K_I || kind == K_J) && i == 0 ? opSize : sizeOf(code)
    if (kind == K_E || kind == K_M || kind == K_R) {
      if (mem && kind != K_R) { isRegister = false; aux |= i == 0 ? AUX_DST_MEM : AUX_SRC_MEM }
      else register = gpr(rm, operandSize)
    } else if (kind == K_G) register = gpr(reg, operandSize)
    else if (kind == K_Z) register = gpr((opcode & 7) | ((rex & 1) << 3), operandSize)
    else if (kind == K_A) register = GPR
    else if (kind == K_CL) { register = GPR + 8; if (i == 2) { store<i64>(u, -1, UOP_IMM); isRegister = false } }
    else if (kind == K_DX) register = GPR + 16
    else if (kind == K_1) { store<i64>(u, 1, UOP_IMM); aux |= AUX_SRC_IMM; isRegister = false }
    else if (kind == K_I && i == 1 && load<u8>(row, 12) == K_I) { store<i64>(u, (load<i64>(u, UOP_IMM) & 0xffff) | (<i64>next8() << 16) | (<i64>opSize << 40), UOP_IMM); isRegister = false } // ENTER
    else if (kind == K_I) { store<i64>(u, immediate(code), UOP_IMM); if (i < 2) aux |= AUX_SRC_IMM; isRegister = false }
    else if (kind == K_IU) { store<i64>(u, next8(), UOP_IMM); if (i < 2) aux |= AUX_SRC_IMM; isRegister = false }
    else if (kind == K_J) { store<i64>(u, code == S_B ? <i64><i8>next8() : opSize == 1 && mode != MODE_64 ? <i64><i16>next16() : <i64><i32>next32(), UOP_IMM); isRegister = false }
    else if (kind == K_O) {
      const offset: u64 = address == 3 ? next64() : address == 2 ? <u64>next32() : <u64>next16()
      // The full offset lives in IMM; generic MOV of this form reads it from there.
      store<u16>(u, <u16>(UOP_MOFFS), UOP_BASE)
      store<u16>(u, <u16>ZERO, UOP_INDEX)
      store<i64>(u, <i64>offset, UOP_IMM)
      store<u8>(u, <u8>moffsBits(u), UOP_SEG)
      aux |= i == 0 ? AUX_DST_MEM : AUX_SRC_MEM
      isRegister = false
    } else if (kind == K_S) register = code == 15 ? (modrm >> 3) & 7 : code
    else if (kind == K_C || kind == K_D) register = reg
    else if (kind == K_FAR) {
      const offset: i64 = opSize == 1 ? <i64>next16() : <i64>next32()
      store<i64>(u, offset | (<i64>next16() << 32), UOP_IMM)
      isRegister = false
    } else if (kind == K_STR) {
      store<u8>(u, <u8>(overrideSegment >= 0 ? overrideSegment : DS), UOP_SEG)
      isRegister = false
    }
    if (i == 0) size = operandSize
    else if (i == 1 && (kind == K_A || kind == K_G) && (load<u8>(row, 12) == K_IU || load<u8>(row, 12) == K_DX)) size = operandSize // OUT
    if (isRegister) {
      if (i == 0) store<u16>(u, <u16>register, UOP_D)
      else if (i == 1) store<u16>(u, <u16>register, UOP_S)
    }
  }
  if (load<u8>(row, 12) == 0 && load<u8>(row, 13) == S_64 && mode == MODE_64 && size == 2) size = 3
  aux |= size
  if (repeat == 0xf3) aux |= AUX_REP
  else if (repeat == 0xf2) aux |= AUX_REPNE
  if (lock) aux |= AUX_LOCK
  store<u8>(u, <u8>aux, UOP_AUX)
  store<u32>(u, family | (address << X_ADDRESS) | (hasSource << 18) | (opcode << 24), UOP_X)
  if (family == F_XLAT) store<u8>(u, <u8>(overrideSegment >= 0 ? overrideSegment : DS), UOP_SEG)
  if (family == F_NOP && opcode == 0x90 && (rex & 1)) { // 41 90 is XCHG R8, RAX
    store<u16>(u, <u16>(GPR + 64), UOP_D)
    store<u16>(u, <u16>GPR, UOP_S)
    store<u8>(u, <u8>opSize, UOP_AUX)
    store<u32>(u, F_XCHG | (1 << 18), UOP_X)
  }
}

/** Base slot meaning "the offset is in UOP_IMM" (MOV with absolute offset). */
export const UOP_MOFFS: u32 = 0xffff

function moffsBits(u: usize): u32 {
  if (mode == MODE_64) return overrideSegment == FS || overrideSegment == GS ? AS_BASE | <u32>overrideSegment : 0
  const used: u32 = overrideSegment >= 0 ? <u32>overrideSegment : DS
  if (used == SS) store<u8>(u, load<u8>(u, UOP_LEN) | LEN_STACK, UOP_LEN)
  return AS_LEGACY | used | (addressSize() == 2 ? AS_32 : AS_16)
}
