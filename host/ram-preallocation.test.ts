import os from 'node:os'
import { expect, test } from 'vitest'
import { checkRoom, RamPreallocation } from './ram-preallocation.ts'
import type { Advise } from './ram-preallocation.ts'

const MIB = 2 ** 20, GIB = 2 ** 30
const MADV_POPULATE_WRITE = 23
const EHWPOISON = 133
const { EINVAL, ENOMEM, EFAULT, EAGAIN } = os.constants.errno

const ADDRESS = 0x7000_0000_0000

interface Details { readonly pageSize?: number; readonly signal?: AbortSignal; readonly onProgress?: (done: number) => void }

function preallocation(size: number, advise: Advise, { pageSize = 4096, signal, onProgress }: Details = {}) {
  const bytes = new Uint8Array(new SharedArrayBuffer(Math.min(size, 64 * MIB)))
  const ram = { address: ADDRESS, size, pageSize, views: (offset: number, length: number) => [bytes.subarray(offset, offset + length)] }
  const job = new RamPreallocation(ram, { signal, onProgress }, advise)
  return { job, bytes }
}

test('the kernel is asked for every page once, in whole pages', async () => {
  for (const [size, pageSize] of [[100 * MIB + 4096, 4096], [3 * GIB, GIB]] as const) {
    const asked: { from: number; to: number }[] = []
    const { job } = preallocation(size, async (address, length, advice) => {
      expect(advice).toBe(MADV_POPULATE_WRITE)
      asked.push({ from: address - ADDRESS, to: address - ADDRESS + length })
      return 0
    }, { pageSize })
    await job.run()
    asked.sort((a, b) => a.from - b.from)
    expect(asked.reduce((end, { from, to }) => {
      expect(from).toBe(end)
      expect(from % pageSize).toBe(0)
      return to
    }, 0)).toBe(size)
  }
})

test('several threads work at once', async () => {
  let atWork = 0, most = 0
  const { job } = preallocation(256 * MIB, async () => {
    most = Math.max(most, ++atWork)
    await new Promise((resolve) => { setImmediate(resolve) })
    atWork--
    return 0
  })
  await job.run()
  expect(most).toBe(Math.min(4, os.availableParallelism()))
})

test('a kernel that cannot do it has its pages touched, and their content stays', async () => {
  const { job, bytes } = preallocation(40 * MIB, async () => EINVAL)
  bytes.fill(0x5a)
  await job.run()
  expect(bytes.every((byte) => byte === 0x5a)).toBe(true)
})

test('what is busy for a moment is asked again', async () => {
  let calls = 0
  const { job } = preallocation(16 * MIB, async () => ++calls < 3 ? EAGAIN : 0)
  await job.run()
  expect(calls).toBe(3)
})

test.each([
  [ENOMEM, 'the host is out of memory'], [EFAULT, 'what backs it is full'], [EHWPOISON, 'a page of this host is broken'],
])('errno %i is one line: %s', async (errno, why) => {
  let given = 0
  const { job } = preallocation(GIB, async () => given++ < 4 ? 0 : errno)
  const line = new RegExp(`^-mem-prealloc: \\d+ MiB of 1024 MiB were given, then no more \\(${why}\\); use a smaller -m, or leave -mem-prealloc out$`)
  await expect(job.run()).rejects.toThrow(line)
  expect(given).toBeLessThan(16)
})

test('progress grows to the whole size', async () => {
  const seen: number[] = []
  const { job } = preallocation(100 * MIB, async () => 0, { onProgress: (done) => seen.push(done) })
  await job.run()
  expect(seen.at(-1)).toBe(100 * MIB)
  expect(seen).toEqual([...seen].sort((a, b) => a - b))
})

test('stops in the middle: whoever waits goes on, and afterwards nothing touches the memory', async () => {
  let calls = 0
  const release: (() => void)[] = []
  const { job } = preallocation(GIB, () => {
    calls++
    return new Promise((resolve) => { release.push(() => resolve(0)) })
  })
  const running = job.run()
  const stopped = job.stop()
  release.forEach((go) => go())
  await stopped
  await running
  expect(calls).toBeLessThanOrEqual(4)
})

test('a signal stops it too', async () => {
  const quit = new AbortController()
  let calls = 0
  const { job } = preallocation(GIB, async () => {
    if (++calls === 3) quit.abort()
    return 0
  }, { signal: quit.signal })
  await job.run()
  expect(calls).toBeLessThan(8)
})

test('more than there is room for is refused with both figures', () => {
  expect(() => checkRoom(GIB, { bytes: GIB, limit: 'host' })).not.toThrow()
  expect(() => checkRoom(GIB, undefined)).not.toThrow()
  expect(() => checkRoom(2 * GIB, { bytes: GIB, limit: 'host' }))
    .toThrow('-mem-prealloc: 2048 MiB are needed, and this host has 1024 MiB left; use a smaller -m, or leave -mem-prealloc out')
  expect(() => checkRoom(2 * GIB, { bytes: GIB, limit: 'control group' })).toThrow(/the control group \(cgroup\) of this process has 1024 MiB left/)
})
