/** Guest memory as a vhost-user back end gets it: what of it other processes can map, in as few pieces as there are. */
import type { GuestMemory } from '../../address-space/guest-memory.ts'
import { MesovirtError } from '../../host/errors.ts'
import type { MemoryRegion } from './messages.ts'

/** Makes user addresses of guest addresses: none of them is 0. */
export const USER_OFFSET = 2 ** 45

/** @throws MesovirtError VHOST_MEMORY where some of it belongs to this process alone */
export function guestRegions(memory: GuestMemory): MemoryRegion[] {
  const regions: MemoryRegion[] = []
  for (const { guestAddress, size, shared } of memory.blocks) {
    if (shared === undefined) throw new MesovirtError('VHOST_MEMORY', 'another process has to map the memory of the guest; add -machine mem-share=on')
    const last = regions.at(-1)
    const follows = last !== undefined && last.guestAddress + last.size === guestAddress && last.fd === shared.fd && last.fdOffset + last.size === shared.offset
    if (follows) regions[regions.length - 1] = { ...last, size: last.size + size }
    else regions.push({ guestAddress, size, userAddress: guestAddress + USER_OFFSET, fd: shared.fd, fdOffset: shared.offset })
  }
  return regions
}
