/** Integer instructions: moves, arithmetic, shifts, bits. Semantics: Intel SDM volume 2; flags as the interpreter keeps them (core/exec.ts, core/alu.ts). */
import { OP } from './encoder.ts'
import { CC, F, G, MULTIPLY, P, V32, V64, VA, W32, W64, X32, X64 } from './frame.ts'
import type { Flags, FlagSource } from './flags.ts'
import type { Frame } from './frame.ts'
import { conditionOf } from './uops.ts'
import type { Uop } from './uops.ts'

/** Opcode of the operand size. */
const byWidth = (i32: number, i64: number) => (size: number): number => size === 3 ? i64 : i32
const ADD = byWidth(OP.i32_add, OP.i64_add), SUB = byWidth(OP.i32_sub, OP.i64_sub), AND = byWidth(OP.i32_and, OP.i64_and), OR = byWidth(OP.i32_or, OP.i64_or)
const XOR = byWidth(OP.i32_xor, OP.i64_xor), SHL = byWidth(OP.i32_shl, OP.i64_shl), SHR_S = byWidth(OP.i32_shr_s, OP.i64_shr_s), SHR_U = byWidth(OP.i32_shr_u, OP.i64_shr_u)
const ROTL = byWidth(OP.i32_rotl, OP.i64_rotl), ROTR = byWidth(OP.i32_rotr, OP.i64_rotr), EQ = byWidth(OP.i32_eq, OP.i64_eq), EQZ = byWidth(OP.i32_eqz, OP.i64_eqz)
const CTZ = byWidth(OP.i32_ctz, OP.i64_ctz), CLZ = byWidth(OP.i32_clz, OP.i64_clz), POPCNT = byWidth(OP.i32_popcnt, OP.i64_popcnt)
const RCX = 8, RAX = 0, RDX = 16
const FLAG_ZF_SHIFT = 6

export class IntegerEmitter {
  readonly #frame: Frame
  readonly #flags: Flags

