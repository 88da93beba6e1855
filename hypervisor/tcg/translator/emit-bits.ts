/** Shifts, rotations, single bits, bit counts and byte order. Semantics: Intel SDM volume 2; flags as core/exec.ts and core/alu.ts keep them. */
import { OP } from './encoder.ts'
import { IntegerOperands, SUB, AND, OR, XOR, SHL, SHR_S, SHR_U, ROTL, ROTR, EQZ, CTZ, CLZ, POPCNT } from './emit-operands.ts'
import { CC, F, G, P, V32, V64, VA, W32, W64, X32 } from './frame.ts'
import type { Uop } from './uops.ts'

const RCX = 8
const FLAG_ZF_SHIFT = 6

export class BitEmitter extends IntegerOperands {
  /** @returns false when it does not know the instruction in this form; then it has written nothing */
  emit(uop: Uop, needed: boolean): boolean {
    switch (uop.name) {
      case 'SHL': case 'SHR': case 'SAR': return uop.shape.endsWith('C') ? this.#shiftByCl(uop, needed) : this.#shift(uop, needed)
      case 'ROL': case 'ROR': return this.#rotate(uop, needed)
      case 'BSWAP': return this.#swapBytes(uop)
      case 'BT': case 'BTS': case 'BTR': case 'BTC': return this.#bitTest(uop, needed)
      case 'BSF': case 'BSR': return this.#scan(uop, needed)
      case 'POPCNT': return this.#population(uop, needed)
      default: return false
    }
  }

