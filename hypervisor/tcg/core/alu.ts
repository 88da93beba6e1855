/** Arithmetic on operands of a run-time size: results and lazy flags as the Intel SDM volume 2 gives them. */
import { GPR, CC_SRC2, CC_ADD, CC_ADC, CC_SUB, CC_SBB, CC_LOGIC, CC_INC, CC_DEC, CC_SHL, CC_SAR, CC_MUL } from './layout'
import { mulHigh, divRemainder, divide128 } from './math128'
import { FL_CF, FL_OF, setcc, sext, flagC, getFlags, setFlagsArith } from './flags'

/** @param kind 0 ADD 1 OR 2 ADC 3 SBB 4 AND 5 SUB 6 XOR 7 CMP. @returns the result (upper bits arbitrary) */
export function alu(cpu: usize, kind: u32, size: u32, x: u64, y: u64): u64 {
  const a = sext(x, size), b = sext(y, size)
  let r: i64
  switch (kind) {
    case 0: r = sext(a + b, size); setcc(cpu, CC_ADD + size, r, b); return r
    case 1: r = a | b; setcc(cpu, CC_LOGIC + size, r, 0); return r
    case 2: {
      const carry: i64 = flagC(cpu)
      r = sext(a + b + carry, size)
      setcc(cpu, CC_ADC + size, r, b); store<i64>(cpu, carry, CC_SRC2)
      return r
    }
    case 3: {
      const carry: i64 = flagC(cpu)
      r = sext(a - b - carry, size)
      setcc(cpu, CC_SBB + size, r, b); store<i64>(cpu, carry, CC_SRC2)
      return r
    }
    case 4: r = a & b; setcc(cpu, CC_LOGIC + size, r, 0); return r
    case 6: r = a ^ b; setcc(cpu, CC_LOGIC + size, r, 0); return r
    default: r = sext(a - b, size); setcc(cpu, CC_SUB + size, r, b); return r
  }
}

export function inc(cpu: usize, size: u32, x: u64): u64 {
  const carry: i64 = flagC(cpu)
  const r = sext(x + 1, size)
  setcc(cpu, CC_INC + size, r, carry)
  return r
}
export function dec(cpu: usize, size: u32, x: u64): u64 {
  const carry: i64 = flagC(cpu)
  const r = sext(x - 1, size)
  setcc(cpu, CC_DEC + size, r, carry)
  return r
}

function mask(size: u32): u64 { return size == 3 ? 0xffffffffffffffff : (<u64>1 << (8 << size)) - 1 }

/** @param kind 0 ROL 1 ROR 2 RCL 3 RCR 4/6 SHL 5 SHR 7 SAR, @param amount raw count (masked here) */
export function shift(cpu: usize, kind: u32, size: u32, x: u64, amount: u64): u64 {
  const count = amount & (size == 3 ? 63 : 31)
  if (!count) return x
  const bits: u64 = 8 << size
  const value = x & mask(size)
  switch (kind) {
    case 4: case 6: {
      // Counts beyond the width exist for 8 and 16 bits only; bits leave through the sign position of `before`.
      const before = count - 1 >= 64 ? 0 : value << (count - 1)
      const r = sext(before << 1, size)
      setcc(cpu, CC_SHL + size, r, sext(before, size))
      return r
    }
    case 5: {
      const before = value >> (count - 1)
      const r = sext(before >> 1, size)
      setcc(cpu, CC_SAR + size, r, sext(before, size))
      return r
    }
    case 7: {
      const before = sext(value, size) >> <i64>(count - 1)
      const r = before >> 1
      setcc(cpu, CC_SAR + size, r, before)
      return r
    }
    default:
  }
  let flags = getFlags(cpu) & ~(FL_CF | FL_OF)
  let r: u64
  if (kind == 0) {
    const n = count & (bits - 1)
    r = n ? ((value << n) | (value >> (bits - n))) & mask(size) : value
    const carry = <u32>r & 1
    flags |= carry | ((carry ^ (<u32>(r >> (bits - 1)) & 1)) << 11)
  } else if (kind == 1) {
    const n = count & (bits - 1)
    r = n ? ((value >> n) | (value << (bits - n))) & mask(size) : value
    flags |= (<u32>(r >> (bits - 1)) & 1) | ((<u32>((r >> (bits - 1)) ^ (r >> (bits - 2))) & 1) << 11)
  } else {
    let carry: u64 = flagC(cpu)
    r = value
    const n = size >= 2 ? count : count % (bits + 1)
    if (kind == 2) {
      for (let i: u64 = 0; i < n; i++) { const out = r >> (bits - 1); r = ((r << 1) | carry) & mask(size); carry = out }
      flags |= <u32>carry | ((<u32>(carry ^ (r >> (bits - 1))) & 1) << 11)
    } else {
      for (let i: u64 = 0; i < n; i++) { const out = r & 1; r = (r >> 1) | (carry << (bits - 1)); carry = out }
      flags |= <u32>carry | ((<u32>((r >> (bits - 1)) ^ (r >> (bits - 2))) & 1) << 11)
    }
  }
  setFlagsArith(cpu, flags)
  return r
}

