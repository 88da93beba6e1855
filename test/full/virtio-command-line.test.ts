/**
 * Devices announced on the kernel command line, with a driver that reads it there. Debian's kernels are built without CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES: the one
 * module that it concerns is built anew, from Debian's own source and headers, for Debian's own cloud kernel.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { Apt } from '../../src/guest/apt.ts'
import { buildInitramfs, DEFAULT_INIT } from '../../src/guest/initramfs.ts'
import { silentProgress } from '../../src/guest/progress.ts'
import { describeWhere } from '../support/optional.ts'
import { guests, linux, PROMPT, ROOT, Run } from '../support/vm.ts'

const home = path.dirname(guests.cloud.kernel)
const kernelPackage = path.basename(home)
const work = path.join(ROOT, '.cache', 'virtio-mmio', kernelPackage)
const initrd = path.join(work, 'initramfs.gz')

function run(command: string, args: readonly string[]): void {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: work, encoding: 'utf8', maxBuffer: 2 ** 26 })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? `${stdout}${stderr}`}`)
}

/** Leaves virtio_mmio.ko with the parameter `device` in the work folder. */
async function buildModule(): Promise<void> {
  const [, abi = '', series = ''] = /^linux-image-((\d+\.\d+)\.\d+-\d+)-/.exec(kernelPackage) ?? []
  const apt = new Apt(work, silentProgress)
  const root = path.join(work, 'root')
  for (const name of [kernelPackage.replace('image', 'headers'), `linux-headers-${abi}-common`, `linux-kbuild-${series}`]) {
    const deb = await apt.download(name)
    run('dpkg', ['-x', deb, root])
    fs.rmSync(deb)
  }
  const source = await apt.download(`linux-source-${series}`)
  // tar has what it wants long before the archive ends, which the others do not like.
  spawnSync('sh', ['-c', `dpkg-deb --fsys-tarfile '${source}' | tar -xO ./usr/src/linux-source-${series}.tar.xz | xz -dc |
    tar -x --occurrence=1 --strip-components=3 linux-source-${series}/drivers/virtio/virtio_mmio.c`], { cwd: work, stdio: 'ignore' })
  fs.rmSync(source)
  const headers = path.join(root, 'usr/src', kernelPackage.replace('image', 'headers'))
  fs.writeFileSync(path.join(headers, 'Makefile'), `include ${root}/usr/src/linux-headers-${abi}-common/Makefile\n`)
  fs.writeFileSync(path.join(work, 'Makefile'), 'obj-m := virtio_mmio.o\nccflags-y := -DCONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=1\n')
  run('make', ['-C', headers, `M=${work}`, 'CC=gcc', 'modules'])
  fs.rmSync(root, { recursive: true })
}

/** The guest's own image, but for that module, which gets what the command line has for it, as modprobe would do. */
function buildImage(): void {
  const init = DEFAULT_INIT.replace('insmod "$module";',
    'insmod "$module" $(case $module in *virtio_mmio*) tr " " "\\n" </proc/cmdline | sed -n "s/^virtio_mmio.device=/device=/p";; esac);')
  if (init === DEFAULT_INIT) throw new Error('init no longer loads modules as this test expects')
  const modules = ['virtio_ring.ko', 'virtio.ko', 'virtio_mmio.ko', 'virtio-rng.ko']
    .map((name) => ({ name, content: fs.readFileSync(path.join(name === 'virtio_mmio.ko' ? work : home, name)) }))
  fs.writeFileSync(initrd, buildInitramfs({ busybox: fs.readFileSync(path.join(path.dirname(home), 'busybox')), init, modules }))
}

const tools = ['gcc', 'make', 'dpkg', 'xz'].every((tool) => spawnSync(tool, ['--version']).status === 0)

describeWhere(tools, 'gcc, make, dpkg or xz', 'a driver that reads the command line', () => {
  beforeAll(async () => {
    fs.mkdirSync(work, { recursive: true })
    if (!fs.existsSync(path.join(work, 'virtio_mmio.ko'))) await buildModule()
    buildImage()
  })

  it('finds the devices there without ACPI', async () => {
    const vm = new Run(linux({ initrd, args: ['-machine', 'microvm,acpi=off', '-device', 'virtio-rng-device', '-device', 'virtio-rng-device'] }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('ls /sys/firmware/acpi/tables 2>/dev/null | wc -l')).toBe('0')
    expect(await vm.shell('cat /proc/interrupts')).toMatch(/ 11: .*virtio0[^]* 12: .*virtio1/)
    expect(await vm.shell('dd if=/dev/hwrng bs=4096 count=4 2>/dev/null | wc -c')).toBe('16384')
    vm.type('reboot -f\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('is refused the windows that ACPI has given to it already, and does no harm', async () => {
    const vm = new Run(linux({ initrd, args: ['-device', 'virtio-rng-device', '-device', 'virtio-rng-device'] }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('dmesg | grep -c "virtio-mmio.[01]: can.t request region"')).toBe('2')
    expect(await vm.shell('ls /sys/bus/virtio/devices')).toMatch(/^virtio0\s+virtio1$/)
    expect(await vm.shell('dd if=/dev/hwrng bs=4096 count=4 2>/dev/null | wc -c')).toBe('16384')
    vm.type('exit\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})
