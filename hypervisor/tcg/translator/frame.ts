/**
 * What the code of a region stands on: its parameters and locals, the guest's registers in locals, memory operands with the inline TLB look-up, and the one exit.
 * A region is f(cpu, read TLB, budget, first uop) -> {budget left, uops behind it, REGION_* | uop}; see core/translate.ts.
 */
import { BLOCK_BYTES, BLOCK_STATE, CC_DST, CC_OP, CC_SRC, CC_SRC2, HEAT_DEAD, JIT_TARGET, REGION_BEHIND_BITS, REGION_LEAVE, REGION_RESUME, RIP_BASE, SCRATCH, SEG, SEG_SIZE, TLB_BYTES, TLB_KERNEL_FETCH, TLB_KERNEL_READ, XMM, ZERO } from '../core/layout.ts'
import { Code, F32, F64, I32, I64, MEM, OP, SIMD_MEM, V128 } from './encoder.ts'
import type { FunctionType, Label } from './encoder.ts'
import type { Uop } from './uops.ts'

export const TYPES: readonly FunctionType[] = [
  { parameters: [I32, I32, I32, I32], results: [I64] }, // a region
  { parameters: [], results: [I32, I32] }, // what leaves it: REGION_* | uop, budget
  { parameters: [I32, I32, I64, I32, I32], results: [I32] },
  { parameters: [I32, I32, I64, I32, I32, I64], results: [I32] },
  { parameters: [I32, I32, I32], results: [I32] },
  { parameters: [I32, I32], results: [I32] },
  { parameters: [I32, I32, I32], results: [] },
  { parameters: [I64, I64, I32], results: [I64] },
]
const EXIT_TYPE = 1
/** The core's functions, in the order of their numbers below. */
export const IMPORTS = [
  { name: 'regionRead', type: 2 }, { name: 'regionWrite', type: 3 }, { name: 'regionModify', type: 2 }, { name: 'regionCommit', type: 2 }, { name: 'regionStep', type: 4 },
  { name: 'regionCondition', type: 5 }, { name: 'regionCarry', type: 6 }, { name: 'regionMultiply', type: 7 },
] as const
const READ = 0, WRITE = 1, MODIFY = 2, COMMIT = 3, STEP = 4
export const CONDITION = 5, CARRY = 6, MULTIPLY = 7

export const CPU = 0, RT = 1, LEFT = 2, ENTRY = 3
const REGISTERS = 4
const RIP_LOCAL = 20
/** The flags as the core keeps them (CC_*): valid where no static knowledge is. */
export const CC = { dst: 21, src: 22, src2: 23, op: 33 } as const
/** Operands and result of the last operation that set flags, 64 bits and shorter. */
export const F = { a: 24, b: 25, r: 26, c: 27 } as const
export const G = { a: 34, b: 35, r: 36 } as const
export const VA = 28
/** Scratch of one emitter. */
export const V64 = 29, W64 = 30, X64 = 31, Y64 = 32, V32 = 39, W32 = 40, X32 = 43
/** Scratch of the emitters of SSE: vectors, doubles (x and y: what was compared last), singles, MXCSR's inexact flag. */
export const VX = 64, VY = 65, FLOAT = { a: 66, b: 67, r: 68, x: 69, y: 70, p: 71, c: 72, d: 73, s: 74, q: 75, free: 44 } as const
const XMMS = 48
const E = 37
export const P = 38
const EXIT_CODE = 41, EXIT_LEFT = 42
const PARAMETERS = 4
/** Types of locals, by the first number behind them. */
const LOCAL_TYPES = [[CC.op, I64], [XMMS, I32], [FLOAT.a, V128], [FLOAT.c, F64], [128, F32]] as const

/** The TLB for fetches, from the one for reads. */
const FETCH = TLB_KERNEL_FETCH - TLB_KERNEL_READ
const AS_BASE = 8, AS_32 = 32, AS_SEGMENT = 7
const CARRY_FLAG = 1
const SIMD_ALIGNED = 1

/** A place in the code that depends on which registers the whole region uses. */
type Hole = 'load' | 'spill' | 'rip'