/** SHLD/SHRD. @param left SHLD */
export function doubleShift(cpu: usize, size: u32, x: u64, y: u64, amount: u64, left: bool): u64 {
  const count = amount & (size == 3 ? 63 : 31)
  if (!count) return x
  const bits: u64 = 8 << size
  const a = x & mask(size), b = y & mask(size)
  let before: u64, r: u64
  if (size == 1) {
    // 16-bit counts above 16 are undefined; silicon rotates through the 32-bit pair, so does this.
    if (left) {
      const wide = (a << 32) | (b << 16) | a
      before = (wide << (count - 1)) >> 32; r = (wide << count) >> 32
    } else {
      const wide = a | (b << 16) | (a << 32)
      before = wide >> (count - 1); r = wide >> count
    }
  } else if (left) {
    before = count == 1 ? a : (a << (count - 1)) | (b >> (bits - count + 1))
    r = (a << count) | (b >> (bits - count))
  } else {
    before = count == 1 ? a : (a >> (count - 1)) | (b << (bits - count + 1))
    r = (a >> count) | (b << (bits - count))
  }
  const result = sext(r, size)
  if (left) setcc(cpu, CC_SHL + size, result, sext(before, size))
  else {
    // OF = the sign changed; CF = last bit out. CC_SAR takes both from `before`.
    setcc(cpu, CC_SAR + size, result, sext(before, size))
  }
  return result
}

export let highHalf: u64 = 0
/** 64 x 64 -> 128 bit product; the high half goes to highHalf. */
export function multiply(a: u64, b: u64): u64 {
  highHalf = mulHigh(a, b)
  return a * b
}
export function multiplySigned(a: i64, b: i64): u64 {
  const low = multiply(<u64>a, <u64>b)
  if (a < 0) highHalf -= <u64>b
  if (b < 0) highHalf -= <u64>a
  return low
}

/** One-operand MUL: rDX:rAX. */
export function mul(cpu: usize, size: u32, y: u64): void {
  if (size == 3) {
    const low = multiply(load<u64>(cpu, GPR), y)
    store<u64>(cpu, low, GPR)
    store<u64>(cpu, highHalf, GPR + 16)
    setcc(cpu, CC_MUL + 3, low, highHalf)
    return
  }
  const product = (load<u64>(cpu, GPR) & mask(size)) * (y & mask(size))
  const high = product >> (8 << size)
  storeWide(cpu, size, product)
  setcc(cpu, CC_MUL + size, sext(product, size), high)
}
function storeWide(cpu: usize, size: u32, product: u64): void {
  if (size == 0) store<u16>(cpu, <u16>product, GPR)
  else if (size == 1) { store<u16>(cpu, <u16>product, GPR); store<u16>(cpu, <u16>(product >> 16), GPR + 16) }
  else { store<u64>(cpu, product & 0xffffffff, GPR); store<u64>(cpu, product >> 32, GPR + 16) }
}
export function imul1(cpu: usize, size: u32, y: u64): void {
  if (size == 3) {
    const low = multiplySigned(load<i64>(cpu, GPR), <i64>y)
    store<u64>(cpu, low, GPR)
    store<u64>(cpu, highHalf, GPR + 16)
    setcc(cpu, CC_MUL + 3, low, highHalf - <u64>(<i64>low >> 63))
    return
  }
  const product = sext(load<u64>(cpu, GPR), size) * sext(y, size)
  storeWide(cpu, size, product)
  setcc(cpu, CC_MUL + size, sext(product, size), product - sext(product, size))
}
/** Two- and three-operand IMUL. */
export function imul(cpu: usize, size: u32, x: u64, y: u64): u64 {
  if (size == 3) {
    const low = multiplySigned(<i64>x, <i64>y)
    setcc(cpu, CC_MUL + 3, low, highHalf - <u64>(<i64>low >> 63))
    return low
  }
  const product = sext(x, size) * sext(y, size)
  const r = sext(product, size)
  setcc(cpu, CC_MUL + size, r, product - r)
  return r
}

