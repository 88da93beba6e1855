/** LLDT and LTR, and the instructions that look at a descriptor: LAR, LSL, VERR, VERW. */
import { SEG_BASE, LDTR, TR, EXCEPTION, CPL, UOP_D } from './layout'
import { F_VERR, F_VERW, F_LAR, F_LSL } from './decode-table.gen'
import { FL_ZF, getFlags, setFlagsArith } from './flags'
import { VEC_NP, VEC_GP, raise } from './fault'
import { canonical } from './address'
import {
  segment, pending, isLong, descLow, descHigh, descAddress, readDescriptor, setDescriptor, descLimit, descDpl, descPresent, descIsCode, setSegment,
  setNull,
} from './segment'
import { systemRead, systemWrite } from './access'
import { writeRegister } from './operand'

function readSystemDescriptor(cpu: usize, selector: u32): bool {
  if (selector & 4) { raise(cpu, VEC_GP, selector & 0xfffc); return false }
  return readDescriptor(cpu, selector, VEC_GP)
}

export function loadLdt(cpu: usize, selector: u32): void {
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
    if (!canonical(base) || (upper >> 40) & 0x1f) { raise(cpu, VEC_GP, selector & 0xfffc); return }
  }
  setDescriptor(low, high)
  setSegment(cpu, index, selector)
  const s = segment(cpu, index)
  store<u64>(s, load<u64>(s, SEG_BASE) | (upper << 32), SEG_BASE)
}

export function loadTask(cpu: usize, selector: u32): void {
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
export function inspect(cpu: usize, u: usize, family: u32, selector: u32, size: u32): u32 {
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
