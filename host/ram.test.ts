import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { build } from 'esbuild'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { mappingAt, mappings } from '../test/support/mappings.ts'
import { canLoad, describeWhere } from '../test/support/optional.ts'
import { addressOf, ffi } from './ffi.ts'
import type { Libc } from './ffi.ts'
import { allocateRam, mapsOverMemory } from './ram.ts'
import type { Ram } from './ram.ts'
import type { RamBacking } from './ram-backing.ts'
import { wasm } from './wasm.ts'

const MIB = 2 ** 20, GIB = 2 ** 30
const HUGE_PAGE = 2 * MIB

let folder: string
const open: Ram[] = []

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-ram-test-'))
})

afterEach(async () => {
  for (const ram of open.splice(0)) await ram.free()
  fs.rmSync(folder, { recursive: true })
})

function allocate(size: number, backing: RamBacking = {}): Ram {
  const ram = allocateRam(size, backing)
  open.push(ram)
  return ram
}

function bytesOf(ram: Ram): Uint8Array {
  return ram.views(0, ram.size)[0] as Uint8Array
}

/** Bytes of it that take memory of the host: those of this process, and those of a file that it shares. */
function residentAt(ram: Ram): number {
  if (ram.sharedFd !== undefined) return fs.fstatSync(ram.sharedFd).blocks * 512
  return mappings().filter(({ start, end }) => start < ram.address + ram.size && end > ram.address).reduce((sum, mapping) => sum + mapping.bytes('Rss'), 0)
}

function openFiles(): string[] {
  return fs.readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [fs.readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      return []
    }
  })
}

