/** Hardware task switching through TSS descriptors and task gates. Intel SDM volume 3, chapter 8. Not available in long mode. */
import {
  GPR, RIP, RFLAGS, SEG_BASE, SEG_LIMIT, SEG_ATTR, SEG_SELECTOR, ES, CS, SS, DS, FS, GS, LDTR, TR, GDTR_BASE, CR0, CR3, CR4, DR, CPL, LAST_DEBUG,
} from './layout'
import { VEC_DB, VEC_TS, VEC_NP, VEC_SS, VEC_GP, raise } from './fault'
import { flushTlb } from './tlb'
import { loadPdptes } from './paging'
import { probeWrite, systemRead, systemWrite } from './access'
import { FL_NT, FL_VM, setFlagsArith, getRflags } from './flags'
import {
  segment, pending, updateMode, descLow, descHigh, descAddress, readDescriptor, descBase, descLimit, descDpl, descPresent, descIsCode, setSegment,
  markAccessed, setNull, setRealSegment, setCs,
} from './segment'

/** The last system instruction got past the point of no return of a task switch. */
export let taskSwitched: bool = false
export function clearTaskSwitched(): void { taskSwitched = false }

export const TASK_JUMP: u32 = 0, TASK_CALL: u32 = 1, TASK_IRET: u32 = 2

/**
 * @returns true with the new task's state loaded (RIP stored); false with an exception pending, in the old task, or in the new one when
 * `taskSwitched` is set
 */
export function taskSwitch(cpu: usize, selector: u32, kind: u32, ext: u32): bool {
  const fault = kind == TASK_IRET ? VEC_TS : VEC_GP
  const error = (selector & 0xfffc) | ext
  if (selector & 4 || !(selector & 0xfffc)) { raise(cpu, fault, error); return false }
  if (!readDescriptor(cpu, selector, fault)) return false
  const type = (descHigh >> 8) & 0x1f
  const busy = (type & 2) != 0
  if ((type & ~2 & 0x1f) != 1 && (type & ~2 & 0x1f) != 9) { raise(cpu, fault, error); return false }
  if (busy != (kind == TASK_IRET)) { raise(cpu, fault, error); return false }
  if (!descPresent()) { raise(cpu, VEC_NP, error); return false }
  const new32 = (type & 8) != 0
  if (descLimit() < (new32 ? 103 : 43)) { raise(cpu, VEC_TS, error); return false }
  const newBase = descBase(), newAddress = descAddress, newLow = descLow, newHigh = descHigh, newLimit = descLimit()
  const tr = segment(cpu, TR)
  const oldBase = load<u64>(tr, SEG_BASE), oldSelector: u32 = load<u16>(tr, SEG_SELECTOR)
  const old32 = (load<u32>(tr, SEG_ATTR) & 0x800) != 0
  // Read the whole new state and prove that the old one can be saved before anything changes.
  const size: u32 = new32 ? 4 : 2
  if (!probeWrite(cpu, false, oldBase, 4, false) || !probeWrite(cpu, false, oldBase + (old32 ? 92 : 38), 4, false)) return false
  for (let offset: u32 = 0; offset < <u32>(new32 ? 104 : 44); offset += size) { systemRead(cpu, newBase + offset, size); if (pending(cpu)) return false }
  let flags = getRflags(cpu)
  if (kind == TASK_IRET) flags &= ~<u64>FL_NT
  if (kind != TASK_CALL) { // the outgoing task is no longer busy
    const at = load<u64>(cpu, GDTR_BASE) + (oldSelector & 0xfff8) + 4
    systemWrite(cpu, at, 4, <u32>systemRead(cpu, at, 4) & ~0x200)
    if (pending(cpu)) return false
  }
  const width: u32 = old32 ? 4 : 2
  let at = oldBase + (old32 ? 32 : 14)
  systemWrite(cpu, at, width, load<u64>(cpu, RIP)); at += width
  systemWrite(cpu, at, width, flags); at += width
  for (let i: u32 = 0; i < 8; i++) { systemWrite(cpu, at, width, load<u64>(cpu + i * 8, GPR)); at += width }
  for (let i: u32 = 0; i < <u32>(old32 ? 6 : 4); i++) { systemWrite(cpu, at, 2, load<u16>(segment(cpu, i), SEG_SELECTOR)); at += width }
  if (kind == TASK_CALL) systemWrite(cpu, newBase, 2, oldSelector)
  if (kind != TASK_IRET) systemWrite(cpu, newAddress + 4, 4, newHigh | 0x200)
  if (pending(cpu)) return false
  // From here on faults belong to the new task.
  taskSwitched = true
  let from = newBase + (new32 ? 28 : 14)
  if (new32) {
    const cr3 = systemRead(cpu, from, 4)
    from += 4
    if (load<u32>(cpu, CR0) & 0x80000000) {
      store<u64>(cpu, cr3, CR3)
      loadPdptes(cpu, load<u64>(cpu, CR0), cr3, load<u64>(cpu, CR4))
      flushTlb(cpu, (load<u32>(cpu, CR4) & 0x80) != 0)
    }
  }
  store<u64>(cpu, systemRead(cpu, from, size), RIP); from += size
  let newFlags = systemRead(cpu, from, size); from += size
  for (let i: u32 = 0; i < 8; i++) {
    const value = systemRead(cpu, from, size)
    if (new32) store<u64>(cpu + i * 8, value, GPR)
    else store<u16>(cpu + i * 8, <u16>value, GPR)
    from += size
  }
  const selectors = from
  const ldt = <u32>systemRead(cpu, new32 ? newBase + 96 : newBase + 42, 2)
  store<u64>(tr, newBase, SEG_BASE)
  store<u32>(tr, newLimit, SEG_LIMIT)
  store<u32>(tr, (newHigh | 0x200) & 0x00f0ff00, SEG_ATTR)
  store<u16>(tr, <u16>selector, SEG_SELECTOR)
  if (kind == TASK_CALL) newFlags |= FL_NT
  setFlagsArith(cpu, <u32>newFlags)
  store<u64>(cpu, (newFlags & 0x3f7700) | 2, RFLAGS)
  store<u64>(cpu, load<u64>(cpu, CR0) | 8, CR0) // TS
  store<u64>(cpu, load<u64>(cpu, DR + 56) & ~<u64>0x155, DR + 56) // local breakpoints end with the task
  if (new32 && systemRead(cpu, newBase + 100, 2) & 1) store<u64>(cpu, load<u64>(cpu, LAST_DEBUG) | 0x8000, LAST_DEBUG) // T: #DB before the first instruction
  if (newFlags & FL_VM) {
    store<u32>(cpu, 3, CPL)
    for (let i: u32 = 0; i < 6; i++) setRealSegment(cpu, i, <u32>systemRead(cpu, selectors + i * 4, 2))
    updateMode(cpu)
    return !debugTrap(cpu)
  }
  updateMode(cpu) // TS
  // The selectors are there at once; data segments are unusable until their descriptors have been loaded.
  setNull(cpu, ES, <u32>systemRead(cpu, selectors, 2))
  setNull(cpu, DS, <u32>systemRead(cpu, selectors + 3 * size, 2))
  setNull(cpu, FS, new32 ? <u32>systemRead(cpu, selectors + 16, 2) : 0)
  setNull(cpu, GS, new32 ? <u32>systemRead(cpu, selectors + 20, 2) : 0)
  if (!loadTaskLdt(cpu, ldt)) return false
  const cs = <u32>systemRead(cpu, selectors + size, 2), ss = <u32>systemRead(cpu, selectors + 2 * size, 2)
  const rpl = cs & 3
  if (!(cs & 0xfffc)) { raise(cpu, VEC_TS, 0); return false }
  if (!readDescriptor(cpu, cs, VEC_TS)) return false
  if (!descIsCode() || (descHigh & 0x400 ? descDpl() > rpl : descDpl() != rpl)) { raise(cpu, VEC_TS, cs & 0xfffc); return false }
  if (!descPresent()) { raise(cpu, VEC_NP, cs & 0xfffc); return false }
  if (!markAccessed(cpu)) return false
  setCs(cpu, cs, rpl)
  if (!(ss & 0xfffc)) { raise(cpu, VEC_TS, 0); return false }
  if (!readDescriptor(cpu, ss, VEC_TS)) return false
  if ((ss & 3) != rpl || descDpl() != rpl || (descHigh & 0x1a00) != 0x1200) { raise(cpu, VEC_TS, ss & 0xfffc); return false }
  if (!descPresent()) { raise(cpu, VEC_SS, ss & 0xfffc); return false }
  if (!markAccessed(cpu)) return false
  setSegment(cpu, SS, ss)
  for (let i: u32 = 0; i < <u32>(new32 ? 6 : 4); i++) {
    if (i == CS || i == SS) continue
    const data = <u32>systemRead(cpu, selectors + i * size, 2)
    if (!loadTaskData(cpu, i, data, rpl)) return false
  }
  updateMode(cpu)
  if (load<u64>(cpu, RIP) > <u64>load<u32>(segment(cpu, CS), SEG_LIMIT)) { raise(cpu, VEC_GP, 0); return false }
  return !debugTrap(cpu)
}

