/** The bus to devices on the main thread. A vCPU may wait long for main, and has no store under way meanwhile. */
import { busRead, busWrite } from './imports'
import { beginQuiet, endQuiet } from './sync'

/** @param space 0 memory, 1 ports */
export function deviceRead(space: u32, low: u32, high: u32, size: u32): u32 {
  const quiet = beginQuiet()
  const value = busRead(space, low, high, size)
  endQuiet(quiet)
  return value
}

export function deviceWrite(space: u32, low: u32, high: u32, size: u32, value: u32): void {
  const quiet = beginQuiet()
  busWrite(space, low, high, size, value)
  endQuiet(quiet)
}
