/**
 * Traditional memory balloon: the guest hands pages over and takes them back, reports pages that are free, and tells how its memory is used. OASIS virtio 1.2
 * section 5.5. Free page hints, which are for live migration, and MUST_TELL_HOST are left out: a page may be used again at any time.
 */
import type { GuestMemory } from '../../address-space/guest-memory.ts'
import { GuestErrors } from '../contracts.ts'
import type { Clock, DeviceEvents, Timer } from '../contracts.ts'
import { stateNumber, stateRecord } from '../state.ts'
import { BalloonStatistics, MOST_STATISTICS_BYTES } from './balloon-statistics.ts'
import type { StatisticsReport } from './balloon-statistics.ts'
import { DEVICE_TYPE_BALLOON } from './constants.ts'
import type { Activation, VirtioDevice, VirtioHost } from './device.ts'
import { copyFrom } from './queue/chain.ts'
import type { Chain } from './queue/chain.ts'
import type { VirtQueue } from './queue/queue.ts'

const F_STATS_VQ = 1n << 1n, F_DEFLATE_ON_OOM = 1n << 2n, F_PAGE_POISON = 1n << 4n, F_PAGE_REPORTING = 1n << 5n
/**
 * Section 5.5.2 numbers the queue of reports 4. Linux leaves no gap for queues that are not there, and finds it at 3, or at 2 without statistics: it is wherever
 * the driver sets it up.
 */
const INFLATE = 0, DEFLATE = 1, STATISTICS = 2, QUEUES_WITH_REPORTING = 5, QUEUES = 3
const QUEUE_SIZE = 128
/** struct virtio_balloon_config */
const TARGET = 0, ACTUAL = 4, POISON = 12, CONFIG_BYTES = 16
const PAGE = 4096
const MOST_PAGES = 0xffff_ffff
/** Page numbers of one buffer that are looked at; drivers send 256 or 1024. */
const MOST_NUMBERS = 16_384
/** What is done before the event loop has its turn: a page, or this many bytes in a row, cost one. */
const TURN_BUDGET = 16_384, BYTES_OF_ONE = 65_536
const NS_PER_SECOND = 1_000_000_000n

export interface BalloonOptions {
  /** The guest takes pages back rather than end a program for want of memory. */
  readonly deflateOnOom: boolean
  readonly freePageReporting: boolean
}

export interface VirtioBalloonState {
  /** Pages that the guest should have handed over. */
  readonly target: number
  /** Pages that it says it has. */
  readonly actual: number
  readonly poison: number
}

export interface VirtioBalloonWiring {
  readonly options: BalloonOptions
  readonly memory: GuestMemory
  readonly clock: Clock
  readonly events?: DeviceEvents | undefined
  /** The guest has another number of pages. @param bytes of memory that are left to it */
  readonly onChange?: ((bytes: number) => void) | undefined
}

export class VirtioBalloon implements VirtioDevice {
  readonly name = 'virtio-balloon'
  readonly deviceType = DEVICE_TYPE_BALLOON
  readonly features: bigint
  readonly queueSizes: readonly number[]
  readonly config = new Uint8Array(CONFIG_BYTES)
  readonly guestErrors: GuestErrors
  readonly #wiring: VirtioBalloonWiring
  readonly #view = new DataView(this.config.buffer)
  /** What is read in pages that were given back. */
  readonly #zeroes: boolean
  readonly #statistics = new BalloonStatistics()
  #host: VirtioHost | undefined
  #queues: readonly (VirtQueue | undefined)[] = []
  #negotiated = 0n
  #budget = TURN_BUDGET
  #nextTurn: Timer | undefined
  /** The driver's buffer for statistics: it fills it anew each time it gets it back. */
  #report: Chain | undefined
  #pollSeconds = 0
  #poll: Timer | undefined
  #paused = false
  #toldOfRefusal = false

