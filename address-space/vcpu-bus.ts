import {
  ABORTED, CELL_KEEPS_SHADOW, CELL_POSTED_SHIFT, CELL_SHADOW_SIZE, OPERATION_SIZE_SHIFT, OPERATION_WRITE, PENDING, PostRing, S_ADDRESS_HIGH, S_ADDRESS_LOW,
  S_OPERATION, S_SLEEPING, S_STATUS, S_VALUE_HIGH, S_VALUE_LOW, slotBase, STATUS_DONE, STATUS_IDLE, STATUS_REQUEST, TABLE_VERSION, takeTicket, TOLD, TWO_TO_32,
} from './bus-layout.ts'
import type { BusConnection, Space } from './bus-layout.ts'
import { DecisionTable } from './bus-table.ts'
import type { AccessSize } from './region.ts'

/**
 * The vCPU worker's end of the bus (see bus.ts): decides for each access between a posted write, a shadow read and a synchronous call.
 * Blocks the worker in a call; never throws.
 *
 * Measured on a 2-core AMD EPYC VM, otherwise idle, Node 20.20, main asleep in its event loop where not said (bus-latency.ts): shadow read 0.03 us;
 * call 0.5 us while main still spins from the one before, 30 us after a pause of 200 us, 45 us after 2 ms; posted write 0.2 us with its share of
 * being applied. With both threads on one core a call costs 20 us (57 before the spins adapted). A MessagePort wakes main.
 */
export interface VcpuBusOptions {
  /** How long a call spins before it sleeps, microseconds. */
  readonly spinMicroseconds?: number
  /** Replaces sleeping; tests run main's side in it. */
  readonly wait?: () => void
}

const SPIN_MICROSECONDS = 50
/**
 * Where another process holds a core, main cannot run while this thread spins: each call then costs the whole spin (57 us seen, 14 so). So after a spin
 * in vain the next calls spin shortly, and one in PROBE_INTERVAL tries again.
 */
const SHORT_SPIN_MILLISECONDS = 0.004
const PROBE_INTERVAL = 16
/** Atomics.notify ends the sleep; the time-out only guards against a lost wake-up. */
const SLEEP_MILLISECONDS = 100
const READS_PER_CLOCK_CHECK = 64

export class VcpuBus {
  /** Local decisions made so far. */
  readonly counters = { shadowReads: 0, posts: 0, calls: 0, ringFull: 0 }
  readonly #words: Int32Array
  readonly #port: { postMessage(message: unknown): void }
  readonly #slot: number
  readonly #ring: PostRing
  readonly #spinMilliseconds: number
  readonly #wait: (() => void) | undefined
  #table: DecisionTable | undefined
  /** calls left that spin shortly, of those that woke main and of those that found it awake: that a sleeper takes long says nothing of one that looks */
  readonly #shortSpins = { asleep: 0, awake: 0 }

  constructor(connection: BusConnection, options: VcpuBusOptions = {}) {
    this.#words = new Int32Array(connection.buffer)
    this.#port = connection.port
    this.#slot = slotBase(connection.slot)
    this.#ring = new PostRing(this.#words, connection.slot)
    this.#spinMilliseconds = (options.spinMicroseconds ?? SPIN_MICROSECONDS) / 1000
    this.#wait = options.wait
  }

