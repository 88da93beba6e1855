/**
 * Decoder of the LZ4 "legacy frame", which the Linux kernel's own build uses (lz4 -l). lz4_Frame_format.md, "Legacy frame", and lz4_Block_format.md.
 * Left out: the modern frame, compression.
 */
import { MesovirtError } from '../host/errors.ts'

export const LZ4_LEGACY_MAGIC = 0x184c_2102
/** Uncompressed size of every block but the last. */
const BLOCK_SIZE = 8 * 1024 * 1024
const MIN_MATCH = 4

/**
 * @param frame the whole frame with its magic
 * @param size bytes it must decompress to
 * @throws MesovirtError LZ4_DAMAGED; reads and writes stay inside the buffers whatever the frame says
 */
export function decodeLz4Legacy(frame: Uint8Array, size: number): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  if (frame.length < 4 || view.getUint32(0, true) !== LZ4_LEGACY_MAGIC) throw damaged('it has no legacy frame magic')
  const output = new Uint8Array(size)
  let written = 0
  let at = 4
  while (at + 4 <= frame.length) {
    const blockSize = view.getUint32(at, true)
    at += 4
    if (blockSize === LZ4_LEGACY_MAGIC) continue // frames may follow each other
    if (blockSize > frame.length - at) throw damaged('a block is longer than the data')
    written = decodeBlock(frame, at, at + blockSize, output, written)
    at += blockSize
  }
  if (written !== size) throw damaged(`it holds ${written} bytes, not ${size}`)
  return output
}

/** Decodes one block and returns the new end of `output`. Matches reach back into this block only. */
function decodeBlock(input: Uint8Array, from: number, end: number, output: Uint8Array, start: number): number {
  const limit = Math.min(output.length, start + BLOCK_SIZE)
  let at = from
  let out = start
  // A length of 15 goes on in the bytes that follow, until one is not 255.
  const extended = (nibble: number): number => {
    let length = nibble
    if (nibble !== 15) return length
    let byte = 255
    while (byte === 255) {
      if (at >= end) throw damaged('a length runs past its block')
      byte = input[at++] as number
      length += byte
    }
    return length
  }
  while (at < end) {
    const token = input[at++] as number
    const literals = extended(token >> 4)
    if (literals > end - at || literals > limit - out) throw damaged('literals run past their block')
    output.set(input.subarray(at, at + literals), out)
    at += literals
    out += literals
    if (at === end) break // the last sequence has literals only
    if (end - at < 2) throw damaged('a match offset is cut off')
    const offset = (input[at] as number) | (input[at + 1] as number) << 8
    at += 2
    const length = extended(token & 15) + MIN_MATCH
    if (offset === 0 || offset > out - start) throw damaged('a match reaches before its block')
    if (length > limit - out) throw damaged('a match runs past its block')
    if (offset >= length) output.copyWithin(out, out - offset, out - offset + length)
    else for (let index = 0; index < length; index++) output[out + index] = output[out + index - offset] as number
    out += length
  }
  return out
}

function damaged(what: string): MesovirtError {
  return new MesovirtError('LZ4_DAMAGED', `the lz4 data is damaged: ${what}; fetch the file again`)
}
