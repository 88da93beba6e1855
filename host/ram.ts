/**
 * Memory for guest RAM that native code knows by address: a shared WebAssembly.Memory as far as one reaches, so that every thread has it as a
 * SharedArrayBuffer, and mmap(2) above. A file (ram-backing.ts) is mapped over either of them.
 */
import fs from 'node:fs'
import { addressSpaceLeft } from './address-space-limit.ts'
import { MesovirtError } from './errors.ts'
import { addressOf, checked, errnoName, ffi, lastErrno, viewOf } from './ffi.ts'
import type { Libc } from './ffi.ts'
import { hugePageError, mib, nativeOption, openRamFile, SMALL_PAGE } from './ram-backing.ts'
import type { RamBacking, RamFile } from './ram-backing.ts'
import { checkRoom, RamPreallocation } from './ram-preallocation.ts'
import { wasm } from './wasm.ts'

const MIB = 2 ** 20, GIB = 2 ** 30
/** RAM begins on a border of huge pages: a WebAssembly memory itself starts on 64 KiB. */
const ALIGNMENT = 2 * MIB
const WASM_PAGE = 65_536
const WASM_LIMIT = 4 * GIB - WASM_PAGE
/** One view of native memory has at most this: koffi.view of 6 GiB aborts Node 20. */
const LONGEST_VIEW = 2 * GIB
const PROT_READ_WRITE = 3
const MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000
const MADV_DONTNEED = 4, MADV_REMOVE = 9, MADV_HUGEPAGE = 14, MADV_DONTDUMP = 16
const MFD_CLOEXEC = 1
const FAILED = -1

/**
 * What is to be read where pages were given back to the host: zeros, what the file has that is mapped there for nobody else, or what was there before, because the
 * kernel does not take them (locked memory).
 */
export type Discarded = 'zeros' | 'file' | 'kept'

export interface Ram {
  /** Host address of byte 0, on a border of 2 MiB. */
  readonly address: number
  readonly size: number
  /** What other processes can map to see this memory, from its byte 0 on. */
  readonly sharedFd: number | undefined
  /** The bytes from `offset` on, in views of at most 2 GiB. */
  views(offset: number, length: number): Uint8Array[]
  /**
   * Gives pages back to the host; each gets memory again when it is touched. Whole pages of 4 KiB; none of them is a way to ask whether and how it works.
   * @throws MesovirtError RAM_DISCARD for pages of hugetlbfs, which were set aside at the start so that none can be missing later
   */
  discard(offset: number, length: number): Discarded
  /** Gives every page its memory, where the user wants it. @throws MesovirtError RAM_PREALLOCATION */
  preallocate(): Promise<void>
  /** The machine runs: a file that was made for it stays. */
  keepFile(): void
  /** Gives memory and files back. No view may be used afterwards. Where nothing is being preallocated all is done at the return. */
  free(): Promise<void>
}

/** A place for RAM. */
interface Place {
  readonly address: number
  readonly size: number
  views(offset: number, length: number): Uint8Array[]
  /** Gives the memory back. */
  clear(): void
}

/**
 * Opens what backs RAM, and gives it to `place`, which is to take it into a Ram.
 * @throws MesovirtError RAM_FILE, RAM_HUGE_PAGES, RAM_PREALLOCATION, FFI_MISSING, and what `place` throws: nothing is left open then
 */
export function withRamFile<Result>(size: number, backing: RamBacking, place: (file: RamFile | undefined) => Result): Result {
  requireNative(backing)
  const file = openRamFile(size, backing)
  try {
    if (backing.preallocate === true && file?.usesMemory !== false) checkRoom(size)
    return place(file)
  } catch (error) {
    file?.close()
    throw error
  }
}

/** Borders on which RAM must begin. */
export function ramAlignment(file: RamFile | undefined): number {
  return Math.max(ALIGNMENT, file?.pageSize ?? 0)
}

/** First place in a buffer, from `offset` on, whose host address is on such a border. */
export function alignedOffset(buffer: SharedArrayBuffer, offset: number, alignment: number): number {
  const base = addressOf(new Uint8Array(buffer))
  return alignUp(base + offset, alignment) - base
}

