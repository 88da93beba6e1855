/** What a disk image is to be like: what -drive, -blockdev and blockdev-add say about the host's side of a disk. */
import type { ThrottleLimits } from './throttle.ts'

export type Aio = 'threads' | 'io_uring' | 'native'
export type DetectZeroes = 'off' | 'on' | 'unmap'
/** What happens to a request that failed: the guest hears of it, does not hear of it, or the machine stops until `cont`; `enospc` stops where the disk is full only. */
export type WriteErrorPolicy = 'report' | 'ignore' | 'stop' | 'enospc'
export type ReadErrorPolicy = Exclude<WriteErrorPolicy, 'enospc'>

export interface BlockImageConfig {
  /** node-name, or id of the -drive */
  readonly id: string
  readonly filename: string
  /** What the file has to be: anything, a regular file, or a block device. */
  readonly expect?: 'any' | 'file' | 'device' | undefined
  /** Somebody said that it is raw; if not, an image of another format is refused. */
  readonly isRaw?: boolean | undefined
  readonly readOnly: boolean
  readonly aio: Aio
  /** O_DIRECT: past the host's page cache. */
  readonly direct: boolean
  /** Flushes of the guest do nothing: fast, and lost with the host. */
  readonly noFlush: boolean
  /** Whether the guest's discards give room back. */
  readonly discard: 'unmap' | 'ignore'
  readonly detectZeroes: DetectZeroes
  /** `auto`: where the file system can. */
  readonly locking: 'auto' | 'on' | 'off'
  readonly throttle?: ThrottleLimits | undefined
  /** Images of one group share its limits. */
  readonly throttleGroup?: string | undefined
}

/** Counts for query-blockstats. Times in nanoseconds. */
export interface BlockStatistics {
  readBytes: number
  writtenBytes: number
  reads: number
  writes: number
  flushes: number
  unmaps: number
  unmappedBytes: number
  readNs: number
  writeNs: number
  flushNs: number
  unmapNs: number
  failedReads: number
  failedWrites: number
  failedFlushes: number
  failedUnmaps: number
  invalidReads: number
  invalidWrites: number
  invalidFlushes: number
  invalidUnmaps: number
  /** One past the last byte written. */
  highestWritten: number
}

export function newStatistics(): BlockStatistics {
  return {
    readBytes: 0, writtenBytes: 0, reads: 0, writes: 0, flushes: 0, unmaps: 0, unmappedBytes: 0, readNs: 0, writeNs: 0, flushNs: 0, unmapNs: 0,
    failedReads: 0, failedWrites: 0, failedFlushes: 0, failedUnmaps: 0, invalidReads: 0, invalidWrites: 0, invalidFlushes: 0, invalidUnmaps: 0, highestWritten: 0,
  }
}
