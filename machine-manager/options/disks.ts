/** -drive, -blockdev and disks of -device: from checked values to images and devices, and what they mean together. */
import type { DiskConfig, ImageConfig } from './config.ts'
import { optionError, printable } from './errors.ts'
import type { NamedValues, Values } from './interpret.ts'
import { didYouMean } from './suggest.ts'
import { THROTTLE_KEYS } from './table-disks.ts'
import type { Rate, ThrottleLimits } from '../../device-model/block/throttle.ts'
import type { ReadErrorPolicy, WriteErrorPolicy } from '../../device-model/block/config.ts'

/** A node of -blockdev whose file is another node. */
export interface ReferringNode { readonly name: string; readonly file: string; readonly values: Values; readonly where: string }

/** @param number of the drive, for a name where it has none */
export function driveConfig(values: Values, number: number, where: string): { image: ImageConfig; disk: boolean } {
  const id = values.text('id') ?? `drive${number}`
  const at = `${where} id=${printable(id, 60)}`
  const cache = values.text('cache')
  if (cache !== undefined && ['cache.direct', 'cache.writeback', 'cache.no-flush'].some((key) => values.has(key))) {
    throw optionError('OPTION_CONFLICT', `${at} cache=${cache}`, 'cache= sets direct, writeback and no-flush; leave one of both out')
  }
  const image: ImageConfig = {
    id, filename: values.text('file') ?? '', expect: 'any', isRaw: values.has('format'),
    ...common(values, at, cache === undefined ? values.boolean('cache.direct') : cache === 'none' || cache === 'directsync'),
    noFlush: cache === 'unsafe' || (values.boolean('cache.no-flush') ?? false),
    writeCache: cache !== 'writethrough' && cache !== 'directsync' && (values.boolean('cache.writeback') ?? true),
    readOnly: values.boolean('readonly') ?? false,
    serial: values.text('serial'),
    onWriteError: values.text('werror') as WriteErrorPolicy | undefined, onReadError: values.text('rerror') as ReadErrorPolicy | undefined,
  }
  return { image, disk: values.text('if') === 'virtio' }
}

/** @returns an image, or a node that `resolveNode` makes one of */
export function blockdevConfig({ name, values }: NamedValues, where: string): ImageConfig | ReferringNode {
  const id = values.text('node-name') ?? ''
  const at = `${where} node-name=${printable(id, 60)}`
  const file = values.text('file')
  if (file !== undefined) {
    if (values.has('file.filename')) throw optionError('OPTION_CONFLICT', at, 'file= names a node and file.filename= a file; leave one out')
    return { name: id, file, values, where: at }
  }
  const filename = values.text(name === 'raw' ? 'file.filename' : 'filename')
  if (filename === undefined) throw optionError('OPTION_MISSING', at, 'needs file= with the name of a node, or file.filename=; add one')
  const kind = name === 'raw' ? values.text('file.driver') ?? 'file' : name
  // driver=file is what callers write for devices as well, as QEMU once allowed.
  const image = nodeConfig(values, at, id, filename, name === 'raw' ? 'file.' : '')
  return { ...image, expect: kind === 'host_device' ? 'device' : 'any', isRaw: true }
}

/** A node above another one: what it says itself counts, the rest comes from below. */
export function resolveNode(node: ReferringNode, below: ImageConfig): ImageConfig {
  const own = nodeConfig(node.values, node.where, node.name, below.filename, 'file.')
  const given = (key: string) => node.values.has(key)
  return {
    ...below, ...own, expect: below.expect, isRaw: true,
    aio: given('file.aio') ? own.aio : below.aio, direct: given('cache.direct') || given('file.cache.direct') ? own.direct : below.direct, locking: given('file.locking') ? own.locking : below.locking,
    readOnly: own.readOnly || below.readOnly, noFlush: own.noFlush || below.noFlush, discard: given('discard') ? own.discard : below.discard,
    throttle: own.throttle ?? below.throttle, throttleGroup: own.throttleGroup ?? below.throttleGroup,
  }
}

