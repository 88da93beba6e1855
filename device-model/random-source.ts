/**
 * Where an entropy device gets its bytes: `rng-random` reads a device of the host, `rng-builtin` asks the system's generator. Neither ever blocks the thread, and
 * a source that has nothing, or fails, is asked again later.
 */
import { randomFill } from 'node:crypto'
import fs from 'node:fs'
import { MesovirtError } from '../host/errors.ts'

export interface RandomSource {
  readonly id: string
  /** Calls back later, once, with 1 to `length` bytes; never after `close`. */
  read(length: number, done: (bytes: Uint8Array) => void): void
  close(): Promise<void>
}

export type RandomSourceConfig =
  | { readonly kind: 'rng-random'; readonly id: string; readonly filename: string }
  | { readonly kind: 'rng-builtin'; readonly id: string }

/** @param log told once when a source has failed. @throws MesovirtError RNG_SOURCE for a file that is not there or that gives no random bytes */
export function openRandomSource(config: RandomSourceConfig, log: (message: string) => void): RandomSource {
  return config.kind === 'rng-builtin' ? new BuiltinRandom(config.id) : new FileRandom(config.id, config.filename, log)
}

class BuiltinRandom implements RandomSource {
  readonly id: string
  #closed = false

  constructor(id: string) {
    this.id = id
  }

  read(length: number, done: (bytes: Uint8Array) => void): void {
    randomFill(new Uint8Array(length), (error, bytes) => {
      if (error !== null) throw error // the system has no randomness: nothing that was ever seen to happen
      if (!this.#closed) done(bytes)
    })
  }

  async close(): Promise<void> {
    this.#closed = true
  }
}

/** Between two looks at a source that has nothing now, doubling. */
const FIRST_RETRY_MS = 5, LAST_RETRY_MS = 1000

class FileRandom implements RandomSource {
  readonly id: string
  readonly #filename: string
  readonly #log: (message: string) => void
  readonly #fd: number
  readonly #waiting = new Set<NodeJS.Timeout>()
  #reading = 0
  #failed = false
  #closing: (() => void) | undefined

  constructor(id: string, filename: string, log: (message: string) => void) {
    this.id = id
    this.#filename = filename
    this.#log = log
    this.#fd = openSource(id, filename)
  }

  read(length: number, done: (bytes: Uint8Array) => void): void {
    this.#attempt(new Uint8Array(length), FIRST_RETRY_MS, done)
  }

  close(): Promise<void> {
    for (const timer of this.#waiting) clearTimeout(timer)
    this.#waiting.clear()
    return new Promise((resolve) => {
      this.#closing = () => fs.close(this.#fd, () => resolve())
      if (this.#reading === 0) this.#closing()
    })
  }

  #attempt(buffer: Uint8Array, retryMs: number, done: (bytes: Uint8Array) => void): void {
    if (this.#closing !== undefined) return
    this.#reading++
    fs.read(this.#fd, buffer, 0, buffer.length, null, (error, count) => {
      this.#reading--
      if (this.#closing !== undefined) {
        if (this.#reading === 0) this.#closing()
        return
      }
      if (error === null && count > 0) return done(buffer.subarray(0, count))
      if (error !== null && error.code !== 'EAGAIN' && !this.#failed) {
        this.#failed = true
        this.#log(`${this.id}: ${this.#filename} cannot be read (${error.message}); the guest waits`)
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(timer)
        this.#attempt(buffer, Math.min(retryMs * 2, LAST_RETRY_MS), done)
      }, retryMs)
      timer.unref()
      this.#waiting.add(timer)
    })
  }
}

/** Non-blocking: a source that has nothing must not hold one of the few threads that read files. */
function openSource(id: string, filename: string): number {
  const where = `-object rng-random,id=${id}: ${filename}`
  let fd: number
  try {
    fd = fs.openSync(filename, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  } catch (error) {
    throw new MesovirtError('RNG_SOURCE', `${where} cannot be opened (${(error as Error).message}); name a device such as /dev/urandom`, { cause: error })
  }
  const stat = fs.fstatSync(fd)
  if (stat.isCharacterDevice() || stat.isFIFO()) return fd
  fs.closeSync(fd)
  throw new MesovirtError('RNG_SOURCE', `${where} is no character device, so its bytes are not random; name one such as /dev/urandom`)
}
