/** Zeros: a supply of them, and a look whether bytes are. */

const ZEROS = new Uint8Array(new SharedArrayBuffer(2 ** 20 + 4096))

/** Bytes that are 0 and stay so, on a border of a page as far as the memory they are in begins on one. @param length at most 1 MiB */
export function zeroBytes(length: number): Uint8Array {
  return ZEROS.subarray(0, length)
}

export function isZero(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0 || bytes[bytes.length - 1] !== 0) return bytes.length === 0
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length)
    if (Buffer.compare(part, ZEROS.subarray(0, part.length)) !== 0) return false
  }
  return true
}
