/** A process whose guest runs ends as any other: each test is a small program of its own. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { buildSync } from 'esbuild'
import { afterAll, expect, it } from 'vitest'
import { describeKvm } from './describe-kvm.fixture.ts'

const here = import.meta.dirname
/** Kills a program that hangs before the test's own limit does; both are ten times longer in the lab (vitest.config.ts). */
const LIMIT_MS = process.env['MESOVIRT_TEST_LAB'] === '1' ? 500_000 : 50_000
/** Beside the worker's file, where the programs look for it. */
const dist = path.join(here, '../../dist')
const files: string[] = []

afterAll(() => files.forEach((file) => fs.rmSync(file, { force: true })))

interface End { readonly status: number | null; readonly signal: string | null; readonly output: string; readonly errors: string }

/** Runs `body` with what a bare guest needs in scope. `onLine` hears each line of output. A program that does not end is killed, with signal SIGKILL. */
async function run(name: string, body: string, onLine: (line: string, child: ChildProcess) => void = () => undefined): Promise<End> {
  const source = `
    import { BareGuest } from ${JSON.stringify(path.join(here, 'bare-guest.fixture.ts'))}
    import { startOthers, REPORT } from ${JSON.stringify(path.join(here, 'bare-guest.fixture.ts'))}
    import { Program } from ${JSON.stringify(path.join(here, 'program.fixture.ts'))}
    import { KvmHypervisor } from ${JSON.stringify(path.join(here, 'kvm-hypervisor.ts'))}
    import { onProcessEnd } from ${JSON.stringify(path.join(here, '../../host/cleanup.ts'))}
    void [startOthers, REPORT, Program, KvmHypervisor, onProcessEnd]
    ${body}`
  const file = path.join(dist, `.test-kvm-${process.pid}-${name}.mjs`)
  files.push(file)
  buildSync({ stdin: { contents: source, loader: 'ts', resolveDir: here }, outfile: file, bundle: true, platform: 'node', format: 'esm', target: 'node20', packages: 'external' })
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'] })
  const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS)
  let output = '', errors = '', rest = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onLine(line, child)
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { errors += text })
  return await new Promise((resolve) => {
    child.on('close', (status, signal) => {
      clearTimeout(limit)
      resolve({ status, signal, output, errors })
    })
  })
}

const SPIN = 'new Program(32).out(REPORT, 1, 1).spin()'
const SLEEP = 'new Program(32).out(REPORT, 1, 1).stop()'
const ASK = `new Program(32).out(REPORT, 1, 1).label('again').in(0x510, 4).jump('again')`
const RUNNING = (program: string, cpus = 1) => `
  const guest = new BareGuest({ cpus: ${cpus} })
  guest.loadForOthers(new Program(32, 0x2000).spin())
  await guest.start(${program})
  await guest.untilReports(1)`

