/**
 * String instructions with and without repeat prefix. REP MOVS and REP STOS move whole page chunks at once (ERMS); long repeats are
 * cut into slices at iteration boundaries, where interrupts are taken, exactly as the architecture allows.
 */
import { GPR, RIP_BASE, RIP, RFLAGS, ES, EXCEPTION, RIP_SET, CPL, MODE, MODE_64, UOP_AUX, UOP_SEG, UOP_OFFSET, UOP_X } from './layout'
import { AUX_REPNE, AUX_REP } from './decode'
import { ACCESS_READ, ACCESS_WRITE } from './paging'
import { canonical } from './address'
import { slowAccess } from './access-check'
import { xlCode, xlFault, translate, tlbRead } from './tlb'
import { xlReadOnly } from './ram'
import { FL_DF, FL_RF, flagZ } from './flags'
import { alu } from './alu'
import { failed, loadN, storeN, writeRegister, readTlb, writeTlb, loadLinear, storeLinear, stringLinear } from './operand'
import { addRetired } from './time'

/** Iterations of a repeat before interrupts are looked at again. */
const SLICE: u64 = 4096
/** Single stepping and breakpoints see every iteration. */
export let singleIteration: bool = false
export function setSingleIteration(on: bool): void { singleIteration = on }
// @ts-ignore: decorator
@inline function slice(): u64 { return singleIteration ? 1 : SLICE }
/** Bytes a bulk move may take in one go. */
const BULK_SLICE: u64 = 1 << 20
/** 64 bytes of a bulk move count like an instruction. */
const BULK_COST: u64 = 6

const RAX = GPR, RCX = GPR + 8, RSI = GPR + 48, RDI = GPR + 56

// @ts-ignore: decorator
@inline function width(u: usize): u32 { return (load<u32>(u, UOP_X) >> 16) & 3 }
function pointer(cpu: usize, register: u32, w: u32): u64 {
  return w == 3 ? load<u64>(cpu + register) : w == 2 ? <u64>load<u32>(cpu + register) : <u64>load<u16>(cpu + register)
}
function advance(cpu: usize, register: u32, w: u32, delta: u64): void {
  writeRegister(cpu, register, w, pointer(cpu, register, w) + delta)
}
// @ts-ignore: decorator
@inline function step(cpu: usize, size: u32): u64 { return load<u32>(cpu, RFLAGS) & FL_DF ? 0 - (<u64>1 << size) : <u64>1 << size }

/**
 * The repeat is not over: come back to the same instruction after a look at interrupts. What was done counts like as many instructions, or a slice of
 * repeats would keep timers and the other vCPUs waiting for minutes.
 */
function again(cpu: usize, u: usize, done: u64): u32 {
  addRetired(done)
  store<u64>(cpu, load<u64>(cpu, RFLAGS) | FL_RF, RFLAGS) // seen only by an event between iterations (SDM volume 3, 17.3.1.1)
  store<u64>(cpu, load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET), RIP)
  store<u32>(cpu, 1, RIP_SET)
  return 1
}

/** Host bytes behind `va`, RAM that may be accessed in bulk up to the page end; 0 = use the element path. */
function bulk(cpu: usize, va: u64, write: bool): usize {
  const hit = tlbRead(write ? writeTlb(cpu) : readTlb(cpu), va, 1)
  if (hit) return hit
  const host = translate(cpu, va, write ? ACCESS_WRITE : ACCESS_READ, load<u32>(cpu, CPL) == 3)
  if (!host || (write && (xlReadOnly || xlCode))) return 0
  return host
}
// @ts-ignore: decorator
@inline function pageRest(va: u64): u64 { return 0x1000 - (va & 0xfff) }

export function stringMove(cpu: usize, u: usize, size: u32): u32 {
  const aux: u32 = load<u8>(u, UOP_AUX), w = width(u), segment: u32 = load<u8>(u, UOP_SEG)
  const delta = step(cpu, size)
  const repeated = (aux & (AUX_REP | AUX_REPNE)) != 0
  let count: u64 = repeated ? pointer(cpu, RCX, w) : 1
  let moved: u64 = 0
  for (let i: u64 = 0; count; i++) {
    if (i == slice() || moved >= BULK_SLICE) return again(cpu, u, singleIteration ? 0 : i + (moved >> BULK_COST))
    const source = stringLinear(cpu, segment, pointer(cpu, RSI, w), size, false)
    const target = stringLinear(cpu, ES, pointer(cpu, RDI, w), size, true)
    if (repeated && count > 1 && load<u32>(cpu, MODE) == MODE_64 && w == 3 && <i64>delta > 0 && !slowAccess && !singleIteration && load<i32>(cpu, EXCEPTION) < 0) {
      const chunk = min(min(count, pageRest(source) >> size), pageRest(target) >> size)
      const plain = canonical(source) && canonical(target)
      if (chunk > 1 && plain) {
        const from = bulk(cpu, source, false)
        if (!from && xlFault) { return 1 }
        const to: usize = from ? bulk(cpu, target, true) : 0
        if (from && !to && xlFault) return 1
        if (from && to) {
          const bytes = <usize>(chunk << size)
          // A destination that starts inside the source repeats the pattern: element by element, as the CPU does.
          if (to > from && to < from + bytes) for (let k: usize = 0; k < bytes; k += 1 << size) storeN(to + k, size, loadN(from + k, size))
          else memory.copy(to, from, bytes)
          advance(cpu, RSI, w, bytes); advance(cpu, RDI, w, bytes)
          count -= chunk
          moved += bytes
          writeRegister(cpu, RCX, w, count)
          continue
        }
      }
    }
    const value = loadLinear(cpu, u, source, size)
    if (failed) return 1
    if (!storeLinear(cpu, u, target, size, value)) return 1
    advance(cpu, RSI, w, delta); advance(cpu, RDI, w, delta)
    count--
    if (repeated) writeRegister(cpu, RCX, w, count)
  }
  return 0
}

