import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { QmpClient } from '../../machine-manager/qmp/client.ts'
import { QmpServer } from '../../machine-manager/qmp/server.ts'
import { TestMachine } from '../../machine-manager/qmp/test-machine.ts'
import { parseMonitorAddress } from './address.ts'
import { runBatch } from './batch.ts'
import { addQmpCommand } from './command.ts'
import { complete } from './complete.ts'
import { History, historyPath } from './history.ts'
import { runInteractive } from './interactive.ts'
import { harmless, renderValue, wantsColour } from './render.ts'
import { parseRequest } from './request.ts'

describe('the address', () => {
  it.each([
    ['vm.sock', { unix: 'vm.sock' }], ['/run/a:b/vm.sock', { unix: '/run/a:b/vm.sock' }], ['unix:vm.sock,server,nowait', { unix: 'vm.sock' }],
    ['localhost:4444', { host: 'localhost', port: 4444 }], ['tcp:127.0.0.1:1,server=on,wait=off', { host: '127.0.0.1', port: 1 }],
    ['[::1]:65535', { host: '::1', port: 65535 }], [':4444', { host: '127.0.0.1', port: 4444 }],
  ])('%s is understood', (text, address) => {
    expect(parseMonitorAddress(text)).toEqual(address)
  })

  it.each(['', 'tcp:', 'tcp:host', 'host:0', 'host:99999'])('"%s" is refused', (text) => {
    expect(() => parseMonitorAddress(text)).toThrow(expect.objectContaining({ code: 'QMP_ADDRESS' }) as Error)
  })
})

describe('a typed line', () => {
  it.each<[string, object | undefined]>([
    ['', undefined], ['  # comment', undefined],
    ['query-status', { execute: 'query-status' }],
    ['device_add id=a n=5 on=true none=null neg=-1.5 word=0x10 text="5 6" single=\'a "b"\' list=[1, "2"] deep.a.b={"c": 1} empty=',
      { execute: 'device_add', arguments: { id: 'a', n: 5, on: true, none: null, neg: -1.5, word: '0x10', text: '5 6', single: 'a "b"', list: [1, '2'], deep: { a: { b: { c: 1 } } }, empty: '' } }],
    ['hmp  info registers -a', { execute: 'human-monitor-command', arguments: { 'command-line': 'info registers -a' } }],
    ["{'execute': 'stop', 'id': 1}", { execute: 'stop', id: 1 }],
  ])('%j becomes a request', (line, request) => {
    expect(JSON.stringify(parseRequest(line)?.request)).toEqual(JSON.stringify(request))
  })

  it.each(['stop now', 'stop a=1 a=2', 'stop a=1 a.b=2', 'stop a="x', 'stop a="x"y', 'stop .a=1', '{"execute":"stop"', '{} {}', '{"a" 1}'])('%j is refused', (line) => {
    expect(() => parseRequest(line)).toThrow(expect.objectContaining({ code: 'QMP_INPUT' }) as Error)
  })
})

describe('completion', () => {
  const names = ['query-status', 'query-name', 'quit', 'human-monitor-command']
  it.each<[string, [string[], string]]>([
    ['query-', [['query-name ', 'query-status '], 'query-']], ['hm', [['hmp '], 'hm']], ['hmp info r', [['info registers', 'info registers -a'], 'info r']],
    ['human-monitor-command ', [['command-line=', 'cpu-index='], '']], ['human-monitor-command cpu-index=1 c', [['command-line='], 'c']],
    ['human-monitor-command cpu-index=', [[], 'cpu-index=']], ['help quer', [['query-status', 'query-name'], 'quer']], ['unknown x', [[], 'x']],
  ])('of %j', (line, expected) => {
    expect(complete(line, names)).toEqual(expected)
  })
})

describe('rendering', () => {
  it('keeps short values on a line and indents long ones', () => {
    expect(renderValue({ a: 1, b: ['x', null], c: {} }, { colour: false })).toBe('{ a: 1, b: ["x", null], c: {} }'.replaceAll(/(\w): /g, '"$1": '))
    expect(renderValue(['y'.repeat(50), 'z'.repeat(50)], { colour: false })).toBe(`[\n  "${'y'.repeat(50)}",\n  "${'z'.repeat(50)}"\n]`)
    expect(renderValue({ a: 1 }, { colour: true })).toBe('{ \x1b[36m"a"\x1b[0m: \x1b[33m1\x1b[0m }')
  })

  it('lets no control character of the machine through', () => {
    expect(harmless('a\x1b[2J\x9b\x07\u202e\r\nb\tc')).toBe('a\\u001b[2J\\u009b\\u0007\\u202e\nb\tc')
    expect(renderValue({ 'k\x9b': '\x9b\x7f' }, { colour: false })).toBe('{ "k\\u009b": "\\u009b\\u007f" }')
  })

  it('is coloured for terminals whose owner did not ask for none', () => {
    expect(wantsColour({ isTTY: true }, {})).toBe(true)
    expect(wantsColour({}, {})).toBe(false)
    expect(wantsColour({ isTTY: true }, { NO_COLOR: '1' })).toBe(false)
    expect(wantsColour({ isTTY: true }, { NO_COLOR: '', TERM: 'dumb' })).toBe(false)
  })
})

let folder: string
let vm: TestMachine
let server: QmpServer
let path: string

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qmp-cli-'))
  path = join(folder, 'vm.sock')
  vm = new TestMachine()
  server = new QmpServer({ vm, version: '9.8.7' })
  await server.listen({ unix: path })
})

