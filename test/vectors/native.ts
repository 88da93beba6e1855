/**
 * Runs vectors on the processor underneath: an arena at fixed addresses, a harness of machine code that loads the whole user-visible
 * state and jumps to the instruction, and a signal handler of machine code that collects the state wherever the vector ended (INT3 or a
 * fault) and returns to the caller. Linux on x86-64 only; for a process of its own, because it takes over the fatal signals.
 */
import koffi from 'koffi'
import {
  CODE, CODE_SIZE, DATA, DATA_SIZE, READ_ONLY, S_CR2, S_ERROR, S_FCW, S_FPR, S_FSW, S_FS_BASE, S_FTW, S_GPR, S_MEMORY, S_MXCSR, S_RFLAGS, S_RIP,
  S_SELECTORS, S_STACK, S_TRAP, S_XMM, STACK, STACK_SIZE, USER_CODE32, USER_DATA,
} from './arena.ts'
import { READ_ONLY_BYTES } from './state.ts'
import type { State } from './state.ts'

/** No single flipped bit turns the vectors' stack pointer into one on the signal stack: the kernel would take it for a nested signal. */
const HARNESS = 0x6010_0000, CONTROL = 0x6011_0000, SIGNAL_STACK = 0x6015_4000, SIGNAL_STACK_SIZE = 0x10000

// ---- control block, offsets from CONTROL ---------------------------------------------------------------------------------------------
const IN_GPR = 0, IN_RFLAGS = 0x80, IN_RIP = 0x88, IN_FAR = 0x90, IN_FS = 0x98, IN_GS = 0xa0
const HOST_RSP = 0x100, HOST_MXCSR = 0x108, HOST_FCW = 0x10c, HOST_FS = 0x110, HOST_GS = 0x118
const IN_FX = 0x200
const OUT_CONTEXT = 0x400, OUT_SIGNAL = 0x4c0, OUT_FS = 0x4c8, OUT_GS = 0x4d0, OUT_SELECTORS = 0x4d8, OUT_FX = 0x600
const CONTROL_SIZE = 0x1000

// ---- Linux numbers -------------------------------------------------------------------------------------------------------------------
const SYS_MMAP = 9, SYS_MPROTECT = 10, SYS_RT_SIGACTION = 13, SYS_SIGALTSTACK = 131
const PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4
const MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_POPULATE = 0x8000, MAP_FIXED_NOREPLACE = 0x100000
const SA_FLAGS = 4 | 0x0800_0000 | 0x4000_0000 | 0x0400_0000 // SIGINFO ONSTACK NODEFER RESTORER
const SIGNALS = [4, 5, 7, 8, 11] // ILL TRAP BUS FPE SEGV
/** uc_mcontext.gregs of Linux: R8..R15 RDI RSI RBP RBX RDX RAX RCX RSP RIP EFLAGS CSGSFS ERR TRAPNO OLDMASK CR2. */
const CONTEXT_ORDER = [8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 3, 2, 0, 1, 4]
const CONTEXT_RIP = 16, CONTEXT_RFLAGS = 17, CONTEXT_SELECTORS = 18, CONTEXT_ERROR = 19, CONTEXT_TRAP = 20, CONTEXT_CR2 = 22
const TRAP_BREAKPOINT = 3, TRAP_PAGE_FAULT = 14

/** Bytes of machine code; `abs` forms address the control block by a 32-bit displacement (SIB without base). */
class Assembler {
  readonly bytes: number[] = []
  put(...bytes: number[]): this { this.bytes.push(...bytes); return this }
  dword(value: number): this { return this.put(value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255) }
  /** opcode bytes, then ModRM reg with [disp32]. */
  abs(opcode: number[], reg: number, offset: number): this { return this.put(...opcode, (reg & 7) << 3 | 4, 0x25).dword(CONTROL + offset) }
  /** MOV reg, [control + offset] */
  load(reg: number, offset: number): this { return this.abs([reg >= 8 ? 0x4c : 0x48, 0x8b], reg, offset) }
  /** MOV [control + offset], reg */
  store(reg: number, offset: number): this { return this.abs([reg >= 8 ? 0x4c : 0x48, 0x89], reg, offset) }
}

const RDFSBASE = [0xf3, 0x48, 0x0f, 0xae, 0xc0], RDGSBASE = [0xf3, 0x48, 0x0f, 0xae, 0xc8]
const WRFSBASE = [0xf3, 0x48, 0x0f, 0xae, 0xd0], WRGSBASE = [0xf3, 0x48, 0x0f, 0xae, 0xd8] // of RAX

