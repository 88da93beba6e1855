import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, test } from 'vitest'

/**
 * A process with a stdio backend: echoes input in brackets; the words below act on it. Flow opens on SIGUSR2, or at once with `--flow`.
 */
const PROGRAM = `
  import { openChardev } from ${JSON.stringify(fileURLToPath(new URL('./open.ts', import.meta.url)))}
  const backend = await openChardev({ kind: 'stdio', label: 'serial0', signal: process.argv.includes('--signal') }, {
    onQuit: () => { backend.write(Buffer.from('quit requested')); void backend.close().then(() => process.exit(0)) },
  })
  const keepAlive = setInterval(() => 0, 1000)
  process.on('SIGUSR2', () => backend.setFlow(true))
  backend.onInput((bytes) => {
    const text = Buffer.from(bytes).toString()
    backend.write(Buffer.from('[' + text.replace(/[\\x00-\\x1f]/g, (c) => '^' + String.fromCharCode(c.charCodeAt(0) + 64)) + ']'))
    if (text.includes('exit')) process.exit(0)
    if (text.includes('close')) void backend.close().then(() => { clearInterval(keepAlive); process.exit(0) })
    if (text.includes('throw')) setImmediate(() => { throw new Error('on purpose') })
    if (text.includes('flood')) { for (let i = 0; i < 64; i++) backend.write(Buffer.alloc(65536, 46)); backend.write(Buffer.from('still alive')) }
  })
  if (process.argv.includes('--flow')) backend.setFlow(true)
  backend.write(Buffer.from('pid=' + process.pid + ' ready'))
`

let folder: string
let program: string
const pty = await import('node-pty').catch(() => undefined)

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'chardev-stdio-'))
  program = join(folder, 'program.mjs')
  const stdin = { contents: PROGRAM, resolveDir: folder, loader: 'ts' } as const
  await build({ stdin, bundle: true, platform: 'node', format: 'esm', outfile: program, external: ['node-pty', 'koffi'] })
})
afterAll(() => rmSync(folder, { recursive: true }))

/**
 * Runs the program on a terminal of its own, between two prints of the terminal's mode. `act` is called once the program is ready.
 * Without node-pty there is no terminal to be had: script(1) stands in.
 */
async function onTerminal(args: string, act: (type: (text: string) => void, program: () => number, screen: () => string) => void): Promise<{ screen: string; before: string; after: string }> {
  const shell = `trap : INT QUIT; echo before=$(stty -g); ${process.execPath} ${program} ${args}; echo after=$(stty -g).`
  let screen = ''
  let acted = false
  const seen = (data: string, type: (text: string) => void) => {
    screen += data
    if (acted || !screen.includes('ready')) return
    acted = true
    act(type, () => Number(/pid=(\d+) ready/.exec(screen)?.[1]), () => screen)
  }
  if (pty !== undefined) {
    const terminal = pty.spawn('sh', ['-c', shell], { cols: 200 })
    terminal.onData((data) => seen(data, (text) => terminal.write(text)))
    await new Promise<void>((done) => terminal.onExit(() => done()))
  } else {
    const terminal = spawn('script', ['-qc', shell, '/dev/null'])
    terminal.stdout.on('data', (data: Buffer) => seen(data.toString(), (text) => terminal.stdin.write(text)))
    await once(terminal, 'close')
  }
  return { screen, before: /before=(\S+)/.exec(screen)?.[1] ?? 'none', after: /after=(\S+)\./.exec(screen)?.[1] ?? 'missing' }
}

test.each([
  ['process.exit', 'exit'],
  ['close', 'close'],
  ['an uncaught exception', 'throw'],
  ['Ctrl-A x', '\x01x'],
])('the terminal is as it was after %s', async (_way, keys) => {
  const result = await onTerminal('--flow', (type) => type(keys))

  expect(result.after).toBe(result.before)
})

test.each(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const)('the terminal is as it was after %s', async (signal) => {
  const result = await onTerminal('--flow', (_type, pid) => process.kill(pid(), signal))

  expect(result.after).toBe(result.before)
})

test('Ctrl-C goes to the guest, nothing is echoed by the terminal, Ctrl-A x quits though the guest does not listen', async () => {
  const result = await onTerminal('', (type, pid, screen) => {
    process.kill(pid(), 'SIGUSR2')
    type('a\x03\x01\x01b')
    const poll = setInterval(() => {
      if (!screen().includes('b]')) return
      clearInterval(poll)
      type('\x01x')
    }, 5)
  })

  const typed = /ready([^]*)quit requested/.exec(result.screen)?.[1]?.replaceAll('][', '')
  expect(typed).toBe('[a^C^Ab]')
  expect(result.screen).toContain('quit requested')
})

test('with signal=on Ctrl-C ends the process and the terminal is as it was', async () => {
  const result = await onTerminal('--flow --signal', (type) => type('\x03'))

  expect(result.screen).not.toContain('^C]')
  expect(result.after).toBe(result.before)
})

test('piped input is held until the device is ready, passed byte for byte, and its end ends nothing', async () => {
  const child = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString()
  })
  const seen = async (text: string) => {
    while (!output.includes(text)) await new Promise((next) => setTimeout(next, 1))
  }
  child.stdin.end('\x01x\x03')
  await seen('ready')
  for (let i = 0; i < 50; i++) await new Promise((next) => setTimeout(next, 1))
  const early = output

  child.kill('SIGUSR2')
  await seen(']')
  const alive = child.exitCode === null
  child.kill('SIGTERM')
  await once(child, 'close')

  expect(early).toMatch(/^pid=\d+ ready$/)
  expect(output).toBe(`${early}[^Ax^C]`)
  expect(alive).toBe(true)
})

test('a reader of standard output that stalls or goes away does not stop the process', async () => {
  const child = spawn(process.execPath, [program, '--flow'], { stdio: ['pipe', 'pipe', 'pipe'] })
  await once(child.stdout, 'data')
  child.stdout.pause()
  child.stdin.write('flood')
  await new Promise((next) => setTimeout(next, 100))
  let tail = ''
  child.stdout.on('data', (data: Buffer) => {
    tail = (tail + data.toString()).slice(-100)
  })
  child.stdout.resume()
  while (!tail.includes('still alive')) await new Promise((next) => setTimeout(next, 1))
  child.stdout.destroy()
  child.stdin.write('flood')
  await new Promise((next) => setTimeout(next, 100))
  const alive = child.exitCode === null && child.signalCode === null
  child.stdin.write('exit')

  const [code] = (await once(child, 'exit')) as [number]

  expect(alive).toBe(true)
  expect(code).toBe(0)
})
