/**
 * A vhost-user back end: connection, negotiation, memory and rings. QEMU's docs/interop/vhost-user.rst. The rings are not the guest's: they lie in memory of our own, where
 * what is in flight is known whatever becomes of the back end, and where every buffer it has filled passes by us (the software CPU must forget code that was there). Left
 * out: the back end's own requests, in-flight buffers, migration, IOMMU.
 */
import { EventFd } from '../../host/eventfd.ts'
import { MesovirtError } from '../../host/errors.ts'
import { watchFd } from '../../host/fd-watch.ts'
import type { FdWatch } from '../../host/fd-watch.ts'
import { SharedMemory } from '../../host/shared-memory.ts'
import { F_VERSION_1 } from '../virtio/constants.ts'
import { VhostChannel } from './channel.ts'
import { DriverRing, RING_BYTES, RING_PARTS, RING_SIZE } from './driver-ring.ts'
import type { Place, Used } from './driver-ring.ts'
import { USER_OFFSET } from './guest-regions.ts'
import { F_PROTOCOL_FEATURES, memoryTable, MOST_REGIONS, P_MQ, P_REPLY_ACK, REQUESTS, u64, vringAddresses, vringState } from './messages.ts'
import type { MemoryRegion } from './messages.ts'

const PAGE = 4096
/** Where our own memory lies for the back end: above all RAM. */
export const OWN_ADDRESS = 2 ** 44

export interface VhostUserWiring<T> {
  readonly path: string
  /** Rings that the device needs. */
  readonly queues: number
  /** ... as the back end counts them: those of a network card in pairs. Default `queues`. */
  readonly counted?: number | undefined
  /** Device features that its user can do with. */
  readonly features: bigint
  /** Memory beside our own that buffers lie in. */
  readonly regions: readonly MemoryRegion[]
  /** Bytes of shared memory besides the rings, for buffers: `buffers`, from the address `buffersAddress` on. */
  readonly bufferBytes?: number | undefined
  /** A ring has buffers that the back end is done with. */
  readonly onUsed: (queue: number, used: Used<T>[]) => void
  /** The back end is gone or breaks the rules; nothing of it touches memory of ours that it does not have already. Not called for `connect` and `close`. */
  readonly onLost: (why: string) => void
}

interface Ring<T> {
  readonly ring: DriverRing<T>
  readonly kick: EventFd
  readonly call: EventFd
  readonly watch: FdWatch
}

export class VhostUserBackEnd<T> {
  readonly #wiring: VhostUserWiring<T>
  readonly #memory: SharedMemory
  readonly #rings: readonly Ring<T>[]
  readonly buffers: Uint8Array
  readonly buffersAddress: number
  #channel: VhostChannel | undefined
  #features = 0n
  /** Queue numbers that run now. */
  #running: readonly number[] = []
  /** Rings with something new for the back end, until the end of the present task. */
  readonly #dirty = new Set<number>()

