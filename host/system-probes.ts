/** Whether the kernel answers some system calls, asked by making them: io_uring_setup(2), memfd_create(2). Linux; needs koffi. */
import os from 'node:os'
import { closeSync } from 'node:fs'
import { errnoName, ffi } from './ffi.ts'

/** `works`, or why not: the kernel has no such call, or something (a sysctl, seccomp) refuses it. */
export type SystemCallState = 'works' | 'absent' | 'refused'

/** On x86-64 and aarch64 alike. */
const SYS_IO_URING_SETUP = 425
const MFD_CLOEXEC = 1

/** Asks with arguments that the kernel must refuse as bad addresses, so nothing is created. */
export function probeIoUring(): SystemCallState {
  const { koffi, libraries } = ffi()
  const syscall = libraries.c.func('long syscall(long number, uint entries, uintptr_t parameters)') as (number: number, entries: number, parameters: number) => number
  syscall(SYS_IO_URING_SETUP, 1, 0)
  switch (errnoName(koffi.errno())) {
    case 'ENOSYS': return 'absent'
    case 'EPERM':
    case 'EACCES': return 'refused'
    default: return 'works'
  }
}

export function probeMemfd(): SystemCallState {
  const { koffi, libc } = ffi()
  const fd = libc.memfd_create('mesovirt-probe', MFD_CLOEXEC)
  if (fd < 0) return koffi.errno() === os.constants.errno.ENOSYS ? 'absent' : 'refused'
  closeSync(fd)
  return 'works'
}
