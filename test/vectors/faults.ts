/** Faults for the core that the vectors must catch: each is one text replacement in one file of hypervisor/tcg/core. */
import { CoreExecutor } from './core.ts'
import { allGroups, unitOf } from './groups.ts'
import { replay } from './replay.ts'

export interface Fault {
  readonly name: string
  /** File in hypervisor/tcg/core. */
  readonly file: string
  /** Occurs exactly once in it. */
  readonly from: string
  readonly to: string
}

export const VECTOR_FAULTS: readonly Fault[] = [
  { name: 'AF of a subtraction is that of an addition', file: 'flags.ts', from: 'case CC_SUB >> 2: return <u32>((dst + src) ^ src ^ dst) & FL_AF', to: 'case CC_SUB >> 2: return <u32>((dst - src) ^ src ^ dst) & FL_AF' },
  { name: 'CF of SBB with borrow misses equality', file: 'flags.ts', from: 'return carry ? u32(<u64>a <= <u64>src) : u32(<u64>a < <u64>src)', to: 'return u32(<u64>a < <u64>src)' },
  { name: 'the high half of a signed product is not corrected', file: 'alu.ts', from: 'if (b < 0) highHalf -= <u64>a', to: '' },
  { name: 'the remainder of a wide division stays normalised', file: 'alu.ts', from: 'remainder = rem >> shift', to: 'remainder = rem' },
  { name: 'a quotient that does not fit is no #DE', file: 'alu.ts', from: 'if (quotient > mask(size)) return false', to: '' },
  { name: 'REP MOVS onto its own source does not repeat the pattern', file: 'string.ts', from: 'if (to > from && to < from + bytes) for', to: 'if (to > from && to < from) for' },
  { name: 'REPNE ends like REPE', file: 'string.ts', from: '(aux & AUX_REP) != 0 ? flagZ(cpu) == 0 : flagZ(cpu) != 0', to: 'flagZ(cpu) == 0' },
  { name: 'a bit string stays inside its operand', file: 'generic.ts', from: '(index >> <i64>(3 + size)) << <i64>size : 0', to: '0 : 0' },
  { name: 'REX does not turn AH into SPL', file: 'decode.ts', from: 'if (size == 0 && !rex && n >= 4 && n < 8)', to: 'if (size == 0 && n >= 4 && n < 8)' },
  { name: 'RIP-relative addresses count from the start of the instruction', file: 'decode.ts', from: '<i32>load<u16>(u, UOP_OFFSET) + <i32>length, UOP_DISP)', to: '<i32>load<u16>(u, UOP_OFFSET), UOP_DISP)' },
  { name: 'a conditional move that does not happen leaves the upper half', file: 'exec.ts', from: 'if (condition(cpu, load<u32>(u, UOP_X))) reg32(cpu, u, s32(cpu, u)); else reg32(cpu, u, d32(cpu, u))', to: 'if (condition(cpu, load<u32>(u, UOP_X))) reg32(cpu, u, s32(cpu, u))' },
  { name: 'a misaligned SSE operand does not fault', file: 'simd.ts', from: 'if (aux & SIMD_ALIGN && va & 15) { misaligned(cpu, u, va); return 1 }\n  let p', to: 'let p' },
  { name: 'PACKUSWB saturates signed', file: 'sse-int.ts', from: 'case SSE_PACKUSWB: put(d, i8x16.narrow_i16x8_u(', to: 'case SSE_PACKUSWB: put(d, i8x16.narrow_i16x8_s(' },
  { name: 'ties round away from zero instead of to even', file: 'softfloat-core.ts', from: 'if (sfRound == 0) return half && (rest || odd)', to: 'if (sfRound == 0) return half' },
  { name: 'ARPL lowers an RPL, too', file: 'generic.ts', from: '      const lower = (d & 3) < (s & 3)\n      if (lower) {', to: '      const lower = (d & 3) < (s & 3)\n      if (true) {' },
  { name: 'an MMX instruction leaves the x87 tags', file: 'simd.ts', from: '  store<u8>(cpu, 0xff, FTW)\n', to: '' },
  { name: 'FPREM reports the quotient in the wrong condition bits', file: 'x87.ts', from: '(fxQuotient & 4 ? C0 : 0) | (fxQuotient & 2 ? C3 : 0)', to: '(fxQuotient & 4 ? C3 : 0) | (fxQuotient & 2 ? C0 : 0)' },
  { name: 'a write fault in user mode says supervisor', file: 'mmu.ts', from: '(u32(user) << 2)', to: '(u32(user && access != ACCESS_WRITE) << 2)' },
]

/** Replays the vectors until one disagrees. @param wasm file with a build of the core; @returns what disagreed first, '' if nothing did */
export function caughtByVectors(wasm: string): string {
  const core = new CoreExecutor(wasm)
  for (const unit of [...new Set(allGroups().map(unitOf))]) {
    try {
      const found = replay(core, unit, { path: 'run', specialised: true }).disagreements[0]
      if (found !== undefined) return `${found.group}: ${found.examples[0] ?? ''}`
    } catch (error) {
      return `${unit}: ${String(error)}`
    }
  }
  return ''
}
