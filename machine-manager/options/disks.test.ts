import { describe, expect, it } from 'vitest'
import type { DiskConfig, VmConfig } from './config.ts'
import { parseCommandLine } from './parse.ts'

function configOf(line: string): VmConfig {
  const command = parseCommandLine([...line.split(' '), '-kernel', 'vmlinuz'])
  if (command.kind !== 'launch') throw new Error('no launch')
  return command.config
}
const imageOf = (line: string) => {
  const { images } = configOf(line)
  expect(images).toHaveLength(1)
  return images[0]
}

describe('-drive and -blockdev', () => {
  it('make the root disk as Kata Containers asks for it', () => {
    const config = configOf('-drive id=rootfs,file=/usr/share/kata.img,readonly=on,direct=off -device virtio-blk-device,drive=rootfs,id=virtio-blk0')
    expect(config.images).toMatchObject([{ id: 'rootfs', filename: '/usr/share/kata.img', readOnly: true, direct: false, aio: 'threads', locking: 'auto', discard: 'ignore' }])
    expect(config.devices).toMatchObject([{ kind: 'virtio-blk', id: 'virtio-blk0', drive: 'rootfs', queues: 1, queueSize: 256 }])
  })

  it.each([
    ['one node', '-blockdev driver=raw,node-name=d,file.driver=file,file.filename=x,read-only=on,cache.direct=on,file.aio=native'],
    ['one of a file', '-blockdev driver=file,node-name=d,filename=x,aio=native,cache.direct=on,read-only=on'],
    ['two nodes', '-blockdev driver=file,node-name=f,filename=x,aio=native,cache.direct=on -blockdev driver=raw,node-name=d,file=f,read-only=on'],
    ['two nodes, the upper first', '-blockdev driver=raw,node-name=d,file=f,read-only=on -blockdev file,node-name=f,filename=x,aio=native'],
    ['JSON', '-blockdev {"driver":"raw","node-name":"d","read-only":true,"cache":{"direct":true},"file":{"driver":"file","filename":"x","aio":"native"}}'],
  ])('say the same in the spelling of QEMU: %s', (_what, line) => {
    expect(imageOf(line)).toMatchObject({ id: 'd', filename: 'x', readOnly: true, direct: true, aio: 'native' })
  })

  it('know what cache= stands for', () => {
    const cache = (name: string) => {
      const { direct, noFlush, writeCache } = imageOf(`-drive id=d,file=x,cache=${name}`) ?? {}
      return [direct, noFlush, writeCache]
    }
    expect(cache('writeback')).toEqual([false, false, true])
    expect(cache('none')).toEqual([true, false, true])
    expect(cache('writethrough')).toEqual([false, false, false])
    expect(cache('directsync')).toEqual([true, false, false])
    expect(cache('unsafe')).toEqual([false, true, true])
  })

  it('limit rates in the three spellings of QEMU', () => {
    const expected = { opsTotal: { average: 100, max: 200, maxSeconds: 3 }, bytesRead: { average: 4096 }, opsSize: 8192 }
    expect(imageOf('-drive id=d,file=x,throttling.iops-total=100,throttling.iops-total-max=200,throttling.iops-total-max-length=3,throttling.bps-read=4096,throttling.iops-size=8192')?.throttle)
      .toEqual(expected)
    expect(imageOf('-drive id=d,file=x,iops=100,iops_max=200,iops_max_length=3,bps_rd=4096,iops_size=8192')?.throttle).toEqual(expected)
    expect(imageOf('-drive id=d,file=x,throttling.iops-total=0')?.throttle).toBeUndefined()
  })

  it('take native as a wish for O_DIRECT, and off and iouring for what they are', () => {
    expect(imageOf('-drive id=d,file=x,aio=native')).toMatchObject({ aio: 'native', direct: true })
    expect(imageOf('-drive id=d,file=x,aio=off')).toMatchObject({ aio: 'threads', direct: false })
    expect(imageOf('-drive id=d,file=x,aio=iouring')).toMatchObject({ aio: 'io_uring', direct: false })
  })

  it('if=virtio makes the disk as well', () => {
    const { images, devices } = configOf('-drive file=x,if=virtio,serial=s1,format=raw')
    expect(images).toMatchObject([{ id: 'drive0', serial: 's1', isRaw: true }])
    expect((devices as DiskConfig[]).map(({ drive }) => drive)).toEqual(['drive0'])
  })
})

