/**
 * ELF64 vmlinux: entered by its PVH note (XEN_ELFNOTE_PHYS32_ENTRY) when it has one, since that is a contract between kernel and loader;
 * otherwise at e_entry in 64-bit mode with a zero page, which every x86-64 vmlinux accepts too.
 * System V ABI (ELF-64), Xen docs/misc/pvh.pandoc and public/elfnote.h. Left out: sections, relocations, interpreters.
 */
import type { ImageFile } from './image-file.ts'
import type { KernelImage, LoadPiece } from './kernel-image.ts'
import { DEFAULT_COMMAND_LINE_LIMIT } from './kernel-image.ts'
import { FOUR_GIB, HIGH_MEMORY_ADDRESS, INITRD_END_MAX } from './layout.ts'

const ELF_MAGIC = 0x464c_457f // 0x7f 'ELF'
const EI_CLASS = 4, EI_DATA = 5
const ELFCLASS64 = 2, ELFDATA2LSB = 1
const e_type = 16, e_machine = 18, e_entry = 24, e_phoff = 32, e_phentsize = 54, e_phnum = 56
const EHDR_SIZE = 64
const ET_EXEC = 2, ET_DYN = 3
const EM_X86_64 = 62

const p_type = 0, p_offset = 8, p_vaddr = 16, p_paddr = 24, p_filesz = 32, p_memsz = 40, p_align = 48
const PHDR_SIZE = 56
const PT_LOAD = 1, PT_NOTE = 4
/** vmlinux has about five program headers; the bound keeps a hostile file from costing time. */
const PHNUM_MAX = 64

const XEN_ELFNOTE_PHYS32_ENTRY = 18
const NOTE_HEADER_SIZE = 12
const NOTES_SIZE_MAX = 1024 * 1024

interface Segment { type: number; offset: number; vaddr: bigint; paddr: number; fileSize: number; memorySize: number; align: number }

export function isElf(image: ImageFile): boolean {
  return image.size >= 4 && view(image.read(0, 4)).getUint32(0, true) === ELF_MAGIC
}

/** @throws MesovirtError KERNEL_DAMAGED, KERNEL_UNSUPPORTED */
export function parseElf(image: ImageFile): KernelImage {
  const head = view(image.read(0, EHDR_SIZE))
  if (head.getUint8(EI_CLASS) !== ELFCLASS64 || head.getUint8(EI_DATA) !== ELFDATA2LSB || head.getUint16(e_machine, true) !== EM_X86_64) {
    throw image.unsupported('it is an ELF file, but not for x86-64')
  }
  const type = head.getUint16(e_type, true)
  if (type !== ET_EXEC && type !== ET_DYN) throw image.unsupported('it is an ELF object or core file, not an executable; use vmlinux')
  const segments = readSegments(image, head)

  const loads = segments.filter((segment) => segment.type === PT_LOAD && segment.memorySize > 0)
  if (loads.length === 0) throw image.damaged('it has nothing to load')
  const pieces: LoadPiece[] = loads.map(({ paddr, offset, fileSize, memorySize }) => {
    if (fileSize > memorySize) throw image.damaged('a segment is larger in the file than in memory')
    if (offset + fileSize > image.size) throw image.damaged(`it ends at byte ${image.size}, but a segment ends at byte ${offset + fileSize}`)
    if (paddr < HIGH_MEMORY_ADDRESS) throw image.unsupported(`a segment loads at 0x${paddr.toString(16)}, below 1 MiB; it is not a Linux vmlinux`)
    if (paddr + memorySize > FOUR_GIB) throw image.damaged('a segment ends above 4 GiB')
    return { address: paddr, offset, fileSize, memorySize }
  })

  const sorted = [...pieces].sort((a, b) => a.address - b.address)
  // Overlap would make the result depend on the order, and let a small file cost many times the size of memory in clearing.
  sorted.forEach((piece, index) => {
    const next = sorted[index + 1]
    if (next !== undefined && piece.address + piece.memorySize > next.address) throw image.damaged('two segments overlap')
  })

  const pvhEntry = findPvhEntry(image, segments)
  const entry = pvhEntry ?? physicalEntry(image, head.getBigUint64(e_entry, true), loads)
  if (!pieces.some(({ address, memorySize }) => entry >= address && entry < address + memorySize)) {
    throw image.damaged(`its entry 0x${entry.toString(16)} is in none of its segments`)
  }
  return {
    format: 'elf', protocol: pvhEntry === undefined ? 'linux64' : 'pvh32', entry, pieces,
    end: Math.max(...pieces.map(({ address, memorySize }) => address + memorySize)),
    setupHeader: null, commandLineLimit: DEFAULT_COMMAND_LINE_LIMIT, initrdEnd: INITRD_END_MAX,
  }
}

