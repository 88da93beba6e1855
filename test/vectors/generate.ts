/** Vector number n of a group: operands, encoding and surroundings, all drawn from the group's seed. */
import { ARITHMETIC, CODE, DF, RSP, S_GPR, S_RFLAGS, S_XMM } from './arena.ts'
import { Encoding, memoryOperand } from './encode.ts'
import { floatState, simdOperands, x87Operands } from './generate-fp.ts'
import { prepareInteger, reachOf } from './generate-int.ts'
import type { Group } from './groups.ts'
import { undefinedFlags } from './undefined.ts'
import { Random } from './random.ts'
import { State } from './state.ts'
import { integer } from './values.ts'

/** ID, VIP, VIF, IOPL, IF: what POPF and IRET may or may not change. */
const INTERRUPT_FLAGS = 0x38_3200

/** Draws a group's vectors one after the other. */
export class Generator {
  readonly state = new State()
  private readonly encoding = new Encoding()
  private readonly random: Random
  readonly group: Group

  /** @param seed empty for the stored vectors */
  constructor(group: Group, seed = '') {
    this.group = group
    this.random = new Random(group.key + seed)
  }

  next(): State {
    const { state, encoding, random, group } = this
    const { row, mode } = group
    state.reset(mode)
    state.start = CODE + 0x800 + random.below(0x40)
    if (random.chance(3)) state.start = CODE + 0x1000 - random.between(1, 6)
    for (let register = 0; register < 16; register++) {
      if (register !== RSP) integer(random, state.view, S_GPR + register * 8)
      if (mode === 32) state.view.setUint32(S_GPR + register * 8 + 4, 0, true)
      if (mode === 32 && register >= 8) state.view.setUint32(S_GPR + register * 8, 0, true)
    }
    if (random.chance(25)) state.setGpr(RSP, Number(state.gpr(RSP)) + random.between(-64, 64))
    const direction = row.form.startsWith('str') ? random.chance(40) : random.chance(10)
    state.view.setUint32(S_RFLAGS, 0x202 | (random.next() & ARITHMETIC) | (direction ? DF : 0), true)
    encoding.clear(row.op)
    if (row.unit === 'int' || row.unit === 'sys') this.integerOperands()
    else {
      floatState(random, state, row)
      if (row.unit === 'x87' || row.form === 'none' || /^(ld|st)4$/.test(row.form)) x87Operands(random, state, encoding, row)
      else simdOperands(random, state, encoding, group)
    }
    encoding.emit(state)
    state.flagsMask = (ARITHMETIC | DF | INTERRUPT_FLAGS) & ~undefinedFlags(row, state, encoding, group.size)
    return state
  }

  private integerOperands(): void {
    const { state, encoding, random, group } = this
    const { row, mode, size } = group
    const wide = mode === 64
    const registers = wide ? 16 : 8
    encoding.operand16 = size === 16
    const default64 = wide && (/64/.test(row.form) || row.handler === 'PUSH_SEG' || row.handler === 'POP_SEG')
    if (wide && ((size === 64 && (!default64 || random.chance(10))) || (size === 0 && row.form !== 'Jb' && random.chance(10) && row.w === undefined))) encoding.rex |= 8
    if (wide && random.chance(30)) encoding.rexPresent = true
    if (row.pp !== undefined && row.pp !== 0) {
      if (row.pp === 0x66) encoding.operand16 = true
      else encoding.repeat = row.pp
    }
    encoding.repeat = group.repeat === 0 ? encoding.repeat : group.repeat
    const tokens = row.form.split(',')
    // In a form that names a byte register, numbers 4..7 without REX are AH CH DH BH; 8..15 need REX anyway.
    const draw = (): number => random.below(wide && (encoding.rexPresent || random.chance(60)) ? registers : 8)
    let rmRegister = -1, regRegister = -1
    for (const token of tokens) {
      if (/^[G]/.test(token)) { regRegister = draw(); encoding.setReg(regRegister) }
      if (token === 'Sw') { encoding.setReg(random.pick(row.op === 0x8e ? [0, 2, 3, 4, 5, 0, 3, 4, 5, 1, 6, 7] : [0, 1, 2, 3, 4, 5, 3, 5, 6])); encoding.rex &= ~4 }
      if (token.startsWith('Z') && wide && random.chance(50) && row.name !== 'nop') encoding.rex |= 1
    }
    if (row.reg !== undefined) { encoding.reg = row.reg; encoding.hasModRm = true; if (wide && random.chance(5)) encoding.rex |= 4 }
    if (group.place === 'register') {
      rmRegister = row.rm ?? draw()
      if (regRegister >= 0 && random.chance(12)) rmRegister = regRegister
      encoding.setRmRegister(rmRegister)
    } else if (group.place === 'memory') memoryOperand(random, state, encoding, reachOf(group, regRegister, random))
    for (const token of tokens) {
      if (/^(I|U|J)/.test(token) && token !== 'Iu') this.immediate(token)
      if (token.startsWith('O')) this.absolute(size === 0 ? 1 : size / 8)
    }
    if (row.name === 'nop' && row.op === 0x90) { encoding.rex &= ~1; if (random.chance(30)) encoding.repeat = 0xf3 }
    prepareInteger(random, state, encoding, group, rmRegister, regRegister)
    if (encoding.hasModRm && !encoding.lock && random.chance(1) && group.place === 'memory' && encoding.address !== 0) {
      encoding.lock = !/^(bt|cmpxchg|xadd|xchg|add|or|adc|sbb|and|sub|xor|not|neg|inc|dec|verw)/.test(row.name) // #UD
    }
    if (encoding.operand16 && (encoding.rex & 8) !== 0) encoding.operand16 = size === 16 ? (encoding.rex &= ~8, true) : random.chance(50)
  }

  private immediate(token: string): void {
    const { encoding, random, group } = this
    const size = token.slice(1)
    if (token.startsWith('J')) return // branch targets come with the control-flow set-up
    const value = new DataView(new ArrayBuffer(8))
    integer(random, value, 0)
    const bytes = size.startsWith('b') ? 1 : size.startsWith('w') ? 2 : size === 'v' && group.size === 64 ? 8 : group.size === 16 ? 2 : 4
    encoding.addImmediate(bytes, value.getInt32(0, true), value.getInt32(4, true))
  }

  private absolute(bytes: number): void {
    const { state, encoding, random, group } = this
    // The offset is as wide as an address; the operand follows no ModRM.
    const scratch = new Encoding()
    scratch.clear(0)
    const kept = state.bytes.slice(S_GPR, S_XMM)
    memoryOperand(random, state, scratch, { bytes })
    state.bytes.set(kept, S_GPR)
    const address = scratch.address === 0 ? 0x6001_0800 : scratch.address
    encoding.address = address
    encoding.address32 = group.mode === 64 && random.chance(10)
    encoding.addImmediate(group.mode === 64 && !encoding.address32 ? 8 : 4, address, 0)
  }
}
