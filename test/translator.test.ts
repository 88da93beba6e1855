/** Translated guests do what interpreted ones do: the same output, the same number of instructions. */
import { spawnSync } from 'node:child_process'
import { beforeAll, expect, it } from 'vitest'
import { translateAtOnce } from '../hypervisor/tcg/translator/at-once.ts'
import { RegionTable } from '../hypervisor/tcg/translator/region-table.ts'
import { buildGuest, parseReport } from './guest/build.ts'
import { lockStep } from './lock-step/machines.ts'
import { runGuest } from './seeded-faults/bare-machine.ts'
import { describeWhere } from './support/optional.ts'
import { GREETING, linux, MESOVIRT, Run } from './support/vm.ts'

const HAS_BINUTILS = ['as', 'ld'].every((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0)
const CORE = 'dist/core.wasm'
const INSTRUCTION_LIMIT = 1_000_000_000n
const MODES = ['off', 'on', 'force'] as const

describeWhere(HAS_BINUTILS, 'binutils (as, ld), to be had with apt-get install binutils', 'the bare-metal guest, translated', () => {
  let elf = ''
  beforeAll(() => { elf = buildGuest() })

  it.each([{ cpus: 1, threshold: 1 }, { cpus: 2, threshold: 3 }])('prints the same and counts the same as interpreted, $cpus vCPUs, translated at execution $threshold', ({ cpus, threshold }) => {
    const interpreted = runGuest(CORE, elf, cpus, INSTRUCTION_LIMIT)
    let regions: RegionTable | undefined
    const translated = runGuest(CORE, elf, cpus, INSTRUCTION_LIMIT, (core, memory) => {
      regions = new RegionTable(core, memory)
      translateAtOnce(regions, core, threshold, { blocks: 40, uops: 300, heat: 0, farHeat: 0, farUops: 300 })
    })
    expect(parseReport(translated.output).failed).toEqual([])
    expect(translated).toEqual(interpreted)
    expect(regions?.installed).toBeGreaterThan(500)
  })

  it.each([1, 2])('leaves the same registers, flags and counts after every slice, and the same RAM, %i vCPUs', (cpus) => {
    const { difference, translated, instructions, console } = lockStep(CORE, { kernel: elf, commandLine: '', ram: 128 * 2 ** 20, shift: 3, cpus }, INSTRUCTION_LIMIT, 1)
    expect(difference).toBeUndefined()
    expect(parseReport(console).failed).toEqual([])
    expect(parseReport(console).passed.length).toBeGreaterThan(500)
    expect(translated).toBeGreaterThan(instructions / 10n)
  })

  it('says the same under -icount with the translator off, on and forced', () => {
    const outputs = MODES.map((mode) => {
      const { status, stdout, stderr } = spawnSync(process.execPath, [MESOVIRT, '-machine', 'microvm', '-accel', `tcg,translator=${mode}`, '-m', '128', '-serial', 'stdio',
        '-kernel', elf, '-smp', '2', '-icount', 'shift=3,sleep=off'], { encoding: 'utf8', input: '', timeout: 550_000, killSignal: 'SIGKILL' })
      expect(status, stderr).toBe(0)
      return stdout
    })
    expect(parseReport(outputs[0] as string).complete).toBe(true)
    expect(outputs[1]).toBe(outputs[0])
    expect(outputs[2]).toBe(outputs[0])
  })
})

it('Linux prints the same console, time stamps included, under -icount with the translator on and off', async () => {
  const texts: string[] = []
  for (const mode of ['off', 'on']) {
    const vm = new Run(linux({ append: 'console=ttyS0 panic=1', args: ['-accel', `tcg,translator=${mode}`, '-icount', 'shift=3,sleep=off'] }))
    texts.push(await vm.out.until(GREETING))
    await vm.kill()
  }
  expect(texts[1]).toBe(texts[0])
})
