/** Messages of the vhost-user protocol as the front end sends and reads them. QEMU's docs/interop/vhost-user.rst, "Message Specification". Host byte order: little-endian. */

/** Front-end message types. Migration, IOMMU, postcopy, in-flight buffers and configuration space are left out. */
export const REQUESTS = {
  getFeatures: 1, setFeatures: 2, setOwner: 3, setMemTable: 5, setVringNum: 8, setVringAddr: 9, setVringBase: 10, getVringBase: 11, setVringKick: 12, setVringCall: 13,
  getProtocolFeatures: 15, setProtocolFeatures: 16, getQueueNum: 17, setVringEnable: 18,
} as const
export type Request = (typeof REQUESTS)[keyof typeof REQUESTS]

/** Feature bit of the protocol itself. */
export const F_PROTOCOL_FEATURES = 1n << 30n
/** Protocol features. */
export const P_MQ = 1n << 0n, P_REPLY_ACK = 1n << 3n

export const HEADER_BYTES = 12
/** Answers that we ask for have 8 bytes; a larger one is not read. */
export const MOST_PAYLOAD = 4096
/** Memory regions that every back end takes. */
export const MOST_REGIONS = 8

const VERSION = 1, FLAG_REPLY = 1 << 2, FLAG_NEED_REPLY = 1 << 3, VERSION_MASK = 3

export interface Header {
  readonly request: number
  readonly size: number
}

/** A piece of memory that the back end maps. */
export interface MemoryRegion {
  readonly guestAddress: number
  readonly size: number
  /** What rings are addressed by; the back end does not use it otherwise. */
  readonly userAddress: number
  readonly fd: number
  readonly fdOffset: number
}

export function message(request: Request, payload: Uint8Array, needsReply: boolean): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length)
  bytes.set(new Uint8Array(Uint32Array.of(request, VERSION | (needsReply ? FLAG_NEED_REPLY : 0), payload.length).buffer))
  bytes.set(payload, HEADER_BYTES)
  return bytes
}

/** @returns what is wrong instead, where it is no reply to `request` */
export function parseReply(bytes: Uint8Array, request: Request): Header | string {
  const [type = 0, flags = 0, size = 0] = new Uint32Array(bytes.slice(0, HEADER_BYTES).buffer)
  if ((flags & VERSION_MASK) !== VERSION) return `it speaks version ${flags & VERSION_MASK} of the protocol`
  if ((flags & FLAG_REPLY) === 0) return 'it asks where it should answer'
  if (type !== request) return `it answers request ${type} instead of ${request}`
  if (size > MOST_PAYLOAD) return `its answer has ${size} bytes`
  return { request: type, size }
}

export function u64(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(value).buffer)
}

/** struct vring_state: index and number */
export function vringState(index: number, number: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(index, number).buffer)
}

/** struct vhost_vring_addr, without a log. @param places user addresses */
export function vringAddresses(index: number, places: { readonly descriptors: number; readonly used: number; readonly available: number }): Uint8Array {
  const bytes = new Uint8Array(40)
  bytes.set(vringState(index, 0))
  bytes.set(new Uint8Array(BigUint64Array.of(BigInt(places.descriptors), BigInt(places.used), BigInt(places.available), 0n).buffer), 8)
  return bytes
}

/** @param regions 1 to MOST_REGIONS; their descriptors travel beside, in this order */
export function memoryTable(regions: readonly MemoryRegion[]): Uint8Array {
  const entries = regions.flatMap(({ guestAddress, size, userAddress, fdOffset }) => [guestAddress, size, userAddress, fdOffset].map(BigInt))
  const bytes = new Uint8Array(8 + entries.length * 8)
  bytes.set(vringState(regions.length, 0))
  bytes.set(new Uint8Array(BigUint64Array.from(entries).buffer), 8)
  return bytes
}
