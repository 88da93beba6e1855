/** Runs that repeat exactly (-icount), and the boot's timeline (-trace boot). */
import { describe, expect, it } from 'vitest'
import { bareMachine, marking, timing } from './support/bare-guest.ts'
import { GREETING, linux, Run, scratch } from './support/vm.ts'

async function saidUntil(argv: readonly string[], end: string): Promise<string> {
  const vm = new Run(argv)
  const text = await vm.out.until(end)
  await vm.kill()
  return text
}

describe('-icount', () => {
  it('counts the same instructions in every run of a guest that reads its clock', async () => {
    const argv = [...bareMachine(scratch(), timing()), '-icount', 'shift=3,sleep=off']
    const first = await saidUntil(argv, 'done\n')
    const second = await saidUntil(argv, 'done\n')
    const counts = first.trim().split('\n').slice(0, -1).map((line) => Number.parseInt(line, 2))
    expect(counts).toHaveLength(32)
    const steps = counts.slice(1).map((count, index) => count - (counts[index] as number))
    expect(Math.min(...steps)).toBeGreaterThan(0)
    expect(new Set(steps.slice(1)).size).toBe(1)
    expect(second).toBe(first)
  })

  it('boots Linux with the same console output, time stamps included, in every run', async () => {
    const argv = linux({ append: 'console=ttyS0 panic=1', args: ['-icount', 'shift=3,sleep=off', '-smp', '2'] })
    const first = await saidUntil(argv, GREETING)
    const second = await saidUntil(argv, GREETING)
    expect(first).toMatch(/\[ {4}\d\.\d{6}\]/)
    expect(second).toBe(first)
  })
})

describe('-trace boot', () => {
  it('prints a line per marker of the guest, with its time', async () => {
    const vm = new Run([...bareMachine(scratch(), marking()), '-trace', 'boot'])
    await vm.out.until('marked')
    await vm.err.until(/user space reached \(port 0x3ff, 2\)/)
    vm.child.kill('SIGTERM')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    const lines = vm.err.all.trim().split(/\r?\n/)
    expect(lines.map((line) => line.replace(/^boot +\d+\.\d{6} s +/, ''))).toEqual([
      'kernel start (port 0x3ff, 1)', 'user space reached (port 0x80, 65)', 'user space reached (port 0x3ff, 2)'])
    const times = lines.map((line) => Number(/\d+\.\d{6}/.exec(line)?.[0]))
    expect(times).toEqual([...times].sort((a, b) => a - b))
  })
})
