/** Bit tests, and CMPXCHG8B and CMPXCHG16B. */
import { GPR, CPL, UOP_D, UOP_S, UOP_IMM } from './layout'
import { F_BT, F_BTS, F_BTR } from './decode-table.gen'
import { AUX_DST_MEM, AUX_SRC_IMM } from './decode'
import { FL_CF, FL_ZF, sext, getFlags, setFlagsArith } from './flags'
import { failed, loadN, loadLinear, storeLinear, address, bitStringAddress, openDestination, closeDestination } from './operand'
import { misaligned, isStack } from './simd'
import { probeWrite } from './access'

export function bitTest(cpu: usize, u: usize, family: u32, size: u32, aux: u32): u32 {
  const immediate = (aux & AUX_SRC_IMM) != 0
  const index: i64 = immediate ? load<i64>(u, UOP_IMM) : sext(loadN(cpu + load<u16>(u, UOP_S), size), size)
  const bit = <u64>index & ((8 << size) - 1)
  // A register index reaches beyond the operand: a bit string.
  const offset: i64 = aux & AUX_DST_MEM && !immediate ? (index >> <i64>(3 + size)) << <i64>size : 0
  let value: u64
  if (family == F_BT) {
    value = aux & AUX_DST_MEM ? loadLinear(cpu, u, bitStringAddress(cpu, u, 1 << size, offset), size) : loadN(cpu + load<u16>(u, UOP_D), size)
    if (failed) return 1
  } else {
    const p = openDestination(cpu, u, size, offset)
    if (!p) return 1
    value = loadN(p, size)
    const mask: u64 = <u64>1 << bit
    closeDestination(cpu, u, p, size, family == F_BTS ? value | mask : family == F_BTR ? value & ~mask : value ^ mask)
  }
  setFlagsArith(cpu, (getFlags(cpu) & ~FL_CF) | (<u32>(value >> bit) & 1))
  return 0
}

export function compareExchangeWide(cpu: usize, u: usize, size: u32): u32 {
  if (size == 3) {
    const va = address(cpu, u, 16 | 0x10000)
    if (va & 15) { misaligned(cpu, u, va); return 1 }
    if (!probeWrite(cpu, isStack(u), va, 16, load<u32>(cpu, CPL) == 3)) return 1
    const low = loadLinear(cpu, u, va, 3), high = loadLinear(cpu, u, va + 8, 3)
    if (failed) return 1
    const equal = low == load<u64>(cpu, GPR) && high == load<u64>(cpu, GPR + 16)
    storeLinear(cpu, u, va, 3, equal ? load<u64>(cpu, GPR + 24) : low)
    storeLinear(cpu, u, va + 8, 3, equal ? load<u64>(cpu, GPR + 8) : high)
    if (!equal) { store<u64>(cpu, low, GPR); store<u64>(cpu, high, GPR + 16) }
    setFlagsArith(cpu, (getFlags(cpu) & ~FL_ZF) | (equal ? FL_ZF : 0))
    return 0
  }
  const p = openDestination(cpu, u, 3, 0)
  if (!p) return 1
  const value = load<u64>(p)
  const equal = value == (<u64>load<u32>(cpu, GPR) | (<u64>load<u32>(cpu, GPR + 16) << 32))
  closeDestination(cpu, u, p, 3, equal ? <u64>load<u32>(cpu, GPR + 24) | (<u64>load<u32>(cpu, GPR + 8) << 32) : value)
  if (!equal) { store<u64>(cpu, value & 0xffffffff, GPR); store<u64>(cpu, value >> 32, GPR + 16) }
  setFlagsArith(cpu, (getFlags(cpu) & ~FL_ZF) | (equal ? FL_ZF : 0))
  return 0
}
