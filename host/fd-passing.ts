/** File descriptors over unix sockets: sendmsg(2) and recvmsg(2) with SCM_RIGHTS, unix(7). Layouts of x86-64 and AArch64 Linux. */
import fs from 'node:fs'
import os from 'node:os'
import { MesovirtError } from './errors.ts'
import { addressOf, errnoError, ffi, lastErrno } from './ffi.ts'

/** The kernel's limit, SCM_MAX_FD. */
export const MAX_FDS = 253

const SOL_SOCKET = 1, SCM_RIGHTS = 1
const MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000, MSG_CMSG_CLOEXEC = 0x4000_0000
const MSG_CTRUNC = 0x8
const CMSG_HEADER = 16

/** struct msghdr with one iovec. All parts share one buffer that V8 does not move: shared memory. */
class Message {
  readonly header: Uint8Array
  readonly data: Uint8Array
  readonly control: Uint8Array
  readonly #view: DataView

  constructor(dataLength: number, controlLength: number) {
    const IOVEC = 56, DATA = 72
    const controlAt = DATA + Math.ceil(dataLength / 8) * 8
    const buffer = new SharedArrayBuffer(controlAt + controlLength)
    const base = addressOf(new Uint8Array(buffer))
    this.header = new Uint8Array(buffer, 0, IOVEC)
    this.data = new Uint8Array(buffer, DATA, dataLength)
    this.control = new Uint8Array(buffer, controlAt, controlLength)
    this.#view = new DataView(buffer)
    const put = (at: number, value: number) => this.#view.setBigUint64(at, BigInt(value), true)
    put(16, base + IOVEC) // msg_iov
    put(24, 1) // msg_iovlen
    put(32, controlLength === 0 ? 0 : base + controlAt) // msg_control
    put(40, controlLength) // msg_controllen
    put(IOVEC, base + DATA)
    put(IOVEC + 8, dataLength)
  }

  get controlLength(): number { return Number(this.#view.getBigUint64(40, true)) }
  get flags(): number { return this.#view.getUint32(48, true) }
}

/**
 * Sends `data` and, with its first byte, copies of `fds`.
 * @param data at least one byte: descriptors do not travel alone
 * @returns bytes sent, undefined where the socket is full
 * @throws MesovirtError FD_PASSING, SYSTEM_CALL
 */
export function sendFds(socket: number, data: Uint8Array, fds: readonly number[]): number | undefined {
  if (data.length === 0 || fds.length > MAX_FDS) throw new MesovirtError('FD_PASSING', `${fds.length} descriptors with ${data.length} bytes cannot be sent: at most ${MAX_FDS}, with at least one byte`)
  const length = CMSG_HEADER + fds.length * 4
  const message = new Message(data.length, fds.length === 0 ? 0 : Math.ceil(length / 8) * 8)
  message.data.set(data)
  if (fds.length > 0) {
    const control = new DataView(message.control.buffer, message.control.byteOffset)
    control.setBigUint64(0, BigInt(length), true)
    control.setInt32(8, SOL_SOCKET, true)
    control.setInt32(12, SCM_RIGHTS, true)
    fds.forEach((fd, index) => control.setInt32(CMSG_HEADER + index * 4, fd, true))
  }
  const sent = ffi().libc.sendmsg(socket, message.header, MSG_DONTWAIT | MSG_NOSIGNAL)
  if (sent >= 0) return sent
  if (lastErrno() === os.constants.errno.EAGAIN) return undefined
  throw errnoError('sending file descriptors')
}

/**
 * Receives up to `length` bytes and the descriptors that came with them, which the caller now owns (close-on-exec).
 * More than MAX_FDS, or ones cut off by the process's limit, are closed and refused.
 * @returns no bytes at the end of the stream, undefined where nothing is there yet
 * @throws MesovirtError FD_PASSING, SYSTEM_CALL
 */
export function receiveFds(socket: number, length: number): { data: Uint8Array; fds: number[] } | undefined {
  const message = new Message(length, CMSG_HEADER + Math.ceil(MAX_FDS * 4 / 8) * 8)
  const received = ffi().libc.recvmsg(socket, message.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
  if (received < 0) {
    if (lastErrno() === os.constants.errno.EAGAIN) return undefined
    throw errnoError('receiving file descriptors')
  }
  const fds = descriptorsIn(message)
  if (message.flags & MSG_CTRUNC) {
    for (const fd of fds) fs.closeSync(fd)
    throw new MesovirtError('FD_PASSING', 'file descriptors were lost on the way: the process may open no more of them (ulimit -n)')
  }
  return { data: message.data.slice(0, received), fds }
}

function descriptorsIn(message: Message): number[] {
  const fds: number[] = []
  const control = new DataView(message.control.buffer, message.control.byteOffset)
  const end = message.controlLength
  for (let at = 0; at + CMSG_HEADER <= end;) {
    const length = Number(control.getBigUint64(at, true))
    if (length < CMSG_HEADER) break
    if (control.getInt32(at + 8, true) === SOL_SOCKET && control.getInt32(at + 12, true) === SCM_RIGHTS) {
      for (let entry = at + CMSG_HEADER; entry + 4 <= Math.min(at + length, end); entry += 4) fds.push(control.getInt32(entry, true))
    }
    at += Math.ceil(length / 8) * 8
  }
  return fds
}
