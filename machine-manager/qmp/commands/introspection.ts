/** QMP commands by which clients (libvirt) learn what this program can do: made from the option table, so that they cannot say other things than the parser does. */
import { DEVICES, OBJECTS } from '../../options/table-devices.ts'
import { isHere } from '../../options/option-types.ts'
import type { OptionForm, SubOption, Variant } from '../../options/option-types.ts'
import { OPTIONS } from '../../options/table.ts'
import type { ValueType } from '../../options/values.ts'
import { defineCommand, optional, QmpError, text } from './define.ts'

const ARCHITECTURE_CPU = 'host-x86-cpu'
/** Types above those of the table, as QEMU's object model has them. */
const PARENTS: Readonly<Record<string, string>> = { 'virtio-device': 'device', 'virtio-serial-port': 'device', 'device': 'object', 'rng-backend': 'object' }
const isOffered = ({ status }: { readonly status?: Variant['status'] }) => status?.state !== 'later'

function parentOf(name: string): string {
  if (Object.hasOwn(PARENTS, name)) return PARENTS[name] as string
  if (name.startsWith('rng-')) return 'rng-backend'
  if (name === 'virtconsole' || name === 'virtserialport') return 'virtio-serial-port'
  return OBJECTS.some((each) => each.name === name) ? 'object' : 'virtio-device'
}

function isA(name: string, ancestor: string): boolean {
  return name === ancestor || (name !== 'object' && isA(parentOf(name), ancestor))
}

/** QEMU's names of types of properties. */
function typeName({ kind }: ValueType): string {
  return kind === 'boolean' ? 'bool' : kind === 'integer' ? 'int' : kind === 'size' ? 'size' : 'str'
}

/** QEMU's names of types of command-line parameters. */
function parameterType({ kind }: ValueType): string {
  return kind === 'boolean' ? 'boolean' : kind === 'integer' ? 'number' : kind === 'size' ? 'size' : 'string'
}

function parametersOf(form: OptionForm): readonly SubOption[] {
  if (form.kind === 'keys') return form.sub
  if (form.kind !== 'variants') return []
  const all = [...form.common, ...form.variants.filter(isOffered).flatMap(({ sub }) => sub)]
  return all.filter(({ key }, index) => all.findIndex((other) => other.key === key) === index)
}

const qomListTypes = defineCommand({
  name: 'qom-list-types',
  doc: 'Devices and objects that `-device` and `-object` make, with what they are kinds of.',
  arguments: { implements: optional(text('only those that are of this type')) },
  returns: '`[{name: string, parent: string}]`',
  example: '{"execute":"qom-list-types","arguments":{"implements":"device"}}',
  run: ({ implements: type }) => [...DEVICES, ...OBJECTS].filter(isOffered).filter(({ name }) => type === undefined || isA(name, type)).map(({ name }) => ({ name, parent: parentOf(name) })),
})

const deviceListProperties = defineCommand({
  name: 'device-list-properties',
  doc: 'Properties that a device takes on the command line.',
  arguments: { typename: text('the device, as in `-device`') },
  returns: '`[{default-value?: string, description: string, name: string, type: string}]`',
  example: '{"execute":"device-list-properties","arguments":{"typename":"virtio-blk-device"}}',
  run({ typename }) {
    const device = DEVICES.filter(isOffered).find(({ name, aliases }) => name === typename || aliases?.includes(typename) === true)
    if (device === undefined) throw new QmpError('DeviceNotFound', `Device '${typename}' not found`)
    return device.sub.filter(({ key }) => key !== 'id').map((property) => ({
      ...property.default === undefined ? {} : { 'default-value': property.default },
      description: property.help, name: property.key, type: typeName(property.type),
    }))
  },
})

const queryCommandLineOptions = defineCommand({
  name: 'query-command-line-options',
  doc: 'Options of the command line with their parameters; for `device`, `netdev` and the like those of all kinds together.',
  arguments: { option: optional(text('only this one, without dash')) },
  returns: '`[{option: string, parameters: [{default?: string, help: string, name: string, type: string}]}]`',
  example: '{"execute":"query-command-line-options","arguments":{"option":"drive"}}',
  run({ option }) {
    const found = OPTIONS.filter(isHere).filter(({ name, aliases }) => option === undefined || name === option || aliases?.includes(option) === true)
    if (found.length === 0) throw new QmpError('GenericError', `invalid option name: ${option}`)
    return found.map(({ name, form }) => ({
      option: name,
      parameters: parametersOf(form).filter(isOffered).map((parameter) => ({
        ...parameter.default === undefined ? {} : { default: parameter.default },
        help: parameter.help, name: parameter.key, type: parameterType(parameter.type),
      })),
    }))
  },
})

const queryHotpluggableCpus = defineCommand({
  name: 'query-hotpluggable-cpus',
  doc: 'The places of vCPUs in the topology. All are taken: the LightMachine has no more than it starts with.',
  arguments: {},
  returns: '`[{props: {core-id, die-id, socket-id, thread-id}, qom-path: string, type: string, vcpus-count: 1}]`',
  example: '{"execute":"query-hotpluggable-cpus"}',
  run: (_args, { vm }) => vm.cpus().map(({ index, props }) => ({
    'props': { 'core-id': props.coreId, 'die-id': props.dieId, 'socket-id': props.socketId, 'thread-id': props.threadId },
    'qom-path': `/machine/unattached/device[${index}]`,
    'type': ARCHITECTURE_CPU,
    'vcpus-count': 1,
  })),
})

const queryIothreads = defineCommand({
  name: 'query-iothreads',
  doc: 'Threads of `-object iothread`, which there are none of.',
  arguments: {},
  returns: '`[]`',
  example: '{"execute":"query-iothreads"}',
  run: (): never[] => [],
})

export const introspectionCommands = [qomListTypes, deviceListProperties, queryCommandLineOptions, queryHotpluggableCpus, queryIothreads] as const
