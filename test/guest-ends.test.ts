/** What a guest that resets, powers off or shuts its processor down leads to, by -action and its short forms. */
import { describe, expect, it } from 'vitest'
import { bareMachine, resetting, tripleFaulting } from './support/bare-guest.ts'
import { GREETING, linux, PROMPT, Run, scratch, withMonitor } from './support/vm.ts'

const GUEST_RESET = { event: 'SHUTDOWN', data: { guest: true, reason: 'guest-reset' } }

describe('reboot -f in Linux', () => {
  it('ends the machine with status 0', async () => {
    const { vm, qmp } = await withMonitor(linux())
    await vm.out.until(PROMPT)
    vm.type('reboot -f\n')
    expect(await qmp.event('SHUTDOWN')).toMatchObject(GUEST_RESET)
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    expect(qmp.eventNames).toEqual(['SHUTDOWN'])
  })

  it.each(['reboot=k', 'reboot=t', 'reboot=a'])('ends it too with %s', async (way) => {
    const vm = new Run(linux({ append: `console=ttyS0 panic=1 quiet ${way}` }))
    await vm.out.until(PROMPT)
    vm.type('reboot -f\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('starts again with -action reboot=reset', async () => {
    const { vm, qmp } = await withMonitor(linux({ args: ['-action', 'reboot=reset'] }))
    await vm.out.until(PROMPT)
    vm.type('reboot -f\n')
    expect(await qmp.event('RESET')).toMatchObject({ data: { guest: true, reason: 'guest-reset' } })
    await vm.out.until(GREETING)
    await vm.out.until(PROMPT)
    vm.type('exit\n')
    expect(await qmp.event('SHUTDOWN')).toMatchObject({ data: { guest: true, reason: 'guest-shutdown' } })
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    expect(qmp.eventNames).toEqual(['RESET', 'SHUTDOWN'])
  })
})

describe('exit in Linux', () => {
  it('with -no-shutdown leaves the machine paused in shutdown, for a look and a reset', async () => {
    const { vm, qmp } = await withMonitor(linux({ args: ['-no-shutdown'] }))
    await vm.out.until(PROMPT)
    vm.type('exit\n')
    expect(await qmp.event('SHUTDOWN')).toMatchObject({ data: { guest: true, reason: 'guest-shutdown' } })
    await qmp.event('STOP')
    expect(await qmp.run('query-status')).toMatchObject({ running: false, status: 'shutdown' })
    expect(await qmp.human('info registers')).toContain('RIP=')
    await expect(qmp.run('cont')).rejects.toThrow(/GenericError/)
    await qmp.run('system_reset')
    await qmp.run('cont')
    await vm.out.until(PROMPT)
    await qmp.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})

describe.each<[string, (text: string) => Uint8Array]>([['a triple fault', tripleFaulting], ['the reset line of the keyboard controller', resetting]])('%s', (_, guest) => {
  it('is a reset by the guest: the machine ends with status 0', async () => {
    const { vm, qmp } = await withMonitor([...bareMachine(scratch(), guest('going\n')), '-S'])
    await qmp.run('cont')
    expect(await qmp.event('SHUTDOWN')).toMatchObject(GUEST_RESET)
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    expect(vm.out.all).toBe('going\n')
  })

  it('starts again with -action reboot=reset', async () => {
    const { vm, qmp } = await withMonitor([...bareMachine(scratch(), guest('going\n')), '-action', 'reboot=reset'])
    for (let round = 0; round < 5; round++) await vm.out.until('going')
    expect(await qmp.event('RESET')).toMatchObject({ data: { guest: true, reason: 'guest-reset' } })
    await qmp.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('with -no-shutdown leaves the machine paused in shutdown', async () => {
    const { vm, qmp } = await withMonitor([...bareMachine(scratch(), guest('going\n')), '-no-shutdown', '-S'])
    await qmp.run('cont')
    expect(await qmp.event('SHUTDOWN')).toMatchObject(GUEST_RESET)
    await qmp.event('STOP')
    expect(await qmp.status()).toBe('shutdown')
    await qmp.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})
