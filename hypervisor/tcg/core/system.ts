/** System instructions: control and debug registers, descriptor tables, I/O, far transfers, interrupts, halt. Intel SDM volumes 2 and 3. */
import {
  GPR, RIP, RIP_SET, RFLAGS, SEG_BASE, SEG_LIMIT, SEG_ATTR, SEG_SELECTOR, CS, SS, GS, LDTR, TR, FS, ES, GDTR_BASE, GDTR_LIMIT, IDTR_BASE, IDTR_LIMIT,
  CR0, CR2, CR3, CR4, EFER, DR, CPL, MODE, MODE_64, EXCEPTION, MSR_KERNEL_GS_BASE, HALTED, INHIBIT, LAST_DEBUG, UOP_AUX, UOP_D, UOP_S, UOP_IMM,
  UOP_X, UOP_SEG, UOP_OFFSET, RIP_BASE, G_STATS, STAT_PIO, STAT_HALTS,
} from './layout'
import {
  F_SYSCALL, F_SYSRET, F_SYSENTER, F_SYSEXIT, F_CLTS, F_INVD, F_WRMSR, F_RDMSR, F_RDPMC, F_SLDT, F_STR, F_LLDT, F_LTR, F_VERR, F_VERW, F_SGDT, F_SIDT, F_LGDT, F_LIDT, F_SMSW, F_LMSW, F_INVLPG,
  F_SWAPGS, F_VMCALL, F_LAR, F_LSL, F_MOV_FROM_CR, F_MOV_TO_CR, F_MOV_FROM_DR, F_MOV_TO_DR, F_LSEG2, F_LSEG4, F_LSEG5, F_CALLF, F_JMPF, F_CALLF_IND, F_JMPF_IND, F_RETF, F_INT3, F_INT, F_INTO, F_IRET,
  F_IN, F_OUT, F_INS, F_OUTS, F_ICEBP, F_HLT, F_CLI, F_STI,
} from './decode-table.gen'
import { AUX_DST_MEM, AUX_SRC_IMM, AUX_REP, AUX_REPNE } from './decode'
import {
  raise, systemRead, systemWrite, probeWrite, flushTlb, flushPage, loadPdptes, checkPortBreakpoint, VEC_GP, VEC_UD, VEC_NP, VEC_DB,
} from './mmu'
import { getFlags, setFlagsArith, flagO, FL_ARITH, FL_TF, FL_IF, FL_DF, FL_NT, FL_RF, FL_AC, FL_ID, FL_IOPL, FL_ZF } from './flags'
import {
  segment, pending, isProtected, isVm86, isLong, updateMode, readDescriptor, descLow, descHigh, descLimit, descAddress, descDpl, descPresent,
  descIsCode, setDescriptor, setSegment, setNull,
} from './segment'
import { failed, clearFailed, loadN, writeRegister, loadLinear, storeLinear, address, source, stringLinear } from './operand'
import { loadFarPointer, nextRip } from './generic'
import { softwareInterrupt, interruptReturn, setRflags, KIND_SOFTWARE, KIND_ICEBP } from './interrupt'
import { farTransfer, farReturn, syscall, sysret, sysenter, sysexit } from './far'
import { rdmsr, wrmsr } from './msr'
import { taskSwitched, clearTaskSwitched } from './task'
import { portRead, portWrite } from './port'
import { singleIteration } from './string'
import { addRetired, cutBudget } from './time'
import { getTpr, setTpr } from './lapic'
export { cpuid, rdtsc } from './msr'
export { loadSegment } from './segment'

/** POPF rules: which bits the privilege lets change. @returns false with #GP pending (virtual-8086 mode) */
export function moveToRflags(cpu: usize, value: u64, size: u32): bool {
  const iopl = (load<u32>(cpu, RFLAGS) >> 12) & 3, cpl = load<u32>(cpu, CPL)
  if (isVm86(cpu) && iopl != 3) { raise(cpu, VEC_GP, 0); return false }
  let mask: u64 = FL_ARITH | FL_TF | FL_DF | FL_NT
  if (size >= 2) mask |= FL_AC | FL_ID | FL_RF
  if (!(load<u32>(cpu, CR0) & 1) || cpl == 0) mask |= FL_IOPL
  if (!(load<u32>(cpu, CR0) & 1) || cpl <= iopl) mask |= FL_IF
  setRflags(cpu, value & ~<u64>FL_RF, mask)
  return true
}

