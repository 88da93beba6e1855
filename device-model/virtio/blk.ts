/**
 * Block device. OASIS virtio 1.2 section 5.2: reads, writes, flushes, discards, zeroes and the serial number, on any number of queues; left out: lifetime, secure
 * erase, zones. The disk behind it may come, go and change its size while the driver is there.
 */
import os from 'node:os'
import type { BlockImage } from '../block/image.ts'
import type { ReadErrorPolicy, WriteErrorPolicy } from '../block/config.ts'
import { GuestErrors } from '../contracts.ts'
import type { DeviceEvents } from '../contracts.ts'
import { stateBoolean, stateRecord } from '../state.ts'
import {
  blkConfigSpace, F_BLK_SIZE, F_CONFIG_WCE, F_DISCARD, F_FLUSH, F_GEOMETRY, F_MQ, F_RO, F_SEG_MAX, F_TOPOLOGY, F_WRITE_ZEROES, SECTOR, setCapacity, WRITEBACK,
} from './blk-config.ts'
import type { BlkTopology } from './blk-config.ts'
import { dataIn, dataOut, ID_BYTES, isWithin, readHeader, readRanges, S_IOERR, S_OK, S_UNSUPP, T_DISCARD, T_FLUSH, T_GET_ID, T_IN, T_OUT, T_WRITE_ZEROES } from './blk-request.ts'
import type { Header, Range } from './blk-request.ts'
import { DEVICE_TYPE_BLOCK } from './constants.ts'
import type { Activation, VirtioDevice, VirtioHost } from './device.ts'
import { copyTo } from './queue/chain.ts'
import type { Chain, Segment } from './queue/chain.ts'
import type { VirtQueue } from './queue/queue.ts'

const { ENOSPC } = os.constants.errno
const HEADER = 16
const LONGEST_CLEARED = 2 ** 22

/** An error of the host's side, as BLOCK_IO_ERROR tells it. */
export interface BlkError {
  readonly operation: 'read' | 'write'
  readonly action: 'report' | 'ignore' | 'stop'
  /** The disk is full. */
  readonly noSpace: boolean
  /** errno */
  readonly errno: number
}

export interface BlkOptions {
  /** At most 20 bytes. */
  readonly serial?: string | undefined
  readonly queues: number
  readonly queueSize: number
  readonly topology: BlkTopology
  readonly readOnly: boolean
  /** Whether the guest may switch the write cache, and whether it is on at first. */
  readonly configWce: boolean
  readonly writeCache: boolean
  readonly discard: boolean
  readonly writeZeroes: boolean
  readonly onWriteError: WriteErrorPolicy
  readonly onReadError: ReadErrorPolicy
}

export interface VirtioBlkWiring {
  readonly options: BlkOptions
  /** Not closed by the device. Without one the disk has no capacity. */
  readonly image?: BlockImage | undefined
  readonly onError?: ((error: BlkError) => void) | undefined
  readonly events?: DeviceEvents | undefined
}

export interface VirtioBlkState {
  readonly writeCache: boolean
}

interface Request extends Header {
  readonly chain: Chain
  readonly queue: VirtQueue
  readonly index: number
}

export class VirtioBlk implements VirtioDevice {
  readonly name = 'virtio-blk'
  readonly deviceType = DEVICE_TYPE_BLOCK
  readonly features: bigint
  readonly queueSizes: readonly number[]
  readonly config: Uint8Array
  readonly guestErrors: GuestErrors
  readonly #wiring: VirtioBlkWiring
  #options: BlkOptions
  #image: BlockImage | undefined
  #host: VirtioHost | undefined
  #queues: readonly (VirtQueue | undefined)[] = []
  #negotiated = 0n
  #paused = false
  /** Taken from their queues and not given back. */
  readonly #pending = new Set<Request>()
  /** Of those, what waits for the machine to go on (`stop` policies). */
  #stopped: Request[] = []
  /** Done, and not yet given back. */
  #finished: { readonly request: Request; readonly status: number }[] = []
  #finishing = false