  /** By a constant: `before`, shifted by one less, holds the bit that leaves last. */
  #shift(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, name } = uop
    const count = uop.low & (size === 3 ? 63 : 31)
    if (count === 0) return false
    const value = this.value(size), r = size === 3 ? F.r : G.r, b = size === 3 ? F.b : G.b
    const by = (amount: number, opcode: number): void => {
      if (amount === 0) return
      if (size === 3) code.i64(amount)
      else code.i32(amount)
      code.op(opcode)
    }
    const opcode = name === 'SHL' ? SHL(size) : name === 'SHR' ? SHR_U(size) : SHR_S(size)
    this.open(uop, value)
    code.get(value)
    if (size < 2 && name !== 'SAR') code.i32(size === 0 ? 0xff : 0xffff).op(OP.i32_and)
    if (!needed) by(count, opcode)
    else {
      by(count - 1, opcode)
      if (size < 2) code.tee(W32)
      this.sign(size)
      code.set(b)
      if (size < 2) code.get(W32)
      else code.get(b)
      by(1, opcode)
      this.sign(size)
      code.tee(r)
    }
    code.set(value)
    this.setFlags(needed, name === 'SHL' ? 'shl' : 'sar', size)
    this.close(uop, value)
    return true
  }

  /** By CL: a count of zero leaves the flags alone. */
  #shiftByCl(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, name } = uop
    if (size < 2 || uop.shape !== 'RC') return false
    const opcode = name === 'SHL' ? SHL(size) : name === 'SHR' ? SHR_U(size) : SHR_S(size)
    const value = this.value(size), b = size === 3 ? F.b : G.b, r = size === 3 ? F.r : G.r
    const count = (): void => { this.frame.operand(RCX, size) }
    if (!needed) {
      this.frame.operand(uop.d, size)
      count()
      code.op(opcode)
      this.frame.setOperand(uop.d, size)
      this.flags.dead()
      return true
    }
    this.flags.forget()
    const amount = size === 3 ? W64 : W32
    count()
    if (size === 3) code.i64(63)
    else code.i32(31)
    code.op(AND(size)).set(amount)
    this.frame.operand(uop.d, size)
    code.set(value).get(amount).op(EQZ(size), OP.i32_eqz).if()
    code.get(value).get(amount)
    if (size === 3) code.i64(1)
    else code.i32(1)
    code.op(SUB(size), opcode).tee(b)
    if (size === 3) code.i64(1)
    else code.i32(1)
    code.op(opcode).tee(r).set(value)
    this.flags.now(name === 'SHL' ? 'shl' : 'sar', size)
    this.flags.forget()
    code.end().get(value)
    this.frame.setOperand(uop.d, size)
    return true
  }

  #rotate(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, name, shape } = uop
    const left = name === 'ROL'
    if (size < 2 || !shape.startsWith('R')) return false
    if (shape === 'RC') {
      if (needed) return false
      this.frame.operand(uop.d, size)
      this.frame.operand(RCX, size)
      code.op(left ? ROTL(size) : ROTR(size))
      this.frame.setOperand(uop.d, size)
      return true
    }
    const count = uop.low & (size === 3 ? 63 : 31)
    if (count === 0) return false
    const value = this.value(size)
    this.frame.operand(uop.d, size)
    if (size === 3) code.i64(count)
    else code.i32(count)
    code.op(left ? ROTL(size) : ROTR(size)).set(value)
    if (needed) {
      this.flags.forget()
      code.get(value).set(size === 3 ? F.r : G.r)
      this.flags.now(left ? 'rol' : 'ror', size)
    }
    code.get(value)
    this.frame.setOperand(uop.d, size)
    return true
  }

  #swapBytes({ d, size }: Uop): boolean {
    const { code } = this.frame
    if (size === 2) {
      this.frame.operand(d, 2)
      code.tee(V32).i32(8).op(OP.i32_rotl).i32(0x00ff00ff).op(OP.i32_and).get(V32).i32(8).op(OP.i32_rotr).i32(0xff00ff00 | 0).op(OP.i32_and, OP.i32_or)
      this.frame.setOperand(d, 2)
      return true
    }
    if (size !== 3) return false
    this.frame.operand(d, 3)
    code.tee(V64).i64(32).op(OP.i64_rotl).tee(V64)
    code.i64(0x00ff00ff, 0x00ff00ff).op(OP.i64_and).i64(8).op(OP.i64_shl)
    code.get(V64).i64(8).op(OP.i64_shr_u).i64(0x00ff00ff, 0x00ff00ff).op(OP.i64_and, OP.i64_or).set(V64)
    code.get(V64).i64(0x0000ffff, 0x0000ffff).op(OP.i64_and).i64(16).op(OP.i64_shl)
    code.get(V64).i64(16).op(OP.i64_shr_u).i64(0x0000ffff, 0x0000ffff).op(OP.i64_and, OP.i64_or)
    this.frame.setOperand(d, 3)
    return true
  }

  #bitTest(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, shape, name } = uop
    if (size < 2) return false
    const bits = size === 3 ? 63 : 31
    const memory = shape.startsWith('M')
    const value = this.value(size), index = size === 3 ? W64 : W32
    if (memory && shape === 'MR' && uop.segment !== 0) return false
    if (shape.endsWith('I')) {
      if (size === 3) code.i64(uop.low & bits)
      else code.i32(uop.low & bits)
      code.set(index)
    } else {
      this.frame.operand(uop.s, size)
      code.set(index)
    }
    if (memory) {
      this.frame.address(uop)
      if (shape === 'MR') { // a bit string: the index reaches beyond the operand
        code.get(index)
        if (size === 2) code.op(OP.i64_extend_s)
        code.i64(3 + size).op(OP.i64_shr_s).i64(size).op(OP.i64_shl, OP.i64_add)
      }
      code.set(VA)
      if (name === 'BT') this.frame.readPointer(uop, size)
      else {
        this.frame.modifyPointer(uop, size)
        code.get(P)
      }
      this.frame.load(size)
    } else this.frame.operand(uop.d, size)
    code.set(value)
    if (needed) this.flags.forget()
    code.get(value).get(index).op(SHR_U(size))
    if (size === 2) code.op(OP.i64_extend_u)
    code.i64(1).op(OP.i64_and).set(F.b)
    this.setFlags(needed, 'bit', size)
    if (name === 'BT') return true
    code.get(value)
    if (size === 3) code.i64(1).get(index).op(OP.i64_shl)
    else code.i32(1).get(index).op(OP.i32_shl)
    if (name === 'BTS') code.op(OR(size))
    else if (name === 'BTC') code.op(XOR(size))
    else {
      if (size === 3) code.i64(-1)
      else code.i32(-1)
      code.op(XOR(size), AND(size))
    }
    code.set(value)
    this.close(uop, value)
    return true
  }

  #scan(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, name } = uop
    if (size < 2) return false
    const value = this.value(size)
    if (uop.shape === 'RM') this.fetch(uop)
    else {
      this.frame.operand(uop.s, size)
      code.set(value)
    }
    code.get(value).op(EQZ(size)).set(X32)
    if (name === 'BSF') code.get(value).op(CTZ(size))
    else {
      if (size === 3) code.i64(63)
      else code.i32(31)
      code.get(value).op(CLZ(size), SUB(size))
    }
    if (size === 2) code.op(OP.i64_extend_u)
    code.set(W64)
    this.frame.register(uop.d >> 3) // unchanged, all of it, when there is no bit
    code.get(W64).get(X32).op(OP.select)
    this.frame.setRegister(uop.d >> 3)
    if (size === 3) code.get(X32).op(OP.i32_eqz, OP.i64_extend_u).set(F.r)
    else code.get(X32).op(OP.i32_eqz).set(G.r)
    this.setFlags(needed, 'logic', size)
    return true
  }

  #population(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size } = uop
    if (size < 2) return false
    const value = this.value(size)
    if (uop.shape === 'RM') this.fetch(uop)
    else {
      this.frame.operand(uop.s, size)
      code.set(value)
    }
    if (needed) code.i32(0).set(CC.op).get(value).op(EQZ(size)).i32(FLAG_ZF_SHIFT).op(OP.i32_shl, OP.i64_extend_u).set(CC.src)
    code.get(value).op(POPCNT(size))
    this.frame.setOperand(uop.d, size)
    this.flags.dead() // they are in the CC locals
    return true
  }
}
