/** Far jumps, calls and returns, call gates, SYSCALL and SYSENTER. Intel SDM volume 3, 5.8. */
import {
  GPR, RIP, SEG_BASE, SEG_LIMIT, SEG_ATTR, SEG_SELECTOR, CS, SS, TR, CR0, EFER, MSR_STAR, MSR_LSTAR, MSR_FMASK, MSR_SYSENTER_CS, MSR_SYSENTER_ESP,
  MSR_SYSENTER_EIP, CPL, MODE, MODE_64, CPU_PARAMETERS,
} from './layout'
import { VEC_UD, VEC_TS, VEC_NP, VEC_SS, VEC_GP, raise } from './fault'
import { canonical } from './address'
import { systemRead } from './access'
import { FL_IF, FL_RF, FL_VM, getRflags, setFlagsArith } from './flags'
import {
  segment, pending, isProtected, isLong, updateMode, descLow, descHigh, descAddress, DESC_ACCESSED, readDescriptor, setDescriptor, descLimit, descDpl,
  descPresent, descIsCode, setSegment, touchDescriptor, markAccessed, setNull, setRealSegment, setCs, dropInnerSegments,
} from './segment'
import { failed, clearFailed, stackMask, setStackPointer, push, peek, dropStack } from './operand'
import { setRflags, innerStack, innerSelector, innerPointer } from './interrupt'
import { TASK_JUMP, TASK_CALL, taskSwitch } from './task'

/**
 * JMP FAR / CALL FAR. @param next RIP behind the instruction, @param size operand size (log2)
 * @returns true done (RIP stored), false exception pending
 */
export function farTransfer(cpu: usize, selector: u32, offset: u64, size: u32, call: bool, next: u64): bool {
  clearFailed()
  if (!isProtected(cpu)) {
    if (offset > 0xffff && size > 1 && !(load<u32>(segment(cpu, CS), SEG_LIMIT) > 0xffff)) { raise(cpu, VEC_GP, 0); return false }
    if (call) {
      const sp = load<u64>(cpu, GPR + 32)
      if (!push(cpu, size, load<u16>(segment(cpu, CS), SEG_SELECTOR))) return false
      if (!push(cpu, size, next)) { store<u64>(cpu, sp, GPR + 32); return false }
    }
    setRealSegment(cpu, CS, selector)
    store<u64>(cpu, size == 1 ? offset & 0xffff : offset & 0xffffffff, RIP)
    updateMode(cpu)
    return true
  }
  const error = selector & 0xfffc
  if (!error) { raise(cpu, VEC_GP, 0); return false }
  if (!readDescriptor(cpu, selector, VEC_GP)) return false
  const cpl = load<u32>(cpu, CPL), rpl = selector & 3
  if (descHigh & 0x1000) {
    if (!descIsCode()) { raise(cpu, VEC_GP, error); return false }
    const dpl = descDpl()
    if (descHigh & 0x400 ? dpl > cpl : rpl > cpl || dpl != cpl) { raise(cpu, VEC_GP, error); return false }
    if (isLong(cpu) && (descHigh & 0x600000) == 0x600000) { raise(cpu, VEC_GP, error); return false }
    if (!descPresent()) { raise(cpu, VEC_NP, error); return false }
    const to64 = isLong(cpu) && (descHigh & 0x200000) != 0
    const target = size == 1 ? offset & 0xffff : size == 2 ? offset & 0xffffffff : offset
    if (to64 ? !canonical(target) : target > <u64>descLimit()) { raise(cpu, VEC_GP, 0); return false }
    if (!markAccessed(cpu)) return false
    const low = descLow, high = descHigh
    if (call) {
      const sp = load<u64>(cpu, GPR + 32)
      if (!push(cpu, size, load<u16>(segment(cpu, CS), SEG_SELECTOR))) return false
      if (!push(cpu, size, next)) { store<u64>(cpu, sp, GPR + 32); return false }
    }
    setDescriptor(low, high)
    setCs(cpu, selector, cpl)
    store<u64>(cpu, target, RIP)
    return true
  }
  const type = (descHigh >> 8) & 15
  if (descDpl() < cpl || descDpl() < rpl) { raise(cpu, VEC_GP, error); return false }
  if (type == 12 || (type == 4 && !isLong(cpu))) return callGate(cpu, selector, type == 12, call, next)
  if (isLong(cpu) || (type != 1 && type != 9 && type != 5)) { raise(cpu, VEC_GP, error); return false }
  if (!descPresent()) { raise(cpu, VEC_NP, error); return false }
  store<u64>(cpu, next, RIP)
  return taskSwitch(cpu, type == 5 ? descLow >> 16 : selector, call ? TASK_CALL : TASK_JUMP, 0)
}

