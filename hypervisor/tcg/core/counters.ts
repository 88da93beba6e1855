/** The counters that `info accel` shows. */
import { G_STATS } from './layout'

/** @param index STAT_* */
// @ts-ignore: decorator
@inline export function tally(index: usize, by: u64 = 1): void { store<u64>(G_STATS + index * 8, load<u64>(G_STATS + index * 8) + by) }