  /** @throws MesovirtError RAM_DISCARD, FFI_MISSING where memory cannot be given back; DEVICE_STATE */
  constructor(state: VirtioBalloonState, wiring: VirtioBalloonWiring) {
    this.#wiring = wiring
    const { deflateOnOom, freePageReporting } = wiring.options
    this.features = F_STATS_VQ | (deflateOnOom ? F_DEFLATE_ON_OOM : 0n) | (freePageReporting ? F_PAGE_REPORTING | F_PAGE_POISON : 0n)
    this.queueSizes = Array.from({ length: freePageReporting ? QUEUES_WITH_REPORTING : QUEUES }, () => QUEUE_SIZE)
    this.guestErrors = new GuestErrors(this.name, wiring.events)
    this.#zeroes = wiring.memory.discard(0, 0) === 'zeros'
    this.#view.setUint32(TARGET, state.target, true)
    this.#view.setUint32(ACTUAL, state.actual, true)
    this.#view.setUint32(POISON, state.poison, true)
  }

  /** @throws MesovirtError RAM_DISCARD, FFI_MISSING */
  static create(wiring: VirtioBalloonWiring): VirtioBalloon {
    return new VirtioBalloon({ target: 0, actual: 0, poison: 0 }, wiring)
  }

  /** @throws MesovirtError DEVICE_STATE, RAM_DISCARD, FFI_MISSING */
  static fromState(state: unknown, wiring: VirtioBalloonWiring): VirtioBalloon {
    const record = stateRecord('virtio-balloon', state)
    const number = (field: string) => stateNumber('virtio-balloon', record, field, MOST_PAGES)
    return new VirtioBalloon({ target: number('target'), actual: number('actual'), poison: number('poison') }, wiring)
  }

