/**
 * Decode rows of the x87 instructions (D8..DF, 9B), FXSAVE/FXRSTOR/LDMXCSR/STMXCSR (0F AE) and EMMS (0F 77). SDM volume 2, appendix A.5 and B.17;
 * undocumented doubles of FCOM, FCOMP, FXCH and FSTP included, because processors execute them.
 *
 * Forms: `ldN` memory operand of N bytes is loaded; `stN` is stored (the destination is probed first, and written back only when `x87Op`
 * returned 0; for `st512` the buffer is filled with the old contents first, since FXSAVE leaves parts of it alone);
 * `ldenv`/`stenv` 28 bytes, or with 16-bit operand size 14 bytes and operation number + 1; `ldsave`/`stsave` 108 or 94 bytes likewise;
 * `sti` ST(i) from ModRM.rm; `ax` the operand is AX; `none` no operand.
 */
import type { Row } from './row.ts'

type Extra = Partial<Row>

const ARITHMETIC = ['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr'] as const

function row(name: string, op: number, form: string, handler: string, extra: Extra): Row {
  return { name, op, form, handler: `X87_${handler}`, unit: 'x87', ...extra }
}

/** Memory operand, ModRM.reg extends the opcode. */
function memory(op: number, reg: number, name: string, form: string, handler: string, extra: Extra = {}): Row {
  return row(name, op, form, handler, { mod: 'm', reg, ...extra })
}

/** ST(i) in ModRM.rm. */
function stack(op: number, reg: number, name: string, handler: string): Row {
  return row(name, op, 'sti', handler, { mod: 'r', reg })
}

/** Both ModRM.reg and ModRM.rm extend the opcode: `modrm` is the whole byte. */
function fixed(op: number, modrm: number, name: string, handler = name.toUpperCase(), form = 'none', extra: Extra = {}): Row {
  return row(name, op, form, handler, { mod: 'r', reg: (modrm >> 3) & 7, rm: modrm & 7, ...extra })
}

/** Units in the last place by which a transcendental result may differ between processors. */
const TRANSCENDENTAL = { tolerance: 1 }

function arithmeticRows(): Row[] {
  const rows: Row[] = []
  ARITHMETIC.forEach((name, reg) => {
    const upper = name.toUpperCase()
    const integer = `fi${name.slice(1)}`
    rows.push(memory(0xd8, reg, name, 'ld4', `${upper}_M4`), memory(0xdc, reg, name, 'ld8', `${upper}_M8`))
    rows.push(memory(0xda, reg, integer, 'ld4', `${upper}_I4`), memory(0xde, reg, integer, 'ld2', `${upper}_I2`))
    rows.push(stack(0xd8, reg, name, `${upper}_ST`))
    if (reg === 2 || reg === 3) rows.push(stack(0xdc, reg, name, `${upper}_ST`))
  })
  // With ST(i) as the destination the encodings of the plain and the reversed form change places.
  const toStack = ['fadd', 'fmul', '', '', 'fsubr', 'fsub', 'fdivr', 'fdiv']
  toStack.forEach((name, reg) => {
    if (name === '') return
    rows.push(stack(0xdc, reg, name, `${name.toUpperCase()}_STI`), stack(0xde, reg, `${name}p`, `${name.toUpperCase()}_STIP`))
  })
  rows.push(stack(0xde, 2, 'fcomp', 'FCOMP_ST'), fixed(0xde, 0xd9, 'fcompp'))
  return rows
}

