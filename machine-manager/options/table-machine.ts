/** Options that shape the machine and what it boots. Limits: docs/command-line.md. */
import { GIB, MIB } from './values.ts'
import type { OptionSpec, SubOption } from './option-types.ts'
import { ON_OFF, PATH, TEXT_255, ignored, later } from './option-types.ts'
import type { Choice, ValueType } from './values.ts'

export const MAX_CPUS = 254
export const MIN_RAM = 128 * MIB
export const MAX_RAM = 512 * GIB
export const DEFAULT_RAM = 256 * MIB
/** Longest kernel command line: COMMAND_LINE_SIZE of x86 Linux less its ending zero. */
export const MAX_APPEND_BYTES = 2047

const ACCELERATORS: readonly Choice[] = [
  { name: 'kvm', help: "the processor's virtualization, on x86-64 Linux" },
  { name: 'tcg', help: 'our software CPU, runs anywhere' },
  { name: 'test', help: 'no guest code runs', status: later('device tests without a CPU (test)') },
]

const TYPES: readonly Choice[] = [
  { name: 'microvm', help: 'LightMachine, with virtio-mmio and without PCI and firmware' },
  { name: 'q35', aliases: ['pc', 'pc-q35'], help: 'StandardMachine on x86_64', status: later('StandardMachines (q35)') },
  { name: 'virt', help: 'StandardMachine on aarch64', status: later('aarch64 machines (virt)') },
  { name: 'none', help: 'no machine, for capability probes', status: later('probes without a machine (none)') },
]

const count = (key: string, help: string, fallback?: string): SubOption =>
  ({ key, type: { kind: 'integer', min: 1, max: MAX_CPUS }, help, ...(fallback === undefined ? {} : { default: fallback }) })

const KERNEL_IRQCHIP: ValueType = {
  kind: 'choice', choices: [
    { name: 'on', aliases: ['yes', 'true'], help: 'in the kernel' },
    { name: 'off', aliases: ['no', 'false'], status: later('interrupt controllers outside the kernel (kernel-irqchip=off)') },
    { name: 'split', status: later('interrupt controllers half outside the kernel (kernel-irqchip=split)') },
  ],
}

const TRANSLATOR: ValueType = {
  kind: 'choice', choices: [
    { name: 'on', aliases: ['yes', 'true'] },
    { name: 'off', aliases: ['no', 'false'], help: 'all code is interpreted' },
    { name: 'force', help: 'all code, before it is first executed: slow, for tests' },
  ],
}

const ONLY_ARM = ignored('it means something on aarch64 only')

