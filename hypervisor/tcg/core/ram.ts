/** Guest-physical RAM in the WebAssembly memory. */
import { G_PAGE_INFO, G_RAM_BASE, G_RANGE_COUNT, G_RANGES, RANGE_READ_ONLY, PAGE_BYTES } from './layout'

/** The last physToHost() found memory that may not be written. */
export let xlReadOnly: bool = false

/** @returns the wasm offset of a guest-physical byte, 0 when no RAM is there */
export function physToHost(physical: u64): usize {
  const count = load<u32>(G_RANGE_COUNT)
  for (let i: u32 = 0; i < count; i++) {
    const range: usize = G_RANGES + i * 32
    if (physical < load<u64>(range)) return 0
    if (physical < load<u64>(range, 8)) {
      xlReadOnly = (load<u32>(range, 20) & RANGE_READ_ONLY) != 0
      return <usize>load<u32>(range, 16) + <usize>(physical - load<u64>(range))
    }
  }
  return 0
}

// @ts-ignore: decorator
@inline export function pageRecord(host: usize): usize {
  return load<u32>(G_PAGE_INFO) + ((host - load<u32>(G_RAM_BASE)) >> 12) * PAGE_BYTES
}
