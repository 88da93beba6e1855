/** Devices whose back end is another process (vhost-user): from checked values to devices, and what they mean together with -chardev and -machine. */
import { TAG_BYTES } from '../../device-model/virtio/vhost-user-fs.ts'
import type { NetdevConfig, PeerSocket } from '../../device-model/net/open.ts'
import type { ChardevConfig, DeviceConfig, SharedFolderConfig } from './config.ts'
import { optionError, printable } from './errors.ts'
import type { Values } from './interpret.ts'
import { MAX_SOCKET_PATH_BYTES } from './table-backends.ts'

/** A reference to a character device, and who makes it. */
export interface ChardevUser {
  readonly label: string
  readonly origin: string
}

/** @throws MesovirtError OPTION_VALUE */
export function sharedFolderConfig(values: Values, rings: DeviceConfig['rings'], where: string): SharedFolderConfig {
  const tag = values.text('tag') ?? ''
  const queueSize = values.number('queue-size') ?? 128
  if (tag === '' || Buffer.byteLength(tag) > TAG_BYTES) throw optionError('OPTION_VALUE', `${where} tag=${printable(tag, 60)}`, `must have 1 to ${TAG_BYTES} bytes`)
  if (!Number.isInteger(Math.log2(queueSize))) throw optionError('OPTION_VALUE', `${where} queue-size=${queueSize}`, 'is no power of two; use 128, 256, 512 or 1024')
  return { kind: 'vhost-user-fs', id: values.text('id'), rings, chardev: values.text('chardev') ?? '', tag, requestQueues: values.number('num-request-queues') ?? 1, queueSize }
}

/** Who is on a character device, among devices and networks. */
export function chardevUsers(devices: readonly DeviceConfig[], netdevs: readonly NetdevConfig[]): ChardevUser[] {
  return [
    ...devices.flatMap((device) => device.kind === 'vhost-user-fs' ? [{ label: device.chardev, origin: `-device ${device.kind}-device chardev=${printable(device.chardev, 60)}` }] : []),
    ...netdevs.flatMap((netdev) => netdev.kind === 'vhost-user' ? [{ label: netdev.chardev, origin: `-netdev vhost-user chardev=${printable(netdev.chardev, 60)}` }] : []),
  ]
}

/**
 * Whether the character devices of devices are such that a back end can be behind them, and the guest's memory such that it can be mapped.
 * @throws MesovirtError OPTION_CONFLICT, OPTION_MISSING, OPTION_VALUE
 */
export function checkVhostUser(devices: readonly DeviceConfig[], netdevs: readonly NetdevConfig[], chardevs: readonly ChardevConfig[], memShare: boolean): void {
  for (const netdev of netdevs) {
    if (netdev.kind !== 'vhost-user') continue
    const where = `-netdev vhost-user chardev=${printable(netdev.chardev, 60)}`
    peerSocket(chardevs, netdev.chardev, where)
    const chardev = chardevs.find(({ label }) => label === netdev.chardev)
    if (chardev?.kind === 'socket' && chardev.server) throw optionError('OPTION_CONFLICT', where, 'the other process has to listen; leave server out')
  }
  const tags = new Set<string>()
  for (const device of devices) {
    if (device.kind !== 'vhost-user-fs') continue
    const where = `-device ${device.kind}-device`
    if (tags.has(device.tag)) throw optionError('OPTION_CONFLICT', `${where} tag=${printable(device.tag, 60)}`, 'another folder has this tag; use another one')
    tags.add(device.tag)
    if (!memShare) throw optionError('OPTION_MISSING', where, 'the back end has to map the memory of the guest; add -machine mem-share=on')
    peerSocket(chardevs, device.chardev, `${where} chardev=${printable(device.chardev, 60)}`)
  }
}

/** The socket where the back end listens; whether the option says `server` or not, we connect. @throws MesovirtError OPTION_VALUE */
export function peerSocket(chardevs: readonly ChardevConfig[], label: string, where: string): PeerSocket {
  const chardev = chardevs.find((one) => one.label === label)
  if (chardev?.kind !== 'socket' || !('unix' in chardev.address) || chardev.mux === true) throw optionError('OPTION_VALUE', where, 'is no unix socket of its own; use -chardev socket,id=...,path=...')
  const path = chardev.address.unix
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) throw optionError('OPTION_VALUE', where, `its path is longer than ${MAX_SOCKET_PATH_BYTES} bytes; use a shorter one`)
  return { path, reconnectMs: chardev.reconnectMs }
}
