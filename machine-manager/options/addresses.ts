/** Internet addresses in options: text to bytes, networks, and ports that are forwarded. */
import { isIPv4, isIPv6 } from 'node:net'
import type { HostForward } from '../../device-model/net/user.ts'
import { optionError, printable } from './errors.ts'

const ANY = new Uint8Array(4)

/** @returns four bytes. @throws MesovirtError OPTION_VALUE */
export function parseIpv4(text: string, where: string): Uint8Array {
  if (!isIPv4(text)) throw optionError('OPTION_VALUE', where, `"${printable(text, 60)}" is no IPv4 address; write one such as 10.0.2.2`)
  return Uint8Array.from(text.split('.'), Number)
}

/** @returns sixteen bytes. @throws MesovirtError OPTION_VALUE */
export function parseIpv6(text: string, where: string): Uint8Array {
  if (!isIPv6(text) || text.includes('%')) throw optionError('OPTION_VALUE', where, `"${printable(text, 60)}" is no IPv6 address; write one such as fec0::2`)
  const bytes = new Uint8Array(16)
  const [head = '', tail] = text.split('::')
  const before = groups(head), after = tail === undefined ? [] : groups(tail)
  bytes.set(before, 0)
  bytes.set(after, 16 - after.length)
  return bytes
}

/** Bytes of `a:b:c`, whose last part may be an IPv4 address. */
function groups(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((part) => part.includes('.') ? part.split('.').map(Number) : [Number.parseInt(part, 16) >> 8, Number.parseInt(part, 16) & 0xff])
}

export interface Network {
  readonly address: Uint8Array
  readonly mask: Uint8Array
}

/** `10.0.2.0/24`, `10.0.2.0/255.255.255.0`, or without a mask by the class of the address. @throws MesovirtError OPTION_VALUE */
export function parseNetwork(text: string, where: string): Network {
  const [plain = '', suffix] = text.split('/')
  const address = parseIpv4(plain, where)
  const first = address[0] ?? 0
  const mask = suffix === undefined ? maskOf(first < 128 ? 8 : first < 192 ? 16 : 24) : suffix.includes('.') ? parseIpv4(suffix, where) : maskOf(prefix(suffix, 4, 30, where))
  return { address: address.map((byte, index) => byte & (mask[index] ?? 0)), mask }
}

/** `fec0::/64`. @throws MesovirtError OPTION_VALUE */
export function parseNetwork6(text: string, where: string): { readonly address: Uint8Array; readonly length: number } {
  const [plain = '', suffix] = text.split('/')
  return { address: parseIpv6(plain, where), length: suffix === undefined ? 64 : prefix(suffix, 0, 126, where) }
}

function prefix(text: string, min: number, max: number, where: string): number {
  const length = /^\d{1,3}$/.test(text) ? Number(text) : NaN
  if (length >= min && length <= max) return length
  throw optionError('OPTION_VALUE', where, `"${printable(text, 20)}" is no length of a network; write a number between ${min} and ${max}`)
}

function maskOf(length: number): Uint8Array {
  return Uint8Array.from([0, 1, 2, 3], (index) => (0xff00 >> Math.max(0, Math.min(8, length - index * 8))) & 0xff)
}

/** The host in a network with this number; only what the mask leaves free of it counts. @param number up to 65535 */
export function hostIn({ address, mask }: Network, number: number): Uint8Array {
  return address.map((byte, index) => byte | (index < 2 ? 0 : (number >> ((3 - index) * 8)) & 0xff & ~(mask[index] ?? 0)))
}

/** `[tcp|udp]:[HOST]:PORT-[GUEST]:PORT`. @throws MesovirtError OPTION_VALUE */
export function parseForward(text: string, where: string): HostForward {
  const match = /^(tcp|udp)?:([^:-]*):(\d{1,5})-([^:-]*):(\d{1,5})$/.exec(text)
  const hostPort = Number(match?.[3]), guestPort = Number(match?.[5])
  if (match === null || hostPort > 65_535 || guestPort < 1 || guestPort > 65_535) {
    throw optionError('OPTION_VALUE', where, `"${printable(text, 60)}" is no rule; write one such as tcp:127.0.0.1:2222-:22`)
  }
  const [, protocol, host = '', , guest = ''] = match
  return {
    protocol: protocol === 'udp' ? 'udp' : 'tcp', hostAddress: host === '' ? ANY : parseIpv4(host, where), hostPort, guestAddress: guest === '' ? ANY : parseIpv4(guest, where), guestPort,
  }
}
