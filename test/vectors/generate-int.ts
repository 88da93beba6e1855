/** What integer and control-flow instructions need around them: stacks, branch targets, repeat counts, dividends that fit. */
import {
  ARITHMETIC, CODE, DATA, DF, GUARD, RAX, RBP, RBX, RCX, RDI, RDX, READ_ONLY, RSI, RSP, S_FS_BASE, S_GPR, S_GS_BASE, STACK, USER_CODE32, USER_CODE64, USER_DATA,
} from './arena.ts'
import { placeOperand } from './encode.ts'
import type { Encoding, Reach } from './encode.ts'
import type { Group } from './groups.ts'
import type { Random } from './random.ts'
import type { State } from './state.ts'
import { integer } from './values.ts'

const LOCKABLE = /^(add|or|adc|sbb|and|sub|xor|not|neg|inc|dec|xchg|xadd|cmpxchg|cmpxchg8b|bts|btr|btc)$/
/** Instructions that read or move the stack pointer themselves. */
const STACK_USERS = new Set(['push', 'pop', 'call', 'ret', 'enter', 'leave', 'pushf', 'popf', 'pusha', 'popa', 'callf', 'retf', 'iret'])

const isString = (group: Group): boolean => group.row.form.startsWith('str')
const isBitString = (group: Group): boolean => /^bt[src]?$/.test(group.row.name) && group.row.form === 'Ev,Gv'

/** How a row reaches its memory operand. */
export function reachOf(group: Group, reg: number, random: Random): Reach {
  const { row, size } = group
  const first = row.form.split(',')[0] ?? ''
  let bytes = /b$/.test(row.form.split(',').find((token) => /^[EM]/.test(token)) ?? '') || size === 0 ? 1 : size / 8
  if (/Ew/.test(row.form) || row.op === 0x8c || row.op === 0x8e) bytes = 2
  if (row.form === 'Gv,Ed') bytes = 4
  if (row.name === 'cmpxchg8b') bytes = size / 4
  if (row.name === 'bound') bytes = size / 4
  if (/Mp$/.test(row.form)) bytes = size / 8 + 2
  const keep: number[] = []
  if (STACK_USERS.has(row.name)) keep.push(RSP)
  if (isBitString(group)) keep.push(reg)
  if (row.name.startsWith('cmpxchg') || row.name === 'div' || row.name === 'idiv') keep.push(RAX, RDX)
  if (row.form.endsWith('CL')) keep.push(RCX)
  // An atomic access that crosses a cache line is a bus lock, which some kernels punish; alignment keeps it away.
  const atomic = row.name === 'xchg' || LOCKABLE.test(row.name) && /^[EM]/.test(first)
  return { bytes, align: atomic ? bytes : 1, safe: isBitString(group) && random.chance(90), keep }
}

/** A landing place in the code pages that is none of the instruction's own bytes. */
function landing(random: Random, state: State): number {
  for (;;) {
    const target = CODE + 0x10 + random.below(0x1fe0)
    if (target < state.start - 1 || target > state.start + 16) return target
  }
}

/** A branch target for an indirect branch: mostly in the code pages, else where execution is not allowed or nothing is. */
function indirectTarget(random: Random, state: State): bigint {
  if (!random.chance(8)) return BigInt(landing(random, state))
  const wide = state.mode === 64
  switch (random.below(wide ? 3 : 2)) {
    case 0: return BigInt(DATA + random.below(0x1000))
    case 1: return BigInt(GUARD + random.below(0x1000))
    default: return 0x8000_0000_0000n + BigInt(random.below(0x10000))
  }
}

