/** The software CPU in this process, with page tables, descriptor tables and an interrupt table around the vectors' arena. */
import fs from 'node:fs'
import * as L from '../../hypervisor/tcg/core/layout.ts'
import {
  ARITHMETIC, CODE, CODE_SIZE, DATA, READ_ONLY, S_CR2, S_ERROR, S_FCW, S_FPR, S_FSW, S_FS_BASE, S_FTW, S_GPR, S_GS_BASE, S_MEMORY, S_MXCSR, S_RFLAGS, S_RIP, S_SELECTORS,
  S_STACK, S_TRAP, S_XMM, STACK, USER_CODE32, USER_CODE64, USER_DATA,
} from './arena.ts'
import { translateAtOnce } from '../../hypervisor/tcg/translator/at-once.ts'
import { RegionTable } from '../../hypervisor/tcg/translator/region-table.ts'
import type { Limits } from '../../hypervisor/tcg/translator/region.ts'
import type { TranslatingCore } from '../../hypervisor/tcg/translator/region-table.ts'
import { READ_ONLY_BYTES } from './state.ts'
import type { State } from './state.ts'

/** Node's WebAssembly: its types come without the constructors unless the DOM library is in. */
const wasm = (globalThis as unknown as { WebAssembly: {
  Memory: new (options: { initial: number, maximum: number, shared: boolean }) => { readonly buffer: SharedArrayBuffer }
  Module: new (code: Uint8Array) => object
  Instance: new (module: object, imports: object) => { readonly exports: unknown }
} }).WebAssembly

interface Exports {
  initialise(): void
  resetCpu(cpu: number, index: number, init: boolean): void
  refreshCpu(cpu: number): void
  runCpu(cpu: number, instructions: bigint): number
  stepCpu(cpu: number): number
  invalidateRange(host: number, length: number): void
  flushAll(): void
  setSpecialised(on: boolean): void
  getRflags(cpu: number): bigint
}

const CPU = L.CPU_AREA
const UOPS = 0x10_0000, UOPS_END = 0x50_0000, BLOCKS = 0x50_0000, BLOCK_ENTRIES = 0x1000, PAGE_INFO = 0x60_0000
const RAM = 0x80_0000, RAM_SIZE = 0x10_0000
const TEMPLATE = 2048 // bytes of a vCPU block that hold its state

// ---- guest-physical layout ------------------------------------------------------------------------------------------------------------
const PML4 = 0x1000, PDPT = 0x2000, LOW_DIRECTORY = 0x3000, LOW_TABLE = 0x4000, ARENA_DIRECTORY = 0x5000, ARENA_TABLE = 0x6000
const GDT = 0x7000, IDT = 0x8000, TSS = 0x9000, KERNEL_STACK = 0xb000, KERNEL_PDPT = 0xd000, HANDLERS = 0xc000
const P_CODE = 0x10000, P_DATA = 0x12000, P_READ_ONLY = 0x14000, P_STACK = 0x15000
/** Where the kernel's side of the guest is mapped: the upper half, so that user mode finds nothing below the arena. */
const KERNEL = 0xffff_8000_0000_0000n
const PRESENT = 1n, WRITE = 2n, USER = 4n, NO_EXECUTE = 1n << 63n
const KERNEL_CODE = 0x10, TASK = 0x40
const EXIT_HALT = 1
const PAGE_FAULT = 14
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17])

/** How a vector is run. */
export interface Mode {
  /** Through stepCpu, or through runCpu with delivery of the final exception into an interrupt handler. */
  readonly path: 'step' | 'run'
  /** Fast handlers for common instructions. */
  readonly specialised: boolean
}

export class CoreExecutor {
  private readonly exports: Exports
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private readonly templates: { 32: Uint8Array, 64: Uint8Array }
  private codeAt = P_CODE
  private codeLength = 0

  /** @param translated every block becomes WebAssembly before it is first executed; for vectors run as blocks */
  constructor(file: string, translated = false, limits: Limits = { blocks: 4, uops: 60, heat: 0, farHeat: 0, farUops: 300 }) {
    const memory = new wasm.Memory({ initial: 1024, maximum: 65536, shared: true })
    const env = { memory, busRead: () => 0xffffffff, busWrite: () => undefined, hostNs: () => 0, hostRandom: () => 4 }
    this.exports = new wasm.Instance(new wasm.Module(fs.readFileSync(file)), { env }).exports as Exports
    this.bytes = new Uint8Array(memory.buffer)
    this.view = new DataView(memory.buffer)
    this.setUpMachine()
    this.setUpTables()
    this.templates = { 64: this.template(64), 32: this.template(32) }
    this.exports.refreshCpu(CPU)
    if (!translated) return
    const translating = this.exports as unknown as TranslatingCore
    translateAtOnce(new RegionTable(translating, memory), translating, 1, limits)
  }

