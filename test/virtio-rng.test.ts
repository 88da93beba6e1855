/** Debian's stock drivers use our virtio devices: found, negotiated, fed by the host's randomness, over both kinds of rings. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { guests, linux, mesovirt, PROMPT, Run, scratch } from './support/vm.ts'

const generic = { kernel: guests.generic.vmlinux, initrd: guests.generic.initrd }
const RNG = '/sys/class/misc/hw_random'
const KATA = ['-object', 'rng-random,id=objrng0,filename=/dev/urandom', '-device', 'virtio-rng-device,rng=objrng0,id=virtio-rng0']

async function shutDown(vm: Run): Promise<void> {
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
}

/** Bit `bit` of the features that the driver accepted. */
async function features(vm: Run): Promise<(bit: number) => string> {
  const bits = await vm.shell('cat /sys/bus/virtio/devices/virtio0/features')
  return (bit) => bits.charAt(bit)
}

const INDIRECT_DESC = 28, EVENT_IDX = 29, VERSION_1 = 32, RING_PACKED = 34

describe('virtio-rng', () => {
  it.each([['the cloud kernel', {}], ['the generic kernel', generic]] as const)('gives %s random bytes, over packed rings', async (_, guest) => {
    const vm = new Run(linux({ ...guest, args: KATA }))
    await vm.out.until(PROMPT)
    expect(await vm.shell(`cat ${RNG}/rng_current`)).toBe('virtio_rng.0')
    const accepted = await features(vm)
    expect([INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_PACKED].map(accepted)).toEqual(['1', '1', '1', '1'])
    expect(await vm.shell('cat /proc/interrupts')).toMatch(/IO-APIC +11-edge +virtio0/)
    await vm.shell('for n in 1 2; do dd if=/dev/hwrng bs=4096 count=4 of=/tmp/$n 2>/dev/null; done')
    expect(await vm.shell('cat /tmp/1 /tmp/2 | wc -c')).toBe('32768')
    expect(await vm.shell('cmp -s /tmp/1 /tmp/2 || echo different')).toBe('different')
    // Random bytes do not shrink.
    expect(Number(await vm.shell('gzip -c /tmp/1 | wc -c'))).toBeGreaterThan(16_000)
    expect(await vm.shell('dmesg | grep -ciE "oops|BUG:|virtio.*(fail|broken)"')).toBe('0')
    await shutDown(vm)
  })

  it('works over split rings without any extra feature', async () => {
    const vm = new Run(linux({ args: ['-device', 'virtio-rng-device,packed=off,indirect_desc=off,event_idx=off'] }))
    await vm.out.until(PROMPT)
    const accepted = await features(vm)
    expect([INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_PACKED].map(accepted)).toEqual(['0', '0', '1', '0'])
    expect(await vm.shell('dd if=/dev/hwrng bs=4096 count=4 2>/dev/null | wc -c')).toBe('16384')
    await shutDown(vm)
  })

  it('comes back when its driver is unbound and bound again, and after a reset of the machine', async () => {
    const vm = new Run(linux({ args: ['-device', 'virtio-rng-device', '-action', 'reboot=reset'] }))
    await vm.out.until(PROMPT)
    for (let round = 0; round < 3; round++) {
      await vm.shell('echo virtio0 >/sys/bus/virtio/drivers/virtio_rng/unbind')
      expect(await vm.shell(`cat ${RNG}/rng_current`)).toBe('none')
      await vm.shell('echo virtio0 >/sys/bus/virtio/drivers/virtio_rng/bind')
      expect(await vm.shell('dd if=/dev/hwrng bs=512 count=1 2>/dev/null | wc -c')).toBe('512')
    }
    vm.type('reboot -f\n')
    await vm.out.until(PROMPT)
    expect(await vm.shell('dd if=/dev/hwrng bs=512 count=1 2>/dev/null | wc -c')).toBe('512')
    await shutDown(vm)
  })

  it('holds its rate, and a guest that waits for more is only slow', async () => {
    const vm = new Run(linux({ args: ['-device', 'virtio-rng-device,max-bytes=1024,period=200'] }))
    await vm.out.until(PROMPT)
    const [before, after] = (await vm.shell('cat /proc/uptime; dd if=/dev/hwrng bs=1024 count=6 of=/dev/null 2>/dev/null; cat /proc/uptime'))
      .split('\n').map((line) => Number(line.split(' ')[0])) as [number, number]
    expect(after - before).toBeGreaterThan(0.7) // at least four periods have begun since the first byte
    await shutDown(vm)
  })

  it('waits for a source that has nothing, while the machine runs on and ends', async () => {
    const fifo = path.join(scratch(), 'random')
    expect(spawnSync('sh', ['-c', 'mkfifo "$0" 2>/dev/null || busybox mkfifo "$0"', fifo]).status).toBe(0)
    // Linux may wait for the first bytes while it loads the driver (its own thread holds the lock that registering needs), so there are some, and then no more.
    const source = fs.openSync(fifo, 'r+')
    fs.writeSync(source, Buffer.alloc(1024, 5))
    const vm = new Run(linux({ args: ['-object', `rng-random,id=r,filename=${fifo}`, '-device', 'virtio-rng-device,rng=r'] }))
    await vm.out.until(PROMPT)
    await vm.shell('dd if=/dev/hwrng bs=4096 count=1 of=/tmp/all 2>/dev/null &')
    expect(await vm.shell('sleep 1; echo $((6 * 7)); wc -c </tmp/all')).toBe('42\n0')
    fs.closeSync(source)
    vm.child.kill('SIGTERM')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('is several devices, each in its window with its interrupt', async () => {
    const vm = new Run(linux({ args: Array.from({ length: 5 }, (_, index) => ['-device', `virtio-rng-device,id=rng${index}`]).flat() }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('cat /proc/cmdline')).toMatch(/ virtio_mmio\.device=512@0xf0100c00:11 .* virtio_mmio\.device=512@0xf0101400:15$/)
    expect((await vm.shell('cat /proc/interrupts | grep -c virtio'))).toBe('5')
    expect(await vm.shell('cat /proc/iomem')).toMatch(/f0100c00-f0100dff : LNRO0005:00[^]*f0101400-f01015ff : LNRO0005:04/)
    for (const name of ['virtio_rng.0', 'virtio_rng.4']) {
      await vm.shell(`echo ${name} >${RNG}/rng_current`)
      expect(await vm.shell(`cat ${RNG}/rng_current; dd if=/dev/hwrng bs=256 count=1 2>/dev/null | wc -c`)).toBe(`${name}\n256`)
    }
    await shutDown(vm)
  })

  it('needs a source that is there and random', async () => {
    const refused = async (filename: string) => {
      const vm = mesovirt('-kernel', guests.cloud.vmlinux, '-object', `rng-random,id=r,filename=${filename}`, '-device', 'virtio-rng-device,rng=r')
      expect(await vm.end()).toEqual({ status: 1, signal: null })
      return vm.err.all
    }
    expect(await refused('/nonexistent')).toMatch(/^mesovirt: -object rng-random,id=r: \/nonexistent cannot be opened .*; name a device such as \/dev\/urandom\r?\n$/)
    expect(await refused(guests.cloud.vmlinux)).toMatch(/is no character device/)
  })
})
