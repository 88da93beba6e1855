/** File operations by Linux AIO, for files opened with O_DIRECT; ranges are zeroed through Node's thread pool, for which there is no AIO. */
import os from 'node:os'
import { fallocateInPool, steadyAddressOf } from './ffi.ts'
import { fallocateMode, firstPart, MAX_VECTORS, VECTOR_SIZE, writeVectors } from './file-io.ts'
import type { FileOperation } from './file-io.ts'
import { KernelFileIo } from './file-io-kernel.ts'
import { AIO_FDSYNC, AIO_PREADV, AIO_PWRITEV, LinuxAio } from './linux-aio.ts'

const ENTRIES = 128
/** Most bytes of one request: less than what one call of the kernel takes. */
const LONGEST = 2 ** 30

export class NativeFileIo extends KernelFileIo<LinuxAio> {
  readonly kind = 'native'
  readonly #vectors = new Uint8Array(new SharedArrayBuffer(MAX_VECTORS * VECTOR_SIZE))
  readonly #vectorView = new DataView(this.#vectors.buffer)
  readonly #freeSlots = Array.from({ length: ENTRIES }, (_, index) => ENTRIES - 1 - index)
  /** Under way in the thread pool. */
  #inPool = 0

  /** @throws MesovirtError LINUX_AIO, FFI_MISSING, FD_WATCH */
  constructor() {
    super((eventFd) => new LinuxAio(ENTRIES, eventFd))
  }

  protected get underWay(): number {
    return this.#inKernel + this.#inPool
  }

  get #inKernel(): number {
    return ENTRIES - this.#freeSlots.length
  }

  protected start(): void {
    for (let operation = this.waiting.shift(); operation !== undefined; operation = this.waiting.shift()) {
      if (!this.#startOne(operation)) {
        this.waiting.unshift(operation)
        break
      }
    }
  }

  protected reap(): void {
    this.#reap(0)
  }

  protected awaitOne(): void {
    this.#reap(1)
  }

  /** @returns false where the kernel takes no more now */
  #startOne(operation: FileOperation): boolean {
    const { kind, fd, position } = operation
    if (kind === 'zero' || kind === 'punch') {
      this.#inPool++
      fallocateInPool(fd, fallocateMode(kind), position, operation.length, (result) => {
        this.#inPool--
        operation.done(result)
        this.arm()
      })
      return true
    }
    const slot = this.#freeSlots.pop()
    if (slot === undefined) return false
    const count = writeVectors(this.#vectorView, 0, firstPart(operation.buffers, LONGEST), steadyAddressOf)
    const opcode = kind === 'flush' ? AIO_FDSYNC : kind === 'read' ? AIO_PREADV : AIO_PWRITEV
    const result = this.engine.submit(slot, kind === 'flush' ? { opcode, fd, vectors: 0, count: 0, offset: 0 }
      : { opcode, fd, vectors: steadyAddressOf(this.#vectors), count, offset: position })
    if (result === 0) {
      this.running[slot] = operation
      return true
    }
    this.#freeSlots.push(slot)
    if (result === -os.constants.errno.EAGAIN && this.#inKernel > 0) return false
    operation.done(result)
    return true
  }

  #reap(wait: number): void {
    this.engine.reap(wait, (slot, result) => {
      const operation = this.running[slot]
      if (operation === undefined) return
      this.running[slot] = undefined
      this.#freeSlots.push(slot)
      operation.done(result)
    })
  }
}
