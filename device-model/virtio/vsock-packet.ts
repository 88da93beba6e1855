/** Packets of the socket device. OASIS virtio 1.2 section 5.10.6: the header that is before everything, its operations and flags. */

export const HEADER_BYTES = 44
/** Of the host, section 5.10.4. */
export const HOST_CID = 2
export const TYPE_STREAM = 1
export const OP_REQUEST = 1, OP_RESPONSE = 2, OP_RST = 3, OP_SHUTDOWN = 4, OP_RW = 5, OP_CREDIT_UPDATE = 6, OP_CREDIT_REQUEST = 7
/** Flags of OP_SHUTDOWN: the sender will receive, or send, nothing more. */
export const SHUTDOWN_RECEIVE = 1, SHUTDOWN_SEND = 2, SHUTDOWN_BOTH = SHUTDOWN_RECEIVE | SHUTDOWN_SEND
/** Features, section 5.10.3. Of sockets with message boundaries (SEQPACKET) there are none. */
export const F_STREAM = 1n << 0n
/** The only event (5.10.6.7): connections are gone without a word. */
export const EVENT_TRANSPORT_RESET = 0, EVENT_BYTES = 4

export interface PacketHeader {
  readonly sourceCid: number
  readonly targetCid: number
  readonly sourcePort: number
  readonly targetPort: number
  /** Bytes that follow. */
  readonly length: number
  readonly type: number
  readonly op: number
  readonly flags: number
  /** Room that the sender has for a connection, and how much of what came it has passed on so far (modulo 2^32). */
  readonly bufferBytes: number
  readonly forwarded: number
}

/** @param bytes at least HEADER_BYTES; CIDs of more than 32 bits, which there are none of, come out as Infinity */
export function parseHeader(bytes: Uint8Array): PacketHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const cid = (at: number) => view.getUint32(at + 4, true) === 0 ? view.getUint32(at, true) : Infinity
  return {
    sourceCid: cid(0), targetCid: cid(8), sourcePort: view.getUint32(16, true), targetPort: view.getUint32(20, true), length: view.getUint32(24, true),
    type: view.getUint16(28, true), op: view.getUint16(30, true), flags: view.getUint32(32, true), bufferBytes: view.getUint32(36, true), forwarded: view.getUint32(40, true),
  }
}

export function formatHeader(header: PacketHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, header.sourceCid, true)
  view.setUint32(8, header.targetCid, true)
  view.setUint32(16, header.sourcePort, true)
  view.setUint32(20, header.targetPort, true)
  view.setUint32(24, header.length, true)
  view.setUint16(28, header.type, true)
  view.setUint16(30, header.op, true)
  view.setUint32(32, header.flags, true)
  view.setUint32(36, header.bufferBytes, true)
  view.setUint32(40, header.forwarded, true)
  return bytes
}