describeWhere(process.platform === 'linux' && canLoad('koffi'), 'Linux with the package koffi (npm install koffi)', 'guest RAM', () => {
  it('is memory of this process alone unless told otherwise, on a border of huge pages, and part of core dumps', () => {
    const ram = allocate(64 * MIB)
    bytesOf(ram)[64 * MIB - 1] = 1
    const { mode, file, flags } = mappingAt(ram.address)
    expect({ mode, file, shared: ram.sharedFd }).toEqual({ mode: 'rw-p', file: '', shared: undefined })
    expect(flags).not.toContain('dd')
    expect(ram.address % HUGE_PAGE).toBe(0)
    expect(ram.views(0, 64 * MIB)[0]?.buffer).toBeInstanceOf(SharedArrayBuffer)
  })

  it('stays out of core dumps with dump off', () => {
    expect(mappingAt(allocate(64 * MIB, { dump: false }).address).flags).toContain('dd')
    expect(mappingAt(allocate(5 * GIB, { dump: false }).address).flags).toContain('dd')
  })

  it('that is larger than a WebAssembly memory is one mapping, seen in views of at most 2 GiB', () => {
    const ram = allocate(8 * GIB)
    const views = ram.views(0, 8 * GIB)
    expect(views.map(({ length }) => length)).toEqual(Array(4).fill(2 * GIB))
    const [, , third] = views
    ;(third as Uint8Array)[5] = 7
    expect(ram.views(4 * GIB + 5, 1)[0]?.[0]).toBe(7)
    expect(ram.views(3 * GIB, 4 * GIB).map(({ length }) => length)).toEqual([2 * GIB, 2 * GIB])
    expect(mappings().find(({ start, end }) => start <= ram.address && ram.address + 8 * GIB <= end)?.mode).toBe('rw-p')
  })

  it.each([
    ['memory of this process', {}, 'zeros'], ['a memfd', { share: true }, 'zeros'], ['a file in a folder', { path: 'folder' }, 'zeros'], ['a file in a folder, shared', { path: 'folder', share: true }, 'zeros'],
    ['a new file', { path: 'new' }, 'zeros'], ['a file with content', { path: 'old' }, 'file'],
  ] as const)('gives pages back to the host and has them again when they are touched: %s', (_, backing, left) => {
    fs.writeFileSync(path.join(folder, 'old'), Buffer.alloc(32 * MIB, 3))
    const ram = allocate(32 * MIB, 'path' in backing ? { ...backing, path: backing.path === 'folder' ? folder : path.join(folder, backing.path) } : backing)
    const bytes = bytesOf(ram)
    bytes.fill(7)
    const before = residentAt(ram)
    expect(ram.discard(0, 0)).toBe(left)
    expect(ram.discard(8 * MIB, 16 * MIB)).toBe(left)
    expect(before - residentAt(ram)).toBeGreaterThanOrEqual(15 * MIB)
    const value = left === 'file' ? 3 : 0
    expect([bytes[8 * MIB - 1], bytes[8 * MIB], bytes[24 * MIB - 1], bytes[24 * MIB]]).toEqual([7, value, value, 7])
    bytes[9 * MIB] = 5
    expect(bytes[9 * MIB]).toBe(5)
  })

  it('that is locked stays', () => {
    const ram = allocate(2 * MIB)
    const lock = ffi().libraries.c.func('int mlock(uintptr_t address, size_t length)') as (address: number, length: number) => number
    expect(lock(ram.address, 4096)).toBe(0)
    expect(ram.discard(0, 4096)).toBe('kept')
  })

  it('that the address space has no room for is one line', () => {
    expect(() => allocateRam(2 ** 47)).toThrow(/^the host cannot reserve 134217728 MiB for the guest \(ENOMEM\); use a smaller -m, or raise the limit \(ulimit -v\)$/)
  })

  it('that a limit of the process forbids is one line; below it RAM does without the room that WebAssembly reserves around itself', async () => {
    expect(await inLimitedProcess(`
      const ram = allocateRam(64 * 2 ** 20)
      ram.views(0, 1)[0][0] = 1
      console.log(ram.views(0, 1)[0].buffer instanceof SharedArrayBuffer)
      try { allocateRam(6 * 2 ** 30) } catch (error) { console.log(error.code, error.message) }
    `)).toBe('false\nRAM_ALLOCATION the host cannot reserve 6144 MiB for the guest (ENOMEM); use a smaller -m, or raise the limit (ulimit -v)\n')
  })

  it.each([['below', 64 * MIB], ['above', 5 * GIB]])('shared, %s the size of a WebAssembly memory, is a sealed memfd that others can map', async (_, size) => {
    const ram = allocate(size, { share: true })
    const fd = ram.sharedFd as number
    const last = Buffer.alloc(1)
    bytesOf(ram)[4096] = 0xab
    fs.writeSync(fd, Uint8Array.of(0xcd), 0, 1, size - 1)
    fs.readSync(fd, last, 0, 1, 4096)
    expect(last[0]).toBe(0xab)
    expect(ram.views(size - 1, 1)[0]?.[0]).toBe(0xcd)
    expect(mappingAt(ram.address)).toMatchObject({ start: ram.address, end: ram.address + size, mode: 'rw-s', offset: 0, file: '/memfd:mesovirt-ram (deleted)' })
    expect(() => fs.ftruncateSync(fd, 0)).toThrow(/EPERM/)
    await ram.free()
    expect(() => fs.fstatSync(fd)).toThrow(/EBADF/)
    expect(mappings().filter(({ file }) => file.includes('mesovirt-ram'))).toEqual([])
  })

  it('in a folder is a file without a name: nobody else finds it, and nothing is left', async () => {
    const ram = allocate(16 * MIB, { path: folder })
    expect(fs.readdirSync(folder)).toEqual([])
    expect(mappingAt(ram.address)).toMatchObject({ mode: 'rw-p', file: expect.stringMatching(`^${folder}/.*\\(deleted\\)$`) as string })
    expect(ram.sharedFd).toBeUndefined()
    await ram.free()
    expect(openFiles().filter((name) => name.startsWith(folder))).toEqual([])
  })

  it('in a file is written to it when shared, and shows it copy-on-write otherwise', () => {
    const file = path.join(folder, 'ram')
    const shared = allocate(16 * MIB, { path: file, share: true })
    bytesOf(shared)[100] = 7
    expect(fs.statSync(file)).toMatchObject({ size: 16 * MIB, mode: 0o100600 })
    expect(fs.readFileSync(file)[100]).toBe(7)

    const copied = allocate(16 * MIB, { path: file })
    expect(bytesOf(copied)[100]).toBe(7)
    bytesOf(copied)[100] = 8
    expect([fs.readFileSync(file)[100], bytesOf(shared)[100]]).toEqual([7, 7])
    expect(mappingAt(copied.address)).toMatchObject({ mode: 'rw-p', file })
  })

  it('leaves a file that was there, and one made for a machine that ran; one made for nothing goes', async () => {
    const at = (name: string) => path.join(folder, name)
    fs.writeFileSync(at('empty'), '')
    for (const name of ['empty', 'made', 'ran']) {
      const ram = allocate(4 * MIB, { path: at(name), share: true })
      if (name === 'ran') ram.keepFile()
      await ram.free()
    }
    expect(fs.readdirSync(folder)).toEqual(['empty', 'ran'])
  })

  it('keeps its views usable, and empty, after it was given back inside a WebAssembly memory', async () => {
    const ram = allocate(4 * MIB, { share: true })
    const bytes = bytesOf(ram)
    bytes[0] = 1
    await ram.free()
    await ram.free()
    expect(bytes[0]).toBe(0)
  })

  it('preallocates every page, in both kinds of memory, and tells how far it is', async () => {
    for (const [size, backing] of [[64 * MIB, {}], [64 * MIB, { share: true }], [64 * MIB, { path: folder }]] as const) {
      const progress: number[] = []
      const ram = allocate(size, { ...backing, preallocate: true, onProgress: (done, total) => progress.push(done, total) })
      await ram.preallocate()
      const parts = mappings().filter(({ start, end }) => start < ram.address + size && ram.address < end)
      expect(parts.reduce((sum, part) => sum + part.bytes('Rss'), 0)).toBeGreaterThanOrEqual(size)
      expect(progress.slice(-2)).toEqual([size, size])
    }
  })

  it('that shall be preallocated and is more than the host has is refused before anything is touched', () => {
    const before = openFiles().length
    expect(() => allocateRam(2 ** 46, { preallocate: true, share: true }))
      .toThrow(/^-mem-prealloc: 67108864 MiB are needed, and (this host|the control group \(cgroup\) of this process) has \d+ MiB left; /)
    expect(openFiles()).toHaveLength(before)
  })
})

