/** Machine code of one instruction, and the addressing modes of its memory operand. Intel SDM volume 2, chapter 2. */
import { DATA, GUARD, READ_ONLY, RSP, RBP, S_FS_BASE, S_GS_BASE } from './arena.ts'
import type { Random } from './random.ts'
import type { State } from './state.ts'

/** What an instruction consists of, apart from its operands' values. */
export class Encoding {
  lock = false
  operand16 = false
  address32 = false
  segment = 0
  repeat = 0
  rex = 0
  rexPresent = false
  opcode = 0
  hasModRm = false
  reg = 0
  rm = 0
  /** -1: register */
  mod = -1
  sib = -1
  displacementBytes = 0
  displacement = 0
  ripRelative = false
  immediateBytes = 0
  readonly immediate = new DataView(new ArrayBuffer(16))
  /** Linear address of the memory operand, 0 if there is none in reach. */
  address = 0

  clear(opcode: number): void {
    this.lock = this.operand16 = this.address32 = this.rexPresent = this.hasModRm = this.ripRelative = false
    this.segment = this.repeat = this.rex = this.reg = this.rm = this.displacementBytes = this.displacement = this.immediateBytes = this.address = 0
    this.mod = this.sib = -1
    this.opcode = opcode
  }

  /** Register number in ModRM.reg, 0..15. */
  setReg(register: number): void { this.reg = register & 7; this.hasModRm = true; if (register >= 8) this.rex |= 4 }
  setRmRegister(register: number): void { this.mod = -1; this.rm = register & 7; this.hasModRm = true; if (register >= 8) this.rex |= 1 }

  addImmediate(bytes: number, low: number, high = 0): void {
    this.immediate.setInt32(this.immediateBytes, low | 0, true)
    if (bytes === 8) this.immediate.setInt32(this.immediateBytes + 4, high | 0, true)
    this.immediateBytes += bytes
  }

  /** Writes the bytes to `state.code`. */
  emit(state: State): void {
    const out = state.code
    let n = 0
    if (this.segment !== 0) out[n++] = this.segment
    if (this.lock) out[n++] = 0xf0
    if (this.operand16) out[n++] = 0x66
    if (this.address32) out[n++] = 0x67
    if (this.repeat !== 0) out[n++] = this.repeat
    if (this.rex !== 0 || this.rexPresent) out[n++] = 0x40 | this.rex
    if (this.opcode >= 0x10000) out[n++] = 0x0f
    if (this.opcode >= 0x100) out[n++] = (this.opcode >> 8) & 0xff
    out[n++] = this.opcode & 0xff
    if (this.hasModRm) {
      const mod = this.mod < 0 ? 3 : this.mod
      out[n++] = mod << 6 | this.reg << 3 | this.rm
      if (this.sib >= 0) out[n++] = this.sib
    }
    if (this.ripRelative) this.displacement = this.address - (state.start + n + 4 + this.immediateBytes)
    for (let i = 0; i < this.displacementBytes; i++) out[n++] = (this.displacement >> (i * 8)) & 0xff
    for (let i = 0; i < this.immediateBytes; i++) out[n++] = this.immediate.getUint8(i)
    state.codeLength = n
    state.finish()
  }
}

export interface Reach {
  /** Bytes accessed. */
  readonly bytes: number
  /** Address boundary: 1 = any. */
  readonly align?: number
  /** The operand must lie where it may be written and read. */
  readonly safe?: boolean
  /** Registers that must keep their value. */
  readonly keep?: readonly number[]
}

/** Where the operand lies: mostly anywhere in DATA, sometimes across its pages, on a page without the permission, or nowhere. */
export function placeOperand(random: Random, reach: Reach): number {
  const align = reach.align ?? 1
  const down = (address: number): number => address - address % align
  if (reach.safe !== true && random.chance(4)) {
    switch (random.below(4)) {
      case 0: return down(GUARD + random.below(0x800))
      case 1: return GUARD - (align === 1 ? random.between(1, reach.bytes) : align >= reach.bytes ? 0 : align)
      case 2: return down(READ_ONLY + random.below(0x1000 - reach.bytes))
      default: return -1 // not canonical
    }
  }
  if (align === 1 && random.chance(6)) return DATA + 0x1000 - random.between(1, reach.bytes) // across pages
  const natural = align > 1 ? align : random.chance(50) ? Math.min(reach.bytes, 16) & -Math.min(reach.bytes, 16) : 1
  const address = DATA + 0x100 + random.below(0x1e00 - reach.bytes)
  return address - address % natural
}

