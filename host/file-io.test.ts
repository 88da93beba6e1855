import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { steadyAddressOf } from './ffi.ts'
import { copyIn, copyOut, firstPart, withoutFirst } from './file-io.ts'
import type { FileIo, FileOperation } from './file-io.ts'
import { NativeFileIo } from './file-io-native.ts'
import { optionalLibc, ThreadsFileIo } from './file-io-threads.ts'
import { UringFileIo } from './file-io-uring.ts'
import { lockImage } from './file-lock.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-io-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))
const file = path.join(folder, 'image')
const SIZE = 1 << 20
const PAGE = 4096
const EBADF = 9

const WAYS: readonly (readonly [string, boolean, () => FileIo])[] = [
  ['threads', false, () => new ThreadsFileIo({ libc: optionalLibc() })],
  ['threads without native code', false, () => new ThreadsFileIo()],
  ['threads', true, () => new ThreadsFileIo({ direct: true, libc: optionalLibc() })],
  ['io_uring', false, () => new UringFileIo()],
  ['io_uring', true, () => new UringFileIo()],
  ['native', true, () => new NativeFileIo()],
]

/** Memory that begins on a page. */
function pages(count: number): Uint8Array {
  const bytes = new Uint8Array(new SharedArrayBuffer((count + 1) * PAGE))
  const skip = (PAGE - steadyAddressOf(bytes) % PAGE) % PAGE
  return bytes.subarray(skip, skip + count * PAGE)
}

describe.each(WAYS)('file operations by %s, direct %s', (_name, direct, make) => {
  let io: FileIo
  let fd: number
  beforeEach(() => {
    fs.writeFileSync(file, Buffer.from(Array.from({ length: SIZE }, (_, index) => (index >> 9) & 0xff)))
    io = make()
    fd = fs.openSync(file, fs.constants.O_RDWR | (direct ? fs.constants.O_DIRECT : 0))
  })
  afterEach(async () => {
    await io.close()
    fs.closeSync(fd)
  })

  const run = (operation: Omit<FileOperation, 'done' | 'fd' | 'length'> & { fd?: number; length?: number }) => new Promise<number>((resolve) => {
    io.submit({ fd, length: operation.buffers.reduce((sum, { length }) => sum + length, 0), ...operation, done: resolve })
  })

  it('read and write in pieces, at positions', async () => {
    const data = pages(4)
    data.fill(0xa5)
    expect(await run({ kind: 'write', position: 8192, buffers: [data.subarray(0, 4096), data.subarray(8192, 12_288)] })).toBe(8192)
    const back = pages(4)
    expect(await run({ kind: 'read', position: 4096, buffers: [back.subarray(4096, 8192), back.subarray(0, 4096), back.subarray(8192)] })).toBe(16_384)
    expect(back[4096]).toBe(8)
    expect(back.subarray(0, 4096).every((byte) => byte === 0xa5)).toBe(true)
    expect(back.subarray(8192, 12_288).every((byte) => byte === 0xa5)).toBe(true)
    expect(back[12_288]).toBe(32)
  })

  it('tell the end of the file, and errors', async () => {
    expect(await run({ kind: 'read', position: SIZE - PAGE, buffers: [pages(2)] })).toBe(PAGE)
    expect(await run({ kind: 'read', position: SIZE, buffers: [pages(1)] })).toBe(0)
    expect(await run({ kind: 'flush', position: 0, buffers: [] })).toBe(0)
    expect(await run({ kind: 'write', position: 0, buffers: [pages(1)], fd: 9999 })).toBe(-EBADF)
  })

  it('are many at once, each with its own data', async () => {
    const buffers = Array.from({ length: 500 }, () => pages(1))
    const results = await Promise.all(buffers.map((buffer, index) => run({ kind: 'read', position: (index % 256) * PAGE, buffers: [buffer] })))
    expect(results.every((result) => result === PAGE)).toBe(true)
    expect(buffers.every((buffer, index) => buffer[0] === (((index % 256) * 8) & 0xff))).toBe(true)
  })

  it('touch no buffer any more once they are settled', async () => {
    const buffers = Array.from({ length: 200 }, () => pages(4))
    for (const [index, buffer] of buffers.entries()) io.submit({ kind: 'read', fd, position: (index % 64) * 16_384 + PAGE, length: 16_384, buffers: [buffer], done: () => undefined })
    io.commit()
    io.settle()
    for (const buffer of buffers) buffer.fill(0xee)
    await run({ kind: 'flush', position: 0, buffers: [] })
    expect(buffers.every((buffer) => buffer.every((byte) => byte === 0xee))).toBe(true)
  })

  it('never let what was settled overtake what comes after it', async () => {
    for (let round = 0; round < 20; round++) {
      const old = pages(1)
      const fresh = pages(1)
      old.fill(1)
      fresh.fill(2)
      for (let count = 0; count < 8; count++) io.submit({ kind: 'write', fd, position: 0, length: PAGE, buffers: [old], done: () => undefined })
      io.commit()
      io.settle()
      expect(await run({ kind: 'write', position: 0, buffers: [fresh] })).toBe(PAGE)
      await new Promise((resolve) => setImmediate(resolve))
      expect(fs.readFileSync(file)[0]).toBe(2)
    }
  })

  it('make a range zero, or say that they cannot', async () => {
    const result = await run({ kind: 'punch', position: 8192, buffers: [], length: 8192 })
    if (result === 0) expect(fs.readFileSync(file).subarray(8192, 16_384).every((byte) => byte === 0)).toBe(true)
    else expect(result).toBe(-os.constants.errno.EOPNOTSUPP)
  })
})

describe('runs of bytes', () => {
  const run = [Uint8Array.of(1, 2, 3), Uint8Array.of(4), Uint8Array.of(5, 6)]
  it.each([0, 1, 3, 4, 5, 6])('are cut after %i bytes', (count) => {
    const all = [1, 2, 3, 4, 5, 6]
    expect(withoutFirst(run, count).flatMap((bytes) => [...bytes])).toEqual(all.slice(count))
    expect(firstPart(run, count).flatMap((bytes) => [...bytes])).toEqual(all.slice(0, count))
    const into = new Uint8Array(count)
    copyIn(run, into)
    expect([...into]).toEqual(all.slice(0, count))
    const pieces = [new Uint8Array(2), new Uint8Array(4)]
    copyOut(into, pieces)
    expect(pieces.flatMap((bytes) => [...bytes])).toEqual([...all.slice(0, count), ...Array<number>(6 - count).fill(0)])
  })
})

describe('locks of images', () => {
  const open = () => fs.openSync(file, 'r+')
  it.each([[true, true, 'in-use'], [true, false, 'in-use'], [false, true, 'in-use'], [false, false, 'locked']] as const)('after a writer=%s, a writer=%s finds it %s', (first, second, expected) => {
    fs.writeFileSync(file, '')
    const one = open(), other = open()
    expect(lockImage(one, first)).toBe('locked')
    expect(lockImage(other, second)).toBe(expected)
    fs.closeSync(one)
    expect(lockImage(other, second)).toBe('locked')
    fs.closeSync(other)
  })
})
