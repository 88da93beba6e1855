/** The clocks a machine can run on: the host's monotonic clock, and a virtual one that only moves when told (test accelerator, unit tests). */
import type { Clock, Timer } from './contracts.ts'

const NS_PER_MS = 1_000_000n
/** setTimeout turns a longer delay into 1 ms. */
const MAX_DELAY_MS = 2_147_483_647

interface Appointment {
  readonly at: bigint
  readonly callback: () => void
  handle: NodeJS.Timeout | undefined
}

/** Host time since construction, without the time spent paused. Timers have millisecond resolution and never fire early. */
export class HostClock implements Clock {
  readonly #read: () => bigint
  #origin: bigint
  #pausedAt: bigint | undefined
  readonly #appointments = new Set<Appointment>()

  /** @param startNs what `now()` answers first (a restored machine continues where it was); @param read host nanoseconds, monotonic */
  constructor(startNs = 0n, read: () => bigint = () => process.hrtime.bigint()) {
    this.#read = read
    this.#origin = read() - startNs
  }

  now(): bigint {
    return this.#pausedAt ?? this.#read() - this.#origin
  }

  schedule(atNs: bigint, callback: () => void): Timer {
    const appointment: Appointment = { at: atNs, callback, handle: undefined }
    this.#appointments.add(appointment)
    if (this.#pausedAt === undefined) this.#arm(appointment)
    return {
      cancel: () => {
        clearTimeout(appointment.handle)
        this.#appointments.delete(appointment)
      },
    }
  }

  /** Stops time for the guest: `now()` stands still and no timer fires. */
  pause(): void {
    if (this.#pausedAt !== undefined) return
    this.#pausedAt = this.now()
    for (const appointment of this.#appointments) clearTimeout(appointment.handle)
  }

  resume(): void {
    if (this.#pausedAt === undefined) return
    this.#origin = this.#read() - this.#pausedAt
    this.#pausedAt = undefined
    for (const appointment of this.#appointments) this.#arm(appointment)
  }

  #arm(appointment: Appointment): void {
    const wait = appointment.at - this.now()
    const delay = wait <= 0n ? 0 : Math.min(Number((wait + NS_PER_MS - 1n) / NS_PER_MS), MAX_DELAY_MS)
    appointment.handle = setTimeout(() => {
      if (this.now() < appointment.at) return this.#arm(appointment)
      this.#appointments.delete(appointment)
      appointment.callback()
    }, delay)
  }
}

/** Time that moves only through `advance`. Appointments run in order of time, then of making. */
export class VirtualClock implements Clock {
  #now: bigint
  #appointments: { at: bigint; callback: () => void }[] = []

  constructor(startNs = 0n) {
    this.#now = startNs
  }

  now(): bigint {
    return this.#now
  }

  schedule(atNs: bigint, callback: () => void): Timer {
    const appointment = { at: atNs, callback }
    const behind = this.#appointments.findIndex((other) => other.at > atNs)
    this.#appointments.splice(behind < 0 ? this.#appointments.length : behind, 0, appointment)
    return {
      cancel: () => {
        this.#appointments = this.#appointments.filter((other) => other !== appointment)
      },
    }
  }

  /** Moves time forward by `ns` and runs what falls due, each at its own time; appointments made meanwhile included. */
  advance(ns: bigint): void {
    const target = this.#now + ns
    for (;;) {
      const next = this.#appointments[0]
      if (next === undefined || next.at > target) break
      this.#appointments.shift()
      if (next.at > this.#now) this.#now = next.at
      next.callback()
    }
    this.#now = target
  }

  /** Time of the earliest appointment, if there is one. */
  nextAt(): bigint | undefined {
    return this.#appointments[0]?.at
  }
}
