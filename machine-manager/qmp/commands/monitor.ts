/** QMP commands about the monitor itself: negotiation, version, introspection, and the door to the human monitor. */
import { choice, defineCommand, integer, list, optional, QmpError, text } from './define.ts'
import { EVENTS, versionInfo } from '../protocol.ts'

const qmpCapabilities = defineCommand({
  name: 'qmp_capabilities',
  doc: 'Negotiates capabilities. Optional: every command works without it, and it may be repeated. This monitor offers no capability, so `oob` is refused.',
  arguments: { enable: optional(list(choice(['oob']), 'capabilities to enable, out of those in the greeting')) },
  example: '{"execute":"qmp_capabilities"}',
  run({ enable }) {
    const [wanted] = enable ?? []
    if (wanted !== undefined) throw new QmpError('GenericError', `Capability ${wanted} not available`)
    return {}
  },
})

const queryVersion = defineCommand({
  name: 'query-version',
  doc: 'Version of this program in `package`, and the version of QEMU whose protocol it follows.',
  arguments: {},
  returns: '`{package: string, qemu: {major, micro, minor}}`',
  example: '{"execute":"query-version"}',
  run(_args, { version }) {
    const { qemu, package: name } = versionInfo(version)
    return { package: name, qemu: { major: qemu.major, micro: qemu.micro, minor: qemu.minor } }
  },
})

const queryCommands = defineCommand({
  name: 'query-commands',
  doc: 'Names of all commands.',
  arguments: {},
  returns: '`[{name: string}]`',
  example: '{"execute":"query-commands"}',
  run: (_args, { commandNames }) => commandNames.map((name) => ({ name })),
})

const queryEvents = defineCommand({
  name: 'query-events',
  doc: 'Names of all events.',
  arguments: {},
  returns: '`[{name: string}]`',
  example: '{"execute":"query-events"}',
  run: () => EVENTS.map(({ name }) => ({ name })),
})

const humanMonitorCommand = defineCommand({
  name: 'human-monitor-command',
  doc: 'Runs one line of the human monitor (see below) and returns its text. An unknown line is text too, not an error.',
  arguments: {
    'command-line': text('the line, e.g. `info registers`'),
    'cpu-index': optional(integer('vCPU that the line is about, default 0')),
  },
  returns: 'string, its lines end in CR LF',
  example: '{"execute":"human-monitor-command","arguments":{"command-line":"info status"}}',
  async run(args, { vm, humanMonitor }) {
    const cpuIndex = args['cpu-index'] ?? 0
    const known = args['cpu-index'] === undefined || vm.cpus().some(({ index }) => index === cpuIndex)
    if (!known) throw new QmpError('GenericError', "Parameter 'cpu-index' expects a CPU number")
    return humanMonitor(args['command-line'], cpuIndex)
  },
})

export const monitorCommands = [qmpCapabilities, queryVersion, queryCommands, queryEvents, humanMonitorCommand] as const