const LOAD_STORE: readonly Row[] = [
  memory(0xd9, 0, 'fld', 'ld4', 'FLD_M4'), memory(0xdd, 0, 'fld', 'ld8', 'FLD_M8'), memory(0xdb, 5, 'fld', 'ld10', 'FLD_M10'),
  stack(0xd9, 0, 'fld', 'FLD_STI'),
  memory(0xdf, 0, 'fild', 'ld2', 'FILD_I2'), memory(0xdb, 0, 'fild', 'ld4', 'FILD_I4'), memory(0xdf, 5, 'fild', 'ld8', 'FILD_I8'),
  memory(0xdf, 4, 'fbld', 'ld10', 'FBLD'),
  memory(0xd9, 2, 'fst', 'st4', 'FST_M4'), memory(0xd9, 3, 'fstp', 'st4', 'FSTP_M4'), memory(0xdd, 2, 'fst', 'st8', 'FST_M8'),
  memory(0xdd, 3, 'fstp', 'st8', 'FSTP_M8'), memory(0xdb, 7, 'fstp', 'st10', 'FSTP_M10'),
  stack(0xdd, 2, 'fst', 'FST_STI'), stack(0xdd, 3, 'fstp', 'FSTP_STI'),
  stack(0xd9, 3, 'fstpnce', 'FSTPNCE'), stack(0xdf, 2, 'fstp', 'FSTP_STI'), stack(0xdf, 3, 'fstp', 'FSTP_STI'),
  memory(0xdf, 2, 'fist', 'st2', 'FIST_I2'), memory(0xdf, 3, 'fistp', 'st2', 'FISTP_I2'), memory(0xdb, 2, 'fist', 'st4', 'FIST_I4'),
  memory(0xdb, 3, 'fistp', 'st4', 'FISTP_I4'), memory(0xdf, 7, 'fistp', 'st8', 'FISTP_I8'),
  memory(0xdf, 1, 'fisttp', 'st2', 'FISTTP_I2'), memory(0xdb, 1, 'fisttp', 'st4', 'FISTTP_I4'), memory(0xdd, 1, 'fisttp', 'st8', 'FISTTP_I8'),
  memory(0xdf, 6, 'fbstp', 'st10', 'FBSTP'),
]

const COMPARE: readonly Row[] = [
  stack(0xdd, 4, 'fucom', 'FUCOM'), stack(0xdd, 5, 'fucomp', 'FUCOMP'), fixed(0xda, 0xe9, 'fucompp'),
  stack(0xdb, 6, 'fcomi', 'FCOMI'), stack(0xdf, 6, 'fcomip', 'FCOMIP'), stack(0xdb, 5, 'fucomi', 'FUCOMI'), stack(0xdf, 5, 'fucomip', 'FUCOMIP'),
  fixed(0xd9, 0xe4, 'ftst'), fixed(0xd9, 0xe5, 'fxam'),
]

const REGISTER: readonly Row[] = [
  stack(0xd9, 1, 'fxch', 'FXCH'), stack(0xdd, 1, 'fxch', 'FXCH'), stack(0xdf, 1, 'fxch', 'FXCH'),
  stack(0xdd, 0, 'ffree', 'FFREE'), stack(0xdf, 0, 'ffreep', 'FFREEP'),
  fixed(0xd9, 0xf7, 'fincstp'), fixed(0xd9, 0xf6, 'fdecstp'), fixed(0xd9, 0xd0, 'fnop'),
  stack(0xda, 0, 'fcmovb', 'FCMOVB'), stack(0xda, 1, 'fcmove', 'FCMOVE'), stack(0xda, 2, 'fcmovbe', 'FCMOVBE'), stack(0xda, 3, 'fcmovu', 'FCMOVU'),
  stack(0xdb, 0, 'fcmovnb', 'FCMOVNB'), stack(0xdb, 1, 'fcmovne', 'FCMOVNE'), stack(0xdb, 2, 'fcmovnbe', 'FCMOVNBE'),
  stack(0xdb, 3, 'fcmovnu', 'FCMOVNU'),
]

