/**
 * Socket device: streams between programs of the guest and processes of the host. OASIS virtio 1.2 section 5.10. What the host has at its end is a `VsockHostSide`.
 * Left out: sockets with message boundaries (SEQPACKET), and guests that talk to each other.
 */
import type { Duplex } from 'node:stream'
import { GuestErrors } from '../contracts.ts'
import type { Clock, DeviceEvents, Timer } from '../contracts.ts'
import { stateBoolean, stateRecord } from '../state.ts'
import { DEVICE_TYPE_VSOCK } from './constants.ts'
import type { Activation, VirtioDevice, VirtioHost } from './device.ts'
import { copyFrom, copyTo } from './queue/chain.ts'
import type { Chain } from './queue/chain.ts'
import type { VirtQueue } from './queue/queue.ts'
import { BUFFER_BYTES, VsockConnection } from './vsock-connection.ts'
import {
  EVENT_BYTES, EVENT_TRANSPORT_RESET, F_STREAM, formatHeader, HEADER_BYTES, HOST_CID, OP_CREDIT_REQUEST, OP_CREDIT_UPDATE, OP_REQUEST, OP_RESPONSE, OP_RST, OP_RW, OP_SHUTDOWN, parseHeader, TYPE_STREAM,
} from './vsock-packet.ts'
import type { PacketHeader } from './vsock-packet.ts'

const QUEUE_SIZE = 128
const RX = 0, TX = 1, EVENT = 2
const CONFIG_BYTES = 8
export const MOST_CONNECTIONS = 1024
/** Refusals that the guest has not taken yet; with this many no packet of it is looked at. */
const MOST_REFUSALS = 256
/** As Firecracker has it: ports that no program of the host is likely to mean. */
const FIRST_HOST_PORT = 2 ** 30, HOST_PORTS = 2 ** 30
/** A guest that has a driver and nobody to answer is waited for no longer. */
const ANSWER_NS = 10_000_000_000n
const NAME = 'virtio-vsock'

/** A process of the host that wants to talk to the guest. */
export interface VsockCall {
  /** of the guest */
  readonly port: number
  readonly stream: Duplex
  /** The guest has agreed. */
  accepted(hostPort: number): void
}

/** The programs of the host. */
export interface VsockHostSide {
  /** Connects to what serves a port, and calls back in a later turn of the event loop: undefined where nobody does. */
  connect(port: number, done: (stream: Duplex | undefined) => void): void
  onCall(handler: ((call: VsockCall) => void) | null): void
}

export interface VirtioVsockWiring {
  /** 3 to 2^32 - 2 */
  readonly guestCid: number
  /** Not closed by the device. */
  readonly hostSide: VsockHostSide
  readonly clock: Clock
  readonly events?: DeviceEvents | undefined
  /** Calls back in a later turn of the event loop. Default setImmediate. */
  readonly defer?: ((callback: () => void) => void) | undefined
}

export interface VirtioVsockState {
  /** There were connections, of which nothing else is kept: the driver is to be told. */
  readonly interrupted: boolean
}

type Refusal = Pick<PacketHeader, 'sourceCid' | 'sourcePort' | 'targetPort'>

