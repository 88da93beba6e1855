import type { AccessSize, Region } from './region.ts'

/**
 * Access-size splitting between what a guest asks for and what a device implements (AccessRules of region.ts): little-endian, low address
 * first. Works on bytes; the caller has already cut the access at the borders of the region.
 */

/** One device access that serves `count` bytes, which begin `skip` bytes into its cell. */
interface Piece {
  readonly offset: number
  readonly size: number
  readonly skip: number
  readonly count: number
}

/** Reads `length` bytes of the device's registers at `offset` into `into[at...]`. */
export function readIo(region: Region, offset: number, into: Uint8Array, at: number, length: number): void {
  const cell = new DataView(new ArrayBuffer(8))
  for (let done = 0; done < length;) {
    const { offset: from, size, skip, count } = nextPiece(region, offset + done, length - done)
    if (size === 8) cell.setBigUint64(0, BigInt.asUintN(64, region.ops.read64?.(from) ?? 0n), true)
    else cell.setUint32(0, region.ops.read(from, size as AccessSize), true)
    for (let i = 0; i < count; i++) into[at + done + i] = cell.getUint8(skip + i)
    done += count
  }
}

/** Writes `length` bytes of `bytes[at...]` to the device's registers at `offset`. */
export function writeIo(region: Region, offset: number, bytes: Uint8Array, at: number, length: number): void {
  const cell = new DataView(new ArrayBuffer(8))
  for (let done = 0; done < length;) {
    const { offset: to, size, skip, count } = nextPiece(region, offset + done, length - done)
    cell.setBigUint64(0, 0n)
    for (let i = 0; i < count; i++) cell.setUint8(skip + i, bytes[at + done + i] ?? 0)
    if (size === 8) region.ops.write64?.(to, cell.getBigUint64(0, true))
    else region.ops.write(to, size as AccessSize, valueOf(cell, size))
    done += count
  }
}

/** Whether the device takes this access as it is. */
export function fitsDevice(region: Region, offset: number, size: number): boolean {
  return size >= region.minAccess && size <= region.maxAccess && (region.unaligned || offset % size === 0)
}

/** The largest access at `offset` that the device implements and that stays inside the `left` bytes asked for; else its narrowest cell. */
function nextPiece(region: Region, offset: number, left: number): Piece {
  for (let size = region.maxAccess; size >= region.minAccess; size /= 2) {
    if (size <= left && (region.unaligned || offset % size === 0)) return { offset, size, skip: 0, count: size }
  }
  const size = region.minAccess
  const skip = offset % size
  return { offset: offset - skip, size, skip, count: Math.min(size - skip, left) }
}

function valueOf(cell: DataView, size: number): number {
  if (size === 1) return cell.getUint8(0)
  return size === 2 ? cell.getUint16(0, true) : cell.getUint32(0, true)
}
