/** Guests that write anything to any port and any address: the process goes on, answers its monitor and does not grow. */
import fs from 'node:fs'
import { expect, it } from 'vitest'
import { bareMachine, hammeringMemory, hammeringPorts, randomCode } from '../support/bare-guest.ts'
import { eventually, scratch, withMonitor } from '../support/vm.ts'

const MIB = 2 ** 20
const MOST_RESIDENT = (128 + 600) * MIB
/** A machine is looked at this often; each look stops the processor at another place. */
const LOOKS = 150

it.each<[string, () => Uint8Array]>([
  ['every I/O port, in all sizes', hammeringPorts],
  ['every page of the memory map, devices and holes included', hammeringMemory],
])('survives a guest that hammers %s', async (_, guest) => {
  const { vm, qmp } = await withMonitor([...bareMachine(scratch(), guest(), ['-serial', 'null']), '-no-shutdown', '-action', 'reboot=reset'])
  for (let look = 0; look < LOOKS; look++) {
    expect(await qmp.human('info registers')).toContain('RIP=')
    // It may have stopped its own processor for good (INIT), so it starts again from time to time, and whenever it powered off.
    if (look % 10 === 9 || await qmp.status() === 'shutdown') {
      await qmp.run('system_reset')
      await qmp.run('cont')
    }
    await new Promise((resolve) => setTimeout(resolve, 50)) // lets the guest do its worst; nothing depends on how much
  }
  expect(['running', 'shutdown']).toContain(await qmp.status())
  const resident = Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${vm.pid}/status`, 'utf8'))?.[1]) * 1024
  expect(resident).toBeLessThan(MOST_RESIDENT)
  await qmp.run('quit')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
}, 20 * 60_000)

it('survives guests of random bytes', async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const { vm, qmp } = await withMonitor([...bareMachine(scratch(), randomCode(seed), ['-serial', 'null']), '-no-shutdown', '-S'])
    await qmp.run('cont')
    const ended = await eventually(`an answer of guest ${seed}`, async () => {
      const registers = await qmp.human('info registers').catch(() => undefined)
      return registers?.includes('RIP=') ?? 'ended'
    })
    if (ended !== 'ended') await qmp.run('quit').catch(() => undefined)
    const exit = await vm.end()
    expect(exit.signal, `guest ${seed}`).toBeNull()
    expect(vm.err.all, `guest ${seed}`).not.toMatch(/internal error/)
    // A kernel that dies before it touches a device is said to be none, with status 1.
    expect(exit.status === 0 || /^mesovirt: -kernel [^\n]*\n$/.test(vm.err.all), `guest ${seed}: status ${exit.status} ${vm.err.all}`).toBe(true)
  }
}, 20 * 60_000)
