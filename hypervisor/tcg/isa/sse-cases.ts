/**
 * Deterministic cases for the SIMD rows: machine state and instruction bytes, the same on every run, so that the results of a real processor
 * can be kept as one digest for each row (sse-silicon.ts) instead of megabytes. Operands lean towards the edges of the number formats.
 *
 * A case is 128 bytes: code[16], XMM0, XMM1, XMM2, memory operand[16], MM1, MM2, RAX, RCX, RDX, MXCSR (u32), flags (u16), vector (u8), code length (u8).
 * The instruction has ModRM.reg 1 and ModRM.rm 2, or 1 ("alias"), or [RSI] = the memory operand.
 */
import type { Row } from './row.ts'

export const CASE_BYTES = 128
export const XMM0 = 16, XMM1 = 32, XMM2 = 48, MEMORY = 64, MM1 = 80, MM2 = 88, RAX = 96, RCX = 104, RDX = 112, CASE_MXCSR = 120
export const CASE_FLAGS = 124, CASE_VECTOR = 126, CODE_LENGTH = 127

export type RmMode = 'register' | 'alias' | 'memory'
export interface Case { readonly row: Row; readonly rm: RmMode; readonly imm: number; readonly state: Buffer }

type Pattern = 'f32' | 'f64' | 'random' | 'edge' | 'words' | 'text' | 'wideText' | 'count' | 'integer'

const EDGE_BYTES = [0, 1, 0x7f, 0x80, 0xff, 0x81, 0xfe, 0x7e]
const EDGE_WORDS = [0, 1, 0x7fff, 0x8000, 0xffff, 0x8001, 0xfffe, 0xff, 0x100, 0xff80, 0x7f]
/** Zero, denormals, the smallest normals, halves, ones, integer limits, square roots of the limits, infinities, quiet and signalling NaNs. */
const EDGE_SINGLES = [
  0, 0x80000000, 1, 0x7fffff, 0x400000, 0x800000, 0x80800001, 0x3f800000, 0xbf800001, 0x3f7fffff, 0x40000000, 0x3f000000, 0x3effffff,
  0x3fc00000, 0x40200000, 0xbf000000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x7f800001, 0xffa00001,
  0x4f000000, 0xcf000000, 0x4effffff, 0xcf000001, 0x5f000000, 0xdf000000, 0x4b000001, 0x1f800000, 0x1fffffff, 0x5f800000, 0x33800000,
]
const EDGE_DOUBLES = [
  0n, 1n << 63n, 1n, 0xfffffffffffffn, 0x8000000000000n, 0x10000000000000n, 0x8010000000000001n, 0x3ff0000000000000n, 0xbff0000000000001n,
  0x3fefffffffffffffn, 0x4000000000000000n, 0x3fe0000000000000n, 0x3fdfffffffffffffn, 0x3ff8000000000000n, 0x4004000000000000n,
  0xbfe0000000000000n, 0x7fefffffffffffffn, 0xffefffffffffffffn, 0x7ff0000000000000n, 0xfff0000000000000n, 0x7ff8000000000000n,
  0xfff8123456789abcn, 0x7ff0000000000001n, 0xfff4000000000001n, 0x41e0000000000000n, 0xc1e0000000000000n, 0x41dfffffffe00000n,
  0xc1e0000000200000n, 0x41dfffffffa00000n, 0x43e0000000000000n, 0xc3e0000000000000n, 0x43dfffffffffffffn, 0x433fffffffffffffn,
  0x47efffffe0000000n, 0x47effffff0000000n, 0x380fffffe0000000n, 0x380ffffff0000000n, 0x36a0000000000000n, 0x3690000000000000n,
  0x2000000000000000n, 0x1ff0000000000000n, 0x5ff0000000000000n,
]

/** xorshift32. */
class Random {
  private x: number
  constructor(seed: number) { this.x = seed | 1 }
  next(): number {
    this.x ^= this.x << 13
    this.x ^= this.x >>> 17
    this.x ^= this.x << 5
    return this.x >>> 0
  }
  below(n: number): number { return (this.next() >>> 4) % n }
  pick<T>(items: readonly T[]): T { return items[this.below(items.length)] as T }
  wide(): bigint { return (BigInt(this.next()) << 32n) | BigInt(this.next()) }
}

function single(r: Random): number {
  const kind = r.below(10)
  if (kind < 5) return r.pick(EDGE_SINGLES)
  if (kind < 7) return ((r.next() & 0x80000000) | (120 + r.below(16)) << 23 | (r.next() & r.pick([0x7fffff, 0x7f0000, 0x7ff000]))) >>> 0
  if (kind < 9) return ((r.next() & 0x80000000) | (r.below(26) + r.pick([0, 230])) << 23 | (r.next() & 0x7fffff)) >>> 0
  return r.next()
}

function double(r: Random): bigint {
  const kind = r.below(10)
  if (kind < 5) return r.pick(EDGE_DOUBLES)
  const fraction = r.wide() & r.pick([0xfffffffffffffn, 0xff00000000000n, 0xfffffff000000n])
  const exponent = kind < 7 ? 1010 + r.below(40) : r.below(30) + r.pick([0, 870, 1150, 2010])
  return (BigInt(r.below(2)) << 63n) | (BigInt(exponent) << 52n) | fraction
}

function integer(r: Random): bigint {
  const shift = BigInt(r.below(64))
  const magnitude = r.below(2) ? r.wide() >> shift : 1n << shift
  return BigInt.asUintN(64, r.below(2) ? magnitude : -magnitude + BigInt(r.below(3) - 1))
}

