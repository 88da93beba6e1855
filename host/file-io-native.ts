/** File operations by Linux AIO, for files opened with O_DIRECT; ranges are zeroed through Node's thread pool, for which there is no AIO. */
import os from 'node:os'
import { EventFd } from './eventfd.ts'
import { watchFd } from './fd-watch.ts'
import type { FdWatch } from './fd-watch.ts'
import { fallocateInPool, steadyAddressOf } from './ffi.ts'
import { fallocateMode, firstPart, MAX_VECTORS, VECTOR_SIZE, writeVectors } from './file-io.ts'
import type { FileIo, FileOperation } from './file-io.ts'
import { AIO_FDSYNC, AIO_PREADV, AIO_PWRITEV, LinuxAio } from './linux-aio.ts'

const ENTRIES = 128
/** Most bytes of one request: less than what one call of the kernel takes. */
const LONGEST = 2 ** 30

export class NativeFileIo implements FileIo {
  readonly kind = 'native'
  readonly #aio: LinuxAio
  readonly #event = new EventFd()
  readonly #watch: FdWatch
  readonly #vectors = new Uint8Array(new SharedArrayBuffer(MAX_VECTORS * VECTOR_SIZE))
  readonly #vectorView = new DataView(this.#vectors.buffer)
  #waiting: FileOperation[] = []
  readonly #running: (FileOperation | undefined)[] = []
  readonly #freeSlots = Array.from({ length: ENTRIES }, (_, index) => ENTRIES - 1 - index)
  /** Under way in the thread pool. */
  #inPool = 0
  #scheduled = false
  #closed: (() => void) | undefined

  /** @throws MesovirtError LINUX_AIO, FFI_MISSING, FD_WATCH */
  constructor() {
    try {
      this.#aio = new LinuxAio(ENTRIES, this.#event.fd)
    } catch (error) {
      this.#event.close()
      throw error
    }
    this.#watch = watchFd(this.#event.fd, () => {
      this.#event.drain()
      this.#reap(0)
      this.commit()
    })
    this.#watch.unref()
  }

  get pending(): number {
    return this.#waiting.length + this.#underWay + this.#inPool
  }

  get #underWay(): number {
    return ENTRIES - this.#freeSlots.length
  }

  submit(operation: FileOperation): void {
    this.#waiting.push(operation)
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => { if (this.#scheduled) this.commit() })
  }

  commit(): void {
    this.#scheduled = false
    for (let operation = this.#waiting.shift(); operation !== undefined; operation = this.#waiting.shift()) {
      if (!this.#start(operation)) {
        this.#waiting.unshift(operation)
        break
      }
    }
    this.#arm()
  }

  settle(): void {
    this.#waiting = []
    const before = [...this.#running]
    while (before.some((operation, slot) => operation !== undefined && this.#running[slot] === operation)) this.#reap(1)
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closed = () => {
        this.#closed = undefined
        this.#watch.close()
        this.#aio.close()
        this.#event.close()
        resolve()
      }
      if (this.pending === 0) this.#closed()
    })
  }

  #arm(): void {
    if (this.#closed !== undefined && this.pending === 0) return this.#closed()
    if (this.pending > 0) this.#watch.ref()
    else this.#watch.unref()
  }

  /** @returns false where the kernel takes no more now */
  #start(operation: FileOperation): boolean {
    const { kind, fd, position } = operation
    if (kind === 'zero' || kind === 'punch') {
      this.#inPool++
      fallocateInPool(fd, fallocateMode(kind), position, operation.length, (result) => {
        this.#inPool--
        operation.done(result)
        this.#arm()
      })
      return true
    }
    const slot = this.#freeSlots.pop()
    if (slot === undefined) return false
    const count = writeVectors(this.#vectorView, 0, firstPart(operation.buffers, LONGEST), steadyAddressOf)
    const opcode = kind === 'flush' ? AIO_FDSYNC : kind === 'read' ? AIO_PREADV : AIO_PWRITEV
    const result = this.#aio.submit(slot, kind === 'flush' ? { opcode, fd, vectors: 0, count: 0, offset: 0 }
      : { opcode, fd, vectors: steadyAddressOf(this.#vectors), count, offset: position })
    if (result === 0) {
      this.#running[slot] = operation
      return true
    }
    this.#freeSlots.push(slot)
    if (result === -os.constants.errno.EAGAIN && this.#underWay > 0) return false
    operation.done(result)
    return true
  }

  #reap(wait: number): void {
    this.#aio.reap(wait, (slot, result) => {
      const operation = this.#running[slot]
      if (operation === undefined) return
      this.#running[slot] = undefined
      this.#freeSlots.push(slot)
      operation.done(result)
    })
  }
}
