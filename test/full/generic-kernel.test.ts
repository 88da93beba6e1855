/** Debian's generic kernel (linux-image-amd64) as bzImage and as ELF: to the same shell, twice in a row with a reset by QMP between. */
import { expect, it } from 'vitest'
import { GREETING, guests, linux, PROMPT, Run, withMonitor } from '../support/vm.ts'

const { kernel, vmlinux, initrd } = guests.generic
/** The bzImage is XZ-compressed: its own decompressor runs some 4 G instructions first. */
const PATIENCE_MS = 20 * 60_000

it.each([['bzImage', kernel, 'off'], ['bzImage unpacked on the host', kernel, 'on'], ['ELF', vmlinux, 'auto']])('boots from the %s twice in a row, with system_reset between', async (_, file, unpack) => {
  const { vm, qmp } = await withMonitor(linux({ kernel: file, initrd, args: ['-machine', `microvm,unpack-kernel=${unpack}`] }))
  for (const boot of [1, 2]) {
    await vm.out.until(GREETING, PATIENCE_MS)
    await vm.out.until(PROMPT)
    expect(await vm.shell('uname -r')).toMatch(/^\d+\.\d+\.\d+-\d+-amd64$/)
    expect(await vm.shell('dmesg | grep -ciE "call trace|oops|BUG:|general protection|rcu.*stall"')).toBe('0')
    if (boot === 1) await qmp.run('system_reset')
  }
  vm.type('exit\n')
  expect(await qmp.event('SHUTDOWN')).toMatchObject({ data: { guest: true, reason: 'guest-shutdown' } })
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(qmp.eventNames).toEqual(['RESET', 'SHUTDOWN'])
}, 3 * PATIENCE_MS)

it('brings up four processors', async () => {
  const vm = new Run(linux({ kernel: vmlinux, initrd, args: ['-smp', '4'] }))
  await vm.out.until(PROMPT, PATIENCE_MS)
  expect(await vm.shell('nproc')).toBe('4')
  expect(await vm.shell('for n in 0 1 2 3; do taskset $((1 << n)) sh -c "echo on $n"; done')).toBe('on 0\non 1\non 2\non 3')
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
}, 2 * PATIENCE_MS)

it('prints the markers of its boot with -trace boot', async () => {
  const vm = new Run(linux({ kernel: vmlinux, initrd, args: ['-trace', 'boot'] }))
  await vm.out.until(PROMPT, PATIENCE_MS)
  await vm.err.until(/^boot +\d+\.\d{6} s +user space reached \(port 0x3ff, 2\)/m)
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
}, 2 * PATIENCE_MS)
