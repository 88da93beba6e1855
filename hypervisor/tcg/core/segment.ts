/** Segment registers, descriptors and the mode they select. Intel SDM volume 3, chapters 3 and 5. */
import {
  RFLAGS, SEG, SEG_SIZE, SEG_BASE, SEG_LIMIT, SEG_ATTR, SEG_SELECTOR, ES, CS, SS, DS, FS, GS, LDTR, GDTR_BASE, GDTR_LIMIT, CR0, CR4, EFER, EXCEPTION,
  CPL, MODE, FPU_BLOCK, MODE_16, MODE_32, MODE_64,
} from './layout'
import { VEC_NP, VEC_SS, VEC_GP, raise } from './fault'
import { systemRead, systemWrite } from './access'
import { FL_VM } from './flags'

// @ts-ignore: decorator
@inline export function segment(cpu: usize, index: u32): usize { return cpu + SEG + index * SEG_SIZE }
// @ts-ignore: decorator
@inline export function pending(cpu: usize): bool { return load<i32>(cpu, EXCEPTION) >= 0 }
// @ts-ignore: decorator
@inline export function isProtected(cpu: usize): bool { return (load<u32>(cpu, CR0) & 1) != 0 && !(load<u32>(cpu, RFLAGS) & FL_VM) }
// @ts-ignore: decorator
@inline export function isVm86(cpu: usize): bool { return (load<u32>(cpu, RFLAGS) & FL_VM) != 0 }
// @ts-ignore: decorator
@inline export function isLong(cpu: usize): bool { return (load<u32>(cpu, EFER) & 0x400) != 0 }

/** Recomputes what follows from CS, CR0, CR4 and EFER. */
export function updateMode(cpu: usize): void {
  const attributes = load<u32>(segment(cpu, CS), SEG_ATTR)
  let mode: u32 = MODE_16
  if (isVm86(cpu)) mode = MODE_16
  else if (isLong(cpu) && (attributes & 0x200000)) mode = MODE_64
  else if (attributes & 0x400000) mode = MODE_32
  store<u32>(cpu, mode, MODE)
  const cr0 = load<u32>(cpu, CR0)
  store<u32>(cpu, ((cr0 >> 2) & 1) | ((cr0 >> 2) & 2) | (load<u32>(cpu, CR4) & 0x200 ? 0 : 4), FPU_BLOCK)
}

/** The descriptor read last: two dwords, and the upper half of a 16-byte system descriptor. */
export let descLow: u32 = 0
export let descHigh: u32 = 0
export let descAddress: u64 = 0
export const DESC_ACCESSED: u32 = 0x100

/** Fetches the descriptor of a selector. @returns false with `vector`(selector) pending when it lies outside its table */
export function readDescriptor(cpu: usize, selector: u32, vector: i32): bool {
  let base: u64, limit: u32
  if (selector & 4) {
    const ldt = segment(cpu, LDTR)
    if (load<u32>(ldt, SEG_ATTR) & 1) { raise(cpu, vector, selector & 0xfffc); return false }
    base = load<u64>(ldt, SEG_BASE); limit = load<u32>(ldt, SEG_LIMIT)
  } else {
    base = load<u64>(cpu, GDTR_BASE); limit = load<u32>(cpu, GDTR_LIMIT)
  }
  const index = selector & 0xfff8
  if (index + 7 > limit) { raise(cpu, vector, selector & 0xfffc); return false }
  descAddress = base + index
  const value = systemRead(cpu, descAddress, 8)
  if (pending(cpu)) return false
  descLow = <u32>value
  descHigh = <u32>(value >> 32)
  return true
}

/** Puts back a descriptor that was read earlier. */
export function setDescriptor(low: u32, high: u32): void { descLow = low; descHigh = high }
export function descBase(): u64 { return <u64>((descLow >> 16) | ((descHigh & 0xff) << 16) | (descHigh & 0xff000000)) }
export function descLimit(): u32 {
  const limit = (descLow & 0xffff) | (descHigh & 0xf0000)
  return descHigh & 0x800000 ? (limit << 12) | 0xfff : limit
}
// @ts-ignore: decorator
@inline export function descDpl(): u32 { return (descHigh >> 13) & 3 }
// @ts-ignore: decorator
@inline export function descPresent(): bool { return (descHigh & 0x8000) != 0 }
// @ts-ignore: decorator
@inline export function descIsCode(): bool { return (descHigh & 0x1800) == 0x1800 }

