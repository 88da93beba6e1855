/**
 * From facts about a host to what they mean for a machine on it, and what to type where something is amiss. Pure: the same facts give the same report.
 * What this version does not use is told as a fact, without advice.
 */
import { kvmKind, unsupportedHost } from '../../host/kvm-device.ts'
import { acceleratorLine, decideAccelerator } from '../../machine-manager/accelerator.ts'
import type { AcceleratorName } from '../../machine-manager/options/config.ts'
import { isHere } from '../../machine-manager/options/option-types.ts'
import { DEFAULT_RAM } from '../../machine-manager/options/table-machine.ts'
import { OPTIONS } from '../../machine-manager/options/table.ts'
import { MAX_TCG_RAM } from '../../machine-manager/options/validate.ts'
import type { DoctorFacts } from './facts.ts'

/** ok: as it should be; info: a fact without a verdict; warn: something of ours will not work, or not well; fail: no machine can be started. */
export type Verdict = 'ok' | 'info' | 'warn' | 'fail'

export interface Finding {
  /** Stable, for programs. */
  readonly id: string
  readonly section: Section
  readonly verdict: Verdict
  /** What was looked at, in a word or two. */
  readonly subject: string
  /** What was found. */
  readonly found: string
  /** What it means for which option; absent where that goes without saying. */
  readonly meaning?: string
  /** A command to type, or what else to do. */
  readonly fix?: string
}

export const SECTIONS = ['Program', 'Host', 'KVM', 'Memory', 'Devices and system calls'] as const
export type Section = (typeof SECTIONS)[number]

export interface DoctorReport {
  readonly findings: readonly Finding[]
  /** What a launch without -accel would take, and why; name undefined: nothing works. */
  readonly accelerator: { readonly name: AcceleratorName | undefined; readonly why: string }
  readonly canStart: boolean
  /** The last line for people. */
  readonly conclusion: string
}

const MIB = 2 ** 20
const GIB = 2 ** 30
const NEEDED_NODE = [20, 19] as const
const NEEDED_FILES = 256
const UNUSED = 'not used by this version'

/** Judges the facts. */
export function judge(facts: DoctorFacts): DoctorReport {
  const accelerator = chosen(facts)
  const findings = [...program(facts), ...host(facts), ...kvm(facts), ...memory(facts), ...devices(facts)]
  const failed = findings.filter(({ verdict }) => verdict === 'fail')
  const canStart = accelerator.name !== undefined && failed.length === 0
  const conclusion = !canStart || accelerator.name === undefined
    ? `No machine can be started here: ${failed.map(({ found }) => found).join('; ') || accelerator.why}.`
    : `Without -accel a machine would run on the ${acceleratorLine(accelerator.name, accelerator.why)}.`
  return { findings, accelerator, canStart, conclusion }
}

/** Applies the rule of a launch to everything known, which is more than a launch knows before it tries. */
function chosen({ kvm: { host: kvmHost, problem, missing }, koffi, platform, tcgProblem }: DoctorFacts): DoctorReport['accelerator'] {
  const later = platform === 'linux' && koffi.problem !== undefined ? { what: koffi.problem }
    : missing !== undefined && missing.length > 0 ? { what: `the kernel's KVM lacks ${missing.map(({ name }) => name).join(', ')}` } : undefined
  const { order, why = '' } = decideAccelerator({ candidates: ['kvm', 'tcg'], chosenBy: 'default' }, { host: kvmHost, problem: problem ?? later })
  if (order[0] === 'tcg' && tcgProblem !== undefined) return { name: undefined, why: `${why}; and for tcg ${tcgProblem}` }
  return { name: order[0], why }
}

