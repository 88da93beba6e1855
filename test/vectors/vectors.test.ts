/** The software CPU against results of a real processor: every stored vector, by four ways through the core. */
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ROWS } from '../../hypervisor/tcg/isa/table.ts'
import { CoreExecutor } from './core.ts'
import type { Mode } from './core.ts'
import { allGroups, unitOf, userCanExecute } from './groups.ts'
import { replay } from './replay.ts'

const VECTORS_PER_FORM = 200
const WASM = path.resolve(import.meta.dirname, '../../dist/core.wasm')
const UNITS = [...new Set(allGroups().map(unitOf))]
const MODES: readonly (readonly [string, Mode])[] = [
  ['instruction by instruction, fast handlers', { path: 'step', specialised: true }],
  ['instruction by instruction, generic handlers', { path: 'step', specialised: false }],
  ['as blocks with delivery of the exception, fast handlers', { path: 'run', specialised: true }],
  ['as blocks with delivery of the exception, generic handlers', { path: 'run', specialised: false }],
]

let core: CoreExecutor
const counts = new Map<string, number>()
beforeAll(() => { core = new CoreExecutor(WASM) })

afterAll(() => {
  const lines = UNITS.map((unit) => {
    const forms = allGroups().filter((group) => unitOf(group) === unit)
    const vectors = forms.reduce((sum, group) => sum + (counts.get(group.key) ?? 0), 0)
    const rows = new Set(forms.map((group) => group.row)).size
    return `  ${unit.padEnd(8)}${String(rows).padStart(5)} rows${String(forms.length).padStart(6)} forms${String(vectors).padStart(9)} vectors`
  })
  console.log(`instruction vectors\n${lines.join('\n')}`)
})

describe.each(UNITS)('%s vectors', (unit) => {
  test.each(MODES)('agree with silicon, %s', (_name, mode) => {
    const report = replay(core, unit, mode)

    for (const [key, count] of report.counts) counts.set(key, count)
    expect(report.stale, 'generator and data no longer belong together: npm run vectors').toEqual([])
    expect(report.disagreements.map((each) => `${each.group}: ${each.wrong}/${each.of}: ${each.examples[0] ?? ''}`)).toEqual([])
  }, 120_000)

  test('are at least 200 for each row and operand form', () => {
    const missing = allGroups().filter((group) => unitOf(group) === unit && (counts.get(group.key) ?? 0) < VECTORS_PER_FORM)

    expect(missing.map((group) => group.key)).toEqual([])
  })
})

describe('translated to WebAssembly', () => {
  const EVERY = 40 // each vector is a module of its own
  test.each(UNITS)('%s vectors agree with silicon', (unit) => {
    const report = replay(new CoreExecutor(WASM, true), unit, { path: 'run', specialised: true }, 1, '', EVERY)

    expect(report.disagreements.map((each) => `${each.group}: ${each.wrong}: ${each.examples[0] ?? ''}`)).toEqual([])
  }, 300_000)
})

test('every row that user mode can execute has vectors', () => {
  const covered = new Set(allGroups().map((group) => group.row))

  const missing = ROWS.filter((row) => userCanExecute(row) && !covered.has(row))

  expect(missing.map((row) => `${row.name} ${row.op.toString(16)} ${row.form}`)).toEqual([])
})
