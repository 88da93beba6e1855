/**
 * Integer and control-flow rows of the decode table. Intel SDM volume 2, opcode maps.
 *
 * Form tokens: E = ModRM.rm (register or memory), G = ModRM.reg, M = memory only, R = register only (rm), Z = register in the opcode,
 * A = rAX, O = absolute offset, X = string operand, S = segment register, C/D = control/debug register, I = immediate, J = relative.
 * Sizes: b w d q fixed; v = operand size 16/32/64; y = 32/64; z = 16/32 immediate; `64` = v with 64-bit default in 64-bit mode; p = far pointer.
 */
import type { Row } from './row.ts'

const CF = 1, PF = 4, AF = 16, ZF = 64, SF = 128, OF = 2048
const rows: Row[] = []
type Extra = Partial<Omit<Row, 'name' | 'op' | 'form' | 'handler' | 'unit'>>

function int(op: number, name: string, form: string, extra: Extra = {}, handler = name.toUpperCase()): void {
  rows.push({ name, op, form, handler, unit: 'int', ...extra })
}
/** Needs privilege, an I/O permission or a machine around it: covered by the bare-metal guest, not by user-mode vectors. */
function sys(op: number, name: string, form: string, extra: Extra = {}, handler = name.toUpperCase()): void {
  rows.push({ name, op, form, handler, unit: 'sys', user: false, ...extra })
}

