/** QMP commands about disks and their images. Names and shapes as QEMU's; what StratoVirt leaves empty is filled. */
import * as v from 'valibot'
import { isPort } from '../../options/consoles.ts'
import { defineCommand, integer, optional, QmpError, text } from './define.ts'
import type { DiskInfo } from '../../vm.ts'

function limits({ throttle }: DiskInfo) {
  const members: Record<string, number> = {}
  for (const [key, name] of RATES) {
    const rate = throttle?.[name]
    members[key] = rate?.average ?? 0
    if (rate?.max === undefined) continue
    members[`${key}_max`] = rate.max
    members[`${key}_max_length`] = rate.maxSeconds ?? 1
  }
  if (throttle?.opsSize !== undefined) members['iops_size'] = throttle.opsSize
  return members
}

const RATES = [
  ['bps', 'bytesTotal'], ['bps_rd', 'bytesRead'], ['bps_wr', 'bytesWrite'], ['iops', 'opsTotal'], ['iops_rd', 'opsRead'], ['iops_wr', 'opsWrite'],
] as const

/** BlockDeviceInfo */
function inserted(disk: DiskInfo) {
  const { config, size, actualSize } = disk
  return {
    'backing_file_depth': 0, ...limits(disk),
    'cache': { 'direct': config.direct, 'no-flush': config.noFlush, 'writeback': disk.writeCache },
    'detect_zeroes': config.detectZeroes,
    'drv': 'raw',
    'encrypted': false,
    'file': config.filename,
    'image': { 'actual-size': actualSize, 'filename': config.filename, 'format': 'raw', 'virtual-size': size },
    'node-name': config.id,
    'ro': config.readOnly,
    ...config.throttleGroup === undefined ? {} : { group: config.throttleGroup },
    'write_threshold': 0,
  }
}

const qdev = ({ deviceId }: DiskInfo) => deviceId === undefined ? {} : { qdev: deviceId }

const queryBlock = defineCommand({
  name: 'query-block',
  doc: 'The disks of the machine with their images.',
  arguments: {},
  returns: '`[{device: string, inserted: {...}, io-status: "ok" | "failed" | "nospace", locked: false, qdev?: string, removable: false, type: "unknown"}]`',
  example: '{"execute":"query-block"}',
  run: (_args, { vm }) => vm.disks.list().filter(({ used }) => used).map((disk) => ({
    'device': disk.config.id, 'inserted': inserted(disk), 'io-status': disk.ioStatus, 'locked': false, ...qdev(disk), 'removable': false, 'type': 'unknown',
  })),
})

const queryNamedBlockNodes = defineCommand({
  name: 'query-named-block-nodes',
  doc: 'All disk images, also those that no disk shows.',
  arguments: { flat: optional(v.boolean('boolean')) },
  returns: '`[{cache: {...}, drv: "raw", file: string, image: {...}, node-name: string, ro: boolean, ...}]`',
  example: '{"execute":"query-named-block-nodes"}',
  run: (_args, { vm }) => vm.disks.list().map(inserted),
})

const queryBlockstats = defineCommand({
  name: 'query-blockstats',
  doc: 'What the disks have done since the start: operations, bytes and nanoseconds.',
  arguments: { 'query-nodes': optional(v.boolean('boolean')) },
  returns: '`[{device: string, node-name: string, qdev?: string, stats: {rd_bytes, rd_operations, wr_bytes, wr_operations, flush_operations, ...}}]`',
  example: '{"execute":"query-blockstats"}',
  run: (_args, { vm }) => vm.disks.list().filter(({ used }) => used).map((disk) => {
    const { statistics: counts } = disk
    return {
      'device': disk.config.id, 'node-name': disk.config.id, ...qdev(disk),
      'stats': {
        account_failed: true, account_invalid: true,
        failed_flush_operations: counts.failedFlushes, failed_rd_operations: counts.failedReads, failed_unmap_operations: counts.failedUnmaps, failed_wr_operations: counts.failedWrites,
        flush_operations: counts.flushes, flush_total_time_ns: counts.flushNs,
        invalid_flush_operations: counts.invalidFlushes, invalid_rd_operations: counts.invalidReads, invalid_unmap_operations: counts.invalidUnmaps, invalid_wr_operations: counts.invalidWrites,
        rd_bytes: counts.readBytes, rd_merged: 0, rd_operations: counts.reads, rd_total_time_ns: counts.readNs, timed_stats: [],
        unmap_bytes: counts.unmappedBytes, unmap_merged: 0, unmap_operations: counts.unmaps, unmap_total_time_ns: counts.unmapNs,
        wr_bytes: counts.writtenBytes, wr_highest_offset: counts.highestWritten, wr_merged: 0, wr_operations: counts.writes, wr_total_time_ns: counts.writeNs,
      },
    }
  }),
})

