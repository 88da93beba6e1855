import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { spawnSync } from 'node:child_process'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createPidFile } from './pidfile.ts'

let folder: string
let file: string
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-pidfile-'))
  file = path.join(folder, 'vm.pid')
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

describe('a pid file', () => {
  it('holds our process id, for the owner only, and goes away', () => {
    const cleanup = createPidFile(file)
    expect(fs.readFileSync(file, 'utf8')).toBe(`${process.pid}\n`)
    expect(fs.statSync(file).mode & 0o777).toBe(0o600)
    cleanup.run()
    expect(fs.existsSync(file)).toBe(false)
  })

  it('of a live process is left alone', () => {
    fs.writeFileSync(file, `${process.ppid}\n`)
    expect(() => createPidFile(file)).toThrowError(`-pidfile ${file}: process ${process.ppid} still runs; end it or use another file`)
    expect(fs.readFileSync(file, 'utf8')).toBe(`${process.ppid}\n`)
  })

  it('of a process that is gone is replaced', () => {
    const gone = spawnSync(process.execPath, ['-e', '']).pid
    fs.writeFileSync(file, `${gone}\n`)
    const cleanup = createPidFile(file)
    expect(fs.readFileSync(file, 'utf8')).toBe(`${process.pid}\n`)
    cleanup.run()
  })

  it.each(['', 'hello', '-1', '0', '12 34', 'x'.repeat(100)])('that holds %j is no pid file and is left alone', (text) => {
    fs.writeFileSync(file, text)
    expect(() => createPidFile(file)).toThrowError('exists and is no pid file; remove it or use another file')
    expect(fs.readFileSync(file, 'utf8')).toBe(text)
  })

  it('is never written through a symbolic link', () => {
    fs.symlinkSync(path.join(folder, 'target'), file)
    expect(() => createPidFile(file)).toThrowError('exists and is no pid file')
    expect(fs.existsSync(path.join(folder, 'target'))).toBe(false)
  })

  it('in a folder that does not exist is one line', () => {
    expect(() => createPidFile(path.join(folder, 'no/vm.pid'))).toThrowError(/cannot be created \(ENOENT\); check the path and its permissions$/)
  })

  it('of a successor stays when ours is undone', () => {
    const cleanup = createPidFile(file)
    fs.renameSync(file, `${file}.old`)
    fs.writeFileSync(file, '1\n')
    cleanup.run()
    expect(fs.readFileSync(file, 'utf8')).toBe('1\n')
  })
})