export class VirtioVsock implements VirtioDevice {
  readonly name = NAME
  readonly deviceType = DEVICE_TYPE_VSOCK
  readonly features = F_STREAM
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE]
  readonly config = new Uint8Array(CONFIG_BYTES)
  readonly guestErrors: GuestErrors
  readonly #wiring: VirtioVsockWiring
  readonly #connections = new Map<string, VsockConnection>()
  /** Those that have something for the guest, in the order of their turns. */
  readonly #ready = new Set<VsockConnection>()
  readonly #calls = new Map<VsockConnection, { readonly call: VsockCall; readonly timer: Timer }>()
  #refusals: Refusal[] = []
  /** The transmit queue waits until the guest has taken refusals. */
  #stalled = false
  #host: VirtioHost | undefined
  #queues: readonly (VirtQueue | undefined)[] = []
  #paused = false
  #interrupted: boolean
  #nextHostPort = 0

  constructor(state: VirtioVsockState, wiring: VirtioVsockWiring) {
    this.#wiring = wiring
    this.#interrupted = state.interrupted
    this.guestErrors = new GuestErrors(NAME, wiring.events)
    new DataView(this.config.buffer).setUint32(0, wiring.guestCid, true)
    wiring.hostSide.onCall((call) => this.#update(() => this.#called(call)))
  }

  static create(wiring: VirtioVsockWiring): VirtioVsock {
    return new VirtioVsock({ interrupted: false }, wiring)
  }

  /** Connections do not outlive a saved state. @throws MesovirtError DEVICE_STATE */
  static fromState(state: unknown, wiring: VirtioVsockWiring): VirtioVsock {
    return new VirtioVsock({ interrupted: stateBoolean(NAME, stateRecord(NAME, state), 'interrupted') }, wiring)
  }

  state(): VirtioVsockState {
    return { interrupted: this.#interrupted || this.#connections.size > 0 }
  }

  get connections(): number {
    return this.#connections.size
  }

  attach(host: VirtioHost): void {
    this.#host = host
  }

  activate({ queues }: Activation): void {
    this.#queues = queues
  }

  kick(index: number): void {
    if (index === EVENT) this.#tell()
    else this.#pump()
  }

  stopQueue(): void {
    this.reset()
  }

  reset(): void {
    if (this.#connections.size > 0) this.#interrupted = true
    this.#queues = []
    this.#refusals = []
    this.#stalled = false
    for (const connection of [...this.#connections.values()]) this.#remove(connection)
  }

  async pause(): Promise<void> {
    this.#paused = true
  }

  /** A kick of every queue follows. */
  resume(): void {
    this.#paused = false
  }

  close(): void {
    this.#wiring.hostSide.onCall(null)
    this.reset()
  }

  // The host's side

  #update(change: () => void): void {
    this.#host?.update(change)
  }

  #called(call: VsockCall): void {
    if (this.#queues[RX] === undefined || this.#connections.size >= MOST_CONNECTIONS) return void call.stream.destroy()
    const connection = this.#add(call.port, this.#hostPortFor(call.port))
    const timer = this.#wiring.clock.schedule(this.#wiring.clock.now() + ANSWER_NS, () => this.#update(() => this.#abort(connection)))
    this.#calls.set(connection, { call, timer })
    connection.call(call.stream)
  }

  #hostPortFor(guestPort: number): number {
    for (;;) {
      const port = FIRST_HOST_PORT + this.#nextHostPort
      this.#nextHostPort = (this.#nextHostPort + 1) % HOST_PORTS
      if (!this.#connections.has(keyOf(guestPort, port))) return port
    }
  }

  #add(guestPort: number, hostPort: number): VsockConnection {
    const connection = new VsockConnection(guestPort, hostPort, {
      onWork: (one) => this.#update(() => {
        if (!this.#has(one) || !one.hasWork) return
        this.#ready.add(one)
        this.#receive()
      }),
      onGone: (one, clean) => this.#update(() => {
        if (!this.#has(one)) return
        if (!clean) return this.#abort(one)
        this.#ready.add(one)
        this.#receive()
      }),
    })
    this.#connections.set(keyOf(guestPort, hostPort), connection)
    return connection
  }

  #has(connection: VsockConnection): boolean {
    return this.#connections.get(keyOf(connection.guestPort, connection.hostPort)) === connection
  }

  #remove(connection: VsockConnection): void {
    this.#connections.delete(keyOf(connection.guestPort, connection.hostPort))
    this.#ready.delete(connection)
    this.#calls.get(connection)?.timer.cancel()
    this.#calls.delete(connection)
    connection.release()
  }

  /** Ends a connection that the guest still has. */
  #abort(connection: VsockConnection): void {
    if (!this.#has(connection)) return
    this.#remove(connection)
    this.#refuse({ sourceCid: HOST_CID, sourcePort: connection.hostPort, targetPort: connection.guestPort })
    this.#receive()
  }

  // To the guest

  #refuse(refusal: Refusal): void {
    this.#refusals.push(refusal)
  }

  #pump(): void {
    this.#receive()
    this.#transmit()
    this.#receive()
  }

  #receive(): void {
    const rx = this.#queues[RX]
    rx?.serve((chain) => {
      if (chain.readableLength > 0 || chain.writableLength <= HEADER_BYTES) {
        this.guestErrors.count('a buffer for packets that is too small or cannot be written', `${chain.writableLength} bytes`)
        rx.push(chain, 0)
      } else {
        rx.push(chain, this.#fill(chain))
      }
    }, () => (this.#refusals.length > 0 || this.#ready.size > 0) && !this.#paused && this.#queues[RX] === rx)
  }

  /** @returns bytes written */
  #fill(chain: Chain): number {
    const refusal = this.#refusals.shift()
    if (refusal !== undefined) {
      if (this.#stalled && this.#refusals.length === 0) this.#goOn()
      copyTo(chain.writable, 0, this.#header({ ...refusal, op: OP_RST }))
      return HEADER_BYTES
    }
    for (const connection of this.#ready) {
      // One packet each, in turns.
      this.#ready.delete(connection)
      const packet = connection.next(Math.min(chain.writableLength - HEADER_BYTES, BUFFER_BYTES))
      if (packet === undefined) continue
      const { op, flags, data } = packet
      copyTo(chain.writable, 0, this.#header({ sourcePort: connection.hostPort, targetPort: connection.guestPort, op, flags, length: data.length, bufferBytes: BUFFER_BYTES, forwarded: connection.forwarded }))
      copyTo(chain.writable, HEADER_BYTES, data)
      if (connection.hasWork) this.#ready.add(connection)
      return HEADER_BYTES + data.length
    }
    return 0
  }

  #header(header: Partial<PacketHeader>): Uint8Array {
    return formatHeader({
      sourceCid: HOST_CID, targetCid: this.#wiring.guestCid, sourcePort: 0, targetPort: 0, length: 0, type: TYPE_STREAM, op: 0, flags: 0, bufferBytes: 0, forwarded: 0, ...header,
    })
  }

  /** In a turn of its own, for a guest that makes refusals without end. */
  #goOn(): void {
    this.#stalled = false
    const run = () => this.#update(() => this.#pump())
    if (this.#wiring.defer === undefined) setImmediate(run)
    else this.#wiring.defer(run)
  }

  /** Connections that the driver may have are gone (5.10.6.7). */
  #tell(): void {
    const queue = this.#queues[EVENT]
    queue?.serve((chain) => {
      if (chain.writableLength < EVENT_BYTES) {
        this.guestErrors.count('a buffer too small for an event', `${chain.writableLength} bytes`)
        queue.push(chain, 0)
        return
      }
      const event = new Uint8Array(EVENT_BYTES)
      new DataView(event.buffer).setUint32(0, EVENT_TRANSPORT_RESET, true)
      queue.push(chain, copyTo(chain.writable, 0, event))
      this.#interrupted = false
    }, () => this.#interrupted && !this.#paused && this.#queues[EVENT] === queue)
  }

  // From the guest

  #transmit(): void {
    const tx = this.#queues[TX]
    tx?.serve((chain) => {
      this.#take(chain)
      tx.push(chain, 0)
      this.#stalled = this.#refusals.length >= MOST_REFUSALS
    }, () => !this.#stalled && !this.#paused && this.#queues[TX] === tx)
  }

  #take(chain: Chain): void {
    const bytes = new Uint8Array(HEADER_BYTES)
    if (copyFrom(chain.readable, 0, bytes) < HEADER_BYTES) return this.guestErrors.count('a packet that is cut off', `${chain.readableLength} bytes`)
    const header = parseHeader(bytes)
    if (header.sourceCid !== this.#wiring.guestCid) return this.guestErrors.count('a packet from an address that is not the guest\'s', `${header.sourceCid}`)
    const key = keyOf(header.sourcePort, header.targetPort)
    const connection = header.targetCid === HOST_CID ? this.#connections.get(key) : undefined
    if (this.#handle(header, chain, connection)) {
      if (connection?.hasWork === true && this.#has(connection)) this.#ready.add(connection)
      return
    }
    if (connection !== undefined) this.#remove(connection)
    // A refusal of a refusal would go on for ever.
    if (header.op === OP_RST) return
    this.#refuse({ sourceCid: header.targetCid === Infinity ? HOST_CID : header.targetCid, sourcePort: header.targetPort, targetPort: header.sourcePort })
  }

  /** @returns false where the connection, if there is one, is to be ended, and the guest told so */
  #handle(header: PacketHeader, chain: Chain, connection: VsockConnection | undefined): boolean {
    const { type, op, length } = header
    if (type !== TYPE_STREAM || header.targetCid !== HOST_CID) return false
    if (op === OP_REQUEST) return connection === undefined && this.#requested(header)
    if (connection === undefined) return false
    if (length > chain.readableLength - HEADER_BYTES || (op !== OP_RW && length > 0)) {
      this.guestErrors.count('a packet whose length is not that of its buffer', `${length} bytes`)
      return false
    }
    connection.heard(header)
    const call = this.#calls.get(connection)
    if (op === OP_RESPONSE) return call !== undefined && this.#answered(connection, call)
    if (op === OP_RST || !connection.isOpen) return false
    switch (op) {
      case OP_RW:
        if (connection.take(chain, length)) return true
        this.guestErrors.count('data without credit, or after the end')
        return false
      case OP_CREDIT_UPDATE: return true
      case OP_CREDIT_REQUEST:
        connection.askedForCredit()
        return true
      case OP_SHUTDOWN:
        connection.shutDown(header.flags)
        return !connection.guestIsDone
      default:
        this.guestErrors.count('a packet of an unknown operation', `${op}`)
        return false
    }
  }

  #requested(header: PacketHeader): boolean {
    if (this.#connections.size >= MOST_CONNECTIONS) return false
    const connection = this.#add(header.sourcePort, header.targetPort)
    connection.heard(header)
    this.#wiring.hostSide.connect(header.targetPort, (stream) => this.#update(() => {
      if (!this.#has(connection)) stream?.destroy()
      else if (stream === undefined) this.#abort(connection)
      else connection.connected(stream)
    }))
    return true
  }

  #answered(connection: VsockConnection, { call, timer }: { readonly call: VsockCall; readonly timer: Timer }): boolean {
    timer.cancel()
    this.#calls.delete(connection)
    call.accepted(connection.hostPort)
    connection.answered()
    return true
  }
}

function keyOf(guestPort: number, hostPort: number): string {
  return `${guestPort}:${hostPort}`
}
