/** -object and -device: from checked values to what the machine is built of, and what they mean together. */
import type { NetdevConfig } from '../../device-model/net/open.ts'
import type { DeviceConfig, ImageConfig, ObjectConfig } from './config.ts'
import { serialConfig } from './consoles.ts'
import { checkDisks, diskConfig } from './disks.ts'
import { optionError, printable } from './errors.ts'
import type { NamedValues, Values } from './interpret.ts'
import { cardConfig, checkCards } from './networks.ts'
import { didYouMean } from './suggest.ts'
import { MAX_SOCKET_PATH_BYTES } from './table-backends.ts'
import { laterError } from './values.ts'
import { sharedFolderConfig } from './vhost-user.ts'

const DEFAULT_RNG_FILE = '/dev/urandom'
/** As QEMU's. */
const DEFAULT_RNG_PERIOD_MS = 65_536
/** Interrupts 11 to 15 of the LightMachine: 5 to 10 belong to disks and network cards. */
const MAX_OTHER_DEVICES = 5
/** `_4294967295` */
const PORT_SUFFIX_BYTES = 11

/** @param where the option, for error messages */
export function objectConfig({ name, values }: NamedValues, where: string): ObjectConfig {
  const id = values.text('id') ?? ''
  switch (name) {
    case 'rng-random': return { kind: 'rng-random', id, filename: values.text('filename') ?? DEFAULT_RNG_FILE }
    case 'rng-builtin': return { kind: 'rng-builtin', id }
    default: throw laterError(where, 'objects of this kind')
  }
}

/** Readers of devices by name. A device of later work gets its row here, in table-devices.ts, and where machines are built: lifecycle.ts. */
const READERS: Readonly<Record<string, (values: Values, rings: DeviceConfig['rings'], where: string) => DeviceConfig>> = {
  'virtio-rng-device': rngConfig,
  'virtio-balloon-device': balloonConfig,
  'vhost-user-fs-device': sharedFolderConfig,
  'virtio-vsock-device': vsockConfig,
  'virtio-blk-device': diskConfig,
  'virtio-net-device': cardConfig,
  'virtio-serial-device': serialConfig,
}

/** @throws MesovirtError OPTION_MISSING, OPTION_VALUE */
export function deviceConfig({ name, values }: NamedValues, where: string): DeviceConfig {
  const read = Object.hasOwn(READERS, name) ? READERS[name] : undefined
  if (read === undefined) throw laterError(where, 'devices of this kind')
  return read(values, {
    packed: values.boolean('packed') ?? true, indirect: values.boolean('indirect_desc') ?? true, eventIndex: values.boolean('event_idx') ?? true,
  }, `${where} ${name}`)
}

function rngConfig(values: Values, rings: DeviceConfig['rings'], where: string): DeviceConfig {
  const bytes = values.number('max-bytes')
  if (bytes === undefined && values.has('period')) throw optionError('OPTION_MISSING', `${where} period=`, 'a period limits nothing without max-bytes=; add it')
  return {
    kind: 'virtio-rng', id: values.text('id'), rng: values.text('rng'), rings,
    limit: bytes === undefined ? undefined : { bytes, periodMs: values.number('period') ?? DEFAULT_RNG_PERIOD_MS },
  }
}

function balloonConfig(values: Values, rings: DeviceConfig['rings']): DeviceConfig {
  const balloon = { deflateOnOom: values.boolean('deflate-on-oom') ?? false, freePageReporting: values.boolean('free-page-reporting') ?? false }
  return { kind: 'virtio-balloon', id: values.text('id'), rings, balloon }
}

/** @throws MesovirtError OPTION_VALUE */
function vsockConfig(values: Values, rings: DeviceConfig['rings'], where: string): DeviceConfig {
  const path = values.text('path') ?? ''
  const most = MAX_SOCKET_PATH_BYTES - PORT_SUFFIX_BYTES
  if (Buffer.byteLength(path) > most) throw optionError('OPTION_VALUE', `${where} path=`, `is longer than ${most} bytes, which leaves no room for _PORT behind it; use a shorter one`)
  return { kind: 'virtio-vsock', id: values.text('id'), rings, guestCid: values.number('guest-cid') ?? 0, path }
}

/** What devices refer to. */
export interface Backends {
  readonly objects: readonly ObjectConfig[]
  readonly images: readonly ImageConfig[]
  readonly netdevs: readonly NetdevConfig[]
}

/** Ids once, backends that exist, windows enough. @throws MesovirtError OPTION_CONFLICT, OPTION_MISSING, OPTION_VALUE */
export function checkDevices(devices: readonly DeviceConfig[], { objects, images, netdevs }: Backends): void {
  checkUnique('-object', objects.map(({ id }) => id))
  checkUnique('-device', devices.flatMap((device) => [device, ...device.kind === 'virtio-serial' ? device.ports : []]).flatMap(({ id }) => id === undefined ? [] : [id]))
  const disks = devices.filter((device) => device.kind === 'virtio-blk')
  checkDisks(disks, images)
  checkUnique('-netdev', netdevs.map(({ id }) => id))
  const cards = devices.filter((device) => device.kind === 'virtio-net')
  checkCards(cards, netdevs)
  const ids = objects.map(({ id }) => id)
  for (const device of devices) {
    const rng = device.kind === 'virtio-rng' ? device.rng : undefined
    if (rng === undefined || ids.includes(rng)) continue
    const hint = didYouMean(rng, ids) || '; add -object rng-random,id=...'
    throw optionError('OPTION_MISSING', `-device virtio-rng-device rng=${printable(rng, 60)}`, `no object has this id${hint}`)
  }
  const balloons = devices.filter(({ kind }) => kind === 'virtio-balloon').length
  if (balloons > 1) throw optionError('OPTION_CONFLICT', '-device virtio-balloon-device', `is given ${balloons} times, and a machine has one; leave the others out`)
  const vsocks = devices.filter(({ kind }) => kind === 'virtio-vsock').length
  if (vsocks > 1) throw optionError('OPTION_CONFLICT', '-device virtio-vsock-device', `is given ${vsocks} times, and a guest can use one; leave the others out`)
  const others = devices.length - disks.length - cards.length
  if (others > MAX_OTHER_DEVICES) {
    throw optionError('OPTION_VALUE', '-device', `${others} devices beside disks and network cards are given, ${MAX_OTHER_DEVICES} are possible; leave some out`)
  }
}

function checkUnique(option: string, ids: readonly string[]): void {
  const seen = new Set<string>()
  for (const id of ids) {
    if (seen.has(id)) throw optionError('OPTION_CONFLICT', `${option} id=${printable(id, 60)}`, 'another one has this id; use another id')
    seen.add(id)
  }
}
