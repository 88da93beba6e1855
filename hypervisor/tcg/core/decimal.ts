/** Decimal adjustment: DAA DAS AAA AAS AAM AAD. */
import { GPR, UOP_IMM } from './layout'
import { F_DAA, F_DAS, F_AAA, F_AAS, F_AAM } from './decode-table.gen'
import { FL_CF, FL_AF, FL_ZF, getFlags, setFlagsArith } from './flags'
import { raise } from './fault'

export function decimal(cpu: usize, u: usize, family: u32): u32 {
  let al: u32 = load<u8>(cpu, GPR), ah: u32 = load<u8>(cpu, GPR + 1)
  let flags = getFlags(cpu)
  const carry = flags & FL_CF, auxiliary = flags & FL_AF
  if (family == F_DAA || family == F_DAS) {
    const old = al
    flags = 0
    if ((al & 15) > 9 || auxiliary) {
      if (family == F_DAA) { if (al + 6 > 0xff || carry) flags |= FL_CF; al += 6 }
      else { if (al < 6 || carry) flags |= FL_CF; al -= 6 }
      flags |= FL_AF
    }
    if (old > 0x99 || carry) { al = family == F_DAA ? al + 0x60 : al - 0x60; flags |= FL_CF }
    else if (family == F_DAA) flags &= ~FL_CF
    al &= 0xff
    store<u8>(cpu, <u8>al, GPR)
  } else if (family == F_AAA || family == F_AAS) {
    flags = 0
    if ((al & 15) > 9 || auxiliary) {
      const ax: u32 = family == F_AAA ? (al | (ah << 8)) + 0x106 : (al | (ah << 8)) - 0x106
      ah = (ax >> 8) & 0xff; al = ax & 15
      flags = FL_AF | FL_CF
    } else al &= 15
    store<u8>(cpu, <u8>al, GPR); store<u8>(cpu, <u8>ah, GPR + 1)
  } else if (family == F_AAM) {
    const base = <u32>load<u64>(u, UOP_IMM) & 0xff
    if (!base) { raise(cpu, 0, 0); return 1 }
    ah = al / base; al = al % base
    flags = 0
    store<u8>(cpu, <u8>al, GPR); store<u8>(cpu, <u8>ah, GPR + 1)
  } else {
    al = (al + ah * (<u32>load<u64>(u, UOP_IMM) & 0xff)) & 0xff
    flags = 0
    store<u16>(cpu, <u16>al, GPR)
  }
  flags |= (al ? 0 : FL_ZF) | (al & 0x80) | ((~popcnt<u32>(al) & 1) << 2)
  setFlagsArith(cpu, flags)
  return 0
}
