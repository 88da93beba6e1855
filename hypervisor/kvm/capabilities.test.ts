/** What is said of a kernel whose KVM lacks something. The kernel is a table here, but for the last test. */
import fs from 'node:fs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type * as Native from '../../host/ffi.ts'
import { openKvm } from '../../host/kvm-device.ts'
import { missingCapabilities, REQUIRED_CAPABILITIES, requireCapabilities } from './capabilities.ts'
import { describeKvm } from './describe-kvm.fixture.ts'

const KVM_GET_API_VERSION = 0xae00, KVM_CHECK_EXTENSION = 0xae03
const KVM_CAP_IRQFD = 32, KVM_CAP_IMMEDIATE_EXIT = 136
const TABLE_KERNEL = -5

const kernel = vi.hoisted(() => ({ version: 12, missing: new Set<number>() }))

vi.mock('../../host/ffi.ts', async (load) => {
  const real = await load<typeof Native>()
  const ioctl = (fd: number, request: number, argument: number): number => {
    if (fd !== TABLE_KERNEL) return real.ffi().libc.ioctl(fd, request, argument)
    if (request === KVM_GET_API_VERSION) return kernel.version
    return request === KVM_CHECK_EXTENSION && !kernel.missing.has(argument) ? 1 : 0
  }
  return { ...real, ffi: () => ({ libc: { ioctl } }) }
})

afterEach(() => Object.assign(kernel, { version: 12, missing: new Set() }))

describe('the capabilities of KVM', () => {
  it('a kernel with all of them passes', () => {
    expect(() => requireCapabilities(TABLE_KERNEL)).not.toThrow()
  })

  it('those that are missing are listed in one line, with what they are for and what to do', () => {
    kernel.missing = new Set([KVM_CAP_IRQFD, KVM_CAP_IMMEDIATE_EXIT])
    expect(() => requireCapabilities(TABLE_KERNEL)).toThrow(expect.objectContaining({
      code: 'KVM_CAPABILITY',
      message: 'the kernel\'s KVM lacks KVM_CAP_IRQFD (interrupts by eventfd), KVM_CAP_IMMEDIATE_EXIT (pausing a vCPU without a race); use a newer kernel, or -accel tcg',
    }))
    expect(missingCapabilities(TABLE_KERNEL).map(({ number }) => number)).toEqual([KVM_CAP_IRQFD, KVM_CAP_IMMEDIATE_EXIT])
  })

  it.each([11, 13])('version %s of the interface is refused', (version) => {
    kernel.version = version
    expect(() => requireCapabilities(TABLE_KERNEL)).toThrow(expect.objectContaining({ code: 'KVM_CAPABILITY', message: expect.stringContaining(`version ${version}`) as string }))
  })

  it('each is asked for once', () => {
    expect(new Set(REQUIRED_CAPABILITIES.map(({ name }) => name)).size).toBe(REQUIRED_CAPABILITIES.length)
    expect(new Set(REQUIRED_CAPABILITIES.map(({ number }) => number)).size).toBe(REQUIRED_CAPABILITIES.length)
  })
})

describeKvm('the capabilities of this host', () => {
  it('a device that is no KVM is named so', () => {
    const zero = fs.openSync('/dev/zero', 'r+')
    try {
      expect(() => requireCapabilities(zero)).toThrow(expect.objectContaining({ code: 'KVM_CAPABILITY', message: '/dev/kvm does not answer as KVM does (ENOTTY); use -accel tcg' }))
    } finally {
      fs.closeSync(zero)
    }
  })

  it('are there', () => {
    const kvm = openKvm()
    try {
      expect(missingCapabilities(kvm)).toEqual([])
      requireCapabilities(kvm)
    } finally {
      fs.closeSync(kvm)
    }
  })
})
