/**
 * One connection between a guest and a process of the host: what waits in both directions, credit (virtio 1.2 section 5.10.6.3), and how it ends. The stream is read no
 * faster than the guest has room, and the guest may send no more than the stream has taken.
 */
import type { Duplex } from 'node:stream'
import { copyFrom } from './queue/chain.ts'
import type { Chain } from './queue/chain.ts'
import {
  HEADER_BYTES, OP_CREDIT_REQUEST, OP_CREDIT_UPDATE, OP_REQUEST, OP_RESPONSE, OP_RW, OP_SHUTDOWN, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND,
} from './vsock-packet.ts'
import type { PacketHeader } from './vsock-packet.ts'

/** What a guest may have under way to a process that does not read. */
export const BUFFER_BYTES = 128 * 1024
/** The guest hears of new room in steps of at least this. */
const CREDIT_STEP = BUFFER_BYTES / 4
const FIRST_STAGE_BYTES = 4096
const NOTHING = Buffer.alloc(0)

/** What a connection has for the guest. */
export interface OutgoingPacket {
  readonly op: number
  readonly flags: number
  readonly data: Uint8Array
}

export interface ConnectionWiring {
  /** Something may be there for the guest. Called in any turn of the event loop. */
  readonly onWork: (connection: VsockConnection) => void
  /** The stream is gone: `clean` where both sides had said that they were done. */
  readonly onGone: (connection: VsockConnection, clean: boolean) => void
}

export class VsockConnection {
  readonly guestPort: number
  readonly hostPort: number
  readonly #wiring: ConnectionWiring
  #stream: Duplex | undefined
  /** The other side has agreed. */
  #open = false
  // To the guest
  #due: number | undefined
  #creditDue = false
  /** The guest was asked for credit since it last said anything. */
  #asked = false
  #guestRoom = 0
  #guestForwarded = 0
  #sent = 0
  /** Flags of SHUTDOWN to send, and those that were sent. */
  #shutdown = 0
  #shutdownSent = 0
  // From the guest
  #received = 0
  #told = 0
  #stage = NOTHING
  #staged = 0
  #writing = 0
  #guestShutdown = 0

  constructor(guestPort: number, hostPort: number, wiring: ConnectionWiring) {
    this.guestPort = guestPort
    this.hostPort = hostPort
    this.#wiring = wiring
  }

  get isOpen(): boolean {
    return this.#open
  }

  /** The guest has said that it will neither send nor receive any more. */
  get guestIsDone(): boolean {
    return this.#guestShutdown === SHUTDOWN_BOTH
  }

