/** Test part: the thread of back-end.fixture.ts. It waits in poll(2), never in an event loop, so that it answers while main waits for it. */
import fs from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { receiveFds, sendFds } from '../../host/fd-passing.ts'
import { ffi, viewOf } from '../../host/ffi.ts'
import type { BackEndTask } from './back-end.fixture.ts'

const { path, service, features, protocol, queues, mischief, stop } = workerData as BackEndTask & { stop: Int32Array }
const { libc, libraries } = ffi()
const bind = libraries.c.func('int bind(int fd, void* address, uint length)') as (fd: number, address: Uint8Array, length: number) => number
const listen = libraries.c.func('int listen(int fd, int backlog)') as (fd: number, backlog: number) => number
const accept = libraries.c.func('int accept(int fd, void* address, void* length)') as (fd: number, address: null, length: null) => number

const GET_FEATURES = 1, SET_MEM_TABLE = 5, SET_VRING_NUM = 8, SET_VRING_ADDR = 9, SET_VRING_BASE = 10, GET_VRING_BASE = 11, SET_VRING_KICK = 12, SET_VRING_CALL = 13
const GET_PROTOCOL_FEATURES = 15, GET_QUEUE_NUM = 17, SET_VRING_ENABLE = 18
const NEED_REPLY = 8, REPLY = 5
const NEXT = 1, WRITE = 2

interface Ring { size: number; addresses: number[]; next: number; used: number; kick: number; call: number; enabled: boolean; kept: number[] }
interface Region { readonly guest: number; readonly size: number; readonly user: number; readonly bytes: Uint8Array }

const requests: number[] = []
let regions: Region[] = []
const rings: Ring[] = Array.from({ length: queues }, () => ({ size: 0, addresses: [], next: 0, used: 0, kick: -1, call: -1, enabled: false, kept: [] }))
const ring = (index: number): Ring => rings[index] ?? (() => { throw new Error(`no ring ${index}`) })()

function at(address: number, length: number, by: 'guest' | 'user'): Uint8Array {
  const region = regions.find((one) => address >= one[by] && address + length <= one[by] + one.size)
  if (region === undefined) throw new Error(`${by} address 0x${address.toString(16)} is in no region`)
  return region.bytes.subarray(address - region[by], address - region[by] + length)
}

function waitFor(fds: readonly number[], milliseconds: number): boolean[] {
  const entries = new DataView(new ArrayBuffer(8 * fds.length))
  fds.forEach((fd, index) => {
    entries.setInt32(index * 8, fd, true)
    entries.setInt16(index * 8 + 4, 1, true)
  })
  const bytes = new Uint8Array(entries.buffer)
  libc.poll(bytes, fds.length, milliseconds)
  return fds.map((_, index) => entries.getInt16(index * 8 + 6, true) !== 0)
}

const address = new Uint8Array(110)
address[0] = 1
address.set(Buffer.from(path), 2)
fs.rmSync(path, { force: true })
const listener = libc.socket(1, 1 | 0o2000000, 0)
if (bind(listener, address, address.length) !== 0 || listen(listener, 5) !== 0) throw new Error(`cannot listen at ${path}`)
parentPort?.postMessage('listening')

function receive(connection: number, length: number): { bytes: Uint8Array; fds: number[] } | undefined {
  const bytes = new Uint8Array(length)
  const fds: number[] = []
  for (let done = 0; done < length && stop[0] === 0;) {
    const part = receiveFds(connection, length - done)
    if (part === undefined) {
      waitFor([connection], 20)
      continue
    }
    if (part.data.length === 0) return undefined
    bytes.set(part.data, done)
    fds.push(...part.fds)
    done += part.data.length
  }
  return stop[0] === 0 ? { bytes, fds } : undefined
}

const u64 = (value: bigint) => new Uint8Array(BigUint64Array.of(value).buffer)