  private setUpMachine(): void {
    const { view } = this
    const set = (at: number, value: number): void => { view.setUint32(at, value, true) }
    set(L.G_CPU_COUNT, 1)
    set(L.G_CLOCK_MODE, 1)
    set(L.G_UOP_BASE, UOPS); set(L.G_UOP_END, UOPS_END); set(L.G_UOP_NEXT, UOPS)
    set(L.G_BLOCK_TABLE, BLOCKS); set(L.G_BLOCK_MASK, BLOCK_ENTRIES - 1)
    set(L.G_PAGE_INFO, PAGE_INFO)
    set(L.G_RAM_BASE, RAM); set(L.G_RAM_END, RAM + RAM_SIZE)
    set(L.G_RANGE_COUNT, 1)
    view.setBigUint64(L.G_RANGES, 0n, true)
    view.setBigUint64(L.G_RANGES + 8, BigInt(RAM_SIZE), true)
    set(L.G_RANGES + 16, RAM)
    this.exports.initialise()
    this.exports.resetCpu(CPU, 0, false)
  }

  private setUpTables(): void {
    const { view } = this
    const put = (at: number, value: bigint): void => { view.setBigUint64(RAM + at, value, true) }
    const index = (address: number, shift: number): number => (address / 2 ** shift & 511) * 8
    const table = PRESENT | WRITE | USER | 0x60n
    put(PML4, BigInt(PDPT) | table)
    put(PML4 + 256 * 8, BigInt(KERNEL_PDPT) | table)
    put(KERNEL_PDPT, BigInt(LOW_DIRECTORY) | table)
    put(PDPT + index(CODE, 30), BigInt(ARENA_DIRECTORY) | table)
    put(LOW_DIRECTORY, BigInt(LOW_TABLE) | table)
    put(ARENA_DIRECTORY + index(CODE, 21), BigInt(ARENA_TABLE) | table)
    for (let page = 0; page < RAM_SIZE; page += 0x1000) put(LOW_TABLE + page / 512, BigInt(page) | PRESENT | WRITE | 0x60n)
    const map = (address: number, physical: number, pages: number, flags: bigint): void => {
      for (let i = 0; i < pages; i++) put(ARENA_TABLE + index(address + i * 0x1000, 12), BigInt(physical + i * 0x1000) | PRESENT | USER | 0x60n | flags)
    }
    map(CODE, P_CODE, 2, WRITE)
    map(DATA, P_DATA, 2, WRITE | NO_EXECUTE)
    map(READ_ONLY, P_READ_ONLY, 1, NO_EXECUTE)
    map(STACK, P_STACK, 1, WRITE | NO_EXECUTE)
    this.bytes.set(READ_ONLY_BYTES, RAM + P_READ_ONLY)
    this.bytes.fill(0xcc, RAM + P_CODE, RAM + P_CODE + CODE_SIZE)
    put(GDT + 0x10, 0x00af_9b00_0000_ffffn)
    put(GDT + 0x18, 0x00cf_9300_0000_ffffn)
    put(GDT + 0x20, 0x00cf_fb00_0000_ffffn) // 32-bit user code
    put(GDT + 0x28, 0x00cf_f300_0000_ffffn)
    put(GDT + 0x30, 0x00af_fb00_0000_ffffn) // 64-bit user code
    put(TSS + 4, KERNEL + BigInt(KERNEL_STACK))
    for (let vector = 0; vector < 32; vector++) {
      const target = KERNEL + BigInt(HANDLERS + vector * 16)
      put(IDT + vector * 16, (target & 0xffffn) | BigInt(KERNEL_CODE) << 16n | 0xee00n << 32n | (target >> 16n & 0xffffn) << 48n)
      put(IDT + vector * 16 + 8, target >> 32n)
      view.setUint8(RAM + HANDLERS + vector * 16, 0xf4) // HLT
    }
  }

