/**
 * SIMD rows against a real processor: digests of its results (sse-silicon.ts) must come out of the WebAssembly build of core/sse.ts,
 * and the rows must be a consistent table.
 */
import { createHash } from 'node:crypto'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import * as ops from '../core/sse-ops.ts'
import { MMX_ROWS } from './rows-mmx.ts'
import { SSE_ROWS } from './rows-sse.ts'
import type { Row } from './row.ts'
import {
  CASE_BYTES, CASE_FLAGS, CASE_MXCSR, CASE_VECTOR, CODE_LENGTH, MEMORY, MM1, MM2, RAX, XMM0, caseCount, casesOf, rowKey, setsFlags,
} from './sse-cases.ts'
import type { Case } from './sse-cases.ts'
import { SILICON } from './sse-silicon.ts'

const ROWS: readonly Row[] = [...SSE_ROWS, ...MMX_ROWS]
const NUMBERS = ops as Readonly<Record<string, number>>
const root = path.resolve(import.meta.dirname, '../../..')

// Offsets of core/layout.ts.
const CPU = 0x20000, GPR = CPU, XMM = CPU + 1024, MXCSR = CPU + 1280, FPR = CPU + 1344, BUFFER = CPU + 2048
const ARITHMETIC_FLAGS = 0x8d5

interface Core {
  sseOp(cpu: number, op: number, d: number, s: number, imm: number): number
  flagsOf(cpu: number): number
}
/** Node's WebAssembly: its types come without the constructors unless the DOM library is in. */
const wasm = (globalThis as unknown as { WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object, imports: object) => { exports: unknown }
  Memory: new (limits: { initial: number, maximum: number, shared: boolean }) => { buffer: SharedArrayBuffer }
} }).WebAssembly
let core: Core
let memory: Buffer

/** Where the operand of a form token lives. */
function place(token: string, rm: Case['rm']): number {
  if (token === 'V') return XMM + 16
  if (token === 'P') return FPR + 16
  if (token === 'G') return GPR + 8
  if (rm === 'memory') return BUFFER
  const index = rm === 'alias' ? 1 : 2
  return /^[WU]/.test(token) ? XMM + index * 16 : /^[QN]/.test(token) ? FPR + index * 16 : GPR + index * 8
}

/** Executes a case; the state after it, without the code bytes. */
function execute({ row, rm, imm, state }: Case): Buffer {
  state.copy(memory, XMM, XMM0, XMM0 + 48)
  state.copy(memory, FPR + 16, MM1, MM1 + 8)
  state.copy(memory, FPR + 32, MM2, MM2 + 8)
  state.copy(memory, GPR, RAX, RAX + 24)
  state.copy(memory, MXCSR, CASE_MXCSR, CASE_MXCSR + 4)
  const tokens = row.form.split(',').filter((token) => token !== 'Ib')
  const operand = tokens.findIndex((token) => /^[WMQE]/.test(token))
  const size = Number(/\d+/.exec(tokens[operand] ?? '')?.[0] ?? 0)
  memory.fill(0xcc, BUFFER, BUFFER + 16)
  if (rm === 'memory' && operand > 0) state.copy(memory, BUFFER, MEMORY, MEMORY + size)
  const d = place(tokens[0] ?? '', rm)
  const vector = core.sseOp(CPU, NUMBERS[row.handler] ?? -1, d, tokens[1] === undefined ? d : place(tokens[1], rm), imm)
  const after = Buffer.from(state)
  after.fill(0, 0, XMM0)
  memory.copy(after, XMM0, XMM, XMM + 48)
  memory.copy(after, MM1, FPR + 16, FPR + 24)
  memory.copy(after, MM2, FPR + 32, FPR + 40)
  memory.copy(after, RAX, GPR, GPR + 24)
  memory.copy(after, CASE_MXCSR, MXCSR, MXCSR + 4)
  if (rm === 'memory' && operand === 0 && vector === 0) memory.copy(after, MEMORY, BUFFER, BUFFER + size)
  after.writeUInt16LE(setsFlags(row) && vector === 0 ? core.flagsOf(CPU) & ARITHMETIC_FLAGS : 0, CASE_FLAGS)
  after[CASE_VECTOR] = vector
  after[CODE_LENGTH] = 0
  return after
}

