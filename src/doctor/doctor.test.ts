import { describe, expect, it } from 'vitest'
import { openProblem, unsupportedHost } from '../../host/kvm-device.ts'
import { gatherFacts, parseLimits } from './facts.ts'
import type { DoctorFacts } from './facts.ts'
import { judge } from './judge.ts'
import type { DoctorReport, Verdict } from './judge.ts'
import { renderReport } from './render.ts'

const GIB = 2 ** 30
const MIB = 2 ** 20

/** Recorded on a 2-core virtual machine with a host kernel that has PVM. */
const PVM: DoctorFacts = {
  platform: 'linux', arch: 'x64', kernel: '6.18.44', distribution: 'Debian GNU/Linux 12 (bookworm)', node: '20.20.2',
  koffi: { version: '3.3.4', problem: undefined }, nodePty: { version: '1.1.0', problem: undefined },
  cpu: { model: 'AMD EPYC', cores: 2, flags: ['hypervisor', 'constant_tsc', 'nonstop_tsc', 'x2apic', 'avx2'] },
  memory: { totalBytes: 25_276_510_208, availableBytes: 23_055_294_464 }, tcgProblem: undefined,
  user: { name: 'root', root: true, groups: ['root'] },
  kvm: {
    host: { platform: 'linux', arch: 'x64', virtualization: 'none', modules: ['kvm', 'kvm_pvm'], node: { characterDevice: true, mode: 0o600, uid: 0, gid: 0, group: 'root' } },
    problem: undefined, missing: [], memberOfGroup: false,
  },
  devices: [{ path: '/dev/vhost-net', state: 'missing' }, { path: '/dev/vhost-vsock', state: 'missing' }, { path: '/dev/net/tun', state: 'usable' }],
  hugePages: [{ sizeBytes: 2 * MIB, total: 0, free: 0 }, { sizeBytes: GIB, total: 0, free: 0 }], hugetlbfs: [], transparentHugePages: 'madvise',
  ioUringDisabled: 0, ioUring: 'works', memfd: 'works', limits: { openFiles: 20000, lockedBytes: 8 * MIB, addressSpaceBytes: null },
}

/** As Debian's kernel 6.1 sees the processor of QEMU with svm and npt, kvm-amd loaded. */
const SVM: DoctorFacts = {
  ...PVM, kernel: '6.1.0-40-amd64', cpu: { model: 'AMD EPYC Processor', cores: 4, flags: ['svm', 'npt', 'hypervisor', 'x2apic'] },
  memory: { totalBytes: 2 * GIB, availableBytes: 1.75 * GIB }, transparentHugePages: 'always', ioUringDisabled: undefined,
  kvm: { ...PVM.kvm, host: { ...PVM.kvm.host, virtualization: 'svm', modules: ['kvm', 'kvm_amd'] } },
}

const withKvm = (base: DoctorFacts, change: Partial<DoctorFacts['kvm']> & { host?: DoctorFacts['kvm']['host'] }): DoctorFacts => ({ ...base, kvm: { ...base.kvm, ...change } })

const bareHost = { ...PVM.kvm.host, modules: [], node: undefined }
const NO_DEVICE = withKvm(PVM, { host: bareHost, problem: openProblem('ENOENT', bareHost), missing: undefined })

const KVM_GROUP = { characterDevice: true, mode: 0o660, uid: 0, gid: 104, group: 'kvm' }
const deniedHost = { ...SVM.kvm.host, node: KVM_GROUP }
const DENIED: DoctorFacts = { ...withKvm(SVM, { host: deniedHost, problem: openProblem('EACCES', deniedHost), missing: undefined }),
  user: { name: 'ada', root: false, groups: ['ada', 'audio'] } }

const KOFFI_MISSING = 'the package koffi, the way to native code, is not installed; install it with: npm install koffi'
const NO_KOFFI: DoctorFacts = { ...withKvm(SVM, { missing: undefined }), koffi: { version: undefined, problem: KOFFI_MISSING }, ioUring: undefined, memfd: undefined }

const MAC: DoctorFacts = {
  ...PVM, platform: 'darwin', arch: 'arm64', kernel: '24.1.0', distribution: undefined, cpu: { model: 'Apple M2', cores: 8, flags: [] },
  koffi: { version: '3.3.4', problem: 'this needs Linux, and the host is darwin' }, user: { name: 'ada', root: false, groups: ['staff'] },
  kvm: { host: { platform: 'darwin', arch: 'arm64', virtualization: 'none', modules: [], node: undefined }, problem: unsupportedHost({ platform: 'darwin', arch: 'arm64' }),
    missing: undefined, memberOfGroup: false },
  devices: [], hugePages: [], hugetlbfs: [], transparentHugePages: undefined, ioUringDisabled: undefined, ioUring: undefined, memfd: undefined, limits: undefined,
}

