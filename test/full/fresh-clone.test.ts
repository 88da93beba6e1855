/** The first minutes of a new user: clone, `npm start`, a shell. Everything is installed, built and fetched anew. */
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess, StdioOptions } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeWhere } from '../support/optional.ts'
import { HAS_TERMINALS, Terminal, TERMINALS } from '../support/terminal.ts'
import { Transcript } from '../support/transcript.ts'
import { PROMPT, ROOT } from '../support/vm.ts'

const PATIENCE_MS = 30 * 60_000
let clone: string

beforeAll(() => {
  clone = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'mv-clone-')), 'mesovirt')
  execFileSync('git', ['clone', '--quiet', '--no-local', ROOT, clone])
})
afterAll(() => fs.rmSync(path.dirname(clone), { recursive: true, force: true }))

/** The environment of a login shell, not that of a test run inside npm. */
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) =>
  !/^(npm_(package|lifecycle|command|execpath|node_execpath).*|VITEST.*|MESOVIRT.*|NODE_ENV|TEST|PROD|DEV|MODE|SSR|BASE_URL)$/.test(name)))

/** Runs npm in the clone, with everything it starts in a process group of its own, which ends with the tests. */
function npm(task: string, stdio: StdioOptions): ChildProcess {
  const run = spawn('npm', [task], { cwd: clone, env: environment, stdio, detached: true })
  const pid = run.pid
  if (pid === undefined) throw new Error('npm cannot be started')
  groups.add(pid)
  run.once('close', () => groups.delete(pid))
  return run
}
const groups = new Set<number>()
const endGroups = () => groups.forEach((pid) => process.kill(-pid, 'SIGKILL'))
process.on('exit', endGroups)
afterAll(endGroups)

it('npm start with a script on its input installs, builds, fetches, boots, answers and ends with status 0', async () => {
  const run = npm('start', 'pipe')
  const out = new Transcript('npm start'), err = new Transcript('npm start, standard error')
  run.stdout?.setEncoding('utf8').on('data', (text: string) => out.append(text))
  run.stderr?.setEncoding('utf8').on('data', (text: string) => err.append(text))
  const status = new Promise<number | null>((resolve) => run.once('close', (code) => {
    out.end(`it ended with status ${code}: ${err.all.slice(-2000)}`)
    resolve(code)
  }))
  run.stdin?.end('uname -a\nexit\n')
  await out.until(/Linux mesovirt \S+-cloud-amd64 .* x86_64 GNU\/Linux/, PATIENCE_MS)
  expect(await status).toBe(0)
}, PATIENCE_MS)

it('npm test passes', async () => {
  const log = fs.openSync(`${clone}.log`, 'w')
  const run = npm('test', ['ignore', log, log])
  const status = await new Promise((resolve) => run.once('close', resolve))
  expect(status, fs.readFileSync(`${clone}.log`, 'utf8').slice(-5000)).toBe(0)
}, 3 * PATIENCE_MS)

describeWhere(HAS_TERMINALS, TERMINALS, 'on a terminal', () => {
  it('npm start reaches the shell, which answers; exit ends it with status 0', async () => {
    const terminal = await Terminal.open()
    terminal.type(`cd ${clone} && npm start -- -smp 4; printf 'ended:%s\\n' $?\r`)
    await terminal.screen.until(PROMPT, PATIENCE_MS)
    terminal.type('nproc; uname -a\r')
    await terminal.screen.until(/\n4\r+\nLinux mesovirt .* x86_64 GNU\/Linux/)
    await terminal.screen.until(PROMPT)
    terminal.type('exit\r')
    expect(await terminal.ended()).toBe(0)
    terminal.close()
  }, PATIENCE_MS)
})
