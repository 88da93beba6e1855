/**
 * Where everything lives in the shared WebAssembly.Memory and in one vCPU's block of it.
 * Compiled twice: by AssemblyScript into core.wasm and by TypeScript for the host side (set-up, `info registers`), so it holds
 * plain integer constants only. Offsets are bytes. All multi-byte fields are little-endian and naturally aligned.
 *
 *   [0, 64 KiB)            static data of core.wasm (decode tables) and the machine-wide control words below
 *   CPU_AREA               one block of CPU_STRIDE bytes per vCPU
 *   then (sizes decided at start, published in the control words): decoded-instruction cache, page attributes, guest RAM
 */

// ---- machine-wide control block, absolute addresses (64 KiB .. 128 KiB) -------------------------------------------------------
export const GLOBALS = 0x10000
export const G_CPU_COUNT = 0x10000 // u32
export const G_CLOCK_MODE = 0x10004 // u32: 0 host clock, 1 instruction count
export const G_UOP_BASE = 0x10008 // u32 first byte of the decoded-instruction cache
export const G_UOP_END = 0x1000c // u32 end of it
export const G_BLOCK_TABLE = 0x10014 // u32 hash table of decoded blocks
export const G_BLOCK_MASK = 0x10018 // u32 (entries - 1)
export const G_PAGE_INFO = 0x1001c // u32 base of the per-RAM-page records (see PAGE_*)
export const G_RAM_BASE = 0x10020 // u32 wasm offset of the first RAM byte
export const G_RAM_END = 0x10024 // u32 wasm offset after the last RAM byte (a 4 GiB memory never ends exactly at 2^32)
export const G_RANGE_COUNT = 0x10028 // u32 number of entries in G_RANGES
export const G_IRQ_DIRTY = 0x1002c // i32 atomic: set to 1 and notified by the main thread when a line in G_LINES changed; 2 while a thread of several applies the change
export const G_KICK = 0x10030 // i32 atomic: 1 = leave run() at the next slice end (pause, reset, quit)
export const G_WAKE = 0x10034 // i32 atomic: what a halted machine sleeps on (Atomics.wait); any waker stores 1 and notifies
export const G_VIRTUAL_NS = 0x10040 // u64 machine time in ns as of the last update (both clocks)
export const G_ICOUNT_SKIP = 0x10048 // u64 ns skipped while every vCPU was halted (instruction-count clock)
export const G_ICOUNT_SHIFT = 0x10050 // u32: one instruction = 2^shift ns in the instruction-count clock
export const G_RETIRED = 0x10058 // u64 instructions retired, flushed when run() returns
export const G_WALL_NS = 0x10060 // u64 wall-clock time (ns since 1970) at machine time 0
export const G_STATS = 0x10080 // u64 counters, see STAT_*
/** Interrupt lines 0..31 driven by the main thread: {level u32 atomic, rising-edge count u32 atomic, edges seen u32, reserved}. */
export const G_LINES = 0x10200 // 32 * 16 bytes
/**
 * Words that vCPU threads contend for, away from what all of them read (sync.ts says who writes what when). All of it is 0 and stays 0 while one thread runs
 * every vCPU, but for G_UOP_NEXT.
 */
