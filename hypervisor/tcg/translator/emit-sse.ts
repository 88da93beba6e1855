/** SSE moves, logic, integer elements and shuffles on WebAssembly SIMD, all of them exact. Semantics: Intel SDM volume 2; as core/sse-int.ts has them. */
import { FPU_BLOCK, REGION_RESUME, XMM } from '../core/layout.ts'
import * as S from '../core/sse-ops.ts'
import { FloatEmitter } from './emit-float.ts'
import { MEM, SIMD } from './encoder.ts'
import type { Flags } from './flags.ts'
import { V32, V64, VA, VX } from './frame.ts'
import type { Frame } from './frame.ts'
import type { Uop } from './uops.ts'

const ALIGNED = 1, MMX = 2, MASKED_MOVE = 8

/** d = op(d, s) of 16 bytes. */
const BINARY = new Map<number, number>([
  [S.SSE_AND, SIMD.v128_and], [S.SSE_OR, SIMD.v128_or], [S.SSE_XOR, SIMD.v128_xor],
  [S.SSE_PADDB, SIMD.i8x16_add], [S.SSE_PADDW, SIMD.i16x8_add], [S.SSE_PADDD, SIMD.i32x4_add], [S.SSE_PADDQ, SIMD.i64x2_add],
  [S.SSE_PSUBB, SIMD.i8x16_sub], [S.SSE_PSUBW, SIMD.i16x8_sub], [S.SSE_PSUBD, SIMD.i32x4_sub], [S.SSE_PSUBQ, SIMD.i64x2_sub],
  [S.SSE_PADDSB, SIMD.i8x16_add_sat_s], [S.SSE_PADDSW, SIMD.i16x8_add_sat_s], [S.SSE_PADDUSB, SIMD.i8x16_add_sat_u], [S.SSE_PADDUSW, SIMD.i16x8_add_sat_u],
  [S.SSE_PSUBSB, SIMD.i8x16_sub_sat_s], [S.SSE_PSUBSW, SIMD.i16x8_sub_sat_s], [S.SSE_PSUBUSB, SIMD.i8x16_sub_sat_u], [S.SSE_PSUBUSW, SIMD.i16x8_sub_sat_u],
  [S.SSE_PCMPEQB, SIMD.i8x16_eq], [S.SSE_PCMPEQW, SIMD.i16x8_eq], [S.SSE_PCMPEQD, SIMD.i32x4_eq], [S.SSE_PCMPEQQ, SIMD.i64x2_eq],
  [S.SSE_PCMPGTB, SIMD.i8x16_gt_s], [S.SSE_PCMPGTW, SIMD.i16x8_gt_s], [S.SSE_PCMPGTD, SIMD.i32x4_gt_s], [S.SSE_PCMPGTQ, SIMD.i64x2_gt_s],
  [S.SSE_PMINUB, SIMD.i8x16_min_u], [S.SSE_PMINUW, SIMD.i16x8_min_u], [S.SSE_PMINUD, SIMD.i32x4_min_u], [S.SSE_PMINSB, SIMD.i8x16_min_s], [S.SSE_PMINSW, SIMD.i16x8_min_s],
  [S.SSE_PMINSD, SIMD.i32x4_min_s], [S.SSE_PMAXUB, SIMD.i8x16_max_u], [S.SSE_PMAXUW, SIMD.i16x8_max_u], [S.SSE_PMAXUD, SIMD.i32x4_max_u], [S.SSE_PMAXSB, SIMD.i8x16_max_s],
  [S.SSE_PMAXSW, SIMD.i16x8_max_s], [S.SSE_PMAXSD, SIMD.i32x4_max_s], [S.SSE_PAVGB, SIMD.i8x16_avgr_u], [S.SSE_PAVGW, SIMD.i16x8_avgr_u],
  [S.SSE_PMULLW, SIMD.i16x8_mul], [S.SSE_PMULLD, SIMD.i32x4_mul], [S.SSE_PMADDWD, SIMD.i32x4_dot_i16x8_s],
  [S.SSE_PACKSSWB, SIMD.i8x16_narrow_i16x8_s], [S.SSE_PACKSSDW, SIMD.i16x8_narrow_i32x4_s], [S.SSE_PACKUSWB, SIMD.i8x16_narrow_i16x8_u], [S.SSE_PACKUSDW, SIMD.i16x8_narrow_i32x4_u],
])

