import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LogSink } from './log-sink.ts'
import { closeLog, formatLine, levelFromEnvironment, logger, openLog } from './log.ts'

let folder: string
let file: string
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-log-'))
  file = path.join(folder, 'vm.log')
})
afterEach(() => {
  closeLog()
  fs.rmSync(folder, { recursive: true })
})

describe('the log', () => {
  it('has the line format that callers of StratoVirt look for', () => {
    expect(formatLine('info', 'lifecycle', 12, 'started', 1_767_225_600_123_456_789n))
      .toBe(`2026-01-01T00:00:00.123456789: [${process.pid}][${process.pid}][lifecycle: 12]: INFO: started\n`)
  })

  it('goes to the file, with the place of the call, for the owner and the group', () => {
    openLog({ kind: 'file', path: file }, {})
    logger('test').info('hello')
    logger('test').debug('unseen')
    expect(fs.readFileSync(file, 'utf8')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}: \[\d+\]\[\d+\]\[test: [1-9]\d*\]: INFO: hello\n$/)
    expect(fs.statSync(file).mode & 0o777 & ~0o027).toBe(0o640 & ~0o027)
  })

  it('keeps text of others on one line', () => {
    openLog({ kind: 'file', path: file }, {})
    logger('test').warn('a\nb\u001b[2J')
    expect(fs.readFileSync(file, 'utf8')).toMatch(/WARN: a\\x0ab\\x1b\[2J\n$/)
  })

  it.each<[NodeJS.ProcessEnv, string]>([
    [{}, 'info'], [{ MESOVIRT_LOG_LEVEL: 'debug' }, 'debug'], [{ STRATOVIRT_LOG_LEVEL: 'ERROR' }, 'error'],
    [{ MESOVIRT_LOG_LEVEL: 'warn', STRATOVIRT_LOG_LEVEL: 'trace' }, 'warn'], [{ MESOVIRT_LOG_LEVEL: 'loud' }, 'info'],
  ])('takes its level from %j: %s', (environment, level) => {
    expect(levelFromEnvironment(environment)).toBe(level)
  })

  it('that cannot be opened is one line', () => {
    expect(() => openLog({ kind: 'file', path: path.join(folder, 'no/vm.log') })).toThrowError(/^-D .*: cannot be opened \(ENOENT\); check the path and its permissions$/)
  })
})

describe('where the log goes', () => {
  it('a file becomes .1 when it is full, and seven are kept', () => {
    const sink = LogSink.file(file, 100)
    for (let number = 0; number < 10; number++) sink.write(`${String(number).padEnd(89)}\n`)
    sink.close()
    expect(fs.readdirSync(folder).sort()).toEqual(['vm.log', ...[1, 2, 3, 4, 5, 6, 7].map((number) => `vm.log.${number}`)])
    expect(fs.readFileSync(file, 'utf8')).toMatch(/^9 /)
    expect(fs.readFileSync(`${file}.7`, 'utf8')).toMatch(/^2 /)
  })

  it('what a full sink drops is counted and reported once it moves again', () => {
    let ready = false
    let text = ''
    const sink = new LogSink((bytes) => {
      if (!ready) throw Object.assign(new Error('full'), { code: 'EAGAIN' })
      text += Buffer.from(bytes).toString()
      return bytes.length
    }, () => undefined)
    const line = `${'x'.repeat(1023)}\n`
    for (let number = 0; number < 2000; number++) sink.write(line)
    expect(sink.lost).toBe(2000 - 1024)
    ready = true
    sink.write('dropped, but it moves the rest\n'.padEnd(2000))
    expect(sink.lost).toBe(2000 - 1024 + 1)
    sink.close()
    expect(text).toBe(line.repeat(1024))
    sink.write('next\n')
    expect(text.slice(1024 * 1024)).toBe('(977 log lines lost: nobody read them)\nnext\n')
  })

  it('a pipe that nobody reads does not block', () => {
    const pipe = path.join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    const reader = fs.openSync(pipe, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
    const writer = fs.openSync(pipe, fs.constants.O_WRONLY)
    const sink = LogSink.descriptor(writer)
    for (let number = 0; number < 3000; number++) sink.write(`${'y'.repeat(1023)}\n`)
    expect(sink.lost).toBeGreaterThan(0)
    sink.close()
    fs.closeSync(reader)
    fs.closeSync(writer)
  })

  it('a closed pipe loses lines and nothing else', () => {
    const sink = new LogSink(() => {
      throw Object.assign(new Error('broken'), { code: 'EPIPE' })
    }, () => undefined)
    sink.write('a\n')
    expect(sink.lost).toBe(1)
    sink.close()
  })
})