/** @returns false at the end of the connection */
function serveRequest(connection: number): boolean {
  const head = receive(connection, 12)
  if (head === undefined) return false
  const [request = 0, flags = 0, size = 0] = new Uint32Array(head.bytes.buffer)
  const body = size === 0 ? { bytes: new Uint8Array(0), fds: [] } : receive(connection, size)
  if (body === undefined) return false
  requests.push(request)
  const answer = (payload: Uint8Array) => {
    if (mischief?.kind === 'silent' && mischief.request === request) return
    const instead = mischief?.kind === 'answers' && mischief.request === request ? Uint8Array.from(mischief.bytes) : undefined
    sendFds(connection, instead ?? Buffer.concat([new Uint8Array(Uint32Array.of(request, REPLY, payload.length).buffer), payload]), [])
  }
  if (mischief?.kind === 'closes' && mischief.request === request) return false
  const own = obey(request, new DataView(body.bytes.buffer), [...head.fds, ...body.fds])
  if (own !== undefined) answer(own)
  else if ((flags & NEED_REPLY) !== 0) answer(u64(0n))
  return true
}

function obey(request: number, body: DataView, fds: number[]): Uint8Array | undefined {
  const index = body.byteLength >= 4 ? body.getUint32(0, true) : 0
  const number = body.byteLength >= 8 ? body.getUint32(4, true) : 0
  switch (request) {
    case GET_FEATURES: return u64(features)
    case GET_PROTOCOL_FEATURES: return u64(protocol)
    case GET_QUEUE_NUM: return u64(BigInt(queues))
    case SET_MEM_TABLE:
      regions = fds.map((fd, entry) => {
        const field = (offset: number) => Number(body.getBigUint64(8 + entry * 32 + offset, true))
        const mapped = libc.mmap(0, field(8), 3, 1, fd, field(24))
        fs.closeSync(fd)
        return { guest: field(0), size: field(8), user: field(16), bytes: new Uint8Array(viewOf(mapped, field(8))) }
      })
      return undefined
    case SET_VRING_NUM: ring(index).size = number; return undefined
    case SET_VRING_BASE: Object.assign(ring(index), { next: number, used: number, kept: [] }); return undefined
    case SET_VRING_ADDR: ring(index).addresses = [8, 16, 24].map((offset) => Number(body.getBigUint64(offset, true))); return undefined
    case SET_VRING_KICK: ring(index).kick = fds[0] ?? -1; return undefined
    case SET_VRING_CALL: ring(index).call = fds[0] ?? -1; return undefined
    case SET_VRING_ENABLE: ring(index).enabled = number === 1; return undefined
    case GET_VRING_BASE: {
      const one = ring(index)
      one.enabled = false
      for (const fd of [one.kick, one.call]) if (fd >= 0) fs.closeSync(fd)
      one.kick = one.call = -1
      return new Uint8Array(Uint32Array.of(index, one.next).buffer)
    }
    default: return undefined
  }
}

function parts(one: Ring) {
  const [descriptors = 0, used = 0, available = 0] = one.addresses
  const view = (place: number, length: number) => {
    const bytes = at(place, length, 'user')
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
  return { descriptors: view(descriptors, one.size * 16), available: view(available, 6 + one.size * 2), used: view(used, 6 + one.size * 8) }
}

/** @returns the next buffer of a ring */
function pop(one: Ring): { head: number; readable: Uint8Array[]; writable: Uint8Array[] } | undefined {
  const { descriptors, available } = parts(one)
  if (available.getUint16(2, true) === one.next) return undefined
  const head = available.getUint16(4 + one.next % one.size * 2, true)
  one.next = (one.next + 1) & 0xffff
  const readable: Uint8Array[] = [], writable: Uint8Array[] = []
  for (let index = head; ;) {
    const place = index * 16
    const flags = descriptors.getUint16(place + 12, true)
    const bytes = at(Number(descriptors.getBigUint64(place, true)), descriptors.getUint32(place + 8, true), 'guest')
    if ((flags & WRITE) !== 0) writable.push(bytes)
    else readable.push(bytes)
    if ((flags & NEXT) === 0) return { head, readable, writable }
    index = descriptors.getUint16(place + 14, true)
  }
}

function push(one: Ring, head: number, written: number): void {
  if (mischief?.kind === 'keeps') return
  const { used } = parts(one)
  used.setUint32(4 + one.used % one.size * 8, mischief?.kind === 'other-buffers' ? head ^ 1 : head, true)
  used.setUint32(8 + one.used % one.size * 8, written, true)
  one.used = (one.used + 1) & 0xffff
  used.setUint16(2, mischief?.kind === 'runs-ahead' ? one.used + 100 : one.used, true)
  if (one.call >= 0) libc.write(one.call, u64BytesOfOne, 8)
}
const u64BytesOfOne = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)

