/** RFLAGS bits that the architecture leaves undefined after one instruction: the row's mask, narrowed by the count of a shift. */
import { AF, CF, OF, S_GPR } from './arena.ts'
import type { Encoding } from './encode.ts'
import type { State } from './state.ts'
import type { Row } from '../../hypervisor/tcg/isa/row.ts'

const COUNTED = new Set(['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar', 'shld', 'shrd'])

export function undefinedFlags(row: Row, state: State, encoding: Encoding, size: number): number {
  const mask = row.undefinedFlags ?? 0
  if (!COUNTED.has(row.name)) return mask
  const width = size === 0 ? 8 : size
  let count = row.form.endsWith('CL') ? state.view.getUint8(S_GPR + 8) : row.form.endsWith(',1') ? 1 : encoding.immediate.getUint8(0)
  count &= width === 64 ? 63 : 31
  if (count === 0) return 0
  const rotate = row.name.startsWith('r')
  if (row.name === 'shld' || row.name === 'shrd') return count > width ? mask : count === 1 ? AF : AF | OF
  if (rotate) return count === 1 ? 0 : OF
  return AF | (count === 1 ? 0 : OF) | (count >= width && row.name !== 'sar' ? CF : 0)
}
