import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openChardev } from './open.ts'

let folder: string
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'chardev-pipe-')) })
afterEach(() => rmSync(folder, { recursive: true }))

const mkfifo = (name: string) => execFileSync('mkfifo', [join(folder, name)])
const open = (name: string) => openChardev({ kind: 'pipe', label: 'c', path: join(folder, name) })

it('reads NAME.in and writes NAME.out, holds input until it is wanted, and lives on when peers leave', async () => {
  mkfifo('p.in')
  mkfifo('p.out')
  const backend = await open('p')
  let seen = ''
  backend.onInput((bytes) => { seen += Buffer.from(bytes).toString() })
  const until = async (text: string) => { while (seen !== text) await new Promise((next) => setTimeout(next, 1)) }
  for (const text of ['one', 'onetwo']) {
    const toUs = openSync(join(folder, 'p.in'), constants.O_WRONLY | constants.O_NONBLOCK)
    writeSync(toUs, text.slice(-3))
    closeSync(toUs)
    if (text === 'one') {
      await new Promise((next) => setTimeout(next, 20))
      expect(seen).toBe('')
      backend.setFlow(true)
    }
    await until(text)
  }
  const fromUs = openSync(join(folder, 'p.out'), constants.O_RDONLY | constants.O_NONBLOCK)
  backend.write(Buffer.from('out'))
  const into = Buffer.alloc(8)
  expect(into.subarray(0, readSync(fromUs, into)).toString()).toBe('out')
  closeSync(fromUs)
  await backend.close()
})

it('refuses what is no FIFO, with what to do', async () => {
  writeFileSync(join(folder, 'file'), '')
  await expect(open('file')).rejects.toMatchObject({ code: 'CHARDEV_PIPE', message: expect.stringContaining('it is no FIFO') })
  await expect(open('none')).rejects.toMatchObject({ code: 'CHARDEV_PIPE', message: expect.stringMatching(/ENOENT.*mkfifo/) })
})