/** Shift by an immediate: opcode, bits of an element, whether the sign comes in. */
const SHIFTS = new Map<number, readonly [number, number, boolean]>([
  [S.SSE_PSLLW_I, [SIMD.i16x8_shl, 16, false]], [S.SSE_PSLLD_I, [SIMD.i32x4_shl, 32, false]], [S.SSE_PSLLQ_I, [SIMD.i64x2_shl, 64, false]],
  [S.SSE_PSRLW_I, [SIMD.i16x8_shr_u, 16, false]], [S.SSE_PSRLD_I, [SIMD.i32x4_shr_u, 32, false]], [S.SSE_PSRLQ_I, [SIMD.i64x2_shr_u, 64, false]],
  [S.SSE_PSRAW_I, [SIMD.i16x8_shr_s, 16, true]], [S.SSE_PSRAD_I, [SIMD.i32x4_shr_s, 32, true]],
])

/** Elements of `bytes` bytes, numbered through destination and source, as byte lanes. */
function elements(bytes: number, ...numbers: readonly number[]): number[] {
  return numbers.flatMap((number) => Array.from({ length: bytes }, (_, byte) => number * bytes + byte))
}
const fields = (imm: number): number[] => [imm & 3, imm >> 2 & 3, imm >> 4 & 3, imm >> 6 & 3]

