/** Names of devices and objects that StratoVirt and QEMU have and later work brings: an error can then name the work instead of denying the name. */
import type { MachineType, Variant } from './option-types.ts'
import { later } from './option-types.ts'

const LIGHT: readonly MachineType[] = ['microvm']
const STANDARD: readonly MachineType[] = ['q35', 'virt']

const family = (work: string, machines: readonly MachineType[], names: string): Variant[] =>
  names.split(' ').map((name) => ({ name, help: '', sub: [], machines, status: later(work) }))

const onBothTransports = (work: string, names: string): Variant[] => names.split(' ').flatMap((name) => [
  ...family(work, LIGHT, `${name}-device`), ...family(work, STANDARD, `${name}-pci`),
])

export const DEVICES: readonly Variant[] = [
  ...onBothTransports('virtio devices',
    'virtio-blk virtio-net virtio-serial virtio-balloon virtio-rng virtio-mem virtio-pmem virtio-input virtio-multitouch virtio-gpu virtio-scsi'),
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

export const OBJECTS: readonly Variant[] = [
  ...family('I/O threads', ['microvm', 'q35', 'virt'], 'iothread'),
  ...family('virtio devices', ['microvm', 'q35', 'virt'], 'rng-random rng-builtin'),
  ...family('memory back-ends', ['microvm', 'q35', 'virt'], 'memory-backend-ram memory-backend-file memory-backend-memfd'),
  ...family('remote displays', STANDARD, 'tls-creds-x509 authz-simple'),
]
