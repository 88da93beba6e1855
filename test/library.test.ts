/** The library as a program of its user's has it: TypeScript against the published types, run against the published bundle. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { saying, tripleFaulting } from './support/bare-guest.ts'
import { guests, ROOT } from './support/vm.ts'

/** Inside the package, so that its own name leads to its `exports`. */
let folder: string
beforeAll(() => {
  fs.mkdirSync(path.join(ROOT, '.cache'), { recursive: true })
  folder = fs.mkdtempSync(path.join(ROOT, '.cache/library-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

/** Compiles a program with strict checks, runs it, and returns its output. */
function program(name: string, source: string, ...argv: string[]): string {
  fs.writeFileSync(path.join(folder, `${name}.mts`), source)
  fs.writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { module: 'NodeNext', target: 'ES2022', lib: ['ES2023'], strict: true, exactOptionalPropertyTypes: true, types: ['node'], skipLibCheck: false }, files: [`${name}.mts`],
  }))
  const compiled = spawnSync(process.execPath, [path.join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', folder], { encoding: 'utf8' })
  expect(compiled.stdout + compiled.stderr).toBe('')
  const run = spawnSync(process.execPath, [path.join(folder, `${name}.mjs`), ...argv], { encoding: 'utf8', timeout: 300_000, killSignal: 'SIGKILL' })
  expect({ status: run.status, signal: run.signal }, run.stderr).toEqual({ status: 0, signal: null })
  return run.stdout
}

describe("import { LightMachine } from 'mesovirt'", () => {
  it('runs a small guest from bytes, pauses it, looks into it and ends it', () => {
    fs.writeFileSync(path.join(folder, 'guest'), saying('hello from the guest\n'))
    expect(program('small', `
      import fs from 'node:fs'
      import { LightMachine } from 'mesovirt'
      import type { MachineEnd } from 'mesovirt'

      const machine = await LightMachine.create({ memory: 64 * 2 ** 20, kernel: fs.readFileSync(process.argv[2] as string), commandLine: 'one two', accelerator: ['tcg', 'kvm'] })
      const events: string[] = []
      machine.on('stop', () => events.push('stop')).on('resume', () => events.push('resume')).on('shutdown', ({ guest, reason }) => events.push(\`shutdown \${guest} \${reason}\`))
      console.log(machine.accelerator, machine.status, Buffer.from(machine.readPhysical(0x20000, 7)).toString())
      await machine.start()
      let text = ''
      for await (const chunk of machine.serial.output) {
        text += String(chunk)
        if (text.includes('\\n')) break
      }
      console.log(text.trim())
      await machine.pause()
      console.log(machine.status, /RIP=/.test(await machine.registers()))
      await machine.resume()
      const end: MachineEnd = await machine.quit()
      console.log(end.kind, events.join(', '))
    `, path.join(folder, 'guest'))).toBe('tcg prelaunch one two\nhello from the guest\npaused true\nshutdown stop, resume, shutdown false host-qmp-quit\n')
  })

  it('boots Linux, types at its shell and reads the answer', () => {
    expect(program('linux', `
      import { LightMachine } from 'mesovirt'
      const [kernel = '', initrd = ''] = process.argv.slice(2)
      const machine = await LightMachine.create({ kernel, initrd, commandLine: 'console=ttyS0 panic=1 quiet', cpus: 2 })
      let text = ''
      machine.serial.output.on('data', (chunk: Buffer) => { text += chunk.toString() })
      machine.serial.input.write('echo cpus-$(nproc); exit\\n')
      await machine.start()
      const end = await machine.ended
      console.log(/cpus-\\d+/.exec(text)?.[0], JSON.stringify(end))
    `, guests.cloud.vmlinux, guests.cloud.initrd)).toBe('cpus-2 {"kind":"shutdown","guest":true,"reason":"guest-shutdown"}\n')
  })

  it('tells the program of errors by class and code, and of guests that fail by how they end', () => {
    fs.writeFileSync(path.join(folder, 'faulting'), tripleFaulting('going\n'))
    expect(program('errors', `
      import { LightMachine, MesovirtError } from 'mesovirt'
      try {
        await LightMachine.create({ kernel: '/absent/kernel' })
      } catch (error) {
        console.log(error instanceof MesovirtError && error.code !== '' && error.message.includes('/absent/kernel'))
      }
      try {
        await LightMachine.create({ kernel: new Uint8Array(3), memory: 1000 })
      } catch (error) {
        console.log(error instanceof MesovirtError ? error.code : error)
      }
      try {
        await LightMachine.create({ kernel: new Uint8Array(3), accelerator: 'xen' as 'kvm' })
      } catch (error) {
        console.log(error instanceof MesovirtError ? error.message : error)
      }
      const machine = await LightMachine.create({ kernel: process.argv[2] as string })
      await machine.start()
      console.log(JSON.stringify(await machine.ended))
    `, path.join(folder, 'faulting'))).toBe('true\nMACHINE_OPTION\naccelerator: \'xen\' is not kvm, tcg, or several of them\n{"kind":"shutdown","guest":true,"reason":"guest-reset"}\n')
  })
})
