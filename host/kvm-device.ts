/**
 * /dev/kvm from the outside (Linux Documentation/virt/kvm/api.rst, section 1, up to open): whether it opens, what is behind it, and what to do when
 * it does not. Needs no native code; what the device can do is hypervisor/kvm's subject.
 */
import fs from 'node:fs'
import { MesovirtError } from './errors.ts'
import { readCpu, virtualizationOf } from './cpu-flags.ts'
import type { CpuVirtualization } from './cpu-flags.ts'

export const KVM_DEVICE = '/dev/kvm'

/** What runs guests behind an open /dev/kvm: Intel's or AMD's hardware, or a host kernel that does without any (PVM). */
export type KvmKind = 'vmx' | 'svm' | 'pvm'

export type KvmErrorCode = 'KVM_MISSING' | 'KVM_DENIED' | 'KVM_BUSY' | 'KVM_FAILED'

/** Why kvm cannot be used: what happened, and what to do about it, each without a full stop. */
export interface KvmProblem { readonly code: KvmErrorCode; readonly what: string; readonly fix: string }

/** What the host says about KVM. Everything here can be read without opening the device. */
export interface KvmHost {
  readonly platform: string
  /** as Node names it: x64, arm64 */
  readonly arch: string
  readonly virtualization: CpuVirtualization
  /** Kernel modules of /sys/module, built-in ones too: kvm, kvm_intel, kvm_amd, kvm_pvm. */
  readonly modules: readonly string[]
  /** Owner and permissions of the device; undefined where there is none. */
  readonly node: KvmNode | undefined
}

export interface KvmNode {
  readonly characterDevice: boolean
  /** permission bits, 0o660 */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Name of that group; undefined where /etc/group does not know it. */
  readonly group: string | undefined
}

const MODULES = ['kvm', 'kvm_intel', 'kvm_amd', 'kvm_pvm'] as const
const GROUP_READ_WRITE = 0o060

/** Asks the host, without opening the device. */
export function readKvmHost(): KvmHost {
  return {
    platform: process.platform, arch: process.arch, virtualization: virtualizationOf(readCpu()),
    modules: MODULES.filter((name) => fs.existsSync(`/sys/module/${name}`)), node: readNode(),
  }
}

function readNode(): KvmNode | undefined {
  const stat = fs.statSync(KVM_DEVICE, { throwIfNoEntry: false })
  if (stat === undefined) return undefined
  return { characterDevice: stat.isCharacterDevice(), mode: stat.mode & 0o777, uid: stat.uid, gid: stat.gid, group: groupName(stat.gid) }
}

/** Name of a group in /etc/group; other sources of groups are not asked. */
export function groupName(gid: number): string | undefined {
  try {
    const line = fs.readFileSync('/etc/group', 'utf8').split('\n').find((entry) => entry.split(':')[2] === String(gid))
    return line?.split(':')[0]
  } catch {
    return undefined
  }
}

/** What is behind a /dev/kvm. A module that needs no hardware and is alone decides; otherwise the processor's flags do. */
export function kvmKind({ virtualization, modules }: KvmHost): KvmKind {
  const withoutHardware = modules.includes('kvm_pvm') && !modules.includes('kvm_intel') && !modules.includes('kvm_amd')
  return withoutHardware || virtualization === 'none' ? 'pvm' : virtualization
}

/** What keeps kvm from being used on any host of this kind, before anything is opened. */
export function unsupportedHost({ platform, arch }: Pick<KvmHost, 'platform' | 'arch'>): KvmProblem | undefined {
  if (platform !== 'linux') {
    const name = platform === 'darwin' ? 'macOS' : platform
    return { code: 'KVM_MISSING', what: `kvm is Linux's, and this host runs ${name}`, fix: 'run it on Linux' }
  }
  if (arch !== 'x64') return { code: 'KVM_MISSING', what: `kvm is there for x86-64 hosts only in this version, and this one is ${arch}`, fix: 'run it on x86-64' }
  return undefined
}

/**
 * Explains a failed open of /dev/kvm.
 * @param errno name of the error number: ENOENT, EACCES ...
 */
