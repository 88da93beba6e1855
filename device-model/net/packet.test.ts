import { describe, expect, it } from 'vitest'
import { foldChecksum, sum16, toWire, vlanOf } from './packet.ts'

const HEADER = 12
const NEEDS_CSUM = 1
const TCPV4 = 1, TCPV6 = 4, UDP = 3

function header({ flags = 0, gso = 0, size = 0, start = 0, offset = 0 }): number[] {
  const bytes = new Uint8Array(HEADER)
  const view = new DataView(bytes.buffer)
  bytes[0] = flags
  bytes[1] = gso
  view.setUint16(4, size, true)
  view.setUint16(6, start, true)
  view.setUint16(8, offset, true)
  return [...bytes]
}

function wire(packet: number[]): { ok: boolean; frames: Uint8Array[] } {
  const frames: Uint8Array[] = []
  const ok = toWire(Uint8Array.from(packet), (frame) => void frames.push(frame.slice()))
  return { ok, frames }
}

/** A TCP segment over IPv4 as a driver gives it: no checksums. */
function tcp4(payload: number, { vlan = false, options = 0, id = 0xfffe, flags = 0x98 | 1 } = {}): number[] {
  const ip = 20, tcp = 20 + options
  return [
    ...[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], ...(vlan ? [0x81, 0, 0, 5] : []), 8, 0,
    0x45, 0, ...be16(ip + tcp + payload), ...be16(id), 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2,
    ...be16(1000), ...be16(80), ...be32(0xffff_ff00), ...be32(7), (tcp / 4) << 4, flags, ...be16(512), 0, 0, 0, 0, ...new Array<number>(options).fill(1),
    ...Array.from({ length: payload }, (_, index) => index & 0xff),
  ]
}

function tcp6(payload: number): number[] {
  const address = [0xfe, 0xc0, ...new Array<number>(13).fill(0)]
  return [
    ...[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], 0x86, 0xdd, 0x60, 0, 0, 0, ...be16(20 + payload), 6, 64, ...address, 15, ...address, 2,
    ...be16(1000), ...be16(80), ...be32(5), ...be32(7), 0x50, 0x18, ...be16(512), 0, 0, 0, 0, ...Array.from({ length: payload }, (_, index) => index & 0xff),
  ]
}

const be16 = (value: number) => [(value >> 8) & 0xff, value & 0xff]
const be32 = (value: number) => [...be16(value >>> 16), ...be16(value & 0xffff)]
const get16 = (frame: Uint8Array, at: number) => ((frame[at] ?? 0) << 8) | (frame[at + 1] ?? 0)

/** By the book, word by word: 0 for what carries a right checksum. */
function verify(...parts: Uint8Array[]): number {
  const bytes = parts.flatMap((part) => [...part])
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) + (bytes[at + 1] ?? 0)
    if (sum > 0xffff) sum -= 0xffff
  }
  return ~sum & 0xffff
}

