/**
 * What CPUID says on the software CPU: an Intel server processor with the features the core has, on a KVM-like hypervisor. Intel SDM volume 2,
 * CPUID; Linux Documentation/virt/kvm/x86/cpuid.rst. Hidden on purpose: XSAVE and AVX (kernels then use FXSAVE), PCID, SMAP, MONITOR, MCE and MCA,
 * the performance counters.
 */
import type { CpuTopology } from '../hypervisor.ts'
import { apicIdOf, topologyShifts } from '../topology.ts'

export interface CpuidEntry {
  readonly leaf: number
  /** ANY_SUBLEAF: every one that has no entry of its own further up */
  readonly subleaf: number
  readonly eax: number
  readonly ebx: number
  readonly ecx: number
  readonly edx: number
}

export const ANY_SUBLEAF = 0xffff_ffff

const MAX_LEAF = 0x1f
const MAX_EXTENDED_LEAF = 0x8000_0008
const MAX_KVM_LEAF = 0x4000_0001
/** Family 6, model 0x6a, stepping 6: Ice Lake server. */
const SIGNATURE = 0x0006_06a6
const TSC_HZ = 1_000_000_000
const BRAND = 'mesovirt TCG x86-64'
const PHYSICAL_BITS = 46, LINEAR_BITS = 48
const CACHE_LINE = 64
const KIB = 1024

const bits = (...numbers: number[]): number => numbers.reduce((value, bit) => value | (1 << bit), 0) >>> 0

// Leaf 1
const FEATURES_EDX = bits(
  0 /* FPU */, 2 /* DE */, 3 /* PSE */, 4 /* TSC */, 5 /* MSR */, 6 /* PAE */, 8 /* CX8 */, 9 /* APIC */, 11 /* SEP */, 12 /* MTRR */, 13 /* PGE */, 15 /* CMOV */,
  16 /* PAT */, 17 /* PSE-36 */, 19 /* CLFSH */, 23 /* MMX */, 24 /* FXSR */, 25 /* SSE */, 26 /* SSE2 */)
const HTT = bits(28)
const FEATURES_ECX = bits(
  0 /* SSE3 */, 9 /* SSSE3 */, 13 /* CMPXCHG16B */, 19 /* SSE4.1 */, 20 /* SSE4.2 */, 21 /* x2APIC */, 23 /* POPCNT */, 24 /* TSC-deadline */, 30 /* RDRAND */,
  31 /* hypervisor */)
// Leaf 6: the APIC timer runs in every power state.
const ARAT = bits(2)
// Leaf 7. FSRM and ERMS send kernels and C libraries to REP MOVSB, which is one bulk copy here.
const FEATURES7_EBX = bits(0 /* FSGSBASE */, 1 /* TSC_ADJUST */, 7 /* SMEP */, 9 /* ERMS */, 18 /* RDSEED */)
const FEATURES7_EDX = bits(4 /* FSRM */, 26 /* SPEC_CTRL */, 29 /* ARCH_CAPABILITIES */, 31 /* SSBD */)
// Leaf 7, subleaf 2: with this bit Linux sets SPEC_CTRL.BHI_DIS_S instead of running its history-clearing loop on every system call.
const FEATURES72_EDX = bits(4 /* BHI_CTRL */)
// Leaf 0x40000001
const KVM_FEATURES = bits(1 /* no I/O delay needed */, 3 /* clock by the newer MSRs */, 24 /* that clock is stable */)
// Leaf 0x80000001
const EXTENDED_ECX = bits(0 /* LAHF in 64-bit mode */)
const EXTENDED_EDX = bits(11 /* SYSCALL */, 20 /* NX */, 26 /* 1 GiB pages */, 27 /* RDTSCP */, 29 /* long mode */)
const INVARIANT_TSC = bits(8)