function writeValue(state: State, address: number, value: bigint, bytes: number): void {
  const at = state.poke(address, bytes)
  if (at < 0) return
  for (let i = 0; i < bytes; i++) state.view.setUint8(at + i, Number(value >> BigInt(i * 8) & 0xffn))
}
function readValue(state: State, address: number, bytes: number): bigint {
  const at = state.poke(address, bytes)
  let value = 0n
  if (at >= 0) for (let i = bytes - 1; i >= 0; i--) value = value << 8n | BigInt(state.view.getUint8(at + i))
  return value
}
function draw(random: Random): bigint { integer(random, scratch, 0); return scratch.getBigUint64(0, true) }
const scratch = new DataView(new ArrayBuffer(8))

function randomOperand(random: Random, state: State, address: number, bytes: number): void {
  for (let i = 0; i < bytes; i += 8) writeValue(state, address + i, draw(random), Math.min(8, bytes - i))
}

/** Completes a vector of an integer row once its operands are encoded. */
export function prepareInteger(random: Random, state: State, encoding: Encoding, group: Group, rm: number, reg: number): void {
  const { row, size } = group
  const bytes = reachOf(group, reg, random).bytes
  const memory = group.place === 'memory' && encoding.address !== 0
  if (memory && !isBitString(group)) randomOperand(random, state, encoding.address, bytes)
  if (memory && LOCKABLE.test(row.name) && /^[EM]/.test(row.form)) encoding.lock = random.chance(20)
  if (row.name === 'xchg' && group.place === 'memory') encoding.lock = random.chance(10)
  if (row.name === 'lea' || row.handler === 'NOP') encoding.lock = false
  if (isString(group)) { strings(random, state, encoding, group); return }
  if (isBitString(group) && group.place === 'memory') {
    const offset = BigInt(random.between(-0x3000, 0x3000))
    const mask = (1n << BigInt(size)) - 1n
    state.setGpr64(reg, (offset & mask) | (state.mode === 64 ? draw(random) & ~mask : 0n))
    return
  }
  branches(random, state, encoding, group, rm)
  stack(random, state, encoding, group)
  arithmetic(random, state, encoding, group, rm)
  special(random, state, encoding, group, rm)
  farTransfers(random, state, encoding, group, rm)
}

function branches(random: Random, state: State, encoding: Encoding, group: Group, rm: number): void {
  const { row, mode } = group
  if (row.form === 'Jb' || row.form === 'Jz') {
    const bytes = row.form === 'Jb' ? 1 : 4
    const length = bytes + (row.op >= 0x100 ? 2 : 1)
    encoding.rex = 0; encoding.rexPresent = false // the length must be known
    if (/^(loop|jcxz)/.test(row.name)) {
      encoding.address32 = mode === 64 && random.chance(40)
      const upper = encoding.address32 ? random.next() * 4294967296 : 0
      if (random.chance(70)) state.setGpr64(RCX, BigInt(random.pick([0, 1, 2, 3, 0xffffffff])) | BigInt(upper))
    }
    const total = length + (encoding.address32 ? 1 : 0)
    for (;;) {
      const distance = bytes === 1 ? random.between(-128, 127) : random.between(-0x7f0, 0x7f0)
      if (distance < -total - 1 || distance > 0) { encoding.addImmediate(bytes, distance); return }
    }
  }
  if (row.handler === 'CALL_IND' || row.handler === 'JMP_IND') {
    const target = indirectTarget(random, state)
    if (group.place === 'register' && rm !== RSP) state.setGpr64(rm, target)
    else if (encoding.address !== 0) writeValue(state, encoding.address, target, mode / 8)
  }
}

