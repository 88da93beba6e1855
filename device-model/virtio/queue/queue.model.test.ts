/** Random histories of driver and device over both kinds of rings, against a plain list of requests. No driver that asked to be told may wait in vain. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { copyFrom, copyTo } from './chain.ts'
import type { Chain } from './chain.ts'
import { Bench, DATA } from './test-bench.ts'

const CELL = 16
const READABLE = DATA, WRITABLE = DATA + 0x1_0000

type Step =
  | { readonly kind: 'add'; readonly readable: number[]; readonly writable: number[]; readonly indirect: boolean }
  | { readonly kind: 'pop' | 'take' | 'restore' }
  | { readonly kind: 'push'; readonly which: number; readonly written: number }
  | { readonly kind: 'interrupts'; readonly on: boolean; readonly count: number }
  | { readonly kind: 'serve'; readonly limit: number }

const lengths = (max: number) => fc.array(fc.integer({ min: 1, max: CELL }), { maxLength: max })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('add' as const), readable: lengths(3), writable: lengths(3), indirect: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('pop' as const) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('push' as const), which: fc.nat(20), written: fc.nat(64) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('take' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('interrupts' as const), on: fc.boolean(), count: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('serve' as const), limit: fc.nat(6) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restore' as const) }) },
)

interface Request { readonly id: number; readonly sent: Uint8Array; readonly room: number; readonly places: readonly { address: number; length: number }[] }

describe.each([['split', false], ['packed', true]] as const)('a %s queue', (_, packed) => {
  it('carries every buffer there and back once, in order, with its bytes, and leaves no driver waiting', () => {
    fc.assert(fc.property(fc.constantFrom(1, 2, 4, 8), fc.boolean(), fc.array(step, { maxLength: 80 }), (size, eventIndex, steps) => {
      const bench = new Bench({ packed, size, eventIndex })
      const { driver, memory, host } = bench
      const available: Request[] = []
      const held = new Map<Chain, Request>()
      const used: { id: number; bytes: Uint8Array; request: Request }[] = []
      let cell = 0
      let interruptsWanted = true
      let usedSinceAsked = 0
      let expectAfter = 1
      const place = (base: number, length: number) => ({ address: base + (cell++ % 2048) * CELL, length })
      const check = (chain: Chain) => {
        const request = available.shift()
        if (request === undefined) throw new Error('the queue invented a buffer')
        expect(chain.id).toBe(request.id)
        const got = new Uint8Array(request.sent.length + 8)
        expect(copyFrom(chain.readable, 0, got)).toBe(request.sent.length)
        expect(got.subarray(0, request.sent.length)).toEqual(request.sent)
        expect(chain.writableLength).toBe(request.room)
        held.set(chain, request)
      }
      const push = (chain: Chain, request: Request, wanted: number) => {
        const bytes = new Uint8Array(Math.min(wanted, request.room)).fill(1 + (cell++ % 200))
        copyTo(chain.writable, 0, bytes)
        held.delete(chain)
        bench.queue.push(chain, bytes.length)
        used.push({ id: request.id, bytes, request })
        usedSinceAsked++
      }
      const notifyAndCheck = () => {
        bench.queue.notify()
        if (interruptsWanted && usedSinceAsked >= expectAfter) expect(host.interrupts).toBeGreaterThan(0)
      }
      for (const move of steps) {
        switch (move.kind) {
          case 'add': {
            if (move.readable.length + move.writable.length === 0) break
            const readable = move.readable.map((length) => place(READABLE, length))
            const writable = move.writable.map((length) => place(WRITABLE, length))
            const sent = Uint8Array.from(readable.flatMap(({ address, length }) => {
              const bytes = Array.from({ length }, (_unused, index) => (address + index * 7) & 0xff)
              memory.write(address, Uint8Array.from(bytes))
              return bytes
            }))
            const id = driver.add({ readable, writable, indirect: move.indirect })
            if (id !== undefined) available.push({ id, sent, room: writable.reduce((sum, { length }) => sum + length, 0), places: writable })
            break
          }
          case 'pop': {
            const chain = bench.queue.pop()
            if (chain === undefined) expect(available).toHaveLength(0)
            else check(chain)
            break
          }
          case 'push': {
            const entry = [...held][move.which % Math.max(1, held.size)]
            if (entry === undefined) break
            push(entry[0], entry[1], move.written)
            notifyAndCheck()
            break
          }
          case 'serve': {
            let left = move.limit
            bench.queue.serve((chain) => {
              check(chain)
              push(chain, held.get(chain) as Request, left--)
            }, () => left > 0)
            host.runDeferred()
            notifyAndCheck()
            break
          }
          case 'take': {
            const taken = driver.takeUsed()
            expect(taken.map(({ id, written }) => ({ id, written }))).toEqual(used.map(({ id, bytes }) => ({ id, written: bytes.length })))
            for (const { bytes, request } of used.splice(0)) {
              const all = Uint8Array.from(request.places.flatMap(({ address, length }) => [...memory.read(address, length)]))
              expect(all.subarray(0, bytes.length)).toEqual(bytes)
            }
            driver.setInterrupts(interruptsWanted)
            usedSinceAsked = 0
            host.interrupts = 0
            expectAfter = 1
            break
          }
          case 'interrupts':
            expect(driver.takeUsed()).toHaveLength(used.length)
            used.length = 0
            driver.setInterrupts(move.on, move.count)
            interruptsWanted = move.on
            usedSinceAsked = 0
            host.interrupts = 0
            // In a packed ring the event is a place, and buffers may take several: it can only come sooner.
            expectAfter = eventIndex ? move.count : 1
            break
          case 'restore': {
            const order = [...held.values()]
            const state: unknown = JSON.parse(JSON.stringify(bench.queue.state()))
            bench.queue.close()
            bench.queue = bench.open(state)
            held.clear()
            for (const request of order) {
              const chain = bench.queue.pop()
              expect(chain?.id).toBe(request.id)
              held.set(chain as Chain, request)
            }
            break
          }
        }
        expect(bench.queue.inFlight).toBe(held.size)
        expect(host.faults).toEqual([])
      }
    }), { numRuns: 300, interruptAfterTimeLimit: 20_000 })
  })
})
