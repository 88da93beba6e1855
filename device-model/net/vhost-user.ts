/**
 * Network backend in another process that speaks vhost-user (QEMU's docs/interop/vhost-user.rst; virtio 1.2 section 5.1): DPDK's switches and others. Frames are copied through
 * memory of our own, so the other process maps nothing of the guest. Checksums and long segments are done here; offloads of the other side are left out.
 */
import { MesovirtError } from '../../host/errors.ts'
import { RING_SIZE } from '../vhost/driver-ring.ts'
import type { Used } from '../vhost/driver-ring.ts'
import { VhostUserBackEnd } from '../vhost/vhost-user.ts'
import type { NetBackend, NetPeer } from './backend.ts'
import { NET_HEADER } from './packet.ts'

/** A frame with its header, of a network with an MTU of up to 9,000 bytes and more. */
const SLOT_BYTES = 12_288
/** Of each ring. */
const SLOTS = 256

export interface VhostUserNetOptions {
  readonly id: string
  /** Where the other process listens. */
  readonly path: string
  /** Queue pairs. */
  readonly queues: number
  /** Tries again after so many milliseconds; without it, connects once. */
  readonly reconnectMs?: number | undefined
  readonly log?: ((message: string) => void) | undefined
}

interface Pair {
  /** Frames that came, in slots of the receiving ring. */
  received: { readonly slot: number; readonly length: number }[]
  /** Slots of the sending ring. */
  free: number[]
  /** `ready` was false. */
  full: boolean
}

/** @throws MesovirtError SOCKET_CONNECT, VHOST_USER where it is to connect once; SHARED_MEMORY, FFI_MISSING */
export function openVhostUserNet(options: VhostUserNetOptions): NetBackend {
  const backend = new VhostUserNet(options)
  try {
    backend.connect()
  } catch (error) {
    if (options.reconnectMs === undefined || !(error instanceof MesovirtError) || !backend.tryLater(error.message)) {
      void backend.close()
      throw error
    }
  }
  return backend
}

class VhostUserNet implements NetBackend {
  readonly kind = 'vhost-user'
  readonly id: string
  readonly description: string
  readonly queues: number
  readonly hasHeader = false
  readonly trusted = false
  readonly #options: VhostUserNetOptions
  readonly #backEnd: VhostUserBackEnd<number>
  readonly #pairs: readonly Pair[]
  #peer: NetPeer | null = null
  #timer: NodeJS.Timeout | undefined
  #failedBefore = false
  #closed = false

