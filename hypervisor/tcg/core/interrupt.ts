/** Delivery of exceptions and interrupts, and IRET. Intel SDM volume 3, chapter 6 (protected and long mode) and 20 (real and virtual-8086 mode). */
import {
  GPR, RIP, RFLAGS, SEG_BASE, SEG_LIMIT, SEG_ATTR, SEG_SELECTOR, ES, CS, SS, DS, FS, GS, TR, IDTR_BASE, IDTR_LIMIT, CR0, CR2, LOG_INT, DR, HALTED, EXCEPTION,
  ERROR_CODE, CPL, MODE, TRIPLE_FAULT, NMI_BLOCKED, LAST_DEBUG, SCRATCH, MODE_64, STAT_EXCEPTIONS, STAT_INTERRUPTS,
} from './layout'
import { VEC_DB, VEC_DF, VEC_TS, VEC_NP, VEC_SS, VEC_GP, VEC_PF, raise } from './fault'
import { canonical, segmentAddress } from './address'
import { writeFor, systemRead } from './access'
import { tally } from './counters'
import { FL_TF, FL_IF, FL_DF, FL_IOPL, FL_NT, FL_RF, FL_VM, FL_AC, FL_VIF, FL_VIP, FL_ID, FL_ARITH, setFlagsArith, getFlags, getRflags } from './flags'
import {
  segment, pending, isProtected, isVm86, isLong, updateMode, descLow, descHigh, descAddress, DESC_ACCESSED, readDescriptor, setDescriptor, descLimit,
  descDpl, descPresent, descIsCode, setSegment, touchDescriptor, markAccessed, setNull, setRealSegment, setCs, dropInnerSegments,
} from './segment'
import { failed, clearFailed, stackMask, setStackPointer, push, peek, dropStack } from './operand'
import { TASK_CALL, TASK_IRET, taskSwitch } from './task'
import { log, logs } from './log'
import { addRetired } from './time'

export const KIND_EXCEPTION: u32 = 0, KIND_SOFTWARE: u32 = 1, KIND_EXTERNAL: u32 = 2, KIND_ICEBP: u32 = 3

// ---- stack frames --------------------------------------------------------------------------------------------------------------
let frameVa: u64 = 0 // next slot, linear or stack offset
let frameSize: u32 = 0
let frameMask: u64 = 0
let frameFlat: bool = false

function pushFrame(cpu: usize, value: u64, user: bool): bool {
  frameVa = (frameVa - (1 << frameSize)) & frameMask
  const va = frameFlat ? frameVa : segmentAddress(cpu, SS, frameVa, 1 << frameSize, true)
  if (pending(cpu)) return false
  const from = cpu + SCRATCH + 48
  store<u64>(from, value)
  return writeFor(cpu, true, va, 1 << frameSize, user, from) == 0
}

/** RFLAGS from a value, only the bits of `mask`. */
export function setRflags(cpu: usize, value: u64, mask: u64): void {
  const arithmetic = <u32>mask & FL_ARITH
  if (arithmetic == FL_ARITH) setFlagsArith(cpu, <u32>value)
  else if (arithmetic) setFlagsArith(cpu, (getFlags(cpu) & ~arithmetic) | (<u32>value & arithmetic))
  store<u64>(cpu, (((load<u64>(cpu, RFLAGS) & ~mask) | (value & mask)) & ~<u64>FL_ARITH) | 2, RFLAGS)
}

/**
 * Enters the handler of `vector`.
 * @param returnRip RIP to push, @param error error code, pushed when `hasError`
 * @returns false with another exception pending; nothing but memory has changed then
 */
