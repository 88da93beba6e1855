import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { expect, test } from 'vitest'
import { openChardev } from './open.ts'
import { openPty } from './pty.ts'

const hasNodePty = await import('node-pty').then(() => true, () => false)

async function readAvailable(fd: number, expected: number): Promise<string> {
  const into = Buffer.alloc(65536)
  let length = 0
  while (length < expected) {
    try {
      length += readSync(fd, into, length, into.length - length, null)
    } catch {
      await new Promise((next) => setTimeout(next, 1))
    }
  }
  return into.toString('latin1', 0, length)
}

test('a pty carries bytes both ways unchanged and without echo; without node-pty the error says how to get it', async () => {
  if (!hasNodePty) {
    await expect(openChardev({ kind: 'pty', label: 'serial0' })).rejects.toMatchObject({ code: 'CHARDEV_PTY', message: expect.stringContaining('node-pty') })
    return
  }
  const backend = await openChardev({ kind: 'pty', label: 'serial0' })
  const slave = openSync(backend.filename.replace('pty:', ''), constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK)
  let input = ''
  backend.onInput((bytes) => {
    input += Buffer.from(bytes).toString('latin1')
  })

  backend.write(Buffer.from('login:\r\n\x03\x04'))
  const output = await readAvailable(slave, 10)
  writeSync(slave, 'root\n\r\x03')
  await new Promise((next) => setTimeout(next, 20))
  const held = input
  backend.setFlow(true)
  while (input.length < 7) await new Promise((next) => setTimeout(next, 1))
  closeSync(slave)
  await backend.close()

  expect(backend.filename).toMatch(/^pty:\/dev\//)
  expect(output).toBe('login:\r\n\x03\x04')
  expect(held).toBe('')
  expect(input).toBe('root\n\r\x03')
})

test('a missing node-pty is a clear error', async () => {
  const missing = () => Promise.reject(new Error('Cannot find package'))

  await expect(openPty('serial0', missing)).rejects.toMatchObject({ code: 'CHARDEV_PTY', message: expect.stringContaining('npm install node-pty') })
})

test('a pty that nobody reads loses the oldest output and never blocks', async () => {
  if (!hasNodePty) return expect(openPty('serial0')).rejects.toMatchObject({ code: 'CHARDEV_PTY' })
  const backend = await openChardev({ kind: 'pty', label: 'serial0' }) as Awaited<ReturnType<typeof openChardev>> & { dropped: number }

  for (let i = 0; i < 3; i++) backend.write(new Uint8Array(1024 * 1024))
  const dropped = backend.dropped
  await backend.close()

  expect(dropped).toBeGreaterThan(1024 * 1024)
})
