import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ByteQueue } from './byte-queue.ts'

test('a queue keeps the newest bytes in order and counts what it dropped, like a list cut at its front', () => {
  const bound = 64
  const step = fc.oneof(
    fc.record({ push: fc.uint8Array({ maxLength: 100 }) }),
    fc.record({ consume: fc.nat(100) }),
  )
  fc.assert(fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
    const queue = new ByteQueue(bound)
    let model: number[] = []
    let dropped = 0
    for (const action of steps) {
      if ('push' in action) {
        queue.push(action.push)
        model.push(...action.push)
        dropped += Math.max(0, model.length - bound)
        model = model.slice(-bound)
      } else {
        const count = Math.min(action.consume, queue.peek().length)
        expect([...queue.peek().subarray(0, count)]).toEqual(model.slice(0, count))
        queue.consume(count)
        model = model.slice(count)
      }
      expect(queue.length).toBe(model.length)
      expect(queue.dropped).toBe(dropped)
    }
    const rest: number[] = []
    while (queue.length > 0) {
      rest.push(...queue.peek())
      queue.consume(queue.peek().length)
    }
    expect(rest).toEqual(model)
  }), { numRuns: 300, interruptAfterTimeLimit: 5000 })
})
