import os from 'node:os'
import { MessageChannel } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { MesovirtError } from '../host/errors.ts'
import type { AddressSpace } from './address-space.ts'
import {
  ABORTED, accessSize, CELL_COUNT, CELL_WORDS, cellsBase, isBefore, joinAddress, MAX_PAGES, MAX_SLOTS,
  OPERATION_SIZE_SHIFT, OPERATION_WRITE, PENDING, PostRing, S_ADDRESS_HIGH, S_ADDRESS_LOW, S_OPERATION, S_SLEEPING, S_STATUS, S_VALUE_HIGH, S_VALUE_LOW,
  slotBase, SPACE_MEMORY, SPACE_PORTS, STATUS_ABORTED, STATUS_DONE, STATUS_REQUEST, TICKET, TOLD, totalWords,
} from './bus-layout.ts'
import type { BusConnection } from './bus-layout.ts'
import { SharedPage } from './bus-page.ts'
import { publishTable } from './bus-table.ts'
import { PollWindow } from './poll-window.ts'
import type { Region } from './region.ts'
import { RegisterSet } from './shadow-page.ts'
import type { ShadowPage, ShadowPageOptions } from './shadow-page.ts'

/**
 * Main's end of the bus (rules in bus.ts): applies posts in ticket order, serves calls, publishes the decision table and the shadow pages.
 *
 * Whoever hands the devices an event from outside (backend input, a timer, QMP) calls `applyPosts` first. A handler that a device runs is
 * never entered again by a nested `applyPosts`; what must come after pending posts goes through `ShadowPage.update`.
 */
export interface BusServerOptions {
  readonly memory: AddressSpace
  readonly ports: AddressSpace
  /** vCPU workers, 1 to 254 */
  readonly slots: number
  /** A device threw. The access is answered with all ones. Default: thrown again outside the bus, to the fatal path. */
  readonly onFault?: (error: unknown) => void
  /** How long main looks for the next access before it returns to its event loop, microseconds. Default 20, 0 on one core. */
  readonly spinMicroseconds?: number
  /**
   * Longest time for which main goes round its event loop without sleeping, looking for the next access, microseconds; it does so for a guest whose accesses
   * are no farther apart than that. Default 0: never.
   */
  readonly pollMicroseconds?: number
  /** How long to wait for a post whose ticket is taken while a later one is there already, milliseconds. */
  readonly gapMilliseconds?: number
}

/** An interrupt line as devices drive it. */
export interface EventLine {
  setLevel(level: 0 | 1): void
  pulse(): void
}

/** As in the vCPU: on a core shared with the vCPU a spin keeps the very call away that it waits for. After one in vain the next are short. */
const SHORT_SPIN_MILLISECONDS = 0.002
const PROBE_INTERVAL = 16
/** While main spins for calls it looks at the rings this often: looking always would fight the posting vCPU for its cache lines (8 times slower). */
const RING_POLL_MILLISECONDS = 0.01
/** A burst of accesses gives way to timers and I/O after this time. */
const BURST_MILLISECONDS = 2
/** A vCPU thread can lose its core between taking a ticket and pushing the post; a killed one never pushes. */
const GAP_MILLISECONDS = 20
/** Updates can ring doorbells that cause updates; a guest that keeps this going must not keep main. */
const UPDATE_ROUNDS = 16

export class BusServer {
  readonly counters = { calls: 0, posts: 0, wakeups: 0, skippedGaps: 0 }
  readonly #buffer: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #memory: AddressSpace
  readonly #ports: AddressSpace
  readonly #rings: PostRing[] = []
  readonly #connections: (MessagePort | undefined)[] = []
  readonly #onFault: (error: unknown) => void
  readonly #spinMilliseconds: number
  readonly #gapMilliseconds: number
  readonly #pages = new Map<Region, SharedPage>()
  #freeCells: { at: number; count: number }[]
  readonly #usedPages = new Set<number>()
  readonly #stopListening: (() => void)[]
  /** A device handler or an update is on the stack. */
  #inHandler = false
  #updates: (() => void)[] = []
  /** Page -> by how much its pending count goes down once the updates that its posts asked for have run. */
  readonly #applied = new Map<number, number>()
  readonly #poll: PollWindow
  #isPolling = false
  #nextTicket = 0
  #held = false
  /** wake-ups left that spin shortly */
  #shortSpins = 0
  #referenced = false