const finding = (report: DoctorReport, id: string) => report.findings.find((each) => each.id === id)
const verdicts = (report: DoctorReport, verdict: Verdict) => report.findings.filter((each) => each.verdict === verdict).map(({ id }) => id)

describe('the doctor', () => {
  it.each<[string, DoctorFacts, 'kvm' | 'tcg', string, string[]]>([
    ['PVM', PVM, 'tcg', 'no hardware virtualization is behind /dev/kvm here (PVM), and stock kernels do not run on it (-accel kvm tries all the same)', ['kvm-device']],
    ['hardware', SVM, 'kvm', 'the processor has svm and /dev/kvm opens', []],
    ['no /dev/kvm', NO_DEVICE, 'tcg', 'there is no /dev/kvm, and the processor shows neither vmx nor svm', ['kvm-device']],
    ['no permission', DENIED, 'tcg', 'no permission to open /dev/kvm', ['kvm-device', 'kvm-permissions']],
    ['no koffi', NO_KOFFI, 'tcg', KOFFI_MISSING, ['koffi']],
    ['a KVM that lacks something', withKvm(SVM, { missing: [{ name: 'KVM_CAP_IRQFD', why: 'interrupts by eventfd' }] }), 'tcg', "the kernel's KVM lacks KVM_CAP_IRQFD", ['kvm-capabilities']],
    ['macOS', MAC, 'tcg', "kvm is Linux's, and this host runs macOS", []],
  ])('on a host with %s says what would be taken, why, and where to look', (_, facts, name, why, warnings) => {
    const report = judge(facts)
    expect(report.accelerator).toEqual({ name, why })
    expect(report.canStart).toBe(true)
    expect([verdicts(report, 'warn'), verdicts(report, 'fail')]).toEqual([warnings, []])
    expect(report.conclusion).toContain(why)
  })

  it('names each finding once', () => {
    for (const facts of [PVM, SVM, NO_DEVICE, DENIED, NO_KOFFI, MAC]) {
      const ids = judge(facts).findings.map(({ id }) => id)
      expect(new Set(ids).size).toBe(ids.length)
    }
  })

  it('tells what is behind /dev/kvm', () => {
    expect(finding(judge(PVM), 'kvm-device')).toMatchObject({ verdict: 'warn', found: 'opens, but no hardware is behind it: PVM (modules: kvm, kvm_pvm)' })
    expect(finding(judge(SVM), 'kvm-device')).toMatchObject({ verdict: 'ok', found: 'opens: svm (modules: kvm, kvm_amd)' })
    expect(finding(judge(SVM), 'virtualization')).toMatchObject({ verdict: 'ok', found: 'svm with npt, nested: this host is a virtual machine itself' })
    expect(finding(judge({ ...SVM, cpu: { ...SVM.cpu, flags: ['svm'] } }), 'virtualization')).toMatchObject({ verdict: 'warn', found: 'svm without npt' })
  })

  it('gives a command for a missing permission', () => {
    expect(finding(judge(DENIED), 'kvm-permissions')).toMatchObject({ found: 'root:kvm 660, you are ada', fix: 'join its group and log in again: sudo usermod -aG kvm $USER' })
    expect(finding(judge(withKvm(DENIED, { memberOfGroup: true })), 'kvm-permissions')).toMatchObject({ fix: 'log in again, or for this shell: newgrp kvm' })
  })

  it('gives a command for a missing module', () => {
    const host = { ...SVM.kvm.host, modules: [], node: undefined }
    expect(finding(judge(withKvm(SVM, { host, problem: openProblem('ENOENT', host), missing: undefined })), 'kvm-device')?.fix).toContain('sudo modprobe kvm_amd')
  })

  it('tells a koffi that is not there from one that does not work', () => {
    expect(finding(judge(NO_KOFFI), 'koffi')).toMatchObject({ verdict: 'warn', found: 'not installed', fix: 'npm install koffi' })
    expect(finding(judge({ ...NO_KOFFI, koffi: { version: '3.3.4', problem: 'it is broken' } }), 'koffi')).toMatchObject({ found: '3.3.4, which does not work', fix: 'npm rebuild koffi' })
    expect(finding(judge(NO_KOFFI), 'kvm-capabilities')).toMatchObject({ verdict: 'info', found: 'not asked, since koffi does not work' })
  })

  it('a Node that is too old is a failure whatever else there is', () => {
    const report = judge({ ...SVM, node: '20.18.3' })
    expect([report.canStart, report.conclusion]).toEqual([false, 'No machine can be started here: Node 20.18.3 is too old.'])
    expect(judge({ ...SVM, node: '20.19.0' }).canStart).toBe(true)
    expect(judge({ ...SVM, node: '22.0.0' }).canStart).toBe(true)
  })

  it('a software CPU without memory is a failure only where kvm is none either', () => {
    expect(judge({ ...SVM, tcgProblem: 'no room' })).toMatchObject({ canStart: true, accelerator: { name: 'kvm' } })
    expect(judge({ ...PVM, tcgProblem: 'no room' })).toMatchObject({ canStart: false, accelerator: { name: undefined } })
    expect(judge({ ...PVM, tcgProblem: 'no room' }).conclusion).toMatch(/^No machine can be started here: .*no room/)
  })

  it('warns of little memory, of a limit on address space and of few files', () => {
    const report = judge({ ...SVM, memory: { totalBytes: GIB, availableBytes: 100 * MIB }, limits: { openFiles: 64, lockedBytes: null, addressSpaceBytes: 2 * GIB } })
    expect(verdicts(report, 'warn')).toEqual(['open-files', 'ram', 'address-space'])
    expect(finding(report, 'address-space')).toMatchObject({ found: 'limited to 2 GiB', fix: 'ulimit -v unlimited' })
  })

  it('what this version does not use is a fact without advice', () => {
    for (const id of ['vhost-net', 'vhost-vsock', 'net-tun']) {
      const one = finding(judge(PVM), id)
      expect([one?.verdict, one?.fix, one?.meaning]).toEqual(['info', undefined, 'not used by this version'])
    }
  })
})