describeKvm('a process with a running kvm guest', () => {
  it.each([['spins', SPIN, 1], ['sleeps', SLEEP, 1], ['asks devices', ASK, 1], ['spins on four vCPUs', SPIN.replace('new Program(32)', 'startOthers(new Program(32))'), 4]])(
    'ends with the status it gives process.exit, and does what it has registered for its end, while the guest %s', async (name, program, cpus) => {
      const end = await run(`exit-${name.replaceAll(' ', '-')}`, `
        onProcessEnd(() => console.log('undone'))
        ${RUNNING(program, cpus)}
        onProcessEnd(() => console.log('undone too'))
        process.exit(3)`)
      expect(end).toEqual({ status: 3, signal: null, output: 'undone too\nundone\n', errors: '' })
    })

  it('ends from inside an access of the guest', async () => {
    const end = await run('exit-in-access', `
      const guest = new BareGuest()
      guest.addPorts('device', 0x510, 4, { write: () => process.exit(4) })
      await guest.start(new Program(32).out(0x510, 4, 1).spin())`)
    expect(end).toEqual({ status: 4, signal: null, output: '', errors: '' })
  })

  it.each([['while its threads start', 'const ready = guest.hypervisor.ready(); process.exit(5); await ready'], ['paused', 'await guest.start(new Program(32).spin(), { paused: true }); process.exit(5)'],
    ['without a start', 'process.exit(5)']])('ends %s', async (name, body) => {
    const end = await run(`exit-${name.replaceAll(' ', '-')}`, `const guest = new BareGuest()\n${body}`)
    expect(end).toEqual({ status: 5, signal: null, output: '', errors: '' })
  })

  it('ends by an uncaught exception', async () => {
    const end = await run('throw', `${RUNNING(SPIN)}\nsetTimeout(() => { throw new Error('a mistake') })`)
    expect(end).toMatchObject({ status: 1, signal: null })
    expect(end.errors).toContain('Error: a mistake')
  })

  it('ends by what a device throws in an access, where nobody wants to hear of it', async () => {
    const end = await run('throw-in-access', `
      import { AddressSpace } from ${JSON.stringify(path.join(here, '../../address-space/address-space.ts'))}
      import { Region } from ${JSON.stringify(path.join(here, '../../address-space/region.ts'))}
      import { entryState } from ${JSON.stringify(path.join(here, 'bare-guest.fixture.ts'))}
      const hypervisor = new KvmHypervisor({ topology: { cpus: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }, ram: [{ guestAddress: 0, size: 2 ** 21 }], clock: { kind: 'host' }, onEvent: () => undefined })
      const memory = new AddressSpace('memory', Region.container('system', 2 ** 40)), ports = new AddressSpace('ports', Region.container('io', 65536))
      const [block] = hypervisor.ram
      memory.root.add(Region.ram('ram', block.bytes, { hostOffset: block.hostOffset }), 0)
      ports.root.add(Region.io('broken', 1, { read: () => 0, write: () => { throw new Error('thrown in an access') } }), 0x510)
      hypervisor.attach(memory, ports)
      block.bytes.set(new Program(32).out(0x510, 1, 0).spin().bytes, 0x1000)
      await hypervisor.ready()
      await hypervisor.reset()
      hypervisor.enter(0, entryState(32, 0x1000))
      await hypervisor.resume()`)
    expect(end).toMatchObject({ status: 1, signal: null })
    expect(end.errors).toContain('Error: thrown in an access')
  })

  it('ends by what a doorbell throws', async () => {
    const end = await run('throw-in-doorbell', `
      process.on('uncaughtException', (error) => { console.log('uncaught:', error.message); process.exit(6) })
      const guest = new BareGuest()
      guest.faults.push = (error) => { throw error }
      const region = guest.addRegisters('device', 0xd0000000, 16, {})
      region.addNotifier({ offset: 0, size: 4, notify: () => { throw new Error('thrown in a doorbell') } })
      await guest.start(new Program(32).write(0xd0000000, 4, 1).spin())`)
    expect(end).toEqual({ status: 6, signal: null, output: 'uncaught: thrown in a doorbell\n', errors: '' })
  })

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGKILL'] as const)('dies of %s', async (signal) => {
    const end = await run(`signal-${signal}`, `${RUNNING(SPIN)}\nconsole.log('running')`, (_, child) => child.kill(signal))
    expect(end).toMatchObject({ status: null, signal, output: 'running\n' })
  })

  it('ends by itself once the machine is closed, and not before', async () => {
    const end = await run('close', `${RUNNING(SPIN)}
      process.on('exit', () => console.log('end'))
      setTimeout(() => { console.log('closing'); guest.close() }, 50)`)
    expect(end).toEqual({ status: 0, signal: null, output: 'closing\nend\n', errors: '' })
  })

  it('goes on after a machine that was closed with its guest busy, ten times', async () => {
    const end = await run('many', `
      import fs from 'node:fs'
      const counts = []
      const open = () => fs.readdirSync('/proc/self/fd').length
      for (let round = 0; round < 10; round++) {
        const guest = new BareGuest({ cpus: 2 })
        await guest.start(${SPIN})
        await guest.untilReports(1)
        await guest.close()
        for (let left = 2000; open() > (counts[0] ?? 0) && left > 0; left--) await new Promise((resolve) => setTimeout(resolve, round === 0 ? 0 : 5))
        counts.push(open())
      }
      console.log(counts.at(-1) <= counts[0] ? 'steady' : counts.join(' '))`)
    expect(end).toEqual({ status: 0, signal: null, output: 'steady\n', errors: '' })
  })

  // A thread that is ended from outside while it is in native code takes the process with it.
  it('goes on after machines that were closed while their threads were being born, at every moment of it', async () => {
    const end = await run('close-early', `
      for (let delay = 0; delay < 60; delay += 2) {
        const guest = new BareGuest({ cpus: 3 })
        await guest.start(${SPIN})
        for (const end = performance.now() + delay; performance.now() < end;) await new Promise((resolve) => setImmediate(resolve))
        await guest.close()
      }
      console.log('all closed')`)
    expect(end).toEqual({ status: 0, signal: null, output: 'all closed\n', errors: '' })
  })

  it('ends with its status while threads are being born, at every moment of it', async () => {
    for (let delay = 0; delay < 60; delay += 5) {
      const end = await run(`exit-early-${delay}`, `
        const guest = new BareGuest({ cpus: 3 })
        await guest.start(${SPIN})
        for (const end = performance.now() + ${delay}; performance.now() < end;) await new Promise((resolve) => setImmediate(resolve))
        process.exit(7)`)
      expect(end).toEqual({ status: 7, signal: null, output: '', errors: '' })
    }
  })

  it('ends with its status where a machine cannot be made', async () => {
    const end = await run('refused', `
      try { new BareGuest({ cpus: 300 }) } catch (error) { console.log(error.code); process.exit(8) }`)
    expect(end).toEqual({ status: 8, signal: null, output: 'KVM_VCPUS\n', errors: '' })
  })
})
