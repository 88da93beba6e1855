/** What takes long about disks: a gigabyte there and back in every way of doing the host's side, across a kill after a flush, and slots that are filled and emptied without end. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { fetchGuest } from '../../src/guest/fetch-guest.ts'
import { describeWhere } from '../support/optional.ts'
import { guests, linux, PROMPT, ROOT, Run, scratch, withMonitor } from '../support/vm.ts'

const MIB = 2 ** 20, GIB = 2 ** 30
const ROUNDS = 200
/** A disk that others use as well may take minutes to write a gigabyte. */
const COPY_MS = 900_000
/** mkfs.ext4 is in /sbin, which users may not have on their path. */
const ENVIRONMENT = { ...process.env, PATH: `${process.env['PATH']}:/sbin:/usr/sbin` }
const HAS_MKFS = spawnSync('mkfs.ext4', ['-V'], { env: ENVIRONMENT }).status === 0

function md5(file: string, bytes: number): string {
  const hash = createHash('md5')
  const fd = fs.openSync(file, 'r')
  const buffer = Buffer.alloc(4 * MIB)
  for (let at = 0; at < bytes; at += buffer.length) hash.update(buffer.subarray(0, fs.readSync(fd, buffer, 0, Math.min(buffer.length, bytes - at), at)))
  fs.closeSync(fd)
  return hash.digest('hex')
}

describe('a gigabyte', () => {
  it.each(['aio=threads', 'aio=threads,direct=on', 'aio=io_uring', 'aio=io_uring,direct=on', 'aio=native'])('is copied by the guest from disk to disk, and survives a kill after the flush, with %s', async (aio) => {
    const folder = scratch()
    const from = path.join(folder, 'from.img'), to = path.join(folder, 'to.img')
    expect(spawnSync('dd', ['if=/dev/urandom', `of=${from}`, 'bs=1M', 'count=1024'], { stdio: 'ignore' }).status).toBe(0)
    fs.writeFileSync(to, '')
    fs.truncateSync(to, GIB)
    const vm = new Run(linux({ args: ['-drive', `id=a,file=${from},readonly=on,${aio}`, '-drive', `id=b,file=${to},${aio}`, '-device', 'virtio-blk-device,drive=a', '-device', 'virtio-blk-device,drive=b'] }))
    await vm.out.until(PROMPT)
    vm.type('dd if=/dev/vda of=/dev/vdb bs=1M conv=fsync 2>/dev/null && echo cop""ied\n')
    await vm.out.until('copied', COPY_MS)
    await vm.kill()
    expect(md5(to, GIB)).toBe(md5(from, GIB))
  }, 2 * COPY_MS)
})

describeWhere(HAS_MKFS, 'mkfs.ext4 (package e2fsprogs)', 'a kernel whose ext4 is a module', () => {
  it('mounts a disk with the modules that `mesovirt guest --modules` brings', async () => {
    const folder = scratch()
    const file = path.join(folder, 'disk.img')
    fs.writeFileSync(file, '')
    fs.truncateSync(file, 64 * MIB)
    expect(spawnSync('mkfs.ext4', ['-q', '-F', file], { env: ENVIRONMENT }).status).toBe(0)
    const { initrd } = await fetchGuest({ cacheDir: path.join(ROOT, '.cache/guest'), flavour: 'generic', modules: ['ext4'] })
    const vm = new Run(linux({ kernel: guests.generic.vmlinux, initrd, args: ['-drive', `id=a,file=${file}`, '-device', 'virtio-blk-device,drive=a'] }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('mkdir /mnt; mount -t ext4 /dev/vda /mnt && ls /mnt')).toBe('lost+found')
    await vm.shell('umount /mnt')
    await vm.kill()
  })
})

describe('plugging and unplugging', () => {
  it(`${ROUNDS} times under reads leaves neither descriptors nor memory behind`, async () => {
    const folder = scratch()
    const file = path.join(folder, 'disk.img')
    fs.writeFileSync(file, Buffer.alloc(4 * MIB, 5))
    const { vm, qmp } = await withMonitor(linux({ args: [] }))
    await vm.out.until(PROMPT)
    vm.type('while true; do dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null; done &\n')
    const fds = () => fs.readdirSync(`/proc/${vm.pid}/fd`).length
    const rss = () => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${vm.pid}/status`, 'utf8'))?.[1]) / 1024
    const round = async (number: number): Promise<void> => {
      const aio = (['threads', 'io_uring', 'native'] as const)[number % 3]
      await qmp.run('blockdev-add', { 'driver': 'raw', 'node-name': 'd', 'file': { driver: 'file', filename: file, aio } })
      await qmp.run('device_add', { id: 'd', driver: 'virtio-blk-device', addr: '0' })
      await new Promise((resolve) => setTimeout(resolve, 5))
      await qmp.run('device_del', { id: 'd' })
      await qmp.event('DEVICE_DELETED')
    }
    for (let number = 0; number < 30; number++) await round(number)
    const before = { fds: fds(), rss: rss() }
    for (let number = 0; number < ROUNDS; number++) await round(number)
    expect(fds()).toBeLessThanOrEqual(before.fds)
    expect(rss() - before.rss).toBeLessThan(64)
    await vm.kill()
  })
})
