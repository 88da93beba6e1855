/** -object and -device: from checked values to what the machine is built of, and what they mean together. */
import type { DeviceConfig, ObjectConfig } from './config.ts'
import { optionError, printable } from './errors.ts'
import type { NamedValues } from './interpret.ts'
import { didYouMean } from './suggest.ts'
import { laterError } from './values.ts'

const DEFAULT_RNG_FILE = '/dev/urandom'
/** As QEMU's. */
const DEFAULT_RNG_PERIOD_MS = 65_536
/** Interrupts 11 to 15 of the LightMachine: 5 to 10 belong to disks and network cards. */
const MAX_OTHER_DEVICES = 5

/** @param where the option, for error messages */
export function objectConfig({ name, values }: NamedValues, where: string): ObjectConfig {
  const id = values.text('id') ?? ''
  switch (name) {
    case 'rng-random': return { kind: 'rng-random', id, filename: values.text('filename') ?? DEFAULT_RNG_FILE }
    case 'rng-builtin': return { kind: 'rng-builtin', id }
    default: throw laterError(where, 'objects of this kind')
  }
}

/** @throws MesovirtError OPTION_MISSING */
export function deviceConfig({ name, values }: NamedValues, where: string): DeviceConfig {
  if (name !== 'virtio-rng-device') throw laterError(where, 'devices of this kind')
  const bytes = values.number('max-bytes')
  if (bytes === undefined && values.has('period')) throw optionError('OPTION_MISSING', `${where} ${name} period=`, 'a period limits nothing without max-bytes=; add it')
  return {
    kind: 'virtio-rng', id: values.text('id'), rng: values.text('rng'),
    rings: { packed: values.boolean('packed') ?? true, indirect: values.boolean('indirect_desc') ?? true, eventIndex: values.boolean('event_idx') ?? true },
    limit: bytes === undefined ? undefined : { bytes, periodMs: values.number('period') ?? DEFAULT_RNG_PERIOD_MS },
  }
}

/** Ids once, objects that exist, windows enough. @throws MesovirtError OPTION_CONFLICT, OPTION_MISSING, OPTION_VALUE */
export function checkDevices(devices: readonly DeviceConfig[], objects: readonly ObjectConfig[]): void {
  checkUnique('-object', objects.map(({ id }) => id))
  checkUnique('-device', devices.flatMap(({ id }) => id === undefined ? [] : [id]))
  const ids = objects.map(({ id }) => id)
  for (const { rng } of devices) {
    if (rng === undefined || ids.includes(rng)) continue
    const hint = didYouMean(rng, ids) || '; add -object rng-random,id=...'
    throw optionError('OPTION_MISSING', `-device virtio-rng-device rng=${printable(rng, 60)}`, `no object has this id${hint}`)
  }
  if (devices.length > MAX_OTHER_DEVICES) {
    throw optionError('OPTION_VALUE', '-device', `${devices.length} devices beside disks and network cards are given, ${MAX_OTHER_DEVICES} are possible; leave some out`)
  }
}

function checkUnique(option: string, ids: readonly string[]): void {
  const seen = new Set<string>()
  for (const id of ids) {
    if (seen.has(id)) throw optionError('OPTION_CONFLICT', `${option} id=${printable(id, 60)}`, 'another one has this id; use another id')
    seen.add(id)
  }
}
