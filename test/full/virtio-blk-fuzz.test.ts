/** Any request to a disk, a million of them through rings in guest memory: each is answered, nothing throws, and neither the file's size nor memory beyond the request changes. */
import fs from 'node:fs'
import { expect, it } from 'vitest'
import { BlkBench, DATA } from '../../device-model/virtio/blk-bench.ts'

const REQUESTS = 1_000_000, BATCH = 8, SIZE = 1 << 18
const FEATURES = (1n << 9n) | (1n << 11n) | (1n << 13n) | (1n << 14n)
const TYPES = [0, 0, 1, 1, 4, 8, 11, 13]
const NEEDS_RESET = 64

/** Numbers that repeat (xorshift), so that a failure can be looked into. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

it.each([['split', false], ['packed', true]] as const)('over %s rings', async (_, packed) => {
  const next = random(packed ? 2 : 1)
  const bench = new BlkBench({ driver: { features: FEATURES, packed, eventIndex: true }, size: SIZE }).start()
  const canary = DATA + 0x20_0000
  bench.memory.fill(canary, 4096, 0x5a)
  for (let done = 0; done < REQUESTS / 2; done += BATCH) {
    for (let index = 0; index < BATCH; index++) {
      const pieces = (most: number) => Array.from({ length: next(most + 1) }, () => ({ address: DATA + next(0x10_0000), length: 1 + next(next(4) === 0 ? 8192 : 1024) }))
      const type = next(16) === 0 ? next(0x100) : TYPES[next(TYPES.length)] as number
      const isRange = type === 11 || type === 13
      // Now and then what a driver means to say: whole sectors, whole ranges.
      const out = isRange && next(2) === 0 ? [{ address: DATA + next(0x1000) * 16, length: 16 * (1 + next(3)) }] : pieces(3)
      const address = out[0]?.address
      if (isRange && address !== undefined && next(2) === 0) {
        bench.memory.writeU64(address, BigInt(next(600)))
        bench.memory.writeU32(address + 8, next(600))
        bench.memory.writeU32(address + 12, next(3))
      }
      const sector = next(8) === 0 ? next(2 ** 31) * 2 ** 20 : next(520)
      const whole = next(2) === 0 ? [{ address: DATA + next(0x10_0000), length: 512 * (1 + next(8)) }] : undefined
      bench.add(type, sector, { out: type === 1 ? whole ?? out : out, into: type === 0 ? whole ?? pieces(3) : pieces(2) })
    }
    bench.driver.kick(0)
    await bench.settled()
    if (next(500) === 0) bench.start()
  }
  expect(bench.driver.status & NEEDS_RESET).toBe(0)
  expect(fs.statSync(bench.file).size).toBe(SIZE)
  expect(bench.memory.read(canary, 4096).every((byte) => byte === 0x5a)).toBe(true)
  await bench.close()
}, 1_800_000)
