/**
 * The arithmetic flags inside a region. What set them last is known while the code is made: operands and result stay in locals, conditions compare these
 * directly, and the form that the core keeps in memory (CC_*, core/flags.ts) is only made where control leaves or the knowledge ends.
 */
import { CC_ADC, CC_ADD, CC_DEC, CC_EFLAGS, CC_INC, CC_LOGIC, CC_MUL, CC_SAR, CC_SBB, CC_SHL, CC_SUB } from '../core/layout.ts'
import { OP } from './encoder.ts'
import { CC, CONDITION, CPU, F, FLOAT, G, MULTIPLY } from './frame.ts'
import type { Frame } from './frame.ts'

/** What set the flags last, and with it where the operands are: G for up to 4 bytes, F for 8. */
export type FlagSource =
  | 'memory' // nothing is known: the CC locals
  | 'add' | 'sub' // a, b
  | 'adc' | 'sbb' // a, b, carry in F.c
  | 'logic' // r
  | 'inc' | 'dec' // r, carry before in b
  | 'shl' | 'sar' // r, b: shifted by one less
  | 'mul' // r, b: not 0 if the product was too long
  | 'imul32' // 64-bit product in F.a
  | 'imul64' // a, b
  | 'rol' | 'ror' // r, the rest in the CC locals
  | 'compare' // FLOAT.x, FLOAT.y: ordered
  | 'bit' // carry in F.b, the rest in the CC locals

const CARRY_AND_OVERFLOW = 0x801

export class Flags {
  #source: FlagSource = 'memory'
  #size = 3
  readonly #frame: Frame

  constructor(frame: Frame) {
    this.#frame = frame
    frame.settleFlags = () => { this.settle() }
  }

  /** From here on these are the flags. Operands are in their locals already. */
  now(source: FlagSource, size: number): void {
    this.#source = source
    this.#size = size
  }

