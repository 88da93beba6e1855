/**
 * SSE arithmetic on WebAssembly's own floating point where that gives the bits and the MXCSR flags of the core (core/sse-lane.ts): rounding to nearest, everything masked,
 * ordinary operands and results, and either the inexact flag set already or a result that is exact. Anything else leaves the region before it has changed something.
 */
import { MXCSR, REGION_RESUME } from '../core/layout.ts'
import * as S from '../core/sse-ops.ts'
import { MEM, OP, SIMD } from './encoder.ts'
import type { Flags } from './flags.ts'
import { FLOAT, V64, VA, VX, VY, W32, W64, X32, X64 } from './frame.ts'
import type { Frame } from './frame.ts'
import type { Uop } from './uops.ts'

const ADD = 0, SUB = 1, MUL = 2, DIV = 3, MIN = 4, MAX = 5, SQRT = 6, CMP = 7
const QUICK_MASK = 0xffc0, QUICK = 0x1f80, INEXACT = 0x20

interface Format {
  readonly size: number
  readonly a: number
  readonly b: number
  readonly r: number
  /** scratch for bits */
  readonly bits: number
  readonly extract: number
  readonly replace: number
  readonly arithmetic: readonly number[]
  readonly abs: number
  readonly sqrt: number
  readonly reinterpret: number
  readonly compare: { readonly eq: number; readonly ne: number; readonly lt: number; readonly gt: number; readonly le: number }
  readonly int: { readonly add: number; readonly sub: number; readonly lt: number; readonly or: number; readonly ctz: number; readonly wrap: readonly number[] }
}

const DOUBLE: Format = {
  size: 3, a: FLOAT.a, b: FLOAT.b, r: FLOAT.r, bits: X64, extract: SIMD.f64x2_extract_lane, replace: SIMD.f64x2_replace_lane, arithmetic: [OP.f64_add, OP.f64_sub, OP.f64_mul, OP.f64_div], abs: OP.f64_abs,
  sqrt: OP.f64_sqrt, reinterpret: OP.i64_reinterpret, compare: { eq: OP.f64_eq, ne: OP.f64_ne, lt: OP.f64_lt, gt: OP.f64_gt, le: OP.f64_le },
  int: { add: OP.i64_add, sub: OP.i64_sub, lt: OP.i64_lt_u, or: OP.i64_or, ctz: OP.i64_ctz, wrap: [OP.i32_wrap] },
}
const SINGLE: Format = {
  size: 2, a: FLOAT.c, b: FLOAT.d, r: FLOAT.s, bits: W32, extract: SIMD.f32x4_extract_lane, replace: SIMD.f32x4_replace_lane, arithmetic: [OP.f32_add, OP.f32_sub, OP.f32_mul, OP.f32_div], abs: OP.f32_abs,
  sqrt: OP.f32_sqrt, reinterpret: OP.i32_reinterpret, compare: { eq: OP.f32_eq, ne: OP.f32_ne, lt: OP.f32_lt, gt: OP.f32_gt, le: OP.f32_le },
  int: { add: OP.i32_add, sub: OP.i32_sub, lt: OP.i32_lt_u, or: OP.i32_or, ctz: OP.i32_ctz, wrap: [] },
}

export class FloatEmitter {
  readonly #frame: Frame
  readonly #flags: Flags
  /** MXCSR was looked at in this block: FLOAT.free holds its inexact flag */
  #looked = false

  constructor(frame: Frame, flags: Flags) {
    this.#frame = frame
    this.#flags = flags
  }

  /** Nothing is known of MXCSR any more. */
  forget(): void {
    this.#looked = false
  }

  /** @returns false when it does not know the instruction; then it has written nothing */
  emit(uop: Uop): boolean {
    const { x } = uop
    if (x >= S.SSE_FP_FIRST && x < S.SSE_RCPPS) {
      const kind = x - S.SSE_FP_FIRST >> 2, format = x - S.SSE_FP_FIRST & 3
      if (format < 2) return kind !== CMP && kind !== MIN && kind !== MAX && this.#packed(uop, kind, format === 1)
      return this.#scalar(uop, kind, format === 3 ? DOUBLE : SINGLE)
    }
    switch (x) {
      case S.SSE_UCOMISD: case S.SSE_COMISD: return this.#compare(uop, DOUBLE)
      case S.SSE_UCOMISS: case S.SSE_COMISS: return this.#compare(uop, SINGLE)
      case S.SSE_CVTSI2SD: return this.#fromInt(uop, false)
      case S.SSE_CVTSI2SD_W: return this.#fromInt(uop, true)
      case S.SSE_CVTTSD2SI: return this.#toInt(uop, false)
      case S.SSE_CVTTSD2SI_W: return this.#toInt(uop, true)
      case S.SSE_CVTSS2SD: return this.#widen(uop)
      case S.SSE_CVTSD2SS: return this.#narrow(uop)
      default: return false
    }
  }