  constructor(frame: Frame, flags: Flags) {
    this.#frame = frame
    this.#flags = flags
  }

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
      case 'MOV': return this.#move(uop)
      case 'MOVZX8': return this.#extend(uop, 0, true)
      case 'MOVZX16': return this.#extend(uop, 1, true)
      case 'MOVSX8': return this.#extend(uop, 0, false)
      case 'MOVSX16': return this.#extend(uop, 1, false)
      case 'MOVSXD': return this.#extend(uop, 2, false)
      case 'LEA': return this.#loadAddress(uop)
      case 'SHL': case 'SHR': case 'SAR': return uop.shape.endsWith('C') ? this.#shiftByCl(uop, needed) : this.#shift(uop, needed)
      case 'ROL': case 'ROR': return this.#rotate(uop, needed)
      case 'IMUL': return this.#multiply(uop, needed)
      case 'MUL': return this.#multiplyWide(uop, needed)
      case 'CBW': return this.#convert(uop)
      case 'CWD': return this.#spread(uop)
      case 'SETCC': return this.#setOnCondition(uop)
      case 'CMOV': return this.#conditionalMove(uop)
      case 'BSWAP': return this.#swapBytes(uop)
      case 'XCHG': return this.#exchange(uop)
      case 'XADD': return this.#exchangeAdd(uop, needed)
      case 'CMPXCHG': return this.#compareExchange(uop, needed)
      case 'BT': case 'BTS': case 'BTR': case 'BTC': return this.#bitTest(uop, needed)
      case 'BSF': case 'BSR': return this.#scan(uop, needed)
      case 'POPCNT': return this.#population(uop, needed)
      case 'NOP': return true
      default: return false
    }
  }

  #sign(size: number): void {
    if (size < 2) this.#frame.code.op(size === 0 ? OP.i32_extend8_s : OP.i32_extend16_s)
  }
  #setFlags(needed: boolean, source: FlagSource, size: number): void {
    if (needed) this.#flags.now(source, size)
    else this.#flags.dead()
  }
  #va(uop: Uop): void {
    this.#frame.address(uop)
    this.#frame.code.set(VA)
  }
  #value(size: number): number { return size === 3 ? V64 : V32 }
  /** Pushes the source; a memory operand was put into `memory` by #fetch. */
  #source(uop: Uop): void {
    if (uop.shape.endsWith('M')) this.#frame.code.get(this.#value(uop.size))
    else if (uop.shape.endsWith('I')) this.#frame.immediate(uop, uop.size)
    else this.#frame.operand(uop.s, uop.size)
  }
  /** Loads a source in memory into V; nothing may have been changed before, for it may fault. */
  #fetch(uop: Uop, size = uop.size, zero = false): void {
    this.#va(uop)
    this.#frame.readPointer(uop, size)
    this.#frame.load(size, zero)
    this.#frame.code.set(this.#value(size))
  }
  /** Loads the destination, a register or memory (then P points to it), into a local. */
  #open(uop: Uop, local: number): void {
    if (uop.shape.startsWith('M')) {
      this.#va(uop)
      this.#frame.modifyPointer(uop, uop.size)
      this.#frame.code.get(P)
      this.#frame.load(uop.size)
    } else this.#frame.operand(uop.d, uop.size)
    this.#frame.code.set(local)
  }
  /** Stores a local into the destination. Flags are set already. */
  #close(uop: Uop, local: number): void {
    if (!uop.shape.startsWith('M')) {
      this.#frame.code.get(local)
      this.#frame.setOperand(uop.d, uop.size)
      return
    }
    this.#frame.code.get(P).get(local)
    this.#frame.store(uop.size)
    this.#frame.commit(uop, uop.size)
  }

  #addOrSubtract(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, shape, name } = uop
    const a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b
    if (name === 'CMP' && shape.startsWith('M')) {
      this.#fetch(uop)
      this.#compareOperands(uop, a, b, () => code.get(this.#value(size)), () => shape === 'MI' ? this.#frame.immediate(uop, size) : this.#frame.operand(uop.s, size))
    } else {
      if (shape === 'RM') this.#fetch(uop)
      const result = this.#value(size)
      if (shape.startsWith('M')) {
        this.#open(uop, result)
        this.#compareOperands(uop, a, b, () => code.get(result), () => this.#source(uop))
      } else this.#compareOperands(uop, a, b, () => this.#frame.operand(uop.d, size), () => this.#source(uop))
      if (name !== 'CMP') {
        code.get(a).get(b).op(name === 'ADD' ? ADD(size) : SUB(size)).set(result)
        this.#setFlags(needed, name === 'ADD' ? 'add' : 'sub', size)
        this.#close(uop, result)
        return true
      }
    }
    this.#setFlags(needed, 'sub', size)
    return true
  }
  #compareOperands(_uop: Uop, a: number, b: number, first: () => void, second: () => void): void {
    second()
    this.#frame.code.set(b)
    first()
    this.#frame.code.set(a)
  }

  #withCarry(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, shape, name } = uop
    const a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b, r = size === 3 ? F.r : G.r
    const value = this.#value(size)
    if (shape === 'RM') this.#fetch(uop)
    const destination = size === 3 ? W64 : W32
    this.#open(uop, destination)
    this.#flags.carry()
    code.op(OP.i64_extend_u).set(X64)
    this.#source(uop)
    code.set(b).get(destination).set(a).get(X64).set(F.c)
    code.get(a).get(b).op(name === 'ADC' ? ADD(size) : SUB(size)).get(F.c)
    if (size < 3) code.op(OP.i32_wrap)
    code.op(name === 'ADC' ? ADD(size) : SUB(size))
    this.#sign(size)
    code.tee(r).set(value)
    this.#frame.carries = true
    this.#setFlags(needed, name === 'ADC' ? 'adc' : 'sbb', size)
    this.#close(uop, value)
    return true
  }

  #logic(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, shape, name } = uop
    const opcode = name === 'OR' ? OR(size) : name === 'XOR' ? XOR(size) : AND(size)
    const value = this.#value(size), r = size === 3 ? F.r : G.r
    if (name === 'TEST') {
      if (shape.includes('M')) {
        this.#fetch(uop)
        code.get(value)
        if (shape === 'MI') this.#frame.immediate(uop, size)
        else this.#frame.operand(shape === 'MR' ? uop.s : uop.d, size)
      } else {
        this.#frame.operand(uop.d, size)
        this.#source(uop)
      }
      code.op(opcode).set(r)
      this.#setFlags(needed, 'logic', size)
      return true
    }
    if (shape === 'RM') this.#fetch(uop)
    const destination = size === 3 ? W64 : W32
    this.#open(uop, destination)
    code.get(destination)
    this.#source(uop)
    code.op(opcode).tee(r).set(destination)
    this.#setFlags(needed, 'logic', size)
    this.#close(uop, destination)
    return true
  }

  #zero({ d, size }: Uop, needed: boolean): boolean {
    this.#frame.code.i64(0)
    this.#frame.setRegister(d >> 3)
    if (size === 3) this.#frame.code.i64(0).set(F.r)
    else this.#frame.code.i32(0).set(G.r)
    this.#setFlags(needed, 'logic', size)
    return true
  }

  #step(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size } = uop
    const value = this.#value(size), r = size === 3 ? F.r : G.r, b = size === 3 ? F.b : G.b
    this.#open(uop, value)
    if (needed) {
      this.#flags.carry()
      if (size === 3) code.op(OP.i64_extend_u)
      code.set(b)
    }
    code.get(value)
    if (size === 3) code.i64(1)
    else code.i32(1)
    code.op(uop.name === 'INC' ? ADD(size) : SUB(size))
    this.#sign(size)
    code.tee(r).set(value)
    this.#setFlags(needed, uop.name === 'INC' ? 'inc' : 'dec', size)
    this.#close(uop, value)
    return true
  }

  #negate(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size } = uop
    const value = this.#value(size), a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b
    this.#open(uop, value)
    code.get(value).set(b)
    if (size === 3) code.i64(0)
    else code.i32(0)
    code.tee(a).get(b).op(SUB(size)).set(value)
    this.#setFlags(needed, 'sub', size)
    this.#close(uop, value)
    return true
  }

  #not(uop: Uop): boolean {
    const { code } = this.#frame
    const value = this.#value(uop.size)
    this.#open(uop, value)
    code.get(value)
    if (uop.size === 3) code.i64(-1)
    else code.i32(-1)
    code.op(XOR(uop.size)).set(value)
    this.#close(uop, value)
    return true
  }

  #move(uop: Uop): boolean {
    const { code } = this.#frame
    const { size, shape } = uop
    switch (shape) {
      case 'RR': this.#frame.operand(uop.s, size); break
      case 'RI': this.#frame.immediate(uop, size); break
      case 'RM':
        this.#va(uop)
        this.#frame.readPointer(uop, size)
        this.#frame.load(size)
        break
      default: // memory
        this.#va(uop)
        if (shape === 'MI') this.#frame.immediate(uop, size)
        else this.#frame.operand(uop.s, size)
        code.set(this.#value(size))
        this.#frame.write(uop, size, this.#value(size))
        return true
    }
    this.#frame.setOperand(uop.d, size)
    return true
  }

  #extend(uop: Uop, from: number, zero: boolean): boolean {
    const { code } = this.#frame
    if (uop.shape === 'RM') {
      this.#va(uop)
      this.#frame.readPointer(uop, from)
      this.#frame.load(from, zero)
    } else this.#frame.operand(uop.s, from, zero)
    if (uop.size === 3) code.op(zero ? OP.i64_extend_u : OP.i64_extend_s)
    this.#frame.setOperand(uop.d, uop.size)
    return true
  }

  #loadAddress(uop: Uop): boolean {
    if (uop.segment !== 0) return false
    this.#frame.offset(uop)
    if (uop.size === 2) this.#frame.code.i64(-1, 0).op(OP.i64_and)
    this.#frame.setRegister(uop.d >> 3)
    return true
  }

  /** By a constant: `before`, shifted by one less, holds the bit that leaves last. */
  #shift(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, name } = uop
    const count = uop.low & (size === 3 ? 63 : 31)
    if (count === 0) return false
    const value = this.#value(size), r = size === 3 ? F.r : G.r, b = size === 3 ? F.b : G.b
    const by = (amount: number, opcode: number): void => {
      if (amount === 0) return
      if (size === 3) code.i64(amount)
      else code.i32(amount)
      code.op(opcode)
    }
    const opcode = name === 'SHL' ? SHL(size) : name === 'SHR' ? SHR_U(size) : SHR_S(size)
    this.#open(uop, value)
    code.get(value)
    if (size < 2 && name !== 'SAR') code.i32(size === 0 ? 0xff : 0xffff).op(OP.i32_and)
    if (!needed) by(count, opcode)
    else {
      by(count - 1, opcode)
      if (size < 2) code.tee(W32)
      this.#sign(size)
      code.set(b)
      if (size < 2) code.get(W32)
      else code.get(b)
      by(1, opcode)
      this.#sign(size)
      code.tee(r)
    }
    code.set(value)
    this.#setFlags(needed, name === 'SHL' ? 'shl' : 'sar', size)
    this.#close(uop, value)
    return true
  }

  /** By CL: a count of zero leaves the flags alone. */
  #shiftByCl(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, name } = uop
    if (size < 2 || uop.shape !== 'RC') return false
    const opcode = name === 'SHL' ? SHL(size) : name === 'SHR' ? SHR_U(size) : SHR_S(size)
    const value = this.#value(size), b = size === 3 ? F.b : G.b, r = size === 3 ? F.r : G.r
    const count = (): void => { this.#frame.operand(RCX, size) }
    if (!needed) {
      this.#frame.operand(uop.d, size)
      count()
      code.op(opcode)
      this.#frame.setOperand(uop.d, size)
      this.#flags.dead()
      return true
    }
    this.#flags.forget()
    const amount = size === 3 ? W64 : W32
    count()
    if (size === 3) code.i64(63)
    else code.i32(31)
    code.op(AND(size)).set(amount)
    this.#frame.operand(uop.d, size)
    code.set(value).get(amount).op(EQZ(size), OP.i32_eqz).if()
    code.get(value).get(amount)
    if (size === 3) code.i64(1)
    else code.i32(1)
    code.op(SUB(size), opcode).tee(b)
    if (size === 3) code.i64(1)
    else code.i32(1)
    code.op(opcode).tee(r).set(value)
    this.#flags.now(name === 'SHL' ? 'shl' : 'sar', size)
    this.#flags.forget()
    code.end().get(value)
    this.#frame.setOperand(uop.d, size)
    return true
  }

  #rotate(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, name, shape } = uop
    const left = name === 'ROL'
    if (size < 2 || !shape.startsWith('R')) return false
    if (shape === 'RC') {
      if (needed) return false
      this.#frame.operand(uop.d, size)
      this.#frame.operand(RCX, size)
      code.op(left ? ROTL(size) : ROTR(size))
      this.#frame.setOperand(uop.d, size)
      return true
    }
    const count = uop.low & (size === 3 ? 63 : 31)
    if (count === 0) return false
    const value = this.#value(size)
    this.#frame.operand(uop.d, size)
    if (size === 3) code.i64(count)
    else code.i32(count)
    code.op(left ? ROTL(size) : ROTR(size)).set(value)
    if (needed) {
      this.#flags.forget()
      code.get(value).set(size === 3 ? F.r : G.r)
      this.#flags.now(left ? 'rol' : 'ror', size)
    }
    code.get(value)
    this.#frame.setOperand(uop.d, size)
    return true
  }

  #multiply(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, shape } = uop
    if (size < 2) return false
    if (shape === 'RM' || shape === 'RMI') this.#fetch(uop)
    const other = (): void => {
      if (shape === 'RM' || shape === 'RMI') code.get(this.#value(size))
      else this.#frame.operand(uop.s, size)
    }
    const first = (): void => {
      if (shape === 'RRI' || shape === 'RMI') this.#frame.immediate(uop, size)
      else this.#frame.operand(uop.d, size)
    }
    if (size === 3) {
      other()
      code.set(F.b)
      first()
      code.tee(F.a).get(F.b).op(OP.i64_mul)
      this.#frame.setOperand(uop.d, 3)
      this.#setFlags(needed, 'imul64', 3)
      return true
    }
    if (!needed) {
      first()
      other()
      code.op(OP.i32_mul)
      this.#frame.setOperand(uop.d, 2)
      this.#flags.dead()
      return true
    }
    first()
    code.op(OP.i64_extend_s)
    other()
    code.op(OP.i64_extend_s, OP.i64_mul).tee(F.a).op(OP.i32_wrap)
    this.#frame.setOperand(uop.d, 2)
    this.#setFlags(needed, 'imul32', 2)
    return true
  }

  /** RDX:RAX = RAX * operand. */
  #multiplyWide(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    if (uop.size !== 3 || uop.shape !== 'R') return false
    this.#frame.operand(uop.d, 3)
    code.set(V64)
    this.#frame.register(0)
    code.get(V64).i32(0).call(MULTIPLY).set(F.b)
    this.#frame.register(0)
    code.get(V64).op(OP.i64_mul).tee(F.r)
    this.#frame.setOperand(RAX, 3)
    code.get(F.b)
    this.#frame.setOperand(RDX, 3)
    this.#setFlags(needed, 'mul', 3)
    return true
  }

  #convert({ size }: Uop): boolean {
    const { code } = this.#frame
    this.#frame.operand(RAX, size - 1)
    if (size === 3) code.op(OP.i64_extend_s)
    this.#frame.setOperand(RAX, size)
    return true
  }
  #spread({ size }: Uop): boolean {
    const { code } = this.#frame
    this.#frame.operand(RAX, size)
    if (size === 3) code.i64(63).op(OP.i64_shr_s)
    else code.i32(31).op(OP.i32_shr_s)
    this.#frame.setOperand(RDX, size)
    return true
  }

  #setOnCondition(uop: Uop): boolean {
    const { code } = this.#frame
    this.#flags.condition(conditionOf(uop))
    if (uop.shape === 'R') {
      this.#frame.setOperand(uop.d, 0)
      return true
    }
    code.set(V32)
    this.#va(uop)
    this.#frame.write(uop, 0, V32)
    return true
  }

  #conditionalMove(uop: Uop): boolean {
    const { code } = this.#frame
    const { size } = uop
    if (size < 2) return false
    if (uop.shape === 'RM') this.#fetch(uop)
    this.#source(uop)
    this.#frame.operand(uop.d, size)
    this.#flags.condition(conditionOf(uop))
    code.op(OP.select)
    this.#frame.setOperand(uop.d, size)
    return true
  }

  #swapBytes({ d, size }: Uop): boolean {
    const { code } = this.#frame
    if (size === 2) {
      this.#frame.operand(d, 2)
      code.tee(V32).i32(8).op(OP.i32_rotl).i32(0x00ff00ff).op(OP.i32_and).get(V32).i32(8).op(OP.i32_rotr).i32(0xff00ff00 | 0).op(OP.i32_and, OP.i32_or)
      this.#frame.setOperand(d, 2)
      return true
    }
    if (size !== 3) return false
    this.#frame.operand(d, 3)
    code.tee(V64).i64(32).op(OP.i64_rotl).tee(V64)
    code.i64(0x00ff00ff, 0x00ff00ff).op(OP.i64_and).i64(8).op(OP.i64_shl)
    code.get(V64).i64(8).op(OP.i64_shr_u).i64(0x00ff00ff, 0x00ff00ff).op(OP.i64_and, OP.i64_or).set(V64)
    code.get(V64).i64(0x0000ffff, 0x0000ffff).op(OP.i64_and).i64(16).op(OP.i64_shl)
    code.get(V64).i64(16).op(OP.i64_shr_u).i64(0x0000ffff, 0x0000ffff).op(OP.i64_and, OP.i64_or)
    this.#frame.setOperand(d, 3)
    return true
  }

  #exchange(uop: Uop): boolean {
    const { code } = this.#frame
    const { size, shape } = uop
    const value = this.#value(size), other = size === 3 ? W64 : W32
    if (shape !== 'RR' && shape !== 'MR') return false
    this.#open(uop, value)
    this.#frame.operand(uop.s, size)
    code.set(other)
    if (shape === 'RR') {
      code.get(other)
      this.#frame.setOperand(uop.d, size)
      code.get(value)
      this.#frame.setOperand(uop.s, size)
      return true
    }
    code.get(value)
    this.#frame.setOperand(uop.s, size)
    this.#close(uop, other)
    return true
  }

  #exchangeAdd(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, shape } = uop
    if (shape !== 'MR' || size < 2) return false
    const value = this.#value(size), a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b
    this.#open(uop, value)
    this.#frame.operand(uop.s, size)
    code.set(b).get(value).tee(a)
    this.#frame.setOperand(uop.s, size)
    code.get(a).get(b).op(ADD(size)).set(value)
    this.#setFlags(needed, 'add', size)
    this.#close(uop, value)
    return true
  }

  #compareExchange(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, shape } = uop
    if (shape !== 'MR' || size < 2) return false
    const value = this.#value(size), a = size === 3 ? F.a : G.a, b = size === 3 ? F.b : G.b
    this.#open(uop, value)
    code.get(value).set(b)
    this.#frame.operand(RAX, size)
    code.set(a)
    code.get(a).get(b).op(EQ(size)).set(X32)
    // What is stored: the source, or what was there. The accumulator changes only when they differ.
    this.#frame.operand(uop.s, size)
    code.get(b).get(X32).op(OP.select).set(value)
    this.#frame.register(0)
    code.get(b)
    if (size === 2) code.op(OP.i64_extend_u)
    code.get(X32).op(OP.select)
    this.#frame.setRegister(0)
    this.#setFlags(needed, 'sub', size)
    this.#close(uop, value)
    return true
  }

  #bitTest(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, shape, name } = uop
    if (size < 2) return false
    const bits = size === 3 ? 63 : 31
    const memory = shape.startsWith('M')
    const value = this.#value(size), index = size === 3 ? W64 : W32
    if (memory && shape === 'MR' && uop.segment !== 0) return false
    if (shape.endsWith('I')) {
      if (size === 3) code.i64(uop.low & bits)
      else code.i32(uop.low & bits)
      code.set(index)
    } else {
      this.#frame.operand(uop.s, size)
      code.set(index)
    }
    if (memory) {
      this.#frame.address(uop)
      if (shape === 'MR') { // a bit string: the index reaches beyond the operand
        code.get(index)
        if (size === 2) code.op(OP.i64_extend_s)
        code.i64(3 + size).op(OP.i64_shr_s).i64(size).op(OP.i64_shl, OP.i64_add)
      }
      code.set(VA)
      if (name === 'BT') this.#frame.readPointer(uop, size)
      else {
        this.#frame.modifyPointer(uop, size)
        code.get(P)
      }
      this.#frame.load(size)
    } else this.#frame.operand(uop.d, size)
    code.set(value)
    if (needed) this.#flags.forget()
    code.get(value).get(index).op(SHR_U(size))
    if (size === 2) code.op(OP.i64_extend_u)
    code.i64(1).op(OP.i64_and).set(F.b)
    this.#setFlags(needed, 'bit', size)
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
    this.#close(uop, value)
    return true
  }

  #scan(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size, name } = uop
    if (size < 2) return false
    const value = this.#value(size)
    if (uop.shape === 'RM') this.#fetch(uop)
    else {
      this.#frame.operand(uop.s, size)
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
    this.#frame.register(uop.d >> 3) // unchanged, all of it, when there is no bit
    code.get(W64).get(X32).op(OP.select)
    this.#frame.setRegister(uop.d >> 3)
    if (size === 3) code.get(X32).op(OP.i32_eqz, OP.i64_extend_u).set(F.r)
    else code.get(X32).op(OP.i32_eqz).set(G.r)
    this.#setFlags(needed, 'logic', size)
    return true
  }

  #population(uop: Uop, needed: boolean): boolean {
    const { code } = this.#frame
    const { size } = uop
    if (size < 2) return false
    const value = this.#value(size)
    if (uop.shape === 'RM') this.#fetch(uop)
    else {
      this.#frame.operand(uop.s, size)
      code.set(value)
    }
    if (needed) code.i32(0).set(CC.op).get(value).op(EQZ(size)).i32(FLAG_ZF_SHIFT).op(OP.i32_shl, OP.i64_extend_u).set(CC.src)
    code.get(value).op(POPCNT(size))
    this.#frame.setOperand(uop.d, size)
    this.#flags.dead() // they are in the CC locals
    return true
  }
}