/** @param size bytes, whole pages. @throws MesovirtError RAM_ALLOCATION, RAM_FILE, RAM_HUGE_PAGES, RAM_PREALLOCATION, FFI_MISSING */
export function allocateRam(size: number, backing: RamBacking = {}): Ram {
  return withRamFile(size, backing, (file) => {
    const alignment = ramAlignment(file)
    // WebAssembly reserves 10 GiB around a memory: where address space is limited that would be missing for the threads.
    const fits = size + alignment <= WASM_LIMIT && addressSpaceLeft() === Infinity
    const buffer = fits ? wasmBuffer(size + alignment) : undefined
    const inBuffer = buffer === undefined ? undefined : bufferPlace(buffer, alignedOffset(buffer, 0, alignment), size)
    const usable = inBuffer !== undefined && (file === undefined || canMapOver(inBuffer))
    return settle(usable ? inBuffer : mappedPlace(size, alignment), file, backing)
  })
}

/**
 * RAM inside a buffer that holds other things too.
 * @param start offset, from `alignedOffset`
 * @throws MesovirtError RAM_ALLOCATION, RAM_HUGE_PAGES, RAM_MAPPING
 */
export function ramInBuffer(buffer: SharedArrayBuffer, start: number, size: number, file: RamFile | undefined, backing: RamBacking): Ram {
  const place = bufferPlace(buffer, start, size)
  if (file !== undefined && !canMapOver(place)) {
    throw new MesovirtError('RAM_MAPPING', `${file.option}: a file cannot be mapped over the memory of a WebAssembly here; leave the option out, or use -accel kvm`)
  }
  return settle(place, file, backing)
}

function settle(place: Place, file: RamFile | undefined, backing: RamBacking): Ram {
  const { address, size } = place
  try {
    prepare(address, size, file, backing)
  } catch (error) {
    place.clear()
    throw error
  }
  const pages = { address, size, pageSize: file?.pageSize ?? SMALL_PAGE, views: (offset: number, length: number) => place.views(offset, length) }
  const preallocation = backing.preallocate === true ? new RamPreallocation(pages, backing) : undefined
  let isFree = false
  return {
    address, size,
    sharedFd: file?.shared === true ? file.fd : undefined,
    discard: (offset, length) => {
      if (file !== undefined && file.pageSize > SMALL_PAGE) {
        throw new MesovirtError('RAM_DISCARD', `${file.option}: huge pages of hugetlbfs are set aside for good and cannot be given back; use another folder, or leave the balloon out`)
      }
      return discardPages(address + offset, length, file)
    },
    views: (offset, length) => place.views(offset, length),
    preallocate: async () => {
      if (!isFree) await preallocation?.run()
    },
    keepFile: () => file?.keep(),
    free: async () => {
      if (isFree) return
      isFree = true
      if (preallocation !== undefined) await preallocation.stop()
      place.clear()
      file?.close()
    },
  }
}

/**
 * Gives pages of RAM back to the host. Where others map it too they go out of the file.
 * @param file what is mapped there; undefined for anonymous memory
 * @throws MesovirtError FFI_MISSING
 */
export function discardPages(address: number, length: number, file?: Pick<RamFile, 'shared' | 'hasContent'>): Discarded {
  const shared = file?.shared === true
  if (length > 0 && ffi().libc.madvise(address, length, shared ? MADV_REMOVE : MADV_DONTNEED) !== 0) return 'kept'
  return shared || file?.hasContent !== true ? 'zeros' : 'file'
}

function prepare(address: number, size: number, file: RamFile | undefined, { dump }: RamBacking): void {
  const { libc } = ffi()
  if (file !== undefined) mapFile(file, address, size)
  // Without huge pages in the host's kernel this is refused, and the machine just runs slower.
  libc.madvise(address, size, MADV_HUGEPAGE)
  if (dump === false) checked(libc.madvise(address, size, MADV_DONTDUMP), '-machine dump-guest-core=off: madvise')
}

