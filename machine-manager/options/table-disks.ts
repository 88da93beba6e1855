/** Keys of -drive, -blockdev and disks among the devices. */
import type { SubOption, Variant } from './option-types.ts'
import { ID, ON_OFF, PATH, ignored, later } from './option-types.ts'
import { MIB } from './values.ts'
import type { ValueType } from './values.ts'

const choices = (...names: string[]): ValueType => ({ kind: 'choice', choices: names.map((name) => ({ name })) })
const QCOW2 = later('images of other formats than raw')
const TO_ONE = ignored('one disk of a raw image has no such cache')

const AIO: ValueType = {
  kind: 'choice', choices: [
    { name: 'threads', aliases: ['off'] }, { name: 'io_uring', aliases: ['iouring'] }, { name: 'native' },
  ],
}
const LOCKING: ValueType = { kind: 'choice', choices: [{ name: 'auto' }, { name: 'on' }, { name: 'off' }] }
const DISCARD: ValueType = { kind: 'choice', choices: [{ name: 'ignore', aliases: ['off'] }, { name: 'unmap', aliases: ['on'] }] }
const WRITE_ERRORS = choices('report', 'ignore', 'stop', 'enospc')
const READ_ERRORS = choices('report', 'ignore', 'stop')

const RATE: ValueType = { kind: 'integer', min: 0, max: 1e15 }
const SECONDS: ValueType = { kind: 'integer', min: 1, max: 3600 }

/** Limits by key of QEMU's throttling.* options, with the older spellings. */
export const THROTTLE_KEYS = [
  { key: 'iops-total', old: 'iops', rate: 'opsTotal', what: 'operations' }, { key: 'iops-read', old: 'iops_rd', rate: 'opsRead', what: 'reads' },
  { key: 'iops-write', old: 'iops_wr', rate: 'opsWrite', what: 'writes' }, { key: 'bps-total', old: 'bps', rate: 'bytesTotal', what: 'bytes' },
  { key: 'bps-read', old: 'bps_rd', rate: 'bytesRead', what: 'bytes read' }, { key: 'bps-write', old: 'bps_wr', rate: 'bytesWrite', what: 'bytes written' },
] as const

const THROTTLING: readonly SubOption[] = [
  ...THROTTLE_KEYS.flatMap(({ key, old, what }): SubOption[] => [
    { key: `throttling.${key}`, aliases: [old], type: RATE, help: `most ${what} a second; 0: no limit` },
    { key: `throttling.${key}-max`, aliases: [`${old}_max`], type: RATE, help: 'most of them a second in a burst' },
    { key: `throttling.${key}-max-length`, aliases: [`${old}_max_length`], type: SECONDS, default: '1', help: 'longest burst in seconds' },
  ]),
  { key: 'throttling.iops-size', aliases: ['iops_size'], type: RATE, help: 'an operation of more bytes counts as several' },
  { key: 'throttling.group', aliases: ['group'], type: ID, help: 'images of one group share its limits' },
]

const FILE_KEYS: readonly SubOption[] = [
  { key: 'aio', type: AIO, default: 'threads',
    help: 'how the file is read and written; native needs O_DIRECT and takes it unless direct=off is said. off is threads' },
  { key: 'locking', type: LOCKING, default: 'auto', help: 'whether an image in use elsewhere is refused; auto: where the file system has locks' },
]

const CACHE_KEYS: readonly SubOption[] = [
  { key: 'cache.direct', aliases: ['direct'], type: ON_OFF, help: 'past the page cache of the host (O_DIRECT)' },
  { key: 'cache.no-flush', type: ON_OFF, default: 'off', help: 'flushes of the guest do nothing: the image is lost if the host ends early' },
]

const NODE_KEYS: readonly SubOption[] = [
  { key: 'discard', type: DISCARD, default: 'ignore', help: 'whether the guest\'s discards give room back' },
  { key: 'detect-zeroes', type: choices('off', 'on', 'unmap'), default: 'off', help: 'zeros written become room without data, and with unmap are given back where discard=unmap' },
]

