/** A second opinion on the bare-metal guest: QEMU's processor. A check that fails there and is not a known deviation of QEMU's is wrong itself. */
import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { buildGuest, parseReport, qemuDeviates, runQemu } from '../guest/build.ts'
import { describeWhere } from '../support/optional.ts'

const has = (tool: string): boolean => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0

describeWhere(has('qemu-system-x86_64') && has('as') && has('ld'), 'qemu-system-x86_64 or binutils', 'the bare-metal guest on QEMU', () => {
  it.each([1, 4])('fails only the checks of qemu-deviates.txt with %i vCPUs', (cpus) => {
    const report = runQemu(buildGuest(), cpus)
    expect(report.failed.filter((line) => !qemuDeviates(line.split(' ')[1] ?? ''))).toEqual([])
    expect(report.complete).toBe(true)
    expect(report.passed.length).toBeGreaterThan(700)
  })

  it('is read back as it was printed', () => {
    expect(parseReport('ok a\r\nFAIL b got=1 want=2\r\nskip c\r\nDONE pass=1 fail=1\r\n'))
      .toEqual({ passed: ['a'], failed: ['FAIL b got=1 want=2'], skipped: ['c'], complete: true })
  })
})
