/** Surroundings and operands of x87, MMX and SSE instructions. */
import { DATA, DATA_SIZE, RAX, RDI, RDX, S_FCW, S_FPR, S_FSW, S_FTW, S_MXCSR, S_XMM } from './arena.ts'
import { memoryOperand, placeOperand } from './encode.ts'
import type { Encoding } from './encode.ts'
import type { Group } from './groups.ts'
import type { Random } from './random.ts'
import type { State } from './state.ts'
import { float32, float64, float80, integer, lanes, packedDecimal } from './values.ts'
import type { Lanes } from './values.ts'
import type { Row } from '../../hypervisor/tcg/isa/row.ts'

const FLOAT32 = /(ps|ss)$|^cvt(t?)(ps|ss)/, FLOAT64 = /(pd|sd)$|^cvt(t?)(pd|sd)/
const INTEGER_NAMES = /^(p|mov(sd|ss|q|d)|cvt(dq|si|pi)|lddqu|maskmov|mpsad)/
const SHIFT = /^ps(ll|rl|ra)[wdq]$/

/** Rounding, masks and sticky flags of MXCSR. */
function drawMxcsr(random: Random): number {
  let value = random.below(4) << 13 | 0x1f80
  if (random.chance(15)) value &= ~(random.below(64) << 7)
  if (random.chance(15)) value |= random.next() & 0x3f
  if (random.chance(10)) value |= 0x8000
  if (random.chance(10)) value |= 0x40
  return value
}

function drawControl(random: Random): number {
  let value = random.below(4) << 10 | (random.chance(60) ? 0x300 : random.pick([0, 0x200, 0x200, 0x100])) | 0x7f
  if (random.chance(20)) value &= ~random.below(64)
  if (random.chance(10)) value ^= 0x1000
  return value
}

/** FSW with ES and B as the control word makes them. */
function drawStatus(random: Random, control: number, pending: boolean): number {
  let value = random.below(8) << 11 | (random.next() & 0x4700)
  if (random.chance(20)) value |= random.next() & 0x7f
  if (!pending) value &= ~(~control & 0x3f)
  return (value & ~control & 0x3f) !== 0 ? value | 0x8080 : value
}

function lanesFor(random: Random, row: Row): Lanes {
  if (random.chance(12)) return random.pick(['integer', 'float32', 'float64'])
  if (INTEGER_NAMES.test(row.name)) return 'integer'
  if (FLOAT32.test(row.name)) return 'float32'
  if (FLOAT64.test(row.name)) return 'float64'
  return 'integer'
}

/** MXCSR, x87 environment, XMM and x87/MMX registers. */
export function floatState(random: Random, state: State, row: Row): void {
  const { view } = state
  if (row.unit === 'sse') view.setUint32(S_MXCSR, drawMxcsr(random), true)
  const usesX87 = row.unit === 'x87' || row.unit === 'mmx' || /(^|,)[PNQ]/.test(row.form)
  if (usesX87) {
    const control = drawControl(random)
    view.setUint16(S_FCW, control, true)
    view.setUint16(S_FSW, drawStatus(random, control, random.chance(4)), true)
    view.setUint8(S_FTW, random.chance(60) ? 0xff : random.chance(30) ? 0 : random.next() & 0xff)
    for (let i = 0; i < 8; i++) {
      const at = S_FPR + i * 16
      if (row.unit === 'x87' && !random.chance(5)) float80(random, view, at, spreadOf(row))
      else { lanes(random, view, at, lanesFor(random, row)); view.setUint16(at + 8, random.chance(80) ? 0xffff : random.next() & 0xffff, true); clearPad(state, at) }
    }
  }
  if (row.unit === 'sse' || row.form === 'st512') for (let i = 0; i < 16; i++) lanes(random, view, S_XMM + i * 16, lanesFor(random, row))
}
function clearPad(state: State, at: number): void {
  state.view.setUint16(at + 10, 0, true)
  state.view.setUint32(at + 12, 0, true)
}

