/**
 * Locked instructions and XCHG with memory where vCPUs have threads of their own (decode.ts makes OP_LOCKED of them only there), SDM volume 3, 9.1.
 *
 * An operand inside eight aligned bytes is one atomic operation of the host on them. One that lies across such a border would need the bus lock of old:
 * the instruction is put off until the other vCPUs are stopped (`wantAlone`), and then runs like any other. CMPXCHG16B has no counterpart in WebAssembly: all
 * of them exclude one another by a lock, and write each half by an atomic compare-exchange; who looks at the halves by other instructions may see one
 * before the other.
 */
import {
  CC_DST, CC_OP, CC_SRC, CC_SRC2, CPL, G_WIDE_LOCK, GPR, PAGE_LINES, RIP, RIP_BASE, RIP_SET, UOP_AUX, UOP_IMM, UOP_OFFSET, UOP_S, UOP_X,
} from './layout'
import {
  F_ADC, F_ADD, F_AND, F_BTC, F_BTR, F_BTS, F_CMPXCHG, F_CMPXCHG8B, F_DEC, F_INC, F_NEG, F_NOT, F_OR, F_SBB, F_SUB, F_XADD, F_XCHG, F_XOR,
} from './decode-table.gen'
import { AUX_SRC_IMM } from './decode'
import { ACCESS_WRITE } from './paging'
import { probeWrite } from './access'
import { slowAccess } from './access-check'
import { alu, dec, inc } from './alu'
import { invalidateCode } from './cache'
import { FL_CF, FL_ZF, flagZ, getFlags, setFlagsArith, sext } from './flags'
import { execGeneric } from './generic'
import { address, bitStringAddress, clearFailed, failed, loadN, setFailed, writeRegister, writeTlb } from './operand'
import { pageRecord, xlReadOnly } from './ram'
import { isStack, misaligned } from './simd'
import { acquire, release } from './sync'
import { translate, tlbRead } from './tlb'

/** The instruction at RIP must run while all other vCPUs are stopped. */
export let wantAlone: bool = false
export function clearWantAlone(): void { wantAlone = false }
/** All others are stopped. */
export let alone: bool = false
export function setAlone(on: bool): void {
  alone = on
  wantAlone = false
}

function isBitOperation(family: u32): bool { return family == F_BTS || family == F_BTR || family == F_BTC }

/** @returns 0 go on with the next uop, 1 leave the block */
export function execLocked(cpu: usize, u: usize): u32 {
  if (alone) return execGeneric(cpu, u)
  clearFailed()
  const aux: u32 = load<u8>(u, UOP_AUX)
  const family = load<u32>(u, UOP_X) & 0xffff
  let size = aux & 3
  if (family == F_CMPXCHG8B) {
    if (size == 3) return exchangeWide(cpu, u)
    size = 3
  }
  let bit: u64 = 0
  let offset: i64 = 0
  if (isBitOperation(family)) {
    const immediate = (aux & AUX_SRC_IMM) != 0
    const index: i64 = immediate ? load<i64>(u, UOP_IMM) : sext(loadN(cpu + load<u16>(u, UOP_S), size), size)
    bit = <u64>index & ((8 << size) - 1)
    if (!immediate) offset = (index >> <i64>(3 + size)) << <i64>size
  }
  const bytes: u32 = 1 << size
  const va = bitStringAddress(cpu, u, bytes | 0x10000, offset)
  const p = pointer(cpu, u, va, bytes)
  if (!p) return failed ? 1 : execGeneric(cpu, u) // a device
  if ((p & 7) + bytes > 8) return putOff(cpu, u)
  const fast = onlyExchange(cpu, u, family, size, p)
  if (!fast) exchange(cpu, u, family, size, p, bit)
  if (slow) dropCode(p, bytes)
  return 0
}

/** The page of the last pointer() may hold decoded code. */
let slow: bool = false

