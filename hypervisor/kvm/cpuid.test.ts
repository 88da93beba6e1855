/** CPUID of a guest on kvm, made from a table as the kernel gives it. Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E. No /dev/kvm needed. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { CpuTopology } from '../hypervisor.ts'
import { apicIdOf, placeOf } from '../topology.ts'
import { guestCpuid, packCpuid } from './cpuid.ts'
import type { CpuidEntry } from './cpuid.ts'

const entry = (leaf: number, subleaf: number, eax: number, ebx: number, ecx: number, edx: number, flags = 0): CpuidEntry => ({ leaf, subleaf, flags, eax, ebx, ecx, edx })

/** As KVM_GET_SUPPORTED_CPUID has it on a host of 16 processors that itself is processor 5. */
const HOST: readonly CpuidEntry[] = [
  entry(0, 0, 0x1f, 0x756e_6547, 0x6c65_746e, 0x4965_6e69),
  entry(1, 0, 0x000c_06f2, 0x0510_0800, 0x76fa_3223, 0x1f8b_fbff),
  entry(4, 0, 0xfc1f_c121, 0x02c0_003f, 0x3f, 0, 1), // L1 data
  entry(4, 2, 0xfc1f_c143, 0x03c0_003f, 0x7ff, 0, 1), // L2
  entry(4, 3, 0xfc1f_c163, 0x04c0_003f, 0x1_ffff, 4, 1), // L3
  entry(4, 4, 0, 0, 0, 0, 1), // no more
  entry(6, 0, 4, 0, 9, 0),
  entry(7, 0, 2, 0xf1bf_27eb, 0x1b41_5f6e, 0xa480_0010, 1),
  entry(0xa, 0, 0x0830_0802, 0, 7, 0x603),
  entry(0xb, 0, 1, 2, 0x100, 5, 1),
  entry(0xb, 1, 6, 16, 0x201, 5, 1),
  entry(0x1f, 0, 1, 2, 0x100, 5, 1),
  entry(0x4000_0000, 0, 0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d, 0),
  entry(0x8000_0008, 0, 0x3930, 0x1111_0000, 0x5_500f, 0x0001_0007),
  entry(0x8000_001d, 3, 0x0003_c163, 0x03c0_003f, 0x3fff, 1, 1),
  entry(0x8000_001e, 0, 5, 0x102, 0x300, 0),
  entry(0x8000_0026, 0, 1, 2, 0x100, 5, 1),
]

const ONE: CpuTopology = { cpus: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }
const FOUR: CpuTopology = { cpus: 4, sockets: 1, dies: 1, cores: 2, threads: 2 }
const MANY: CpuTopology = { cpus: 128, sockets: 1, dies: 1, cores: 128, threads: 1 }
const DIES: CpuTopology = { cpus: 24, sockets: 2, dies: 2, cores: 3, threads: 2 }

function leafOf(topology: CpuTopology, index: number, leaf: number, subleaf = 0): number[] | undefined {
  const found = guestCpuid(HOST, index, topology).find((row) => row.leaf === leaf && row.subleaf === subleaf)
  return found === undefined ? undefined : [found.eax, found.ebx, found.ecx, found.edx]
}

const HTT = 0x1000_0000

