/** -netdev and network cards of -device: from checked values to backends and devices, and what they mean together. */
import { parseMac } from '../../device-model/net/mac.ts'
import type { NetdevConfig, StreamConfig, TapConfig, UserConfig, VhostUserConfig } from '../../device-model/net/open.ts'
import { hostIn, parseForward, parseIpv4, parseIpv6, parseNetwork, parseNetwork6 } from './addresses.ts'
import type { CardConfig, DeviceConfig } from './config.ts'
import { optionError, printable } from './errors.ts'
import type { NamedValues, Values } from './interpret.ts'
import { didYouMean } from './suggest.ts'
import { MAX_SOCKET_PATH_BYTES } from './table-backends.ts'
import { laterError, parseInteger } from './values.ts'

/** Windows 4 and 5 of the LightMachine. */
const MAX_CARDS = 2
const MAX_PAIRS = 16
const DEFAULT_NETWORK = '10.0.2.0/24', DEFAULT_NETWORK6 = 'fec0::/64'
/** In the default network: 10.0.2.2, 10.0.2.15 and 10.0.2.3. */
const ROUTER = 0x202, FIRST_LEASE = 0x20f, NAME_SERVER = 0x203
const ROUTER6 = 2, NAME_SERVER6 = 3

/** @param where the option, for error messages. @throws MesovirtError OPTION_VALUE, OPTION_MISSING, OPTION_CONFLICT */
export function netdevConfig({ name, values }: NamedValues, where: string): NetdevConfig {
  const id = values.text('id') ?? ''
  const at = `${where} id=${printable(id, 60)}`
  switch (name) {
    case 'user': return userConfig(id, values, at)
    case 'stream': return streamConfig(id, values, at)
    case 'tap': return tapConfig(id, values, at)
    case 'vhost-user': return vhostUserConfig(id, values)
    default: throw laterError(where, 'network back-ends of this kind')
  }
}

function vhostUserConfig(id: string, values: Values): VhostUserConfig {
  return { kind: 'vhost-user', id, chardev: values.text('chardev') ?? '', queues: values.number('queues') ?? 1 }
}

function userConfig(id: string, values: Values, where: string): UserConfig {
  const network = parseNetwork(values.text('net') ?? DEFAULT_NETWORK, `${where} net=`)
  const network6 = parseNetwork6(values.text('ipv6-net') ?? DEFAULT_NETWORK6, `${where} ipv6-net=`)
  const inside = (key: string, number: number) => {
    const text = values.text(key)
    if (text === undefined) return hostIn(network, number)
    const address = parseIpv4(text, `${where} ${key}=`)
    if (address.every((byte, index) => (byte & (network.mask[index] ?? 0)) === network.address[index])) return address
    throw optionError('OPTION_VALUE', `${where} ${key}=${text}`, `lies outside of the network ${[...network.address].join('.')}; use an address in it, or another net=`)
  }
  const address6 = (key: string, number: number) => {
    const text = values.text(key)
    if (text !== undefined) return parseIpv6(text, `${where} ${key}=`)
    const address = Uint8Array.from(network6.address)
    address[15] = number
    return address
  }
  const ipv4 = values.boolean('ipv4') ?? true, ipv6 = values.boolean('ipv6') ?? true
  if (!ipv4 && !ipv6) throw optionError('OPTION_CONFLICT', `${where} ipv4=off,ipv6=off`, 'nothing is left of the network; leave one out')
  return {
    kind: 'user', id,
    slirp: {
      restricted: values.boolean('restrict') ?? false, ipv4, network: network.address, mask: network.mask,
      host: inside('host', ROUTER), dhcpStart: inside('dhcpstart', FIRST_LEASE), dns: inside('dns', NAME_SERVER),
      ipv6, prefix6: network6.address, prefix6Length: network6.length, host6: address6('ipv6-host', ROUTER6), dns6: address6('ipv6-dns', NAME_SERVER6),
      hostname: values.text('hostname'), domainName: values.text('domainname'), dnsSearch: values.list('dnssearch'),
      tftp: values.text('tftp'), tftpServerName: values.text('tftp-server-name'), bootFile: values.text('bootfile'),
    },
    forwards: values.list('hostfwd').map((text) => parseForward(text, `${where} hostfwd=`)),
  }
}