export const G_CODE_LOCK = 0x10c00 // lock of decoded code: G_UOP_NEXT, block table, page records, states of blocks, the translator's queue
export const G_UOP_NEXT = 0x10c08 // u32 bump pointer
export const G_CHIP_LOCK = 0x10c40 // lock of the interrupt controllers and timers, those of all vCPUs
export const G_WIDE_LOCK = 0x10c80 // lock of locked operations on 16 bytes
export const G_STOP = 0x10cc0 // i32 atomic: 1: a vCPU has stopped the others, or is about to; notified
export const G_FLUSH = 0x10cc4 // i32 atomic: the cache of decoded code is full, or the translator's table: flush it at the next occasion
export const G_CLOCK_ORIGIN = 0x10d00 // f64: process.hrtime() in ns at machine time 0, pauses left out; written by main while all are paused
export const G_RANGES = 0x10400 // up to 64 * 32 bytes: {start u64, end u64 (exclusive), wasm offset u32, flags u32 (RANGE_*), pad u64}, sorted
export const RANGE_READ_ONLY = 1
export const G_IRQCHIP = 0x11000 // IOAPIC, PIC, PIT state, 4 KiB, layout private to core/irqchip.ts
/** The translator (translate.ts): everything is 0 or all ones while it is off. */
export const G_JIT_THRESHOLD = 0x10100 // u32: a block is translated when it was entered this often
export const G_JIT_HOOK = 0x10104 // u32: table index of a function (block) that translates at once, 0: blocks are queued
export const G_JIT_EPOCH = 0x10108 // u32: counts full flushes; what was made of blocks before one is void
export const G_JIT_READY = 0x1010c // i32 atomic: translations wait to be picked up: leave runMachine
export const G_JIT_HEAD = 0x10110 // i32 atomic: blocks ever queued; notified
export const G_JIT_TAIL = 0x10114 // i32 atomic: blocks ever taken by the translator
export const G_JIT_DROPPED = 0x10118 // u32: translated blocks ever dropped
export const G_JIT_RETIRED = 0x10120 // u64: instructions retired in translated code, flushed with G_RETIRED
export const G_JIT_ENTRIES = 0x10128 // u64: entries into translated code
export const G_JIT_MADE = 0x10130 // u64: regions ever put in place
export const G_JIT_ALIVE = 0x10138 // u64: regions in place
export const G_JIT_UOPS = 0x10140 // u64: instructions ever translated
export const G_JIT_BYTES = 0x10148 // u64: WebAssembly bytes ever made
export const G_JIT_COMPILE_US = 0x10150 // u64: time that took, µs
export const G_JIT_QUEUE = 0x18000 // ring of JIT_QUEUE u32 block addresses
export const JIT_QUEUE = 4096
/** Most regions alive. */
export const JIT_REGIONS = 16384
/** Stores by main into pages that hold or held decoded code: G_STORES_HEAD of them ever, the last STORES of them as {wasm offset u32, length u32}. */
export const G_STORES_HEAD = 0x10158 // u32 atomic
export const G_STORES = 0x12000
export const STORES = 1024
export const G_RUN_NS = 0x10160 // u64 atomic: host time spent in runMachine
export const G_JIT_SAMPLED_NS = 0x10168 // u64 atomic: host time of the entries into regions that were timed
export const G_JIT_SAMPLES = 0x10170 // u64 atomic: how many those are
export const G_JIT_RUNS = 0x10180 // u64: entries into regions that came from the interpreter, not from another region
export const G_PROFILE = 0x10178 // u32: not 0 = note where slices end
export const G_PROFILE_COUNT = 0x1017c // u32 atomic: slices ever noted; the last PROFILE of them are RIPs in G_PROFILE_RING
export const G_PROFILE_RING = 0x1c000 // u64 each
export const PROFILE = 1024
/** What -d asked for (log.ts), and a ring of LOG_RECORDS of {kind u32, atomic, stored last; vCPU u32; three u64}. */
export const G_LOG = 0x10188 // u32 LOG_* bits
export const G_LOG_HEAD = 0x1018c // u32 atomic: records ever made
export const G_LOG_TAIL = 0x10190 // u32 atomic: records ever read; notified
export const G_LOG_RING = 0x1e000
export const LOG_RECORDS = 256
export const LOG_RECORD = 32
export const LOG_INT = 1, LOG_CPU_RESET = 2, LOG_IN_ASM = 4, LOG_EXEC = 8, LOG_MMU = 16, LOG_GUEST_ERRORS = 32, LOG_JIT = 64
/** What LOG_JIT records say in their first word. */
export const JIT_HOT = 0, JIT_DROPPED = 1, JIT_FLUSHED = 2
export const G_NEVER_TLB = 0x14000 // 16 KiB of TLB entries that never match: used while every access must take the slow path

// ---- one vCPU ------------------------------------------------------------------------------------------------------------------
export const CPU_AREA = 0x20000
export const CPU_STRIDE = 0x2b000

export const GPR = 0 // 16 * u64 in encoding order RAX RCX RDX RBX RSP RBP RSI RDI R8..R15
export const ZERO = 128 // u64, always 0: the base or index of an address that has none
export const RIP_BASE = 136 // u64: RIP = RIP_BASE + offset of the instruction in its page
export const RIP = 144 // u64, valid outside run() and while an exception is delivered
export const RFLAGS = 152 // u64: every bit except CF PF AF ZF SF OF (those are lazy, see CC_*), bit 1 set
export const CC_OP = 160 // u32: CcKind
export const CC_DST = 168 // u64 result, sign-extended to 64 bits
export const CC_SRC = 176 // u64 second operand, sign-extended (meaning depends on CC_OP)
export const CC_SRC2 = 184 // u64 carry in of ADC/SBB

