/** A folder of the host in the guest: Debian's stock driver and Debian's virtiofsd, which is killed while files are open. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { describeWhere } from './support/optional.ts'
import { eventually, guests, linux, mesovirt, PROMPT, scratch, withMonitor } from './support/vm.ts'
import type { Run } from './support/vm.ts'

const VIRTIOFSD = '/usr/lib/qemu/virtiofsd'
const FILE = randomBytes(3 * 2 ** 20)
const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex')

const { initrd } = guests.devices
const daemons: ChildProcess[] = []

afterEach(() => daemons.splice(0).forEach((daemon) => daemon.kill('SIGKILL')))

/** A virtiofsd that listens at the socket. */
async function serve(folder: string, socket: string): Promise<ChildProcess> {
  fs.rmSync(socket, { force: true })
  const daemon = spawn(VIRTIOFSD, [`--socket-path=${socket}`, '-o', `source=${folder}`, '-o', 'cache=none', '-f'], { stdio: 'ignore' })
  daemons.push(daemon)
  await eventually('the socket of virtiofsd', () => fs.existsSync(socket))
  return daemon
}

/** As Kata Containers has it: the chardev says `server`, and we connect all the same. */
const device = (socket: string, more = '') => ['-chardev', `socket,id=virtio_fs,path=${socket},server,nowait`, '-device', `vhost-user-fs-device,chardev=virtio_fs,tag=kataShared,id=virtio-fs0${more}`]

async function shutDown(vm: Run): Promise<void> {
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
}

const sum = async (vm: Run, file: string) => (await vm.shell(`md5sum ${file}`)).split(' ')[0]

describeWhere(fs.existsSync(VIRTIOFSD) && process.getuid?.() === 0, 'root, and virtiofsd (package qemu-system-common)', 'a folder of the host', () => {
  it.each([['', 'packed'], [',packed=off,event_idx=off,indirect_desc=off,queue-size=256', 'plain split']])('is mounted, read and written, and survives a reset, a stop and the death of its server: rings%s', async (options) => {
    const folder = scratch(), socket = path.join(scratch(), 'fs.sock')
    fs.writeFileSync(path.join(folder, 'file'), FILE)
    const first = await serve(folder, socket)
    const { vm, qmp } = await withMonitor(linux({ args: ['-machine', 'microvm,mem-share=on', '-action', 'reboot=reset', ...device(socket, options)], initrd }))
    await vm.out.until(PROMPT)
    const mount = () => vm.shell('mkdir -p /m; mount -t virtiofs kataShared /m && echo mounted')
    expect(await mount()).toBe('mounted')
    expect(await sum(vm, '/m/file')).toBe(md5(FILE))
    const written = await vm.shell('dd if=/dev/urandom of=/m/new bs=100k count=20 2>/dev/null; mkdir /m/sub; ln -s new /m/sub/link; mv /m/file /m/moved; md5sum /m/new')
    expect(md5(fs.readFileSync(path.join(folder, 'new')))).toBe(written.split(' ')[0])
    expect(fs.readdirSync(folder).sort()).toEqual(['moved', 'new', 'sub'])
    expect(await qmp.run('query-chardev')).toContainEqual({ 'label': 'virtio_fs', 'filename': `unix:${socket}`, 'frontend-open': true })

    await qmp.run('stop')
    await qmp.run('cont')
    expect(await sum(vm, '/m/moved')).toBe(md5(FILE))

    vm.type('reboot -f\n')
    await vm.out.until(PROMPT)
    expect(await mount()).toBe('mounted')
    await vm.shell('dd if=/dev/zero of=/m/endless bs=64k 2>/dev/null &')
    await eventually('some of an endless file', () => (fs.statSync(path.join(folder, 'endless'), { throwIfNoEntry: false })?.size ?? 0) > 0)
    first.kill('SIGKILL')
    expect((await qmp.event('MESOVIRT_BACK_END_CHANGE')).data).toEqual({ device: 'virtio-fs0', connected: false })
    expect(await vm.shell('cat /m/moved')).toContain('Transport endpoint is not connected')
    expect(await vm.shell('wait; echo $((6 * 7))')).toContain('42')
    expect(await qmp.status()).toBe('running')

    await serve(folder, socket)
    await vm.shell('umount /m')
    expect(await mount()).toBe('mounted')
    expect((await qmp.event('MESOVIRT_BACK_END_CHANGE')).data).toEqual({ device: 'virtio-fs0', connected: true })
    expect(await sum(vm, '/m/moved')).toBe(md5(FILE))
    await shutDown(vm)
  })

  it('runs programs, new ones at the places of old ones', async () => {
    const folder = scratch(), socket = path.join(scratch(), 'fs.sock')
    await serve(folder, socket)
    const { vm } = await withMonitor(linux({ args: ['-machine', 'microvm,mem-share=on', ...device(socket)], initrd }))
    await vm.out.until(PROMPT)
    await vm.shell('mkdir /m; mount -t virtiofs kataShared /m; cp /bin/busybox /m/busybox')
    const rounds = await vm.shell('for n in 1 2 3 4 5 6 7 8; do echo 3 > /proc/sys/vm/drop_caches; mkdir /m/$n; cp /m/busybox /m/$n/; /m/$n/busybox echo ran $n; rm -r /m/$n; done')
    expect(rounds.split('\n')).toEqual(Array.from({ length: 8 }, (_, index) => `ran ${index + 1}`))
    await shutDown(vm)
  })
})

it('a server that is not there, and memory that nobody can map, are told in one line', async () => {
  const refused = async (...args: string[]) => {
    const vm = mesovirt('-kernel', guests.cloud.vmlinux, '-m', '128', ...args)
    expect(await vm.end()).toEqual({ status: 1, signal: null })
    return vm.err.all.replaceAll('\r', '')
  }
  expect(await refused('-accel', 'tcg', '-machine', 'microvm,mem-share=on', ...device('/nonexistent/fs.sock'))).toBe('mesovirt: /nonexistent/fs.sock: there is no such socket; start what listens there first\n')
  expect(await refused(...device('/nonexistent/fs.sock'))).toBe('mesovirt: -device vhost-user-fs-device: the back end has to map the memory of the guest; add -machine mem-share=on\n')
})
