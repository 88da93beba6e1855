import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../clock.ts'
import { Throttle } from './throttle.ts'
import type { ThrottleLimits } from './throttle.ts'

const MS = 1_000_000n

/** Times in milliseconds at which requests go that all come at once. */
function times(limits: ThrottleLimits, requests: readonly (readonly ['read' | 'write', number])[]): number[] {
  const clock = new VirtualClock()
  const throttle = new Throttle(limits, clock)
  const went: number[] = []
  const owner = {}
  requests.forEach(([direction, bytes], index) => throttle.admit(direction, bytes, owner, () => { went[index] = Number(clock.now() / MS) }))
  clock.advance(3_600_000n * MS)
  return went
}
const reads = (count: number, bytes = 512) => Array.from({ length: count }, () => ['read', bytes] as const)

describe('limits', () => {
  it('let the worth of a tenth of a second go at once, and then so many a second', () => {
    const went = times({ opsTotal: { average: 100 } }, reads(211))
    expect(went.filter((at) => at === 0)).toHaveLength(11)
    expect(went.at(-1)).toBe(2000)
  })

  it('of bytes let a request of any size go, and make the next one wait for it', () => {
    expect(times({ bytesTotal: { average: 1000 } }, [['read', 5000], ['read', 1], ['read', 1]])).toEqual([0, 4900, 4901])
  })

  it('hold for reads, for writes, or for both', () => {
    const both = [...reads(3, 1000), ['write', 1000] as const]
    expect(times({ bytesRead: { average: 1000 } }, both)).toEqual([0, 900, 1900, 0])
    expect(times({ bytesWrite: { average: 1000 } }, both)).toEqual([0, 0, 0, 0])
    expect(times({ bytesTotal: { average: 1000 } }, [['read', 1000], ['write', 10]])).toEqual([0, 900])
  })

  it('allow bursts for as long as they say', () => {
    const went = times({ opsTotal: { average: 10, max: 100, maxSeconds: 2 } }, reads(250))
    const within = (ms: number) => went.filter((at) => at <= ms).length
    expect(within(0)).toBeLessThan(20)
    expect(within(1000)).toBeGreaterThan(100)
    expect(within(1000)).toBeLessThan(125)
    expect(within(2000)).toBeGreaterThan(200)
    expect(within(4000)).toBeLessThan(250)
  })

  it('count a large operation as several', () => {
    expect(times({ opsTotal: { average: 10 }, opsSize: 4096 }, [['read', 40_960], ['read', 512]])).toEqual([0, 900])
  })

  it('that change hold for what waits', () => {
    const clock = new VirtualClock()
    const throttle = new Throttle({ opsTotal: { average: 1 } }, clock)
    let went = 0
    for (let count = 0; count < 20; count++) throttle.admit('write', 512, {}, () => { went++ })
    expect(went).toBe(1)
    throttle.limits = {}
    expect(went).toBe(20)
  })

  it('forget what one of several users waits for', () => {
    const clock = new VirtualClock()
    const throttle = new Throttle({ opsTotal: { average: 10 } }, clock)
    const one = {}, other = {}
    const went: string[] = []
    for (let count = 0; count < 3; count++) {
      throttle.admit('read', 512, one, () => went.push('one'))
      throttle.admit('read', 512, other, () => went.push('other'))
    }
    throttle.forget(one)
    clock.advance(10_000n * MS)
    expect(went).toEqual(['one', 'other', 'other', 'other'])
  })
})