function enterHandler(cpu: usize, vector: u32, kind: u32, returnRip: u64, hasError: bool, error: u32, resumeFlag: bool): bool {
  const ext: u32 = kind == KIND_SOFTWARE ? 0 : 1
  if (logs(LOG_INT)) {
    log(cpu, LOG_INT, <u64>vector | (<u64>kind << 8) | (<u64>hasError << 10) | (<u64>load<u32>(cpu, CPL) << 12) | (<u64>error << 32), returnRip, load<u64>(cpu, CR2))
  }
  let flags = getRflags(cpu)
  if (resumeFlag) flags |= FL_RF
  const limit = load<u32>(cpu, IDTR_LIMIT)
  const base = load<u64>(cpu, IDTR_BASE)
  if (!(load<u32>(cpu, CR0) & 1)) {
    if (vector * 4 + 3 > limit) { raise(cpu, VEC_GP, 0); return false }
    const entry = <u32>systemRead(cpu, base + vector * 4, 4)
    if (pending(cpu)) return false
    frameVa = load<u64>(cpu, GPR + 32); frameMask = stackMask(cpu); frameSize = 1; frameFlat = false
    if (!pushFrame(cpu, flags, false) || !pushFrame(cpu, load<u16>(segment(cpu, CS), SEG_SELECTOR), false) || !pushFrame(cpu, returnRip, false)) return false
    setStackPointer(cpu, frameVa, frameMask)
    setRealSegment(cpu, CS, entry >> 16)
    store<u64>(cpu, entry & 0xffff, RIP)
    setRflags(cpu, 0, FL_IF | FL_TF | FL_RF | FL_AC)
    return true
  }
  const long = isLong(cpu)
  const width: u32 = long ? 16 : 8
  const idtError = vector * 8 + 2 + ext
  if (vector * width + width - 1 > limit) { raise(cpu, VEC_GP, idtError); return false }
  const gate = systemRead(cpu, base + vector * width, 8)
  if (pending(cpu)) return false
  const gateHigh: u64 = long ? systemRead(cpu, base + vector * width + 8, 8) : 0
  if (pending(cpu)) return false
  const high = <u32>(gate >> 32)
  const type = (high >> 8) & 0x1f
  const cpl = load<u32>(cpu, CPL)
  if (long ? type != 14 && type != 15 : type != 5 && type != 6 && type != 7 && type != 14 && type != 15) { raise(cpu, VEC_GP, idtError); return false }
  if (kind == KIND_SOFTWARE && ((high >> 13) & 3) < cpl) { raise(cpu, VEC_GP, idtError); return false }
  if (!(high & 0x8000)) { raise(cpu, VEC_NP, idtError); return false }
  const selector = (<u32>gate >> 16) & 0xffff
  if (type == 5) {
    store<u64>(cpu, returnRip, RIP)
    if (resumeFlag) store<u64>(cpu, load<u64>(cpu, RFLAGS) | FL_RF, RFLAGS)
    if (!taskSwitch(cpu, selector, TASK_CALL, ext)) return false
    if (hasError && !push(cpu, load<u32>(segment(cpu, TR), SEG_ATTR) & 0x800 ? 2 : 1, error)) return false
    return true
  }
  if (!(selector & 0xfffc)) { raise(cpu, VEC_GP, ext); return false }
  if (!readDescriptor(cpu, selector, VEC_GP)) { if (load<i32>(cpu, EXCEPTION) == VEC_GP) store<u32>(cpu, (selector & 0xfffc) | ext, ERROR_CODE); return false }
  if (!descIsCode() || descDpl() > cpl || (long && (descHigh & 0x600000) != 0x200000)) { raise(cpu, VEC_GP, (selector & 0xfffc) | ext); return false }
  if (!descPresent()) { raise(cpu, VEC_NP, (selector & 0xfffc) | ext); return false }
  const codeLow = descLow, codeHigh = descHigh, codeAddress = descAddress
  const newCpl = descHigh & 0x400 ? cpl : descDpl()
  if (isVm86(cpu) && newCpl != 0) { raise(cpu, VEC_GP, (selector & 0xfffc) | ext); return false }
  const target = long ? (gate & 0xffff) | ((gate >> 32) & 0xffff0000) | (gateHigh << 32) : type < 8 ? gate & 0xffff : (gate & 0xffff) | ((gate >> 32) & 0xffff0000)
  const oldSs: u64 = load<u16>(segment(cpu, SS), SEG_SELECTOR)
  const oldSp = load<u64>(cpu, GPR + 32)
  const oldCs: u64 = load<u16>(segment(cpu, CS), SEG_SELECTOR)
  if (long) {
    const ist = <u32>(gate >> 32) & 7
    let sp = oldSp
    if (ist || newCpl < cpl) {
      const at: u32 = ist ? 28 + ist * 8 : 4 + newCpl * 8
      const tr = segment(cpu, TR)
      if (at + 7 > load<u32>(tr, SEG_LIMIT)) { raise(cpu, VEC_TS, (load<u16>(tr, SEG_SELECTOR) & 0xfffc) | ext); return false }
      sp = systemRead(cpu, load<u64>(tr, SEG_BASE) + at, 8)
      if (pending(cpu)) return false
    }
    if (!canonical(sp)) { raise(cpu, VEC_SS, ext); return false }
    if (!canonical(target)) { raise(cpu, VEC_GP, ext); return false }
    if (!touchDescriptor(cpu, codeAddress, codeHigh)) return false
    const savedMode = load<u32>(cpu, MODE)
    store<u32>(cpu, MODE_64, MODE) // the frame is written with 64-bit addresses
    frameVa = sp & ~15; frameMask = 0xffffffffffffffff; frameSize = 3; frameFlat = true
    const user = newCpl == 3
    const ok = pushFrame(cpu, oldSs, user) && pushFrame(cpu, oldSp, user) && pushFrame(cpu, flags, user) && pushFrame(cpu, oldCs, user) && pushFrame(cpu, returnRip, user) && (!hasError || pushFrame(cpu, error, user))
    if (!ok) { store<u32>(cpu, savedMode, MODE); return false }
    store<u64>(cpu, frameVa, GPR + 32)
    if (newCpl < cpl) { store<u32>(cpu, newCpl, CPL); setNull(cpu, SS, newCpl) }
  } else {
    frameSize = type < 8 ? 1 : 2
    frameFlat = false
    if (newCpl < cpl || isVm86(cpu)) {
      if (!innerStack(cpu, newCpl, ext) || !touchDescriptor(cpu, codeAddress, codeHigh)) return false
      const vm = isVm86(cpu)
      const es: u64 = load<u16>(segment(cpu, ES), SEG_SELECTOR), ds: u64 = load<u16>(segment(cpu, DS), SEG_SELECTOR)
      const fs: u64 = load<u16>(segment(cpu, FS), SEG_SELECTOR), gs: u64 = load<u16>(segment(cpu, GS), SEG_SELECTOR)
      const ss = segment(cpu, SS)
      const savedBase = load<u64>(ss, SEG_BASE), savedLimit = load<u32>(ss, SEG_LIMIT), savedAttributes = load<u32>(ss, SEG_ATTR), savedFlags = load<u64>(cpu, RFLAGS)
      // The new stack is installed first; a fault puts the old one back.
      setSegment(cpu, SS, innerSs)
      store<u64>(cpu, savedFlags & ~<u64>FL_VM, RFLAGS)
      frameVa = innerSp
      frameMask = load<u32>(ss, SEG_ATTR) & 0x400000 ? 0xffffffff : 0xffff
      let ok = true
      if (vm) ok = pushFrame(cpu, gs, false) && pushFrame(cpu, fs, false) && pushFrame(cpu, ds, false) && pushFrame(cpu, es, false)
      ok = ok && pushFrame(cpu, oldSs, false) && pushFrame(cpu, oldSp, false) && pushFrame(cpu, flags, false) && pushFrame(cpu, oldCs, false) && pushFrame(cpu, returnRip, false) && (!hasError || pushFrame(cpu, error, false))
      if (!ok) {
        store<u64>(ss, savedBase, SEG_BASE); store<u32>(ss, savedLimit, SEG_LIMIT); store<u32>(ss, savedAttributes, SEG_ATTR); store<u16>(ss, <u16>oldSs, SEG_SELECTOR)
        store<u64>(cpu, savedFlags, RFLAGS)
        return false
      }
      if (vm) { setNull(cpu, ES, 0); setNull(cpu, DS, 0); setNull(cpu, FS, 0); setNull(cpu, GS, 0) }
      store<u64>(cpu, frameVa, GPR + 32)
    } else {
      if (!touchDescriptor(cpu, codeAddress, codeHigh)) return false
      frameVa = oldSp; frameMask = stackMask(cpu)
      const user = cpl == 3
      if (!(pushFrame(cpu, flags, user) && pushFrame(cpu, oldCs, user) && pushFrame(cpu, returnRip, user) && (!hasError || pushFrame(cpu, error, user)))) return false
      setStackPointer(cpu, frameVa, frameMask)
    }
  }
  setDescriptor(codeLow, codeHigh | DESC_ACCESSED)
  setCs(cpu, selector, newCpl)
  store<u64>(cpu, target, RIP)
  setRflags(cpu, 0, FL_TF | FL_NT | FL_RF | FL_VM | (type & 1 ? 0 : FL_IF))
  updateMode(cpu)
  return true
}