export const MACHINE_OPTIONS: readonly OptionSpec[] = [
  {
    name: 'machine', aliases: ['M'], group: 'Machine', help: 'Machine type and its properties.',
    form: {
      kind: 'keys', implied: 'type',
      sub: [
        { key: 'type', type: { kind: 'choice', choices: TYPES }, default: 'microvm', help: 'machine type, any case' },
        { key: 'accel', type: { kind: 'preference', choices: ACCELERATORS }, help: 'as -accel, which wins when both are given' },
        { key: 'kernel-irqchip', aliases: ['kernel_irqchip'], type: KERNEL_IRQCHIP, default: 'on', help: 'as of -accel kvm' },
        {
          key: 'hotplug', type: { kind: 'choice', choices: [{ name: 'auto' }, { name: 'on', aliases: ['yes', 'true'] }, { name: 'off', aliases: ['no', 'false'] }] }, default: 'auto',
          help: 'whether the machine always has four disks, the empty ones as slots for device_add. auto: where it has a monitor',
        },
        {
          key: 'unpack-kernel', type: { kind: 'choice', choices: [{ name: 'auto' }, { name: 'on', aliases: ['yes', 'true'] }, { name: 'off', aliases: ['no', 'false'] }] }, default: 'auto',
          help: 'a bzImage is unpacked on the host, and the kernel in it entered where it was linked, without address randomisation. auto: on tcg, where the guest would '
            + 'take seconds for it, unless kaslr is on the kernel command line',
        },
        {
          key: 'acpi', type: { kind: 'choice', choices: [{ name: 'auto' }, { name: 'on', aliases: ['yes', 'true'] },
            { name: 'off', aliases: ['no', 'false'] }] }, default: 'auto',
          help: 'how the guest finds its hardware: ACPI tables (on), MP table and kernel command line (off), both (auto)',
        },
        { key: 'mem-share', aliases: ['mem_share'], type: ON_OFF, default: 'off', help: 'guest memory that other processes can map: a memfd, or the file of -mem-path' },
        { key: 'dump-guest-core', aliases: ['dump_guest_core'], type: ON_OFF, default: 'on', help: 'guest memory is part of a core dump, where the host makes any (ulimit -c)' },
        { key: 'usb', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('this machine has no USB controller') },
        { key: 'graphics', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('this machine has no display') },
        { key: 'vmport', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('this machine has no VMware port') },
        { key: 'gic-version', type: { kind: 'choice', choices: [{ name: '3' }] }, help: 'only 3', status: ONLY_ARM },
      ],
    },
  },
  {
    name: 'accel', group: 'Machine', repeatable: true, argument: '[accel=]kvm|tcg[:...][,key=value...]',
    help: 'What runs guest instructions; of several (kvm:tcg, or -accel kvm -accel tcg) the first that works. Default: kvm where the processor has vmx or svm and '
      + '/dev/kvm opens, else tcg, and a line on standard error says which and why; mesovirt doctor explains it.',
    form: {
      kind: 'keys', implied: 'accel',
      sub: [
        { key: 'accel', type: { kind: 'preference', choices: ACCELERATORS }, help: 'the accelerator', required: true },
        { key: 'kernel-irqchip', aliases: ['kernel_irqchip'], type: KERNEL_IRQCHIP, default: 'on', help: 'kvm: where interrupt controllers and interval timer are' },
        { key: 'translator', type: TRANSLATOR, default: 'on', help: 'tcg: hot guest code becomes WebAssembly' },
        { key: 'symbols', type: PATH, help: 'tcg: a System.map, or /proc/kallsyms in a file: info jit then shows where the guest kernel spends its instructions' },
        { key: 'thread', type: { kind: 'choice', choices: [{ name: 'single' }, { name: 'multi' }] },
          default: 'single', help: 'tcg: one host thread for all vCPUs, or one for each of at most 16 (experimental; x86-64 hosts, without -icount)' },
        { key: 'tb-size', type: { kind: 'integer', min: 0, max: 1024 * 1024 }, help: 'tcg: translation cache, MiB',
          status: ignored('tcg sizes its caches itself') },
        { key: 'split-wx', type: ON_OFF, help: 'tcg: generated code is never writable', status: ignored('tcg generates no machine code of its own') },
        { key: 'one-insn-per-tb', type: ON_OFF, help: 'tcg: blocks of one instruction', status: later('blocks of one instruction (one-insn-per-tb)') },
        { key: 'device', type: PATH, help: 'kvm: another device than /dev/kvm', status: later('other devices than /dev/kvm') },
        { key: 'dirty-ring-size', type: TEXT_255, help: 'kvm: rings of written pages', status: later("KVM's dirty rings") },
        { key: 'notify-vmexit', type: TEXT_255, help: 'kvm: exits forced on a guest that makes none', status: later('forced exits (notify-vmexit)') },
        { key: 'notify-window', type: TEXT_255, help: 'kvm: how long to wait for them', status: later('forced exits (notify-vmexit)') },
        { key: 'kvm-shadow-mem', type: TEXT_255, help: 'kvm: size of the shadow page tables', status: later("limits on KVM's shadow page tables") },
      ],
    },
  },
  {
    name: 'cpu', group: 'Machine', help: 'CPU model.',
    form: {
      kind: 'keys', implied: 'model',
      sub: [
        { key: 'model', type: { kind: 'choice', choices: [{ name: 'host', help: 'all the accelerator has' }, { name: 'max', help: 'the same' }] },
          default: 'host', help: 'model, with either accelerator' },
        { key: 'pmu', type: ON_OFF, help: 'performance counters', status: ONLY_ARM },
        { key: 'sve', type: ON_OFF, help: 'scalable vectors', status: ONLY_ARM },
        { key: 'kvm-steal-time', type: ON_OFF, help: 'stolen time', status: ONLY_ARM },
      ],
    },
  },
  {
    name: 'smp', group: 'Machine',
    help: 'Number of vCPUs and their topology. What is not given is filled in; sockets x dies x clusters x cores x threads must equal maxcpus.',
    form: {
      kind: 'keys', implied: 'cpus',
      sub: [
        count('cpus', 'vCPUs at start', '1'), count('maxcpus', 'most vCPUs, at least cpus', 'cpus'),
        count('sockets', 'sockets', '1'), count('dies', 'dies per socket', '1'), count('clusters', 'clusters per die', '1'),
        count('cores', 'cores per cluster', 'the rest'), count('threads', 'threads per core', '1'),
      ],
    },
  },
  {
    name: 'm', group: 'Machine', help: 'Guest memory. A number without suffix means MiB.', argument: '[size=]N[K|M|G|T]',
    form: {
      kind: 'keys', implied: 'size',
      sub: [
        { key: 'size', type: { kind: 'size', min: MIN_RAM, max: MAX_RAM, bareUnit: MIB }, default: '256M',
          help: 'memory at start, a multiple of 4K; tcg can give at most 3584M' },
        { key: 'maxmem', type: TEXT_255, help: 'most memory', status: later('memory hot-plug devices') },
        { key: 'slots', type: TEXT_255, help: 'memory slots', status: later('memory hot-plug devices') },
      ],
    },
  },
  { name: 'mem-path', group: 'Machine', argument: 'FILE|FOLDER', form: { kind: 'plain', type: PATH },
    help: 'What backs guest memory: a file, made where there is none, or a folder, in which a file without a name is made. On hugetlbfs: huge pages. The guest '
      + 'writes to copies of its pages, unless -machine mem-share=on.' },
  { name: 'mem-prealloc', group: 'Machine', form: { kind: 'flag' }, help: 'Give all guest memory its pages at start, in several threads; an error where the host has too few.' },
  { name: 'numa', group: 'Machine', form: { kind: 'unread' }, repeatable: true, help: 'NUMA nodes and distances.', machines: ['q35', 'virt'],
    status: later('NUMA nodes') },
  { name: 'enable-kvm', group: 'Machine', form: { kind: 'flag' }, help: 'As -accel kvm.' },
  { name: 'name', group: 'Machine', help: 'Name of the machine, for query-name and people.', argument: '[guest=]NAME',
    form: {
      kind: 'keys', implied: 'guest',
      sub: [
        { key: 'guest', type: TEXT_255, help: 'the name, at most 255 bytes' },
        { key: 'process', type: TEXT_255, help: 'process title', status: ignored('the process keeps its name') },
        { key: 'debug-threads', type: ON_OFF, help: 'thread names', status: ignored('threads have fixed names') },
      ],
    } },
  { name: 'uuid', group: 'Machine', help: 'UUID of the machine, for query-uuid.', argument: 'UUID',
    form: { kind: 'plain', type: { kind: 'text', maxBytes: 36, name: 'UUID' } } },
  { name: 'smbios', group: 'Machine', form: { kind: 'unread' }, repeatable: true, help: 'SMBIOS tables.', machines: ['q35', 'virt'],
    status: later('SMBIOS tables') },
  { name: 'hardware-signature', group: 'Machine', form: { kind: 'unread' }, help: 'Number in the FACS table.', machines: ['q35', 'virt'],
    status: later('StandardMachine ACPI tables') },
  { name: 'battery', group: 'Machine', form: { kind: 'flag' }, help: 'ACPI battery.', machines: ['virt'], status: later('batteries') },
  { name: 'global', group: 'Machine', form: { kind: 'unread' }, repeatable: true, help: 'Property of all devices of a kind.',
    machines: ['q35', 'virt'], status: later('device properties (-global)') },

  { name: 'kernel', group: 'Boot', help: 'Linux kernel: bzImage, vmlinux ELF or flat binary. The microvm needs one.', argument: 'FILE',
    form: { kind: 'plain', type: PATH } },
  { name: 'initrd', group: 'Boot', help: 'Initial RAM disk.', argument: 'FILE', form: { kind: 'plain', type: PATH } },
  { name: 'append', group: 'Boot', repeatable: true,
    help: 'Kernel command line, as one quoted value or as many words up to the next option. Commas and quotes are kept.',
    argument: 'WORDS...', form: { kind: 'words', maxBytes: MAX_APPEND_BYTES } },
  { name: 'boot', group: 'Boot', form: { kind: 'unread' }, help: 'Boot order.', status: ignored('the kernel given with -kernel is booted') },
  { name: 'incoming', group: 'Boot', form: { kind: 'unread' }, help: 'Start from a migration stream or a snapshot.',
    status: later('migration and snapshots') },
  { name: 'dtb', group: 'Boot', form: { kind: 'unread' }, help: 'Device tree.', machines: ['virt'], status: later('aarch64 machines (virt)') },
  { name: 'bios', group: 'Boot', form: { kind: 'unread' }, help: 'Firmware image.', machines: ['q35', 'virt'],
    status: later('StandardMachines with firmware') },
]
