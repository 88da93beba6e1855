/** `npm run test:kvm`: runs the tests on KVM, on this machine's if its processor offers it, else in the lab. docs/kvm.md, "The lab". */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { StringDecoder } from 'node:string_decoder'
import { MesovirtError } from '../../host/errors.ts'
import { fetchGuest } from '../../src/guest/fetch-guest.ts'
import { createProgress } from '../../src/guest/progress.ts'
import { buildGuest } from '../../test/guest/build.ts'
import { DEVICE_MODULES } from '../../test/support/device-modules.ts'
import type { Guests } from '../../test/support/global-setup.ts'
import { projectDisk, PACKAGES_FOLDER, systemDisk } from './contents.ts'
import { buildDisk } from './disk.ts'
import { fetchLabKernel } from './kernel.ts'
import { runInLab } from './machine.ts'
import type { LabResult } from './machine.ts'
import { parseOptions, USAGE } from './options.ts'
import type { LabOptions } from './options.ts'

const CACHE = path.resolve('.cache', 'kvm-lab')
/** Longer than any test may take: silence beyond it is a lab that hangs. */
const SILENCE_LIMIT_MS = 20 * 60_000
/** Settings of the caller that tests and vitest look at. */
const PASSED_ON = ['CI', 'FORCE_COLOR', 'NO_COLOR', 'COLORTERM', 'TERM', 'DEBUG']
/** The longest test file is about a third of all. */
const MOST_LABS = 3
/** A lab starts in 20 s; one that dies costs no more than a part. */
const PARTS_PER_LAB = 3
const HOST_KEEPS_MB = 1024
/** Tests failed: 1. The lab did: 2. */
const LAB_FAILED = 2

const say = (text: string) => process.stderr.write(`mesovirt: ${text}\n`)

try {
  process.exitCode = await main(parseOptions(process.argv.slice(2)))
} catch (error) {
  if (!(error instanceof MesovirtError)) throw error
  say(error.message)
  process.exitCode = error.code === 'LAB_OPTION' ? 1 : LAB_FAILED
}

async function main(options: LabOptions): Promise<number> {
  const { task, where } = options
  if (task.kind === 'help') {
    process.stdout.write(USAGE)
    return 0
  }
  if (task.kind === 'tests' && where !== 'lab') {
    const missing = missingForKvm()
    if (missing === undefined || where === 'direct') return runDirectly(task.vitest)
    say(`${missing}, so the tests run in the lab`)
  }
  return runInside(options)
}

/** Each keeps a processor busy, or as many as it has, and takes its memory. */
function labsThatFit(cpus: number, memoryMb: number): number {
  const byMemory = Math.floor((os.freemem() / 2 ** 20 - HOST_KEEPS_MB) / memoryMb)
  return Math.max(1, Math.min(MOST_LABS, byMemory, Math.floor(os.availableParallelism() / cpus)))
}

/** What keeps this machine from running guests in hardware. */
function missingForKvm(): string | undefined {
  if (!/^flags\s*:.*\b(vmx|svm)\b/m.test(fs.readFileSync('/proc/cpuinfo', 'utf8'))) return 'this processor offers no virtualization (vmx, svm)'
  try {
    fs.closeSync(fs.openSync('/dev/kvm', 'r+'))
    return undefined
  } catch (error) {
    return `/dev/kvm does not open (${(error as NodeJS.ErrnoException).code})`
  }
}

function runDirectly(vitest: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [path.join('node_modules', 'vitest', 'vitest.mjs'), 'run', ...vitest],
    { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, MESOVIRT_TEST_ACCEL: 'kvm' } })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => resolve(status ?? 128 + (signal === null ? 0 : os.constants.signals[signal])))
  })
}

async function runInside({ task, cpus, memoryMb, timeLimitMinutes, labs: wanted }: LabOptions): Promise<number> {
  if (process.arch !== 'x64' || process.platform !== 'linux') throw new MesovirtError('LAB_HOST', 'the lab runs this machine\'s Node, which has to be one for Linux on x86_64')
  const interactive = task.kind === 'shell'
  if (interactive && !(process.stdin.isTTY && process.stdout.isTTY)) throw new MesovirtError('LAB_TERMINAL', '--shell needs a terminal; for scripts there is --exec')
  const labs = wanted ?? (task.kind === 'tests' && task.vitest.length === 0 ? labsThatFit(cpus, memoryMb) : 1)
  const project = process.cwd()
  const log = createProgress()
  fs.mkdirSync(CACHE, { recursive: true })
  removeStaleRuns()
  const fetch = (flavour: 'cloud' | 'generic', modules: readonly string[] = []) => fetchGuest({ cacheDir: path.join('.cache', 'guest'), flavour, modules, vmlinux: true, log })
  const cloud = await fetch('cloud'), generic = await fetch('generic'), devices = await fetch('cloud', DEVICE_MODULES)
  const files = ({ kernel, vmlinux, initrd }: typeof cloud) => ({ kernel, vmlinux: vmlinux as string, initrd })
  const guests: Guests = { cloud: files(cloud), generic: files(generic), devices: files(devices) }
  const kernel = await fetchLabKernel(CACHE, log)
  const system = buildDisk(CACHE, 'system', systemDisk(project, cloud.busybox, guests), log)
  const bareGuest = buildGuest()
  const own = buildDisk(CACHE, 'project', projectDisk(project, guests, [bareGuest, path.join(path.dirname(bareGuest), 'sources.sha256')]), log)
  const run = (task: LabOptions['task'], onBegin: () => void, onOutput: (chunk: Buffer) => void) => runInLab({
    cache: CACHE, kernel, busybox: cloud.busybox, systemDisk: system, projectDisk: own, cpus, memoryMb, interactive,
    command: commandText(project, task, guests),
    settings: `project=${quote(project)}\npackages=${PACKAGES_FOLDER}\n`,
    timeLimitMs: interactive ? Infinity : timeLimitMinutes * 60_000, silenceLimitMs: SILENCE_LIMIT_MS, onBegin, onOutput,
  })
  if (task.kind === 'tests' && labs > 1) return runParts(task, labs, run)
  log.step('starting the lab')
  const { status, seconds } = await run(task, () => log.done(), (chunk) => process.stdout.write(chunk))
  log.done()
  if (!interactive) say(endOf('the lab', status, seconds))
  return status
}