function copy(bytes: Uint8Array, writable: readonly Uint8Array[]): number {
  let done = 0
  for (const part of writable) {
    const piece = bytes.subarray(done, done + part.length)
    part.set(piece)
    done += piece.length
  }
  return done
}

const OWN_MAC = [2, 0, 0, 0, 0, 1]
const NET_HEADER = 12

/** What a host answers to a frame behind its virtio header: to an ARP request, and to a ping over IPv4. */
function answerOf(packet: Buffer): Buffer | undefined {
  const answer = Buffer.from(packet)
  const frame = answer.subarray(NET_HEADER)
  frame.copyWithin(0, 6, 12)
  frame.set(OWN_MAC, 6)
  const type = frame.readUInt16BE(12)
  if (type === 0x0806 && frame.readUInt16BE(20) === 1) {
    const asked = Buffer.from(frame.subarray(38, 42))
    frame.writeUInt16BE(2, 20)
    frame.copyWithin(32, 22, 32)
    frame.set(OWN_MAC, 22)
    frame.set(asked, 28)
    return answer
  }
  const ip = 14, icmp = 34
  if (type !== 0x0800 || frame[ip + 9] !== 1 || frame[icmp] !== 8) return undefined
  const source = Buffer.from(frame.subarray(ip + 12, ip + 16))
  frame.copyWithin(ip + 12, ip + 16, ip + 20)
  frame.set(source, ip + 16)
  frame[icmp] = 0
  const checksum = frame.readUInt16BE(icmp + 2) + 0x0800
  frame.writeUInt16BE(checksum > 0xffff ? checksum - 0xffff : checksum, icmp + 2)
  return answer
}

function serveRing(index: number): void {
  const one = ring(index)
  if (!one.enabled || one.kick < 0) return
  if (service === 'echo') {
    for (let chain = pop(one); chain !== undefined; chain = pop(one)) push(one, chain.head, copy(Buffer.concat(chain.readable), chain.writable))
  } else if (index % 2 === 1) {
    const receiver = ring(index - 1)
    for (let chain = pop(one); chain !== undefined; chain = pop(one)) {
      push(one, chain.head, 0)
      const sent = Buffer.concat(chain.readable)
      const answer = service === 'host' ? answerOf(sent) : sent
      const buffer = answer !== undefined && receiver.enabled ? pop(receiver) : undefined
      if (answer !== undefined && buffer !== undefined) push(receiver, buffer.head, copy(answer, buffer.writable))
    }
  }
}

const drained = new Uint8Array(8)
while (stop[0] === 0) {
  if (!waitFor([listener], 20)[0]) continue
  const connection = accept(listener, null, null)
  for (let alive = true; alive && stop[0] === 0;) {
    const kicks = rings.flatMap(({ kick }, index) => kick < 0 ? [] : [{ kick, index }])
    const [asked = false, ...rung] = waitFor([connection, ...kicks.map(({ kick }) => kick)], 20)
    rung.forEach((isRung, which) => {
      const { kick, index } = kicks[which] ?? { kick: -1, index: 0 }
      if (!isRung) return
      libc.read(kick, drained, 8)
      serveRing(index)
    })
    // Enabled after the kick came.
    for (let index = 0; index < queues; index++) serveRing(index)
    if (asked) alive = serveRequest(connection)
  }
  for (const one of rings) {
    for (const fd of [one.kick, one.call]) if (fd >= 0) fs.closeSync(fd)
    Object.assign(one, { kick: -1, call: -1, enabled: false })
  }
  fs.closeSync(connection)
}
fs.closeSync(listener)
parentPort?.postMessage(requests)