function spreadOf(row: Row): number {
  if (row.name === 'f2xm1') return 20
  if (row.name === 'fyl2xp1') return 16
  if (/^f(sin|cos|ptan|patan)/.test(row.name)) return 40
  return 70
}

function fillXmm(random: Random, state: State, address: number, bytes: number, kind: Lanes): void {
  const at = state.poke(address, bytes)
  if (at < 0) return
  lanes(random, scratch, 0, kind)
  for (let i = 0; i < Math.min(16, bytes); i++) state.view.setUint8(at + i, scratch.getUint8(i))
}
const scratch = new DataView(new ArrayBuffer(16))

export function simdOperands(random: Random, state: State, encoding: Encoding, group: Group): void {
  const { row } = group
  prefixes(random, encoding, row)
  const tokens = row.form.split(',')
  if (row.form === 'maskmov') {
    state.wideOperand = true
    const at = placeOperand(random, { bytes: row.unit === 'mmx' ? 8 : 16 })
    state.setGpr64(RDI, at < 0 ? 0x8123_0000_0000_0000n : BigInt(at))
    encoding.setReg(random.below(row.unit === 'mmx' ? 8 : 16))
    const mask = random.below(row.unit === 'mmx' ? 8 : 16)
    encoding.setRmRegister(mask)
    // Whether a byte that the mask leaves out may fault is up to the processor: where a fault waits, the mask leaves none out.
    if (at < DATA || at + 16 > DATA + DATA_SIZE) {
      const from = row.unit === 'mmx' ? S_FPR + mask * 16 : S_XMM + mask * 16
      for (let i = 0; i < (row.unit === 'mmx' ? 8 : 16); i++) state.view.setUint8(from + i, state.view.getUint8(from + i) | 0x80)
    }
    if (random.chance(8) && at > 0) { encoding.address32 = true; state.setGpr64(RDI, BigInt(at) | BigInt(random.next()) << 32n) }
    return
  }
  const kind: Lanes = SHIFT.test(row.name) && random.chance(70) ? 'count' : lanesFor(random, row)
  let reg = -1
  for (const token of tokens) {
    if (/^[VG]/.test(token)) { reg = random.below(16); encoding.setReg(reg) }
    else if (token.startsWith('P')) { reg = random.below(8); encoding.setReg(reg) }
  }
  if (row.reg !== undefined) { encoding.reg = row.reg; encoding.hasModRm = true }
  const rmToken = tokens.find((token) => /^[WUMQNE]/.test(token)) ?? ''
  if (group.place === 'register') {
    const rm = random.chance(10) && reg >= 0 ? reg : random.below(/^[QN]/.test(rmToken) ? 8 : 16)
    encoding.setRmRegister(rm)
    if (kind === 'count') {
      const at = /^[QN]/.test(rmToken) ? S_FPR + (rm & 7) * 16 : S_XMM + rm * 16
      lanes(random, scratch, 0, kind)
      for (let i = 0; i < 8; i++) state.view.setUint8(at + i, scratch.getUint8(i))
    }
  } else {
    const bytes = Number(/\d+/.exec(rmToken)?.[0] ?? 8)
    const aligned = rmToken.endsWith('a')
    const address = memoryOperand(random, state, encoding, { bytes, align: aligned && !random.chance(4) ? 16 : 1, keep: /^pcmpe/.test(row.name) ? [RAX, RDX] : [] })
    if (address !== 0) fillXmm(random, state, address, bytes, kind)
  }
  if (tokens.includes('Ib')) encoding.addImmediate(1, SHIFTED.test(row.name) ? random.pick([0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 255, random.below(20)]) : random.below(256))
  if (/^pcmpestr/.test(row.name) && random.chance(80)) {
    for (const register of [RAX, RDX]) {
      const length = BigInt(random.between(-18, 18))
      state.setGpr64(register, random.chance(80) ? length : BigInt.asUintN(32, length))
    }
  }
  if (/^pcmp[ei]str/.test(row.name) && random.chance(70)) smallAlphabet(random, state, encoding, group)
}
const SHIFTED = /^ps(ll|rl|ra)|^palignr/