function setRip(cpu: usize, rip: u64): u32 {
  store<u64>(cpu, rip, RIP)
  store<u32>(cpu, 1, RIP_SET)
  return 1
}
function fault(cpu: usize, vector: i32, error: u32): u32 { raise(cpu, vector, error); return 1 }
/** CPL 0 (real mode counts). */
function privileged(cpu: usize): bool {
  if (load<u32>(cpu, CPL) == 0) return true
  raise(cpu, VEC_GP, 0)
  return false
}

export function writeCr0(cpu: usize, value: u64): bool {
  const old = load<u64>(cpu, CR0)
  const next = (value & 0xe005003f) | 0x10 // ET is fixed
  if (value >> 32 || ((next & 0x80000000) && !(next & 1)) || ((next & 0x20000000) && !(next & 0x40000000))) { raise(cpu, VEC_GP, 0); return false }
  const efer = load<u64>(cpu, EFER)
  if ((next & ~old) & 0x80000000 && !(efer & 0x100) && !loadPdptes(cpu, next, load<u64>(cpu, CR3), load<u64>(cpu, CR4))) { raise(cpu, VEC_GP, 0); return false }
  if ((next & ~old) & 0x80000000 && efer & 0x100) {
    if (!(load<u32>(cpu, CR4) & 0x20) || (load<u32>(segment(cpu, CS), SEG_ATTR) & 0x200000)) { raise(cpu, VEC_GP, 0); return false }
    store<u64>(cpu, efer | 0x400, EFER)
  } else if ((old & ~next) & 0x80000000 && efer & 0x400) {
    if (load<u32>(cpu, MODE) == MODE_64) { raise(cpu, VEC_GP, 0); return false }
    store<u64>(cpu, efer & ~0x400, EFER)
  }
  store<u64>(cpu, next, CR0)
  if ((old ^ next) & 0x80010001) flushTlb(cpu, false)
  updateMode(cpu)
  return true
}

const CR4_ALLOWED: u64 = 0x1107fc // TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT FSGSBASE SMEP
export function writeCr4(cpu: usize, value: u64): bool {
  if (value & ~CR4_ALLOWED || (isLong(cpu) && !(value & 0x20))) { raise(cpu, VEC_GP, 0); return false }
  const old = load<u64>(cpu, CR4)
  if ((old ^ value) & 0x1000b0 && !loadPdptes(cpu, load<u64>(cpu, CR0), load<u64>(cpu, CR3), value)) { raise(cpu, VEC_GP, 0); return false }
  store<u64>(cpu, value, CR4)
  if ((old ^ value) & 0x1000b0) flushTlb(cpu, false)
  updateMode(cpu)
  return true
}

export function writeCr3(cpu: usize, value: u64): bool {
  if (isLong(cpu) ? value & 0xffffc00000000000 : value >> 32) { raise(cpu, VEC_GP, 0); return false }
  if (!loadPdptes(cpu, load<u64>(cpu, CR0), value, load<u64>(cpu, CR4))) { raise(cpu, VEC_GP, 0); return false }
  store<u64>(cpu, value, CR3)
  flushTlb(cpu, (load<u32>(cpu, CR4) & 0x80) != 0)
  return true
}

/** May the current code use port..port+bytes-1? @returns false with an exception pending */
function portAllowed(cpu: usize, port: u32, bytes: u32): bool {
  if (!(load<u32>(cpu, CR0) & 1)) return true
  if (!isVm86(cpu) && load<u32>(cpu, CPL) <= ((load<u32>(cpu, RFLAGS) >> 12) & 3)) return true
  const tr = segment(cpu, TR)
  const limit = load<u32>(tr, SEG_LIMIT), base = load<u64>(tr, SEG_BASE)
  if ((load<u32>(tr, SEG_ATTR) & 0x900) == 0x900 && limit >= 103) {
    const map = <u32>systemRead(cpu, base + 102, 2)
    if (pending(cpu)) return false
    const at = map + (port >> 3)
    if (at + 1 <= limit) {
      const bits = <u32>systemRead(cpu, base + at, 2)
      if (pending(cpu)) return false
      if (!((bits >> (port & 7)) & ((1 << bytes) - 1))) return true
    }
  }
  raise(cpu, VEC_GP, 0)
  return false
}

