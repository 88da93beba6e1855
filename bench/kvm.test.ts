import { describe, expect, it } from 'vitest'
import { ACCESSES, GUEST_RAM, loopGuest, samplesOf } from './kvm-guest.ts'
import { parseSmaps } from './kvm-memory.ts'

const TICKS_AT_START = 0x904, TICKS_AT_END = 0x90c, SAMPLES = 0x1_0000
const PAGE = 4096

describe('the guests of the kvm bench', () => {
  it('fit a page, with and without pauses', () => {
    for (const access of ACCESSES) {
      for (const pause of [0, 400_000]) expect(loopGuest({ access, count: 10, pause }).length).toBeLessThan(PAGE)
    }
  })

  it('tell the time of each access in microseconds of the host', () => {
    const ram = new Uint8Array(GUEST_RAM)
    const view = new DataView(ram.buffer)
    view.setBigUint64(TICKS_AT_START, 1000n, true)
    view.setBigUint64(TICKS_AT_END, 4000n, true)
    view.setUint32(SAMPLES, 300, true)
    view.setUint32(SAMPLES + 4, 30, true)

    const samples = samplesOf(ram, 2, 1_000_000)

    expect([...samples]).toEqual([100, 10])
  })
})

describe('private memory', () => {
  it('comes by mapping', () => {
    const text = ['7f00-7f10 rw-p 00000000 00:00 0 ', 'Size:                 64 kB', 'Private_Clean:         4 kB', 'Private_Dirty:        12 kB',
      '7f20-7f30 r-xp 00000000 08:01 77   /usr/bin/node', 'Size:                128 kB', 'Private_Dirty:         0 kB', ''].join('\n')

    const mappings = parseSmaps(text)

    expect(mappings).toEqual([{ name: '', sizeKib: 64, privateDirtyKib: 12 }, { name: '/usr/bin/node', sizeKib: 128, privateDirtyKib: 0 }])
  })
})