/** Segment registers in order ES CS SS DS FS GS LDTR TR, 32 bytes each. */
export const SEG = 192
export const SEG_SIZE = 32
export const SEG_BASE = 0 // u64
export const SEG_LIMIT = 8 // u32, byte granular
export const SEG_ATTR = 12 // u32: descriptor bits 8..15 and 20..23 as in the high dword (type, S, DPL, P, AVL, L, D/B, G); bit 0: null selector
export const SEG_SELECTOR = 16 // u16
export const ES = 0, CS = 1, SS = 2, DS = 3, FS = 4, GS = 5, LDTR = 6, TR = 7
export const GDTR_BASE = 448, GDTR_LIMIT = 456, IDTR_BASE = 464, IDTR_LIMIT = 472
export const CR0 = 480, CR2 = 488, CR3 = 496, CR4 = 504, EFER = 512 // u64 each; CR8 is the TPR of the local APIC
export const DR = 520 // 8 * u64 (DR0..DR7)

export const MSR_STAR = 592, MSR_LSTAR = 600, MSR_CSTAR = 608, MSR_FMASK = 616, MSR_KERNEL_GS_BASE = 624
export const MSR_SYSENTER_CS = 632, MSR_SYSENTER_ESP = 640, MSR_SYSENTER_EIP = 648, MSR_TSC_AUX = 656, MSR_PAT = 664
export const MSR_MISC_ENABLE = 672, MSR_SPEC_CTRL = 680, MSR_APIC_BASE = 688, MSR_TSC_OFFSET = 696, MSR_TSC_DEADLINE = 704
export const MSR_TSC_ADJUST = 712, MSR_KVM_WALL_CLOCK = 720, MSR_KVM_SYSTEM_TIME = 728
export const MSR_MTRR_DEF_TYPE = 760, MSR_MTRR_FIXED = 768 // 11 * u64
export const MSR_MTRR_VARIABLE = 856 // 16 * u64 (8 base/mask pairs)

export const XMM = 1024 // 16 * 16 bytes
export const MXCSR = 1280 // u32
export const FCW = 1284, FSW = 1286 // u16 (TOP is bits 11..13 of FSW)
export const FTW = 1288 // u8, abridged tag word: bit i set = physical register i not empty
export const FOP = 1290 // u16
export const FIP = 1296, FDP = 1304 // u64
export const FCS = 1312, FDS = 1314 // u16
/** 8 physical x87 registers R0..R7, 16 bytes each: u64 significand, then u16 sign and exponent. MMX register i is the significand of R<i>. */
export const FPR = 1344

export const CPU_INDEX = 1472 // u32
export const APIC_ID = 1476 // u32
export const HALTED = 1480 // u32: 0 running, 1 HLT, 2 waiting for SIPI
export const EVENTS = 1484 // i32 atomic: EVENT_* bits
export const EXCEPTION = 1488 // i32: pending exception vector, -1 none
export const ERROR_CODE = 1492 // u32
export const RIP_SET = 1496 // u32: a handler that left its block already stored RIP
export const CPL = 1500 // u32
export const MODE = 1504 // u32: MODE_* of the running code segment
export const INHIBIT = 1508 // u32: 1 = interrupts inhibited for one instruction (STI), 2 = MOV SS
export const SIPI_VECTOR = 1512 // u32
export const INSTRUCTIONS = 1520 // u64 retired by this vCPU
export const TRIPLE_FAULT = 1528 // u32
export const NMI_BLOCKED = 1532 // u32
export const TLB_LARGE = 1544 // u64: in which reaches of 1 GiB the TLBs hold larger pages, by a hash (tlb.ts); bits stay set until everything is flushed
export const LAST_DEBUG = 1552 // u64: pending DR6 bits for #DB
export const EXIT_DATA = 1560 // u64: RFLAGS image of a paused vCPU, for the host
export const FPU_BLOCK = 1568 // u32: non-zero = x87/MMX raise; bit 0 CR0.EM, bit 1 CR0.TS, bit 2 no CR4.OSFXSR
export const CPUID_COUNT = 1572 // u32 entries in CPUID_TABLE
export const PDPTE = 1576 // 4 * u64: page-directory pointers of PAE paging, as the last CR3 load found them
export const STORES_SEEN = 1616 // u32: how many of G_STORES_HEAD this vCPU has acted on
export const JIT_TARGET = 1608 // u64: where translated code wants to go on (indirect jumps)
/** Operand buffer of instructions with memory operands wider than 8 bytes, of MMIO and page-crossing accesses. 64-byte aligned. */
export const TMP = 2048 // 1024 bytes
export const SCRATCH = 3072 // 64 bytes: where slow loads put their bytes
export const LAPIC = 4096 // 4 KiB, layout private to core/lapic.ts (xAPIC register page image first)