let innerSs: u32 = 0
let innerSp: u64 = 0
/** Stack of an inner level from the TSS; its descriptor is the one read last. @returns false with an exception pending */
export function innerStack(cpu: usize, level: u32, ext: u32): bool {
  const tr = segment(cpu, TR)
  const is32 = (load<u32>(tr, SEG_ATTR) & 0x800) != 0
  const at: u32 = is32 ? 4 + level * 8 : 2 + level * 4
  if (at + (is32 ? 5 : 3) > load<u32>(tr, SEG_LIMIT)) { raise(cpu, VEC_TS, (load<u16>(tr, SEG_SELECTOR) & 0xfffc) | ext); return false }
  const base = load<u64>(tr, SEG_BASE)
  innerSp = systemRead(cpu, base + at, is32 ? 4 : 2)
  if (pending(cpu)) return false
  innerSs = <u32>systemRead(cpu, base + at + (is32 ? 4 : 2), 2)
  if (pending(cpu)) return false
  const error = (innerSs & 0xfffc) | ext
  if (!(innerSs & 0xfffc)) { raise(cpu, VEC_TS, ext); return false }
  if (!readDescriptor(cpu, innerSs, VEC_TS)) { if (load<i32>(cpu, EXCEPTION) == VEC_TS) store<u32>(cpu, error, ERROR_CODE); return false }
  if ((innerSs & 3) != level || descDpl() != level || (descHigh & 0x1a00) != 0x1200) { raise(cpu, VEC_TS, error); return false }
  if (!descPresent()) { raise(cpu, VEC_SS, error); return false }
  return markAccessed(cpu)
}
export function innerSelector(): u32 { return innerSs }
export function innerPointer(): u64 { return innerSp }

