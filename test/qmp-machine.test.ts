/** QMP on a machine that runs Linux: what is asked is answered, what happens is told, in order. */
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ACCELERATOR } from './support/accelerator.ts'
import { bareMachine, saying, ticking } from './support/bare-guest.ts'
import type { QmpEvent } from './support/qmp.ts'
import { Qmp } from './support/qmp.ts'
import { connectQmp, GREETING, linux, PROMPT, Run, scratch, withMonitor } from './support/vm.ts'

const facts = ({ event, data }: QmpEvent): [string, unknown] => [event, data]

describe('a running machine', () => {
  const APPEND = 'console=ttyS0 panic=1 quiet'
  const COMMAND_LINE_ADDRESS = 0x20000
  let vm: Run, qmp: Qmp, folder: string
  beforeAll(async () => {
    const NAME = 'first, boot'
    folder = fs.mkdtempSync('/tmp/mv-')
    const socket = path.join(folder, 'a.sock')
    vm = new Run(linux({ append: APPEND, args: [
      '-smp', '2', '-name', NAME.replace(',', ',,'), '-uuid', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', '-qmp', `unix:${socket},server,nowait`,
      '-chardev', `socket,id=second,path=${folder}/b.sock,server=on,wait=off`, '-mon', 'chardev=second,mode=control',
    ] }))
    qmp = await connectQmp(vm, socket)
    await vm.out.until(PROMPT)
  })
  afterAll(async () => {
    await vm.kill()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it('greets with versions', () => {
    expect(qmp.greeting.QMP).toEqual({ version: { qemu: { major: expect.any(Number), minor: expect.any(Number), micro: expect.any(Number) }, package: expect.stringContaining('mesovirt') }, capabilities: [] })
  })

  it('answers what it is asked about itself', async () => {
    expect(await qmp.run('qmp_capabilities')).toEqual({})
    expect(await qmp.run('query-status')).toMatchObject({ running: true, status: 'running' })
    expect(await qmp.run('query-name')).toEqual({ name: 'first, boot' })
    expect(await qmp.run('query-uuid')).toEqual({ UUID: '6ba7b810-9dad-11d1-80b4-00c04fd430c8' })
    expect(await qmp.run('query-kvm')).toMatchObject({ enabled: ACCELERATOR === 'kvm' })
    expect(await qmp.run('query-target')).toEqual({ arch: 'x86_64' })
    expect(await qmp.run('query-version')).toEqual(qmp.greeting.QMP.version)
    expect(await qmp.run('query-machines')).toEqual([expect.objectContaining({ name: 'microvm', 'cpu-max': 254 })])
    const commands = (await qmp.run<{ name: string }[]>('query-commands')).map(({ name }) => name)
    expect(commands).toEqual(expect.arrayContaining([
      'qmp_capabilities', 'query-status', 'query-version', 'query-commands', 'query-events', 'query-name', 'query-uuid', 'query-kvm', 'query-target', 'query-machines', 'query-cpus',
      'query-cpus-fast', 'query-chardev', 'stop', 'cont', 'quit', 'system_reset', 'system_powerdown', 'human-monitor-command']))
    const events = (await qmp.run<{ name: string }[]>('query-events')).map(({ name }) => name)
    expect(events).toEqual(expect.arrayContaining(['STOP', 'RESUME', 'RESET', 'SHUTDOWN', 'POWERDOWN']))
  })

  it('names threads of its own process as its processors', async () => {
    const threads = fs.readdirSync(`/proc/${vm.pid}/task`).map(Number)
    const cpus = await qmp.run<{ CPU: number; thread_id: number }[]>('query-cpus')
    const fast = await qmp.run<{ 'cpu-index': number; 'thread-id': number }[]>('query-cpus-fast')
    expect(cpus.map(({ CPU }) => CPU)).toEqual([0, 1])
    expect(fast.map((cpu) => cpu['cpu-index'])).toEqual([0, 1])
    for (const id of [...cpus.map((cpu) => cpu.thread_id), ...fast.map((cpu) => cpu['thread-id'])]) {
      expect(id).toBeGreaterThan(0)
      expect(threads).toContain(id)
    }
  })

  it('names its character devices', async () => {
    const devices = await qmp.run<{ label: string; filename: string }[]>('query-chardev')
    expect(devices.map(({ label }) => label)).toEqual(expect.arrayContaining(['second']))
    expect(devices.find(({ label }) => label === 'second')?.filename).toContain(`${folder}/b.sock`)
    expect(devices.some(({ filename }) => filename === 'stdio')).toBe(true)
  })

  it('answers unknown commands and wrong arguments with an error, and stays usable', async () => {
    qmp.send('{"execute":"no-such-command","id":{"deep":[1,"x"]}} {"execute":"stop","arguments":{"x":1},"id":7} } nonsense\n{"execute":"query-target","id":null}\n')
    expect(await qmp.reply()).toEqual({ error: { class: 'CommandNotFound', desc: 'The command no-such-command has not been found' }, id: { deep: [1, 'x'] } })
    expect(await qmp.reply()).toEqual({ error: { class: 'GenericError', desc: expect.stringContaining('x') as string }, id: 7 })
    for (;;) {
      const reply = await qmp.reply()
      if ('return' in reply) {
        expect(reply).toEqual({ return: { arch: 'x86_64' }, id: null })
        break
      }
      expect(reply.error?.class).toBe('GenericError')
    }
    expect(await qmp.status()).toBe('running')
  })

  it('shows registers, memory regions and run state to people', async () => {
    expect(await qmp.human('info status')).toContain('running')
    const registers = await qmp.human('info registers')
    for (const name of ['RAX=', 'RIP=', 'CR0=', 'CR3=', 'EFER=', 'XMM00=']) expect(registers).toContain(name)
    expect(await qmp.human('info registers -a')).toMatch(/CPU#0[\s\S]*CPU#1/)
    const tree = await qmp.human('info mtree')
    expect(tree).toMatch(/ram\.low/)
    expect(tree).toMatch(/serial/)
    expect(await qmp.human('info nonsense')).not.toBe('')
  })

  it('reads physical memory where the kernel command line lies, and linear memory through the guest\'s page tables', async () => {
    const dump = await qmp.human(`xp /${APPEND.length}bx ${COMMAND_LINE_ADDRESS}`)
    const bytes = [...dump.matchAll(/0x([0-9a-f]{2})\b/g)].map((match) => Number.parseInt(match[1] as string, 16))
    expect(Buffer.from(bytes).toString('latin1')).toBe(APPEND)
    // Linux maps all physical memory from PAGE_OFFSET on (4-level paging, no KASLR for it without nokaslr: ask the kernel's own register instead).
    const linear = await qmp.human('x /4gx $rsp')
    expect(linear).toMatch(/^ffff[0-9a-f]{12}: (0x[0-9a-f]{16} ?){2}\r\nffff/)
    expect(await qmp.human('xp /1gx 0xfffffffffff0')).not.toMatch(/: 0x[0-9a-f]{16}/)
  })

  it('tells every monitor what happens, and serves one client after the other', async () => {
    const other = await Qmp.connect({ path: path.join(folder, 'b.sock') })
    qmp.events.length = 0
    await other.run('stop')
    expect([facts(await other.event('STOP'))]).toEqual([['STOP', {}]])
    await other.close()
    const next = await Qmp.connect({ path: path.join(folder, 'b.sock') })
    expect(await next.status()).toBe('paused')
    await next.run('cont')
    await next.event('RESUME')
    await next.close()
    await qmp.run('query-status')
    expect(qmp.events.map(facts)).toEqual([['STOP', {}], ['RESUME', {}]])
    for (const { timestamp } of qmp.events) {
      expect(timestamp.seconds).toBeGreaterThan(1_600_000_000)
      expect(timestamp.microseconds).toBeLessThan(1_000_000)
    }
    expect(await vm.shell('echo still-$((1 + 1))')).toBe('still-2')
  })
})

describe('stop and cont', () => {
  it('hold the guest and let it go on, once each', async () => {
    const { vm, qmp } = await withMonitor(bareMachine(scratch(), ticking()))
    await vm.out.until('ready')
    await vm.out.until('..')
    await qmp.run('stop')
    const registers = await qmp.human('info registers')
    await qmp.run('stop')
    expect(await qmp.status()).toBe('paused')
    // It writes all the time: that its registers stay tells that it stands still, while its last words may still be on their way to us.
    expect(await qmp.human('info registers')).toBe(registers)
    const said = vm.out.all.length
    await qmp.run('cont')
    await qmp.run('cont')
    expect(await qmp.status()).toBe('running')
    await vm.out.until('.'.repeat(said + 5))
    expect(qmp.events.map(facts)).toEqual([['STOP', {}], ['RESUME', {}]])
    await qmp.run('quit')
    expect(facts(await qmp.event('SHUTDOWN'))).toEqual(['SHUTDOWN', { guest: false, reason: 'host-qmp-quit' }])
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('leave a Linux guest as it was, in the middle of its boot too', async () => {
    const { vm, qmp } = await withMonitor(linux({ append: 'console=ttyS0 panic=1' }))
    await vm.out.until('Linux version')
    for (let round = 0; round < 20; round++) {
      await qmp.run('stop')
      await qmp.run('cont')
    }
    await vm.out.until(PROMPT)
    expect(qmp.eventNames).toEqual(Array.from({ length: 20 }, () => ['STOP', 'RESUME']).flat())
    expect(await vm.shell('dmesg | grep -ciE "rcu.*stall|soft lockup|call trace"')).toBe('0')
    await qmp.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})

describe('system_reset', () => {
  it('boots Linux again, several times, with nothing left of the boot before', async () => {
    const { vm, qmp } = await withMonitor(linux())
    await vm.out.until(PROMPT)
    for (let round = 0; round < 2; round++) {
      expect(await vm.shell('ls /tmp | wc -l')).toBe('0')
      await vm.shell('touch /tmp/mark')
      await qmp.run('system_reset')
      expect(facts(await qmp.event('RESET'))).toEqual(['RESET', { guest: false, reason: 'host-qmp-system-reset' }])
      await vm.out.until(GREETING)
      await vm.out.until(PROMPT)
      expect(await qmp.status()).toBe('running')
    }
    expect(qmp.eventNames).toEqual(['RESET', 'RESET'])
    vm.type('exit\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('on a paused machine waits for cont', async () => {
    const { vm, qmp } = await withMonitor(bareMachine(scratch(), saying('here\n')))
    await vm.out.until('here')
    await qmp.run('stop')
    await qmp.run('system_reset')
    expect(await qmp.run('query-status')).toMatchObject({ running: false })
    await qmp.run('cont')
    await vm.out.until('here')
    expect(qmp.eventNames).toEqual(['STOP', 'RESET', 'RESUME'])
    await qmp.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})

describe('system_powerdown', () => {
  it('reaches Linux, which powers off', async () => {
    const { vm, qmp } = await withMonitor(linux())
    await vm.out.until(PROMPT)
    await qmp.run('system_powerdown')
    expect(facts(await qmp.event('POWERDOWN'))).toEqual(['POWERDOWN', {}])
    expect(facts(await qmp.event('SHUTDOWN'))).toEqual(['SHUTDOWN', { guest: true, reason: 'guest-shutdown' }])
    expect(qmp.eventNames).toEqual(['POWERDOWN', 'SHUTDOWN'])
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})
