/** The host's end of a network card: the one interface between a card and what carries its frames. */

/** What a card tells its backend it can digest, where frames travel with a header (`hasHeader`). */
export interface GuestOffloads {
  readonly checksum: boolean
  readonly tso4: boolean
  readonly tso6: boolean
  readonly ecn: boolean
  readonly ufo: boolean
}

/** The card, as its backend knows it. Calls come in any order and at any time; none of them may come from inside `take` or `send`. */
export interface NetPeer {
  /** There are frames to take, after a `take` that found none. */
  readable(queue: number): void
  /** `ready` is true again. */
  writable(queue: number): void
  /** `connected` has another value. */
  linkChanged(): void
}

/**
 * Carries Ethernet frames without checksum sequence. The card pulls: what it does not take the backend holds, or drops beyond a bound, as fits it.
 * It never throws for what the other side does: it counts, logs once, and says so by `connected`.
 */
export interface NetBackend {
  readonly id: string
  /** `user`, `stream`, `tap` or `vhost-user`. */
  readonly kind: string
  /** For people: `unix:/run/passt.sock`. */
  readonly description: string
  /** Queue pairs. */
  readonly queues: number
  /** A virtio-net header of 12 bytes is in front of each frame, both ways: the other side computes checksums and cuts segments itself. */
  readonly hasHeader: boolean
  /** Frames come from this process or this host and their checksums are right: the guest need not look. */
  readonly trusted: boolean
  readonly connected: boolean
  /** At most one card at a time; null: nobody, frames are dropped. */
  attach(peer: NetPeer | null): void
  /** The next frame, valid until the next call. Undefined: none now, `readable` tells. */
  take(queue: number): Uint8Array | undefined
  /** Whether `send` finds room. Where not, `writable` tells. */
  ready(queue: number): boolean
  /** Takes the frame; the caller may reuse the array. Without room it is dropped. */
  send(frame: Uint8Array, queue: number): void
  /** After a run of `send`. */
  commit(queue: number): void
  /** Only with `hasHeader`. */
  setOffloads?(offloads: GuestOffloads): void
  /** How many queue pairs carry frames from now on. */
  setQueues?(count: number): void
  close(): Promise<void>
}

/** Longest frame: 64 KiB of IPv6 behind an Ethernet header with two VLAN tags. */
export const MAX_FRAME = 65_535 + 40 + 14 + 8