  #a(): void { this.#frame.code.get(this.#size === 3 ? F.a : G.a) }
  #b(): void { this.#frame.code.get(this.#size === 3 ? F.b : G.b) }
  #r(): void { this.#frame.code.get(this.#size === 3 ? F.r : G.r) }
  #extend(): void {
    if (this.#size < 2) this.#frame.code.op(this.#size === 0 ? OP.i32_extend8_s : OP.i32_extend16_s)
  }
  /** Pushes the result. */
  #result(): void {
    const code = this.#frame.code, wide = this.#size === 3
    switch (this.#source) {
      case 'add':
        this.#a()
        this.#b()
        code.op(wide ? OP.i64_add : OP.i32_add)
        this.#extend()
        break
      case 'sub':
        this.#a()
        this.#b()
        code.op(wide ? OP.i64_sub : OP.i32_sub)
        this.#extend()
        break
      case 'imul64':
        this.#a()
        this.#b()
        code.op(OP.i64_mul)
        break
      default: this.#r()
    }
  }
  #toLong(): void {
    if (this.#size < 3) this.#frame.code.op(OP.i64_extend_s)
  }

  /** Puts the flags into the CC locals. What is known stays known. */
  settle(): void {
    const code = this.#frame.code
    const put = (kind: number, source: () => void): void => {
      code.i32(kind + this.#size).set(CC.op)
      this.#result()
      this.#toLong()
      code.set(CC.dst)
      source()
      code.set(CC.src)
    }
    const b = (): void => {
      this.#b()
      this.#toLong()
    }
    switch (this.#source) {
      case 'memory': break
      case 'add': put(CC_ADD, b); break
      case 'sub': put(CC_SUB, b); break
      case 'adc':
        put(CC_ADC, b)
        code.get(F.c).set(CC.src2)
        break
      case 'sbb':
        put(CC_SBB, b)
        code.get(F.c).set(CC.src2)
        break
      case 'logic': put(CC_LOGIC, () => code.i64(0)); break
      case 'inc': put(CC_INC, b); break
      case 'dec': put(CC_DEC, b); break
      case 'shl': put(CC_SHL, b); break
      case 'sar': put(CC_SAR, b); break
      case 'mul': put(CC_MUL, b); break
      case 'imul32':
        code.i32(CC_MUL + 2).set(CC.op).get(F.a).op(OP.i64_extend32_s).tee(CC.dst).get(F.a).op(OP.i64_sub).set(CC.src)
        break
      case 'imul64':
        code.i32(CC_MUL + 3).set(CC.op).get(F.a).get(F.b).op(OP.i64_mul).set(CC.dst)
        code.get(F.a).get(F.b).i32(1).call(MULTIPLY).get(CC.dst).i64(63).op(OP.i64_shr_s, OP.i64_sub).set(CC.src)
        break
      case 'compare': // CF: less, ZF: equal
        code.i32(CC_EFLAGS).set(CC.op).get(FLOAT.x).get(FLOAT.y).op(OP.f64_lt).get(FLOAT.x).get(FLOAT.y).op(OP.f64_eq).i32(6).op(OP.i32_shl, OP.i32_or, OP.i64_extend_u).set(CC.src)
        break
      case 'bit': this.#frame.replaceCarry(F.b); break
      case 'rol': case 'ror': this.#frame.replaceFlags(CARRY_AND_OVERFLOW, () => { this.#rotated() }); break
    }
  }

  /** Pushes bit `number` of the result. */
  #bitOfResult(number: number): void {
    const code = this.#frame.code
    this.#r()
    if (this.#size === 3) code.i64(number).op(OP.i64_shr_u, OP.i32_wrap)
    else code.i32(number).op(OP.i32_shr_u)
    code.i32(1).op(OP.i32_and)
  }
  /** Pushes CF and OF of a rotation: the bit that went round, and whether the two ends (ROR: the two top bits) differ. */
  #rotated(): void {
    const top = this.#size === 3 ? 63 : 31
    const left = this.#source === 'rol'
    this.#bitOfResult(left ? 0 : top)
    this.#bitOfResult(left ? 0 : top)
    this.#bitOfResult(left ? top : top - 1)
    this.#frame.code.op(OP.i32_xor).i32(11).op(OP.i32_shl, OP.i32_or)
  }

  /** The knowledge ends: flags are in the CC locals. */
  forget(): void {
    this.settle()
    this.#source = 'memory'
  }

  /** Nobody will ask for the flags before they are set again. */
  dead(): void {
    this.#source = 'memory'
  }

  /** Pushes the carry, 0 or 1 (i32). */
  carry(): void {
    this.condition(2)
  }

  /** Pushes whether condition `cc` holds (i32). */
  condition(cc: number): void {
    if (this.#direct(cc >> 1, (cc & 1) !== 0)) return
    this.forget()
    this.#frame.storeFlags()
    this.#frame.code.get(CPU).i32(cc).call(CONDITION)
  }

  /** @returns whether the condition could be computed here */
  #direct(kind: number, not: boolean): boolean {
    const code = this.#frame.code, wide = this.#size === 3
    const source = this.#source
    const compare = (i32: number, i64: number): true => {
      code.op(wide ? i64 : i32)
      return true
    }
    const constant = (value: boolean): true => {
      code.i32(Number(value !== not))
      return true
    }
    const zero = (): void => { if (wide) code.i64(0); else code.i32(0) }
    const negate = (): true => {
      if (not) code.op(OP.i32_eqz)
      return true
    }
    const O = 0, B = 1, Z = 2, BE = 3, S = 4, P = 5, L = 6, LE = 7
    if (source === 'compare') {
      if (kind !== B && kind !== Z && kind !== BE && kind !== LE) return constant(false)
      code.get(FLOAT.x).get(FLOAT.y).op(kind === B ? OP.f64_lt : kind === BE ? OP.f64_le : OP.f64_eq)
      return negate()
    }
    if (kind === P || source === 'memory') return false
    if (source === 'bit') {
      if (kind !== B) return false
      code.get(F.b).op(OP.i32_wrap)
      return negate()
    }
    if (source === 'rol' || source === 'ror') {
      if (kind !== B) return false
      this.#bitOfResult(source === 'rol' ? 0 : wide ? 63 : 31)
      return negate()
    }
    if (source === 'imul32' || source === 'imul64' || source === 'mul') return false
    if (source === 'sub' && kind !== O && kind !== S) {
      this.#a()
      this.#b()
      switch (kind) {
        case B: return not ? compare(OP.i32_ge_u, OP.i64_ge_u) : compare(OP.i32_lt_u, OP.i64_lt_u)
        case Z: return not ? compare(OP.i32_ne, OP.i64_ne) : compare(OP.i32_eq, OP.i64_eq)
        case BE: return not ? compare(OP.i32_gt_u, OP.i64_gt_u) : compare(OP.i32_le_u, OP.i64_le_u)
        case L: return not ? compare(OP.i32_ge_s, OP.i64_ge_s) : compare(OP.i32_lt_s, OP.i64_lt_s)
        default: return not ? compare(OP.i32_gt_s, OP.i64_gt_s) : compare(OP.i32_le_s, OP.i64_le_s)
      }
    }
    if (source === 'logic') {
      switch (kind) {
        case O: case B: return constant(false)
        case Z: case BE:
          this.#result()
          zero()
          return not ? compare(OP.i32_ne, OP.i64_ne) : compare(OP.i32_eq, OP.i64_eq)
        case LE:
          this.#result()
          zero()
          return not ? compare(OP.i32_gt_s, OP.i64_gt_s) : compare(OP.i32_le_s, OP.i64_le_s)
        default: // S, L
          this.#result()
          zero()
          return not ? compare(OP.i32_ge_s, OP.i64_ge_s) : compare(OP.i32_lt_s, OP.i64_lt_s)
      }
    }
    if (kind === Z || kind === S) {
      this.#result()
      zero()
      if (kind === Z) return not ? compare(OP.i32_ne, OP.i64_ne) : compare(OP.i32_eq, OP.i64_eq)
      return not ? compare(OP.i32_ge_s, OP.i64_ge_s) : compare(OP.i32_lt_s, OP.i64_lt_s)
    }
    if (kind === B) {
      switch (source) {
        case 'add':
          this.#result()
          this.#b()
          compare(OP.i32_lt_u, OP.i64_lt_u)
          return negate()
        case 'adc': // r < b, or r = b with a carry in
          this.#r()
          this.#b()
          compare(OP.i32_lt_u, OP.i64_lt_u)
          this.#r()
          this.#b()
          compare(OP.i32_eq, OP.i64_eq)
          code.get(F.c).op(OP.i32_wrap, OP.i32_and, OP.i32_or)
          return negate()
        case 'sbb': // a < b, or a = b with a carry in
          this.#a()
          this.#b()
          compare(OP.i32_lt_u, OP.i64_lt_u)
          this.#a()
          this.#b()
          compare(OP.i32_eq, OP.i64_eq)
          code.get(F.c).op(OP.i32_wrap, OP.i32_and, OP.i32_or)
          return negate()
        case 'inc': case 'dec': case 'sar':
          this.#b()
          if (wide) code.op(OP.i32_wrap)
          code.i32(1).op(OP.i32_and)
          return negate()
        case 'shl':
          this.#b()
          zero()
          compare(OP.i32_lt_s, OP.i64_lt_s)
          return negate()
        default: return false
      }
    }
    return false
  }
}
