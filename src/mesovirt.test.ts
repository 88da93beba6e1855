import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

/** The command as users run it, bundled, with a machine that only says what it was asked for. */
const root = path.resolve(import.meta.dirname, '..')
let folder: string
let kernel: string

const LIFECYCLE = `
import { notifyReady } from './ready.ts'
import { logger } from './log.ts'
export async function launch(config, notice) {
  if (config.accelerator.chosenBy === 'default') notice('accelerator of ' + config.accelerator.candidates)
  if (config.name === 'fails') throw new Error('two\\nlines')
  if (config.daemonize) {
    if (config.name === 'dies') process.kill(process.pid, 'SIGKILL')
    notifyReady()
    process.stderr.write('after ready\\n')
    setTimeout(() => process.exit(0), config.name === 'lives' ? 60_000 : 0)
    return new Promise(() => undefined)
  }
  logger('test').info('launched')
  process.stdout.write(JSON.stringify(config))
  return config.name === 'seven' ? 7 : 0
}`

beforeAll(async () => {
  fs.mkdirSync(path.join(root, '.cache'), { recursive: true })
  folder = fs.mkdtempSync(path.join(root, '.cache/cli-'))
  kernel = path.join(folder, 'vmlinuz')
  fs.writeFileSync(kernel, 'x')
  await build({
    entryPoints: [path.join(root, 'src/mesovirt.ts')], outdir: path.join(folder, 'dist'), bundle: true, splitting: true, platform: 'node',
      format: 'esm', target: 'node20',
    external: ['koffi', 'node-pty', 'commander'], outExtension: { '.js': '.mjs' }, logLevel: 'silent',
    plugins: [{
      name: 'machine', setup(it) {
        it.onLoad({ filter: /machine-manager\/lifecycle\.ts$/ }, () => ({ contents: LIFECYCLE, loader: 'ts',
          resolveDir: path.join(root, 'machine-manager') }))
        it.onResolve({ filter: /\.\.\/machine-manager\/lifecycle\.ts$/ }, () => ({ path: path.join(root, 'machine-manager/lifecycle.ts') }))
      },
    }],
  })
  fs.writeFileSync(path.join(folder, 'package.json'), '{"version":"1.2.3"}')
})
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

interface Result { readonly status: number | null; readonly out: string; readonly err: string }
function run(argv: readonly string[], environment: NodeJS.ProcessEnv = {}): Result {
  const result = spawnSync(process.execPath, [path.join(folder, 'dist/mesovirt.mjs'), ...argv], {
    encoding: 'utf8', cwd: os.tmpdir(), env: { PATH: process.env['PATH'], ...environment }, timeout: 30_000,
  })
  return { status: result.status, out: result.stdout, err: result.stderr }
}
const files = () => fs.readdirSync(folder).filter((name) => name.endsWith('.pid'))

