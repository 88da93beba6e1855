/** What `mesovirt doctor` learns about a host. Plain data: printed by --json, recorded in tests, judged by judge.ts. No opinion here. */
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import { readCpu } from '../../host/cpu-flags.ts'
import { MesovirtError } from '../../host/errors.ts'
import { ffi, koffiVersion } from '../../host/ffi.ts'
import { groupName, openKvm, probeKvm, readKvmHost } from '../../host/kvm-device.ts'
import type { KvmHost, KvmProblem } from '../../host/kvm-device.ts'
import { probeIoUring, probeMemfd } from '../../host/system-probes.ts'
import type { SystemCallState } from '../../host/system-probes.ts'
import { DEFAULT_RAM } from '../../machine-manager/options/table-machine.ts'

/** A module of npm that may be missing. */
export interface PackageFact {
  /** undefined: not installed */
  readonly version: string | undefined
  /** Why it cannot be used. */
  readonly problem: string | undefined
}

export interface DeviceFact { readonly path: string; readonly state: 'usable' | 'denied' | 'missing' }

export interface HugePageFact { readonly sizeBytes: number; readonly total: number; readonly free: number }

export interface CapabilityFact { readonly name: string; readonly why: string }

export interface DoctorFacts {
  /** as Node names them: linux, x64 ... */
  readonly platform: string
  readonly arch: string
  readonly kernel: string
  /** Name of the distribution; undefined where it is not told. */
  readonly distribution: string | undefined
  readonly node: string
  readonly koffi: PackageFact
  readonly nodePty: PackageFact
  readonly cpu: { readonly model: string; readonly cores: number; readonly flags: readonly string[] }
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number }
  /** Why the software CPU cannot have memory for a guest of the default size; undefined when it can. */
  readonly tcgProblem: string | undefined
  readonly user: { readonly name: string; readonly root: boolean; readonly groups: readonly string[] }
  readonly kvm: {
    readonly host: KvmHost
    /** Why the device does not open; undefined when it does. */
    readonly problem: KvmProblem | undefined
    /** What the kernel's KVM lacks; undefined when it could not be asked. */
    readonly missing: readonly CapabilityFact[] | undefined
    /** /etc/group has the user in the device's group, whether or not this login knows it already. */
    readonly memberOfGroup: boolean
  }
  readonly devices: readonly DeviceFact[]
  readonly hugePages: readonly HugePageFact[]
  readonly hugetlbfs: readonly string[]
  /** /sys/kernel/mm/transparent_hugepage/enabled: always, madvise or never. */
  readonly transparentHugePages: string | undefined
  /** kernel.io_uring_disabled: 0 for everybody, 1 for root only, 2 for nobody; undefined where there is no such setting. */
  readonly ioUringDisabled: number | undefined
  /** undefined: not asked, for want of koffi */
  readonly ioUring: SystemCallState | undefined
  readonly memfd: SystemCallState | undefined
  /** Soft limits of this process; Infinity is written as null. */
  readonly limits: { readonly openFiles: number | null; readonly lockedBytes: number | null; readonly addressSpaceBytes: number | null } | undefined
}

const DEVICES = ['/dev/vhost-net', '/dev/vhost-vsock', '/dev/net/tun'] as const
/** Flags of /proc/cpuinfo that make a difference to a guest or to us. */
const FLAGS = ['vmx', 'svm', 'ept', 'npt', 'hypervisor', 'constant_tsc', 'nonstop_tsc', 'tsc_deadline_timer', 'x2apic', 'avx2', 'avx512f', 'sev'] as const

/** Asks this host. Opens devices for a moment, changes nothing. */
export async function gatherFacts(): Promise<DoctorFacts> {
  const { host, problem, missing, memberOfGroup, koffi } = await kvmFacts()
  const cpu = readCpu()
  const usable = koffi.problem === undefined
  return {
    platform: process.platform, arch: process.arch, kernel: os.release(),
    distribution: /^PRETTY_NAME="?(.*?)"?$/m.exec(readText('/etc/os-release') ?? '')?.[1],
    node: process.versions.node, koffi, nodePty: await nodePtyFact(),
    cpu: { model: cpu.model || os.cpus()[0]?.model || 'unknown', cores: os.availableParallelism(), flags: FLAGS.filter((flag) => cpu.flags.has(flag)) },
    memory: { totalBytes: os.totalmem(), availableBytes: availableMemory() },
    tcgProblem: await tcgProblem(),
    user: { name: userName(), root: process.getuid?.() === 0, groups: userGroups() },
    kvm: { host, problem, missing, memberOfGroup },
    devices: process.platform === 'linux' ? DEVICES.map((path) => ({ path, state: deviceState(path) })) : [],
    hugePages: hugePages(), hugetlbfs: hugetlbfs(),
    transparentHugePages: /\[(\w+)\]/.exec(readText('/sys/kernel/mm/transparent_hugepage/enabled') ?? '')?.[1],
    ioUringDisabled: numberIn('/proc/sys/kernel/io_uring_disabled'),
    ioUring: usable ? probeIoUring() : undefined, memfd: usable ? probeMemfd() : undefined,
    limits: parseLimits(readText('/proc/self/limits') ?? ''),
  }
}

