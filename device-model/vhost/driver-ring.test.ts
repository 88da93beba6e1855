import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DriverRing, RING_BYTES, RING_PARTS } from './driver-ring.ts'

const SIZE = 1024
const NEXT = 1, WRITE = 2, NO_NOTIFY = 1
const { available: AVAILABLE, used: USED } = RING_PARTS

function bench() {
  const bytes = new Uint8Array(new SharedArrayBuffer(RING_BYTES))
  const view = new DataView(bytes.buffer)
  const ring = new DriverRing<string>(bytes)
  let seen = 0, used = 0
  /** What the back end finds: the next chain. */
  const take = () => {
    if (view.getUint16(AVAILABLE + 2, true) === seen) return undefined
    const head = view.getUint16(AVAILABLE + 4 + seen % SIZE * 2, true)
    seen = (seen + 1) & 0xffff
    const parts: { address: number; length: number; isWritable: boolean }[] = []
    for (let index = head; ;) {
      const at = index * 16
      const flags = view.getUint16(at + 12, true)
      parts.push({ address: Number(view.getBigUint64(at, true)), length: view.getUint32(at + 8, true), isWritable: (flags & WRITE) !== 0 })
      if ((flags & NEXT) === 0) return { head, parts }
      index = view.getUint16(at + 14, true)
    }
  }
  const give = (head: number, written: number) => {
    view.setUint32(USED + 4 + used % SIZE * 8, head, true)
    view.setUint32(USED + 8 + used % SIZE * 8, written, true)
    used = (used + 1) & 0xffff
    view.setUint16(USED + 2, used, true)
  }
  return { bytes, view, ring, take, give }
}

describe('the driver\'s end of a ring for a back end (virtio 1.2 section 2.7)', () => {
  it('carries chains there and back, for as long as indices wrap, and never runs out of descriptors', () => {
    const { ring, take, give } = bench()
    for (let count = 0; count < 70_000; count++) {
      ring.add([{ address: 0x1000, length: count }], [{ address: 0x2000, length: 8 }, { address: 0x3000, length: 16 }], `chain ${count}`)
      const chain = take()
      if (count % 7000 === 0) expect(chain?.parts).toEqual([{ address: 0x1000, length: count, isWritable: false }, { address: 0x2000, length: 8, isWritable: true }, { address: 0x3000, length: 16, isWritable: true }])
      give(chain?.head ?? -1, count)
      const used = ring.takeUsed()
      if (used?.length !== 1 || used[0]?.tag !== `chain ${count}` || used[0].written !== count) throw new Error(`chain ${count} came back as ${JSON.stringify(used)}`)
    }
    expect(ring.room).toBe(SIZE)
    expect(ring.takeUsed()).toEqual([])
  })

  it('knows what is with the back end, whatever order it answers in', () => {
    const { ring, take, give } = bench()
    for (const tag of ['a', 'b', 'c']) ring.add([{ address: 1, length: 1 }], [], tag)
    const [, second] = [take(), take()]
    give(second?.head ?? -1, 0)
    expect(ring.takeUsed()?.map(({ tag }) => tag)).toEqual(['b'])
    expect(ring.tags).toEqual(['a', 'c'])
    expect(ring.room).toBe(SIZE - 2)
  })

  it('tells once of what was added, and not where that is not wanted', () => {
    const { ring, view } = bench()
    expect(ring.takeNotification()).toBe(false)
    ring.add([{ address: 1, length: 1 }], [], 'a')
    expect([ring.takeNotification(), ring.takeNotification()]).toEqual([true, false])
    view.setUint16(USED, NO_NOTIFY, true)
    ring.add([{ address: 1, length: 1 }], [], 'b')
    expect(ring.takeNotification()).toBe(false)
  })

  it('begins anew when it is reset', () => {
    const { ring, view } = bench()
    ring.add([{ address: 1, length: 1 }], [], 'a')
    ring.reset()
    expect([ring.room, ring.tags, view.getUint16(AVAILABLE + 2, true)]).toEqual([SIZE, [], 0])
  })

  it('believes no back end: a buffer comes back once, if it was there, or the ring is broken', () => {
    fc.assert(fc.property(
      fc.array(fc.oneof(
        fc.record({ kind: fc.constant('add' as const), pieces: fc.integer({ min: 1, max: 5 }) }),
        fc.record({ kind: fc.constant('give' as const), head: fc.nat(20), written: fc.nat(0xffff_ffff) }),
        fc.record({ kind: fc.constant('scribble' as const), at: fc.nat(RING_BYTES - 1), value: fc.nat(255) }),
        fc.record({ kind: fc.constant('take' as const) }),
      ), { maxLength: 60 }),
      (steps) => {
        const { bytes, ring, give } = bench()
        const out = new Set<string>()
        let count = 0
        for (const step of steps) {
          if (step.kind === 'add' && ring.room >= step.pieces) {
            out.add(`chain ${count}`)
            ring.add(Array.from({ length: step.pieces }, () => ({ address: 1, length: 1 })), [], `chain ${count++}`)
          } else if (step.kind === 'give') {
            give(step.head, step.written)
          } else if (step.kind === 'scribble') {
            bytes[step.at] = step.value
          } else if (step.kind === 'take') {
            const used = ring.takeUsed()
            if (used === undefined) return
            for (const { tag } of used) expect(out.delete(tag)).toBe(true)
          }
        }
        expect(new Set(ring.tags)).toEqual(out)
      },
    ), { numRuns: 500 })
  })
})