function endOf(lab: string, status: number, { begin, total }: LabResult['seconds']): string {
  return `${lab} took ${total.toFixed(1)} s, of which ${begin.toFixed(1)} s to start; its command ended with status ${status}`
}

type Run = (task: LabOptions['task'], onBegin: () => void, onOutput: (chunk: Buffer) => void) => Promise<LabResult>

/**
 * The tests in parts, as many at a time as there are labs: their lines mix, each line is whole. A lab that died through no doing of a test gets a second try,
 * and says so.
 * @returns 0 when all passed; a lab that did not finish rejects
 */
async function runParts(task: Extract<LabOptions['task'], { kind: 'tests' }>, labs: number, run: Run): Promise<number> {
  const parts = labs * PARTS_PER_LAB
  say(`the tests are divided into ${parts} parts, ${labs} at a time`)
  let next = 1, worst = 0, again = 0
  const lane = async () => {
    while (next <= parts) {
      const part = next++
      const attempt = async () => {
        const lines = wholeLines()
        const { status, seconds } = await run({ ...task, vitest: [...task.vitest, `--shard=${part}/${parts}`] }, () => undefined, lines.write).finally(lines.end)
        say(endOf(`part ${part} of ${parts}`, status, seconds))
        worst = Math.max(worst, status)
      }
      await attempt().catch((error: unknown) => {
        if (!(error instanceof MesovirtError) || error.code !== 'LAB_DIED') throw error
        again++
        say(`${error.message}\nmesovirt: part ${part} of ${parts} is run again, from its beginning`)
        return attempt()
      })
    }
  }
  const results = await Promise.allSettled(Array.from({ length: labs }, lane))
  if (again > 0) say(`${again} of ${parts} parts needed a second lab, because the first one died`)
  const broken = results.find((result) => result.status === 'rejected')
  if (broken !== undefined) throw broken.reason
  return worst
}

function wholeLines(): { write(chunk: Buffer): void; end(): void } {
  let rest = ''
  const decoder = new StringDecoder('utf8')
  return {
    write(chunk) {
      const text = rest + decoder.write(chunk)
      const end = text.lastIndexOf('\n') + 1
      process.stdout.write(text.slice(0, end))
      rest = text.slice(end)
    },
    end() {
      if (rest !== '') process.stdout.write(`${rest}\n`)
    },
  }
}

/** The shell script that the lab runs. */
function commandText(project: string, task: LabOptions['task'], guests: Guests): string {
  const { columns = 80, rows = 24 } = process.stdout
  const variables: Record<string, string> = {
    PATH: '/usr/local/bin:/usr/bin:/bin', HOME: '/root', LANG: 'C.UTF-8', COLUMNS: String(columns),
    MESOVIRT_TEST_ACCEL: 'kvm', MESOVIRT_TEST_LAB: '1', MESOVIRT_TEST_GUESTS: JSON.stringify(guests),
    MESOVIRT_KERNEL: guests.cloud.vmlinux, MESOVIRT_INITRD: guests.cloud.initrd,
    ...process.stdout.isTTY ? { FORCE_COLOR: '1' } : {},
    ...Object.fromEntries(PASSED_ON.flatMap((name) => process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  }
  const lines = [...Object.entries(variables).map(([name, value]) => `export ${name}=${quote(value)}`), `cd ${quote(project)}`]
  if (task.kind === 'shell') {
    lines.push(`stty sane rows ${rows} cols ${columns}`, 'echo "A shell in the lab, with the project in $PWD. exit or Ctrl-D ends it, Ctrl-A x kills it."', 'exec sh -l')
  } else if (task.kind === 'exec') {
    lines.push(`exec ${task.command.map(quote).join(' ')}`)
  } else if (task.kind === 'tests') {
    const reporter = task.vitest.some((argument) => argument.startsWith('--reporter')) ? [] : ['--reporter=verbose']
    lines.push(`exec node node_modules/vitest/vitest.mjs run ${[...reporter, ...task.vitest].map(quote).join(' ')}`)
  }
  return `${lines.join('\n')}\n`
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

/** A run that was killed could not tidy up; what it leaves is named after its process. */
function removeStaleRuns(): void {
  for (const name of fs.readdirSync(CACHE)) {
    const pid = /^run-(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && !fs.existsSync(`/proc/${pid}`)) fs.rmSync(path.join(CACHE, name), { recursive: true, force: true })
  }
}
