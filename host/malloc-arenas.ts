/** Heaps of the C library: glibc gives each thread one (mallopt(3), M_ARENA_MAX), of which a thread that allocates little wastes a third of a MiB. */
import { ffi } from './ffi.ts'

const M_ARENA_MAX = -8

/** Threads that begin from now on share the heaps that there are. @returns whether the C library does so */
export function shareMallocArenas(): boolean {
  return ffi().libc.mallopt(M_ARENA_MAX, 1) === 1
}