function pushesError(vector: i32): bool {
  return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == 17 || vector == 21
}
function contributory(vector: i32): bool { return vector == 0 || (vector >= VEC_TS && vector <= VEC_GP) }

/** Delivers the pending exception; combines faults on the way into #DF and, at last, shutdown. RIP is that of the instruction. */
export function deliverException(cpu: usize): void {
  let vector = load<i32>(cpu, EXCEPTION)
  let error = load<u32>(cpu, ERROR_CODE)
  let resume = true
  if (vector == VEC_DB) {
    // DR6 gets its cause now; data breakpoints and single steps are traps.
    const cause = load<u64>(cpu, LAST_DEBUG)
    store<u64>(cpu, (load<u64>(cpu, DR + 48) & ~15) | 0xffff0ff0 | cause, DR + 48)
    store<u64>(cpu, load<u64>(cpu, DR + 56) & ~<u64>0x2000, DR + 56) // GD
    store<u64>(cpu, 0, LAST_DEBUG)
    resume = (cause & 0x2000) != 0 // only general detect is a fault; a code breakpoint pushes RF as it was (SDM volume 3, 17.3.1.1)
  }
  if (load<u32>(cpu, HALTED) == 1) store<u32>(cpu, 0, HALTED) // a single-step trap after HLT
  addRetired(1) // a handler that faults forever must not hold the slice
  for (let depth = 0; depth < 8; depth++) {
    store<i32>(cpu, -1, EXCEPTION)
    tally(STAT_EXCEPTIONS)
    const hasError = pushesError(vector) && (load<u32>(cpu, CR0) & 1) != 0
    if (enterHandler(cpu, vector, KIND_EXCEPTION, load<u64>(cpu, RIP), hasError, error, resume)) return
    const second = load<i32>(cpu, EXCEPTION)
    if (vector == VEC_DF) break
    if ((contributory(vector) && contributory(second)) || (vector == VEC_PF && (contributory(second) || second == VEC_PF))) {
      vector = VEC_DF
      error = 0
    } else {
      vector = second
      error = load<u32>(cpu, ERROR_CODE)
    }
  }
  store<i32>(cpu, -1, EXCEPTION)
  store<u32>(cpu, 1, TRIPLE_FAULT)
}