/** The table of one processor, most specific entries first. */
export function cpuidTable(index: number, topology: CpuTopology): CpuidEntry[] {
  const apicId = apicIdOf(index, topology)
  const perPackage = topology.dies * topology.cores * topology.threads
  const shifts = topologyShifts(topology)
  const entry = (leaf: number, [eax, ebx, ecx, edx]: readonly [number, number, number, number], subleaf = ANY_SUBLEAF): CpuidEntry =>
    ({ leaf, subleaf, eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 })
  const level = (leaf: number, subleaf: number, shift: number, processors: number, type: number) =>
    entry(leaf, [shift, processors, subleaf | (type << 8), apicId], subleaf)
  const SMT = 1, CORE = 2, DIE = 5
  return [
    entry(0, [MAX_LEAF, word('Genu'), word('ntel'), word('ineI')]),
    entry(1, [SIGNATURE, (CACHE_LINE / 8) << 8 | Math.min(255, 1 << shifts.package) << 16 | (apicId & 0xff) << 24, FEATURES_ECX, FEATURES_EDX | (perPackage > 1 ? HTT : 0)]),
    entry(2, [0x0000_ff01, 0, 0, 0]), // "see leaf 4"
    ...cacheLeaves(topology, shifts).map(([values, subleaf]) => entry(4, values, subleaf)),
    entry(6, [ARAT, 0, 0, 0]),
    entry(7, [2, FEATURES7_EBX, 0, FEATURES7_EDX], 0),
    entry(7, [0, 0, 0, FEATURES72_EDX], 2),
    level(0xb, 0, shifts.core, topology.threads, SMT),
    level(0xb, 1, shifts.package, perPackage, CORE),
    entry(0xb, [0, 0, 0, apicId]),
    entry(0x15, [1, 1, TSC_HZ, 0]), // TSC = crystal * 1 / 1
    entry(0x16, [TSC_HZ / 1e6, TSC_HZ / 1e6, 100, 0]), // base, maximum and bus MHz
    ...(topology.dies > 1
      ? [level(0x1f, 0, shifts.core, topology.threads, SMT), level(0x1f, 1, shifts.die, topology.cores * topology.threads, CORE),
          level(0x1f, 2, shifts.package, perPackage, DIE), entry(0x1f, [0, 0, 0, apicId])]
      : []),
    entry(0x4000_0000, [MAX_KVM_LEAF, word('KVMK'), word('VMKV'), word('M\0\0\0')]),
    entry(0x4000_0001, [KVM_FEATURES, 0, 0, 0]),
    entry(0x8000_0000, [MAX_EXTENDED_LEAF, 0, 0, 0]),
    entry(0x8000_0001, [0, 0, EXTENDED_ECX, EXTENDED_EDX]),
    ...[0, 1, 2].map((part) => entry(0x8000_0002 + part, brandPart(part))),
    entry(0x8000_0006, [0, 0, 1024 << 16 | 8 << 12 | CACHE_LINE, 0]), // L2: 1 MiB, 16 ways
    entry(0x8000_0007, [0, 0, 0, INVARIANT_TSC]),
    entry(0x8000_0008, [PHYSICAL_BITS | LINEAR_BITS << 8, 0, 0, 0]),
  ]
}

/** Leaf 4: L1 data, L1 instructions, L2 per core; L3 per package. */
function cacheLeaves(topology: CpuTopology, shifts: ReturnType<typeof topologyShifts>): [readonly [number, number, number, number], number][] {
  const DATA = 1, INSTRUCTIONS = 2, UNIFIED = 3
  const coresPerPackage = Math.min(64, 1 << (shifts.package - shifts.core))
  const cache = (type: number, depth: number, size: number, ways: number, sharing: number): readonly [number, number, number, number] =>
    [type | depth << 5 | 1 << 8 | (Math.min(4096, sharing) - 1) << 14 | (coresPerPackage - 1) << 26, (CACHE_LINE - 1) | (ways - 1) << 22, size / CACHE_LINE / ways - 1, 0]
  const perCore = 1 << shifts.core
  return [
    [cache(DATA, 1, 32 * KIB, 8, perCore), 0],
    [cache(INSTRUCTIONS, 1, 32 * KIB, 8, perCore), 1],
    [cache(UNIFIED, 2, 1024 * KIB, 16, perCore), 2],
    [cache(UNIFIED, 3, 16_384 * KIB, 16, 1 << shifts.package), 3],
  ]
}

function brandPart(part: number): [number, number, number, number] {
  const text = BRAND.padEnd(48, '\0').slice(part * 16, part * 16 + 16)
  return [word(text.slice(0, 4)), word(text.slice(4, 8)), word(text.slice(8, 12)), word(text.slice(12, 16))]
}

/** Four characters as CPUID puts them into a register. */
function word(text: string): number {
  return Buffer.from(text, 'latin1').readUInt32LE(0)
}
