/** Operands of integer instructions, and opcodes by operand size. */
import { OP } from './encoder.ts'
import { P, V32, V64, VA } from './frame.ts'
import type { Flags, FlagSource } from './flags.ts'
import type { Frame } from './frame.ts'
import type { Uop } from './uops.ts'

/** Opcode of the operand size. */
const byWidth = (i32: number, i64: number) => (size: number): number => size === 3 ? i64 : i32
export const ADD = byWidth(OP.i32_add, OP.i64_add), SUB = byWidth(OP.i32_sub, OP.i64_sub), AND = byWidth(OP.i32_and, OP.i64_and), OR = byWidth(OP.i32_or, OP.i64_or)
export const XOR = byWidth(OP.i32_xor, OP.i64_xor), SHL = byWidth(OP.i32_shl, OP.i64_shl), SHR_S = byWidth(OP.i32_shr_s, OP.i64_shr_s), SHR_U = byWidth(OP.i32_shr_u, OP.i64_shr_u)
export const ROTL = byWidth(OP.i32_rotl, OP.i64_rotl), ROTR = byWidth(OP.i32_rotr, OP.i64_rotr), EQ = byWidth(OP.i32_eq, OP.i64_eq), EQZ = byWidth(OP.i32_eqz, OP.i64_eqz)
export const CTZ = byWidth(OP.i32_ctz, OP.i64_ctz), CLZ = byWidth(OP.i32_clz, OP.i64_clz), POPCNT = byWidth(OP.i32_popcnt, OP.i64_popcnt)

/** What the emitters of integer instructions share. */
export class IntegerOperands {
  protected readonly frame: Frame
  protected readonly flags: Flags

  constructor(frame: Frame, flags: Flags) {
    this.frame = frame
    this.flags = flags
  }

  protected sign(size: number): void {
    if (size < 2) this.frame.code.op(size === 0 ? OP.i32_extend8_s : OP.i32_extend16_s)
  }

  protected setFlags(needed: boolean, source: FlagSource, size: number): void {
    if (needed) this.flags.now(source, size)
    else this.flags.dead()
  }

  protected va(uop: Uop): void {
    this.frame.address(uop)
    this.frame.code.set(VA)
  }

  protected value(size: number): number { return size === 3 ? V64 : V32 }

  /** Pushes the source; a memory operand was put into `memory` by fetch. */
  protected source(uop: Uop): void {
    if (uop.shape.endsWith('M')) this.frame.code.get(this.value(uop.size))
    else if (uop.shape.endsWith('I')) this.frame.immediate(uop, uop.size)
    else this.frame.operand(uop.s, uop.size)
  }

  /** Loads a source in memory into V; nothing may have been changed before, for it may fault. */
  protected fetch(uop: Uop, size = uop.size, zero = false): void {
    this.va(uop)
    this.frame.readPointer(uop, size)
    this.frame.load(size, zero)
    this.frame.code.set(this.value(size))
  }

  /** Loads the destination, a register or memory (then P points to it), into a local. */
  protected open(uop: Uop, local: number): void {
    if (uop.shape.startsWith('M')) {
      this.va(uop)
      this.frame.modifyPointer(uop, uop.size)
      this.frame.code.get(P)
      this.frame.load(uop.size)
    } else this.frame.operand(uop.d, uop.size)
    this.frame.code.set(local)
  }

  /** Stores a local into the destination. Flags are set already. */
  protected close(uop: Uop, local: number): void {
    if (!uop.shape.startsWith('M')) {
      this.frame.code.get(local)
      this.frame.setOperand(uop.d, uop.size)
      return
    }
    this.frame.code.get(P).get(local)
    this.frame.store(uop.size)
    this.frame.commit(uop, uop.size)
  }
}
