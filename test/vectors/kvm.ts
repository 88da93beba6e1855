/**
 * Vectors on the processor underneath by way of KVM: a virtual machine with one vCPU that is put straight into user mode for each vector, in page tables,
 * descriptor tables and an interrupt table like those of core.ts. Every vector ends with an exception, whose handler is a HLT that leaves KVM_RUN.
 * Linux Documentation/virt/kvm/api.rst; registers go in and out with KVM_RUN itself (KVM_CAP_SYNC_REGS). No interrupt controllers: HLT would wait there.
 */
import fs from 'node:fs'
import { checked, ffi, viewOf } from '../../host/ffi.ts'
import { kvmKind, openKvm, readKvmHost } from '../../host/kvm-device.ts'
import {
  EXIT_HLT, KVM_CHECK_EXTENSION, KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_GET_SREGS, KVM_GET_SUPPORTED_CPUID, KVM_GET_VCPU_MMAP_SIZE, KVM_GET_XSAVE, KVM_RUN, KVM_SET_CPUID2,
  KVM_SET_TSS_ADDR, KVM_SET_USER_MEMORY_REGION, KVM_SET_XSAVE, RUN_EXIT_REASON, SREGS_BYTES, XSAVE_BYTES,
} from '../../hypervisor/kvm/abi.ts'
import { describeExit } from '../../hypervisor/kvm/describe-exit.ts'
import {
  CODE, CODE_SIZE, DATA, READ_ONLY, S_CR2, S_ERROR, S_FCW, S_FPR, S_FSW, S_FS_BASE, S_FTW, S_GPR, S_GS_BASE, S_MEMORY, S_MXCSR, S_RFLAGS, S_RIP, S_SELECTORS, S_STACK, S_TRAP,
  S_XMM, STACK, USER_CODE32, USER_CODE64, USER_DATA,
} from './arena.ts'
import type { Mode } from './core.ts'
import type { Group } from './groups.ts'
import type { Executor } from './replay.ts'
import { READ_ONLY_BYTES } from './state.ts'
import type { State } from './state.ts'

// ---- guest-physical layout ------------------------------------------------------------------------------------------------------------
const RAM_SIZE = 0x2_0000
const PML4 = 0x1000, PDPT = 0x2000, KERNEL_PDPT = 0x3000, KERNEL_DIRECTORY = 0x4000, KERNEL_TABLE = 0x5000, ARENA_DIRECTORY = 0x6000, ARENA_TABLE = 0x7000
const GDT = 0x8000, IDT = 0x9000, TSS = 0xa000, HANDLERS = 0xb000, KERNEL_STACK = 0xd000 // its end
const P_CODE = 0x1_0000, P_DATA = 0x1_2000, P_READ_ONLY = 0x1_4000, P_STACK = 0x1_5000
/** Where the kernel's side of the guest is mapped: the upper half, so that user mode finds nothing below the arena. */
const KERNEL = 0xffff_8000_0000_0000n
const PRESENT = 1n, WRITE = 2n, USER = 4n, USED = 0x60n, NO_EXECUTE = 1n << 63n
const KERNEL_CODE = 0x10, TASK = 0x40
const HANDLER_SIZE = 16, VECTORS = 32
const PAGE_FAULT = 14, BREAKPOINT = 3, INVALID_OPCODE = 6
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17])

/** Handlers of rows that load or tell selectors of data segments. */
const SELECTORS = new Set(['PUSH_SEG', 'POP_SEG', 'MOV_FROM_SEG', 'MOV_TO_SEG', 'LSEG0', 'LSEG2', 'LSEG3', 'LSEG4', 'LSEG5'])

const EMULATED_STORES = new Set(['movqf7f', 'fxsavefae', 'fxsave64fae'])