/** @returns 1 always: system instructions end their block. RIP is stored unless an exception is pending or execution just goes on. */
export function execSystem(cpu: usize, u: usize): u32 {
  clearTaskSwitched()
  execute(cpu, u)
  // A fault on the way into a new task belongs to that task: the caller takes RIP from RIP_BASE.
  if (taskSwitched && pending(cpu)) store<u64>(cpu, load<u64>(cpu, RIP) - load<u16>(u, UOP_OFFSET), RIP_BASE)
  return 1
}

function execute(cpu: usize, u: usize): u32 {
  const x = load<u32>(u, UOP_X)
  const family = x & 0xffff
  const aux: u32 = load<u8>(u, UOP_AUX)
  const size = aux & 3
  const next = nextRip(cpu, u)
  clearFailed()
  switch (family) {
    case F_SYSCALL: if (syscall(cpu, next)) store<u32>(cpu, 1, RIP_SET); return 1
    case F_SYSRET: if (sysret(cpu, size)) store<u32>(cpu, 1, RIP_SET); return 1
    case F_SYSENTER: if (sysenter(cpu)) store<u32>(cpu, 1, RIP_SET); return 1
    case F_SYSEXIT: if (sysexit(cpu, size)) store<u32>(cpu, 1, RIP_SET); return 1
    case F_CLTS: if (privileged(cpu)) { store<u64>(cpu, load<u64>(cpu, CR0) & ~<u64>8, CR0); updateMode(cpu) } return 1
    case F_INVD: privileged(cpu); return 1
    case F_WRMSR: if (privileged(cpu)) { wrmsr(cpu); cutBudget() } return 1
    case F_RDMSR: if (privileged(cpu)) rdmsr(cpu); return 1
    case F_RDPMC: raise(cpu, VEC_GP, 0); return 1 // CPUID offers no counters
    case F_SLDT: case F_STR: {
      if (!isProtected(cpu)) return fault(cpu, VEC_UD, 0)
      return storeSelector(cpu, u, size, load<u16>(segment(cpu, family == F_SLDT ? LDTR : TR), SEG_SELECTOR))
    }
    case F_SMSW: {
      const value = load<u64>(cpu, CR0)
      if (aux & AUX_DST_MEM) storeLinear(cpu, u, address(cpu, u, 2 | 0x10000), 1, value)
      else writeRegister(cpu, load<u16>(u, UOP_D), size, value)
      return 1
    }
    case F_LMSW: {
      if (!privileged(cpu)) return 1
      const value = readWord(cpu, u)
      if (failed) return 1
      writeCr0(cpu, (load<u64>(cpu, CR0) & ~<u64>14) | (value & 15))
      return 1
    }
    case F_LLDT: case F_LTR: {
      if (!isProtected(cpu)) return fault(cpu, VEC_UD, 0)
      if (!privileged(cpu)) return 1
      const selector = <u32>readWord(cpu, u)
      if (failed) return 1
      if (family == F_LLDT) loadLdt(cpu, selector)
      else loadTask(cpu, selector)
      return 1
    }
    case F_VERR: case F_VERW: case F_LAR: case F_LSL: {
      if (!isProtected(cpu)) return fault(cpu, VEC_UD, 0)
      const selector = family == F_VERR || family == F_VERW ? <u32>readWord(cpu, u) : <u32>source(cpu, u, 1)
      if (failed) return 1
      return inspect(cpu, u, family, selector & 0xffff, size)
    }
    case F_SGDT: case F_SIDT: {
      const wide = load<u32>(cpu, MODE) == MODE_64
      const va = address(cpu, u, (wide ? 10 : 6) | 0x10000)
      const limit: u64 = load<u32>(cpu + (family == F_SGDT ? GDTR_LIMIT : IDTR_LIMIT))
      if (!storeLinear(cpu, u, va, 1, limit)) return 1
      storeLinear(cpu, u, va + 2, wide ? 3 : 2, load<u64>(cpu + (family == F_SGDT ? GDTR_BASE : IDTR_BASE)))
      return 1
    }
    case F_LGDT: case F_LIDT: {
      if (!privileged(cpu)) return 1
      const wide = load<u32>(cpu, MODE) == MODE_64
      const va = address(cpu, u, wide ? 10 : 6)
      const limit = loadLinear(cpu, u, va, 1)
      if (failed) return 1
      let base = loadLinear(cpu, u, va + 2, wide ? 3 : 2)
      if (failed) return 1
      if (!wide && size == 1) base &= 0xffffff
      if (wide && <u64>((<i64>base << 16) >> 16) != base) return fault(cpu, VEC_GP, 0)
      store<u64>(cpu + (family == F_LGDT ? GDTR_BASE : IDTR_BASE), base)
      store<u32>(cpu + (family == F_LGDT ? GDTR_LIMIT : IDTR_LIMIT), <u32>limit)
      return 1
    }
    case F_INVLPG: if (privileged(cpu)) flushPage(cpu, address(cpu, u, 0x10000)); if (load<i32>(cpu, EXCEPTION) >= 0 && load<u32>(cpu, CPL) == 0) store<i32>(cpu, -1, EXCEPTION); return 1
    case F_SWAPGS: {
      if (!privileged(cpu)) return 1
      const gs = segment(cpu, GS)
      const base = load<u64>(gs, SEG_BASE)
      store<u64>(gs, load<u64>(cpu, MSR_KERNEL_GS_BASE), SEG_BASE)
      store<u64>(cpu, base, MSR_KERNEL_GS_BASE)
      return 1
    }
    case F_VMCALL: store<i64>(cpu, -1000, GPR); return 1 // KVM_ENOSYS: no hypercall is offered
    case F_MOV_FROM_CR: return readControl(cpu, u)
    case F_MOV_TO_CR: return writeControl(cpu, u)
    case F_MOV_FROM_DR: case F_MOV_TO_DR: return debugRegister(cpu, u, family == F_MOV_TO_DR)
    case F_LSEG2: loadFarPointer(cpu, u, size, SS); return 1
    case F_LSEG4: loadFarPointer(cpu, u, size, FS); return 1
    case F_LSEG5: loadFarPointer(cpu, u, size, GS); return 1
    case F_CALLF: case F_JMPF: {
      const pointer = load<u64>(u, UOP_IMM)
      if (farTransfer(cpu, <u32>(pointer >> 32) & 0xffff, pointer & 0xffffffff, size, family == F_CALLF, next)) store<u32>(cpu, 1, RIP_SET)
      return 1
    }
    case F_CALLF_IND: case F_JMPF_IND: {
      const va = address(cpu, u, (1 << size) + 2)
      const offset = loadLinear(cpu, u, va, size)
      if (failed) return 1
      const selector = <u32>loadLinear(cpu, u, va + (1 << size), 1)
      if (failed) return 1
      if (farTransfer(cpu, selector, offset, size, family == F_CALLF_IND, next)) store<u32>(cpu, 1, RIP_SET)
      return 1
    }
    case F_RETF: if (farReturn(cpu, size, aux & AUX_SRC_IMM ? load<u64>(u, UOP_IMM) & 0xffff : 0)) store<u32>(cpu, 1, RIP_SET); return 1
    case F_INT3: return interrupt(cpu, u, 3, next, KIND_SOFTWARE)
    case F_INTO: return flagO(cpu) ? interrupt(cpu, u, 4, next, KIND_SOFTWARE) : 1
    case F_INT: {
      if (isVm86(cpu) && (load<u32>(cpu, RFLAGS) & FL_IOPL) != FL_IOPL) return fault(cpu, VEC_GP, 0)
      return interrupt(cpu, u, <u32>load<u64>(u, UOP_IMM) & 0xff, next, KIND_SOFTWARE)
    }
    case F_ICEBP: return interrupt(cpu, u, 1, next, KIND_ICEBP)
    case F_IRET: store<u64>(cpu, next, RIP); if (interruptReturn(cpu, size)) store<u32>(cpu, 1, RIP_SET); return 1 // a task return saves RIP
    case F_IN: {
      const port = aux & AUX_SRC_IMM ? load<u32>(u, UOP_IMM) & 0xff : <u32>load<u16>(cpu, GPR + 16)
      const width = min<u32>(size, 2)
      if (!portAllowed(cpu, port, 1 << width)) return 1
      count(STAT_PIO)
      checkPortBreakpoint(cpu, port, 1 << width)
      writeRegister(cpu, GPR, width, portRead(port, 1 << width))
      return 1
    }
    case F_OUT: {
      const port = aux & AUX_SRC_IMM ? load<u32>(u, UOP_IMM) & 0xff : <u32>load<u16>(cpu, GPR + 16)
      const width = min<u32>(size, 2)
      if (!portAllowed(cpu, port, 1 << width)) return 1
      count(STAT_PIO)
      checkPortBreakpoint(cpu, port, 1 << width)
      portWrite(port, 1 << width, <u32>loadN(cpu + GPR, width))
      cutBudget()
      return 1
    }
    case F_INS: case F_OUTS: return stringPort(cpu, u, family == F_INS, min<u32>(size, 2), aux)
    case F_HLT:
      if (!privileged(cpu)) return 1
      count(STAT_HALTS)
      store<u32>(cpu, 1, HALTED)
      cutBudget()
      return 1
    case F_CLI: case F_STI: {
      const iopl = (load<u32>(cpu, RFLAGS) >> 12) & 3
      if ((load<u32>(cpu, CR0) & 1) && load<u32>(cpu, CPL) > iopl) return fault(cpu, VEC_GP, 0)
      if (family == F_CLI) store<u64>(cpu, load<u64>(cpu, RFLAGS) & ~<u64>FL_IF, RFLAGS)
      else {
        if (!(load<u32>(cpu, RFLAGS) & FL_IF)) store<u32>(cpu, 1, INHIBIT)
        store<u64>(cpu, load<u64>(cpu, RFLAGS) | FL_IF, RFLAGS)
      }
      return 1
    }
    default: return fault(cpu, VEC_UD, 0)
  }
}