function nodeConfig(values: Values, where: string, id: string, filename: string, prefix: '' | 'file.'): ImageConfig {
  const readOnly = values.boolean('read-only') ?? false
  const shared = values.boolean('force-share') ?? false
  if (shared && !readOnly) throw optionError('OPTION_CONFLICT', `${where} force-share=on`, 'only a read-only node may ignore who else uses its file; add read-only=on')
  const direct = values.boolean('cache.direct') ?? (prefix === '' ? undefined : values.boolean('file.cache.direct'))
  const options = common(values, where, direct, prefix)
  return {
    id, filename, expect: 'any', isRaw: true, ...options, ...shared ? { locking: 'off' } : {}, readOnly, writeCache: true,
    noFlush: values.boolean('cache.no-flush') ?? (prefix === '' ? undefined : values.boolean('file.cache.no-flush')) ?? false,
  }
}

/** native works past the page cache only: it is taken as a wish for O_DIRECT where nothing else is said, as StratoVirt's callers mean it. */
function common(values: Values, where: string, direct: boolean | undefined, prefix: '' | 'file.' = '') {
  const aio = (values.text(`${prefix}aio`) ?? 'threads') as ImageConfig['aio']
  if (aio === 'native' && direct === false) {
    throw optionError('OPTION_CONFLICT', `${where} aio=native`, 'needs direct=on; change that, or use aio=io_uring or aio=threads')
  }
  return {
    aio, direct: direct ?? aio === 'native',
    locking: (values.text(`${prefix}locking`) ?? 'auto') as ImageConfig['locking'],
    discard: (values.text('discard') ?? 'ignore') as ImageConfig['discard'],
    detectZeroes: (values.text('detect-zeroes') ?? 'off') as ImageConfig['detectZeroes'],
    throttle: throttleLimits(values, where), throttleGroup: values.text('throttling.group'),
  }
}

/** @returns undefined where nothing is limited. @throws MesovirtError OPTION_CONFLICT, OPTION_MISSING */
export function throttleLimits(values: Values, where: string): ThrottleLimits | undefined {
  const limits: { -readonly [Key in keyof ThrottleLimits]: ThrottleLimits[Key] } = {}
  for (const { key, rate } of THROTTLE_KEYS) {
    const average = values.number(`throttling.${key}`) ?? 0
    const max = values.number(`throttling.${key}-max`) ?? 0
    const length = values.number(`throttling.${key}-max-length`)
    limits[rate] = checkRate(key, average, max, length, where)
  }
  for (const kind of ['ops', 'bytes'] as const) {
    if (limits[`${kind}Total`] === undefined || (limits[`${kind}Read`] === undefined && limits[`${kind}Write`] === undefined)) continue
    throw optionError('OPTION_CONFLICT', `${where} throttling`, `${kind === 'ops' ? 'iops' : 'bps'}-total and limits of reads or writes exclude each other; leave one out`)
  }
  const size = values.number('throttling.iops-size') ?? 0
  if (size > 0) limits.opsSize = size
  return THROTTLE_KEYS.every(({ rate }) => limits[rate] === undefined) ? undefined : limits
}

/** @param max 0: no burst; @param length seconds. @throws MesovirtError OPTION_MISSING, OPTION_VALUE */
export function checkRate(key: string, average: number, max: number, length: number | undefined, where: string): Rate | undefined {
  const at = `${where} throttling.${key}`
  if (max > 0 && average === 0) throw optionError('OPTION_MISSING', `${at}-max`, `a burst needs a limit it goes beyond; add throttling.${key}=`)
  if (max > 0 && max < average) throw optionError('OPTION_VALUE', `${at}-max=${max}`, `is less than the limit of ${average}; make it more, or leave it out`)
  if (length !== undefined && length > 1 && max === 0) throw optionError('OPTION_MISSING', `${at}-max-length`, `a burst needs a height; add throttling.${key}-max=`)
  if (average === 0) return undefined
  return max === 0 ? { average } : { average, max, maxSeconds: length ?? 1 }
}

