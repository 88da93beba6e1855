/**
 * File descriptors on Node's own event loop. The node executable exports libuv, so uv_poll (docs.libuv.org, "uv_poll_t") on the default loop watches
 * whatever poll(2) can. Main thread only: workers have other loops. One native callback serves all watches.
 */
import { isMainThread } from 'node:worker_threads'
import { MesovirtError } from './errors.ts'
import { ffi } from './ffi.ts'

export const READABLE = 1
export const WRITABLE = 2

export interface FdWatch {
  /** READABLE, WRITABLE, both, or 0 to rest. */
  events(events: number): void
  /** Whether it keeps the process alive; it does from the start. */
  ref(): void
  unref(): void
  /** No callback comes after this; the descriptor may be closed from now on. */
  close(): void
}

export interface FdWatchOptions {
  /** default READABLE */
  readonly events?: number
}

type Handler = (events: number) => void

interface Loop {
  init(handle: number, fd: number): number
  start(handle: number, events: number): number
  stop(handle: number): number
  close(handle: number): void
  ref(handle: number): void
  unref(handle: number): void
  readonly handleSize: number
}

const UV_POLL = 8

const handlers = new Map<number, Handler>()
let shared: Loop | undefined

/**
 * Calls `onEvents` on the main thread, with what poll found, for as long as a watched event holds: whoever is called takes it (drains the eventfd).
 * What `onEvents` throws becomes an uncaught exception of the process.
 * @throws MesovirtError FD_WATCH for a descriptor that cannot be polled (a regular file), FFI_MISSING
 */
export function watchFd(fd: number, onEvents: Handler, options: FdWatchOptions = {}): FdWatch {
  if (!isMainThread) throw new MesovirtError('FD_WATCH', 'descriptors can be watched on the main thread only')
  const loop = shared ??= openLoop()
  const { libc } = ffi()
  const handle = libc.malloc(loop.handleSize)
  const status = loop.init(handle, fd)
  if (status !== 0) {
    libc.free(handle)
    throw new MesovirtError('FD_WATCH', `descriptor ${fd} cannot be watched (${status})`)
  }
  handlers.set(handle, onEvents)
  let open = true
  const watch: FdWatch = {
    events(events) {
      if (!open) return
      if (events === 0) loop.stop(handle)
      else loop.start(handle, events)
    },
    ref() {
      if (open) loop.ref(handle)
    },
    unref() {
      if (open) loop.unref(handle)
    },
    close() {
      if (!open) return
      open = false
      handlers.delete(handle)
      loop.close(handle)
    },
  }
  watch.events(options.events ?? READABLE)
  return watch
}

function openLoop(): Loop {
  const { koffi, libraries, libc } = ffi()
  const { node } = libraries
  const call = (declaration: string) => {
    try {
      return node.func(declaration) as (...values: number[]) => number
    } catch (cause) {
      throw new MesovirtError('FD_WATCH', 'this node executable does not export libuv: descriptors cannot be watched; use a build of nodejs.org or of Debian', { cause })
    }
  }
  const onPoll = koffi.register(guarded((handle: number, status: number, events: number) => handlers.get(handle)?.(status < 0 ? READABLE | WRITABLE : events)),
    koffi.pointer(koffi.proto('void mesovirt_poll(uintptr_t handle, int status, int events)')))
  // The loop still owns the memory of a handle when uv_close returns.
  const onClosed = koffi.register(guarded((handle: number) => libc.free(handle)), koffi.pointer(koffi.proto('void mesovirt_closed(uintptr_t handle)')))
  const theLoop = call('uintptr_t uv_default_loop()')()
  const init = call('int uv_poll_init(uintptr_t loop, uintptr_t handle, int fd)')
  const start = node.func('int uv_poll_start(uintptr_t handle, int events, mesovirt_poll* callback)') as (handle: number, events: number, callback: unknown) => number
  const close = node.func('void uv_close(uintptr_t handle, mesovirt_closed* callback)') as (handle: number, callback: unknown) => void
  return {
    init: (handle, fd) => init(theLoop, handle, fd),
    start: (handle, events) => start(handle, events, onPoll),
    stop: call('int uv_poll_stop(uintptr_t handle)'),
    close: (handle) => close(handle, onClosed),
    ref: call('void uv_ref(uintptr_t handle)'),
    unref: call('void uv_unref(uintptr_t handle)'),
    handleSize: call('size_t uv_handle_size(int type)')(UV_POLL),
  }
}

/**
 * An exception that leaves a native callback silences every later one and spins a core, with no uncaughtException (seen with koffi 3.3.4, Node 20.20).
 * So none does: it is thrown again outside.
 */
export function guarded<T extends unknown[]>(callback: (...values: T) => void): (...values: T) => void {
  return (...values) => {
    try {
      callback(...values)
    } catch (error) {
      setImmediate(() => {
        throw error
      })
    }
  }
}