function count(index: usize): void { store<u64>(G_STATS + index * 8, load<u64>(G_STATS + index * 8) + 1) }

function readWord(cpu: usize, u: usize): u64 {
  if (load<u8>(u, UOP_AUX) & AUX_DST_MEM) return loadLinear(cpu, u, address(cpu, u, 2), 1)
  return load<u16>(cpu + load<u16>(u, UOP_D))
}
function storeSelector(cpu: usize, u: usize, size: u32, selector: u64): u32 {
  if (load<u8>(u, UOP_AUX) & AUX_DST_MEM) storeLinear(cpu, u, address(cpu, u, 2 | 0x10000), 1, selector)
  else writeRegister(cpu, load<u16>(u, UOP_D), size, selector)
  return 1
}

/** INT n and friends: RIP of the return address is behind the instruction; a fault puts it back. */
function interrupt(cpu: usize, u: usize, vector: u32, next: u64, kind: u32): u32 {
  store<u64>(cpu, next, RIP)
  if (softwareInterrupt(cpu, vector, kind)) store<u32>(cpu, 1, RIP_SET)
  return 1
}

function readSystemDescriptor(cpu: usize, selector: u32): bool {
  if (selector & 4) { raise(cpu, VEC_GP, selector & 0xfffc); return false }
  return readDescriptor(cpu, selector, VEC_GP)
}