function debugTrap(cpu: usize): bool {
  if (!(load<u64>(cpu, LAST_DEBUG) & 0x8000)) return false
  raise(cpu, VEC_DB, 0)
  return true
}

function loadTaskLdt(cpu: usize, selector: u32): bool {
  if (!(selector & 0xfffc)) { setNull(cpu, LDTR, selector); return true }
  if (selector & 4 || !readDescriptor(cpu, selector, VEC_TS)) { if (!pending(cpu)) raise(cpu, VEC_TS, selector & 0xfffc); return false }
  if ((descHigh & 0x9f00) != 0x8200) { raise(cpu, VEC_TS, selector & 0xfffc); return false }
  setSegment(cpu, LDTR, selector)
  return true
}

function loadTaskData(cpu: usize, index: u32, selector: u32, cpl: u32): bool {
  if (!(selector & 0xfffc)) { setNull(cpu, index, selector); return true }
  if (!readDescriptor(cpu, selector, VEC_TS)) return false
  const conforming = descIsCode() && (descHigh & 0x400) != 0
  if (!(descHigh & 0x1000) || (descIsCode() && !(descHigh & 0x200)) || (!conforming && (descDpl() < cpl || descDpl() < (selector & 3)))) {
    raise(cpu, VEC_TS, selector & 0xfffc)
    return false
  }
  if (!descPresent()) { raise(cpu, VEC_NP, selector & 0xfffc); return false }
  if (!markAccessed(cpu)) return false
  setSegment(cpu, index, selector)
  return true
}
