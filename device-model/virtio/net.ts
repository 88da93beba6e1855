/**
 * Network card. OASIS virtio 1.2 section 5.1: any number of queue pairs, mergeable buffers, checksums and long segments, filters, link state and announcements by the control
 * queue; left out: RSS, hash reports, notification coalescing, UDP segments. What its backend cannot do with a frame is done here. The backend may come and go.
 */
import { GuestErrors } from '../contracts.ts'
import type { DeviceEvents } from '../contracts.ts'
import type { NetBackend } from '../net/backend.ts'
import { MAX_FRAME } from '../net/backend.ts'
import { MAC_LENGTH } from '../net/mac.ts'
import { HDR_F_DATA_VALID, NET_HEADER, toWire } from '../net/packet.ts'
import { stateBoolean, stateBytes, stateNumber, stateRecord } from '../state.ts'
import { DEVICE_TYPE_NET } from './constants.ts'
import type { Activation, VirtioDevice, VirtioHost } from './device.ts'
import {
  F_CSUM, F_CTRL_GUEST_OFFLOADS, F_CTRL_MAC_ADDR, F_CTRL_RX, F_CTRL_RX_EXTRA, F_CTRL_VLAN, F_CTRL_VQ, F_GUEST_ANNOUNCE, F_GUEST_CSUM, F_GUEST_ECN, F_GUEST_TSO4, F_GUEST_TSO6,
  F_GUEST_UFO, F_HOST_ECN, F_HOST_TSO4, F_HOST_TSO6, F_MAC, F_MQ, F_MRG_RXBUF, F_MTU, F_STATUS, getStatus, GUEST_OFFLOADS, netConfigSpace, S_ANNOUNCE, S_LINK_UP, setMac, setStatus,
} from './net-config.ts'
import { runControl } from './net-control.ts'
import { NetFilter } from './net-filter.ts'
import { copyFrom, copyTo } from './queue/chain.ts'
import type { Chain } from './queue/chain.ts'
import type { VirtQueue } from './queue/queue.ts'

const CONTROL_SIZE = 64
/** Frames, and bytes, that are moved in one direction before others have a turn: about a millisecond. */
const FRAMES_A_TURN = 256, BYTES_A_TURN = 2 ** 20
const SHORTEST_FRAME = 14

export interface NetOptions {
  readonly mac: Uint8Array
  /** 1..16; with more than one the driver may use as many. */
  readonly pairs: number
  readonly rxQueueSize: number
  readonly txQueueSize: number
  readonly mtu?: number | undefined
  readonly checksum: boolean
  readonly guestChecksum: boolean
  /** Long segments from the guest. */
  readonly segmentation: boolean
  /** Long segments to the guest: only where a backend may bring them. */
  readonly guestSegmentation: boolean
  readonly mergeable: boolean
}

export interface NetStatistics {
  rxFrames: number
  rxBytes: number
  rxDropped: number
  txFrames: number
  txBytes: number
  txDropped: number
}

export interface VirtioNetWiring {
  readonly options: NetOptions
  /** Not closed by the device. */
  readonly backend?: NetBackend | undefined
  readonly events?: DeviceEvents | undefined
  /** Calls back in a later turn of the event loop. Default setImmediate. */
  readonly defer?: ((callback: () => void) => void) | undefined
}

export interface VirtioNetState {
  readonly mac: readonly number[]
  readonly linkUp: boolean
  readonly announce: boolean
  readonly pairs: number
  readonly offloads: number
  readonly filter: unknown
}

/** Both queues of a pair, and what is between them and the backend. */
interface Pair {
  readonly index: number
  rx: VirtQueue | undefined
  tx: VirtQueue | undefined
  /** A frame the driver has no room for yet; valid until the backend is asked again. */
  held: Uint8Array | undefined
  /** Buffers taken for it. */
  room: Chain[]
  roomBytes: number
  deferred: boolean
}

export class VirtioNet implements VirtioDevice {
  readonly name = 'virtio-net'
  readonly deviceType = DEVICE_TYPE_NET
  readonly features: bigint
  readonly queueSizes: readonly number[]
  readonly config: Uint8Array
  readonly guestErrors: GuestErrors
  readonly statistics: NetStatistics = { rxFrames: 0, rxBytes: 0, rxDropped: 0, txFrames: 0, txBytes: 0, txDropped: 0 }
  readonly filter = new NetFilter()
  readonly #wiring: VirtioNetWiring
  readonly #pairs: readonly Pair[]
  readonly #packet = new Uint8Array(NET_HEADER + MAX_FRAME)
  readonly #header = new Uint8Array(NET_HEADER)
  #mac: Uint8Array
  /** The card's own, which it has again after a reset. */
  #ownMac: Uint8Array
  #backend: NetBackend | undefined
  #linkUp: boolean
  #host: VirtioHost | undefined
  #control: VirtQueue | undefined
  #controlIndex = 0
  #negotiated = 0n
  #offloads = 0n
  #activePairs = 1
  #paused = false
  /** A state to continue from, until the driver's queues are there. */
  #restored: VirtioNetState | undefined