function loadLdt(cpu: usize, selector: u32): void {
  if (!(selector & 0xfffc)) { setNull(cpu, LDTR, selector); return }
  if (!readSystemDescriptor(cpu, selector)) return
  if ((descHigh & 0x1f00) != 0x200) { raise(cpu, VEC_GP, selector & 0xfffc); return }
  if (!descPresent()) { raise(cpu, VEC_NP, selector & 0xfffc); return }
  installSystem(cpu, LDTR, selector)
}
/** LDTR/TR: 16-byte descriptors in long mode. */
function installSystem(cpu: usize, index: u32, selector: u32): void {
  const low = descLow, high = descHigh
  let upper: u64 = 0
  if (isLong(cpu)) {
    upper = systemRead(cpu, descAddress + 8, 8)
    if (pending(cpu)) return
    const base = <u64>upper << 32
    if (<u64>((<i64>base << 16) >> 16) != base || (upper >> 40) & 0x1f) { raise(cpu, VEC_GP, selector & 0xfffc); return }
  }
  setDescriptor(low, high)
  setSegment(cpu, index, selector)
  const s = segment(cpu, index)
  store<u64>(s, load<u64>(s, SEG_BASE) | (upper << 32), SEG_BASE)
}
function loadTask(cpu: usize, selector: u32): void {
  if (!(selector & 0xfffc)) { raise(cpu, VEC_GP, 0); return }
  if (!readSystemDescriptor(cpu, selector)) return
  const type = (descHigh >> 8) & 0x1f
  if (type != 9 && (type != 1 || isLong(cpu))) { raise(cpu, VEC_GP, selector & 0xfffc); return }
  if (!descPresent()) { raise(cpu, VEC_NP, selector & 0xfffc); return }
  const at = descAddress, high = descHigh | 0x200
  setDescriptor(descLow, high)
  installSystem(cpu, TR, selector)
  if (!pending(cpu)) systemWrite(cpu, at + 4, 4, high)
}

