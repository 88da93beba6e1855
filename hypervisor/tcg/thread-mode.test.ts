import { describe, expect, it } from 'vitest'
import { threadMode } from './thread-mode.ts'

const HOST_CLOCK = { kind: 'host' } as const
const COUNTED = { kind: 'instruction-count', shift: 0, sleep: true } as const
const HOST = { clock: HOST_CLOCK, wanted: undefined, architecture: 'x64' }

describe('whether each vCPU has a thread', () => {
  it.each([1, 2, 17])('is not so for %i vCPUs unless it is asked for', (cpus) => {
    expect(threadMode({ ...HOST, cpus })).toBe('single')
  })

  it('follows the wish of the user where both can be', () => {
    expect(threadMode({ ...HOST, cpus: 4, wanted: 'single' })).toBe('single')
    expect(threadMode({ ...HOST, cpus: 1, wanted: 'multi' })).toBe('multi')
    expect(threadMode({ ...HOST, cpus: 16, wanted: 'multi' })).toBe('multi')
  })

  it.each([
    [{ cpus: 17 }, 'at most 16 vCPUs'], [{ cpus: 4, clock: COUNTED }, '-icount'], [{ cpus: 4, architecture: 'arm64' }, 'only x86-64 hosts'],
  ])('is refused with the reason where it cannot be: %j', (facts, reason) => {
    expect(() => threadMode({ ...HOST, ...facts, wanted: 'multi' })).toThrow(reason)
  })
})