  /** True once main has quit: leave the run loop. Reads give all ones and writes are dropped from then on. */
  get aborted(): boolean {
    return Atomics.load(this.#words, ABORTED) === 1
  }

  /** @returns unsigned value */
  read(space: Space, address: number, size: AccessSize): number {
    const words = this.#words
    const table = this.#currentTable()
    if (table !== undefined && table.find(space, address)) {
      const { cell, page } = table
      // The pending count first, the value second: a value read while nothing was pending is the present one or newer.
      if ((Atomics.load(words, cell) & CELL_SHADOW_SIZE) === size && Atomics.load(words, PENDING + page) === 0) {
        const value = Atomics.load(words, cell + 1) >>> 0
        // The cell may have passed to another device while we looked.
        if (Atomics.load(words, TABLE_VERSION) === table.version) {
          this.counters.shadowReads++
          return value
        }
      }
    }
    this.#call(space | (size << OPERATION_SIZE_SHIFT), address, 0, 0)
    const value = words[this.#slot + S_VALUE_LOW] as number
    return size === 1 ? value & 0xff : size === 2 ? value & 0xffff : value >>> 0
  }

  write(space: Space, address: number, size: AccessSize, value: number): void {
    const table = this.#currentTable()
    if (table !== undefined) {
      if (table.isDoorbell(space, address, size, value)) {
        if (this.#post(space, address, size, value, -1)) return
      } else if (table.find(space, address)) {
        const control = Atomics.load(this.#words, table.cell)
        const isPosted = ((control >>> CELL_POSTED_SHIFT) & 0b111) === size
        if (isPosted && this.#post(space, address, size, value, control & CELL_KEEPS_SHADOW ? -1 : table.page)) return
      }
    }
    this.#call(space | OPERATION_WRITE | (size << OPERATION_SIZE_SHIFT), address, value | 0, 0)
  }

  /** One 8-byte access, as a call. */
  read64(space: Space, address: number): bigint {
    this.#call(space | (8 << OPERATION_SIZE_SHIFT), address, 0, 0)
    const low = (this.#words[this.#slot + S_VALUE_LOW] as number) >>> 0
    const high = (this.#words[this.#slot + S_VALUE_HIGH] as number) >>> 0
    return (BigInt(high) << 32n) | BigInt(low)
  }

  /** One 8-byte access, as a call. */
  write64(space: Space, address: number, value: bigint): void {
    const low = Number(BigInt.asIntN(32, value))
    const high = Number(BigInt.asIntN(32, value >> 32n))
    this.#call(space | OPERATION_WRITE | (8 << OPERATION_SIZE_SHIFT), address, low, high)
  }

  #currentTable(): DecisionTable | undefined {
    if (this.#table === undefined || this.#table.version !== Atomics.load(this.#words, TABLE_VERSION)) this.#table = DecisionTable.load(this.#words)
    return this.#table
  }

  /** False where the ring is full: the caller then makes a call, before which main applies everything in the ring. */
  #post(space: Space, address: number, size: AccessSize, value: number, page: number): boolean {
    if (this.#ring.isFull()) {
      this.counters.ringFull++
      return false
    }
    if (Atomics.load(this.#words, ABORTED) === 1) return true
    // Counted before it takes its ticket: nobody may find the shadow valid after this write has happened.
    if (page >= 0) Atomics.add(this.#words, PENDING + page, 1)
    this.#ring.push(takeTicket(this.#words), space, address, size, value, page)
    this.counters.posts++
    this.#tellMain()
    return true
  }

  /** @returns how it was found */
  #tellMain(): 'asleep' | 'awake' {
    const words = this.#words
    if (Atomics.load(words, TOLD) !== 0 || Atomics.exchange(words, TOLD, 1) !== 0) return 'awake'
    this.#port.postMessage(0)
    return 'asleep'
  }

  /** The result is left in the value words of the mailbox. */
  #call(operation: number, address: number, valueLow: number, valueHigh: number): void {
    const words = this.#words
    const slot = this.#slot
    this.counters.calls++
    words[slot + S_OPERATION] = operation
    words[slot + S_ADDRESS_LOW] = address | 0
    words[slot + S_ADDRESS_HIGH] = Math.floor(address / TWO_TO_32)
    words[slot + S_VALUE_LOW] = valueLow
    words[slot + S_VALUE_HIGH] = valueHigh
    Atomics.store(words, slot + S_STATUS, STATUS_REQUEST)
    if (this.aborted || !this.#awaitReply(this.#tellMain())) {
      words[slot + S_VALUE_LOW] = -1
      words[slot + S_VALUE_HIGH] = -1
    }
    Atomics.store(words, slot + S_STATUS, STATUS_IDLE)
  }

  /** False if main quit instead of replying. */
  #awaitReply(main: 'asleep' | 'awake'): boolean {
    const words = this.#words
    const status = this.#slot + S_STATUS
    const short = this.#shortSpins
    const spin = short[main] > 0 ? Math.min(SHORT_SPIN_MILLISECONDS, this.#spinMilliseconds) : this.#spinMilliseconds
    let reads = 0
    let deadline = 0
    let slept = false
    for (;;) {
      if (Atomics.load(words, status) === STATUS_DONE) {
        if (!slept) short[main] = 0
        return true
      }
      if (Atomics.load(words, ABORTED) === 1) return false
      if (this.#wait !== undefined) {
        this.#wait()
        continue
      }
      if (++reads % READS_PER_CLOCK_CHECK !== 0) continue
      const now = performance.now()
      if (deadline === 0) deadline = now + spin
      if (now < deadline) continue
      if (!slept) short[main] = short[main] > 0 ? short[main] - 1 : PROBE_INTERVAL - 1
      slept = true
      Atomics.store(words, this.#slot + S_SLEEPING, 1)
      Atomics.wait(words, status, STATUS_REQUEST, SLEEP_MILLISECONDS)
      Atomics.store(words, this.#slot + S_SLEEPING, 0)
    }
  }
}
