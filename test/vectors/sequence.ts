/**
 * Random programs of user mode for two processors at once: 5 to 40 instructions drawn from the decode table, with forward branches, bounded loops, calls and jumps through registers around
 * them. Memory operands stay in the arena, R15 points into it, R14 is a small index, R13 counts loops, RSP moves by a few pushes. Flags that an instruction leaves undefined are followed
 * through the program: nothing reads them, and where it ends or faults they do not count. Left out: what vectors cannot compare either, and rows with a tolerance.
 */
import { AF, ARITHMETIC, CODE, DATA, DF, GUARD, RDI, RSI, RSP, S_FCW, S_FPR, S_FSW, S_FTW, S_GPR, S_MXCSR, S_RFLAGS, S_XMM, STACK } from './arena.ts'
import { Encoding } from './encode.ts'
import { allGroups, isNearBranch } from './groups.ts'
import type { Group } from './groups.ts'
import { Random } from './random.ts'
import { State } from './state.ts'
import { float80, integer, lanes } from './values.ts'

const CODE_BYTES = 1536
const INDEX = 14, POINTER = 15
const POINTS_AT = DATA + 0x800
/** Registers that instructions may change. */
const FREE = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
const FILE_ENTRY = 16

/** Not drawn: control flow (made by hand), the stack pointer by other means than small steps, what sees the machine, or leaves more than flags undefined. */
const EXCLUDED = new Set([
  'enter', 'leave', 'popf', 'ud0', 'ud1', 'ud2', 'rdrand', 'rdseed', 'cpuid', 'rdtsc', 'rdtscp', 'rdfsbase', 'rdgsbase', 'wrfsbase', 'wrgsbase', 'maskmovq', 'maskmovdqu', 'xlat',
  'fldcw', 'ldmxcsr', 'fldenv', 'frstor', 'fxrstor', 'fxrstor64', 'fnsave', 'fnstenv', 'fxsave', 'fxsave64', 'fbld', 'int3', 'lar', 'lsl', 'verr', 'verw', 'callf', 'jmpf', 'retf', 'iret',
])
/** Leave all arithmetic flags defined. */
const DEFINES = new Set(['add', 'sub', 'cmp', 'adc', 'sbb', 'neg', 'xadd', 'cmpxchg', 'ucomiss', 'ucomisd', 'comiss', 'comisd', 'ptest', 'popcnt', 'pcmpestri', 'pcmpestrm', 'pcmpistri', 'pcmpistrm'])
/** ... but AF */
const LOGIC = new Set(['and', 'or', 'xor', 'test'])
const READS = /^(adc|sbb|rcl|rcr|setcc|cmovcc|cmc|fcmov\w+|lahf|pushf)$/
const READS_AF = /^(lahf|pushf)$/
const ATOMIC = /^(xchg|cmpxchg|cmpxchg8b|xadd)$/

type Flavour = 'int' | 'sse' | 'mmx' | 'x87'
const GROUPS: Readonly<Record<Flavour, readonly Group[]>> = { int: groupsOf('int'), sse: groupsOf('sse'), mmx: groupsOf('mmx'), x87: groupsOf('x87') }

function groupsOf(unit: Flavour): Group[] {
  return allGroups().filter(({ row, mode, size, place, repeat }) => row.unit === unit && mode === 64 && !EXCLUDED.has(row.name) && row.tolerance === undefined && !isNearBranch(row)
    && !/S[45w]|E64$|Mp$/.test(row.form) && !(row.name === 'bswap' && size === 16) && !(/^sh[lr]d$/.test(row.name) && size === 16) && repeat !== 0xf2
    && !(/^bt[src]?$/.test(row.name) && row.form === 'Ev,Gv' && place === 'memory'))
}

/** A program: the state that starts it, and for each instruction the flags that are undefined before it. */
export interface Sequence {
  readonly state: State
  /** @param rip where it ended: at its end, or at an instruction that faulted */
  undefinedAt(rip: number): number
  /** how many items it was drawn from; each may be left out */
  readonly items: number
}