function stack(random: Random, state: State, encoding: Encoding, group: Group): void {
  const { row, mode, size } = group
  if (!STACK_USERS.has(row.name)) return
  const wide = mode === 64
  // Some processors look at the frame of an outer level even when there is none: a far return's stack is there or it is not.
  if (row.name === 'retf' || row.name === 'iret') {
    state.setGpr(RSP, STACK + 0x600 + random.below(0x200))
    if (random.chance(3)) state.setGpr(RSP, GUARD + 0x800)
  } else
  // How much of PUSHA and POPA has happened when a later part faults differs between processors.
  if (row.name === 'pusha' || row.name === 'popa') { if (random.chance(3)) state.setGpr(RSP, GUARD + 0x800) }
  else if (random.chance(3)) state.setGpr(RSP, random.chance(50) ? STACK + random.below(9) : STACK + 0x1000 - random.below(9))
  else if (wide && row.name !== 'callf' && random.chance(1)) state.setGpr64(RSP, 0x9000_0000_0000_0000n)
  const top = Number(state.gpr(RSP) & 0x7fffffffn)
  if (row.name === 'ret') writeValue(state, top, indirectTarget(random, state), mode / 8)
  if (row.name === 'leave' || row.name === 'enter') {
    state.setGpr(RBP, STACK + 0x600 + random.below(0x100) * 4)
    if (random.chance(4)) state.setGpr(RBP, random.pick([STACK + 0x1000 - 4, GUARD + 0x10]))
  }
  if (row.name === 'enter') {
    encoding.immediateBytes = 0
    encoding.addImmediate(2, random.chance(50) ? random.below(16) * 8 : random.below(0x200))
    encoding.addImmediate(1, random.pick([0, 0, 1, 2, 3, 5, 31, 32, 33]))
  }
  // PUSH and POP of an operand that the stack pointer itself addresses.
  if ((row.name === 'push' || row.name === 'pop') && group.place === 'memory' && random.chance(15)) {
    encoding.mod = 1; encoding.rm = 4; encoding.sib = 0x24
    encoding.ripRelative = encoding.address32 = false
    encoding.segment = 0
    encoding.rex &= 8
    encoding.displacementBytes = 1
    encoding.displacement = random.between(-64, 64)
  }
  if (row.name === 'popf') {
    // TF, NT and AC would reach beyond the instruction; the others are loaded or ignored.
    const image = 2 | (random.next() & (ARITHMETIC | DF | 0x20_3200 | 0x18_0000))
    writeValue(state, top, BigInt(image), size / 8)
  }
}

function arithmetic(random: Random, state: State, encoding: Encoding, group: Group, rm: number): void {
  const { row, size } = group
  const width = size === 0 ? 8 : size
  const mask = (1n << BigInt(width)) - 1n
  if (row.form.endsWith('CL') && random.chance(80)) state.view.setUint8(S_GPR + RCX * 8, random.pick([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, random.below(256)]))
  if (row.form.endsWith('Ub') && /^(ro|rc|sh|sa)/.test(row.name) && random.chance(80)) encoding.immediate.setUint8(encoding.immediateBytes - 1, random.pick([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, random.below(256)]))
  if (size === 16 && (row.name === 'shld' || row.name === 'shrd')) { // beyond 16 the result is undefined
    if (row.form.endsWith('CL')) state.view.setUint8(S_GPR + RCX * 8, random.below(17) | random.below(8) << 5)
    else encoding.immediate.setUint8(0, random.below(17) | random.below(8) << 5)
  }
  if (row.name === 'div' || row.name === 'idiv') {
    const kind = random.below(10)
    if (width === 8) {
      if (kind < 6) state.view.setUint16(S_GPR, random.below(0x300) - (row.name === 'idiv' ? 0x180 : 0) & 0xffff, true)
    } else if (kind < 6) {
      const low = state.gpr(RAX) & mask
      const negative = row.name === 'idiv' && (low >> BigInt(width - 1)) !== 0n
      const extension = negative ? mask : 0n
      state.setGpr64(RDX, (state.gpr(RDX) & ~mask) | extension)
    } else if (kind < 9 && rm !== RDX) state.setGpr64(RDX, (state.gpr(RDX) & ~mask) | (draw(random) & mask) >> BigInt(random.below(width)))
  }
  if (row.name === 'cmpxchg' && random.chance(50)) {
    const value = encoding.address !== 0 ? readValue(state, encoding.address, width / 8) : rm >= 0 && rm !== RSP ? state.gpr(rm) : 0n
    // AH..BH are no business of this: an unequal comparison is a vector, too.
    state.setGpr64(RAX, (state.gpr(RAX) & ~mask) | (value & mask))
  }
  if (row.name === 'cmpxchg8b' && encoding.address !== 0 && random.chance(60)) {
    const half = (1n << BigInt(size)) - 1n
    const low = readValue(state, encoding.address, size / 8), high = readValue(state, encoding.address + size / 8, size / 8)
    state.setGpr64(RAX, (state.gpr(RAX) & ~half) | low)
    state.setGpr64(RDX, (state.gpr(RDX) & ~half) | (random.chance(85) ? high : high ^ 1n))
  }
  if (row.name === 'bound' && encoding.address !== 0) {
    const half = size / 8
    if (random.chance(60)) {
      writeValue(state, encoding.address, BigInt(-random.below(0x4000)), half)
      writeValue(state, encoding.address + half, BigInt(random.below(0x4000)), half)
    }
  }
}

