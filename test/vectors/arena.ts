/**
 * Where a vector lives: the arena that the native executor maps and the test's page tables map at the same linear addresses, and the
 * layout of a snapshot (registers, then the arena's writable bytes). Everything lies below 2 GiB, so that 32-bit code reaches it too.
 */

/** Code: filled with INT3, so that a vector ends with #BP wherever control went. Two pages, for instructions that cross one. */
export const CODE = 0x6000_0000
export const CODE_SIZE = 0x2000
/** Operands: two pages; the page after them is not mapped. */
export const DATA = 0x6001_0000
export const DATA_SIZE = 0x2000
export const GUARD = DATA + DATA_SIZE
/** A page that may only be read. */
export const READ_ONLY = 0x6001_4000
export const STACK = 0x6002_0000
export const STACK_SIZE = 0x1000

/** Selectors of Linux user mode on x86-64, which the test's GDT repeats. */
export const USER_CODE32 = 0x23, USER_DATA = 0x2b, USER_CODE64 = 0x33

// ---- snapshot: byte offsets -------------------------------------------------------------------------------------------------------
export const S_GPR = 0 // 16 * u64 in encoding order
export const S_RFLAGS = 128
export const S_RIP = 136
export const S_TRAP = 144 // u32 exception vector
export const S_ERROR = 148 // u32 error code
export const S_CR2 = 152 // u64, of page faults
export const S_MXCSR = 160 // u32
export const S_FCW = 164, S_FSW = 166 // u16
export const S_FTW = 168 // u8, abridged
export const S_FPR = 176 // 8 physical registers of 16 bytes
export const S_XMM = 304 // 16 * 16
export const S_FS_BASE = 560, S_GS_BASE = 568
export const S_SELECTORS = 576 // u16 each: ES CS SS DS FS GS
export const S_MEMORY = 592 // DATA, then STACK
export const S_STACK = S_MEMORY + DATA_SIZE
export const SNAPSHOT = S_STACK + STACK_SIZE

export const CF = 1, PF = 4, AF = 16, ZF = 64, SF = 128, DF = 1024, OF = 2048
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF

export const RAX = 0, RCX = 1, RDX = 2, RBX = 3, RSP = 4, RBP = 5, RSI = 6, RDI = 7

/** Offset of a linear address in the snapshot. */
export function memoryOffset(address: number): number {
  return address >= STACK ? S_STACK + address - STACK : S_MEMORY + address - DATA
}