const TOP: readonly Row[] = [
  fixed(0xd9, 0xe8, 'fld1'), fixed(0xd9, 0xe9, 'fldl2t'), fixed(0xd9, 0xea, 'fldl2e'), fixed(0xd9, 0xeb, 'fldpi'), fixed(0xd9, 0xec, 'fldlg2'),
  fixed(0xd9, 0xed, 'fldln2'), fixed(0xd9, 0xee, 'fldz'),
  fixed(0xd9, 0xe0, 'fchs'), fixed(0xd9, 0xe1, 'fabs'), fixed(0xd9, 0xfa, 'fsqrt'), fixed(0xd9, 0xfd, 'fscale'), fixed(0xd9, 0xf4, 'fxtract'),
  fixed(0xd9, 0xf8, 'fprem'), fixed(0xd9, 0xf5, 'fprem1'), fixed(0xd9, 0xfc, 'frndint'),
  fixed(0xd9, 0xf0, 'f2xm1', 'F2XM1', 'none', TRANSCENDENTAL), fixed(0xd9, 0xf1, 'fyl2x', 'FYL2X', 'none', TRANSCENDENTAL),
  fixed(0xd9, 0xf9, 'fyl2xp1', 'FYL2XP1', 'none', TRANSCENDENTAL), fixed(0xd9, 0xf2, 'fptan', 'FPTAN', 'none', TRANSCENDENTAL),
  fixed(0xd9, 0xf3, 'fpatan', 'FPATAN', 'none', TRANSCENDENTAL), fixed(0xd9, 0xfe, 'fsin', 'FSIN', 'none', TRANSCENDENTAL),
  fixed(0xd9, 0xff, 'fcos', 'FCOS', 'none', TRANSCENDENTAL), fixed(0xd9, 0xfb, 'fsincos', 'FSINCOS', 'none', TRANSCENDENTAL),
]

const CONTROL: readonly Row[] = [
  memory(0xd9, 4, 'fldenv', 'ldenv', 'FLDENV'), memory(0xd9, 6, 'fnstenv', 'stenv', 'FNSTENV'), memory(0xdd, 4, 'frstor', 'ldsave', 'FRSTOR'),
  memory(0xdd, 6, 'fnsave', 'stsave', 'FNSAVE'), memory(0xd9, 5, 'fldcw', 'ld2', 'FLDCW'), memory(0xd9, 7, 'fnstcw', 'st2', 'FNSTCW'),
  memory(0xdd, 7, 'fnstsw', 'st2', 'FNSTSW'), fixed(0xdf, 0xe0, 'fnstsw', 'FNSTSW_AX', 'ax'),
  fixed(0xdb, 0xe3, 'fninit'), fixed(0xdb, 0xe2, 'fnclex'),
  // 8087 and 80287 leftovers FNENI, FNDISI, FNSETPM: no operation, not even a look at pending exceptions.
  fixed(0xdb, 0xe0, 'fneni', 'FNNOP'), fixed(0xdb, 0xe1, 'fndisi', 'FNNOP'), fixed(0xdb, 0xe4, 'fnsetpm', 'FNNOP'),
  row('fwait', 0x9b, 'none', 'FWAIT', {}),
  memory(0x0fae, 0, 'fxsave', 'st512', 'FXSAVE', { pp: 0, w: 0 }), memory(0x0fae, 0, 'fxsave64', 'st512', 'FXSAVE64', { pp: 0, w: 1 }),
  memory(0x0fae, 1, 'fxrstor', 'ld512', 'FXRSTOR', { pp: 0, w: 0 }), memory(0x0fae, 1, 'fxrstor64', 'ld512', 'FXRSTOR64', { pp: 0, w: 1 }),
  memory(0x0fae, 2, 'ldmxcsr', 'ld4', 'LDMXCSR', { pp: 0, unit: 'sse' }), memory(0x0fae, 3, 'stmxcsr', 'st4', 'STMXCSR', { pp: 0, unit: 'sse' }),
  row('emms', 0x0f77, 'none', 'EMMS', { pp: 0, unit: 'mmx' }),
]

export const X87_ROWS: readonly Row[] = [...arithmeticRows(), ...LOAD_STORE, ...COMPARE, ...REGISTER, ...TOP, ...CONTROL]

/** Handlers that do not look for pending unmasked exceptions; `x87Op` knows it too. */
export const X87_NO_WAIT: ReadonlySet<string> = new Set([
  'X87_FNSTENV', 'X87_FNSTENV14', 'X87_FNSAVE', 'X87_FNSAVE94', 'X87_FNSTCW', 'X87_FNSTSW', 'X87_FNSTSW_AX', 'X87_FNINIT', 'X87_FNCLEX',
  'X87_FXSAVE', 'X87_FXSAVE64', 'X87_FXRSTOR', 'X87_FXRSTOR64', 'X87_LDMXCSR', 'X87_STMXCSR', 'X87_FNNOP',
])
