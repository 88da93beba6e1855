/** Options -> VmConfig: defaults, and what options mean together. Where two options say the same thing the rule is beside the code. */
import type { AcceleratorConfig, AcceleratorName, ActionConfig, BootConfig, ClockConfig, DeviceConfig, ImageConfig, LogConfig, MachineConfig, MonitorConfig,
  ObjectConfig, TraceEvent, VmConfig } from './config.ts'
import { DEFAULT_CANDIDATES } from './config.ts'
import { chardevConfig } from './chardevs.ts'
import { isPort, placePorts, portConfig } from './consoles.ts'
import type { GivenPort } from './consoles.ts'
import { checkDevices, deviceConfig, objectConfig } from './devices.ts'
import { blockdevConfig, driveConfig, resolveImages } from './disks.ts'
import { netdevConfig } from './networks.ts'
import type { NetdevConfig } from '../../device-model/net/open.ts'
import type { ReferringNode } from './disks.ts'
import { LOG_ITEMS } from '../../hypervisor/hypervisor.ts'
import type { LogItem, ThreadMode, TranslatorMode } from '../../hypervisor/hypervisor.ts'
import { parseKeyValues } from './grammar.ts'
import type { KeyValue, Occurrence } from './grammar.ts'
import { checkStatus, readCharacterDevice, readValues, readVariant, Values } from './interpret.ts'
import type { NamedValues } from './interpret.ts'
import { optionError, printable } from './errors.ts'
import { didYouMean } from './suggest.ts'
import { CHARACTER_DEVICES } from './table-backends.ts'
import { DEFAULT_RAM } from './table-machine.ts'
import type { KnownOption } from './table.ts'
import { checkAppend, checkChardevs, checkMemory, checkUuid, fillTopology } from './validate.ts'
import type { OwnedChardev } from './validate.ts'
import { laterError, parseValue } from './values.ts'
import { chardevUsers, checkVhostUser } from './vhost-user.ts'

/** What a launch needs, and lines for the user (stderr) about choices made for them. */
export interface BuiltConfig { readonly config: VmConfig; readonly notices: readonly string[] }

const DEFAULT_SHIFT = 3
/** As QEMU. */
const MOST_SHARING = 4

/** What one pass over the options collects. */
class Draft {
  /** Values of options with keys; a repeated option adds to its first use. */
  readonly keys = new Map<string, Values>()
  readonly plain = new Map<string, string>()
  readonly given = new Set<string>()
  readonly append: string[] = []
  readonly chardevs: OwnedChardev[] = []
  readonly objects: ObjectConfig[] = []
  readonly devices: DeviceConfig[] = []
  readonly ports: GivenPort[] = []
  readonly images: ImageConfig[] = []
  readonly netdevs: NetdevConfig[] = []
  readonly nodes: ReferringNode[] = []
  readonly monitors: { readonly config: MonitorConfig; readonly origin: string }[] = []
  readonly trace: TraceEvent[] = []
  readonly accelerators: string[] = []
  translator: TranslatorMode | undefined
  symbols: string | undefined
  threads: ThreadMode | undefined
  serial: { readonly label: string; readonly origin: string } | undefined

  values(option: string): Values { return this.keys.get(option) ?? new Values() }
}

/**
 * Turns split options into a configuration.
 * @throws MesovirtError with an OPTION_ code
 */
export function buildConfig(occurrences: readonly Occurrence<KnownOption>[]): BuiltConfig {
  const draft = new Draft()
  for (const { option, value } of occurrences) {
    const { spec } = option
    if (draft.given.has(spec.name) && spec.repeatable !== true) throw optionError('OPTION_REPEATED', `-${spec.name}`, 'is given twice; give it once')
    draft.given.add(spec.name)
    checkStatus(spec)
    collect(draft, option, value)
  }
  return assemble(draft)
}

