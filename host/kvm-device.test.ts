import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseCpuInfo, readCpu, virtualizationOf } from './cpu-flags.ts'
import { kvmError, kvmKind, openKvm, openProblem, probeKvm, readKvmHost, unsupportedHost } from './kvm-device.ts'
import type { KvmHost } from './kvm-device.ts'

const NODE = { characterDevice: true, mode: 0o660, uid: 0, gid: 104, group: 'kvm' }
const INTEL: KvmHost = { platform: 'linux', arch: 'x64', virtualization: 'vmx', modules: ['kvm', 'kvm_intel'], node: NODE }
const BARE: KvmHost = { platform: 'linux', arch: 'x64', virtualization: 'none', modules: [], node: undefined }

const CPUINFO = `processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 23
model name\t: AMD EPYC Processor
flags\t\t: fpu de svm npt lm
bugs\t\t: sysret_ss_attrs

processor\t: 1
vendor_id\t: GenuineIntel
flags\t\t: vmx
`

describe('a processor', () => {
  it('is read from the first block of /proc/cpuinfo', () => {
    const cpu = parseCpuInfo(CPUINFO)
    expect([cpu.vendor, cpu.model, [...cpu.flags], virtualizationOf(cpu)]).toEqual(['AuthenticAMD', 'AMD EPYC Processor', ['fpu', 'de', 'svm', 'npt', 'lm'], 'svm'])
  })

  it.each([['flags : vmx lm', 'vmx'], ['flags : lm svm_lock vmxx', 'none'], ['Features : fp asimd', 'none'], ['', 'none']] as const)('"%s" has %s', (text, expected) => {
    expect(virtualizationOf(parseCpuInfo(text))).toBe(expected)
  })

  it.runIf(process.platform === 'linux')("is this host's", () => {
    expect(readCpu().flags.size).toBeGreaterThan(0)
  })
})

describe('what is behind /dev/kvm', () => {
  it.each<[Partial<KvmHost>, string]>([
    [{}, 'vmx'],
    [{ virtualization: 'svm', modules: ['kvm', 'kvm_amd'] }, 'svm'],
    [{ virtualization: 'none', modules: ['kvm', 'kvm_pvm'] }, 'pvm'],
    [{ virtualization: 'none', modules: [] }, 'pvm'],
    [{ modules: ['kvm', 'kvm_pvm'] }, 'pvm'],
    [{ modules: ['kvm', 'kvm_intel', 'kvm_pvm'] }, 'vmx'],
    [{ modules: [] }, 'vmx'],
  ])('%j is %s', (facts, kind) => {
    expect(kvmKind({ ...INTEL, ...facts })).toBe(kind)
  })
})

describe('a /dev/kvm that cannot be used', () => {
  it.each<[string, Partial<KvmHost>, string, string]>([
    ['ENOENT', { modules: [] }, 'KVM_MISSING',
      '-accel kvm: there is no /dev/kvm; load it: sudo modprobe kvm_intel; if that fails, enable virtualization in the firmware setup, or use -accel tcg'],
    ['ENOENT', { modules: [], virtualization: 'svm' }, 'KVM_MISSING',
      '-accel kvm: there is no /dev/kvm; load it: sudo modprobe kvm_amd; if that fails, enable virtualization in the firmware setup, or use -accel tcg'],
    ['ENOENT', BARE, 'KVM_MISSING', '-accel kvm: there is no /dev/kvm, and the processor shows neither vmx nor svm; enable virtualization in the firmware setup, '
      + 'or nested virtualization where this host is a guest itself, then sudo modprobe kvm_intel or kvm_amd, or use -accel tcg'],
    ['ENOENT', { modules: ['kvm', 'kvm_intel'] }, 'KVM_MISSING',
      '-accel kvm: there is no /dev/kvm here, although the kernel has KVM; give it to where this runs: --device /dev/kvm for a container, '
        + 'sudo mknod -m 660 /dev/kvm c 10 232 elsewhere, or use -accel tcg'],
    ['ENODEV', { modules: ['kvm'] }, 'KVM_MISSING',
      '-accel kvm: there is nothing behind /dev/kvm (ENODEV); load it: sudo modprobe kvm_intel; if that fails, enable virtualization in the firmware setup, or use -accel tcg'],
    ['EACCES', {}, 'KVM_DENIED',
      '-accel kvm: no permission to open /dev/kvm; join its group and log in again: sudo usermod -aG kvm $USER, or use -accel tcg'],
    ['EACCES', { node: { ...NODE, gid: 36, group: undefined } }, 'KVM_DENIED',
      '-accel kvm: no permission to open /dev/kvm; join its group and log in again: sudo usermod -aG 36 $USER, or use -accel tcg'],
    ['EACCES', { node: { ...NODE, mode: 0o600, gid: 0, group: 'root' } }, 'KVM_DENIED',
      '-accel kvm: no permission to open /dev/kvm; give it to a group of yours: sudo groupadd -f kvm; sudo chgrp kvm /dev/kvm; sudo chmod 660 /dev/kvm; '
      + 'sudo usermod -aG kvm $USER, and log in again (a udev rule keeps it: KERNEL=="kvm", GROUP="kvm", MODE="0660"), or use -accel tcg'],
    ['EPERM', {}, 'KVM_DENIED', '-accel kvm: /dev/kvm must not be opened here (EPERM); allow the device where this runs: --device /dev/kvm for a container, '
      + 'DeviceAllow=/dev/kvm rw for a systemd unit, or use -accel tcg'],
    ['EBUSY', {}, 'KVM_BUSY', '-accel kvm: the kernel says that hardware virtualization is busy (EBUSY): another hypervisor such as VirtualBox or VMware '
      + 'owns it; end its machines, or use -accel tcg'],
    ['EMFILE', {}, 'KVM_FAILED', '-accel kvm: /dev/kvm cannot be opened (EMFILE); see what the kernel says: dmesg | grep -i kvm, or use -accel tcg'],
  ])('%s on %j is %s, and the line says what to do', (errno, facts, code, message) => {
    const error = kvmError(openProblem(errno, { ...INTEL, ...facts }))
    expect([error.code, error.message]).toEqual([code, message])
  })

  it.each([['darwin', 'arm64', "kvm is Linux's, and this host runs macOS"], ['win32', 'x64', "kvm is Linux's, and this host runs win32"],
    ['linux', 'arm64', 'kvm is there for x86-64 hosts only in this version, and this one is arm64']])('on %s %s the host is the reason', (platform, arch, what) => {
    expect(unsupportedHost({ platform, arch })?.what).toBe(what)
    expect(probeKvm({ ...INTEL, platform, arch })?.what).toBe(what)
  })
})

describe("this host's /dev/kvm", () => {
  it('opens when the probe says so, and otherwise fails with what the probe said', () => {
    const problem = probeKvm(readKvmHost())
    if (problem === undefined) {
      const fd = openKvm()
      expect(fs.fstatSync(fd).isCharacterDevice()).toBe(true)
      fs.closeSync(fd)
    } else {
      expect(openKvm).toThrowError(kvmError(problem).message)
    }
  })
})
