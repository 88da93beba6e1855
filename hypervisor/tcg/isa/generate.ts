/**
 * Writes hypervisor/tcg/core/decode-table.gen.ts from the decode table: family constants and two packed tables.
 *   index: 1024 * {first row u16, row count u8, has ModRM u8}, by map * 256 + opcode byte
 *   rows:  24 bytes each, ROW_* offsets below
 */
import fs from 'node:fs'
import type { Row } from './row.ts'
import { ROWS } from './table.ts'
import { X87_NO_WAIT } from './rows-x87.ts'
import * as sseOps from '../core/sse-ops.ts'
import * as x87Ops from '../core/x87-ops.ts'

export const ROW_BYTES = 24
const UNITS = ['int', 'sys', 'x87', 'mmx', 'sse'] as const
const PREFIX: Readonly<Record<number, number>> = { 0: 0, 0x66: 1, 0xf3: 2, 0xf2: 3 }
const KINDS = ['none', 'E', 'G', 'M', 'R', 'Z', 'A', 'O', 'S', 'C', 'D', 'I', 'J', '1', 'CL', 'DX', 'str', 'far', 'V', 'W', 'U', 'P', 'Q', 'N', 'ld', 'st', 'sti', 'ax', 'maskmov', 'Iu'] as const
const SIZES = ['', 'b', 'w', 'd', 'q', 'v', 'y', 'z', '64', 'p'] as const
const FLAG_ALIGN = 1, FLAG_STORE = 4, FLAG_NO_WAIT = 8, FLAG_LOCK = 16, FLAG_DEFAULT64 = 32
const LOCKABLE = new Set(['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'NOT', 'NEG', 'INC', 'DEC', 'XCHG', 'XADD', 'CMPXCHG', 'CMPXCHG8B', 'BTS', 'BTR', 'BTC'])
const MODRM_KINDS = new Set(['E', 'G', 'M', 'R', 'C', 'D', 'V', 'W', 'U', 'P', 'Q', 'N', 'ld', 'st', 'sti', 'ax', 'maskmov'])

interface Operand { kind: (typeof KINDS)[number]; size: number; bytes: number; align: boolean }
const sizeCode = (size: string): number => {
  const index = SIZES.indexOf(size as (typeof SIZES)[number])
  if (index < 0) throw new Error(`unknown size ${size}`)
  return index
}

function parseOperand(token: string, row: Row): Operand {
  const make = (kind: Operand['kind'], size = '', bytes = 0, align = false): Operand => ({ kind, size: sizeCode(size), bytes, align })
  if (token === 'none') return make('none')
  if (token === 'none64') return make('none', '64')
  if (token === '1') return make('1')
  if (token === 'CL') return make('CL')
  if (token === 'DX') return make('DX')
  if (token === 'Ap') return make('far')
  if (token === 'maskmov') return make('maskmov')
  if (token === 'sti') return make('sti')
  if (token === 'ax') return make('ax')
  const string = /^str([bv])$/.exec(token)
  if (string) return make('str', string[1])
  const segment = /^S([0-5])$/.exec(token)
  if (segment) return { kind: 'S', size: Number(segment[1]), bytes: 0, align: false }
  if (token === 'Sw') return { kind: 'S', size: 15, bytes: 0, align: false }
  const x87 = /^(ld|st)(env|save|\d+)$/.exec(token)
  if (x87) return make(x87[1] as 'ld' | 'st', '', x87[2] === 'env' ? 0xfffe : x87[2] === 'save' ? 0xfffd : Number(x87[2]))
  if (token === 'Ub') return make('Iu', 'b')
  const simd = row.unit === 'sse' || row.unit === 'mmx'
  if (simd) {
    const match = /^([VWUPQNMGE])(\d*)(a?)$/.exec(token)
    if (match) return make(match[1] as Operand['kind'], '', Number(match[2] || 0), match[3] === 'a')
    if (token === 'Ib') return make('Iu', 'b')
    throw new Error(`${row.name}: unknown operand ${token}`)
  }
  if (token === 'M') return make('M')
  const match = /^([EGMRZAOCDIJ])(b|w|d|q|v|y|z|64|p|z64|b64|w64)$/.exec(token)
  if (!match) throw new Error(`${row.name}: unknown operand ${token}`)
  return make(match[1] as Operand['kind'], match[2] === 'z64' ? 'z' : match[2] === 'b64' ? 'b' : match[2] === 'w64' ? 'w' : match[2])
}

const families = new Map<string, number>()
function handlerNumber(row: Row): number {
  if (row.unit === 'int' || row.unit === 'sys') {
    if (!families.has(row.handler)) families.set(row.handler, families.size + 1)
    return families.get(row.handler)!
  }
  const number = ({ ...x87Ops, ...sseOps } as Record<string, unknown>)[row.handler]
  if (typeof number !== 'number') throw new Error(`${row.name}: no constant ${row.handler}`)
  return number
}

function packRow(row: Row): number[] {
  const operands = row.form.split(',').map((token) => parseOperand(token, row))
  const bytes = Math.max(0, ...operands.map((operand) => operand.bytes))
  const simdStore = (row.unit === 'sse' || row.unit === 'mmx') && ['W', 'Q', 'E', 'M'].includes(operands[0]!.kind)
  const default64 = /64/.test(row.form)
  const flags = (operands.some((operand) => operand.align) ? FLAG_ALIGN : 0) | (simdStore ? FLAG_STORE : 0) |
    (X87_NO_WAIT.has(row.handler) ? FLAG_NO_WAIT : 0) | (LOCKABLE.has(row.handler) ? FLAG_LOCK : 0) | (default64 ? FLAG_DEFAULT64 : 0)
  const number = handlerNumber(row)
  // LDMXCSR and STMXCSR are SSE instructions that the x87 frame carries out.
  const unit = row.handler.startsWith('X87_') ? 'x87' : row.unit
  const packed = [number & 255, number >> 8, UNITS.indexOf(unit), row.pp === undefined ? 255 : PREFIX[row.pp]!, row.reg ?? 255, row.rm ?? 255,
    row.mod === 'r' ? 1 : row.mod === 'm' ? 2 : 3, row.w ?? 255, row.mode === '64' ? 1 : row.mode === '!64' ? 2 : 0, flags, bytes & 255, bytes >> 8]
  for (let i = 0; i < 3; i++) packed.push(operands[i] ? KINDS.indexOf(operands[i]!.kind) : 0, operands[i]?.size ?? 0)
  while (packed.length < ROW_BYTES) packed.push(0)
  return packed
}

/** Slot of an opcode in the index table. */
export function opcodeSlot(op: number): number {
  if (op >= 0x0f3a00) return 768 + (op & 255)
  if (op >= 0x0f3800) return 512 + (op & 255)
  if (op >= 0x0f00) return 256 + (op & 255)
  return op
}

function hasModRm(row: Row): boolean {
  if (row.reg !== undefined || row.mod !== undefined || row.rm !== undefined || (row.op >= 0xd8 && row.op <= 0xdf)) return true
  return row.form.split(',').some((token) => token === 'Sw' || MODRM_KINDS.has(parseOperand(token, row).kind))
}

const slots: Row[][] = Array.from({ length: 1024 }, () => [])
for (const row of ROWS) slots[opcodeSlot(row.op)]!.push(row)
// The most demanding row must be tried first: a row without conditions would shadow its neighbours.
const weight = (row: Row): number => (row.rm !== undefined ? 8 : 0) + (row.reg !== undefined ? 4 : 0) + (row.pp !== undefined ? 2 : 0) + (row.mod !== undefined ? 1 : 0) + (row.w !== undefined ? 1 : 0)
const index: number[] = []
const packedRows: number[] = []
let count = 0
for (const rows of slots) {
  const sorted = rows.map((row, order) => ({ row, order })).sort((a, b) => weight(b.row) - weight(a.row) || a.order - b.order).map((entry) => entry.row)
  index.push(count & 255, count >> 8, sorted.length, sorted.some(hasModRm) ? 1 : 0)
  for (const row of sorted) packedRows.push(...packRow(row))
  count += sorted.length
}

const wrap = (numbers: readonly number[]): string => {
  const lines: string[] = []
  for (let i = 0; i < numbers.length; i += 48) lines.push('  ' + numbers.slice(i, i + 48).join(', '))
  return lines.join(',\n')
}
let text = '// Generated by hypervisor/tcg/isa/generate.ts from the decode table. Do not edit.\n\n'
for (const [name, number] of families) text += `export const F_${name}: u32 = ${number}\n`
KINDS.forEach((kind, number) => { text += `export const K_${kind.toUpperCase()}: u32 = ${number}\n` })
SIZES.forEach((size, number) => { if (size) text += `export const S_${size.toUpperCase()}: u32 = ${number}\n` })
text += `export const ROW_COUNT: u32 = ${count}\nexport const ROW_BYTES: u32 = ${ROW_BYTES}\n`
text += `export const OPCODE_INDEX: usize = memory.data<u8>([\n${wrap(index)}\n])\nexport const ROWS: usize = memory.data<u8>([\n${wrap(packedRows)}\n])\n`
fs.writeFileSync('hypervisor/tcg/core/decode-table.gen.ts', text)

// The translator meets families and handlers by number, too.
const handlers = [...fs.readFileSync('hypervisor/tcg/core/ops.ts', 'utf8').matchAll(/^export const (OP_\w+): u32 = (\d+)$/gm)]
const named = (lines: readonly string[]): string => lines.map((line) => `  ${line},\n`).join('')
fs.writeFileSync('hypervisor/tcg/isa/names.gen.ts', `// Generated by hypervisor/tcg/isa/generate.ts from the decode table and core/ops.ts. Do not edit.

/** Names of the integer families by number (F_* of the core's decode table). */
export const FAMILIES: readonly string[] = [
${named(['', ...families.keys()].map((name) => `'${name}'`))}]

/** The interpreter's handlers. */
export const HANDLERS = {
${named(handlers.map(([, name, number]) => `${name}: ${number}`))}} as const
`)