// ---- KVM ------------------------------------------------------------------------------------------------------------------------------
const CAP_SYNC_REGS = 74
const SYNC_REGS = 1, SYNC_SREGS = 2
const TSS_PAGES = 0xfef0_d000
const PROT_READ_WRITE = 3, MAP_SHARED = 1, MAP_PRIVATE_ANONYMOUS = 0x22
const CPUID_ROOM = 256, CPUID_ENTRY = 40
// struct kvm_run
const RUN_VALID_REGS = 288, RUN_DIRTY_REGS = 296, RUN_REGS = 304, RUN_SREGS = RUN_REGS + 144
// struct kvm_regs: its place for each register in encoding order
const REGS = [0, 16, 24, 8, 48, 56, 32, 40, 64, 72, 80, 88, 96, 104, 112, 120] as const
const REG_RSP = 48, REG_RIP = 128, REG_RFLAGS = 136
// struct kvm_sregs: segments in the order of the snapshot's selectors, ES CS SS DS FS GS
const SEGMENTS = [48, 0, 120, 24, 72, 96] as const
const SREG_TR = 144, SREG_LDT = 168, SREG_GDT = 192, SREG_IDT = 208, SREG_CR0 = 224, SREG_CR2 = 232, SREG_CR3 = 240, SREG_CR4 = 248, SREG_EFER = 264
const ES = 0, CS = 1, SS = 2, DS = 3, FS = 4, GS = 5
// struct kvm_xsave
const X_FCW = 0, X_FSW = 2, X_FTW = 4, X_MXCSR = 24, X_ST = 32, X_XMM = 160, X_PRESENT = 512
const X87_AND_SSE = 3n

export class KvmExecutor implements Executor {
  private readonly fds: number[] = []
  private readonly vcpu: number
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private readonly run_: DataView
  private readonly runBytes: Uint8Array
  private readonly sregs: { 32: Uint8Array, 64: Uint8Array }
  private readonly xsave: Uint8Array
  private readonly xsaveView: DataView
  private codeAt = P_CODE
  private codeLength = 0
  private readonly isPvm = kvmKind(readKvmHost()) === 'pvm'