  /** The state bytes of a vCPU in user mode. */
  private template(mode: 32 | 64): Uint8Array {
    const { view } = this
    const big = (at: number, value: bigint): void => { view.setBigUint64(CPU + at, value, true) }
    const segment = (number: number, selector: number, attributes: number, limit: number, base: bigint): void => {
      const at = L.SEG + number * L.SEG_SIZE
      big(at + L.SEG_BASE, base)
      view.setUint32(CPU + at + L.SEG_LIMIT, limit, true)
      view.setUint32(CPU + at + L.SEG_ATTR, attributes, true)
      view.setUint16(CPU + at + L.SEG_SELECTOR, selector, true)
    }
    if (mode === 64) segment(L.CS, USER_CODE64, 0xa0fb00, 0xffffffff, 0n)
    else segment(L.CS, USER_CODE32, 0xc0fb00, 0xffffffff, 0n)
    for (const number of [L.ES, L.SS, L.DS]) segment(number, USER_DATA, 0xc0f300, 0xffffffff, 0n)
    for (const number of [L.FS, L.GS, L.LDTR]) segment(number, 0, 1, 0, 0n)
    segment(L.TR, TASK, 0x8b00, 103, KERNEL + BigInt(TSS))
    big(L.GDTR_BASE, KERNEL + BigInt(GDT)); view.setUint32(CPU + L.GDTR_LIMIT, 0x4f, true)
    big(L.IDTR_BASE, KERNEL + BigInt(IDT)); view.setUint32(CPU + L.IDTR_LIMIT, 32 * 16 - 1, true)
    big(L.CR0, 0x8005_0033n)
    big(L.CR3, BigInt(PML4))
    big(L.CR4, 0x1_06a0n) // PAE PGE OSFXSR OSXMMEXCPT FSGSBASE
    big(L.EFER, 0xd01n)
    view.setUint32(CPU + L.CPL, 3, true)
    view.setUint32(CPU + L.CC_OP, L.CC_EFLAGS, true)
    view.setUint32(CPU + L.HALTED, 0, true)
    view.setInt32(CPU + L.EXCEPTION, -1, true)
    this.exports.refreshCpu(CPU)
    return this.bytes.slice(CPU, CPU + TEMPLATE)
  }

  private load(state: State): void {
    const { bytes, view } = this
    bytes.set(this.templates[state.mode], CPU)
    bytes.set(state.bytes.subarray(S_GPR, S_GPR + 128), CPU + L.GPR)
    view.setBigUint64(CPU + L.RIP, BigInt(state.start), true)
    const flags = state.view.getUint32(S_RFLAGS, true)
    view.setBigUint64(CPU + L.RFLAGS, BigInt(flags & ~ARITHMETIC | 2), true)
    view.setBigUint64(CPU + L.CC_SRC, BigInt(flags & ARITHMETIC), true)
    bytes.set(state.bytes.subarray(S_XMM, S_XMM + 256), CPU + L.XMM)
    view.setUint32(CPU + L.MXCSR, state.view.getUint32(S_MXCSR, true), true)
    view.setUint16(CPU + L.FCW, state.view.getUint16(S_FCW, true), true)
    view.setUint16(CPU + L.FSW, state.view.getUint16(S_FSW, true), true)
    view.setUint8(CPU + L.FTW, state.bytes[S_FTW]!)
    bytes.set(state.bytes.subarray(S_FPR, S_FPR + 128), CPU + L.FPR)
    bytes.set(state.bytes.subarray(S_FS_BASE, S_FS_BASE + 8), CPU + L.SEG + L.FS * L.SEG_SIZE)
    bytes.set(state.bytes.subarray(S_GS_BASE, S_GS_BASE + 8), CPU + L.SEG + L.GS * L.SEG_SIZE)
    bytes.set(state.bytes.subarray(S_MEMORY, S_STACK), RAM + P_DATA)
    bytes.set(state.bytes.subarray(S_STACK), RAM + P_STACK)
    bytes.fill(0xcc, this.codeAt, this.codeAt + this.codeLength)
    if (this.codeLength > 0) this.exports.invalidateRange(this.codeAt, this.codeLength)
    this.codeAt = RAM + P_CODE + state.start - CODE
    this.codeLength = state.codeLength
    bytes.set(state.code.subarray(0, state.codeLength), this.codeAt)
    this.exports.invalidateRange(this.codeAt, this.codeLength)
  }

  /** Runs one vector. `expectedRip` only tells a stepping run whether a fetch fault is still to come. */
  run(state: State, mode: Mode, expectedTrap: number, result: Uint8Array): void {
    this.load(state)
    this.exports.setSpecialised(mode.specialised)
    const view = new DataView(result.buffer, result.byteOffset)
    if (mode.path === 'step') this.step(view, state, expectedTrap)
    else this.runToHandler(view)
    this.collect(state, result, view)
  }

  private rip(): bigint { return this.view.getBigUint64(CPU + L.RIP, true) }

