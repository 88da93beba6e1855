/** A character device as QMP writes it (QEMU's qapi/char.json: `{type, data}`), in the words of -chardev. */
import { MesovirtError } from '../../host/errors.ts'
import { chardevConfig } from './chardevs.ts'
import type { ChardevConfig } from './config.ts'
import { readVariant } from './interpret.ts'
import { CHARDEV_COMMON, CHARACTER_DEVICES } from './table-backends.ts'

type Members = Readonly<Record<string, unknown>>

/** Members that have other names there. */
const RENAMED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  file: { out: 'path', in: 'input-path' }, pipe: { device: 'path' },
}

/** @param where the command, for error messages. @throws MesovirtError CHARDEV_MEMBERS, OPTION_... */
export function chardevFromQmp(id: string, backend: unknown, where: string): ChardevConfig {
  const { type, data = {} } = object(backend, 'backend')
  if (typeof type !== 'string') throw new MesovirtError('CHARDEV_MEMBERS', "Parameter 'backend.type' is missing")
  if (type === 'mux') throw new MesovirtError('CHARDEV_MEMBERS', `${where} mux: give mux=on to a -chardev of the command line`)
  const renamed = RENAMED[type] ?? {}
  const members = Object.entries(object(data, 'backend.data')).flatMap(([key, value]) => key === 'addr' ? socketAddress(value) : [[renamed[key] ?? key, value]])
  // A server is the default there, and does not wait.
  const defaults = type !== 'socket' ? {} : members.some(([key, value]) => key === 'server' && value === false) ? {} : { server: true, wait: false }
  const named = readVariant(JSON.stringify({ backend: type, id, ...defaults, ...Object.fromEntries(members) as Members }), 'backend', CHARACTER_DEVICES, where, CHARDEV_COMMON)
  return chardevConfig(named, id, `${where} id=${id}`)
}

function socketAddress(value: unknown): [string, unknown][] {
  const { type, data = {} } = object(value, 'backend.data.addr')
  if (type !== 'unix' && type !== 'inet') throw new MesovirtError('CHARDEV_MEMBERS', "Parameter 'backend.data.addr.type' must be unix or inet")
  return Object.entries(object(data, 'backend.data.addr.data'))
}

function object(value: unknown, name: string): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new MesovirtError('CHARDEV_MEMBERS', `Invalid parameter type for '${name}', expected: object`)
  return value as Members
}
