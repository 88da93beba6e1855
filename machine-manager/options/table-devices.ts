/** Devices and objects, with the names of those that StratoVirt and QEMU have and later work brings: an error can then name the work instead of denying the name. */
import type { MachineType, SubOption, Variant } from './option-types.ts'
import { ID, ON_OFF, PATH, later } from './option-types.ts'
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

export const DEVICES: readonly Variant[] = [
  { name: 'virtio-rng-device', machines: LIGHT, help: 'random bytes of the host for the guest (/dev/hwrng)', sub: [...VIRTIO, ...VIRTIO_RNG] },
  { name: 'virtio-blk-device', aliases: ['virtio-blk'], machines: LIGHT, help: 'a disk (/dev/vda and so on, in the order of the command line)', sub: [...VIRTIO, ...VIRTIO_BLK] },
  { name: 'virtio-net-device', aliases: ['virtio-net'], machines: LIGHT, help: 'a network card (eth0 and so on, in the order of the command line)', sub: [...VIRTIO, ...VIRTIO_NET] },
  { name: 'virtio-balloon-device', aliases: ['virtio-balloon'], machines: LIGHT, help: 'gives memory of the guest back to the host, as QMP balloon asks for it', sub: [...VIRTIO, ...VIRTIO_BALLOON] },
  ...family('virtio devices', STANDARD, 'virtio-rng-pci virtio-blk-pci virtio-net-pci virtio-balloon-pci'),
  ...onBothTransports('virtio devices',
    'virtio-serial virtio-mem virtio-pmem virtio-input virtio-multitouch virtio-gpu virtio-scsi'),
  ...family('virtio devices', ['microvm', 'q35', 'virt'], 'virtconsole virtserialport'),
  ...onBothTransports('vhost devices', 'vhost-vsock vhost-user-blk vhost-user-fs vhost-user-gpu'),
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