  constructor(options: BusServerOptions) {
    const { slots } = options
    if (!Number.isSafeInteger(slots) || slots < 1 || slots > MAX_SLOTS) throw new MesovirtError('BUS_SLOTS', `${slots} vCPU workers: 1 to ${MAX_SLOTS} are possible`)
    this.#buffer = new SharedArrayBuffer(totalWords(slots) * 4)
    this.#words = new Int32Array(this.#buffer)
    for (let slot = 0; slot < slots; slot++) this.#rings.push(new PostRing(this.#words, slot))
    this.#memory = options.memory
    this.#ports = options.ports
    this.#onFault = options.onFault ?? ((error) => process.nextTick(() => { throw error }))
    this.#spinMilliseconds = (options.spinMicroseconds ?? (os.availableParallelism() > 1 ? 20 : 0)) / 1000
    this.#poll = new PollWindow((options.pollMicroseconds ?? 0) / 1000)
    this.#gapMilliseconds = options.gapMilliseconds ?? GAP_MILLISECONDS
    this.#freeCells = [{ at: cellsBase(slots), count: CELL_COUNT }]
    const publish = { commit: () => this.#publishTable() }
    this.#stopListening = [this.#memory.addListener(publish), this.#ports.addListener(publish)]
  }

  /** What worker `slot` needs; put `port` into its transferList. A second call for a slot replaces the first worker's connection. */
  connect(slot: number): BusConnection & { readonly port: MessagePort } {
    if (this.#rings[slot] === undefined) throw new MesovirtError('BUS_SLOTS', `there is no vCPU worker ${slot}: ${this.#rings.length} were planned`)
    this.#connections[slot]?.close()
    const { port1, port2 } = new MessageChannel()
    port1.on('message', this.#onWakeUp)
    this.#connections[slot] = port1
    if (!this.#referenced) port1.unref()
    Atomics.store(this.#words, TOLD, 0)
    return { buffer: this.#buffer, slot, port: port2 }
  }

  /** For workers that wake main by other means than a port (an eventfd): the memory of their buses. Whatever wakes main calls `wake`. */
  get memory(): SharedArrayBuffer {
    return this.#buffer
  }

  /**
   * Main was told of a post or a call.
   * @param acknowledge takes the wake-up out of what brought it (an eventfd), once the vCPU that waits has its answer: before that it would only cost
   *   the guest time, and after this returns it could take out the next one
   */
  wake(acknowledge?: () => void): void {
    const served = acknowledge !== undefined && this.service()
    if (served) this.#poll.onAccess(performance.now())
    acknowledge?.()
    this.#lookForMore(served)
  }

  /** A doorbell outside the bus (an ioeventfd) was rung: posts made before it are applied, then `notify` is called. */
  ring(notify: () => void): void {
    this.update(notify)
    this.#poll.onAccess(performance.now())
    this.#keepLooking()
  }

  /** Keeps the process alive for accesses to come: while the machine runs. */
  ref(): void {
    this.#referenced = true
    for (const port of this.#connections) port?.ref()
  }

  unref(): void {
    this.#referenced = false
    for (const port of this.#connections) port?.unref()
  }

  /** Declares the posted and shadowed registers of an I/O region. One page per region. */
  shadowPage(region: Region, options: ShadowPageOptions): ShadowPage {
    if (this.#pages.has(region)) throw new MesovirtError('SHADOW_PAGE', `region ${region.name} already has a shadow page`)
    const registers = new RegisterSet(options)
    const place = this.#freeCells.find((free) => free.count >= registers.span)
    let index = 0
    while (this.#usedPages.has(index)) index++
    if (place === undefined || index >= MAX_PAGES) throw new MesovirtError('SHADOW_PAGE', `no room for a shadow page of ${region.name}: too many devices`)
    const page = new SharedPage(this, this.#words, registers, index, place.at, () => {
      this.#pages.delete(region)
      this.#publishTable()
      this.#usedPages.delete(index)
      this.#freeCells = [...this.#freeCells.filter((free) => free.count > 0), { at: page.cells, count: page.span }]
    })
    place.at += registers.span * CELL_WORDS
    place.count -= registers.span
    this.#usedPages.add(index)
    this.#pages.set(region, page)
    this.#publishTable()
    return page
  }

  /** The line with every post made so far applied before it changes. */
  orderedLine(line: EventLine): EventLine {
    return {
      setLevel: (level) => {
        this.applyPosts()
        line.setLevel(level)
      },
      pulse: () => {
        this.applyPosts()
        line.pulse()
      },
    }
  }

  /** True inside a device's register handler or an update. */
  get inHandler(): boolean {
    return this.#inHandler
  }

  /** Applies every post made before now. Does nothing inside a handler: the posts left there come after it. */
  applyPosts(): void {
    if (this.#inHandler) return
    this.#inHandler = true
    try {
      this.#drainRings()
      this.#runUpdates()
    } finally {
      this.#inHandler = false
    }
  }

  /** See ShadowPage.update. */
  update(change: () => void): void {
    this.#updates.push(change)
    this.applyPosts()
  }

  /** Applies posts and serves waiting calls once. Returns whether there was a call or a post. */
  service(): boolean {
    if (this.#inHandler) return false
    const before = this.counters.calls + this.counters.posts
    this.applyPosts()
    if (!this.#held) {
      for (let slot = 0; slot < this.#rings.length; slot++) {
        if (this.isWaiting(slot)) this.#serve(slot)
      }
    }
    return this.counters.calls + this.counters.posts !== before
  }

  /** Whether the vCPU worker waits in a call, which counts as paused while calls are held. */
  isWaiting(slot: number): boolean {
    return Atomics.load(this.#words, slotBase(slot) + S_STATUS) === STATUS_REQUEST
  }

  /** From now on calls are not answered (posts still are applied): a vCPU that waits in one stays there. */
  holdCalls(): void {
    this.#held = true
  }

  releaseCalls(): void {
    this.#held = false
    this.#onWakeUp()
  }

  /** Quit: releases every vCPU that waits, now and from now on, and applies nothing more. */
  abort(): void {
    const words = this.#words
    Atomics.store(words, ABORTED, 1)
    for (let slot = 0; slot < this.#rings.length; slot++) {
      const status = slotBase(slot) + S_STATUS
      Atomics.compareExchange(words, status, STATUS_REQUEST, STATUS_ABORTED)
      Atomics.notify(words, status)
    }
  }

  /** abort, and lets go of ports and address spaces. */
  close(): void {
    this.abort()
    for (const stop of this.#stopListening) stop()
    for (const port of this.#connections) port?.close()
    this.#connections.length = 0
  }

  /** One wake-up message covers a burst: TOLD stays set while main looks for more, so vCPUs need not send. */
  readonly #onWakeUp = (): void => this.#lookForMore(false)

  /** One round of the event loop, in which descriptors are looked at too. TOLD stays set meanwhile: nobody needs to wake main. */
  readonly #onPoll = (): void => {
    this.#isPolling = false
    if (this.#hasWork()) {
      this.#lookForMore(false)
      return
    }
    if (this.#keepLooking()) return
    Atomics.store(this.#words, TOLD, 0)
    if (this.#hasWork()) this.#onWakeUp()
  }

  /** @returns false when it is time to sleep */
  #keepLooking(): boolean {
    if (!this.#isPolling) {
      if (!this.#poll.isOpen(performance.now()) || Atomics.load(this.#words, ABORTED) === 1) return false
      this.#isPolling = true
      Atomics.store(this.#words, TOLD, 1)
      setImmediate(this.#onPoll)
    }
    return true
  }

  #lookForMore(served: boolean): void {
    this.counters.wakeups++
    const start = performance.now()
    let quietFrom = start
    let nextRingPoll = start
    let rounds = served ? 1 : 0
    const spin = this.#shortSpins > 0 ? Math.min(SHORT_SPIN_MILLISECONDS, this.#spinMilliseconds) : this.#spinMilliseconds
    for (let now = start; ; now = performance.now()) {
      if (now >= nextRingPoll || this.#hasCall()) {
        if (this.service()) {
          quietFrom = now
          this.#poll.onAccess(now)
          if (++rounds === 2) this.#shortSpins = 0
        }
        nextRingPoll = now + RING_POLL_MILLISECONDS
      }
      if (now - start > BURST_MILLISECONDS) {
        setImmediate(this.#onWakeUp)
        return
      }
      if (now - quietFrom < spin) continue
      if (rounds < 2) this.#shortSpins = this.#shortSpins > 0 ? this.#shortSpins - 1 : PROBE_INTERVAL - 1
      if (this.#keepLooking()) return
      // Clear, then look once more: a vCPU that saw the flag set has stored its access before it looked.
      Atomics.store(this.#words, TOLD, 0)
      if (!this.#hasWork()) return
      Atomics.store(this.#words, TOLD, 1)
    }
  }

  #hasWork(): boolean {
    if (Atomics.load(this.#words, ABORTED) === 1) return false
    if (this.#updates.length > 0) return true
    return this.#hasCall() || this.#rings.some((ring) => ring.peekTicket() !== undefined)
  }

  #hasCall(): boolean {
    if (this.#held) return false
    for (let slot = 0; slot < this.#rings.length; slot++) if (this.isWaiting(slot)) return true
    return false
  }

  /** The posts made before this moment, so that a vCPU that posts without pause cannot keep main here. */
  #drainRings(): void {
    const words = this.#words
    const limit = Atomics.load(words, TICKET)
    let gapDeadline = 0
    while (Atomics.load(words, ABORTED) === 0) {
      let first: PostRing | undefined
      let firstTicket = limit
      for (const ring of this.#rings) {
        const ticket = ring.peekTicket()
        if (ticket === undefined || !isBefore(ticket, firstTicket)) continue
        first = ring
        firstTicket = ticket
      }
      if (first === undefined) return
      if (isBefore(this.#nextTicket, firstTicket)) {
        // An earlier ticket is taken, its post not yet in its ring. Skipping it in the end is still a legal order: that write has not finished.
        const now = performance.now()
        if (gapDeadline === 0) gapDeadline = now + this.#gapMilliseconds
        if (now < gapDeadline) continue
        this.counters.skippedGaps++
      }
      gapDeadline = 0
      if (!isBefore(firstTicket, this.#nextTicket)) this.#nextTicket = (firstTicket + 1) | 0
      const post = first.shift()
      this.counters.posts++
      try {
        (post.space === SPACE_PORTS ? this.#ports : this.#memory).write(post.address, post.size, post.value)
      } catch (error) {
        this.#onFault(error)
      }
      if (post.page >= 0) this.#applied.set(post.page, (this.#applied.get(post.page) ?? 0) + 1)
    }
  }

  #runUpdates(): void {
    for (let round = 0; this.#updates.length > 0 && round < UPDATE_ROUNDS; round++) {
      // Also in the first round: a drain takes only the posts made before it began, and a handler in it may have asked for an update since.
      this.#drainRings()
      const updates = this.#updates
      this.#updates = []
      for (const update of updates) this.#guarded(update)
    }
    if (this.#updates.length > 0) {
      setImmediate(this.#onWakeUp)
      return
    }
    if (this.#applied.size === 0) return
    for (const [page, count] of this.#applied) Atomics.sub(this.#words, PENDING + page, count)
    this.#applied.clear()
  }

  #serve(slot: number): void {
    this.applyPosts()
    const words = this.#words
    const base = slotBase(slot)
    const operation = words[base + S_OPERATION] ?? 0
    const space = (operation & 1) === SPACE_MEMORY ? this.#memory : this.#ports
    const address = joinAddress(words[base + S_ADDRESS_LOW] ?? 0, words[base + S_ADDRESS_HIGH] ?? 0)
    const isWide = operation >>> OPERATION_SIZE_SHIFT === 8
    const low = (words[base + S_VALUE_LOW] ?? 0) >>> 0
    const high = (words[base + S_VALUE_HIGH] ?? 0) >>> 0
    let result = 0xffff_ffff_ffff_ffffn
    let narrow = 0xffff_ffff
    this.counters.calls++
    this.#inHandler = true
    try {
      this.#guarded(() => {
        if (operation & OPERATION_WRITE) {
          if (isWide) space.write64(address, (BigInt(high) << 32n) | BigInt(low))
          else space.write(address, accessSize(operation), low)
        } else if (isWide) result = space.read64(address)
        else narrow = space.read(address, accessSize(operation))
      })
      this.#runUpdates()
    } finally {
      this.#inHandler = false
    }
    words[base + S_VALUE_LOW] = isWide ? Number(BigInt.asIntN(32, result)) : narrow | 0
    words[base + S_VALUE_HIGH] = isWide ? Number(BigInt.asIntN(32, result >> 32n)) : 0
    Atomics.compareExchange(words, base + S_STATUS, STATUS_REQUEST, STATUS_DONE)
    if (Atomics.load(words, base + S_SLEEPING) === 1) Atomics.notify(words, base + S_STATUS)
  }

  #guarded(action: () => void): void {
    try {
      action()
    } catch (error) {
      this.#onFault(error)
    }
  }

  #publishTable(): void {
    const sources = [{ space: SPACE_MEMORY, view: this.#memory.view }, { space: SPACE_PORTS, view: this.#ports.view }] as const
    publishTable(this.#words, sources.map(({ space, view }) => ({ space, ranges: view.ranges, notifiers: view.notifiers })),
      (range) => this.#pages.get(range.region))
  }
}