/** Fills a segment register from the descriptor read last. */
export function setSegment(cpu: usize, index: u32, selector: u32): void {
  const s = segment(cpu, index)
  store<u64>(s, descBase(), SEG_BASE)
  store<u32>(s, descLimit(), SEG_LIMIT)
  store<u32>(s, descHigh & 0x00f0ff00, SEG_ATTR)
  store<u16>(s, <u16>selector, SEG_SELECTOR)
}
/** Sets the accessed bit in memory, of the descriptor at `address` whose upper half is `high`. @returns false when that write faults */
export function touchDescriptor(cpu: usize, address: u64, high: u32): bool {
  return (high & DESC_ACCESSED) != 0 || systemWrite(cpu, address + 4, 4, high | DESC_ACCESSED) == 0
}
/** The same for the descriptor read last, which then has the bit here, too. */
export function markAccessed(cpu: usize): bool {
  if (!touchDescriptor(cpu, descAddress, descHigh)) return false
  descHigh |= DESC_ACCESSED
  return true
}
export function setNull(cpu: usize, index: u32, selector: u32): void {
  const s = segment(cpu, index)
  store<u64>(s, 0, SEG_BASE)
  store<u32>(s, 0, SEG_LIMIT)
  store<u32>(s, index == SS ? 1 | (load<u32>(cpu, CPL) << 13) : 1, SEG_ATTR)
  store<u16>(s, <u16>selector, SEG_SELECTOR)
}
export function setRealSegment(cpu: usize, index: u32, selector: u32): void {
  const s = segment(cpu, index)
  store<u64>(s, <u64>selector << 4, SEG_BASE)
  store<u16>(s, <u16>selector, SEG_SELECTOR)
  if (isVm86(cpu)) { store<u32>(s, 0xffff, SEG_LIMIT); store<u32>(s, 0xf300, SEG_ATTR) }
  else store<u32>(s, load<u32>(s, SEG_ATTR) & ~1, SEG_ATTR) // limits survive: "unreal" mode
}

/** MOV/POP/LxS to ES SS DS FS GS. @returns false with an exception pending */
export function loadSegment(cpu: usize, index: u32, selector: u32): bool {
  if (!isProtected(cpu)) { setRealSegment(cpu, index, selector); return true }
  const cpl = load<u32>(cpu, CPL), rpl = selector & 3
  if (!(selector & 0xfffc)) {
    if (index == SS && (load<u32>(cpu, MODE) != MODE_64 || cpl == 3 || rpl != cpl)) { raise(cpu, VEC_GP, 0); return false }
    setNull(cpu, index, selector)
    return true
  }
  const error = selector & 0xfffc
  if (!readDescriptor(cpu, selector, VEC_GP)) return false
  const dpl = descDpl()
  if (index == SS) {
    if (rpl != cpl || (descHigh & 0x1a00) != 0x1200 || dpl != cpl) { raise(cpu, VEC_GP, error); return false }
    if (!descPresent()) { raise(cpu, VEC_SS, error); return false }
  } else {
    const system = !(descHigh & 0x1000)
    const unreadable = descIsCode() && !(descHigh & 0x200)
    const conforming = descIsCode() && (descHigh & 0x400) != 0
    if (system || unreadable || (!conforming && (rpl > dpl || cpl > dpl))) { raise(cpu, VEC_GP, error); return false }
    if (!descPresent()) { raise(cpu, VEC_NP, error); return false }
  }
  if (!markAccessed(cpu)) return false
  setSegment(cpu, index, selector)
  return true
}

/** Loads CS from the descriptor read last, with the given privilege. */
export function setCs(cpu: usize, selector: u32, cpl: u32): void {
  setSegment(cpu, CS, (selector & 0xfffc) | cpl)
  store<u32>(cpu, cpl, CPL)
  updateMode(cpu)
}

/** On a return to an outer level, data segments that the new level may not use become null. */
export function dropInnerSegments(cpu: usize): void {
  const cpl = load<u32>(cpu, CPL)
  dropIfInner(cpu, ES, cpl); dropIfInner(cpu, DS, cpl); dropIfInner(cpu, FS, cpl); dropIfInner(cpu, GS, cpl)
}
function dropIfInner(cpu: usize, index: u32, cpl: u32): void {
  const attributes = load<u32>(segment(cpu, index), SEG_ATTR)
  if (attributes & 1) return
  const conforming = (attributes & 0x1c00) == 0x1c00
  if (!conforming && ((attributes >> 13) & 3) < cpl) setNull(cpu, index, 0)
}
