/**
 * Decoded uops and blocks as the core keeps them in the shared memory (core/layout.ts), and what a uop does in the words of the emitters: every handler of
 * core/ops.ts and every generic family becomes a name, an operand size and a shape.
 */
import {
  BLOCK_BYTES, BLOCK_COUNT, BLOCK_HEAT, BLOCK_HOST, BLOCK_MODE, BLOCK_PAGE2, G_BLOCK_MASK, G_BLOCK_TABLE, G_UOP_BASE, G_UOP_NEXT, HEAT_DEAD, UOP_AUX, UOP_BASE, UOP_D, UOP_DISP, UOP_IMM, UOP_INDEX, UOP_LEN,
  UOP_OFFSET, UOP_OP, UOP_S, UOP_SCALE, UOP_SEG, UOP_SIZE, UOP_X,
} from '../core/layout.ts'
import { FAMILIES, HANDLERS } from '../isa/names.gen.ts'

/** Where the operands are, destination first: R register, M memory, I immediate, C the register CL. */
export type Shape = 'R' | 'M' | 'RR' | 'RI' | 'RM' | 'MR' | 'MI' | 'RC' | 'MC' | 'RRI' | 'RMI' | ''

/** What a handler does, whatever its operands are. */
export interface Action {
  /** handler without operands, e.g. ADD; `step`: the core does it */
  readonly name: string
  /** log2 of the operand's bytes */
  readonly size: number
  readonly shape: Shape
}

export interface Uop extends Action {
  /** address of the record */
  readonly at: number
  readonly op: number
  readonly length: number
  readonly aux: number
  readonly d: number
  readonly s: number
  readonly low: number
  readonly high: number
  readonly disp: number
  readonly base: number
  readonly index: number
  readonly scale: number
  readonly segment: number
  readonly offset: number
  readonly x: number
}

export interface Block {
  /** address of the first uop */
  readonly first: number
  readonly host: number
  readonly heat: number
  readonly count: number
}

const AUX_DST_MEM = 4, AUX_SRC_MEM = 8, AUX_SRC_IMM = 16
const SIZES: Readonly<Record<string, number>> = { 8: 0, 16: 1, 32: 2, 64: 3 }
const FIXED: Readonly<Record<string, Action>> = {
  OP_MOV_RI64: { name: 'MOV', size: 3, shape: 'RI' },
  OP_MOVZX_R8: { name: 'MOVZX8', size: 2, shape: 'RR' }, OP_MOVZX_M8: { name: 'MOVZX8', size: 2, shape: 'RM' },
  OP_MOVZX_R16: { name: 'MOVZX16', size: 2, shape: 'RR' }, OP_MOVZX_M16: { name: 'MOVZX16', size: 2, shape: 'RM' },
  OP_MOVSXD_R: { name: 'MOVSXD', size: 3, shape: 'RR' }, OP_MOVSXD_M: { name: 'MOVSXD', size: 3, shape: 'RM' },
  OP_LEA32: { name: 'LEA', size: 2, shape: 'RM' }, OP_LEA64: { name: 'LEA', size: 3, shape: 'RM' },
  OP_ZERO_R32: { name: 'ZERO', size: 2, shape: 'R' }, OP_ZERO_R64: { name: 'ZERO', size: 3, shape: 'R' },
  OP_MUL_R64: { name: 'MUL', size: 3, shape: 'R' },
  OP_PUSH_R: { name: 'PUSH', size: 3, shape: 'R' }, OP_PUSH_I: { name: 'PUSH', size: 3, shape: 'RI' }, OP_PUSH_M: { name: 'PUSH', size: 3, shape: 'M' },
  OP_POP_R: { name: 'POP', size: 3, shape: 'R' }, OP_LEAVE64: { name: 'LEAVE', size: 3, shape: '' },
  OP_CDQE: { name: 'CBW', size: 3, shape: '' }, OP_CWDE: { name: 'CBW', size: 2, shape: '' }, OP_CDQ: { name: 'CWD', size: 2, shape: '' }, OP_CQO: { name: 'CWD', size: 3, shape: '' },
  OP_SETCC_R: { name: 'SETCC', size: 0, shape: 'R' },
  OP_JMP: { name: 'JMP', size: 3, shape: '' }, OP_CALL: { name: 'CALL', size: 3, shape: '' }, OP_RET: { name: 'RET', size: 3, shape: '' },
  OP_JMP_R: { name: 'JMP_IND', size: 3, shape: 'R' }, OP_JMP_M: { name: 'JMP_IND', size: 3, shape: 'M' },
  OP_CALL_R: { name: 'CALL_IND', size: 3, shape: 'R' }, OP_CALL_M: { name: 'CALL_IND', size: 3, shape: 'M' },
  OP_NOP: { name: 'NOP', size: 2, shape: '' },
  OP_CLI: { name: 'CLI', size: 3, shape: '' }, OP_STI: { name: 'STI', size: 3, shape: '' }, OP_SWAPGS: { name: 'SWAPGS', size: 3, shape: '' },
  OP_END: { name: 'END', size: 3, shape: '' },
  OP_LOCKED: { name: 'step', size: 3, shape: '' }, OP_FENCE: { name: 'step', size: 3, shape: '' },
  OP_SIMD_RR: { name: 'SIMD', size: 3, shape: 'RR' }, OP_SIMD_RM: { name: 'SIMD', size: 3, shape: 'RM' }, OP_SIMD_ST: { name: 'SIMD', size: 3, shape: 'MR' }, OP_X87: { name: 'step', size: 3, shape: '' },
}