/** VERR VERW LAR LSL: never fault on the selector, only ZF tells. */
function inspect(cpu: usize, u: usize, family: u32, selector: u32, size: u32): u32 {
  const flags = getFlags(cpu) & ~FL_ZF
  let ok = (selector & 0xfffc) != 0
  if (ok) {
    ok = readDescriptor(cpu, selector, VEC_GP)
    if (!ok) {
      if (load<i32>(cpu, EXCEPTION) != VEC_GP) return 1 // the table itself faulted
      store<i32>(cpu, -1, EXCEPTION)
    }
  }
  if (ok) {
    const cpl = load<u32>(cpu, CPL), rpl = selector & 3, dpl = descDpl()
    const conforming = descIsCode() && (descHigh & 0x400) != 0
    if (!conforming && (dpl < cpl || dpl < rpl)) ok = false
    if (!(descHigh & 0x1000)) {
      const type = (descHigh >> 8) & 15
      if (family == F_VERR || family == F_VERW) ok = false
      else if (isLong(cpu)) ok = ok && (type == 2 || type == 9 || type == 11 || (type == 12 && family == F_LAR))
      else ok = ok && (type == 1 || type == 2 || type == 3 || type == 9 || type == 11 || (family == F_LAR && (type == 4 || type == 5 || type == 12)))
    } else if (family == F_VERR) ok = ok && (!descIsCode() || (descHigh & 0x200) != 0)
    else if (family == F_VERW) ok = ok && !descIsCode() && (descHigh & 0x200) != 0
  }
  if (ok && family == F_LAR) writeRegister(cpu, load<u16>(u, UOP_D), size, size == 1 ? descHigh & 0xff00 : descHigh & 0x00ffff00)
  if (ok && family == F_LSL) writeRegister(cpu, load<u16>(u, UOP_D), size, descLimit())
  setFlagsArith(cpu, flags | (ok ? FL_ZF : 0))
  return 1
}

function readControl(cpu: usize, u: usize): u32 {
  if (!privileged(cpu)) return 1
  let value: u64
  switch (<u32>load<u16>(u, UOP_S)) {
    case 0: value = load<u64>(cpu, CR0); break
    case 2: value = load<u64>(cpu, CR2); break
    case 3: value = load<u64>(cpu, CR3); break
    case 4: value = load<u64>(cpu, CR4); break
    case 8: value = getTpr(cpu); break
    default: return fault(cpu, VEC_UD, 0)
  }
  writeRegister(cpu, load<u16>(u, UOP_D), load<u32>(cpu, MODE) == MODE_64 ? 3 : 2, value)
  return 1
}
function writeControl(cpu: usize, u: usize): u32 {
  if (!privileged(cpu)) return 1
  const value = load<u32>(cpu, MODE) == MODE_64 ? load<u64>(cpu + load<u16>(u, UOP_S)) : <u64>load<u32>(cpu + load<u16>(u, UOP_S))
  switch (<u32>load<u16>(u, UOP_D)) {
    case 0: writeCr0(cpu, value); return 1
    case 2: store<u64>(cpu, value, CR2); return 1
    case 3: writeCr3(cpu, value); return 1
    case 4: writeCr4(cpu, value); return 1
    case 8:
      if (value & ~15) return fault(cpu, VEC_GP, 0)
      setTpr(cpu, <u32>value)
      cutBudget()
      return 1
    default: return fault(cpu, VEC_UD, 0)
  }
}

