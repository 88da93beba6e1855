/** QMP commands about the memory balloon, and the properties of it that libvirt reads and sets (qom-get, qom-set). Names and shapes as QEMU's. */
import * as v from 'valibot'
import { defineCommand, integer, QmpError, text } from './define.ts'
import type { BalloonControl, VirtualMachine } from '../../vm.ts'

const DRIVER = 'virtio-balloon-device'
/** An hour more or less is no matter for statistics of memory. */
const MOST_POLL_SECONDS = 86_400

function balloonOf({ balloon }: VirtualMachine): BalloonControl {
  if (balloon === undefined) throw new QmpError('DeviceNotActive', 'No balloon device has been activated')
  return balloon
}

const balloon = defineCommand({
  name: 'balloon',
  doc: 'Asks the guest to keep no more than so many bytes of memory; the rest goes back to the host as the guest hands it over. BALLOON_CHANGE tells how far it is.',
  arguments: { value: integer('bytes of memory that the guest keeps') },
  example: '{"execute":"balloon","arguments":{"value":134217728}}',
  run({ value }, { vm }) {
    const control = balloonOf(vm)
    if (value <= 0) throw new QmpError('GenericError', "Parameter 'target' expects a size")
    control.setTarget(value)
    return {}
  },
})

const queryBalloon = defineCommand({
  name: 'query-balloon',
  doc: 'Bytes of memory that the guest has now.',
  arguments: {},
  returns: '`{actual: integer}`',
  example: '{"execute":"query-balloon"}',
  run: (_args, { vm }) => ({ actual: balloonOf(vm).bytesLeft }),
})

/** By name of the property; one without `set` is read only. */
const PROPERTIES: Readonly<Record<string, { get(control: BalloonControl): unknown; set?(control: BalloonControl, value: unknown): void }>> = {
  'type': { get: () => DRIVER },
  'deflate-on-oom': { get: ({ options }) => options.deflateOnOom },
  'free-page-reporting': { get: ({ options }) => options.freePageReporting },
  'guest-stats': { get: ({ statistics }) => ({ 'last-update': statistics.lastUpdate, 'stats': statistics.stats }) },
  'guest-stats-polling-interval': {
    get: ({ pollSeconds }) => pollSeconds,
    set(control, value) {
      if (typeof value !== 'number' || !Number.isInteger(value)) throw new QmpError('GenericError', "Invalid parameter type for 'guest-stats-polling-interval', expected: integer")
      if (value < 0 || value > MOST_POLL_SECONDS) throw new QmpError('GenericError', `timer value must be 0 to ${MOST_POLL_SECONDS} seconds`)
      control.pollSeconds = value
    },
  },
}

/** The balloon is the one object with properties so far. */
function find(vm: VirtualMachine, path: string, property: string) {
  const { balloon: control } = vm
  const names = control?.id === undefined ? ['/machine/peripheral-anon/device[0]'] : [`/machine/peripheral/${control.id}`, control.id]
  if (control === undefined || !names.includes(path)) throw new QmpError('DeviceNotFound', `Device '${path}' not found`)
  const found = Object.hasOwn(PROPERTIES, property) ? PROPERTIES[property] : undefined
  if (found === undefined) throw new QmpError('GenericError', `Property '${DRIVER}.${property}' not found`)
  return { control, found }
}

const where = { path: text('`/machine/peripheral/ID`, or the id: that of the balloon'), property: text('its name') }

const qomGet = defineCommand({
  name: 'qom-get',
  doc: 'Reads a property of the balloon: `guest-stats` (bytes or counts; those that the guest does not tell are not there), `guest-stats-polling-interval`, `deflate-on-oom`, `free-page-reporting`, `type`.',
  arguments: where,
  returns: 'the value; for `guest-stats` `{last-update: integer, stats: {stat-free-memory?: integer, stat-total-memory?: integer, ...}}`',
  example: '{"execute":"qom-get","arguments":{"path":"/machine/peripheral/balloon0","property":"guest-stats"}}',
  run({ path, property }, { vm }) {
    const { control, found } = find(vm, path, property)
    return found.get(control)
  },
})

const qomSet = defineCommand({
  name: 'qom-set',
  doc: 'Sets a property of the balloon: `guest-stats-polling-interval`, seconds after which the guest is asked for its statistics again; 0: never.',
  arguments: { ...where, value: v.pipe(v.unknown(), v.description('the new value')) },
  example: '{"execute":"qom-set","arguments":{"path":"/machine/peripheral/balloon0","property":"guest-stats-polling-interval","value":5}}',
  run({ path, property, value }, { vm }) {
    const { control, found } = find(vm, path, property)
    if (found.set === undefined) throw new QmpError('GenericError', `Property '${DRIVER}.${property}' is not writable`)
    found.set(control, value)
    return {}
  },
})

export const balloonCommands = [balloon, queryBalloon, qomGet, qomSet] as const
