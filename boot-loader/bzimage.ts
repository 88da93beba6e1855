/**
 * Linux bzImage by the 64-bit boot protocol. Linux Documentation/arch/x86/boot.rst (protocol 2.02 to 2.15).
 * Left out: the real-mode setup code, the 32-bit entry (so no 32-bit kernels), the EFI handover entry.
 */
import type { ImageFile } from './image-file.ts'
import type { KernelImage } from './kernel-image.ts'
import { HIGH_MEMORY_ADDRESS, INITRD_END_MAX } from './layout.ts'

/** The setup header, at the same offsets in the image and in the zero page (boot.rst, "The Real-Mode Kernel Header"). */
export const setup_sects = 0x1f1, syssize = 0x1f4, boot_flag = 0x1fe, jump = 0x200, header = 0x202, version = 0x206
export const type_of_loader = 0x210, loadflags = 0x211, code32_start = 0x214, ramdisk_image = 0x218, ramdisk_size = 0x21c
export const heap_end_ptr = 0x224, cmd_line_ptr = 0x228, initrd_addr_max = 0x22c, kernel_alignment = 0x230, relocatable_kernel = 0x234
export const min_alignment = 0x235, xloadflags = 0x236, cmdline_size = 0x238, payload_offset = 0x248, payload_length = 0x24c
export const setup_data = 0x250, pref_address = 0x258, init_size = 0x260

export const BOOT_FLAG = 0xaa55
export const HEADER_MAGIC = 0x5372_6448 // 'HdrS'
export const LOADED_HIGH = 0b0000_0001 // loadflags: the protected-mode code goes to 1 MiB
const XLF_KERNEL_64 = 0b0000_0001 // xloadflags: the 64-bit entry exists
const ENTRY_64_OFFSET = 0x200

/** The setup header may grow up to the next field of boot_params, edd_mbr_sig_buffer. */
export const SETUP_HEADER_END_MAX = 0x290
const SETUP_HEADER_SECTOR_END = 0x400
const SECTOR = 512
const SETUP_SECTS_MAX = 64
const OLD_COMMAND_LINE_LIMIT = 255
const COMMAND_LINE_LIMIT_MAX = 0xffff
const OLD_INITRD_ADDR_MAX = 0x37ff_ffff

/** Whether the file claims to be a bzImage (or zImage). */
export function isBzImage(image: ImageFile): boolean {
  if (image.size < SETUP_HEADER_SECTOR_END) return false
  const head = view(image.read(0, SETUP_HEADER_SECTOR_END))
  return head.getUint16(boot_flag, true) === BOOT_FLAG && head.getUint32(header, true) === HEADER_MAGIC
}

/** @throws MesovirtError KERNEL_DAMAGED, KERNEL_UNSUPPORTED */
export function parseBzImage(image: ImageFile): KernelImage {
  const bytes = image.read(0, SETUP_HEADER_SECTOR_END)
  const head = view(bytes)
  const protocol = head.getUint16(version, true)
  if (protocol < 0x202) throw image.unsupported(`its boot protocol ${protocol >> 8}.${String(protocol & 0xff).padStart(2, '0')} is older than 2.02`)
  if ((head.getUint8(loadflags) & LOADED_HIGH) === 0) throw image.unsupported('it is a zImage that loads below 1 MiB; build a bzImage')
  if (protocol >= 0x20c && (head.getUint16(xloadflags, true) & XLF_KERNEL_64) === 0) throw image.unsupported('it has no 64-bit entry; use a 64-bit (amd64) kernel')

  const headerEnd = header + head.getUint8(jump + 1) // the second byte of the jump over the header says where it ends
  if (headerEnd > SETUP_HEADER_END_MAX || headerEnd < minimumHeaderEnd(protocol)) throw image.damaged(`its setup header ends at 0x${headerEnd.toString(16)}`)

  const setupSectors = head.getUint8(setup_sects) || 4
  if (setupSectors > SETUP_SECTS_MAX) throw image.damaged(`its setup code claims ${setupSectors} sectors`)
  const offset = (setupSectors + 1) * SECTOR
  const remaining = image.size - offset
  if (remaining <= ENTRY_64_OFFSET) throw image.damaged('it ends before its protected-mode code')
  // What follows syssize is a signature. Before 2.04 the field had 16 bits only, too few for the size.
  const claimed = protocol >= 0x204 ? head.getUint32(syssize, true) * 16 : 0
  if (claimed > remaining) throw image.damaged(`it ends at byte ${image.size}, but its header promises ${offset + claimed} bytes`)
  const size = claimed > ENTRY_64_OFFSET ? claimed : remaining

  const loadAddress = head.getUint32(code32_start, true)
  if (loadAddress < HIGH_MEMORY_ADDRESS) throw image.damaged(`its load address 0x${loadAddress.toString(16)} is below 1 MiB`)
  const initrdMax = protocol >= 0x203 ? head.getUint32(initrd_addr_max, true) : OLD_INITRD_ADDR_MAX
  const limit = protocol >= 0x206 ? head.getUint32(cmdline_size, true) : OLD_COMMAND_LINE_LIMIT
  return {
    format: 'bzImage', protocol: 'linux64', entry: loadAddress + ENTRY_64_OFFSET,
    pieces: [{ address: loadAddress, offset, fileSize: size, memorySize: size }],
    end: Math.max(loadAddress + size, decompressedEnd(image, head, protocol, loadAddress)),
    setupHeader: bytes.slice(setup_sects, headerEnd),
    commandLineLimit: Math.min(limit, COMMAND_LINE_LIMIT_MAX),
    initrdEnd: Math.min(INITRD_END_MAX, initrdMax + 1),
  }
}

/**
 * Where the room ends that the kernel unpacks itself into: init_size bytes from the address that its own start-up code computes
 * (never below pref_address; boot.rst, "init_size"). Kernel address randomisation looks for other places itself, in the memory map.
 */
function decompressedEnd(image: ImageFile, head: DataView, protocol: number, loadAddress: number): number {
  if (protocol < 0x20a) return loadAddress
  const preferred = head.getBigUint64(pref_address, true)
  if (preferred > 0xffff_ffffn) throw image.damaged(`its preferred address 0x${preferred.toString(16)} is above 4 GiB`)
  const alignment = head.getUint32(kernel_alignment, true)
  const relocatable = head.getUint8(relocatable_kernel) !== 0
  if (relocatable && (alignment === 0 || (alignment & (alignment - 1)) !== 0)) throw image.damaged(`its kernel_alignment 0x${alignment.toString(16)} is no power of two`)
  const start = relocatable ? Math.max(Math.ceil(loadAddress / alignment) * alignment, Number(preferred)) : Number(preferred)
  return start + head.getUint32(init_size, true)
}

/** End of the last field that a protocol version brought and that is read here. */
function minimumHeaderEnd(protocol: number): number {
  if (protocol >= 0x20a) return init_size + 4
  if (protocol >= 0x206) return cmdline_size + 4
  if (protocol >= 0x203) return initrd_addr_max + 4
  return cmd_line_ptr + 4
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
