/** Disks of a running machine, as Kata Containers' driver and QEMU's clients steer them over QMP: plugged, unplugged, resized, limited, and counted. */
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Qmp } from './support/qmp.ts'
import { eventually, linux, PROMPT, scratch, withMonitor } from './support/vm.ts'

const MIB = 2 ** 20

function image(folder: string, name: string, size: number): string {
  const file = path.join(folder, name)
  fs.writeFileSync(file, '')
  fs.truncateSync(file, size)
  return file
}

async function refusal(qmp: Qmp, command: string, args: object) {
  qmp.send(`${JSON.stringify({ execute: command, arguments: args })}\n`)
  return (await qmp.reply()).error
}

/** Descriptors of a process that lead to a file. */
function descriptors(pid: number, file: string): number {
  return fs.readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return fs.readlinkSync(`/proc/${pid}/fd/${fd}`) === file
    } catch {
      return false
    }
  }).length
}

describe('disk slots', () => {
  it('are there from the start, and are filled and emptied as Kata Containers does it', async () => {
    const folder = scratch()
    const root = image(folder, 'root.img', MIB)
    const { vm, qmp } = await withMonitor(linux({ args: ['-drive', `id=rootfs,file=${root},readonly=on,direct=off`, '-device', 'virtio-blk-device,drive=rootfs,id=virtio-blk0'] }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('cd /sys/block; cat vda/size vdb/size vdc/size vdd/size; cd')).toBe('2048\n0\n0\n0')
    for (let round = 0; round < 3; round++) {
      const file = image(folder, `disk${round}.img`, 2 * MIB)
      fs.writeFileSync(file, Buffer.alloc(2 * MIB, 0x41 + round))
      await qmp.run('blockdev-add', { 'driver': 'raw', 'node-name': `drive-${round}`, 'read-only': false, 'file': { driver: 'file', filename: file, aio: 'native' } })
      await qmp.run('device_add', { id: `drive-${round}`, driver: 'virtio-blk-mmio', drive: `drive-${round}`, addr: '1', romfile: '' })
      await eventually('the disk', async () => await vm.shell('cat /sys/block/vdb/size') === '4096')
      expect(await vm.shell('dd if=/dev/vdb bs=1 count=4 2>/dev/null; echo')).toBe(String.fromCharCode(0x41 + round).repeat(4))
      await vm.shell('echo changed | dd of=/dev/vdb conv=fsync 2>/dev/null')
      expect(descriptors(vm.pid, file)).toBe(1)
      await qmp.run('device_del', { id: `drive-${round}` })
      expect(await qmp.event('DEVICE_DELETED')).toMatchObject({ data: { device: `drive-${round}`, path: `drive-${round}` } })
      await eventually('the empty slot', async () => await vm.shell('cat /sys/block/vdb/size') === '0')
      expect(descriptors(vm.pid, file)).toBe(0)
      expect(fs.readFileSync(file).subarray(0, 7).toString()).toBe('changed')
      // QEMU's clients remove the image themselves.
      await qmp.run('blockdev-del', { 'node-name': `drive-${round}` })
    }
    await vm.kill()
  })

  it('are four, each with one disk, and names are used once', async () => {
    const folder = scratch()
    const { vm, qmp } = await withMonitor(linux({ args: ['-S'] }))
    const add = async (name: string) => qmp.run('blockdev-add', { 'node-name': name, 'driver': 'file', 'filename': image(folder, name, MIB) })
    for (const name of ['a', 'b', 'c', 'd', 'e']) await add(name)
    for (const name of ['a', 'b', 'c', 'd']) await qmp.run('device_add', { driver: 'virtio-blk-device', id: name })
    const refused = (command: string, args: object) => refusal(qmp, command, args)
    expect(await refused('device_add', { driver: 'virtio-blk-device', id: 'e' })).toEqual({ class: 'GenericError', desc: 'there is no empty disk slot; remove a disk first' })
    expect(await refused('device_add', { driver: 'virtio-blk-device', id: 'e', addr: '0x1' })).toEqual({ class: 'GenericError', desc: 'disk slot 1 is taken by b; use another one' })
    expect(await refused('device_add', { driver: 'virtio-blk-device', id: 'e', addr: '9' })).toEqual({ class: 'GenericError', desc: 'there is no disk slot 9; use 0 to 3' })
    expect(await refused('device_add', { driver: 'virtio-blk-device', id: 'a', drive: 'e' })).toMatchObject({ desc: 'device_add id=a: another device has this id; use another id' })
    expect(await refused('device_add', { driver: 'virtio-rng-device', id: 'n' })).toMatchObject({ desc: 'device_add virtio-rng-device: only disks and network cards can be added to a running machine; use virtio-blk-device or virtio-net-device' })
    expect(await refused('device_add', { driver: 'virtio-blk-device', id: 'x' })).toMatchObject({ desc: 'no image has the name x' })
    expect(await refused('device_del', { id: 'x' })).toEqual({ class: 'DeviceNotFound', desc: "Device 'x' not found" })
    expect(await refused('blockdev-del', { 'node-name': 'a' })).toMatchObject({ desc: 'image a is used by a; remove that first' })
    expect(await refused('blockdev-add', { 'node-name': 'a', 'driver': 'file', 'filename': path.join(folder, 'x') })).toMatchObject({ desc: expect.stringMatching(/^disk a: / ) as string })
    expect(await refused('blockdev-add', { 'node-name': 'f', 'driver': 'file', 'filename': path.join(folder, 'a') })).toMatchObject({ desc: expect.stringMatching(/another machine or disk uses it/) as string })
    expect(await refused('blockdev-add', { 'node-name': 'f', 'driver': 'qcow2', 'file': 'e' })).toMatchObject({ desc: 'blockdev-add qcow2: images of other formats than raw are not in this version' })
    await qmp.run('blockdev-add', { 'node-name': 'upper', 'driver': 'raw', 'file': 'e', 'read-only': true })
    expect(await qmp.run('query-named-block-nodes')).toHaveLength(5)
    await qmp.run('blockdev-del', { 'node-name': 'upper' })
    await qmp.run('device_del', { id: 'b' })
    await add('g')
    await qmp.run('device_add', { driver: 'virtio-blk-device', id: 'g' })
    await vm.kill()
  })
})

describe('the disks of a machine', () => {
  it('are shown, counted, resized and limited', async () => {
    const folder = scratch()
    const file = image(folder, 'disk.img', 4 * MIB)
    const { vm, qmp } = await withMonitor(linux({ args: ['-drive', `id=d0,file=${file},detect-zeroes=on,iops=5000`, '-device', 'virtio-blk-device,drive=d0,id=disk0'] }))
    await vm.out.until(PROMPT)
    await vm.shell('dd if=/dev/urandom of=/dev/vda bs=4k count=8 conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda of=/dev/null bs=4k count=4 2>/dev/null')
    expect(await qmp.run('query-block')).toMatchObject([{
      'device': 'd0', 'qdev': 'disk0', 'io-status': 'ok', 'inserted': {
        'file': file, 'node-name': 'd0', 'drv': 'raw', 'ro': false, 'detect_zeroes': 'on', 'iops': 5000, 'bps': 0,
        'cache': { 'writeback': true, 'direct': false, 'no-flush': false }, 'image': { 'filename': file, 'format': 'raw', 'virtual-size': 4 * MIB },
      },
    }])
    const [{ stats }] = await qmp.run('query-blockstats') as [{ stats: Record<string, number> }]
    expect(stats).toMatchObject({ wr_bytes: 32_768, wr_highest_offset: 32_768, failed_wr_operations: 0, invalid_rd_operations: 0 })
    expect(stats['flush_operations']).toBeGreaterThan(0)
    expect(stats['rd_bytes']).toBeGreaterThanOrEqual(16_384)

    await qmp.run('block_resize', { device: 'd0', size: 6 * MIB })
    await eventually('the new size', async () => await vm.shell('cat /sys/block/vda/size') === '12288')
    expect(fs.statSync(file).size).toBe(6 * MIB)
    expect(await refusal(qmp, 'block_resize', { 'node-name': 'd0', 'size': 1000 })).toMatchObject({ desc: "Parameter 'size' expects a multiple of 512 that is not negative" })

    await qmp.run('block_set_io_throttle', { id: 'disk0', bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 10, iops_wr: 0 })
    const [before, after] = (await vm.shell('cat /proc/uptime; dd if=/dev/vda of=/dev/null bs=4k count=10 iflag=direct 2>/dev/null; cat /proc/uptime')).split('\n').map((line) => Number(line.split(' ')[0])) as [number, number]
    expect(after - before).toBeGreaterThan(0.7)
    expect(await qmp.run('query-block')).toMatchObject([{ inserted: { iops: 0, iops_rd: 10 } }])
    await vm.kill()
  })

  it('stand still while the machine is stopped', async () => {
    const folder = scratch()
    const file = image(folder, 'disk.img', 16 * MIB)
    const { vm, qmp } = await withMonitor(linux({ args: ['-drive', `id=d0,file=${file},aio=io_uring`, '-device', 'virtio-blk-device,drive=d0'] }))
    await vm.out.until(PROMPT)
    vm.type('while dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null; do echo 3 >/proc/sys/vm/drop_caches; done &\n')
    const reads = async () => (await qmp.run('query-blockstats') as [{ stats: { rd_operations: number } }])[0].stats.rd_operations
    await eventually('reads', async () => await reads() > 100)
    for (let round = 0; round < 5; round++) {
      await qmp.run('stop')
      const before = await reads()
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(await reads()).toBe(before)
      await qmp.run('cont')
      await eventually('more reads', async () => await reads() > before)
    }
    await vm.kill()
  })
})
