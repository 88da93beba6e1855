/**
 * Guest-physical places of everything the direct kernel boot writes (StratoVirt's layout; the PVH page is ours). Linux moves out of
 * all of them early, except that it keeps reading the MP table and the ACPI tables where they are.
 */
export const GDT_ADDRESS = 0x500
export const IDT_ADDRESS = 0x520
/** hvm_start_info, its module list and its memory map share one page. */
export const PVH_START_INFO_ADDRESS = 0x6000
export const PVH_MODULE_LIST_ADDRESS = 0x6040
export const PVH_MEMORY_MAP_ADDRESS = 0x6100
export const ZERO_PAGE_ADDRESS = 0x7000
export const BOOT_STACK_POINTER = 0x8ff0
export const PML4_ADDRESS = 0x9000
export const PDPT_ADDRESS = 0xa000
export const PAGE_DIRECTORY_ADDRESS = 0xb000
export const COMMAND_LINE_ADDRESS = 0x2_0000
/** Extended BIOS data area: holds the MP floating pointer, and the MP table where it fits into the 1 KiB. */
export const EBDA_ADDRESS = 0x9_fc00
export const VGA_HOLE_ADDRESS = 0xa_0000
/** First byte of the area that e820 reserves for tables (ACPI, SMBIOS, a large MP table). */
export const TABLES_ADDRESS = 0xd_0000
/** The MP table of a machine with too many processors for the EBDA. */
export const LARGE_MP_TABLE_ADDRESS = 0xf_0000
/** Where a processor that is sent back to real mode expects firmware (F000:FFF0). */
export const RESET_VECTOR_ADDRESS = 0xf_fff0
export const HIGH_MEMORY_ADDRESS = 0x10_0000
export const FLAT_KERNEL_ADDRESS = 0x100_0000
/** One past the highest byte an initrd may use when the kernel does not say. */
export const INITRD_END_MAX = 0x3800_0000
/** The boot page tables map this much, so everything the 64-bit entry touches lies below it. */
export const IDENTITY_MAPPED = 0x4000_0000
export const FOUR_GIB = 0x1_0000_0000
export const PAGE_SIZE = 0x1000
