/** The bare-metal guest (test/guest) with -icount, which only the software CPU has. */
import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { buildGuest, parseReport } from './guest/build.ts'
import { describeWhere } from './support/optional.ts'
import { MESOVIRT } from './support/vm.ts'

const HAS_BINUTILS = ['as', 'ld'].every((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0)

describeWhere(HAS_BINUTILS, 'binutils (as, ld), to be had with apt-get install binutils', 'the bare-metal guest with -icount', () => {
  it('passes when instructions are the clock, and says the same twice', () => {
    const elf = buildGuest()
    const run = (): string => {
      const { status, signal, stdout, stderr } = spawnSync(process.execPath, [MESOVIRT, '-machine', 'microvm', '-accel', 'tcg', '-m', '128', '-serial', 'stdio',
        '-kernel', elf, '-smp', '2', '-icount', 'shift=3,sleep=off'], { encoding: 'utf8', input: '', timeout: 550_000, killSignal: 'SIGKILL' })
      expect({ status, signal }, `${stdout.slice(-2000)}\n${stderr}`).toEqual({ status: 0, signal: null })
      return stdout
    }
    const first = run()
    const second = run()
    expect(parseReport(first).failed).toEqual([])
    expect(parseReport(first).complete).toBe(true)
    expect(second).toBe(first)
  })
})
