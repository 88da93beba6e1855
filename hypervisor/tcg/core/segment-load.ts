/** Instructions that load a segment register from memory along with a pointer, and what every such load entails. */
import { RIP, SS, RIP_SET, INHIBIT, UOP_D } from './layout'
import { failed, clearFailed, writeRegister, loadLinear, address } from './operand'
import { loadSegment } from './segment'
import { nextRip } from './branch'

/** LES LDS LSS LFS LGS. */
export function loadFarPointer(cpu: usize, u: usize, size: u32, segment: u32): u32 {
  clearFailed()
  const va = address(cpu, u, (1 << size) + 2)
  const offset = loadLinear(cpu, u, va, size)
  if (failed) return 1
  const selector = <u32>loadLinear(cpu, u, va + (1 << size), 1)
  if (failed || !loadSegment(cpu, segment, selector)) return 1
  writeRegister(cpu, load<u16>(u, UOP_D), size, offset)
  return afterSegmentLoad(cpu, u, segment)
}

/** A segment load changes how later uops must be executed: leave the block; SS also inhibits interrupts for one instruction. */
export function afterSegmentLoad(cpu: usize, u: usize, segment: u32): u32 {
  if (segment == SS) store<u32>(cpu, 2, INHIBIT)
  store<u64>(cpu, nextRip(cpu, u), RIP)
  store<u32>(cpu, 1, RIP_SET)
  return 1
}