function readSegments(image: ImageFile, head: DataView): Segment[] {
  const count = head.getUint16(e_phnum, true)
  if (count === 0 || count > PHNUM_MAX) throw image.damaged(`it has ${count} program headers`)
  if (head.getUint16(e_phentsize, true) !== PHDR_SIZE) throw image.damaged(`its program headers have ${head.getUint16(e_phentsize, true)} bytes each`)
  const table = view(image.read(toSafe(image, head.getBigUint64(e_phoff, true)), count * PHDR_SIZE))
  const segments: Segment[] = []
  for (let at = 0; at < count * PHDR_SIZE; at += PHDR_SIZE) {
    const type = table.getUint32(at + p_type, true)
    if (type !== PT_LOAD && type !== PT_NOTE) continue
    const long = (field: number) => toSafe(image, table.getBigUint64(at + field, true))
    segments.push({
      type, vaddr: table.getBigUint64(at + p_vaddr, true), offset: long(p_offset), fileSize: long(p_filesz),
      // A note is never loaded, so its addresses need not make sense.
      paddr: type === PT_LOAD ? long(p_paddr) : 0, memorySize: type === PT_LOAD ? long(p_memsz) : 0, align: Number(table.getBigUint64(at + p_align, true)),
    })
  }
  return segments
}

/** e_entry of vmlinux is physical already (phys_startup_64); other tools leave a virtual one, which a segment translates. */
function physicalEntry(image: ImageFile, entry: bigint, loads: readonly Segment[]): number {
  if (loads.some(({ paddr, memorySize }) => entry >= BigInt(paddr) && entry < BigInt(paddr + memorySize))) return Number(entry)
  const home = loads.find(({ vaddr, memorySize }) => entry >= vaddr && entry < vaddr + BigInt(memorySize))
  if (home === undefined) throw image.damaged(`its entry 0x${entry.toString(16)} is in none of its segments`)
  return Number(entry - home.vaddr) + home.paddr
}

function findPvhEntry(image: ImageFile, segments: readonly Segment[]): number | undefined {
  for (const { type, offset, fileSize, align } of segments) {
    if (type !== PT_NOTE) continue
    if (fileSize > NOTES_SIZE_MAX) throw image.damaged(`its notes claim ${fileSize} bytes`)
    const notes = view(image.read(offset, fileSize))
    const round = (size: number) => align === 8 ? Math.ceil(size / 8) * 8 : Math.ceil(size / 4) * 4
    for (let at = 0; at + NOTE_HEADER_SIZE <= fileSize;) {
      const nameSize = notes.getUint32(at, true)
      const size = notes.getUint32(at + 4, true)
      const name = at + NOTE_HEADER_SIZE
      const content = at + round(NOTE_HEADER_SIZE + nameSize)
      if (content + size > fileSize) throw image.damaged('a note is longer than the notes')
      if (notes.getUint32(at + 8, true) === XEN_ELFNOTE_PHYS32_ENTRY && nameSize === 4 && notes.getUint32(name, true) === 0x006e_6558 /* 'Xen' */) {
        if (size !== 4 && size !== 8) throw image.damaged(`its PVH note has ${size} bytes`)
        return size === 8 ? toSafe(image, notes.getBigUint64(content, true)) : notes.getUint32(content, true)
      }
      at = content + round(size)
    }
  }
  return undefined
}

/** File offsets and physical addresses all lie far below 2^53; anything else is damage. */
function toSafe(image: ImageFile, value: bigint): number {
  if (value > 0xffff_ffff_ffffn) throw image.damaged(`a header field holds 0x${value.toString(16)}`)
  return Number(value)
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
