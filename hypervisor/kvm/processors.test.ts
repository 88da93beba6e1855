/** Several vCPUs on kvm: start-up by INIT and SIPI (Intel SDM volume 3, 9.4), identity and topology, how many there can be. */
import fs from 'node:fs'
import { expect, it } from 'vitest'
import { AddressSpace } from '../../address-space/address-space.ts'
import { Region } from '../../address-space/region.ts'
import type { CpuTopology } from '../hypervisor.ts'
import { APIC_ID_REGISTER, BareGuest, REPORT, startOthers } from './bare-guest.fixture.ts'
import { describeKvm } from './describe-kvm.fixture.ts'
import { KvmHypervisor } from './kvm-hypervisor.ts'
import { Program } from './program.fixture.ts'

const topologyOf = (cpus: number): CpuTopology => ({ cpus, sockets: cpus, dies: 1, cores: 1, threads: 1 })
const machine = (cpus: number, topology = topologyOf(cpus)): KvmHypervisor =>
  new KvmHypervisor({ topology, ram: [{ guestAddress: 0, size: 2 ** 21 }], clock: { kind: 'host' }, onEvent: () => undefined })
const descriptors = (): number => fs.readdirSync('/proc/self/fd').length

describeKvm('several vCPUs on kvm', () => {
  it('wait until the first one starts them, each with its own APIC id', async () => {
    const guest = new BareGuest({ cpus: 4 })
    guest.loadForOthers(new Program(32, 0x2000).read(APIC_ID_REGISTER, 4).raw(0xc1, 0xe8, 24).mov('edx', REPORT).outDx(1).stop()) // shr eax, 24
    const program = new Program(32).out(REPORT + 1, 1, 0).label('wait').read(0x5000, 4).compareWith('eax', 1).jump('wait', 'notZero')
    await guest.start(startOthers(program).stop())
    await guest.untilReports(1, REPORT + 1)
    await guest.until('they sleep', () => [1, 2, 3].every((cpu) => guest.hypervisor.isHalted(cpu)))
    expect(guest.reports).toHaveLength(1)
    guest.ram.view.setUint32(0x5000, 1, true)
    await guest.untilReports(3)
    expect([...guest.values()].sort()).toEqual([1, 2, 3])
    expect(guest.hypervisor.apicIds).toEqual([0, 1, 2, 3])
  })

  it('each see their own CPUID, and the topology that was asked for', async () => {
    // 2 sockets of 3 cores with 2 threads: APIC ids 0..5 and 8..13.
    const guest = new BareGuest({ cpus: 12, topology: { cpus: 12, sockets: 2, dies: 1, cores: 3, threads: 2 } })
    // Leaf 1, EBX bits 24..31; leaf 0xb, EDX.
    const asking = (program: Program) => program.mov('eax', 1).raw(0x0f, 0xa2, 0x89, 0xde) // cpuid; mov esi, ebx
      .mov('eax', 0xb).mov('ecx', 0).raw(0x0f, 0xa2, 0x89, 0xd0) //                             cpuid; mov eax, edx
      .raw(0xc1, 0xee, 24, 0xc1, 0xe6, 8, 0x09, 0xf0).mov('edx', REPORT).outDx(2).stop() //     shr esi, 24; shl esi, 8; or eax, esi
    guest.loadForOthers(asking(new Program(32, 0x2000)))
    await guest.start(asking(startOthers(new Program(32))))
    await guest.untilReports(12)
    const ids = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]
    expect([...guest.values()].sort((a, b) => a - b)).toEqual(ids.map((id) => id << 8 | id))
    expect(guest.hypervisor.apicIds).toEqual(ids)
    expect(new Set(ids.map((_, cpu) => guest.hypervisor.threadId(cpu))).size, 'a thread for each').toBe(12)
  })

  it('are up to 254, and leave no descriptor', async () => {
    const before = descriptors()
    const guests = machine(254)
    expect(guests.apicIds.at(-1)).toBe(253)
    guests.attach(new AddressSpace('memory', Region.container('system', 2 ** 40)), new AddressSpace('I/O', Region.container('io', 0x1_0000)))
    await guests.close()
    for (let left = 2000; descriptors() > before && left > 0; left--) await new Promise((resolve) => { setTimeout(resolve, 1) })
    expect(descriptors()).toBeLessThanOrEqual(before)
  })

  it('of which 16 run at once, and stop at once', async () => {
    const COUNTS = 0x6000, CPUS = 16
    const guest = new BareGuest({ cpus: CPUS })
    const count = (program: Program) => program.read(APIC_ID_REGISTER, 4).raw(0xc1, 0xe8, 22, 0x05, 0, COUNTS >> 8, 0, 0) // shr eax, 22; add eax, COUNTS
      .copy('ebx', 'eax').label('again').raw(0xff, 0x03).jump('again') //                                                       inc dword [ebx]
    guest.loadForOthers(count(new Program(32, 0x2000)))
    await guest.start(count(startOthers(new Program(32))))
    const counts = () => Array.from({ length: CPUS }, (_, cpu) => guest.ram.view.getUint32(COUNTS + 4 * cpu, true))
    for (let round = 0; round < 3; round++) {
      const before = counts()
      await guest.until('all count', () => counts().every((now, cpu) => now !== before[cpu]))
      await guest.hypervisor.pause()
      const paused = counts()
      await new Promise((resolve) => { setTimeout(resolve, 5) })
      expect(counts()).toEqual(paused)
      await guest.hypervisor.resume()
    }
  })

  it('that cannot be are refused with what to do, and nothing is left open', () => {
    const before = descriptors()
    expect(() => machine(255)).toThrow(expect.objectContaining({ code: 'KVM_VCPUS', message: expect.stringContaining('-smp 255') as string }))
    // 3 threads take 2 bits: 100 cores of them end at an APIC id beyond 254.
    expect(() => machine(240, { cpus: 240, sockets: 80, dies: 1, cores: 1, threads: 3 })).toThrow(expect.objectContaining({ code: 'KVM_VCPUS' }))
    expect(() => new KvmHypervisor({ topology: topologyOf(1), ram: [{ guestAddress: 0, size: 2 ** 21 }], clock: { kind: 'instruction-count', shift: 3, sleep: false }, onEvent: () => undefined }))
      .toThrow(expect.objectContaining({ code: 'KVM_CLOCK' }))
    expect(descriptors()).toBeLessThanOrEqual(before)
  })
})
