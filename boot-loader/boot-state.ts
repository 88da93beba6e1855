/**
 * The state in which vCPU 0 enters the kernel, for any hypervisor. 64-bit: Linux boot.rst, "64-bit Boot Protocol"; 32-bit: Xen
 * docs/misc/pvh.pandoc, "x86/HVM direct boot ABI". Registers not named here keep their reset value.
 */
import type { GuestMemory } from '../address-space/guest-memory.ts'
import {
  BOOT_STACK_POINTER, GDT_ADDRESS, IDT_ADDRESS, IDENTITY_MAPPED, PAGE_DIRECTORY_ADDRESS, PDPT_ADDRESS, PML4_ADDRESS, PVH_START_INFO_ADDRESS, ZERO_PAGE_ADDRESS,
} from './layout.ts'

export interface SegmentState {
  readonly selector: number
  readonly base: number
  /** In bytes: granularity is applied. */
  readonly limit: number
  /** Descriptor bits 40..47 (type, S, DPL, P) in bits 0..7 and 52..55 (AVL, L, D/B, G) in bits 12..15, as VMX and KVM count them. */
  readonly attributes: number
}

export interface BootState {
  readonly protocol: 'linux64' | 'pvh32'
  readonly format: 'bzImage' | 'elf' | 'flat'
  /** Guest-physical address of the first instruction; equals rip. */
  readonly entry: number
  /** boot_params, linux64 only. */
  readonly zeroPage?: number
  /** hvm_start_info, pvh32 only. */
  readonly startInfo?: number
  readonly rip: number
  readonly rsp: number
  readonly rbp: number
  readonly rbx: number
  readonly rsi: number
  readonly rflags: number
  readonly cr0: number
  readonly cr3: number
  readonly cr4: number
  readonly efer: number
  readonly gdt: { readonly base: number; readonly limit: number }
  readonly idt: { readonly base: number; readonly limit: number }
  readonly cs: SegmentState
  /** ds, es, fs, gs and ss are all this one. */
  readonly data: SegmentState
  readonly tr: SegmentState
  readonly ldtr: SegmentState
  /** x87 control word and MXCSR. */
  readonly fcw: number
  readonly mxcsr: number
}

const CR0_PE = 0x1, CR0_ET = 0x10, CR0_PG = 0x8000_0000
const CR4_PAE = 0x20
const EFER_LME = 0x100, EFER_LMA = 0x400
const RFLAGS_RESERVED = 0x2

const TSS_SELECTOR = 0x08, CODE_SELECTOR = 0x10, DATA_SELECTOR = 0x18
const CODE64 = 0xa09b // G, L; present, code, read, accessed
const CODE32 = 0xc09b // G, D
const DATA = 0xc093 // G, B; present, data, write, accessed
const TSS_BUSY = 0x008b
const LDT = 0x0082
const FLAT_LIMIT = 0xffff_ffff
const GDT_LIMIT = 4 * 8 - 1
const IDT_LIMIT = 8 - 1

const PRESENT_WRITE = 0x3, PAGE_SIZE_BIT = 0x80
const TWO_MIB = 0x20_0000

/** Writes GDT, IDT and (64-bit) page tables into guest memory and returns the registers that go with them. */
export function enterKernel(memory: GuestMemory, protocol: BootState['protocol'], format: BootState['format'], entry: number): BootState {
  const long = protocol === 'linux64'
  const cs = { selector: CODE_SELECTOR, base: 0, limit: FLAT_LIMIT, attributes: long ? CODE64 : CODE32 }
  const data = { selector: DATA_SELECTOR, base: 0, limit: FLAT_LIMIT, attributes: DATA }
  // Hardware wants a busy TSS in TR. The 64-bit protocol says nothing about it, so the table holds a descriptor for the 32-bit entry only.
  const tr = { selector: long ? 0 : TSS_SELECTOR, base: 0, limit: long ? 0xffff : 0x67, attributes: TSS_BUSY }
  writeDescriptors(memory, [null, long ? null : tr, cs, data])
  if (long) writePageTables(memory)
  return {
    protocol, format, entry, ...(long ? { zeroPage: ZERO_PAGE_ADDRESS } : { startInfo: PVH_START_INFO_ADDRESS }),
    rip: entry, rsp: BOOT_STACK_POINTER, rbp: BOOT_STACK_POINTER, rbx: long ? 0 : PVH_START_INFO_ADDRESS, rsi: long ? ZERO_PAGE_ADDRESS : 0, rflags: RFLAGS_RESERVED,
    cr0: long ? CR0_PG + CR0_ET + CR0_PE : CR0_ET + CR0_PE, cr3: long ? PML4_ADDRESS : 0, cr4: long ? CR4_PAE : 0, efer: long ? EFER_LME + EFER_LMA : 0,
    gdt: { base: GDT_ADDRESS, limit: GDT_LIMIT }, idt: { base: IDT_ADDRESS, limit: IDT_LIMIT },
    cs, data, tr, ldtr: { selector: 0, base: 0, limit: 0xffff, attributes: LDT },
    fcw: 0x37f, mxcsr: 0x1f80,
  }
}

function writeDescriptors(memory: GuestMemory, segments: readonly (SegmentState | null)[]): void {
  segments.forEach((segment, index) => memory.writeU64(GDT_ADDRESS + index * 8, segment === null ? 0n : descriptor(segment)))
  memory.writeU64(IDT_ADDRESS, 0n)
}

function descriptor({ base, limit, attributes }: SegmentState): bigint {
  const granular = (attributes & 0x8000) !== 0
  const limitField = BigInt(granular ? Math.floor(limit / 0x1000) : limit)
  const baseField = BigInt(base)
  return (limitField & 0xffffn) | (baseField & 0xff_ffffn) << 16n | BigInt(attributes & 0xff) << 40n |
    (limitField >> 16n & 0xfn) << 48n | BigInt(attributes >> 12 & 0xf) << 52n | (baseField >> 24n & 0xffn) << 56n
}

/** Identity map of the first GiB in 2 MiB pages. */
function writePageTables(memory: GuestMemory): void {
  memory.fill(PML4_ADDRESS, 3 * 0x1000, 0)
  memory.writeU64(PML4_ADDRESS, BigInt(PDPT_ADDRESS | PRESENT_WRITE))
  memory.writeU64(PDPT_ADDRESS, BigInt(PAGE_DIRECTORY_ADDRESS | PRESENT_WRITE))
  for (let index = 0; index < IDENTITY_MAPPED / TWO_MIB; index++) {
    memory.writeU64(PAGE_DIRECTORY_ADDRESS + index * 8, BigInt(index * TWO_MIB | PRESENT_WRITE | PAGE_SIZE_BIT))
  }
}
