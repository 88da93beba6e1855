/**
 * Limits on operations and bytes per second: leaky buckets on the machine's clock. A request may go while its buckets are not over their brims and is poured in whole,
 * so one of any size goes through; what follows waits until enough has leaked. Names and meaning of the limits as QEMU's throttling.* options.
 */
import type { Clock, Timer } from '../contracts.ts'

/** Per second. `max` is allowed for `maxSeconds` at a time; without it a tenth of a second's worth may come at once. */
export interface Rate {
  readonly average: number
  readonly max?: number | undefined
  readonly maxSeconds?: number | undefined
}

export interface ThrottleLimits {
  readonly opsTotal?: Rate | undefined
  readonly opsRead?: Rate | undefined
  readonly opsWrite?: Rate | undefined
  readonly bytesTotal?: Rate | undefined
  readonly bytesRead?: Rate | undefined
  readonly bytesWrite?: Rate | undefined
  /** A request of more bytes counts as several. */
  readonly opsSize?: number | undefined
}

export const RATE_NAMES = ['opsTotal', 'opsRead', 'opsWrite', 'bytesTotal', 'bytesRead', 'bytesWrite'] as const
export type RateName = (typeof RATE_NAMES)[number]

const NS_PER_SECOND = 1e9
/** Seconds' worth that a bucket holds without `max`. */
const BRIM_SECONDS = 0.1

class Bucket {
  readonly rate: Rate
  #level = 0
  #burst = 0
  #at: bigint

  constructor(rate: Rate, now: bigint) {
    this.rate = rate
    this.#at = now
  }

  pour(units: number): void {
    this.#level += units
    this.#burst += units
  }

  /** Nanoseconds until something may go. */
  wait(now: bigint): number {
    const { average, max, maxSeconds = 1 } = this.rate
    const seconds = Number(now - this.#at) / NS_PER_SECOND
    this.#at = now
    this.#level = Math.max(0, this.#level - average * seconds)
    if (max === undefined) return time(this.#level - average * BRIM_SECONDS, average)
    this.#burst = Math.max(0, this.#burst - max * seconds)
    const long = time(this.#level - max * maxSeconds, average)
    return maxSeconds > 1 ? Math.max(long, time(this.#burst - max * BRIM_SECONDS, max)) : long
  }
}

function time(over: number, rate: number): number {
  return over <= 0 ? 0 : Math.ceil(over / rate * NS_PER_SECOND)
}

type Direction = 'read' | 'write'

interface Waiting {
  readonly owner: object
  readonly bytes: number
  readonly start: () => void
}

/** What one image, or several of a group, may do. Requests of one direction go in their order. */
export class Throttle {
  readonly #clock: Clock
  #limits: ThrottleLimits = {}
  #buckets: { readonly [Name in RateName]?: Bucket } = {}
  readonly #queues: { readonly [Key in Direction]: { waiting: Waiting[]; timer: Timer | undefined } } = {
    read: { waiting: [], timer: undefined }, write: { waiting: [], timer: undefined },
  }

  constructor(limits: ThrottleLimits, clock: Clock) {
    this.#clock = clock
    this.limits = limits
  }

  get limits(): ThrottleLimits {
    return this.#limits
  }

  /** New limits hold for what waits, too. */
  set limits(limits: ThrottleLimits) {
    const now = this.#clock.now()
    this.#limits = limits
    this.#buckets = Object.fromEntries(RATE_NAMES.flatMap((name) => {
      const rate = limits[name]
      return rate === undefined ? [] : [[name, new Bucket(rate, now)]]
    }))
    this.#serve('read')
    this.#serve('write')
  }

  /** Calls `start` now or later. */
  admit(direction: Direction, bytes: number, owner: object, start: () => void): void {
    this.#queues[direction].waiting.push({ owner, bytes, start })
    if (this.#queues[direction].timer === undefined) this.#serve(direction)
  }

  /** Forgets what `owner` waits for. */
  forget(owner: object): void {
    for (const queue of Object.values(this.#queues)) queue.waiting = queue.waiting.filter((entry) => entry.owner !== owner)
  }

  #serve(direction: Direction): void {
    const queue = this.#queues[direction]
    queue.timer?.cancel()
    queue.timer = undefined
    for (let next = queue.waiting[0]; next !== undefined; next = queue.waiting[0]) {
      const now = this.#clock.now()
      const buckets = this.#of(direction)
      const wait = buckets.reduce((longest, [, bucket]) => Math.max(longest, bucket.wait(now)), 0)
      if (wait > 0) {
        queue.timer = this.#clock.schedule(now + BigInt(wait), () => {
          queue.timer = undefined
          this.#serve(direction)
        })
        return
      }
      queue.waiting.shift()
      const operations = this.#limits.opsSize === undefined ? 1 : Math.max(1, next.bytes / this.#limits.opsSize)
      for (const [name, bucket] of buckets) bucket.pour(name.startsWith('ops') ? operations : next.bytes)
      next.start()
    }
  }

  #of(direction: Direction): [RateName, Bucket][] {
    const names: RateName[] = direction === 'read' ? ['opsTotal', 'opsRead', 'bytesTotal', 'bytesRead'] : ['opsTotal', 'opsWrite', 'bytesTotal', 'bytesWrite']
    return names.flatMap((name) => {
      const bucket = this.#buckets[name]
      return bucket === undefined ? [] : [[name, bucket] as [RateName, Bucket]]
    })
  }
}