function collect(draft: Draft, { spec }: KnownOption, value: string | undefined): void {
  const where = `-${spec.name}`
  const { form } = spec
  switch (form.kind) {
    case 'flag':
      if (spec.name === 'enable-kvm') draft.accelerators.push('kvm')
      return
    case 'unread':
      return
    case 'words':
      draft.append.push(value ?? '')
      return
    case 'plain':
      if (value !== undefined) draft.plain.set(spec.name, String(parseValue(form.type, value, where)))
      return
    case 'keys': {
      const pairs = parseKeyValues(value ?? '', form.implied, where)
      const values = readValues(pairs, form.sub, where)
      if (spec.name === 'accel') checkAcceleratorProperties(pairs, (values.text('accel') ?? '').split(':'))
      collectKeys(draft, spec.name, values)
      return
    }
    case 'variants': {
      const named = readVariant(value ?? '', form.key, form.variants, where, form.common)
      if (spec.name === 'chardev') addChardev(draft, named, named.values.text('id') ?? '', `${where} id=${named.values.text('id') ?? ''}`)
      else if (spec.name === 'object') draft.objects.push(objectConfig(named, where))
      else if (spec.name === 'netdev') draft.netdevs.push(netdevConfig(named, where))
      else if (spec.name === 'blockdev') {
        const node = blockdevConfig(named, where)
        if ('filename' in node) draft.images.push(node)
        else draft.nodes.push(node)
      } else if (spec.name === 'device' && isPort(named.name)) draft.ports.push(portConfig(named, where))
      else if (spec.name === 'device') draft.devices.push(deviceConfig(named, where))
      return
    }
    case 'character-device':
      collectCharacterDevice(draft, spec.name, value ?? '')
      return
  }
}

function collectKeys(draft: Draft, name: string, values: Values): void {
  switch (name) {
    case 'accel':
      draft.accelerators.push(values.text('accel') ?? '')
      draft.translator = translatorMode(values.text('translator')) ?? draft.translator
      draft.symbols = values.text('symbols') ?? draft.symbols
      draft.threads = threadMode(values.text('thread')) ?? draft.threads
      return
    case 'drive': {
      const { image, disk } = driveConfig(values, draft.images.length, '-drive')
      draft.images.push(image)
      if (disk) draft.devices.push(deviceConfig({ name: 'virtio-blk-device', values: new Values([['drive', image.id]]) }, '-drive'))
      return
    }
    case 'trace':
      if (values.text('enable') === 'boot' && !draft.trace.includes('boot')) draft.trace.push('boot')
      return
    case 'mon':
      draft.monitors.push({
        config: { id: values.text('id'), chardev: values.text('chardev') ?? '', pretty: values.boolean('pretty') ?? false },
          origin: `-mon chardev=${values.text('chardev') ?? ''}`,
      })
      return
    default: {
      const before = draft.keys.get(name)
      if (before === undefined) draft.keys.set(name, values)
      else for (const key of values.keys()) before.set(key, values.text(key) ?? values.number(key) ?? values.boolean(key) ?? '')
    }
  }
}

/** -serial, -qmp and -qmp-pretty: a reference, or a character device of their own with the label QEMU would give it. */
function collectCharacterDevice(draft: Draft, name: string, text: string): void {
  const reference = readCharacterDevice(text, CHARACTER_DEVICES, `-${name}`)
  if (reference.kind === 'none') return
  const origin = `-${name} ${printable(text, 60)}`
  const label = reference.kind === 'reference' ? reference.id : name === 'serial' ? 'serial0' : `compat_monitor${draft.monitors.length}`
  if (reference.kind === 'inline') addChardev(draft, reference, label, origin)
  if (name === 'serial') draft.serial = { label, origin }
  else draft.monitors.push({ config: { id: undefined, chardev: label, pretty: name === 'qmp-pretty' }, origin })
}

function addChardev(draft: Draft, named: NamedValues, label: string, origin: string): void {
  draft.chardevs.push({ config: chardevConfig(named, label, origin), origin })
}

function assemble(draft: Draft): BuiltConfig {
  const notices: string[] = []
  const daemonize = draft.given.has('daemonize')
  checkChardevs(draft.chardevs, daemonize)
  checkReferences(draft)
  const images = resolveImages(draft.images, draft.nodes)
  const devices = placePorts(draft.devices, draft.ports)
  checkDevices(devices, { objects: draft.objects, images, netdevs: draft.netdevs })
  checkVhostUser(devices, draft.netdevs, draft.chardevs.map(({ config }) => config), draft.values('machine').boolean('mem-share') ?? false)
  const accelerator = { ...acceleratorConfig(draft, notices), ...draft.translator === undefined ? {} : { translator: draft.translator }, ...draft.symbols === undefined ? {} : { symbols: draft.symbols }, ...draft.threads === undefined ? {} : { threads: draft.threads }, ...logItems(draft.plain.get('d')) }
  const memory = {
    size: checkMemory(draft.values('m').number('size') ?? DEFAULT_RAM, accelerator.candidates[0]),
    path: draft.plain.get('mem-path'), preallocate: draft.given.has('mem-prealloc'),
  }
  const smp = fillTopology(givenTopology(draft.values('smp')))
  const uuid = draft.plain.get('uuid')
  const config: VmConfig = {
    machine: machineConfig(draft.values('machine')),
    accelerator,
    cpu: { model: draft.values('cpu').text('model') === 'max' ? 'max' : 'host' },
    smp,
    memory,
    boot: bootConfig(draft),
    chardevs: draft.chardevs.map((owned) => owned.config),
    serial: draft.serial?.label,
    objects: draft.objects,
    images,
    netdevs: draft.netdevs,
    devices,
    monitors: draft.monitors.map((monitor) => monitor.config),
    name: draft.values('name').text('guest'),
    uuid: uuid === undefined ? undefined : checkUuid(uuid),
    startPaused: draft.given.has('S'),
    daemonize,
    pidFile: draft.plain.get('pidfile'),
    log: logConfig(draft),
    actions: actionConfig(draft),
    clock: clockConfig(draft),
    trace: draft.trace,
  }
  if (draft.given.has('nographic') && config.serial === undefined) {
    notices.push('-nographic does not move the serial port; give -serial stdio to see the guest')
  }
  return { config, notices }
}

