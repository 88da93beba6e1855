/**
 * Decode rows of the XMM instructions: SSE, SSE2, SSE3, SSSE3, SSE4.1 and SSE4.2 (Intel SDM volume 2, and appendix A for the opcode maps).
 * Leaves out AES, PCLMULQDQ and SHA (not offered in CPUID), and what touches no XMM register (CRC32, POPCNT, MOVNTI, fences, prefetches).
 *
 * Form tokens, destination first: V = XMM by ModRM.reg, W<n> = XMM or n bytes of memory by ModRM.rm, U = XMM by rm (register only),
 * M<n> = memory only, P = MMX by reg, Q<n> = MMX or memory by rm, N = MMX by rm (register only), G = general register by reg (written as
 * 64 bits), E<n> = general register or memory by rm, Ib = imm8. A suffix `a`: memory that is not aligned to 16 bytes raises #GP.
 * `maskmov` = the byte-masked store to [RDI] (MASKMOVDQU, MASKMOVQ). Handlers are the constants of core/sse-ops.ts.
 */
import type { Row } from './row.ts'

type Prefix = 0 | 0x66 | 0xf2 | 0xf3

/** One row; ModRM.mod follows from the form, unless a register form and a memory form of one opcode differ in meaning. */
function row(name: string, op: number, pp: Prefix, form: string, handler = name.toUpperCase(), more: Partial<Row> = {}): Row {
  const mod = /(^|,)[UN](,|$)/.test(form) ? { mod: 'r' as const } : /(^|,)M\d/.test(form) ? { mod: 'm' as const } : {}
  return { name, op, pp, ...mod, form, handler: `SSE_${handler}`, unit: 'sse', ...more }
}

/** Rows that share prefix and form and whose handler is the mnemonic. */
function rows(pp: Prefix, form: string, opcodes: Readonly<Record<string, number>>): Row[] {
  return Object.entries(opcodes).map(([name, op]) => row(name, op, pp, form))
}

/** Packed integer instructions that exist with the same opcode for MMX registers (no prefix) and XMM registers (66). */
export const PACKED_INTEGER: Readonly<Record<string, number>> = {
  packsswb: 0x0f63, pcmpgtb: 0x0f64, pcmpgtw: 0x0f65, pcmpgtd: 0x0f66, packuswb: 0x0f67, punpckhbw: 0x0f68, punpckhwd: 0x0f69,
  punpckhdq: 0x0f6a, packssdw: 0x0f6b, pcmpeqb: 0x0f74, pcmpeqw: 0x0f75, pcmpeqd: 0x0f76,
  psrlw: 0x0fd1, psrld: 0x0fd2, psrlq: 0x0fd3, paddq: 0x0fd4, pmullw: 0x0fd5, psubusb: 0x0fd8, psubusw: 0x0fd9, pminub: 0x0fda,
  paddusb: 0x0fdc, paddusw: 0x0fdd, pmaxub: 0x0fde, pavgb: 0x0fe0, psraw: 0x0fe1, psrad: 0x0fe2, pavgw: 0x0fe3, pmulhuw: 0x0fe4,
  pmulhw: 0x0fe5, psubsb: 0x0fe8, psubsw: 0x0fe9, pminsw: 0x0fea, paddsb: 0x0fec, paddsw: 0x0fed, pmaxsw: 0x0fee,
  psllw: 0x0ff1, pslld: 0x0ff2, psllq: 0x0ff3, pmuludq: 0x0ff4, pmaddwd: 0x0ff5, psadbw: 0x0ff6, psubb: 0x0ff8, psubw: 0x0ff9,
  psubd: 0x0ffa, psubq: 0x0ffb, paddb: 0x0ffc, paddw: 0x0ffd, paddd: 0x0ffe,
  pshufb: 0x0f3800, phaddw: 0x0f3801, phaddd: 0x0f3802, phaddsw: 0x0f3803, pmaddubsw: 0x0f3804, phsubw: 0x0f3805, phsubd: 0x0f3806,
  phsubsw: 0x0f3807, psignb: 0x0f3808, psignw: 0x0f3809, psignd: 0x0f380a, pmulhrsw: 0x0f380b, pabsb: 0x0f381c, pabsw: 0x0f381d, pabsd: 0x0f381e,
}

