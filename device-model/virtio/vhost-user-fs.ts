/**
 * A folder of the host for the guest, served by another process (virtiofsd). OASIS virtio 1.2 section 5.11; the protocol inside is FUSE (Linux, <linux/fuse.h>), of which only
 * headers are looked at here: a back end that is gone has to be answered for. Left out: notifications of the back end, shared memory (DAX).
 */
import type { GuestMemory } from '../../address-space/guest-memory.ts'
import { MesovirtError } from '../../host/errors.ts'
import { GuestErrors } from '../contracts.ts'
import type { Clock, DeviceEvents } from '../contracts.ts'
import { RING_SIZE } from '../vhost/driver-ring.ts'
import type { Place, Used } from '../vhost/driver-ring.ts'
import { guestRegions } from '../vhost/guest-regions.ts'
import { VhostUserBackEnd } from '../vhost/vhost-user.ts'
import { DEVICE_TYPE_FS } from './constants.ts'
import type { Activation, VirtioDevice, VirtioHost } from './device.ts'
import { copyFrom, copyTo } from './queue/chain.ts'
import type { Chain, Segment } from './queue/chain.ts'
import type { VirtQueue } from './queue/queue.ts'

/** struct virtio_fs_config */
export const TAG_BYTES = 36
const REQUEST_QUEUES = TAG_BYTES, CONFIG_BYTES = TAG_BYTES + 4
/** struct fuse_in_header and fuse_out_header */
const IN_OPCODE = 4, IN_UNIQUE = 8, IN_BYTES = 40, OUT_ERROR = 4, OUT_UNIQUE = 8, OUT_BYTES = 16
const FUSE_FORGET = 2, FUSE_INIT = 26, FUSE_BATCH_FORGET = 42
/** What Linux says of a mount whose server is gone: "Transport endpoint is not connected". */
const ENOTCONN = 107
const BETWEEN_ATTEMPTS_NS = 1_000_000_000n

export interface VhostUserFsOptions {
  /** Path of the socket where the back end listens. */
  readonly path: string
  /** What the guest mounts it by: 1 to 36 bytes. */
  readonly tag: string
  readonly requestQueues: number
  readonly queueSize: number
}

export interface VhostUserFsWiring {
  readonly options: VhostUserFsOptions
  readonly memory: GuestMemory
  readonly clock: Clock
  readonly events?: DeviceEvents | undefined
  /** The back end is gone, or there again. */
  readonly onConnection?: ((connected: boolean) => void) | undefined
}

export class VhostUserFs implements VirtioDevice {
  readonly name = 'vhost-user-fs'
  readonly deviceType = DEVICE_TYPE_FS
  readonly features = 0n
  readonly queueSizes: readonly number[]
  readonly config = new Uint8Array(CONFIG_BYTES)
  readonly guestErrors: GuestErrors
  readonly #wiring: VhostUserFsWiring
  readonly #backEnd: VhostUserBackEnd<Chain>
  #host: VirtioHost | undefined
  #queues: readonly (VirtQueue | undefined)[] = []
  /** By queue: a chain for which the back end's ring had no room. */
  readonly #waiting = new Map<number, Chain>()
  /** While the machine stands: what the back end was not done with. */
  #held: ReadonlyMap<number, readonly Chain[]> | undefined
  #nextAttempt = 0n

