/** Two ways to get queued output to the host without ever blocking: through a Node stream, or through a non-blocking descriptor of our own. */
import { writeSync } from 'node:fs'
import type { Writable } from 'node:stream'
import { ByteQueue } from './byte-queue.ts'

/** Takes output at any speed, keeps at most 1 MiB of it, drops the oldest beyond that. */
export interface OutputWriter {
  readonly dropped: number
  /** Bytes that wait for the peer. */
  readonly queued: number
  /** Called whenever the queue has shrunk. */
  onShrink: (() => void) | undefined
  /** Copies the bytes. */
  write(bytes: Uint8Array): void
  /** Resolves when everything is written, or after `timeoutMs` when the peer does not read. */
  drain(timeoutMs: number): Promise<void>
  /** Forgets what is queued and writes no more. */
  stop(): void
}

const STREAM_CHUNK = 64 * 1024
/** Nothing tells us when a bare descriptor can take more; a full tty buffer of 4 KiB every 4 ms is 1 MB/s. */
const RETRY_MS = 4

/** Writes to a stream, one chunk in flight: what the stream holds itself stays small. Errors of the stream are its owner's business. */
export class StreamWriter implements OutputWriter {
  readonly #stream: Writable
  readonly #queue = new ByteQueue()
  readonly #drained = new Waiters()
  onShrink: (() => void) | undefined
  #inFlight = 0
  #stopped = false

  constructor(stream: Writable) {
    this.#stream = stream
  }

  get dropped(): number {
    return this.#queue.dropped
  }

  get queued(): number {
    return this.#queue.length + this.#inFlight
  }

  write(bytes: Uint8Array): void {
    if (this.#stopped || this.#stream.destroyed) return
    this.#queue.push(bytes)
    this.#pump()
  }

  drain(timeoutMs: number): Promise<void> {
    return this.#drained.wait(this.queued === 0, timeoutMs)
  }

  stop(): void {
    this.#stopped = true
    this.#queue.clear()
    this.#drained.release()
  }

  #pump(): void {
    if (this.#inFlight > 0 || this.#stopped) return
    const next = this.#queue.peek().slice(0, STREAM_CHUNK)
    if (next.length === 0) return this.#drained.release()
    this.#queue.consume(next.length)
    this.#inFlight = next.length
    this.#stream.write(next, (error) => {
      this.#inFlight = 0
      if (error) this.stop()
      else this.#pump()
      this.onShrink?.()
    })
  }
}

/** Writes to a descriptor opened with O_NONBLOCK (a terminal, a pty master, a FIFO, a file) and tries again later when it is full. */
export class DescriptorWriter implements OutputWriter {
  readonly #fd: number
  readonly #onError: (error: unknown) => void
  readonly #queue = new ByteQueue()
  readonly #drained = new Waiters()
  onShrink: (() => void) | undefined
  #retry: NodeJS.Timeout | undefined
  #stopped = false

  /** @param onError called once; after it nothing is written any more. The descriptor stays the caller's to close */
  constructor(fd: number, onError: (error: unknown) => void) {
    this.#fd = fd
    this.#onError = onError
  }

  get dropped(): number {
    return this.#queue.dropped
  }

  get queued(): number {
    return this.#queue.length
  }

  write(bytes: Uint8Array): void {
    if (this.#stopped) return
    this.#queue.push(bytes)
    if (this.#retry === undefined) this.flush()
  }

  /** Writes what the descriptor takes now. Usable while the process ends. */
  flush(): void {
    clearTimeout(this.#retry)
    this.#retry = undefined
    while (this.#queue.length > 0) {
      try {
        this.#queue.consume(writeSync(this.#fd, this.#queue.peek()))
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? error.code : undefined
        if (code === 'EINTR') continue
        if (code === 'EAGAIN') {
          this.#retry = setTimeout(() => {
            this.flush()
            this.onShrink?.()
          }, RETRY_MS)
          return
        }
        this.stop()
        this.#onError(error)
        return
      }
    }
    this.#drained.release()
  }

  drain(timeoutMs: number): Promise<void> {
    return this.#drained.wait(this.#queue.length === 0, timeoutMs)
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#retry)
    this.#retry = undefined
    this.#queue.clear()
    this.#drained.release()
  }
}

/** Who waits for the queue to run empty. */
class Waiters {
  #waiting: (() => void)[] = []

  async wait(now: boolean, timeoutMs: number): Promise<void> {
    if (now) return
    await new Promise<void>((done) => {
      const timer = setTimeout(done, timeoutMs)
      this.#waiting.push(() => {
        clearTimeout(timer)
        done()
      })
    })
  }

  release(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }
}
