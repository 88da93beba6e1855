/** -d: what the software CPU's guest does, line by line. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { elf } from '../boot-loader/synthetic-kernels.ts'
import { tripleFaulting } from './support/bare-guest.ts'
import { MESOVIRT, scratch } from './support/vm.ts'

/** lines of the process's own log */
const OWN = /\]: (INFO|WARN|ERROR): /
const ALL = 'int,cpu_reset,in_asm,exec,mmu,guest_errors,jit'

function run(kernel: Uint8Array, ...argv: string[]): { readonly status: number | null; readonly stderr: string; readonly stdout: string } {
  const file = path.join(scratch(), 'kernel')
  fs.writeFileSync(file, kernel)
  return spawnSync(process.execPath, [MESOVIRT, '-machine', 'microvm', '-accel', 'tcg', '-m', '128', '-kernel', file, '-serial', 'stdio', ...argv], { encoding: 'utf8', input: '', timeout: 60_000, killSignal: 'SIGKILL' })
}

describe('-d', () => {
  it('tells resets, code, blocks, translations and exceptions, in the file of -D', () => {
    const log = path.join(scratch(), 'log')
    const { status } = run(tripleFaulting('x'), '-d', ALL, '-D', log)
    expect(status).toBe(0)
    const lines = fs.readFileSync(log, 'utf8').split('\n').filter((line) => !OWN.test(line))
    expect(lines.filter((line) => line.startsWith('CPU Reset (CPU 0)')).length).toBeGreaterThan(0)
    expect(lines).toContainEqual(expect.stringMatching(/^IN: cpu=0 64-bit 0x0000000001000000: 66 ba f8 03 /))
    expect(lines).toContainEqual(expect.stringMatching(/^Trace 0: 0x0000000001000000 cpl=0 64-bit$/))
    expect(lines).toContainEqual(expect.stringMatching(/^mmu: cpu=0 fetch by kernel of 0x0000000001000000: 0x000001000000$/))
    expect(lines).toContainEqual(expect.stringMatching(/^ +0: v=06 e=0000 exception cpu=0 cpl=0 pc=[0-9a-f]{16} CR2=0{16}$/))
    expect(lines).toContainEqual('jit: all code dropped')
  })

  it('tells of registers that are not there, on standard error', () => {
    const { stderr } = run(elf({ code: Uint8Array.from([0xb9, 0x34, 0x12, 0, 0, 0x0f, 0x32, 0xf4]) }), '-d', 'guest_errors') // mov ecx, 0x1234; rdmsr; hlt
    expect(stderr).toMatch(/^guest_errors: cpu=0 RDMSR of 0x00001234, which is not there$/m)
  })

  it('says nothing that was not asked for', () => {
    const log = path.join(scratch(), 'log')
    run(tripleFaulting('x'), '-d', 'int', '-D', log)
    const lines = fs.readFileSync(log, 'utf8').trim().split('\n').filter((line) => !OWN.test(line))
    expect(lines.length).toBeGreaterThan(0)
    expect(lines.every((line) => /^ +\d+: v=/.test(line))).toBe(true)
  })
})
