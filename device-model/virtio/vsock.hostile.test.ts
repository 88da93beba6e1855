import type { Duplex } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EVENT, RX, settle, TX, vsockBench } from './vsock-bench.ts'

const PORT = 5000
const BUFFER = 128 * 1024
const REQUEST = 1, RESPONSE = 2, RST = 3, RW = 5, CREDIT_UPDATE = 6

const guestPort = fc.integer({ min: 1, max: 3 })
const number32 = fc.oneof(fc.nat(200), fc.constantFrom(2 ** 31, 2 ** 32 - 1), fc.nat(2 ** 32 - 1))
const small = fc.oneof({ weight: 60, arbitrary: fc.integer({ min: 1, max: 60 }) }, { weight: 1, arbitrary: fc.constant(0) })
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({
    kind: fc.constant('packet' as const), op: fc.oneof(fc.integer({ min: 1, max: 7 }), fc.nat(0xffff)), src_port: guestPort, dst_port: fc.constantFrom(PORT, 9, 2 ** 30, 2 ** 30 + 1),
    src_cid: fc.constantFrom(7, 7, 7, 7, 3), dst_cid: fc.constantFrom(2, 2, 2, 2, 2 ** 40), type: fc.constantFrom(1, 1, 1, 1, 2), flags: fc.nat(7), buf_alloc: number32, fwd_cnt: number32,
    length: fc.nat(300), lie: fc.option(number32, { freq: 8, nil: undefined }),
  }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('open' as const), src_port: guestPort }) },
  fc.record({ kind: fc.constant('give' as const), count: fc.nat(5), length: fc.constantFrom(44, 45, 100, 4096) }),
  fc.record({ kind: fc.constant('bytes' as const), queue: fc.nat(2), readable: fc.array(small, { maxLength: 3 }), writable: fc.array(small, { maxLength: 3 }), indirect: fc.boolean() }),
  fc.record({ kind: fc.constant('call' as const), port: guestPort }),
  fc.record({ kind: fc.constantFrom('write', 'end', 'destroy', 'read' as const), which: fc.nat(3), length: fc.nat(500) }),
  fc.record({ kind: fc.constantFrom('reset', 'restart', 'pause', 'resume', 'stop', 'turn', 'time' as const), queue: fc.nat(3) }),
)

