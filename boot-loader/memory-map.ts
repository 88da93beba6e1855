/** The memory map a machine without firmware tells its kernel: e820 types, ACPI 6.5 section 15, over StratoVirt's layout of the first MiB. */
import { EBDA_ADDRESS, FOUR_GIB, HIGH_MEMORY_ADDRESS, TABLES_ADDRESS, VGA_HOLE_ADDRESS } from './layout.ts'

export const E820_RAM = 1
export const E820_RESERVED = 2

export interface MemoryMapEntry { readonly address: number; readonly size: number; readonly type: typeof E820_RAM | typeof E820_RESERVED }

/**
 * @param ramLow bytes of RAM from address 0 on, more than 1 MiB
 * @param ramHigh bytes of RAM from 4 GiB on
 */
export function memoryMap(ramLow: number, ramHigh: number): MemoryMapEntry[] {
  const map: MemoryMapEntry[] = [
    { address: 0, size: EBDA_ADDRESS, type: E820_RAM },
    { address: EBDA_ADDRESS, size: VGA_HOLE_ADDRESS - EBDA_ADDRESS, type: E820_RESERVED },
    { address: TABLES_ADDRESS, size: HIGH_MEMORY_ADDRESS - TABLES_ADDRESS, type: E820_RESERVED },
    { address: HIGH_MEMORY_ADDRESS, size: ramLow - HIGH_MEMORY_ADDRESS, type: E820_RAM },
  ]
  if (ramHigh > 0) map.push({ address: FOUR_GIB, size: ramHigh, type: E820_RAM })
  return map
}