  #leave(uop: Uop): void {
    const { code } = this.#frame
    code.if()
    this.#frame.leave(uop.at | REGION_RESUME)
    code.end()
  }

  /** Leaves unless MXCSR is as usual. */
  #mode(uop: Uop): void {
    if (this.#looked) return
    this.#looked = true
    const { code } = this.#frame
    code.get(0).memory(MEM.i32_load, MXCSR).tee(FLOAT.free).i32(QUICK_MASK).op(OP.i32_and).i32(QUICK).op(OP.i32_ne)
    this.#leave(uop)
    code.get(FLOAT.free).i32(INEXACT).op(OP.i32_and).set(FLOAT.free)
  }

  #constant(format: Format, high: number): void {
    if (format.size === 3) this.#frame.code.i64(0, high)
    else this.#frame.code.i32(high)
  }
  /** Pushes twice the bits of a number, i.e. without its sign. */
  #magnitude(format: Format, local: number): void {
    this.#frame.code.get(local).op(format.reinterpret).tee(format.bits).get(format.bits).op(format.int.add)
  }
  #one(format: Format): void {
    if (format.size === 3) this.#frame.code.i64(1)
    else this.#frame.code.i32(1)
  }
  /** Twice the least normal number, twice infinity. */
  #least(format: Format): void { this.#constant(format, format.size === 3 ? 0x0020_0000 : 0x0100_0000) }
  #infinity(format: Format): number { return format.size === 3 ? 0xffe0_0000 | 0 : 0xff00_0000 | 0 }

  /** Leaves when a local is a denormal number. */
  #notDenormal(uop: Uop, format: Format, local: number): void {
    const { code } = this.#frame
    this.#magnitude(format, local)
    this.#one(format)
    code.op(format.int.sub)
    this.#least(format)
    this.#one(format)
    code.op(format.int.sub, format.int.lt)
    this.#leave(uop)
  }

  /** Loads the source into b. */
  #source(uop: Uop, format: Format): void {
    const { code } = this.#frame
    if (uop.shape === 'RM') {
      this.#frame.address(uop)
      code.set(VA)
      this.#frame.readPointer(uop, format.size)
      code.memory(format.size === 3 ? MEM.f64_load : MEM.f32_load, 0)
    } else {
      this.#frame.xmm(uop.s)
      code.lane(format.extract, 0)
    }
    code.set(format.b)
  }
  #first(uop: Uop, format: Format): void {
    this.#frame.xmm(uop.d)
    this.#frame.code.lane(format.extract, 0).set(format.a)
  }
  #store(uop: Uop, format: Format, local: number): void {
    const { code } = this.#frame
    this.#frame.xmm(uop.d)
    code.get(local).lane(format.replace, 0)
    this.#frame.setXmm(uop.d)
  }

  #scalar(uop: Uop, kind: number, format: Format): boolean {
    const { code } = this.#frame
    const { a, b, r, compare } = format
    if (uop.shape === 'MR') return false
    this.#mode(uop)
    this.#source(uop, format)
    if (kind !== SQRT) {
      this.#first(uop, format)
      this.#notDenormal(uop, format, a)
    }
    this.#notDenormal(uop, format, b)
    if (kind === MIN || kind === MAX || kind === CMP) {
      code.get(a).get(a).op(compare.ne).get(b).get(b).op(compare.ne, OP.i32_or)
      this.#leave(uop)
      if (kind === CMP) return this.#mask(uop, format)
      code.get(a).get(b).get(a).get(b).op(kind === MIN ? compare.lt : compare.gt, OP.select).set(r)
      this.#store(uop, format, r)
      return true
    }
    if (kind === SQRT) code.get(b).op(format.sqrt).set(r)
    else code.get(a).get(b).op(format.arithmetic[kind] as number).set(r)
    // In range: sums may be anything finite, for a sum that is tiny is exact.
    this.#magnitude(format, r)
    if (kind === ADD || kind === SUB) {
      this.#constant(format, this.#infinity(format))
      code.op(format.int.lt, OP.i32_eqz)
      this.#leave(uop)
    } else {
      this.#least(format)
      this.#one(format)
      code.op(format.int.add, format.int.sub)
      this.#constant(format, this.#infinity(format))
      this.#least(format)
      this.#one(format)
      code.op(format.int.add, format.int.sub, format.int.lt, OP.i32_eqz).if()
      const isNotZero = (local: number): void => {
        code.get(local).get(local).get(local).op(format.arithmetic[SUB] as number, compare.ne) // x - x is 0, for infinity and NaN nothing equals it
      }
      // Zero is right when an operand is zero.
      isNotZero(r)
      if (kind !== SQRT) {
        isNotZero(a)
        if (kind === MUL) {
          isNotZero(b)
          code.op(OP.i32_and)
        }
        code.op(OP.i32_or)
      }
      this.#leave(uop)
      code.end()
    }
    code.get(FLOAT.free).op(OP.i32_eqz)
    if (kind === DIV || kind === SQRT) this.#leave(uop)
    else {
      code.if()
      if (kind === MUL) this.#inexactProduct(format)
      else this.#inexactSum(format, kind === ADD)
      this.#leave(uop)
      code.end()
    }
    this.#store(uop, format, r)
    return true
  }

  /** Pushes whether r may not be exactly a + b or a - b. T. Dekker, D. Knuth: the error of a sum is itself a number. */
  #inexactSum({ a, b, r, arithmetic, compare, size }: Format, isSum: boolean): void {
    const { code } = this.#frame
    const add = arithmetic[ADD] as number, sub = arithmetic[SUB] as number
    const part = size === 3 ? FLOAT.p : FLOAT.q
    code.get(r).get(a).op(sub).set(part)
    // (a - (r - part)) and, of the other operand, b - part or -b - part: their sum is the error.
    code.get(a).get(r).get(part).op(sub, sub)
    if (isSum) code.get(part).get(b).op(sub)
    else code.get(part).get(b).op(add)
    code.op(compare.ne)
  }

  /** Pushes whether the product of a and b may need rounding: their significant bits do not surely fit together. */
  #inexactProduct({ a, b, reinterpret, size, int }: Format): void {
    const { code } = this.#frame
    const bits = (local: number): void => {
      code.get(local).op(reinterpret)
      if (size === 3) code.i64(0, 0x10_0000)
      else code.i32(0x80_0000)
      code.op(int.or, int.ctz, ...int.wrap)
    }
    bits(a)
    bits(b)
    code.op(OP.i32_add).i32(size === 3 ? 52 : 23).op(OP.i32_le_s)
  }

  /** CMPSD, CMPSS of numbers: all ones or zero. */
  #mask(uop: Uop, { a, b, compare, size }: Format): boolean {
    const { code } = this.#frame
    const predicate = uop.low & 7
    this.#frame.xmm(uop.d)
    if ((predicate & 3) === 3) code.i32(predicate >> 2)
    else {
      code.get(a).get(b).op([compare.eq, compare.lt, compare.le][predicate & 3] as number)
      if (predicate >= 4) code.op(OP.i32_eqz)
    }
    code.set(X32).i32(0).get(X32).op(OP.i32_sub)
    if (size === 3) code.op(OP.i64_extend_s).lane(SIMD.i64x2_replace_lane, 0)
    else code.lane(SIMD.i32x4_replace_lane, 0)
    this.#frame.setXmm(uop.d)
    return true
  }

  #compare(uop: Uop, format: Format): boolean {
    const { code } = this.#frame
    const { a, b, compare } = format
    this.#source(uop, format)
    this.#first(uop, format)
    this.#notDenormal(uop, format, a)
    this.#notDenormal(uop, format, b)
    code.get(a).get(a).op(compare.ne).get(b).get(b).op(compare.ne, OP.i32_or)
    this.#leave(uop)
    const wide = format.size === 3 ? [] : [OP.f64_promote]
    code.get(a).op(...wide).set(FLOAT.x).get(b).op(...wide).set(FLOAT.y)
    this.#flags.now('compare', 3)
    return true
  }

  #fromInt(uop: Uop, wide: boolean): boolean {
    const { code } = this.#frame
    if (uop.shape === 'RM') {
      this.#frame.address(uop)
      code.set(VA)
      this.#frame.readPointer(uop, wide ? 3 : 2)
      this.#frame.load(wide ? 3 : 2)
    } else this.#frame.operand(uop.s, wide ? 3 : 2)
    if (wide) { // up to 53 bits nothing is rounded
      code.tee(V64).i64(0, 0x20_0000).op(OP.i64_add).i64(0, 0x40_0000).op(OP.i64_gt_u)
      this.#leave(uop)
      code.get(V64).op(OP.f64_convert_i64)
    } else code.op(OP.f64_convert_i32)
    code.set(FLOAT.r)
    this.#store(uop, DOUBLE, FLOAT.r)
    return true
  }

  #toInt(uop: Uop, wide: boolean): boolean {
    const { code } = this.#frame
    this.#mode(uop)
    this.#source(uop, DOUBLE)
    code.get(FLOAT.b).op(OP.f64_abs).f64(0, wide ? 0x43e0_0000 : 0x41e0_0000).op(OP.f64_lt, OP.i32_eqz)
    this.#leave(uop)
    code.get(FLOAT.b)
    if (wide) code.saturate(6).tee(W64).op(OP.f64_convert_i64)
    else code.saturate(2).tee(W32).op(OP.f64_convert_i32)
    code.get(FLOAT.b).op(OP.f64_ne).get(FLOAT.free).op(OP.i32_eqz, OP.i32_and)
    this.#leave(uop)
    code.get(wide ? W64 : W32)
    this.#frame.setOperand(uop.d, wide ? 3 : 2)
    return true
  }

  #widen(uop: Uop): boolean {
    const { code } = this.#frame
    this.#source(uop, SINGLE)
    this.#notDenormal(uop, SINGLE, SINGLE.b)
    code.get(SINGLE.b).get(SINGLE.b).op(OP.f32_ne)
    this.#leave(uop)
    code.get(SINGLE.b).op(OP.f64_promote).set(FLOAT.r)
    this.#store(uop, DOUBLE, FLOAT.r)
    return true
  }

  #narrow(uop: Uop): boolean {
    const { code } = this.#frame
    this.#mode(uop)
    this.#source(uop, DOUBLE)
    code.get(FLOAT.b).op(OP.f32_demote).set(SINGLE.r)
    // Normal, or inexact results count as wrong; zero is left to the core.
    this.#magnitude(SINGLE, SINGLE.r)
    this.#least(SINGLE)
    this.#one(SINGLE)
    code.op(OP.i32_add, OP.i32_sub)
    this.#constant(SINGLE, this.#infinity(SINGLE))
    this.#least(SINGLE)
    this.#one(SINGLE)
    code.op(OP.i32_add, OP.i32_sub, OP.i32_lt_u, OP.i32_eqz)
    this.#leave(uop)
    code.get(SINGLE.r).op(OP.f64_promote).get(FLOAT.b).op(OP.f64_ne).get(FLOAT.free).op(OP.i32_eqz, OP.i32_and)
    this.#leave(uop)
    this.#store(uop, SINGLE, SINGLE.r)
    return true
  }

  /** All elements at once; the inexact flag must be set already. */
  #packed(uop: Uop, kind: number, double: boolean): boolean {
    const { code } = this.#frame
    const op = double ? {
      arithmetic: [SIMD.f64x2_add, SIMD.f64x2_sub, SIMD.f64x2_mul, SIMD.f64x2_div], sqrt: SIMD.f64x2_sqrt, abs: SIMD.f64x2_abs, ge: SIMD.f64x2_ge, gt: SIMD.f64x2_gt, lt: SIMD.f64x2_lt, eq: SIMD.f64x2_eq,
      all: SIMD.i64x2_all_true, least: [0, 0x0010_0000], infinity: [0, 0x7ff0_0000],
    } : {
      arithmetic: [SIMD.f32x4_add, SIMD.f32x4_sub, SIMD.f32x4_mul, SIMD.f32x4_div], sqrt: SIMD.f32x4_sqrt, abs: SIMD.f32x4_abs, ge: SIMD.f32x4_ge, gt: SIMD.f32x4_gt, lt: SIMD.f32x4_lt, eq: SIMD.f32x4_eq,
      all: SIMD.i32x4_all_true, least: [0x0080_0000, 0x0080_0000], infinity: [0x7f80_0000, 0x7f80_0000],
    }
    if (uop.shape === 'MR') return false
    const splat = ([low, high]: readonly number[]): void => { code.v128([low as number, high as number, low as number, high as number]) }
    const zero = (): void => { splat([0, 0]) }
    this.#mode(uop)
    code.get(FLOAT.free).op(OP.i32_eqz)
    this.#leave(uop)
    this.#frame.xmmSource(uop, 4)
    code.set(VX)
    const a = (): void => { if (kind === SQRT) code.get(VX); else this.#frame.xmm(uop.d) }
    const b = (): void => { code.get(VX) }
    const ordinary = (value: () => void): void => {
      value()
      code.simd(op.abs)
      splat(op.least)
      code.simd(op.ge)
      value()
      zero()
      code.simd(op.eq).simd(SIMD.v128_or)
    }
    if (kind !== SQRT) a()
    b()
    code.simd(kind === SQRT ? op.sqrt : op.arithmetic[kind] as number).set(VY)
    ordinary(a)
    if (kind !== SQRT) {
      ordinary(b)
      code.simd(SIMD.v128_and)
    }
    code.get(VY).simd(op.abs)
    splat(op.least)
    code.simd(op.gt).get(VY).simd(op.abs)
    splat(op.infinity)
    code.simd(op.lt).simd(SIMD.v128_and)
    code.get(VY)
    zero()
    code.simd(op.eq)
    a()
    zero()
    code.simd(op.eq)
    b()
    zero()
    code.simd(op.eq).simd(SIMD.v128_or).simd(SIMD.v128_and).simd(SIMD.v128_or).simd(SIMD.v128_and).simd(op.all).op(OP.i32_eqz)
    this.#leave(uop)
    code.get(VY)
    this.#frame.setXmm(uop.d)
    return true
  }
}
