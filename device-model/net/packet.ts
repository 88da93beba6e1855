/**
 * What a card without helpers on the other side has to do itself: the Internet checksum that a driver left open, and cutting long TCP segments. The header is that of OASIS
 * virtio 1.2 section 5.1.6; IPv4 RFC 791, IPv6 RFC 8200 without extension headers, TCP RFC 9293, checksums RFC 1071. Cutting UDP datagrams is left out.
 */

export const NET_HEADER = 12
export const HDR_F_NEEDS_CSUM = 1, HDR_F_DATA_VALID = 2
export const GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4
const GSO_ECN = 0x80

const ETHERNET = 14, VLAN_TAG = 4
const TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_VLAN = 0x8100, TYPE_SERVICE_VLAN = 0x88a8
const TCP = 6
const FIN_PSH = 0x09, CWR = 0x80
/** Linux sends none smaller (tcp_min_snd_mss). A smaller one would make thousands of frames of one buffer. */
const SMALLEST_SEGMENT = 48

/** Sum of big-endian 16-bit words, not folded. @returns less than 2^53 for whatever fits into memory */
export function sum16(bytes: Uint8Array, from: number, to: number, start = 0): number {
  let sum = start
  let at = from
  for (; at + 1 < to; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
  if (at < to) sum += (bytes[at] ?? 0) << 8
  return sum
}

/** The checksum as it is stored; 0 becomes 0xffff, which means the same and, for UDP, not "none". */
export function foldChecksum(sum: number): number {
  let folded = sum
  while (folded > 0xffff) folded = (folded % 0x1_0000) + Math.floor(folded / 0x1_0000)
  return (~folded & 0xffff) || 0xffff
}

/**
 * Turns what a driver gave into frames as they go over a wire.
 * @param packet header and frame; the frame may be changed
 * @param send gets each frame; it is valid during the call
 * @returns false where the header makes no sense: nothing was sent
 */
export function toWire(packet: Uint8Array, send: (frame: Uint8Array) => void): boolean {
  const header = new DataView(packet.buffer, packet.byteOffset, NET_HEADER)
  const frame = packet.subarray(NET_HEADER)
  const type = header.getUint8(1) & ~GSO_ECN
  const start = header.getUint16(6, true)
  if (type !== GSO_NONE) {
    if (type !== GSO_TCPV4 && type !== GSO_TCPV6) return false
    return segment(frame, header.getUint16(4, true), start, type === GSO_TCPV4, send)
  }
  if ((header.getUint8(0) & HDR_F_NEEDS_CSUM) !== 0) {
    const place = start + header.getUint16(8, true)
    if (place + 2 > frame.length) return false
    put16(frame, place, foldChecksum(sum16(frame, start, frame.length)))
  }
  send(frame)
  return true
}

function segment(frame: Uint8Array, size: number, transport: number, isV4: boolean, send: (frame: Uint8Array) => void): boolean {
  const network = networkHeader(frame, isV4 ? TYPE_IPV4 : TYPE_IPV6)
  if (network === undefined || size < SMALLEST_SEGMENT || transport + 20 > frame.length) return false
  const networkLength = isV4 ? (byte(frame, network) & 15) * 4 : 40
  const protocol = byte(frame, network + (isV4 ? 9 : 6))
  const headers = transport + (byte(frame, transport + 12) >> 4) * 4
  if (networkLength < 20 || transport !== network + networkLength || protocol !== TCP || headers < transport + 20 || headers > frame.length) return false
  const sequence = get32(frame, transport + 4)
  const flags = byte(frame, transport + 13)
  const id = get16(frame, network + 4)
  const one = new Uint8Array(headers + size)
  one.set(frame.subarray(0, headers))
  // Source and destination, protocol: what of the pseudo header does not change.
  const pseudo = sum16(frame, network + (isV4 ? 12 : 8), network + (isV4 ? 20 : 40), TCP)
  let number = 0
  for (let at = headers; at < frame.length || number === 0; at += size, number++) {
    const data = frame.subarray(at, Math.min(at + size, frame.length))
    const isLast = at + size >= frame.length
    const length = headers + data.length
    one.set(data, headers)
    if (isV4) {
      put16(one, network + 2, length - network)
      put16(one, network + 4, (id + number) & 0xffff)
      put16(one, network + 10, 0)
      put16(one, network + 10, foldChecksum(sum16(one, network, transport)))
    } else put16(one, network + 4, length - transport)
    put32(one, transport + 4, (sequence + at - headers) >>> 0)
    one[transport + 13] = flags & ~(isLast ? 0 : FIN_PSH) & ~(number === 0 ? 0 : CWR)
    put16(one, transport + 16, 0)
    put16(one, transport + 16, foldChecksum(sum16(one, transport, length, pseudo + length - transport)))
    send(one.subarray(0, length))
  }
  return true
}

/** Where the header behind Ethernet and VLAN tags begins, if it is of this type and whole. */
function networkHeader(frame: Uint8Array, type: number): number | undefined {
  let at = ETHERNET
  for (let tags = 0; tags < 2 && isVlan(get16(frame, at - 2)); tags++) at += VLAN_TAG
  const version = type === TYPE_IPV4 ? 4 : 6
  return get16(frame, at - 2) === type && byte(frame, at) >> 4 === version ? at : undefined
}

function isVlan(type: number): boolean {
  return type === TYPE_VLAN || type === TYPE_SERVICE_VLAN
}

/** The VLAN a frame belongs to, undefined where it has no tag. */
export function vlanOf(frame: Uint8Array): number | undefined {
  return get16(frame, 12) === TYPE_VLAN ? get16(frame, 14) & 0xfff : undefined
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0
}

function get16(bytes: Uint8Array, at: number): number {
  return (byte(bytes, at) << 8) | byte(bytes, at + 1)
}

function get32(bytes: Uint8Array, at: number): number {
  return (get16(bytes, at) * 0x1_0000) + get16(bytes, at + 2)
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8
  bytes[at + 1] = value
}

function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16)
  put16(bytes, at + 2, value & 0xffff)
}
