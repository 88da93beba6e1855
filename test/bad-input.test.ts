/** Mistakes of the user: one line on standard error that says what is wrong and what to do, status 1, and nothing left behind. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { bzImage, elf, MIB } from '../boot-loader/synthetic-kernels.ts'
import { bareMachine, saying } from './support/bare-guest.ts'
import { describeWhere } from './support/optional.ts'
import { Qmp } from './support/qmp.ts'
import { HAS_TERMINALS, Terminal, TERMINALS } from './support/terminal.ts'
import { guests, MESOVIRT, scratch, withMonitor } from './support/vm.ts'

/** Runs a command that must fail. @returns its one line, without the name of the program */
function mistake(...argv: string[]): string {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [MESOVIRT, ...argv], { encoding: 'utf8', input: '', timeout: 120_000, killSignal: 'SIGKILL' })
  expect({ status, signal, stdout }, stderr).toEqual({ status: 1, signal: null, stdout: '' })
  expect(stderr).toMatch(/^mesovirt: [^\n]+\n$/)
  expect(stderr).not.toMatch(/internal error|undefined|\[object/)
  return stderr.slice('mesovirt: '.length, -1)
}

function setUp() {
  const folder = scratch()
  const at = (name: string): string => path.join(folder, name)
  const file = (name: string, bytes: Uint8Array | string): string => {
    fs.writeFileSync(at(name), bytes)
    return at(name)
  }
  const good = file('good', saying('up\n'))
  const start = (...argv: string[]): string => {
    const before = fs.readdirSync(folder).sort()
    const line = mistake('-machine', 'microvm', '-accel', 'tcg', '-qmp', `unix:${at('qmp.sock')},server,nowait`, '-pidfile', at('pid'), ...argv)
    expect(fs.readdirSync(folder).sort()).toEqual(before)
    return line
  }
  return { folder, at, file, good, start }
}

describe('options', () => {
  it('an unknown option is named, with the nearest one', () => {
    const { good, start } = setUp()
    expect(start('-kernle', good)).toBe('-kernle: unknown option; did you mean -kernel?')
    expect(start('-kernel', good, '-frobnicate')).toMatch(/-frobnicate: unknown option/)
  })

  it.each([['0'], ['1'], ['64'], ['100G'], ['1E'], ['-5'], ['much'], ['256.0001'], ['99999999999999999999']])('-m %s is out of range or no size', (size) => {
    const { good, start } = setUp()
    expect(start('-kernel', good, '-m', size)).toMatch(/-m/)
  })

  it.each([['0'], ['255'], ['4,sockets=3'], ['two']])('-smp %s cannot be', (smp) => {
    const { good, start } = setUp()
    expect(start('-kernel', good, '-smp', smp)).toMatch(/-smp/)
  })

  it('two owners of standard input and output are named', () => {
    const { good, start } = setUp()
    expect(start('-kernel', good, '-serial', 'stdio', '-qmp', 'stdio')).toMatch(/stdio/)
    expect(start('-kernel', good, '-chardev', 'stdio,id=a', '-chardev', 'stdio,id=b', '-serial', 'chardev:a')).toMatch(/standard input/)
  })

  it('a device of a later version is named', () => {
    const { good, start } = setUp()
    expect(start('-kernel', good, '-device', 'virtio-blk-device,drive=d0')).toMatch(/virtio-blk-device/)
    expect(mistake('-kernel', good, '-M', 'q35')).toMatch(/q35/)
    expect(mistake('-kernel', good, '-accel', 'test')).toBe('-accel test: device tests without a CPU (test) are not in this version')
  })

  it('what one accelerator only can do is refused for the other', () => {
    const { good } = setUp()
    expect(mistake('-kernel', good, '-accel', 'kvm', '-icount', '3')).toMatch(/-icount and -accel kvm: .* use -accel tcg/)
    expect(mistake('-kernel', good, '-accel', 'tcg,kernel-irqchip=on')).toMatch(/kernel-irqchip belongs to kvm/)
    expect(mistake('-kernel', good, '-accel', 'kvm,kernel-irqchip=split')).toMatch(/kernel-irqchip=split/)
    expect(mistake('-kernel', good, '-accel', 'tcg', '-m', '4G')).toMatch(/-m 4G: .* at most 3584M/)
  })
})

