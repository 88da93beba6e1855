/** Event and timer descriptors of Linux: eventfd(2), timerfd_create(2). */
import fs from 'node:fs'
import { checked, ffi } from './ffi.ts'

const CLOEXEC_NONBLOCK = 0o2004000
const CLOCK_MONOTONIC = 1
const ABSOLUTE = 1
const NS_PER_SECOND = 1_000_000_000n

const one = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)
const taken = new Uint8Array(8)

/** A descriptor that becomes readable and holds a count until somebody takes it. Non-blocking; keep it open for as long as anybody watches it. */
class CounterFd {
  readonly fd: number
  #open = true

  constructor(fd: number) {
    this.fd = fd
  }

  protected get isOpen(): boolean {
    return this.#open
  }

  /** Takes the count out. @returns false where it was 0 */
  drain(): boolean {
    return ffi().libc.read(this.fd, taken, 8) === 8
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    fs.closeSync(this.fd)
  }
}

/** A counter that one side adds to and the other waits for. */
export class EventFd extends CounterFd {
  /** @throws MesovirtError SYSTEM_CALL, FFI_MISSING */
  constructor() {
    super(checked(ffi().libc.eventfd(0, CLOEXEC_NONBLOCK), 'eventfd'))
  }

  signal(): void {
    if (this.isOpen) signalEventFd(this.fd)
  }
}

/** A timer on the monotonic clock (that of process.hrtime) which makes its fd readable; `drain` tells whether it has fired since. */
export class TimerFd extends CounterFd {
  /** @throws MesovirtError SYSTEM_CALL, FFI_MISSING */
  constructor() {
    super(checked(ffi().libc.timerfd_create(CLOCK_MONOTONIC, CLOEXEC_NONBLOCK), 'timerfd_create'))
  }

  /** @param atNs time of process.hrtime.bigint(); one in the past fires at once */
  arm(atNs: bigint): void {
    this.#set(atNs < 1n ? 1n : atNs)
  }

  disarm(): void {
    this.#set(0n)
  }

  /** struct itimerspec: interval and value, each {seconds, nanoseconds}. */
  #set(atNs: bigint): void {
    const value = new BigInt64Array([0n, 0n, atNs / NS_PER_SECOND, atNs % NS_PER_SECOND])
    checked(ffi().libc.timerfd_settime(this.fd, ABSOLUTE, new Uint8Array(value.buffer), null), 'timerfd_settime')
  }
}

/** For another thread's eventfd, known by number. A counter that is full already says all there is to say. */
export function signalEventFd(fd: number): void {
  ffi().libc.write(fd, one, 8)
}