function program({ node, koffi, nodePty, platform, tcgProblem }: DoctorFacts): Finding[] {
  const section = 'Program'
  const [major = 0, minor = 0] = node.split('.').map(Number)
  const old = major < NEEDED_NODE[0] || (major === NEEDED_NODE[0] && minor < NEEDED_NODE[1])
  const koffiFinding: Finding = koffi.problem === undefined || platform !== 'linux'
    ? { id: 'koffi', section, verdict: koffi.version === undefined ? 'info' : 'ok', subject: 'koffi', found: koffi.version ?? 'not installed',
      meaning: platform === 'linux' ? 'the way to native code, for kvm' : 'kvm would need it, and that is Linux only' }
    : { id: 'koffi', section, verdict: 'warn', subject: 'koffi', found: koffi.version === undefined ? 'not installed' : `${koffi.version}, which does not work`,
      meaning: 'no way to native code: -accel kvm does not work, tcg does',
      fix: koffi.version === undefined ? 'npm install koffi' : 'npm rebuild koffi' }
  return [
    { id: 'node', section, subject: 'Node', ...(old ? { verdict: 'fail', found: `Node ${node} is too old`, meaning: `${NEEDED_NODE.join('.')} is needed`,
      fix: 'install a newer Node: https://nodejs.org' } : { verdict: 'ok', found: node }) },
    tcgProblem === undefined ? { id: 'tcg', section, verdict: 'ok', subject: 'software CPU', found: 'its memory can be reserved', meaning: '-accel tcg works' }
      : { id: 'tcg', section, verdict: 'warn', subject: 'software CPU', found: `its memory cannot be reserved: ${tcgProblem}`, meaning: '-accel tcg does not work',
        fix: 'ulimit -v unlimited, and free some memory' },
    koffiFinding,
    nodePty.problem === undefined ? { id: 'node-pty', section, verdict: 'ok', subject: 'node-pty', found: nodePty.version ?? 'installed', meaning: '-serial pty and -chardev pty work' }
      : { id: 'node-pty', section, verdict: 'info', subject: 'node-pty', found: nodePty.version === undefined ? 'not installed' : `${nodePty.version}, which does not work`,
        meaning: 'only -serial pty and -chardev pty need it', fix: 'npm install node-pty (needs a C++ compiler and Python)' },
  ]
}

function host({ platform, arch, kernel, distribution, cpu, limits, kvm: { host: { virtualization } } }: DoctorFacts): Finding[] {
  const section = 'Host'
  const system = platform === 'linux' ? `Linux ${kernel}` : platform === 'darwin' ? `macOS (Darwin ${kernel})` : `${platform} ${kernel}`
  const unsupported = unsupportedHost({ platform, arch })
  const findings: Finding[] = [
    { id: 'kernel', section, verdict: 'info', subject: 'system', found: `${system}, ${arch}${distribution === undefined ? '' : `, ${distribution}`}` },
    { id: 'cpu', section, verdict: 'info', subject: 'processor', found: `${cpu.model}, ${cpu.cores} ${cpu.cores === 1 ? 'core' : 'cores'}`,
      meaning: 'with kvm each vCPU of -smp can have a core; with tcg all share one' },
  ]
  if (unsupported === undefined) findings.push(virtualizationFinding(virtualization, cpu.flags))
  if (limits !== undefined && limits.openFiles !== null && limits.openFiles < NEEDED_FILES) {
    findings.push({ id: 'open-files', section, verdict: 'warn', subject: 'open files', found: `at most ${limits.openFiles}`, meaning: 'few for many vCPUs and connections', fix: 'ulimit -n 4096' })
  } else if (limits !== undefined) {
    findings.push({ id: 'open-files', section, verdict: 'ok', subject: 'open files', found: limits.openFiles === null ? 'no limit' : `at most ${limits.openFiles}` })
  }
  return findings
}

function virtualizationFinding(virtualization: DoctorFacts['kvm']['host']['virtualization'], flags: readonly string[]): Finding {
  const common = { id: 'virtualization', section: 'Host', subject: 'virtualization' } as const
  if (virtualization === 'none') {
    const guest = flags.includes('hypervisor')
    return { ...common, verdict: 'info', found: `none: neither vmx nor svm${guest ? '; this host is a virtual machine itself' : ''}`,
      meaning: 'no hardware for kvm to use',
      fix: guest ? 'enable nested virtualization in the hypervisor around it, if it runs on hardware that has it' : 'enable virtualization in the firmware setup' }
  }
  const tables = virtualization === 'vmx' ? 'ept' : 'npt'
  const found = `${virtualization}${flags.includes(tables) ? ` with ${tables}` : ''}${flags.includes('hypervisor') ? ', nested: this host is a virtual machine itself' : ''}`
  return flags.includes(tables) ? { ...common, verdict: 'ok', found } : { ...common, verdict: 'warn', found: `${found} without ${tables}`, meaning: 'kvm works, but a guest that changes its page tables is slow' }
}