/** The instruction that just ran was INT n: its single-step trap is dropped with TF. */
export let tookSoftwareInterrupt: bool = false
export function clearSoftwareInterrupt(): void { tookSoftwareInterrupt = false }

/** INT n, INT3, INTO, ICEBP: RIP already points behind the instruction. @returns false with an exception pending (RIP is put back by the caller) */
export function softwareInterrupt(cpu: usize, vector: u32, kind: u32): bool {
  tookSoftwareInterrupt = true
  return enterHandler(cpu, vector, kind, load<u64>(cpu, RIP), false, 0, false)
}

/** External interrupt or NMI between instructions. */
export function externalInterrupt(cpu: usize, vector: u32): void {
  tally(STAT_INTERRUPTS)
  if (!enterHandler(cpu, vector, KIND_EXTERNAL, load<u64>(cpu, RIP), false, 0, false)) deliverException(cpu)
}

const IRET_FLAGS: u64 = FL_ARITH | FL_TF | FL_IF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID

/** IRET/IRETD/IRETQ. @returns 1 done (RIP set), 0 exception pending */
export function interruptReturn(cpu: usize, size: u32): u32 {
  clearFailed()
  const bytes: u64 = 1 << size
  if (!isProtected(cpu)) {
    if (isVm86(cpu) && (load<u32>(cpu, RFLAGS) & FL_IOPL) != FL_IOPL) { raise(cpu, VEC_GP, 0); return 0 }
    const rip = peek(cpu, size, 0), cs = peek(cpu, size, bytes), flags = peek(cpu, size, bytes * 2)
    if (failed) return 0
    if (rip > 0xffff) { raise(cpu, VEC_GP, 0); return 0 }
    dropStack(cpu, bytes * 3)
    setRealSegment(cpu, CS, <u32>cs & 0xffff)
    store<u64>(cpu, rip, RIP)
    setRflags(cpu, flags, (size == 1 ? IRET_FLAGS & 0xffff : IRET_FLAGS) | (isVm86(cpu) ? 0 : FL_IOPL))
    store<u32>(cpu, 0, NMI_BLOCKED)
    return 1
  }
  const cpl = load<u32>(cpu, CPL)
  if ((load<u32>(cpu, RFLAGS) & FL_NT)) {
    if (isLong(cpu)) { raise(cpu, VEC_GP, 0); return 0 }
    const link = <u32>systemRead(cpu, load<u64>(segment(cpu, TR), SEG_BASE), 2)
    if (pending(cpu)) return 0
    return taskSwitch(cpu, link, TASK_IRET, 0) ? 1 : 0
  }
  const rip = peek(cpu, size, 0), csValue = <u32>peek(cpu, size, bytes) & 0xffff, flags = peek(cpu, size, bytes * 2)
  if (failed) return 0
  const mode64 = load<u32>(cpu, MODE) == MODE_64
  if ((flags & FL_VM) && cpl == 0 && !isLong(cpu) && size == 2) return returnToVm86(cpu, rip, csValue, flags)
  const rpl = csValue & 3
  if (!(csValue & 0xfffc)) { raise(cpu, VEC_GP, 0); return 0 }
  if (!readDescriptor(cpu, csValue, VEC_GP)) return 0
  const error = csValue & 0xfffc
  if (!descIsCode() || rpl < cpl || (descHigh & 0x400 ? descDpl() > rpl : descDpl() != rpl)) { raise(cpu, VEC_GP, error); return 0 }
  if (isLong(cpu) && (descHigh & 0x600000) == 0x600000) { raise(cpu, VEC_GP, error); return 0 }
  if (!descPresent()) { raise(cpu, VEC_NP, error); return 0 }
  const codeLow = descLow, codeHigh = descHigh | DESC_ACCESSED, codeAddress = descAddress, codeBefore = descHigh
  const to64 = isLong(cpu) && (codeHigh & 0x200000) != 0
  if (to64 ? !canonical(rip) : rip > <u64>descLimit()) { raise(cpu, VEC_GP, 0); return 0 }
  let mask: u64 = (size == 1 ? IRET_FLAGS & 0xffff : IRET_FLAGS) & ~<u64>FL_IF
  if (cpl == 0) mask |= FL_IOPL | (size >= 2 && !isLong(cpu) ? FL_VIF | FL_VIP : 0)
  if (cpl <= (load<u32>(cpu, RFLAGS) >> 12 & 3)) mask |= FL_IF
  if (rpl == cpl && !mode64) {
    if (!touchDescriptor(cpu, codeAddress, codeBefore)) return 0
    dropStack(cpu, bytes * 3)
    setDescriptor(codeLow, codeHigh)
  } else {
    const sp = peek(cpu, size, bytes * 3), ssValue = <u32>peek(cpu, size, bytes * 4) & 0xffff
    if (failed) return 0
    let nullSs = false
    if (!(ssValue & 0xfffc)) {
      if (!to64 || rpl == 3 || (ssValue & 3) != rpl) { raise(cpu, VEC_GP, 0); return 0 }
      nullSs = true
    } else {
      if (!readDescriptor(cpu, ssValue, VEC_GP)) return 0
      if ((ssValue & 3) != rpl || (descHigh & 0x1a00) != 0x1200 || descDpl() != rpl) { raise(cpu, VEC_GP, ssValue & 0xfffc); return 0 }
      if (!descPresent()) { raise(cpu, VEC_SS, ssValue & 0xfffc); return 0 }
      if (!markAccessed(cpu)) return 0
    }
    if (!touchDescriptor(cpu, codeAddress, codeBefore)) return 0
    const oldCpl = cpl
    store<u32>(cpu, rpl, CPL)
    if (nullSs) setNull(cpu, SS, ssValue)
    else setSegment(cpu, SS, ssValue)
    const spMask: u64 = to64 ? 0xffffffffffffffff : load<u32>(segment(cpu, SS), SEG_ATTR) & 0x400000 ? 0xffffffff : 0xffff
    if (size == 1 && spMask != 0xffff && !mode64) store<u16>(cpu, <u16>sp, GPR + 32)
    else setStackPointer(cpu, sp, spMask)
    setDescriptor(codeLow, codeHigh)
    setCs(cpu, csValue, rpl)
    if (rpl > oldCpl) dropInnerSegments(cpu)
    setDescriptor(codeLow, codeHigh)
  }
  setCs(cpu, csValue, rpl)
  setRflags(cpu, flags, mask)
  store<u64>(cpu, rip, RIP)
  store<u32>(cpu, 0, NMI_BLOCKED)
  updateMode(cpu)
  return 1
}

function returnToVm86(cpu: usize, rip: u64, cs: u32, flags: u64): u32 {
  const sp = peek(cpu, 2, 12), ss = <u32>peek(cpu, 2, 16), es = <u32>peek(cpu, 2, 20), ds = <u32>peek(cpu, 2, 24), fs = <u32>peek(cpu, 2, 28), gs = <u32>peek(cpu, 2, 32)
  if (failed) return 0
  setRflags(cpu, flags, IRET_FLAGS | FL_IOPL | FL_VM | FL_VIF | FL_VIP)
  store<u32>(cpu, 3, CPL)
  setRealSegment(cpu, CS, cs); setRealSegment(cpu, SS, ss & 0xffff); setRealSegment(cpu, ES, es & 0xffff)
  setRealSegment(cpu, DS, ds & 0xffff); setRealSegment(cpu, FS, fs & 0xffff); setRealSegment(cpu, GS, gs & 0xffff)
  store<u64>(cpu, sp & 0xffffffff, GPR + 32)
  store<u64>(cpu, rip & 0xffff, RIP)
  store<u32>(cpu, 0, NMI_BLOCKED)
  updateMode(cpu)
  return 1
}