function fill(state: Buffer, at: number, length: number, pattern: Pattern, r: Random): void {
  const end = pattern.endsWith('ext') ? r.below(20) : 0
  for (let i = 0; i < length; i++) {
    const p = at + i
    switch (pattern) {
      case 'f32': if (i % 4 === 0) state.writeUInt32LE(single(r), p); break
      case 'f64': if (i % 8 === 0) state.writeBigUInt64LE(double(r), p); break
      case 'integer': if (i % 8 === 0) state.writeBigUInt64LE(integer(r), p); break
      case 'words': if (i % 2 === 0) state.writeUInt16LE(r.pick(EDGE_WORDS), p); break
      case 'wideText': if (i % 2 === 0) state.writeUInt16LE(i / 2 === end ? 0 : r.pick([1, 2, 3, 0x8001]), p); break
      case 'text': state[p] = i === end ? 0 : 1 + r.below(3); break
      case 'count': state[p] = i === 0 ? r.below(70) : 0; break
      case 'edge': state[p] = r.pick(EDGE_BYTES); break
      default: state[p] = r.below(256)
    }
  }
  if (pattern === 'count' && r.below(8) === 0) state[at + r.below(length)] = r.pick(EDGE_BYTES)
}

const isString = (row: Row): boolean => /^pcmp[ei]str/.test(row.name)
/** Rows that read and write MXCSR. */
export const isFloat = (row: Row): boolean =>
  /^(add|sub|mul|div|min|max|sqrt|cmp|hadd|hsub|addsub|dp|round|u?comi|rcp|rsqrt)(p|s)?(s|d)$|^cvt/.test(row.name)

function patternsOf(row: Row): readonly Pattern[] {
  if (isString(row)) return ['text', 'text', 'wideText', 'edge', 'random']
  if (/^cvt(si|pi|dq)/.test(row.name)) return ['integer', 'integer', 'edge', 'random']
  if (isFloat(row)) return /[ps]d(2|$)|^dppd/.test(row.name) ? ['f64'] : ['f32']
  if (/^ps[rl][la]/.test(row.name)) return ['random', 'count', 'count', 'edge']
  return ['random', 'random', 'edge', 'words', 'text', 'integer']
}

/** Mostly the defaults with and without a sticky inexact flag, else any rounding, DAZ, FTZ and masks. */
function mxcsr(r: Random): number {
  const kind = r.below(10)
  if (kind < 4) return kind < 3 ? 0x1fa0 : 0x1f80
  const masks = r.below(3) === 0 ? r.below(64) << 7 : 0x1f80
  return r.below(64) | masks | r.below(4) << 13 | (r.below(3) === 0 ? 0x40 : 0) | (r.below(3) === 0 ? 0x8000 : 0)
}

function immediate(row: Row, r: Random): number {
  // AVX gave the upper predicates of CMP a meaning in the VEX forms only.
  if (/^cmp(ps|pd|ss|sd)$/.test(row.name)) return r.below(8)
  return /^ps[rl][la]|palignr/.test(row.name) && r.below(5) ? r.below(70) : r.below(256)
}

function encode(row: Row, rm: RmMode, imm: number): number[] {
  const prefixes = [...(row.pp ? [row.pp] : []), ...(row.w === 1 ? [0x48] : [])]
  const opcode = row.op > 0xffff ? [row.op >> 16, (row.op >> 8) & 0xff, row.op & 0xff] : [row.op >> 8, row.op & 0xff]
  const modrm = ((row.reg ?? 1) << 3) | (rm === 'memory' ? 6 : rm === 'alias' ? 0xc1 : 0xc2)
  return [...prefixes, ...opcode, modrm, ...(row.form.endsWith('Ib') ? [imm] : [])]
}

/** Names a row, and with it its digest. */
export const rowKey = (row: Row): string => `${row.unit} ${row.name} ${row.form}${row.w === undefined ? '' : ` w${row.w}`}`

/** How many cases a digest covers. */
export const caseCount = (row: Row): number => isFloat(row) ? 100 : isString(row) ? 120 : 30

/** Does the instruction define the arithmetic flags? */
export const setsFlags = (row: Row): boolean => isString(row) || /^u?comis|^ptest/.test(row.name)

/** `count` cases of one row. Rows of form `maskmov` have none. */
export function casesOf(row: Row, count: number): Case[] {
  if (row.form === 'maskmov') return []
  const r = new Random(0x9e3779b9 ^ Math.imul(row.op, 0x85ebca6b) ^ ((row.pp ?? 0) << 8) ^ ((row.reg ?? 0) << 4) ^ (row.w ?? 0))
  for (let i = 0; i < 8; i++) r.next()
  const modes: RmMode[] = []
  if (row.mod !== 'm') modes.push('register', 'alias')
  if (row.mod !== 'r' && /[WMQE]\d/.test(row.form)) modes.push('memory')
  const patterns = patternsOf(row)
  return Array.from({ length: count }, (_, index) => {
    const state = Buffer.alloc(CASE_BYTES)
    const rm = modes[index % modes.length] as RmMode
    for (const at of [XMM0, XMM1, XMM2, MEMORY]) fill(state, at, 16, r.pick(patterns), r)
    for (const at of [MM1, MM2, RAX, RCX, RDX]) fill(state, at, 8, r.pick(patterns), r)
    if (r.below(6) === 0) state.copy(state, XMM2, XMM1, XMM1 + 16)
    if (r.below(6) === 0) state.copy(state, MEMORY, XMM1, XMM1 + 16)
    if (isString(row) && r.below(8)) for (const at of [RAX, RDX]) state.writeBigInt64LE(BigInt(r.below(42) - 21), at)
    state.writeUInt32LE(isFloat(row) ? mxcsr(r) : 0x1f80, CASE_MXCSR)
    const imm = immediate(row, r)
    const code = encode(row, rm, imm)
    state.set(code, 0)
    state[CODE_LENGTH] = code.length
    return { row, rm, imm, state }
  })
}