function kvm({ platform, arch, kvm: { host: kvmHost, problem, missing, memberOfGroup }, koffi, user }: DoctorFacts): Finding[] {
  const section = 'KVM'
  const unsupported = unsupportedHost({ platform, arch })
  if (unsupported !== undefined) return [{ id: 'kvm-device', section, verdict: 'info', subject: 'KVM', found: unsupported.what, meaning: '-accel tcg is what works here' }]
  const findings: Finding[] = []
  const kind = kvmKind(kvmHost)
  const device = { id: 'kvm-device', section, subject: '/dev/kvm' } as const
  const modules = kvmHost.modules.length === 0 ? '' : ` (modules: ${kvmHost.modules.join(', ')})`
  const denied = problem?.code === 'KVM_DENIED'
  if (problem !== undefined) {
    findings.push({ ...device, verdict: 'warn', found: `${problem.what}${modules}`, meaning: '-accel kvm does not work, tcg does', ...(denied ? {} : { fix: problem.fix }) })
  } else if (kind === 'pvm') {
    findings.push({ ...device, verdict: 'warn', found: `opens, but no hardware is behind it: PVM${modules}`,
      meaning: "guest kernel code runs in the host kernel's instruction emulator, slower than in tcg, and stock kernels die of instructions that it lacks; "
        + 'tcg is taken by default, -accel kvm is obeyed' })
  } else {
    findings.push({ ...device, verdict: 'ok', found: `opens: ${kind}${modules}`, meaning: '-accel kvm works' })
  }
  if (kvmHost.node !== undefined) {
    const { mode, uid, group, gid } = kvmHost.node
    const owner = `${uid === 0 ? 'root' : uid}:${group ?? gid} ${mode.toString(8).padStart(3, '0')}, you are ${user.name}`
    const waiting = denied && memberOfGroup && group !== undefined && !user.groups.includes(group)
    findings.push({ id: 'kvm-permissions', section, subject: 'permissions', found: owner, ...(!denied ? { verdict: 'ok' } as const
      : { verdict: 'warn', meaning: waiting ? `you were added to the group ${group} after this login began` : 'you may not open it',
        fix: waiting ? `log in again, or for this shell: newgrp ${group}` : problem.fix } as const) })
  }
  findings.push(capabilities(problem !== undefined, koffi.problem !== undefined, missing))
  return findings
}

function capabilities(closed: boolean, noFfi: boolean, missing: DoctorFacts['kvm']['missing']): Finding {
  const common = { id: 'kvm-capabilities', section: 'KVM', subject: 'capabilities' } as const
  if (missing === undefined) return { ...common, verdict: 'info', found: `not asked, since ${closed ? '/dev/kvm does not open' : noFfi ? 'koffi does not work' : 'KVM did not answer'}` }
  if (missing.length === 0) return { ...common, verdict: 'ok', found: 'all that are needed' }
  return { ...common, verdict: 'warn', found: `missing: ${missing.map(({ name, why }) => `${name} (${why})`).join(', ')}`, meaning: '-accel kvm does not work, tcg does',
    fix: 'use a newer kernel (4.20 has all)' }
}

