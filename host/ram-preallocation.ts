/** Gives every page of guest RAM its memory before the machine starts: madvise(2) with MADV_POPULATE_WRITE in several threads at once. */
import os from 'node:os'
import { setImmediate } from 'node:timers/promises'
import { MesovirtError } from './errors.ts'
import { errnoName, ffi, lastErrno, madviseInPool } from './ffi.ts'
import { memoryRoom } from './memory-room.ts'
import type { MemoryRoom } from './memory-room.ts'
import { mib, SMALL_PAGE } from './ram-backing.ts'
import type { RamBacking } from './ram-backing.ts'

const MADV_POPULATE_WRITE = 23
/** A thread holds the lock of the address space for that long, and so long takes an end in the middle. */
const PIECE = 16 * 2 ** 20
/** Threads of Node's pool, unless the environment says otherwise. */
const POOL_THREADS = 4
const MOST_THREADS = 16
const MOST_ATTEMPTS = 100

export interface PreallocatedRam {
  /** on a border of its pages */
  readonly address: number
  readonly size: number
  readonly pageSize: number
  views(offset: number, length: number): Uint8Array[]
}

/** madvise(2): resolves with 0 or the number of an error. */
export type Advise = (address: number, length: number, advice: number) => Promise<number>

/**
 * Refuses RAM that the host cannot give, for a process that takes it all the same is killed.
 * @throws MesovirtError RAM_PREALLOCATION
 */
export function checkRoom(size: number, room: MemoryRoom | undefined = memoryRoom()): void {
  if (room === undefined || size <= room.bytes) return
  const who = room.limit === 'host' ? 'this host has' : 'the control group (cgroup) of this process has'
  throw preallocationError(`${mib(size)} are needed, and ${who} ${mib(room.bytes)} left`)
}

export class RamPreallocation {
  readonly #ram: PreallocatedRam
  readonly #advise: Advise
  readonly #onProgress: (doneBytes: number, totalBytes: number) => void
  readonly #piece: number
  readonly #signal: AbortSignal | undefined
  #next = 0
  #done = 0
  #stopped = false
  #kernelCan = true
  #running: Promise<void> | undefined

  constructor(ram: PreallocatedRam, { onProgress = () => undefined, signal }: Pick<RamBacking, 'onProgress' | 'signal'>, advise: Advise = adviseInPool) {
    this.#ram = ram
    this.#advise = advise
    this.#onProgress = onProgress
    this.#signal = signal
    this.#piece = Math.ceil(PIECE / ram.pageSize) * ram.pageSize
  }

  /** Resolves when all pages are there, or it was stopped. @throws MesovirtError RAM_PREALLOCATION */
  run(): Promise<void> {
    return this.#running ??= this.#run()
  }

  /** Resolves when nothing touches the memory any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running?.catch(() => undefined)
  }

  async #run(): Promise<void> {
    const threads = Math.min(os.availableParallelism(), Number(process.env['UV_THREADPOOL_SIZE']) || POOL_THREADS, MOST_THREADS)
    const results = await Promise.allSettled(Array.from({ length: threads }, () => this.#takePieces()))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  async #takePieces(): Promise<void> {
    const { size } = this.#ram
    while (this.#next < size && !this.#stopped && this.#signal?.aborted !== true) {
      const offset = this.#next
      const length = Math.min(this.#piece, size - offset)
      this.#next += length
      try {
        await this.#populate(offset, length)
      } catch (error) {
        this.#stopped = true
        throw error
      }
      this.#done += length
      this.#onProgress(this.#done, size)
    }
  }

  async #populate(offset: number, length: number): Promise<void> {
    const { EINVAL, EAGAIN, EINTR } = os.constants.errno
    for (let attempt = 0; this.#kernelCan && attempt < MOST_ATTEMPTS; attempt++) {
      const errno = await this.#advise(this.#ram.address + offset, length, MADV_POPULATE_WRITE)
      if (errno === 0) return
      if (errno === EINVAL) this.#kernelCan = false
      else if (errno !== EAGAIN && errno !== EINTR) throw refused(this.#ram.size, this.#done, errno)
    }
    if (this.#kernelCan) throw refused(this.#ram.size, this.#done, EAGAIN)
    this.#touch(offset, length)
    await setImmediate()
  }

  /** For kernels before 5.14. Keeps what is there; a store would lose what another process writes to shared memory at this moment. */
  #touch(offset: number, length: number): void {
    for (const view of this.#ram.views(offset, length)) {
      for (let at = 0; at < view.length; at += SMALL_PAGE) Atomics.or(view, at, 0)
    }
  }
}

/** The number of an error stays in the thread of the pool: the failed call is made once more here, and fails at the same page, or succeeds after all. */
async function adviseInPool(address: number, length: number, advice: number): Promise<number> {
  if (await madviseInPool(address, length, advice) === 0) return 0
  return ffi().libc.madvise(address, length, advice) === 0 ? 0 : lastErrno()
}

const EHWPOISON = 133

function refused(size: number, done: number, errno: number): MesovirtError {
  const { ENOMEM, EFAULT } = os.constants.errno
  const reasons: Readonly<Record<number, string>> = { [ENOMEM]: 'the host is out of memory', [EFAULT]: 'what backs it is full', [EHWPOISON]: 'a page of this host is broken' }
  return preallocationError(`${mib(done)} of ${mib(size)} were given, then no more (${reasons[errno] ?? errnoName(errno)})`)
}

function preallocationError(what: string): MesovirtError {
  return new MesovirtError('RAM_PREALLOCATION', `-mem-prealloc: ${what}; use a smaller -m, or leave -mem-prealloc out`)
}
