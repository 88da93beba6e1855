/** Which uops' flags anybody will see: backwards through a block, where every way out of the region sees them. */
import type { Node } from './region.ts'
import type { Uop } from './uops.ts'

interface Effect {
  /** asks for flags as they were before it, or may leave the region while they are */
  readonly reads: boolean
  /** sets all of them whatever they were */
  readonly writes: boolean
}

const SETS_ALL = new Set(['ADD', 'OR', 'AND', 'SUB', 'XOR', 'CMP', 'TEST', 'NEG', 'ZERO', 'IMUL', 'MUL', 'POPCNT', 'BSF', 'BSR', 'XADD', 'CMPXCHG'])
const READS_AND_SETS = new Set(['ADC', 'SBB', 'INC', 'DEC'])
const SILENT = new Set(['MOV', 'MOVZX8', 'MOVZX16', 'MOVSX8', 'MOVSX16', 'MOVSXD', 'LEA', 'NOT', 'CBW', 'CWD', 'BSWAP', 'XCHG', 'NOP', 'LODS', 'STOS', 'MOVS'])
const PARTIAL = new Set(['BT', 'BTS', 'BTR', 'BTC', 'ROL', 'ROR'])
const SHIFTS = new Set(['SHL', 'SHR', 'SAR'])

export function touchesMemory({ shape, name }: Uop): boolean {
  return name !== 'LEA' && shape.includes('M')
}

function effectOf(uop: Uop): Effect {
  const { name, shape } = uop
  const leaves = touchesMemory(uop)
  if (SETS_ALL.has(name)) return { reads: leaves, writes: true }
  if (READS_AND_SETS.has(name)) return { reads: true, writes: true }
  if (SILENT.has(name) || PARTIAL.has(name)) return { reads: leaves, writes: false }
  if (SHIFTS.has(name) && (shape === 'RI' || shape === 'MI')) return { reads: leaves, writes: (uop.low & (uop.size === 3 ? 63 : 31)) !== 0 }
  if (SHIFTS.has(name)) return { reads: leaves, writes: false }
  return { reads: true, writes: false } // conditions, jumps, stack accesses, steps
}

/** For each uop of a node: must the flags it sets be kept? */
export function neededFlags(node: Node): boolean[] {
  const needed: boolean[] = []
  let live = true
  for (let index = node.uops.length - 1; index >= 0; index--) {
    const uop = node.uops[index] as Uop
    const { reads, writes } = effectOf(uop)
    needed[index] = live || touchesMemory(uop) // a read-modify-write may leave when its flags are set
    live = reads || !writes && live
  }
  return needed
}

/** Are the flags with which a node is entered ever seen? */
export function entersWithFlags(node: Node): boolean {
  for (const uop of node.uops) {
    const { reads, writes } = effectOf(uop)
    if (reads) return true
    if (writes) return false
  }
  return true
}
