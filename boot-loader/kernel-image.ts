/** What a parsed kernel asks for: pieces to copy, where to enter, what must stay free. Parsers check the image; load-kernel.ts places it. */
import type { ImageFile } from './image-file.ts'
import { FLAT_KERNEL_ADDRESS, INITRD_END_MAX } from './layout.ts'

export interface LoadPiece {
  /** Guest-physical destination. */
  readonly address: number
  /** Offset in the image file. */
  readonly offset: number
  readonly fileSize: number
  /** >= fileSize; the rest is filled with zeros. */
  readonly memorySize: number
}

export interface KernelImage {
  readonly format: 'bzImage' | 'elf' | 'flat'
  readonly protocol: 'linux64' | 'pvh32'
  /** Guest-physical address of the first instruction. */
  readonly entry: number
  readonly pieces: readonly LoadPiece[]
  /** One past the last byte the kernel uses before it reads the memory map: pieces, BSS, and the room it decompresses into. */
  readonly end: number
  /** bytes from 0x1f1 on to copy into the zero page; bzImage only */
  readonly setupHeader: Uint8Array | null
  /** Longest command line, without the NUL. */
  readonly commandLineLimit: number
  /** One past the highest byte an initrd may use. */
  readonly initrdEnd: number
}

/** COMMAND_LINE_SIZE of x86 Linux is 2048 with the NUL; an ELF or flat image carries no limit of its own. */
export const DEFAULT_COMMAND_LINE_LIMIT = 2047

const FLAT_MINIMUM = 512

/** Magic numbers of files that people name by mistake; a flat binary has none, so everything else has to be ruled out. */
const NOT_A_FLAT_KERNEL: readonly (readonly [magic: readonly number[], what: string])[] = [
  [[0x1f, 0x8b], 'it is gzip data, unpack it first (an initrd goes to -initrd)'],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a], 'it is xz data, unpack it first'],
  [[0x28, 0xb5, 0x2f, 0xfd], 'it is zstd data, unpack it first'],
  [[0x02, 0x21, 0x4c, 0x18], 'it is lz4 data, unpack it first'],
  [[0x30, 0x37, 0x30, 0x37, 0x30], 'it is a cpio archive (an initrd goes to -initrd)'],
  [[0x21, 0x3c, 0x61, 0x72, 0x63, 0x68, 0x3e], 'it is a Debian package or an archive, unpack it first'],
  [[0x4d, 0x5a], 'it is an EFI program without the Linux setup header'],
  [[0x23, 0x21], 'it is a script'],
  [[0x51, 0x46, 0x49, 0xfb], 'it is a qcow2 disk image'],
]

/** UTF-8 without control characters. Text executes for a while (`n` and `o` are OUTS), so it would end as a puzzling guest reset. */
function isText(head: Uint8Array): boolean {
  if (head.some((byte) => (byte < 0x20 && (byte < 0x09 || byte > 0x0d)) || byte === 0x7f)) return false
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(head, { stream: true }) // the last character may be cut
    return true
  } catch {
    return false
  }
}

/**
 * A flat `vmlinux.bin` (objcopy -O binary): loaded and entered at 16 MiB in 64-bit mode.
 * Its BSS is unknown, so nothing behind it is kept free but the rest of its last page.
 */
export function parseFlat(image: ImageFile): KernelImage {
  const head = image.read(0, Math.min(FLAT_MINIMUM, image.size))
  if (head.length < FLAT_MINIMUM) throw image.damaged(`it has only ${image.size} bytes`)
  for (const [magic, what] of NOT_A_FLAT_KERNEL) {
    if (magic.every((byte, index) => head[index] === byte)) throw image.unsupported(what)
  }
  if (isText(head)) throw image.unsupported('it is a text')
  if (head.every((byte) => byte === 0)) throw image.unsupported('it begins with zeros, so it is neither a bzImage, an ELF file nor a flat kernel')
  return {
    format: 'flat', protocol: 'linux64', entry: FLAT_KERNEL_ADDRESS,
    pieces: [{ address: FLAT_KERNEL_ADDRESS, offset: 0, fileSize: image.size, memorySize: image.size }],
    end: FLAT_KERNEL_ADDRESS + image.size, setupHeader: null, commandLineLimit: DEFAULT_COMMAND_LINE_LIMIT, initrdEnd: INITRD_END_MAX,
  }
}
