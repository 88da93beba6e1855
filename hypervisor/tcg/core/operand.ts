/** Operand access shared by the generic handlers: registers, memory, stack, effective addresses. */
import {
  GPR, SEG, SEG_SIZE, SEG_BASE, SEG_ATTR, SS, FS, GS, CPL, MODE, SCRATCH, TLB_KERNEL_READ, TLB_KERNEL_WRITE, TLB_USER_READ, TLB_USER_WRITE, MODE_64,
  UOP_AUX, UOP_D, UOP_S, UOP_IMM, UOP_DISP, UOP_BASE, UOP_INDEX, UOP_SCALE, UOP_SEG, AS_SEG, AS_BASE, AS_LEGACY, AS_32, AS_16,
} from './layout'
import { AUX_DST_MEM, AUX_SRC_MEM, AUX_SRC_IMM, UOP_MOFFS } from './decode'
import { slowRead, slowWrite, slowModify, commitWrite } from './access'
import { eaSlow, segmentAddress } from './address'
import { slowAccess } from './access-check'
import { tlbRead } from './tlb'

/** A helper below met an exception: the handler returns 1. */
export let failed: bool = false
export function clearFailed(): void { failed = false }
export function setFailed(): void { failed = true }

// @ts-ignore: decorator
@inline export function loadN(p: usize, size: u32): u64 {
  return size == 3 ? load<u64>(p) : size == 2 ? <u64>load<u32>(p) : size == 1 ? <u64>load<u16>(p) : <u64>load<u8>(p)
}
// @ts-ignore: decorator
@inline export function storeN(p: usize, size: u32, value: u64): void {
  if (size == 3) store<u64>(p, value)
  else if (size == 2) store<u32>(p, <u32>value)
  else if (size == 1) store<u16>(p, <u16>value)
  else store<u8>(p, <u8>value)
}
/** Register write with the 64-bit rules: 32-bit results clear the upper half. */
// @ts-ignore: decorator
@inline export function writeRegister(cpu: usize, offset: u32, size: u32, value: u64): void {
  if (size == 3) store<u64>(cpu + offset, value)
  else if (size == 2) store<u64>(cpu + offset, value & 0xffffffff)
  else if (size == 1) store<u16>(cpu + offset, <u16>value)
  else store<u8>(cpu + offset, <u8>value)
}

// @ts-ignore: decorator
@inline export function readTlb(cpu: usize): usize { return cpu + (load<u32>(cpu, CPL) == 3 ? TLB_USER_READ : TLB_KERNEL_READ) }
// @ts-ignore: decorator
@inline export function writeTlb(cpu: usize): usize { return cpu + (load<u32>(cpu, CPL) == 3 ? TLB_USER_WRITE : TLB_KERNEL_WRITE) }

/** Guest load of 1 << size bytes at a linear address; `failed` on exception. u = 0: stack access. */
export function loadLinear(cpu: usize, u: usize, va: u64, size: u32): u64 {
  let p: usize = slowAccess ? 0 : tlbRead(readTlb(cpu), va, 1 << size)
  if (!p) {
    p = slowRead(cpu, u, va, 1 << size)
    if (!p) { failed = true; return 0 }
  }
  return loadN(p, size)
}
export function storeLinear(cpu: usize, u: usize, va: u64, size: u32, value: u64): bool {
  const p: usize = slowAccess ? 0 : tlbRead(writeTlb(cpu), va, 1 << size)
  if (p) { storeN(p, size, value); return true }
  if (slowWrite(cpu, u, va, 1 << size, value)) { failed = true; return false }
  return true
}

/** Linear address of the uop's memory operand. @param access bytes, bit 16 = write */
export function address(cpu: usize, u: usize, access: u32): u64 {
  if (load<u16>(u, UOP_BASE) == UOP_MOFFS) {
    const bits: u32 = load<u8>(u, UOP_SEG)
    const offset = load<u64>(u, UOP_IMM)
    if (bits & AS_LEGACY) return segmentAddress(cpu, bits & AS_SEG, offset, access & 0xffff, (access >> 16) != 0)
    return bits & AS_BASE ? offset + load<u64>(cpu + SEG + (bits & AS_SEG) * SEG_SIZE, SEG_BASE) : offset
  }
  if (load<u8>(u, UOP_SEG)) return eaSlow(cpu, u, access)
  return load<u64>(cpu + load<u16>(u, UOP_BASE)) + (load<u64>(cpu + load<u16>(u, UOP_INDEX)) << load<u8>(u, UOP_SCALE)) + <i64>load<i32>(u, UOP_DISP)
}
/** Offset part only (LEA, bit strings): no segment, truncated to the address size. */
export function addressOffset(cpu: usize, u: usize): u64 {
  const offset = load<u64>(cpu + load<u16>(u, UOP_BASE)) + (load<u64>(cpu + load<u16>(u, UOP_INDEX)) << load<u8>(u, UOP_SCALE)) + <i64>load<i32>(u, UOP_DISP)
  const bits: u32 = load<u8>(u, UOP_SEG)
  if (bits & AS_16) return offset & 0xffff
  return bits & AS_32 ? offset & 0xffffffff : offset
}

