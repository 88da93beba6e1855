/**
 * What CPUID tells a guest on KVM: all that the kernel supports, with the identity and the topology of each vCPU. Linux Documentation/virt/kvm/api.rst,
 * KVM_GET_SUPPORTED_CPUID; Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
 */
import type { CpuTopology } from '../hypervisor.ts'
import { apicIdOf, topologyShifts } from '../topology.ts'
import { CPUID_ENTRY_BYTES, KVM_GET_SUPPORTED_CPUID } from './abi.ts'
import { requestList } from './descriptors.ts'

export interface CpuidEntry {
  leaf: number
  subleaf: number
  /** KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the sub-leaf counts */
  flags: number
  eax: number
  ebx: number
  ecx: number
  edx: number
}

const SIGNIFICANT_INDEX = 1
const SMT = 1, CORE = 2, DIE = 5
const CLFLUSH_EIGHT_WORDS = 8 << 8
const HTT = 1 << 28
const TSC_DEADLINE = 1 << 24, HYPERVISOR = 1 << 31
const EPB = 1 << 3

export function supportedCpuid(kvm: number): CpuidEntry[] {
  const { bytes, count } = requestList(kvm, KVM_GET_SUPPORTED_CPUID, CPUID_ENTRY_BYTES, 'KVM_GET_SUPPORTED_CPUID')
  const view = new DataView(bytes.buffer)
  return Array.from({ length: count }, (_, index) => {
    const u32 = (word: number) => view.getUint32(8 + index * CPUID_ENTRY_BYTES + word * 4, true)
    return { leaf: u32(0), subleaf: u32(1), flags: u32(2), eax: u32(3), ebx: u32(4), ecx: u32(5), edx: u32(6) }
  })
}

/** struct kvm_cpuid2 */
export function packCpuid(entries: readonly CpuidEntry[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 + entries.length * CPUID_ENTRY_BYTES))
  view.setUint32(0, entries.length, true)
  entries.forEach(({ leaf, subleaf, flags, eax, ebx, ecx, edx }, index) => {
    [leaf, subleaf, flags, eax, ebx, ecx, edx].forEach((value, word) => view.setUint32(8 + index * CPUID_ENTRY_BYTES + word * 4, value, true))
  })
  return new Uint8Array(view.buffer)
}

/** @param supported of the kernel; @returns the table of vCPU `index` */
export function guestCpuid(supported: readonly CpuidEntry[], index: number, topology: CpuTopology): CpuidEntry[] {
  const apicId = apicIdOf(index, topology)
  const shifts = topologyShifts(topology)
  const perPackage = topology.dies * topology.cores * topology.threads
  // AMD's own topology leaf, 0x80000026, is left out: without it a guest takes 0xb.
  const rebuilt = new Set([0xb, 0x1f, 0x8000_0026])
  const table = supported.filter(({ leaf }) => !rebuilt.has(leaf)).map((entry) => adapt({ ...entry }))
  const level = (leaf: number, subleaf: number, shift: number, processors: number, type: number): CpuidEntry =>
    ({ leaf, subleaf, flags: SIGNIFICANT_INDEX, eax: shift, ebx: processors, ecx: subleaf | type << 8, edx: apicId })
  table.push(level(0xb, 0, shifts.core, topology.threads, SMT), level(0xb, 1, shifts.package, perPackage, CORE), level(0xb, 2, 0, 0, 0))
  if (topology.dies > 1) {
    table.push(level(0x1f, 0, shifts.core, topology.threads, SMT), level(0x1f, 1, shifts.die, topology.cores * topology.threads, CORE),
      level(0x1f, 2, shifts.package, perPackage, DIE), level(0x1f, 3, 0, 0, 0))
  }
  const highest = topology.dies > 1 ? 0x1f : 0xb
  const basic = table.find(({ leaf }) => leaf === 0)
  if (basic !== undefined && basic.eax < highest) basic.eax = highest
  return table

  function adapt(entry: CpuidEntry): CpuidEntry {
    const unsigned = (value: number) => value >>> 0
    switch (entry.leaf) {
      case 1:
        entry.ebx = unsigned((entry.ebx & 0xff) | CLFLUSH_EIGHT_WORDS | Math.min(255, 1 << shifts.package) << 16 | (apicId & 0xff) << 24)
        entry.ecx = unsigned(entry.ecx | TSC_DEADLINE | HYPERVISOR)
        entry.edx = unsigned(perPackage > 1 ? entry.edx | HTT : entry.edx & ~HTT)
        break
      case 4: if ((entry.eax & 0x1f) !== 0) entry.eax = shareCache(entry.eax, entry.subleaf >= 3 ? shifts.package : shifts.core, shifts)
        break
      case 6: entry.ecx = unsigned(entry.ecx & ~EPB)
        break
      case 0xa: // the counters are not the guest's
        Object.assign(entry, { eax: 0, ebx: 0, ecx: 0, edx: 0 })
        break
      case 0x8000_0008: entry.ecx = unsigned((entry.ecx & ~0xf0ff) | shifts.package << 12 | Math.min(255, perPackage - 1))
        break
      case 0x8000_001d: if ((entry.eax & 0x1f) !== 0) entry.eax = shareCache(entry.eax & 0x3ff_ffff, entry.subleaf >= 3 ? shifts.package : shifts.core, shifts) & 0x3ff_ffff
        break
      case 0x8000_001e:
        entry.eax = apicId
        entry.ebx = unsigned((apicId >> shifts.core & 0xff) | (topology.threads - 1) << 8)
        entry.ecx = unsigned(apicId >> shifts.die & 0xff)
        break
    }
    return entry
  }
}

/** Leaf 4's processors that share a cache (bits 14..25, less one) and cores of the package (bits 26..31, less one). */
function shareCache(eax: number, shift: number, shifts: ReturnType<typeof topologyShifts>): number {
  const sharing = Math.min(4095, (1 << shift) - 1), cores = Math.min(63, (1 << (shifts.package - shifts.core)) - 1)
  return ((eax & 0x3fff) | sharing << 14 | cores << 26) >>> 0
}