/** Shifts by an immediate: mnemonic, opcode, ModRM.reg. */
export const SHIFT_IMMEDIATE: readonly (readonly [string, number, number])[] = [
  ['psrlw', 0x0f71, 2], ['psraw', 0x0f71, 4], ['psllw', 0x0f71, 6], ['psrld', 0x0f72, 2], ['psrad', 0x0f72, 4], ['pslld', 0x0f72, 6],
  ['psrlq', 0x0f73, 2], ['psllq', 0x0f73, 6],
]

const MOVES: readonly Row[] = [
  row('movups', 0x0f10, 0, 'V,W16', 'MOV16'), row('movups', 0x0f11, 0, 'W16,V', 'MOV16'),
  row('movupd', 0x0f10, 0x66, 'V,W16', 'MOV16'), row('movupd', 0x0f11, 0x66, 'W16,V', 'MOV16'),
  row('movss', 0x0f10, 0xf3, 'V,U', 'MOV4'), row('movss', 0x0f10, 0xf3, 'V,M4', 'LOAD4'), row('movss', 0x0f11, 0xf3, 'W4,V', 'MOV4'),
  row('movsd', 0x0f10, 0xf2, 'V,U', 'MOV8'), row('movsd', 0x0f10, 0xf2, 'V,M8', 'LOAD8'), row('movsd', 0x0f11, 0xf2, 'W8,V', 'MOV8'),
  row('movhlps', 0x0f12, 0, 'V,U', 'MOVHLPS'), row('movlps', 0x0f12, 0, 'V,M8', 'MOV8'), row('movlpd', 0x0f12, 0x66, 'V,M8', 'MOV8'),
  row('movlps', 0x0f13, 0, 'M8,V', 'MOV8'), row('movlpd', 0x0f13, 0x66, 'M8,V', 'MOV8'),
  row('movlhps', 0x0f16, 0, 'V,U', 'MOVLHPS'), row('movhps', 0x0f16, 0, 'V,M8', 'MOVLHPS'), row('movhpd', 0x0f16, 0x66, 'V,M8', 'MOVLHPS'),
  row('movhps', 0x0f17, 0, 'M8,V', 'MOVHLPS'), row('movhpd', 0x0f17, 0x66, 'M8,V', 'MOVHLPS'),
  row('movddup', 0x0f12, 0xf2, 'V,W8'), row('movsldup', 0x0f12, 0xf3, 'V,W16a'), row('movshdup', 0x0f16, 0xf3, 'V,W16a'),
  row('movaps', 0x0f28, 0, 'V,W16a', 'MOV16'), row('movaps', 0x0f29, 0, 'W16a,V', 'MOV16'),
  row('movapd', 0x0f28, 0x66, 'V,W16a', 'MOV16'), row('movapd', 0x0f29, 0x66, 'W16a,V', 'MOV16'),
  row('movntps', 0x0f2b, 0, 'M16a,V', 'MOV16'), row('movntpd', 0x0f2b, 0x66, 'M16a,V', 'MOV16'), row('movntdq', 0x0fe7, 0x66, 'M16a,V', 'MOV16'),
  row('movntdqa', 0x0f382a, 0x66, 'V,M16a', 'MOV16'), row('lddqu', 0x0ff0, 0xf2, 'V,M16', 'MOV16'),
  row('movdqa', 0x0f6f, 0x66, 'V,W16a', 'MOV16'), row('movdqa', 0x0f7f, 0x66, 'W16a,V', 'MOV16'),
  row('movdqu', 0x0f6f, 0xf3, 'V,W16', 'MOV16'), row('movdqu', 0x0f7f, 0xf3, 'W16,V', 'MOV16'),
  row('movd', 0x0f6e, 0x66, 'V,E4', 'LOAD4', { w: 0 }), row('movq', 0x0f6e, 0x66, 'V,E8', 'LOAD8', { w: 1 }),
  row('movd', 0x0f7e, 0x66, 'E4,V', 'STORE4', { w: 0 }), row('movq', 0x0f7e, 0x66, 'E8,V', 'MOV8', { w: 1 }),
  row('movq', 0x0f7e, 0xf3, 'V,W8', 'LOAD8'), row('movq', 0x0fd6, 0x66, 'W8,V', 'LOAD8'),
  row('movq2dq', 0x0fd6, 0xf3, 'V,N', 'LOAD8'), row('movdq2q', 0x0fd6, 0xf2, 'P,U', 'MOV8'),
  row('movmskps', 0x0f50, 0, 'G,U'), row('movmskpd', 0x0f50, 0x66, 'G,U'), row('pmovmskb', 0x0fd7, 0x66, 'G,U'),
  row('maskmovdqu', 0x0ff7, 0x66, 'maskmov', 'MASKMOVDQU', { mod: 'r' }),
]

