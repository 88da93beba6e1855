/** The frame around SIMD and x87 operations: availability checks, memory operands, MMX side effects, exceptions. */
import {
  GPR, RIP_BASE, SEG, SEG_SIZE, SEG_SELECTOR, CS, DS, CR0, CR4, FSW, FTW, FOP, FIP, FDP, FCS, FDS, FPR, EXCEPTION, CPL, FPU_BLOCK, TMP, UOP_LEN,
  UOP_AUX, UOP_D, UOP_S, UOP_IMM, UOP_SEG, UOP_OFFSET, UOP_X, LEN_STACK, AS_SEG, AS_LEGACY,
} from './layout'
import { SIMD_ALIGN, SIMD_MMX, SIMD_MMX_DST, SIMD_MASKMOV, SIMD_XMM, X87_LOAD, X87_STORE, X87_NO_WAIT } from './decode'
import { X87_FNSTSW_AX, X87_FWAIT, X87_EMMS, X87_LDMXCSR, X87_STMXCSR } from './x87-ops'
import { VEC_UD, VEC_NM, VEC_SS, VEC_GP, raise } from './fault'
import { canonical } from './address'
import { readFor, writeFor, probeWrite } from './access'
import { slowAccess } from './access-check'
import { x87Stored } from './x87-basic'
import { readTlb, writeTlb, address } from './operand'
import { sseOp } from './sse'
import { x87RecordsPointers, x87Op } from './x87'
import { tlbRead } from './tlb'

/** @returns false with #UD or #NM pending */
function available(cpu: usize, aux: u32): bool {
  const block = load<u32>(cpu, FPU_BLOCK)
  if (!block) return pendingX87(cpu, aux)
  if (block & 1 || (aux & SIMD_XMM && block & 4)) { raise(cpu, VEC_UD, 0); return false }
  if (block & 2) { raise(cpu, VEC_NM, 0); return false }
  return pendingX87(cpu, aux)
}
/** MMX instructions wait for unmasked x87 exceptions. */
function pendingX87(cpu: usize, aux: u32): bool {
  if (aux & SIMD_MMX && load<u16>(cpu, FSW) & 0x80) { raise(cpu, 16, 0); return false }
  return true
}

/** From x87 to MMX: all registers valid, TOP 0. */
function enterMmx(cpu: usize): void {
  store<u16>(cpu, load<u16>(cpu, FSW) & ~0x3800, FSW)
  store<u8>(cpu, 0xff, FTW)
}

function finish(cpu: usize, aux: u32, d: usize, vector: i32): u32 {
  if (aux & SIMD_MMX) enterMmx(cpu) // even when the conversion raises #XM
  if (vector) {
    // Without OSXMMEXCPT an unmasked SIMD exception is #UD (SDM volume 3, 2.5).
    raise(cpu, vector == 19 && !(load<u32>(cpu, CR4) & 0x400) ? VEC_UD : vector, 0)
    return 1
  }
  if (aux & SIMD_MMX_DST && d >= cpu + FPR && d < cpu + FPR + 128) store<u16>(d, 0xffff, 8)
  return 0
}

export function execSimdRegister(cpu: usize, u: usize): u32 {
  const aux: u32 = load<u8>(u, UOP_AUX)
  if (!available(cpu, aux)) return 1
  const d: usize = cpu + load<u16>(u, UOP_D)
  const s: usize = cpu + load<u16>(u, UOP_S)
  if (aux & SIMD_MASKMOV) return maskedMove(cpu, u, aux, d, s)
  return finish(cpu, aux, d, sseOp(cpu, load<u32>(u, UOP_X), d, s, <u32>load<u64>(u, UOP_IMM) & 0xff))
}

/** An operand that must be aligned is not: #GP, but a stack address that is not canonical is #SS as ever. */
export function misaligned(cpu: usize, u: usize, va: u64): void {
  if (load<i32>(cpu, EXCEPTION) >= 0) return
  raise(cpu, isStack(u) && !canonical(va) ? VEC_SS : VEC_GP, 0)
}

/** Is the memory operand relative to SS, so that it raises #SS? */
export function isStack(u: usize): bool { return (load<u8>(u, UOP_LEN) & LEN_STACK) != 0 }

export function execSimdLoad(cpu: usize, u: usize): u32 {
  const aux: u32 = load<u8>(u, UOP_AUX)
  if (!available(cpu, aux)) return 1
  const immediate = load<u64>(u, UOP_IMM)
  const bytes = <u32>(immediate >> 16)
  const va = address(cpu, u, bytes)
  if (aux & SIMD_ALIGN && va & 15) { misaligned(cpu, u, va); return 1 }
  let p: usize = slowAccess ? 0 : tlbRead(readTlb(cpu), va, bytes)
  if (!p) {
    p = readFor(cpu, isStack(u), va, bytes, load<u32>(cpu, CPL) == 3, cpu + TMP)
    if (!p) return 1
  }
  const d: usize = cpu + load<u16>(u, UOP_D)
  return finish(cpu, aux, d, sseOp(cpu, load<u32>(u, UOP_X), d, p, <u32>immediate & 0xff))
}