let quotient: u64 = 0, remainder: u64 = 0
/** 128 / 64 -> 64 bits. Caller guarantees high < divisor. */
function divideWide(high: u64, low: u64, divisor: u64): void {
  if (!high) { quotient = low / divisor; remainder = low % divisor; return }
  const shift = clz<u64>(divisor)
  quotient = divide128(shift ? (high << shift) | (low >> (64 - shift)) : high, low << shift, divisor << shift)
  remainder = divRemainder >> shift
}
/** DIV. @returns false for #DE */
export function div(cpu: usize, size: u32, y: u64): bool {
  const divisor = y & mask(size)
  if (!divisor) return false
  if (size == 3) {
    const high = load<u64>(cpu, GPR + 16)
    if (high >= divisor) return false
    divideWide(high, load<u64>(cpu, GPR), divisor)
  } else {
    const dividend = wideDividend(cpu, size)
    quotient = dividend / divisor
    remainder = dividend % divisor
    if (quotient > mask(size)) return false
  }
  storeQuotient(cpu, size)
  return true
}
function wideDividend(cpu: usize, size: u32): u64 {
  if (size == 0) return load<u16>(cpu, GPR)
  if (size == 1) return <u64>load<u16>(cpu, GPR) | (<u64>load<u16>(cpu, GPR + 16) << 16)
  return <u64>load<u32>(cpu, GPR) | (<u64>load<u32>(cpu, GPR + 16) << 32)
}
function storeQuotient(cpu: usize, size: u32): void {
  if (size == 0) { store<u8>(cpu, <u8>quotient, GPR); store<u8>(cpu, <u8>remainder, GPR + 1) }
  else if (size == 1) { store<u16>(cpu, <u16>quotient, GPR); store<u16>(cpu, <u16>remainder, GPR + 16) }
  else if (size == 2) { store<u64>(cpu, quotient & 0xffffffff, GPR); store<u64>(cpu, remainder & 0xffffffff, GPR + 16) }
  else { store<u64>(cpu, quotient, GPR); store<u64>(cpu, remainder, GPR + 16) }
}
/** IDIV. @returns false for #DE */
export function idiv(cpu: usize, size: u32, y: u64): bool {
  const divisor = sext(y, size)
  if (!divisor) return false
  let high: i64, low: u64
  if (size == 3) { high = load<i64>(cpu, GPR + 16); low = load<u64>(cpu, GPR) }
  else {
    const dividend: i64 = size == 2 ? <i64>wideDividend(cpu, 2) : size == 1 ? <i64><i32>wideDividend(cpu, 1) : <i64><i16>wideDividend(cpu, 0)
    low = <u64>dividend
    high = dividend >> 63
  }
  const negative = high < 0
  if (negative) { low = 0 - low; high = ~high + (low == 0 ? 1 : 0) }
  const magnitude: u64 = divisor < 0 ? 0 - <u64>divisor : <u64>divisor
  if (<u64>high >= magnitude) return false
  divideWide(<u64>high, low, magnitude)
  const negativeQuotient = negative != (divisor < 0)
  const limit: u64 = <u64>1 << ((8 << size) - 1)
  if (negativeQuotient ? quotient > limit : quotient >= limit) return false
  if (negativeQuotient) quotient = 0 - quotient
  if (negative) remainder = 0 - remainder
  storeQuotient(cpu, size)
  return true
}

/** CRC-32C (Castagnoli, reflected) over `bytes` low bytes of `data`. */
export function crc32c(crc: u32, data: u64, bytes: u32): u32 {
  let value = crc
  for (let i: u32 = 0; i < bytes; i++) {
    value ^= <u32>(data >> (i << 3)) & 0xff
    for (let bit = 0; bit < 8; bit++) value = (value >> 1) ^ (0x82f63b78 & (0 - (value & 1)))
  }
  return value
}
