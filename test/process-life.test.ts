/** The process around a machine: start paused, go to the background, be ended by signals, and leave nothing behind. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { ACCELERATOR } from './support/accelerator.ts'
import { bareMachine, echoing, saying } from './support/bare-guest.ts'
import { Qmp } from './support/qmp.ts'
import { connectQmp, endAfterwards, eventually, isAlive, linux, MESOVIRT, PROMPT, Run, scratch, withMonitor } from './support/vm.ts'

describe('signals', () => {
  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('%s ends the machine: event, status 0, nothing left', async (signal) => {
    const folder = scratch()
    const socket = path.join(folder, 'qmp.sock'), pidFile = path.join(folder, 'pid')
    const vm = new Run([...bareMachine(folder, saying('up\n')), '-qmp', `unix:${socket},server,nowait`, '-pidfile', pidFile])
    const qmp = await connectQmp(vm, socket)
    await vm.out.until('up')
    expect(fs.readFileSync(pidFile, 'utf8').trim()).toBe(String(vm.pid))
    vm.child.kill(signal)
    expect(await qmp.event('SHUTDOWN')).toMatchObject({ data: { guest: false, reason: 'host-signal' } })
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    expect(fs.readdirSync(folder)).toEqual(['guest.elf'])
  })

  it('SIGTERM ends Linux in the middle of its boot', async () => {
    const vm = new Run(linux({ append: 'console=ttyS0' }))
    await vm.out.until('Linux version')
    vm.child.kill('SIGTERM')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('after SIGKILL the next start replaces socket and pid file', async () => {
    const folder = scratch()
    const socket = path.join(folder, 'qmp.sock'), pidFile = path.join(folder, 'pid')
    const argv = [...bareMachine(folder, saying('up\n')), '-qmp', `unix:${socket},server,nowait`, '-pidfile', pidFile]
    const first = new Run(argv)
    await connectQmp(first, socket)
    await first.out.until('up')
    await first.kill()
    expect(fs.readdirSync(folder).sort()).toEqual(['guest.elf', 'pid', 'qmp.sock'])
    const second = new Run(argv)
    const qmp = await connectQmp(second, socket)
    await second.out.until('up')
    expect(fs.readFileSync(pidFile, 'utf8').trim()).toBe(String(second.pid))
    await qmp.run('quit')
    expect(await second.end()).toEqual({ status: 0, signal: null })
    expect(fs.readdirSync(folder)).toEqual(['guest.elf'])
  })
})

describe('-S', () => {
  it('waits in prelaunch, with the kernel in memory, until cont', async () => {
    const { vm, qmp } = await withMonitor([...bareMachine(scratch(), saying('up\n')), '-S', '-append', 'is-here'])
    expect(await qmp.run('query-status')).toMatchObject({ running: false, status: 'prelaunch' })
    const dump = await eventually('the kernel command line', async () => {
      const text = await qmp.human('xp /7bx 0x20000')
      return text.includes('0x69') ? text : undefined
    })
    expect(dump).toContain('0x69 0x73 0x2d 0x68 0x65 0x72 0x65')
    expect(vm.out.all).toBe('')
    await qmp.run('cont')
    await vm.out.until('up')
    expect(qmp.eventNames).toEqual(['RESUME'])
    expect(await qmp.status()).toBe('running')
    await qmp.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})

describe('-daemonize', () => {
  it('returns once the monitor listens; the machine goes on, logs to -D, and cleans up at its end', async () => {
    const folder = scratch()
    const at = (name: string) => path.join(folder, name)
    const result = spawnSync(process.execPath, [MESOVIRT, ...linux({ args: [
      '-serial', `file:${at('console')}`, '-qmp', `unix:${at('qmp.sock')},server,nowait`, '-pidfile', at('pid'), '-D', at('log'), '-daemonize'] })], { encoding: 'utf8', cwd: folder })
    expect({ status: result.status, out: result.stdout, err: result.stderr }).toEqual({ status: 0, out: '', err: '' })
    const pid = Number(fs.readFileSync(at('pid'), 'utf8'))
    endAfterwards(pid)
    const qmp = await Qmp.connect({ path: at('qmp.sock') })
    expect(await qmp.status()).toBe('running')
    await eventually('a shell on the console file', () => fs.readFileSync(at('console'), 'utf8').includes(PROMPT))
    await qmp.run('system_powerdown')
    await qmp.event('SHUTDOWN')
    await eventually('the end of the daemon', () => !isAlive(pid))
    expect(fs.readdirSync(folder).sort()).toEqual(['console', 'log'])
    expect(fs.readFileSync(at('log'), 'utf8')).toMatch(/^\S+: \[\d+\]\[\d+\]\[lifecycle: \d+\]: INFO: the machine ended: guest-shutdown$/m)
  })

  it('says on standard error why it could not start, with status 1', () => {
    const folder = scratch()
    fs.writeFileSync(path.join(folder, 'kernel'), 'not a kernel')
    const result = spawnSync(process.execPath, [MESOVIRT, '-accel', ACCELERATOR, '-kernel', path.join(folder, 'kernel'), '-daemonize', '-pidfile', path.join(folder, 'pid')], { encoding: 'utf8' })
    expect(result.status).toBe(1)
    expect(result.stderr).toMatch(/^mesovirt: [^\n]+\n$/)
    expect(fs.readdirSync(folder)).toEqual(['kernel'])
  })
})

describe('a monitor on TCP', () => {
  it('listens on the port that query-chardev names', async () => {
    const { vm, qmp } = await withMonitor([...bareMachine(scratch(), echoing()), '-qmp', 'tcp:127.0.0.1:0,server,nowait'])
    const devices = await qmp.run<{ filename: string }[]>('query-chardev')
    const port = Number(devices.map(({ filename }) => /tcp:127\.0\.0\.1:(\d+)/.exec(filename)?.[1]).find((text) => text !== undefined))
    expect(port).toBeGreaterThan(0)
    const other = await Qmp.connect({ host: '127.0.0.1', port })
    expect(other.greeting).toEqual(qmp.greeting)
    await other.run('quit')
    await other.event('SHUTDOWN')
    await qmp.event('SHUTDOWN')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})

describe('mesovirt qmp', () => {
  it('runs one command against a live machine', async () => {
    const { vm, socket, qmp } = await withMonitor(bareMachine(scratch(), echoing()))
    await qmp.close()
    const client = new Run(['qmp', socket, '-c', 'query-status'])
    client.endOfInput()
    expect(await client.end()).toEqual({ status: 0, signal: null })
    expect(client.out.all).toContain('running')
    const quit = new Run(['qmp', socket])
    quit.type('hmp info status\nquit\n')
    quit.endOfInput()
    expect(await quit.end()).toEqual({ status: 0, signal: null })
    expect(quit.out.all).toContain('VM status: running')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})
