/** What the kernel's two ways of asynchronous file I/O share: a queue before the kernel, an eventfd that tells of completions, and the end. */
import { EventFd } from './eventfd.ts'
import { watchFd } from './fd-watch.ts'
import type { FdWatch } from './fd-watch.ts'
import type { FileIo, FileOperation } from './file-io.ts'

export abstract class KernelFileIo<Engine extends { close(): void }> implements FileIo {
  abstract readonly kind: FileIo['kind']
  protected readonly engine: Engine
  /** what the kernel has not got yet */
  protected waiting: FileOperation[] = []
  /** what the kernel has, by tag */
  protected readonly running: (FileOperation | undefined)[] = []
  readonly #event = new EventFd()
  readonly #watch: FdWatch
  #isScheduled = false
  #closed: (() => void) | undefined

  /** @param open makes the engine, which tells of completions on the eventfd */
  protected constructor(open: (eventFd: number) => Engine) {
    try {
      this.engine = open(this.#event.fd)
    } catch (error) {
      this.#event.close()
      throw error
    }
    this.#watch = watchFd(this.#event.fd, () => {
      this.#event.drain()
      this.reap()
      this.commit()
    })
    this.#watch.unref()
  }

  get pending(): number {
    return this.waiting.length + this.underWay
  }

  submit(operation: FileOperation): void {
    this.waiting.push(operation)
    this.scheduleCommit(queueMicrotask)
  }

  commit(): void {
    this.#isScheduled = false
    this.start()
    this.arm()
  }

  settle(): void {
    this.waiting = []
    const before = [...this.running]
    while (before.some((operation, tag) => operation !== undefined && this.running[tag] === operation)) this.awaitOne()
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closed = () => {
        this.#closed = undefined
        this.#watch.close()
        this.engine.close()
        this.#event.close()
        resolve()
      }
      if (this.pending === 0) this.#closed()
    })
  }

  /** One commit, whatever asks for it first. */
  protected scheduleCommit(later: (commit: () => void) => void): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    later(() => { if (this.#isScheduled) this.commit() })
  }

  /** The event loop stays alive for what is under way, and for nothing else. */
  protected arm(): void {
    if (this.#closed !== undefined && this.pending === 0) return this.#closed()
    if (this.pending > 0) this.#watch.ref()
    else this.#watch.unref()
  }

  /** operations that have left the queue and are not done */
  protected abstract get underWay(): number

  /** Gives the kernel as much of the queue as it takes. */
  protected abstract start(): void

  /** Finishes what the kernel has completed. */
  protected abstract reap(): void

  /** Sleeps until the kernel has completed something, and finishes that. */
  protected abstract awaitOne(): void
}