const queryBlockJobs = defineCommand({
  name: 'query-block-jobs',
  doc: 'Jobs on disk images: there are none.',
  arguments: {},
  returns: '`[]`',
  example: '{"execute":"query-block-jobs"}',
  run: () => [],
})

const blockResize = defineCommand({
  name: 'block_resize',
  doc: 'Gives an image a new size; the guest is told. A device of the host must have that size already.',
  arguments: {
    'device': optional(text('id of the -drive, or of the device')),
    'node-name': optional(text('name of the image')),
    'size': integer('bytes, a multiple of 512'),
  },
  example: '{"execute":"block_resize","arguments":{"device":"d0","size":1073741824}}',
  run({ device, 'node-name': node, size }, { vm }) {
    if (size < 0 || size % 512 !== 0) throw new QmpError('GenericError', "Parameter 'size' expects a multiple of 512 that is not negative")
    vm.disks.resize(one(device, node, 'node-name'), size)
    return {}
  },
})

const rate = (what: string) => integer(`most ${what} a second; 0: no limit`)
const burst = (what: string) => optional(integer(`most ${what} a second in a burst`))
const seconds = optional(integer('longest burst in seconds'))

const blockSetIoThrottle = defineCommand({
  name: 'block_set_io_throttle',
  doc: 'Limits operations and bytes of a disk from now on.',
  arguments: {
    device: optional(text('id of the -drive')), id: optional(text('id of the device')),
    bps: rate('bytes'), bps_rd: rate('bytes read'), bps_wr: rate('bytes written'), iops: rate('operations'), iops_rd: rate('reads'), iops_wr: rate('writes'),
    bps_max: burst('bytes'), bps_rd_max: burst('bytes read'), bps_wr_max: burst('bytes written'), iops_max: burst('operations'), iops_rd_max: burst('reads'), iops_wr_max: burst('writes'),
    bps_max_length: seconds, bps_rd_max_length: seconds, bps_wr_max_length: seconds, iops_max_length: seconds, iops_rd_max_length: seconds, iops_wr_max_length: seconds,
    iops_size: optional(integer('an operation of more bytes counts as several')),
  },
  example: '{"execute":"block_set_io_throttle","arguments":{"device":"d0","bps":0,"bps_rd":0,"bps_wr":0,"iops":100,"iops_rd":0,"iops_wr":0}}',
  run({ device, id, ...values }, { vm }) {
    vm.disks.setThrottle(one(device, id, 'id'), values)
    return {}
  },
})

const blockdevAdd = defineCommand({
  name: 'blockdev-add',
  doc: 'Opens a disk image under a node-name, as -blockdev does. Further members: those of -blockdev.',
  arguments: {
    'node-name': text('name of the image'),
    'driver': optional(text('`raw` (default), `file` or `host_device`')),
    'file': optional(v.pipe(v.union([v.string(), v.record(v.string(), v.unknown())], 'string or object'), v.description('node-name, or `{driver, filename, aio}`'))),
    'filename': optional(text('the file, for `file` and `host_device`')),
    'aio': optional(text('`threads`, `io_uring` or `native`')),
    'locking': optional(text('`auto`, `on` or `off`')),
    'read-only': optional(v.boolean('boolean')),
    'auto-read-only': optional(v.boolean('boolean')),
    'force-share': optional(v.boolean('boolean')),
    'cache': optional(v.pipe(v.record(v.string(), v.unknown(), 'object'), v.description('`{direct, no-flush}`'))),
    'discard': optional(text('`ignore` or `unmap`')),
    'detect-zeroes': optional(text('`off`, `on` or `unmap`')),
    'throttling.iops-total': optional(integer('most operations a second')),
  },
  example: '{"execute":"blockdev-add","arguments":{"node-name":"d1","driver":"raw","file":{"driver":"file","filename":"/tmp/disk.img"}}}',
  async run(args, { vm }) {
    await vm.disks.add(args)
    return {}
  },
})

