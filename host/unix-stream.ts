/** A stream of bytes and descriptors to a process that listens on a unix socket, and waiting for it: unix(7), poll(2). Connecting does not block; waiting does, with a limit. */
import fs from 'node:fs'
import os from 'node:os'
import { MesovirtError } from './errors.ts'
import { receiveFds, sendFds } from './fd-passing.ts'
import { errnoName, ffi, lastErrno } from './ffi.ts'

const AF_UNIX = 1, SOCK_STREAM = 1, SOCK_NONBLOCK = 0o4000, SOCK_CLOEXEC = 0o2000000
/** struct sockaddr_un: u16 family, then the path with a zero behind it */
const PATH_BYTES = 108, FAMILY_BYTES = 2
const POLLIN = 1, POLLOUT = 4
const { ENOENT, ECONNREFUSED, EAGAIN, EINTR, EACCES } = os.constants.errno

export class UnixStream {
  readonly fd: number
  #open = true

  /** @param fd connected and non-blocking; the stream owns it */
  constructor(fd: number) {
    this.fd = fd
  }

  /** @throws MesovirtError SOCKET_CONNECT, with the reason; FFI_MISSING */
  static connect(path: string): UnixStream {
    const { libc } = ffi()
    const name = Buffer.from(path)
    if (name.length === 0 || name.length >= PATH_BYTES) throw new MesovirtError('SOCKET_CONNECT', `${path}: the path of a socket has 1 to ${PATH_BYTES - 1} bytes`)
    const address = new Uint8Array(FAMILY_BYTES + PATH_BYTES)
    address[0] = AF_UNIX
    address.set(name, FAMILY_BYTES)
    const fd = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if (fd < 0) throw new MesovirtError('SOCKET_CONNECT', `${path}: no socket can be made (${errnoName(lastErrno())})`)
    if (libc.connect(fd, address, FAMILY_BYTES + name.length + 1) === 0) return new UnixStream(fd)
    const errno = lastErrno()
    fs.closeSync(fd)
    throw new MesovirtError('SOCKET_CONNECT', `${path}: ${refusal(errno)}`)
  }

  /** Sends all of it, descriptors with the first byte. @throws MesovirtError SOCKET_TIME after `deadline` (ms of performance.now), SYSTEM_CALL */
  send(bytes: Uint8Array, fds: readonly number[], deadline: number): void {
    for (let done = 0; done < bytes.length;) {
      const sent = sendFds(this.fd, bytes.subarray(done), done === 0 ? fds : [])
      if (sent === undefined) this.#wait(POLLOUT, deadline)
      else done += sent
    }
  }

  /**
   * Waits for exactly `length` bytes. Descriptors that came with them are closed: nobody asked for any.
   * @throws MesovirtError SOCKET_TIME, SOCKET_CLOSED, SYSTEM_CALL
   */
  receive(length: number, deadline: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let done = 0; done < length;) {
      const part = this.#take(length - done)
      if (part === undefined) {
        this.#wait(POLLIN, deadline)
        continue
      }
      if (part.length === 0) throw new MesovirtError('SOCKET_CLOSED', 'the connection was closed')
      bytes.set(part, done)
      done += part.length
    }
    return bytes
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    fs.closeSync(this.fd)
  }

  #take(length: number): Uint8Array | undefined {
    const received = receiveFds(this.fd, length)
    for (const fd of received?.fds ?? []) fs.closeSync(fd)
    return received?.data
  }

  #wait(events: number, deadline: number): void {
    const left = Math.ceil(deadline - performance.now())
    // struct pollfd: int fd, short events, short revents
    const entry = new DataView(new ArrayBuffer(8))
    entry.setInt32(0, this.fd, true)
    entry.setInt16(4, events, true)
    const ready = left <= 0 ? 0 : ffi().libc.poll(new Uint8Array(entry.buffer), 1, left)
    if (ready === 0) throw new MesovirtError('SOCKET_TIME', 'no answer in time')
    if (ready < 0 && lastErrno() !== EINTR) throw new MesovirtError('SYSTEM_CALL', `poll failed: ${errnoName(lastErrno())}`)
  }
}

function refusal(errno: number): string {
  switch (errno) {
    case ENOENT: return 'there is no such socket; start what listens there first'
    case ECONNREFUSED: return 'nobody listens there; start it again'
    case EAGAIN: return 'too many wait for it already; look at what listens there'
    case EACCES: return 'no permission; change the mode of the socket'
    default: return `cannot be connected to (${errnoName(errno)})`
  }
}
