/**
 * Stores by main into guest memory (devices, the boot loader): decoded code that they hit is dropped when this vCPU next leaves decoded code, as it does for an
 * interrupt, a serialising instruction and at the end of a slice. Main lists only stores to pages that were decoded from. It stores first and looks at PAGE_CODE after; the decoder sets PAGE_CODE first and reads after: one of them sees the other.
 */
import { G_FLUSH, G_STORES, G_STORES_HEAD, PAGE_CODE, STORES, STORES_SEEN } from './layout'
import { flushAll, invalidateRange } from './cache'
import { pageRecord } from './ram'
import { multi } from './sync'

/** Before the bytes of a page are decoded. */
export function announceCode(host: usize): void {
  const record = pageRecord(host)
  if (!load<u32>(record, PAGE_CODE)) atomic.store<u32>(record + PAGE_CODE, 1)
}

// @ts-ignore: decorator
@inline export function hostHasStored(cpu: usize): bool { return atomic.load<u32>(G_STORES_HEAD) != load<u32>(cpu, STORES_SEEN) }

/** Called between blocks. */
export function applyHostStores(cpu: usize): void {
  const head = atomic.load<u32>(G_STORES_HEAD)
  let seen = load<u32>(cpu, STORES_SEEN)
  store<u32>(cpu, head, STORES_SEEN)
  for (; head - seen <= <u32>STORES && seen != head; seen++) {
    const entry: usize = G_STORES + ((seen & (STORES - 1)) << 3)
    const host = load<u32>(entry), length = load<u32>(entry, 4)
    // Main writes an entry before it counts it: the next one overwrites the oldest.
    if (atomic.load<u32>(G_STORES_HEAD) - seen >= <u32>STORES) break
    invalidateRange(host, length)
  }
  if (seen == head) return
  if (multi) atomic.store<i32>(G_FLUSH, 1) // not while others are in the guest
  else flushAll()
}
