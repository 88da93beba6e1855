/**
 * Memory for guest RAM that native code knows by address: a shared WebAssembly.Memory as far as one reaches, so that every thread has it as a
 * SharedArrayBuffer, and mmap(2) above.
 */
import { MesovirtError } from './errors.ts'
import { addressOf, checked, errnoName, ffi, lastErrno, viewOf } from './ffi.ts'
import { wasm } from './wasm.ts'

const MIB = 2 ** 20, GIB = 2 ** 30
/** RAM begins on a border of huge pages: a WebAssembly memory itself starts on 64 KiB. */
const ALIGNMENT = 2 * MIB
const WASM_PAGE = 65_536
const WASM_LIMIT = 4 * GIB - WASM_PAGE
/** One view of native memory has at most this: koffi.view of 6 GiB aborts Node 20. */
const LONGEST_VIEW = 2 * GIB
const PROT_READ_WRITE = 3
const MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000
const MADV_HUGEPAGE = 14

export interface Ram {
  /** Host address of byte 0, on a border of 2 MiB. */
  readonly address: number
  readonly size: number
  /** The bytes from `offset` on, in views of at most 2 GiB. */
  views(offset: number, length: number): Uint8Array[]
  /** No view may be used afterwards. */
  free(): void
}

/** @param size bytes, whole pages. @throws MesovirtError RAM_ALLOCATION, FFI_MISSING */
export function allocateRam(size: number): Ram {
  const ram = size + ALIGNMENT <= WASM_LIMIT ? inWebAssembly(size) : mapped(size)
  // Without huge pages in the host's kernel this is refused, and the machine just runs slower.
  ffi().libc.madvise(ram.address, size, MADV_HUGEPAGE)
  return ram
}

function inWebAssembly(size: number): Ram {
  const pages = Math.ceil((size + ALIGNMENT) / WASM_PAGE)
  let buffer: SharedArrayBuffer
  try {
    ({ buffer } = new wasm.Memory({ initial: pages, maximum: pages, shared: true }))
  } catch (cause) {
    throw noMemory(size, undefined, cause)
  }
  const base = addressOf(new Uint8Array(buffer))
  const start = alignUp(base) - base
  return {
    address: base + start, size,
    views: (offset, length) => [new Uint8Array(buffer, start + offset, length)],
    free: () => undefined,
  }
}

function mapped(size: number): Ram {
  const { libc } = ffi()
  const reserved = size + ALIGNMENT
  const base = libc.mmap(0, reserved, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
  if (base === -1) throw noMemory(size, lastErrno())
  const address = alignUp(base)
  return {
    address, size,
    views(offset, length) {
      const views: Uint8Array[] = []
      for (let done = 0; done < length; done += LONGEST_VIEW) views.push(new Uint8Array(viewOf(address + offset + done, Math.min(LONGEST_VIEW, length - done))))
      return views
    },
    free: () => void checked(libc.munmap(base, reserved), 'munmap of guest RAM'),
  }
}

function noMemory(size: number, errno: number | undefined, cause?: unknown): MesovirtError {
  const why = errno === undefined ? '' : ` (${errnoName(errno)})`
  return new MesovirtError('RAM_ALLOCATION', `the host cannot reserve ${Math.ceil(size / MIB)} MiB for the guest${why}; use a smaller -m, or raise the limit (ulimit -v)`, { cause })
}

function alignUp(address: number): number {
  return Math.ceil(address / ALIGNMENT) * ALIGNMENT
}