  constructor(state: VirtioBlkState, wiring: VirtioBlkWiring) {
    this.#wiring = wiring
    const { options } = wiring
    this.#options = options
    this.guestErrors = new GuestErrors(this.name, wiring.events)
    this.features = F_SEG_MAX | F_GEOMETRY | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | (options.readOnly ? F_RO : 0n) | (options.configWce ? F_CONFIG_WCE : 0n)
      | (options.queues > 1 ? F_MQ : 0n) | (options.discard && !options.readOnly ? F_DISCARD : 0n) | (options.writeZeroes && !options.readOnly ? F_WRITE_ZEROES : 0n)
    this.queueSizes = Array.from({ length: options.queues }, () => options.queueSize)
    this.config = blkConfigSpace(options)
    this.config[WRITEBACK] = state.writeCache ? 1 : 0
    this.#image = wiring.image
    setCapacity(this.config, this.#image?.size ?? 0)
  }

  static create(wiring: VirtioBlkWiring): VirtioBlk {
    return new VirtioBlk({ writeCache: wiring.options.writeCache }, wiring)
  }

  /** @throws MesovirtError DEVICE_STATE */
  static fromState(state: unknown, wiring: VirtioBlkWiring): VirtioBlk {
    return new VirtioBlk({ writeCache: stateBoolean('virtio-blk', stateRecord('virtio-blk', state), 'writeCache') }, wiring)
  }

  state(): VirtioBlkState {
    return { writeCache: this.config[WRITEBACK] === 1 }
  }

  get image(): BlockImage | undefined {
    return this.#image
  }

  get options(): BlkOptions {
    return this.#options
  }

  attach(host: VirtioHost): void {
    this.#host = host
  }

  activate({ queues, features }: Activation): void {
    this.#queues = queues
    this.#negotiated = features
  }

  kick(index: number): void {
    const queue = this.#queues[index]
    if (queue === undefined) return
    queue.serve((chain) => this.#take(chain, queue, index), () => !this.#paused)
    this.#image?.commit()
    this.#giveBack()
  }

  configWritten(offset: number, size: 1 | 2 | 4, value: number): void {
    if (offset !== WRITEBACK || size !== 1 || value > 1 || (this.#negotiated & F_CONFIG_WCE) === 0n) {
      return this.guestErrors.count('a write to the configuration space beside the write cache', `0x${offset.toString(16)}`)
    }
    this.config[WRITEBACK] = value
  }

  /** The disk has another size than before, or there is another one, or none: the driver is told. @param options of the disk that comes */
  changeImage(image: BlockImage | undefined, options: Pick<BlkOptions, 'serial' | 'onWriteError' | 'onReadError'> = this.#options): void {
    this.#options = { ...this.#options, ...options }
    const isOther = image !== this.#image
    if (isOther) this.#abandon()
    this.#image = image
    if (isOther && this.#paused) void image?.hold()
    this.#host?.update(() => {
      setCapacity(this.config, image?.size ?? 0)
      this.#host?.configChanged()
    })
    if (!isOther) return
    for (const request of this.#pending) this.#start(request)
    this.#image?.commit()
  }

  /** The limits and the driver's choice stay with the disk; what the driver asked for does not. */
  reset(): void {
    this.#abandon()
    this.#pending.clear()
    this.#queues = []
    this.#negotiated = 0n
    this.config[WRITEBACK] = this.#options.writeCache ? 1 : 0
  }

  /** Requests of other queues begin anew: nothing of them had been told. */
  stopQueue(index: number): void {
    this.#abandon()
    this.#queues = this.#queues.map((queue, other) => other === index ? undefined : queue)
    for (const request of this.#pending) {
      if (request.index === index) this.#pending.delete(request)
      else this.#start(request)
    }
    this.#image?.commit()
  }

  async pause(): Promise<void> {
    this.#paused = true
    await this.#image?.hold()
    this.#giveBack()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    const again = this.#stopped
    this.#stopped = []
    this.#image?.release()
    for (const request of again) this.#start(request)
    this.#image?.commit()
  }

  /** From now on no request touches guest memory, and none is known to the image. */
  #abandon(): void {
    this.#image?.settle()
    this.#stopped = []
    this.#finished = []
  }

  #take(chain: Chain, queue: VirtQueue, index: number): void {
    const header = readHeader(chain)
    if (header === undefined) {
      this.#host?.needsReset('a buffer without room for a header and a status', `queue ${index}`)
      return
    }
    const request = { ...header, chain, queue, index }
    this.#pending.add(request)
    this.#start(request)
  }

  #start(request: Request): void {
    switch (request.type) {
      case T_IN: return this.#read(request)
      case T_OUT: return this.#write(request)
      case T_FLUSH: return this.#flush(request)
      case T_GET_ID: return this.#identify(request)
      case T_DISCARD: return this.#ranges(request, true)
      case T_WRITE_ZEROES: return this.#ranges(request, false)
      default:
        this.guestErrors.count('a request of an unknown type', `${request.type}`)
        return this.#finish(request, S_UNSUPP)
    }
  }

