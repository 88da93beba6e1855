/** Linux's older asynchronous I/O: io_setup(2), io_submit(2), io_getevents(2), layouts of <linux/aio_abi.h>. It is asynchronous for files opened with O_DIRECT. */
import { MesovirtError } from './errors.ts'
import { errnoName, ffi, lastErrno, steadyAddressOf } from './ffi.ts'

/** The calls' numbers differ between architectures. */
const NUMBERS = process.arch === 'arm64' ? { setup: 0, destroy: 1, submit: 2, getEvents: 4 } : { setup: 206, destroy: 207, submit: 209, getEvents: 208 }
const BLOCK_SIZE = 64, EVENT_SIZE = 32
const FLAG_EVENTFD = 1

export const AIO_FDSYNC = 3, AIO_PREADV = 7, AIO_PWRITEV = 8

export interface AioRequest {
  readonly opcode: number
  readonly fd: number
  /** Host address of the vectors. */
  readonly vectors: number
  readonly count: number
  readonly offset: number
}

export class LinuxAio {
  readonly #context: number
  readonly #eventFd: number
  readonly #blocks: Uint8Array
  readonly #blockView: DataView
  readonly #pointer = new BigUint64Array(new SharedArrayBuffer(8))
  readonly #events: Uint8Array
  readonly #eventView: DataView
  readonly #entries: number

  /** @param entries requests at a time. @throws MesovirtError LINUX_AIO */
  constructor(entries: number, eventFd: number) {
    const context = new BigUint64Array(1)
    if (ffi().libc.syscallPointer(NUMBERS.setup, entries, new Uint8Array(context.buffer)) < 0) {
      throw new MesovirtError('LINUX_AIO', `Linux AIO does not work here: io_setup fails with ${errnoName(lastErrno())}; use aio=threads`)
    }
    this.#context = Number(context[0])
    this.#eventFd = eventFd
    this.#entries = entries
    this.#blocks = new Uint8Array(new SharedArrayBuffer(entries * BLOCK_SIZE))
    this.#blockView = new DataView(this.#blocks.buffer)
    this.#events = new Uint8Array(new SharedArrayBuffer(entries * EVENT_SIZE))
    this.#eventView = new DataView(this.#events.buffer)
  }

  /** @param slot 0..entries-1, comes back with the completion. @returns 0, or a negative errno */
  submit(slot: number, { opcode, fd, vectors, count, offset }: AioRequest): number {
    const at = slot * BLOCK_SIZE
    const block = this.#blockView
    this.#blocks.fill(0, at, at + BLOCK_SIZE)
    block.setBigUint64(at, BigInt(slot), true)
    block.setUint16(at + 16, opcode, true)
    block.setUint32(at + 20, fd, true)
    block.setBigUint64(at + 24, BigInt(vectors), true)
    block.setBigUint64(at + 32, BigInt(count), true)
    block.setBigUint64(at + 40, BigInt(offset), true)
    block.setUint32(at + 56, FLAG_EVENTFD, true)
    block.setUint32(at + 60, this.#eventFd, true)
    this.#pointer[0] = BigInt(steadyAddressOf(this.#blocks) + at)
    const result = ffi().libc.syscallThree(NUMBERS.submit, this.#context, 1, steadyAddressOf(new Uint8Array(this.#pointer.buffer)))
    return result === 1 ? 0 : -lastErrno()
  }

  /** Takes completions out, and waits until there are at least `wait`. */
  reap(wait: number, visit: (slot: number, result: number) => void): void {
    const count = ffi().libc.syscallSix(NUMBERS.getEvents, this.#context, wait, this.#entries, steadyAddressOf(this.#events), 0, 0)
    const done: [number, number][] = []
    for (let index = 0; index < count; index++) {
      const at = index * EVENT_SIZE
      done.push([this.#eventView.getUint32(at, true), Number(this.#eventView.getBigInt64(at + 16, true))])
    }
    for (const [slot, result] of done) visit(slot, result)
  }

  /** Nothing may be under way. */
  close(): void {
    ffi().libc.syscallThree(NUMBERS.destroy, this.#context, 0, 0)
  }
}
