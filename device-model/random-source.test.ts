import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { openRandomSource } from './random-source.ts'
import type { RandomSource } from './random-source.ts'

const folders: string[] = []
afterEach(() => folders.splice(0).forEach((folder) => fs.rmSync(folder, { recursive: true, force: true })))

function scratch(name: string): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mv-rng-'))
  folders.push(folder)
  return path.join(folder, name)
}

const read = (source: RandomSource, length: number) => new Promise<Uint8Array>((resolve) => source.read(length, resolve))
const silent = () => undefined

describe('a source of random bytes', () => {
  it.each([
    ['a device', { kind: 'rng-random', id: 'r', filename: '/dev/urandom' }], ['the system', { kind: 'rng-builtin', id: 'r' }],
  ] as const)('reads %s', async (_, config) => {
    const source = openRandomSource(config, silent)
    const [first, second] = await Promise.all([read(source, 256), read(source, 256)])
    expect([first.length, second.length]).toEqual([256, 256])
    expect(Buffer.compare(first, second)).not.toBe(0)
    expect(new Set(first).size).toBeGreaterThan(64)
    await source.close()
  })

  it('waits for a source that has nothing, without holding a thread, and takes what comes', async () => {
    const fifo = scratch('fifo')
    expect(spawnSync('mkfifo', [fifo]).status).toBe(0)
    const source = openRandomSource({ kind: 'rng-random', id: 'r', filename: fifo }, silent)
    const waiting = Array.from({ length: 8 }, () => read(source, 4)) // more than libuv has threads
    await fs.promises.readFile(import.meta.filename) // which are free
    const writer = await fs.promises.open(fifo, 'w')
    await writer.write(Buffer.alloc(32, 7))
    expect(await Promise.all(waiting)).toEqual(waiting.map(() => Uint8Array.of(7, 7, 7, 7)))
    await writer.close()
    await source.close()
  })

  it('ends while somebody waits', async () => {
    const fifo = scratch('fifo')
    spawnSync('mkfifo', [fifo])
    const source = openRandomSource({ kind: 'rng-random', id: 'r', filename: fifo }, silent)
    source.read(4, () => { throw new Error('called after close') })
    await source.close()
  })

  it.each([
    ['a file that is not there', () => '/nonexistent/random', /cannot be opened \(ENOENT/], ['a folder', () => os.tmpdir(), /is no character device/],
    ['an ordinary file, whose bytes would be the same each time', () => import.meta.filename, /is no character device/],
  ])('is not %s', (_, filename, message) => {
    expect(() => openRandomSource({ kind: 'rng-random', id: 'r', filename: filename() }, silent)).toThrow(
      expect.objectContaining({ code: 'RNG_SOURCE', message: expect.stringMatching(message) as string }))
  })
})