  /** Connects. @throws MesovirtError VHOST_MEMORY, SOCKET_CONNECT, VHOST_USER, SHARED_MEMORY, FFI_MISSING */
  constructor(wiring: VhostUserFsWiring) {
    this.#wiring = wiring
    const { tag, requestQueues, queueSize, path } = wiring.options
    this.queueSizes = Array.from({ length: 1 + requestQueues }, () => queueSize)
    this.guestErrors = new GuestErrors(this.name, wiring.events)
    this.config.set(Buffer.from(tag).subarray(0, TAG_BYTES))
    new DataView(this.config.buffer).setUint32(REQUEST_QUEUES, requestQueues, true)
    this.#backEnd = new VhostUserBackEnd({
      path, queues: this.queueSizes.length, features: 0n, regions: guestRegions(wiring.memory),
      onUsed: (index, used) => this.#host?.update(() => this.#giveBack(index, used)),
      onLost: (why) => this.#host?.update(() => this.#lost(why)),
    })
    try {
      this.#backEnd.connect()
    } catch (error) {
      this.#backEnd.close()
      throw error
    }
  }

  get connected(): boolean {
    return this.#backEnd.connected
  }

  attach(host: VirtioHost): void {
    this.#host = host
  }

  activate({ queues }: Activation): void {
    this.#queues = queues
    if (!this.#start()) this.#reconnect()
  }

  kick(index: number): void {
    this.#queues[index]?.serve((chain) => this.#submit(index, chain), () => !this.#waiting.has(index))
  }

  stopQueue(): void {
    this.reset()
  }

  reset(): void {
    this.#queues = []
    this.#waiting.clear()
    this.#held = undefined
    this.#backEnd.stop()
  }

  async pause(): Promise<void> {
    this.#held ??= this.#backEnd.stop()
  }

  resume(): void {
    const held = this.#held
    this.#held = undefined
    if (held === undefined || this.#queues.length === 0) return
    this.#start()
    this.#host?.update(() => this.#again(held))
  }

  close(): void {
    this.#backEnd.close()
  }

  /** The back end keeps what there is to know. */
  state(): null {
    return null
  }

  #start(): boolean {
    return this.#backEnd.start(this.#queues.flatMap((queue, index) => queue === undefined ? [] : [index]), 0n)
  }

  /** Chains that were taken from their queues before. */
  #again(held: ReadonlyMap<number, readonly Chain[]>): void {
    for (const [index, chains] of held) {
      const waiting = this.#waiting.get(index)
      this.#waiting.delete(index)
      for (const chain of [...chains, ...waiting === undefined ? [] : [waiting]]) this.#submit(index, chain)
      this.#queues[index]?.notify()
    }
  }

  #submit(index: number, chain: Chain): void {
    const readable = places(chain.readable), writable = places(chain.writable)
    const count = readable.length + writable.length
    if (count === 0 || count > RING_SIZE) {
      this.guestErrors.count('a request of no possible length', `${count} pieces`)
      this.#queues[index]?.push(chain, 0)
    } else if (!this.#backEnd.running && !this.#mayBeginAnew(chain)) {
      this.#answer(index, chain)
    } else if (this.#backEnd.room(index) < count) {
      this.#waiting.set(index, chain)
    } else {
      this.#backEnd.add(index, readable, writable, chain)
    }
  }

  #giveBack(index: number, used: readonly Used<Chain>[]): void {
    const queue = this.#queues[index]
    for (const { tag, written } of used) queue?.push(tag, Math.min(written, tag.writableLength))
    const waiting = this.#waiting.get(index)
    if (waiting !== undefined && this.#backEnd.running) {
      this.#waiting.delete(index)
      this.#submit(index, waiting)
      this.kick(index)
    }
    queue?.notify()
  }

  // Without a back end

  #lost(why: string): void {
    this.#wiring.events?.log(`${this.name}: the back end at ${this.#wiring.options.path} is gone: ${why}; mount ${this.#wiring.options.tag} again once it is back`)
    this.#wiring.onConnection?.(false)
    const left = this.#backEnd.stop()
    if (this.#held !== undefined) return // answered when the machine goes on
    this.#again(left)
    this.#queues.forEach((_, index) => this.kick(index))
  }

  /** A mount begins with FUSE_INIT: the one moment at which a new back end, which knows nothing of open files, is as good as the old one. */
  #mayBeginAnew(chain: Chain): boolean {
    return inHeader(chain).opcode === FUSE_INIT && this.#reconnect()
  }

  #reconnect(): boolean {
    const { clock, events, options, onConnection } = this.#wiring
    if (this.#held !== undefined || clock.now() < this.#nextAttempt) return false
    this.#nextAttempt = clock.now() + BETWEEN_ATTEMPTS_NS
    try {
      this.#backEnd.connect()
    } catch (error) {
      if (!(error instanceof MesovirtError)) throw error
      events?.log(`${this.name}: ${error.message}`)
      return false
    }
    events?.log(`${this.name}: the back end at ${options.path} is there again`)
    onConnection?.(true)
    return this.#start()
  }

  /** As a FUSE server would that has lost its connection. */
  #answer(index: number, chain: Chain): void {
    const { opcode, unique } = inHeader(chain)
    const isAnswered = opcode !== FUSE_FORGET && opcode !== FUSE_BATCH_FORGET && chain.writableLength >= OUT_BYTES
    if (isAnswered) {
      const header = new DataView(new ArrayBuffer(OUT_BYTES))
      header.setUint32(0, OUT_BYTES, true)
      header.setInt32(OUT_ERROR, -ENOTCONN, true)
      header.setBigUint64(OUT_UNIQUE, unique, true)
      copyTo(chain.writable, 0, new Uint8Array(header.buffer))
    }
    this.#queues[index]?.push(chain, isAnswered ? OUT_BYTES : 0)
  }
}

function inHeader(chain: Chain): { readonly opcode: number; readonly unique: bigint } {
  const bytes = new Uint8Array(IN_BYTES)
  copyFrom(chain.readable, 0, bytes)
  const view = new DataView(bytes.buffer)
  return { opcode: view.getUint32(IN_OPCODE, true), unique: view.getBigUint64(IN_UNIQUE, true) }
}

function places(segments: readonly Segment[]): Place[] {
  return segments.flatMap(({ address, bytes }) => bytes.length === 0 ? [] : [{ address, length: bytes.length }])
}