const LOGIC: readonly Row[] = [
  row('andps', 0x0f54, 0, 'V,W16a', 'AND'), row('andpd', 0x0f54, 0x66, 'V,W16a', 'AND'), row('pand', 0x0fdb, 0x66, 'V,W16a', 'AND'),
  row('andnps', 0x0f55, 0, 'V,W16a', 'ANDN'), row('andnpd', 0x0f55, 0x66, 'V,W16a', 'ANDN'), row('pandn', 0x0fdf, 0x66, 'V,W16a', 'ANDN'),
  row('orps', 0x0f56, 0, 'V,W16a', 'OR'), row('orpd', 0x0f56, 0x66, 'V,W16a', 'OR'), row('por', 0x0feb, 0x66, 'V,W16a', 'OR'),
  row('xorps', 0x0f57, 0, 'V,W16a', 'XOR'), row('xorpd', 0x0f57, 0x66, 'V,W16a', 'XOR'), row('pxor', 0x0fef, 0x66, 'V,W16a', 'XOR'),
  row('ptest', 0x0f3817, 0x66, 'V,W16a'),
]

const INTEGER: readonly Row[] = [
  ...rows(0x66, 'V,W16a', PACKED_INTEGER),
  ...rows(0x66, 'V,W16a', {
    punpcklbw: 0x0f60, punpcklwd: 0x0f61, punpckldq: 0x0f62, punpcklqdq: 0x0f6c, punpckhqdq: 0x0f6d,
    pmuldq: 0x0f3828, pcmpeqq: 0x0f3829, packusdw: 0x0f382b, pcmpgtq: 0x0f3837, pminsb: 0x0f3838, pminsd: 0x0f3839, pminuw: 0x0f383a,
    pminud: 0x0f383b, pmaxsb: 0x0f383c, pmaxsd: 0x0f383d, pmaxuw: 0x0f383e, pmaxud: 0x0f383f, pmulld: 0x0f3840, phminposuw: 0x0f3841,
    pblendvb: 0x0f3810, blendvps: 0x0f3814, blendvpd: 0x0f3815,
  }),
  row('unpcklps', 0x0f14, 0, 'V,W16a', 'PUNPCKLDQ'), row('unpcklpd', 0x0f14, 0x66, 'V,W16a', 'PUNPCKLQDQ'),
  row('unpckhps', 0x0f15, 0, 'V,W16a', 'PUNPCKHDQ'), row('unpckhpd', 0x0f15, 0x66, 'V,W16a', 'PUNPCKHQDQ'),
  ...SHIFT_IMMEDIATE.map(([name, op, reg]) => row(name, op, 0x66, 'U,Ib', `${name.toUpperCase()}_I`, { reg })),
  row('psrldq', 0x0f73, 0x66, 'U,Ib', 'PSRLDQ', { reg: 3 }), row('pslldq', 0x0f73, 0x66, 'U,Ib', 'PSLLDQ', { reg: 7 }),
  ...rows(0x66, 'V,W8', { pmovsxbw: 0x0f3820, pmovsxwd: 0x0f3823, pmovsxdq: 0x0f3825, pmovzxbw: 0x0f3830, pmovzxwd: 0x0f3833, pmovzxdq: 0x0f3835 }),
  ...rows(0x66, 'V,W4', { pmovsxbd: 0x0f3821, pmovsxwq: 0x0f3824, pmovzxbd: 0x0f3831, pmovzxwq: 0x0f3834 }),
  ...rows(0x66, 'V,W2', { pmovsxbq: 0x0f3822, pmovzxbq: 0x0f3832 }),
  ...rows(0x66, 'V,W16a,Ib', {
    pshufd: 0x0f70, shufpd: 0x0fc6, blendps: 0x0f3a0c, blendpd: 0x0f3a0d, pblendw: 0x0f3a0e, palignr: 0x0f3a0f, mpsadbw: 0x0f3a42,
  }),
  row('pshufhw', 0x0f70, 0xf3, 'V,W16a,Ib'), row('pshuflw', 0x0f70, 0xf2, 'V,W16a,Ib'), row('shufps', 0x0fc6, 0, 'V,W16a,Ib'),
  row('pinsrw', 0x0fc4, 0x66, 'V,E2,Ib'), row('pextrw', 0x0fc5, 0x66, 'G,U,Ib'),
  row('pextrb', 0x0f3a14, 0x66, 'E1,V,Ib'), row('pextrw', 0x0f3a15, 0x66, 'E2,V,Ib'), row('extractps', 0x0f3a17, 0x66, 'E4,V,Ib', 'PEXTRD'),
  row('pextrd', 0x0f3a16, 0x66, 'E4,V,Ib', 'PEXTRD', { w: 0 }), row('pextrq', 0x0f3a16, 0x66, 'E8,V,Ib', 'PEXTRQ', { w: 1 }),
  row('pinsrb', 0x0f3a20, 0x66, 'V,E1,Ib'),
  row('insertps', 0x0f3a21, 0x66, 'V,U,Ib', 'INSERTPS_R'), row('insertps', 0x0f3a21, 0x66, 'V,M4,Ib', 'INSERTPS_M'),
  row('pinsrd', 0x0f3a22, 0x66, 'V,E4,Ib', 'PINSRD', { w: 0 }), row('pinsrq', 0x0f3a22, 0x66, 'V,E8,Ib', 'PINSRQ', { w: 1 }),
  // The string instructions are the ones whose 16-byte memory operand may lie anywhere.
  row('pcmpestrm', 0x0f3a60, 0x66, 'V,W16,Ib', 'PCMPESTRM', { w: 0 }), row('pcmpestrm', 0x0f3a60, 0x66, 'V,W16,Ib', 'PCMPESTRM_W', { w: 1 }),
  row('pcmpestri', 0x0f3a61, 0x66, 'V,W16,Ib', 'PCMPESTRI', { w: 0 }), row('pcmpestri', 0x0f3a61, 0x66, 'V,W16,Ib', 'PCMPESTRI_W', { w: 1 }),
  row('pcmpistrm', 0x0f3a62, 0x66, 'V,W16,Ib'), row('pcmpistri', 0x0f3a63, 0x66, 'V,W16,Ib'),
]

