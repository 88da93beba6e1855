import { describe, expect, it } from 'vitest'
import { MesovirtError } from '../../host/errors.ts'
import { COMMANDS } from './commands/table.ts'
import { dispatch } from './dispatch.ts'
import { HumanMonitor } from './human/monitor.ts'
import { JsonStream } from './json-stream.ts'
import { TestMachine } from './test-machine.ts'
import type { CommandContext } from './commands/define.ts'

function setup() {
  const vm = new TestMachine()
  const human = new HumanMonitor(vm)
  const context: CommandContext = { vm, version: '9.8.7', commandNames: COMMANDS.map(({ name }) => name), humanMonitor: (line, cpu) => human.run(line, cpu) }
  const faults: unknown[] = []
  /** The reply to one message, as text without its line end. */
  const raw = async (message: string) => {
    const [item] = new JsonStream().push(Buffer.from(`${message}\n`))
    if (item === undefined) throw new Error('incomplete message')
    const line = await dispatch(item, context, (_command, error) => faults.push(error))
    expect(line.endsWith('\r\n')).toBe(true)
    return line.slice(0, -2)
  }
  const run = async (execute: string, args?: object) => (JSON.parse(await raw(JSON.stringify({ execute, arguments: args ?? {} }))) as { return: unknown }).return
  return { vm, raw, run, faults }
}

const generic = (desc: string, id = '') => `{"error":{"class":"GenericError","desc":${JSON.stringify(desc)}}${id}}`

describe('requests', () => {
  it.each([
    ['42', 'QMP input must be a JSON object'], ['[]', 'QMP input must be a JSON object'], ['null', 'QMP input must be a JSON object'],
    ['{}', "QMP input lacks member 'execute'"], ['{"execute":1}', "QMP input member 'execute' must be a string"],
    ['{"execute":"query-name","arguments":[]}', "QMP input member 'arguments' must be an object"],
    ['{"execute":"query-name","arguments":null}', "QMP input member 'arguments' must be an object"],
    ['{"exec-oob":"query-name"}', "QMP input member 'exec-oob' is unexpected"], ['{"execute":"query-name","control":{}}', "QMP input member 'control' is unexpected"],
    ['@', "JSON parse error, stray '@'"],
  ])('%s is refused in the words of QEMU', async (message, desc) => {
    expect(await setup().raw(message)).toBe(generic(desc))
  })

  it('answers an unknown command with CommandNotFound', async () => {
    expect(await setup().raw('{"execute":"no\\"pe","id":1}')).toBe('{"error":{"class":"CommandNotFound","desc":"The command no\\"pe has not been found"},"id":1}')
    expect(await setup().raw('{"execute":"__proto__"}')).toContain('CommandNotFound')
  })

  it.each(['1', '"x"', 'null', 'true', '[1,{"a":2.50}]', '18446744073709551616', '{"id":{}}'])('echoes the id %s in replies and in every kind of error', async (id) => {
    const { raw } = setup()
    expect(await raw(`{"execute":"query-target","id":${id}}`)).toBe(`{"return":{"arch":"x86_64"},"id":${id}}`)
    for (const broken of ['"execute":"nope"', '"execute":1', '"x":1', '"execute":"stop","arguments":{"a":1}', '"execute":"human-monitor-command"']) {
      expect(await raw(`{${broken},"id":${id}}`)).toMatch(new RegExp(`,"id":${id.replace(/[[\]{}.]/g, '\\$&')}}$`))
    }
  })

  it.each([
    ['human-monitor-command', {}, "Parameter 'command-line' is missing"],
    ['human-monitor-command', { 'command-line': 1 }, "Invalid parameter type for 'command-line', expected: string"],
    ['human-monitor-command', { 'command-line': '', 'cpu-index': 'a' }, "Invalid parameter type for 'cpu-index', expected: integer"],
    ['human-monitor-command', { 'command-line': '', 'cpu-index': 1.5 }, "Invalid parameter type for 'cpu-index', expected: integer"],
    ['human-monitor-command', { 'command-line': '', 'cpu-index': 1e30 }, "Invalid parameter type for 'cpu-index', expected: integer"],
    ['human-monitor-command', { 'command-line': '', 'cpu-index': null }, "Invalid parameter type for 'cpu-index', expected: integer"],
    ['human-monitor-command', { 'command-line': '', 'cpu-index': 7 }, "Parameter 'cpu-index' expects a CPU number"],
    ['human-monitor-command', { 'command-line': '', 'x': 7 }, "Parameter 'x' is unexpected"],
    ['query-name', { constructor: 1 }, "Parameter 'constructor' is unexpected"],
    ['qmp_capabilities', { enable: 'oob' }, "Invalid parameter type for 'enable', expected: array"],
    ['qmp_capabilities', { enable: [1] }, "Invalid parameter type for 'enable[0]', expected: string"],
    ['qmp_capabilities', { enable: ['foo'] }, "Parameter 'enable[0]' does not accept value 'foo'"],
    ['qmp_capabilities', { enable: ['oob'] }, 'Capability oob not available'],
  ])('%s with %j is refused', async (execute, args, desc) => {
    expect(await setup().raw(JSON.stringify({ execute, arguments: args }))).toBe(generic(desc))
  })

  it('does not let a member named __proto__ pass as no argument', async () => {
    expect(await setup().raw('{"execute":"query-name","arguments":{"__proto__":{}}}')).toBe(generic("Parameter '__proto__' is unexpected"))
  })

  it('answers an error of the machine with its message, and an error of our own without its details', async () => {
    const { vm, raw, faults } = setup()
    vm.reset = () => Promise.reject(new MesovirtError('X', 'the kernel file is gone'))
    expect(await raw('{"execute":"system_reset","id":1}')).toBe(generic('the kernel file is gone', ',"id":1'))
    vm.reset = () => Promise.reject(new TypeError('secret'))
    expect(await raw('{"execute":"system_reset","id":1}')).toBe(generic("Internal error in 'system_reset': see the log", ',"id":1'))
    expect(faults).toHaveLength(1)
  })
})

