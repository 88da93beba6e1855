/**
 * Signals between threads: pthread_sigmask(3), tgkill(2), sigtimedwait(2). One real-time signal is ours; it stays blocked in every thread that may get it,
 * so it ends a system call that unblocks it and has no other effect. signal(7): the C library keeps 32 and 33 for itself.
 */
import { checked, ffi } from './ffi.ts'

/** SIGRTMIN + 3 */
export const KICK_SIGNAL = 37

const SIG_BLOCK = 0
/** Bytes of sigset_t in the C library; the kernel's has 8. */
const SIGSET_BYTES = 128
const KERNEL_SIGSET_BYTES = 8

function setOf(signal: number, bytes: number): Uint8Array {
  const set = new Uint8Array(bytes)
  set[(signal - 1) >>> 3] = 1 << ((signal - 1) & 7)
  return set
}

/** In the calling thread. */
export function blockKickSignal(): void {
  checked(ffi().libc.pthread_sigmask(SIG_BLOCK, setOf(KICK_SIGNAL, SIGSET_BYTES), null), 'pthread_sigmask')
}

/** The kernel's sigset_t with every signal blocked but ours: what a system call such as KVM_RUN may be given as its mask. */
export function allButKickSignal(): Uint8Array {
  return setOf(KICK_SIGNAL, KERNEL_SIGSET_BYTES).map((byte) => ~byte)
}

/** Sends our signal to a thread of this process. A thread that has ended is no error. */
export function kickThread(thread: number): void {
  ffi().libc.tgkill(process.pid, thread, KICK_SIGNAL)
}

const kickSet = setOf(KICK_SIGNAL, SIGSET_BYTES)
const noTime = new Uint8Array(16)

/** Takes a pending kick of the calling thread. @returns whether there was one */
export function takeKick(): boolean {
  return ffi().libc.sigtimedwait(kickSet, null, noTime) === KICK_SIGNAL
}