function debugRegister(cpu: usize, u: usize, write: bool): u32 {
  let index: u32 = load<u16>(u + (write ? UOP_D : UOP_S))
  if (index > 7) return fault(cpu, VEC_UD, 0)
  if (index == 4 || index == 5) {
    if (load<u32>(cpu, CR4) & 8) return fault(cpu, VEC_UD, 0)
    index += 2
  }
  if (!privileged(cpu)) return 1
  if (load<u32>(cpu, DR + 56) & 0x2000) { // general detect
    store<u64>(cpu, load<u64>(cpu, LAST_DEBUG) | 0x2000, LAST_DEBUG)
    return fault(cpu, VEC_DB, 0)
  }
  const register: usize = cpu + DR + index * 8
  const wide = load<u32>(cpu, MODE) == MODE_64
  if (!write) { writeRegister(cpu, load<u16>(u, UOP_D), wide ? 3 : 2, load<u64>(register)); return 1 }
  let value = wide ? load<u64>(cpu + load<u16>(u, UOP_S)) : <u64>load<u32>(cpu + load<u16>(u, UOP_S))
  if (index >= 6 && value >> 32) return fault(cpu, VEC_GP, 0)
  if (index == 6) value = (value & 0xe00f) | 0xffff0ff0
  else if (index == 7) value = (value & 0xffff23ff) | 0x400
  store<u64>(register, value)
  return 1
}

/** INS/OUTS, repeated or not; a long repeat comes back to itself so that interrupts are seen. */
function stringPort(cpu: usize, u: usize, input: bool, size: u32, aux: u32): u32 {
  const w = (load<u32>(u, UOP_X) >> 16) & 3
  const repeated = (aux & (AUX_REP | AUX_REPNE)) != 0
  const port: u32 = load<u16>(cpu, GPR + 16)
  if (!portAllowed(cpu, port, 1 << size)) return 1
  const delta: u64 = load<u32>(cpu, RFLAGS) & FL_DF ? 0 - (<u64>1 << size) : <u64>1 << size
  const register: u32 = input ? GPR + 56 : GPR + 48
  const slice = singleIteration ? 1 : 256
  for (let i = 0; i < slice; i++) {
    let left: u64 = repeated ? widthMask(load<u64>(cpu, GPR + 8), w) : 1
    if (!left) return 1
    const offset = widthMask(load<u64>(cpu + register), w)
    const va = stringLinear(cpu, input ? ES : <u32>load<u8>(u, UOP_SEG), offset, size, input)
    if (pending(cpu)) return 1
    count(STAT_PIO)
    checkPortBreakpoint(cpu, port, 1 << size)
    if (input) {
      // The destination must be writable before the device gives up its data.
      if (!probeWrite(cpu, false, va, 1 << size, load<u32>(cpu, CPL) == 3)) return 1
      storeLinear(cpu, u, va, size, portRead(port, 1 << size))
    } else {
      const value = loadLinear(cpu, u, va, size)
      if (failed) return 1
      portWrite(port, 1 << size, <u32>value)
      cutBudget()
    }
    if (failed) return 1
    writeRegister(cpu, register, w, offset + delta)
    if (!repeated) return 1
    left--
    writeRegister(cpu, GPR + 8, w, left)
    if (!left) return 1
  }
  store<u64>(cpu, load<u64>(cpu, RFLAGS) | FL_RF, RFLAGS) // seen only by an event between iterations
  addRetired(slice - 1) // as string.ts does
  return setRip(cpu, load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET))
}
function widthMask(value: u64, w: u32): u64 { return w == 3 ? value : w == 2 ? value & 0xffffffff : value & 0xffff }