function entry(far: boolean): number[] {
  const a = new Assembler()
  a.put(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57) // push rbx rbp r12..r15
  a.store(4, HOST_RSP)
  a.abs([0x0f, 0xae], 3, HOST_MXCSR) // stmxcsr
  a.abs([0xd9], 7, HOST_FCW) // fnstcw
  a.put(...RDFSBASE).store(0, HOST_FS).put(...RDGSBASE).store(0, HOST_GS)
  a.put(0xb8).dword(USER_DATA).put(0x8e, 0xd8, 0x8e, 0xc0) // mov eax, USER_DATA; mov ds, eax; mov es, eax
  a.put(0x31, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8) // xor eax, eax; mov fs, eax; mov gs, eax
  a.load(0, IN_FS).put(...WRFSBASE).load(0, IN_GS).put(...WRGSBASE)
  a.abs([0x48, 0x0f, 0xae], 1, IN_FX) // fxrstor64
  a.put(0xbc).dword(CONTROL + IN_RFLAGS).put(0x9d) // mov esp, &flags; popfq
  for (let register = 0; register < 16; register++) if (register !== 4) a.load(register, IN_GPR + register * 8)
  a.load(4, IN_GPR + 32)
  return (far ? a.abs([0xff], 5, IN_FAR) : a.abs([0xff], 4, IN_RIP)).bytes // jmp far m16:32, jmp m64
}

/** void handler(int signal, siginfo_t *, ucontext_t *): never returns to the kernel; it leaves through the entry's own frame. */
function handler(): number[] {
  const a = new Assembler()
  a.store(7, OUT_SIGNAL)
  a.put(...RDFSBASE).store(0, OUT_FS).put(...RDGSBASE).store(0, OUT_GS)
  for (const segment of [0, 3, 4, 5]) a.abs([0x66, 0x8c], segment, OUT_SELECTORS + segment * 2)
  a.put(0x48, 0x8d, 0x72, 40, 0xbf).dword(CONTROL + OUT_CONTEXT).put(0xb9).dword(23).put(0xf3, 0x48, 0xa5) // gregs: lea rsi, [rdx+40]; rep movsq
  a.put(0x48, 0x8b, 0xb2).dword(224).put(0xbf).dword(CONTROL + OUT_FX).put(0xb9).dword(64).put(0xf3, 0x48, 0xa5) // fpregs: mov rsi, [rdx+224]
  a.load(0, HOST_FS).put(...WRFSBASE).load(0, HOST_GS).put(...WRGSBASE)
  a.load(4, HOST_RSP)
  a.put(0xdb, 0xe3).abs([0xd9], 5, HOST_FCW).abs([0x0f, 0xae], 2, HOST_MXCSR) // fninit; fldcw; ldmxcsr
  return a.put(0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3).bytes
}

export class NativeExecutor {
  private readonly control: DataView
  private readonly controlBytes: Uint8Array
  private readonly code: Uint8Array
  private readonly data: Uint8Array
  private readonly stack: Uint8Array
  private readonly enter64: () => void
  private readonly enter32: () => void
  private dirty = 0
  private dirtyLength = 0

  constructor() {
    if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('vectors are generated on Linux on x86-64')
    const syscall = koffi.load('libc.so.6').func('long syscall(long n, long a, long b, long c, long d, long e, long f)') as (...numbers: number[]) => number
    const map = (address: number, size: number, protection: number): Uint8Array => {
      const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_FIXED_NOREPLACE
      const got = syscall(SYS_MMAP, address, size, protection, flags, -1, 0)
      if (Number(got) !== address) throw new Error(`the arena at ${address.toString(16)} is taken`)
      return new Uint8Array(koffi.view(BigInt(address), size))
    }
    const all = PROT_READ | PROT_WRITE | PROT_EXEC
    this.code = map(CODE, CODE_SIZE, all).fill(0xcc)
    this.data = map(DATA, DATA_SIZE, PROT_READ | PROT_WRITE)
    this.stack = map(STACK, STACK_SIZE, PROT_READ | PROT_WRITE)
    map(READ_ONLY, 0x1000, PROT_READ | PROT_WRITE).set(READ_ONLY_BYTES)
    if (syscall(SYS_MPROTECT, READ_ONLY, 0x1000, PROT_READ, 0, 0, 0) !== 0) throw new Error('mprotect failed')
    this.controlBytes = map(CONTROL, CONTROL_SIZE, PROT_READ | PROT_WRITE)
    this.control = new DataView(this.controlBytes.buffer)
    map(SIGNAL_STACK, SIGNAL_STACK_SIZE, PROT_READ | PROT_WRITE)
    const harness = map(HARNESS, 0x1000, all)
    harness.set(entry(false), 0)
    harness.set(entry(true), 0x400)
    harness.set(handler(), 0x800)
    const scratch = CONTROL + 0xc00
    this.control.setBigUint64(0xc00, BigInt(SIGNAL_STACK), true)
    this.control.setBigUint64(0xc10, BigInt(SIGNAL_STACK_SIZE), true)
    if (syscall(SYS_SIGALTSTACK, scratch, 0, 0, 0, 0, 0) !== 0) throw new Error('sigaltstack failed')
    this.control.setBigUint64(0xc00, BigInt(HARNESS + 0x800), true)
    this.control.setBigUint64(0xc08, BigInt(SA_FLAGS), true)
    this.control.setBigUint64(0xc10, BigInt(HARNESS + 0x800), true) // a restorer is demanded, never used
    this.control.setBigUint64(0xc18, 0n, true)
    for (const signal of SIGNALS) if (syscall(SYS_RT_SIGACTION, signal, scratch, 0, 8, 0, 0) !== 0) throw new Error('rt_sigaction failed')
    const prototype = koffi.proto('void vector_entry()')
    this.enter64 = () => { koffi.call(BigInt(HARNESS), prototype) }
    this.enter32 = () => { koffi.call(BigInt(HARNESS + 0x400), prototype) }
  }

