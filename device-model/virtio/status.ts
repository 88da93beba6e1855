/** The device status field: which bit may follow which. OASIS virtio 1.2 sections 2.1 and 3.1.1. */
import { ACKNOWLEDGE, DEVICE_NEEDS_RESET, DRIVER, DRIVER_OK, FAILED, FEATURES_OK } from './constants.ts'

/** A bit that the driver sets, and what has to be set before. In the order of section 3.1.1, so that one write may set several. */
const STEPS = [
  { bit: ACKNOWLEDGE, after: 0 },
  { bit: DRIVER, after: ACKNOWLEDGE },
  { bit: FEATURES_OK, after: ACKNOWLEDGE | DRIVER },
  { bit: DRIVER_OK, after: ACKNOWLEDGE | DRIVER | FEATURES_OK },
] as const

const KNOWN = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK | FAILED | DEVICE_NEEDS_RESET

export interface StatusChange {
  readonly status: number
  /** What the driver did wrong, constants. */
  readonly mistakes: readonly string[]
}

/**
 * The status after a driver wrote `written`, which is not zero (that is a reset).
 * @param featuresFit whether the features are a set that the device can work with: otherwise FEATURES_OK stays clear, and the driver finds out by reading (3.1.1)
 */
export function nextStatus(current: number, written: number, featuresFit: () => boolean): StatusChange {
  const mistakes: string[] = []
  if ((current & ~written & ~DEVICE_NEEDS_RESET) !== 0) mistakes.push('a status bit was cleared without a reset')
  if ((written & ~KNOWN) !== 0) mistakes.push('an unknown status bit was set')
  let status = current
  for (const { bit, after } of STEPS) {
    if ((written & bit) === 0 || (status & bit) !== 0) continue
    if ((status & (FAILED | DEVICE_NEEDS_RESET)) !== 0) mistakes.push('the status advanced although the device needs a reset')
    else if ((status & after) !== after) mistakes.push('a status bit was set before its time')
    else if (bit === FEATURES_OK && !featuresFit()) mistakes.push('features were accepted that do not fit the device')
    else status |= bit
  }
  return { status: status | (written & FAILED), mistakes }
}