  private step(result: DataView, state: State, expectedTrap: number): void {
    let trap = this.exports.stepCpu(CPU)
    // Repeats come back to the same instruction, and a branch to a bad place faults at the next fetch.
    for (let i = 0; i < 64 && trap < 0 && (expectedTrap !== 3 || this.rip() === BigInt(state.start)) && this.rip() < KERNEL; i++) trap = this.exports.stepCpu(CPU)
    if (this.rip() >= KERNEL) { // INT3, INTO and ICEBP deliver at once
      this.handlerFrame(result, Number(this.rip() - KERNEL))
      return
    }
    result.setUint32(S_TRAP, trap < 0 ? 3 : trap, true)
    result.setUint32(S_ERROR, WITH_ERROR_CODE.has(trap) ? this.view.getUint32(CPU + L.ERROR_CODE, true) : 0, true)
    result.setBigUint64(S_CR2, trap === PAGE_FAULT ? this.view.getBigUint64(CPU + L.CR2, true) : 0n, true)
    result.setBigUint64(S_RIP, this.view.getBigUint64(CPU + L.RIP, true), true)
    result.setBigUint64(S_RFLAGS, this.exports.getRflags(CPU), true)
    this.copySelectors(result)
    for (let i = 0; i < 16; i++) result.setBigUint64(S_GPR + i * 8, this.view.getBigUint64(CPU + L.GPR + i * 8, true), true)
  }

  /** The final exception is delivered: its frame on the kernel stack holds RIP, RFLAGS, RSP and the error code. */
  private runToHandler(result: DataView): void {
    const reason = this.exports.runCpu(CPU, 5000n)
    const rip = Number(this.rip() - KERNEL)
    this.handlerFrame(result, reason === EXIT_HALT ? rip - 1 : -1)
  }

  /** Reads the final state off the interrupt frame. @param handler offset of the handler that was entered */
  private handlerFrame(result: DataView, handler: number): void {
    const { view } = this
    const trap = handler >= HANDLERS && handler < HANDLERS + 512 ? (handler - HANDLERS) / 16 : 255
    const frame = RAM + Number(view.getBigUint64(CPU + L.GPR + 32, true) & 0xffffn)
    const withError = WITH_ERROR_CODE.has(trap)
    const at = withError ? frame + 8 : frame
    for (let i = 0; i < 16; i++) result.setBigUint64(S_GPR + i * 8, view.getBigUint64(CPU + L.GPR + i * 8, true), true)
    result.setUint32(S_TRAP, trap, true)
    result.setUint32(S_ERROR, withError ? view.getUint32(frame, true) : 0, true)
    result.setBigUint64(S_CR2, trap === PAGE_FAULT ? view.getBigUint64(CPU + L.CR2, true) : 0n, true)
    const pushed = view.getBigUint64(at, true)
    result.setBigUint64(S_RIP, trap === 3 ? pushed - 1n : pushed, true)
    result.setBigUint64(S_RFLAGS, view.getBigUint64(at + 16, true), true)
    result.setBigUint64(S_GPR + 32, view.getBigUint64(at + 24, true), true)
    this.copySelectors(result)
    result.setUint16(S_SELECTORS + 2, view.getUint16(at + 8, true), true)
    result.setUint16(S_SELECTORS + 4, view.getUint16(at + 32, true), true)
  }

  private copySelectors(result: DataView): void {
    for (let i = 0; i < 6; i++) result.setUint16(S_SELECTORS + i * 2, this.view.getUint16(CPU + L.SEG + i * L.SEG_SIZE + L.SEG_SELECTOR, true), true)
  }

  private collect(state: State, result: Uint8Array, out: DataView): void {
    const { bytes, view } = this
    out.setUint32(S_MXCSR, view.getUint32(CPU + L.MXCSR, true), true)
    out.setUint16(S_FCW, view.getUint16(CPU + L.FCW, true), true)
    out.setUint16(S_FSW, view.getUint16(CPU + L.FSW, true), true)
    out.setUint32(S_FTW, view.getUint8(CPU + L.FTW), true)
    out.setUint32(S_FTW + 4, 0, true)
    for (let i = 0; i < 8; i++) {
      result.set(bytes.subarray(CPU + L.FPR + i * 16, CPU + L.FPR + i * 16 + 10), S_FPR + i * 16)
      result.fill(0, S_FPR + i * 16 + 10, S_FPR + i * 16 + 16)
    }
    result.set(bytes.subarray(CPU + L.XMM, CPU + L.XMM + 256), S_XMM)
    result.set(bytes.subarray(CPU + L.SEG + L.FS * L.SEG_SIZE, CPU + L.SEG + L.FS * L.SEG_SIZE + 8), S_FS_BASE)
    result.set(bytes.subarray(CPU + L.SEG + L.GS * L.SEG_SIZE, CPU + L.SEG + L.GS * L.SEG_SIZE + 8), S_GS_BASE)
    result.fill(0, S_SELECTORS + 12, S_MEMORY)
    result.set(bytes.subarray(RAM + P_DATA, RAM + P_DATA + (S_STACK - S_MEMORY)), S_MEMORY)
    result.set(bytes.subarray(RAM + P_STACK, RAM + P_STACK + (result.length - S_STACK)), S_STACK)
  }
}
