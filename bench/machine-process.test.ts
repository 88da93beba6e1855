import { describe, expect, it } from 'vitest'
import { machineCommand, MachineProcess } from './machine-process.ts'

const run = (script: string) => new MachineProcess(process.execPath, ['-e', script])

describe('a machine under measurement', () => {
  it('gives the time of each text, in the order they come', async () => {
    const machine = run('process.stdout.write("one two"); process.stdin.once("data", (text) => { process.stdout.write("got " + text); process.exit() })')
    const first = await machine.waitFor('one')
    const second = await machine.waitFor('two')
    machine.write('three\n')
    const third = await machine.waitFor('got three')
    expect(first).toBeLessThanOrEqual(second)
    expect(second).toBeLessThanOrEqual(third)
    expect(await machine.exited).toBeGreaterThan(0)
  })

  it('does not find the same text twice', async () => {
    const machine = run('process.stdout.write("tick"); process.stdin.resume()')
    await machine.waitFor('tick')
    await expect(machine.waitFor('tick', 50)).rejects.toThrow('did not print "tick" within 0.05 s')
  })

  it('that ends early says what it said last', async () => {
    await expect(run('console.error("no such kernel")').waitFor('ready')).rejects.toThrow(/ended early.*no such kernel/s)
  })

  it('gets the same memory, kernel and command line on both sides', () => {
    const spec = { kernel: 'K', initrd: 'I', append: 'A', memory: 64 }
    const shared = ['-m', '64', '-kernel', 'K', '-initrd', 'I', '-append', 'A', '-serial', 'stdio']
    const [, ours] = machineCommand('ours', { dist: 'dist', flags: ['--flag'] }, spec)
    const [, qemu] = machineCommand('qemu', { dist: 'dist', flags: [] }, spec)
    expect(ours.slice(0, 2)).toEqual(['--flag', 'dist/mesovirt.js'])
    expect(ours.slice(-shared.length)).toEqual(shared)
    expect(qemu.slice(-shared.length)).toEqual(shared)
  })
})
