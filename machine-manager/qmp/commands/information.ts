/** QMP commands that only read: state, identity, processors. Members of a reply are in alphabetical order, as StratoVirt sends them. */
import type { Counter } from '../../../hypervisor/hypervisor.ts'
import { defineCommand, QmpError } from './define.ts'
import type { CpuInfo } from '../../vm.ts'

const NIL_UUID = '00000000-0000-0000-0000-000000000000'
const ARCHITECTURE = 'x86_64'

const queryStatus = defineCommand({
  name: 'query-status',
  doc: 'Run state of the machine: `prelaunch`, `running`, `paused`, `io-error`, `shutdown`, `internal-error` or `guest-panicked`.',
  arguments: {},
  returns: '`{running: boolean, singlestep: false, status: string}`',
  example: '{"execute":"query-status"}',
  run(_args, { vm }) {
    const status = vm.status()
    return { running: status === 'running', singlestep: false, status }
  },
})

const queryName = defineCommand({
  name: 'query-name',
  doc: 'Name of the machine, from `-name`; no member without one.',
  arguments: {},
  returns: '`{name?: string}`',
  example: '{"execute":"query-name"}',
  run: (_args, { vm }): { name?: string } => vm.name === undefined ? {} : { name: vm.name },
})

const queryUuid = defineCommand({
  name: 'query-uuid',
  doc: 'UUID of the machine, from `-uuid`; all zeros without one.',
  arguments: {},
  returns: '`{UUID: string}`',
  example: '{"execute":"query-uuid"}',
  run: (_args, { vm }) => ({ UUID: vm.uuid ?? NIL_UUID }),
})

const queryKvm = defineCommand({
  name: 'query-kvm',
  doc: 'Whether this machine runs on KVM.',
  arguments: {},
  returns: '`{enabled: boolean, present: boolean}`',
  example: '{"execute":"query-kvm"}',
  run(_args, { vm }) {
    const enabled = vm.accelerator === 'kvm'
    return { enabled, present: enabled }
  },
})

const queryTarget = defineCommand({
  name: 'query-target',
  doc: 'Architecture of the guest.',
  arguments: {},
  returns: '`{arch: "x86_64"}`',
  example: '{"execute":"query-target"}',
  run: () => ({ arch: ARCHITECTURE }),
})

const queryMachines = defineCommand({
  name: 'query-machines',
  doc: 'The machine type in use and how many processors it can have here.',
  arguments: {},
  returns: '`[{cpu-max: integer, deprecated: false, hotpluggable-cpus: false, name: string, numa-mem-supported: false}]`',
  example: '{"execute":"query-machines"}',
  run: (_args, { vm }) => [{
    'cpu-max': vm.maxCpus,
    'deprecated': false,
    'hotpluggable-cpus': false,
    'name': vm.machineType,
    'numa-mem-supported': false,
  }],
})

const qomPath = (cpu: CpuInfo) => `/machine/unattached/device[${cpu.index}]`

const queryCpus = defineCommand({
  name: 'query-cpus',
  doc: 'The vCPUs in the shape StratoVirt and QEMU before 6.0 send; Kata Containers reads `thread_id` from it.',
  arguments: {},
  returns: '`[{CPU: integer, arch: "x86", current: true, halted: boolean, props: {core-id, die_id, socket-id, thread-id}, qom_path: string, thread_id: integer}]`',
  example: '{"execute":"query-cpus"}',
  run: (_args, { vm }) => vm.cpus().map((cpu) => ({
    CPU: cpu.index,
    arch: 'x86',
    current: true,
    halted: cpu.halted,
    props: { 'core-id': cpu.props.coreId, 'die_id': cpu.props.dieId, 'socket-id': cpu.props.socketId, 'thread-id': cpu.props.threadId },
    qom_path: qomPath(cpu),
    thread_id: cpu.threadId,
  })),
})

const queryCpusFast = defineCommand({
  name: 'query-cpus-fast',
  doc: 'The vCPUs with the host threads that run them, in the shape QEMU sends. Does not disturb the guest.',
  arguments: {},
  returns: '`[{cpu-index: integer, props: {core-id, die-id, socket-id, thread-id}, qom-path: string, target: "x86_64", thread-id: integer}]`',
  example: '{"execute":"query-cpus-fast"}',
  run: (_args, { vm }) => vm.cpus().map((cpu) => ({
    'cpu-index': cpu.index,
    'props': { 'core-id': cpu.props.coreId, 'die-id': cpu.props.dieId, 'socket-id': cpu.props.socketId, 'thread-id': cpu.props.threadId },
    'qom-path': qomPath(cpu),
    'target': ARCHITECTURE,
    'thread-id': cpu.threadId,
  })),
})

const queryJit = defineCommand({
  name: 'x-query-jit',
  doc: 'What the translator of the software CPU has done, as text for people: the answer of `info jit`, under QEMU\'s name and in its shape.',
  arguments: {},
  returns: '`{human-readable-text: string}`',
  example: '{"execute":"x-query-jit"}',
  async run(_args, { vm, humanMonitor }) {
    if (vm.acceleratorStatistics().translator === undefined) throw new QmpError('GenericError', 'JIT information is only available with accel=tcg')
    return { 'human-readable-text': (await humanMonitor('info jit', 0)).replaceAll('\r\n', '\n') }
  },
})

const queryCounters = defineCommand({
  name: 'mesovirt-query-jit',
  doc: 'What the accelerator has done, for programs: instructions since the last reset where they are counted, its counters, those of the translator where there is one, and with '
    + '`-accel tcg,symbols=FILE` where the guest\'s kernel spends its instructions.',
  arguments: {},
  returns: '`{accelerator: string, counters: [{name: string, value: integer}], instructions?: integer, machine-ns: integer, symbols: [{name: string, percent: number, samples: integer}], '
    + 'translator: [{name: string, value: integer}]}`',
  example: '{"execute":"mesovirt-query-jit"}',
  run(_args, { vm }) {
    const { machineNs, instructions, counters, translator = [], symbols = [] } = vm.acceleratorStatistics()
    const plain = (list: readonly Counter[]) => list.map(({ name, value }) => ({ name, value: Number(value) }))
    return {
      'accelerator': vm.accelerator,
      'counters': plain(counters),
      ...instructions === undefined ? {} : { instructions: Number(instructions) },
      'machine-ns': Number(machineNs),
      'symbols': symbols.map(({ name, percent, samples }) => ({ name, percent, samples })),
      'translator': plain(translator),
    }
  },
})

export const informationCommands = [
  queryStatus, queryName, queryUuid, queryKvm, queryTarget, queryMachines, queryCpus, queryCpusFast, queryJit, queryCounters,
] as const
