/**
 * Entry to the SIMD instructions: MMX, SSE, SSE2, SSE3, SSSE3, SSE4.1 and SSE4.2 (Intel SDM volume 2). The caller decodes, checks CR0 and CR4,
 * moves memory operands through the operand buffer, and does the x87 side effects of MMX and the stores of MASKMOVDQU and MASKMOVQ.
 */
import { mmxOp } from './mmx'
import { sseConvert } from './sse-cvt'
import { sseFloat } from './sse-fp'
import { sseInteger } from './sse-int'
import { MMX_FIRST, SSE_CVT_FIRST, SSE_FP_FIRST } from './sse-ops'

export { mmxOp } from './mmx'

/**
 * Runs one instruction. `op`: number of sse-ops.ts. `d`, `s`: addresses of destination (also first operand) and source: a register, or the
 * operand buffer with as many valid bytes as the row says (as a destination it takes 16). General registers are read at operand width and
 * written as 64 bits. `imm`: imm8, zero-extended. Returns 0, or the vector to raise (6 #UD, 19 #XM) with the destination unchanged.
 */
export function sseOp(cpu: usize, op: i32, d: usize, s: usize, imm: i32): i32 {
  if (op < SSE_FP_FIRST) return sseInteger(cpu, op, d, s, imm)
  if (op < SSE_CVT_FIRST) return sseFloat(cpu, op, d, s, imm)
  return op < MMX_FIRST ? sseConvert(cpu, op, d, s) : mmxOp(cpu, op, d, s, imm)
}
