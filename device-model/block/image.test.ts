import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { VirtualClock } from '../clock.ts'
import type { BlockImageConfig } from './config.ts'
import { BlockImage } from './image.ts'
import type { Throttle } from './throttle.ts'

const KIB = 1024, MIB = 2 ** 20
const PLAIN: BlockImageConfig = {
  id: 'd0', filename: '', readOnly: false, aio: 'threads', direct: false, noFlush: false, discard: 'unmap', detectZeroes: 'off', locking: 'auto',
}
const HAS_QEMU = spawnSync('qemu-img', ['--version']).status === 0

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-image-'))
const filename = path.join(folder, 'image')
const open: BlockImage[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((image) => image.close()))
  fs.rmSync(filename, { force: true })
})

function openImage(config: Partial<BlockImageConfig> = {}, { size = MIB, clock = new VirtualClock(), groups = new Map<string, Throttle>() } = {}): BlockImage {
  if (!fs.existsSync(filename)) fs.writeFileSync(filename, Buffer.alloc(size, 7))
  const image = BlockImage.open({ ...PLAIN, filename, ...config }, { clock, throttleGroups: groups })
  open.push(image)
  return image
}

const bytes = (length: number, value: number) => new Uint8Array(new SharedArrayBuffer(length)).fill(value)
const write = (image: BlockImage, position: number, ...buffers: Uint8Array[]) =>
  new Promise<number>((resolve) => image.write(position, buffers, buffers.reduce((sum, { length }) => sum + length, 0), resolve))
const read = (image: BlockImage, position: number, ...buffers: Uint8Array[]) =>
  new Promise<number>((resolve) => image.read(position, buffers, buffers.reduce((sum, { length }) => sum + length, 0), resolve))
const blocks = () => fs.statSync(filename).blocks

describe.each(['threads', 'io_uring'] as const)('an image by %s', (aio) => {
  it.each([['off', 'unmap', false], ['on', 'unmap', false], ['unmap', 'unmap', true], ['unmap', 'ignore', false]] as const)('with detect-zeroes=%s and discard=%s gives room back for zeros: %s', async (detectZeroes, discard, gives) => {
    const image = openImage({ aio, detectZeroes, discard })
    const before = blocks()
    expect(await write(image, 64 * KIB, bytes(128 * KIB, 0), bytes(64 * KIB, 0))).toBe(0)
    expect(blocks() < before).toBe(gives)
    expect(fs.readFileSync(filename).subarray(64 * KIB, 256 * KIB).every((byte) => byte === 0)).toBe(true)
    expect(fs.readFileSync(filename)[256 * KIB]).toBe(7)
  })

  it('finds zeros only where there is nothing else', async () => {
    const image = openImage({ aio, detectZeroes: 'unmap' })
    const almost = bytes(64 * KIB, 0)
    almost[40_000] = 1
    expect(await write(image, 0, almost)).toBe(0)
    expect(fs.readFileSync(filename)[40_000]).toBe(1)
  })

  it('moves more than one transfer takes', async () => {
    const image = openImage({ aio }, { size: 8 * MIB })
    const all = bytes(6 * MIB, 0)
    for (let at = 0; at < all.length; at += 4096) all[at] = (at >> 12) & 0xff
    expect(await write(image, 4096, all)).toBe(0)
    const back = bytes(6 * MIB, 0xff)
    expect(await read(image, 4096, back.subarray(0, 5), back.subarray(5))).toBe(0)
    expect(Buffer.compare(all, back)).toBe(0)
  })

  it('with O_DIRECT takes buffers and lengths of any kind', async () => {
    const image = openImage({ aio, direct: true }, { size: 4 * MIB })
    const odd = bytes(3 * MIB + 1, 0).subarray(1)
    for (let at = 0; at < odd.length; at += 1000) odd[at] = at & 0xff
    expect(await write(image, 512, odd.subarray(0, 777), odd.subarray(777, 2 * MIB))).toBe(0)
    const back = bytes(2 * MIB + 3, 1).subarray(3)
    expect(await read(image, 512, back)).toBe(0)
    expect(Buffer.compare(odd.subarray(0, 2 * MIB), back)).toBe(0)
  })

  it('tells errors of the host by their number', async () => {
    const image = openImage({ aio, readOnly: true })
    expect(await write(image, 0, bytes(512, 1))).toBe(9) // EBADF
    expect(image.statistics).toMatchObject({ failedWrites: 1, writes: 0 })
  })

  it('counts what it did', async () => {
    const image = openImage({ aio })
    await write(image, 4096, bytes(1024, 1))
    await read(image, 0, bytes(512, 0))
    await new Promise((resolve) => image.flush(resolve))
    expect(image.statistics).toMatchObject({ writes: 1, writtenBytes: 1024, reads: 1, readBytes: 512, flushes: 1, highestWritten: 5120 })
  })

  it('holds back what comes while it is held', async () => {
    const image = openImage({ aio })
    await image.hold()
    let done = false
    const late = write(image, 0, bytes(512, 9)).then(() => { done = true })
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect([done, fs.readFileSync(filename)[0]]).toEqual([false, 7])
    image.release()
    await late
    expect(fs.readFileSync(filename)[0]).toBe(9)
  })
})

describe('limits of images', () => {
  it('are shared in a group', async () => {
    const clock = new VirtualClock()
    const groups = new Map<string, Throttle>()
    const options = { throttle: { opsTotal: { average: 10 } }, throttleGroup: 'g', readOnly: true }
    const one = openImage(options, { clock, groups }), other = openImage(options, { clock, groups })
    const done: string[] = []
    for (let count = 0; count < 2; count++) {
      void read(one, 0, bytes(512, 0)).then(() => done.push('one'))
      void read(other, 0, bytes(512, 0)).then(() => done.push('other'))
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(done).toEqual(['one', 'other'])
    clock.advance(1_000_000_000n)
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(done).toHaveLength(4)
  })
})

describe('a file that is used', () => {
  it('is refused to a second writer, and free again when the first is closed', async () => {
    const image = openImage()
    expect(() => openImage()).toThrow(expect.objectContaining({ code: 'DISK_LOCK' }))
    expect(() => openImage({ readOnly: true })).toThrow(expect.objectContaining({ code: 'DISK_LOCK' }))
    expect(openImage({ locking: 'off', readOnly: true }).size).toBe(MIB)
    await image.close()
    open.splice(0, 1)
    expect(openImage().size).toBe(MIB)
  })

  it.runIf(HAS_QEMU)('is refused to QEMU\'s tools as well [where qemu-img is there]', () => {
    const check = (...args: string[]) => spawnSync('qemu-io', ['-f', 'raw', ...args, '-c', 'read 0 512', filename], { encoding: 'utf8' })
    const image = openImage()
    expect(check().stderr + check().stdout).toMatch(/Failed to get|Is another process using the image/)
    expect(image.size).toBe(MIB)
  })

  it.runIf(HAS_QEMU)('by readers is free for QEMU\'s readers, and not for its writers [where qemu-img is there]', () => {
    openImage({ readOnly: true })
    expect(spawnSync('qemu-io', ['-f', 'raw', '-r', '-c', 'read 0 512', filename], { encoding: 'utf8' }).stdout).toMatch(/read 512\/512/)
    const writer = spawnSync('qemu-io', ['-f', 'raw', '-c', 'write 0 512', filename], { encoding: 'utf8' })
    expect(writer.stderr + writer.stdout).toMatch(/Failed to get/)
    expect(fs.readFileSync(filename)[0]).toBe(7)
  })
})
