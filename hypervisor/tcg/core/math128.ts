/** Products of 128 bits and their division, which WebAssembly does not have. */

/** High half of a 64 x 64 bit product; the low half is simply a * b. */
// @ts-ignore: decorator
@inline export function mulHigh(a: u64, b: u64): u64 {
  const al = a & 0xffffffff
  const ah = a >> 32
  const bl = b & 0xffffffff
  const bh = b >> 32
  const lh = al * bh
  const hl = ah * bl
  const mid = ((al * bl) >> 32) + (lh & 0xffffffff) + (hl & 0xffffffff)
  return ah * bh + (lh >> 32) + (hl >> 32) + (mid >> 32)
}

/** Remainder of the last divide128. */
export let divRemainder: u64 = 0

/** (high:low) / d for d with bit 63 set and high < d: two digits of base 2^32, each estimated from the top digit and corrected. */
export function divide128(high: u64, low: u64, d: u64): u64 {
  const dh = d >> 32
  const dl = d & 0xffffffff
  let q1 = high / dh
  let r = high - q1 * dh
  while (q1 > 0xffffffff || q1 * dl > ((r << 32) | (low >> 32))) {
    q1--
    r += dh
    if (r > 0xffffffff) break
  }
  const middle = (high << 32) + (low >> 32) - q1 * d
  let q0 = middle / dh
  r = middle - q0 * dh
  while (q0 > 0xffffffff || q0 * dl > ((r << 32) | (low & 0xffffffff))) {
    q0--
    r += dh
    if (r > 0xffffffff) break
  }
  divRemainder = (middle << 32) + (low & 0xffffffff) - q0 * d
  return (q1 << 32) + q0
}