afterEach(async () => {
  await server.close()
  rmSync(folder, { recursive: true, force: true })
})

describe('history', () => {
  it('is in the state folder, private, and bounded', () => {
    expect(historyPath({ XDG_STATE_HOME: '/state' })).toBe('/state/mesovirt/qmp-history')
    expect(historyPath({ XDG_STATE_HOME: 'relative' })).toMatch(/\/\.local\/state\/mesovirt\/qmp-history$/)
    const file = historyPath({ XDG_STATE_HOME: folder })
    const history = new History(file)
    expect(history.load()).toEqual([])
    for (const line of ['a', '  ', 'b', 'c'.repeat(5000)]) history.add(line)
    expect(history.load()).toEqual(['a', 'b'])
    expect(statSync(file).mode & 0o777).toBe(0o600)
    writeFileSync(file, Array.from({ length: 2001 }, (_, index) => `line ${index}\n`).join(''))
    expect(history.load()).toHaveLength(1000)
    expect(readFileSync(file, 'utf8').trim().split('\n')[0]).toBe('line 1001')
    new History(join(file, 'not', 'a', 'folder')).add('lost')
  })
})

describe('commands that nobody waits for', () => {
  const run = async (lines: string[], terminal = false) => {
    let out = ''
    let error = ''
    const client = await QmpClient.connect({ unix: path })
    const status = await runBatch(client, lines, { terminal, colour: false, out: (text) => { out += text }, error: (text) => { error += text } })
    client.close()
    return { status, out, error }
  }

  it('print one line each, the human monitor its text', async () => {
    expect(await run(['query-name', '', 'hmp info status', 'stop'])).toEqual({ status: 0, out: '{"name":"test vm"}\nVM status: running\n{}\n', error: '' })
  })

  it('go on after a failure and end with status 1', async () => {
    expect(await run(['nope', 'a b', 'query-target'])).toEqual({
      status: 1, out: '{"arch":"x86_64"}\n', error: 'CommandNotFound: The command nope has not been found\n"b" is no argument: write name=value\n' })
  })

  it('end with status 1 when the machine hangs up', async () => {
    vm.stopGate = server.close()
    expect(await run(['query-name']).catch((error: unknown) => error)).toMatchObject({ code: 'QMP_CONNECT' })
  })

  it('run from the command line of the program', async () => {
    const out = vi.spyOn(process.stdout, 'write').mockImplementation(() => true)
    const program = new Command().exitOverride()
    addQmpCommand(program)
    try {
      await program.parseAsync(['qmp', path, '-c', 'query-target', '-c', 'query-name'], { from: 'user' })
      expect(out.mock.calls.map(([text]) => text).join('')).toBe('{"arch":"x86_64"}\n{"name":"test vm"}\n')
      await expect(program.parseAsync(['qmp', join(folder, 'none'), '-c', 'stop'], { from: 'user' })).rejects.toMatchObject({ code: 'QMP_CONNECT' })
    } finally {
      out.mockRestore()
    }
  })
})

describe('a session at a terminal', () => {
  const start = async () => {
    const input = new PassThrough()
    const output = new PassThrough()
    let text = ''
    let wake: () => void = () => undefined
    output.on('data', (chunk: Buffer) => { text += chunk.toString(); wake() })
    const history = new History(join(folder, 'history'))
    history.add('query-uuid')
    const client = await QmpClient.connect({ unix: path })
    const ended = runInteractive(client, { input, output, history, colour: false })
    /** Waits for output and takes it. */
    const until = async (part: string) => {
      while (!text.includes(part)) await new Promise<void>((resolve) => { wake = resolve })
      const seen = text
      text = ''
      return seen
    }
    await until('(qmp) ')
    return { input, until, ended, history, client }
  }

  it('runs commands, completes them, recalls earlier ones and leaves the machine running', async () => {
    const { input, until, ended, history } = await start()
    input.write('query-ta\t')
    await until('query-target ')
    input.write('\r')
    await until('{ "arch": "x86_64" }')
    input.write('\x1b[A\x1b[A\r')
    await until('{ "UUID": "12345678-1234-1234-1234-123456789abc" }')
    input.write('hmp info status\r')
    await until('VM status: running')
    input.write('nope\r')
    await until('CommandNotFound: The command nope has not been found')
    input.write('bad arg\r')
    await until('"arg" is no argument')
    input.write('help stop\r')
    await until('Pauses every vCPU.')
    input.write('half\x03exit\r')
    expect(await ended).toBe(0)
    expect(vm.calls).toEqual([])
    expect(history.load().slice(0, 3)).toEqual(['query-uuid', 'query-target ', 'query-uuid'])
  })

  it('shows events as they come and keeps the line that is being typed', async () => {
    const { input, until, ended } = await start()
    input.write('que')
    await until('que')
    vm.emit({ name: 'RESET', data: { guest: true, reason: 'guest-reset' } })
    expect(await until('(qmp) que')).toMatch(/\d\d:\d\d:\d\d RESET \{ "guest": true, "reason": "guest-reset" \}\n/)
    input.write('\x04\x15\x04')
    expect(await ended).toBe(0)
  })

  it('ends with status 0 after quit, and with 1 when the machine vanishes', async () => {
    const first = await start()
    first.input.write('quit\r')
    await first.until('SHUTDOWN')
    await server.close()
    expect(await first.ended).toBe(0)
    server = new QmpServer({ vm: new TestMachine(), version: '9.8.7' })
    await server.listen({ unix: path })
    const second = await start()
    await server.close()
    await second.until('The machine closed the connection.')
    expect(await second.ended).toBe(1)
  })
})
