/** What the handlers of exec.ts are made of, all inlined: operands in registers, the TLB look-up of loads and stores, arithmetic that leaves lazy flags. */
import {
  GPR, CC_OP, CC_DST, CC_SRC, CC_SRC2, SCRATCH, CC_ADD, CC_ADC, CC_SUB, CC_SBB, CC_LOGIC, UOP_D, UOP_S, UOP_IMM, UOP_DISP, UOP_BASE, UOP_INDEX,
  UOP_SCALE, UOP_SEG,
} from './layout'
import { slowRead, slowWrite, slowModify, commitWrite } from './access'
import { eaSlow } from './address'
import { setcc, flagC, flagO, flagS } from './flags'

// @ts-ignore: decorator
@inline export function ea(cpu: usize, u: usize, access: u32): u64 {
  return load<u8>(u, UOP_SEG)
    ? eaSlow(cpu, u, access)
    : load<u64>(cpu + load<u16>(u, UOP_BASE)) + (load<u64>(cpu + load<u16>(u, UOP_INDEX)) << load<u8>(u, UOP_SCALE)) + <i64>load<i32>(u, UOP_DISP)
}

// @ts-ignore: decorator
@inline export function hit<T>(tlb: usize, va: u64): usize {
  const e: usize = tlb + ((<usize>(va >> 8)) & 0x3ff0)
  return load<u64>(e) == ((va + (sizeof<T>() - 1)) & ~0xfff) ? <usize>va + load<u32>(e, 8) : 0
}

/** Pointer to the bytes of a load, 0 with an exception pending. */
// @ts-ignore: decorator
@inline export function readPointer<T>(cpu: usize, u: usize, tlb: usize): usize {
  const va = ea(cpu, u, sizeof<T>())
  const p = hit<T>(tlb, va)
  return p ? p : slowRead(cpu, u, va, sizeof<T>())
}

/** @returns false with an exception pending */
// @ts-ignore: decorator
@inline export function writeMemory<T>(cpu: usize, u: usize, tlb: usize, value: T): bool {
  const va = ea(cpu, u, sizeof<T>() | 0x10000)
  const p = hit<T>(tlb, va)
  if (p) { store<T>(p, value); return true }
  return slowWrite(cpu, u, va, sizeof<T>(), <u64>value) == 0
}

/** Pointer for a read-modify-write, 0 with an exception pending. SCRATCH must be committed (commit). */
// @ts-ignore: decorator
@inline export function modifyPointer<T>(cpu: usize, u: usize, tlb: usize): usize {
  const va = ea(cpu, u, sizeof<T>() | 0x10000)
  const p = hit<T>(tlb, va)
  return p ? p : slowModify(cpu, u, va, sizeof<T>())
}

// @ts-ignore: decorator
@inline export function commit<T>(cpu: usize, u: usize, p: usize): void {
  if (p == cpu + SCRATCH) commitWrite(cpu, u, ea(cpu, u, sizeof<T>() | 0x10000), sizeof<T>())
}

// @ts-ignore: decorator
@inline export function reg32(cpu: usize, u: usize, value: i32): void { store<u64>(cpu + load<u16>(u, UOP_D), <u64>value & 0xffffffff) } // a cast through u32 is lost when the argument is inlined

// @ts-ignore: decorator
@inline export function d32(cpu: usize, u: usize): i32 { return load<i32>(cpu + load<u16>(u, UOP_D)) }

// @ts-ignore: decorator
@inline export function s32(cpu: usize, u: usize): i32 { return load<i32>(cpu + load<u16>(u, UOP_S)) }

// @ts-ignore: decorator
@inline export function d64(cpu: usize, u: usize): i64 { return load<i64>(cpu + load<u16>(u, UOP_D)) }

// @ts-ignore: decorator
@inline export function s64(cpu: usize, u: usize): i64 { return load<i64>(cpu + load<u16>(u, UOP_S)) }

// @ts-ignore: decorator
@inline export function imm32(u: usize): i32 { return load<i32>(u, UOP_IMM) }