/** Strings of few different characters, so that comparisons find something. */
function smallAlphabet(random: Random, state: State, encoding: Encoding, group: Group): void {
  const fill = (at: number): void => { for (let i = 0; i < 16; i++) state.view.setUint8(at + i, random.pick([0, 0x41, 0x42, 0x42, 0x43, 0x80, 0x81, 0x41])) }
  fill(S_XMM + (encoding.reg | (encoding.rex & 4) << 1) * 16)
  if (group.place === 'register') fill(S_XMM + (encoding.rm | (encoding.rex & 1) << 3) * 16)
  else if (encoding.address !== 0) {
    const at = state.poke(encoding.address, 16)
    if (at >= 0) fill(at)
  }
}

function prefixes(random: Random, encoding: Encoding, row: Row): void {
  if (row.pp === 0x66) encoding.operand16 = true
  else if (row.pp === 0xf2 || row.pp === 0xf3) encoding.repeat = row.pp
  if (row.w === 1) encoding.rex |= 8
  else if (row.w === undefined && random.chance(8)) encoding.rex |= 8
  if (random.chance(10)) encoding.rexPresent = true
}

/** x87 rows, FXSAVE and its like, MXCSR loads and stores, EMMS. */
export function x87Operands(random: Random, state: State, encoding: Encoding, row: Row): void {
  prefixes(random, encoding, row)
  if (row.reg !== undefined) { encoding.reg = row.reg; encoding.hasModRm = true }
  if (row.mod === 'r') { encoding.setRmRegister(row.rm ?? random.below(8)) }
  operandsFor(random, state, row)
  const match = /^(ld|st)(\d+|env|save)$/.exec(row.form)
  if (match === null) return
  const short = (match[2] === 'env' || match[2] === 'save') && random.chance(40)
  if (short) { encoding.operand16 = true; encoding.rex &= ~8 }
  const bytes = match[2] === 'env' ? short ? 14 : 28 : match[2] === 'save' ? short ? 94 : 108 : Number(match[2])
  const align = bytes === 512 && !random.chance(4) ? 16 : 1
  state.wideOperand = bytes > 10
  const address = memoryOperand(random, state, encoding, { bytes, align })
  if (address === 0) return
  const at = state.poke(address, bytes)
  if (match[1] === 'st') {
    if (at >= 0) ignoreStored(state, row, at, bytes)
    return
  }
  if (at < 0) return
  const { view } = state
  if (bytes === 512) saveArea(random, state, at)
  else if (match[2] === 'env' || match[2] === 'save') environment(random, state, at, bytes)
  else if (row.name === 'fldcw') view.setUint16(at, random.chance(80) ? drawControl(random) : random.next() & 0xffff, true)
  else if (row.name === 'ldmxcsr') view.setUint32(at, random.chance(90) ? drawMxcsr(random) : random.next() & (random.chance(50) ? 0xffff : 0x7fffffff), true)
  else if (row.name === 'fbld') packedDecimal(random, view, at)
  else {
    if (bytes === 4 && row.name.startsWith('fi')) { integer(random, scratch, 0); view.setUint32(at, scratch.getUint32(0, true), true) }
    else if (bytes === 2) { integer(random, scratch, 0); view.setUint16(at, scratch.getUint16(0, true), true) }
    else if (bytes === 4) float32(random, view, at)
    else if (bytes === 8 && row.name === 'fild') integer(random, view, at)
    else if (bytes === 8) float64(random, view, at)
    else float80(random, view, at, 70)
  }
}

