/**
 * An io_uring: its two rings in memory shared with the kernel, driven without any library. io_uring_setup(2), io_uring_enter(2), io_uring_register(2); layouts of
 * <linux/io_uring.h>. Left out: kernel-side polling, registered files and buffers, linked requests.
 */
import fs from 'node:fs'
import { MesovirtError } from './errors.ts'
import { errnoName, ffi, lastErrno, viewOf } from './ffi.ts'

const SYS_SETUP = 425, SYS_ENTER = 426, SYS_REGISTER = 427
const OFF_SQ_RING = 0, OFF_SQES = 0x1000_0000
const PROT_READ_WRITE = 3, MAP_SHARED_POPULATE = 0x8001
const FEAT_SINGLE_MMAP = 1, FEAT_NODROP = 2, FEAT_SUBMIT_STABLE = 4
const REGISTER_EVENTFD = 4
const CQ_EVENTFD_DISABLED = 1
const ENTER_GETEVENTS = 1
const SETUP_CQSIZE = 1 << 3
const SQE_SIZE = 64, CQE_SIZE = 16

export const OP_READV = 1, OP_WRITEV = 2, OP_FSYNC = 3, OP_FALLOCATE = 17, OP_READ = 22, OP_WRITE = 23
export const FSYNC_DATASYNC = 1

export interface Submission {
  readonly opcode: number
  readonly fd: number
  /** Host address of the buffer or of its vectors; the length of a range for OP_FALLOCATE. */
  readonly address: number
  /** Bytes, or number of vectors; the mode for OP_FALLOCATE. */
  readonly length: number
  readonly offset: number
  readonly flags: number
  /** Comes back with the completion. */
  readonly tag: number
}

export class IoUring {
  readonly fd: number
  /** Submissions that fit between two calls of `enter`. */
  readonly entries: number
  readonly #sq: Int32Array
  readonly #cq: Int32Array
  readonly #sqes: DataView
  readonly #cqes: DataView
  readonly #at: { readonly sqHead: number; readonly sqTail: number; readonly sqMask: number; readonly sqArray: number; readonly cqHead: number; readonly cqTail: number; readonly cqFlags: number; readonly cqMask: number }
  readonly #maps: { readonly address: number; readonly length: number }[] = []
  #unsubmitted = 0

