/**
 * The door to native code: koffi is loaded here, and every function of the C library that the project calls is declared here, once.
 * Variadic functions are declared as the fixed-argument forms in which they are called: the x86-64 and AArch64 Linux conventions pass those alike.
 * Linux only; the numbers beside the calls are those of its x86-64 and AArch64 ABI.
 */
import { createRequire } from 'node:module'
import os from 'node:os'
import type Koffi from 'koffi'
import type { LibraryHandle } from 'koffi'
import { MesovirtError } from './errors.ts'

/** Addresses are numbers: user space ends at 2^47 (2^56 with five levels only for who asks). -1 and errno tell of a failure, as in C. */
export interface Libc {
  ioctl(fd: number, request: number, argument: number): number
  ioctlPointer(fd: number, request: number, argument: Uint8Array): number
  mmap(address: number, length: number, protection: number, flags: number, fd: number, offset: number): number
  munmap(address: number, length: number): number
  madvise(address: number, length: number, advice: number): number
  memfd_create(name: string, flags: number): number
  fcntl(fd: number, command: number, argument: number): number
  eventfd(initial: number, flags: number): number
  timerfd_create(clock: number, flags: number): number
  timerfd_settime(fd: number, flags: number, value: Uint8Array, old: null): number
  read(fd: number, buffer: Uint8Array, length: number): number
  write(fd: number, buffer: Uint8Array, length: number): number
  socket(domain: number, type: number, protocol: number): number
  connect(fd: number, address: Uint8Array, length: number): number
  poll(entries: Uint8Array, count: number, milliseconds: number): number
  sendmsg(fd: number, message: Uint8Array, flags: number): number
  recvmsg(fd: number, message: Uint8Array, flags: number): number
  gettid(): number
  tgkill(process: number, thread: number, signal: number): number
  pthread_sigmask(how: number, set: Uint8Array, old: null): number
  sigtimedwait(set: Uint8Array, information: null, timeout: Uint8Array): number
  memmove(destination: Uint8Array, source: Uint8Array, length: number): number
  fcntlPointer(fd: number, command: number, argument: Uint8Array): number
  preadv2(fd: number, vectors: Uint8Array, count: number, position: number, flags: number): number
  fallocate(fd: number, mode: number, position: number, length: number): number
  statx(folder: number, path: string, flags: number, mask: number, result: Uint8Array): number
  /** Calls that the C library has no name for, in the shapes of their arguments. */
  syscallPointer(number: number, first: number, pointer: Uint8Array): number
  syscallThree(number: number, first: number, second: number, third: number): number
  syscallFour(number: number, first: number, second: number, pointer: Uint8Array, fourth: number): number
  syscallSix(number: number, first: number, second: number, third: number, fourth: number, fifth: number, sixth: number): number
  malloc(size: number): number
  free(address: number): void
  mallopt(parameter: number, value: number): number
  _exit(status: number): void
}