/** The uop is left to the interpreter, and with it the rest of its block. */
const LEAVE: Action = { name: 'leave', size: 3, shape: '' }
/** The core does it, the region goes on. */
const STEP: Action = { name: 'step', size: 3, shape: '' }

function actionOf(name: string): Action {
  const fixed = FIXED[name]
  if (fixed !== undefined) return fixed
  const sized = /^OP_(\w+?)_(RRI|RR|RI|RM|MR|MI|RC|R|M)(8|16|32|64)$/.exec(name)
  if (sized !== null) return { name: sized[1] as string, size: SIZES[sized[3] as string] as number, shape: sized[2] as Shape }
  const extended = /^OP_MOVSX_([RM])(8|16)_(32|64)$/.exec(name)
  if (extended !== null) return { name: `MOVSX${extended[2]}`, size: SIZES[extended[3] as string] as number, shape: extended[1] === 'R' ? 'RR' : 'RM' }
  const swap = /^OP_BSWAP(32|64)$/.exec(name)
  if (swap !== null) return { name: 'BSWAP', size: SIZES[swap[1] as string] as number, shape: 'R' }
  if (name.startsWith('OP_JCC_')) return { name: 'JCC', size: 3, shape: '' }
  return LEAVE
}

const ACTIONS: readonly Action[] = (() => {
  const actions: Action[] = []
  for (const [name, number] of Object.entries(HANDLERS)) actions[number] = actionOf(name)
  return actions
})()

/** Generic families that the emitters know, in the shapes their operands can have. */
const BINARY = new Set(['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP', 'TEST', 'MOV', 'XCHG', 'XADD', 'CMPXCHG', 'BT', 'BTS', 'BTR', 'BTC', 'MOVZX8', 'MOVZX16', 'MOVSX8', 'MOVSX16', 'MOVSXD', 'CMOVCC', 'BSF', 'BSR', 'POPCNT', 'IMUL2'])
const UNARY = new Set(['INC', 'DEC', 'NEG', 'NOT', 'SETCC'])
const SHIFTS = new Set(['SHL', 'SHR', 'SAR', 'ROL', 'ROR'])
const MOFFS = 0xffff

/** Of strings only one element by 64-bit addresses, the source without a base of FS or GS. */
const STRINGS = new Set(['LODS', 'STOS', 'MOVS'])
const AUX_REPEATED = 96, AS_SEGMENT = 7, DS = 3, WIDE = 3

