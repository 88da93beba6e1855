/** Options for serial port, character devices and monitors, and the device options that later work brings. */
import type { OptionSpec, SubOption, Variant } from './option-types.ts'
import { ID, ON_OFF, PATH, TEXT_255, ignored, later } from './option-types.ts'
import { DEVICES, OBJECTS } from './table-devices.ts'
import { BLOCK_NODES, DRIVE } from './table-disks.ts'
import { NETDEVS } from './table-networks.ts'

/** sockaddr_un.sun_path of Linux holds 108 bytes with the ending zero. */
export const MAX_SOCKET_PATH_BYTES = 107

const LATER_KINDS = later('character devices of this kind')

/** Keys that only -chardev has, and QMP's chardev-add. */
export const CHARDEV_COMMON: readonly SubOption[] = [
  { key: 'id', type: ID, help: 'name that other options refer to', required: true },
  { key: 'mux', type: ON_OFF, default: 'off', help: 'up to four may share it: Ctrl-A c switches, Ctrl-A h tells of other keys' },
  { key: 'logfile', type: PATH, help: 'file that gets a copy of the output' },
  { key: 'logappend', type: ON_OFF, default: 'off', help: 'keep what that file holds' },
]

const RECONNECT_KEYS: readonly SubOption[] = [
  { key: 'reconnect', type: { kind: 'integer', min: 0, max: 3600 }, help: 'seconds after which a client tries again; 0: it does not' },
  { key: 'reconnect-ms', type: { kind: 'integer', min: 0, max: 3_600_000 }, help: 'the same in milliseconds' },
]

const SOCKET: readonly SubOption[] = [
  { key: 'path', type: { kind: 'path', maxBytes: MAX_SOCKET_PATH_BYTES },
    help: 'unix socket; a stale file is replaced, one with a live listener is an error' },
  { key: 'host', type: TEXT_255, help: 'TCP address; default 0.0.0.0 for a server, 127.0.0.1 for a client' },
  { key: 'port', type: { kind: 'integer', min: 0, max: 65535 }, help: 'TCP port; 0 lets the system choose for a server' },
  { key: 'server', type: ON_OFF, default: 'off', help: 'listen (on) or connect (off); also server, noserver' },
  { key: 'wait', type: ON_OFF, default: 'on', help: 'a server holds the start until a client connects; also nowait' },
  { key: 'nodelay', type: ON_OFF, help: 'send at once', status: ignored('TCP sockets always send at once') },
  { key: 'delay', type: ON_OFF, help: 'collect before sending', status: ignored('TCP sockets always send at once') },
  ...RECONNECT_KEYS,
  { key: 'replay', type: { kind: 'size', min: 1, max: 2 ** 20, bareUnit: 1 }, help: 'a server shows so many bytes of the last output to each new client' },
  { key: 'telnet', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('sockets carry plain bytes') },
  { key: 'websocket', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('sockets carry plain bytes') },
  { key: 'fd', type: TEXT_255, help: 'inherited descriptor', status: later('inherited socket descriptors') },
]

const FILE: readonly SubOption[] = [
  { key: 'path', type: PATH, help: 'file that gets the output', required: true },
  { key: 'append', type: ON_OFF, default: 'off', help: 'keep what the file holds' },
  { key: 'input-path', type: PATH, help: 'file to read from', status: later('character devices with an input file') },
]

const STDIO: readonly SubOption[] = [
  { key: 'signal', type: ON_OFF, default: 'off', help: 'Ctrl-C ends the machine (on) or goes to the guest (off); Ctrl-A x always ends it' },
]

/** Kinds of character devices, without the keys that only -chardev has. */
export const CHARACTER_DEVICES: readonly Variant[] = [
  { name: 'stdio', help: 'this terminal, or standard input and output', sub: STDIO },
  { name: 'pty', help: 'a new pseudo terminal', sub: [{ key: 'path', type: PATH, help: 'link to it', status: later('links to pseudo terminals') }] },
  { name: 'socket', help: 'a unix or TCP socket', sub: SOCKET },
  { name: 'file', help: 'output to a file', sub: FILE },
  { name: 'pipe', help: 'FIFOs PATH.in and PATH.out, or one that serves both ways', sub: [{ key: 'path', type: PATH, help: 'name without .in and .out', required: true }] },
  { name: 'ringbuf', aliases: ['memory'], help: 'keeps the last of the output in memory, for QMP ringbuf-read',
    sub: [{ key: 'size', type: { kind: 'size', min: 1, max: 16 * 2 ** 20, bareUnit: 1 }, default: '64K', help: 'bytes that are kept, a power of two' }] },
  { name: 'null', help: 'swallows output, has no input', sub: [] },
  ...['vc', 'udp', 'serial', 'parallel', 'redirect-to-log', 'spicevmc', 'hub']
    .map((name): Variant => ({ name, help: '', sub: [], status: LATER_KINDS })),
]