function checkReferences(draft: Draft): void {
  const owners = new Map<string, string[]>()
  const users = [...(draft.serial === undefined ? [] : [draft.serial]),
    ...draft.monitors.map(({ config, origin }) => ({ label: config.chardev, origin })), ...draft.ports.map(({ chardev, origin }) => ({ label: chardev, origin })), ...chardevUsers(draft.devices, draft.netdevs)]
  const labels = draft.chardevs.map((owned) => owned.config.label)
  const ids = new Set<string>()
  for (const { label, origin } of users) {
    if (!labels.includes(label)) {
      const hint = didYouMean(label, labels) || '; add -chardev'
      throw optionError('OPTION_MISSING', origin, `no character device has the id ${printable(label, 60)}${hint}`)
    }
    const isShared = draft.chardevs.some(({ config }) => config.label === label && config.mux === true)
    const owner = owners.get(label) ?? []
    if (owner.length > 0 && !isShared) throw optionError('OPTION_CONFLICT', `${owner[0]} and ${origin}`, 'a character device serves one of them; add another, or mux=on')
    if (owner.length >= MOST_SHARING) throw optionError('OPTION_CONFLICT', origin, `${MOST_SHARING} share this character device already; add another`)
    owners.set(label, [...owner, origin])
  }
  for (const { config, origin } of draft.monitors) {
    if (config.id === undefined) continue
    if (ids.has(config.id)) throw optionError('OPTION_CONFLICT', origin, `another monitor has the id ${printable(config.id, 60)}; use another id`)
    ids.add(config.id)
  }
}

function machineConfig(values: Values): MachineConfig {
  return {
    type: 'microvm',
    acpi: onOffAuto(values.text('acpi')),
    unpackKernel: onOffAuto(values.text('unpack-kernel')),
    hotplug: onOffAuto(values.text('hotplug')),
    memShare: values.boolean('mem-share') ?? false,
    dumpGuestCore: values.boolean('dump-guest-core') ?? true,
  }
}

function onOffAuto(text: string | undefined): 'on' | 'off' | 'auto' {
  return text === 'on' || text === 'off' ? text : 'auto'
}

/**
 * Which accelerators may be taken, in which order: -accel (of which -enable-kvm is one) wins over -machine accel=. Whether kvm works is the host's to say,
 * so the choice itself is made at the launch. Guest time counted in instructions (-icount) leaves tcg only.
 */
function acceleratorConfig(draft: Draft, notices: string[]): AcceleratorConfig {
  const fromMachine = draft.values('machine').text('accel')
  const asked = (draft.accelerators.length > 0 ? draft.accelerators.join(':') : fromMachine)?.split(':')
  const counted = draft.given.has('icount') || draft.given.has('d')
  const [option, why] = draft.given.has('icount') ? ['-icount', 'counts its instructions'] : ['-d', 'looks into it']
  if (asked === undefined) {
    if (counted) notices.push(`accelerator tcg (our software CPU): ${option} ${why}`)
    return { candidates: counted ? ['tcg'] : DEFAULT_CANDIDATES, chosenBy: 'default' }
  }
  const known = [...new Set(asked)].filter((name): name is AcceleratorName => name === 'kvm' || name === 'tcg')
  if (known.length === 0) throw laterError(`-accel ${asked[0] ?? ''}`, 'device tests without a CPU (test)')
  if (draft.values('machine').has('kernel-irqchip') && !known.includes('kvm')) {
    throw optionError('OPTION_VALUE', '-machine kernel-irqchip=', 'kernel-irqchip belongs to kvm; leave it out, or use -accel kvm')
  }
  if (asked[0] !== known[0]) notices.push(`-accel ${asked[0] ?? ''} is not in this version; ${known.join(' or ')} is used`)
  if (!counted) return { candidates: known, chosenBy: 'user' }
  if (!known.includes('tcg')) {
    throw optionError('OPTION_CONFLICT', `${option} and -accel kvm`, `${option === '-d' ? 'nobody sees what a processor does' : 'a processor does not count instructions into time'}; use -accel tcg, or leave out ${option}`)
  }
  if (known[0] === 'kvm') notices.push(`accelerator tcg (our software CPU): ${option} ${why}`)
  return { candidates: ['tcg'], chosenBy: 'user' }
}