export function openProblem(errno: string, host: KvmHost): KvmProblem {
  switch (errno) {
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return missing(errno, host)
    case 'EACCES':
      return { code: 'KVM_DENIED', what: `no permission to open ${KVM_DEVICE}`, fix: permissionFix(host.node) }
    case 'EPERM':
      return { code: 'KVM_DENIED', what: `${KVM_DEVICE} must not be opened here (EPERM)`,
        fix: 'allow the device where this runs: --device /dev/kvm for a container, DeviceAllow=/dev/kvm rw for a systemd unit' }
    case 'EBUSY':
      return BUSY
    default:
      return { code: 'KVM_FAILED', what: `${KVM_DEVICE} cannot be opened (${errno})`, fix: 'see what the kernel says: dmesg | grep -i kvm' }
  }
}

const BUSY: KvmProblem = {
  code: 'KVM_BUSY', what: 'the kernel says that hardware virtualization is busy (EBUSY): another hypervisor such as VirtualBox or VMware owns it',
  fix: 'end its machines',
}

function missing(errno: string, { virtualization, modules }: KvmHost): KvmProblem {
  const code = 'KVM_MISSING'
  const what = errno === 'ENOENT' ? `there is no ${KVM_DEVICE}` : `there is nothing behind ${KVM_DEVICE} (${errno})`
  if (modules.some((name) => name !== 'kvm') && errno === 'ENOENT') {
    return { code, what: `${what} here, although the kernel has KVM`, fix: 'give it to where this runs: --device /dev/kvm for a container, sudo mknod -m 660 /dev/kvm c 10 232 elsewhere' }
  }
  switch (virtualization) {
    case 'vmx': return { code, what, fix: 'load it: sudo modprobe kvm_intel; if that fails, enable virtualization in the firmware setup' }
    case 'svm': return { code, what, fix: 'load it: sudo modprobe kvm_amd; if that fails, enable virtualization in the firmware setup' }
    case 'none': return {
      code, what: `${what}, and the processor shows neither vmx nor svm`,
      fix: 'enable virtualization in the firmware setup, or nested virtualization where this host is a guest itself, then sudo modprobe kvm_intel or kvm_amd',
    }
  }
}

/** Debian and most others give the device to the group kvm by a udev rule; without that rule root alone may open it. */
function permissionFix(node: KvmNode | undefined): string {
  const shared = node !== undefined && (node.mode & GROUP_READ_WRITE) === GROUP_READ_WRITE && node.gid !== 0
  if (shared) return `join its group and log in again: sudo usermod -aG ${node.group ?? node.gid} $USER`
  return 'give it to a group of yours: sudo groupadd -f kvm; sudo chgrp kvm /dev/kvm; sudo chmod 660 /dev/kvm; sudo usermod -aG kvm $USER, and log in again '
    + '(a udev rule keeps it: KERNEL=="kvm", GROUP="kvm", MODE="0660")'
}

/** A problem as the error of `-accel kvm`. */
export function kvmError({ code, what, fix }: KvmProblem, cause?: unknown): MesovirtError {
  return new MesovirtError(code, `-accel kvm: ${what}; ${fix}, or use -accel tcg`, cause === undefined ? {} : { cause })
}

/**
 * Opens /dev/kvm for reading and writing, closed on exec as everything Node opens.
 * @throws MesovirtError KVM_MISSING, KVM_DENIED, KVM_BUSY or KVM_FAILED, with what to do
 */
export function openKvm(): number {
  const unsupported = unsupportedHost(process)
  if (unsupported !== undefined) throw kvmError(unsupported)
  try {
    return open()
  } catch (error) {
    throw kvmError(openProblem(errnoOf(error), readKvmHost()), error)
  }
}

/** A file of that name that is no device counts as nothing behind it. */
function open(): number {
  const fd = fs.openSync(KVM_DEVICE, fs.constants.O_RDWR)
  if (fs.fstatSync(fd).isCharacterDevice()) return fd
  fs.closeSync(fd)
  throw Object.assign(new Error(`${KVM_DEVICE} is no device`), { code: 'ENXIO' })
}

/** What keeps this host's /dev/kvm from being used; undefined when it opens. */
export function probeKvm(host: KvmHost): KvmProblem | undefined {
  const unsupported = unsupportedHost(host)
  if (unsupported !== undefined) return unsupported
  try {
    fs.closeSync(open())
    return undefined
  } catch (error) {
    return openProblem(errnoOf(error), host)
  }
}

function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