describe('mesovirt', () => {
  it('without arguments says how it is used, and fails', () => {
    const { status, out, err } = run([])
    expect([status, out]).toEqual([1, ''])
    expect(err).toMatch(/^Usage: mesovirt /)
  })

  it('-version prints one line', () => {
    expect(run(['-version'])).toEqual({ status: 0, out: 'mesovirt 1.2.3\n', err: '' })
  })

  it('-help and -machine help print to standard output', () => {
    expect(run(['-help']).out).toContain('-kernel')
    expect(run(['-machine', 'help'])).toMatchObject({ status: 0, err: '', out: expect.stringContaining('mem-share=on|off') })
  })

  it.each<[string[], string]>([
    [['-kernle', 'x'], 'mesovirt: -kernle: unknown option; did you mean -kernel?\n'],
    [['-m', '256'], 'mesovirt: -machine microvm: needs a kernel; add -kernel FILE\n'],
    [['-kernel', '/missing/vmlinuz'], 'mesovirt: -kernel /missing/vmlinuz: no such file; check the path\n'],
    [['guets'], 'mesovirt: guets: unknown command; did you mean guest?\n'],
    [['frobnicate'], 'mesovirt: frobnicate: unknown command; mesovirt help lists them\n'],
    [['completion', 'tcsh'], "mesovirt: command-argument value 'tcsh' is invalid for argument 'shell'. Allowed choices are bash, zsh, fish.\n"],
  ])('%j is one line and status 1', (argv, err) => {
    expect(run(argv)).toEqual({ status: 1, out: '', err })
  })

  it('hands a machine its configuration and ends with its status', () => {
    const { status, out, err } = run(['-name', 'seven', '-accel', 'tcg', '-kernel', kernel, '-append', 'a', 'b'])
    expect([status, err]).toEqual([7, ''])
    expect(JSON.parse(out)).toMatchObject({ name: 'seven', boot: { kernel, append: 'a b' } })
  })

  it('says which accelerator it chose when nobody did', () => {
    expect(run(['-kernel', kernel]).err).toBe('mesovirt: accelerator of kvm,tcg\n')
    expect(run(['-kernel', kernel, '-icount', '3', '-accel', 'kvm:tcg']).err).toBe('mesovirt: accelerator tcg (our software CPU): -icount counts its instructions\n')
  })

  it('-D logs to standard error', () => {
    expect(run(['-kernel', kernel, '-accel', 'tcg', '-D']).err).toMatch(/^\S+: \[\d+\]\[\d+\]\[test: \d+\]: INFO: launched\n$/)
  })

  it('a failure of ours is one line, and the pid file goes away', () => {
    const { status, err } = run(['-kernel', kernel, '-accel', 'tcg', '-name', 'fails', '-pidfile', path.join(folder, 'a.pid')])
    expect([status, err]).toEqual([1, 'mesovirt: internal error: two?lines; MESOVIRT_LOG_LEVEL=debug shows where\n'])
    expect(files()).toEqual([])
  })

  it('a reader that goes away early does not disturb -help', () => {
    const result = spawnSync('sh', ['-c', `"$0" "$1" -help | head -n 1`, process.execPath, path.join(folder, 'dist/mesovirt.mjs')],
      { encoding: 'utf8' })
    expect([result.status, result.stderr]).toEqual([0, ''])
  })

  it('completion prints a script that names the commands', () => {
    expect(run(['completion', 'fish']).out).toMatch(/-a qmp .*\n(.*\n)*.*-o kernel/)
  })

  it('help lists the commands', () => {
    expect(run(['help']).out).toMatch(/completion.*\n/)
  })
})

describe('-daemonize', () => {
  const base = () => ['-kernel', kernel, '-accel', 'tcg', '-daemonize']

  it('returns once the copy is ready, and the copy goes on', () => {
    const file = path.join(folder, 'b.pid')
    expect(run([...base(), '-name', 'lives', '-pidfile', file])).toEqual({ status: 0, out: '', err: '' })
    const pid = Number(fs.readFileSync(file, 'utf8'))
    const [, , , session] = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
    expect(Number(session)).toBe(pid)
    expect(fs.readlinkSync(`/proc/${pid}/fd/0`)).toBe('/dev/null')
    expect(fs.readlinkSync(`/proc/${pid}/fd/1`)).toBe('/dev/null')
    process.kill(pid, 'SIGTERM')
  })

  it('gives the copy its error line and its status', () => {
    expect(run([...base(), '-name', 'fails'])).toEqual({ status: 1, out: '',
      err: 'mesovirt: internal error: two?lines; MESOVIRT_LOG_LEVEL=debug shows where\n' })
  })

  it('says when the copy dies without a word', () => {
    expect(run([...base(), '-name', 'dies'])).toEqual({ status: 1, out: '',
      err: 'mesovirt: -daemonize: the background copy ended before it was ready (SIGKILL)\n' })
  })

  it('refuses mistakes before it starts a copy', () => {
    expect(run([...base(), '-serial', 'stdio']).err).toBe('mesovirt: -serial stdio: a daemon has no terminal; leave out -daemonize or use another back-end\n')
  })

  it('passes inherited descriptors on at their numbers', () => {
    const file = path.join(folder, 'c.pid')
    const script = `"$0" "$1" -kernel "$2" -accel tcg -daemonize -name lives -pidfile "$3" 7<"$2"`
    const result = spawnSync('bash', ['-c', script, process.execPath, path.join(folder, 'dist/mesovirt.mjs'), kernel, file], { encoding: 'utf8' })
    expect([result.status, result.stderr]).toEqual([0, ''])
    const pid = Number(fs.readFileSync(file, 'utf8'))
    expect(fs.readlinkSync(`/proc/${pid}/fd/7`)).toBe(kernel)
    process.kill(pid, 'SIGTERM')
  })
})
