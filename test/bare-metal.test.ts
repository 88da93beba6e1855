/** The bare-metal guest (test/guest) checks the processor it runs on; here that is our software CPU, through the binary, with one and with four vCPUs. */
import { spawnSync } from 'node:child_process'
import { beforeAll, expect, it } from 'vitest'
import { buildGuest, parseReport } from './guest/build.ts'
import { describeWhere } from './support/optional.ts'
import { MESOVIRT } from './support/vm.ts'

const HAS_BINUTILS = ['as', 'ld'].every((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0)
/** Fewer than this and a suite got lost. */
const LEAST_CHECKS = 900
/** Runs of several processors hold those of one, and the checks between processors. */
const SMP_CHECKS = 14

function run(...argv: string[]): string {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [MESOVIRT, '-machine', 'microvm', '-accel', 'tcg', '-m', '128', '-serial', 'stdio', ...argv],
    { encoding: 'utf8', input: '', timeout: 550_000, killSignal: 'SIGKILL' })
  expect({ status, signal }, `${stdout.slice(-2000)}\n${stderr}`).toEqual({ status: 0, signal: null })
  return stdout
}

/** "apic 64, boot 2 ...": how many checks of each suite passed. */
function perSuite(names: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const name of names) {
    const suite = name.split('.')[0] as string
    counts.set(suite, (counts.get(suite) ?? 0) + 1)
  }
  return [...counts].sort().map(([suite, count]) => `${suite} ${count}`).join(', ')
}

describeWhere(HAS_BINUTILS, 'binutils (as, ld), to be had with apt-get install binutils', 'the bare-metal guest on the software CPU', () => {
  let elf = ''
  beforeAll(() => { elf = buildGuest() })

  it.each([1, 2, 4])('passes every check with %i vCPUs', (cpus) => {
    const report = parseReport(run('-kernel', elf, '-smp', String(cpus)))
    process.stdout.write(`bare-metal guest, ${cpus} vCPUs: ${report.passed.length} checks passed (${perSuite(report.passed)})\n`)
    expect(report.failed).toEqual([])
    expect(report.skipped).toEqual(cpus === 1 ? ['smp'] : [])
    expect(report.complete).toBe(true)
    expect(report.passed.length).toBeGreaterThanOrEqual(LEAST_CHECKS)
    expect(report.passed.filter((name) => name.startsWith('smp.')).length).toBe(cpus === 1 ? 1 : SMP_CHECKS)
  })

  it('passes when instructions are the clock, and says the same twice', () => {
    const argv = ['-kernel', elf, '-smp', '2', '-icount', 'shift=3,sleep=off']
    const first = run(...argv)
    const second = run(...argv)
    expect(parseReport(first).failed).toEqual([])
    expect(parseReport(first).complete).toBe(true)
    expect(second).toBe(first)
  })
})