  constructor(state: VirtioNetState, wiring: VirtioNetWiring) {
    this.#wiring = wiring
    const { options, backend } = wiring
    this.guestErrors = new GuestErrors(this.name, wiring.events)
    this.features = F_MAC | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_RX_EXTRA | F_CTRL_VLAN | F_CTRL_MAC_ADDR | F_GUEST_ANNOUNCE
      | (options.checksum ? F_CSUM : 0n) | (options.guestChecksum ? F_GUEST_CSUM | F_CTRL_GUEST_OFFLOADS : 0n) | (options.mergeable ? F_MRG_RXBUF : 0n)
      | (options.checksum && options.segmentation ? F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN : 0n)
      | (options.guestChecksum && options.guestSegmentation ? F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN : 0n)
      | (options.mtu === undefined ? 0n : F_MTU) | (options.pairs > 1 ? F_MQ : 0n)
    this.queueSizes = [...Array.from({ length: options.pairs }, () => [options.rxQueueSize, options.txQueueSize]).flat(), CONTROL_SIZE]
    this.#pairs = Array.from({ length: options.pairs }, (_, index) => ({ index, rx: undefined, tx: undefined, held: undefined, room: [], roomBytes: 0, deferred: false }))
    this.#mac = Uint8Array.from(state.mac)
    this.#ownMac = options.mac
    this.#linkUp = state.linkUp
    this.config = netConfigSpace(this.#mac, options.pairs, options.mtu)
    this.filter.clear(true, false)
    this.#backend = backend
    setStatus(this.config, (this.#isUp ? S_LINK_UP : 0) | (state.announce ? S_ANNOUNCE : 0))
    this.#attachBackend()
  }

  static create(wiring: VirtioNetWiring): VirtioNet {
    return new VirtioNet({ mac: [...wiring.options.mac], linkUp: true, announce: false, pairs: 1, offloads: 0, filter: undefined }, wiring)
  }

  /** @throws MesovirtError DEVICE_STATE */
  static fromState(state: unknown, wiring: VirtioNetWiring): VirtioNet {
    const record = stateRecord('virtio-net', state)
    new NetFilter().restore(record['filter'])
    const mac = stateBytes('virtio-net', record, 'mac', MAC_LENGTH)
    const restored: VirtioNetState = {
      mac: mac.length === MAC_LENGTH ? mac : [...wiring.options.mac], linkUp: stateBoolean('virtio-net', record, 'linkUp'), announce: stateBoolean('virtio-net', record, 'announce'),
      pairs: Math.max(1, stateNumber('virtio-net', record, 'pairs', wiring.options.pairs)), offloads: stateNumber('virtio-net', record, 'offloads', Number(GUEST_OFFLOADS)),
      filter: record['filter'],
    }
    const device = new VirtioNet(restored, wiring)
    device.#restored = restored
    return device
  }

  state(): VirtioNetState {
    if (this.#restored !== undefined) return this.#restored
    return {
      mac: [...this.#mac], linkUp: this.#linkUp, announce: (getStatus(this.config) & S_ANNOUNCE) !== 0, pairs: this.#activePairs, offloads: Number(this.#offloads),
      filter: this.filter.state(),
    }
  }

  get mac(): Uint8Array {
    return this.#mac
  }

  get backend(): NetBackend | undefined {
    return this.#backend
  }

  get options(): NetOptions {
    return this.#wiring.options
  }

  get linkUp(): boolean {
    return this.#linkUp
  }

  attach(host: VirtioHost): void {
    this.#host = host
  }

  activate({ queues, features }: Activation): void {
    this.#negotiated = features
    this.#controlIndex = (features & F_MQ) !== 0n ? this.#pairs.length * 2 : 2
    this.#control = (features & F_CTRL_VQ) !== 0n ? queues[this.#controlIndex] : undefined
    for (const pair of this.#pairs) {
      const isThere = pair.index === 0 || (features & F_MQ) !== 0n
      pair.rx = isThere ? queues[pair.index * 2] : undefined
      pair.tx = isThere ? queues[pair.index * 2 + 1] : undefined
    }
    this.filter.clear((features & F_CTRL_RX) === 0n, (features & F_CTRL_VLAN) !== 0n)
    this.#offloads = features & GUEST_OFFLOADS
    const restored = this.#restored
    this.#restored = undefined
    if (restored !== undefined) {
      this.filter.restore(restored.filter)
      this.#offloads &= BigInt(restored.offloads)
    }
    this.#setPairs(restored?.pairs ?? 1)
    this.#tellOffloads()
  }

  kick(index: number): void {
    if (index === this.#controlIndex && this.#control !== undefined) {
      this.#control.serve((chain) => this.#command(chain), () => !this.#paused)
      return
    }
    const pair = this.#pairs[index >> 1]
    if (pair === undefined) return
    if ((index & 1) === 0) this.#receive(pair)
    else this.#transmit(pair)
  }

  stopQueue(index: number): void {
    if (index === this.#controlIndex && this.#control !== undefined) {
      this.#control = undefined
      return
    }
    const pair = this.#pairs[index >> 1]
    if (pair === undefined) return
    if ((index & 1) === 1) pair.tx = undefined
    else closeReceiver(pair)
  }

  /** What the driver set is forgotten: the address too, as a driver that comes next has to find the card's own. */
  reset(): void {
    for (const pair of this.#pairs) {
      closeReceiver(pair)
      pair.tx = undefined
    }
    this.#control = undefined
    this.#negotiated = this.#offloads = 0n
    this.#restored = undefined
    this.filter.clear(true, false)
    this.#mac = this.#ownMac
    setMac(this.config, this.#mac)
    setStatus(this.config, this.#isUp ? S_LINK_UP : 0)
    this.#setPairs(1)
    this.#tellOffloads()
  }

  async pause(): Promise<void> {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
  }

  /** The cable is plugged in or pulled out. Without one frames of both directions are lost. */
  setLink(up: boolean): void {
    this.#linkUp = up
    this.#linkChanged()
  }

  /** Another backend, or none. @param mac of the card from now on; the driver of a running guest keeps the one it has read */
  changeBackend(backend: NetBackend | undefined, mac: Uint8Array = this.#ownMac): void {
    this.#backend?.attach(null)
    for (const pair of this.#pairs) pair.held = undefined
    this.#backend = backend
    this.#mac = this.#ownMac = mac
    this.#host?.update(() => setMac(this.config, mac))
    this.#attachBackend()
    this.#tellOffloads()
    this.#backend?.setQueues?.(this.#activePairs)
    this.#linkChanged()
    for (const pair of this.#pairs) this.#host?.update(() => this.#transmit(pair))
  }

  // What the control queue asks for

  setMac(address: Uint8Array): void {
    this.#mac = address
    setMac(this.config, address)
  }

  acknowledgeAnnouncement(): void {
    setStatus(this.config, getStatus(this.config) & ~S_ANNOUNCE)
  }

  setPairs(count: number): boolean {
    if ((this.#negotiated & F_MQ) === 0n || count < 1 || count > this.#pairs.length) return false
    this.#setPairs(count)
    for (const pair of this.#pairs) this.#receive(pair)
    return true
  }

  setOffloads(offloads: bigint): boolean {
    if ((offloads & ~(this.#negotiated & GUEST_OFFLOADS)) !== 0n) return false
    this.#offloads = offloads
    this.#tellOffloads()
    return true
  }

  // Link

  get #isUp(): boolean {
    return this.#linkUp && this.#backend?.connected === true
  }

  #attachBackend(): void {
    this.#backend?.attach({
      readable: (queue) => this.#later(queue, (pair) => this.#receive(pair)),
      writable: (queue) => this.#later(queue, (pair) => this.#transmit(pair)),
      linkChanged: () => this.#linkChanged(),
    })
  }

  #later(queue: number, act: (pair: Pair) => void): void {
    const pair = this.#pairs[queue]
    if (pair !== undefined) this.#host?.update(() => act(pair))
  }

  /** A card that comes back says where it is: others may have learnt another place meanwhile. */
  #linkChanged(): void {
    this.#host?.update(() => {
      const before = getStatus(this.config)
      const isUp = this.#isUp
      if (isUp === ((before & S_LINK_UP) !== 0)) return
      const announces = isUp && (this.#negotiated & F_GUEST_ANNOUNCE) !== 0n && this.#control !== undefined
      setStatus(this.config, (isUp ? S_LINK_UP : 0) | (announces ? S_ANNOUNCE : 0))
      this.#host?.configChanged()
      for (const pair of this.#pairs) {
        this.#receive(pair)
        this.#transmit(pair)
      }
    })
  }

  #setPairs(count: number): void {
    this.#activePairs = count
    this.#backend?.setQueues?.(count)
  }

  #tellOffloads(): void {
    const has = (bit: bigint) => (this.#offloads & bit) !== 0n
    this.#backend?.setOffloads?.({ checksum: has(F_GUEST_CSUM), tso4: has(F_GUEST_TSO4), tso6: has(F_GUEST_TSO6), ecn: has(F_GUEST_ECN), ufo: has(F_GUEST_UFO) })
  }

  // To the guest

  #receive(pair: Pair): void {
    const { rx } = pair
    if (this.#paused || pair.deferred) return
    // A card nobody drives has no memory for frames: they are gone, as those that come while the computer is off.
    if (rx === undefined) return this.#discard(pair)
    const turn = { frames: 0, bytes: 0 }
    rx.serve((chain) => {
      pair.room.push(chain)
      pair.roomBytes += chain.writableLength
    }, () => this.#needsRoom(pair, rx, turn))
  }

  /** Hands over frames while there is room. @returns whether one waits for more */
  #needsRoom(pair: Pair, rx: VirtQueue, turn: { frames: number; bytes: number }): boolean {
    if (this.#paused || pair.rx !== rx) return false
    for (;;) {
      if (pair.held === undefined) {
        if (turn.frames >= FRAMES_A_TURN || turn.bytes >= BYTES_A_TURN) {
          this.#continue(pair)
          return false
        }
        pair.held = this.#next(pair)
        if (pair.held === undefined) return false
        turn.frames++
        turn.bytes += pair.held.length
      }
      if (!this.#deliver(pair, rx, pair.held)) return true
      pair.held = undefined
    }
  }

  /** The next frame that the card takes, without its header if it has none. */
  #next(pair: Pair): Uint8Array | undefined {
    const backend = this.#backend
    const headerLength = backend?.hasHeader === true ? NET_HEADER : 0
    for (let looked = 0; looked < FRAMES_A_TURN; looked++) {
      const packet = backend?.take(pair.index)
      if (packet === undefined) return undefined
      const length = packet.length - headerLength
      const frame = headerLength === 0 ? packet : packet.subarray(headerLength)
      if (this.#isUp && length >= SHORTEST_FRAME && length <= MAX_FRAME && this.filter.accepts(frame, this.#mac)) return packet
      if (!this.#isUp || length < SHORTEST_FRAME || length > MAX_FRAME) this.statistics.rxDropped++
    }
    this.#continue(pair)
    return undefined
  }

  #discard(pair: Pair): void {
    for (let looked = 0; looked < FRAMES_A_TURN; looked++) {
      if (this.#backend?.take(pair.index) === undefined) return
      this.statistics.rxDropped++
    }
    this.#continue(pair)
  }

  #continue(pair: Pair): void {
    if (pair.deferred) return
    pair.deferred = true
    const run = () => this.#host?.update(() => {
      pair.deferred = false
      this.#receive(pair)
      this.#transmit(pair)
    })
    if (this.#wiring.defer === undefined) setImmediate(run)
    else this.#wiring.defer(run)
  }

  /** @returns false where the driver has to give more room first */
  #deliver(pair: Pair, rx: VirtQueue, packet: Uint8Array): boolean {
    const backend = this.#backend
    const hasHeader = backend?.hasHeader === true
    const frame = hasHeader ? packet.subarray(NET_HEADER) : packet
    const need = NET_HEADER + frame.length
    const merges = (this.#negotiated & F_MRG_RXBUF) !== 0n
    if (!merges) return this.#deliverWhole(pair, rx, packet, frame)
    if (pair.roomBytes < need) {
      if (pair.room.length < rx.size) return false
      this.statistics.rxDropped++
      this.guestErrors.count('all buffers of a queue together have no room for one frame')
      return true
    }
    let at = 0
    const used: { readonly chain: Chain; readonly length: number }[] = []
    this.#makeHeader(packet, hasHeader)
    while (at < need) {
      const chain = pair.room.shift()
      if (chain === undefined) break
      pair.roomBytes -= chain.writableLength
      const length = Math.min(chain.writableLength, need - at)
      this.#fill(chain, frame, at, length)
      at += length
      if (length === 0) this.guestErrors.count('a buffer for frames that cannot be written')
      used.push({ chain, length })
    }
    const first = used[0]?.chain
    if (first !== undefined) copyTo(first.writable, 10, Uint8Array.of(used.length & 0xff, used.length >> 8))
    for (const { chain, length } of used) rx.push(chain, length)
    this.#count(frame)
    return true
  }

  /** Without mergeable buffers a frame has one buffer, which must be large enough (5.1.6.3.1). */
  #deliverWhole(pair: Pair, rx: VirtQueue, packet: Uint8Array, frame: Uint8Array): boolean {
    const chain = pair.room[0]
    if (chain === undefined) return false
    if (chain.writableLength < NET_HEADER + frame.length) {
      this.statistics.rxDropped++
      this.guestErrors.count('a buffer too small for a frame', `${chain.writableLength} bytes`)
      if (chain.writableLength >= NET_HEADER + SHORTEST_FRAME) return true
      // Nothing will ever fit into it: the next one may be better.
      pair.room.shift()
      pair.roomBytes -= chain.writableLength
      rx.push(chain, 0)
      return true
    }
    pair.room.shift()
    pair.roomBytes -= chain.writableLength
    this.#makeHeader(packet, packet !== frame)
    this.#header[10] = 1
    this.#fill(chain, frame, 0, NET_HEADER + frame.length)
    rx.push(chain, NET_HEADER + frame.length)
    this.#count(frame)
    return true
  }

  /** What a backend says beyond what was negotiated is its own. */
  #makeHeader(packet: Uint8Array, hasHeader: boolean): void {
    this.#header.fill(0)
    if (hasHeader) this.#header.set(packet.subarray(0, NET_HEADER - 2))
    else if (this.#backend?.trusted === true && (this.#offloads & F_GUEST_CSUM) !== 0n) this.#header[0] = HDR_F_DATA_VALID
  }

  /** Bytes from `at` on of header and frame, as one run. */
  #fill(chain: Chain, frame: Uint8Array, at: number, length: number): void {
    const fromHeader = Math.max(0, Math.min(length, NET_HEADER - at))
    if (fromHeader > 0) copyTo(chain.writable, 0, this.#header.subarray(at, at + fromHeader))
    if (length > fromHeader) copyTo(chain.writable, fromHeader, frame.subarray(at + fromHeader - NET_HEADER, at + length - NET_HEADER))
  }

  #count(frame: Uint8Array): void {
    this.statistics.rxFrames++
    this.statistics.rxBytes += frame.length
  }

  // From the guest

  #transmit(pair: Pair): void {
    const { tx } = pair
    if (tx === undefined || this.#paused) return
    const turn = { frames: 0, bytes: 0 }
    tx.serve((chain) => this.#send(pair, tx, chain, turn), () => {
      if (this.#paused || pair.tx !== tx) return false
      if (turn.frames >= FRAMES_A_TURN || turn.bytes >= BYTES_A_TURN) {
        this.#continue(pair)
        return false
      }
      return !this.#isUp || this.#backend?.ready(pair.index) !== false
    })
    this.#backend?.commit(pair.index)
  }

  #send(pair: Pair, tx: VirtQueue, chain: Chain, turn: { frames: number; bytes: number }): void {
    const length = chain.readableLength
    const backend = this.#backend
    turn.frames++
    turn.bytes += length
    if (length < NET_HEADER + SHORTEST_FRAME || length > this.#packet.length || chain.writableLength > 0) {
      this.guestErrors.count('a frame of impossible length', `${length} bytes`)
      this.statistics.txDropped++
    } else if (backend === undefined || !this.#isUp) this.statistics.txDropped++
    else {
      const packet = this.#packet.subarray(0, length)
      copyFrom(chain.readable, 0, packet)
      this.#sendPacket(backend, packet, pair.index)
    }
    tx.push(chain, 0)
  }

  #sendPacket(backend: NetBackend, packet: Uint8Array, queue: number): void {
    const { statistics } = this
    // A driver that negotiated none of it may leave anything there.
    if ((this.#negotiated & F_CSUM) === 0n) packet.fill(0, 0, NET_HEADER)
    if (backend.hasHeader) backend.send(packet, queue)
    else if (!toWire(packet, (frame) => backend.send(frame, queue))) {
      this.guestErrors.count('a frame whose header asks for what cannot be')
      statistics.txDropped++
      return
    }
    statistics.txFrames++
    statistics.txBytes += packet.length - NET_HEADER
  }

  // Control queue

  #command(chain: Chain): void {
    const written = runControl(chain, this.#negotiated, this)
    if (written === 0) this.guestErrors.count('a command without room for its answer')
    this.#control?.push(chain, written)
  }
}

function closeReceiver(pair: Pair): void {
  pair.rx = undefined
  pair.room = []
  pair.roomBytes = 0
}