// ---- arithmetic block 00..3f and groups 80..83 -------------------------------------------------------------------------------
const ALU = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'] as const
ALU.forEach((name, index) => {
  const undefinedFlags = name === 'and' || name === 'or' || name === 'xor' ? AF : 0
  const base = index * 8
  int(base, name, 'Eb,Gb', { undefinedFlags })
  int(base + 1, name, 'Ev,Gv', { undefinedFlags })
  int(base + 2, name, 'Gb,Eb', { undefinedFlags })
  int(base + 3, name, 'Gv,Ev', { undefinedFlags })
  int(base + 4, name, 'Ab,Ib', { undefinedFlags })
  int(base + 5, name, 'Av,Iz', { undefinedFlags })
  int(0x80, name, 'Eb,Ib', { reg: index, undefinedFlags })
  int(0x81, name, 'Ev,Iz', { reg: index, undefinedFlags })
  int(0x82, name, 'Eb,Ib', { reg: index, undefinedFlags, mode: '!64' })
  int(0x83, name, 'Ev,Ib', { reg: index, undefinedFlags })
})
const PUSH_SEGMENTS: readonly (readonly [number, number])[] = [[0x06, 0], [0x0e, 1], [0x16, 2], [0x1e, 3], [0x0fa0, 4], [0x0fa8, 5]]
for (const [op, segment] of PUSH_SEGMENTS) int(op, 'push', `S${segment}`, { ...(op < 0x100 ? { mode: '!64' as const } : {}), user: false }, 'PUSH_SEG')
const POP_SEGMENTS: readonly (readonly [number, number])[] = [[0x07, 0], [0x17, 2], [0x1f, 3], [0x0fa1, 4], [0x0fa9, 5]]
for (const [op, segment] of POP_SEGMENTS) int(op, 'pop', `S${segment}`, { ...(op < 0x100 ? { mode: '!64' as const } : {}), user: false }, 'POP_SEG')
int(0x27, 'daa', 'none', { mode: '!64', undefinedFlags: OF })
int(0x2f, 'das', 'none', { mode: '!64', undefinedFlags: OF })
int(0x37, 'aaa', 'none', { mode: '!64', undefinedFlags: OF | SF | ZF | PF })
int(0x3f, 'aas', 'none', { mode: '!64', undefinedFlags: OF | SF | ZF | PF })
for (let r = 0; r < 8; r++) {
  int(0x40 + r, 'inc', 'Zv', { mode: '!64' })
  int(0x48 + r, 'dec', 'Zv', { mode: '!64' })
  int(0x50 + r, 'push', 'Z64')
  int(0x58 + r, 'pop', 'Z64')
}
int(0x60, 'pusha', 'none', { mode: '!64' })
int(0x61, 'popa', 'none', { mode: '!64' })
int(0x62, 'bound', 'Gv,M', { mode: '!64', mod: 'm' })
int(0x63, 'arpl', 'Ew,Gw', { mode: '!64' })
int(0x63, 'movsxd', 'Gv,Ed', { mode: '64' })
int(0x68, 'push', 'Iz64')
int(0x6a, 'push', 'Ib64')
int(0x69, 'imul', 'Gv,Ev,Iz', { undefinedFlags: SF | ZF | AF | PF }, 'IMUL3')
int(0x6b, 'imul', 'Gv,Ev,Ib', { undefinedFlags: SF | ZF | AF | PF }, 'IMUL3')
sys(0x6c, 'ins', 'strb'); sys(0x6d, 'ins', 'strv'); sys(0x6e, 'outs', 'strb'); sys(0x6f, 'outs', 'strv')
for (let cc = 0; cc < 16; cc++) {
  int(0x70 + cc, 'jcc', 'Jb')
  int(0x0f80 + cc, 'jcc', 'Jz')
  int(0x0f90 + cc, 'setcc', 'Eb')
  int(0x0f40 + cc, 'cmovcc', 'Gv,Ev')
}
int(0x84, 'test', 'Eb,Gb', { undefinedFlags: AF })
int(0x85, 'test', 'Ev,Gv', { undefinedFlags: AF })
int(0x86, 'xchg', 'Eb,Gb')
int(0x87, 'xchg', 'Ev,Gv')
int(0x88, 'mov', 'Eb,Gb')
int(0x89, 'mov', 'Ev,Gv')
int(0x8a, 'mov', 'Gb,Eb')
int(0x8b, 'mov', 'Gv,Ev')
int(0x8c, 'mov', 'Ev,Sw', { user: false }, 'MOV_FROM_SEG')
int(0x8e, 'mov', 'Sw,Ew', { user: false }, 'MOV_TO_SEG')
int(0x8d, 'lea', 'Gv,M', { mod: 'm' })
int(0x8f, 'pop', 'E64', { reg: 0 })
int(0x90, 'nop', 'none', {}, 'NOP')
for (let r = 0; r < 8; r++) int(0x90 + r, 'xchg', 'Zv,Av')
int(0x98, 'cbw', 'none')
int(0x99, 'cwd', 'none')
sys(0x9a, 'callf', 'Ap', { mode: '!64' })
int(0x9c, 'pushf', 'none64', { user: false })
int(0x9d, 'popf', 'none64', { user: false })
int(0x9e, 'sahf', 'none')
int(0x9f, 'lahf', 'none')
int(0xa0, 'mov', 'Ab,Ob'); int(0xa1, 'mov', 'Av,Ov'); int(0xa2, 'mov', 'Ob,Ab'); int(0xa3, 'mov', 'Ov,Av')
int(0xa4, 'movs', 'strb'); int(0xa5, 'movs', 'strv'); int(0xa6, 'cmps', 'strb'); int(0xa7, 'cmps', 'strv')
int(0xa8, 'test', 'Ab,Ib', { undefinedFlags: AF }); int(0xa9, 'test', 'Av,Iz', { undefinedFlags: AF })
int(0xaa, 'stos', 'strb'); int(0xab, 'stos', 'strv'); int(0xac, 'lods', 'strb'); int(0xad, 'lods', 'strv')
int(0xae, 'scas', 'strb'); int(0xaf, 'scas', 'strv')
for (let r = 0; r < 8; r++) { int(0xb0 + r, 'mov', 'Zb,Ib'); int(0xb8 + r, 'mov', 'Zv,Iv') }
const SHIFTS = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'shl', 'sar'] as const
SHIFTS.forEach((name, reg) => {
  // OF is defined for one-bit shifts only; AF never for shifts. Rotates leave SF ZF AF PF alone.
  const one = reg >= 4 ? AF : 0
  const many = one | OF
  int(0xc0, name, 'Eb,Ub', { reg, undefinedFlags: many | (reg >= 4 ? CF : 0) })
  int(0xc1, name, 'Ev,Ub', { reg, undefinedFlags: many | (reg >= 4 ? CF : 0) })
  int(0xd0, name, 'Eb,1', { reg, undefinedFlags: one })
  int(0xd1, name, 'Ev,1', { reg, undefinedFlags: one })
  int(0xd2, name, 'Eb,CL', { reg, undefinedFlags: many | (reg >= 4 ? CF : 0) })
  int(0xd3, name, 'Ev,CL', { reg, undefinedFlags: many | (reg >= 4 ? CF : 0) })
})
int(0xc2, 'ret', 'Iw64'); int(0xc3, 'ret', 'none64')
int(0xc4, 'les', 'Gv,Mp', { mode: '!64', mod: 'm', user: false }, 'LSEG0'); int(0xc5, 'lds', 'Gv,Mp', { mode: '!64', mod: 'm', user: false }, 'LSEG3')
int(0xc6, 'mov', 'Eb,Ib', { reg: 0 }); int(0xc7, 'mov', 'Ev,Iz', { reg: 0 })
int(0xc8, 'enter', 'Iw64,Ib'); int(0xc9, 'leave', 'none64')
sys(0xca, 'retf', 'Iw'); sys(0xcb, 'retf', 'none')
sys(0xcc, 'int3', 'none'); sys(0xcd, 'int', 'Ib'); sys(0xce, 'into', 'none', { mode: '!64' }); sys(0xcf, 'iret', 'none')
int(0xd4, 'aam', 'Ib', { mode: '!64', undefinedFlags: OF | AF | CF }); int(0xd5, 'aad', 'Ib', { mode: '!64', undefinedFlags: OF | AF | CF })
int(0xd6, 'salc', 'none', { mode: '!64' })
int(0xd7, 'xlat', 'none')
int(0xe0, 'loopne', 'Jb'); int(0xe1, 'loope', 'Jb'); int(0xe2, 'loop', 'Jb'); int(0xe3, 'jcxz', 'Jb')
sys(0xe4, 'in', 'Ab,Ub'); sys(0xe5, 'in', 'Av,Ub'); sys(0xe6, 'out', 'Ub,Ab'); sys(0xe7, 'out', 'Ub,Av')
sys(0xec, 'in', 'Ab,DX'); sys(0xed, 'in', 'Av,DX'); sys(0xee, 'out', 'DX,Ab'); sys(0xef, 'out', 'DX,Av')
int(0xe8, 'call', 'Jz'); int(0xe9, 'jmp', 'Jz'); int(0xeb, 'jmp', 'Jb')
sys(0xea, 'jmpf', 'Ap', { mode: '!64' })
sys(0xf1, 'icebp', 'none'); sys(0xf4, 'hlt', 'none')
int(0xf5, 'cmc', 'none'); int(0xf8, 'clc', 'none'); int(0xf9, 'stc', 'none')
sys(0xfa, 'cli', 'none'); sys(0xfb, 'sti', 'none')
int(0xfc, 'cld', 'none'); int(0xfd, 'std', 'none')
for (const [op, size, imm] of [[0xf6, 'b', 'Ib'], [0xf7, 'v', 'Iz']] as const) {
  int(op, 'test', `E${size},${imm}`, { reg: 0, undefinedFlags: AF }); int(op, 'test', `E${size},${imm}`, { reg: 1, undefinedFlags: AF })
  int(op, 'not', `E${size}`, { reg: 2 }); int(op, 'neg', `E${size}`, { reg: 3 })
  int(op, 'mul', `E${size}`, { reg: 4, undefinedFlags: SF | ZF | AF | PF }); int(op, 'imul', `E${size}`, { reg: 5, undefinedFlags: SF | ZF | AF | PF }, 'IMUL1')
  const all = CF | PF | AF | ZF | SF | OF
  int(op, 'div', `E${size}`, { reg: 6, undefinedFlags: all }); int(op, 'idiv', `E${size}`, { reg: 7, undefinedFlags: all })
}
int(0xfe, 'inc', 'Eb', { reg: 0 }); int(0xfe, 'dec', 'Eb', { reg: 1 })
int(0xff, 'inc', 'Ev', { reg: 0 }); int(0xff, 'dec', 'Ev', { reg: 1 })
int(0xff, 'call', 'E64', { reg: 2 }, 'CALL_IND'); int(0xff, 'jmp', 'E64', { reg: 4 }, 'JMP_IND'); int(0xff, 'push', 'E64', { reg: 6 })
sys(0xff, 'callf', 'Mp', { reg: 3, mod: 'm' }, 'CALLF_IND'); sys(0xff, 'jmpf', 'Mp', { reg: 5, mod: 'm' }, 'JMPF_IND')

