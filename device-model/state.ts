/** Checks for device state that comes from outside (a snapshot file, a migration stream): plain data of the right shape and range, or an error. */
import { MesovirtError } from '../host/errors.ts'

/** The state as a record. @throws MesovirtError DEVICE_STATE */
export function stateRecord(device: string, state: unknown): Record<string, unknown> {
  if (typeof state !== 'object' || state === null || Array.isArray(state)) throw damaged(device, 'it is not a record')
  return state as Record<string, unknown>
}

/** An integer of 0..max. */
export function stateNumber(device: string, record: Record<string, unknown>, field: string, max: number): number {
  const value = record[field]
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) throw damaged(device, `${field} is not a number of 0..${max}`)
  return value
}

export function stateBoolean(device: string, record: Record<string, unknown>, field: string): boolean {
  const value = record[field]
  if (typeof value !== 'boolean') throw damaged(device, `${field} is neither true nor false`)
  return value
}

/** A list of at most `maxLength` bytes. */
export function stateBytes(device: string, record: Record<string, unknown>, field: string, maxLength: number): number[] {
  const value = record[field]
  if (!Array.isArray(value) || value.length > maxLength) throw damaged(device, `${field} is not a list of at most ${maxLength} bytes`)
  if (!value.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 0xff)) throw damaged(device, `${field} holds something else than bytes`)
  return value as number[]
}

export function damaged(device: string, reason: string): MesovirtError {
  return new MesovirtError('DEVICE_STATE', `The saved state of ${device} is damaged: ${reason}. Use a snapshot made by this version`)
}
