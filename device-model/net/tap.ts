/** Network backend on a tap device: the guest's cable ends in an Ethernet card of the host. What the guest does not take stays in the kernel, which drops beyond its own bound. */
import fs from 'node:fs'
import os from 'node:os'
import { errnoName, ffi, lastErrno } from '../../host/ffi.ts'
import { READABLE, watchFd } from '../../host/fd-watch.ts'
import type { FdWatch } from '../../host/fd-watch.ts'
import { attachTapQueue, setTapOffloads } from '../../host/tap-device.ts'
import type { TapQueue } from '../../host/tap-device.ts'
import { MAX_FRAME } from './backend.ts'
import type { GuestOffloads, NetBackend, NetPeer } from './backend.ts'
import { NET_HEADER } from './packet.ts'

const { EBADF, ENODEV } = os.constants.errno as { readonly EBADF: number; readonly ENODEV: number }
/** EBADFD of Linux, which Node has no name for. */
const EBADFD = 77
/** The interface was removed. One that is merely down gives EIO, and may come up again. */
const GONE = [EBADFD, EBADF, ENODEV]

interface Queue extends TapQueue {
  readonly watch: FdWatch
  readonly buffer: Uint8Array
}

export class TapBackend implements NetBackend {
  readonly kind = 'tap'
  readonly id: string
  readonly description: string
  readonly hasHeader: boolean
  /** Frames of other hosts come through here. */
  readonly trusted = false
  readonly #queues: readonly Queue[]
  readonly #log: (message: string) => void
  #peer: NetPeer | null = null
  #connected = true
  #closed = false
  /** Frames that the device did not take. */
  dropped = 0

  constructor(id: string, queues: readonly TapQueue[], log: (message: string) => void = () => undefined) {
    this.id = id
    this.#log = log
    this.description = `tap:${queues[0]?.name ?? ''}`
    this.hasHeader = queues[0]?.hasHeader ?? false
    this.#queues = queues.map((queue, index) => ({
      ...queue, buffer: new Uint8Array(NET_HEADER + MAX_FRAME), watch: watchFd(queue.fd, () => this.#onReadable(index), { events: 0 }),
    }))
    for (const { watch } of this.#queues) watch.unref()
  }

  get queues(): number {
    return this.#queues.length
  }

  get connected(): boolean {
    return this.#connected
  }

  attach(peer: NetPeer | null): void {
    this.#peer = peer
    for (const { watch } of this.#queues) watch.events(peer === null ? 0 : READABLE)
  }

  take(index: number): Uint8Array | undefined {
    const queue = this.#queues[index]
    if (queue === undefined || this.#closed) return undefined
    const length = ffi().libc.read(queue.fd, queue.buffer, queue.buffer.length)
    if (length > 0) return queue.buffer.subarray(0, length)
    if (length < 0) this.#failed(lastErrno())
    if (this.#connected) queue.watch.events(READABLE)
    return undefined
  }

  ready(): boolean {
    return true
  }

  send(frame: Uint8Array, index: number): void {
    const queue = this.#queues[index]
    if (queue === undefined || this.#closed) return
    if (ffi().libc.write(queue.fd, frame, frame.length) >= 0) return
    this.dropped++
    this.#failed(lastErrno())
  }

  commit(): void {
    // Each frame was written at once.
  }

  setOffloads(offloads: GuestOffloads): void {
    if (!this.hasHeader || this.#closed) return
    for (const { fd } of this.#queues) setTapOffloads(fd, offloads)
  }

  setQueues(count: number): void {
    if (this.#queues.length > 1 && !this.#closed) this.#queues.forEach(({ fd }, index) => attachTapQueue(fd, index < count))
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#peer = null
    for (const { fd, watch } of this.#queues) {
      watch.close()
      fs.closeSync(fd)
    }
  }

  /** Until the card has taken all there is the descriptor rests: what it does not take would wake us again and again. */
  #onReadable(index: number): void {
    this.#queues[index]?.watch.events(0)
    this.#peer?.readable(index)
  }

  #failed(errno: number): void {
    if (!GONE.includes(errno) || !this.#connected) return
    this.#connected = false
    this.#log(`netdev ${this.id}: ${this.description} is gone (${errnoName(errno)}); the guest sees its cable pulled out`)
    for (const { watch } of this.#queues) watch.events(0)
    // Not from inside `take` or `send`.
    setImmediate(() => this.#peer?.linkChanged())
  }
}
