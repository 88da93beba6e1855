/**
 * `npm run test:full`: runs every test and writes docs/test-report.md: what was seen, on what, and which tests show what was promised.
 * With arguments (files, -t NAME) it runs that selection and writes nothing.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const ROOT = process.cwd()
const RESULTS = path.join('.cache', 'full-report.json')
const REPORT = path.join('docs', 'test-report.md')

interface Assertion { readonly ancestorTitles: readonly string[]; readonly title: string; readonly status: 'passed' | 'failed' | 'skipped' | 'pending' | 'todo'; readonly duration?: number | null; readonly meta?: { readonly measured?: string } }
interface FileResult { readonly name: string; readonly status: string; readonly message?: string; readonly assertionResults: readonly Assertion[] }
interface Results { readonly startTime: number; readonly success: boolean; readonly testResults: readonly FileResult[] }

interface Test { readonly file: string; readonly name: string; readonly status: Assertion['status']; readonly ms: number; readonly measured: string | undefined }

/** A promise, and which tests show it: a test counts when its file matches and, where one is given, its name does. */
interface Claim { readonly text: string; readonly shownBy: readonly (readonly [file: RegExp, name?: RegExp])[] }

const CLAIMS: readonly Claim[] = [
  { text: 'From a fresh clone `npm start` reaches the shell, `uname -a` answers, `exit` powers off and the command ends with status 0, from a pipe and from a terminal',
    shownBy: [[/^test\/full\/fresh-clone/], [/^test\/boot/, /boots to a shell|pipes in/], [/^test\/terminal/, /boots to a shell/]] },
  { text: 'With `-smp 4`, `nproc` prints 4', shownBy: [[/^test\/boot/, /four processors/], [/^test\/full\/generic-kernel/, /four processors/]] },
  { text: 'Debian\'s generic kernel boots to the same shell, as bzImage and as ELF, twice in a row with `system_reset` between', shownBy: [[/^test\/full\/generic-kernel/, /twice in a row/]] },
  { text: 'Instruction vectors of a real processor, at least 200 per row and operand form', shownBy: [[/^test\/vectors\//]] },
  { text: 'The bare-metal guest checks what user mode cannot reach', shownBy: [[/^test\/guest[^/]*\/|^test\/bare-metal|^test\/guest\.test/]] },
  { text: 'Twenty seeded faults are each caught', shownBy: [[/seeded-faults/]] },
  { text: 'The bench prints its figures', shownBy: [[/^test\/full\/bench/]] },
  { text: 'Command line: one typed table, bad input is one line and status 1 with nothing left behind', shownBy: [[/^test\/bad-input/], [/^machine-manager\/options\//], [/^src\/mesovirt\.test/]] },
  { text: 'QMP: commands, events, several monitors, any bytes', shownBy: [[/^test\/qmp-machine/], [/^test\/full\/qmp-fuzz/], [/^machine-manager\/qmp\//]] },
  { text: 'Reset and shutdown by the guest, `-action`, `-no-shutdown`, signals, daemon, pid file', shownBy: [[/^test\/guest-ends/], [/^test\/process-life/]] },
  { text: 'Serial port on stdio, socket, pty, file; the terminal is always restored', shownBy: [[/^test\/character-devices/], [/^test\/terminal/], [/^device-model\/chardev\//]] },
  { text: 'Repeatable runs (`-icount`) and the boot timeline (`-trace boot`)', shownBy: [[/^test\/repeatable/], [/^test\/full\/generic-kernel/, /markers/]] },
  { text: 'The library as its users have it', shownBy: [[/^test\/library/]] },
  { text: 'A guest may do anything: the process neither throws nor grows without bound; load does it no harm', shownBy: [[/^test\/full\/hostile-guest/], [/^test\/full\/stress/], [/fuzz/]] },
  { text: 'ACPI tables as the reference tools read them', shownBy: [[/^test\/acpi/], [/^machine\/acpi\//]] },
  { text: 'KVM on any `/dev/kvm`: accesses, order of the bus, memory, doorbells, interrupts, pause, reset, end; the instruction vectors in user mode. Linux guests on kvm: `npm run test:kvm`',
    shownBy: [[/^hypervisor\/kvm\//], [/^test\/vectors\/kvm/]] },
  { text: 'Which accelerator is taken, and what `mesovirt doctor` says of a host', shownBy: [[/^machine-manager\/accelerator/], [/^host\/kvm-device/], [/^src\/doctor\//], [/^test\/doctor/]] },
  { text: 'Guest memory that is shared, in files, in huge pages, preallocated', shownBy: [[/^test\/memory/], [/^host\/ram/]] },
  { text: 'Translated code does what interpreted code does, to the instruction count', shownBy: [[/^test\/translator/], [/^test\/full\/lock-step/], [/^hypervisor\/tcg\/translator\//]] },
  { text: 'Random programs give the results of silicon; code that changes is executed as it is now', shownBy: [[/^test\/(full\/)?sequences/], [/^test\/host-stores/], [/^test\/(full\/)?changing-code/]] },
  { text: 'Virtio: rings, transport, the source of randomness', shownBy: [[/^device-model\/virtio\/(?!blk)/], [/^test\/virtio-(rng|command)/], [/^test\/full\/virtio-command/]] },
  { text: 'Disks: requests, images, slots', shownBy: [[/^device-model\/(virtio\/blk|block)/], [/^host\/file-io/], [/^test\/(virtio-blk|disk-)/], [/^test\/full\/virtio-blk/]] },
  { text: 'Address space against a naive model; boot loader against damaged images', shownBy: [[/^address-space\//], [/^boot-loader\//]] },
]

function main(argv: readonly string[]): number {
  fs.mkdirSync('.cache', { recursive: true })
  fs.rmSync(RESULTS, { force: true })
  const started = Date.now()
  const { status } = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${RESULTS}`, ...argv],
    { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, MESOVIRT_TEST_FULL: '1' } })
  if (argv.length > 0) return status ?? 1
  if (!fs.existsSync(RESULTS)) {
    process.stderr.write('mesovirt: the test run ended without results; no report is written\n')
    return status ?? 1
  }
  const results = JSON.parse(fs.readFileSync(RESULTS, 'utf8')) as Results
  fs.writeFileSync(REPORT, report(results, Date.now() - started))
  process.stdout.write(`${REPORT} is written\n`)
  return status ?? 1
}

function report(results: Results, elapsedMs: number): string {
  const tests = results.testResults.flatMap(testsOf)
  const count = (wanted: Test['status']) => tests.filter(({ status }) => status === wanted).length
  const skipped = tests.filter(({ status }) => status !== 'passed' && status !== 'failed')
  const broken = results.testResults.filter(({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'))
  return `${[
    '# Test report',
    '',
    '<!-- Written by "npm run test:full". Do not edit. -->',
    '',
    ...facts(results.startTime).map(([name, value]) => `* ${name}: ${value}`),
    `* Result: **${count('passed')} passed, ${count('failed') + broken.length} failed, ${skipped.length} skipped** in ${minutes(elapsedMs)}`,
    '',
    '## What was promised, and what shows it',
    ...CLAIMS.flatMap((claim) => section(claim, tests)),
    '',
    '## Failed',
    '',
    ...list([...tests.filter(({ status }) => status === 'failed').map(({ file, name }) => `${file}: ${name}`), ...broken.map(({ name, message }) => `${relative(name)}: ${firstLine(message)}`)]),
    '',
    '## Skipped',
    '',
    ...list(skipped.map(({ file, name }) => `${file}: ${name}`)),
    '',
    '## Every file',
    '',
    '| File | Tests | Failed | Time |',
    '| --- | ---: | ---: | ---: |',
    ...results.testResults.map(testsOfFile).sort((a, b) => a.file < b.file ? -1 : 1).map(({ file, tests: own }) =>
      `| ${file} | ${own.length} | ${own.filter(({ status }) => status === 'failed').length} | ${minutes(own.reduce((sum, { ms }) => sum + ms, 0))} |`),
  ].join('\n')}\n`
}

/** Few tests are listed one by one, many by file. */
const LISTED_SINGLY = 12

function section({ text, shownBy }: Claim, tests: readonly Test[]): string[] {
  const shown = tests.filter(({ file, name }) => shownBy.some(([inFile, named]) => inFile.test(file) && (named?.test(name) ?? true)))
  const failed = shown.filter(({ status }) => status === 'failed')
  const passed = shown.filter(({ status }) => status === 'passed')
  const verdict = shown.length === 0 ? 'NOT SHOWN: no test ran' : failed.length > 0 ? `FAILED: ${failed.length} of ${shown.length}` : passed.length < shown.length
    ? `shown in part: ${passed.length} of ${shown.length} ran` : `shown by ${shown.length} test${shown.length === 1 ? '' : 's'}`
  const files = [...new Set(shown.map(({ file }) => file))]
  const rows = shown.length <= LISTED_SINGLY
    ? shown.map(({ file, name, status, ms }) => `| ${cell(`${file}: ${name}`)} | ${status} | ${minutes(ms)} |`)
    : files.map((file) => {
        const own = shown.filter((test) => test.file === file)
        const bad = own.filter(({ status }) => status === 'failed').length
        return `| ${cell(`${file} (${own.length} tests)`)} | ${bad > 0 ? `${bad} failed` : 'passed'} | ${minutes(own.reduce((sum, { ms }) => sum + ms, 0))} |`
      })
  const measured = shown.flatMap((test) => test.measured === undefined ? [] : [[test.name, test.measured] as const])
  return ['', `### ${text}`, '', `**${verdict}**`, ...(rows.length === 0 ? [] : ['', '| Test | Result | Time |', '| --- | --- | ---: |', ...rows]),
    ...measured.flatMap(([name, value]) => ['', `Measured, "${name}":`, '', ...value.split('\n').map((line) => `    ${line}`)])]
}

function testsOf(file: FileResult): Test[] {
  return testsOfFile(file).tests
}

function testsOfFile({ name, assertionResults }: FileResult): { file: string; tests: Test[] } {
  const file = relative(name)
  return { file, tests: assertionResults.map(({ ancestorTitles, title, status, duration, meta }) =>
    ({ file, name: [...ancestorTitles, title].filter((part) => part !== '').join(' > '), status, ms: duration ?? 0, measured: meta?.measured })) }
}

function facts(startTime: number): [string, string][] {
  const cpus = os.cpus()
  const changes = git('status', '--porcelain', '--untracked-files=no')
  const version = /PRETTY_NAME="(.*)"/.exec(fs.existsSync('/etc/os-release') ? fs.readFileSync('/etc/os-release', 'utf8') : '')?.[1] ?? os.type()
  return [
    ['Date', new Date(startTime).toISOString().replace('T', ' ').replace(/\..*/, ' UTC')],
    ['Commit', `${git('rev-parse', 'HEAD') || 'unknown'}${changes === '' ? '' : ', with uncommitted changes'}`],
    ['Machine', `${cpus[0]?.model.trim() ?? 'unknown processor'}, ${cpus.length} cores, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${version}, Linux ${os.release()}`],
    ['Node', `${process.version} (V8 ${process.versions.v8})`],
    ['QEMU', tool('qemu-system-x86_64', '--version')],
    ['Load average at the end', os.loadavg().map((load) => load.toFixed(1)).join(', ')],
  ]
}

function git(...argv: string[]): string {
  return tool('git', ...argv) === 'not installed' ? '' : execFileSync('git', argv, { encoding: 'utf8' }).trim()
}

function tool(name: string, ...argv: string[]): string {
  const { status, stdout } = spawnSync(name, argv, { encoding: 'utf8' })
  return status === 0 ? firstLine(stdout) : 'not installed'
}

const relative = (file: string): string => path.relative(ROOT, file)
const firstLine = (text: string | undefined): string => text?.trim().split('\n')[0] ?? ''
const cell = (text: string): string => text.replaceAll('|', '\\|')
const list = (items: readonly string[]): string[] => items.length === 0 ? ['None.'] : items.map((item) => `* ${item}`)
const minutes = (ms: number): string => ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.floor(ms / 60_000)} min ${Math.round(ms % 60_000 / 1000)} s`

process.exitCode = main(process.argv.slice(2))
