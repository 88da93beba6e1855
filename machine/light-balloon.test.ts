import { expect, it } from 'vitest'
import { GuestMemory } from '../address-space/guest-memory.ts'
import { VirtualClock } from '../device-model/clock.ts'
import { VirtioMmio } from '../device-model/virtio/mmio.ts'
import { LightBalloon } from './light-balloon.ts'

const PAGE = 4096, PAGES = 1000
const ACTUAL = 0x104
const MS = 1_000_000n

it('news of a balloon come at once, and then at most once a second with what is true by then', () => {
  const told: number[] = []
  const clock = new VirtualClock()
  const memory = new GuestMemory([{ guestAddress: 0, size: PAGES * PAGE, bytes: new Uint8Array(PAGES * PAGE), hostOffset: 0 }])
  const balloon = new LightBalloon({ id: 'b', options: { deflateOnOom: false, freePageReporting: false }, memory, clock, events: { log: () => undefined }, onChange: (bytes) => told.push(bytes / PAGE) })
  const mmio = VirtioMmio.create({ device: balloon.device, memory, irq: { setLevel: () => undefined, pulse: () => undefined } })
  for (let pages = 1; pages <= 100; pages++) mmio.write(ACTUAL, 4, pages)
  expect(told).toEqual([999])
  clock.advance(999n * MS)
  expect(told).toEqual([999])
  clock.advance(1n * MS)
  expect(told).toEqual([999, 900])
  mmio.write(ACTUAL, 4, 200)
  mmio.write(ACTUAL, 4, 100)
  clock.advance(5000n * MS)
  expect(told).toEqual([999, 900])
  mmio.write(ACTUAL, 4, 0)
  expect(told).toEqual([999, 900, 1000])
})
