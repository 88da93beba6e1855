import { describe, expect, it } from 'vitest'
import { nextStatus } from './status.ts'

const ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64, FAILED = 128
const NEGOTIATED = ACKNOWLEDGE | DRIVER | FEATURES_OK

describe('the device status (virtio 1.2 sections 2.1 and 3.1.1)', () => {
  it.each([
    [0, ACKNOWLEDGE, ACKNOWLEDGE], [ACKNOWLEDGE, ACKNOWLEDGE | DRIVER, ACKNOWLEDGE | DRIVER], [0, ACKNOWLEDGE | DRIVER, ACKNOWLEDGE | DRIVER],
    [ACKNOWLEDGE | DRIVER, NEGOTIATED, NEGOTIATED], [NEGOTIATED, NEGOTIATED | DRIVER_OK, NEGOTIATED | DRIVER_OK],
    [0, NEGOTIATED | DRIVER_OK, NEGOTIATED | DRIVER_OK], [NEGOTIATED, NEGOTIATED, NEGOTIATED],
    [DRIVER_OK | NEGOTIATED, DRIVER_OK | NEGOTIATED | FAILED, DRIVER_OK | NEGOTIATED | FAILED],
    [0, FAILED, FAILED], [NEGOTIATED | NEEDS_RESET, NEGOTIATED, NEGOTIATED | NEEDS_RESET],
  ])('goes from %i by writing %i to %i', (before, written, after) => {
    expect(nextStatus(before, written, () => true)).toEqual({ status: after, mistakes: [] })
  })

  it.each([
    ['a step before its time', 0, DRIVER, 0], ['FEATURES_OK before DRIVER', ACKNOWLEDGE, ACKNOWLEDGE | FEATURES_OK, ACKNOWLEDGE],
    ['DRIVER_OK before FEATURES_OK', ACKNOWLEDGE | DRIVER, ACKNOWLEDGE | DRIVER | DRIVER_OK, ACKNOWLEDGE | DRIVER],
    ['a bit that is cleared (virtio_2_1_1)', NEGOTIATED, ACKNOWLEDGE, NEGOTIATED], ['unknown bits', ACKNOWLEDGE, ACKNOWLEDGE | 0x30 | 0x100, ACKNOWLEDGE],
    ['a step after FAILED', NEGOTIATED | FAILED, NEGOTIATED | FAILED | DRIVER_OK, NEGOTIATED | FAILED],
    ['a step after DEVICE_NEEDS_RESET', NEGOTIATED | NEEDS_RESET, NEGOTIATED | NEEDS_RESET | DRIVER_OK, NEGOTIATED | NEEDS_RESET],
  ])('does not take %s', (_, before, written, after) => {
    const change = nextStatus(before, written, () => true)
    expect(change.status).toBe(after)
    expect(change.mistakes).toHaveLength(1)
  })

  it('leaves FEATURES_OK clear, and DRIVER_OK with it, where the features do not fit (virtio_2_2_2)', () => {
    expect(nextStatus(ACKNOWLEDGE | DRIVER, NEGOTIATED | DRIVER_OK, () => false).status).toBe(ACKNOWLEDGE | DRIVER)
  })

  it('lets no driver set DEVICE_NEEDS_RESET', () => {
    expect(nextStatus(ACKNOWLEDGE, ACKNOWLEDGE | NEEDS_RESET, () => true).status).toBe(ACKNOWLEDGE)
  })
})