function streamConfig(id: string, values: Values, where: string): StreamConfig {
  const server = values.boolean('server') ?? false
  const seconds = values.number('reconnect')
  const reconnectMs = values.number('reconnect-ms') ?? (seconds === undefined ? undefined : seconds * 1000)
  const type = values.text('addr.type')
  if (seconds !== undefined && values.has('reconnect-ms')) throw optionError('OPTION_CONFLICT', where, 'reconnect= and reconnect-ms= say the same; leave one out')
  if (reconnectMs !== undefined && (server || type === 'fd')) throw optionError('OPTION_CONFLICT', `${where} reconnect=`, 'only a client that connects by itself can do so again; leave it out')
  const common = { kind: 'stream', id, server, reconnectMs: reconnectMs === 0 ? undefined : reconnectMs } as const
  const need = (key: string) => optionError('OPTION_MISSING', `${where} addr.type=${type ?? ''}`, `needs ${key}=; add it`)
  if (type === 'fd') {
    const fd = values.number('addr.str')
    if (fd === undefined) throw need('addr.str')
    if (server) throw optionError('OPTION_CONFLICT', `${where} server=on`, 'a descriptor is connected already; leave server out')
    return { ...common, address: { fd } }
  }
  if (type === 'unix') {
    const path = values.text('addr.path')
    if (path === undefined) throw need('addr.path')
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) throw optionError('OPTION_VALUE', `${where} addr.path=`, `is longer than ${MAX_SOCKET_PATH_BYTES} bytes; use a shorter one`)
    return { ...common, address: { unix: path } }
  }
  const port = values.number('addr.port')
  if (port === undefined || (port === 0 && !server)) throw need('addr.port')
  return { ...common, address: { host: values.text('addr.host') ?? (server ? '0.0.0.0' : '127.0.0.1'), port } }
}

function tapConfig(id: string, values: Values, where: string): TapConfig {
  const one = values.text('fd'), several = values.text('fds'), ifname = values.text('ifname')
  if ([one, several, ifname].filter((value) => value !== undefined).length > 1) throw optionError('OPTION_CONFLICT', where, 'an interface is given by ifname=, fd= or fds=; leave the others out')
  const fds = (one ?? several ?? '').split(':').filter((text) => text !== '').map((text) => descriptor(text, `${where} ${one === undefined ? 'fds' : 'fd'}=`))
  const queues = values.number('queues') ?? Math.max(1, fds.length)
  if (one !== undefined && fds.length !== 1) throw optionError('OPTION_VALUE', `${where} fd=`, 'is one descriptor; use fds= for several')
  if (fds.length > MAX_PAIRS) throw optionError('OPTION_VALUE', `${where} fds=`, `are ${fds.length}, and ${MAX_PAIRS} are possible; use fewer`)
  if (fds.length > 0 && fds.length !== queues) throw optionError('OPTION_CONFLICT', `${where} queues=${queues}`, `there are ${fds.length} descriptors; leave queues= out`)
  if (new Set(fds).size !== fds.length) throw optionError('OPTION_CONFLICT', `${where} fds=`, 'name a descriptor twice; each queue has its own')
  return { kind: 'tap', id, fds, ifname, queues, header: values.boolean('vnet_hdr') }
}

function descriptor(text: string, where: string): number {
  const fd = /^\d{1,9}$/.test(text) ? parseInteger(text) : undefined
  if (fd === undefined || fd < 3) throw optionError('OPTION_VALUE', where, `"${printable(text, 60)}" is no inherited descriptor; use a number from 3 on`)
  return fd
}

export function cardConfig(values: Values, rings: DeviceConfig['rings'], where: string): CardConfig {
  const mac = values.text('mac')
  const size = values.number('queue-size') ?? 256
  const queueSize = (key: string) => {
    const value = values.number(key) ?? size
    if (!Number.isInteger(Math.log2(value))) throw optionError('OPTION_VALUE', `${where} ${values.has(key) ? key : 'queue-size'}=${value}`, 'is no power of two; use 256, 512, 1024, 2048 or 4096')
    return value
  }
  return {
    kind: 'virtio-net', id: values.text('id'), rings, netdev: values.text('netdev') ?? '', mac: mac === undefined ? undefined : parseMac(mac, `${where} mac=${printable(mac, 20)}`),
    multiQueue: values.boolean('mq') ?? false, rxQueueSize: queueSize('rx_queue_size'), txQueueSize: queueSize('tx_queue_size'), mtu: values.number('host_mtu'),
    checksum: values.boolean('csum') ?? true, guestChecksum: values.boolean('guest_csum') ?? true, segmentation: values.boolean('gso') ?? true, mergeable: values.boolean('mrg_rxbuf') ?? true,
  }
}

/** Networks that exist, one card each, windows enough. @throws MesovirtError OPTION_CONFLICT, OPTION_MISSING, OPTION_VALUE */
export function checkCards(cards: readonly CardConfig[], netdevs: readonly NetdevConfig[]): void {
  const ids = netdevs.map(({ id }) => id)
  const taken = new Set<string>()
  for (const { netdev } of cards) {
    const where = `-device virtio-net-device netdev=${printable(netdev, 60)}`
    if (!ids.includes(netdev)) throw optionError('OPTION_MISSING', where, `no network has this id${didYouMean(netdev, ids) || '; add -netdev user,id=...'}`)
    if (taken.has(netdev)) throw optionError('OPTION_CONFLICT', where, 'another card has this network; add another -netdev')
    taken.add(netdev)
  }
  if (cards.length > MAX_CARDS) throw optionError('OPTION_VALUE', '-device virtio-net-device', `${cards.length} network cards are given, ${MAX_CARDS} are possible; leave some out`)
}
