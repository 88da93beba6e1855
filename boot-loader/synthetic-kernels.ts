/** Test part: the smallest kernels that are well-formed, with every header field open to change. Nothing in them runs. */
import { GuestMemory } from '../address-space/guest-memory.ts'

export const MIB = 2 ** 20

/** RAM of `size` bytes from 0 on, every byte 0xee, so that what is written and what is not can be told apart. */
export function testMemory(size: number): GuestMemory {
  return new GuestMemory([{ guestAddress: 0, size, bytes: new Uint8Array(size).fill(0xee), hostOffset: 0 }])
}

export interface BzImageShape { version?: number; setupSects?: number; code?: Uint8Array; initSize?: number; prefAddress?: bigint; initrdAddrMax?: number; cmdlineSize?: number; alignment?: number }

/** A bzImage of protocol 2.15 with 4 setup sectors and `code` as its protected-mode part. */
export function bzImage(shape: BzImageShape = {}): Uint8Array {
  const code = shape.code ?? new Uint8Array(0x1000).fill(0x90)
  const sectors = shape.setupSects ?? 4
  const offset = ((sectors || 4) + 1) * 512
  const image = new Uint8Array(offset + code.length)
  const view = new DataView(image.buffer)
  view.setUint8(0x1f1, sectors)
  view.setUint32(0x1f4, code.length / 16, true)
  view.setUint16(0x1fe, 0xaa55, true)
  view.setUint16(0x200, 0x6aeb, true) // jump to 0x26c
  image.set(new TextEncoder().encode('HdrS'), 0x202)
  view.setUint16(0x206, shape.version ?? 0x20f, true)
  view.setUint8(0x211, 1)
  view.setUint32(0x214, MIB, true)
  view.setUint32(0x22c, shape.initrdAddrMax ?? 0x7fff_ffff, true)
  view.setUint32(0x230, shape.alignment ?? 0x20_0000, true)
  view.setUint8(0x234, 1)
  view.setUint16(0x236, 0x7f, true)
  view.setUint32(0x238, shape.cmdlineSize ?? 2047, true)
  view.setBigUint64(0x250, 0x1234n, true)
  view.setBigUint64(0x258, shape.prefAddress ?? BigInt(16 * MIB), true)
  view.setUint32(0x260, shape.initSize ?? 2 * MIB, true)
  image.set(code, offset)
  return image
}

export interface ElfShape { entry?: bigint; pvhEntry?: number; code?: Uint8Array; bss?: number; paddr?: bigint; vaddr?: bigint }

/** An ELF64 executable with one loaded segment at 16 MiB, linked at -2 GiB + 16 MiB, and a note segment with a foreign and maybe a PVH note. */
export function elf(shape: ElfShape = {}): Uint8Array {
  const code = shape.code ?? new Uint8Array(0x800).fill(0x90)
  const notes = shape.pvhEntry === undefined ? note('GNU\0', 3, 20, 0) : [...note('Linux\0', 0x101, 21, 0), ...note('Xen\0', 18, 8, shape.pvhEntry)]
  const codeOffset = 0x200, noteOffset = codeOffset + code.length
  const image = new Uint8Array(noteOffset + notes.length)
  const view = new DataView(image.buffer)
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(16, 2, true)
  view.setUint16(18, 62, true)
  view.setBigUint64(24, shape.entry ?? BigInt(16 * MIB), true)
  view.setBigUint64(32, 64n, true)
  view.setUint16(54, 56, true)
  view.setUint16(56, 2, true)
  programHeader(view, 64, 1, codeOffset, shape.vaddr ?? 0xffff_ffff_8100_0000n, shape.paddr ?? BigInt(16 * MIB), code.length, code.length + (shape.bss ?? 0x400))
  programHeader(view, 120, 4, noteOffset, 0n, 0n, notes.length, notes.length)
  image.set(code, codeOffset)
  image.set(notes, noteOffset)
  return image
}

function programHeader(view: DataView, at: number, type: number, offset: number, vaddr: bigint, paddr: bigint, fileSize: number, memorySize: number): void {
  view.setUint32(at, type, true)
  view.setBigUint64(at + 8, BigInt(offset), true)
  view.setBigUint64(at + 16, vaddr, true)
  view.setBigUint64(at + 24, paddr, true)
  view.setBigUint64(at + 32, BigInt(fileSize), true)
  view.setBigUint64(at + 40, BigInt(memorySize), true)
  view.setBigUint64(at + 48, 4n, true)
}

function note(name: string, type: number, size: number, value: number): number[] {
  const padded = (length: number) => Math.ceil(length / 4) * 4
  const bytes = new Uint8Array(12 + padded(name.length) + padded(size))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, name.length, true)
  view.setUint32(4, size, true)
  view.setUint32(8, type, true)
  bytes.set(new TextEncoder().encode(name), 12)
  view.setUint32(12 + padded(name.length), value, true)
  return [...bytes]
}