/** Runs a script in a process with a limited address space, of which Node itself needs about half. The script lies inside the package, where koffi is found. */
async function inLimitedProcess(script: string): Promise<string> {
  const file = path.join(import.meta.dirname, `../.cache/ram-test-${process.pid}.mjs`)
  const contents = `import { allocateRam } from ${JSON.stringify(path.join(import.meta.dirname, 'ram.ts'))}\n${script}`
  try {
    await build({ stdin: { contents, resolveDir: import.meta.dirname }, bundle: true, platform: 'node', format: 'esm', packages: 'external', outfile: file })
    const { stdout, stderr } = spawnSync('sh', ['-c', 'ulimit -v 4000000; exec "$@"', 'sh', process.execPath, file], { encoding: 'utf8' })
    expect(stderr).toBe('')
    return stdout
  } finally {
    fs.rmSync(file, { force: true })
  }
}

describe('mapping over a WebAssembly memory', () => {
  it.runIf(process.platform === 'linux' && canLoad('koffi'))('is tried out, and a host on which it only seems to work is recognised', () => {
    const { libc } = ffi()
    const bytes = new Uint8Array(new wasm.Memory({ initial: 2, maximum: 2, shared: true }).buffer)
    const tryOut = (calls: Partial<Libc>) => mapsOverMemory({ ...libc, ...calls }, addressOf(bytes), bytes)
    expect(tryOut({ mmap: () => -1 })).toBe(false)
    expect(tryOut({ mmap: (address) => address })).toBe(false)
    expect(tryOut({ memfd_create: () => -1 })).toBe(false)
    expect(tryOut({})).toBe(true)
  })
})
