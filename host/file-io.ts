/**
 * Reading and writing files at a position without waiting for them: what the ways to do it (file-io-*.ts) have in common. preadv(2), fdatasync(2), fallocate(2).
 */

export type FileOperationKind = 'read' | 'write' | 'flush' | 'zero' | 'punch'

export interface FileOperation {
  readonly kind: FileOperationKind
  readonly fd: number
  /** bytes */
  readonly position: number
  /** Bytes to read or write, one run after the other; memory that stays where it is (steadyAddressOf). Empty for the others. */
  readonly buffers: readonly Uint8Array[]
  /** bytes, the sum of `buffers` for reads and writes */
  readonly length: number
  /**
   * Told once, never from inside `submit`, how many bytes were read or written (fewer than `length` is no error, and 0 of a read is the end of the file), 0 for the
   * other kinds, or a negative errno.
   */
  done(result: number): void
}

/** One way of doing file operations. */
export interface FileIo {
  readonly kind: 'threads' | 'io_uring' | 'native'
  /** Takes an operation in. It starts at the next `commit`, or soon by itself. */
  submit(operation: FileOperation): void
  /** Starts what was submitted. Calls `done` of what is finished at once. */
  commit(): void
  /** Nothing that was submitted so far touches its buffers any more when this returns; `done` may come later or, of what never started, not at all. */
  settle(): void
  /** Operations submitted and not done. */
  readonly pending: number
  /** Waits for what is under way. */
  close(): Promise<void>
}

export const FALLOC_KEEP_SIZE = 1, FALLOC_PUNCH_HOLE = 2, FALLOC_ZERO_RANGE = 0x10

/** Mode of fallocate(2) that makes a range read as zeros: `punch` gives its room back, `zero` keeps it. */
export function fallocateMode(kind: 'zero' | 'punch'): number {
  return FALLOC_KEEP_SIZE | (kind === 'zero' ? FALLOC_ZERO_RANGE : FALLOC_PUNCH_HOLE)
}

/** Fills struct iovec entries {address, length} from `at` on. @returns how many */
export function writeVectors(into: DataView, at: number, buffers: readonly Uint8Array[], address: (bytes: Uint8Array) => number): number {
  let offset = at
  for (const bytes of buffers) {
    into.setBigUint64(offset, BigInt(address(bytes)), true)
    into.setBigUint64(offset + 8, BigInt(bytes.length), true)
    offset += VECTOR_SIZE
  }
  return buffers.length
}

/** sizeof(struct iovec) */
export const VECTOR_SIZE = 16
/** IOV_MAX */
export const MAX_VECTORS = 1024

/** The beginning of the run that has at most `limit` bytes, and so many pieces as one call takes. */
export function firstPart(buffers: readonly Uint8Array[], limit: number): Uint8Array[] {
  const part: Uint8Array[] = []
  let left = limit
  for (const bytes of buffers) {
    if (left === 0 || part.length === MAX_VECTORS) break
    part.push(bytes.length <= left ? bytes : bytes.subarray(0, left))
    left -= Math.min(left, bytes.length)
  }
  return part
}

/** The run without its first `count` bytes. */
export function withoutFirst(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let skip = count
  let index = 0
  for (; index < buffers.length; index++) {
    const { length } = buffers[index] as Uint8Array
    if (skip < length) break
    skip -= length
  }
  const rest = buffers.slice(index)
  if (skip > 0 && rest[0] !== undefined) rest[0] = rest[0].subarray(skip)
  return rest
}

/** Fills `into` with the first bytes of the run. */
export function copyIn(from: readonly Uint8Array[], into: Uint8Array): void {
  let at = 0
  for (const bytes of from) {
    if (at >= into.length) return
    const part = bytes.subarray(0, into.length - at)
    into.set(part, at)
    at += part.length
  }
}

/** Puts `from` into the first bytes of the run. */
export function copyOut(from: Uint8Array, into: readonly Uint8Array[]): void {
  let at = 0
  for (const bytes of into) {
    if (at >= from.length) return
    bytes.set(from.subarray(at, at + bytes.length))
    at += bytes.length
  }
}
