/**
 * Builds the self-checking bare-metal guest with binutils (`as`, `ld`) into .cache/guest-tests/guest.elf, a static ELF64 with a PVH note.
 * `node scripts/ts.mjs test/guest/build.ts` builds; with `--qemu [cpus]` it also runs it on qemu-system-x86_64 -accel tcg, as a second opinion,
 * and fails if a check fails that qemu-deviates.txt does not name.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'

const SOURCES = path.join('test', 'guest')
const OUTPUT = path.join('.cache', 'guest-tests')
const NAMES = ['boot', 'exceptions', 'debug', 'paging', 'paging_table', 'privilege', 'segments', 'system', 'conditions', 'smc', 'fetch', 'strings', 'identity', 'protected', 'tasks', 'realmode', 'chips', 'apic', 'smp', 'litmus']

function run(command: string, args: readonly string[]): void {
  const result = spawnSync(command, args, { encoding: 'utf8' })
  if (result.error) throw new Error(`${command} is missing: install binutils (apt-get install binutils)`)
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')}\n${result.stderr}`)
}

/** Assembles and links the guest if its sources changed. Returns the path of the ELF file, relative to the repository's root (the working directory). */
export function buildGuest(): string {
  const elf = path.join(OUTPUT, 'guest.elf')
  const stamp = path.join(OUTPUT, 'sources.sha256')
  const hash = createHash('sha256')
  for (const name of ['macros.inc', 'protected.inc', 'link.ld', ...NAMES.map((source) => `${source}.s`)]) hash.update(name).update(fs.readFileSync(path.join(SOURCES, name)))
  const digest = hash.digest('hex')
  if (fs.existsSync(elf) && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === digest) return elf
  fs.mkdirSync(OUTPUT, { recursive: true })
  for (const name of NAMES) run('as', ['--64', '-I', SOURCES, '-o', path.join(OUTPUT, `${name}.o`), path.join(SOURCES, `${name}.s`)])
  run('ld', ['-T', path.join(SOURCES, 'link.ld'), '--no-warn-rwx-segments', '-z', 'noexecstack', '-o', elf, ...NAMES.map((name) => path.join(OUTPUT, `${name}.o`))])
  fs.writeFileSync(stamp, digest)
  return elf
}

export interface GuestReport {
  readonly passed: readonly string[]
  /** Whole lines: `FAIL NAME got=.. want=..`, hexadecimal; for traps vector/error code/RIP, vector ffffffffffffffff = none. */
  readonly failed: readonly string[]
  readonly skipped: readonly string[]
  /** The closing `DONE` line came and its counts agree with the lines. */
  readonly complete: boolean
}

/** Reads what the guest printed on its serial port. */
export function parseReport(text: string): GuestReport {
  const lines = text.split(/\r?\n/)
  const passed = lines.filter((line) => line.startsWith('ok ')).map((line) => line.slice(3))
  const failed = lines.filter((line) => line.startsWith('FAIL '))
  const skipped = lines.filter((line) => line.startsWith('skip ')).map((line) => line.slice(5))
  return { passed, failed, skipped, complete: lines.includes(`DONE pass=${passed.length} fail=${failed.length}`) }
}

/** Is this check one that QEMU's processor is known to get wrong (qemu-deviates.txt)? */
export function qemuDeviates(name: string): boolean {
  return isListed('qemu-deviates.txt', name)
}

/** Is this check one that KVM or its host is known to answer otherwise (kvm-deviates.txt)? */
export function kvmDeviates(name: string): boolean {
  return isListed('kvm-deviates.txt', name)
}

function isListed(file: string, name: string): boolean {
  const patterns = fs.readFileSync(path.join(SOURCES, file), 'utf8').split('\n')
    .filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split(/\s/)[0] ?? '')
  return patterns.some((pattern) => pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern)
}

/** Runs the guest on QEMU. -M pc, because microvm has no port 0x61. */
export function runQemu(elf: string, cpus: number): GuestReport {
  const log = path.join(OUTPUT, `qemu-${cpus}.log`)
  spawnSync('qemu-system-x86_64', ['-M', 'pc', '-accel', 'tcg', '-cpu', 'max,vendor=GenuineIntel', '-smp', String(cpus), '-m', '128', '-kernel', elf,
    '-serial', `file:${log}`, '-display', 'none', '-no-reboot', '-nodefaults'], { timeout: 120_000 })
  return parseReport(fs.readFileSync(log, 'utf8'))
}

const qemu = process.argv.indexOf('--qemu')
if (process.argv[1]?.endsWith(path.join('guest', 'build.ts'))) {
  const elf = buildGuest()
  process.stdout.write(`${elf}\n`)
  if (qemu !== -1) {
    const report = runQemu(elf, Number(process.argv[qemu + 1] ?? 1))
    const surprises = report.failed.filter((line) => !qemuDeviates(line.split(' ')[1] ?? ''))
    for (const line of surprises) process.stdout.write(`${line}\n`)
    process.stdout.write(`passed ${report.passed.length}, known deviations ${report.failed.length - surprises.length}, skipped ${report.skipped.length}, `
      + `unexpected ${surprises.length}${report.complete ? '' : ', and the guest did not finish'}\n`)
    process.exitCode = surprises.length === 0 && report.complete ? 0 : 1
  }
}
