/**
 * What Kata Containers' driver for StratoVirt does, on the real binary: its command line, its readiness, its plugging of disks, its ways to end a sandbox. Its kernel
 * parameter acpi=off is left out here: Debian's kernels find devices on mmio by ACPI only (test/full/virtio-command-line.test.ts has one that reads the command line).
 */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { ACCELERATOR } from './support/accelerator.ts'
import { describeWhere } from './support/optional.ts'
import { Qmp } from './support/qmp.ts'
import { Transcript } from './support/transcript.ts'
import { endAfterwards, eventually, guests, isAlive, MESOVIRT, PROMPT, scratch } from './support/vm.ts'

const VIRTIOFSD = '/usr/lib/qemu/virtiofsd'
const MIB = 2 ** 20
const isRoot = process.getuid?.() === 0
const HAS_TAP = isRoot && spawnSync('unshare', ['-n', 'sh', '-c', 'PATH=$PATH:/sbin:/usr/sbin ip tuntap add dev tap0 mode tap']).status === 0

const children: ChildProcess[] = []
afterEach(() => children.splice(0).forEach((child) => child.kill('SIGKILL')))

interface Sandbox {
  readonly vm: ChildProcess
  readonly folder: string
  readonly qmp: Qmp
  readonly console: net.Socket
  /** what comes over the console's socket */
  readonly text: Transcript
  readonly stdout: () => string
  readonly ended: Promise<{ status: number | null; signal: NodeJS.Signals | null }>
}

function image(folder: string, name: string, text: string): string {
  const file = path.join(folder, name)
  fs.writeFileSync(file, text)
  fs.truncateSync(file, 8 * MIB)
  return file
}

/** CreateVM, AddDevice and StartVM. */
async function startSandbox(): Promise<Sandbox> {
  const folder = scratch(), shared = scratch()
  const at = (name: string) => path.join(folder, name)
  fs.writeFileSync(path.join(shared, 'hello'), 'from the host\n')
  const server = spawn(VIRTIOFSD, [`--socket-path=${at('virtiofs_kata.socket')}`, '-o', `source=${shared}`, '-o', 'cache=none', '-f'], { stdio: 'ignore' })
  children.push(server)
  await eventually('the socket of virtiofsd', () => fs.existsSync(at('virtiofs_kata.socket')))

  const argv = [
    '-name', 'sandbox-1', '-uuid', '7f6b3a2e-55cb-4a4e-9f0d-0d1f5c8e9a11', '-smp', '1', '-m', '1024',
    '-kernel', guests.devices.vmlinux, '-initrd', guests.devices.initrd,
    '-append', 'agent.log=debug reboot=k panic=1 net.ifnames=0 ramdom.trust_cpu=on pci=off iommu=off debug console=hvc0 dm-mod.create="dm-verity,,,ro,0 1 verity"',
    '-qmp', `unix:${at('qmp.socket')},server,nowait`, '-D', '-disable-seccomp',
    '-machine', `type=microvm,accel=${ACCELERATOR},dump-guest-core=off,mem-share=on`,
    '-object', 'rng-random,id=objrng0,filename=/dev/urandom', '-device', 'virtio-rng-device,rng=objrng0,id=virtio-rng0',
    '-device', 'virtio-serial-device,id=virtio-serial0', '-chardev', `socket,id=charconsole0,path=${at('console.socket')},server,nowait`,
    '-device', 'virtconsole,chardev=charconsole0,id=virtio-console0,nr=0',
    '-drive', `id=rootfs,file=${image(folder, 'rootfs.img', 'the root file system')},readonly=on,direct=off`, '-device', 'virtio-blk-device,drive=rootfs,id=virtio-blk0',
    '-netdev', 'tap,id=tap0_kata,ifname=tap0', '-device', 'virtio-net-device,netdev=tap0_kata,id=tap0_kata,mac=02:42:ac:11:00:02',
    '-chardev', `socket,id=virtio_fs,path=${at('virtiofs_kata.socket')},server,nowait`, '-device', 'vhost-user-fs-device,chardev=virtio_fs,tag=kataShared,id=virtio-fs0',
  ]
  const network = 'PATH=$PATH:/sbin:/usr/sbin ip tuntap add dev tap0 mode tap && exec env -i STRATOVIRT_LOG_LEVEL=info "$@"'
  const vm = spawn('unshare', ['-n', 'sh', '-c', network, 'sh', process.execPath, MESOVIRT, ...argv], { stdio: ['ignore', 'pipe', 'ignore'] })
  children.push(vm)
  endAfterwards(vm.pid as number)
  let stdout = ''
  vm.stdout?.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  const ended = new Promise<{ status: number | null; signal: NodeJS.Signals | null }>((resolve) => vm.once('close', (status, signal) => resolve({ status, signal })))
  const qmp = await eventually('the monitor', () => Qmp.connect({ path: at('qmp.socket') }).catch(() => undefined))
  const text = new Transcript('the console of the sandbox')
  const console = net.connect(at('console.socket')).setEncoding('utf8').on('data', (chunk: string) => text.append(chunk)).on('error', () => undefined)
  return { vm, folder, qmp, console, text, stdout: () => stdout, ended }
}

