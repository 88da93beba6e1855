/** Which vectors there are: every row of the decode table that user mode can execute, in each of its operand forms. */
import { ROWS } from '../../hypervisor/tcg/isa/table.ts'
import type { Row } from '../../hypervisor/tcg/isa/row.ts'

export const VECTORS_PER_GROUP = 200

/** One row in one operand form. */
export interface Group {
  readonly key: string
  readonly row: Row
  /** Code segment the instruction runs in. */
  readonly mode: 32 | 64
  /** Operand size in bits, 0 if the row has but one. */
  readonly size: number
  /** ModRM.rm is a register, memory, or there is none. */
  readonly place: 'register' | 'memory' | 'none'
  /** Repeat prefix of a string instruction. */
  readonly repeat: 0 | 0xf2 | 0xf3
}

/** Rows marked as not for user mode that user mode does execute, with a result that needs no machine around it. */
const EXECUTABLE = new Set([
  'pushf', 'popf', 'PUSH_SEG', 'POP_SEG', 'MOV_FROM_SEG', 'MOV_TO_SEG', 'LSEG0', 'LSEG2', 'LSEG3', 'LSEG4', 'LSEG5', 'ud2', 'ud1', 'ud0',
  'rdfsbase', 'rdgsbase', 'wrfsbase', 'wrgsbase', 'int3', 'into', 'lar', 'lsl', 'verr', 'verw', 'callf', 'jmpf', 'retf', 'iret',
])
export function userCanExecute(row: Row): boolean {
  return row.user !== false || EXECUTABLE.has(row.name) || EXECUTABLE.has(row.handler)
}

/** Near branches: 64-bit mode ignores the 66 prefix on Intel processors and obeys it on AMD ones, so the vectors have none. */
export function isNearBranch(row: Row): boolean {
  return ['jcc', 'loop', 'loope', 'loopne', 'jcxz', 'call', 'jmp', 'ret'].includes(row.name)
}

function sizesOf(row: Row, mode: 32 | 64): number[] {
  if (row.unit !== 'int' && row.unit !== 'sys') return [0]
  if (isNearBranch(row)) return [mode]
  if (row.name === 'pusha' || row.name === 'popa') return [32, 16]
  // Far pointers with REX.W have a 64-bit offset on Intel processors; AMD ones ignore it.
  if (/Mp$|^Ap$/.test(row.form)) return [16, 32]
  if (row.name === 'retf' || row.name === 'iret') return mode === 64 ? [16, 32, 64] : [16, 32]
  if (row.name === 'cmpxchg8b') return mode === 64 ? [32, 64] : [32]
  if (/64/.test(row.form) || row.handler === 'PUSH_SEG' || row.handler === 'POP_SEG') return mode === 64 ? [64, 16] : [32, 16]
  const sizes = mode === 64 ? [16, 32, 64] : [16, 32]
  if (row.name === 'cbw' || row.name === 'cwd' || /(^|,)[EGZAR]v(,|$)|^strv$|Ov|Sw/.test(row.form)) return sizes
  if (/(^|,)[RMG]y/.test(row.form)) return mode === 64 ? [32, 64] : [32]
  return [0]
}

function placesOf(row: Row): Group['place'][] {
  const tokens = row.form.split(',')
  const memory = tokens.some((token) => /^(M\w*|(ld|st)(\d+|env|save))$/.test(token)) || row.mod === 'm'
  // 0F 0D with a register is a no-operation on Intel processors and undefined on AMD ones.
  if (memory || row.op === 0x0f0d) return ['memory']
  if (tokens.some((token) => /^([EWQ][a-z0-9]+|E)$/.test(token))) return row.mod === 'r' ? ['register'] : ['register', 'memory']
  return row.mod === 'r' || tokens.some((token) => /^[UNR]/.test(token) && token !== 'Ub') || row.form === 'sti' || row.form === 'ax' ? ['register'] : ['none']
}

function rowKey(row: Row): string {
  const parts: string[] = [row.unit, row.name, row.op.toString(16)]
  if (row.pp !== undefined) parts.push(`pp${row.pp.toString(16)}`)
  if (row.reg !== undefined) parts.push(`/${row.reg}`)
  if (row.rm !== undefined) parts.push(`rm${row.rm}`)
  if (row.w !== undefined) parts.push(`w${row.w}`)
  if (row.mod !== undefined) parts.push(`mod-${row.mod}`)
  parts.push(row.form)
  return parts.join(' ')
}

/** All groups, in table order. */
export function allGroups(): Group[] {
  const groups: Group[] = []
  for (const row of ROWS) {
    if (!userCanExecute(row)) continue
    for (const mode of modesOf(row)) groups.push(...groupsOf(row, mode))
  }
  return groups
}

/** Integer rows run in both modes, for the addressing and stack rules differ; the others have nothing that depends on it. */
function modesOf(row: Row): (32 | 64)[] {
  if (row.mode === '!64') return [32]
  if (row.mode === '64' || (row.unit !== 'int' && row.unit !== 'sys')) return [64]
  return [64, 32]
}

function groupsOf(row: Row, mode: 32 | 64): Group[] {
  const groups: Group[] = []
  const string = row.form.startsWith('str')
  for (const size of sizesOf(row, mode)) {
    for (const place of placesOf(row)) {
      for (const repeat of string ? [0, 0xf3, 0xf2] as const : [0] as const) {
        const key = [rowKey(row), mode, size, place, ...(string ? [repeat.toString(16)] : [])].join(' ')
        groups.push({ key, row, mode, size, place, repeat })
      }
    }
  }
  return groups
}

/** Opcode family for the printed counts and the data file. */
export function unitOf(group: Group): string { return group.mode === 32 ? `${group.row.unit}-32` : group.row.unit }