describe('CPUID of a guest', () => {
  it('of one processor', () => {
    expect(leafOf(ONE, 0, 1)).toEqual([0x000c_06f2, 0x0001_0800, 0xf7fa_3223, 0x0f8b_fbff])
    expect(leafOf(ONE, 0, 4, 0)).toEqual([0x121, 0x02c0_003f, 0x3f, 0])
    expect(leafOf(ONE, 0, 4, 3)).toEqual([0x163, 0x04c0_003f, 0x1_ffff, 4])
    expect(leafOf(ONE, 0, 0xb, 0)).toEqual([0, 1, 0x100, 0])
    expect(leafOf(ONE, 0, 0xb, 1)).toEqual([0, 1, 0x201, 0])
    expect(leafOf(ONE, 0, 0xb, 2)).toEqual([0, 0, 2, 0])
    expect(leafOf(ONE, 0, 0x8000_0008)).toEqual([0x3930, 0x1111_0000, 0x5_0000, 0x0001_0007])
    expect(leafOf(ONE, 0, 0x8000_001e)).toEqual([0, 0, 0, 0])
  })

  it('of two cores with two threads', () => {
    expect([0, 1, 2, 3].map((cpu) => leafOf(FOUR, cpu, 1)?.[1])).toEqual([0x0004_0800, 0x0104_0800, 0x0204_0800, 0x0304_0800])
    expect((leafOf(FOUR, 3, 1)?.[3] ?? 0) & HTT).toBe(HTT)
    // A core shares its first and second cache, the package the third: 2 and 4 processors, of 2 cores.
    expect([0, 2, 3].map((cache) => leafOf(FOUR, 3, 4, cache)?.[0])).toEqual([0x0400_4121, 0x0400_4143, 0x0400_c163])
    expect(leafOf(FOUR, 3, 4, 4)).toEqual([0, 0, 0, 0])
    expect(leafOf(FOUR, 3, 0xb, 0)).toEqual([1, 2, 0x100, 3])
    expect(leafOf(FOUR, 3, 0xb, 1)).toEqual([2, 4, 0x201, 3])
    expect(leafOf(FOUR, 3, 0x8000_0008)?.[2]).toBe(0x5_2003)
    expect(leafOf(FOUR, 3, 0x8000_001d, 3)?.[0]).toBe(0xc163)
    expect(leafOf(FOUR, 3, 0x8000_001e)).toEqual([3, 0x101, 0, 0])
  })

  it('of 128 processors', () => {
    expect(leafOf(MANY, 127, 1)?.[1]).toBe(0x7f80_0800)
    expect(leafOf(MANY, 127, 0xb, 0)).toEqual([0, 1, 0x100, 127])
    expect(leafOf(MANY, 127, 0xb, 1)).toEqual([7, 128, 0x201, 127])
    // 6 bits for the cores of a package: 64 is the most that fits.
    expect(leafOf(MANY, 127, 4, 3)?.[0]).toBe(0xfc00_0000 + (127 << 14) + 0x163)
    expect(leafOf(MANY, 127, 0x8000_0008)?.[2]).toBe(0x5_707f)
  })

  it('of packages with dies, which leaf 0x1f alone shows', () => {
    // 1 bit of thread, 2 of core, 1 of die: processor 17 is thread 1 of core 2 of die 0 in socket 1.
    expect(leafOf(DIES, 17, 0x1f, 0)).toEqual([1, 2, 0x100, 0x15])
    expect(leafOf(DIES, 17, 0x1f, 1)).toEqual([3, 6, 0x201, 0x15])
    expect(leafOf(DIES, 17, 0x1f, 2)).toEqual([4, 12, 0x502, 0x15])
    expect(leafOf(DIES, 17, 0x1f, 3)).toEqual([0, 0, 3, 0x15])
    expect(leafOf(DIES, 17, 0xb, 1)).toEqual([4, 12, 0x201, 0x15])
    expect(leafOf(FOUR, 0, 0x1f)).toBeUndefined()
    expect(leafOf(DIES, 17, 0x8000_0026), 'of the host: guests would believe it before all others').toBeUndefined()
  })

  it('has the hypervisor bit and the deadline timer, and neither performance counters nor energy hints', () => {
    const [, , features = 0] = leafOf(FOUR, 0, 1) ?? []
    expect([features >>> 31, features >>> 24 & 1]).toEqual([1, 1])
    expect(leafOf(FOUR, 0, 0xa)).toEqual([0, 0, 0, 0])
    expect(leafOf(FOUR, 0, 6)).toEqual([4, 0, 1, 0])
  })

  it('leaves everything else as the kernel has it', () => {
    for (const leaf of [7, 0x4000_0000]) expect(leafOf(FOUR, 1, leaf)).toEqual(HOST.filter((row) => row.leaf === leaf).map(({ eax, ebx, ecx, edx }) => [eax, ebx, ecx, edx])[0])
    expect(HOST[1]).toEqual(entry(1, 0, 0x000c_06f2, 0x0510_0800, 0x76fa_3223, 0x1f8b_fbff))
  })

  it('counts its leaves up to those it has', () => {
    const old = HOST.map((row) => row.leaf === 0 ? { ...row, eax: 7 } : row)
    const highest = (topology: CpuTopology) => guestCpuid(old, 0, topology)[0]?.eax
    expect([highest(ONE), highest(DIES)]).toEqual([0xb, 0x1f])
    expect(leafOf(ONE, 0, 0)?.[0]).toBe(0x1f)
  })

  it('has each leaf once, words of 32 bits, and ids that name the place of each processor, for any topology', () => {
    const level = fc.integer({ min: 1, max: 6 })
    fc.assert(fc.property(level, level, level, level, (sockets, dies, cores, threads) => {
      const cpus = sockets * dies * cores * threads
      fc.pre(cpus <= 254)
      const topology = { cpus, sockets, dies, cores, threads }
      fc.pre(apicIdOf(cpus - 1, topology) < 255)
      for (const index of [0, cpus >> 1, cpus - 1]) {
        const table = guestCpuid(HOST, index, topology)
        expect(new Set(table.map(({ leaf, subleaf }) => `${leaf}.${subleaf}`)).size).toBe(table.length)
        for (const row of table) for (const value of Object.values(row) as number[]) expect(value >>> 0).toBe(value)
        const { socket, thread } = placeOf(index, topology)
        const row = (subleaf: number) => table.find((found) => found.leaf === 0xb && found.subleaf === subleaf)
        const id = row(0)?.edx ?? -1
        expect(id >> (row(1)?.eax ?? 0)).toBe(socket)
        expect(id & ((1 << (row(0)?.eax ?? 0)) - 1)).toBe(thread)
        expect((table.find(({ leaf }) => leaf === 1)?.ebx ?? 0) >>> 24).toBe(id)
      }
    }), { interruptAfterTimeLimit: 2000, numRuns: 60 })
  })

  it('is packed as struct kvm_cpuid2', () => {
    const bytes = packCpuid([entry(0xb, 1, 2, 3, 4, 0xffff_ffff, 1), entry(7, 0, 0, 0, 0, 0)])
    expect(bytes).toHaveLength(8 + 2 * 40)
    expect([...new Uint32Array(bytes.buffer, 0, 12)]).toEqual([2, 0, 0xb, 1, 1, 2, 3, 4, 0xffff_ffff, 0, 0, 0])
  })
})
