/** Devices and objects, with the names of those that StratoVirt and QEMU have and later work brings: an error can then name the work instead of denying the name. */
import type { MachineType, SubOption, Variant } from './option-types.ts'
import { ID, ON_OFF, PATH, TEXT_255, ignored, later } from './option-types.ts'
import { VIRTIO_BLK } from './table-disks.ts'
import { VIRTIO_NET } from './table-networks.ts'

const LIGHT: readonly MachineType[] = ['microvm']
const STANDARD: readonly MachineType[] = ['q35', 'virt']

const family = (work: string, machines: readonly MachineType[], names: string): Variant[] =>
  names.split(' ').map((name) => ({ name, help: '', sub: [], machines, status: later(work) }))

const onBothTransports = (work: string, names: string): Variant[] => names.split(' ').flatMap((name) => [
  ...family(work, LIGHT, `${name}-device`), ...family(work, STANDARD, `${name}-pci`),
])

/** Keys of every virtio device. */
const VIRTIO: readonly SubOption[] = [
  { key: 'id', type: ID, help: 'name of the device' },
  { key: 'packed', type: ON_OFF, default: 'on', help: 'offer packed rings' },
  { key: 'indirect_desc', type: ON_OFF, default: 'on', help: 'offer indirect descriptors' },
  { key: 'event_idx', type: ON_OFF, default: 'on', help: 'offer the event index' },
]

const VIRTIO_RNG: readonly SubOption[] = [
  { key: 'rng', type: ID, help: 'the -object that gives the bytes; without one the generator of this system' },
  { key: 'max-bytes', type: { kind: 'integer', min: 1, max: Number.MAX_SAFE_INTEGER }, help: 'most bytes in a period; without it there is no limit' },
  { key: 'period', type: { kind: 'integer', min: 1, max: 2 ** 31 - 1 }, default: '65536', help: 'length of a period in milliseconds' },
]

const VIRTIO_BALLOON: readonly SubOption[] = [
  { key: 'deflate-on-oom', type: ON_OFF, default: 'off', help: 'the guest takes memory back rather than end a program for want of it' },
  { key: 'free-page-reporting', type: ON_OFF, default: 'off', help: 'the guest gives pages back as they become free, without being asked' },
]

const VIRTIO_SERIAL: readonly SubOption[] = [
  { key: 'max_ports', aliases: ['max-ports'], type: { kind: 'integer', min: 1, max: 31 }, default: '31', help: 'how many consoles and channels it may have; with 1 a console only' },
  { key: 'emergency-write', type: { kind: 'boolean', only: true }, help: 'only on', status: ignored('a kernel may always write to its console without a queue') },
  { key: 'vectors', type: { kind: 'integer', min: 0, max: 2048 }, help: 'interrupts', status: ignored('a virtio-mmio device has one interrupt') },
]

const SERIAL_PORT: readonly SubOption[] = [
  { key: 'id', type: ID, help: 'name of the port' },
  { key: 'chardev', type: ID, help: 'the -chardev behind it', required: true },
  { key: 'name', type: TEXT_255, help: 'name in the guest: /dev/virtio-ports/NAME' },
  { key: 'nr', type: { kind: 'integer', min: 0, max: 30 }, help: 'number of the port; 0 is for a console. Default the first that is free' },
  { key: 'bus', type: ID, help: 'the controller, as ID.0; default the first' },
]

const VHOST_USER_FS: readonly SubOption[] = [
  { key: 'chardev', type: ID, help: 'the -chardev socket,path=... where the back end (virtiofsd) listens', required: true },
  { key: 'tag', type: { kind: 'text', maxBytes: 36 }, help: 'name by which the guest mounts the folder', required: true },
  { key: 'num-request-queues', type: { kind: 'integer', min: 1, max: 64 }, default: '1', help: 'queues beside the one for urgent requests' },
  { key: 'queue-size', type: { kind: 'integer', min: 4, max: 1024 }, default: '128', help: 'size of each queue, a power of two' },
]

const VIRTIO_VSOCK: readonly SubOption[] = [
  { key: 'guest-cid', type: { kind: 'integer', min: 3, max: 2 ** 32 - 2 }, help: 'address of the guest', required: true },
  { key: 'path', type: PATH, help: 'unix socket for processes of the host that connect to the guest; what the guest connects to at port P of the host (CID 2) is the socket PATH_P', required: true },
]