/** Packed and scalar, single and double: no prefix, 66, F3, F2. */
function fourWays(stem: string, op: number, immediate = ''): Row[] {
  return [row(`${stem}ps`, op, 0, `V,W16a${immediate}`), row(`${stem}pd`, op, 0x66, `V,W16a${immediate}`),
    row(`${stem}ss`, op, 0xf3, `V,W4${immediate}`), row(`${stem}sd`, op, 0xf2, `V,W8${immediate}`)]
}

/** RCP and RSQRT promise a relative error of 1.5 * 2^-12 only: 6144 units in the last place of a significand near 1. */
const APPROXIMATE: Partial<Row> = { tolerance: 6144 }

const ARITHMETIC: readonly Row[] = [
  ...fourWays('sqrt', 0x0f51), ...fourWays('add', 0x0f58), ...fourWays('mul', 0x0f59), ...fourWays('sub', 0x0f5c), ...fourWays('min', 0x0f5d),
  ...fourWays('div', 0x0f5e), ...fourWays('max', 0x0f5f), ...fourWays('cmp', 0x0fc2, ',Ib'),
  row('rsqrtps', 0x0f52, 0, 'V,W16a', 'RSQRTPS', APPROXIMATE), row('rsqrtss', 0x0f52, 0xf3, 'V,W4', 'RSQRTSS', APPROXIMATE),
  row('rcpps', 0x0f53, 0, 'V,W16a', 'RCPPS', APPROXIMATE), row('rcpss', 0x0f53, 0xf3, 'V,W4', 'RCPSS', APPROXIMATE),
  row('ucomiss', 0x0f2e, 0, 'V,W4'), row('ucomisd', 0x0f2e, 0x66, 'V,W8'), row('comiss', 0x0f2f, 0, 'V,W4'), row('comisd', 0x0f2f, 0x66, 'V,W8'),
  row('haddpd', 0x0f7c, 0x66, 'V,W16a'), row('haddps', 0x0f7c, 0xf2, 'V,W16a'),
  row('hsubpd', 0x0f7d, 0x66, 'V,W16a'), row('hsubps', 0x0f7d, 0xf2, 'V,W16a'),
  row('addsubpd', 0x0fd0, 0x66, 'V,W16a'), row('addsubps', 0x0fd0, 0xf2, 'V,W16a'),
  row('roundps', 0x0f3a08, 0x66, 'V,W16a,Ib'), row('roundpd', 0x0f3a09, 0x66, 'V,W16a,Ib'),
  row('roundss', 0x0f3a0a, 0x66, 'V,W4,Ib'), row('roundsd', 0x0f3a0b, 0x66, 'V,W8,Ib'),
  row('dpps', 0x0f3a40, 0x66, 'V,W16a,Ib'), row('dppd', 0x0f3a41, 0x66, 'V,W16a,Ib'),
]