const DECLARATIONS: Readonly<Record<keyof Libc, string>> = {
  ioctl: 'int ioctl(int fd, ulong request, uintptr_t argument)',
  ioctlPointer: 'int ioctl(int fd, ulong request, void* argument)',
  mmap: 'intptr_t mmap(uintptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
  munmap: 'int munmap(uintptr_t address, size_t length)',
  madvise: 'int madvise(uintptr_t address, size_t length, int advice)',
  memfd_create: 'int memfd_create(const char* name, uint flags)',
  fcntl: 'int fcntl(int fd, int command, int argument)',
  eventfd: 'int eventfd(uint initial, int flags)',
  timerfd_create: 'int timerfd_create(int clock, int flags)',
  timerfd_settime: 'int timerfd_settime(int fd, int flags, void* value, void* old)',
  read: 'long read(int fd, void* buffer, size_t length)',
  write: 'long write(int fd, void* buffer, size_t length)',
  socket: 'int socket(int domain, int type, int protocol)',
  connect: 'int connect(int fd, void* address, uint length)',
  poll: 'int poll(void* entries, ulong count, int milliseconds)',
  sendmsg: 'long sendmsg(int fd, void* message, int flags)',
  recvmsg: 'long recvmsg(int fd, void* message, int flags)',
  gettid: 'int gettid()',
  tgkill: 'int tgkill(int process, int thread, int signal)',
  pthread_sigmask: 'int pthread_sigmask(int how, void* set, void* old)',
  sigtimedwait: 'int sigtimedwait(void* set, void* information, void* timeout)',
  memmove: 'uintptr_t memmove(void* destination, void* source, size_t length)',
  fcntlPointer: 'int fcntl(int fd, int command, void* argument)',
  preadv2: 'long preadv2(int fd, void* vectors, int count, int64_t position, int flags)',
  fallocate: 'int fallocate(int fd, int mode, int64_t position, int64_t length)',
  statx: 'int statx(int folder, const char* path, int flags, uint mask, void* result)',
  syscallPointer: 'long syscall(long number, long first, void* pointer)',
  syscallThree: 'long syscall(long number, uintptr_t first, long second, uintptr_t third)',
  syscallFour: 'long syscall(long number, long first, long second, void* pointer, long fourth)',
  syscallSix: 'long syscall(long number, uintptr_t first, long second, long third, uintptr_t fourth, uintptr_t fifth, long sixth)',
  malloc: 'uintptr_t malloc(size_t size)',
  free: 'void free(uintptr_t address)',
  mallopt: 'int mallopt(int parameter, int value)',
  _exit: 'void _exit(int status)',
}

export interface Ffi {
  readonly koffi: typeof Koffi
  readonly libc: Libc
  readonly libraries: { readonly c: LibraryHandle; readonly node: LibraryHandle }
}

let loaded: Ffi | undefined

/**
 * Loads koffi on first use (some 7 ms) and tries it out, once per thread.
 * @throws MesovirtError FFI_MISSING without koffi or off Linux, FFI_BROKEN where it does not work as it should
 */
export function ffi(): Ffi {
  return loaded ??= load()
}

/** Version of the installed koffi, undefined where there is none. */
export function koffiVersion(): string | undefined {
  try {
    return requireKoffi().version
  } catch {
    return undefined
  }
}

function requireKoffi(): typeof Koffi {
  return createRequire(import.meta.url)('koffi') as typeof Koffi
}

function load(): Ffi {
  if (process.platform !== 'linux') throw new MesovirtError('FFI_MISSING', `this needs Linux, and the host is ${process.platform}`)
  let koffi: typeof Koffi
  try {
    koffi = requireKoffi()
  } catch (cause) {
    const { code } = cause as { code?: string }
    if (code === 'MODULE_NOT_FOUND') {
      throw new MesovirtError('FFI_MISSING', 'the package koffi, the way to native code, is not installed; install it with: npm install koffi', { cause })
    }
    throw broken(`it cannot be loaded: ${cause instanceof Error ? cause.message.split('\n')[0] ?? '' : String(cause)}`, cause)
  }
  let result: Ffi
  try {
    const c = koffi.load('libc.so.6')
    const libc = Object.fromEntries(Object.entries(DECLARATIONS).map(([name, declaration]) => [name, c.func(declaration)])) as unknown as Libc
    result = { koffi, libc, libraries: { c, node: koffi.load(null) } }
  } catch (cause) {
    throw broken(`the C library's functions cannot be declared: ${cause instanceof Error ? cause.message : String(cause)}`, cause)
  }
  selfTest(result)
  return result
}

const EFD_CLOEXEC_NONBLOCK = 0o2004000
const CLOSED_FD = -1