function memory({ memory: { totalBytes, availableBytes }, hugePages, hugetlbfs, transparentHugePages, limits, platform }: DoctorFacts): Finding[] {
  const section = 'Memory'
  const little = availableBytes < DEFAULT_RAM
  const findings: Finding[] = [{
    id: 'ram', section, verdict: little ? 'warn' : 'ok', subject: 'RAM', found: `${size(availableBytes)} of ${size(totalBytes)} available`,
    meaning: little ? `less than the ${size(DEFAULT_RAM)} that a guest gets by default: the host swaps, or ends the machine` : `bounds -m; tcg takes at most ${MAX_TCG_RAM / MIB}M`,
    ...(little ? { fix: 'end other programs' } : {}),
  }]
  const space = limits?.addressSpaceBytes
  if (space !== undefined && space !== null) {
    findings.push({ id: 'address-space', section, verdict: 'warn', subject: 'address space', found: `limited to ${size(space)}`,
      meaning: 'Node reserves many times what a guest has; large guests fail', fix: 'ulimit -v unlimited' })
  }
  if (limits !== undefined) {
    findings.push({ id: 'locked-memory', section, verdict: 'info', subject: 'locked memory', found: limits.lockedBytes === null ? 'no limit' : `at most ${size(limits.lockedBytes)}`,
      meaning: `guest memory is not locked; ${UNUSED}` })
  }
  if (platform !== 'linux') return findings
  const pools = hugePages.map(({ sizeBytes, total, free }) => `${size(sizeBytes)}: ${free} of ${total} free`).join(', ')
  const use = OPTIONS.some((option) => option.name === 'mem-path' && isHere(option)) ? 'for -mem-path' : UNUSED
  findings.push({ id: 'huge-pages', section, verdict: 'info', subject: 'huge pages', found: pools === '' ? 'none in this kernel' : pools, meaning: use },
    { id: 'hugetlbfs', section, verdict: 'info', subject: 'hugetlbfs', found: hugetlbfs.length === 0 ? 'not mounted' : `mounted at ${hugetlbfs.join(', ')}`, meaning: use },
    { id: 'transparent-huge-pages', section, verdict: 'info', subject: 'transparent', found: transparentHugePages === undefined ? 'no huge pages without a pool' : `huge pages without a pool: ${transparentHugePages}` })
  return findings
}

function devices({ devices: found, ioUring, ioUringDisabled, memfd, platform }: DoctorFacts): Finding[] {
  if (platform !== 'linux') return []
  const section = 'Devices and system calls'
  const findings: Finding[] = found.map(({ path, state }) => ({
    id: path.slice('/dev/'.length).replace('/', '-'), section, verdict: 'info', subject: path.slice('/dev/'.length),
    found: state === 'usable' ? 'there, and permitted' : state === 'denied' ? 'there, without permission' : `no ${path}`, meaning: UNUSED,
  }))
  const setting = ioUringDisabled === undefined ? '' : `, kernel.io_uring_disabled = ${ioUringDisabled}`
  const ring = { id: 'io_uring', section, subject: 'io_uring', found: `${callState(ioUring)}${setting}` } as const
  findings.push(ioUring === 'works' || ioUring === undefined ? { ...ring, verdict: 'info', meaning: 'for disks with aio=io_uring' } : {
    ...ring, verdict: 'warn', meaning: 'disks with aio=io_uring do not work; those with aio=threads, the default, do',
    fix: ioUring === 'refused' && (ioUringDisabled ?? 0) > 0 ? 'sudo sysctl kernel.io_uring_disabled=0' : 'use aio=threads',
  })
  findings.push({ id: 'memfd', section, verdict: memfd === undefined || memfd === 'works' ? 'info' : 'warn', subject: 'memfd', found: callState(memfd), meaning: 'for guest memory that other processes can map' })
  return findings
}

function callState(state: DoctorFacts['memfd']): string {
  switch (state) {
    case 'works': return 'works'
    case 'absent': return 'not in this kernel'
    case 'refused': return 'refused by the system (a setting or a sandbox)'
    case undefined: return 'not asked, since koffi does not work'
  }
}

/** `3.9 GiB`, `8 MiB`. */
function size(bytes: number): string {
  const [unit, name] = bytes >= GIB ? [GIB, 'GiB'] : bytes >= MIB ? [MIB, 'MiB'] : [1024, 'KiB']
  return `${Math.round(bytes / unit * 10) / 10} ${name}`
}
