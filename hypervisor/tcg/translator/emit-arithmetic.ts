/** Sums, differences, logic and products, with operands in registers and memory. Semantics: Intel SDM volume 2; flags as core/exec.ts and core/alu.ts keep them. */
import { OP } from './encoder.ts'
import { IntegerOperands, ADD, SUB, AND, OR, XOR, EQ } from './emit-operands.ts'
import { F, G, MULTIPLY, V64, W32, W64, X32, X64 } from './frame.ts'
import type { Uop } from './uops.ts'

const RAX = 0
const RDX = 16

export class ArithmeticEmitter extends IntegerOperands {
  /** @returns false when it does not know the instruction in this form; then it has written nothing */
  emit(uop: Uop, needed: boolean): boolean {
    switch (uop.name) {
      case 'ADD': case 'SUB': case 'CMP': return this.#addOrSubtract(uop, needed)
      case 'ADC': case 'SBB': return this.#withCarry(uop, needed)
      case 'AND': case 'OR': case 'XOR': case 'TEST': return this.#logic(uop, needed)
      case 'ZERO': return this.#zero(uop, needed)
      case 'INC': case 'DEC': return this.#step(uop, needed)
      case 'NEG': return this.#negate(uop, needed)
      case 'NOT': return this.#not(uop)
      case 'IMUL': return this.#multiply(uop, needed)
      case 'MUL': return this.#multiplyWide(uop, needed)
      case 'XADD': return this.#exchangeAdd(uop, needed)
      case 'CMPXCHG': return this.#compareExchange(uop, needed)
      default: return false
    }
  }

