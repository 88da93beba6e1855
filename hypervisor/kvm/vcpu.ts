/**
 * Main's hold on one vCPU: its descriptor, its state (only while its thread is parked), and its power-up state for a reset.
 * Linux Documentation/virt/kvm/api.rst, sections 4.11 to 4.46; registers at power-up are what KVM gives a new vCPU (Intel SDM volume 3, table 10-1).
 */
import fs from 'node:fs'
import { ffi } from '../../host/ffi.ts'
import { allButKickSignal } from '../../host/signals.ts'
import type { EntryState, SegmentRegister } from '../hypervisor.ts'
import type { ShownRegisters, ShownSegment } from '../registers-text.ts'
import {
  DEBUGREGS_BYTES, KVM_CREATE_VCPU, KVM_GET_DEBUGREGS, KVM_GET_LAPIC, KVM_GET_MP_STATE, KVM_GET_MSRS, KVM_GET_REGS, KVM_GET_SREGS, KVM_GET_STATS_FD, KVM_GET_VCPU_EVENTS,
  KVM_GET_XCRS, KVM_GET_XSAVE, KVM_KVMCLOCK_CTRL, KVM_SET_CPUID2, KVM_SET_DEBUGREGS, KVM_SET_LAPIC, KVM_SET_MP_STATE, KVM_SET_MSRS, KVM_SET_REGS, KVM_SET_SIGNAL_MASK,
  KVM_SET_SREGS, KVM_SET_VCPU_EVENTS, KVM_SET_XCRS, KVM_SET_XSAVE, KVM_TRANSLATE, LAPIC_BYTES, MP_STATE_HALTED, MP_STATE_UNINITIALIZED, MSR_ENTRY_BYTES, REGS_BYTES, SREGS_BYTES,
  VCPU_EVENTS_BYTES, XCRS_BYTES, XSAVE_BYTES,
} from './abi.ts'
import { request, requestValue } from './descriptors.ts'

// struct kvm_sregs
const SREG_SEGMENTS = { cs: 0, ds: 24, es: 48, fs: 72, gs: 96, ss: 120, tr: 144, ldt: 168 } as const
const SREG_GDT = 192, SREG_IDT = 208, SREG_CR0 = 224, SREG_CR2 = 232, SREG_CR3 = 240, SREG_CR4 = 248, SREG_EFER = 264
// struct kvm_regs, in RAX, RCX, ... order
const REG_OFFSETS = [0, 16, 24, 8, 48, 56, 32, 40, 64, 72, 80, 88, 96, 104, 112, 120] as const
const REG_RBX = 8, REG_RSI = 32, REG_RSP = 48, REG_RBP = 56, REG_RIP = 128, REG_RFLAGS = 136
// struct kvm_xsave: the standard format of XSAVE, Intel SDM volume 1, 13.4. KVM_GET_FPU and KVM_SET_FPU leave MXCSR out.
const XSAVE_FCW = 0, XSAVE_FSW = 2, XSAVE_FTW = 4, XSAVE_MXCSR = 24, XSAVE_ST = 32, XSAVE_XMM = 160, XSAVE_PRESENT = 512
const X87_AND_SSE = 3n
// Local APIC registers, Intel SDM volume 3, table 11-1
const LVT_LINT0 = 0x350, LVT_LINT1 = 0x360
const DELIVERY_NMI = 0x400, DELIVERY_EXTINT = 0x700
// Model-specific registers
const MSR_TSC = 0x10, MSR_MISC_ENABLE = 0x1a0, MSR_MTRR_DEFAULT_TYPE = 0x2ff
const FAST_STRINGS = 1n
const MTRR_ENABLED_WRITE_BACK = 0x806n

export class Vcpu {
  readonly fd: number
  readonly apicId: number
  readonly #msrs: readonly number[]
  #powerUp: PowerUpState | undefined
  readonly #blocking: { readonly fd: number; readonly position: number }