describe('commands', () => {
  it('accepts qmp_capabilities again and again', async () => {
    const { run } = setup()
    expect(await run('qmp_capabilities')).toEqual({})
    expect(await run('qmp_capabilities', { enable: [] })).toEqual({})
  })

  it('lists exactly these commands and events', async () => {
    const { run } = setup()
    expect((await run('query-commands') as { name: string }[]).map(({ name }) => name).sort()).toEqual([
      'balloon', 'block_resize', 'block_set_io_throttle', 'blockdev-add', 'blockdev-del', 'chardev-add', 'chardev-change', 'chardev-remove', 'cont', 'device-list-properties', 'device_add', 'device_del', 'human-monitor-command',
      'mesovirt-query-jit', 'netdev_add', 'netdev_del', 'qmp_capabilities', 'qom-get', 'qom-list-types', 'qom-set', 'query-balloon', 'query-block', 'query-block-jobs', 'query-blockstats', 'query-chardev', 'query-chardev-backends', 'query-command-line-options', 'query-commands',
      'query-cpus', 'query-cpus-fast', 'query-events', 'query-hotpluggable-cpus', 'query-iothreads', 'query-kvm', 'query-machines', 'query-name', 'query-named-block-nodes', 'query-status',
      'query-target', 'query-uuid', 'query-version', 'quit', 'ringbuf-read', 'ringbuf-write', 'set_link', 'stop', 'system_powerdown', 'system_reset', 'x-query-jit'])
    expect((await run('query-events') as { name: string }[]).map(({ name }) => name).sort()).toEqual(['BALLOON_CHANGE', 'BLOCK_IO_ERROR', 'DEVICE_DELETED', 'MESOVIRT_BACK_END_CHANGE', 'POWERDOWN', 'RESET', 'RESUME', 'SHUTDOWN', 'STOP', 'VSERPORT_CHANGE'])
  })

  it('hand over what they are given: character devices, ring buffers, ports', async () => {
    const { run, raw, vm } = setup()
    await run('chardev-add', { id: 'c', backend: { type: 'null' } })
    await run('chardev-change', { id: 'c', backend: { type: 'null' } })
    await run('chardev-remove', { id: 'c' })
    await run('ringbuf-write', { device: 'r', data: 'aGk=', format: 'base64' })
    await run('device_add', { driver: 'virtserialport', id: 'p', chardev: 'c', nr: 2, name: 'n' })
    await run('device_del', { id: 'port1' })
    expect(vm.calls).toEqual(['add chardev c', 'change chardev c', 'remove chardev c', 'write ring r 6869', 'plug port p', 'unplug port port1'])
    expect(await run('ringbuf-read', { device: 'r', size: 7 })).toBe('r 7 \ufffd')
    expect(await run('ringbuf-read', { device: 'r', size: 7, format: 'base64' })).toBe('ciA3IOk=')
    expect(await raw('{"execute":"ringbuf-read","arguments":{"device":"r","size":0}}')).toContain('size must be greater than zero')
    expect((await run('query-chardev-backends') as { name: string }[]).map(({ name }) => name)).toEqual(['stdio', 'pty', 'socket', 'file', 'pipe', 'ringbuf', 'null'])
  })

  it('sends the shapes of StratoVirt and QEMU, members in alphabetical order', async () => {
    const { raw } = setup()
    const reply = async (name: string) => (await raw(`{"execute":"${name}"}`)).replace(/^\{"return":(.*)\}$/, '$1')
    expect(await reply('query-status')).toBe('{"running":true,"singlestep":false,"status":"running"}')
    expect(await reply('query-version')).toBe('{"package":"mesovirt-9.8.7","qemu":{"major":5,"micro":1,"minor":0}}')
    expect(await reply('query-name')).toBe('{"name":"test vm"}')
    expect(await reply('query-uuid')).toBe('{"UUID":"12345678-1234-1234-1234-123456789abc"}')
    expect(await reply('query-kvm')).toBe('{"enabled":false,"present":false}')
    expect(await reply('query-target')).toBe('{"arch":"x86_64"}')
    expect(await reply('query-machines')).toBe('[{"cpu-max":2,"deprecated":false,"hotpluggable-cpus":false,"name":"microvm","numa-mem-supported":false}]')
    expect(await reply('query-chardev')).toBe('[{"filename":"pty:/dev/pts/7","frontend-open":true,"label":"serial0"}]')
    expect(await reply('query-cpus')).toBe('[{"CPU":0,"arch":"x86","current":true,"halted":false,"props":{"core-id":0,"die_id":0,"socket-id":0,"thread-id":0},"qom_path":"/machine/unattached/device[0]","thread_id":4001},'
      + '{"CPU":1,"arch":"x86","current":true,"halted":true,"props":{"core-id":1,"die_id":0,"socket-id":0,"thread-id":0},"qom_path":"/machine/unattached/device[1]","thread_id":4002}]')
    expect(await reply('query-cpus-fast')).toBe('[{"cpu-index":0,"props":{"core-id":0,"die-id":0,"socket-id":0,"thread-id":0},"qom-path":"/machine/unattached/device[0]","target":"x86_64","thread-id":4001},'
      + '{"cpu-index":1,"props":{"core-id":1,"die-id":0,"socket-id":0,"thread-id":0},"qom-path":"/machine/unattached/device[1]","target":"x86_64","thread-id":4002}]')
  })

  it('tell what the option table offers, and nothing of what later work brings', async () => {
    const { run, raw } = setup()
    expect(await run('qom-list-types', { implements: 'rng-backend' })).toEqual([{ name: 'rng-random', parent: 'rng-backend' }, { name: 'rng-builtin', parent: 'rng-backend' }])
    const devices = await run('qom-list-types', { implements: 'device' }) as { name: string; parent: string }[]
    expect(devices).toContainEqual({ name: 'virtio-blk-device', parent: 'virtio-device' })
    expect(devices).toContainEqual({ name: 'virtconsole', parent: 'virtio-serial-port' })
    expect(devices.map(({ name }) => name)).not.toContain('vfio-pci')
    expect(await run('qom-list-types')).toEqual(await run('qom-list-types', { implements: 'object' }))
    expect(await run('qom-list-types', { implements: 'nothing' })).toEqual([])
    const properties = await run('device-list-properties', { typename: 'virtio-balloon' }) as { name: string }[]
    expect(properties).toContainEqual({ 'default-value': 'off', 'description': expect.any(String) as string, 'name': 'deflate-on-oom', 'type': 'bool' })
    expect(properties.map(({ name }) => name)).not.toContain('id')
    expect(await raw('{"execute":"device-list-properties","arguments":{"typename":"vfio-pci"}}')).toContain('"class":"DeviceNotFound","desc":"Device \'vfio-pci\' not found"')
    const [drive] = await run('query-command-line-options', { option: 'drive' }) as { option: string; parameters: { name: string; type: string }[] }[]
    expect(drive?.parameters).toContainEqual(expect.objectContaining({ name: 'detect-zeroes', type: 'string' }))
    expect(await raw('{"execute":"query-command-line-options","arguments":{"option":"nothing"}}')).toContain('invalid option name: nothing')
    expect((await run('query-command-line-options') as { option: string }[]).map(({ option }) => option)).toContain('smp')
  })

  it('has no place for further processors, and no threads for devices', async () => {
    const { raw } = setup()
    expect(await raw('{"execute":"query-hotpluggable-cpus"}')).toContain('{"props":{"core-id":1,"die-id":0,"socket-id":0,"thread-id":0},"qom-path":"/machine/unattached/device[1]","type":"host-x86-cpu","vcpus-count":1}]')
    expect(await raw('{"execute":"query-iothreads"}')).toBe('{"return":[]}')
  })

  it('answers for a machine without name and UUID, and on KVM', async () => {
    const { vm, run } = setup()
    vm.name = undefined
    vm.uuid = undefined
    vm.accelerator = 'kvm'
    expect(await run('query-name')).toEqual({})
    expect(await run('query-uuid')).toEqual({ UUID: '00000000-0000-0000-0000-000000000000' })
    expect(await run('query-kvm')).toEqual({ enabled: true, present: true })
  })

  it('stops and continues once, however often it is asked', async () => {
    const { vm, run } = setup()
    for (const name of ['cont', 'stop', 'stop', 'cont', 'cont']) expect(await run(name)).toEqual({})
    expect(vm.calls).toEqual(['stop', 'cont'])
  })

  it('starts a machine that waits for cont, and refuses one that has ended', async () => {
    const { vm, run, raw } = setup()
    vm.state = 'prelaunch'
    expect(await run('query-status')).toEqual({ running: false, singlestep: false, status: 'prelaunch' })
    await run('cont')
    expect(vm.calls).toEqual(['cont'])
    for (const state of ['shutdown', 'internal-error', 'guest-panicked'] as const) {
      vm.state = state
      expect(await raw('{"execute":"cont"}')).toBe(generic('Resetting the Virtual Machine is required'))
    }
  })

  it('passes reset, power button and quit to the machine', async () => {
    const { vm, run } = setup()
    for (const name of ['system_reset', 'system_powerdown', 'quit']) expect(await run(name)).toEqual({})
    expect(vm.calls).toEqual(['reset', 'powerdown', 'quit'])
  })
})