/** Where the operand lies in RAM; 0: `failed`, or it is no RAM that may be written. */
function pointer(cpu: usize, u: usize, va: u64, bytes: u32): usize {
  slow = false
  const hit: usize = slowAccess ? 0 : tlbRead(writeTlb(cpu), va, bytes)
  if (hit) return hit
  const user = load<u32>(cpu, CPL) == 3
  if (!probeWrite(cpu, isStack(u), va, bytes, user)) { setFailed(); return 0 }
  const host = translate(cpu, va, ACCESS_WRITE, user)
  if (!host || xlReadOnly) return 0
  slow = true
  return host
}

function dropCode(p: usize, bytes: u32): void {
  if (load<u64>(pageRecord(p), PAGE_LINES)) invalidateCode(p, bytes)
}

function putOff(cpu: usize, u: usize): u32 {
  wantAlone = true
  store<u64>(cpu, load<u64>(cpu, RIP_BASE) + load<u16>(u, UOP_OFFSET), RIP)
  store<u32>(cpu, 1, RIP_SET)
  return 1
}

/** Operations that are one of the host's. */
function onlyExchange(cpu: usize, u: usize, family: u32, size: u32, p: usize): bool {
  if (p & ((1 << size) - 1) || (family != F_XCHG && family != F_XADD)) return false
  const s: u32 = load<u16>(u, UOP_S)
  const value = loadN(cpu + s, size)
  let old: u64
  if (family == F_XCHG) {
    if (size == 3) old = atomic.xchg<u64>(p, value)
    else if (size == 2) old = atomic.xchg<u32>(p, <u32>value)
    else if (size == 1) old = atomic.xchg<u16>(p, <u16>value)
    else old = atomic.xchg<u8>(p, <u8>value)
  } else {
    if (size == 3) old = atomic.add<u64>(p, value)
    else if (size == 2) old = atomic.add<u32>(p, <u32>value)
    else if (size == 1) old = atomic.add<u16>(p, <u16>value)
    else old = atomic.add<u8>(p, <u8>value)
    alu(cpu, 0, size, old, value)
  }
  writeRegister(cpu, s, size, old)
  return true
}

/** Reads, computes and compares until nobody came in between. */
function exchange(cpu: usize, u: usize, family: u32, size: u32, p: usize, bit: u64): void {
  const op = load<u32>(cpu, CC_OP), dst = load<u64>(cpu, CC_DST), src = load<u64>(cpu, CC_SRC), src2 = load<u64>(cpu, CC_SRC2)
  const s: u32 = load<u16>(u, UOP_S)
  const value = load<u8>(u, UOP_AUX) & AUX_SRC_IMM ? load<u64>(u, UOP_IMM) : loadN(cpu + s, size)
  let old = loadN(p, size)
  let r: u64
  while (true) {
    r = old
    switch (family) {
      case F_ADD: r = alu(cpu, 0, size, old, value); break
      case F_OR: r = alu(cpu, 1, size, old, value); break
      case F_ADC: r = alu(cpu, 2, size, old, value); break
      case F_SBB: r = alu(cpu, 3, size, old, value); break
      case F_AND: r = alu(cpu, 4, size, old, value); break
      case F_SUB: r = alu(cpu, 5, size, old, value); break
      case F_XOR: r = alu(cpu, 6, size, old, value); break
      case F_XADD: r = alu(cpu, 0, size, old, value); break
      case F_XCHG: r = value; break
      case F_INC: r = inc(cpu, size, old); break
      case F_DEC: r = dec(cpu, size, old); break
      case F_NEG: r = alu(cpu, 5, size, 0, old); break
      case F_NOT: r = ~old; break
      case F_BTS: r = old | (<u64>1 << bit); break
      case F_BTR: r = old & ~(<u64>1 << bit); break
      case F_BTC: r = old ^ (<u64>1 << bit); break
      case F_CMPXCHG: {
        alu(cpu, 7, size, loadN(cpu + GPR, size), old)
        if (flagZ(cpu)) r = loadN(cpu + s, size)
        break
      }
      case F_CMPXCHG8B: {
        if (old == (<u64>load<u32>(cpu, GPR) | (<u64>load<u32>(cpu, GPR + 16) << 32))) r = <u64>load<u32>(cpu, GPR + 24) | (<u64>load<u32>(cpu, GPR + 8) << 32)
        break
      }
      default:
    }
    const found = compareExchange(p, size, old, r)
    if (found == old) break
    old = found
    store<u32>(cpu, op, CC_OP); store<u64>(cpu, dst, CC_DST); store<u64>(cpu, src, CC_SRC); store<u64>(cpu, src2, CC_SRC2)
  }
  if (family == F_XADD || family == F_XCHG) writeRegister(cpu, s, size, old)
  else if (family == F_CMPXCHG) { if (!flagZ(cpu)) writeRegister(cpu, GPR, size, old) }
  else if (isBitOperation(family)) setFlagsArith(cpu, (getFlags(cpu) & ~FL_CF) | (<u32>(old >> bit) & 1))
  else if (family == F_CMPXCHG8B) {
    const equal = old == (<u64>load<u32>(cpu, GPR) | (<u64>load<u32>(cpu, GPR + 16) << 32))
    if (!equal) { store<u64>(cpu, old & 0xffffffff, GPR); store<u64>(cpu, old >> 32, GPR + 16) }
    setFlagsArith(cpu, (getFlags(cpu) & ~FL_ZF) | (equal ? FL_ZF : 0))
  }
}

