/** Keys of -netdev and of network cards among the devices. */
import type { SubOption, Variant } from './option-types.ts'
import { ID, ON_OFF, PATH, TEXT_255, ignored, later } from './option-types.ts'
import type { ValueType } from './values.ts'

const ADDRESS: ValueType = { kind: 'text', maxBytes: 64, name: 'ADDRESS' }
const NO_SCRIPT: ValueType = { kind: 'boolean', only: false }
const VHOST = later('vhost-net')

const NETDEV_ID: SubOption = { key: 'id', type: ID, help: 'name that -device netdev= refers to', required: true }

const USER: readonly SubOption[] = [
  { key: 'ipv4', type: ON_OFF, default: 'on', help: 'IPv4' },
  { key: 'net', type: ADDRESS, default: '10.0.2.0/24', help: 'network of the guest' },
  { key: 'host', type: ADDRESS, default: '10.0.2.2', help: 'address of the router, behind which the loopback of the host is' },
  { key: 'dhcpstart', type: ADDRESS, default: '10.0.2.15', help: 'first of 16 addresses that DHCP gives' },
  { key: 'dns', type: ADDRESS, default: '10.0.2.3', help: 'address of the name server, which asks that of the host' },
  { key: 'ipv6', type: ON_OFF, default: 'on', help: 'IPv6' },
  { key: 'ipv6-net', type: ADDRESS, default: 'fec0::/64', help: 'network of the guest' },
  { key: 'ipv6-host', type: ADDRESS, default: 'fec0::2', help: 'address of the router' },
  { key: 'ipv6-dns', type: ADDRESS, default: 'fec0::3', help: 'address of the name server' },
  { key: 'restrict', type: ON_OFF, default: 'off', help: 'the guest reaches nothing outside; ports forwarded to it still work' },
  { key: 'hostname', type: TEXT_255, help: 'name that DHCP gives' },
  { key: 'domainname', type: TEXT_255, help: 'domain that DHCP gives' },
  { key: 'dnssearch', type: TEXT_255, repeatable: true, help: 'domain to search, may be given again' },
  { key: 'hostfwd', type: { kind: 'text', maxBytes: 255, name: 'RULE' }, repeatable: true, help: 'a port of the host that leads to the guest, as tcp:HOST:PORT-GUEST:PORT; may be given again' },
  { key: 'tftp', type: PATH, help: 'folder that the guest may read by TFTP' },
  { key: 'tftp-server-name', type: TEXT_255, help: 'name that DHCP gives' },
  { key: 'bootfile', type: TEXT_255, help: 'boot file that DHCP gives' },
  { key: 'guestfwd', type: TEXT_255, help: 'an address of the guest\'s network that leads to the host', status: later('addresses that lead to the host (guestfwd)') },
  { key: 'smb', type: PATH, help: 'shared folder', status: later('shared folders by SMB') },
  { key: 'smbserver', type: ADDRESS, help: 'address of the file server', status: later('shared folders by SMB') },
]

const STREAM: readonly SubOption[] = [
  { key: 'addr.type', type: { kind: 'choice', choices: [{ name: 'unix' }, { name: 'inet' }, { name: 'fd' }] }, help: 'kind of address', required: true },
  { key: 'addr.path', type: PATH, help: 'unix socket' },
  { key: 'addr.host', type: TEXT_255, help: 'TCP address' },
  { key: 'addr.port', type: { kind: 'integer', min: 0, max: 65_535 }, help: 'TCP port; 0 lets the system choose for a server' },
  { key: 'addr.str', type: { kind: 'integer', min: 0, max: 2 ** 31 - 1 }, help: 'inherited descriptor of a connected socket' },
  { key: 'addr.abstract', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('unix sockets are files') },
  { key: 'server', type: ON_OFF, default: 'off', help: 'listen (on) or connect (off)' },
  { key: 'reconnect', type: { kind: 'integer', min: 0, max: 3600 }, help: 'seconds after which a client tries again' },
  { key: 'reconnect-ms', type: { kind: 'integer', min: 0, max: 3_600_000 }, help: 'time in ms after which a client tries again; 0: it does not' },
]