/** Rows in two operand sizes, REX.W choosing the 64-bit integer. */
function bothWidths(name: string, op: number, pp: Prefix, narrow: string, wide: string): Row[] {
  return [row(name, op, pp, narrow, name.toUpperCase(), { w: 0 }), row(name, op, pp, wide, `${name.toUpperCase()}_W`, { w: 1 })]
}

const CONVERSIONS: readonly Row[] = [
  row('cvtpi2ps', 0x0f2a, 0, 'V,Q8'), row('cvtpi2pd', 0x0f2a, 0x66, 'V,Q8'),
  ...bothWidths('cvtsi2ss', 0x0f2a, 0xf3, 'V,E4', 'V,E8'), ...bothWidths('cvtsi2sd', 0x0f2a, 0xf2, 'V,E4', 'V,E8'),
  row('cvttps2pi', 0x0f2c, 0, 'P,W8'), row('cvttpd2pi', 0x0f2c, 0x66, 'P,W16a'),
  row('cvtps2pi', 0x0f2d, 0, 'P,W8'), row('cvtpd2pi', 0x0f2d, 0x66, 'P,W16a'),
  ...bothWidths('cvttss2si', 0x0f2c, 0xf3, 'G,W4', 'G,W4'), ...bothWidths('cvttsd2si', 0x0f2c, 0xf2, 'G,W8', 'G,W8'),
  ...bothWidths('cvtss2si', 0x0f2d, 0xf3, 'G,W4', 'G,W4'), ...bothWidths('cvtsd2si', 0x0f2d, 0xf2, 'G,W8', 'G,W8'),
  row('cvtps2pd', 0x0f5a, 0, 'V,W8'), row('cvtpd2ps', 0x0f5a, 0x66, 'V,W16a'),
  row('cvtss2sd', 0x0f5a, 0xf3, 'V,W4'), row('cvtsd2ss', 0x0f5a, 0xf2, 'V,W8'),
  row('cvtdq2ps', 0x0f5b, 0, 'V,W16a'), row('cvtps2dq', 0x0f5b, 0x66, 'V,W16a'), row('cvttps2dq', 0x0f5b, 0xf3, 'V,W16a'),
  row('cvttpd2dq', 0x0fe6, 0x66, 'V,W16a'), row('cvtpd2dq', 0x0fe6, 0xf2, 'V,W16a'), row('cvtdq2pd', 0x0fe6, 0xf3, 'V,W8'),
]

export const SSE_ROWS: readonly Row[] = [...MOVES, ...LOGIC, ...INTEGER, ...ARITHMETIC, ...CONVERSIONS]
