/** `mesovirt doctor` as users run it: what it says of this host is what a launch does here. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { DoctorFacts } from '../src/doctor/facts.ts'
import type { DoctorReport } from '../src/doctor/judge.ts'
import { resetting, saying } from './support/bare-guest.ts'
import { describeWhere } from './support/optional.ts'
import { mesovirt, MESOVIRT, scratch } from './support/vm.ts'

type Json = DoctorReport & { version: number; facts: DoctorFacts }
const NOBODY = 65534

/** @param uid user to run as */
function run(script: string, argv: readonly string[], uid?: number) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...argv],
    { encoding: 'utf8', cwd: '/', timeout: 120_000, env: { PATH: process.env['PATH'] }, ...(uid === undefined ? {} : { uid, gid: uid }) })
  return { status, stdout, stderr }
}
const examine = (script: string, uid?: number) => JSON.parse(run(script, ['doctor', '--json'], uid).stdout) as Json

/** The built program without the packages beside it, where every user may read it. */
function copyWithoutPackages(): string {
  const folder = scratch()
  fs.chmodSync(folder, 0o755)
  fs.cpSync(path.dirname(MESOVIRT), path.join(folder, 'dist'), { recursive: true, filter: (file) => !file.endsWith('.map') && path.basename(file) !== 'types' })
  return path.join(folder, 'dist', path.basename(MESOVIRT))
}

describe('mesovirt doctor', () => {
  it('prints a report without colour for a pipe, and ends with 0 where a machine can be started', () => {
    const { status, stdout, stderr } = run(MESOVIRT, ['doctor'])
    expect([status, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^Program\n {2}ok {4}Node /)
    expect(stdout).toMatch(/\nWithout -accel a machine would run on the\s+accelerator\s+(kvm|tcg)/)
    expect(stdout).not.toContain('\x1b')
  })

  it('--json says the same for programs', () => {
    const { version, facts, accelerator, conclusion, canStart } = examine(MESOVIRT)
    expect({ version, canStart }).toEqual({ version: 1, canStart: true })
    expect(facts.node).toBe(process.versions.node)
    expect(run(MESOVIRT, ['doctor']).stdout.replace(/\s+/g, ' ')).toContain(conclusion)
    expect(conclusion).toContain(accelerator.why)
  })

  it('names the accelerator that a launch takes', async () => {
    const { accelerator } = examine(MESOVIRT)
    const kernel = path.join(scratch(), 'kernel')
    fs.writeFileSync(kernel, saying('up\n'))
    const vm = mesovirt('-machine', 'microvm', '-kernel', kernel, '-serial', 'stdio')
    await vm.out.until('up')
    expect(vm.err.all).toContain(`mesovirt: accelerator ${accelerator.name} `)
    expect(vm.err.all).toContain(accelerator.why)
    await vm.kill()
  })

  it('without koffi says what that means, and tcg runs', () => {
    const program = copyWithoutPackages()
    const { accelerator, findings } = examine(program)
    expect(accelerator.name).toBe('tcg')
    expect(findings.find(({ id }) => id === 'koffi')).toMatchObject({ verdict: 'warn', found: 'not installed', fix: 'npm install koffi' })
    expect(run(program, ['doctor']).status).toBe(0)
  })

  it('an unknown option is one line', () => {
    expect(run(MESOVIRT, ['doctor', '--jsn'])).toEqual({ status: 1, stdout: '', stderr: "mesovirt: unknown option '--jsn' (Did you mean --json?)\n" })
  })
})

const node = fs.statSync('/dev/kvm', { throwIfNoEntry: false })
const forRootOnly = process.getuid?.() === 0 && node !== undefined && (node.mode & 0o006) === 0

describeWhere(forRootOnly, 'root, and a /dev/kvm that not everybody may open', 'for a user who may not open /dev/kvm', () => {
  it('the doctor tells the command that helps, and -accel kvm is refused with it', () => {
    const program = copyWithoutPackages()
    const { accelerator, findings } = examine(program, NOBODY)
    expect(accelerator).toEqual({ name: 'tcg', why: 'no permission to open /dev/kvm' })
    const fix = findings.find(({ id }) => id === 'kvm-permissions')?.fix ?? ''
    expect(fix).toContain('sudo usermod -aG')
    const kernel = path.join(path.dirname(program), 'kernel')
    fs.writeFileSync(kernel, saying('up\n'))
    expect(run(program, ['-accel', 'kvm', '-kernel', kernel], NOBODY)).toEqual({ status: 1, stdout: '',
      stderr: `mesovirt: -accel kvm: no permission to open /dev/kvm; ${fix}, or use -accel tcg\n` })
  })
})

/** A /dev of a few harmless devices, in a mount namespace that ends with the command: arguments are the folder and the command. */
const WITHOUT_KVM = `
  mount -t tmpfs none "$0" && cd "$0" && mknod -m 666 null c 1 3 && mknod -m 666 zero c 1 5 && mknod -m 666 urandom c 1 9 && mount --move "$0" /dev && cd / && exec "$@"`

function canHideDevices(): boolean {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mv-'))
  const { status } = spawnSync('unshare', ['-m', 'sh', '-c', WITHOUT_KVM, folder, 'true'])
  fs.rmdirSync(folder)
  return status === 0
}

describeWhere(process.getuid?.() === 0 && canHideDevices(), 'root that may make a mount namespace', 'on a host without /dev/kvm', () => {
  const runThere = (...argv: string[]) => {
    const { status, stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', WITHOUT_KVM, scratch(), process.execPath, MESOVIRT, ...argv], { encoding: 'utf8', timeout: 120_000 })
    return { status, stdout, stderr }
  }

  it('the doctor says so, with what to do, and that machines run on tcg', () => {
    const { status, stdout } = runThere('doctor', '--json')
    const { accelerator, findings } = JSON.parse(stdout) as Json
    const device = findings.find(({ id }) => id === 'kvm-device')
    expect({ status, name: accelerator.name, verdict: device?.verdict }).toEqual({ status: 0, name: 'tcg', verdict: 'warn' })
    expect(device?.fix).toMatch(/\S/)
    expect(accelerator.why).toContain('no /dev/kvm')
  })

  it('-accel kvm is refused in one line, and without -accel tcg is taken and named', () => {
    const kernel = path.join(scratch(), 'kernel')
    fs.writeFileSync(kernel, resetting('up\n'))
    const refused = runThere('-accel', 'kvm', '-kernel', kernel)
    expect({ status: refused.status, stdout: refused.stdout }).toEqual({ status: 1, stdout: '' })
    expect(refused.stderr).toMatch(/^mesovirt: -accel kvm: [^\n]*\/dev\/kvm[^\n]*-accel tcg[^\n]*\n$/)
    const taken = runThere('-kernel', kernel, '-serial', 'stdio')
    expect(taken).toMatchObject({ status: 0, stdout: 'up\n' })
    expect(taken.stderr).toMatch(/^mesovirt: accelerator tcg [^\n]*no \/dev\/kvm[^\n]*\n$/)
  })
})