/** -d item,item: QEMU's names, as far as there is something to say. */
function logItems(text: string | undefined): { readonly log?: readonly LogItem[] } {
  if (text === undefined) return {}
  return { log: text.split(',').map((name) => {
    const item = LOG_ITEMS.find((known) => known === name)
    if (item === undefined) throw optionError('OPTION_VALUE', `-d ${name}`, `there is no such item, only ${LOG_ITEMS.join(', ')}${didYouMean(name, LOG_ITEMS)}`)
    return item
  }) }
}

function translatorMode(text: string | undefined): TranslatorMode | undefined {
  return text === 'on' || text === 'off' || text === 'force' ? text : undefined
}

function threadMode(text: string | undefined): ThreadMode | undefined {
  return text === 'single' || text === 'multi' ? text : undefined
}

/** Properties of one accelerator only: each is refused for the other, as by QEMU. A list of names (kvm:tcg) takes both kinds. */
const PROPERTY_OF: Readonly<Record<string, AcceleratorName>> = { 'kernel-irqchip': 'kvm', kernel_irqchip: 'kvm', translator: 'tcg', symbols: 'tcg', thread: 'tcg', 'tb-size': 'tcg', 'split-wx': 'tcg' }

function checkAcceleratorProperties(pairs: readonly KeyValue[], names: readonly string[]): void {
  for (const { key } of pairs) {
    const owner = Object.hasOwn(PROPERTY_OF, key) ? PROPERTY_OF[key] : undefined
    if (owner === undefined || names.includes(owner)) continue
    throw optionError('OPTION_VALUE', `-accel ${names.join(':')},${key}=`, `${key} belongs to ${owner}; leave it out, or use -accel ${owner}`)
  }
}

function givenTopology(values: Values): Parameters<typeof fillTopology>[0] {
  const number = (key: string) => values.number(key)
  return {
    cpus: number('cpus'), maxCpus: number('maxcpus'), sockets: number('sockets'), dies: number('dies'), clusters: number('clusters'),
    cores: number('cores'), threads: number('threads'),
  }
}

function bootConfig(draft: Draft): BootConfig {
  const append = checkAppend(draft.append.join(' '))
  const kernel = draft.plain.get('kernel')
  if (kernel === undefined) throw optionError('OPTION_MISSING', '-machine microvm', 'needs a kernel; add -kernel FILE')
  return { kernel, initrd: draft.plain.get('initrd'), append }
}

function logConfig(draft: Draft): LogConfig {
  if (!draft.given.has('D')) return { kind: 'none' }
  const path = draft.plain.get('D')
  return path === undefined ? { kind: 'stderr' } : { kind: 'file', path }
}

/** -no-reboot and -no-shutdown are QEMU's older words for two actions; a contradiction with -action is an error. */
function actionConfig(draft: Draft): ActionConfig {
  const values = draft.values('action')
  const reboot = values.text('reboot')
  const shutdown = values.text('shutdown')
  const panic = values.text('panic')
  if (draft.given.has('no-reboot') && reboot === 'reset') throw optionError('OPTION_CONFLICT', '-no-reboot and -action reboot=reset',
    'contradict each other; leave one out')
  if (draft.given.has('no-shutdown') && shutdown === 'poweroff') {
    throw optionError('OPTION_CONFLICT', '-no-shutdown and -action shutdown=poweroff', 'contradict each other; leave one out')
  }
  return {
    reboot: reboot === 'reset' ? 'reset' : 'shutdown',
    shutdown: shutdown === 'pause' || draft.given.has('no-shutdown') ? 'pause' : 'poweroff',
    panic: panic === 'pause' || panic === 'shutdown' || panic === 'exit-failure' || panic === 'none' ? panic : undefined,
  }
}

function clockConfig(draft: Draft): ClockConfig {
  if (!draft.given.has('icount')) return { kind: 'host' }
  const values = draft.values('icount')
  return { kind: 'instruction-count', shift: values.number('shift') ?? DEFAULT_SHIFT, sleep: values.boolean('sleep') ?? true }
}
