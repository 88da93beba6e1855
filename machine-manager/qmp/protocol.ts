/** What QMP puts on the wire: greeting, replies, events. Spelled as StratoVirt does (compact, `return` before `id`, CR LF); QEMU's clients read that as well. */
import type { VmEvent } from '../vm.ts'
import type { QmpErrorClass } from './commands/define.ts'

/** Kata Containers asks for a major version of at least 5 and StratoVirt answers 5.0.1. */
const QEMU_VERSION = { micro: 1, minor: 0, major: 5 } as const
const LINE_END = '\r\n'

/** Every event with what it means, for query-events and the docs. */
export const EVENTS: readonly { readonly name: VmEvent['name']; readonly doc: string; readonly data: string }[] = [
  { name: 'STOP', doc: 'The machine was paused.', data: '`{}`' },
  { name: 'RESUME', doc: 'The machine runs again.', data: '`{}`' },
  { name: 'RESET', doc: 'The machine was restarted.', data: '`{guest: boolean, reason: string}`' },
  { name: 'SHUTDOWN', doc: 'The machine has ended or is about to.', data: '`{guest: boolean, reason: string}`' },
  { name: 'BALLOON_CHANGE', doc: 'The guest has handed memory over or taken some back; at most once a second.', data: '`{actual: integer}`: bytes of memory that it has' },
  { name: 'BLOCK_IO_ERROR', doc: 'A disk failed on the host\'s side; the machine stops where `action` is `stop`, and tries again at `cont`.',
    data: '`{action: "report" | "ignore" | "stop", device: string, node-name: string, nospace: boolean, operation: "read" | "write", reason: string}`' },
  { name: 'DEVICE_DELETED', doc: 'A device has gone, and its name and place are free.', data: '`{device: string, path: string}`' },
  { name: 'VSERPORT_CHANGE', doc: 'The guest has opened or closed a console or channel; at most one a second for each.', data: '`{id: string, open: boolean}`' },
  { name: 'MESOVIRT_BACK_END_CHANGE', doc: 'The process behind a device (vhost-user) is gone, or there again.', data: '`{connected: boolean, device: string}`' },
  { name: 'POWERDOWN', doc: 'The power button was pressed.', data: '`{}`' },
]

export interface VersionInfo {
  readonly qemu: { readonly micro: number; readonly minor: number; readonly major: number }
  readonly package: string
}

/** @param version of this program */
export function versionInfo(version: string): VersionInfo {
  return { qemu: QEMU_VERSION, package: `mesovirt-${version}` }
}

export function greetingLine(version: string): string {
  return JSON.stringify({ QMP: { version: versionInfo(version), capabilities: [] } }) + LINE_END
}

/** @param idText the request's id as JSON text; undefined: it had none */
export function returnLine(result: unknown, idText: string | undefined): string {
  return `{"return":${JSON.stringify(result)}${idMember(idText)}}${LINE_END}`
}

export function errorLine(errorClass: QmpErrorClass, description: string, idText: string | undefined): string {
  return `{"error":${JSON.stringify({ class: errorClass, desc: description })}${idMember(idText)}}${LINE_END}`
}

/** @param microseconds since 1970 */
export function eventLine(event: VmEvent, microseconds: number): string {
  const timestamp = { seconds: Math.floor(microseconds / 1e6), microseconds: Math.floor(microseconds % 1e6) }
  return JSON.stringify({ event: event.name, data: event.data ?? {}, timestamp }) + LINE_END
}

function idMember(idText: string | undefined): string {
  return idText === undefined ? '' : `,"id":${idText}`
}
