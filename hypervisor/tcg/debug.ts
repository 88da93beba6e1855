/**
 * The state of a paused vCPU of the software CPU from outside: what `info registers` shows, linear reads through its page tables
 * (Intel SDM volume 3, chapter 4), and the registers in which it enters a kernel.
 */
import type { RamBlock } from '../../address-space/guest-memory.ts'
import { MesovirtError } from '../../host/errors.ts'
import type { EntryState, SegmentRegister } from '../hypervisor.ts'
import type { ShownRegisters } from '../registers-text.ts'
import {
  CPL, CPU_INDEX, CR0, CR2, CR3, CR4, CS, DR, DS, EFER, ES, EXIT_DATA, FCW, FPR, FS, FSW, FTW, GDTR_BASE, GDTR_LIMIT, GPR, GS, HALTED, IDTR_BASE, IDTR_LIMIT, INHIBIT,
  LDTR, MXCSR, RFLAGS, RIP, SEG, SEG_ATTR, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, SEG_SIZE, SS, TR, XMM,
} from './core/layout.ts'

const CR0_PE = 1n, CR0_PG = 1n << 31n, CR4_PSE = 1n << 4n, CR4_PAE = 1n << 5n, EFER_LMA = 1n << 10n
const PRESENT = 1n, LARGE = 1n << 7n
const ENTRY_ADDRESS = 0x000f_ffff_ffff_f000n
const PAGE = 4096n

const SHOWN_SEGMENTS = [ES, CS, SS, DS, FS, GS, LDTR, TR] as const

/** @param cpu offset of the vCPU's block */
export function shownRegisters(view: DataView, cpu: number): ShownRegisters {
  const u64 = (place: number) => view.getBigUint64(cpu + place, true)
  const u32 = (place: number) => view.getUint32(cpu + place, true)
  const u16 = (place: number) => view.getUint16(cpu + place, true)
  const list = <T>(length: number, item: (index: number) => T) => Array.from({ length }, (_, index) => item(index))
  return {
    cpu: u32(CPU_INDEX), gpr: list(16, (index) => u64(GPR + index * 8)), rip: u64(RIP), rflags: u64(EXIT_DATA), cpl: u32(CPL), inhibited: u32(INHIBIT) !== 0, halted: u32(HALTED) !== 0,
    segments: SHOWN_SEGMENTS.map((index) => SEG + index * SEG_SIZE).map((at) =>
      ({ selector: u16(at + SEG_SELECTOR), base: u64(at + SEG_BASE), limit: u32(at + SEG_LIMIT), attributes: u32(at + SEG_ATTR) })),
    gdt: { base: u64(GDTR_BASE), limit: u32(GDTR_LIMIT) }, idt: { base: u64(IDTR_BASE), limit: u32(IDTR_LIMIT) },
    cr0: u64(CR0), cr2: u64(CR2), cr3: u64(CR3), cr4: u64(CR4), dr: [0, 1, 2, 3, 6, 7].map((index) => u64(DR + index * 8)), efer: u64(EFER),
    fcw: u16(FCW), fsw: u16(FSW), ftw: view.getUint8(cpu + FTW), mxcsr: u32(MXCSR),
    fpr: list(8, (index) => [u64(FPR + index * 16), u16(FPR + index * 16 + 8)] as const), xmm: list(16, (index) => [u64(XMM + index * 16), u64(XMM + index * 16 + 8)] as const),
  }
}

/**
 * Reads linear memory as the vCPU's page tables map it now, without a permission check.
 * @throws MesovirtError GUEST_ADDRESS where a page is not mapped or not RAM
 */
export function readLinear(view: DataView, cpu: number, ram: readonly RamBlock[], address: bigint, length: number): Uint8Array {
  const result = new Uint8Array(length)
  for (let done = 0; done < length;) {
    const linear = BigInt.asUintN(64, address + BigInt(done))
    const count = Math.min(length - done, Number(PAGE - linear % PAGE))
    const physical = translateLinear(view, cpu, ram, linear)
    const block = physical === undefined ? undefined : findBlock(ram, physical, count)
    if (physical === undefined || block === undefined) throw new MesovirtError('GUEST_ADDRESS', `linear address 0x${linear.toString(16)} is not mapped to RAM`)
    const from = Number(physical) - block.guestAddress
    result.set(block.bytes.subarray(from, from + count), done)
    done += count
  }
  return result
}

