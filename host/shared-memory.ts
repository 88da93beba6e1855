/** Memory without a name that another process can map: memfd_create(2), sealed at its size. */
import fs from 'node:fs'
import os from 'node:os'
import { MesovirtError } from './errors.ts'
import { errnoName, ffi, lastErrno, viewOf } from './ffi.ts'

const MFD_CLOEXEC = 1, MFD_ALLOW_SEALING = 2, MFD_NOEXEC_SEAL = 8
const F_ADD_SEALS = 1033, F_SEAL_SEAL = 1, F_SEAL_SHRINK = 2, F_SEAL_GROW = 4
const PROT_READ_WRITE = 3, MAP_SHARED = 1

/** @returns a descriptor of an empty file that can be sealed, or -1 with errno */
export function openMemfd(name: string): number {
  const { libc } = ffi()
  // Since Linux 6.3 a sysctl may refuse memfds that could be executed; before, the flag itself is refused.
  const fd = libc.memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL)
  return fd < 0 && lastErrno() === os.constants.errno.EINVAL ? libc.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING) : fd
}

/** It keeps its size from now on: a process that got it and truncates it would end ours by SIGBUS. */
export function sealSize(fd: number): void {
  ffi().libc.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)
}

export class SharedMemory {
  readonly fd: number
  /** Zeroes at first. Nobody may use it after `close`. */
  readonly bytes: Uint8Array
  /** Host address of byte 0. */
  readonly address: number
  #open = true

  /** @param size bytes, whole pages. @throws MesovirtError SHARED_MEMORY, FFI_MISSING */
  constructor(name: string, size: number) {
    const { libc } = ffi()
    const failed = (what: string) => new MesovirtError('SHARED_MEMORY', `${name}: ${what} of ${size} bytes failed: ${errnoName(lastErrno())}`)
    this.fd = openMemfd(name)
    if (this.fd < 0) throw failed('memfd_create')
    try {
      fs.ftruncateSync(this.fd, size)
      sealSize(this.fd)
      this.address = libc.mmap(0, size, PROT_READ_WRITE, MAP_SHARED, this.fd, 0)
      if (this.address === -1) throw failed('mmap')
    } catch (error) {
      fs.closeSync(this.fd)
      throw error
    }
    this.bytes = new Uint8Array(viewOf(this.address, size))
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    fs.closeSync(this.fd)
    ffi().libc.munmap(this.address, this.bytes.length)
  }
}