function callGate(cpu: usize, gate: u32, wide: bool, call: bool, next: u64): bool {
  const gateError = gate & 0xfffc
  if (!descPresent()) { raise(cpu, VEC_NP, gateError); return false }
  const long = isLong(cpu)
  const selector = descLow >> 16
  let target: u64 = wide ? <u64>((descLow & 0xffff) | (descHigh & 0xffff0000)) : <u64>(descLow & 0xffff)
  const parameters = descHigh & 31
  if (long) {
    if (!readDescriptor(cpu, gate + 8, VEC_GP)) return false
    if (descHigh & 0x1f00) { raise(cpu, VEC_GP, gateError); return false }
    target |= <u64>descLow << 32
  }
  const error = selector & 0xfffc
  if (!error) { raise(cpu, VEC_GP, 0); return false }
  if (!readDescriptor(cpu, selector, VEC_GP)) return false
  const cpl = load<u32>(cpu, CPL)
  if (!descIsCode() || descDpl() > cpl || (long && (descHigh & 0x600000) != 0x200000)) { raise(cpu, VEC_GP, error); return false }
  if (!call && !(descHigh & 0x400) && descDpl() != cpl) { raise(cpu, VEC_GP, error); return false }
  if (!descPresent()) { raise(cpu, VEC_NP, error); return false }
  if (long && !canonical(target)) { raise(cpu, VEC_GP, 0); return false }
  const low = descLow, high = descHigh | DESC_ACCESSED, codeAddress = descAddress, before = descHigh
  const newCpl = call && !(high & 0x400) ? descDpl() : cpl
  const size: u32 = long ? 3 : wide ? 2 : 1
  const oldSs: u64 = load<u16>(segment(cpu, SS), SEG_SELECTOR), oldSp = load<u64>(cpu, GPR + 32), oldCs: u64 = load<u16>(segment(cpu, CS), SEG_SELECTOR)
  if (newCpl < cpl) {
    const ss = segment(cpu, SS)
    const savedBase = load<u64>(ss, SEG_BASE), savedLimit = load<u32>(ss, SEG_LIMIT), savedAttributes = load<u32>(ss, SEG_ATTR), savedMode = load<u32>(cpu, MODE)
    if (long) {
      const tr = segment(cpu, TR)
      if (<u32>(newCpl * 8 + 11) > load<u32>(tr, SEG_LIMIT)) { raise(cpu, VEC_TS, load<u16>(tr, SEG_SELECTOR) & 0xfffc); return false }
      const sp = systemRead(cpu, load<u64>(tr, SEG_BASE) + 4 + newCpl * 8, 8)
      if (pending(cpu)) return false
      if (!canonical(sp)) { raise(cpu, VEC_SS, 0); return false }
      if (!touchDescriptor(cpu, codeAddress, before)) return false
      store<u32>(cpu, newCpl, CPL); store<u32>(cpu, MODE_64, MODE)
      setNull(cpu, SS, newCpl)
      store<u64>(cpu, sp, GPR + 32)
    } else {
      if (!innerStack(cpu, newCpl, 0)) return false
      const stackLow = descLow, stackHigh = descHigh
      for (let i: u32 = 0; i < parameters; i++) {
        parameterStore(cpu, i, peek(cpu, size, (parameters - 1 - i) << size))
        if (failed) return false
      }
      if (!touchDescriptor(cpu, codeAddress, before)) return false
      setDescriptor(stackLow, stackHigh)
      store<u32>(cpu, newCpl, CPL)
      setSegment(cpu, SS, innerSelector())
      store<u64>(cpu, innerPointer(), GPR + 32)
    }
    let ok = push(cpu, size, oldSs) && push(cpu, size, oldSp)
    if (!long) for (let i: u32 = 0; ok && i < parameters; i++) ok = push(cpu, size, parameterLoad(cpu, i))
    ok = ok && push(cpu, size, oldCs) && push(cpu, size, next)
    if (!ok) {
      store<u64>(ss, savedBase, SEG_BASE); store<u32>(ss, savedLimit, SEG_LIMIT); store<u32>(ss, savedAttributes, SEG_ATTR); store<u16>(ss, <u16>oldSs, SEG_SELECTOR)
      store<u32>(cpu, cpl, CPL); store<u32>(cpu, savedMode, MODE); store<u64>(cpu, oldSp, GPR + 32)
      return false
    }
  } else {
    if (!touchDescriptor(cpu, codeAddress, before)) return false
    if (call && !push(cpu, size, oldCs)) return false
    if (call && !push(cpu, size, next)) { store<u64>(cpu, oldSp, GPR + 32); return false }
  }
  setDescriptor(low, high)
  setCs(cpu, selector, newCpl)
  store<u64>(cpu, target, RIP)
  return true
}