export const DRIVE: readonly SubOption[] = [
  { key: 'id', type: ID, help: 'name that -device drive= refers to' },
  { key: 'file', aliases: ['file.filename'], type: PATH, help: 'image file, or block device', required: true },
  { key: 'if', type: { kind: 'choice', choices: [{ name: 'none' }, { name: 'virtio', help: 'with a disk of its own' }], otherwise: 'drives of this interface' },
    default: 'none', help: 'what it is behind: none, a -device names it' },
  { key: 'format', aliases: ['driver'], type: { kind: 'choice', choices: [{ name: 'raw' }, { name: 'qcow2', status: QCOW2 }], otherwise: 'images of other formats than raw' },
    default: 'raw', help: 'how the image is laid out' },
  { key: 'readonly', aliases: ['read-only'], type: ON_OFF, default: 'off', help: 'the guest cannot write' },
  { key: 'cache', type: choices('writeback', 'none', 'writethrough', 'directsync', 'unsafe'), default: 'writeback',
    help: 'none and directsync: past the page cache; writethrough and directsync: every write is flushed; unsafe: no flush ever' },
  { key: 'cache.writeback', type: ON_OFF, default: 'on', help: 'off: every write is flushed' },
  ...CACHE_KEYS, ...FILE_KEYS.map((option) => ({ ...option, aliases: [`file.${option.key}`] })), ...NODE_KEYS,
  { key: 'werror', type: WRITE_ERRORS, default: 'enospc', help: 'after a write that failed: tell the guest, or stop the machine (enospc: where the disk is full) until cont' },
  { key: 'rerror', type: READ_ERRORS, default: 'report', help: 'after a read that failed' },
  { key: 'serial', type: { kind: 'text', maxBytes: 20 }, help: 'serial number, for if=virtio' },
  ...THROTTLING,
  { key: 'media', type: { kind: 'choice', choices: [{ name: 'disk' }], otherwise: 'CD-ROM drives' }, default: 'disk', help: 'only disk' },
  { key: 'snapshot', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('writes always go to the image') },
  { key: 'copy-on-read', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('raw images have no backing file') },
  { key: 'index', type: { kind: 'integer', min: 0, max: 255 }, help: 'number of the drive', status: ignored('drives come in the order of the command line') },
  { key: 'unit', type: { kind: 'integer', min: 0, max: 1 }, help: 'flash bank', status: later('flash images') },
  { key: 'l2-cache-size', type: { kind: 'size', min: 0, max: 32 * MIB, bareUnit: 1 }, help: 'cache of qcow2', status: TO_ONE },
  { key: 'refcount-cache-size', type: { kind: 'size', min: 0, max: 32 * MIB, bareUnit: 1 }, help: 'cache of qcow2', status: TO_ONE },
]

const NODE: readonly SubOption[] = [
  { key: 'node-name', aliases: ['id'], type: ID, help: 'name that -device drive= and other nodes refer to', required: true },
  { key: 'read-only', aliases: ['readonly'], type: ON_OFF, default: 'off', help: 'the guest cannot write' },
  { key: 'auto-read-only', type: ON_OFF, help: 'read-only where it cannot be written', status: ignored('an image is opened as read-only= says') },
  { key: 'force-share', type: ON_OFF, default: 'off', help: 'open it though others write it; only with read-only=on' },
  ...CACHE_KEYS, ...NODE_KEYS, ...THROTTLING,
]

const PROTOCOL: readonly SubOption[] = [{ key: 'filename', type: PATH, help: 'the file', required: true }, ...FILE_KEYS]

const RAW: readonly SubOption[] = [
  { key: 'file', type: ID, help: 'node-name of the -blockdev with the file, or the file itself by file.driver and file.filename' },
  { key: 'file.driver', type: choices('file', 'host_device'), default: 'file', help: 'kind of file' },
  { key: 'file.filename', type: PATH, help: 'the file' },
  { key: 'file.node-name', type: ID, help: 'name of the file\'s node', status: ignored('the node above has the name that counts') },
  ...FILE_KEYS.map((option) => ({ ...option, key: `file.${option.key}`, aliases: [option.key] })),
  ...CACHE_KEYS.map((option) => ({ ...option, key: `file.${option.key}`, aliases: [] })),
  { key: 'file.read-only', type: ON_OFF, help: 'read-only', status: ignored('read-only= of the node above counts') },
  { key: 'file.auto-read-only', type: ON_OFF, help: 'read-only where it cannot be written', status: ignored('an image is opened as read-only= says') },
  { key: 'file.discard', type: DISCARD, help: 'discards', status: ignored('discard= of the node above counts') },
  { key: 'offset', type: { kind: 'size', min: 0, max: 2 ** 52, bareUnit: 1 }, help: 'where the disk begins in the file', status: later('parts of images') },
  { key: 'size', type: { kind: 'size', min: 0, max: 2 ** 52, bareUnit: 1 }, help: 'how much of it is the disk', status: later('parts of images') },
]