/** Sizes the declarations count on, a round trip through an eventfd, an errno: what cannot do these cannot be trusted with guest memory. */
function selfTest({ koffi, libc, libraries }: Ffi): void {
  for (const [type, size] of [['int', 4], ['uint', 4], ['long', 8], ['ulong', 8], ['size_t', 8], ['uintptr_t', 8], ['int64_t', 8], ['void*', 8]] as const) {
    if (koffi.sizeof(type) !== size) throw broken(`its ${type} has ${koffi.sizeof(type)} bytes instead of ${size}`)
  }
  const value = new Uint8Array([3, 1, 0, 0, 0, 0, 0, 0])
  const fd = libc.eventfd(0, EFD_CLOEXEC_NONBLOCK)
  if (fd < 0) throw broken(`eventfd fails with ${errnoName(koffi.errno())}`)
  const written = libc.write(fd, value, value.length)
  const back = new Uint8Array(8)
  const read = libc.read(fd, back, back.length)
  ;(libraries.c.func('int close(int fd)') as (fd: number) => number)(fd)
  if (written !== 8 || read !== 8 || back.some((byte, index) => byte !== value[index])) throw broken('an eventfd does not give back what was written to it')
  if (libc.read(CLOSED_FD, back, back.length) !== -1 || koffi.errno() !== os.constants.errno.EBADF) throw broken('errno of a failed call does not arrive')
  if (libc.memmove(back, back, 0) !== libc.memmove(back, back, 0)) throw broken('a buffer has no steady address')
}

function broken(how: string, cause?: unknown): MesovirtError {
  return new MesovirtError('FFI_BROKEN', `the package koffi, the way to native code, does not work here: ${how}; reinstall it with: npm rebuild koffi`, { cause })
}

/** `ENOENT` for 2; the number where it has no name. */
export function errnoName(errno: number): string {
  return Object.entries(os.constants.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`
}

/** The error that the last failed call left. `what` is a noun phrase or a call: "mmap of 4 MiB". */
export function errnoError(what: string): MesovirtError {
  return new MesovirtError('SYSTEM_CALL', `${what} failed: ${errnoName(ffi().koffi.errno())}`)
}

/** errno of the last failed call of this thread. */
export function lastErrno(): number {
  return ffi().koffi.errno()
}

/** @returns `result`. @throws MesovirtError SYSTEM_CALL where it is -1 */
export function checked(result: number, what: string): number {
  if (result === -1) throw errnoError(what)
  return result
}

/** Calls madvise in Node's thread pool, for what takes the kernel long. 0 or -1, and errno stays in that thread: make a failed call again to see it. */
export function madviseInPool(address: number, length: number, advice: number): Promise<number> {
  const call = ffi().libc.madvise as unknown as { async(address: number, length: number, advice: number, done: (error: Error | null, result: number) => void): void }
  return new Promise((resolve, reject) => call.async(address, length, advice, (error, result) => error === null ? resolve(result) : reject(error)))
}

const bases = new WeakMap<ArrayBufferLike, number>()

/** `addressOf` for bytes of memory that stays where it is for as long as its buffer exists: shared, or native. One native call for each such buffer. */
export function steadyAddressOf(bytes: Uint8Array): number {
  let base = bases.get(bytes.buffer)
  if (base === undefined) {
    base = addressOf(new Uint8Array(bytes.buffer, 0, 1))
    bases.set(bytes.buffer, base)
  }
  return base + bytes.byteOffset
}

/** Calls fallocate in Node's thread pool. @returns 0, or the negative errno */
export function fallocateInPool(fd: number, mode: number, position: number, length: number, done: (result: number) => void): void {
  const { libc } = ffi()
  const call = libc.fallocate as unknown as { async(fd: number, mode: number, position: number, length: number, done: (error: Error | null, result: number) => void): void }
  call.async(fd, mode, position, length, (error, result) => {
    if (error === null && result === 0) return done(0)
    // errno stayed in that thread. What fails does so at once (no room, not supported): it fails again here, or works.
    done(libc.fallocate(fd, mode, position, length) === 0 ? 0 : -lastErrno())
  })
}

/** Host address of byte 0. Of an ordinary ArrayBuffer only while it is alive, and of one that V8 may move (small ones) not at all: use shared or external ones. */
export function addressOf(bytes: Uint8Array): number {
  return ffi().libc.memmove(bytes, bytes, 0)
}

/** Native memory as bytes; dangling once it is unmapped. @param length at most 2 GiB */
export function viewOf(address: number, length: number): ArrayBuffer {
  return ffi().koffi.view(address, length)
}
