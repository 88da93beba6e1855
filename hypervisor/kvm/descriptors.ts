/** Calls to a KVM descriptor whose argument is a structure, with an error that names the call. */
import { checked, errnoError, ffi } from '../../host/ffi.ts'

/** ioctl with a structure. @returns what the call returns. @throws MesovirtError SYSTEM_CALL */
export function request(fd: number, number: number, structure: Uint8Array, name: string): number {
  return checked(ffi().libc.ioctlPointer(fd, number, structure), name)
}

/** ioctl with a number. */
export function requestValue(fd: number, number: number, value: number, name: string): number {
  return checked(ffi().libc.ioctl(fd, number, value), name)
}

/** A list with a u32 count ahead, 8 bytes before the entries. Asks with growing room until all fits. */
export function requestList(fd: number, number: number, entryBytes: number, name: string): { readonly bytes: Uint8Array; readonly count: number } {
  for (let room = 128; room <= 4096; room *= 2) {
    const bytes = new Uint8Array(8 + room * entryBytes)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, room, true)
    if (ffi().libc.ioctlPointer(fd, number, bytes) === 0) return { bytes, count: Math.min(view.getUint32(0, true), room) }
  }
  throw errnoError(name)
}