  /**
   * @param apicId also the id by which KVM knows the vCPU
   * @param cpuid struct kvm_cpuid2
   * @param msrs the model-specific registers that a reset sets back
   */
  constructor(vm: number, apicId: number, cpuid: Uint8Array, msrs: readonly number[]) {
    this.apicId = apicId
    this.#msrs = msrs
    this.fd = requestValue(vm, KVM_CREATE_VCPU, apicId, 'KVM_CREATE_VCPU')
    request(this.fd, KVM_SET_CPUID2, cpuid, 'KVM_SET_CPUID2')
    const mask = new Uint8Array(12)
    mask[0] = 8 // bytes of the kernel's sigset_t
    mask.set(allButKickSignal(), 4)
    request(this.fd, KVM_SET_SIGNAL_MASK, mask, 'KVM_SET_SIGNAL_MASK')
    // Now: asked of a vCPU that runs, the kernel would keep us waiting until it leaves KVM_RUN, which an idle guest never does.
    this.#blocking = findStatistic(this.fd, 'blocking')
  }

  /** Power-up state. The first call remembers it, later ones set it. */
  reset(): void {
    if (this.#powerUp === undefined) {
      this.#prepare()
      this.#powerUp = new PowerUpState(this.fd, this.#msrs)
    } else {
      this.#powerUp.restore()
    }
  }

  /** What firmware would have set up before a kernel starts: virtual wire mode, write-back memory, fast strings. */
  #prepare(): void {
    const lapic = new DataView(this.#get(KVM_GET_LAPIC, LAPIC_BYTES, 'KVM_GET_LAPIC').buffer)
    lapic.setUint32(LVT_LINT0, DELIVERY_EXTINT, true)
    lapic.setUint32(LVT_LINT1, DELIVERY_NMI, true)
    request(this.fd, KVM_SET_LAPIC, new Uint8Array(lapic.buffer), 'KVM_SET_LAPIC')
    this.#setMsr(MSR_MTRR_DEFAULT_TYPE, MTRR_ENABLED_WRITE_BACK)
    this.#setMsr(MSR_MISC_ENABLE, FAST_STRINGS)
  }

