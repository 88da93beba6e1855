/** The PVH start info (struct hvm_start_info version 1, with one module: the initrd). Xen public/arch-x86/hvm/start_info.h. */
import { COMMAND_LINE_ADDRESS, PVH_MEMORY_MAP_ADDRESS, PVH_MODULE_LIST_ADDRESS, PVH_START_INFO_ADDRESS } from './layout.ts'
import type { MemoryMapEntry } from './memory-map.ts'
import type { Placed } from './zero-page.ts'

const XEN_HVM_START_MAGIC_VALUE = 0x336e_c578
const magic = 0, version = 4, nr_modules = 12, modlist_paddr = 16, cmdline_paddr = 24, rsdp_paddr = 32, memmap_paddr = 40, memmap_entries = 48
const MEMMAP_ENTRY_SIZE = 24

/** @returns the bytes to write at PVH_START_INFO_ADDRESS: start info, module list and memory map */
export function buildPvhStartInfo(map: readonly MemoryMapEntry[], initrd: Placed | null, acpiRsdp: number): Uint8Array {
  const bytes = new Uint8Array(PVH_MEMORY_MAP_ADDRESS - PVH_START_INFO_ADDRESS + map.length * MEMMAP_ENTRY_SIZE)
  const view = new DataView(bytes.buffer)
  view.setUint32(magic, XEN_HVM_START_MAGIC_VALUE, true)
  view.setUint32(version, 1, true)
  view.setBigUint64(cmdline_paddr, BigInt(COMMAND_LINE_ADDRESS), true)
  view.setBigUint64(rsdp_paddr, BigInt(acpiRsdp), true)
  view.setBigUint64(memmap_paddr, BigInt(PVH_MEMORY_MAP_ADDRESS), true)
  view.setUint32(memmap_entries, map.length, true)
  if (initrd !== null) {
    view.setUint32(nr_modules, 1, true)
    view.setBigUint64(modlist_paddr, BigInt(PVH_MODULE_LIST_ADDRESS), true)
    const module = PVH_MODULE_LIST_ADDRESS - PVH_START_INFO_ADDRESS
    view.setBigUint64(module, BigInt(initrd.address), true)
    view.setBigUint64(module + 8, BigInt(initrd.size), true)
  }
  map.forEach(({ address, size, type }, index) => {
    const at = PVH_MEMORY_MAP_ADDRESS - PVH_START_INFO_ADDRESS + index * MEMMAP_ENTRY_SIZE
    view.setBigUint64(at, BigInt(address), true)
    view.setBigUint64(at + 8, BigInt(size), true)
    view.setUint32(at + 16, type, true)
  })
  return bytes
}