/** @param without items that are left out: what the others draw does not change */
export function makeSequence(seed: string, without: ReadonlySet<number> = new Set()): Sequence {
  return new Builder(seed).build(without)
}

class Builder {
  readonly #seed: string
  readonly #state = new State(CODE_BYTES)
  readonly #encoding = new Encoding()
  readonly #one = new State()
  readonly #undefined = new Map<number, number>()
  #flavours: readonly Flavour[] = ['int']
  #start = CODE
  #at = 0
  #mask = 0
  /** bytes below the initial stack pointer that are in use */
  #depth = 0
  #inFunction = false

  constructor(seed: string) {
    this.#seed = seed
  }

  build(without: ReadonlySet<number>): Sequence {
    const random = new Random(this.#seed)
    const state = this.#state
    state.reset(64)
    this.#start = state.start = CODE + 0x80 + random.below(0x900)
    this.#flavours = random.pick<readonly Flavour[]>([['int'], ['int'], ['int'], ['int', 'int', 'sse'], ['int', 'sse', 'sse'], ['sse'], ['int', 'int', 'int', 'x87'], ['x87', 'int'], ['int', 'mmx'], ['int', 'sse', 'mmx', 'x87']])
    this.#registers(random)
    const items = random.between(5, 40)
    for (let item = 0; item < items && this.#at < CODE_BYTES - 400; item++) {
      const own = new Random(`${this.#seed}/${item}`)
      if (!without.has(item)) this.#item(own, 2)
    }
    this.#undefined.set(this.#start + this.#at, this.#mask)
    state.codeLength = this.#at
    state.finish()
    return { state, items, undefinedAt: (rip) => this.#undefined.get(rip) ?? 0 }
  }

  #registers(random: Random): void {
    const { view } = this.#state
    for (const register of FREE) integer(random, view, S_GPR + register * 8)
    this.#state.setGpr(POINTER, POINTS_AT)
    this.#state.setGpr(INDEX, random.between(-16, 16))
    this.#state.setGpr(RSP, STACK + 0x800)
    view.setUint32(S_RFLAGS, 0x202 | random.next() & ARITHMETIC | (random.chance(10) ? DF : 0), true)
    view.setUint32(S_MXCSR, 0x1f80 | random.below(4) << 13 | (random.chance(10) ? 0x8000 : 0) | (random.chance(10) ? 0x40 : 0), true)
    view.setUint16(S_FCW, 0x7f | random.below(4) << 10 | random.pick([0x300, 0x300, 0x200, 0]), true)
    view.setUint16(S_FSW, random.below(8) << 11 | random.next() & 0x4700, true)
    view.setUint8(S_FTW, random.pick([0, 0xff, 0x0f, 0xf0]))
    for (let number = 0; number < 8; number++) float80(random, view, S_FPR + number * FILE_ENTRY)
    for (let number = 0; number < 16; number++) lanes(random, view, S_XMM + number * FILE_ENTRY, random.pick(['integer', 'float32', 'float64', 'count']))
  }

  // ---- items ----
  /** @param nesting how many constructs it may still be made of */
  #item(random: Random, nesting: number): void {
    const kind = nesting === 0 ? 0 : random.below(100)
    if (kind < 80) this.#instruction(random)
    else if (kind < 89) this.#skip(random, nesting)
    else if (kind < 95) this.#loop(random, nesting)
    else if (kind < 98) this.#call(random, nesting)
    else this.#jumpThroughRegister(random, nesting)
  }

  #items(random: Random, most: number, nesting: number): void {
    for (let count = random.between(1, most); count > 0 && this.#at < CODE_BYTES - 200; count--) this.#item(random, nesting - 1)
  }

