/** The counters that `info accel` shows. */
import { statsAt } from './sync'

/** @param index STAT_* */
// @ts-ignore: decorator
@inline export function tally(index: usize, by: u64 = 1): void { store<u64>(statsAt + index * 8, load<u64>(statsAt + index * 8) + by) }
