/** The state of a 16550A as plain data, as snapshots and migration carry it. Register names as in uart16550.ts. */
import { damaged, stateBoolean, stateBytes, stateNumber, stateRecord } from './state.ts'

export interface Uart16550State {
  readonly ier: number
  readonly fcr: number
  readonly lcr: number
  readonly mcr: number
  readonly scr: number
  readonly divisor: number
  readonly overrun: boolean
  /** Low half of MSR. */
  readonly msrDeltas: number
  readonly thrEmptyPending: boolean
  readonly timeoutPending: boolean
  /** Receiver FIFO, oldest first. */
  readonly received: readonly number[]
  /** Host input that has not entered the FIFO. */
  readonly held: readonly number[]
}

const DEVICE = 'uart16550'
const MAX_HELD = 256 * 1024

/** After power-on: 115200 baud's divisor is left to the driver, 12 is what PC firmware leaves (9600 baud). */
export const RESET_STATE: Uart16550State = {
  ier: 0, fcr: 0, lcr: 0, mcr: 0, scr: 0, divisor: 12, overrun: false, msrDeltas: 0, thrEmptyPending: false, timeoutPending: false, received: [], held: [],
}

/** @throws MesovirtError DEVICE_STATE */
export function checkState(untrusted: unknown): Uart16550State {
  const record = stateRecord(DEVICE, untrusted)
  const number = (field: string, max: number) => stateNumber(DEVICE, record, field, max)
  const state: Uart16550State = {
    ier: number('ier', 0xf),
    fcr: number('fcr', 0xff),
    lcr: number('lcr', 0xff),
    mcr: number('mcr', 0x1f),
    scr: number('scr', 0xff),
    divisor: number('divisor', 0xffff),
    overrun: stateBoolean(DEVICE, record, 'overrun'),
    msrDeltas: number('msrDeltas', 0xf),
    thrEmptyPending: stateBoolean(DEVICE, record, 'thrEmptyPending'),
    timeoutPending: stateBoolean(DEVICE, record, 'timeoutPending'),
    received: stateBytes(DEVICE, record, 'received', 16),
    held: stateBytes(DEVICE, record, 'held', MAX_HELD),
  }
  if ((state.fcr & ~0b1100_0001) !== 0) throw damaged(DEVICE, 'fcr has bits that are never kept')
  if ((state.fcr & 1) === 0 && state.received.length > 1) throw damaged(DEVICE, 'more than one byte received without a FIFO')
  return state
}