describe('-device virtio-blk-device', () => {
  it('has QEMU\'s properties', () => {
    const { devices } = configOf('-drive id=d,file=x -device virtio-blk-device,drive=d,serial=abc,num-queues=4,queue-size=128,logical_block_size=4096,physical_block_size=8k,'
      + 'min_io_size=4096,opt_io_size=65536,discard_granularity=4096,write-cache=off,config-wce=off,discard=off,write-zeroes=off,werror=stop,rerror=ignore,bootindex=1')
    expect(devices).toEqual([{
      kind: 'virtio-blk', id: undefined, drive: 'd', serial: 'abc', queues: 4, queueSize: 128, logicalBlockSize: 4096, physicalBlockSize: 8192, minIoSize: 4096, optIoSize: 65_536,
      discardGranularity: 4096, discard: false, writeZeroes: false, writeCache: false, configWce: false, onWriteError: 'stop', onReadError: 'ignore',
      rings: { packed: true, indirect: true, eventIndex: true },
    }])
  })

  it.each([
    ['-device virtio-blk-device', 'OPTION_MISSING', '-device virtio-blk-device: needs drive=; add it'],
    ['-drive id=disk0,file=x -device virtio-blk-device,drive=disk1', 'OPTION_MISSING', '-device virtio-blk-device drive=disk1: no drive has this id; did you mean disk0?'],
    ['-device virtio-blk-device,drive=d', 'OPTION_MISSING', '-device virtio-blk-device drive=d: no drive has this id; add -drive id=...,file=...'],
    ['-drive id=d,file=x -device virtio-blk-device,drive=d -device virtio-blk-device,drive=d', 'OPTION_CONFLICT',
      '-device virtio-blk-device drive=d: another disk uses this drive; add another -drive'],
    ['-drive id=d,file=x -drive id=d,file=y', 'OPTION_CONFLICT', '-drive or -blockdev d: another one has this name; use another name'],
    ['-drive id=d', 'OPTION_MISSING', '-drive: needs file=; add it'],
    ['-drive id=d,file=x,raedonly=on', 'OPTION_UNKNOWN', '-drive raedonly: unknown property; did you mean readonly?'],
    ['-drive id=d,file=x,format=qcow2', 'OPTION_LATER', '-drive format=qcow2: images of other formats than raw are not in this version'],
    ['-drive id=d,file=x,aio=native,direct=off', 'OPTION_CONFLICT', '-drive id=d aio=native: needs direct=on; change that, or use aio=io_uring or aio=threads'],
    ['-drive id=d,file=x,cache=none,direct=on', 'OPTION_CONFLICT', '-drive id=d cache=none: cache= sets direct, writeback and no-flush; leave one of both out'],
    ['-drive id=d,file=x,iops_max=5', 'OPTION_MISSING', '-drive id=d throttling.iops-total-max: a burst needs a limit it goes beyond; add throttling.iops-total='],
    ['-drive id=d,file=x,iops=5,iops_rd=5', 'OPTION_CONFLICT', '-drive id=d throttling: iops-total and limits of reads or writes exclude each other; leave one out'],
    ['-drive id=d,file=x,iops=5,iops_max=2', 'OPTION_VALUE', '-drive id=d throttling.iops-total-max=2: is less than the limit of 5; make it more, or leave it out'],
    ['-blockdev driver=raw,node-name=d', 'OPTION_MISSING', '-blockdev node-name=d: needs file= with the name of a node, or file.filename=; add one'],
    ['-blockdev driver=raw,node-name=d,file=d', 'OPTION_MISSING', '-blockdev node-name=d file=d: no node has this name; add -blockdev driver=file,node-name=...,filename=...'],
    ['-blockdev driver=qcow2,node-name=d', 'OPTION_LATER', '-blockdev qcow2: images of other formats than raw are not in this version'],
    ['-drive id=d,file=x -device virtio-blk-device,drive=d,queue-size=100', 'OPTION_VALUE', '-device virtio-blk-device queue-size=100: must be a power of two'],
    ['-drive id=d,file=x -device virtio-blk-device,drive=d,iothread=t', 'OPTION_LATER', '-device virtio-blk-device iothread: I/O threads are not in this version'],
    ['-drive id=d,file=x -device virtio-blk-device,drive=d,serial=123456789012345678901', 'OPTION_VALUE',
      '-device virtio-blk-device serial=: the value has 21 bytes, at most 20 are allowed; shorten it'],
    [Array.from({ length: 5 }, (_, index) => `-drive file=x${index},if=virtio`).join(' '), 'OPTION_VALUE', '-device: 5 disks are given, 4 are possible; leave some out'],
  ])('%s is refused', (line, code, message) => {
    expect(() => configOf(line)).toThrow(expect.objectContaining({ code, message }))
  })
})