const TAP: readonly SubOption[] = [
  { key: 'ifname', type: { kind: 'text', maxBytes: 15 }, help: 'name of the interface; it is made where it is missing and we may' },
  { key: 'fd', type: TEXT_255, help: 'inherited descriptor of /dev/net/tun' },
  { key: 'fds', type: TEXT_255, help: 'inherited descriptors with colons between, a queue pair each' },
  { key: 'queues', type: { kind: 'integer', min: 1, max: 16 }, default: '1', help: 'queue pairs; with mq=on of the device' },
  { key: 'vnet_hdr', type: ON_OFF, help: 'checksums and long segments are left to the host; default: where the interface can' },
  { key: 'script', type: NO_SCRIPT, help: 'only no', status: ignored('nothing is run: the interface has to be up') },
  { key: 'downscript', type: NO_SCRIPT, help: 'only no', status: ignored('nothing is run') },
  { key: 'vhost', type: { kind: 'boolean', only: false }, default: 'off', help: 'only off: frames are moved by this process' },
  { key: 'vhostfd', type: TEXT_255, help: 'descriptor of /dev/vhost-net', status: VHOST },
  { key: 'vhostfds', type: TEXT_255, help: 'descriptors of /dev/vhost-net', status: VHOST },
  { key: 'vhostforce', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('vhost is off') },
  { key: 'sndbuf', type: { kind: 'size', min: 0, max: 2 ** 40, bareUnit: 1 }, help: 'send buffer', status: ignored('the kernel bounds it') },
  { key: 'poll-us', type: { kind: 'integer', min: 0, max: 2 ** 31 - 1 }, help: 'busy polling', status: ignored('vhost is off') },
  { key: 'br', type: TEXT_255, help: 'bridge', status: later('bridge helpers') },
  { key: 'helper', type: PATH, help: 'program that opens the interface', status: later('bridge helpers') },
  { key: 'macnat', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('addresses are not translated') },
]

const VHOST_USER: readonly SubOption[] = [
  { key: 'chardev', type: ID, help: 'the -chardev socket,path=... where the other process listens; its reconnect= holds here', required: true },
  { key: 'queues', type: { kind: 'integer', min: 1, max: 16 }, default: '1', help: 'queue pairs; with mq=on of the device' },
  { key: 'vhostforce', type: ON_OFF, help: 'use vhost', status: ignored('it is always used') },
]

export const NETDEVS: readonly Variant[] = [
  { name: 'user', help: 'a router inside this process (libslirp): needs no rights', sub: [NETDEV_ID, ...USER] },
  { name: 'stream', help: 'frames over a unix or TCP socket, as passt and QEMU have them', sub: [NETDEV_ID, ...STREAM] },
  { name: 'tap', help: 'an interface of the host', sub: [NETDEV_ID, ...TAP] },
  { name: 'vhost-user', help: 'another process that speaks vhost-user, such as a switch of DPDK', sub: [NETDEV_ID, ...VHOST_USER] },
  ...['socket', 'dgram', 'bridge', 'vde', 'netmap', 'l2tpv3', 'hubport', 'vhost-vdpa', 'af-xdp', 'passt', 'none'].map((name): Variant => ({ name, help: '', sub: [], status: later('network back-ends of this kind') })),
]

const QUEUE_SIZE: ValueType = { kind: 'integer', min: 256, max: 4096 }

/** Keys of virtio-net-device beside those of every virtio device. */
export const VIRTIO_NET: readonly SubOption[] = [
  { key: 'netdev', type: ID, help: 'the -netdev behind it', required: true },
  { key: 'mac', type: { kind: 'text', maxBytes: 17, name: 'ADDRESS' }, help: 'its address; default 52:54:00:12:34:56, the next one for the next card' },
  { key: 'mq', type: ON_OFF, default: 'off', help: 'as many queue pairs as the -netdev has' },
  { key: 'queue-size', type: QUEUE_SIZE, default: '256', help: 'size of a queue, a power of two' },
  { key: 'rx_queue_size', type: QUEUE_SIZE, help: 'of those to the guest; default queue-size' },
  { key: 'tx_queue_size', type: QUEUE_SIZE, help: 'of those from the guest; default queue-size' },
  { key: 'host_mtu', type: { kind: 'integer', min: 68, max: 65_535 }, help: 'longest packet, told to the guest' },
  { key: 'csum', type: ON_OFF, default: 'on', help: 'the guest may leave checksums to us' },
  { key: 'guest_csum', type: ON_OFF, default: 'on', help: 'the guest may be spared checking them' },
  { key: 'gso', type: ON_OFF, default: 'on', help: 'the guest may send long TCP segments' },
  { key: 'mrg_rxbuf', type: ON_OFF, default: 'on', help: 'a frame may lie in several buffers' },
  { key: 'vectors', type: { kind: 'integer', min: 0, max: 2048 }, help: 'interrupts', status: ignored('a virtio-mmio device has one interrupt') },
  { key: 'bootindex', type: { kind: 'integer', min: 0, max: 255 }, help: 'boot order', status: ignored('the kernel is loaded directly') },
  { key: 'romfile', type: TEXT_255, help: 'boot ROM', status: ignored('there is no firmware') },
  { key: 'tx', type: TEXT_255, help: 'how sending is put off', status: ignored('nothing is put off') },
  ...['iothread', 'rx-iothread', 'tx-iothread'].map((key): SubOption => ({ key, type: ID, help: 'thread of its queues', status: later('I/O threads') })),
]
