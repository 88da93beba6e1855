/** Moves, extensions, addresses, exchanges, and what depends on a condition. Semantics: Intel SDM volume 2. */
import { RFLAGS } from '../core/layout.ts'
import { MEM, OP } from './encoder.ts'
import { IntegerOperands } from './emit-operands.ts'
import { CPU, V32, VA, W32, W64 } from './frame.ts'
import { conditionOf } from './uops.ts'
import type { Uop } from './uops.ts'

const RAX = 0
const RDX = 16
/** Numbers of registers, not places. */
const RSI = 6, RDI = 7
const DIRECTION_BIT = 10

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
      case 'LODS': case 'STOS': case 'MOVS': return this.#string(uop)
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

  /** One element; the direction flag cannot be known here. */
  #string(uop: Uop): boolean {
    const { code } = this.frame
    const { size, name } = uop
    const advance = (register: number): void => {
      this.frame.register(register)
      code.i64(1 << size).op(OP.i64_add)
      code.get(CPU).memory(MEM.i64_load, RFLAGS).i64(DIRECTION_BIT).op(OP.i64_shr_u).i64(1).op(OP.i64_and).i64(size + 1).op(OP.i64_shl, OP.i64_sub)
      this.frame.setRegister(register)
    }
    const value = this.value(size)
    if (name === 'STOS') this.frame.operand(RAX, size)
    else {
      this.frame.register(RSI)
      code.set(VA)
      this.frame.readPointer(uop, size)
      this.frame.load(size)
    }
    if (name === 'LODS') {
      this.frame.setOperand(RAX, size)
      advance(RSI)
      return true
    }
    code.set(value)
    this.frame.register(RDI)
    code.set(VA)
    const finish = (): void => {
      if (name === 'MOVS') advance(RSI)
      advance(RDI)
    }
    this.frame.write(uop, size, value, { finish })
    finish()
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
