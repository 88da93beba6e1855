import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { consoleBench, controlBytes, rxOf, txOf } from './console-bench.ts'

const PORTS = 3
const LIMIT = 256 * 1024

const port = fc.nat(PORTS)
/** Without any length a buffer is malformed, and then the device does nothing more. */
const small = fc.oneof({ weight: 60, arbitrary: fc.integer({ min: 1, max: 40 }) }, { weight: 1, arbitrary: fc.constant(0) })
const step = fc.oneof(
  fc.record({ kind: fc.constant('control' as const), port: fc.oneof(port, fc.constant(0xffff_ffff)), event: fc.nat(9), value: fc.nat(2) }),
  fc.record({ kind: fc.constant('bytes' as const), queue: fc.nat(2 * PORTS + 1), readable: fc.array(small, { maxLength: 3 }), writable: fc.array(small, { maxLength: 3 }), indirect: fc.boolean() }),
  fc.record({ kind: fc.constant('kick' as const), queue: fc.nat(2 * PORTS + 3) }),
  fc.record({ kind: fc.constant('say' as const), port, length: fc.nat(200) }),
  fc.record({ kind: fc.constant('tell' as const), port, event: fc.constantFrom('opened', 'closed', 'writable', 'resized', 'break'), connected: fc.boolean(), canWrite: fc.boolean() }),
  fc.record({ kind: fc.constant('plug' as const), port, isConsole: fc.boolean() }),
  fc.record({ kind: fc.constantFrom('reset', 'pause', 'resume', 'deferred', 'restart', 'stop' as const), port }),
  fc.record({ kind: fc.constant('config' as const), offset: fc.nat(20), value: fc.nat() }),
)

describe('a console device', () => {
  it('survives whatever a guest and its peers do, with bounded memory', async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.boolean(), async (steps, packed) => {
      const bench = consoleBench({ maxPorts: PORTS, packed, size: { columns: 80, rows: 25 } })
      let isUp = true
      for (const action of steps) {
        const far = 'port' in action ? bench.far[action.port] : undefined
        switch (action.kind) {
          case 'control':
            if (isUp) bench.driver.queue(3).add({ readable: [{ address: 0x8_0000, length: 8 }] })
            bench.memory.write(0x8_0000, controlBytes(action.port, action.event, action.value))
            bench.driver.kick(3)
            break
          case 'bytes': {
            const piece = (length: number) => ({ address: 0x9_0000, length })
            if (isUp) bench.driver.queue(action.queue).add({ readable: action.readable.map(piece), writable: action.writable.map(piece), indirect: action.indirect })
            bench.driver.kick(action.queue)
            break
          }
          case 'kick': bench.driver.kick(action.queue); break
          case 'say': if (far?.flow === true) far.say('x'.repeat(action.length)); break
          case 'tell':
            if (far === undefined) break
            far.connected = action.connected
            far.canWrite = action.canWrite
            far.tell(action.event as 'opened')
            break
          case 'plug':
            if (action.port >= PORTS) break
            if (bench.device.ports.some(({ nr }) => nr === action.port)) bench.device.removePort(action.port)
            else bench.device.addPort({ nr: action.port, isConsole: action.isConsole, backend: bench.newEnd(action.port) })
            break
          case 'reset':
            bench.mmio.reset()
            isUp = false
            break
          case 'restart':
            bench.driver.queues.length = 0
            bench.driver.start(3, 2 * PORTS + 2)
            isUp = true
            break
          case 'stop':
            bench.mmio.write(0x30, 4, action.port)
            bench.mmio.write(0x44, 4, 0)
            break
          case 'pause': await bench.mmio.pause(); break
          case 'resume': bench.mmio.resume(); break
          case 'deferred': bench.deferred.shift()?.(); break
          case 'config': bench.mmio.write(0x100 + action.offset, 1, action.value & 0xff); break
        }
      }
      const { lanes, due } = bench.device.state()
      expect(lanes.every(({ held }) => held.length <= LIMIT)).toBe(true)
      expect(due).toHaveLength(PORTS)
      bench.mmio.reset()
      expect(bench.device.ports.every((one) => !bench.device.isGuestOpen(one.nr))).toBe(true)
    }), { numRuns: 400, interruptAfterTimeLimit: 20_000 })
  }, 60_000)

  it('carries every byte of a channel once and in order, both ways, however both ends stop and go', () => {
    const move = fc.oneof(
      fc.record({ kind: fc.constant('guest writes' as const), length: fc.integer({ min: 1, max: 3000 }) }),
      fc.record({ kind: fc.constant('host writes' as const), length: fc.integer({ min: 1, max: 3000 }) }),
      fc.record({ kind: fc.constant('guest reads' as const), length: fc.integer({ min: 1, max: 1000 }) }),
      fc.record({ kind: fc.constantFrom('host stops', 'host goes', 'turn') }),
    )
    fc.assert(fc.property(fc.array(move, { maxLength: 80 }), fc.boolean(), (moves, packed) => {
      const bench = consoleBench({ packed, maxPorts: 2, queueSize: 128 })
      const far = bench.far[1]
      if (far === undefined) throw new Error('no port')
      bench.control(1, 6, 1)
      let sent = 0, said = 0, received = ''
      const content = (from: number, length: number) => Uint8Array.from({ length }, (_, index) => (from + index) * 7 & 0xff)
      const take = () => { received += bench.received(rxOf(1)) }
      for (const action of moves) {
        switch (action.kind) {
          case 'guest writes':
            bench.used(txOf(1))
            if (bench.driver.queue(txOf(1)).outstanding > 60) break
            bench.send(txOf(1), content(sent, action.length))
            sent += action.length
            break
          case 'host writes':
            if (!far.flow) break
            far.say(content(said, action.length))
            said += action.length
            break
          case 'guest reads':
            take()
            if (bench.driver.queue(rxOf(1)).outstanding < 60) bench.give(rxOf(1), action.length)
            break
          case 'host stops': far.canWrite = false; break
          case 'host goes':
            far.canWrite = true
            far.tell('writable')
            break
          case 'turn': bench.runDeferred(); break
        }
      }
      far.canWrite = true
      far.tell('writable')
      for (let index = 0; index < 12; index++) {
        take()
        if (bench.driver.queue(rxOf(1)).outstanding < 60) bench.give(rxOf(1), 4096)
        bench.runDeferred()
      }
      take()
      expect(far.written).toEqual([...content(0, sent)])
      expect(received).toBe(Buffer.from(content(0, said)).toString('latin1'))
    }), { numRuns: 100, interruptAfterTimeLimit: 20_000 })
  }, 60_000)
})