  /** @throws MesovirtError where there is no /dev/kvm to use */
  constructor() {
    const { libc } = ffi()
    const kvm = openKvm()
    this.fds.push(kvm)
    const call = (fd: number, request: number, value: number, name: string): number => checked(libc.ioctl(fd, request, value), name)
    const callWith = (fd: number, request: number, bytes: Uint8Array, name: string): number => checked(libc.ioctlPointer(fd, request, bytes), name)
    if ((call(kvm, KVM_CHECK_EXTENSION, CAP_SYNC_REGS, 'KVM_CAP_SYNC_REGS') & 3) !== 3) throw new Error('this KVM does not pass registers with KVM_RUN (KVM_CAP_SYNC_REGS)')
    const vm = call(kvm, KVM_CREATE_VM, 0, 'KVM_CREATE_VM')
    this.fds.push(vm)
    call(vm, KVM_SET_TSS_ADDR, TSS_PAGES, 'KVM_SET_TSS_ADDR')
    const ram = checked(libc.mmap(0, RAM_SIZE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0), 'mmap')
    this.bytes = new Uint8Array(viewOf(ram, RAM_SIZE))
    this.view = new DataView(this.bytes.buffer)
    callWith(vm, KVM_SET_USER_MEMORY_REGION, new Uint8Array(BigUint64Array.of(0n, 0n, BigInt(RAM_SIZE), BigInt(ram)).buffer), 'KVM_SET_USER_MEMORY_REGION')
    this.vcpu = call(vm, KVM_CREATE_VCPU, 0, 'KVM_CREATE_VCPU')
    this.fds.push(this.vcpu)
    const cpuid = new Uint8Array(8 + CPUID_ROOM * CPUID_ENTRY)
    cpuid.set([CPUID_ROOM & 0xff, CPUID_ROOM >> 8])
    callWith(kvm, KVM_GET_SUPPORTED_CPUID, cpuid, 'KVM_GET_SUPPORTED_CPUID')
    callWith(this.vcpu, KVM_SET_CPUID2, cpuid, 'KVM_SET_CPUID2')
    const size = call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, 'KVM_GET_VCPU_MMAP_SIZE')
    this.run_ = new DataView(viewOf(checked(libc.mmap(0, size, PROT_READ_WRITE, MAP_SHARED, this.vcpu, 0), 'mmap of kvm_run'), size))
    this.runBytes = new Uint8Array(this.run_.buffer)
    this.setUpTables()
    const initial = new Uint8Array(SREGS_BYTES)
    callWith(this.vcpu, KVM_GET_SREGS, initial, 'KVM_GET_SREGS')
    this.sregs = { 64: template(initial, 64), 32: template(initial, 32) }
    this.xsave = new Uint8Array(XSAVE_BYTES)
    this.xsaveView = new DataView(this.xsave.buffer)
    callWith(this.vcpu, KVM_GET_XSAVE, this.xsave, 'KVM_GET_XSAVE')
  }

  close(): void {
    for (const fd of this.fds.reverse()) fs.closeSync(fd)
  }

  private setUpTables(): void {
    const { view } = this
    const put = (at: number, value: bigint): void => { view.setBigUint64(at, value, true) }
    const index = (address: number, shift: number): number => (address / 2 ** shift & 511) * 8
    const table = PRESENT | WRITE | USER | USED
    put(PML4, BigInt(PDPT) | table)
    put(PML4 + 256 * 8, BigInt(KERNEL_PDPT) | table)
    put(KERNEL_PDPT, BigInt(KERNEL_DIRECTORY) | table)
    put(KERNEL_DIRECTORY, BigInt(KERNEL_TABLE) | table)
    put(PDPT + index(CODE, 30), BigInt(ARENA_DIRECTORY) | table)
    put(ARENA_DIRECTORY + index(CODE, 21), BigInt(ARENA_TABLE) | table)
    for (let page = 0; page < RAM_SIZE; page += 0x1000) put(KERNEL_TABLE + page / 512, BigInt(page) | PRESENT | WRITE | USED)
    const map = (address: number, physical: number, pages: number, flags: bigint): void => {
      for (let i = 0; i < pages; i++) put(ARENA_TABLE + index(address + i * 0x1000, 12), BigInt(physical + i * 0x1000) | PRESENT | USER | USED | flags)
    }
    map(CODE, P_CODE, 2, WRITE)
    map(DATA, P_DATA, 2, WRITE | NO_EXECUTE)
    map(READ_ONLY, P_READ_ONLY, 1, NO_EXECUTE)
    map(STACK, P_STACK, 1, WRITE | NO_EXECUTE)
    this.bytes.set(READ_ONLY_BYTES, P_READ_ONLY)
    this.bytes.fill(0xcc, P_CODE, P_CODE + CODE_SIZE)
    put(GDT + KERNEL_CODE, 0x00af_9b00_0000_ffffn)
    put(GDT + 0x18, 0x00cf_9300_0000_ffffn)
    put(GDT + (USER_CODE32 & ~7), 0x00cf_fb00_0000_ffffn)
    put(GDT + (USER_DATA & ~7), 0x00cf_f300_0000_ffffn)
    put(GDT + (USER_CODE64 & ~7), 0x00af_fb00_0000_ffffn)
    put(TSS + 4, KERNEL + BigInt(KERNEL_STACK))
    for (let vector = 0; vector < VECTORS; vector++) {
      const target = KERNEL + BigInt(HANDLERS + vector * HANDLER_SIZE)
      put(IDT + vector * 16, (target & 0xffffn) | BigInt(KERNEL_CODE) << 16n | 0xee00n << 32n | (target >> 16n & 0xffffn) << 48n)
      put(IDT + vector * 16 + 8, target >> 32n)
      view.setUint8(HANDLERS + vector * HANDLER_SIZE, 0xf4) // HLT
    }
  }

  /**
   * PVM runs 32-bit code in KVM's emulator, and 64-bit user code on the processor with segment registers and a descriptor table that are not the guest's.
   * Two stores that cross a page go to the emulator as well, which leaves the x87 state as it was.
   */
  takes({ row, mode, place }: Group): boolean {
    if (!this.isPvm) return true
    return mode === 64 && row.unit !== 'sys' && !SELECTORS.has(row.handler) && !(place === 'memory' && EMULATED_STORES.has(row.name + row.op.toString(16)))
  }

  /** Runs one vector. Each ends in a way that the vector itself brings about, whatever `mode` says. */
  run(state: State, _mode: Mode, expectedTrap: number, result: Uint8Array): void | 'declined' {
    this.load(state)
    const { libc } = ffi()
    checked(libc.ioctl(this.vcpu, KVM_RUN, 0), 'KVM_RUN')
    if (this.run_.getUint32(RUN_EXIT_REASON, true) !== EXIT_HLT) {
      throw new Error(`${Buffer.from(state.code.subarray(0, state.codeLength)).toString('hex')}: ${describeExit(this.run_)}`)
    }
    checked(libc.ioctlPointer(this.vcpu, KVM_GET_XSAVE, this.xsave), 'KVM_GET_XSAVE')
    this.collect(result)
    if (this.isPvm && this.wasEmulated(state, expectedTrap, result)) return 'declined'
    return undefined
  }

  private load(state: State): void {
    const { run_: run, runBytes, xsave, xsaveView, bytes } = this
    for (let i = 0; i < 16; i++) run.setBigUint64(RUN_REGS + (REGS[i] as number), state.gpr(i), true)
    run.setBigUint64(RUN_REGS + REG_RIP, BigInt(state.start), true)
    run.setBigUint64(RUN_REGS + REG_RFLAGS, BigInt(state.view.getUint32(S_RFLAGS, true)), true)
    runBytes.set(this.sregs[state.mode], RUN_SREGS)
    runBytes.set(state.bytes.subarray(S_FS_BASE, S_FS_BASE + 8), RUN_SREGS + SEGMENTS[FS])
    runBytes.set(state.bytes.subarray(S_GS_BASE, S_GS_BASE + 8), RUN_SREGS + SEGMENTS[GS])
    run.setBigUint64(RUN_VALID_REGS, BigInt(SYNC_REGS | SYNC_SREGS), true)
    run.setBigUint64(RUN_DIRTY_REGS, BigInt(SYNC_REGS | SYNC_SREGS), true)

    const top = state.view.getUint16(S_FSW, true) >> 11 & 7
    xsave.fill(0, 0, X_PRESENT)
    xsaveView.setUint16(X_FCW, state.view.getUint16(S_FCW, true), true)
    xsaveView.setUint16(X_FSW, state.view.getUint16(S_FSW, true), true)
    xsaveView.setUint8(X_FTW, state.bytes[S_FTW]!)
    xsaveView.setUint32(X_MXCSR, state.view.getUint32(S_MXCSR, true), true)
    for (let i = 0; i < 8; i++) {
      const from = S_FPR + ((top + i) & 7) * 16
      xsave.set(state.bytes.subarray(from, from + 10), X_ST + i * 16)
    }
    xsave.set(state.bytes.subarray(S_XMM, S_XMM + 256), X_XMM)
    xsaveView.setBigUint64(X_PRESENT, xsaveView.getBigUint64(X_PRESENT, true) | X87_AND_SSE, true)
    checked(ffi().libc.ioctlPointer(this.vcpu, KVM_SET_XSAVE, xsave), 'KVM_SET_XSAVE')

    bytes.set(state.bytes.subarray(S_MEMORY, S_STACK), P_DATA)
    bytes.set(state.bytes.subarray(S_STACK), P_STACK)
    bytes.fill(0xcc, this.codeAt, this.codeAt + this.codeLength)
    this.codeAt = P_CODE + state.start - CODE
    this.codeLength = state.codeLength
    bytes.set(state.code.subarray(0, state.codeLength), this.codeAt)
  }

  /**
   * What faults on PVM is done once more by KVM's emulator, which has few of the instructions (#UD where it lacks one) and raises exceptions in its own way.
   */
  private wasEmulated(state: State, expectedTrap: number, result: Uint8Array): boolean {
    const out = new DataView(result.buffer, result.byteOffset)
    const trap = out.getUint32(S_TRAP, true)
    if (trap === expectedTrap) return false
    return expectedTrap !== BREAKPOINT || (trap === INVALID_OPCODE && Number(out.getBigUint64(S_RIP, true)) === state.start)
  }

  /** PVM leaves some INT3 to KVM's emulator (all in 32-bit code), which has no such instruction: they come as #UD. What went before is as it should be. */
  private isInt3(rip: number): boolean {
    return rip >= CODE && rip < CODE + CODE_SIZE && this.bytes[P_CODE + rip - CODE] === 0xcc
  }

  /** What the interrupt frame on the kernel's stack holds comes from there, the rest from the vCPU. */
  private collect(result: Uint8Array): void {
    const { run_: run, runBytes, xsave, xsaveView, view, bytes } = this
    const out = new DataView(result.buffer, result.byteOffset)
    for (let i = 0; i < 16; i++) out.setBigUint64(S_GPR + i * 8, run.getBigUint64(RUN_REGS + (REGS[i] as number), true), true)
    const handler = Number(run.getBigUint64(RUN_REGS + REG_RIP, true) - KERNEL) - 1 - HANDLERS
    const trap = handler >= 0 && handler < VECTORS * HANDLER_SIZE ? handler / HANDLER_SIZE : 255
    const frame = Number(run.getBigUint64(RUN_REGS + REG_RSP, true) & 0xffffn)
    const withError = WITH_ERROR_CODE.has(trap)
    const at = withError ? frame + 8 : frame
    const pushed = view.getBigUint64(at, true)
    const endedByInt3 = trap === BREAKPOINT || (this.isPvm && trap === INVALID_OPCODE && this.isInt3(Number(pushed)))
    out.setUint32(S_TRAP, endedByInt3 ? BREAKPOINT : trap, true)
    out.setUint32(S_ERROR, withError ? view.getUint32(frame, true) : 0, true)
    out.setBigUint64(S_CR2, trap === PAGE_FAULT ? run.getBigUint64(RUN_SREGS + SREG_CR2, true) : 0n, true)
    out.setBigUint64(S_RIP, trap === BREAKPOINT ? pushed - 1n : pushed, true)
    out.setBigUint64(S_RFLAGS, view.getBigUint64(at + 16, true), true)
    out.setBigUint64(S_GPR + 32, view.getBigUint64(at + 24, true), true)
    result.fill(0, S_SELECTORS, S_MEMORY)
    for (const segment of [ES, DS, FS, GS]) out.setUint16(S_SELECTORS + segment * 2, run.getUint16(RUN_SREGS + (SEGMENTS[segment] as number) + 12, true), true)
    out.setUint16(S_SELECTORS + CS * 2, view.getUint16(at + 8, true), true)
    out.setUint16(S_SELECTORS + SS * 2, view.getUint16(at + 32, true), true)
    result.set(runBytes.subarray(RUN_SREGS + SEGMENTS[FS], RUN_SREGS + SEGMENTS[FS] + 8), S_FS_BASE)
    result.set(runBytes.subarray(RUN_SREGS + SEGMENTS[GS], RUN_SREGS + SEGMENTS[GS] + 8), S_GS_BASE)

    const status = xsaveView.getUint16(X_FSW, true)
    out.setUint32(S_MXCSR, xsaveView.getUint32(X_MXCSR, true), true)
    out.setUint16(S_FCW, xsaveView.getUint16(X_FCW, true), true)
    out.setUint16(S_FSW, status, true)
    result.fill(0, S_FTW, S_XMM)
    out.setUint8(S_FTW, xsaveView.getUint8(X_FTW))
    for (let i = 0; i < 8; i++) result.set(xsave.subarray(X_ST + i * 16, X_ST + i * 16 + 10), S_FPR + (((status >> 11) + i) & 7) * 16)
    result.set(xsave.subarray(X_XMM, X_XMM + 256), S_XMM)
    result.set(bytes.subarray(P_DATA, P_DATA + (S_STACK - S_MEMORY)), S_MEMORY)
    result.set(bytes.subarray(P_STACK, P_STACK + (result.length - S_STACK)), S_STACK)
  }
}

