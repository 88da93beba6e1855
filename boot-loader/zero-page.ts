/** The zero page (struct boot_params) of the 64-bit boot protocol. Linux Documentation/arch/x86/zero-page.rst. No video mode, no EDD, no EFI. */
import {
  BOOT_FLAG, HEADER_MAGIC, LOADED_HIGH, SETUP_HEADER_END_MAX, boot_flag, cmd_line_ptr, code32_start, header, initrd_addr_max, loadflags,
  ramdisk_image, ramdisk_size, relocatable_kernel, setup_data, setup_sects, type_of_loader, version, cmdline_size, kernel_alignment,
} from './bzimage.ts'
import type { KernelImage } from './kernel-image.ts'
import { COMMAND_LINE_ADDRESS, PAGE_SIZE } from './layout.ts'
import type { MemoryMapEntry } from './memory-map.ts'

const acpi_rsdp_addr = 0x070, e820_entries = 0x1e8, e820_table = 0x2d0
const E820_ENTRY_SIZE = 20

const LOADER_UNDEFINED = 0xff // type_of_loader: a loader without an assigned number
const SYNTHETIC_VERSION = 0x20f
const TWO_MIB = 0x20_0000

export interface Placed { readonly address: number; readonly size: number }

/** @returns the 4096 bytes to write at ZERO_PAGE_ADDRESS */
export function buildZeroPage(kernel: KernelImage, map: readonly MemoryMapEntry[], initrd: Placed | null, acpiRsdp: number): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE)
  const view = new DataView(page.buffer)
  if (kernel.setupHeader !== null) {
    page.set(kernel.setupHeader.subarray(0, SETUP_HEADER_END_MAX - setup_sects), setup_sects)
  } else {
    // An ELF or flat kernel carries no header; Linux wants at least the magic, the version and the loader type.
    view.setUint16(boot_flag, BOOT_FLAG, true)
    view.setUint32(header, HEADER_MAGIC, true)
    view.setUint16(version, SYNTHETIC_VERSION, true)
    view.setUint8(loadflags, LOADED_HIGH)
    view.setUint32(initrd_addr_max, kernel.initrdEnd - 1, true)
    view.setUint32(kernel_alignment, TWO_MIB, true)
    view.setUint8(relocatable_kernel, 0)
    view.setUint32(cmdline_size, kernel.commandLineLimit, true)
  }
  view.setUint8(type_of_loader, LOADER_UNDEFINED)
  view.setUint32(code32_start, kernel.pieces[0]?.address ?? kernel.entry, true)
  view.setUint32(cmd_line_ptr, COMMAND_LINE_ADDRESS, true)
  view.setUint32(ramdisk_image, initrd?.address ?? 0, true)
  view.setUint32(ramdisk_size, initrd?.size ?? 0, true)
  if (kernel.setupHeader === null || kernel.setupHeader.length >= setup_data + 8 - setup_sects) view.setBigUint64(setup_data, 0n, true)
  view.setBigUint64(acpi_rsdp_addr, BigInt(acpiRsdp), true)
  view.setUint8(e820_entries, map.length)
  map.forEach(({ address, size, type }, index) => {
    const at = e820_table + index * E820_ENTRY_SIZE
    view.setBigUint64(at, BigInt(address), true)
    view.setBigUint64(at + 8, BigInt(size), true)
    view.setUint32(at + 16, type, true)
  })
  return page
}
