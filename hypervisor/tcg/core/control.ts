/** Control and debug registers: what may be written and what a change entails. Intel SDM volume 3, 2.5 and 17.2. */
import { G_CHIP_LOCK, SEG_ATTR, CS, CR0, CR2, CR3, CR4, EFER, DR, MODE, LAST_DEBUG, MODE_64, UOP_D, UOP_S } from './layout'
import { VEC_DB, VEC_UD, VEC_GP, raise, fault, privileged } from './fault'
import { cutBudget } from './time'
import { flushTlb } from './tlb'
import { getTpr, setTpr } from './lapic'
import { acquire, release } from './sync'
import { segment, isLong, updateMode } from './segment'
import { loadPdptes } from './paging'
import { writeRegister } from './operand'

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

function writeCr4(cpu: usize, value: u64): bool {
  if (value & ~CR4_ALLOWED || (isLong(cpu) && !(value & 0x20))) { raise(cpu, VEC_GP, 0); return false }
  const old = load<u64>(cpu, CR4)
  if ((old ^ value) & 0x1000b0 && !loadPdptes(cpu, load<u64>(cpu, CR0), load<u64>(cpu, CR3), value)) { raise(cpu, VEC_GP, 0); return false }
  store<u64>(cpu, value, CR4)
  if ((old ^ value) & 0x1000b0) flushTlb(cpu, false)
  updateMode(cpu)
  return true
}

function writeCr3(cpu: usize, value: u64): bool {
  if (isLong(cpu) ? value & 0xffffc00000000000 : value >> 32) { raise(cpu, VEC_GP, 0); return false }
  if (!loadPdptes(cpu, load<u64>(cpu, CR0), value, load<u64>(cpu, CR4))) { raise(cpu, VEC_GP, 0); return false }
  store<u64>(cpu, value, CR3)
  flushTlb(cpu, (load<u32>(cpu, CR4) & 0x80) != 0)
  return true
}

export function readControl(cpu: usize, u: usize): u32 {
  if (!privileged(cpu)) return 1
  let value: u64
  switch (<u32>load<u16>(u, UOP_S)) {
    case 0: value = load<u64>(cpu, CR0); break
    case 2: value = load<u64>(cpu, CR2); break
    case 3: value = load<u64>(cpu, CR3); break
    case 4: value = load<u64>(cpu, CR4); break
    case 8: value = getTpr(cpu); break // only this vCPU writes it
    default: return fault(cpu, VEC_UD, 0)
  }
  writeRegister(cpu, load<u16>(u, UOP_D), load<u32>(cpu, MODE) == MODE_64 ? 3 : 2, value)
  return 1
}

export function writeControl(cpu: usize, u: usize): u32 {
  if (!privileged(cpu)) return 1
  const value = load<u32>(cpu, MODE) == MODE_64 ? load<u64>(cpu + load<u16>(u, UOP_S)) : <u64>load<u32>(cpu + load<u16>(u, UOP_S))
  switch (<u32>load<u16>(u, UOP_D)) {
    case 0: writeCr0(cpu, value); return 1
    case 2: store<u64>(cpu, value, CR2); return 1
    case 3: writeCr3(cpu, value); return 1
    case 4: writeCr4(cpu, value); return 1
    case 8:
      if (value & ~15) return fault(cpu, VEC_GP, 0)
      acquire(G_CHIP_LOCK)
      setTpr(cpu, <u32>value)
      release(G_CHIP_LOCK)
      cutBudget()
      return 1
    default: return fault(cpu, VEC_UD, 0)
  }
}

export function debugRegister(cpu: usize, u: usize, write: bool): u32 {
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
