/** The bare-metal guest (test/guest) checks the processor it runs on, through the binary, with one, two and four vCPUs. */
import { spawnSync } from 'node:child_process'
import { beforeAll, expect, it } from 'vitest'
import { buildGuest, kvmDeviates, parseReport, qemuDeviates } from './guest/build.ts'
import { ACCELERATOR, IS_IN_LAB } from './support/accelerator.ts'
import { describeWhere } from './support/optional.ts'
import { MESOVIRT } from './support/vm.ts'

/** Fewer than this and a suite got lost. */
const LEAST_CHECKS = 900
/** Runs of several processors hold those of one, and the checks between processors. */
const SMP_CHECKS = 14
/** Litmus tests of memory order and exact counts, with two processors and with more. */
const LITMUS_CHECKS = { 2: 16, 4: 18 } as const

function run(accelerator: string, ...argv: string[]): string {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [MESOVIRT, '-machine', 'microvm', '-accel', accelerator, '-m', '128', '-serial', 'stdio', ...argv],
    { encoding: 'utf8', input: '', timeout: IS_IN_LAB ? 1_600_000 : 550_000, killSignal: 'SIGKILL' })
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

/** In the lab the processor is QEMU's. The guest is told, and leaves out what it would not survive. */
const ON_QEMU = IS_IN_LAB ? ['-append', 'qemu'] : []
/** What is known to be the mistake of QEMU's processor or the way of KVM is no failure of ours. */
const isOurs = (name: string): boolean => !(IS_IN_LAB && qemuDeviates(name)) && !(ACCELERATOR === 'kvm' && kvmDeviates(name))

/** The lab has no binutils, but the guest, built outside. */
const HAS_GUEST = IS_IN_LAB || ['as', 'ld'].every((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0)

describeWhere(HAS_GUEST, 'binutils (as, ld), to be had with apt-get install binutils', `the bare-metal guest on ${ACCELERATOR}`, () => {
  let elf = ''
  beforeAll(() => { elf = buildGuest() })

  it.each([1, 2, 4])('passes every check with %i vCPUs', (cpus) => check(cpus, ACCELERATOR))
  if (ACCELERATOR === 'tcg') it.each([2, 4])('passes every check with %i vCPUs, each in a thread of its own', (cpus) => check(cpus, 'tcg,thread=multi'))

  function check(cpus: number, accelerator: string): void {
    const output = run(accelerator, '-kernel', elf, '-smp', String(cpus), ...ON_QEMU)
    const report = parseReport(output)
    process.stdout.write(`bare-metal guest, ${cpus} vCPUs: ${report.passed.length} checks passed (${perSuite(report.passed)})\n`)
    expect(report.complete, `the guest ended early: ${JSON.stringify(output.slice(-300))}`).toBe(true)
    expect(report.failed.filter((line) => isOurs(line.split(' ')[1] ?? ''))).toEqual([])
    expect(report.skipped.filter((name) => name === 'smp' || isOurs(name))).toEqual(cpus === 1 ? ['smp'] : [])
    expect(report.passed.length + report.failed.length).toBeGreaterThanOrEqual(LEAST_CHECKS)
    const made = (suite: string): number => [...report.passed, ...report.failed.map((line) => line.slice('FAIL '.length))].filter((name) => name.startsWith(`${suite}.`)).length
    expect(made('smp')).toBe(cpus === 1 ? 1 : SMP_CHECKS)
    expect(made('litmus')).toBe(cpus === 1 ? 0 : LITMUS_CHECKS[cpus === 2 ? 2 : 4])
  }
})
