/**
 * File operations by Node's thread pool. Data goes through buffers of our own, so that memory of the guest is not touched once `settle` has returned; what the page
 * cache holds is read at once, by the calling thread (preadv2(2), RWF_NOWAIT): measured at 1 us for 4 KiB against 28 us through the pool.
 */
import fs from 'node:fs'
import os from 'node:os'
import { fallocateInPool, ffi, steadyAddressOf } from './ffi.ts'
import type { Libc } from './ffi.ts'
import { copyIn, copyOut, fallocateMode, MAX_VECTORS, VECTOR_SIZE, writeVectors } from './file-io.ts'
import type { FileIo, FileOperation } from './file-io.ts'

/** Most operations in the pool at a time: it has four threads, and others wait for them too. */
const WIDTH = 3
/** Most bytes of one call. */
const PIECE = 2 ** 20
/** Most bytes that are read while main waits: 20 us of copying. */
const AT_ONCE = 256 * 1024
const RWF_NOWAIT = 8
const DIRECT_ALIGNMENT = 4096

export interface ThreadsOptions {
  /** The files were opened with O_DIRECT: buffers are aligned, and nothing is read at once. */
  readonly direct?: boolean | undefined
  /** Undefined where there is no native code: everything goes through the pool then, and ranges are zeroed by hand. */
  readonly libc?: Libc | undefined
}

export class ThreadsFileIo implements FileIo {
  readonly kind = 'threads'
  readonly #direct: boolean
  readonly #libc: Libc | undefined
  readonly #vectors = new Uint8Array(MAX_VECTORS * VECTOR_SIZE)
  readonly #vectorView = new DataView(this.#vectors.buffer)
  /** Not looked at yet. */
  #fresh: FileOperation[] = []
  /** For a thread. */
  #waiting: FileOperation[] = []
  /** A commit is on its way. */
  #scheduled = false
  /** Running operations from before `settle`. */
  #abandoned = 0
  readonly #running = new Set<{ abandoned: boolean }>()
  readonly #spare: Uint8Array[] = []
  #closed: (() => void) | undefined

  constructor({ direct = false, libc }: ThreadsOptions = {}) {
    this.#direct = direct
    this.#libc = libc
  }

  get pending(): number {
    return this.#fresh.length + this.#waiting.length + this.#running.size
  }

  submit(operation: FileOperation): void {
    this.#fresh.push(operation)
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => { if (this.#scheduled) this.commit() })
  }

  commit(): void {
    this.#scheduled = false
    this.#pump()
  }

  /** What is abandoned may still write to its file: nothing that comes later overtakes it. */
  settle(): void {
    this.#waiting = []
    this.#fresh = []
    for (const running of this.#running) running.abandoned = true
    this.#abandoned = this.#running.size
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closed = resolve
      if (this.pending === 0) resolve()
    })
  }

  /** @returns false where some of it would have to be waited for */
  #readAtOnce(operation: FileOperation): boolean {
    if (this.#direct || this.#libc === undefined || operation.kind !== 'read' || operation.length > AT_ONCE || operation.buffers.length > MAX_VECTORS) return false
    const count = writeVectors(this.#vectorView, 0, operation.buffers, steadyAddressOf)
    const result = this.#libc.preadv2(operation.fd, this.#vectors, count, operation.position, RWF_NOWAIT)
    // 0 is the end of the file, or nothing in the page cache yet on some file systems: the pool knows.
    if (result <= 0) return false
    operation.done(result)
    return true
  }

  #pump(): void {
    if (this.#abandoned === 0) {
      for (let operation = this.#fresh.shift(); operation !== undefined; operation = this.#fresh.shift()) {
        if (!this.#readAtOnce(operation)) this.#waiting.push(operation)
      }
      while (this.#running.size < WIDTH) {
        const operation = this.#waiting.shift()
        if (operation === undefined) break
        this.#start(operation)
      }
    }
    if (this.pending === 0) this.#closed?.()
  }

  #start(operation: FileOperation): void {
    const running = { abandoned: false }
    this.#running.add(running)
    const end = (result: number, buffer?: Uint8Array): void => {
      if (!running.abandoned && operation.kind === 'read' && result > 0 && buffer !== undefined) copyOut(buffer.subarray(0, result), operation.buffers)
      if (buffer !== undefined) this.#spare.push(buffer)
      this.#running.delete(running)
      if (running.abandoned) this.#abandoned--
      else operation.done(result)
      this.#pump()
    }
    const { kind, fd, position } = operation
    switch (kind) {
      case 'read': {
        const buffer = this.#buffer()
        fs.read(fd, buffer, 0, Math.min(operation.length, PIECE), position, (error, count) => end(error === null ? count : errnoOf(error), buffer))
        return
      }
      case 'write': {
        const buffer = this.#buffer()
        const length = Math.min(operation.length, PIECE)
        copyIn(operation.buffers, buffer.subarray(0, length))
        fs.write(fd, buffer, 0, length, position, (error, count) => end(error === null ? count : errnoOf(error), buffer))
        return
      }
      case 'flush':
        fs.fdatasync(fd, (error) => end(error === null ? 0 : errnoOf(error)))
        return
      case 'zero':
      case 'punch':
        if (this.#libc === undefined) setImmediate(() => end(-os.constants.errno.EOPNOTSUPP))
        else fallocateInPool(fd, fallocateMode(kind), position, operation.length, end)
    }
  }

  #buffer(): Uint8Array {
    const spare = this.#spare.pop()
    if (spare !== undefined) return spare
    const bytes = new Uint8Array(new SharedArrayBuffer(PIECE + DIRECT_ALIGNMENT))
    const skip = this.#direct ? (DIRECT_ALIGNMENT - steadyAddressOf(bytes) % DIRECT_ALIGNMENT) % DIRECT_ALIGNMENT : 0
    return bytes.subarray(skip, skip + PIECE)
  }
}

/** Native code where there is some. */
export function optionalLibc(): Libc | undefined {
  try {
    return ffi().libc
  } catch {
    return undefined
  }
}

function errnoOf(error: NodeJS.ErrnoException): number {
  return -Math.abs(error.errno ?? os.constants.errno.EIO)
}