  constructor(options: VhostUserNetOptions) {
    this.#options = options
    this.id = options.id
    this.queues = options.queues
    this.description = `vhost-user:${options.path}`
    this.#pairs = Array.from({ length: options.queues }, () => ({ received: [], free: [], full: false }))
    this.#backEnd = new VhostUserBackEnd({
      path: options.path, queues: options.queues * 2, counted: options.queues, features: 0n, regions: [], bufferBytes: options.queues * 2 * SLOTS * SLOT_BYTES,
      onUsed: (ring, used) => this.#used(ring, used), onLost: (why) => this.#lost(why),
    })
  }

  get connected(): boolean {
    return this.#backEnd.running
  }

  /** @throws MesovirtError SOCKET_CONNECT, VHOST_USER */
  connect(): void {
    this.#backEnd.connect()
    const rings = Array.from({ length: this.queues * 2 }, (_, ring) => ring)
    if (!this.#backEnd.start(rings, 0n)) throw new MesovirtError('VHOST_USER', `${this.#options.path}: it was lost at the start; look at what listens there`)
    this.#pairs.forEach((pair, index) => {
      pair.received = []
      pair.free = Array.from({ length: SLOTS }, (_, slot) => slot)
      pair.full = false
      for (let slot = 0; slot < SLOTS; slot++) this.#offer(index, slot)
    })
    this.#failedBefore = false
  }

  /** @returns whether it will */
  tryLater(why: string): boolean {
    const { reconnectMs, log } = this.#options
    if (reconnectMs === undefined || this.#closed) return false
    if (!this.#failedBefore) log?.(`netdev ${this.id}: ${why}; tried again every ${reconnectMs} ms`)
    this.#failedBefore = true
    this.#timer = setTimeout(() => this.#again(), reconnectMs)
    this.#timer.unref()
    return true
  }

  attach(peer: NetPeer | null): void {
    this.#peer = peer
    if (peer === null) this.#pairs.forEach((_, index) => { while (this.take(index) !== undefined) { /* dropped */ } })
  }

  take(index: number): Uint8Array | undefined {
    const next = this.#pairs[index]?.received.shift()
    if (next === undefined) return undefined
    // A copy: the other process could change it while it is looked at.
    const frame = this.#slot(2 * index, next.slot).slice(NET_HEADER, next.length)
    this.#offer(index, next.slot)
    return frame
  }

  ready(index: number): boolean {
    const pair = this.#pairs[index]
    if (pair === undefined || !this.connected || pair.free.length > 0) return true
    pair.full = true
    return false
  }

  send(frame: Uint8Array, index: number): void {
    const pair = this.#pairs[index]
    if (pair === undefined || !this.connected || frame.length > SLOT_BYTES - NET_HEADER) return
    const slot = pair.free.pop()
    if (slot === undefined) return
    const ring = 2 * index + 1
    const bytes = this.#slot(ring, slot)
    bytes.fill(0, 0, NET_HEADER)
    bytes.set(frame, NET_HEADER)
    this.#backEnd.add(ring, [{ address: this.#address(ring, slot), length: NET_HEADER + frame.length }], [], slot)
  }

  commit(): void {
    // The other process is told at the end of the task.
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#peer = null
    clearTimeout(this.#timer)
    this.#backEnd.stop()
    this.#backEnd.close()
  }

  #offset(ring: number, slot: number): number {
    return (ring * SLOTS + slot) * SLOT_BYTES
  }

  #address(ring: number, slot: number): number {
    return this.#backEnd.buffersAddress + this.#offset(ring, slot)
  }

  #slot(ring: number, slot: number): Uint8Array {
    const offset = this.#offset(ring, slot)
    return this.#backEnd.buffers.subarray(offset, offset + SLOT_BYTES)
  }

  /** A place for a frame. */
  #offer(index: number, slot: number): void {
    const ring = 2 * index
    if (this.connected && this.#backEnd.room(ring) > RING_SIZE - SLOTS) this.#backEnd.add(ring, [], [{ address: this.#address(ring, slot), length: SLOT_BYTES }], slot)
  }

  #used(ring: number, used: readonly Used<number>[]): void {
    const index = ring >> 1
    const pair = this.#pairs[index]
    if (pair === undefined || this.#closed) return
    if (ring % 2 === 1) {
      pair.free.push(...used.map(({ tag }) => tag))
      if (!pair.full) return
      pair.full = false
      this.#peer?.writable(index)
      return
    }
    for (const { tag, written } of used) {
      if (this.#peer === null || written <= NET_HEADER) this.#offer(index, tag)
      else pair.received.push({ slot: tag, length: Math.min(written, SLOT_BYTES) })
    }
    this.#peer?.readable(index)
  }

  #lost(why: string): void {
    if (this.#closed) return
    this.#backEnd.stop()
    for (const pair of this.#pairs) pair.received = []
    if (!this.tryLater(`${this.description} is gone (${why})`)) this.#options.log?.(`netdev ${this.id}: ${this.description} is gone (${why}); the guest sees its cable pulled out`)
    this.#peer?.linkChanged()
    this.#wakeSenders()
  }

  #again(): void {
    try {
      this.connect()
    } catch (error) {
      if (!(error instanceof MesovirtError)) throw error
      this.tryLater(error.message)
      return
    }
    this.#options.log?.(`netdev ${this.id}: ${this.description} is there`)
    this.#peer?.linkChanged()
    this.#wakeSenders()
  }

  #wakeSenders(): void {
    this.#pairs.forEach((pair, index) => {
      pair.full = false
      this.#peer?.writable(index)
    })
  }
}
