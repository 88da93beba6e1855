/** What a driver wrote into one buffer of a block device: header, ranges to discard or zero, and what is wrong with them. OASIS virtio 1.2 section 5.2.6. */
import { copyFrom, sliceSegments } from './queue/chain.ts'
import type { Chain, Segment } from './queue/chain.ts'
import { MAX_RANGE_SECTORS, MAX_RANGES, SECTOR } from './blk-config.ts'

export const T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13
export const S_OK = 0, S_IOERR = 1, S_UNSUPP = 2
export const ID_BYTES = 20

const HEADER_SIZE = 16
const RANGE_SIZE = 16
const UNMAP = 1
/** Sectors of 2^53 bytes: no image has more. */
const MAX_SECTOR_HIGH = 2 ** 12

/** Where a disk ends, and in which units it works. */
export interface DiskShape {
  /** bytes */
  readonly size: number
  readonly readOnly: boolean
}

export interface Range {
  /** bytes */
  readonly position: number
  readonly length: number
  readonly unmap: boolean
}

export interface Header {
  readonly type: number
  /** First sector; Infinity where no image has it. */
  readonly sector: number
}

/** @returns undefined where the buffer has no room for a header or for a status: no request at all */
export function readHeader(chain: Chain): Header | undefined {
  if (chain.writableLength === 0) return undefined
  const bytes = new Uint8Array(HEADER_SIZE)
  if (copyFrom(chain.readable, 0, bytes) < HEADER_SIZE) return undefined
  const view = new DataView(bytes.buffer)
  const high = view.getUint32(12, true)
  return { type: view.getUint32(0, true), sector: high >= MAX_SECTOR_HIGH ? Infinity : high * 2 ** 32 + view.getUint32(8, true) }
}

/** The data of a write, behind the header. */
export function dataOut(chain: Chain): Segment[] {
  return sliceSegments(chain.readable, HEADER_SIZE, chain.readableLength - HEADER_SIZE)
}

/** The room for data of a read, before the status. */
export function dataIn(chain: Chain): Segment[] {
  return sliceSegments(chain.writable, 0, chain.writableLength - 1)
}

/** Whether a disk has all sectors of a transfer, and only whole ones are asked for. */
export function isWithin({ size }: DiskShape, sector: number, length: number): boolean {
  return length % SECTOR === 0 && sector * SECTOR + length <= size
}

/** Ranges of DISCARD or WRITE_ZEROES, or the status that refuses them. Section 5.2.6.2. */
export function readRanges(chain: Chain, isDiscard: boolean, shape: DiskShape): Range[] | number {
  const length = chain.readableLength - HEADER_SIZE
  if (length <= 0 || length % RANGE_SIZE !== 0 || length > MAX_RANGES * RANGE_SIZE) return S_IOERR
  const bytes = new Uint8Array(length)
  copyFrom(chain.readable, HEADER_SIZE, bytes)
  const view = new DataView(bytes.buffer)
  const ranges: Range[] = []
  let isRefused = false
  for (let at = 0; at < length; at += RANGE_SIZE) {
    const high = view.getUint32(at + 4, true)
    const sector = high * 2 ** 32 + view.getUint32(at, true)
    const sectors = view.getUint32(at + 8, true)
    const flags = view.getUint32(at + 12, true)
    if ((flags & ~UNMAP) !== 0 || (isDiscard && flags !== 0)) return S_UNSUPP
    isRefused ||= shape.readOnly || sectors > MAX_RANGE_SECTORS || high >= MAX_SECTOR_HIGH || !isWithin(shape, sector, sectors * SECTOR)
    ranges.push({ position: sector * SECTOR, length: sectors * SECTOR, unmap: (flags & UNMAP) !== 0 })
  }
  return isRefused ? S_IOERR : ranges
}