const blockdevDel = defineCommand({
  name: 'blockdev-del',
  doc: 'Closes a disk image that no disk shows.',
  arguments: { 'node-name': text('name of the image') },
  example: '{"execute":"blockdev-del","arguments":{"node-name":"d1"}}',
  async run(args, { vm }) {
    await vm.disks.remove(args['node-name'])
    return {}
  },
})

const deviceAdd = defineCommand({
  name: 'device_add',
  doc: 'Fills one of the four disk slots or two network slots that a machine with a monitor has, or adds a console or channel to a virtio-serial-device; the guest is told.',
  arguments: {
    'driver': text('`virtio-blk-device` or `virtio-net-device`; any name with `blk` or `net` in it is understood; `virtconsole`, `virtserialport`'),
    'id': text('name of the device'),
    'drive': optional(text('name of the image; default `id`')),
    'netdev': optional(text('name of the network; default `id`')),
    'chardev': optional(text('of a console or channel; elsewhere ignored: StratoVirt\'s callers name the network here too')),
    'name': optional(text('name of a channel in the guest')),
    'nr': optional(integer('number of a port; default the first that is free')),
    'mac': optional(text('address of the card; default that of the slot')),
    'mq': optional(v.pipe(v.union([v.boolean(), v.string()], 'string'), v.description('ignored: a slot has one queue pair'))),
    'vectors': optional(v.pipe(v.union([v.number(), v.string()], 'integer'), v.description('ignored: a slot has one interrupt'))),
    'addr': optional(text('number of the slot, 0 to 3 and 0 to 1; default the first that is empty')),
    'lun': optional(integer('number of the slot less one')),
    'serial': optional(text('serial number')),
    'bus': optional(text('controller of a console or channel, as ID.0; elsewhere ignored: slots have no bus')),
    'romfile': optional(text('ignored: there is no firmware')),
    'share-rw': optional(v.pipe(v.union([v.boolean(), v.string()], 'string'), v.description('ignored: locking of the image says so'))),
    'disable-modern': optional(v.pipe(v.union([v.boolean(), v.string()], 'string'), v.description('only false'))),
    'num-queues': optional(integer('ignored: a slot has one queue')),
    'queue-size': optional(integer('ignored: a slot has 256 descriptors')),
    'bootindex': optional(integer('ignored: the kernel is loaded directly')),
    'boot_index': optional(integer('ignored: the kernel is loaded directly')),
    'logical_block_size': optional(integer('only 512: slots are there before their disks')),
    'physical_block_size': optional(integer('only 512')),
  },
  example: '{"execute":"device_add","arguments":{"driver":"virtio-blk-device","id":"disk1","drive":"d1","addr":"1"}}',
  run(args, { vm }) {
    if (isPort(args.driver)) vm.consoles.plug(args)
    else if (args.driver.includes('net')) vm.networks.plug(args)
    else vm.disks.plug(args)
    return {}
  },
})

const deviceDel = defineCommand({
  name: 'device_del',
  doc: 'Empties a disk or network slot, or takes a console or channel out, at once; the guest is told. DEVICE_DELETED follows. Its image or network is closed with it, a character device stays.',
  arguments: { id: text('name of the device') },
  example: '{"execute":"device_del","arguments":{"id":"disk1"}}',
  async run({ id }, { vm }) {
    if (vm.consoles.has(id)) {
      vm.consoles.unplug(id)
      return {}
    }
    if (vm.networks.has(id)) {
      await vm.networks.unplug(id)
      return {}
    }
    if (!vm.disks.list().some(({ deviceId }) => deviceId === id)) throw new QmpError('DeviceNotFound', `Device '${id}' not found`)
    await vm.disks.unplug(id)
    return {}
  },
})

/** @throws QmpError where none or both are given */
function one(first: string | undefined, second: string | undefined, name: string): string {
  if ((first === undefined) === (second === undefined)) throw new QmpError('GenericError', `Need exactly one of 'device' and '${name}'`)
  return first ?? second ?? ''
}

export const blockCommands = [
  queryBlock, queryNamedBlockNodes, queryBlockstats, queryBlockJobs, blockResize, blockSetIoThrottle, blockdevAdd, blockdevDel, deviceAdd, deviceDel,
] as const