export function stringStore(cpu: usize, u: usize, size: u32): u32 {
  const aux: u32 = load<u8>(u, UOP_AUX), w = width(u)
  const delta = step(cpu, size)
  const repeated = (aux & (AUX_REP | AUX_REPNE)) != 0
  let count: u64 = repeated ? pointer(cpu, RCX, w) : 1
  const value = loadN(cpu + RAX, size)
  const byte = value & 0xff
  const uniform = size == 0 || value == (0x0101010101010101 * byte & (size == 3 ? 0xffffffffffffffff : (<u64>1 << (8 << size)) - 1))
  let stored: u64 = 0
  for (let i: u64 = 0; count; i++) {
    if (i == slice() || stored >= BULK_SLICE) return again(cpu, u, singleIteration ? 0 : i + (stored >> BULK_COST))
    const target = stringLinear(cpu, ES, pointer(cpu, RDI, w), size, true)
    if (repeated && count > 1 && load<u32>(cpu, MODE) == MODE_64 && w == 3 && <i64>delta > 0 && !slowAccess && !singleIteration && canonical(target)) {
      const chunk = min(count, pageRest(target) >> size)
      if (chunk > 1) {
        const to = bulk(cpu, target, true)
        if (!to && xlFault) return 1
        if (to) {
          const bytes = <usize>(chunk << size)
          if (uniform) memory.fill(to, <u8>byte, bytes)
          else for (let k: usize = 0; k < bytes; k += 1 << size) storeN(to + k, size, value)
          advance(cpu, RDI, w, bytes)
          count -= chunk
          stored += bytes
          writeRegister(cpu, RCX, w, count)
          continue
        }
      }
    }
    if (!storeLinear(cpu, u, target, size, value)) return 1
    advance(cpu, RDI, w, delta)
    count--
    if (repeated) writeRegister(cpu, RCX, w, count)
  }
  return 0
}

export function stringLoad(cpu: usize, u: usize, size: u32): u32 {
  const repeated = (load<u8>(u, UOP_AUX) & (AUX_REP | AUX_REPNE)) != 0
  const w = width(u), segment: u32 = load<u8>(u, UOP_SEG), delta = step(cpu, size)
  let count: u64 = repeated ? pointer(cpu, RCX, w) : 1
  for (let i: u64 = 0; count; i++) {
    if (i == slice()) return again(cpu, u, singleIteration ? 0 : i)
    const value = loadLinear(cpu, u, stringLinear(cpu, segment, pointer(cpu, RSI, w), size, false), size)
    if (failed) return 1
    writeRegister(cpu, RAX, size, value)
    advance(cpu, RSI, w, delta)
    count--
    if (repeated) writeRegister(cpu, RCX, w, count)
  }
  return 0
}

/** Does REPE/REPNE end after this comparison? */
// @ts-ignore: decorator
@inline function ends(cpu: usize, aux: u32): bool { return (aux & AUX_REP) != 0 ? flagZ(cpu) == 0 : flagZ(cpu) != 0 }

export function stringScan(cpu: usize, u: usize, size: u32): u32 {
  const aux: u32 = load<u8>(u, UOP_AUX), w = width(u), delta = step(cpu, size)
  const repeated = (aux & (AUX_REP | AUX_REPNE)) != 0
  let count: u64 = repeated ? pointer(cpu, RCX, w) : 1
  for (let i: u64 = 0; count; i++) {
    if (i == slice()) return again(cpu, u, singleIteration ? 0 : i)
    const value = loadLinear(cpu, u, stringLinear(cpu, ES, pointer(cpu, RDI, w), size, false), size)
    if (failed) return 1
    alu(cpu, 7, size, loadN(cpu + RAX, size), value)
    advance(cpu, RDI, w, delta)
    count--
    if (!repeated) return 0
    writeRegister(cpu, RCX, w, count)
    if (ends(cpu, aux)) return 0
  }
  return 0
}

export function stringCompare(cpu: usize, u: usize, size: u32): u32 {
  const aux: u32 = load<u8>(u, UOP_AUX), w = width(u), segment: u32 = load<u8>(u, UOP_SEG), delta = step(cpu, size)
  const repeated = (aux & (AUX_REP | AUX_REPNE)) != 0
  let count: u64 = repeated ? pointer(cpu, RCX, w) : 1
  for (let i: u64 = 0; count; i++) {
    if (i == slice()) return again(cpu, u, singleIteration ? 0 : i)
    const a = loadLinear(cpu, u, stringLinear(cpu, segment, pointer(cpu, RSI, w), size, false), size)
    if (failed) return 1
    const b = loadLinear(cpu, u, stringLinear(cpu, ES, pointer(cpu, RDI, w), size, false), size)
    if (failed) return 1
    alu(cpu, 7, size, a, b)
    advance(cpu, RSI, w, delta); advance(cpu, RDI, w, delta)
    count--
    if (!repeated) return 0
    writeRegister(cpu, RCX, w, count)
    if (ends(cpu, aux)) return 0
  }
  return 0
}
