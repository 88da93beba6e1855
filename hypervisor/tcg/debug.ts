/**
 * The state of a paused vCPU of the software CPU from outside: text of `info registers` in QEMU's shape, linear reads through its page tables
 * (Intel SDM volume 3, chapter 4), and the registers in which it enters a kernel.
 */
import type { RamBlock } from '../../address-space/guest-memory.ts'
import { MesovirtError } from '../../host/errors.ts'
import type { EntryState, SegmentRegister } from '../hypervisor.ts'
import {
  CPL, CPU_INDEX, CR0, CR2, CR3, CR4, CS, DR, DS, EFER, ES, EXIT_DATA, FCW, FPR, FS, FSW, FTW, GDTR_BASE, GDTR_LIMIT, GPR, GS, HALTED, IDTR_BASE, IDTR_LIMIT, INHIBIT,
  LDTR, MXCSR, RFLAGS, RIP, SEG, SEG_ATTR, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, SEG_SIZE, SS, TR, XMM,
} from './core/layout.ts'

const NAMES = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8 ', 'R9 ', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'] as const
/** In the order QEMU prints them. */
const SHOWN = [[0, 3, 1, 2], [6, 7, 5, 4], [8, 9, 10, 11], [12, 13, 14, 15]] as const
const SEGMENTS = [['ES ', ES], ['CS ', CS], ['SS ', SS], ['DS ', DS], ['FS ', FS], ['GS ', GS], ['LDT', LDTR], ['TR ', TR]] as const
const FLAGS = [['D', 10], ['O', 11], ['S', 7], ['Z', 6], ['A', 4], ['P', 2], ['C', 0]] as const

const ATTR_L = 1 << 21, ATTR_DB = 1 << 22, ATTR_SYSTEM = 1 << 12, ATTR_PRESENT = 1 << 15
const CR0_PE = 1n, CR0_PG = 1n << 31n, CR4_PSE = 1n << 4n, CR4_PAE = 1n << 5n, EFER_LMA = 1n << 10n
const PRESENT = 1n, LARGE = 1n << 7n
const ENTRY_ADDRESS = 0x000f_ffff_ffff_f000n
const PAGE = 4096n

/** @param cpu offset of the vCPU's block; @returns lines without the `CPU#` heading */
export function registersText(view: DataView, cpu: number): string {
  const u64 = (place: number) => view.getBigUint64(cpu + place, true)
  const u32 = (place: number) => view.getUint32(cpu + place, true)
  const u16 = (place: number) => view.getUint16(cpu + place, true)
  const flags = u64(EXIT_DATA)
  const letters = FLAGS.map(([letter, bit]) => (flags >> BigInt(bit)) & 1n ? letter : '-').join('')
  const lines = SHOWN.map((row) => row.map((index) => `${NAMES[index]}=${hex(u64(GPR + index * 8), 16)}`).join(' '))
  lines.push(`RIP=${hex(u64(RIP), 16)} RFL=${hex(flags, 8)} [${letters}] CPL=${u32(CPL)} II=${u32(INHIBIT) === 0 ? 0 : 1} A20=1 SMM=0 HLT=${u32(HALTED) === 0 ? 0 : 1}`)
  for (const [name, index] of SEGMENTS) lines.push(segmentLine(view, cpu + SEG + index * SEG_SIZE, name, index === CS))
  lines.push(`GDT=     ${hex(u64(GDTR_BASE), 16)} ${hex(BigInt(u32(GDTR_LIMIT)), 8)}`, `IDT=     ${hex(u64(IDTR_BASE), 16)} ${hex(BigInt(u32(IDTR_LIMIT)), 8)}`)
  lines.push(`CR0=${hex(u64(CR0), 8)} CR2=${hex(u64(CR2), 16)} CR3=${hex(u64(CR3), 16)} CR4=${hex(u64(CR4), 8)}`)
  lines.push([0, 1, 2, 3].map((index) => `DR${index}=${hex(u64(DR + index * 8), 16)}`).join(' '))
  lines.push(`DR6=${hex(u64(DR + 48), 16)} DR7=${hex(u64(DR + 56), 16)}`, `EFER=${hex(u64(EFER), 16)}`)
  // FTW is shown with a set bit for an empty register, as QEMU shows it.
  const top = (u16(FSW) >> 11) & 7
  lines.push(`FCW=${hex(BigInt(u16(FCW)), 4)} FSW=${hex(BigInt(u16(FSW)), 4)} [ST=${top}] FTW=${hex(BigInt(~view.getUint8(cpu + FTW) & 0xff), 2)} MXCSR=${hex(BigInt(u32(MXCSR)), 8)}`)
  for (let index = 0; index < 8; index += 2) {
    lines.push([index, index + 1].map((at) => `FPR${at}=${hex(u64(FPR + at * 16), 16)} ${hex(BigInt(u16(FPR + at * 16 + 8)), 4)}`).join(' '))
  }
  for (let index = 0; index < 16; index += 2) {
    lines.push([index, index + 1].map((at) => `XMM${String(at).padStart(2, '0')}=${hex(u64(XMM + at * 16 + 8), 16)} ${hex(u64(XMM + at * 16), 16)}`).join(' '))
  }
  return `\nCPU#${u32(CPU_INDEX)}\n${lines.join('\n')}\n`
}

function segmentLine(view: DataView, at: number, name: string, isCode: boolean): string {
  const attributes = view.getUint32(at + SEG_ATTR, true) & 0x00f0_ff00
  const words = [hex(BigInt(view.getUint16(at + SEG_SELECTOR, true)), 4), hex(view.getBigUint64(at + SEG_BASE, true), 16), hex(BigInt(view.getUint32(at + SEG_LIMIT, true)), 8),
    hex(BigInt(attributes), 8)]
  const present = (attributes & ATTR_PRESENT) !== 0
  const kind = !present ? '' : (attributes & ATTR_SYSTEM) === 0 ? ` DPL=${(attributes >> 13) & 3} sys`
    : ` DPL=${(attributes >> 13) & 3} ${isCode ? attributes & ATTR_L ? 'CS64' : attributes & ATTR_DB ? 'CS32' : 'CS16' : 'DS'}`
  return `${name}=${words.join(' ')}${kind}`
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

function hex(value: bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
