/** IN, OUT, INS and OUTS: the permission map of the task, I/O breakpoints, and the port itself. */
import { GPR, RIP_BASE, RFLAGS, SEG_BASE, SEG_LIMIT, SEG_ATTR, ES, TR, CR0, CPL, UOP_IMM, UOP_SEG, UOP_OFFSET, UOP_X, STAT_PIO } from './layout'
import { AUX_SRC_IMM, AUX_REPNE, AUX_REP } from './decode'
import { FL_DF, FL_RF } from './flags'
import { VEC_GP, raise } from './fault'
import { addRetired, cutBudget } from './time'
import { checkPortBreakpoint } from './access-check'
import { failed, loadN, writeRegister, loadLinear, storeLinear, stringLinear } from './operand'
import { segment, pending, isVm86 } from './segment'
import { portRead, portWrite } from './port'
import { probeWrite, systemRead } from './access'
import { setRip } from './system'
import { singleIteration } from './string'
import { tally } from './counters'

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

export function input(cpu: usize, u: usize, width: u32, aux: u32): u32 {
  const port = aux & AUX_SRC_IMM ? load<u32>(u, UOP_IMM) & 0xff : <u32>load<u16>(cpu, GPR + 16)
  if (!portAllowed(cpu, port, 1 << width)) return 1
  tally(STAT_PIO)
  checkPortBreakpoint(cpu, port, 1 << width)
  writeRegister(cpu, GPR, width, portRead(port, 1 << width))
  return 1
}

export function output(cpu: usize, u: usize, width: u32, aux: u32): u32 {
  const port = aux & AUX_SRC_IMM ? load<u32>(u, UOP_IMM) & 0xff : <u32>load<u16>(cpu, GPR + 16)
  if (!portAllowed(cpu, port, 1 << width)) return 1
  tally(STAT_PIO)
  checkPortBreakpoint(cpu, port, 1 << width)
  portWrite(port, 1 << width, <u32>loadN(cpu + GPR, width))
  cutBudget()
  return 1
}

/** INS/OUTS, repeated or not; a long repeat comes back to itself so that interrupts are seen. */
export function stringPort(cpu: usize, u: usize, input: bool, size: u32, aux: u32): u32 {
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
    tally(STAT_PIO)
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
