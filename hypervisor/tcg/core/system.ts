/** System instructions: control and debug registers, descriptor tables, I/O, far transfers, interrupts, halt. Intel SDM volumes 2 and 3. */
import {
  GPR, RIP_BASE, RIP, RFLAGS, SEG_BASE, SEG_SELECTOR, SS, FS, GS, LDTR, TR, GDTR_BASE, GDTR_LIMIT, IDTR_BASE, IDTR_LIMIT, CR0, MSR_KERNEL_GS_BASE,
  HALTED, EXCEPTION, RIP_SET, CPL, MODE, INHIBIT, MODE_64, UOP_AUX, UOP_D, UOP_IMM, UOP_OFFSET, UOP_X, STAT_HALTS,
} from './layout'
import {
  F_INS, F_OUTS, F_CALLF, F_RETF, F_INT3, F_INT, F_INTO, F_IRET, F_IN, F_OUT, F_JMPF, F_ICEBP, F_HLT, F_CLI, F_STI, F_CALLF_IND, F_JMPF_IND, F_SLDT,
  F_STR, F_LLDT, F_LTR, F_VERR, F_VERW, F_SWAPGS, F_VMCALL, F_SGDT, F_SIDT, F_LGDT, F_LIDT, F_INVLPG, F_SMSW, F_LMSW, F_LAR, F_LSL, F_SYSCALL, F_CLTS,
  F_SYSRET, F_INVD, F_MOV_FROM_CR, F_MOV_FROM_DR, F_MOV_TO_CR, F_MOV_TO_DR, F_WRMSR, F_RDMSR, F_RDPMC, F_SYSENTER, F_SYSEXIT, F_LSEG2, F_LSEG4,
  F_LSEG5,
} from './decode-table.gen'
import { AUX_DST_MEM, AUX_SRC_IMM } from './decode'
import { VEC_UD, VEC_GP, raise, fault, privileged } from './fault'
import { canonical } from './address'
import { writeCr0, readControl, writeControl, debugRegister } from './control'
import { flushPage } from './tlb'
import { input, output, stringPort } from './port-io'
import { loadLdt, loadTask, inspect } from './descriptor-register'
import { loadFarPointer } from './segment-load'
import { nextRip } from './branch'
import { tally } from './counters'
import { FL_TF, FL_IF, FL_DF, FL_IOPL, FL_NT, FL_RF, FL_AC, FL_ID, FL_ARITH, flagO } from './flags'
import { segment, pending, isProtected, isVm86, updateMode } from './segment'
import { failed, clearFailed, writeRegister, loadLinear, storeLinear, address, source } from './operand'
import { KIND_SOFTWARE, KIND_ICEBP, setRflags, softwareInterrupt, interruptReturn } from './interrupt'
import { farTransfer, farReturn, syscall, sysret, sysenter, sysexit } from './far'
import { rdmsr, wrmsr } from './msr'
import { taskSwitched, clearTaskSwitched } from './task'
import { cutBudget } from './time'

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

export function setRip(cpu: usize, rip: u64): u32 {
  store<u64>(cpu, rip, RIP)
  store<u32>(cpu, 1, RIP_SET)
  return 1
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
      if (wide && !canonical(base)) return fault(cpu, VEC_GP, 0)
      store<u64>(cpu + (family == F_LGDT ? GDTR_BASE : IDTR_BASE), base)
      store<u32>(cpu + (family == F_LGDT ? GDTR_LIMIT : IDTR_LIMIT), <u32>limit)
      return 1
    }
    case F_INVLPG: if (privileged(cpu)) flushPage(cpu, address(cpu, u, 0x10000)); if (load<i32>(cpu, EXCEPTION) >= 0 && load<u32>(cpu, CPL) == 0) store<i32>(cpu, -1, EXCEPTION); return 1
    case F_SWAPGS: {
      if (!privileged(cpu)) return 1
      swapGs(cpu)
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
    case F_IN: return input(cpu, u, min<u32>(size, 2), aux)
    case F_OUT: return output(cpu, u, min<u32>(size, 2), aux)
    case F_INS: case F_OUTS: return stringPort(cpu, u, family == F_INS, min<u32>(size, 2), aux)
    case F_HLT:
      if (!privileged(cpu)) return 1
      tally(STAT_HALTS)
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

export function swapGs(cpu: usize): void {
  const gs = segment(cpu, GS)
  const base = load<u64>(gs, SEG_BASE)
  store<u64>(gs, load<u64>(cpu, MSR_KERNEL_GS_BASE), SEG_BASE)
  store<u64>(cpu, base, MSR_KERNEL_GS_BASE)
}

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