describe('a socket device', () => {
  it('survives whatever a guest and programs of the host do, and keeps nothing when it is reset', async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 50 }), fc.boolean(), async (steps, packed) => {
      const bench = vsockBench({ packed, queueSize: 32 })
      const served: Duplex[] = []
      const nears: Duplex[] = []
      const fars: Duplex[] = []
      bench.hostSide.served.set(PORT, served)
      let isUp = true
      const ends = () => [...served, ...fars]
      for (const action of steps) {
        switch (action.kind) {
          case 'packet': {
            if (!isUp) break
            const { op, src_port, dst_port, src_cid, dst_cid, type, flags, buf_alloc, fwd_cnt, length, lie } = action
            bench.send({ op, src_port, dst_port, src_cid, dst_cid, type, flags, buf_alloc, fwd_cnt, ...lie === undefined ? {} : { len: lie } }, 'd'.repeat(length))
            break
          }
          case 'open': if (isUp) bench.send({ op: REQUEST, src_port: action.src_port, dst_port: PORT }); break
          case 'give': if (isUp) bench.give(action.count, action.length); break
          case 'bytes': {
            const piece = (length: number) => ({ address: 0x3f_0000, length })
            if (isUp) bench.driver.queue(action.queue).add({ readable: action.readable.map(piece), writable: action.writable.map(piece), indirect: action.indirect })
            bench.driver.kick(action.queue)
            break
          }
          case 'call': {
            const { near, far } = bench.call(action.port)
            nears.push(near)
            fars.push(far)
            break
          }
          case 'write': {
            const far = ends()[action.which]
            if (far?.writable === true && far.writableLength < 10_000) far.write('h'.repeat(action.length))
            break
          }
          case 'end': ends()[action.which]?.end(); break
          case 'destroy': nears[action.which]?.destroy(); break
          case 'read': ends()[action.which]?.read(); break
          case 'reset':
            bench.mmio.reset()
            isUp = false
            break
          case 'restart':
            bench.start()
            isUp = true
            break
          case 'stop':
            bench.mmio.write(0x30, 4, action.queue)
            bench.mmio.write(0x44, 4, 0)
            break
          case 'pause': await bench.mmio.pause(); break
          case 'resume': bench.mmio.resume(); break
          case 'turn': await settle(2); break
          case 'time': bench.clock.advance(4_000_000_000n); break
        }
      }
      expect(bench.device.connections).toBeLessThanOrEqual(steps.length)
      bench.mmio.reset()
      expect(bench.device.connections).toBe(0)
      for (const far of ends()) far.on('error', () => undefined).resume()
      await settle(20)
      expect(nears.every((near) => near.destroyed)).toBe(true)
    }), { numRuns: 300, interruptAfterTimeLimit: 20_000 })
  }, 60_000)

  it('carries every byte once and in order, both ways, however both ends stop and go, and never more than there is credit for', async () => {
    const move = fc.oneof(
      fc.record({ kind: fc.constantFrom('guest writes', 'host writes'), length: fc.integer({ min: 1, max: 3000 }) }),
      fc.record({ kind: fc.constant('guest reads'), length: fc.integer({ min: 45, max: 2000 }) }),
      fc.record({ kind: fc.constantFrom('host reads', 'turn', 'kick'), length: fc.constant(0) }),
    )
    const content = (from: number, length: number) => Buffer.from(Uint8Array.from({ length }, (_, index) => (from + index) * 7 & 0xff))
    await fc.assert(fc.asyncProperty(fc.array(move, { maxLength: 60 }), fc.integer({ min: 1, max: 9000 }), fc.boolean(), async (moves, room, packed) => {
      const bench = vsockBench({ packed, queueSize: 32 })
      const served: Duplex[] = []
      bench.hostSide.served.set(PORT, served)
      bench.give(1)
      bench.send({ op: REQUEST, src_port: 1, dst_port: PORT, buf_alloc: room })
      await settle()
      const far = served[0]
      if (far === undefined) throw new Error('no connection')
      let sent = 0, told = 0, said = 0
      const got: Buffer[] = [], received: string[] = []
      let receivedLength = 0, answered = 0
      const credit = () => bench.send({ op: CREDIT_UPDATE, src_port: 1, dst_port: PORT, buf_alloc: room, fwd_cnt: receivedLength })
      const take = () => {
        for (const { op, data, fwd_cnt } of bench.packets()) {
          told = fwd_cnt
          expect(op).not.toBe(RST)
          if (op === RESPONSE) continue
          received.push(data)
          receivedLength += data.length
        }
        expect(receivedLength - answered).toBeLessThanOrEqual(room)
        answered = receivedLength
        credit()
      }
      const hostReads = () => {
        for (let bytes = far.read() as Buffer | null; bytes !== null; bytes = far.read() as Buffer | null) got.push(bytes)
      }
      for (const { kind, length } of moves) {
        switch (kind) {
          case 'guest writes':
            if (sent + length - told > BUFFER) break
            bench.send({ op: RW, src_port: 1, dst_port: PORT, buf_alloc: room, fwd_cnt: answered }, content(sent, length))
            sent += length
            break
          case 'host writes':
            if (far.writableLength > 20_000) break
            far.write(content(said, length))
            said += length
            break
          case 'guest reads':
            take()
            bench.give(1, length)
            break
          case 'host reads': hostReads(); break
          case 'turn': await settle(2); break
          case 'kick': [RX, TX, EVENT].forEach((queue) => bench.driver.kick(queue)); break
        }
      }
      for (let round = 0; round < 4000 && (receivedLength < said || got.reduce((total, { length }) => total + length, 0) < sent); round++) {
        take()
        bench.give(4)
        hostReads()
        await settle(2)
      }
      expect(Buffer.concat(got).equals(content(0, sent))).toBe(true)
      expect(received.join('') === content(0, said).toString('latin1')).toBe(true)
    }), { numRuns: 40, interruptAfterTimeLimit: 20_000 })
  }, 60_000)
})
