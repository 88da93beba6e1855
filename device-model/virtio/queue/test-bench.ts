/** Test part: a queue with guest memory, its driver, and a host that remembers what the queue asked for. */
import { GuestMemory } from '../../../address-space/guest-memory.ts'
import { VirtqDriver } from '../virtq-driver.ts'
import { RingFault } from './faults.ts'
import { openQueue } from './open.ts'
import type { QueueHost, VirtQueue } from './queue.ts'

export const RAM_SIZE = 0x10_0000
export const RINGS = 0x1000
export const TABLES = 0x8_0000
export const TABLE_LENGTH = 32
export const DATA = 0x4_0000

export interface BenchOptions {
  readonly packed?: boolean
  readonly size?: number
  readonly eventIndex?: boolean
  readonly indirect?: boolean
  readonly memory?: GuestMemory
}

export class Host implements QueueHost {
  interrupts = 0
  readonly faults: string[] = []
  readonly deferred: (() => void)[] = []

  interrupt(): void { this.interrupts++ }
  broken(fault: string): void { this.faults.push(fault) }
  defer(callback: () => void): void { this.deferred.push(callback) }

  /** @returns how many turns it took until nothing was left to do */
  runDeferred(limit = 1000): number {
    let turns = 0
    for (let next = this.deferred.shift(); next !== undefined && turns < limit; next = this.deferred.shift()) {
      turns++
      next()
    }
    return turns
  }
}

export function newMemory(size = RAM_SIZE): GuestMemory {
  return new GuestMemory([{ guestAddress: 0, size, bytes: new Uint8Array(new SharedArrayBuffer(size)), hostOffset: 0 }])
}

export class Bench {
  readonly memory: GuestMemory
  readonly driver: VirtqDriver
  readonly host = new Host()
  queue: VirtQueue
  readonly #options: BenchOptions

  constructor(options: BenchOptions = {}) {
    const { packed = false, size = 8, eventIndex = false, memory = newMemory() } = options
    this.#options = options
    this.memory = memory
    this.driver = VirtqDriver.create({ memory, size, base: RINGS, packed, eventIndex, tables: { base: TABLES, tableLength: TABLE_LENGTH } })
    this.queue = this.open()
  }

  open(state?: unknown): VirtQueue {
    const { packed = false, size = 8, eventIndex = false, indirect = true } = this.#options
    const { descriptors, driverArea, deviceArea } = this.driver
    const layout = { size, descriptors, driver: driverArea, device: deviceArea }
    const queue = openQueue(packed, layout, this.memory, { indirect, eventIndex }, this.host, state)
    if (queue instanceof RingFault) throw queue
    return queue
  }

  /** One buffer of one writable element. */
  addWritable(length = 16, address = DATA): number {
    const id = this.driver.add({ writable: [{ address, length }] })
    if (id === undefined) throw new Error('the ring is full')
    return id
  }
}
