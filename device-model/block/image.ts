/**
 * One disk image: reads, writes and the rest by position in bytes, as a device asks for them. Takes care of what the file cannot do as asked: partial transfers, the end
 * of the file, O_DIRECT's alignment, ranges that the file system cannot zero. Limits (throttle.ts) come first, counts last.
 */
import fs from 'node:fs'
import os from 'node:os'
import { ffi, steadyAddressOf } from '../../host/ffi.ts'
import { copyIn, copyOut, withoutFirst } from '../../host/file-io.ts'
import type { FileIo, FileOperationKind } from '../../host/file-io.ts'
import { NativeFileIo } from '../../host/file-io-native.ts'
import { optionalLibc, ThreadsFileIo } from '../../host/file-io-threads.ts'
import { UringFileIo } from '../../host/file-io-uring.ts'
import type { Clock } from '../contracts.ts'
import { newStatistics } from './config.ts'
import type { BlockImageConfig, BlockStatistics } from './config.ts'
import { isZero, zeroBytes } from './zeros.ts'
import { diskError, openImageFile, SECTOR } from './image-file.ts'
import type { ImageFile } from './image-file.ts'
import { Throttle } from './throttle.ts'

/** Bytes of one transfer through a buffer of ours. */
const PIECE = 2 ** 20
/** Most bytes that are searched for something else than zeros: a quarter of a millisecond. */
const LONGEST_LOOKED_AT = 2 ** 22
const { EOPNOTSUPP, EINVAL, EIO, ENOSYS } = os.constants.errno

/** Told how it ended, later and once: 0, or an errno. */
export type BlockDone = (errno: number) => void

export interface BlockImageServices {
  readonly clock: Clock
  /** Throttles by the name of their group. */
  readonly throttleGroups?: Map<string, Throttle> | undefined
}

export class BlockImage {
  readonly config: BlockImageConfig
  readonly statistics: BlockStatistics = newStatistics()
  readonly #file: ImageFile
  readonly #io: FileIo
  #throttle: Throttle | undefined
  readonly #clock: Clock
  #size: number
  /** Requests past the throttle. */
  #underWay = 0
  #held: (() => void)[] | undefined
  #onIdle: (() => void)[] = []
  /** Requests from before the last `settle` are over. */
  #epoch = 0

  /** @throws MesovirtError DISK_FILE, DISK_LOCK, IO_URING, LINUX_AIO, FFI_MISSING */
  static open(config: BlockImageConfig, services: BlockImageServices): BlockImage {
    const file = openImageFile(config)
    try {
      return new BlockImage(config, file, openIo(config), services)
    } catch (error) {
      fs.closeSync(file.fd)
      throw error
    }
  }

  private constructor(config: BlockImageConfig, file: ImageFile, io: FileIo, { clock, throttleGroups }: BlockImageServices) {
    this.config = config
    this.#file = file
    this.#io = io
    this.#clock = clock
    this.#size = file.size()
    const group = config.throttleGroup
    const shared = group === undefined ? undefined : throttleGroups?.get(group)
    if (shared !== undefined || config.throttle !== undefined) this.#throttle = shared ?? new Throttle(config.throttle ?? {}, clock)
    if (group !== undefined && this.#throttle !== undefined) throttleGroups?.set(group, this.#throttle)
  }

  /** Bytes, whole sectors: what lies past the end of the file in the last one reads as zeros. */
  get size(): number {
    return Math.ceil(this.#size / SECTOR) * SECTOR
  }

  /** Smallest unit of requests, in bytes. */
  get blockSize(): number {
    return Math.max(SECTOR, this.#file.alignment)
  }

  get io(): FileIo['kind'] {
    return this.#io.kind
  }

  get throttle(): Throttle | undefined {
    return this.#throttle
  }

  /** Limits from now on, for all of its group. */
  setLimits(limits: Throttle['limits']): void {
    if (this.#throttle === undefined) this.#throttle = new Throttle(limits, this.#clock)
    else this.#throttle.limits = limits
  }

  /** @param buffers memory that stays where it is, `length` bytes of it */
  read(position: number, buffers: readonly Uint8Array[], length: number, done: BlockDone): void {
    this.#begin('read', length, done, (end) => this.#transfer('read', position, buffers, length, end))
  }

  write(position: number, buffers: readonly Uint8Array[], length: number, done: BlockDone): void {
    this.#begin('write', length, done, (end) => {
      const { detectZeroes } = this.config
      if (detectZeroes !== 'off' && length <= LONGEST_LOOKED_AT && buffers.every(isZero)) this.#zero(position, length, detectZeroes === 'unmap', end)
      else this.#transfer('write', position, buffers, length, end)
      this.statistics.highestWritten = Math.max(this.statistics.highestWritten, position + length)
    })
  }

  /** What was written before is on the disk when this is done. */
  flush(done: BlockDone): void {
    this.#begin('flush', 0, done, (end) => {
      if (this.config.noFlush) queueMicrotask(() => end(0))
      else this.#operate('flush', 0, [], 0, (result) => end(result < 0 ? -result : 0))
    })
  }