/** struct kvm_sregs of user mode, from those of a new vCPU. */
function template(initial: Uint8Array, mode: 32 | 64): Uint8Array {
  const bytes = initial.slice()
  const view = new DataView(bytes.buffer)
  const big = (at: number, value: bigint): void => { view.setBigUint64(at, value, true) }
  /** @param access type, S, DPL and P; @param flags AVL, L, D and G */
  const segment = (at: number, selector: number, access: number, flags: number, limit: number, base = 0n): void => {
    big(at, base)
    view.setUint32(at + 8, limit, true)
    view.setUint16(at + 12, selector, true)
    const present = access >> 7 & 1
    const fields = [access & 15, present, access >> 5 & 3, flags >> 2 & 1, access >> 4 & 1, flags >> 1 & 1, flags >> 3 & 1, flags & 1, present ^ 1]
    fields.forEach((value, index) => { view.setUint8(at + 14 + index, value) })
  }
  const FLAT = 0xffff_ffff
  if (mode === 64) segment(SEGMENTS[CS], USER_CODE64, 0xfb, 0b1010, FLAT)
  else segment(SEGMENTS[CS], USER_CODE32, 0xfb, 0b1100, FLAT)
  for (const number of [ES, SS, DS] as const) segment(SEGMENTS[number], USER_DATA, 0xf3, 0b1100, FLAT)
  for (const number of [FS, GS] as const) segment(SEGMENTS[number], 0, 0, 0, 0)
  segment(SREG_LDT, 0, 0, 0, 0)
  segment(SREG_TR, TASK, 0x8b, 0, 103, KERNEL + BigInt(TSS))
  for (const [at, base, limit] of [[SREG_GDT, GDT, 0x4f], [SREG_IDT, IDT, VECTORS * 16 - 1]] as const) {
    big(at, KERNEL + BigInt(base))
    view.setUint16(at + 8, limit, true)
  }
  big(SREG_CR0, 0x8005_0033n)
  big(SREG_CR2, 0n)
  big(SREG_CR3, BigInt(PML4))
  big(SREG_CR4, 0x1_06a0n) // PAE PGE OSFXSR OSXMMEXCPT FSGSBASE
  big(SREG_EFER, 0xd01n)
  return bytes
}