  #addOrSubtract(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, shape, name } = uop
    const a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b
    if (name === 'CMP' && shape.startsWith('M')) {
      this.fetch(uop)
      this.#compareOperands(uop, a, b, () => code.get(this.value(size)), () => shape === 'MI' ? this.frame.immediate(uop, size) : this.frame.operand(uop.s, size))
    } else {
      if (shape === 'RM') this.fetch(uop)
      const result = this.value(size)
      if (shape.startsWith('M')) {
        this.open(uop, result)
        this.#compareOperands(uop, a, b, () => code.get(result), () => this.source(uop))
      } else this.#compareOperands(uop, a, b, () => this.frame.operand(uop.d, size), () => this.source(uop))
      if (name !== 'CMP') {
        code.get(a).get(b).op(name === 'ADD' ? ADD(size) : SUB(size)).set(result)
        this.setFlags(needed, name === 'ADD' ? 'add' : 'sub', size)
        this.close(uop, result)
        return true
      }
    }
    this.setFlags(needed, 'sub', size)
    return true
  }

  #compareOperands(_uop: Uop, a: number, b: number, first: () => void, second: () => void): void {
    second()
    this.frame.code.set(b)
    first()
    this.frame.code.set(a)
  }

  #withCarry(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, shape, name } = uop
    const a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b, r = size === 3 ? F.r : G.r
    const value = this.value(size)
    if (shape === 'RM') this.fetch(uop)
    const destination = size === 3 ? W64 : W32
    this.open(uop, destination)
    this.flags.carry()
    code.op(OP.i64_extend_u).set(X64)
    this.source(uop)
    code.set(b).get(destination).set(a).get(X64).set(F.c)
    code.get(a).get(b).op(name === 'ADC' ? ADD(size) : SUB(size)).get(F.c)
    if (size < 3) code.op(OP.i32_wrap)
    code.op(name === 'ADC' ? ADD(size) : SUB(size))
    this.sign(size)
    code.tee(r).set(value)
    this.frame.carries = true
    this.setFlags(needed, name === 'ADC' ? 'adc' : 'sbb', size)
    this.close(uop, value)
    return true
  }

  #logic(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, shape, name } = uop
    const opcode = name === 'OR' ? OR(size) : name === 'XOR' ? XOR(size) : AND(size)
    const value = this.value(size), r = size === 3 ? F.r : G.r
    if (name === 'TEST') {
      if (shape.includes('M')) {
        this.fetch(uop)
        code.get(value)
        if (shape === 'MI') this.frame.immediate(uop, size)
        else this.frame.operand(shape === 'MR' ? uop.s : uop.d, size)
      } else {
        this.frame.operand(uop.d, size)
        this.source(uop)
      }
      code.op(opcode).set(r)
      this.setFlags(needed, 'logic', size)
      return true
    }
    if (shape === 'RM') this.fetch(uop)
    const destination = size === 3 ? W64 : W32
    this.open(uop, destination)
    code.get(destination)
    this.source(uop)
    code.op(opcode).tee(r).set(destination)
    this.setFlags(needed, 'logic', size)
    this.close(uop, destination)
    return true
  }

  #zero({ d, size }: Uop, needed: boolean): boolean {
    this.frame.code.i64(0)
    this.frame.setRegister(d >> 3)
    if (size === 3) this.frame.code.i64(0).set(F.r)
    else this.frame.code.i32(0).set(G.r)
    this.setFlags(needed, 'logic', size)
    return true
  }

  #step(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size } = uop
    const value = this.value(size), r = size === 3 ? F.r : G.r, b = size === 3 ? F.b : G.b
    this.open(uop, value)
    if (needed) {
      this.flags.carry()
      if (size === 3) code.op(OP.i64_extend_u)
      code.set(b)
    }
    code.get(value)
    if (size === 3) code.i64(1)
    else code.i32(1)
    code.op(uop.name === 'INC' ? ADD(size) : SUB(size))
    this.sign(size)
    code.tee(r).set(value)
    this.setFlags(needed, uop.name === 'INC' ? 'inc' : 'dec', size)
    this.close(uop, value)
    return true
  }

  #negate(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size } = uop
    const value = this.value(size), a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b
    this.open(uop, value)
    code.get(value).set(b)
    if (size === 3) code.i64(0)
    else code.i32(0)
    code.tee(a).get(b).op(SUB(size)).set(value)
    this.setFlags(needed, 'sub', size)
    this.close(uop, value)
    return true
  }

  #not(uop: Uop): boolean {
    const { code } = this.frame
    const value = this.value(uop.size)
    this.open(uop, value)
    code.get(value)
    if (uop.size === 3) code.i64(-1)
    else code.i32(-1)
    code.op(XOR(uop.size)).set(value)
    this.close(uop, value)
    return true
  }

  #multiply(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, shape } = uop
    if (size < 2) return false
    if (shape === 'RM' || shape === 'RMI') this.fetch(uop)
    const other = (): void => {
      if (shape === 'RM' || shape === 'RMI') code.get(this.value(size))
      else this.frame.operand(uop.s, size)
    }
    const first = (): void => {
      if (shape === 'RRI' || shape === 'RMI') this.frame.immediate(uop, size)
      else this.frame.operand(uop.d, size)
    }
    if (size === 3) {
      other()
      code.set(F.b)
      first()
      code.tee(F.a).get(F.b).op(OP.i64_mul)
      this.frame.setOperand(uop.d, 3)
      this.setFlags(needed, 'imul64', 3)
      return true
    }
    if (!needed) {
      first()
      other()
      code.op(OP.i32_mul)
      this.frame.setOperand(uop.d, 2)
      this.flags.dead()
      return true
    }
    first()
    code.op(OP.i64_extend_s)
    other()
    code.op(OP.i64_extend_s, OP.i64_mul).tee(F.a).op(OP.i32_wrap)
    this.frame.setOperand(uop.d, 2)
    this.setFlags(needed, 'imul32', 2)
    return true
  }

  /** RDX:RAX = RAX * operand. */
  #multiplyWide(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    if (uop.size !== 3 || uop.shape !== 'R') return false
    this.frame.operand(uop.d, 3)
    code.set(V64)
    this.frame.register(0)
    code.get(V64).i32(0).call(MULTIPLY).set(F.b)
    this.frame.register(0)
    code.get(V64).op(OP.i64_mul).tee(F.r)
    this.frame.setOperand(RAX, 3)
    code.get(F.b)
    this.frame.setOperand(RDX, 3)
    this.setFlags(needed, 'mul', 3)
    return true
  }

  #exchangeAdd(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, shape } = uop
    if (shape !== 'MR' || size < 2) return false
    const value = this.value(size), a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b
    this.open(uop, value)
    this.frame.operand(uop.s, size)
    code.set(b).get(value).tee(a)
    this.frame.setOperand(uop.s, size)
    code.get(a).get(b).op(ADD(size)).set(value)
    this.setFlags(needed, 'add', size)
    this.close(uop, value)
    return true
  }

  #compareExchange(uop: Uop, needed: boolean): boolean {
    const { code } = this.frame
    const { size, shape } = uop
    if (shape !== 'MR' || size < 2) return false
    const value = this.value(size), a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b
    this.open(uop, value)
    code.get(value).set(b)
    this.frame.operand(RAX, size)
    code.set(a)
    code.get(a).get(b).op(EQ(size)).set(X32)
    // What is stored: the source, or what was there. The accumulator changes only when they differ.
    this.frame.operand(uop.s, size)
    code.get(b).get(X32).op(OP.select).set(value)
    this.frame.register(0)
    code.get(b)
    if (size === 2) code.op(OP.i64_extend_u)
    code.get(X32).op(OP.select)
    this.frame.setRegister(0)
    this.setFlags(needed, 'sub', size)
    this.close(uop, value)
    return true
  }
}