export const DEVICES: readonly Variant[] = [
  { name: 'virtio-rng-device', machines: LIGHT, help: 'random bytes of the host for the guest (/dev/hwrng)', sub: [...VIRTIO, ...VIRTIO_RNG] },
  { name: 'virtio-blk-device', aliases: ['virtio-blk'], machines: LIGHT, help: 'a disk (/dev/vda and so on, in the order of the command line)', sub: [...VIRTIO, ...VIRTIO_BLK] },
  { name: 'virtio-net-device', aliases: ['virtio-net'], machines: LIGHT, help: 'a network card (eth0 and so on, in the order of the command line)', sub: [...VIRTIO, ...VIRTIO_NET] },
  { name: 'virtio-balloon-device', aliases: ['virtio-balloon'], machines: LIGHT, help: 'gives memory of the guest back to the host, as QMP balloon asks for it', sub: [...VIRTIO, ...VIRTIO_BALLOON] },
  { name: 'vhost-user-fs-device', aliases: ['vhost-user-fs'], machines: LIGHT, help: 'a folder of the host, served by virtiofsd (mount -t virtiofs TAG); needs -machine mem-share=on',
    sub: [...VIRTIO, ...VHOST_USER_FS] },
  { name: 'virtio-vsock-device', aliases: ['virtio-vsock'], machines: LIGHT, help: 'sockets between programs of the guest (AF_VSOCK) and of the host (unix sockets)', sub: [...VIRTIO, ...VIRTIO_VSOCK] },
  { name: 'virtio-serial-device', aliases: ['virtio-serial'], machines: LIGHT, help: 'a controller of consoles and channels', sub: [...VIRTIO, ...VIRTIO_SERIAL] },
  { name: 'virtconsole', machines: LIGHT, help: 'a console on a controller (/dev/hvc0 and so on)', sub: SERIAL_PORT },
  { name: 'virtserialport', machines: LIGHT, help: 'a channel on a controller, for an agent (/dev/vport0p1 and so on)', sub: SERIAL_PORT },
  ...family('virtio devices', STANDARD, 'virtio-rng-pci virtio-blk-pci virtio-net-pci virtio-balloon-pci virtio-serial-pci'),
  ...onBothTransports('virtio devices',
    'virtio-mem virtio-pmem virtio-input virtio-multitouch virtio-gpu virtio-scsi'),
  { name: 'vhost-vsock-device', machines: LIGHT, help: '', sub: [], status: later('sockets of the kernel of the host (/dev/vhost-vsock)', 'virtio-vsock-device,guest-cid=N,path=FILE, which has unix sockets in their place') },
  ...onBothTransports('vhost devices', 'vhost-user-blk vhost-user-gpu'),
  ...family('vhost devices', STANDARD, 'vhost-vsock-pci vhost-user-fs-pci'),
  ...family('PCI devices', STANDARD, 'pcie-root-port pcie-demo-dev'),
  ...family('passed-through devices', STANDARD, 'vfio-pci'),
  ...family('SCSI disks', STANDARD, 'scsi-hd scsi-cd'),
  ...family('USB devices', STANDARD, 'nec-usb-xhci qemu-xhci usb-kbd usb-tablet usb-storage usb-consumer usb-uas usb-host usb-camera'),
  ...family('displays', STANDARD, 'ramfb'),
  ...family('crash-report devices', STANDARD, 'pvpanic pvpanic-pci'),
  ...family('shared-memory sound devices', STANDARD, 'ivshmem-scream'),
]

const OBJECT_ID: SubOption = { key: 'id', type: ID, help: 'name that devices refer to', required: true }

export const OBJECTS: readonly Variant[] = [
  { name: 'rng-random', help: 'random bytes from a device of the host',
    sub: [OBJECT_ID, { key: 'filename', type: PATH, default: '/dev/urandom', help: 'the device: a character device or a pipe' }] },
  { name: 'rng-builtin', help: 'random bytes from the generator of this system', sub: [OBJECT_ID] },
  ...family('I/O threads', ['microvm', 'q35', 'virt'], 'iothread'),
  ...family('memory back-ends', ['microvm', 'q35', 'virt'], 'memory-backend-ram memory-backend-file memory-backend-memfd'),
  ...family('remote displays', STANDARD, 'tls-creds-x509 authz-simple'),
]
