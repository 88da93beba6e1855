import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { CpuTopology } from '../hypervisor.ts'
import { ANY_SUBLEAF, cpuidTable } from './cpuid.ts'
import { apicIdOf, placeOf, topologyShifts } from '../topology.ts'

const ONE: CpuTopology = { cpus: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }
const CPUID_SLOTS = 64

function cpuid(leaf: number, subleaf = 0, index = 0, topology: CpuTopology = ONE) {
  const found = cpuidTable(index, topology).find((entry) => entry.leaf === leaf && (entry.subleaf === subleaf || entry.subleaf === ANY_SUBLEAF))
  return found ?? { eax: 0, ebx: 0, ecx: 0, edx: 0 }
}

const text = (...words: number[]) => Buffer.from(Uint32Array.from(words).buffer).toString('latin1').replace(/\0+$/, '')
const bit = (value: number, number: number) => (value >>> number) & 1

test('it is an Intel processor of family 6 under a KVM-like hypervisor, with our name', () => {
  const vendor = cpuid(0)
  expect(text(vendor.ebx, vendor.edx, vendor.ecx)).toBe('GenuineIntel')
  expect((cpuid(1).eax >> 8) & 0xf).toBe(6)
  const kvm = cpuid(0x4000_0000)
  expect(text(kvm.ebx, kvm.ecx, kvm.edx)).toBe('KVMKVMKVM')
  const brand = [2, 3, 4].map((part) => cpuid(0x8000_0000 + part))
  expect(text(...brand.flatMap(({ eax, ebx, ecx, edx }) => [eax, ebx, ecx, edx]))).toBe('mesovirt TCG x86-64')
})

test('what Linux for x86-64 needs is there', () => {
  const { edx } = cpuid(1)
  for (const number of [0 /* FPU */, 3, 5 /* MSR */, 6 /* PAE */, 8 /* CX8 */, 9 /* APIC */, 13 /* PGE */, 15 /* CMOV */, 24 /* FXSR */, 25, 26 /* SSE2 */]) expect(bit(edx, number)).toBe(1)
  const extended = cpuid(0x8000_0001).edx
  for (const number of [11 /* SYSCALL */, 20 /* NX */, 29 /* LM */]) expect(bit(extended, number)).toBe(1)
})

test('what the core does not have stays hidden: XSAVE, AVX, FMA, MONITOR, PCID, SMAP, MCE, MCA, VME', () => {
  const { ecx, edx } = cpuid(1)
  for (const number of [3 /* MONITOR */, 12 /* FMA */, 17 /* PCID */, 26 /* XSAVE */, 28 /* AVX */]) expect(bit(ecx, number)).toBe(0)
  for (const number of [1 /* VME */, 7 /* MCE */, 14 /* MCA */]) expect(bit(edx, number)).toBe(0)
  const { ebx } = cpuid(7)
  for (const number of [5 /* AVX2 */, 10 /* INVPCID */, 16 /* AVX512F */, 20 /* SMAP */]) expect(bit(ebx, number)).toBe(0)
})

test('guests learn the frequency of the time-stamp counter, and that it never changes', () => {
  const { eax, ebx, ecx } = cpuid(0x15)
  expect(ecx * ebx / eax).toBe(1e9)
  expect(bit(cpuid(0x8000_0007).edx, 8)).toBe(1)
  expect(bit(cpuid(0x4000_0001).eax, 24)).toBe(1)
})

test('the hyper-threading bit is there only with more than one processor in a package', () => {
  expect(bit(cpuid(1).edx, 28)).toBe(0)
  expect(bit(cpuid(1, 0, 0, { ...ONE, cpus: 2, cores: 2 }).edx, 28)).toBe(1)
  expect(bit(cpuid(1, 0, 0, { ...ONE, cpus: 2, sockets: 2 }).edx, 28)).toBe(0)
})

test('topology leaves: two sockets of three cores with two threads', () => {
  const topology = { cpus: 12, sockets: 2, dies: 1, cores: 3, threads: 2 }
  const ids = Array.from({ length: 12 }, (_, index) => apicIdOf(index, topology))
  expect(ids).toEqual([0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13])
  expect(cpuid(0xb, 0, 7, topology)).toMatchObject({ eax: 1, ebx: 2, ecx: 0x100, edx: 9 })
  expect(cpuid(0xb, 1, 7, topology)).toMatchObject({ eax: 3, ebx: 6, ecx: 0x201, edx: 9 })
  expect(cpuid(0xb, 2, 7, topology)).toMatchObject({ eax: 0, ebx: 0, edx: 9 })
  expect(cpuid(1, 0, 7, topology).ebx >>> 24).toBe(9)
})

test('dies show in leaf 0x1f, which is empty without them', () => {
  const topology = { cpus: 8, sockets: 1, dies: 2, cores: 2, threads: 2 }
  expect(cpuid(0x1f, 2, 0, topology)).toMatchObject({ eax: 3, ebx: 8, ecx: 0x502 })
  expect(cpuid(0x1f, 0, 0, ONE)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 })
})

test('for any topology APIC ids are distinct, name their place, and the table fits', () => {
  const level = fc.integer({ min: 1, max: 6 })
  fc.assert(fc.property(level, level, level, level, (sockets, dies, cores, threads) => {
    const cpus = sockets * dies * cores * threads
    fc.pre(cpus <= 254)
    const topology = { cpus, sockets, dies, cores, threads }
    const shifts = topologyShifts(topology)
    const ids = new Set<number>()
    for (let index = 0; index < cpus; index++) {
      const id = apicIdOf(index, topology)
      const place = placeOf(index, topology)
      ids.add(id)
      expect(id >> shifts.package).toBe(place.socket)
      expect(id & ((1 << shifts.core) - 1)).toBe(place.thread)
    }
    expect(ids.size).toBe(cpus)
    const table = cpuidTable(cpus - 1, topology)
    expect(table.length).toBeLessThanOrEqual(CPUID_SLOTS)
    for (const entry of table) for (const value of Object.values(entry)) expect(value >>> 0).toBe(value)
  }), { interruptAfterTimeLimit: 2000, numRuns: 60 })
})
