/** Memory statistics that a guest gives through its balloon: OASIS virtio 1.2 section 5.5.6.5, under QEMU's names. */

/** By tag. Linux has more of them than the standard names. */
const NAMES = [
  'stat-swap-in', 'stat-swap-out', 'stat-major-faults', 'stat-minor-faults', 'stat-free-memory', 'stat-total-memory', 'stat-available-memory', 'stat-disk-caches',
  'stat-htlb-pgalloc', 'stat-htlb-pgfail',
] as const

/** struct virtio_balloon_stat: u16 tag, u64 value, packed */
const ENTRY_BYTES = 10, VALUE = 2
/** Larger buffers are looked at as far as this. */
export const MOST_STATISTICS_BYTES = 64 * ENTRY_BYTES

export interface StatisticsReport {
  /** Bytes or counts. */
  readonly stats: Readonly<Record<string, number>>
  /** Seconds since 1970; 0: never. */
  readonly lastUpdate: number
}

export class BalloonStatistics {
  readonly #now: () => number
  #report: StatisticsReport = { stats: {}, lastUpdate: 0 }

  /** @param now milliseconds since 1970 */
  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  get report(): StatisticsReport {
    return this.#report
  }

  /** @param bytes as the guest sent them */
  take(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const stats: Record<string, number> = {}
    for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
      const name = NAMES[view.getUint16(at, true)]
      // A tag that nobody knows may come from a newer guest.
      if (name !== undefined) stats[name] = Number(view.getBigUint64(at + VALUE, true))
    }
    this.#report = { stats, lastUpdate: Math.floor(this.#now() / 1000) }
  }
}