const noneOnly = (work: string): OptionSpec['form'] => ({
  kind: 'keys', implied: 'type',
  sub: [{ key: 'type', type: { kind: 'choice', choices: [{ name: 'none' }, { name: 'null' }], otherwise: work }, help: 'only none' }],
})

export const BACKEND_OPTIONS: readonly OptionSpec[] = [
  {
    name: 'serial', group: 'Devices and back-ends', argument: 'BACKEND', form: { kind: 'character-device' },
    help: 'Connects the serial port (ttyS0): stdio, pty, null, none, file:PATH, pipe:PATH, unix:PATH[,server][,nowait], tcp:HOST:PORT[,server][,nowait], '
      + 'chardev:ID, or socket,path=PATH,... and file,path=PATH. Without it the port is there and its output goes nowhere.',
  },
  {
    name: 'chardev', group: 'Devices and back-ends', repeatable: true, help: 'A character device that -serial chardev:ID, -device virtconsole,chardev=ID and -mon chardev=ID refer to.',
    form: { kind: 'variants', key: 'backend', common: CHARDEV_COMMON, variants: CHARACTER_DEVICES },
  },
  { name: 'device', group: 'Devices and back-ends', repeatable: true, help: 'Adds a device.', argument: 'DRIVER[,key=value...]',
    form: { kind: 'variants', key: 'driver', common: [], variants: DEVICES } },
  { name: 'drive', group: 'Devices and back-ends', repeatable: true, argument: 'id=ID,file=PATH[,key=value...]', form: { kind: 'keys', sub: DRIVE },
    help: 'A disk image for -device virtio-blk-device,drive=ID.' },
  { name: 'blockdev', group: 'Devices and back-ends', repeatable: true, argument: '[driver=]raw|file|host_device,node-name=ID[,key=value...]',
    form: { kind: 'variants', key: 'driver', common: [], variants: BLOCK_NODES }, help: 'A disk image in QEMU\'s newer spelling.' },
  { name: 'netdev', group: 'Devices and back-ends', repeatable: true, argument: 'user|stream|tap|vhost-user,id=ID[,key=value...]',
    form: { kind: 'variants', key: 'type', common: [], variants: NETDEVS }, help: 'A network for -device virtio-net-device,netdev=ID.' },
  { name: 'object', group: 'Devices and back-ends', repeatable: true, help: 'Adds a helper object.', argument: 'KIND,id=ID[,key=value...]',
    form: { kind: 'variants', key: 'qom-type', common: [], variants: OBJECTS } },
  { name: 'parallel', group: 'Devices and back-ends', form: noneOnly('parallel ports'), help: 'Parallel port: only none.',
    status: ignored('the machine has no parallel port') },
  { name: 'net', group: 'Devices and back-ends', form: noneOnly('short forms of -netdev and -device'), help: 'Only none.',
    status: ignored('there is no default network card') },
  { name: 'nic', group: 'Devices and back-ends', form: noneOnly('short forms of -netdev and -device'), help: 'Only none.',
    status: ignored('there is no default network card') },
  { name: 'usb', group: 'Devices and back-ends', form: { kind: 'flag' }, help: 'USB controller.',
    status: ignored('the machine has no USB controller') },
  { name: 'cameradev', group: 'Devices and back-ends', repeatable: true, form: { kind: 'unread' }, help: 'Camera back-end.',
    machines: ['q35', 'virt'], status: later('USB cameras') },

  { name: 'qmp', group: 'Monitors', repeatable: true, argument: 'unix:PATH,server,nowait', form: { kind: 'character-device' },
    help: 'A QMP monitor: unix:PATH or tcp:HOST:PORT, with server and nowait; any other back-end of -serial works too.' },
  { name: 'qmp-pretty', group: 'Monitors', repeatable: true, argument: 'unix:PATH,server,nowait', form: { kind: 'character-device' },
    help: 'As -qmp, with indented JSON.' },
  {
    name: 'mon', group: 'Monitors', repeatable: true, help: 'A QMP monitor on a -chardev.',
    form: {
      kind: 'keys', implied: 'chardev',
      sub: [
        { key: 'chardev', type: ID, help: 'the character device', required: true },
        { key: 'id', type: ID, help: 'name of the monitor' },
        { key: 'mode', type: { kind: 'choice', choices: [{ name: 'control' }, { name: 'readline', status: later('readline monitors') }] },
          default: 'control', help: 'kind of monitor' },
        { key: 'pretty', type: ON_OFF, default: 'off', help: 'indented JSON' },
        { key: 'iothread', type: ID, help: 'thread that serves it', status: ignored('the main thread serves monitors') },
      ],
    },
  },
  { name: 'monitor', group: 'Monitors', form: noneOnly('readline monitors'), help: 'Human monitor: only none.',
    status: ignored('there is no default monitor') },
]