  /** A register that this processor does not have stays as it is. */
  #setMsr(index: number, value: bigint): void {
    ffi().libc.ioctlPointer(this.fd, KVM_SET_MSRS, msrList([[index, value]]))
  }

  enter(state: EntryState): void {
    const sregs = this.#get(KVM_GET_SREGS, SREGS_BYTES, 'KVM_GET_SREGS')
    const view = new DataView(sregs.buffer)
    const set = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true)
    writeSegment(view, SREG_SEGMENTS.cs, state.cs)
    for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) writeSegment(view, SREG_SEGMENTS[name], state.data)
    writeSegment(view, SREG_SEGMENTS.tr, state.tr)
    writeSegment(view, SREG_SEGMENTS.ldt, state.ldtr)
    for (const [at, table] of [[SREG_GDT, state.gdt], [SREG_IDT, state.idt]] as const) {
      set(at, table.base)
      view.setUint16(at + 8, table.limit, true)
    }
    for (const [at, value] of [[SREG_CR0, state.cr0], [SREG_CR3, state.cr3], [SREG_CR4, state.cr4], [SREG_EFER, state.efer]] as const) set(at, value)
    request(this.fd, KVM_SET_SREGS, sregs, 'KVM_SET_SREGS')

    const regs = new DataView(new ArrayBuffer(REGS_BYTES))
    for (const [at, value] of [[REG_RBX, state.rbx], [REG_RSI, state.rsi], [REG_RSP, state.rsp], [REG_RBP, state.rbp], [REG_RIP, state.rip], [REG_RFLAGS, state.rflags]] as const) {
      regs.setBigUint64(at, BigInt(value), true)
    }
    request(this.fd, KVM_SET_REGS, new Uint8Array(regs.buffer), 'KVM_SET_REGS')

    const xsave = this.#get(KVM_GET_XSAVE, XSAVE_BYTES, 'KVM_GET_XSAVE')
    const area = new DataView(xsave.buffer)
    area.setUint16(XSAVE_FCW, state.fcw, true)
    area.setUint32(XSAVE_MXCSR, state.mxcsr, true)
    area.setBigUint64(XSAVE_PRESENT, area.getBigUint64(XSAVE_PRESENT, true) | X87_AND_SSE, true)
    request(this.fd, KVM_SET_XSAVE, xsave, 'KVM_SET_XSAVE')
  }

  /** Tells the guest that a pause was none of its doing, so that its watchdogs stay calm. No error where it does not use kvmclock. */
  excusePause(): void {
    ffi().libc.ioctl(this.fd, KVM_KVMCLOCK_CTRL, 0)
  }

  get isHalted(): boolean {
    const [state] = this.#get(KVM_GET_MP_STATE, 4, 'KVM_GET_MP_STATE')
    return state === MP_STATE_HALTED || state === MP_STATE_UNINITIALIZED
  }

  /** While it runs: whether its thread sleeps in the kernel for the guest's HLT. False where the kernel has no statistics (before Linux 5.14). */
  get isBlocking(): boolean {
    if (this.#blocking.fd < 0) return false
    const value = new Uint8Array(8)
    return fs.readSync(this.#blocking.fd, value, 0, 8, this.#blocking.position) === 8 && value[0] !== 0
  }

  registers(index: number): ShownRegisters {
    const regs = new DataView(this.#get(KVM_GET_REGS, REGS_BYTES, 'KVM_GET_REGS').buffer)
    const sregs = new DataView(this.#get(KVM_GET_SREGS, SREGS_BYTES, 'KVM_GET_SREGS').buffer)
    const area = new DataView(this.#get(KVM_GET_XSAVE, XSAVE_BYTES, 'KVM_GET_XSAVE').buffer)
    const debug = new DataView(this.#get(KVM_GET_DEBUGREGS, DEBUGREGS_BYTES, 'KVM_GET_DEBUGREGS').buffer)
    const events = this.#get(KVM_GET_VCPU_EVENTS, VCPU_EVENTS_BYTES, 'KVM_GET_VCPU_EVENTS')
    const u64 = (view: DataView, at: number) => view.getBigUint64(at, true)
    const table = (at: number) => ({ base: u64(sregs, at), limit: sregs.getUint16(at + 8, true) })
    const list = <T>(length: number, item: (index: number) => T) => Array.from({ length }, (_, at) => item(at))
    const { es, cs, ss, ds, fs: fsAt, gs, ldt, tr } = SREG_SEGMENTS
    return {
      cpu: index, gpr: REG_OFFSETS.map((at) => u64(regs, at)), rip: u64(regs, REG_RIP), rflags: u64(regs, REG_RFLAGS), cpl: sregs.getUint8(ss + SEG_DPL), inhibited: events[INTERRUPT_SHADOW] !== 0,
      halted: this.isHalted, segments: [es, cs, ss, ds, fsAt, gs, ldt, tr].map((at) => readSegment(sregs, at)), gdt: table(SREG_GDT), idt: table(SREG_IDT),
      cr0: u64(sregs, SREG_CR0), cr2: u64(sregs, SREG_CR2), cr3: u64(sregs, SREG_CR3), cr4: u64(sregs, SREG_CR4), dr: [0, 8, 16, 24, 32, 40].map((at) => u64(debug, at)),
      efer: u64(sregs, SREG_EFER), fcw: area.getUint16(XSAVE_FCW, true), fsw: area.getUint16(XSAVE_FSW, true), ftw: area.getUint8(XSAVE_FTW), mxcsr: area.getUint32(XSAVE_MXCSR, true),
      fpr: list(8, (at) => [u64(area, XSAVE_ST + at * 16), area.getUint16(XSAVE_ST + at * 16 + 8, true)] as const),
      xmm: list(16, (at) => [u64(area, XSAVE_XMM + at * 16), u64(area, XSAVE_XMM + at * 16 + 8)] as const),
    }
  }

  /** @returns the guest-physical address behind a linear one, undefined where the guest maps nothing */
  translate(linear: bigint): number | undefined {
    const translation = new DataView(new ArrayBuffer(24))
    translation.setBigUint64(0, linear, true)
    request(this.fd, KVM_TRANSLATE, new Uint8Array(translation.buffer), 'KVM_TRANSLATE')
    return translation.getUint8(16) === 0 ? undefined : Number(translation.getBigUint64(8, true))
  }

  close(): void {
    if (this.#blocking.fd >= 0) fs.closeSync(this.#blocking.fd)
    fs.closeSync(this.fd)
  }

  #get(number: number, bytes: number, name: string): Uint8Array<ArrayBuffer> {
    const structure = new Uint8Array(bytes)
    request(this.fd, number, structure, name)
    return structure
  }
}

/** Where the kernel keeps a 64-bit statistic of a vCPU (api.rst, 4.134 KVM_GET_STATS_FD). @returns fd -1 where it has none */
function findStatistic(vcpu: number, name: string): { fd: number; position: number } {
  const fd = ffi().libc.ioctl(vcpu, KVM_GET_STATS_FD, 0)
  if (fd < 0) return { fd: -1, position: 0 }
  const header = new DataView(new ArrayBuffer(24))
  fs.readSync(fd, header, 0, 24, 0)
  const nameBytes = header.getUint32(4, true), count = header.getUint32(8, true), descriptors = header.getUint32(16, true), data = header.getUint32(20, true)
  const entryBytes = 16 + nameBytes
  const table = new DataView(new ArrayBuffer(entryBytes * count))
  fs.readSync(fd, table, 0, table.byteLength, descriptors)
  for (let at = 0; at < table.byteLength; at += entryBytes) {
    const [found] = Buffer.from(table.buffer, at + 16, nameBytes).toString('latin1').split('\0')
    if (found === name) return { fd, position: data + table.getUint32(at + 8, true) }
  }
  fs.closeSync(fd)
  return { fd: -1, position: 0 }
}

/** Everything of a vCPU that a guest can change, as it was at one moment. Set in an order in which each part accepts what it depends on. */
class PowerUpState {
  readonly #fd: number
  readonly #parts: readonly { readonly set: number; readonly name: string; readonly bytes: Uint8Array }[]
  readonly #msrs: readonly Uint8Array[]

  constructor(fd: number, msrs: readonly number[]) {
    this.#fd = fd
    const part = (name: string, get: number, set: number, bytes: number) => {
      const structure = new Uint8Array(bytes)
      request(fd, get, structure, `KVM_GET_${name}`)
      return { set, name: `KVM_SET_${name}`, bytes: structure }
    }
    const xcrs = part('XCRS', KVM_GET_XCRS, KVM_SET_XCRS, XCRS_BYTES)
    this.#parts = [
      // Halted is left first: other state is refused or kept by a vCPU that waits.
      part('MP_STATE', KVM_GET_MP_STATE, KVM_SET_MP_STATE, 4),
      // A processor without XSAVE has none of them (nr_xcrs is 0), and lets none be set.
      ...xcrs.bytes[0] === 0 ? [] : [xcrs],
      part('XSAVE', KVM_GET_XSAVE, KVM_SET_XSAVE, XSAVE_BYTES),
      part('SREGS', KVM_GET_SREGS, KVM_SET_SREGS, SREGS_BYTES),
      part('REGS', KVM_GET_REGS, KVM_SET_REGS, REGS_BYTES),
      part('LAPIC', KVM_GET_LAPIC, KVM_SET_LAPIC, LAPIC_BYTES),
      part('VCPU_EVENTS', KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, VCPU_EVENTS_BYTES),
      part('DEBUGREGS', KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, DEBUGREGS_BYTES),
    ]
    this.#msrs = readMsrs(fd, msrs).map((entry) => msrList([entry]))
  }

  restore(): void {
    for (const { set, name, bytes } of this.#parts) request(this.#fd, set, bytes, name)
    // One by one: a register that cannot be written in this state (one of a feature that the guest's CPUID lacks) is none that the guest has changed.
    for (const list of this.#msrs) ffi().libc.ioctlPointer(this.#fd, KVM_SET_MSRS, list)
    // The local APIC's mode is in a register of its own; its page is taken over once that is back.
    for (const { set, name, bytes } of this.#parts) if (set === KVM_SET_LAPIC) request(this.#fd, set, bytes, name)
  }
}

/** KVM_GET_MSRS stops at the first register it cannot read: that one is left out. */
function readMsrs(fd: number, indices: readonly number[]): [number, bigint][] {
  const values: [number, bigint][] = []
  for (let from = 0; from < indices.length;) {
    const wanted = indices.slice(from)
    const list = msrList(wanted.map((index) => [index, 0n]))
    const count = ffi().libc.ioctlPointer(fd, KVM_GET_MSRS, list)
    if (count < 0) return values
    const view = new DataView(list.buffer)
    // Time starts anew with the machine.
    for (let at = 0; at < count; at++) {
      const index = wanted[at] as number
      values.push([index, index === MSR_TSC ? 0n : view.getBigUint64(8 + at * MSR_ENTRY_BYTES + 8, true)])
    }
    from += count + 1
  }
  return values
}

function msrList(entries: readonly (readonly [index: number, value: bigint])[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8 + entries.length * MSR_ENTRY_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, entries.length, true)
  entries.forEach(([index, value], at) => {
    view.setUint32(8 + at * MSR_ENTRY_BYTES, index, true)
    view.setBigUint64(8 + at * MSR_ENTRY_BYTES + 8, value, true)
  })
  return bytes
}

// struct kvm_segment
const SEG_LIMIT = 8, SEG_SELECTOR = 12, SEG_TYPE = 14, SEG_PRESENT = 15, SEG_DPL = 16, SEG_DB = 17, SEG_S = 18, SEG_L = 19, SEG_G = 20, SEG_AVL = 21, SEG_UNUSABLE = 22
// struct kvm_vcpu_events
const INTERRUPT_SHADOW = 11

function writeSegment(view: DataView, at: number, { selector, base, limit, attributes }: SegmentRegister): void {
  const bit = (number: number) => (attributes >> number) & 1
  view.setBigUint64(at, BigInt(base), true)
  view.setUint32(at + SEG_LIMIT, limit, true)
  view.setUint16(at + SEG_SELECTOR, selector, true)
  for (const [field, value] of [[SEG_TYPE, attributes & 15], [SEG_PRESENT, bit(7)], [SEG_DPL, (attributes >> 5) & 3], [SEG_DB, bit(14)], [SEG_S, bit(4)], [SEG_L, bit(13)], [SEG_G, bit(15)],
    [SEG_AVL, bit(12)], [SEG_UNUSABLE, bit(7) ^ 1]] as const) view.setUint8(at + field, value)
}

function readSegment(view: DataView, at: number): ShownSegment {
  const field = (place: number, shift: number) => view.getUint8(at + place) << shift
  return {
    selector: view.getUint16(at + SEG_SELECTOR, true), base: view.getBigUint64(at, true), limit: view.getUint32(at + SEG_LIMIT, true),
    attributes: field(SEG_TYPE, 8) | field(SEG_S, 12) | field(SEG_DPL, 13) | field(SEG_PRESENT, 15) | field(SEG_AVL, 20) | field(SEG_L, 21) | field(SEG_DB, 22) | field(SEG_G, 23),
  }
}