describe('io_uring', () => {
  it('is for disks where it works, and a warning with the setting that allows it where it is refused', () => {
    expect(finding(judge({ ...PVM, ioUring: 'works' }), 'io_uring')).toMatchObject({ verdict: 'info', meaning: 'for disks with aio=io_uring' })
    expect(finding(judge({ ...PVM, ioUring: 'refused', ioUringDisabled: 2 }), 'io_uring')).toMatchObject({ verdict: 'warn', fix: 'sudo sysctl kernel.io_uring_disabled=0' })
    expect(finding(judge({ ...PVM, ioUring: 'absent', ioUringDisabled: undefined }), 'io_uring')).toMatchObject({ verdict: 'warn', fix: 'use aio=threads' })
  })
})

describe('the report as text', () => {
  const ofWidth = (facts: DoctorFacts, columns: number, colour = false) => renderReport(judge(facts), { columns, colour })

  it.each([60, 80, 120])('fits %i columns', (columns) => {
    for (const facts of [PVM, SVM, NO_DEVICE, DENIED, NO_KOFFI, MAC]) {
      expect(ofWidth(facts, columns).split('\n').filter((line) => line.length > columns && line.trim().includes(' '))).toEqual([])
    }
  })

  it('has a verdict, a subject and what was found on each line, and ends with a sentence', () => {
    const lines = ofWidth(SVM, 120).trimEnd().split('\n')
    expect(lines).toContain('  ok    /dev/kvm         opens: svm (modules: kvm, kvm_amd); -accel kvm works')
    expect(lines.slice(-2).join(' ')).toBe('Without -accel a machine would run on the accelerator kvm (hardware virtualization): the processor has svm and /dev/kvm opens.')
    expect(ofWidth(DENIED, 120)).toContain('\n                         fix: join its group and log in again: sudo usermod -aG kvm $USER\n')
  })

  it('is coloured only when asked', () => {
    expect(ofWidth(PVM, 80)).not.toContain('\x1b')
    expect(ofWidth(PVM, 80, true)).toContain('\x1b[33mwarn\x1b[0m')
    expect(ofWidth(PVM, 80, true).replace(/\x1b\[\d+m/g, '')).toBe(ofWidth(PVM, 80))
  })
})

describe('facts', () => {
  it('are gathered on this host and are plain data', async () => {
    const facts = await gatherFacts()
    expect(facts).toMatchObject({ platform: process.platform, node: process.versions.node })
    expect(judge(JSON.parse(JSON.stringify(facts)) as DoctorFacts)).toEqual(judge(facts))
  })

  it('limits are the soft ones', () => {
    const text = 'Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 524288               files     \n'
      + 'Max locked memory         unlimited            unlimited            bytes     \nMax address space         4096                 unlimited            bytes     \n'
    expect(parseLimits(text)).toEqual({ openFiles: 1024, lockedBytes: null, addressSpaceBytes: 4096 })
    expect(parseLimits('')).toBeUndefined()
  })
})