  /** jcc over some items, or jmp */
  #skip(random: Random, nesting: number): void {
    const always = random.chance(15)
    if (!always) this.#settle(random, false)
    const cc = random.below(16)
    if (always) this.#bytes(0xe9, 0, 0, 0, 0)
    else this.#bytes(0x0f, 0x80 | cc, 0, 0, 0, 0)
    const from = this.#at, mask = this.#mask, depth = this.#depth
    this.#items(random, 4, nesting)
    this.#restoreDepth(depth)
    this.#patch(from - 4, this.#at - from)
    this.#mask |= mask
  }

  #loop(random: Random, nesting: number): void {
    if (nesting < 2) return // one counter
    const rounds = random.between(2, 12)
    this.#bytes(0x41, 0xbd, rounds, 0, 0, 0) // mov r13d, rounds
    const head = this.#at, depth = this.#depth
    this.#items(random, 6, nesting)
    this.#restoreDepth(depth)
    this.#bytes(0x41, 0x83, 0xed, 1) // sub r13d, 1
    this.#mask = 0
    this.#bytes(0x0f, 0x85, 0, 0, 0, 0) // jnz head
    this.#patch(this.#at - 4, head - this.#at)
  }

  /** jmp over; f: ...; ret; over: call f */
  #call(random: Random, nesting: number): void {
    if (this.#inFunction) return
    this.#bytes(0xe9, 0, 0, 0, 0)
    const entry = this.#at, mask = this.#mask
    this.#inFunction = true
    this.#depth += 8
    const depth = this.#depth
    this.#items(random, 4, nesting)
    this.#restoreDepth(depth)
    this.#bytes(0xc3)
    this.#inFunction = false
    this.#depth -= 8
    this.#patch(entry - 4, this.#at - entry)
    const after = this.#mask
    this.#mask = mask
    for (let calls = random.between(1, 2); calls > 0; calls--) {
      // What the function's first call leaves undefined is undefined when the second enters it.
      if (calls > 0) this.#settle(random, true)
      this.#bytes(0xe8, 0, 0, 0, 0)
      this.#patch(this.#at - 4, entry - this.#at)
      this.#mask = after
    }
  }

  /** lea r, [rip + x]; jmp r; some items; here */
  #jumpThroughRegister(random: Random, nesting: number): void {
    const register = random.pick([0, 1, 2, 3, 5, 6, 7])
    this.#bytes(0x48, 0x8d, register << 3 | 5, 0, 0, 0, 0)
    const from = this.#at
    this.#bytes(0xff, 0xe0 | register)
    const mask = this.#mask, depth = this.#depth
    if (random.chance(70)) this.#items(random, 2, nesting)
    this.#depth = depth
    this.#patch(from - 4, this.#at - from)
    this.#mask = mask
  }

  // ---- one instruction ----
  #instruction(random: Random): void {
    const group = random.pick(GROUPS[random.pick(this.#flavours)])
    const { row } = group
    if (READS.test(row.name)) this.#settle(random, READS_AF.test(row.name))
    if (row.form.startsWith('str')) this.#prepareString(random, group)
    if ((row.name === 'div' || row.name === 'idiv') && random.chance(85)) {
      this.#bytes(0x31, 0xd2) // xor edx, edx
      this.#bytes(0x0f, 0xb7, 0xc0) // movzx eax, ax
      this.#mask = AF
    }
    if (!this.#stackFits(row.name, group.size)) return
    this.#encode(random, group)
    this.#follow(group)
  }

  /** Pushes and pops stay within a hundred bytes of the initial stack pointer. */
  #stackFits(name: string, size: number): boolean {
    const bytes = size === 16 ? 2 : 8
    if (name === 'push' || name === 'pushf') {
      if (this.#depth > 80) return false
      this.#depth += bytes
    } else if (name === 'pop') {
      if (this.#depth < bytes || this.#inFunction) return false
      this.#depth -= bytes
    }
    return true
  }

  #restoreDepth(depth: number): void {
    const excess = this.#depth - depth
    if (excess !== 0) this.#bytes(0x48, 0x8d, 0x64, 0x24, excess & 0xff) // lea rsp, [rsp + excess]
    this.#depth = depth
  }

  #prepareString(random: Random, group: Group): void {
    const pointer = (opcode: number, register: number) => this.#bytes(0x49, opcode, 0x87 | register << 3, ...dword(random.between(-0x300, 0x300) & (random.chance(50) ? ~7 : ~0))) // lea register, [r15 + ...]
    pointer(0x8d, RSI)
    pointer(0x8d, RDI)
    if (group.repeat !== 0) this.#bytes(0xb9, ...dword(random.below(20))) // mov ecx, count
    if (random.chance(20)) this.#bytes(random.pick([0xfc, 0xfd])) // cld, std
  }

  #encode(random: Random, group: Group): void {
    const { row, size, place } = group
    const encoding = this.#encoding
    encoding.clear(row.op)
    encoding.operand16 = size === 16 || row.pp === 0x66
    if (size === 64 && !/64/.test(row.form)) encoding.rex |= 8
    if (row.w === 1) encoding.rex |= 8
    if (row.pp === 0xf2 || row.pp === 0xf3) encoding.repeat = row.pp
    if (group.repeat !== 0) encoding.repeat = group.repeat
    const tokens = row.form.split(',')
    const isByte = (token: string) => /^[EGZR]b$/.test(token)
    for (const token of tokens) {
      if (/^[GV]/.test(token)) encoding.setReg(token.startsWith('V') ? random.below(16) : isByte(token) ? random.pick([0, 1, 2, 3, 5, 6, 7, 8, 9, 4]) : random.pick(FREE))
      else if (token.startsWith('P')) encoding.setReg(random.below(8))
      else if (token.startsWith('Z')) {
        // register in the opcode: the table has a row for each
        if (random.chance(40) && row.op !== 0x90) encoding.rex |= (row.op & 7) === 4 || (row.op & 7) < 5 ? 1 : 0
        if ((row.op & 7) === 4 && !isByte(token)) encoding.rex |= 1 // never RSP
      }
    }
    if (row.reg !== undefined) { encoding.reg = row.reg; encoding.hasModRm = true }
    const rmToken = tokens.find((token) => /^[EMWUQNR]|^(ld|st)\d/.test(token)) ?? ''
    if (place === 'register') {
      const number = /^[QN]/.test(rmToken) ? random.below(8) : /^[WU]/.test(rmToken) ? random.below(16) : isByte(rmToken) ? random.pick([0, 1, 2, 3, 4, 5, 6, 7, 8, 11]) : random.pick(FREE)
      encoding.setRmRegister(row.rm ?? (row.unit === 'x87' ? random.below(8) : number))
    } else if (place === 'memory') this.#memory(random, group, rmToken)
    for (const token of tokens) if (/^(I|U)/.test(token) && token !== 'U') this.#immediate(random, group, token)
    if (tokens.some((token) => token.startsWith('O'))) encoding.addImmediate(8, DATA + 0x100 + random.below(0x1e00), 0)
    // With REX byte register 4 is SPL.
    const hasRex = encoding.rex !== 0 || encoding.rexPresent
    if (hasRex && tokens.some((token) => /^Gb$/.test(token)) && encoding.reg === 4 && (encoding.rex & 4) === 0) encoding.reg = 0
    if (hasRex && isByte(rmToken) && place === 'register' && encoding.rm === 4 && (encoding.rex & 1) === 0) encoding.rm = 0
    if (hasRex && row.op === 0xb4) encoding.rex |= 1
    this.#emit()
  }

  #memory(random: Random, group: Group, token: string): void {
    const { row, size } = group
    const encoding = this.#encoding
    encoding.hasModRm = true
    const listed = Number(/\d+/.exec(token)?.[0] ?? 0)
    const bytes = listed > 0 ? Math.min(listed, 16) : row.name === 'cmpxchg8b' ? 16 : 8
    const isAligned = token.endsWith('a')
    const unit = isAligned || row.name === 'cmpxchg8b' ? 16 : ATOMIC.test(row.name) ? Math.max(1, size / 8) : 1
    if (ATOMIC.test(row.name) && token.startsWith('E') && row.name !== 'xchg' && random.chance(30)) encoding.lock = true
    let offset = random.chance(8) && unit === 1 ? 0x1000 - random.between(1, bytes) : random.between(0x100, 0x1e00)
    offset -= offset % (isAligned && random.chance(1) ? 1 : unit)
    let address = DATA + offset
    if (random.chance(1)) address = GUARD + 0x100 + offset % 0x400 & ~15
    const kind = random.below(unit === 1 ? 8 : 5)
    const displacement = address - POINTS_AT
    const long = () => { encoding.mod = 2; encoding.displacementBytes = 4 }
    switch (kind) {
      case 0: // [rip + ...]
        encoding.mod = 0; encoding.rm = 5; encoding.displacementBytes = 4; encoding.ripRelative = true
        encoding.address = address
        return
      case 1: // [disp32]
        encoding.mod = 0; encoding.rm = 4; encoding.sib = 0x25; encoding.displacementBytes = 4
        encoding.displacement = address
        return
      case 2: case 3: case 4: // [r15 + disp]
        encoding.rex |= 1
        encoding.rm = POINTER & 7
        long()
        encoding.displacement = displacement
        return
      case 5: case 6: // [r15 + r14 * scale + disp]
        encoding.rex |= 3
        encoding.rm = 4
        encoding.sib = random.below(4) << 6 | (INDEX & 7) << 3 | POINTER & 7
        long()
        encoding.displacement = displacement
        return
      default: // on the stack, above what was pushed
        encoding.rm = 4; encoding.sib = 0x24; encoding.mod = 1; encoding.displacementBytes = 1
        encoding.displacement = random.between(8, 100)
    }
  }

  #immediate(random: Random, group: Group, token: string): void {
    const value = new DataView(new ArrayBuffer(8))
    integer(random, value, 0)
    const kind = token.slice(1)
    const bytes = kind.startsWith('b') ? 1 : kind.startsWith('w') ? 2 : kind === 'v' && group.size === 64 ? 8 : group.size === 16 ? 2 : 4
    this.#encoding.addImmediate(bytes, kind.startsWith('b') && /^(ro|rc|s[ha])/.test(group.row.name) ? random.below(70) : value.getInt32(0, true), value.getInt32(4, true))
  }

  #follow({ row, repeat }: Group): void {
    if (DEFINES.has(row.name)) this.#mask = 0
    else if (LOGIC.has(row.name)) this.#mask = AF
    else if (row.form.startsWith('str')) this.#mask = /^(cmps|scas)$/.test(row.name) && repeat === 0 ? 0 : this.#mask
    else this.#mask |= row.undefinedFlags ?? 0
  }

  /** Makes the flags defined, if something is going to read them. */
  #settle(random: Random, withAf: boolean): void {
    const pick = random.below(3), left = random.pick(FREE.slice(0, 7)), right = random.pick(FREE.slice(0, 7))
    if ((this.#mask & (withAf ? ARITHMETIC : ARITHMETIC & ~AF)) === 0) return
    if (pick === 0) this.#bytes(0x48, 0x39, 0xc0 | right << 3 | left) // cmp left, right
    else if (pick === 1) this.#bytes(0x01, 0xc0 | right << 3 | left) // add left, right
    else this.#bytes(0x48, 0xf7, 0xd8 | left) // neg left
    this.#mask = 0
  }

  #emit(): void {
    this.#one.start = this.#start + this.#at
    this.#encoding.emit(this.#one)
    this.#bytes(...this.#one.code.subarray(0, this.#one.codeLength))
  }

  /** Bytes of one instruction. */
  #bytes(...bytes: number[]): void {
    this.#undefined.set(this.#start + this.#at, this.#mask)
    this.#state.code.set(bytes, this.#at)
    this.#at += bytes.length
  }

  #patch(at: number, distance: number): void {
    this.#state.code.set(dword(distance), at)
  }
}

function dword(value: number): number[] {
  return [value & 255, value >> 8 & 255, value >> 16 & 255, value >>> 24]
}

