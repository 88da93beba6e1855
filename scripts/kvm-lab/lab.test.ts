import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { decodeStatus } from './machine.ts'
import { dependencies, loadOrder, moduleName } from './modules.ts'
import { parseOptions } from './options.ts'
import { filesBelow, packageFolders, parseLdd } from './packages.ts'

const folders: string[] = []
afterEach(() => folders.splice(0).forEach((folder) => fs.rmSync(folder, { recursive: true })))

describe('the arguments of npm run test:kvm', () => {
  it('are vitest\'s from the first that is not the lab\'s', () => {
    expect(parseOptions(['--lab', '--cpus', '4', 'boot', '--lab', '-t', 'four'])).toEqual(
      { where: 'lab', task: { kind: 'tests', vitest: ['boot', '--lab', '-t', 'four'] }, labs: undefined, cpus: 4, memoryMb: 3072, timeLimitMinutes: 90 })
    expect(parseOptions(['--labs', '2'])).toMatchObject({ labs: 2, task: { kind: 'tests', vitest: [] } })
    expect(parseOptions([]).task).toEqual({ kind: 'tests', vitest: [] })
  })

  it('may be a command with arguments of its own', () => {
    expect(parseOptions(['--memory', '4096', '--exec', 'ls', '--shell'])).toMatchObject({ memoryMb: 4096, task: { kind: 'exec', command: ['ls', '--shell'] } })
  })

  it.each([[['--cpus']], [['--cpus', '0']], [['--memory', '1e3']], [['--time-limit', '-1']], [['--exec']], [['--shell', 'boot']]])('%j is a mistake', (args) => {
    expect(() => parseOptions(args)).toThrow(expect.objectContaining({ code: 'LAB_OPTION' }) as Error)
  })
})

describe('the exit status of the lab', () => {
  const asQemuEnds = (byte: number) => byte * 2 + 1 // isa-debug-exit

  it.each([0, 1, 42, 90])('is that of its command: %i', (status) => {
    expect(decodeStatus(asQemuEnds(status + 16))).toBe(status)
  })

  it.each([0, 1, 2, 3, 31, 34, 128, 134])('is none when QEMU ends with %i for a reason of its own', (code) => {
    expect(decodeStatus(code)).toBeUndefined()
  })
})

describe('kernel modules', () => {
  it('go by one name, whatever their file is called', () => {
    expect(['kvm-amd.ko', 'lib/modules/6.1/kernel/arch/x86/kvm/kvm-amd.ko.xz', 'kvm_amd'].map(moduleName)).toEqual(['kvm_amd', 'kvm_amd', 'kvm_amd'])
  })

  it('say what they need', () => {
    expect(dependencies(Buffer.from('\0license=GPL\0depends=kvm,irq-bypass\0name=x\0'))).toEqual(['kvm', 'irq_bypass'])
    expect(dependencies(Buffer.from('\0depends=\0'))).toEqual([])
    expect(dependencies(Buffer.from('nothing'))).toEqual([])
  })

  it('are loaded after what they need; what is built into the kernel is left out', () => {
    const needs = new Map([['kvm_amd', ['kvm', 'ccp']], ['kvm', ['irqbypass']], ['irqbypass', []], ['ccp', ['built_in']]])
    expect(loadOrder(['kvm_amd', 'kvm', 'nowhere'], needs)).toEqual(['irqbypass', 'kvm', 'ccp', 'kvm_amd'])
    expect(() => loadOrder(['a'], new Map([['a', ['b']], ['b', ['a']]]))).toThrow('a b a')
  })
})

describe('what the tests load', () => {
  it('are the packages that the lock file names, nested ones before those above, without those of other systems', () => {
    const packages = {
      'node_modules/a': { dependencies: { b: '1', c: '1' }, optionalDependencies: { 'other-system': '1' } },
      'node_modules/a/node_modules/b': { dependencies: { c: '2' } },
      'node_modules/b': {}, 'node_modules/c': { dependencies: { a: '1' } }, 'node_modules/unused': {}, 'node_modules/other-system': {},
    }
    expect(packageFolders(['a'], packages, (folder) => !folder.includes('other'))).toEqual(['node_modules/a', 'node_modules/a/node_modules/b', 'node_modules/c'])
  })

  it('are libraries with a path on this machine', () => {
    const text = '\tlinux-vdso.so.1 (0x00007ffe)\n\tlibdl.so.2 => /lib/x86_64-linux-gnu/libdl.so.2 (0x00007f93c4832000)\n\tlibc.musl.so.1 => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f93)\n'
    expect(parseLdd(text)).toEqual(['/lib/x86_64-linux-gnu/libdl.so.2', '/lib64/ld-linux-x86-64.so.2'])
    expect(parseLdd('\tnot a dynamic executable\n')).toEqual([])
  })

  it('are files, not folders, sockets or what was left out', () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-lab-'))
    folders.push(folder)
    for (const file of ['b/c/d', 'b/skip/e', 'a']) {
      fs.mkdirSync(path.join(folder, path.dirname(file)), { recursive: true })
      fs.writeFileSync(path.join(folder, file), '')
    }
    expect(filesBelow(folder, (name) => name !== 'b/skip')).toEqual(['a', 'b/c/d'])
  })
})