  /** Runs one vector. `result` gets the final snapshot. */
  run(state: State, result: Uint8Array): void {
    const { control } = this
    this.code.fill(0xcc, this.dirty, this.dirty + this.dirtyLength)
    this.dirty = state.start - CODE
    this.dirtyLength = state.codeLength
    this.code.set(state.code.subarray(0, state.codeLength), this.dirty)
    this.data.set(state.bytes.subarray(S_MEMORY, S_STACK))
    this.stack.set(state.bytes.subarray(S_STACK))
    this.controlBytes.set(state.bytes.subarray(S_GPR, S_GPR + 136), IN_GPR)
    control.setBigUint64(IN_RIP, BigInt(state.start), true)
    control.setUint32(IN_FAR, state.start, true)
    control.setUint16(IN_FAR + 4, USER_CODE32, true)
    this.controlBytes.set(state.bytes.subarray(S_FS_BASE, S_FS_BASE + 16), IN_FS)
    const top = state.view.getUint16(S_FSW, true) >> 11 & 7
    this.controlBytes.fill(0, IN_FX, IN_FX + 512)
    control.setUint16(IN_FX, state.view.getUint16(S_FCW, true), true)
    control.setUint16(IN_FX + 2, state.view.getUint16(S_FSW, true), true)
    control.setUint8(IN_FX + 4, state.bytes[S_FTW]!)
    control.setUint32(IN_FX + 24, state.view.getUint32(S_MXCSR, true), true)
    for (let i = 0; i < 8; i++) {
      const from = S_FPR + ((top + i) & 7) * 16
      this.controlBytes.set(state.bytes.subarray(from, from + 10), IN_FX + 32 + i * 16)
    }
    this.controlBytes.set(state.bytes.subarray(S_XMM, S_XMM + 256), IN_FX + 160)
    if (state.mode === 64) this.enter64()
    else this.enter32()
    this.collect(state, result)
  }

  private collect(state: State, result: Uint8Array): void {
    const { control, controlBytes } = this
    const view = new DataView(result.buffer, result.byteOffset)
    result.set(state.bytes.subarray(0, S_MEMORY))
    CONTEXT_ORDER.forEach((register, at) => {
      result.set(controlBytes.subarray(OUT_CONTEXT + at * 8, OUT_CONTEXT + at * 8 + 8), S_GPR + register * 8)
    })
    const trap = control.getUint32(OUT_CONTEXT + CONTEXT_TRAP * 8, true)
    const rip = control.getBigUint64(OUT_CONTEXT + CONTEXT_RIP * 8, true)
    view.setBigUint64(S_RIP, trap === TRAP_BREAKPOINT ? rip - 1n : rip, true)
    view.setBigUint64(S_RFLAGS, control.getBigUint64(OUT_CONTEXT + CONTEXT_RFLAGS * 8, true), true)
    view.setUint32(S_TRAP, trap, true)
    view.setUint32(S_ERROR, trap === TRAP_BREAKPOINT ? 0 : control.getUint32(OUT_CONTEXT + CONTEXT_ERROR * 8, true), true)
    view.setBigUint64(S_CR2, trap === TRAP_PAGE_FAULT ? control.getBigUint64(OUT_CONTEXT + CONTEXT_CR2 * 8, true) : 0n, true)
    result.set(controlBytes.subarray(OUT_FS, OUT_FS + 16), S_FS_BASE)
    for (const segment of [0, 3, 4, 5]) view.setUint16(S_SELECTORS + segment * 2, control.getUint16(OUT_SELECTORS + segment * 2, true), true)
    view.setUint16(S_SELECTORS + 2, control.getUint16(OUT_CONTEXT + CONTEXT_SELECTORS * 8, true), true)
    view.setUint16(S_SELECTORS + 4, control.getUint16(OUT_CONTEXT + CONTEXT_SELECTORS * 8 + 6, true), true)
    const status = control.getUint16(OUT_FX + 2, true)
    view.setUint16(S_FCW, control.getUint16(OUT_FX, true), true)
    view.setUint16(S_FSW, status, true)
    view.setUint8(S_FTW, control.getUint8(OUT_FX + 4))
    view.setUint32(S_MXCSR, control.getUint32(OUT_FX + 24, true), true)
    for (let i = 0; i < 8; i++) {
      const to = S_FPR + (((status >> 11) + i) & 7) * 16
      result.set(controlBytes.subarray(OUT_FX + 32 + i * 16, OUT_FX + 42 + i * 16), to)
    }
    result.set(controlBytes.subarray(OUT_FX + 160, OUT_FX + 416), S_XMM)
    result.set(this.data, S_MEMORY)
    result.set(this.stack, S_STACK)
  }
}