// ---- two-byte map ------------------------------------------------------------------------------------------------------------
int(0x0f0b, 'ud2', 'none', { user: false }); int(0x0fb9, 'ud1', 'Gv,Ev', { user: false }, 'UD2'); int(0x0fff, 'ud0', 'Gv,Ev', { user: false }, 'UD2')
int(0x0f0d, 'prefetchw', 'Ev', {}, 'NOP')
int(0x0f18, 'prefetch', 'Ev', {}, 'NOP')
for (let op = 0x0f19; op <= 0x0f1f; op++) int(op, 'nop', 'Ev', {}, 'NOP')
int(0x0faf, 'imul', 'Gv,Ev', { undefinedFlags: SF | ZF | AF | PF }, 'IMUL2')
int(0x0fb6, 'movzx', 'Gv,Eb', {}, 'MOVZX8'); int(0x0fb7, 'movzx', 'Gv,Ew', {}, 'MOVZX16')
int(0x0fbe, 'movsx', 'Gv,Eb', {}, 'MOVSX8'); int(0x0fbf, 'movsx', 'Gv,Ew', {}, 'MOVSX16')
const BT = ['bt', 'bts', 'btr', 'btc'] as const
BT.forEach((name, index) => {
  const undefinedFlags = OF | SF | AF | PF
  int(0x0fa3 + index * 8, name, 'Ev,Gv', { undefinedFlags })
  int(0x0fba, name, 'Ev,Ub', { reg: 4 + index, undefinedFlags })
})
int(0x0fa4, 'shld', 'Ev,Gv,Ub', { undefinedFlags: AF | OF | CF }); int(0x0fa5, 'shld', 'Ev,Gv,CL', { undefinedFlags: AF | OF | CF })
int(0x0fac, 'shrd', 'Ev,Gv,Ub', { undefinedFlags: AF | OF | CF }); int(0x0fad, 'shrd', 'Ev,Gv,CL', { undefinedFlags: AF | OF | CF })
int(0x0fb0, 'cmpxchg', 'Eb,Gb'); int(0x0fb1, 'cmpxchg', 'Ev,Gv')
int(0x0fc0, 'xadd', 'Eb,Gb'); int(0x0fc1, 'xadd', 'Ev,Gv')
int(0x0fc7, 'cmpxchg8b', 'M', { reg: 1, mod: 'm' })
int(0x0fc3, 'movnti', 'My,Gy', { mod: 'm', pp: 0 }, 'MOV')
int(0x0fbc, 'bsf', 'Gv,Ev', { undefinedFlags: CF | OF | SF | AF | PF }); int(0x0fbd, 'bsr', 'Gv,Ev', { undefinedFlags: CF | OF | SF | AF | PF })
int(0x0fb8, 'popcnt', 'Gv,Ev', { pp: 0xf3 })
for (let r = 0; r < 8; r++) int(0x0fc8 + r, 'bswap', 'Zv')
int(0x0f38f0, 'crc32', 'Gv,Eb', { pp: 0xf2 }, 'CRC32B'); int(0x0f38f1, 'crc32', 'Gv,Ev', { pp: 0xf2 }, 'CRC32')
int(0x0fae, 'lfence', 'none', { reg: 5, mod: 'r', pp: 0 }, 'NOP'); int(0x0fae, 'mfence', 'none', { reg: 6, mod: 'r', pp: 0 }, 'NOP'); int(0x0fae, 'sfence', 'none', { reg: 7, mod: 'r', pp: 0 }, 'NOP')
int(0x0fae, 'clflush', 'M', { reg: 7, mod: 'm', pp: 0 })
int(0x0fae, 'rdfsbase', 'Ry', { reg: 0, mod: 'r', pp: 0xf3, mode: '64', user: false }); int(0x0fae, 'rdgsbase', 'Ry', { reg: 1, mod: 'r', pp: 0xf3, mode: '64', user: false })
int(0x0fae, 'wrfsbase', 'Ry', { reg: 2, mod: 'r', pp: 0xf3, mode: '64', user: false }); int(0x0fae, 'wrgsbase', 'Ry', { reg: 3, mod: 'r', pp: 0xf3, mode: '64', user: false })
int(0x0fc7, 'rdrand', 'Rv', { reg: 6, mod: 'r', tolerance: 'random' }); int(0x0fc7, 'rdseed', 'Rv', { reg: 7, mod: 'r', tolerance: 'random' }, 'RDRAND')
int(0x0fa2, 'cpuid', 'none', { tolerance: 'random' }); int(0x0f31, 'rdtsc', 'none', { tolerance: 'random' })
int(0x0f01, 'rdtscp', 'none', { reg: 7, mod: 'r', rm: 1, tolerance: 'random' })