/** Linear address of a bit string's element: `offset` bytes from the operand, wrapped and checked like any other address. */
export function bitStringAddress(cpu: usize, u: usize, access: u32, offset: i64): u64 {
  const bits: u32 = load<u8>(u, UOP_SEG)
  if (!offset || !(bits & (AS_LEGACY | AS_32 | AS_16))) return address(cpu, u, access) + offset
  const at = (addressOffset(cpu, u) + offset) & (bits & AS_16 ? 0xffff : 0xffffffff)
  if (bits & AS_LEGACY) return segmentAddress(cpu, bits & AS_SEG, at, access & 0xffff, (access >> 16) != 0)
  return bits & AS_BASE ? at + load<u64>(cpu + SEG + (bits & AS_SEG) * SEG_SIZE, SEG_BASE) : at
}

/** Value of the source operand, zero-extended for registers and memory. */
export function source(cpu: usize, u: usize, size: u32): u64 {
  const aux: u32 = load<u8>(u, UOP_AUX)
  if (aux & AUX_SRC_IMM) return load<u64>(u, UOP_IMM)
  if (aux & AUX_SRC_MEM) return loadLinear(cpu, u, address(cpu, u, 1 << size), size)
  return loadN(cpu + load<u16>(u, UOP_S), size)
}

/** Read-modify-write destination. */
let destinationVa: u64 = 0
let destinationScratch: bool = false
export function openDestination(cpu: usize, u: usize, size: u32, offset: i64): usize {
  destinationScratch = false
  if (!(load<u8>(u, UOP_AUX) & 4)) return cpu + load<u16>(u, UOP_D)
  const va = bitStringAddress(cpu, u, (1 << size) | 0x10000, offset)
  destinationVa = va
  let p: usize = slowAccess ? 0 : tlbRead(writeTlb(cpu), va, 1 << size)
  if (!p) {
    p = slowModify(cpu, u, va, 1 << size)
    if (!p) { failed = true; return 0 }
    destinationScratch = p == cpu + SCRATCH
  }
  return p
}
/** Ends a read-modify-write whose result is in `value`. */
export function closeDestination(cpu: usize, u: usize, p: usize, size: u32, value: u64): void {
  if (!(load<u8>(u, UOP_AUX) & 4)) { writeRegister(cpu, load<u16>(u, UOP_D), size, value); return }
  storeN(p, size, value)
  if (destinationScratch) commitWrite(cpu, u, destinationVa, 1 << size)
}

// ---- stack ---------------------------------------------------------------------------------------------------------------------
/** Stack pointer mask: 64-bit mode, or the B bit of SS. */
export function stackMask(cpu: usize): u64 {
  if (load<u32>(cpu, MODE) == MODE_64) return 0xffffffffffffffff
  return load<u32>(cpu + SEG + SS * SEG_SIZE, SEG_ATTR) & 0x400000 ? 0xffffffff : 0xffff
}
export function stackLinear(cpu: usize, offset: u64, size: u32, write: bool): u64 {
  if (load<u32>(cpu, MODE) == MODE_64) return offset
  return segmentAddress(cpu, SS, offset, 1 << size, write)
}
export function setStackPointer(cpu: usize, value: u64, mask: u64): void {
  if (mask == 0xffff) store<u16>(cpu, <u16>value, GPR + 32)
  else store<u64>(cpu, value & mask, GPR + 32)
}
export function push(cpu: usize, size: u32, value: u64): bool {
  const mask = stackMask(cpu)
  const sp = (load<u64>(cpu, GPR + 32) - (1 << size)) & mask
  if (!storeLinear(cpu, 0, stackLinear(cpu, sp, size, true), size, value)) return false
  setStackPointer(cpu, sp, mask)
  return true
}
/** Reads the top of the stack without moving it. */
export function peek(cpu: usize, size: u32, distance: u64): u64 {
  const mask = stackMask(cpu)
  return loadLinear(cpu, 0, stackLinear(cpu, (load<u64>(cpu, GPR + 32) + distance) & mask, size, false), size)
}
export function dropStack(cpu: usize, bytes: u64): void {
  const mask = stackMask(cpu)
  setStackPointer(cpu, load<u64>(cpu, GPR + 32) + bytes, mask)
}

/** Linear address of a string operand. */
export function stringLinear(cpu: usize, segment: u32, offset: u64, size: u32, write: bool): u64 {
  if (load<u32>(cpu, MODE) == MODE_64) return segment == FS || segment == GS ? offset + load<u64>(cpu + SEG + segment * SEG_SIZE, SEG_BASE) : offset
  return segmentAddress(cpu, segment, offset, 1 << size, write)
}

export function readDestination(cpu: usize, u: usize, size: u32): u64 {
  if (load<u8>(u, UOP_AUX) & AUX_DST_MEM) return loadLinear(cpu, u, address(cpu, u, 1 << size), size)
  return loadN(cpu + load<u16>(u, UOP_D), size)
}

export function writeDestination(cpu: usize, u: usize, size: u32, value: u64): u32 {
  if (load<u8>(u, UOP_AUX) & AUX_DST_MEM) return storeLinear(cpu, u, address(cpu, u, (1 << size) | 0x10000), size, value) ? 0 : 1
  writeRegister(cpu, load<u16>(u, UOP_D), size, value)
  return 0
}