  #read(request: Request): void {
    const { chain, sector } = request
    const image = this.#image
    const length = chain.writableLength - 1
    if (image === undefined || !isWithin(this.#shape, sector, length)) {
      if (image !== undefined) image.statistics.invalidReads++
      return this.#refuse(request, 'a read beyond the end of the disk, or of broken sectors')
    }
    if (length === 0) return this.#finish(request, S_OK)
    image.read(sector * SECTOR, bytesOf(dataIn(chain)), length, (errno) => this.#ended(request, 'read', errno))
  }

  #write(request: Request): void {
    const { chain, sector } = request
    const image = this.#image
    const data = dataOut(chain)
    const length = chain.readableLength - HEADER
    if (image === undefined || this.#shape.readOnly || !isWithin(this.#shape, sector, length)) {
      if (image !== undefined) image.statistics.invalidWrites++
      return this.#refuse(request, 'a write beyond the end of the disk, of broken sectors, or to a read-only disk')
    }
    if (length === 0) return this.#finish(request, S_OK)
    image.write(sector * SECTOR, bytesOf(data), length, (errno) => this.#written(request, errno))
  }

  #flush(request: Request): void {
    if (this.#image === undefined) return this.#refuse(request, 'a flush of no disk')
    this.#image.flush((errno) => this.#ended(request, 'write', errno))
  }

  #identify(request: Request): void {
    const { chain } = request
    if (chain.writableLength - 1 < ID_BYTES) return this.#refuse(request, 'a question for the serial number with too little room for it')
    const text = new Uint8Array(chain.writableLength - 1)
    text.set(Buffer.from(this.#options.serial ?? '').subarray(0, ID_BYTES))
    copyTo(chain.writable, 0, text.subarray(0, ID_BYTES))
    this.#finish(request, S_OK)
  }

  #ranges(request: Request, isDiscard: boolean): void {
    if ((this.features & (isDiscard ? F_DISCARD : F_WRITE_ZEROES)) === 0n) return this.#finish(request, S_UNSUPP)
    const ranges = readRanges(request.chain, isDiscard, this.#shape)
    const image = this.#image
    if (typeof ranges === 'number' || image === undefined) {
      if (image !== undefined) image.statistics[isDiscard ? 'invalidUnmaps' : 'invalidWrites']++
      this.guestErrors.count('ranges to discard or zero that are malformed or beyond the end of the disk')
      return this.#finish(request, typeof ranges === 'number' ? ranges : S_IOERR)
    }
    this.#nextRange(request, image, isDiscard, ranges)
  }

  /** One after the other: sixteen requests of a gigabyte in each of them are enough. */
  #nextRange(request: Request, image: BlockImage, isDiscard: boolean, [range, ...rest]: readonly Range[]): void {
    if (range === undefined || range.length === 0 && rest.length === 0) return this.#written(request, 0)
    const next = (errno: number): void => {
      if (errno !== 0 || rest.length === 0) return isDiscard ? this.#ended(request, 'write', errno) : this.#written(request, errno)
      this.#nextRange(request, image, isDiscard, rest)
      image.commit()
    }
    if (range.length === 0) next(0)
    else if (isDiscard) image.discard(range.position, range.length, next)
    else image.writeZeroes(range.position, range.length, range.unmap, next)
  }

  /** Without a write cache what was written is on the disk before the driver hears of it (5.2.6.2). */
  #written(request: Request, errno: number): void {
    if (errno !== 0 || this.#hasWriteCache) return this.#ended(request, 'write', errno)
    this.#image?.flush((flushed) => this.#ended(request, 'write', flushed))
    this.#image?.commit()
  }

  get #hasWriteCache(): boolean {
    return (this.#negotiated & F_CONFIG_WCE) !== 0n ? this.config[WRITEBACK] === 1 : (this.#negotiated & F_FLUSH) !== 0n && this.#options.writeCache
  }

  get #shape() {
    const image = this.#image
    return { size: image?.size ?? 0, readOnly: this.#options.readOnly || image?.config.readOnly === true }
  }

  #refuse(request: Request, kind: string): void {
    this.guestErrors.count(kind, `sector ${request.sector}`)
    this.#finish(request, S_IOERR)
  }

  #ended(request: Request, operation: 'read' | 'write', errno: number): void {
    if (errno === 0) return this.#finish(request, S_OK)
    const noSpace = errno === ENOSPC
    const policy = operation === 'read' ? this.#options.onReadError : this.#options.onWriteError
    const action = policy === 'enospc' ? noSpace ? 'stop' : 'report' : policy
    if (action === 'stop') this.#stopped.push(request)
    this.#wiring.onError?.({ operation, action, noSpace, errno })
    if (action !== 'stop') this.#finish(request, action === 'ignore' ? S_OK : S_IOERR)
  }

  #finish(request: Request, status: number): void {
    this.#finished.push({ request, status })
    if (this.#finishing) return
    this.#finishing = true
    queueMicrotask(() => {
      this.#finishing = false
      if (this.#finished.length > 0) this.#host?.update(() => this.#giveBack())
    })
  }

  #giveBack(): void {
    if (this.#finished.length === 0) return
    const finished = this.#finished
    this.#finished = []
    const touched = new Set<VirtQueue>()
    for (const { request, status } of finished) {
      const { chain, queue } = request
      if (!this.#pending.delete(request) || !queue.usable) continue
      // The length given back covers the status, so what lies before it has to be written too (2.7.8.2). A request of absurd size gets none.
      const isWhole = status === S_OK || chain.writableLength <= LONGEST_CLEARED
      if (status !== S_OK && isWhole) for (const { bytes } of dataIn(chain)) bytes.fill(0)
      copyTo(chain.writable, chain.writableLength - 1, Uint8Array.of(status))
      queue.push(chain, isWhole ? chain.writableLength : 0)
      touched.add(queue)
    }
    for (const queue of touched) queue.notify()
  }
}

function bytesOf(segments: readonly Segment[]): Uint8Array[] {
  return segments.map(({ bytes }) => bytes)
}
