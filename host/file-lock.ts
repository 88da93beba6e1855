/**
 * Locks on disk images, between processes and within one: bytes of the file stand for what its users do and for what they do not let others do, as QEMU has it, so
 * that a QEMU with the same image is noticed, and notices us. Open file description locks, fcntl(2) F_OFD_SETLK.
 */
import { errnoName, ffi, lastErrno } from './ffi.ts'

const F_OFD_GETLK = 36, F_OFD_SETLK = 37
const F_RDLCK = 0, F_WRLCK = 1, F_UNLCK = 2
/** Bit n of a set: byte 100 + n is locked by who does it, byte 200 + n by who does not share it. */
const DOES = 100, REFUSES = 200
const CONSISTENT_READ = 0, WRITE = 1, RESIZE = 3

export type LockResult = 'locked' | 'in-use' | { readonly failed: string }

/** Takes the locks of a reader or a writer. A writer is alone with the file; readers share it. They last until the file is closed. */
export function lockImage(fd: number, isWriter: boolean): LockResult {
  const does = isWriter ? [CONSISTENT_READ, WRITE, RESIZE] : [CONSISTENT_READ]
  const refuses = [WRITE, RESIZE]
  for (const byte of [...does.map((bit) => DOES + bit), ...refuses.map((bit) => REFUSES + bit)]) {
    if (setLock(fd, F_RDLCK, byte) !== 0) return failure(fd)
  }
  // Everybody's locks are shared ones. One that stands against us shows where we ask whether we could have it alone.
  for (const byte of [...does.map((bit) => REFUSES + bit), ...refuses.map((bit) => DOES + bit)]) {
    const answer = flock(F_WRLCK, byte)
    if (ffi().libc.fcntlPointer(fd, F_OFD_GETLK, answer) !== 0) return failure(fd)
    if (new DataView(answer.buffer).getInt16(0, true) === F_UNLCK) continue
    unlock(fd)
    return 'in-use'
  }
  return 'locked'
}

function failure(fd: number): LockResult {
  const failed = errnoName(lastErrno())
  unlock(fd)
  return { failed }
}

function unlock(fd: number): void {
  setLock(fd, F_UNLCK, DOES, REFUSES - DOES + 64)
}

function setLock(fd: number, type: number, start: number, length = 1): number {
  return ffi().libc.fcntlPointer(fd, F_OFD_SETLK, flock(type, start, length))
}

/** struct flock: type, whence (0: from the start), start, length, process (0 for this kind). */
function flock(type: number, start: number, length = 1): Uint8Array {
  const bytes = new Uint8Array(32)
  const view = new DataView(bytes.buffer)
  view.setInt16(0, type, true)
  view.setBigInt64(8, BigInt(start), true)
  view.setBigInt64(16, BigInt(length), true)
  return bytes
}
