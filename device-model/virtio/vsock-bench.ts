/** Test part: a socket device with its driver, and programs of the host that are ends of streams in the test's hand. */
import { duplexPair } from 'node:stream'
import type { Duplex } from 'node:stream'
import { VirtualClock } from '../clock.ts'
import { VirtioMmio } from './mmio.ts'
import { MmioDriver } from './mmio-driver.ts'
import { newMemory } from './queue/test-bench.ts'
import { VirtioVsock } from './vsock.ts'
import type { VsockCall, VsockHostSide } from './vsock.ts'

const VSOCK = 19
const DATA = 0x8_0000
const HEADER = 44
export const CID = 7
export const RX = 0, TX = 1, EVENT = 2

/** A packet, the numbers of its header under the specification's names. */
export interface Packet {
  readonly src_cid: number
  readonly dst_cid: number
  readonly src_port: number
  readonly dst_port: number
  readonly len: number
  readonly type: number
  readonly op: number
  readonly flags: number
  readonly buf_alloc: number
  readonly fwd_cnt: number
  readonly data: string
}

class TestHostSide implements VsockHostSide {
  /** Ports where somebody listens, and the ends that those have got. */
  readonly served = new Map<number, Duplex[]>()
  handler: ((call: VsockCall) => void) | null = null
  connect(port: number, done: (stream: Duplex | undefined) => void): void {
    const ends = this.served.get(port)
    if (ends === undefined) return void setImmediate(done, undefined)
    const [near, far] = duplexPair()
    ends.push(far)
    far.on('error', () => undefined)
    setImmediate(done, near)
  }

  onCall(handler: ((call: VsockCall) => void) | null): void { this.handler = handler }
}

/** Lets streams do what they have to do. */
export async function settle(turns = 12): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => { setImmediate(resolve) })
}

export function vsockBench({ packed = false, queueSize = 64, rxBytes = 4096, state }: { packed?: boolean; queueSize?: number; rxBytes?: number; state?: unknown } = {}) {
  const memory = newMemory(0x40_0000)
  const clock = new VirtualClock()
  const logged: string[] = []
  const events = { log: (message: string) => logged.push(message) }
  const hostSide = new TestHostSide()
  const wiring = { guestCid: CID, hostSide, clock, events }
  const device = state === undefined ? VirtioVsock.create(wiring) : VirtioVsock.fromState(state, wiring)
  const irq = { setLevel: () => undefined, pulse: () => undefined }
  const mmio = VirtioMmio.create({ device, memory, irq, events })
  const driver = new MmioDriver({ access: mmio, memory, base: 0x1000, packed, indirect: true, queueSize })
  const start = () => {
    driver.queues.length = 0
    driver.start(VSOCK, 3)
  }
  start()
  const given = new Map<number, number>()
  let next = DATA
  const place = (length: number) => {
    if (next + length > 0x40_0000) next = DATA
    const at = next
    next += Math.ceil(length / 16) * 16
    return at
  }
  /** Gives the device buffers for packets to the guest. */
  const give = (count: number, length = rxBytes) => {
    for (let index = 0; index < count; index++) {
      const address = place(length)
      const id = driver.queue(RX).add({ writable: [{ address, length }] })
      if (id !== undefined) given.set(id, address)
    }
    driver.kick(RX)
  }
  const parse = (address: number, written: number): Packet => {
    const bytes = Buffer.from(memory.read(address, written))
    return {
      src_cid: Number(bytes.readBigUInt64LE(0)), dst_cid: Number(bytes.readBigUInt64LE(8)), src_port: bytes.readUInt32LE(16), dst_port: bytes.readUInt32LE(20),
      len: bytes.readUInt32LE(24), type: bytes.readUInt16LE(28), op: bytes.readUInt16LE(30), flags: bytes.readUInt32LE(32), buf_alloc: bytes.readUInt32LE(36),
      fwd_cnt: bytes.readUInt32LE(40), data: bytes.toString('latin1', HEADER),
    }
  }
  /** Packets that have come for the guest. */
  const packets = (): Packet[] => driver.queue(RX).takeUsed().map(({ id, written }) => parse(given.get(id) ?? 0, written))
  const send = (header: Partial<Omit<Packet, 'data'>>, data: string | Uint8Array = '') => {
    const body = Buffer.from(data as string, 'latin1')
    const bytes = Buffer.alloc(HEADER + body.length)
    const { src_cid = CID, dst_cid = 2, src_port = 0, dst_port = 0, len = body.length, type = 1, op = 0, flags = 0, buf_alloc = 65536, fwd_cnt = 0 } = header
    bytes.writeBigUInt64LE(BigInt(src_cid), 0)
    bytes.writeBigUInt64LE(BigInt(dst_cid), 8)
    ;[src_port, dst_port, len].forEach((value, index) => bytes.writeUInt32LE(value, 16 + index * 4))
    bytes.writeUInt16LE(type, 28)
    bytes.writeUInt16LE(op, 30)
    ;[flags, buf_alloc, fwd_cnt].forEach((value, index) => bytes.writeUInt32LE(value >>> 0, 32 + index * 4))
    body.copy(bytes, HEADER)
    const address = place(bytes.length)
    memory.write(address, bytes)
    driver.queue(TX).takeUsed()
    const id = driver.queue(TX).add({ readable: [{ address, length: HEADER }, ...body.length > 0 ? [{ address: address + HEADER, length: body.length }] : []] })
    driver.kick(TX)
    return id
  }
  /** A program of the host that calls the guest. */
  const call = (port: number) => {
    const [near, far] = duplexPair()
    const accepted: number[] = []
    far.on('error', () => undefined)
    hostSide.handler?.({ port, stream: near, accepted: (hostPort) => accepted.push(hostPort) })
    return { near, far, accepted }
  }
  return { memory, clock, logged, hostSide, device, mmio, driver, start, give, packets, send, call }
}