export class Frame {
  #code = new Code()
  /** places in the code, in order */
  readonly #holes: { readonly at: number; readonly hole: Hole }[] = []
  #used = 0
  #changed = 0
  #usedXmm = 0
  #changedXmm = 0
  readonly #exit: Label
  readonly #flagsLoaded: boolean
  #ripUsed = false
  /** A carry into ADC or SBB may be part of the flags. */
  carries = false
  /** Writes what the flags are into the CC locals; set by the flags' owner. */
  settleFlags: () => void = () => undefined
  /** index of the uop in its block */
  index = 0

  /** @param flags they are asked for before they are set */
  constructor(flags: boolean) {
    this.#flagsLoaded = flags
    this.#hole('load')
    this.#hole('rip')
    if (flags) this.loadFlags()
    this.#exit = this.#code.block(EXIT_TYPE)
  }

  get code(): Code {
    return this.#code
  }

  /** Pushes what RIP is at the first byte of the page. */
  page(): void {
    this.#ripUsed = true
    this.#code.get(RIP_LOCAL)
  }

  /** @returns the function's locals and body */
  finish(): { readonly locals: readonly { readonly count: number; readonly type: number }[]; readonly body: number[] } {
    const code = this.#code
    code.op(OP.unreachable).end().set(EXIT_LEFT).set(EXIT_CODE)
    this.#hole('spill')
    this.storeFlags(this.carries || this.#flagsLoaded)
    code.get(EXIT_LEFT).op(OP.i64_extend_u).i64(32).op(OP.i64_shl).get(EXIT_CODE).op(OP.i64_extend_u, OP.i64_or, OP.end)
    const body: number[] = [], places: number[] = []
    let from = 0, local = 0
    const copy = (to: number): void => {
      for (; (code.locals[local] ?? Infinity) < to; local++) places.push(body.length + (code.locals[local] as number) - from)
      for (; from < to; from++) body.push(code.bytes[from] as number)
    }
    const holes = { load: this.#fill('load'), spill: this.#fill('spill'), rip: this.#fill('rip') }
    for (const { at, hole } of this.#holes) {
      copy(at)
      const { bytes, locals } = holes[hole]
      for (const place of locals) places.push(body.length + place)
      for (const byte of bytes) body.push(byte)
    }
    copy(code.bytes.length)
    return { locals: renumber(body, places), body }
  }

  #hole(hole: Hole): void {
    this.#holes.push({ at: this.#code.bytes.length, hole })
  }

  #fill(hole: Hole): Code {
    const code = new Code()
    if (hole === 'rip') {
      if (this.#ripUsed) code.get(CPU).memory(MEM.i64_load, RIP_BASE).set(RIP_LOCAL)
      return code
    }
    const registers = hole === 'load' ? this.#used : this.#changed
    for (let register = 0; register < 16; register++) {
      if ((registers >> register & 1) === 0) continue
      if (hole === 'load') code.get(CPU).memory(MEM.i64_load, register * 8).set(REGISTERS + register)
      else code.get(CPU).get(REGISTERS + register).memory(MEM.i64_store, register * 8)
    }
    const vectors = hole === 'load' ? this.#usedXmm : this.#changedXmm
    for (let register = 0; register < 16; register++) {
      if ((vectors >> register & 1) === 0) continue
      if (hole === 'load') code.get(CPU).simdMemory(SIMD_MEM.v128_load, XMM + register * 16).set(XMMS + register)
      else code.get(CPU).get(XMMS + register).simdMemory(SIMD_MEM.v128_store, XMM + register * 16)
    }
    return code
  }

  // ---- registers ----
  /** A whole register. */
  register(number: number): void {
    this.#used |= 1 << number
    this.#code.get(REGISTERS + number)
  }
  setRegister(number: number): void {
    this.#used |= 1 << number
    this.#changed |= 1 << number
    this.#code.set(REGISTERS + number)
  }
  /** An operand: i64 for 8 bytes, else i32, sign-extended unless `zero`. */
  operand(place: number, size: number, zero = false): void {
    this.register(place >> 3)
    if (size === 3) return
    this.#code.op(OP.i32_wrap)
    if (size === 2) return
    if ((place & 7) === 1) this.#code.i32(8).op(OP.i32_shr_u)
    if (zero) this.#code.i32(size === 0 ? 0xff : 0xffff).op(OP.i32_and)
    else this.#code.op(size === 0 ? OP.i32_extend8_s : OP.i32_extend16_s)
  }
  /** Takes the value from the stack, with the 64-bit rules: 32-bit results clear the upper half, shorter ones leave the rest alone. */
  setOperand(place: number, size: number): void {
    const number = place >> 3
    if (size === 3) this.setRegister(number)
    else if (size === 2) {
      this.#code.op(OP.i64_extend_u)
      this.setRegister(number)
    } else {
      const shift = (place & 7) === 1 ? 8 : 0
      const mask = size === 0 ? 0xff : 0xffff
      const code = this.#code
      code.i32(mask).op(OP.i32_and)
      if (shift > 0) code.i32(shift).op(OP.i32_shl)
      code.op(OP.i64_extend_u)
      this.register(number)
      code.i64(~(mask << shift)).op(OP.i64_and, OP.i64_or)
      this.setRegister(number)
    }
  }
  /** An immediate operand, sign-extended as stored. */
  immediate(uop: Uop, size: number): void {
    if (size === 3) this.#code.i64(uop.low, uop.high)
    else this.#code.i32(size === 2 ? uop.low : size === 1 ? uop.low << 16 >> 16 : uop.low << 24 >> 24)
  }

  // ---- XMM registers ----
  /** Pushes the register at a place in the vCPU's block. */
  xmm(place: number): void {
    const number = place - XMM >> 4
    this.#usedXmm |= 1 << number
    this.#code.get(XMMS + number)
  }
  setXmm(place: number): void {
    const number = place - XMM >> 4
    this.#usedXmm |= 1 << number
    this.#changedXmm |= 1 << number
    this.#code.set(XMMS + number)
  }
  /** Pushes the source: a register, or 2^size bytes of memory, the rest zero. */
  xmmSource(uop: Uop, size: number): void {
    if (uop.shape !== 'RM') {
      this.xmm(uop.s)
      return
    }
    this.address(uop)
    this.#code.set(VA)
    if ((uop.aux & SIMD_ALIGNED) !== 0) this.aligned(uop)
    this.readPointer(uop, size)
    this.#code.simdMemory(size === 4 ? SIMD_MEM.v128_load : size === 3 ? SIMD_MEM.v128_load64_zero : SIMD_MEM.v128_load32_zero, 0)
  }
  /** An operand of 16 bytes at VA that is not aligned is the interpreter's to refuse. */
  aligned(uop: Uop): void {
    this.#code.get(VA).op(OP.i32_wrap).i32(15).op(OP.i32_and).if()
    this.leave(uop.at | REGION_RESUME)
    this.#code.end()
  }
  /** Stores the source at VA; what the TLB does not know is the interpreter's. */
  writeXmm(uop: Uop): void {
    const code = this.#code
    this.#lookUp(4, true)
    code.op(OP.i32_eqz).if()
    this.leave(uop.at | REGION_RESUME)
    code.end()
    this.#hit(true)
    this.xmm(uop.s)
    code.simdMemory(SIMD_MEM.v128_store, 0)
  }

  // ---- flags in memory ----
  loadFlags(): void {
    this.#code.get(CPU).memory(MEM.i32_load, CC_OP).set(CC.op).get(CPU).memory(MEM.i64_load, CC_DST).set(CC.dst)
      .get(CPU).memory(MEM.i64_load, CC_SRC).set(CC.src).get(CPU).memory(MEM.i64_load, CC_SRC2).set(CC.src2)
  }
  storeFlags(carry = true): void {
    this.#code.get(CPU).get(CC.op).memory(MEM.i32_store, CC_OP).get(CPU).get(CC.dst).memory(MEM.i64_store, CC_DST)
      .get(CPU).get(CC.src).memory(MEM.i64_store, CC_SRC)
    if (carry) this.#code.get(CPU).get(CC.src2).memory(MEM.i64_store, CC_SRC2)
  }
  /** The flags of `mask` become the i32 that `bits` pushes; the others stay as the CC locals have them. */
  replaceFlags(mask: number, bits: () => void): void {
    this.storeFlags()
    this.#code.get(CPU).i32(mask)
    bits()
    this.#code.call(CARRY)
    this.loadFlags()
  }
  replaceCarry(local: number): void {
    this.replaceFlags(CARRY_FLAG, () => this.#code.get(local).op(OP.i32_wrap))
  }

  // ---- leaving ----
  /** Leaves the region; REGION_* | uop as a constant, or pushed by a function. `behind`: uops since the last transition, that one not included. */
  leave(what: number | (() => void), behind = this.index): void {
    this.settleFlags()
    if (typeof what === 'number') this.#code.i32(what)
    else what()
    this.#code.get(LEFT)
    if (behind < 0) this.#code.i32(-behind).op(OP.i32_add)
    this.#code.i32(REGION_BEHIND_BITS).op(OP.i32_shl)
    if (behind > 0) this.#code.i32(behind).op(OP.i32_or)
    this.#code.br(this.#exit)
  }
  /** Leaves when the i32 on the stack, kept in `local`, is not 0: it is the REGION_* to report. */
  leaveIf(uop: Uop, local: number): void {
    this.#code.tee(local).if()
    this.leave(() => this.#code.get(local).i32(uop.at).op(OP.i32_or))
    this.#code.end()
  }
  /**
   * Before a jump to a block on another page: leaves unless that block lives and its page is still where it was.
   * @param move how far the page is @param page where it is in RAM @param first the block's first uop
   */
  checkPage(move: number, page: number, first: number, leave: () => void): void {
    const code = this.#code
    this.page()
    code.i64(move).op(OP.i64_add).tee(X64).op(OP.i32_wrap).i32(8).op(OP.i32_shr_u).i32(0x3ff0).op(OP.i32_and).get(RT).op(OP.i32_add).tee(E).memory(MEM.i64_load, FETCH)
    code.get(X64).op(OP.i64_ne)
    code.get(X64).op(OP.i32_wrap).get(E).memory(MEM.i32_load, FETCH + 8).op(OP.i32_add).i32(page).op(OP.i32_ne, OP.i32_or)
    code.i32(first - BLOCK_BYTES).memory(MEM.i32_load16_u, BLOCK_STATE).i32(HEAT_DEAD >>> 16).op(OP.i32_eq, OP.i32_or).if()
    leave()
    code.end()
  }
  /** Behind checkPage: that page is the one that runs. */
  setPage(): void {
    this.#ripUsed = true
    this.#code.get(CPU).get(X64).tee(RIP_LOCAL).memory(MEM.i64_store, RIP_BASE)
  }
  /** Stores a local as target of an indirect jump. */
  setTarget(local: number): void {
    this.#code.get(CPU).get(local).memory(MEM.i64_store, JIT_TARGET)
  }

  // ---- memory ----
  /** Pushes the linear address of the uop's memory operand. */
  address(uop: Uop): void {
    this.offset(uop)
    if (uop.segment & AS_32) this.#code.i64(-1, 0).op(OP.i64_and)
    if (uop.segment & AS_BASE) this.#code.get(CPU).memory(MEM.i64_load, SEG + (uop.segment & AS_SEGMENT) * SEG_SIZE).op(OP.i64_add)
  }
  /** Pushes base + index * scale + displacement. */
  offset({ base, index, scale, disp }: Uop): void {
    const code = this.#code
    let parts = 0
    const part = (place: number, shift: number): void => {
      if (place === ZERO) return
      if (place === RIP_BASE) this.page()
      else if (place < ZERO) this.register(place >> 3)
      else code.get(CPU).memory(MEM.i64_load, place)
      if (shift > 0) code.i64(shift).op(OP.i64_shl)
      if (parts++ > 0) code.op(OP.i64_add)
    }
    part(base, 0)
    part(index, scale)
    if (parts === 0) code.i64(disp)
    else if (disp !== 0) code.i64(disp).op(OP.i64_add)
  }

  /** Looks VA up in the TLB: pushes whether it hit. */
  #lookUp(size: number, write: boolean): void {
    const code = this.#code
    code.get(VA).op(OP.i32_wrap).i32(8).op(OP.i32_shr_u).i32(0x3ff0).op(OP.i32_and).get(RT).op(OP.i32_add).tee(E).memory(MEM.i64_load, write ? TLB_BYTES : 0)
    code.get(VA)
    if (size > 0) code.i64((1 << size) - 1).op(OP.i64_add)
    code.i64(-4096).op(OP.i64_and, OP.i64_eq)
  }
  #hit(write: boolean): void {
    this.#code.get(VA).op(OP.i32_wrap).get(E).memory(MEM.i32_load, write ? TLB_BYTES + 8 : 8).op(OP.i32_add)
  }
  #miss(uop: Uop, record: number, size: number, helper: number): void {
    const code = this.#code
    code.get(CPU).i32(record).get(VA).get(LEFT).i32(size).call(helper).tee(P).op(OP.i32_eqz).if()
    this.leave(uop.at | REGION_LEAVE)
    code.end()
  }
  /** Pushes a pointer to the bytes at VA. @param stack an implicit access through RSP */
  readPointer(uop: Uop, size: number, stack = false): void {
    this.#lookUp(size, false)
    this.#code.if(I32)
    this.#hit(false)
    this.#code.else()
    this.#miss(uop, stack ? 0 : uop.at, 1 << size, READ)
    this.#code.get(P).end()
  }
  /** Sets P to the bytes of a read-modify-write at VA; `commit` must follow the store. */
  modifyPointer(uop: Uop, size: number): void {
    this.#lookUp(size, true)
    this.#code.if()
    this.#hit(true)
    this.#code.set(P).else()
    this.#miss(uop, uop.at, 1 << size, MODIFY)
    this.#code.end()
  }
  /** Everything else of the instruction is done. */
  commit(uop: Uop, size: number): void {
    const code = this.#code
    code.get(P).get(CPU).i32(SCRATCH).op(OP.i32_add, OP.i32_eq).if()
    code.get(CPU).i32(uop.at).get(VA).get(LEFT).i32(1 << size).call(COMMIT)
    this.leaveIf(uop, P)
    code.end()
  }
  /**
   * Stores a local (i64 for 8 bytes, else i32) at VA.
   * @param finish what is left to do when the store was the last thing before the region is left
   * @param jump REGION_* with which it is left then, 0: as the core says
   */
  write(uop: Uop, size: number, local: number, { stack = false, finish, jump = 0 }: { stack?: boolean; finish?: () => void; jump?: number } = {}): void {
    const code = this.#code
    this.#lookUp(size, true)
    code.if()
    this.#hit(true)
    code.get(local)
    this.store(size)
    code.else().get(CPU).i32(stack ? 0 : uop.at).get(VA).get(LEFT).i32(1 << size).get(local)
    if (size < 3) code.op(OP.i64_extend_u)
    code.call(WRITE)
    if (finish === undefined) this.leaveIf(uop, P)
    else {
      code.tee(P).i32(REGION_LEAVE).op(OP.i32_eq).if()
      this.leave(uop.at | REGION_LEAVE)
      code.end().get(P).if()
      finish()
      this.leave(jump !== 0 ? uop.at | jump : () => code.get(P).i32(uop.at).op(OP.i32_or))
      code.end()
    }
    code.end()
  }
  /** Loads from the pointer on the stack; short values are sign-extended to i32 unless `zero`. */
  load(size: number, zero = false): void {
    const opcode = size === 3 ? MEM.i64_load : size === 2 ? MEM.i32_load : size === 1 ? zero ? MEM.i32_load16_u : MEM.i32_load16_s : zero ? MEM.i32_load8_u : MEM.i32_load8_s
    this.#code.memory(opcode, 0)
  }
  /** Stores to the pointer below the value on the stack. */
  store(size: number): void {
    this.#code.memory(size === 3 ? MEM.i64_store : size === 2 ? MEM.i32_store : size === 1 ? MEM.i32_store16 : MEM.i32_store8, 0)
  }

  /** The core does this uop. Flags are the CC locals before and after. */
  step(uop: Uop): void {
    this.#hole('spill')
    this.storeFlags()
    this.#code.get(CPU).i32(uop.at).get(LEFT).call(STEP).set(X32)
    this.#hole('load')
    this.loadFlags()
  }
}

/** Gives the locals that are used numbers without gaps, for each costs time at every entry. @returns their declaration */
function renumber(body: number[], places: readonly number[]): { readonly count: number; readonly type: number }[] {
  const used = new Set(places.map((place) => body[place] as number))
  const kept = [...used].filter((local) => local >= PARAMETERS).sort((a, b) => a - b)
  const numbers = new Map(kept.map((local, index) => [local, PARAMETERS + index]))
  for (const place of places) body[place] = numbers.get(body[place] as number) ?? body[place] as number
  let from = 0
  return LOCAL_TYPES.map(([to, type]) => {
    const count = kept.filter((local) => local >= from && local < to).length
    from = to
    return { count, type }
  }).filter(({ count }) => count > 0)
}