  /** How much of what came has been passed on, modulo 2^32. */
  get forwarded(): number {
    return (this.#received - this.#staged - this.#writing) >>> 0
  }

  // Opening

  /** A process asks the guest; `answer` follows. */
  call(stream: Duplex): void {
    this.#attach(stream)
    this.#due = OP_REQUEST
    this.#wiring.onWork(this)
  }

  /** The guest has agreed. */
  answered(): void {
    this.#open = true
    this.#wiring.onWork(this)
  }

  /** The process that the guest asked for is there. */
  connected(stream: Duplex): void {
    this.#attach(stream)
    this.#due = OP_RESPONSE
    this.#open = true
    this.#wiring.onWork(this)
  }

  #attach(stream: Duplex): void {
    this.#stream = stream
    let ended = false
    stream.allowHalfOpen = true
    stream.on('error', () => undefined)
    stream.on('readable', () => {
      // The end is told to those who read on.
      if (stream.readableLength === 0) stream.read(0)
      this.#wiring.onWork(this)
    })
    stream.once('end', () => {
      ended = true
      this.#shutdown |= SHUTDOWN_SEND
      this.#wiring.onWork(this)
    })
    stream.once('close', () => {
      if (this.#stream !== stream) return
      this.#stream = undefined
      this.#staged = this.#writing = 0
      this.#shutdown = SHUTDOWN_BOTH
      this.#wiring.onGone(this, ended && (this.#guestShutdown & SHUTDOWN_SEND) !== 0)
    })
  }

  // To the guest

  /** What is to be told next, and is taken as told. @param room bytes of data that the buffer has room for */
  next(room: number): OutgoingPacket | undefined {
    const packet = this.#choose(room)
    if (packet !== undefined) {
      this.#told = this.forwarded
      this.#creditDue = false
    }
    return packet
  }

  get hasWork(): boolean {
    if (this.#due !== undefined || this.#creditDue) return true
    if (!this.#open) return false
    if (this.#readable > 0) return this.#credit > 0 || !this.#asked
    return (this.#shutdown & ~this.#shutdownSent) !== 0
  }

  #choose(room: number): OutgoingPacket | undefined {
    if (this.#due !== undefined) {
      const op = this.#due
      this.#due = undefined
      return { op, flags: 0, data: NOTHING }
    }
    if (this.#open) {
      if (this.#readable > 0) {
        if (this.#credit > 0) return this.#read(room)
        if (!this.#asked) {
          this.#asked = true
          return { op: OP_CREDIT_REQUEST, flags: 0, data: NOTHING }
        }
      } else if ((this.#shutdown & ~this.#shutdownSent) !== 0) {
        this.#shutdownSent |= this.#shutdown
        return { op: OP_SHUTDOWN, flags: this.#shutdownSent, data: NOTHING }
      }
    }
    return this.#creditDue ? { op: OP_CREDIT_UPDATE, flags: 0, data: NOTHING } : undefined
  }

  #read(room: number): OutgoingPacket | undefined {
    const data = this.#stream?.read(Math.min(room, this.#credit, this.#readable)) as Uint8Array | null | undefined
    if (data === null || data === undefined || data.length === 0) return undefined
    // With nothing left the end, if it is there, shows itself only to who asks again.
    if (this.#readable === 0) this.#stream?.read(0)
    this.#sent = (this.#sent + data.length) >>> 0
    return { op: OP_RW, flags: 0, data }
  }

  /** Bytes that have come and that the guest does not have yet. */
  get #readable(): number {
    return (this.#guestShutdown & SHUTDOWN_RECEIVE) !== 0 ? 0 : this.#stream?.readableLength ?? 0
  }

  /** Bytes that the guest has room for. A guest that says nonsense has none. */
  get #credit(): number {
    const underWay = (this.#sent - this.#guestForwarded) >>> 0
    return underWay > this.#guestRoom ? 0 : this.#guestRoom - underWay
  }

  // From the guest

  /** Every packet says what room there is. */
  heard({ bufferBytes, forwarded }: PacketHeader): void {
    this.#guestRoom = bufferBytes
    this.#guestForwarded = forwarded
    this.#asked = false
  }

  askedForCredit(): void {
    this.#creditDue = true
  }

  /** Takes the data of a packet. @returns false where the guest had no credit for it, or had said that it was done */
  take(chain: Chain, length: number): boolean {
    const pending = this.#staged + this.#writing
    if (pending + length > BUFFER_BYTES || (this.#guestShutdown & SHUTDOWN_SEND) !== 0) return false
    this.#received = (this.#received + length) >>> 0
    // A process that is gone: its end is on its way to the guest.
    if (this.#stream === undefined || length === 0) return true
    if (this.#staged + length > this.#stage.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(BUFFER_BYTES, Math.max(2 * this.#stage.length, this.#staged + length, FIRST_STAGE_BYTES)))
      larger.set(this.#stage.subarray(0, this.#staged))
      this.#stage = larger
    }
    copyFrom(chain.readable, HEADER_BYTES, this.#stage.subarray(this.#staged, this.#staged + length))
    this.#staged += length
    this.#write()
    return true
  }

  /** One write is under way at a time: what comes meanwhile becomes one, however small the packets are. */
  #write(): void {
    const stream = this.#stream
    if (stream === undefined || this.#writing > 0 || this.#staged === 0) return
    const bytes = this.#stage.subarray(0, this.#staged)
    this.#writing = this.#staged
    this.#stage = NOTHING
    this.#staged = 0
    stream.write(bytes, (error) => {
      if (error !== null && error !== undefined) return // it closes
      this.#writing = 0
      if (this.#staged > 0) this.#write()
      else if ((this.#guestShutdown & SHUTDOWN_SEND) !== 0) stream.end()
      if (this.#stream !== stream || ((this.forwarded - this.#told) >>> 0) < CREDIT_STEP) return
      this.#creditDue = true
      this.#wiring.onWork(this)
    })
  }

  /** @param flags of the guest's SHUTDOWN; they add up */
  shutDown(flags: number): void {
    this.#guestShutdown |= flags & SHUTDOWN_BOTH
    if ((this.#guestShutdown & SHUTDOWN_SEND) !== 0 && this.#writing === 0) this.#stream?.end()
    // Nobody wants what the process may still say.
    if ((this.#guestShutdown & SHUTDOWN_RECEIVE) !== 0) this.#discard()
  }

  #discard(): void {
    const stream = this.#stream
    if (stream === undefined) return
    stream.removeAllListeners('readable')
    stream.resume()
  }

  /** The connection is no more. The process gets what the guest had sent, then the end. */
  release(): void {
    const stream = this.#stream
    this.#stream = undefined
    if (stream === undefined || stream.destroyed) return
    if (!this.#open) return void stream.destroy()
    stream.removeAllListeners('readable')
    stream.resume()
    if (this.#staged > 0) stream.write(this.#stage.subarray(0, this.#staged))
    this.#stage = NOTHING
    this.#staged = 0
    if (!stream.writableEnded) stream.end()
    if (stream.writableFinished) stream.destroy()
    else stream.once('finish', () => stream.destroy())
  }
}
