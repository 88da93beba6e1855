/** What a vCPU thread gives its instance of the core: the bus, and randomness of the host or, where runs must repeat, a fixed sequence. */
import type { VcpuBus } from '../../address-space/vcpu-bus.ts'
import type { AccessSize } from '../../address-space/region.ts'

const RANDOM_WORDS = 256

export interface CoreImports {
  busRead(space: number, low: number, high: number, size: number): number
  busWrite(space: number, low: number, high: number, size: number, value: number): void
  hostRandom(): number
}

/** @param repeats a fixed sequence instead of randomness */
export function coreImports(bus: VcpuBus, repeats: boolean): CoreImports {
  const pool = new Uint32Array(RANDOM_WORDS)
  let poolLeft = 0
  let sequence = 0x2545_f491
  return {
    busRead: (space, low, high, size) => bus.read(space as 0 | 1, address(low, high), size as AccessSize),
    busWrite: (space, low, high, size, value) => bus.write(space as 0 | 1, address(low, high), size as AccessSize, value >>> 0),
    hostRandom: () => {
      if (repeats) {
        // xorshift32, Marsaglia 2003
        sequence ^= sequence << 13
        sequence ^= sequence >>> 17
        sequence ^= sequence << 5
        return sequence
      }
      if (poolLeft === 0) {
        process.getBuiltinModule('node:crypto').randomFillSync(pool) // not imported: it costs the start 10 ms
        poolLeft = RANDOM_WORDS
      }
      return pool[--poolLeft] as number
    },
  }
}

function address(low: number, high: number): number {
  return (high >>> 0) * 0x1_0000_0000 + (low >>> 0)
}