/** Bytes of destination (0 to 15) and source (16 to 31) of an instruction that only moves them; -1: zero. */
function lanesOf(op: number, imm: number): number[] | undefined {
  const sequence = (from: number): number[] => Array.from({ length: 16 }, (_, byte) => from + byte)
  switch (op) {
    case S.SSE_PUNPCKLBW: return elements(1, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
    case S.SSE_PUNPCKLWD: return elements(2, 0, 8, 1, 9, 2, 10, 3, 11)
    case S.SSE_PUNPCKLDQ: return elements(4, 0, 4, 1, 5)
    case S.SSE_PUNPCKLQDQ: return elements(8, 0, 2)
    case S.SSE_PUNPCKHBW: return elements(1, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
    case S.SSE_PUNPCKHWD: return elements(2, 4, 12, 5, 13, 6, 14, 7, 15)
    case S.SSE_PUNPCKHDQ: return elements(4, 2, 6, 3, 7)
    case S.SSE_PUNPCKHQDQ: return elements(8, 1, 3)
    case S.SSE_PSHUFD: return elements(4, ...fields(imm).map((field) => 4 + field))
    case S.SSE_PSHUFLW: return elements(2, ...fields(imm).map((field) => 8 + field), 12, 13, 14, 15)
    case S.SSE_PSHUFHW: return elements(2, 8, 9, 10, 11, ...fields(imm).map((field) => 12 + field))
    case S.SSE_SHUFPS: return elements(4, ...fields(imm).map((field, at) => field + (at < 2 ? 0 : 4)))
    case S.SSE_SHUFPD: return elements(8, imm & 1, 2 + (imm >> 1 & 1))
    case S.SSE_PSLLDQ: return sequence(-imm).map((lane) => lane < 0 ? -1 : lane)
    case S.SSE_PSRLDQ: return sequence(imm).map((lane) => lane > 15 ? -1 : lane)
    case S.SSE_PALIGNR: return sequence(imm).map((lane) => lane < 16 ? lane + 16 : lane < 32 ? lane - 16 : -1)
    default: return undefined
  }
}

export class SseEmitter {
  readonly #frame: Frame
  readonly #float: FloatEmitter
  /** FPU_BLOCK was looked at in this block */
  #available = false

  constructor(frame: Frame, flags: Flags) {
    this.#frame = frame
    this.#float = new FloatEmitter(frame, flags)
  }

  /** A block begins, or the core has done something. */
  forget(): void {
    this.#available = false
    this.#float.forget()
  }

  /** @returns false when it does not know the instruction in this form; then it has written nothing that matters */
  emit(uop: Uop): boolean {
    if (uop.name !== 'SIMD' || (uop.aux & (MMX | MASKED_MOVE)) !== 0) return false
    if (!this.#available) {
      const { code } = this.#frame
      code.get(0).memory(MEM.i32_load, FPU_BLOCK).if()
      this.#frame.leave(uop.at | REGION_RESUME)
      code.end()
      this.#available = true
    }
    return this.#integer(uop) || this.#float.emit(uop)
  }

  #integer(uop: Uop): boolean {
    const { code } = this.#frame
    const { x, shape } = uop
    const imm = uop.low & 0xff
    if (shape === 'MR') return this.#store(uop)
    switch (x) {
      case S.SSE_MOV16: case S.SSE_LOAD8: case S.SSE_LOAD4: return this.#load(uop)
      case S.SSE_MOV8: case S.SSE_MOV4: case S.SSE_MOVLHPS: case S.SSE_MOVHLPS: case S.SSE_STORE4: return this.#part(uop)
      case S.SSE_MOVMSKPS: return this.#bits(uop, SIMD.i32x4_bitmask)
      case S.SSE_MOVMSKPD: return this.#bits(uop, SIMD.i64x2_bitmask)
      case S.SSE_PMOVMSKB: return this.#bits(uop, SIMD.i8x16_bitmask)
      case S.SSE_ANDN:
        this.#frame.xmmSource(uop, 4)
        this.#frame.xmm(uop.d)
        code.simd(SIMD.v128_andnot)
        this.#frame.setXmm(uop.d)
        return true
      case S.SSE_PSHUFB:
        this.#frame.xmmSource(uop, 4)
        code.set(VX)
        this.#frame.xmm(uop.d)
        code.get(VX).v128([0x8f8f8f8f, 0x8f8f8f8f, 0x8f8f8f8f, 0x8f8f8f8f]).simd(SIMD.v128_and).simd(SIMD.i8x16_swizzle)
        this.#frame.setXmm(uop.d)
        return true
      case S.SSE_PMULUDQ:
        this.#frame.xmmSource(uop, 4)
        code.v128([-1, 0, -1, 0]).simd(SIMD.v128_and)
        this.#frame.xmm(uop.d)
        code.v128([-1, 0, -1, 0]).simd(SIMD.v128_and).simd(SIMD.i64x2_mul)
        this.#frame.setXmm(uop.d)
        return true
      case S.SSE_PINSRW:
        if (shape === 'RM') return false
        this.#frame.xmm(uop.d)
        this.#frame.operand(uop.s, 2)
        code.lane(SIMD.i16x8_replace_lane, imm & 7)
        this.#frame.setXmm(uop.d)
        return true
      case S.SSE_PEXTRW:
        if (uop.d >= XMM) return false
        this.#frame.xmm(uop.s)
        code.lane(SIMD.i16x8_extract_lane_u, imm & 7)
        this.#frame.setOperand(uop.d, 2)
        return true
      default: break
    }
    const shift = SHIFTS.get(x)
    if (shift !== undefined) {
      const [opcode, width, signed] = shift
      if (imm >= width && !signed) code.v128([0, 0, 0, 0])
      else {
        this.#frame.xmm(uop.d)
        code.i32(Math.min(imm, width - 1)).simd(opcode)
      }
      this.#frame.setXmm(uop.d)
      return true
    }
    const binary = BINARY.get(x)
    if (binary !== undefined) {
      this.#frame.xmmSource(uop, 4)
      code.set(VX)
      this.#frame.xmm(uop.d)
      code.get(VX).simd(binary)
      this.#frame.setXmm(uop.d)
      return true
    }
    const lanes = lanesOf(x, imm)
    if (lanes === undefined) return false
    const shifts = x === S.SSE_PSLLDQ || x === S.SSE_PSRLDQ
    if (lanes.some((lane) => lane < 0) && !shifts) return false // PALIGNR by more than 16
    if (shifts) code.v128([0, 0, 0, 0]).set(VX)
    else {
      this.#frame.xmmSource(uop, 4)
      code.set(VX)
    }
    this.#frame.xmm(uop.d)
    code.get(VX).shuffle(lanes.map((lane) => lane < 0 ? 16 : lane))
    this.#frame.setXmm(uop.d)
    return true
  }

  /** The whole register, the rest of it zero. */
  #load(uop: Uop): boolean {
    const { code } = this.#frame
    const size = uop.x === S.SSE_MOV16 ? 4 : uop.x === S.SSE_LOAD8 ? 3 : 2
    if (uop.shape === 'RM') this.#frame.xmmSource(uop, size)
    else if (uop.s < XMM) {
      code.v128([0, 0, 0, 0])
      this.#frame.operand(uop.s, size)
      code.lane(size === 3 ? SIMD.i64x2_replace_lane : SIMD.i32x4_replace_lane, 0)
    } else if (size === 4) this.#frame.xmm(uop.s)
    else {
      code.v128([0, 0, 0, 0])
      this.#frame.xmm(uop.s)
      if (size === 3) code.lane(SIMD.i64x2_extract_lane, 0).lane(SIMD.i64x2_replace_lane, 0)
      else code.lane(SIMD.i32x4_extract_lane, 0).lane(SIMD.i32x4_replace_lane, 0)
    }
    this.#frame.setXmm(uop.d)
    return true
  }

  /** A part of the register, the rest stays; or the lower part of one goes to a general register. */
  #part(uop: Uop): boolean {
    const { code } = this.#frame
    const { x, shape } = uop
    const single = x === S.SSE_MOV4 || x === S.SSE_STORE4
    const from = x === S.SSE_MOVHLPS ? 1 : 0
    if (uop.d < XMM) {
      if (shape !== 'RR') return false
      this.#frame.xmm(uop.s)
      code.lane(single ? SIMD.i32x4_extract_lane : SIMD.i64x2_extract_lane, from)
      this.#frame.setOperand(uop.d, single ? 2 : 3)
      return true
    }
    if (x === S.SSE_STORE4) return false
    const value = single ? V32 : V64
    if (shape === 'RM') {
      if (x === S.SSE_MOVHLPS) return false
      this.#frame.address(uop)
      code.set(VA)
      this.#frame.readPointer(uop, single ? 2 : 3)
      this.#frame.load(single ? 2 : 3)
      code.set(value)
    } else {
      this.#frame.xmm(uop.s)
      code.lane(single ? SIMD.i32x4_extract_lane : SIMD.i64x2_extract_lane, from).set(value)
    }
    this.#frame.xmm(uop.d)
    code.get(value).lane(single ? SIMD.i32x4_replace_lane : SIMD.i64x2_replace_lane, x === S.SSE_MOVLHPS ? 1 : 0)
    this.#frame.setXmm(uop.d)
    return true
  }

  #bits(uop: Uop, opcode: number): boolean {
    this.#frame.xmm(uop.s)
    this.#frame.code.simd(opcode)
    this.#frame.setOperand(uop.d, 2)
    return true
  }

  #store(uop: Uop): boolean {
    const { code } = this.#frame
    const { x } = uop
    const size = x === S.SSE_MOV16 ? 4 : x === S.SSE_MOV4 || x === S.SSE_STORE4 ? 2 : x === S.SSE_MOV8 || x === S.SSE_LOAD8 || x === S.SSE_MOVHLPS ? 3 : 0
    if (size === 0) return false
    this.#frame.address(uop)
    code.set(VA)
    if (size === 4) {
      if ((uop.aux & ALIGNED) !== 0) this.#frame.aligned(uop)
      this.#frame.writeXmm(uop)
      return true
    }
    this.#frame.xmm(uop.s)
    const value = size === 3 ? V64 : V32
    code.lane(size === 3 ? SIMD.i64x2_extract_lane : SIMD.i32x4_extract_lane, x === S.SSE_MOVHLPS ? 1 : 0).set(value)
    this.#frame.write(uop, size, value)
    return true
  }
}
