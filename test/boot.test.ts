/** Debian's stock kernels boot to a shell through a pipe, as a script drives them, and leave as they should. */
import { describe, expect, it } from 'vitest'
import { ACCELERATOR } from './support/accelerator.ts'
import { GREETING, guests, linux, PROMPT, Run } from './support/vm.ts'

describe('the cloud kernel', () => {
  it('boots to a shell that answers, and powers off on exit with status 0', async () => {
    const vm = new Run(linux())
    await vm.out.until(GREETING)
    await vm.out.until(PROMPT)
    expect(await vm.shell('uname -a')).toMatch(/^Linux mesovirt \S+-cloud-amd64 .* x86_64 GNU\/Linux$/)
    expect(await vm.shell('echo $((6 * 7)) $(cat /proc/cmdline)')).toBe('42 console=ttyS0 panic=1 quiet')
    vm.type('exit\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    expect(vm.err.all).toBe('')
  })

  it('finds the memory, the processor and the interrupt controllers it was given', async () => {
    const vm = new Run(linux({ args: ['-m', '512'] }))
    await vm.out.until(PROMPT)
    const kilobytes = Number(/MemTotal:\s+(\d+) kB/.exec(await vm.shell('cat /proc/meminfo'))?.[1])
    expect(kilobytes).toBeGreaterThan(400 * 1024)
    expect(kilobytes).toBeLessThanOrEqual(512 * 1024)
    expect(await vm.shell('nproc')).toBe('1')
    expect(await vm.shell('cat /proc/interrupts')).toMatch(/IO-APIC.*ttyS0/)
    expect(await vm.shell('dmesg | grep -ciE "call trace|oops|BUG:|general protection"')).toBe('0')
    vm.type('exit\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('keeps what a script pipes in until the guest listens, and the end of input does not end the machine', async () => {
    const vm = new Run(linux())
    vm.type('uname -a\necho last-$((40 + 2))\nexit\n')
    vm.endOfInput()
    await vm.out.until(/Linux mesovirt \S+-cloud-amd64 .* x86_64/)
    await vm.out.until('last-42')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('runs on although its input ended at once', async () => {
    const vm = new Run(linux())
    vm.endOfInput()
    await vm.out.until(PROMPT)
    vm.child.kill('SIGTERM')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('loses nothing of a long paste', async () => {
    const vm = new Run(linux())
    await vm.out.until(PROMPT)
    const lines = Array.from({ length: 200 }, (_, index) => `line ${index} of a long paste that the guest reads at its own pace`)
    vm.type(`cat >/tmp/paste <<'THE-END'\n${lines.join('\n')}\nTHE-END\nwc -l -c </tmp/paste | tr -s ' ' ':'; echo count-$((6 * 7))\n`)
    const text = await vm.out.until('count-42')
    expect(text).toContain(`:${lines.length}:${lines.join('\n').length + 1}`)
    vm.type('exit\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it.each([['unpacks itself', 'off'], ['is unpacked on the host', 'on']])('boots as bzImage, which %s', async (_, unpack) => {
    const vm = new Run(linux({ kernel: guests.cloud.kernel, args: ['-machine', `microvm,unpack-kernel=${unpack}`] }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('uname -r')).toMatch(/-cloud-amd64$/)
    // A kernel that was entered by its PVH note notes Xen's number for its boot loader; one that unpacked itself finds ours, "other", in its setup header.
    expect(await vm.shell('cat /proc/sys/kernel/bootloader_type')).toBe(unpack === 'on' ? '176' : '255')
    vm.type('exit\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  const modes = ACCELERATOR === 'tcg' ? ['tcg,thread=single', 'tcg,thread=multi'] : [ACCELERATOR]
  it.each(modes)('brings up four processors on %s', async (accelerator) => {
    const vm = new Run(linux({ args: ['-smp', '4', '-accel', accelerator] }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('nproc')).toBe('4')
    // On kvm the time stamp counter is the host's, and may be of the kind that Linux gives up.
    const complaints = ACCELERATOR === 'tcg' ? 'tsc.*(warp|unstable)|call trace|BUG:' : 'call trace|BUG:'
    expect(await vm.shell(`dmesg | grep -ciE "${complaints}"`)).toBe('0')
    expect(await vm.shell('for n in 0 1 2 3; do taskset $((1 << n)) sh -c "echo on $n"; done')).toBe('on 0\non 1\non 2\non 3')
    vm.type('exit\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('boots without ACPI, where it knows no MP table and keeps to the PIC', async () => {
    const vm = new Run(linux({ append: 'console=ttyS0 panic=1 quiet acpi=off' }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('cat /proc/interrupts')).toMatch(/XT-PIC +ttyS0/)
    vm.type('reboot -f\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('halts at exit without ACPI, since nothing else can power it off; a signal ends the machine', async () => {
    const vm = new Run(linux({ append: 'console=ttyS0 panic=1 quiet acpi=off' }))
    await vm.out.until(PROMPT)
    vm.type('exit\n')
    await vm.out.until('System halted')
    vm.child.kill('SIGTERM')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})

describe('the generic kernel', () => {
  it('boots as ELF to the same shell', async () => {
    const vm = new Run(linux({ kernel: guests.generic.vmlinux, initrd: guests.generic.initrd }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('uname -r')).toMatch(/^\d+\.\d+\.\d+-\d+-amd64$/)
    vm.type('exit\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('without ACPI finds its processors and interrupt controllers in the MP table', async () => {
    const vm = new Run(linux({ kernel: guests.generic.vmlinux, initrd: guests.generic.initrd, args: ['-machine', 'microvm,acpi=off', '-smp', '2'] }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('ls /sys/firmware/acpi/tables 2>/dev/null | wc -l')).toBe('0')
    expect(await vm.shell('nproc')).toBe('2')
    expect(await vm.shell('dmesg | grep MPTABLE:')).toContain('OEM ID')
    expect(await vm.shell('cat /proc/interrupts')).toMatch(/IO-APIC.*ttyS0/)
    vm.type('reboot -f\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})
