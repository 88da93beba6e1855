import { describe, expect, it } from 'vitest'
import { PollWindow } from './poll-window.ts'

const LIMIT = 0.2

function afterAccesses(times: readonly number[], limit = LIMIT): PollWindow {
  const window = new PollWindow(limit)
  for (const time of times) window.onAccess(time)
  return window
}

describe('the window in which main looks for the next access', () => {
  it('is closed before the first access and after a single one', () => {
    expect(new PollWindow(LIMIT).isOpen(0)).toBe(false)
    expect(afterAccesses([10]).isOpen(10)).toBe(false)
  })

  it('opens for accesses that come close together, for longer than they are apart', () => {
    const window = afterAccesses([10, 10.1])
    expect(window.isOpen(10.2)).toBe(true)
    expect(window.isOpen(10.1 + 0.1 * 1.5)).toBe(false)
  })

  it('stays open as long as accesses keep coming into it', () => {
    const times = Array.from({ length: 1000 }, (_, index) => 10 + index * 0.1)
    expect(afterAccesses(times).isOpen((times.at(-1) ?? 0) + 0.14)).toBe(true)
  })

  it('is never longer than its limit', () => {
    const window = afterAccesses([10, 10.19])
    expect(window.isOpen(10.38)).toBe(true)
    expect(window.isOpen(10.19 + LIMIT)).toBe(false)
  })

  it('does not open for accesses that are farther apart than its limit', () => {
    const times = Array.from({ length: 100 }, (_, index) => 10 + index)
    expect(afterAccesses(times).isOpen(times.at(-1) ?? 0)).toBe(false)
  })

  it('closes again when accesses become rare', () => {
    expect(afterAccesses([10, 10.1, 10.2, 20]).isOpen(20)).toBe(false)
  })

  it('rests when it ends in vain again and again, and is tried once more later', () => {
    // Main keeps the only core: the guest runs, and makes its next access, 0.05 ms after main has gone to sleep.
    const window = new PollWindow(LIMIT)
    let now = 10, opened = 0
    for (let access = 0; access < 200; access++) {
      window.onAccess(now)
      if (window.isOpen(now)) opened++
      while (window.isOpen(now)) now += 0.001
      now += 0.05
    }
    expect(opened).toBeLessThan(40)
    expect(opened).toBeGreaterThan(6)
  })

  it('never opens with a limit of 0', () => {
    expect(afterAccesses([10, 10, 10.01], 0).isOpen(10.01)).toBe(false)
  })
})
