/** Configuration space and feature bits of a block device. OASIS virtio 1.2 sections 5.2.3 and 5.2.4; without zoned disks, lifetime and secure erase. */

export const F_SEG_MAX = 1n << 2n
export const F_GEOMETRY = 1n << 4n
export const F_RO = 1n << 5n
export const F_BLK_SIZE = 1n << 6n
export const F_FLUSH = 1n << 9n
export const F_TOPOLOGY = 1n << 10n
export const F_CONFIG_WCE = 1n << 11n
export const F_MQ = 1n << 12n
export const F_DISCARD = 1n << 13n
export const F_WRITE_ZEROES = 1n << 14n

const CONFIG_SIZE = 60
const CAPACITY = 0, SEG_MAX = 12, CYLINDERS = 16, HEADS = 18, SECTORS = 19, BLK_SIZE = 20, PHYSICAL_EXPONENT = 24, MIN_IO = 26, OPT_IO = 28
export const WRITEBACK = 32
const NUM_QUEUES = 34, MAX_DISCARD_SECTORS = 36, MAX_DISCARD_SEG = 40, DISCARD_ALIGNMENT = 44, MAX_ZEROES_SECTORS = 48, MAX_ZEROES_SEG = 52, ZEROES_MAY_UNMAP = 56

export const SECTOR = 512
/** Most sectors of one range to discard or to zero: 1 GiB. */
export const MAX_RANGE_SECTORS = 2 ** 21
/** Most ranges in one request. */
export const MAX_RANGES = 16

/** What a disk says about itself. Sizes in bytes. */
export interface BlkTopology {
  readonly logicalBlockSize: number
  readonly physicalBlockSize: number
  /** Multiples of the logical block size; 0: says nothing. */
  readonly minIoSize: number
  readonly optIoSize: number
  /** 0: the logical block size */
  readonly discardGranularity: number
}

export interface BlkConfigOptions {
  readonly topology: BlkTopology
  readonly queues: number
  readonly queueSize: number
}

/** @returns the configuration space of a disk without capacity */
export function blkConfigSpace({ topology, queues, queueSize }: BlkConfigOptions): Uint8Array {
  const bytes = new Uint8Array(CONFIG_SIZE)
  const view = new DataView(bytes.buffer)
  const { logicalBlockSize, physicalBlockSize, minIoSize, optIoSize, discardGranularity } = topology
  view.setUint32(SEG_MAX, segMax(queueSize), true)
  view.setUint32(BLK_SIZE, logicalBlockSize, true)
  bytes[PHYSICAL_EXPONENT] = Math.round(Math.log2(physicalBlockSize / logicalBlockSize))
  view.setUint16(MIN_IO, Math.min(0xffff, minIoSize / logicalBlockSize), true)
  view.setUint32(OPT_IO, optIoSize / logicalBlockSize, true)
  bytes[WRITEBACK] = 1
  view.setUint16(NUM_QUEUES, queues, true)
  view.setUint32(MAX_DISCARD_SECTORS, MAX_RANGE_SECTORS, true)
  view.setUint32(MAX_DISCARD_SEG, MAX_RANGES, true)
  view.setUint32(DISCARD_ALIGNMENT, Math.max(discardGranularity, logicalBlockSize) / SECTOR, true)
  view.setUint32(MAX_ZEROES_SECTORS, MAX_RANGE_SECTORS, true)
  view.setUint32(MAX_ZEROES_SEG, MAX_RANGES, true)
  bytes[ZEROES_MAY_UNMAP] = 1
  return bytes
}

/** Descriptors of data in a request: what the queue holds without header and status. */
export function segMax(queueSize: number): number {
  return Math.max(1, queueSize - 2)
}

/** @param bytes whole sectors */
export function setCapacity(config: Uint8Array, bytes: number): void {
  const view = new DataView(config.buffer, config.byteOffset)
  const sectors = Math.floor(bytes / SECTOR)
  view.setBigUint64(CAPACITY, BigInt(sectors), true)
  // As disks have been laid out since there are no cylinders any more.
  view.setUint16(CYLINDERS, Math.min(16_383, Math.floor(sectors / (16 * 63))), true)
  view.setUint8(HEADS, sectors === 0 ? 0 : 16)
  view.setUint8(SECTORS, sectors === 0 ? 0 : 63)
}