describe('frames for a wire, of what a driver gave (virtio 1.2 section 5.1.6.2)', () => {
  it('go as they are where nothing was left open', () => {
    const frame = tcp4(3)
    expect(wire([...header({}), ...frame])).toEqual({ ok: true, frames: [Uint8Array.from(frame)] })
  })

  it('get the checksum that RFC 1071 has as its example', () => {
    const example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]
    expect(foldChecksum(sum16(Uint8Array.from(example), 0, 8))).toBe(0x220d)
    const { frames } = wire([...header({ flags: NEEDS_CSUM, start: 0, offset: 8 }), ...example, 0, 0])
    expect(get16(frames[0] ?? new Uint8Array(), 8)).toBe(0x220d)
  })

  it('carry 0xffff where the checksum comes out as zero: zero would mean none', () => {
    const { frames } = wire([...header({ flags: NEEDS_CSUM, start: 0, offset: 2 }), 0xff, 0xff, 0, 0])
    expect(get16(frames[0] ?? new Uint8Array(), 2)).toBe(0xffff)
  })

  it('are refused where the checksum would lie outside', () => {
    expect(wire([...header({ flags: NEEDS_CSUM, start: 60, offset: 0xffff }), ...tcp4(100)])).toEqual({ ok: false, frames: [] })
    expect(wire([...header({ flags: NEEDS_CSUM, start: 0xffff, offset: 0 }), ...tcp4(100)]).ok).toBe(false)
  })

  it.each([[false, 0], [true, 0], [false, 12]])('are cut to segments, each with lengths, numbers and checksums of its own (VLAN %s, %i bytes of options)', (vlan, options) => {
    const l3 = vlan ? 18 : 14
    const l4 = l3 + 20
    const data = l4 + 20 + options
    const { ok, frames } = wire([...header({ flags: NEEDS_CSUM, gso: TCPV4, size: 100, start: l4, offset: 16 }), ...tcp4(250, { vlan, options })])
    expect(ok).toBe(true)
    expect(frames.map((frame) => frame.length - data)).toEqual([100, 100, 50])
    expect(frames.flatMap((frame) => [...frame.subarray(data)])).toEqual(Array.from({ length: 250 }, (_, index) => index & 0xff))
    frames.forEach((frame, index) => {
      expect(get16(frame, l3 + 2)).toBe(frame.length - l3)
      expect(get16(frame, l3 + 4)).toBe((0xfffe + index) & 0xffff)
      expect(verify(frame.subarray(l3, l4))).toBe(0)
      expect(get16(frame, l4 + 4) * 65_536 + get16(frame, l4 + 6)).toBe((0xffff_ff00 + index * 100) % 2 ** 32)
      // PSH and FIN with the last one, CWR with the first.
      expect(frame[l4 + 13]).toBe([0x90, 0x10, 0x19][index])
      expect(verify(frame.subarray(l3 + 12, l3 + 20), Uint8Array.from([0, 6, ...be16(frame.length - l4)]), frame.subarray(l4))).toBe(0)
    })
  })

  it('are cut to segments of IPv6 too', () => {
    const { frames } = wire([...header({ flags: NEEDS_CSUM, gso: TCPV6 | 0x80, size: 1000, start: 54, offset: 16 }), ...tcp6(1001)])
    expect(frames.map((frame) => get16(frame, 18))).toEqual([1020, 21])
    for (const frame of frames) {
      expect(verify(frame.subarray(22, 54), Uint8Array.from([0, 0, ...be16(frame.length - 54), 0, 0, 0, 6]), frame.subarray(54))).toBe(0)
    }
  })

  it.each([
    ['a segment size of one byte', { gso: TCPV4, size: 1, start: 34 }],
    ['the transport header in another place', { gso: TCPV4, size: 100, start: 30 }],
    ['the transport header behind the end', { gso: TCPV4, size: 100, start: 0xfff0 }],
    ['another version of IP', { gso: TCPV6, size: 100, start: 54 }],
    ['datagrams to cut', { gso: UDP, size: 100, start: 34 }],
    ['a kind nobody knows', { gso: 0x7f, size: 100, start: 34 }],
  ])('are refused with %s', (_, fields) => {
    expect(wire([...header(fields), ...tcp4(300)])).toEqual({ ok: false, frames: [] })
  })

  it('are refused where the headers are cut off', () => {
    const whole = tcp4(0, { options: 8 })
    for (let length = 14; length < whole.length; length++) {
      expect(wire([...header({ gso: TCPV4, size: 100, start: 34 }), ...whole.slice(0, length)]), `${length} bytes`).toEqual({ ok: false, frames: [] })
    }
  })

  it('tell their VLAN', () => {
    expect(vlanOf(Uint8Array.from(tcp4(0, { vlan: true })))).toBe(5)
    expect(vlanOf(Uint8Array.from(tcp4(0)))).toBeUndefined()
  })
})