beforeAll(() => {
  const folder = path.join(root, '.cache/sse-test')
  fs.mkdirSync(folder, { recursive: true })
  const entry = path.join(folder, 'entry.ts'), output = path.join(folder, 'sse.wasm')
  fs.writeFileSync(entry, "export { sseOp } from '../../hypervisor/tcg/core/sse'\nexport { getFlags as flagsOf } from '../../hypervisor/tcg/core/flags'\n")
  const result = spawnSync(process.execPath, [path.join(root, 'node_modules/assemblyscript/bin/asc.js'), path.relative(root, entry), '-o', output,
    '-O1', '--noAssert', '--runtime', 'stub', '--importMemory', '--sharedMemory', '--initialMemory', '16', '--maximumMemory', '16',
    '--enable', 'threads,simd,bulk-memory,sign-extension,nontrapping-f2i,mutable-globals', '--memoryBase', '1024', '--use', 'abort='],
  { cwd: root, encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`asc failed: ${result.stderr}`)
  const shared = new wasm.Memory({ initial: 16, maximum: 16, shared: true })
  core = new wasm.Instance(new wasm.Module(fs.readFileSync(output)), { env: { memory: shared } }).exports as Core
  memory = Buffer.from(shared.buffer)
})

describe('SIMD instructions', () => {
  test.each(ROWS.filter((row) => row.form !== 'maskmov' && row.tolerance === undefined).map((row) => [rowKey(row), row] as const))(
    '%s gives the results of a real processor', (key, row) => {
      const hash = createHash('sha256')
      for (const one of casesOf(row, caseCount(row))) hash.update(execute(one))
      expect(hash.digest('hex').slice(0, 12)).toBe(SILICON[key])
    })

  test.each(['RCPPS', 'RCPSS', 'RSQRTPS', 'RSQRTSS'])('%s is within 1.5 * 2^-12 of the true value', (name) => {
    const values = [1, 1.5, 3, 1e-30, 1e30, 0.1, 65535, 2 ** -126]
    for (const value of values) {
      memory.fill(0, XMM, XMM + 32)
      memory.writeFloatLE(value, XMM + 16)
      core.sseOp(CPU, NUMBERS[`SSE_${name}`] ?? -1, XMM, XMM + 16, 0)
      const exact = name.startsWith('RCP') ? 1 / Math.fround(value) : 1 / Math.sqrt(Math.fround(value))
      expect(Math.abs(memory.readFloatLE(XMM) / exact - 1)).toBeLessThan(1.5 * 2 ** -12)
    }
  })

  test('a number that is no operation gives #UD', () => {
    const vectors = [0, 154, 352, 599, 700].map((op) => core.sseOp(CPU, op, XMM, XMM + 16, 0))
    expect(vectors).toEqual([6, 6, 6, 6, 6])
  })
})

describe('SIMD rows', () => {
  test('name an operation number each, and every number has a row', () => {
    const used = new Set(ROWS.map((row) => row.handler))
    const known = Object.keys(NUMBERS).filter((name) => !name.endsWith('_FIRST'))
    expect([...used].filter((name) => !known.includes(name))).toEqual([])
    expect(known.filter((name) => !used.has(name))).toEqual([])
  })

  test('no two rows match the same instruction', () => {
    const clashes = ROWS.flatMap((a, i) => ROWS.slice(i + 1).filter((b) =>
      a.op === b.op && a.pp === b.pp && (a.reg === undefined || b.reg === undefined || a.reg === b.reg) &&
      (a.mod === undefined || b.mod === undefined || a.mod === b.mod) && (a.w === undefined || b.w === undefined || a.w === b.w)).map(rowKey))
    expect(clashes).toEqual([])
  })

  test('use the form vocabulary', () => {
    const token = '(?:[VUPNG]|[WM](?:1|2|4|8|16a?)|Q[48]|E[1248]|Ib)'
    expect(ROWS.filter((row) => !new RegExp(`^(?:maskmov|${token}(?:,${token}){1,2})$`).test(row.form)).map(rowKey)).toEqual([])
  })

  test('cases are whole records', () => {
    expect(new Set(ROWS.flatMap((row) => casesOf(row, 3)).map((one) => one.state.length))).toEqual(new Set([CASE_BYTES]))
  })
})