  /**
   * @param entries a power of two; twice as many completions have room, and the kernel keeps those beyond
   * @param eventFd signalled for completions outside of `enter`
   * @throws MesovirtError IO_URING
   */
  constructor(entries: number, eventFd: number) {
    const { libc } = ffi()
    const params = new Uint8Array(120)
    const view = new DataView(params.buffer)
    view.setUint32(8, SETUP_CQSIZE, true)
    view.setUint32(4, entries * 2, true)
    this.fd = libc.syscallPointer(SYS_SETUP, entries, params)
    if (this.fd < 0) throw unavailable(`io_uring_setup fails with ${errnoName(lastErrno())}`)
    const u32 = (offset: number) => view.getUint32(offset, true)
    this.entries = u32(0)
    // struct io_uring_params: ten words, then the offsets of the submission ring (40) and of the completion ring (80).
    const features = u32(20)
    if ((features & (FEAT_SINGLE_MMAP | FEAT_NODROP | FEAT_SUBMIT_STABLE)) !== (FEAT_SINGLE_MMAP | FEAT_NODROP | FEAT_SUBMIT_STABLE)) {
      fs.closeSync(this.fd)
      throw unavailable('the kernel is older than 5.5')
    }
    const ringBytes = Math.max(u32(64) + this.entries * 4, u32(100) + u32(4) * CQE_SIZE)
    const ring = this.#map(OFF_SQ_RING, ringBytes)
    this.#sq = new Int32Array(ring, 0, ringBytes >> 2)
    this.#cq = this.#sq
    this.#cqes = new DataView(ring, u32(100), u32(4) * CQE_SIZE)
    this.#sqes = new DataView(this.#map(OFF_SQES, this.entries * SQE_SIZE))
    this.#at = {
      sqHead: u32(40) >> 2, sqTail: u32(44) >> 2, sqMask: this.#sq[u32(48) >> 2] ?? 0, sqArray: u32(64) >> 2,
      cqHead: u32(80) >> 2, cqTail: u32(84) >> 2, cqFlags: u32(104) >> 2, cqMask: this.#cq[u32(88) >> 2] ?? 0,
    }
    const number = new Uint8Array(new Int32Array([eventFd]).buffer)
    if (libc.syscallFour(SYS_REGISTER, this.fd, REGISTER_EVENTFD, number, 1) < 0) {
      const why = errnoName(lastErrno())
      this.close()
      throw unavailable(`an eventfd cannot be registered (${why})`)
    }
  }

  /** Puts a request into the ring. @returns false where it is full: call `enter` */
  push({ opcode, fd, address, length, offset, flags, tag }: Submission): boolean {
    const { sqHead, sqTail, sqMask, sqArray } = this.#at
    const tail = this.#sq[sqTail] as number
    if (((tail - Atomics.load(this.#sq, sqHead)) | 0) >= this.entries) return false
    const index = tail & sqMask
    const at = index * SQE_SIZE
    const sqe = this.#sqes
    sqe.setUint32(at, opcode, true) // flags and ioprio, the other three bytes, are 0
    sqe.setInt32(at + 4, fd, true)
    sqe.setBigUint64(at + 8, BigInt(offset), true)
    sqe.setBigUint64(at + 16, BigInt(address), true)
    sqe.setUint32(at + 24, length, true)
    sqe.setUint32(at + 28, flags, true)
    sqe.setBigUint64(at + 32, BigInt(tag), true)
    for (let rest = 40; rest < SQE_SIZE; rest += 8) sqe.setBigUint64(at + rest, 0n, true)
    this.#sq[sqArray + index] = index
    Atomics.store(this.#sq, sqTail, (tail + 1) | 0)
    this.#unsubmitted++
    return true
  }

  /**
   * Hands the kernel what was pushed.
   * @param wait for how many completions to wait
   * @returns whether the kernel took all of it; false: it is short of something, try again after a completion
   */
  enter(wait = 0): boolean {
    // The caller reaps after this: what completes within the call needs no event.
    Atomics.store(this.#cq, this.#at.cqFlags, CQ_EVENTFD_DISABLED)
    const taken = ffi().libc.syscallSix(SYS_ENTER, this.fd, this.#unsubmitted, wait, wait > 0 ? ENTER_GETEVENTS : 0, 0, 0)
    Atomics.store(this.#cq, this.#at.cqFlags, 0)
    if (taken > 0) this.#unsubmitted -= taken
    return this.#unsubmitted === 0
  }

  get unsubmitted(): number {
    return this.#unsubmitted
  }

  /** Takes completions out; always to be called after `enter`. @returns how many there were */
  reap(visit: (tag: number, result: number) => void): number {
    const { cqHead, cqTail, cqMask } = this.#at
    let count = 0
    for (let head = this.#cq[cqHead] as number; head !== Atomics.load(this.#cq, cqTail); count++) {
      const at = (head & cqMask) * CQE_SIZE
      const tag = this.#cqes.getUint32(at, true)
      const result = this.#cqes.getInt32(at + 8, true)
      head = (head + 1) | 0
      Atomics.store(this.#cq, cqHead, head)
      visit(tag, result)
    }
    return count
  }

  /** Nothing may be under way. */
  close(): void {
    for (const { address, length } of this.#maps) ffi().libc.munmap(address, length)
    fs.closeSync(this.fd)
  }

  #map(offset: number, length: number): ArrayBuffer {
    const address = ffi().libc.mmap(0, length, PROT_READ_WRITE, MAP_SHARED_POPULATE, this.fd, offset)
    if (address === -1) {
      const why = errnoName(lastErrno())
      this.close()
      throw unavailable(`its rings cannot be mapped (${why})`)
    }
    this.#maps.push({ address, length })
    return viewOf(address, length)
  }
}

function unavailable(why: string): MesovirtError {
  return new MesovirtError('IO_URING', `io_uring does not work here: ${why}; use aio=threads`)
}