/** @throws MesovirtError OPTION_VALUE */
export function diskConfig(values: Values, rings: DiskConfig['rings'], where: string): DiskConfig {
  const powerOfTwo = (key: string): number | undefined => {
    const value = values.number(key)
    if (value !== undefined && (value & (value - 1)) !== 0) throw optionError('OPTION_VALUE', `${where} ${key}=${value}`, 'must be a power of two')
    return value
  }
  const logical = powerOfTwo('logical_block_size')
  const physical = powerOfTwo('physical_block_size')
  if (physical !== undefined && physical < (logical ?? 512)) {
    throw optionError('OPTION_VALUE', `${where} physical_block_size=${physical}`, `is less than the logical block size of ${logical ?? 512}; make it as much or more`)
  }
  for (const key of ['min_io_size', 'opt_io_size', 'discard_granularity']) {
    const value = values.number(key)
    if (value !== undefined && value % (logical ?? 512) !== 0) {
      throw optionError('OPTION_VALUE', `${where} ${key}=${value}`, `must be a multiple of the logical block size, ${logical ?? 512}`)
    }
  }
  const cache = values.text('write-cache')
  return {
    kind: 'virtio-blk', id: values.text('id'), rings, drive: values.text('drive') ?? '', serial: values.text('serial'),
    queues: values.number('num-queues') ?? 1, queueSize: powerOfTwo('queue-size') ?? 256,
    logicalBlockSize: logical, physicalBlockSize: physical, minIoSize: values.number('min_io_size') ?? 0, optIoSize: values.number('opt_io_size') ?? 0,
    discardGranularity: values.number('discard_granularity') ?? 0,
    discard: values.boolean('discard') ?? true, writeZeroes: values.boolean('write-zeroes') ?? true,
    writeCache: cache === 'on' ? true : cache === 'off' ? false : undefined, configWce: values.boolean('config-wce') ?? true,
    onWriteError: values.text('werror') as WriteErrorPolicy | undefined, onReadError: values.text('rerror') as ReadErrorPolicy | undefined,
  }
}

/** Nodes that refer to others become images; what is referred to is theirs. @throws MesovirtError OPTION_MISSING, OPTION_CONFLICT */
export function resolveImages(images: readonly ImageConfig[], referring: readonly ReferringNode[]): ImageConfig[] {
  const all = new Map<string, ImageConfig>()
  const add = (image: ImageConfig): void => {
    if (all.has(image.id)) throw optionError('OPTION_CONFLICT', `-drive or -blockdev ${printable(image.id, 60)}`, 'another one has this name; use another name')
    all.set(image.id, image)
  }
  images.forEach(add)
  const open = new Map(referring.map((node) => [node.name, node]))
  const taken = new Map<string, string>()
  for (const node of referring) {
    const chain: ReferringNode[] = []
    for (let at: ReferringNode | undefined = node; at !== undefined && open.delete(at.name); at = open.get(at.file)) chain.push(at)
    for (const one of chain.reverse()) {
      const below = all.get(one.file)
      if (below === undefined) {
        const hint = didYouMean(one.file, [...all.keys()]) || '; add -blockdev driver=file,node-name=...,filename=...'
        throw optionError('OPTION_MISSING', `${one.where} file=${printable(one.file, 60)}`, `no node has this name${hint}`)
      }
      const owner = taken.get(one.file)
      if (owner !== undefined) throw optionError('OPTION_CONFLICT', `${one.where} file=${printable(one.file, 60)}`, `is used by ${printable(owner, 60)}; add another node`)
      taken.set(one.file, one.name)
      add(resolveNode(one, below))
    }
  }
  return [...all.values()].filter(({ id }) => !taken.has(id))
}

/** Disks have images, each image one disk, and there is room for them. @throws MesovirtError OPTION_MISSING, OPTION_CONFLICT, OPTION_VALUE */
export function checkDisks(disks: readonly DiskConfig[], images: readonly ImageConfig[]): void {
  const users = new Set<string>()
  const ids = images.map(({ id }) => id)
  for (const { drive } of disks) {
    const where = `-device virtio-blk-device drive=${printable(drive, 60)}`
    if (!ids.includes(drive)) {
      throw optionError('OPTION_MISSING', where, `no drive has this id${didYouMean(drive, ids) || '; add -drive id=...,file=...'}`)
    }
    if (users.has(drive)) throw optionError('OPTION_CONFLICT', where, 'another disk uses this drive; add another -drive')
    users.add(drive)
  }
  if (disks.length > MAX_DISKS) throw optionError('OPTION_VALUE', '-device', `${disks.length} disks are given, ${MAX_DISKS} are possible; leave some out`)
}

/** Windows of the LightMachine for disks. */
const MAX_DISKS = 4