function parameterStore(cpu: usize, i: u32, value: u64): void { store<u64>(cpu + CPU_PARAMETERS + i * 8, value) }
function parameterLoad(cpu: usize, i: u32): u64 { return load<u64>(cpu + CPU_PARAMETERS + i * 8) }

/** RETF [imm16]. @returns true done (RIP stored) */
export function farReturn(cpu: usize, size: u32, extra: u64): bool {
  clearFailed()
  const bytes: u64 = 1 << size
  const rip = peek(cpu, size, 0), selector = <u32>peek(cpu, size, bytes) & 0xffff
  if (failed) return false
  if (!isProtected(cpu)) {
    if (rip > <u64>load<u32>(segment(cpu, CS), SEG_LIMIT)) { raise(cpu, VEC_GP, 0); return false }
    dropStack(cpu, bytes * 2 + extra)
    setRealSegment(cpu, CS, selector)
    store<u64>(cpu, rip, RIP)
    updateMode(cpu)
    return true
  }
  const error = selector & 0xfffc, cpl = load<u32>(cpu, CPL), rpl = selector & 3
  if (!error) { raise(cpu, VEC_GP, 0); return false }
  if (!readDescriptor(cpu, selector, VEC_GP)) return false
  if (!descIsCode() || rpl < cpl || (descHigh & 0x400 ? descDpl() > rpl : descDpl() != rpl) || (isLong(cpu) && (descHigh & 0x600000) == 0x600000)) { raise(cpu, VEC_GP, error); return false }
  if (!descPresent()) { raise(cpu, VEC_NP, error); return false }
  const to64 = isLong(cpu) && (descHigh & 0x200000) != 0
  if (to64 ? !canonical(rip) : rip > <u64>descLimit()) { raise(cpu, VEC_GP, 0); return false }
  const low = descLow, high = descHigh | DESC_ACCESSED, codeAddress = descAddress, before = descHigh
  if (rpl == cpl) {
    if (!touchDescriptor(cpu, codeAddress, before)) return false
    dropStack(cpu, bytes * 2 + extra)
    setDescriptor(low, high)
    setCs(cpu, selector, cpl)
    store<u64>(cpu, rip, RIP)
    return true
  }
  const sp = peek(cpu, size, bytes * 2 + extra), ss = <u32>peek(cpu, size, bytes * 3 + extra) & 0xffff
  if (failed) return false
  let nullSs = false
  if (!(ss & 0xfffc)) {
    if (!to64 || rpl == 3 || (ss & 3) != rpl) { raise(cpu, VEC_GP, 0); return false }
    nullSs = true
  } else {
    if (!readDescriptor(cpu, ss, VEC_GP)) return false
    if ((ss & 3) != rpl || descDpl() != rpl || (descHigh & 0x1a00) != 0x1200) { raise(cpu, VEC_GP, ss & 0xfffc); return false }
    if (!descPresent()) { raise(cpu, VEC_SS, ss & 0xfffc); return false }
    if (!markAccessed(cpu)) return false
  }
  if (!touchDescriptor(cpu, codeAddress, before)) return false
  store<u32>(cpu, rpl, CPL)
  if (nullSs) setNull(cpu, SS, ss)
  else setSegment(cpu, SS, ss)
  setDescriptor(low, high)
  setCs(cpu, selector, rpl)
  setStackPointer(cpu, sp + extra, stackMask(cpu))
  dropInnerSegments(cpu)
  store<u64>(cpu, rip, RIP)
  return true
}

function flatSegment(cpu: usize, index: u32, selector: u32, attributes: u32): void {
  const s = segment(cpu, index)
  store<u64>(s, 0, SEG_BASE)
  store<u32>(s, 0xffffffff, SEG_LIMIT)
  store<u32>(s, attributes, SEG_ATTR)
  store<u16>(s, <u16>selector, SEG_SELECTOR)
}
const CODE64: u32 = 0xa09b00, CODE32: u32 = 0xc09b00, DATA: u32 = 0xc09300