function genericAction(aux: number, x: number, base: number, segment: number): Action {
  const name = FAMILIES[x & 0xffff] ?? ''
  const size = aux & 3
  if (STRINGS.has(name)) return (aux & AUX_REPEATED) === 0 && (x >> 16 & 3) === WIDE && (segment & AS_SEGMENT) <= DS ? { name, size, shape: 'M' } : STEP
  if (base === MOFFS) return STEP
  const memory = (aux & AUX_DST_MEM) !== 0
  const immediate = (aux & AUX_SRC_IMM) !== 0
  if (BINARY.has(name)) {
    const shape = memory ? immediate ? 'MI' : 'MR' : aux & AUX_SRC_MEM ? 'RM' : immediate ? 'RI' : 'RR'
    return { name: name === 'CMOVCC' ? 'CMOV' : name === 'IMUL2' ? 'IMUL' : name, size, shape }
  }
  if (UNARY.has(name)) return { name, size, shape: memory ? 'M' : 'R' }
  if (SHIFTS.has(name)) return { name, size, shape: memory ? immediate ? 'MI' : 'MC' : immediate ? 'RI' : 'RC' }
  if (name === 'CBW' || name === 'CWD') return { name, size, shape: '' }
  if (name === 'NOP') return { name, size, shape: '' }
  if (name === 'IMUL3') return { name: 'IMUL', size, shape: aux & AUX_SRC_MEM ? 'RMI' : 'RRI' }
  return STEP
}

/** Reads the shared memory of a machine. */
export class UopReader {
  readonly view: DataView
  constructor(view: DataView) {
    this.view = view
  }

  u32(at: number): number {
    return this.view.getUint32(at, true)
  }

  /** @returns undefined for a block the translator has no business with */
  block(first: number): Block | undefined {
    const header = first - BLOCK_BYTES
    const count = this.u32(header + BLOCK_COUNT)
    if (this.u32(header + BLOCK_MODE) !== 2 || this.u32(header + BLOCK_PAGE2) !== 0 || count < 2 || count > 64) return undefined
    return { first, host: this.u32(header + BLOCK_HOST), heat: this.u32(header + BLOCK_HEAT), count }
  }

  /** The block that the interpreter left in a uop as the target of its jump, if there is one. */
  hinted(first: number): Block | undefined {
    const at = first >>> 0
    if (at % UOP_SIZE !== 0 || at < this.u32(G_UOP_BASE) + BLOCK_BYTES || at >= this.u32(G_UOP_NEXT)) return undefined
    const block = this.block(at)
    return block === undefined || block.heat >>> 16 === HEAT_DEAD >>> 16 ? undefined : block
  }

  /** The block at a place in RAM (core/cache.ts findBlock). */
  find(host: number): Block | undefined {
    const table = this.u32(G_BLOCK_TABLE), mask = this.u32(G_BLOCK_MASK)
    const slot = Math.imul(host, 0x9e37_79b1) >>> 11 ^ 2
    for (let i = 0; i < 8; i++) {
      const header = this.u32(table + ((slot + i & mask) << 2))
      if (header !== 0 && this.u32(header + BLOCK_HOST) === host && this.u32(header + BLOCK_MODE) === 2) return this.block(header + BLOCK_BYTES)
    }
    return undefined
  }

  uop(at: number): Uop {
    const { view } = this
    const op = view.getUint16(at + UOP_OP, true), aux = view.getUint8(at + UOP_AUX), x = view.getUint32(at + UOP_X, true), base = view.getUint16(at + UOP_BASE, true)
    const action = op === HANDLERS.OP_GENERIC ? genericAction(aux, x, base, view.getUint8(at + UOP_SEG)) : ACTIONS[op] ?? LEAVE
    return {
      name: action.name, size: action.size, shape: action.shape, at, op, aux, x, base, length: view.getUint8(at + UOP_LEN) & 15, d: view.getUint16(at + UOP_D, true), s: view.getUint16(at + UOP_S, true),
      low: view.getInt32(at + UOP_IMM, true), high: view.getInt32(at + UOP_IMM + 4, true), disp: view.getInt32(at + UOP_DISP, true), index: view.getUint16(at + UOP_INDEX, true),
      scale: view.getUint8(at + UOP_SCALE), segment: view.getUint8(at + UOP_SEG), offset: view.getUint16(at + UOP_OFFSET, true),
    }
  }

  /** All uops of a block, its END included. */
  uops({ first, count }: Block): Uop[] {
    return Array.from({ length: count }, (_, index) => this.uop(first + index * UOP_SIZE))
  }
}

/** Condition code of a JCC, SETCC or CMOVCC. */
export function conditionOf({ op, x }: Uop): number {
  if (op >= HANDLERS.OP_JCC_O && op <= HANDLERS.OP_JCC_G) return op - HANDLERS.OP_JCC_O
  return op === HANDLERS.OP_GENERIC ? x >>> 24 & 15 : x
}