// @ts-ignore: decorator
@inline export function imm64(u: usize): i64 { return load<i64>(u, UOP_IMM) }

// @ts-ignore: decorator
@inline export function set64(cpu: usize, u: usize, value: i64): void { store<i64>(cpu + load<u16>(u, UOP_D), value) }

// @ts-ignore: decorator
@inline export function add32(cpu: usize, a: i32, b: i32): i32 { const r = a + b; setcc(cpu, CC_ADD + 2, r, b); return r }

// @ts-ignore: decorator
@inline export function add64(cpu: usize, a: i64, b: i64): i64 { const r = a + b; setcc(cpu, CC_ADD + 3, r, b); return r }

// @ts-ignore: decorator
@inline export function sub32(cpu: usize, a: i32, b: i32): i32 { const r = a - b; setcc(cpu, CC_SUB + 2, r, b); return r }

// @ts-ignore: decorator
@inline export function sub64(cpu: usize, a: i64, b: i64): i64 { const r = a - b; setcc(cpu, CC_SUB + 3, r, b); return r }

// @ts-ignore: decorator
@inline export function logic32(cpu: usize, r: i32): i32 { setcc(cpu, CC_LOGIC + 2, r, 0); return r }

// @ts-ignore: decorator
@inline export function logic64(cpu: usize, r: i64): i64 { setcc(cpu, CC_LOGIC + 3, r, 0); return r }

/** CF of the frequent producers without a call. */
// @ts-ignore: decorator
@inline export function carry(cpu: usize): u32 {
  const op = load<u32>(cpu, CC_OP)
  if (op == CC_SUB + 3) return u32(load<u64>(cpu, CC_DST) + load<u64>(cpu, CC_SRC) < load<u64>(cpu, CC_SRC))
  if (op == CC_ADD + 3) return u32(load<u64>(cpu, CC_DST) < load<u64>(cpu, CC_SRC))
  if (op == CC_SUB + 2) return u32(load<u32>(cpu, CC_DST) + load<u32>(cpu, CC_SRC) < load<u32>(cpu, CC_SRC))
  return flagC(cpu)
}

// @ts-ignore: decorator
@inline export function adc32(cpu: usize, a: i32, b: i32): i32 { const c = carry(cpu); const r = a + b + c; setcc(cpu, CC_ADC + 2, r, b); store<u64>(cpu, c, CC_SRC2); return r }

// @ts-ignore: decorator
@inline export function adc64(cpu: usize, a: i64, b: i64): i64 { const c: i64 = carry(cpu); const r = a + b + c; setcc(cpu, CC_ADC + 3, r, b); store<i64>(cpu, c, CC_SRC2); return r }

// @ts-ignore: decorator
@inline export function sbb32(cpu: usize, a: i32, b: i32): i32 { const c = carry(cpu); const r = a - b - c; setcc(cpu, CC_SBB + 2, r, b); store<u64>(cpu, c, CC_SRC2); return r }

// @ts-ignore: decorator
@inline export function sbb64(cpu: usize, a: i64, b: i64): i64 { const c: i64 = carry(cpu); const r = a - b - c; setcc(cpu, CC_SBB + 3, r, b); store<i64>(cpu, c, CC_SRC2); return r }

// @ts-ignore: decorator
@inline export function below(cpu: usize): u32 { return carry(cpu) }

/** SF != OF */
// @ts-ignore: decorator
@inline export function less(cpu: usize): u32 {
  const op = load<u32>(cpu, CC_OP)
  if (op == CC_SUB + 3) return u32(load<i64>(cpu, CC_DST) + load<i64>(cpu, CC_SRC) < load<i64>(cpu, CC_SRC))
  if (op == CC_SUB + 2) return u32(load<i32>(cpu, CC_DST) + load<i32>(cpu, CC_SRC) < load<i32>(cpu, CC_SRC))
  return flagS(cpu) ^ flagO(cpu)
}