async function shell({ console, text }: Sandbox, command: string): Promise<string> {
  console.write(`${command}\n`)
  await text.until(`${command}\r\n`)
  return (await text.until(PROMPT)).slice(0, -PROMPT.length).replaceAll('\r\n', '\n').trim()
}

/** hotplugBlk and hotunplugBlk. */
async function plugAndUnplug(sandbox: Sandbox, id: string, file: string, slot: number): Promise<void> {
  const { qmp } = sandbox
  await qmp.run('blockdev-add', { driver: 'raw', 'node-name': id, 'read-only': false, file: { driver: 'file', filename: file, aio: 'native' } })
  await qmp.run('device_add', { id, driver: 'virtio-blk-mmio', drive: id, addr: String(slot), romfile: '' })
  const disk = `/dev/vd${'abcd'[slot]}`
  await eventually('the size of the disk', async () => await shell(sandbox, `blockdev --getsz ${disk}`) === String(8 * MIB / 512))
  expect(await shell(sandbox, `head -c 8 ${disk}`)).toBe('plugged:')
  await qmp.run('device_del', { id })
  expect((await qmp.event('DEVICE_DELETED')).data).toMatchObject({ device: id })
  await eventually('an empty slot', async () => await shell(sandbox, `blockdev --getsz ${disk}`) === '0')
}

describeWhere(HAS_TAP && fs.existsSync(VIRTIOFSD), 'root with /dev/net/tun and iproute2, and virtiofsd (package qemu-system-common)', 'a sandbox of Kata Containers', () => {
  it('is ready, talks on its console, shares a folder, takes disks and gives them back, and ends when the guest does', async () => {
    const sandbox = await startSandbox()
    const { folder, qmp, text, ended } = sandbox
    expect(qmp.greeting).toMatchObject({ QMP: { version: { qemu: { major: expect.toSatisfy((major: number) => major >= 5) as number } } } })
    qmp.close()
    const again = await Qmp.connect({ path: path.join(folder, 'qmp.socket') })
    const live = { ...sandbox, qmp: again }
    expect(await again.run('query-cpus')).toMatchObject([{ CPU: 0, thread_id: expect.toSatisfy((id: number) => id > 0) as number }])
    await text.until(PROMPT)
    expect(await shell(live, 'grep -o dm-mod.create.* /proc/cmdline')).toContain('dm-mod.create="dm-verity,,,ro,0 1 verity"')
    expect(await shell(live, 'mkdir /s; mount -t virtiofs kataShared /s && cat /s/hello')).toBe('from the host')
    expect(await shell(live, 'cat /sys/class/net/eth0/address')).toBe('02:42:ac:11:00:02')
    expect(await shell(live, 'head -c 20 /dev/vda')).toBe('the root file system')
    const more = image(folder, 'more.img', 'plugged:')
    await plugAndUnplug(live, 'drive-1', more, 1)
    await plugAndUnplug(live, 'drive-2', more, 1)

    await again.run('blockdev-add', { driver: 'raw', 'node-name': 'drive-3', 'read-only': false, file: { driver: 'file', filename: more, aio: 'native' } })
    await expect(again.run('device_add', { id: 'drive-3', driver: 'virtio-blk-mmio', drive: 'drive-3', addr: '0', romfile: '' })).rejects.toThrow()
    await again.run('blockdev-del', { 'node-name': 'drive-3' })

    sandbox.console.write('reboot -f\n')
    expect(await again.event('SHUTDOWN')).toMatchObject({ data: { guest: true } })
    expect(await ended).toEqual({ status: 0, signal: null })
    expect(fs.readdirSync(folder).sort()).toEqual(['more.img', 'rootfs.img', 'virtiofs_kata.socket'])
    for (const line of sandbox.stdout().split('\n').filter((each) => each !== '')) expect(line).toMatch(/:(INFO|WARN): /)
  })

  it('goes when it is killed, and takes its threads along', async () => {
    const { vm, qmp, ended } = await startSandbox()
    const [{ thread_id: thread } = { thread_id: 0 }] = await qmp.run('query-cpus') as { thread_id: number }[]
    expect(isAlive(thread)).toBe(true)
    vm.kill('SIGKILL')
    expect(await ended).toEqual({ status: null, signal: 'SIGKILL' })
    expect(fs.existsSync(`/proc/${vm.pid}`)).toBe(false)
  })
})