/** Huge pages are all set aside here or the call fails: a page that is missing later would be a SIGBUS. */
function mapFile(file: RamFile, address: number, size: number): void {
  const isHuge = file.pageSize > SMALL_PAGE
  const flags = (file.shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED | (isHuge ? 0 : MAP_NORESERVE)
  if (ffi().libc.mmap(address, size, PROT_READ_WRITE, flags, file.fd, 0) === address) return
  const errno = lastErrno()
  if (isHuge) throw hugePageError(file, size, errno)
  const what = `it cannot be mapped as ${mib(size)} of RAM (${errnoName(errno)}); use a smaller -m, or leave the option out`
  throw new MesovirtError('RAM_ALLOCATION', `${file.option}: ${what}`)
}

function wasmBuffer(size: number): SharedArrayBuffer | undefined {
  const pages = Math.ceil(size / WASM_PAGE)
  try {
    return new wasm.Memory({ initial: pages, maximum: pages, shared: true }).buffer
  } catch {
    return undefined // mmap may still find room for RAM alone
  }
}

function bufferPlace(buffer: SharedArrayBuffer, start: number, size: number): Place {
  const address = addressOf(new Uint8Array(buffer)) + start
  return {
    address, size,
    views: (offset, length) => [new Uint8Array(buffer, start + offset, length)],
    // The address range is the buffer's, and goes when it is collected.
    clear: () => void ffi().libc.mmap(address, size, PROT_READ_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
  }
}

function mappedPlace(size: number, alignment: number): Place {
  const { libc } = ffi()
  const reserved = size + alignment
  const base = libc.mmap(0, reserved, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
  if (base === FAILED) {
    const why = errnoName(lastErrno())
    throw new MesovirtError('RAM_ALLOCATION', `the host cannot reserve ${mib(size)} for the guest (${why}); use a smaller -m, or raise the limit (ulimit -v)`)
  }
  const address = alignUp(base, alignment)
  return {
    address, size,
    views(offset, length) {
      const views: Uint8Array[] = []
      for (let done = 0; done < length; done += LONGEST_VIEW) views.push(new Uint8Array(viewOf(address + offset + done, Math.min(LONGEST_VIEW, length - done))))
      return views
    },
    clear: () => void libc.munmap(base, reserved),
  }
}

/** Names the option where koffi is not there for it. */
function requireNative(backing: RamBacking): void {
  const option = nativeOption(backing)
  try {
    ffi()
  } catch (cause) {
    if (option === undefined || !(cause instanceof MesovirtError)) throw cause
    throw new MesovirtError(cause.code, `${option}: ${cause.message}`, { cause })
  }
}

let mapsOver: boolean | undefined

/** Once per process. The place is empty before and afterwards. */
function canMapOver(place: Place): boolean {
  if (mapsOver === undefined) {
    mapsOver = mapsOverMemory(ffi().libc, place.address, place.views(0, Math.min(place.size, 2 * WASM_PAGE))[0] as Uint8Array)
    place.clear()
  }
  return mapsOver
}

/**
 * Tries it: V8 says nothing about what lies behind its memories. Bytes must arrive both ways, and the rest of the memory stay as it is.
 * @param bytes what JavaScript sees at the address, 128 KiB
 */
export function mapsOverMemory(libc: Pick<Libc, 'mmap' | 'memfd_create'>, address: number, bytes: Uint8Array): boolean {
  bytes[WASM_PAGE] = 3
  const fd = libc.memfd_create('mesovirt-probe', MFD_CLOEXEC)
  if (fd < 0) return false
  try {
    fs.ftruncateSync(fd, WASM_PAGE)
    if (libc.mmap(address, WASM_PAGE, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) !== address) return false
    fs.writeSync(fd, Uint8Array.of(1), 0, 1, 5)
    bytes[WASM_PAGE - 1] = 2
    const last = Buffer.alloc(1)
    fs.readSync(fd, last, 0, 1, WASM_PAGE - 1)
    return bytes[5] === 1 && last[0] === 2 && bytes[WASM_PAGE] === 3
  } finally {
    fs.closeSync(fd)
  }
}

function alignUp(address: number, alignment: number): number {
  return Math.ceil(address / alignment) * alignment
}