/** TLBs: {tag u64 (virtual page address, low bits 0; all ones = invalid), addend u32 (wasm offset - virtual address), pad u32} */
export const TLB_ENTRIES = 1024
export const TLB_BYTES = 16384
export const TLB_KERNEL_READ = 8192
export const TLB_KERNEL_WRITE = 24576
export const TLB_KERNEL_FETCH = 40960
export const TLB_USER_READ = 57344
export const TLB_USER_WRITE = 73728
export const TLB_USER_FETCH = 90112
/** Jump cache: 4096 * {linear RIP u64, uop pointer u32, mode key u32} */
export const JUMP_CACHE = 106496
export const JUMP_ENTRIES = 4096
/** CPUID results set by the host: CPUID_MAX * {leaf u32, subleaf u32 (0xffffffff any), eax, ebx, ecx, edx, pad, pad} */
export const CPUID_TABLE = 172032
export const CPUID_MAX = 64
/** What belongs to the thread of a vCPU, where each has its own; without them the words of the machine (G_STATS, G_RETIRED, G_WAKE ...) are used. */
export const CPU_STATS = 174080 // 16 * u64 counters, as G_STATS
export const CPU_RETIRED = 174208 // u64 as G_RETIRED
export const CPU_JIT_RETIRED = 174216, CPU_JIT_ENTRIES = 174224, CPU_JIT_RUNS = 174232 // u64 as G_JIT_*
export const CPU_SEQUENCE = 174272 // i32 atomic, written by its thread only: sync.ts
export const CPU_IN_GUEST = 174276 // i32 atomic, written by its thread only: it may hold pointers into decoded code
export const CPU_BARRIER = 174280 // i32: what a barrier stores to, of no meaning
export const CPU_WAKE = 174336 // i32 atomic: as G_WAKE, of this vCPU
export const CPU_JIT_READY = 174340 // i32 atomic: as G_JIT_READY, for this vCPU's thread
/** A block of one instruction that is not cached (block.ts), 32-byte aligned. */
export const CPU_STEP = 174400 // 96 bytes
/** Parameters that a call gate copies (far.ts). */
export const CPU_PARAMETERS = 174528 // 32 * u64
/** TLB entries of pages that are not global, as their offsets from TLB_KERNEL_READ by 16: filled since they were last flushed. One count above TLB_FILLED: too many. */
export const TLB_FILLED_COUNT = 174784 // u32
export const TLB_FILLED_LIST = 174788 // TLB_FILLED * u16
export const TLB_FILLED = 640

export const MODE_16 = 0, MODE_32 = 1, MODE_64 = 2

export const EVENT_INTR = 1 // the local APIC or PIC may have a deliverable interrupt
export const EVENT_NMI = 2
export const EVENT_INIT = 4
export const EVENT_SIPI = 8

export const EXIT_SLICE = 0, EXIT_HALT = 1, EXIT_KICK = 2, EXIT_SHUTDOWN = 3, EXIT_TRANSLATED = 4
export const EXIT_STOP = 5, EXIT_ALONE = 6 // between runCpu and runOwn only: other vCPUs must be stopped first, or stop this one

// ---- lazy flags: what CC_DST / CC_SRC mean ------------------------------------------------------------------------------------
// For ADD..SAR the kind is base + log2(operand bytes). Results and operands are sign-extended, so ZF and SF are size-independent.
export const CC_EFLAGS = 0 // CC_SRC holds CF PF AF ZF SF OF in their RFLAGS positions
export const CC_ADD = 4 // dst = a + src
export const CC_ADC = 8 // dst = a + src + src2
export const CC_SUB = 12 // dst = a - src
export const CC_SBB = 16 // dst = a - src - src2
export const CC_LOGIC = 20 // CF = OF = AF = 0
export const CC_INC = 24 // src = CF before
export const CC_DEC = 28 // src = CF before
export const CC_SHL = 32 // src = operand shifted by count - 1 (its sign bit is CF)
export const CC_SAR = 36 // src = operand shifted by count - 1 (its bit 0 is CF); also SHR
export const CC_MUL = 40 // src != 0: CF = OF = 1