const SELECTORS = [0, 3, USER_DATA, USER_DATA, USER_DATA, USER_DATA - 3, USER_CODE32, USER_CODE64, 1, 2, 0x10, 0x18]

function special(random: Random, state: State, encoding: Encoding, group: Group, rm: number): void {
  const { row } = group
  if (row.name === 'xlat') {
    const at = placeOperand(random, { bytes: 1 })
    const base = BigInt(at < 0 ? GUARD : at) - BigInt(state.view.getUint8(S_GPR))
    state.setGpr64(RBX, state.mode === 32 ? base & 0xffffffffn : base)
  }
  if (row.handler === 'POP_SEG') writeValue(state, Number(state.gpr(RSP) & 0x7fffffffn), BigInt(random.pick(SELECTORS)), 8)
  if (row.handler === 'MOV_TO_SEG') {
    const selector = random.pick(SELECTORS)
    if (group.place === 'register') state.view.setUint16(S_GPR + rm * 8, selector, true)
    else if (encoding.address !== 0) writeValue(state, encoding.address, BigInt(selector), 2)
  }
  if (row.form === 'Gv,Mp' && encoding.address !== 0) writeValue(state, encoding.address + group.size / 8, BigInt(random.pick(SELECTORS)), 2)
  if (/^wr[fg]sbase$/.test(row.name) && group.size === 64 && rm !== RSP) {
    // Bit 47 and above equal, but for a few that must fault.
    if (!random.chance(10)) state.setGpr64(rm, BigInt.asUintN(64, BigInt.asIntN(47, state.gpr(rm))) & 0x7fff_ffff_ffffn)
  }
  if (/^rd[fg]sbase$/.test(row.name)) {
    state.view.setBigUint64(S_FS_BASE, draw(random) & 0x7fff_ffff_ffffn, true)
    state.view.setBigUint64(S_GS_BASE, draw(random) & 0x7fff_ffff_ffffn, true)
  }
  const random64 = (register: number, length = 8): void => { state.ignored.push(S_GPR + register * 8, length) }
  if (row.name === 'cpuid') for (const register of [RAX, RBX, RCX, RDX]) random64(register, 4)
  if (row.name === 'rdtsc' || row.name === 'rdtscp') { random64(RAX, 4); random64(RDX, 4) }
  if (row.name === 'rdtscp') random64(RCX, 4)
  if (row.name === 'rdrand' || row.name === 'rdseed') random64(rm, group.size / 8)
}

const FAR_SELECTORS = [...SELECTORS, 0x08, 0x40, 0xfffb, 0x04, USER_CODE32 - 3, USER_CODE64 - 1]

/** A code selector that mostly is one. */
function codeSelector(random: Random): number { return random.chance(80) ? random.pick([USER_CODE32, USER_CODE64]) : random.pick(FAR_SELECTORS) }

