import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GuestMemory } from './guest-memory.ts'

const FOUR_GIB = 0x1_0000_0000

function block(guestAddress: number, size: number, hostOffset = 0) {
  return { guestAddress, size, bytes: new Uint8Array(size), hostOffset }
}

/** Low RAM in two adjacent blocks, then RAM above 4 GiB. */
function memory() {
  return new GuestMemory([block(FOUR_GIB, 0x100), block(0, 0x100), block(0x100, 0x80)])
}

describe('guest memory', () => {
  it('stores and reads typed values little-endian, aligned or not', () => {
    const ram = memory()
    ram.writeU32(1, 0x89ab_cdef)
    ram.writeU64(FOUR_GIB + 3, 0x1122_3344_5566_7788n)
    ram.writeU16(0x20, 0xbeef)
    expect([...ram.read(1, 4)]).toEqual([0xef, 0xcd, 0xab, 0x89])
    expect(ram.readU32(1)).toBe(0x89ab_cdef)
    expect(ram.readU64(FOUR_GIB + 3)).toBe(0x1122_3344_5566_7788n)
    expect(ram.readU16(0x20)).toBe(0xbeef)
    expect(ram.readU8(0x21)).toBe(0xbe)
  })

  it('lets an access cross into an adjacent block, but a slice not', () => {
    const ram = memory()
    ram.writeU64(0xfc, 0x0807_0605_0403_0201n)
    expect(ram.readU64(0xfc)).toBe(0x0807_0605_0403_0201n)
    expect([...ram.read(0xfe, 4)]).toEqual([3, 4, 5, 6])
    expect(ram.readU32(0xfe)).toBe(0x0605_0403)
    expect(ram.readU16(0xff)).toBe(0x0504)
    expect(() => ram.slice(0xfe, 4)).toThrow(/0xfe, length 4/)
  })

  it('gives a live view by slice and a copy by read', () => {
    const ram = memory()
    const live = ram.slice(0x10, 4)
    const copy = ram.read(0x10, 4)
    ram.fill(0x10, 4, 0x5a)
    expect([...live]).toEqual([0x5a, 0x5a, 0x5a, 0x5a])
    expect([...copy]).toEqual([0, 0, 0, 0])
  })

  it('refuses what is not all RAM and writes nothing then', () => {
    const ram = memory()
    expect(() => ram.write(0x17e, Uint8Array.of(1, 2, 3))).toThrow(expect.objectContaining({ code: 'GUEST_ADDRESS' }))
    expect([...ram.read(0x17e, 2)]).toEqual([0, 0])
    expect(() => ram.writeU32(0x17e, 1)).toThrow(expect.objectContaining({ code: 'GUEST_ADDRESS' }))
    expect(() => ram.readU8(0x180)).toThrow(expect.objectContaining({ code: 'GUEST_ADDRESS' }))
    expect(() => ram.readU64(FOUR_GIB - 4)).toThrow(expect.objectContaining({ code: 'GUEST_ADDRESS' }))
    expect(() => ram.fill(FOUR_GIB + 0xff, 2, 0)).toThrow(expect.objectContaining({ code: 'GUEST_ADDRESS' }))
  })

  it.each([NaN, -1, 0.5, -0, Infinity, 2 ** 53, 2 ** 64])('refuses %s as an address and as a length', (bad) => {
    const ram = memory()
    const code = expect.objectContaining({ code: 'GUEST_ADDRESS' })
    expect(ram.contains(bad, 1)).toBe(false)
    expect(ram.contains(0, bad)).toBe(false)
    expect(() => ram.read(bad, 1)).toThrow(code)
    expect(() => ram.read(0, bad)).toThrow(code)
    expect(() => ram.slice(bad, 1)).toThrow(code)
    expect(() => ram.slice(0, bad)).toThrow(code)
    expect(() => ram.write(bad, Uint8Array.of(1))).toThrow(code)
    expect(() => ram.fill(0, bad, 1)).toThrow(code)
    for (const read of [ram.readU8, ram.readU16, ram.readU32]) expect(() => read.call(ram, bad)).toThrow(code)
    expect(() => ram.readU64(bad)).toThrow(code)
    for (const write of [ram.writeU8, ram.writeU16, ram.writeU32]) expect(() => write.call(ram, bad, 1)).toThrow(code)
    expect(() => ram.writeU64(bad, 1n)).toThrow(code)
  })

  it('gives live views of a range, one for each block it lies in', () => {
    const ram = new GuestMemory([block(0, 0x100), block(0x100, 0x80), block(FOUR_GIB, 0x100)])
    const parts = ram.parts(0xfe, 4)
    expect(parts?.map((part) => part.length)).toEqual([2, 2])
    ram.write(0xfe, Uint8Array.of(1, 2, 3, 4))
    expect(parts?.map((part) => [...part])).toEqual([[1, 2], [3, 4]])
    expect(ram.parts(FOUR_GIB, 0x100)?.[0]).toHaveLength(0x100)
    for (const [address, length] of [[0x17f, 2], [FOUR_GIB - 1, 2], [0x200, 1], [FOUR_GIB, 0x101], [0, 2 ** 53], [-1, 1], [0.5, 1], [2 ** 64, 1]] as const) {
      expect(ram.parts(address, length)).toBeUndefined()
    }
  })

  it('refuses blocks that overlap or do not match their bytes', () => {
    const code = expect.objectContaining({ code: 'GUEST_MEMORY_LAYOUT' })
    expect(() => new GuestMemory([block(0, 0x100), block(0xff, 0x10)])).toThrow(code)
    expect(() => new GuestMemory([{ ...block(0, 0x100), size: 0x101 }])).toThrow(code)
    expect(() => new GuestMemory([block(-1, 0x100)])).toThrow(code)
    expect(() => new GuestMemory([block(NaN, 0x100)])).toThrow(code)
  })

  it('agrees with a plain byte map on any access', () => {
    const valid = (address: number) => (address >= 0 && address < 0x180) || (address >= FOUR_GIB && address < FOUR_GIB + 0x100)
    const address = fc.oneof(fc.integer({ min: 0, max: 0x190 }), fc.integer({ min: -8, max: 0x108 }).map((n) => FOUR_GIB + n))
    fc.assert(fc.property(fc.array(fc.tuple(address, fc.uint8Array({ maxLength: 40 })), { maxLength: 20 }), (writes) => {
      const ram = memory()
      const model = new Map<number, number>()
      for (const [at, bytes] of writes) {
        const inside = bytes.every((_, i) => valid(at + i))
        expect(ram.contains(at, bytes.length) || bytes.length === 0).toBe(inside)
        if (!inside) {
          expect(() => ram.write(at, bytes)).toThrow()
          continue
        }
        if (bytes.length === 0) continue
        ram.write(at, bytes)
        bytes.forEach((byte, i) => model.set(at + i, byte))
        expect(ram.read(at, bytes.length)).toEqual(bytes)
      }
      for (const [at, byte] of model) expect(ram.readU8(at)).toBe(byte)
    }), { numRuns: 100 })
  })
})
