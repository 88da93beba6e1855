import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FileBackend } from './file.ts'
import { openChardev } from './open.ts'

const MIB = 1024 * 1024
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chardev-file-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

test('a file is emptied first, unless append is on', async () => {
  const path = join(folder, 'console.log')
  writeFileSync(path, 'old ')

  const appending = await openChardev({ kind: 'file', label: 'serial0', path, append: true })
  appending.write(Buffer.from('more'))
  await appending.close()
  const appended = readFileSync(path, 'utf8')
  const emptying = await openChardev({ kind: 'file', label: 'serial0', path })
  emptying.write(Buffer.from('new'))
  await emptying.close()

  expect(appended).toBe('old more')
  expect(readFileSync(path, 'utf8')).toBe('new')
  expect(emptying.filename).toBe('file')
})

test('a path that cannot be written is one clear error', async () => {
  const fifo = join(folder, 'fifo')
  execFileSync('mkfifo', [fifo])
  const open = (path: string) => openChardev({ kind: 'file', label: 'serial0', path })

  await expect(open(folder)).rejects.toMatchObject({ code: 'CHARDEV_FILE', message: expect.stringContaining('directory') })
  await expect(open(join(folder, 'no', 'file'))).rejects.toMatchObject({ code: 'CHARDEV_FILE', message: expect.stringContaining('create') })
  await expect(open(fifo)).rejects.toMatchObject({ code: 'CHARDEV_FILE', message: expect.stringContaining('reader') })
})

test('a reader that stops reading makes the oldest output go, never the machine wait', async () => {
  const fifo = join(folder, 'fifo')
  execFileSync('mkfifo', [fifo])
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
  const backend = new FileBackend({ label: 'serial0', path: fifo })
  const block = Buffer.alloc(MIB)

  for (let i = 0; i < 4; i++) backend.write(block.fill(i))
  const dropped = backend.dropped
  const draining = backend.close()
  let last = -1
  let total = 0
  const into = Buffer.alloc(MIB)
  for (let idle = 0; idle < 20;) {
    try {
      const count = readSync(reader, into)
      if (count === 0) break
      total += count
      last = into[count - 1] ?? -1
      idle = 0
    } catch {
      idle++
      await new Promise((next) => setTimeout(next, 5))
    }
  }
  await draining
  closeSync(reader)

  expect(dropped).toBeGreaterThan(2 * MIB)
  expect(total + dropped).toBe(4 * MIB)
  expect(last).toBe(3)
})

test('a full device loses output with one line in the log', async () => {
  const lines: string[] = []
  const backend = new FileBackend({ label: 'serial0', path: '/dev/full', log: (line) => lines.push(line) })

  backend.write(Buffer.from('a'))
  backend.write(Buffer.from('b'))
  await backend.close()

  expect(lines).toHaveLength(1)
  expect(lines[0]).toContain('ENOSPC')
})

test('null swallows output and is always connected', async () => {
  const backend = await openChardev({ kind: 'null', label: 'serial0' })

  backend.write(Buffer.from('x'))
  await backend.close()

  expect([backend.label, backend.filename, backend.connected]).toEqual(['serial0', 'null', true])
})
