/** Exceptions: their vectors, and how one becomes pending. interrupt.ts delivers it. */
import { EXCEPTION, ERROR_CODE, CPL } from './layout'

export const VEC_DB: i32 = 1, VEC_UD: i32 = 6, VEC_NM: i32 = 7, VEC_DF: i32 = 8, VEC_TS: i32 = 10, VEC_NP: i32 = 11, VEC_SS: i32 = 12, VEC_GP: i32 = 13, VEC_PF: i32 = 14, VEC_AC: i32 = 17

/** Marks an exception as pending; the run loop delivers it with the RIP of the instruction. */
export function raise(cpu: usize, vector: i32, error: u32): void {
  store<i32>(cpu, vector, EXCEPTION)
  store<u32>(cpu, error, ERROR_CODE)
}

/** @returns 1, as handlers of instructions do that leave their block */
export function fault(cpu: usize, vector: i32, error: u32): u32 { raise(cpu, vector, error); return 1 }

/** CPL 0 (real mode counts). */
export function privileged(cpu: usize): bool {
  if (load<u32>(cpu, CPL) == 0) return true
  raise(cpu, VEC_GP, 0)
  return false
}
