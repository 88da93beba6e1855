/** The core's side of -d: records in shared memory, which main puts into words. A vCPU waits where main is behind. */
import { CPU_INDEX, G_LOG, G_LOG_HEAD, G_LOG_RING, G_LOG_TAIL, LOG_RECORD, LOG_RECORDS } from './layout'

// @ts-ignore: decorator
@inline export function logs(kind: u32): bool { return (load<u32>(G_LOG) & kind) != 0 }

/** @param cpu 0 where no vCPU is concerned */
export function log(cpu: usize, kind: u32, a: u64, b: u64, c: u64): void {
  const number = atomic.add<u32>(G_LOG_HEAD, 1)
  while (true) {
    const tail = atomic.load<u32>(G_LOG_TAIL)
    if (number - tail < <u32>LOG_RECORDS) break
    atomic.wait<i32>(G_LOG_TAIL, <i32>tail, 10_000_000)
  }
  const record: usize = G_LOG_RING + (number & (LOG_RECORDS - 1)) * LOG_RECORD
  store<u32>(record, cpu ? load<u32>(cpu, CPU_INDEX) : 0, 4)
  store<u64>(record, a, 8)
  store<u64>(record, b, 16)
  store<u64>(record, c, 24)
  atomic.store<u32>(record, kind)
}
