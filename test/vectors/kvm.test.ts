/**
 * The processor underneath against the stored results, by way of KVM in user mode: tells that KVM as this project sets it up is the same processor as the one
 * the vectors come from, and that the vectors' set-up for the software CPU holds for hardware. `npm test` takes some of each form, `npm run test:full` all.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { probeKvm, readKvmHost } from '../../host/kvm-device.ts'
import { allGroups, unitOf, VECTORS_PER_GROUP } from './groups.ts'
import { KvmExecutor } from './kvm.ts'
import { replay } from './replay.ts'
import type { Report } from './replay.ts'

const UNITS = [...new Set(allGroups().map(unitOf))]
const PER_FORM = process.env['MESOVIRT_TEST_FULL'] === '1' ? VECTORS_PER_GROUP : 20
/** Of a form's vectors, how many the processor itself has to run; of a family's, how many may be left to KVM's emulator. */
const LEAST_OF_FORM = 0.5, MOST_DECLINED = 0.05
const LIMIT_MS = 600_000

const problem = process.platform === 'linux' ? probeKvm(readKvmHost())?.what : 'KVM is Linux\'s'
const mayRun = problem === undefined || (process.env['CI'] !== undefined && process.platform === 'linux')

describe.skipIf(!mayRun)(`vectors on KVM${problem === undefined ? '' : ` (${problem})`}`, () => {
  let executor: KvmExecutor
  const reports = new Map<string, Report>()
  const compared = ({ counts }: Report) => [...counts.values()].reduce((sum, count) => sum + count, 0)

  beforeAll(() => { executor = new KvmExecutor() })
  afterAll(() => {
    executor.close()
    const lines = [...reports].map(([unit, report]) => {
      const left = report.notTaken.length > 0 ? `, ${report.notTaken.length} forms not possible here` : ''
      return `  ${unit.padEnd(8)}${String(report.counts.size - report.notTaken.length).padStart(6)} forms${String(compared(report)).padStart(9)} vectors, ${report.declined} left to the emulator${left}`
    })
    console.log(`instruction vectors on KVM\n${lines.join('\n')}`)
  })

  test.each(UNITS)('%s agree', (unit) => {
    const report = replay(executor, unit, { path: 'run', specialised: true }, 1, '', PER_FORM)

    reports.set(unit, report)
    expect(report.stale, 'generator and data no longer belong together: npm run vectors').toEqual([])
    expect(report.disagreements.map((each) => `${each.group}: ${each.wrong}/${each.of}: ${each.examples[0] ?? ''}`)).toEqual([])
    const few = [...report.counts].filter(([key, count]) => count < PER_FORM * LEAST_OF_FORM && !report.notTaken.includes(key))
    expect(few, 'forms that KVM\'s emulator runs').toEqual([])
    expect(report.declined).toBeLessThanOrEqual(compared(report) * MOST_DECLINED)
  }, LIMIT_MS)

  test('64-bit code of every family is among them', () => {
    const families = [...reports].filter(([, report]) => compared(report) > 0).map(([unit]) => unit)

    expect(families).toEqual(expect.arrayContaining(['int', 'x87', 'mmx', 'sse']))
  })
})
