/** What guest memory consists of: shared, in files, of huge pages, preallocated, out of core dumps; and every way in which it cannot be had. */
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { bareMachine, resetting, saying } from './support/bare-guest.ts'
import { mappings } from './support/mappings.ts'
import type { Mapping } from './support/mappings.ts'
import { canLoad, describeWhere } from './support/optional.ts'
import { Transcript } from './support/transcript.ts'
import type { Run } from './support/vm.ts'
import { endAfterwards, eventually, linux, MESOVIRT, mesovirt, PROMPT, ROOT, scratch, withMonitor } from './support/vm.ts'

const MIB = 2 ** 20
const RAM = 256 * MIB
const MEMFD = '/memfd:mesovirt-ram (deleted)'
const HUGE_PAGE = 2 * MIB

const HAS_NATIVE = process.platform === 'linux' && canLoad('koffi')
const NATIVE = 'Linux with the package koffi (npm install koffi)'

/** The parts of a process's memory that show a file, in order. */
function mapped(pid: number, file: string | RegExp): Mapping[] {
  return mappings(pid).filter((mapping) => typeof file === 'string' ? mapping.file === file : file.test(mapping.file))
}

const sum = (parts: readonly Mapping[], field: string) => parts.reduce((total, part) => total + part.bytes(field), 0)

/** A small guest with other values of some options. */
function bare(folder: string, values: Readonly<Record<string, string>> = {}, guest = saying('up\n')): string[] {
  const argv = bareMachine(folder, guest)
  return argv.map((word, index) => values[argv[index - 1] as string] ?? word)
}

/** Runs a command that must fail with one line. */
function mistake(...argv: string[]): string {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [MESOVIRT, ...argv], { encoding: 'utf8', input: '', timeout: 120_000, killSignal: 'SIGKILL' })
  expect({ status, signal, stdout }, stderr).toEqual({ status: 1, signal: null, stdout: '' })
  expect(stderr).toMatch(/^mesovirt: [^\n]+\n$/)
  return stderr.slice('mesovirt: '.length, -1)
}