async function kvmFacts(): Promise<DoctorFacts['kvm'] & { koffi: PackageFact }> {
  const host = readKvmHost()
  const problem = probeKvm(host)
  const koffi = koffiFact()
  const missing = problem === undefined && koffi.problem === undefined ? await missingOf() : undefined
  const members = (readText('/etc/group') ?? '').split('\n').map((line) => line.split(':')).find(([name]) => name !== undefined && name === host.node?.group)?.[3]
  return { host, problem, missing, memberOfGroup: (members?.trim().split(',') ?? []).includes(userName()), koffi }
}

async function missingOf(): Promise<CapabilityFact[]> {
  const { missingCapabilities } = await import('../../hypervisor/kvm/capabilities.ts')
  const fd = openKvm()
  try {
    return missingCapabilities(fd).map(({ name, why }) => ({ name, why }))
  } finally {
    fs.closeSync(fd)
  }
}

function koffiFact(): PackageFact {
  const version = koffiVersion()
  try {
    ffi()
    return { version, problem: undefined }
  } catch (error) {
    return { version, problem: error instanceof MesovirtError ? error.message : String(error) }
  }
}

/** Loaded rather than looked for: it has to be compiled, and a copy that was not is of no use. */
async function nodePtyFact(): Promise<PackageFact> {
  let version: string | undefined
  try {
    const parsed: unknown = createRequire(import.meta.url)('node-pty/package.json')
    if (typeof parsed === 'object' && parsed !== null && 'version' in parsed) version = String(parsed.version)
  } catch {
    return { version: undefined, problem: 'it is not installed' }
  }
  try {
    await import('node-pty')
    return { version, problem: undefined }
  } catch (error) {
    return { version, problem: error instanceof Error ? error.message.split('\n')[0] ?? '' : String(error) }
  }
}

/** Reserves what the software CPU would for a guest of the default size, and lets it go again. */
async function tcgProblem(): Promise<string | undefined> {
  const { makeMemory, planMemory } = await import('../../hypervisor/tcg/memory-plan.ts')
  try {
    makeMemory(planMemory(1, [{ guestAddress: 0, size: DEFAULT_RAM }]))
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function availableMemory(): number {
  const match = /^MemAvailable:\s*(\d+) kB$/m.exec(readText('/proc/meminfo') ?? '')
  return match?.[1] === undefined ? os.freemem() : Number(match[1]) * 1024
}

function deviceState(path: string): DeviceFact['state'] {
  try {
    fs.accessSync(path, fs.constants.R_OK | fs.constants.W_OK)
    return 'usable'
  } catch {
    return fs.existsSync(path) ? 'denied' : 'missing'
  }
}

function hugePages(): HugePageFact[] {
  const folder = '/sys/kernel/mm/hugepages'
  return list(folder).flatMap((name) => {
    const kib = /^hugepages-(\d+)kB$/.exec(name)?.[1]
    if (kib === undefined) return []
    return [{ sizeBytes: Number(kib) * 1024, total: numberIn(`${folder}/${name}/nr_hugepages`) ?? 0, free: numberIn(`${folder}/${name}/free_hugepages`) ?? 0 }]
  }).sort((a, b) => a.sizeBytes - b.sizeBytes)
}

/** Mount points, with the octal escapes of /proc/mounts undone. */
function hugetlbfs(): string[] {
  const lines = (readText('/proc/mounts') ?? '').split('\n').map((line) => line.split(' '))
  return lines.filter(([, , type]) => type === 'hugetlbfs').map(([, where = '']) => where.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))))
}

/** Soft limits of /proc/self/limits (proc(5)). */
export function parseLimits(text: string): DoctorFacts['limits'] {
  const limit = (name: string): number | null | undefined => {
    const soft = new RegExp(`^${name} +(\\d+|unlimited) `, 'm').exec(text)?.[1]
    return soft === undefined ? undefined : soft === 'unlimited' ? null : Number(soft)
  }
  const openFiles = limit('Max open files')
  const lockedBytes = limit('Max locked memory')
  const addressSpaceBytes = limit('Max address space')
  return openFiles === undefined || lockedBytes === undefined || addressSpaceBytes === undefined ? undefined : { openFiles, lockedBytes, addressSpaceBytes }
}

function userName(): string {
  try {
    return os.userInfo().username
  } catch {
    return String(process.getuid?.() ?? 'unknown') // a user id without a name, as in containers
  }
}

function userGroups(): string[] {
  return [...new Set(process.getgroups?.() ?? [])].map((gid) => groupName(gid) ?? String(gid))
}

function numberIn(path: string): number | undefined {
  const text = readText(path)?.trim()
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text)
}

function readText(path: string): string | undefined {
  try {
    return fs.readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

function list(folder: string): string[] {
  try {
    return fs.readdirSync(folder)
  } catch {
    return []
  }
}