describe('the balloon', () => {
  const PATH = '/machine/peripheral/balloon0'
  it('is asked for memory, and tells of it', async () => {
    const { vm, run } = setup()
    await run('balloon', { value: 134_217_728 })
    expect(vm.calls).toEqual(['balloon 134217728'])
    expect(await run('query-balloon')).toEqual({ actual: 0x1000_0000 })
  })

  it('has the properties that libvirt reads and sets', async () => {
    const { vm, run } = setup()
    expect(await run('qom-get', { path: PATH, property: 'guest-stats' })).toEqual({ 'last-update': 1_700_000_000, 'stats': { 'stat-free-memory': 4096 } })
    await run('qom-set', { path: PATH, property: 'guest-stats-polling-interval', value: 5 })
    expect(vm.balloon?.pollSeconds).toBe(5)
    expect(await run('qom-get', { path: 'balloon0', property: 'guest-stats-polling-interval' })).toBe(5)
    expect(await run('qom-get', { path: PATH, property: 'deflate-on-oom' })).toBe(true)
  })

  it.each([
    ['balloon', { value: 0 }, 'GenericError', "Parameter 'target' expects a size"],
    ['qom-get', { path: '/machine', property: 'type' }, 'DeviceNotFound', "Device '/machine' not found"],
    ['qom-get', { path: PATH, property: '__proto__' }, 'GenericError', "Property 'virtio-balloon-device.__proto__' not found"],
    ['qom-set', { path: PATH, property: 'type', value: 1 }, 'GenericError', "Property 'virtio-balloon-device.type' is not writable"],
    ['qom-set', { path: PATH, property: 'guest-stats-polling-interval', value: -1 }, 'GenericError', 'timer value must be 0 to 86400 seconds'],
    ['qom-set', { path: PATH, property: 'guest-stats-polling-interval', value: '1' }, 'GenericError', "Invalid parameter type for 'guest-stats-polling-interval', expected: integer"],
  ])('%s %j is refused', async (execute, args, errorClass, desc) => {
    expect(JSON.parse(await setup().raw(JSON.stringify({ execute, arguments: args })))).toEqual({ error: { class: errorClass, desc } })
  })

  it('that is not there is not active', async () => {
    const { vm, raw } = setup()
    vm.balloon = undefined
    for (const request of ['{"execute":"query-balloon"}', '{"execute":"balloon","arguments":{"value":1}}']) {
      expect(JSON.parse(await raw(request))).toEqual({ error: { class: 'DeviceNotActive', desc: 'No balloon device has been activated' } })
    }
  })
})