// ---- system ------------------------------------------------------------------------------------------------------------------
sys(0x0f05, 'syscall', 'none'); sys(0x0f07, 'sysret', 'none'); sys(0x0f34, 'sysenter', 'none'); sys(0x0f35, 'sysexit', 'none')
sys(0x0f06, 'clts', 'none'); sys(0x0f08, 'invd', 'none'); sys(0x0f09, 'wbinvd', 'none', {}, 'INVD')
sys(0x0f30, 'wrmsr', 'none'); sys(0x0f32, 'rdmsr', 'none'); sys(0x0f33, 'rdpmc', 'none')
sys(0x0f00, 'sldt', 'Ev', { reg: 0 }); sys(0x0f00, 'str', 'Ev', { reg: 1 }); sys(0x0f00, 'lldt', 'Ew', { reg: 2 }); sys(0x0f00, 'ltr', 'Ew', { reg: 3 })
sys(0x0f00, 'verr', 'Ew', { reg: 4 }); sys(0x0f00, 'verw', 'Ew', { reg: 5 })
sys(0x0f01, 'sgdt', 'M', { reg: 0, mod: 'm' }); sys(0x0f01, 'sidt', 'M', { reg: 1, mod: 'm' }); sys(0x0f01, 'lgdt', 'M', { reg: 2, mod: 'm' }); sys(0x0f01, 'lidt', 'M', { reg: 3, mod: 'm' })
sys(0x0f01, 'smsw', 'Ev', { reg: 4 }); sys(0x0f01, 'lmsw', 'Ew', { reg: 6 }); sys(0x0f01, 'invlpg', 'M', { reg: 7, mod: 'm' })
sys(0x0f01, 'swapgs', 'none', { reg: 7, mod: 'r', rm: 0, mode: '64' })
sys(0x0f01, 'vmcall', 'none', { reg: 0, mod: 'r', rm: 1 })
sys(0x0f02, 'lar', 'Gv,Ew'); sys(0x0f03, 'lsl', 'Gv,Ew')
sys(0x0f20, 'mov', 'Rq,Cq', {}, 'MOV_FROM_CR'); sys(0x0f22, 'mov', 'Cq,Rq', {}, 'MOV_TO_CR')
sys(0x0f21, 'mov', 'Rq,Dq', {}, 'MOV_FROM_DR'); sys(0x0f23, 'mov', 'Dq,Rq', {}, 'MOV_TO_DR')
sys(0x0fb2, 'lss', 'Gv,Mp', { mod: 'm' }, 'LSEG2'); sys(0x0fb4, 'lfs', 'Gv,Mp', { mod: 'm' }, 'LSEG4'); sys(0x0fb5, 'lgs', 'Gv,Mp', { mod: 'm' }, 'LSEG5')

export const INT_ROWS: readonly Row[] = rows