/** One decoded instruction: 32 bytes. */
export const UOP_SIZE = 32
export const UOP_OP = 0 // u16 handler
export const UOP_LEN = 2 // u8 instruction length, 1..15
export const UOP_AUX = 3 // u8 handler-specific: log2 size, rep, lock
export const UOP_D = 4 // u16 destination, offset from the vCPU pointer
export const UOP_S = 6 // u16 source, offset from the vCPU pointer
export const UOP_IMM = 8 // i64
export const UOP_DISP = 16 // i32
export const UOP_BASE = 20 // u16 offset of the base register (or ZERO, RIP_BASE)
export const UOP_INDEX = 22 // u16
export const UOP_SCALE = 24 // u8
export const UOP_SEG = 25 // u8: 0 = flat 64-bit address; else AS_* bits
export const UOP_OFFSET = 26 // u16 offset of the instruction in its page
export const UOP_X = 28 // u32 handler-specific: linked uop, sub-operation
/** u32 the block to which a direct jump (or the end of a block) across a page border led last: what the translator may follow. */
export const UOP_NEAR = 16 // UOP_DISP, which these uops do not use
/** The same of an indirect jump. */
export const UOP_FAR = 12 // upper half of UOP_IMM

/** Per RAM page (4 KiB) record of PAGE_BYTES at G_PAGE_INFO + ((host - ramBase) >> 12) * PAGE_BYTES. */
export const PAGE_BYTES = 16
export const PAGE_BLOCKS = 0 // u32 first decoded block whose code touches the page
export const PAGE_CODE = 4 // u32 atomic: 1 = decoded from since the last flush of everything; set before the bytes are read
export const PAGE_LINES = 8 // u64 bit i: some block covers bytes of the 64-byte line i
/** Header in front of a block's uops. */
export const BLOCK_BYTES = 32
export const BLOCK_NEXT1 = 0 // u32 next block of its first page
export const BLOCK_NEXT2 = 4 // u32 next block of its second page
export const BLOCK_HOST = 8 // u32 wasm offset of its first code byte
export const BLOCK_MODE = 12 // u32 MODE_*
export const BLOCK_COUNT = 16 // u32 uops, END included
export const BLOCK_PAGE2 = 20 // u32 wasm offset of the second page, 0 if none
export const BLOCK_LENGTH = 24 // u32 code bytes
/**
 * u16 how often the block was entered, and above it u16 its state, one of the following (as they look in the whole word). It lies directly before the first
 * uop. Several threads may count at once and lose a count; the state is written by itself, under G_CODE_LOCK.
 */
export const BLOCK_HEAT = 28
export const BLOCK_STATE = 30
export const HEAT_QUEUED = 0x40000000 // waits for its translation
export const HEAT_DEAD = 0x7fff0000 // dropped
export const HEAT_REGION = 0x80000000 // bit: translated, the 15 bits below are the table index
export const HEAT_COUNT = 0xffff // thresholds must be below
/**
 * What translated code returns in the low word, or'ed to the address of a uop. The high word is what was left of the budget at the last transition, and in its low
 * REGION_BEHIND_BITS how many uops of the block were executed since: clocks see the count of the last transition, as under the interpreter.
 */
export const REGION_BEHIND_BITS = 6
export const REGION_RESUME = 0 // interpret from this uop on
export const REGION_DIRECT = 1 // the uop is a direct jump, taken
export const REGION_INDIRECT = 2 // the uop is an indirect jump to JIT_TARGET
export const REGION_LEAVE = 3 // an exception is pending, or the uop is done and left its block (RIP_SET)
export const REGION_DONE = 4 // the uop is done, interpret the next one
// What enterHot (translate.ts) returns besides:
export const REGION_ON = 5 // go on with this uop, the first of its block, perhaps with another privilege
export const REGION_OUT = 6 // RIP is stored, the outer loop has something to do

/** UOP_LEN holds the length in its low nibble and these. */
export const LEN_STACK = 0x10 // the memory operand is relative to SS
/** UOP_SEG bits when the address is not a flat 64-bit one. */
export const AS_SEG = 7 // segment register number
export const AS_BASE = 8 // add the segment base
export const AS_LEGACY = 16 // limit and type checks (outside 64-bit mode)
export const AS_32 = 32 // effective address is truncated to 32 bits
export const AS_16 = 64 // ... to 16 bits

// ---- counters (index into G_STATS, u64 each) ----------------------------------------------------------------------------------
export const STAT_BLOCKS = 0, STAT_UOPS = 1, STAT_TLB_FILLS = 2, STAT_TLB_FLUSHES = 3, STAT_EXCEPTIONS = 4, STAT_INTERRUPTS = 5
export const STAT_INVALIDATIONS = 6, STAT_CACHE_FLUSHES = 7, STAT_MMIO = 8, STAT_PIO = 9, STAT_HALTS = 10
