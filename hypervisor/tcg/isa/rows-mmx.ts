/**
 * Decode rows of the MMX instructions, with the SSE, SSE2 and SSSE3 additions that work on MMX registers (Intel SDM volume 2).
 * Form tokens as in rows-sse.ts. Leaves out EMMS (an x87 state instruction), 3DNow! and the MMX <-> XMM conversions (rows-sse.ts).
 */
import { PACKED_INTEGER, SHIFT_IMMEDIATE } from './rows-sse.ts'
import type { Row } from './row.ts'

function row(name: string, op: number, form: string, handler = name.toUpperCase(), more: Partial<Row> = {}): Row {
  const mod = /(^|,)N(,|$)/.test(form) ? { mod: 'r' as const } : /(^|,)M\d/.test(form) ? { mod: 'm' as const } : {}
  return { name, op, pp: 0, ...mod, form, handler: `MMX_${handler}`, unit: 'mmx', ...more }
}

export const MMX_ROWS: readonly Row[] = [
  row('movd', 0x0f6e, 'P,E4', 'LOAD4', { w: 0 }), row('movq', 0x0f6e, 'P,E8', 'MOVQ', { w: 1 }),
  row('movd', 0x0f7e, 'E4,P', 'STORE4', { w: 0 }), row('movq', 0x0f7e, 'E8,P', 'MOVQ', { w: 1 }),
  row('movq', 0x0f6f, 'P,Q8'), row('movq', 0x0f7f, 'Q8,P'), row('movntq', 0x0fe7, 'M8,P', 'MOVQ'),
  row('pmovmskb', 0x0fd7, 'G,N'), row('maskmovq', 0x0ff7, 'maskmov', 'MASKMOVQ', { mod: 'r' }),
  row('pand', 0x0fdb, 'P,Q8'), row('pandn', 0x0fdf, 'P,Q8'), row('por', 0x0feb, 'P,Q8'), row('pxor', 0x0fef, 'P,Q8'),
  // The low unpacks read only the half that they use.
  row('punpcklbw', 0x0f60, 'P,Q4'), row('punpcklwd', 0x0f61, 'P,Q4'), row('punpckldq', 0x0f62, 'P,Q4'),
  ...Object.entries(PACKED_INTEGER).map(([name, op]) => row(name, op, 'P,Q8')),
  ...SHIFT_IMMEDIATE.map(([name, op, reg]) => row(name, op, 'N,Ib', `${name.toUpperCase()}_I`, { reg })),
  row('pshufw', 0x0f70, 'P,Q8,Ib'), row('palignr', 0x0f3a0f, 'P,Q8,Ib'),
  row('pinsrw', 0x0fc4, 'P,E2,Ib'), row('pextrw', 0x0fc5, 'G,N,Ib'),
]