export function execSimdStore(cpu: usize, u: usize): u32 {
  const aux: u32 = load<u8>(u, UOP_AUX)
  if (!available(cpu, aux)) return 1
  const immediate = load<u64>(u, UOP_IMM)
  const bytes = <u32>(immediate >> 16)
  const va = address(cpu, u, bytes | 0x10000)
  if (aux & SIMD_ALIGN && va & 15) { misaligned(cpu, u, va); return 1 }
  const p: usize = slowAccess ? 0 : tlbRead(writeTlb(cpu), va, bytes)
  const user = load<u32>(cpu, CPL) == 3
  if (!p && !probeWrite(cpu, isStack(u), va, bytes, user)) return 1
  const buffer = cpu + TMP
  if (finish(cpu, aux, buffer, sseOp(cpu, load<u32>(u, UOP_X), buffer, cpu + load<u16>(u, UOP_S), <u32>immediate & 0xff))) return 1
  if (p) {
    if (bytes == 16) v128.store(p, v128.load(buffer))
    else if (bytes == 8) store<u64>(p, load<u64>(buffer))
    else if (bytes == 4) store<u32>(p, load<u32>(buffer))
    else memory.copy(p, buffer, bytes)
    return 0
  }
  return writeFor(cpu, isStack(u), va, bytes, user, buffer)
}

/** MASKMOVQ/MASKMOVDQU: bytes whose mask byte is negative go to DS:rDI. */
function maskedMove(cpu: usize, u: usize, aux: u32, data: usize, mask: usize): u32 {
  const bytes = load<u32>(u, UOP_IMM)
  const va = address(cpu, u, bytes | 0x10000)
  const user = load<u32>(cpu, CPL) == 3
  if (aux & SIMD_MMX) enterMmx(cpu) // before the store may fault
  for (let i: u32 = 0; i < bytes; i++) {
    if (load<i8>(mask + i) < 0 && !probeWrite(cpu, false, va + i, 1, user)) return 1
  }
  for (let i: u32 = 0; i < bytes; i++) {
    if (load<i8>(mask + i) < 0 && writeFor(cpu, false, va + i, 1, user, data + i)) return 1
  }
  return 0
}

export function execX87(cpu: usize, u: usize): u32 {
  const op: i32 = load<i32>(u, UOP_X)
  const aux: u32 = load<u8>(u, UOP_AUX)
  const packed = load<u64>(u, UOP_IMM)
  const bytes = <u32>packed & 0xffff
  const block = load<u32>(cpu, FPU_BLOCK)
  if (block) {
    if (op == X87_LDMXCSR || op == X87_STMXCSR) {
      if (block & 5) { raise(cpu, VEC_UD, 0); return 1 }
      raise(cpu, VEC_NM, 0)
      return 1
    }
    if (op == X87_EMMS && block & 1) { raise(cpu, VEC_UD, 0); return 1 }
    if (op == X87_FWAIT ? (load<u32>(cpu, CR0) & 10) == 10 : (block & 3) != 0) { raise(cpu, VEC_NM, 0); return 1 }
  }
  const user = load<u32>(cpu, CPL) == 3
  let va: u64 = 0
  let p: usize = cpu + TMP
  if (aux & (X87_LOAD | X87_STORE)) {
    // An exception that an earlier instruction left behind comes before the operand's page fault.
    if (!(aux & X87_NO_WAIT) && load<u16>(cpu, FSW) & 0x80) { raise(cpu, 16, 0); return 1 }
    const write = (aux & X87_STORE) != 0
    va = address(cpu, u, bytes | (write ? 0x10000 : 0))
    if (bytes == 512 && va & 15) { misaligned(cpu, u, va); return 1 }
    if (write) { if (!probeWrite(cpu, isStack(u), va, bytes, user)) return 1 }
    else {
      p = readFor(cpu, isStack(u), va, bytes, user, cpu + TMP)
      if (!p) return 1
    }
  } else if (bytes == 0 && op == X87_FNSTSW_AX) p = cpu + GPR
  // FXSAVE leaves reserved bytes alone: they must come from memory.
  if (aux & X87_STORE && bytes == 512) {
    const old = readFor(cpu, isStack(u), va, bytes, user, cpu + TMP)
    if (!old) return 1
    if (old != cpu + TMP) memory.copy(cpu + TMP, old, bytes)
    p = cpu + TMP
  }
  if (x87RecordsPointers(op)) {
    store<u64>(cpu, load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET), FIP)
    store<u16>(cpu, load<u16>(cpu + SEG + CS * SEG_SIZE, SEG_SELECTOR), FCS)
    store<u16>(cpu, <u16>(packed >> 24) & 0x7ff, FOP)
    if (aux & (X87_LOAD | X87_STORE)) {
      const bits: u32 = load<u8>(u, UOP_SEG)
      store<u64>(cpu, va, FDP)
      store<u16>(cpu, load<u16>(cpu + SEG + (bits & AS_LEGACY ? bits & AS_SEG : DS) * SEG_SIZE, SEG_SELECTOR), FDS)
    }
  }
  const vector = x87Op(cpu, op, load<u16>(u, UOP_S), p)
  if (vector) { raise(cpu, vector, 0); return 1 }
  // An unmasked exception suppresses the store.
  return aux & X87_STORE && x87Stored ? writeFor(cpu, isStack(u), va, bytes, user, cpu + TMP) : 0
}
