/** One buffer that the driver made available: what the device may read and what it may write, as live views of guest memory. virtio 1.2 sections 2.7.4, 2.7.13. */

/** A piece of guest memory inside one block of RAM. The guest may change its bytes at any time: read a value once, check that copy. */
export interface Segment {
  /** guest-physical */
  readonly address: number
  readonly bytes: Uint8Array
}

export class Chain {
  /** What the driver knows it by: index of its first descriptor (split), buffer id (packed). */
  readonly id: number
  /** Places of the ring it takes (packed). */
  readonly slots: number
  /** Descriptors that were walked for it. */
  readonly descriptors: number
  readonly readable: readonly Segment[]
  readonly writable: readonly Segment[]
  /** bytes */
  readonly readableLength: number
  /** bytes */
  readonly writableLength: number

  constructor(id: number, slots: number, descriptors: number, readable: readonly Segment[], writable: readonly Segment[]) {
    this.id = id
    this.slots = slots
    this.descriptors = descriptors
    this.readable = readable
    this.writable = writable
    this.readableLength = lengthOf(readable)
    this.writableLength = lengthOf(writable)
  }
}

/**
 * Copies out of segments, which are taken as one run of bytes: a device must not care how a driver cuts a request into descriptors (2.7.4.1).
 * @param offset bytes into the run
 * @returns how many bytes of `into` were filled; fewer than its length where the run ends
 */
export function copyFrom(segments: readonly Segment[], offset: number, into: Uint8Array): number {
  let done = 0
  eachPart(segments, offset, into.length, (bytes) => {
    into.set(bytes, done)
    done += bytes.length
  })
  return done
}

/** Copies into segments, likewise. @returns how many of `bytes` found room */
export function copyTo(segments: readonly Segment[], offset: number, bytes: Uint8Array): number {
  let done = 0
  eachPart(segments, offset, bytes.length, (part) => {
    part.set(bytes.subarray(done, done + part.length))
    done += part.length
  })
  return done
}

/** The part of the run from `offset` on, at most `length` bytes. */
export function sliceSegments(segments: readonly Segment[], offset: number, length: number): Segment[] {
  const result: Segment[] = []
  eachPart(segments, offset, length, (bytes, address) => result.push({ address, bytes }))
  return result
}

export function lengthOf(segments: readonly Segment[]): number {
  let total = 0
  for (const { bytes } of segments) total += bytes.length
  return total
}

function eachPart(segments: readonly Segment[], offset: number, length: number, visit: (bytes: Uint8Array, address: number) => void): void {
  let skip = offset
  let left = length
  for (const { address, bytes } of segments) {
    if (left <= 0) return
    if (skip >= bytes.length) {
      skip -= bytes.length
      continue
    }
    const count = Math.min(left, bytes.length - skip)
    visit(bytes.subarray(skip, skip + count), address + skip)
    left -= count
    skip = 0
  }
}