  /** A hint: what cannot be given back stays. */
  discard(position: number, length: number, done: BlockDone): void {
    this.#begin('unmap', length, done, (end) => {
      if (this.config.discard !== 'unmap') queueMicrotask(() => end(0))
      else this.#operate('punch', position, [], length, (result) => end(isUnsupported(result) ? 0 : Math.max(0, -result)))
    })
  }

  /** @param mayUnmap the room may be given back, if the image gives back room at all */
  writeZeroes(position: number, length: number, mayUnmap: boolean, done: BlockDone): void {
    this.#begin('write', length, done, (end) => {
      this.#zero(position, length, mayUnmap, end)
      this.statistics.highestWritten = Math.max(this.statistics.highestWritten, position + length)
    })
  }

  /** Starts what was asked for so far: to be called after a batch of requests. What is done at once has been told when this returns. */
  commit(): void {
    this.#io.commit()
  }

  /** From now on nothing of what was asked for so far touches its buffers, and nothing of it is told. */
  settle(): void {
    this.#epoch++
    this.#throttle?.forget(this)
    if (this.#held !== undefined) this.#held = []
    this.#io.settle()
    this.#underWay = 0
    this.#idle()
  }

  /** Resolves when nothing is under way; nothing starts until `release`. */
  hold(): Promise<void> {
    this.#held ??= []
    return new Promise((resolve) => {
      this.#onIdle.push(resolve)
      if (this.#underWay === 0) this.#idle()
    })
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const start of held) start()
  }

  /** A new size for a file; a device is looked at again. @param bytes whole sectors. @throws MesovirtError DISK_FILE */
  resize(bytes: number): void {
    const { fd, isDevice } = this.#file
    if (!isDevice) {
      if (this.config.readOnly) throw diskError(this.config, 'is read-only; open it for writing to resize it')
      try {
        fs.ftruncateSync(fd, bytes)
      } catch (error) {
        throw diskError(this.config, `cannot be made ${bytes} bytes long (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`)
      }
    } else if (this.#file.size() !== bytes) {
      throw diskError(this.config, `is a device of ${this.#file.size()} bytes; give this size`)
    }
    this.#size = bytes
  }

  /** Waits for what is under way, then gives file and locks back. */
  async close(): Promise<void> {
    this.#throttle?.forget(this)
    this.#io.commit()
    await this.#io.close()
    fs.closeSync(this.#file.fd)
  }

  #begin(kind: 'read' | 'write' | 'flush' | 'unmap', bytes: number, done: BlockDone, start: (end: BlockDone) => void): void {
    const asked = performance.now()
    const epoch = this.#epoch
    const run = (): void => {
      if (this.#held !== undefined) {
        this.#held.push(run)
        return
      }
      this.#underWay++
      start((errno) => {
        if (epoch !== this.#epoch) return
        this.#underWay--
        this.#count(kind, bytes, errno, asked)
        done(errno)
        if (this.#underWay === 0) this.#idle()
      })
    }
    if (this.#throttle === undefined || kind === 'flush' || kind === 'unmap') run()
    else this.#throttle.admit(kind, bytes, this, run)
  }

  #idle(): void {
    for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  #operate(kind: FileOperationKind, position: number, buffers: readonly Uint8Array[], length: number, done: (result: number) => void): void {
    const epoch = this.#epoch
    this.#io.submit({ kind, fd: this.#file.fd, position, buffers, length, done: (result) => { if (epoch === this.#epoch) done(result) } })
  }

  #transfer(kind: 'read' | 'write', position: number, buffers: readonly Uint8Array[], length: number, end: BlockDone): void {
    if (length === 0) return queueMicrotask(() => end(0))
    if (!this.#fits(position, buffers, length)) return this.#transferAligned(kind, position, buffers, length, end)
    this.#operate(kind, position, buffers, length, (result) => {
      if (result < 0) return end(-result)
      if (result >= length) return end(0)
      const rest = withoutFirst(buffers, result)
      // O_DIRECT can go on at a border of its blocks only; a read that ended elsewhere has met the end of the file.
      if (kind === 'read' && (result === 0 || result % this.#file.alignment !== 0)) {
        rest.forEach((bytes) => bytes.fill(0))
        return end(0)
      }
      if (result === 0) return end(EIO)
      this.#transfer(kind, position + result, rest, length - result, end)
    })
  }

  /** Whether O_DIRECT takes it as it is; the thread pool's buffers are aligned. */
  #fits(position: number, buffers: readonly Uint8Array[], length: number): boolean {
    const { alignment, memoryAlignment } = this.#file
    if (alignment === 1) return true
    if (position % alignment !== 0 || length % alignment !== 0) return false
    return this.#io.kind === 'threads' || buffers.every((bytes) => bytes.length % alignment === 0 && steadyAddressOf(bytes) % memoryAlignment === 0)
  }

  /** Piece by piece through a buffer that O_DIRECT takes. */
  #transferAligned(kind: 'read' | 'write', position: number, buffers: readonly Uint8Array[], length: number, end: BlockDone): void {
    const { alignment } = this.#file
    // Devices tell their guests the size of blocks: a write that does not keep to it is the guest's mistake.
    const before = position % alignment
    if (kind === 'write' && (before !== 0 || length % alignment !== 0)) return queueMicrotask(() => end(EINVAL))
    const count = Math.min(length, PIECE - before)
    const padded = Math.ceil((before + count) / alignment) * alignment
    const bounce = alignedBuffer(padded, this.#file.memoryAlignment)
    if (kind === 'write') copyIn(buffers, bounce)
    this.#transfer(kind, position - before, [bounce], padded, (errno) => {
      if (errno !== 0) return end(errno)
      if (kind === 'read') copyOut(bounce.subarray(before, before + count), buffers)
      if (count === length) return end(0)
      this.#transfer(kind, position + count, withoutFirst(buffers, count), length - count, end)
    })
  }

  #zero(position: number, length: number, mayUnmap: boolean, end: BlockDone): void {
    const punch = mayUnmap && this.config.discard === 'unmap'
    this.#operate(punch ? 'punch' : 'zero', position, [], length, (result) => {
      if (isUnsupported(result)) this.#writeZeros(position, length, end)
      else end(Math.max(0, -result))
    })
  }

  #writeZeros(position: number, length: number, end: BlockDone): void {
    const zeros = zeroBytes(Math.min(length, PIECE))
    this.#transfer('write', position, [zeros], zeros.length, (errno) => {
      if (errno !== 0 || zeros.length === length) return end(errno)
      this.#writeZeros(position + zeros.length, length - zeros.length, end)
    })
  }

  #count(kind: 'read' | 'write' | 'flush' | 'unmap', bytes: number, errno: number, asked: number): void {
    const counts = this.statistics
    const ns = Math.round((performance.now() - asked) * 1e6)
    const failed = errno === 0 ? 0 : 1
    switch (kind) {
      case 'read':
        counts.failedReads += failed
        if (failed === 0) { counts.reads++; counts.readBytes += bytes; counts.readNs += ns }
        return
      case 'write':
        counts.failedWrites += failed
        if (failed === 0) { counts.writes++; counts.writtenBytes += bytes; counts.writeNs += ns }
        return
      case 'flush':
        counts.failedFlushes += failed
        if (failed === 0) { counts.flushes++; counts.flushNs += ns }
        return
      case 'unmap':
        counts.failedUnmaps += failed
        if (failed === 0) { counts.unmaps++; counts.unmappedBytes += bytes; counts.unmapNs += ns }
    }
  }
}

function openIo({ aio, direct }: BlockImageConfig): FileIo {
  switch (aio) {
    case 'io_uring': return new UringFileIo()
    case 'native': return new NativeFileIo()
    case 'threads': return new ThreadsFileIo({ direct, libc: optionalLibc() })
  }
}

function isUnsupported(result: number): boolean {
  return result === -EOPNOTSUPP || result === -ENOSYS || result === -EINVAL
}

function alignedBuffer(length: number, alignment: number): Uint8Array {
  ffi()
  const bytes = new Uint8Array(new SharedArrayBuffer(length + alignment))
  const skip = (alignment - steadyAddressOf(bytes) % alignment) % alignment
  return bytes.subarray(skip, skip + length)
}
