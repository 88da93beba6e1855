/**
 * From the RIP of a jump in 64-bit mode to the block there, as it was found last. An entry holds only while the TLB for fetches says that the block's code is still
 * what lies at that address, so no change of page tables has to empty the cache. A block that was dropped stays in it: its uops tell.
 */
import { BLOCK_BYTES, BLOCK_HOST, CPL, JUMP_CACHE, JUMP_ENTRIES, MODE, TLB_BYTES, TLB_KERNEL_FETCH, TLB_USER_FETCH } from './layout'

// @ts-ignore: decorator
@inline function slotOf(cpu: usize, rip: u64): usize { return cpu + JUMP_CACHE + (((<usize>rip ^ <usize>(rip >> 12)) & (JUMP_ENTRIES - 1)) << 4) }

/** @returns the block's first uop, 0 if it is not known */
// @ts-ignore: decorator
@inline export function knownBlock(cpu: usize, rip: u64): usize {
  const slot = slotOf(cpu, rip)
  const cpl = load<u32>(cpu, CPL)
  if (load<u64>(slot) != rip || load<u32>(slot, 12) != ((cpl << 8) | load<u32>(cpu, MODE))) return 0
  const u: usize = load<u32>(slot, 8)
  const entry: usize = cpu + (cpl == 3 ? TLB_USER_FETCH : TLB_KERNEL_FETCH) + ((<usize>(rip >> 8)) & (TLB_BYTES - 16))
  return load<u64>(entry) == (rip & ~0xfff) && <usize>rip + load<u32>(entry, 8) == load<u32>(u - BLOCK_BYTES, BLOCK_HOST) ? u : 0
}

/** Only for a block on one page, in 64-bit mode. */
export function rememberBlock(cpu: usize, rip: u64, u: usize): void {
  const slot = slotOf(cpu, rip)
  store<u64>(slot, rip)
  store<u32>(slot, <u32>u, 8)
  store<u32>(slot, (load<u32>(cpu, CPL) << 8) | load<u32>(cpu, MODE), 12)
}

/** The memory of blocks is used again. */
export function flushJumpCache(cpu: usize): void {
  memory.fill(cpu + JUMP_CACHE, 0xff, JUMP_ENTRIES * 16)
}
