import { expect, test } from 'vitest'
import { HostClock, VirtualClock } from './clock.ts'

test('virtual time stands still until it is advanced, and appointments run in order at their own time', () => {
  const clock = new VirtualClock(100n)
  const seen: string[] = []
  clock.schedule(300n, () => seen.push(`b@${clock.now()}`))
  clock.schedule(200n, () => {
    seen.push(`a@${clock.now()}`)
    clock.schedule(250n, () => seen.push(`nested@${clock.now()}`))
  })
  clock.schedule(300n, () => seen.push(`c@${clock.now()}`))
  clock.schedule(260n, () => seen.push('cancelled')).cancel()

  clock.advance(500n)

  expect(seen).toEqual(['a@200', 'nested@250', 'b@300', 'c@300'])
  expect(clock.now()).toBe(600n)
})

test('an appointment in the past runs at the next advance and time does not go back', () => {
  const clock = new VirtualClock(100n)
  let at = 0n
  clock.schedule(5n, () => {
    at = clock.now()
  })

  clock.advance(0n)

  expect(at).toBe(100n)
})

test('host time leaves out the time spent paused', () => {
  let host = 1000n
  const clock = new HostClock(0n, () => host)

  host += 50n
  clock.pause()
  host += 1_000_000n
  const during = clock.now()
  clock.resume()
  host += 7n

  expect(during).toBe(50n)
  expect(clock.now()).toBe(57n)
})

test('a host timer does not fire early, nor while paused, and fires after resume', async () => {
  const clock = new HostClock()
  clock.pause()
  const firedAt = new Promise<bigint>((done) => clock.schedule(2_000_000n, () => done(clock.now())))

  clock.resume()

  expect(await firedAt).toBeGreaterThanOrEqual(2_000_000n)
})
