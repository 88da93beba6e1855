/** Moves, extensions, addresses, exchanges, and what depends on a condition. Semantics: Intel SDM volume 2. */
import { OP } from './encoder.ts'
import { IntegerOperands } from './emit-operands.ts'
import { V32, W32, W64 } from './frame.ts'
import { conditionOf } from './uops.ts'
import type { Uop } from './uops.ts'

const RAX = 0
const RDX = 16

export class MoveEmitter extends IntegerOperands {
  /** @returns false when it does not know the instruction in this form; then it has written nothing */
  emit(uop: Uop): boolean {
    switch (uop.name) {
      case 'MOV': return this.#move(uop)
      case 'MOVZX8': return this.#extend(uop, 0, true)
      case 'MOVZX16': return this.#extend(uop, 1, true)
      case 'MOVSX8': return this.#extend(uop, 0, false)
      case 'MOVSX16': return this.#extend(uop, 1, false)
      case 'MOVSXD': return this.#extend(uop, 2, false)
      case 'LEA': return this.#loadAddress(uop)
      case 'CBW': return this.#convert(uop)
      case 'CWD': return this.#spread(uop)
      case 'SETCC': return this.#setOnCondition(uop)
      case 'CMOV': return this.#conditionalMove(uop)
      case 'XCHG': return this.#exchange(uop)
      case 'NOP': return true
      default: return false
    }
  }

  #move(uop: Uop): boolean {
    const { code } = this.frame
    const { size, shape } = uop
    switch (shape) {
      case 'RR': this.frame.operand(uop.s, size); break
      case 'RI': this.frame.immediate(uop, size); break
      case 'RM':
        this.va(uop)
        this.frame.readPointer(uop, size)
        this.frame.load(size)
        break
      default: // memory
        this.va(uop)
        if (shape === 'MI') this.frame.immediate(uop, size)
        else this.frame.operand(uop.s, size)
        code.set(this.value(size))
        this.frame.write(uop, size, this.value(size))
        return true
    }
    this.frame.setOperand(uop.d, size)
    return true
  }

  #extend(uop: Uop, from: number, zero: boolean): boolean {
    const { code } = this.frame
    if (uop.shape === 'RM') {
      this.va(uop)
      this.frame.readPointer(uop, from)
      this.frame.load(from, zero)
    } else this.frame.operand(uop.s, from, zero)
    if (uop.size === 3) code.op(zero ? OP.i64_extend_u : OP.i64_extend_s)
    this.frame.setOperand(uop.d, uop.size)
    return true
  }

  #loadAddress(uop: Uop): boolean {
    if (uop.segment !== 0) return false
    this.frame.offset(uop)
    if (uop.size === 2) this.frame.code.i64(-1, 0).op(OP.i64_and)
    this.frame.setRegister(uop.d >> 3)
    return true
  }

  #convert({ size }: Uop): boolean {
    const { code } = this.frame
    this.frame.operand(RAX, size - 1)
    if (size === 3) code.op(OP.i64_extend_s)
    this.frame.setOperand(RAX, size)
    return true
  }

  #spread({ size }: Uop): boolean {
    const { code } = this.frame
    this.frame.operand(RAX, size)
    if (size === 3) code.i64(63).op(OP.i64_shr_s)
    else code.i32(31).op(OP.i32_shr_s)
    this.frame.setOperand(RDX, size)
    return true
  }

  #setOnCondition(uop: Uop): boolean {
    const { code } = this.frame
    this.flags.condition(conditionOf(uop))
    if (uop.shape === 'R') {
      this.frame.setOperand(uop.d, 0)
      return true
    }
    code.set(V32)
    this.va(uop)
    this.frame.write(uop, 0, V32)
    return true
  }

  #conditionalMove(uop: Uop): boolean {
    const { code } = this.frame
    const { size } = uop
    if (size < 2) return false
    if (uop.shape === 'RM') this.fetch(uop)
    this.source(uop)
    this.frame.operand(uop.d, size)
    this.flags.condition(conditionOf(uop))
    code.op(OP.select)
    this.frame.setOperand(uop.d, size)
    return true
  }

  #exchange(uop: Uop): boolean {
    const { code } = this.frame
    const { size, shape } = uop
    const value = this.value(size), other = size === 3 ? W64 : W32
    if (shape !== 'RR' && shape !== 'MR') return false
    this.open(uop, value)
    this.frame.operand(uop.s, size)
    code.set(other)
    if (shape === 'RR') {
      code.get(other)
      this.frame.setOperand(uop.d, size)
      code.get(value)
      this.frame.setOperand(uop.s, size)
      return true
    }
    code.get(value)
    this.frame.setOperand(uop.s, size)
    this.close(uop, other)
    return true
  }
}
