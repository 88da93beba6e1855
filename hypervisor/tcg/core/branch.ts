/** Near branches outside the fast paths of exec.ts: jumps, calls, loops. */
import {
  GPR, RIP_BASE, RIP, SEG, SEG_SIZE, SEG_LIMIT, CS, EXCEPTION, RIP_SET, CPL, MODE, MODE_64, UOP_LEN, UOP_AUX, UOP_IMM, UOP_OFFSET, UOP_X,
} from './layout'
import { F_LOOPE, F_LOOP, F_JCXZ } from './decode-table.gen'
import { VEC_GP, raise } from './fault'
import { canonical } from './address'
import { flagZ } from './flags'
import { probeWrite } from './access'
import { writeRegister, stackMask, stackLinear, push } from './operand'

/** RIP behind the instruction. */
export function nextRip(cpu: usize, u: usize): u64 {
  return load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET) + (load<u8>(u, UOP_LEN) & 15)
}

/** Near branch: checks the target and stores RIP. @returns 1 (always leaves the block) */
export function branch(cpu: usize, target: u64, size: u32): u32 {
  let rip = target
  if (load<u32>(cpu, MODE) == MODE_64) {
    if (!canonical(rip)) { raise(cpu, VEC_GP, 0); return 1 }
  } else {
    rip &= size == 1 ? 0xffff : 0xffffffff
    if (rip > <u64>load<u32>(cpu + SEG + CS * SEG_SIZE, SEG_LIMIT)) { raise(cpu, VEC_GP, 0); return 1 }
  }
  store<u64>(cpu, rip, RIP)
  store<u32>(cpu, 1, RIP_SET)
  return 1
}

export function call(cpu: usize, u: usize, target: u64, size: u32): u32 {
  branch(cpu, target, size)
  if (!load<u32>(cpu, RIP_SET)) {
    store<i32>(cpu, -1, EXCEPTION)
    badCall(cpu, size)
  } else if (!push(cpu, size, nextRip(cpu, u))) store<u32>(cpu, 0, RIP_SET)
  return 1
}

/** A near call to a target out of bounds: #GP, unless the stack faults first. Nothing is pushed. */
export function badCall(cpu: usize, size: u32): void {
  const top = stackLinear(cpu, (load<u64>(cpu, GPR + 32) - (1 << size)) & stackMask(cpu), size, true)
  if (load<i32>(cpu, EXCEPTION) < 0 && probeWrite(cpu, true, top, 1 << size, load<u32>(cpu, CPL) == 3)) raise(cpu, VEC_GP, 0)
}

export function loop(cpu: usize, u: usize, family: u32): u32 {
  const width = (load<u32>(u, UOP_X) >> 16) & 3
  let count = width == 3 ? load<u64>(cpu, GPR + 8) : width == 2 ? <u64>load<u32>(cpu, GPR + 8) : <u64>load<u16>(cpu, GPR + 8)
  let taken: bool
  if (family == F_JCXZ) taken = count == 0
  else {
    count -= 1
    if (width == 2) count &= 0xffffffff
    else if (width == 1) count &= 0xffff
    taken = count != 0 && (family == F_LOOP || (family == F_LOOPE) == (flagZ(cpu) != 0))
  }
  if (taken) {
    branch(cpu, nextRip(cpu, u) + load<u64>(u, UOP_IMM), load<u32>(cpu, MODE) == MODE_64 ? 3 : load<u8>(u, UOP_AUX) & 3)
    if (!load<u32>(cpu, RIP_SET)) return 1
  }
  if (family != F_JCXZ) writeRegister(cpu, GPR + 8, width, count)
  return taken ? 1 : 0
}
