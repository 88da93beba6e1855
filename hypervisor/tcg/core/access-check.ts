/** What an access meets besides segmentation and paging: canonical form, alignment check, breakpoints of DR7 (SDM volume 3, chapter 17). */
import { RIP, RFLAGS, SEG_BASE, CS, CR0, CR4, DR, EXCEPTION, MODE, LAST_DEBUG, MODE_64 } from './layout'
import { FL_RF } from './flags'
import { VEC_DB, VEC_SS, VEC_GP, VEC_AC, raise } from './fault'
import { canonical } from './address'
import { cutBudget } from './time'
import { segment } from './segment'

/** Data breakpoints or alignment checks are on: every access takes the slow path. */
export let slowAccess: bool = false

export function setSlowAccess(on: bool): void { slowAccess = on }

/** @returns true when the address is usable; else #GP(0) or #SS(0) is pending */
export function canonicalAccess(cpu: usize, stack: bool, va: u64, size: u32): bool {
  if (load<i32>(cpu, EXCEPTION) >= 0) return false // the address computation already failed
  if (load<u32>(cpu, MODE) != MODE_64) return true
  if (canonical(va) && canonical(va + size - 1)) return true
  raise(cpu, stack ? VEC_SS : VEC_GP, 0)
  return false
}

/** Address bits that alignment checking wants clear (SDM volume 3, table 6-7). Of 16 bytes and more a processor may check or not: not here. */
function alignmentMask(size: u32): u64 {
  if (size <= 8) return size - 1
  if (size == 10) return 7 // 80-bit real and decimal
  if (size == 28 || size == 108) return 3 // x87 environment and state of 32-bit operand size
  return size == 14 || size == 94 ? 1 : 0 // of 16-bit operand size
}

/**
 * Alignment check and data breakpoints, only while slowAccess is on. #AC goes before #PF: both are of one class in the SDM's table of priorities, within
 * which the order is the implementation's (volume 3, 6.9). Zen 5 has this one, for absent, read-only and page-crossing operands.
 * @returns false with #AC pending
 */
export function checkedAccess(cpu: usize, va: u64, size: u32, write: bool, user: bool): bool {
  if (user && (load<u32>(cpu, CR0) & 0x40000) && (load<u32>(cpu, RFLAGS) & 0x40000) && va & alignmentMask(size)) {
    raise(cpu, VEC_AC, 0)
    return false
  }
  const dr7 = load<u32>(cpu, DR + 56)
  if (dr7 & 0xff) {
    for (let i: u32 = 0; i < 4; i++) {
      if (!(dr7 & (3 << (i * 2)))) continue
      const kind = (dr7 >> (16 + i * 4)) & 3
      if (kind != 3 && !(kind == 1 && write)) continue
      const code = (dr7 >> (18 + i * 4)) & 3
      const length: u64 = code == 2 ? 8 : code + 1
      const at = load<u64>(cpu + i * 8, DR) & ~(length - 1)
      if (va < at + length && at < va + size) {
        store<u64>(cpu, load<u64>(cpu, LAST_DEBUG) | (<u64>1 << i), LAST_DEBUG)
        cutBudget()
      }
    }
  }
  return true
}

/** I/O breakpoints of DR7, only with CR4.DE: the trap comes after the instruction. */
export function checkPortBreakpoint(cpu: usize, port: u32, bytes: u32): void {
  const dr7 = load<u32>(cpu, DR + 56)
  if (!(dr7 & 0xff) || !(load<u32>(cpu, CR4) & 8)) return
  for (let i: u32 = 0; i < 4; i++) {
    if (!(dr7 & (3 << (i * 2))) || ((dr7 >> (16 + i * 4)) & 3) != 2) continue
    const length: u64 = ((dr7 >> (18 + i * 4)) & 3) + 1
    const at = load<u64>(cpu + i * 8, DR) & ~(length - 1)
    if (<u64>port < at + length && at < <u64>(port + bytes)) store<u64>(cpu, load<u64>(cpu, LAST_DEBUG) | (<u64>1 << i), LAST_DEBUG)
  }
}

/** Instruction breakpoints of DR7. @returns true when one hits */
export function codeBreakpoint(cpu: usize): bool {
  const dr7 = load<u32>(cpu, DR + 56)
  if (load<u32>(cpu, RFLAGS) & FL_RF) return false
  const linear = load<u32>(cpu, MODE) == MODE_64 ? load<u64>(cpu, RIP) : (load<u64>(segment(cpu, CS), SEG_BASE) + load<u64>(cpu, RIP)) & 0xffffffff
  let hit: u64 = 0
  for (let i: u32 = 0; i < 4; i++) {
    if (dr7 & (3 << (i * 2)) && !((dr7 >> (16 + i * 4)) & 3) && load<u64>(cpu + i * 8, DR) == linear) hit |= 1 << i
  }
  if (!hit) return false
  store<u64>(cpu, load<u64>(cpu, LAST_DEBUG) | hit, LAST_DEBUG)
  raise(cpu, VEC_DB, 0)
  return true
}