export const BLOCK_NODES: readonly Variant[] = [
  { name: 'raw', help: 'a disk image without a format of its own', sub: [...NODE, ...RAW] },
  { name: 'file', help: 'a regular file', sub: [...NODE, ...PROTOCOL] },
  { name: 'host_device', help: 'a block device', sub: [...NODE, ...PROTOCOL] },
  ...['qcow2', 'vmdk', 'vdi', 'vpc', 'vhdx', 'luks'].map((name): Variant => ({ name, help: '', sub: [], status: QCOW2 })),
  ...['throttle', 'copy-on-read', 'blkdebug', 'blkverify', 'quorum', 'replication'].map((name): Variant => ({ name, help: '', sub: [], status: later('filter nodes') })),
  ...['nbd', 'ssh', 'http', 'https', 'iscsi', 'rbd', 'nfs', 'nvme', 'null-co', 'null-aio', 'host_cdrom'].map((name): Variant => ({ name, help: '', sub: [], status: later('images of this kind') })),
]

const BLOCK_SIZE: ValueType = { kind: 'size', min: 512, max: 2 * MIB, bareUnit: 1 }
const IO_SIZE: ValueType = { kind: 'size', min: 0, max: 2 ** 31, bareUnit: 1 }

/** Keys of virtio-blk-device beside those of every virtio device. */
export const VIRTIO_BLK: readonly SubOption[] = [
  { key: 'drive', type: ID, help: 'the -drive or -blockdev behind it', required: true },
  { key: 'serial', type: { kind: 'text', maxBytes: 20 }, help: 'serial number' },
  { key: 'num-queues', type: { kind: 'integer', min: 1, max: 32 }, default: '1', help: 'number of queues; their interrupt is one' },
  { key: 'queue-size', type: { kind: 'integer', min: 4, max: 1024 }, default: '256', help: 'size of a queue, a power of two' },
  { key: 'bootindex', type: { kind: 'integer', min: 0, max: 255 }, help: 'boot order', status: ignored('the kernel is loaded directly') },
  { key: 'logical_block_size', type: BLOCK_SIZE, help: 'unit of requests; default 512, or what O_DIRECT wants' },
  { key: 'physical_block_size', type: BLOCK_SIZE, help: 'unit of the medium; default the logical block size' },
  { key: 'min_io_size', type: IO_SIZE, default: '0', help: 'smallest good request' },
  { key: 'opt_io_size', type: IO_SIZE, default: '0', help: 'best request' },
  { key: 'discard_granularity', type: IO_SIZE, help: 'unit of discards; default the logical block size' },
  { key: 'discard', type: ON_OFF, default: 'on', help: 'offer discards' },
  { key: 'write-zeroes', type: ON_OFF, default: 'on', help: 'offer to write zeros' },
  { key: 'write-cache', type: choices('auto', 'on', 'off'), default: 'auto', help: 'off: every write is flushed; auto: as the drive says' },
  { key: 'config-wce', type: ON_OFF, default: 'on', help: 'the guest may switch the write cache' },
  { key: 'werror', type: WRITE_ERRORS, help: 'after a write that failed; default as the drive says' },
  { key: 'rerror', type: READ_ERRORS, help: 'after a read that failed; default as the drive says' },
  { key: 'share-rw', type: ON_OFF, default: 'off', help: 'others may write the image', status: ignored('locking= of the image says so') },
  { key: 'request-merging', type: ON_OFF, help: 'join neighbouring requests', status: ignored('the guest joins them') },
  { key: 'scsi', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('virtio 1 has no SCSI commands on disks') },
  { key: 'iothread', type: ID, help: 'thread of its queues', status: later('I/O threads') },
]
