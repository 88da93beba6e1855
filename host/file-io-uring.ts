/** File operations by io_uring: data goes between the kernel and the caller's memory without a copy of ours, and a batch of operations costs one system call. */
import os from 'node:os'
import { steadyAddressOf } from './ffi.ts'
import { fallocateMode, MAX_VECTORS, VECTOR_SIZE, writeVectors } from './file-io.ts'
import type { FileOperation } from './file-io.ts'
import { KernelFileIo } from './file-io-kernel.ts'
import { FSYNC_DATASYNC, IoUring, OP_FALLOCATE, OP_FSYNC, OP_READ, OP_READV, OP_WRITE, OP_WRITEV } from './io-uring.ts'

const ENTRIES = 128
/** Vectors of one batch; the kernel has read them when `enter` returns. */
const VECTORS = 4 * MAX_VECTORS

export class UringFileIo extends KernelFileIo<IoUring> {
  readonly kind = 'io_uring'
  readonly #vectors = new Uint8Array(new SharedArrayBuffer(VECTORS * VECTOR_SIZE))
  readonly #vectorView = new DataView(this.#vectors.buffer)
  #vectorsUsed = 0
  readonly #freeTags: number[] = []
  #runningCount = 0

  /** @throws MesovirtError IO_URING, FFI_MISSING, FD_WATCH */
  constructor() {
    super((eventFd) => new IoUring(ENTRIES, eventFd))
  }

  protected get underWay(): number {
    return this.#runningCount
  }

  protected start(): void {
    // What completes within the call (page cache) may submit more: a bounded number of rounds, the rest follows by itself.
    for (let round = 0; round < 4; round++) {
      this.#push()
      if (this.engine.unsubmitted === 0) break
      const tookAll = this.engine.enter()
      if (tookAll) this.#vectorsUsed = 0
      this.reap()
      if (!tookAll) break
    }
    // No completion will come and remind us of what is left.
    const isStuck = this.engine.unsubmitted > 0 || (this.waiting.length > 0 && this.#runningCount === 0)
    if (isStuck) this.scheduleCommit(setImmediate)
  }

  protected awaitOne(): void {
    if (this.engine.enter(1)) this.#vectorsUsed = 0
    this.reap()
  }

  #push(): void {
    while (this.#runningCount < this.engine.entries) {
      const operation = this.waiting[0]
      if (operation === undefined) return
      const vectors = operation.buffers.length > 1 ? Math.min(operation.buffers.length, MAX_VECTORS) : 0
      if (this.#vectorsUsed + vectors > VECTORS) return
      const tag = this.#freeTags.pop() ?? this.running.length
      if (!this.engine.push({ ...this.#describe(operation, vectors), fd: operation.fd, tag })) {
        this.#freeTags.push(tag)
        return
      }
      this.waiting.shift()
      this.running[tag] = operation
      this.#runningCount++
    }
  }

  #describe({ kind, position, buffers, length }: FileOperation, vectors: number) {
    switch (kind) {
      case 'read':
      case 'write': {
        if (vectors === 0) {
          const [only] = buffers
          return { opcode: kind === 'read' ? OP_READ : OP_WRITE, address: only === undefined ? 0 : steadyAddressOf(only), length: only?.length ?? 0, offset: position, flags: 0 }
        }
        const at = this.#vectorsUsed * VECTOR_SIZE
        writeVectors(this.#vectorView, at, buffers.slice(0, vectors), steadyAddressOf)
        this.#vectorsUsed += vectors
        return { opcode: kind === 'read' ? OP_READV : OP_WRITEV, address: steadyAddressOf(this.#vectors) + at, length: vectors, offset: position, flags: 0 }
      }
      case 'flush': return { opcode: OP_FSYNC, address: 0, length: 0, offset: 0, flags: FSYNC_DATASYNC }
      case 'zero':
      case 'punch': return { opcode: OP_FALLOCATE, address: length, length: fallocateMode(kind), offset: position, flags: 0 }
    }
  }

  protected reap(): void {
    this.engine.reap((tag, result) => {
      const operation = this.running[tag]
      if (operation === undefined) return
      this.running[tag] = undefined
      this.#freeTags.push(tag)
      this.#runningCount--
      // A signal or a moment without memory: once more.
      if (result === -os.constants.errno.EAGAIN || result === -os.constants.errno.EINTR) this.submit(operation)
      else operation.done(result)
    })
  }
}