/** @returns the guest-physical address, undefined where nothing is mapped */
export function translateLinear(view: DataView, cpu: number, ram: readonly RamBlock[], linear: bigint): bigint | undefined {
  const cr0 = view.getBigUint64(cpu + CR0, true)
  const cr3 = view.getBigUint64(cpu + CR3, true)
  const cr4 = view.getBigUint64(cpu + CR4, true)
  const entry = (at: bigint, size: 4 | 8): bigint => {
    const block = findBlock(ram, at, size)
    if (block === undefined) return 0n
    const data = new DataView(block.bytes.buffer, block.bytes.byteOffset + Number(at) - block.guestAddress, size)
    return size === 8 ? data.getBigUint64(0, true) : BigInt(data.getUint32(0, true))
  }
  if ((cr0 & CR0_PG) === 0n || (cr0 & CR0_PE) === 0n) return linear & 0xffff_ffffn
  if ((cr4 & CR4_PAE) === 0n) {
    const directory = entry((cr3 & 0xffff_f000n) + (linear >> 22n & 0x3ffn) * 4n, 4)
    if ((directory & PRESENT) === 0n) return undefined
    if (directory & LARGE && cr4 & CR4_PSE) return (directory & 0xffc0_0000n) | (directory & 0x1f_e000n) << 19n | (linear & 0x3f_ffffn)
    const leaf = entry((directory & 0xffff_f000n) + (linear >> 12n & 0x3ffn) * 4n, 4)
    return leaf & PRESENT ? (leaf & 0xffff_f000n) | (linear & 0xfffn) : undefined
  }
  const long = (view.getBigUint64(cpu + EFER, true) & EFER_LMA) !== 0n
  let table = long ? cr3 & ENTRY_ADDRESS : cr3 & 0xffff_ffe0n
  const address = long ? linear : linear & 0xffff_ffffn
  for (let shift = long ? 39n : 30n; shift >= 12n; shift -= 9n) {
    const index = !long && shift === 30n ? address >> 30n & 3n : address >> shift & 0x1ffn
    const found = entry(table + index * 8n, 8)
    if ((found & PRESENT) === 0n) return undefined
    const mask = (1n << shift) - 1n
    if (shift === 12n || (found & LARGE && (shift === 21n || (long && shift === 30n)))) return (found & ENTRY_ADDRESS & ~mask) | (address & mask)
    table = found & ENTRY_ADDRESS
  }
  return undefined
}

/** Sets the registers of a vCPU that has been reset; the core's derived state follows with its next refresh. */
export function writeEntryState(view: DataView, cpu: number, state: EntryState): void {
  const set64 = (place: number, value: number) => view.setBigUint64(cpu + place, BigInt(value), true)
  const RBX = 3, RSP = 4, RBP = 5, RSI = 6
  set64(GPR + RBX * 8, state.rbx)
  set64(GPR + RSP * 8, state.rsp)
  set64(GPR + RBP * 8, state.rbp)
  set64(GPR + RSI * 8, state.rsi)
  set64(RIP, state.rip)
  set64(RFLAGS, state.rflags)
  set64(CR0, state.cr0)
  set64(CR3, state.cr3)
  set64(CR4, state.cr4)
  set64(EFER, state.efer)
  set64(GDTR_BASE, state.gdt.base)
  set64(IDTR_BASE, state.idt.base)
  view.setUint32(cpu + GDTR_LIMIT, state.gdt.limit, true)
  view.setUint32(cpu + IDTR_LIMIT, state.idt.limit, true)
  writeSegment(view, cpu, CS, state.cs)
  for (const index of [ES, SS, DS, FS, GS]) writeSegment(view, cpu, index, state.data)
  writeSegment(view, cpu, TR, state.tr)
  writeSegment(view, cpu, LDTR, state.ldtr)
  view.setUint16(cpu + FCW, state.fcw, true)
  view.setUint32(cpu + MXCSR, state.mxcsr, true)
}

function writeSegment(view: DataView, cpu: number, index: number, { selector, base, limit, attributes }: SegmentRegister): void {
  const at = cpu + SEG + index * SEG_SIZE
  view.setBigUint64(at + SEG_BASE, BigInt(base), true)
  view.setUint32(at + SEG_LIMIT, limit, true)
  // Bits 0..7 to 8..15 and 12..15 to 20..23: a descriptor's high dword.
  view.setUint32(at + SEG_ATTR, (attributes & 0xff) << 8 | (attributes & 0xf000) << 8, true)
  view.setUint16(at + SEG_SELECTOR, selector, true)
}

function findBlock(ram: readonly RamBlock[], physical: bigint, length: number): RamBlock | undefined {
  return ram.find(({ guestAddress, size }) => physical >= BigInt(guestAddress) && physical + BigInt(length) <= BigInt(guestAddress + size))
}