describe('files', () => {
  it('a missing, empty or unreadable kernel is named', () => {
    const { at, file, folder, start } = setUp()
    expect(start('-kernel', at('absent'))).toBe(`-kernel ${at('absent')}: no such file; check the path`)
    expect(start('-kernel', file('empty', ''))).toContain(at('empty'))
    expect(start('-kernel', folder)).toContain(folder)
  })

  it('a file that is no kernel is refused when it is seen to be none, however it looks', () => {
    const { file, start } = setUp()
    expect(start('-kernel', file('text', 'This is a text and no kernel.\n'.repeat(1000)))).toMatch(/kernel/)
    expect(start('-kernel', file('faults', Buffer.alloc(100_000, Uint8Array.of(0x0f, 0x0b))))).toMatch(/kernel/)
  })

  it('a missing initrd is named', () => {
    const { at, good, start } = setUp()
    expect(start('-kernel', good, '-initrd', at('absent'))).toBe(`-initrd ${at('absent')}: no such file; check the path`)
  })

  it('an initrd that does not fit is named with sizes', () => {
    const { at, start } = setUp()
    fs.writeFileSync(at('big'), '')
    fs.truncateSync(at('big'), 200 * MIB)
    expect(start('-m', '128', '-kernel', guests.cloud.vmlinux, '-initrd', at('big'))).toMatch(/initrd|initial/i)
    expect(start('-m', '128', '-kernel', guests.cloud.kernel, '-initrd', at('big'))).toMatch(/initrd|initial/i)
  })

  it('a kernel that does not fit into memory is refused', () => {
    const { file, start } = setUp()
    expect(start('-m', '128', '-kernel', file('huge', elf({ bss: 2 ** 31 })))).toMatch(/memory|-m/)
  })

  it.each<[string, (image: Buffer) => Uint8Array]>([
    ['the first sector only', (image) => image.subarray(0, 512)],
    ['half of it', (image) => image.subarray(0, image.length >> 1)],
    ['one byte less than its header says', (image) => image.subarray(0, (image.readUInt8(0x1f1) + 1) * 512 + image.readUInt32LE(0x1f4) * 16 - 1)],
    ['a header that ends beyond the file', (image) => changed(image, 0x1f1, [0xff])],
    ['no boot flag', (image) => changed(image, 0x1fe, [0, 0])],
    ['a protocol of 1995', (image) => changed(image, 0x206, [0, 2])],
  ])('a damaged bzImage is refused: %s', (_, damage) => {
    const { file, start } = setUp()
    expect(start('-kernel', file('kernel', damage(fs.readFileSync(guests.cloud.kernel))))).toMatch(/kernel/)
  })

  it.each<[string, (image: Buffer) => Uint8Array]>([
    ['its header only', (image) => image.subarray(0, 64)],
    ['half of it', (image) => image.subarray(0, image.length >> 2)],
    ['program headers beyond the file', (image) => changed(image, 32, [0xff, 0xff, 0xff, 0xff, 0xff])],
    ['65535 program headers', (image) => changed(image, 56, [0xff, 0xff])],
    ['a segment beyond memory', (image) => changed(image, 64 + 24, [0, 0, 0, 0, 0, 0, 0, 0x10])],
    ['a segment longer than the file', (image) => changed(image, 64 + 32, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])],
    ['another processor', (image) => changed(image, 18, [0xb7, 0])],
    ['a 32-bit file', (image) => changed(image, 4, [1])],
  ])('a damaged ELF kernel is refused: %s', (_, damage) => {
    const { file, start } = setUp()
    expect(start('-kernel', file('kernel', damage(fs.readFileSync(guests.cloud.vmlinux))))).toMatch(/kernel/)
  })

  it('well-formed small kernels are not what is refused', () => {
    const { file, start } = setUp()
    // The bzImage that every case above damages in one place is accepted up to the missing initrd.
    expect(start('-kernel', file('kernel', bzImage()), '-initrd', '/absent')).toContain('-initrd /absent')
  })
})

describe('monitors', () => {
  it('a QMP path with a live listener is refused, and the listener not disturbed', async () => {
    const { vm, qmp, socket } = await withMonitor(bareMachine(scratch(), saying('up\n')))
    const { folder, good } = setUp()
    const line = mistake('-accel', 'tcg', '-kernel', good, '-qmp', `unix:${socket},server,nowait`, '-pidfile', path.join(folder, 'pid'))
    expect(line).toContain(socket)
    expect(fs.readdirSync(folder)).toEqual(['good'])
    expect(await qmp.status()).toBe('running')
    await qmp.close()
    const again = await Qmp.connect({ path: socket })
    await again.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })

  it('a QMP path that is a regular file is refused, and the file left alone', () => {
    const { file, good, start } = setUp()
    const note = file('note', 'precious')
    expect(start('-kernel', good, '-qmp', `unix:${note},server,nowait`)).toContain(note)
    expect(fs.readFileSync(note, 'utf8')).toBe('precious')
  })

  it('a QMP path in a folder that is not there is refused', () => {
    const { at, good, start } = setUp()
    expect(start('-kernel', good, '-qmp', `unix:${at('no/where.sock')},server,nowait`)).toContain(at('no/where.sock'))
  })

  it('a TCP port that is taken is refused', async () => {
    const { vm, qmp } = await withMonitor([...bareMachine(scratch(), saying('up\n')), '-qmp', 'tcp:127.0.0.1:0,server,nowait'])
    const devices = await qmp.run<{ filename: string }[]>('query-chardev')
    const port = devices.map(({ filename }) => /tcp:127\.0\.0\.1:(\d+)/.exec(filename)?.[1]).find((text) => text !== undefined) ?? ''
    const { good, start } = setUp()
    expect(start('-kernel', good, '-qmp', `tcp:127.0.0.1:${port},server,nowait`)).toContain(port)
    await qmp.run('quit')
    await vm.end()
  })

  it('the pid file of a live process is refused', () => {
    const { file, good, start } = setUp()
    expect(start('-kernel', good, '-pidfile', file('other.pid', `${process.pid}\n`))).toMatch(/pidfile/)
  })
})

describeWhere(HAS_TERMINALS, TERMINALS, 'on a terminal', () => {
  it('a mistake found late leaves the terminal as it was', async () => {
    const folder = scratch()
    fs.writeFileSync(path.join(folder, 'kernel'), fs.readFileSync(guests.cloud.kernel).subarray(0, 100_000))
    const terminal = await Terminal.open()
    const before = await terminal.settings()
    terminal.start(['-accel', 'tcg', '-kernel', path.join(folder, 'kernel'), '-serial', 'stdio'])
    await terminal.screen.until(/mesovirt: .*kernel/)
    expect(await terminal.ended()).toBe(1)
    expect(await terminal.settings()).toBe(before)
    terminal.close()
  })
})

function changed(image: Buffer, at: number, bytes: readonly number[]): Uint8Array {
  const copy = Buffer.from(image)
  copy.set(bytes, at)
  return copy
}