  /** @throws MesovirtError SHARED_MEMORY, FFI_MISSING, SYSTEM_CALL */
  constructor(wiring: VhostUserWiring<T>) {
    this.#wiring = wiring
    if (wiring.regions.length >= MOST_REGIONS) throw new MesovirtError('VHOST_USER', `guest memory in ${wiring.regions.length} pieces; a back end takes ${MOST_REGIONS - 1}`)
    const ringBytes = wiring.queues * RING_BYTES
    const size = Math.ceil((ringBytes + (wiring.bufferBytes ?? 0)) / PAGE) * PAGE
    this.#memory = new SharedMemory('mesovirt-vhost', size)
    this.buffers = this.#memory.bytes.subarray(ringBytes, ringBytes + (wiring.bufferBytes ?? 0))
    this.buffersAddress = OWN_ADDRESS + ringBytes
    this.#rings = Array.from({ length: wiring.queues }, (_, index) => {
      const call = new EventFd()
      const watch = watchFd(call.fd, () => { if (call.drain()) this.#collect(index) })
      watch.unref()
      return { ring: new DriverRing<T>(this.#memory.bytes.subarray(index * RING_BYTES, (index + 1) * RING_BYTES)), kick: new EventFd(), call, watch }
    })
  }

  get connected(): boolean {
    return this.#channel?.open === true
  }

  get running(): boolean {
    return this.#running.length > 0
  }

  /** Features that both sides can do with. */
  get features(): bigint {
    return this.#features & this.#wiring.features
  }

  /**
   * Connects, or connects again, and negotiates. Its rings do not run.
   * @throws MesovirtError SOCKET_CONNECT, VHOST_USER: the same back end may be tried again
   */
  connect(): void {
    const { path, queues, counted = queues, features } = this.#wiring
    this.#channel?.close()
    const late: { why?: string; done?: boolean } = {}
    const channel = new VhostChannel(path, (why) => {
      late.why = why
      if (late.done === true) this.#lost(why)
    })
    const fail = (why: string) => {
      channel.close()
      return new MesovirtError('VHOST_USER', `${path}: ${late.why ?? why}; look at what listens there`)
    }
    const offered = channel.ask(REQUESTS.getFeatures)
    if (offered === undefined) throw fail('no answer')
    if ((offered & F_VERSION_1) === 0n) throw fail('it knows only the legacy interface of virtio')
    if ((offered & F_PROTOCOL_FEATURES) === 0n) throw fail('it cannot be asked for its features')
    channel.tell(REQUESTS.setOwner)
    const protocol = (channel.ask(REQUESTS.getProtocolFeatures) ?? 0n) & (P_MQ | P_REPLY_ACK)
    channel.tell(REQUESTS.setProtocolFeatures, u64(protocol))
    if ((protocol & P_REPLY_ACK) !== 0n) channel.useAcknowledgements()
    if ((protocol & P_MQ) !== 0n) {
      const most = channel.ask(REQUESTS.getQueueNum) ?? 0n
      if (most < BigInt(counted) && channel.open) throw fail(`it has ${most} queues, and ${counted} are needed`)
    }
    // Features of a device that is there already: a back end that comes back must not have fewer.
    const before = this.features
    if ((before & ~offered) !== 0n) throw fail(`it lacks features that the guest uses (0x${(before & ~offered).toString(16)})`)
    if (!channel.open) throw fail('the connection was closed')
    late.done = true
    if (before === 0n) this.#features = offered & features
    this.#channel = channel
  }

  /**
   * Runs rings, empty ones.
   * @param queues their numbers
   * @param features what the driver accepted of `features`
   * @returns false where the back end is lost; `onLost` tells of it
   */
  start(queues: readonly number[], features: bigint): boolean {
    const channel = this.#channel
    if (channel === undefined || !channel.open || this.running) return false
    channel.tell(REQUESTS.setFeatures, u64((features & this.features) | F_VERSION_1 | F_PROTOCOL_FEATURES))
    const own = { guestAddress: OWN_ADDRESS, size: this.#memory.bytes.length, userAddress: OWN_ADDRESS + USER_OFFSET, fd: this.#memory.fd, fdOffset: 0 }
    const regions = [...this.#wiring.regions, own]
    channel.tell(REQUESTS.setMemTable, memoryTable(regions), { fds: regions.map(({ fd }) => fd), obeyed: true })
    for (const index of queues) this.#startRing(channel, index)
    for (const index of queues) channel.tell(REQUESTS.setVringEnable, vringState(index, 1), { obeyed: true })
    if (channel.open) this.#running = [...queues]
    return channel.open
  }

  #startRing(channel: VhostChannel, index: number): void {
    const { ring, kick, call } = this.#ring(index)
    ring.reset()
    kick.drain()
    call.drain()
    const user = OWN_ADDRESS + USER_OFFSET + index * RING_BYTES
    channel.tell(REQUESTS.setVringNum, vringState(index, RING_SIZE))
    channel.tell(REQUESTS.setVringBase, vringState(index, 0))
    channel.tell(REQUESTS.setVringAddr, vringAddresses(index, {
      descriptors: user + RING_PARTS.descriptors, used: user + RING_PARTS.used, available: user + RING_PARTS.available,
    }))
    channel.tell(REQUESTS.setVringCall, u64(BigInt(index)), { fds: [call.fd] })
    channel.tell(REQUESTS.setVringKick, u64(BigInt(index)), { fds: [kick.fd] })
  }

  /**
   * Stops the rings: when this returns the back end touches no buffer any more, unless it is lost. What it was done with was given to `onUsed` before.
   * @returns what it was not done with, by ring and in order
   */
  stop(): ReadonlyMap<number, T[]> {
    const running = this.#running
    const channel = this.#channel
    this.#running = []
    this.#dirty.clear()
    for (const index of running) {
      channel?.tell(REQUESTS.setVringEnable, vringState(index, 0))
      channel?.askState(REQUESTS.getVringBase, vringState(index, 0))
    }
    return new Map(running.map((index) => {
      const { ring } = this.#ring(index)
      const used = ring.takeUsed() ?? []
      if (used.length > 0) this.#wiring.onUsed(index, used)
      return [index, ring.tags]
    }))
  }

  /** Descriptors that a ring has room for. */
  room(queue: number): number {
    return this.running ? this.#ring(queue).ring.room : 0
  }

  /** Hands a chain to the back end; it is told at the end of the present task. There must be room for it. */
  add(queue: number, readable: readonly Place[], writable: readonly Place[], tag: T): void {
    this.#ring(queue).ring.add(readable, writable, tag)
    if (this.#dirty.size === 0) queueMicrotask(() => this.#tell())
    this.#dirty.add(queue)
  }

  close(): void {
    this.#running = []
    this.#channel?.close()
    for (const { kick, call, watch } of this.#rings) {
      watch.close()
      kick.close()
      call.close()
    }
    this.#memory.close()
  }

  #ring(index: number): Ring<T> {
    return this.#rings[index] as Ring<T>
  }

  #tell(): void {
    for (const index of this.#dirty) {
      const { ring, kick } = this.#ring(index)
      if (ring.takeNotification()) kick.signal()
    }
    this.#dirty.clear()
  }

  #collect(index: number): void {
    if (!this.#running.includes(index)) return
    const used = this.#ring(index).ring.takeUsed()
    if (used === undefined) {
      this.#channel?.close()
      this.#lost('it gave back a buffer that it does not have')
    } else if (used.length > 0) {
      this.#wiring.onUsed(index, used)
    }
  }

  /** In a later task: it may be found out in the middle of anything. */
  #lost(why: string): void {
    setImmediate(() => this.#wiring.onLost(why))
  }
}
