/** Takes out of a final snapshot what does not count: undefined flags, results that are random by nature, pointers nobody promises. */
import { S_CR2, S_GPR, S_RFLAGS, S_SELECTORS, S_TRAP, USER_CODE32 } from './arena.ts'
import type { State } from './state.ts'

/** Sets every byte and flag of `final` that does not count to its initial value. */
export function normalise(state: State, final: Uint8Array): void {
  const view = new DataView(final.buffer, final.byteOffset)
  const flags = view.getUint32(S_RFLAGS, true), initial = state.view.getUint32(S_RFLAGS, true)
  view.setUint32(S_RFLAGS, (flags & state.flagsMask) | (initial & ~state.flagsMask), true)
  view.setUint32(S_RFLAGS + 4, 0, true)
  if (view.getUint32(S_TRAP, true) === 3) {
    for (let i = 0; i < state.ignored.length; i += 2) {
      const at = state.ignored[i]!, length = state.ignored[i + 1]!
      final.set(state.bytes.subarray(at, at + length), at)
    }
  }
  // A null selector with an RPL becomes plain zero on the next return to user mode, hence before it can be read back natively.
  for (let at = S_SELECTORS; at < S_SELECTORS + 12; at += 2) if (view.getUint16(at, true) < 4) view.setUint16(at, 0, true)
  // Which byte of an operand in several parts is touched first is nobody's promise: its page is.
  if (state.wideOperand) view.setUint16(S_CR2, view.getUint16(S_CR2, true) & 0xf000, true)
  // Outside 64-bit mode the upper halves are undefined.
  if (state.mode === 32 || view.getUint16(S_SELECTORS + 2, true) === USER_CODE32) for (let register = 0; register < 16; register++) view.setUint32(S_GPR + register * 8 + 4, 0, true)
}