  state(): VirtioBalloonState {
    return { target: this.#view.getUint32(TARGET, true), actual: this.#actual, poison: this.#view.getUint32(POISON, true) }
  }

  /** Bytes of memory that are left to the guest, as it says. */
  get bytesLeft(): number {
    return Math.max(0, this.#wiring.memory.size - this.#actual * PAGE)
  }

  /** Asks the guest to keep no more than this. @param bytes more than there are mean all */
  setTarget(bytes: number): void {
    const pages = Math.floor(Math.max(0, this.#wiring.memory.size - bytes) / PAGE)
    this.#host?.update(() => {
      if (this.#view.getUint32(TARGET, true) === pages) return
      this.#view.setUint32(TARGET, pages, true)
      this.#host?.configChanged()
    })
  }

  /** What the guest said last about its memory. */
  get statistics(): StatisticsReport {
    return this.#statistics.report
  }

  get pollSeconds(): number {
    return this.#pollSeconds
  }

  /** Asks for statistics from now on. @param seconds between two questions; 0: never */
  set pollSeconds(seconds: number) {
    this.#pollSeconds = seconds
    this.#poll?.cancel()
    this.#poll = undefined
    if (seconds > 0) this.#host?.update(() => this.#ask())
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
    const wants = () => this.#budget > 0
    if (index === INFLATE) queue?.serve((chain) => this.#inflate(queue, chain), wants)
    else if (index === DEFLATE) queue?.serve((chain) => queue.push(chain, 0))
    else if (index === STATISTICS && (this.#negotiated & F_STATS_VQ) !== 0n) queue?.serve((chain) => this.#take(chain), () => this.#report === undefined)
    else if ((this.#negotiated & F_PAGE_REPORTING) !== 0n) queue?.serve((chain) => this.#reported(queue, chain), wants)
  }

  configWritten(offset: number, size: 1 | 2 | 4, value: number): void {
    const isIn = (field: number) => offset >= field && offset + size <= field + 4
    if (!isIn(ACTUAL) && !isIn(POISON)) return this.guestErrors.count('write to a field that only the device writes', `0x${offset.toString(16)}`)
    const before = this.#actual
    for (let index = 0; index < size; index++) this.config[offset + index] = value >>> 8 * index
    this.#changed(before)
  }

  stopQueue(): void {
    this.#forget()
  }

  /** A driver begins with an empty balloon, whatever the one before it had. */
  reset(): void {
    this.#forget()
    const before = this.#actual
    this.#view.setUint32(ACTUAL, 0, true)
    this.#view.setUint32(POISON, 0, true)
    this.#changed(before)
  }

  async pause(): Promise<void> {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    if (this.#pollSeconds > 0) this.#host?.update(() => this.#ask())
  }

  get #actual(): number {
    return this.#view.getUint32(ACTUAL, true)
  }

  #changed(before: number): void {
    if (this.#actual === before) return
    if (this.#actual * PAGE > this.#wiring.memory.size) this.guestErrors.count('more pages in the balloon than there are', `${this.#actual}`)
    this.#wiring.onChange?.(this.bytesLeft)
  }

  #forget(): void {
    this.#queues = []
    this.#report = undefined
    this.#poll?.cancel()
    this.#poll = undefined
  }

  // Pages

  #inflate(queue: VirtQueue, chain: Chain): void {
    if (chain.writableLength > 0) this.guestErrors.count('a list of pages that is to be written')
    const pages = this.#numbers(chain)
    for (let at = 0; at < pages.length;) {
      const first = pages[at] as number
      let count = 1
      while (++at < pages.length && (pages[at] as number) <= first + count) count = (pages[at] as number) - first + 1
      this.#giveBack(first, count)
    }
    queue.push(chain, 0)
  }

  /** The page numbers of a buffer, in ascending order. */
  #numbers(chain: Chain): Uint32Array {
    const count = Math.min(Math.floor(chain.readableLength / 4), MOST_NUMBERS)
    if (count * 4 !== chain.readableLength) this.guestErrors.count('a list of pages of no possible length', `${chain.readableLength} bytes`)
    const bytes = new Uint8Array(count * 4)
    copyFrom(chain.readable, 0, bytes)
    this.#spend(count >> 4)
    return new Uint32Array(bytes.buffer).sort()
  }

  #giveBack(first: number, count: number): void {
    const { memory } = this.#wiring
    if (memory.contains(first * PAGE, count * PAGE)) return this.#discard(first * PAGE, count * PAGE)
    for (let page = first; page < first + count; page++) {
      if (memory.contains(page * PAGE, PAGE)) this.#discard(page * PAGE, PAGE)
      else this.guestErrors.count('a page that is no RAM', `0x${(page * PAGE).toString(16)}`)
    }
  }

  #reported(queue: VirtQueue, chain: Chain): void {
    if (chain.readableLength > 0) this.guestErrors.count('a report of free pages that cannot be written')
    if (this.#mayReplace()) for (const { address, bytes } of chain.writable) {
      const from = Math.ceil(address / PAGE) * PAGE
      const to = Math.floor((address + bytes.length) / PAGE) * PAGE
      if (to > from) this.#discard(from, to - from)
    }
    this.#spend(1)
    queue.push(chain, 0)
  }

  /** Section 5.5.6.7: a driver that fills free pages with a value finds that value in them again. */
  #mayReplace(): boolean {
    return (this.#negotiated & F_PAGE_POISON) === 0n || (this.#zeroes && this.#view.getUint32(POISON, true) === 0)
  }

  #discard(address: number, length: number): void {
    this.#spend(1 + Math.floor(length / BYTES_OF_ONE))
    if (this.#wiring.memory.discard(address, length) !== 'kept' || this.#toldOfRefusal) return
    this.#toldOfRefusal = true
    this.#wiring.events?.log('virtio-balloon: the kernel does not take memory back (is it locked?)')
  }

  #spend(cost: number): void {
    this.#budget -= cost
    if (this.#budget > 0 || this.#nextTurn !== undefined) return
    const { clock } = this.#wiring
    this.#nextTurn = clock.schedule(clock.now(), () => {
      this.#nextTurn = undefined
      this.#budget = TURN_BUDGET
      this.#host?.update(() => this.#queues.forEach((_, index) => this.kick(index)))
    })
  }

  // Statistics

  #take(chain: Chain): void {
    this.#report = chain
    const bytes = new Uint8Array(Math.min(chain.readableLength, MOST_STATISTICS_BYTES))
    copyFrom(chain.readable, 0, bytes)
    this.#statistics.take(bytes)
    this.#askLater()
  }

  #askLater(): void {
    const { clock } = this.#wiring
    if (this.#pollSeconds === 0 || this.#poll !== undefined) return
    this.#poll = clock.schedule(clock.now() + BigInt(this.#pollSeconds) * NS_PER_SECOND, () => {
      this.#poll = undefined
      this.#host?.update(() => this.#ask())
    })
  }

  /** The buffer goes back; the driver fills it and makes it available again. */
  #ask(): void {
    const chain = this.#report
    const queue = this.#queues[STATISTICS]
    if (chain === undefined || queue === undefined || this.#paused) return
    this.#report = undefined
    queue.push(chain, 0)
    queue.notify()
    this.kick(STATISTICS)
  }
}
