/** What a host with KVM offers, as `mesovirt doctor` sees it. In the lab the whole host is known; elsewhere only its KVM. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { DoctorFacts } from '../../src/doctor/facts.ts'
import type { DoctorReport } from '../../src/doctor/judge.ts'
import { IS_IN_LAB } from '../support/accelerator.ts'
import { MESOVIRT } from '../support/vm.ts'

const OPEN_AND_CLOSE = 'r+'

function examine(): DoctorReport & { facts: DoctorFacts } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MESOVIRT, 'doctor', '--json'], { encoding: 'utf8', timeout: 300_000 })
  expect([status, stderr]).toEqual([0, ''])
  return JSON.parse(stdout) as DoctorReport & { facts: DoctorFacts }
}

const hasHardware = (): boolean => /^flags\s*:.*\b(vmx|svm)\b/m.test(fs.readFileSync('/proc/cpuinfo', 'utf8'))

describe('mesovirt doctor on a host with KVM', () => {
  it('takes kvm where the processor has virtualization, and tcg on a /dev/kvm without it', () => {
    const { accelerator, canStart } = examine()
    expect({ canStart, name: accelerator.name }).toEqual({ canStart: true, name: hasHardware() ? 'kvm' : 'tcg' })
  })

  it('finds nothing missing in the kernel\'s KVM', () => {
    const { facts, findings } = examine()
    expect(facts.kvm.problem).toBeUndefined()
    expect(facts.kvm.missing).toEqual([])
    expect(findings.find(({ id }) => id === 'kvm-capabilities')?.verdict).toBe('ok')
  })
})

if (IS_IN_LAB) {
  describe('the lab', () => {
    it('is a host with AMD\'s virtualization and nested paging', () => {
      const { facts } = examine()
      expect(facts.cpu.flags).toEqual(expect.arrayContaining(['svm', 'npt']))
      expect(fs.readFileSync('/sys/module/kvm_amd/parameters/npt', 'utf8').trim()).toMatch(/^[Y1]$/)
    })

    it('has what only a generic kernel has: vhost-net, vhost-vsock, tun', () => {
      const { facts, findings } = examine()
      expect(facts.devices).toEqual(['/dev/vhost-net', '/dev/vhost-vsock', '/dev/net/tun'].map((device) => ({ path: device, state: 'usable' })))
      for (const { path: device } of facts.devices) fs.closeSync(fs.openSync(device, OPEN_AND_CLOSE))
      for (const id of ['vhost-net', 'vhost-vsock', 'net-tun']) expect(findings.find((finding) => finding.id === id)?.verdict, id).not.toBe('warn')
    })
  })
}
