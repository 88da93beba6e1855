/** Machine time and the instruction budget of the current slice. */
import { G_CLOCK_MODE, G_ICOUNT_SKIP, G_ICOUNT_SHIFT, G_VIRTUAL_NS } from './layout'
import { hostNs } from './imports'
import { multi, retiredAt } from './sync'

/** Instructions retired by the machine, or by the vCPU where each has a thread; exact at block boundaries. */
export let retired: u64 = 0
/** The slice ends when `retired` reaches it. */
export let sliceEnd: u64 = 0

// @ts-ignore: decorator
@inline export function addRetired(count: u64): void { retired += count }
export function loadRetired(): void { retired = load<u64>(retiredAt) }
export function saveRetired(): void { store<u64>(retiredAt, retired) }
export function setRetired(to: u64): void { retired = to }
export function setSliceEnd(at: u64): void { sliceEnd = at }
/** Leave the inner loop at the next block boundary: something may want attention. */
export function cutBudget(): void { sliceEnd = 0 }

/** ns since machine start: the host's clock, or instructions (shifted) plus what was skipped while idle. */
export function machineNs(): u64 {
  if (multi) return <u64>hostNs() // the others read the same clock
  let now: u64
  if (load<u32>(G_CLOCK_MODE)) now = (retired << <u64>load<u32>(G_ICOUNT_SHIFT)) + load<u64>(G_ICOUNT_SKIP)
  else now = <u64>hostNs()
  store<u64>(G_VIRTUAL_NS, now)
  return now
}