const BIG = 4294967296n

/** Chooses an addressing mode for a memory operand, sets its registers and ModRM. @returns the linear address, 0 if it is out of reach */
export function memoryOperand(random: Random, state: State, encoding: Encoding, reach: Reach): number {
  encoding.hasModRm = true
  const target = placeOperand(random, reach)
  encoding.address = target > 0 ? target : 0
  const wide = state.mode === 64
  const keep = reach.keep ?? []
  const free = (register: number): boolean => !keep.includes(register)
  let linear = target > 0 ? BigInt(target) : 0x1234_5678_9abc_def0n
  if (target < 0 && !wide) linear = BigInt(GUARD)
  if (wide && random.chance(6)) { // FS or GS with a base of its own
    const gs = random.chance(50)
    encoding.segment = gs ? 0x65 : 0x64
    const base = BigInt(random.below(0x10000) * 16)
    state.view.setBigUint64(gs ? S_GS_BASE : S_FS_BASE, base, true)
    linear = (linear - base) & 0xffff_ffff_ffff_ffffn
  } else if (random.chance(4)) encoding.segment = random.pick(wide ? [0x26, 0x2e, 0x36, 0x3e] : [0x26, 0x36, 0x3e])
  const narrow = !wide || (target > 0 && random.chance(8))
  if (narrow && wide) encoding.address32 = true
  const modulus = narrow ? BIG : BIG * BIG
  const direct = target > 0 && linear < 0x7fff_ffffn
  const kind = random.below(10)
  const registers = wide ? 16 : 8
  const setAddress = (register: number, value: bigint): void => {
    let wrapped = ((value % modulus) + modulus) % modulus
    if (narrow && wide) wrapped |= BigInt(random.next()) << 32n // ignored by a 32-bit address
    state.setGpr64(register, wrapped)
  }
  const base = ((): number => { for (;;) { const register = random.below(registers); if (free(register)) return register } })()
  if (direct && kind === 0 && encoding.segment !== 0x64 && encoding.segment !== 0x65) { // RIP-relative, or absolute outside 64-bit mode
    encoding.mod = 0; encoding.rm = 5
    encoding.displacementBytes = 4
    encoding.ripRelative = wide
    encoding.displacement = Number(linear)
    return encoding.address
  }
  if (direct && kind === 1) { // absolute: SIB without base and index
    encoding.mod = 0; encoding.rm = 4; encoding.sib = 0x25 | random.below(4) << 6
    encoding.displacementBytes = 4
    encoding.displacement = Number(linear)
    return encoding.address
  }
  const size = random.below(3)
  encoding.displacement = size === 0 ? 0 : size === 1 ? random.between(-128, 127) : random.next() | 0
  encoding.displacementBytes = size === 0 ? 0 : size === 1 ? 1 : 4
  encoding.mod = size
  if (size === 0 && (base & 7) === RBP) { encoding.mod = 1; encoding.displacementBytes = 1 }
  const displacement = BigInt(encoding.displacement)
  if (kind >= 6 || (base & 7) === RSP) {
    let index = random.below(registers)
    while (index === base || !free(index) || index === RSP) index = random.below(registers)
    const scale = random.below(4)
    const none = kind < 6 || random.chance(10)
    encoding.rm = 4
    encoding.sib = scale << 6 | (none ? 4 : index & 7) << 3 | (base & 7)
    if (base >= 8) encoding.rex |= 1
    if (!none && index >= 8) encoding.rex |= 2
    if (none) setAddress(base, linear - displacement)
    else {
      if (random.chance(60)) state.setGpr(index, random.between(-100, 100))
      setAddress(base, linear - displacement - (BigInt.asIntN(64, state.gpr(index)) << BigInt(scale)))
    }
    return encoding.address
  }
  encoding.rm = base & 7
  if (base >= 8) encoding.rex |= 1
  setAddress(base, linear - displacement)
  return encoding.address
}
