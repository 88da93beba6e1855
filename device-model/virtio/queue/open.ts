/** Makes the device's end of a queue, of the kind that was negotiated. */
import type { GuestMemory } from '../../../address-space/guest-memory.ts'
import { RingFault } from './faults.ts'
import { PackedQueue } from './packed.ts'
import type { QueueHost, QueueLayout, RingFeatures, VirtQueue } from './queue.ts'
import { SplitQueue } from './split.ts'
import { checkQueueState } from './state.ts'

/**
 * @param state untrusted data that claims to come from `state()` of such a queue
 * @returns the fault instead where size or place cannot be
 * @throws MesovirtError DEVICE_STATE
 */
export function openQueue(isPacked: boolean, layout: QueueLayout, memory: GuestMemory, features: RingFeatures, host: QueueHost, state?: unknown): VirtQueue | RingFault {
  const saved = state === undefined ? undefined : checkQueueState(state, isPacked, layout.size)
  try {
    return isPacked ? new PackedQueue(layout, memory, features, host, saved) : new SplitQueue(layout, memory, features, host, saved)
  } catch (error) {
    if (error instanceof RingFault) return error
    throw error
  }
}