/** @returns what was found, zero-extended: `expected` when `value` is there now */
function compareExchange(p: usize, size: u32, expected: u64, value: u64): u64 {
  if (!(p & ((1 << size) - 1))) {
    if (size == 3) return atomic.cmpxchg<u64>(p, expected, value)
    if (size == 2) return atomic.cmpxchg<u32>(p, <u32>expected, <u32>value)
    if (size == 1) return atomic.cmpxchg<u16>(p, <u16>expected, <u16>value)
    return atomic.cmpxchg<u8>(p, <u8>expected, <u8>value)
  }
  // Inside eight aligned bytes.
  const word = p & ~7
  const shift = <u64>(p & 7) << 3
  const mask = (((<u64>1 << (<u64>8 << size)) - 1)) << shift
  let whole = atomic.load<u64>(word)
  while (true) {
    const found = (whole & mask) >> shift
    if (found != expected) return found
    const seen = atomic.cmpxchg<u64>(word, whole, (whole & ~mask) | ((value << shift) & mask))
    if (seen == whole) return expected
    whole = seen
  }
}

function exchangeWide(cpu: usize, u: usize): u32 {
  const va = address(cpu, u, 16 | 0x10000)
  if (va & 15) { misaligned(cpu, u, va); return 1 }
  acquire(G_WIDE_LOCK) // before the look-up: waiting for a lock is a place without stores under way
  const p = pointer(cpu, u, va, 16)
  if (!p) {
    release(G_WIDE_LOCK)
    return failed ? 1 : execGeneric(cpu, u)
  }
  const wantLow = load<u64>(cpu, GPR), wantHigh = load<u64>(cpu, GPR + 16)
  let low: u64, high: u64
  let equal: bool
  while (true) {
    low = atomic.load<u64>(p)
    high = atomic.load<u64>(p + 8)
    if (atomic.load<u64>(p) != low) continue
    equal = low == wantLow && high == wantHigh
    if (!equal) break
    if (atomic.cmpxchg<u64>(p, low, load<u64>(cpu, GPR + 24)) != low) continue
    if (atomic.cmpxchg<u64>(p + 8, high, load<u64>(cpu, GPR + 8)) == high) break
    atomic.cmpxchg<u64>(p, load<u64>(cpu, GPR + 24), low) // somebody wrote the other half in between: as if this had not begun
  }
  release(G_WIDE_LOCK)
  if (!equal) { store<u64>(cpu, low, GPR); store<u64>(cpu, high, GPR + 16) }
  setFlagsArith(cpu, (getFlags(cpu) & ~FL_ZF) | (equal ? FL_ZF : 0))
  if (slow) dropCode(p, 16)
  return 0
}