/** Operands on the register stack that a random draw would seldom give. */
function operandsFor(random: Random, state: State, row: Row): void {
  const { view } = state
  const top = view.getUint16(S_FSW, true) >> 11 & 7
  const st = (i: number): number => S_FPR + ((top + i) & 7) * 16
  if (row.name === 'fscale' && random.chance(60)) {
    const value = random.between(-20000, 20000)
    writeInteger(state, st(1), random.chance(50) ? value : value >> 8)
  }
  if (/^f(st|stp|ist|istp|isttp|bstp)$/.test(row.name) && random.chance(60)) {
    const width = row.form === 'st2' ? 15 : row.form === 'st4' ? (row.name.startsWith('fi') ? 31 : 128) : row.form === 'st8' ? (row.name.startsWith('fi') ? 63 : 1024) : 60
    if (row.name.startsWith('fi') || row.name === 'fbstp') view.setUint16(st(0) + 8, (0x3fff + random.between(-3, width + 1)) | (random.next() & 0x8000), true)
    else view.setUint16(st(0) + 8, (0x3fff + random.pick([-width - 3, -width + 1, -width - 20, width - 1, width, 0, -width - 24, -width - 53])) & 0x7fff | (random.next() & 0x8000), true)
    if (view.getUint32(st(0) + 4, true) < 0x80000000) view.setUint32(st(0) + 4, 0x80000000, true)
  }
  if ((row.name === 'fprem' || row.name === 'fprem1') && random.chance(60)) {
    const exponent = view.getUint16(st(1) + 8, true) & 0x7fff
    view.setUint16(st(0) + 8, Math.min(0x7ffe, Math.max(1, exponent + random.pick([-2, -1, 0, 1, 2, 5, 62, 63, 64, 70]))), true)
  }
  if (row.name.startsWith('fyl2x') && random.chance(80)) view.setUint16(st(0) + 8, view.getUint16(st(0) + 8, true) & 0x7fff, true)
}

function writeInteger(state: State, at: number, value: number): void {
  const magnitude = Math.abs(value)
  const shift = magnitude === 0 ? 0 : Math.clz32(magnitude)
  state.view.setUint32(at, 0, true)
  state.view.setUint32(at + 4, magnitude === 0 ? 0 : (magnitude << shift) >>> 0, true)
  state.view.setUint16(at + 8, (magnitude === 0 ? 0 : 0x3fff + 31 - shift) | (value < 0 ? 0x8000 : 0), true)
}

/** FLDENV and FRSTOR images: control, status and tags that fit, pointers that do not count. */
function environment(random: Random, state: State, at: number, bytes: number): void {
  const { view } = state
  const short = bytes === 14 || bytes === 94
  const step = short ? 2 : 4
  const control = drawControl(random)
  const status = drawStatus(random, control, random.chance(20))
  for (let i = 0; i < step * 7; i += 2) view.setUint16(at + i, random.next() & 0xffff, true)
  view.setUint16(at, control, true)
  view.setUint16(at + step, status, true)
  if (random.chance(40)) view.setUint16(at + step * 2, random.chance(50) ? 0 : 0xffff, true)
  if (bytes > 28) for (let i = 0; i < 8; i++) float80Packed(random, state, at + step * 7 + i * 10)
}
function float80Packed(random: Random, state: State, at: number): void {
  float80(random, scratch, 0)
  for (let i = 0; i < 10; i++) state.view.setUint8(at + i, scratch.getUint8(i))
}

/** FXRSTOR image. */
function saveArea(random: Random, state: State, at: number): void {
  const { view } = state
  for (let i = 0; i < 512; i += 4) view.setUint32(at + i, random.next(), true)
  const control = drawControl(random)
  view.setUint16(at, control, true)
  view.setUint16(at + 2, drawStatus(random, control, random.chance(20)), true)
  view.setUint32(at + 24, random.chance(90) ? drawMxcsr(random) : random.next(), true)
  for (let i = 0; i < 8; i++) float80(random, view, at + 32 + i * 16)
  for (let i = 0; i < 16; i++) lanes(random, view, at + 160 + i * 16, 'integer')
}

/** Instruction and operand pointers of a saved environment: processors differ in when they keep them. */
function ignoreStored(state: State, row: Row, at: number, bytes: number): void {
  if (bytes === 512) state.ignored.push(at + 6, 18, at + 28, 4, at + 416, 96)
  else if (bytes === 14 || bytes === 94) state.ignored.push(at + 6, 8)
  else if (bytes === 28 || bytes === 108) state.ignored.push(at + 12, 16)
  if (row.form === 'st512') for (let i = 0; i < 8; i++) state.ignored.push(at + 32 + i * 16 + 10, 6)
}