/** Far jumps, calls and returns, IRET, and the instructions that look at descriptors. */
function farTransfers(random: Random, state: State, encoding: Encoding, group: Group, rm: number): void {
  const { row, size, mode } = group
  const bytes = size / 8
  if (/^(callf|retf|iret)$/.test(row.name)) state.wideOperand = true
  if (row.form === 'Iw') { encoding.immediateBytes = 0; encoding.addImmediate(2, random.below(0x200)) }
  if (/^(lar|lsl|verr|verw)$/.test(row.name)) {
    const selector = random.pick(FAR_SELECTORS)
    if (group.place === 'register' && rm !== RSP) state.view.setUint16(S_GPR + rm * 8, selector, true)
    else if (encoding.address !== 0) writeValue(state, encoding.address, BigInt(selector), 2)
  }
  if (row.form === 'Ap') {
    encoding.addImmediate(bytes, landing(random, state))
    encoding.addImmediate(2, codeSelector(random))
  }
  if (row.form === 'Mp' && encoding.address !== 0) {
    writeValue(state, encoding.address, BigInt(landing(random, state)), bytes)
    writeValue(state, encoding.address + bytes, BigInt(codeSelector(random)), 2)
  }
  if (row.name !== 'retf' && row.name !== 'iret') return
  const top = Number(state.gpr(RSP) & 0x7fffffffn)
  const frame = [indirectTarget(random, state), BigInt(codeSelector(random))]
  if (row.name === 'iret') {
    // TF, NT, RF and AC would reach beyond the instruction.
    frame.push(BigInt(2 | (random.next() & (ARITHMETIC | DF | 0x38_3200))))
    if (mode === 64) frame.push(BigInt(STACK + 0x400 + random.below(0x400)), BigInt(random.chance(85) ? USER_DATA : random.pick(FAR_SELECTORS)))
  }
  frame.forEach((value, at) => { writeValue(state, top + at * bytes, value, bytes) })
}

function strings(random: Random, state: State, encoding: Encoding, group: Group): void {
  const { row, size, mode } = group
  const bytes = size === 0 ? 1 : size / 8
  const count = random.pick([0, 1, 2, 3, 4, 5, 7, 8, 13, 16, 24])
  const span = bytes * Math.max(1, count)
  const down = (state.view.getUint32(S_GPR + 128, true) & DF) !== 0
  const place = (): number => {
    if (random.chance(5)) return random.pick([GUARD - (down ? bytes : Math.min(span, bytes * 2)) , READ_ONLY + 0x200, GUARD + 8, DATA + (down ? bytes : 0)])
    return DATA + 0x200 + random.below(0x1a00)
  }
  const source = place()
  let target = place()
  if (random.chance(30)) target = source + random.between(-16, 16) // overlapping
  const narrow = mode === 64 && random.chance(15)
  encoding.address32 = narrow
  const upper = narrow ? BigInt(random.next()) << 32n : 0n
  if (group.repeat !== 0 || random.chance(20)) state.setGpr64(RCX, BigInt(count) | upper)
  state.setGpr64(RSI, BigInt(source) | upper)
  state.setGpr64(RDI, BigInt(target) | upper)
  if (mode === 64 && random.chance(1)) state.setGpr64(row.name === 'lods' ? RSI : RDI, 0x8000_0000_0000n + BigInt(random.below(64)))
  if ((row.name === 'cmps' || row.name === 'scas') && random.chance(80)) {
    // Runs of equal elements that end somewhere, so that REPE and REPNE stop for either reason.
    const value = row.name === 'scas' ? state.gpr(RAX) : draw(random)
    const equal = group.repeat !== 0xf2
    for (let i = 0; i < Math.max(1, count); i++) {
      const step = (down ? -i : i) * bytes
      const same = random.chance(equal ? 90 : 10)
      writeValue(state, target + step, same ? value : draw(random), bytes)
      if (row.name === 'cmps') writeValue(state, source + step, value, bytes)
    }
  }
  if (random.chance(4)) encoding.segment = random.pick(mode === 64 ? [0x26, 0x2e, 0x36, 0x3e] : [0x26, 0x36, 0x3e])
}