async function powerOff(vm: Run): Promise<void> {
  vm.type('poweroff -f\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
}

describeWhere(HAS_NATIVE, NATIVE, 'Linux in memory that', () => {
  it('other processes can map: what the guest writes is in the memfd, and what they write is in the guest', async () => {
    const vm = mesovirt(...linux({ args: ['-machine', 'microvm,mem-share=on,dump-guest-core=off'] }))
    await vm.out.until(PROMPT)
    const parts = mapped(vm.pid, MEMFD)
    expect(sum(parts, 'Size')).toBe(RAM)
    for (const { mode, flags } of parts) expect({ mode, isInCoreDumps: !flags.includes('dd') }).toEqual({ mode: 'rw-s', isInCoreDumps: false })
    const fd = fs.readdirSync(`/proc/${vm.pid}/fd`).find((name) => fs.readlinkSync(`/proc/${vm.pid}/fd/${name}`) === MEMFD)
    const ram = `/proc/${vm.pid}/fd/${fd}`
    expect(await vm.shell('printf marker-%s 4711 > /marker; sync; cat /marker')).toBe('marker-4711')
    const memory = fs.readFileSync(ram)
    expect(memory).toHaveLength(RAM)
    const at: number[] = []
    for (let place = memory.indexOf('marker-4711'); place >= 0; place = memory.indexOf('marker-4711', place + 1)) at.push(place)
    const file = fs.openSync(ram, 'r+')
    for (const place of at) fs.writeSync(file, 'changed-too', place)
    fs.closeSync(file)
    expect(await vm.shell('cat /marker')).toBe('changed-too')
    await powerOff(vm)
  })

  it('is in a file without a name of a folder', async () => {
    const folder = scratch()
    const vm = mesovirt(...linux({ args: ['-mem-path', folder] }))
    await vm.out.until(PROMPT)
    const parts = mapped(vm.pid, new RegExp(`^${folder}/.*\\(deleted\\)$`))
    expect(sum(parts, 'Size')).toBe(RAM)
    expect(new Set(parts.map(({ mode }) => mode))).toEqual(new Set(['rw-p']))
    expect(fs.readdirSync(folder)).toEqual([])
    await powerOff(vm)
    expect(fs.readdirSync(folder)).toEqual([])
  })

  it('is in a file, which stays', async () => {
    const file = path.join(scratch(), 'ram')
    const vm = mesovirt(...linux({ args: ['-machine', 'microvm,mem-share=on', '-mem-path', file] }))
    await vm.out.until(PROMPT)
    const parts = mapped(vm.pid, file)
    expect(sum(parts, 'Size')).toBe(RAM)
    expect(new Set(parts.map(({ mode }) => mode))).toEqual(new Set(['rw-s']))
    await powerOff(vm)
    expect(fs.statSync(file)).toMatchObject({ size: RAM, mode: 0o100600 })
    expect(fs.readFileSync(file).includes('Linux version')).toBe(true)
  })

  it('is there before the first instruction', async () => {
    const { vm, qmp } = await withMonitor([...linux({ args: ['-machine', 'microvm,mem-share=on', '-mem-prealloc'] }), '-S'])
    await eventually('all of the memory', () => sum(mapped(vm.pid, MEMFD), 'Rss') === RAM)
    expect(await qmp.status()).toBe('prelaunch')
    expect(vm.err.all).toBe('')
    await qmp.run('cont')
    await vm.out.until(PROMPT)
    await powerOff(vm)
  })
})

describeWhere(HAS_NATIVE, NATIVE, 'preallocation', () => {
  it('goes on while the monitor answers, and does not hold up who quits', async () => {
    const { vm, qmp } = await withMonitor([...bare(scratch(), { '-m': '2048' }), '-mem-prealloc', '-S'])
    expect(await qmp.status()).toBe('prelaunch')
    await qmp.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})

describeWhere(process.platform === 'linux', 'Linux', 'without native code', () => {
  /** The built program where no package is found. */
  function aloneIn(folder: string): string {
    fs.cpSync(path.join(ROOT, 'dist'), path.join(folder, 'dist'), { recursive: true, filter: (file) => !file.includes('/types') })
    fs.writeFileSync(path.join(folder, 'package.json'), fs.readFileSync(path.join(ROOT, 'package.json')))
    return path.join(folder, 'dist/mesovirt.js')
  }

  it('memory options name what is missing, and a machine on tcg does without', () => {
    const folder = scratch()
    const program = aloneIn(folder)
    const run = (machine: string, ...argv: string[]) => {
      const words = [program, ...bare(folder, { '-machine': machine, '-accel': 'tcg' }, resetting('up\n')), ...argv]
      const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8', input: '', timeout: 120_000, killSignal: 'SIGKILL' })
      return { status, stdout, stderr }
    }
    const missing = (option: string) => ({
      status: 1, stdout: '', stderr: `mesovirt: ${option}: the package koffi, the way to native code, is not installed; install it with: npm install koffi\n`,
    })
    expect(run('microvm,mem-share=on')).toEqual(missing('-machine mem-share=on'))
    expect(run('microvm,dump-guest-core=off')).toEqual(missing('-machine dump-guest-core=off'))
    expect(run('microvm', '-mem-prealloc')).toEqual(missing('-mem-prealloc'))
    expect(run('microvm', '-mem-path', folder)).toEqual(missing(`-mem-path ${folder}`))
    expect(run('microvm,mem-share=off,dump-guest-core=on')).toEqual({ status: 0, stdout: 'up\n', stderr: '' })
  })

  it('a machine on tcg does not load it', async () => {
    const { vm, qmp } = await withMonitor(bare(scratch(), { '-accel': 'tcg' }))
    await vm.out.until('up')
    expect(mappings(vm.pid).filter(({ file }) => file.endsWith('.node'))).toEqual([])
    await qmp.run('quit')
    await vm.end()
  })
})

describeWhere(HAS_NATIVE, NATIVE, 'a mistake about memory is one line, and nothing is left behind:', () => {
  const refusal = (argv: (at: (name: string) => string) => string[]): string => {
    const folder = scratch()
    const at = (name: string) => path.join(folder, name)
    const machine = bare(folder, { '-machine': 'microvm,mem-share=on' })
    fs.writeFileSync(at('notes'), 'no memory')
    const options = argv(at)
    const before = fs.readdirSync(folder)
    const line = mistake(...machine, '-qmp', `unix:${at('qmp.sock')},server,nowait`, ...options)
    expect(fs.readdirSync(folder)).toEqual(before)
    expect(fs.readFileSync(at('notes'), 'utf8')).toBe('no memory')
    return line.replaceAll(folder, 'FOLDER')
  }

  it('a path that leads nowhere, to a device, or to a file of another kind', () => {
    expect(refusal((at) => ['-mem-path', at('no/ram')])).toBe('-mem-path FOLDER/no/ram: its folder does not exist; check the path')
    expect(refusal((at) => ['-mem-path', at('no/')])).toBe('-mem-path FOLDER/no/: there is no such folder; make it')
    expect(refusal(() => ['-mem-path', '/dev/null'])).toBe('-mem-path /dev/null: is neither a file nor a folder; give the path of one')
    expect(refusal((at) => ['-mem-path', at('notes')])).toBe(
      '-mem-path FOLDER/notes: the file has 1 KiB and -m needs 128 MiB; give one that is as large, empty, or not there yet')
  })

  it('a file that was made for a machine that never ran', () => {
    expect(refusal((at) => {
      fs.writeFileSync(at('guest.elf'), 'This is a text and no kernel.\n'.repeat(1000))
      return ['-mem-path', at('ram')]
    })).toMatch(/FOLDER\/guest\.elf.*text/)
  })
})

describeWhere(process.platform === 'linux', 'Linux', 'a limit of the address space (ulimit -v)', () => {
  it('that leaves no room for the memory of a machine on tcg is one line', () => {
    const limited = ['-c', 'ulimit -v 8000000; exec "$@"', 'sh', process.execPath, MESOVIRT, ...bare(scratch(), { '-accel': 'tcg' })]
    const { status, stdout, stderr } = spawnSync('sh', limited, { encoding: 'utf8', input: '', timeout: 120_000, killSignal: 'SIGKILL' })
    expect({ status, stdout }, stderr).toEqual({ status: 1, stdout: '' })
    expect(stderr).toMatch(
      /^mesovirt: the host cannot give the machine \d+ MiB of memory; raise the limit of the address space \(ulimit -v\): WebAssembly reserves 10 GiB of it\n$/)
  })
})

/** Private mounts, and pages for the time of the test. */
function canMountHugePages(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  return spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t hugetlbfs -o pagesize=2M none /mnt && test -w /proc/sys/vm/nr_hugepages']).status === 0
}

describeWhere(HAS_NATIVE && canMountHugePages(), 'root that may mount hugetlbfs, and the package koffi', 'huge pages', () => {
  const POOL = '/sys/kernel/mm/hugepages/hugepages-2048kB'
  const count = (name: string) => Number(fs.readFileSync(`${POOL}/${name}`, 'utf8'))
  const NEEDED = 128 * MIB / HUGE_PAGE
  let before = 0
  const resize = (pages: number) => fs.writeFileSync(`${POOL}/nr_hugepages`, String(pages))
  beforeEach(() => { before = count('nr_hugepages') })
  afterEach(() => resize(before))

  /** A command line with hugetlbfs mounted at the folder, for that command alone. */
  const withMount = (folder: string, argv: readonly string[], options = ''): string[] =>
    ['-m', 'sh', '-c', `mount -t hugetlbfs -o pagesize=2M${options} none "$0" && exec "$@"`, folder, process.execPath, MESOVIRT, ...argv]

  function refusal(memory: string, options = '', more: readonly string[] = []): string {
    const folder = scratch(), mount = scratch()
    const argv = [...bare(folder, { '-m': memory }), '-mem-path', mount, ...more]
    const { status, stdout, stderr } = spawnSync('unshare', withMount(mount, argv, options), { encoding: 'utf8', input: '', timeout: 120_000, killSignal: 'SIGKILL' })
    expect({ status, stdout }, stderr).toEqual({ status: 1, stdout: '' })
    return stderr.replace(mount, 'MOUNT')
  }

  it('back the memory of a machine, and are free again afterwards', async () => {
    resize(before + NEEDED)
    const free = count('free_hugepages')
    expect(free, 'the host has no contiguous memory left for huge pages').toBeGreaterThanOrEqual(NEEDED)
    const folder = scratch(), mount = scratch()
    const child = spawn('unshare', withMount(mount, [...bare(folder), '-mem-path', mount, '-mem-prealloc']), { stdio: ['pipe', 'pipe', 'inherit'] })
    endAfterwards(child.pid as number)
    const out = new Transcript('standard output')
    child.stdout.setEncoding('utf8').on('data', (text: string) => out.append(text))
    const ended = new Promise((resolve) => {
      child.once('close', (status) => {
        out.end(`the command ended with status ${status}`)
        resolve(status)
      })
    })
    try {
      await out.until('up')
      // In a chroot the path of another mount namespace begins above our root.
      const parts = mapped(child.pid as number, new RegExp(`${mount}/.*\\(deleted\\)$`))
      expect(sum(parts, 'Size')).toBe(128 * MIB)
      expect(sum(parts, 'Private_Hugetlb')).toBe(128 * MIB)
      for (const part of parts) expect(part.bytes('KernelPageSize')).toBe(HUGE_PAGE)
      expect(count('free_hugepages')).toBe(free - NEEDED)
    } finally {
      child.kill('SIGTERM')
    }
    expect(await ended).toBe(0)
    expect(count('free_hugepages')).toBe(free)
  })

  it('that are not there are told with the command that makes them', () => {
    const free = count('free_hugepages') - count('resv_hugepages')
    const needed = free + 64
    expect(refusal(String(needed * 2))).toBe(
      `mesovirt: -mem-path MOUNT: ${needed} huge pages of 2 MiB are needed, and ${free} are free; make them, as root: sysctl vm.nr_hugepages=${count('nr_hugepages') + 64}\n`)
  })

  it('divide the memory, or the size that does is named', () => {
    expect(refusal('129')).toBe('mesovirt: -mem-path MOUNT: its huge pages have 2 MiB each, and -m must be a multiple of that; use -m 130\n')
  })

  it('are for good: no balloon gives them back', () => {
    resize(before + NEEDED)
    expect(refusal('128', '', ['-device', 'virtio-balloon-device'])).toBe(
      'mesovirt: -mem-path MOUNT: huge pages of hugetlbfs are set aside for good and cannot be given back; use another folder, or leave the balloon out\n')
  })

  it('that the mount is too small for are told', () => {
    resize(before + NEEDED)
    expect(refusal('128', ',size=16M')).toBe('mesovirt: -mem-path MOUNT: 64 huge pages of 2 MiB are needed, and the mount has 8 left; mount it with a larger size=\n')
  })
})
