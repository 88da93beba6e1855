/** Debian's stock drivers use our disks: a file system from mkfs.ext4 is mounted, written and read back in every way of doing the host's side, and what a flush promised is kept. */
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { IS_IN_LAB } from './support/accelerator.ts'
import { guests, linux, mesovirt, PROMPT, Run, scratch } from './support/vm.ts'
import { describeWhere } from './support/optional.ts'

const MIB = 2 ** 20
/** mkfs.ext4 is in /sbin, which users may not have on their path. */
const ENVIRONMENT = { ...process.env, PATH: `${process.env['PATH']}:/sbin:/usr/sbin` }
const HAS_MKFS = spawnSync('mkfs.ext4', ['-V'], { env: ENVIRONMENT }).status === 0

/** In the lab /tmp is in memory, without O_DIRECT. */
const DISK_FOLDER = IS_IN_LAB ? '/var/tmp' : undefined

/** An image of zeros. */
function image(folder: string, size = 64 * MIB, name = 'disk.img'): string {
  const file = path.join(folder, name)
  fs.writeFileSync(file, '')
  fs.truncateSync(file, size)
  return file
}

function ext4(folder: string): string {
  const file = image(folder)
  expect(spawnSync('mkfs.ext4', ['-q', '-F', file], { encoding: 'utf8', env: ENVIRONMENT })).toMatchObject({ status: 0, stderr: '' })
  return file
}

async function shutDown(vm: Run): Promise<void> {
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
}

const disk = (file: string, drive = '', device = '') => ['-drive', `id=d0,file=${file},format=raw${drive}`, '-device', `virtio-blk-device,drive=d0${device}`]

describeWhere(HAS_MKFS, 'mkfs.ext4 (package e2fsprogs)', 'a disk with ext4', () => {
  it.each([
    ['aio=threads', ''], ['aio=threads,direct=on', ',num-queues=4'], ['aio=io_uring', ',packed=off'], ['aio=io_uring,direct=on', ''], ['aio=native,direct=on', ',event_idx=off,indirect_desc=off'],
  ])('is mounted, written and read back, with %s', async (drive, device) => {
    const file = ext4(scratch(DISK_FOLDER))
    const vm = new Run(linux({ args: disk(file, `,${drive}`, device) }))
    await vm.out.until(PROMPT)
    await vm.shell('mkdir /mnt; mount -t ext4 /dev/vda /mnt; dd if=/dev/urandom of=/mnt/data bs=64k count=64 2>/dev/null; sync')
    const [sum] = (await vm.shell('md5sum /mnt/data')).split(' ')
    await vm.shell('umount /mnt; echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt')
    expect((await vm.shell('md5sum /mnt/data')).split(' ')[0]).toBe(sum)
    await vm.shell('umount /mnt')
    expect(await vm.shell('dmesg | grep -ciE "i/o error|ext4-fs error|oops|BUG:"')).toBe('0')
    await shutDown(vm)
    expect(spawnSync('e2fsck', ['-fn', file], { env: ENVIRONMENT }).status).toBe(0)
  })
})

describe('virtio-blk', () => {
  it('keeps what a flush promised when the machine is killed', async () => {
    const file = image(scratch(), 8 * MIB)
    const vm = new Run(linux({ args: disk(file, ',aio=io_uring') }))
    await vm.out.until(PROMPT)
    await vm.shell('dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null; dd if=/tmp/data of=/dev/vda bs=64k conv=fsync 2>/dev/null')
    const [sum] = (await vm.shell('md5sum /tmp/data')).split(' ')
    await vm.kill()
    expect(createHash('md5').update(fs.readFileSync(file).subarray(0, 2 * MIB)).digest('hex')).toBe(sum)
  })

  it('shows its serial number, sizes and what it can do', async () => {
    const folder = scratch()
    const second = image(folder, 4 * MIB, 'second.img')
    const vm = new Run(linux({ args: [...disk(image(folder), ',discard=unmap,readonly=off', ',serial=mv-0001,logical_block_size=4096,physical_block_size=16k,min_io_size=16384,opt_io_size=65536,num-queues=2,id=root'),
      '-blockdev', `driver=file,node-name=d1,filename=${second},read-only=on`, '-device', 'virtio-blk-device,drive=d1'] }))
    await vm.out.until(PROMPT)
    const queue = async (name: string) => (await vm.shell(`cat /sys/block/vda/queue/${name}`))
    expect(await vm.shell('cat /sys/block/vda/serial')).toBe('mv-0001')
    expect(await queue('logical_block_size')).toBe('4096')
    expect(await queue('physical_block_size')).toBe('16384')
    expect(await queue('minimum_io_size')).toBe('16384')
    expect(await queue('optimal_io_size')).toBe('65536')
    expect(Number(await queue('discard_max_bytes'))).toBeGreaterThan(0)
    expect(Number(await queue('write_zeroes_max_bytes'))).toBeGreaterThan(0)
    expect(await queue('write_cache')).toBe('write back')
    expect(await vm.shell('cat /sys/block/vda/size /sys/block/vdb/size /sys/block/vda/ro /sys/block/vdb/ro')).toBe('131072\n8192\n0\n1')
    expect(await vm.shell('ls /sys/block/vda/mq | wc -l')).toBe('1') // one processor
    expect(await vm.shell('cat /proc/interrupts')).toMatch(/ 5-edge +virtio0[^]* 6-edge +virtio1/)
    expect(await vm.shell('dd if=/dev/zero of=/dev/vdb bs=512 count=1 2>&1 | head -1')).toMatch(/not permitted|Read-only/)
    await vm.shell('echo "write through" >/sys/block/vda/cache_type')
    expect(await queue('write_cache')).toBe('write through')
    await shutDown(vm)
  })

  it('gives room back where the guest discards', async () => {
    const file = path.join(scratch(), 'disk.img')
    fs.writeFileSync(file, randomBytes(16 * MIB))
    const before = fs.statSync(file).blocks
    const vm = new Run(linux({ args: disk(file, ',discard=unmap') }))
    await vm.out.until(PROMPT)
    await vm.shell('blkdiscard -o 0 -l 8388608 /dev/vda')
    await shutDown(vm)
    expect(fs.statSync(file).size).toBe(16 * MIB)
    expect(fs.statSync(file).blocks).toBeLessThan(before)
  })

  it('needs a file that is there, of its own, and a disk image', async () => {
    const folder = scratch()
    const file = image(folder, MIB)
    const refused = async (...args: string[]) => {
      const vm = mesovirt('-kernel', guests.cloud.vmlinux, ...args)
      expect(await vm.end()).toEqual({ status: 1, signal: null })
      return vm.err.all.trim().split(/\r?\n/).filter((line) => line.startsWith('mesovirt: disk')).join()
    }
    expect(await refused('-drive', `id=d,file=${folder}/none`)).toBe(`mesovirt: disk d: ${folder}/none: no such file; check the path, or make one with: truncate -s 1G FILE`)
    expect(await refused('-drive', `id=d,file=${folder}`)).toBe(`mesovirt: disk d: ${folder}: is a folder; name a disk image`)
    expect(await refused('-drive', `id=a,file=${file}`, '-drive', `id=b,file=${file}`)).toMatch(/^mesovirt: disk b: .*: another machine or disk uses it; end that, open both with readonly=on/)
    expect(await refused('-blockdev', `driver=host_device,node-name=d,filename=${file}`)).toMatch(/is no block device; use driver=file$/)
    fs.writeFileSync(file, Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(1020)]))
    expect(await refused('-drive', `id=d,file=${file}`)).toMatch(/is an image of the format qcow2; convert it with: qemu-img convert/)
  })
})