export function syscall(cpu: usize, next: u64): bool {
  if (!(load<u32>(cpu, EFER) & 1) || !isProtected(cpu) || !isLong(cpu) || load<u32>(cpu, MODE) != MODE_64) { raise(cpu, VEC_UD, 0); return false }
  const selector = <u32>(load<u64>(cpu, MSR_STAR) >> 32) & 0xfffc
  const flags = getRflags(cpu)
  setFlagsArith(cpu, <u32>flags) // they are known now
  store<u64>(cpu, next, GPR + 8)
  store<u64>(cpu, flags & ~<u64>FL_RF, GPR + 11 * 8)
  store<u32>(cpu, 0, CPL)
  flatSegment(cpu, CS, selector, CODE64)
  flatSegment(cpu, SS, selector + 8, DATA)
  setRflags(cpu, 0, load<u64>(cpu, MSR_FMASK) | FL_RF)
  store<u64>(cpu, load<u64>(cpu, MSR_LSTAR), RIP)
  updateMode(cpu)
  return true
}

export function sysret(cpu: usize, size: u32): bool {
  if (!(load<u32>(cpu, EFER) & 1) || load<u32>(cpu, MODE) != MODE_64) { raise(cpu, VEC_UD, 0); return false }
  if (load<u32>(cpu, CPL)) { raise(cpu, VEC_GP, 0); return false }
  const selector = <u32>(load<u64>(cpu, MSR_STAR) >> 48)
  const target = load<u64>(cpu, GPR + 8)
  if (size == 3 && !canonical(target)) { raise(cpu, VEC_GP, 0); return false }
  store<u32>(cpu, 3, CPL)
  if (size == 3) flatSegment(cpu, CS, ((selector + 16) & 0xfffc) | 3, CODE64 | 0x6000)
  else flatSegment(cpu, CS, (selector & 0xfffc) | 3, CODE32 | 0x6000)
  flatSegment(cpu, SS, ((selector + 8) & 0xfffc) | 3, DATA | 0x6000)
  setRflags(cpu, load<u64>(cpu, GPR + 11 * 8), 0x3c7fd7)
  store<u64>(cpu, size == 3 ? target : target & 0xffffffff, RIP)
  updateMode(cpu)
  return true
}

export function sysenter(cpu: usize): bool {
  const cs = load<u32>(cpu, MSR_SYSENTER_CS) & 0xfffc
  if (!(load<u32>(cpu, CR0) & 1) || !cs) { raise(cpu, VEC_GP, 0); return false }
  const long = isLong(cpu)
  setRflags(cpu, 0, FL_VM | FL_IF)
  store<u32>(cpu, 0, CPL)
  flatSegment(cpu, CS, cs, long ? CODE64 : CODE32)
  flatSegment(cpu, SS, cs + 8, DATA)
  store<u64>(cpu, long ? load<u64>(cpu, MSR_SYSENTER_ESP) : <u64>load<u32>(cpu, MSR_SYSENTER_ESP), GPR + 32)
  store<u64>(cpu, long ? load<u64>(cpu, MSR_SYSENTER_EIP) : <u64>load<u32>(cpu, MSR_SYSENTER_EIP), RIP)
  updateMode(cpu)
  return true
}

export function sysexit(cpu: usize, size: u32): bool {
  const cs = load<u32>(cpu, MSR_SYSENTER_CS) & 0xfffc
  if (!isProtected(cpu) || !cs || load<u32>(cpu, CPL)) { raise(cpu, VEC_GP, 0); return false }
  const to64 = size == 3
  if (to64 && (!canonical(load<u64>(cpu, GPR + 8)) || !canonical(load<u64>(cpu, GPR + 16)))) { raise(cpu, VEC_GP, 0); return false }
  store<u32>(cpu, 3, CPL)
  flatSegment(cpu, CS, (cs + (to64 ? 32 : 16)) | 3, (to64 ? CODE64 : CODE32) | 0x6000)
  flatSegment(cpu, SS, (cs + (to64 ? 40 : 24)) | 3, DATA | 0x6000)
  const mask: u64 = to64 ? 0xffffffffffffffff : 0xffffffff
  const sp = load<u64>(cpu, GPR + 8) & mask
  store<u64>(cpu, load<u64>(cpu, GPR + 16) & mask, RIP)
  store<u64>(cpu, sp, GPR + 32)
  updateMode(cpu)
  return true
}
