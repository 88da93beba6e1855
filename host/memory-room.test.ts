import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { memoryRoom } from './memory-room.ts'

const KIB = 1024, MIB = 2 ** 20

let root: string
beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-room-'))
})
afterEach(() => fs.rmSync(root, { recursive: true }))

function write(name: string, text: string): void {
  const file = path.join(root, name)
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, text)
}

const MEMINFO = 'MemTotal:        8000 kB\nMemFree:         1000 kB\nMemAvailable:    5000 kB\nSwapFree:         100 kB\n'

test('is what the host has available, with its swap', () => {
  write('proc/meminfo', MEMINFO)
  expect(memoryRoom(root)).toEqual({ bytes: 5100 * KIB, limit: 'host' })
})

test('a host that does not say has no limit', () => {
  expect(memoryRoom(root)).toBeUndefined()
})

test('a control group of version 2 limits what is below it; page cache that can go counts as room', () => {
  write('proc/meminfo', 'MemAvailable: 8000000 kB\n')
  write('proc/self/cgroup', '0::/machines/one\n')
  write('sys/fs/cgroup/machines/memory.max', `${100 * MIB}\n`)
  write('sys/fs/cgroup/machines/memory.current', `${40 * MIB}\n`)
  write('sys/fs/cgroup/machines/memory.stat', `anon 1\ninactive_file ${10 * MIB}\nactive_file ${20 * MIB}\n`)
  write('sys/fs/cgroup/machines/one/memory.max', 'max\n')
  write('sys/fs/cgroup/machines/one/memory.current', '5\n')
  expect(memoryRoom(root)).toEqual({ bytes: 70 * MIB, limit: 'control group' })
})

test('so does one of version 1, whose place inside a container is the mount itself', () => {
  write('proc/meminfo', 'MemAvailable: 8000000 kB\n')
  write('proc/self/cgroup', '5:cpu:/x\n4:memory:/docker/abc\n0::/\n')
  write('sys/fs/cgroup/memory/memory.limit_in_bytes', `${64 * MIB}\n`)
  write('sys/fs/cgroup/memory/memory.usage_in_bytes', `${60 * MIB}\n`)
  write('sys/fs/cgroup/memory/memory.stat', `inactive_file 1\ntotal_inactive_file ${MIB}\n`)
  expect(memoryRoom(root)).toEqual({ bytes: 5 * MIB, limit: 'control group' })
})

test('a group over its limit has no room, and none less', () => {
  write('proc/meminfo', 'MemAvailable: 8000000 kB\n')
  write('proc/self/cgroup', '0::/\n')
  write('sys/fs/cgroup/memory.max', '1000\n')
  write('sys/fs/cgroup/memory.current', '2000\n')
  expect(memoryRoom(root)).toEqual({ bytes: 0, limit: 'control group' })
})

test('on this host there is some', () => {
  if (process.platform === 'linux') expect(memoryRoom()?.bytes).toBeGreaterThan(MIB)
})
