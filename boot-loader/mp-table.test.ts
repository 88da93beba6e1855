import { describe, expect, it } from 'vitest'
import { buildMpTable } from './mp-table.ts'

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => total + byte, 0) & 0xff

/** Entries by type, as a kernel walks them. */
function entries(table: Uint8Array): Map<number, number[][]> {
  const result = new Map<number, number[][]>()
  const count = (table[34] as number) | (table[35] as number) << 8
  let at = 44
  for (let index = 0; index < count; index++) {
    const size = table[at] === 0 ? 20 : 8
    const type = table[at] as number
    result.set(type, [...result.get(type) ?? [], [...table.slice(at, at + size)]])
    at += size
  }
  expect(at).toBe(table.length)
  return result
}

describe('the MP table', () => {
  it('has valid checksums, lengths and addresses, and fits the EBDA for a few processors', () => {
    const { pointerAddress, pointer, tableAddress, table } = buildMpTable([0, 1, 2, 3])
    expect(pointerAddress).toBe(0x9_fc00)
    expect(tableAddress).toBe(0x9_fc10)
    expect(tableAddress + table.length).toBeLessThanOrEqual(0xa_0000)
    expect(new TextDecoder().decode(pointer.slice(0, 4))).toBe('_MP_')
    expect(new DataView(pointer.buffer).getUint32(4, true)).toBe(tableAddress)
    expect(new TextDecoder().decode(table.slice(0, 4))).toBe('PCMP')
    expect(new DataView(table.buffer).getUint16(4, true)).toBe(table.length)
    expect(new DataView(table.buffer).getUint32(36, true)).toBe(0xfee0_0000)
    expect(sum(pointer)).toBe(0)
    expect(sum(table)).toBe(0)
  })

  it('lists the processors, one of them the boot processor, an IOAPIC, and interrupts on pins of their number but for the timer on pin 2', () => {
    const found = entries(buildMpTable([0, 1, 4]).table)
    expect(found.get(0)?.map((entry) => [entry[1], entry[3]])).toEqual([[0, 3], [1, 1], [4, 1]])
    expect(found.get(1)?.[0]).toEqual([1, 0, ...new TextEncoder().encode('ISA   ')])
    expect(found.get(2)?.[0]).toEqual([2, 4, 0x14, 1, 0, 0, 0xc0, 0xfe])
    const others = [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((irq) => [3, 0, 0, 0, 0, irq, 4, irq])
    expect(found.get(3)).toEqual([[3, 0, 0, 0, 0, 0, 4, 2], ...others])
    expect(found.get(4)).toEqual([[4, 3, 0, 0, 0, 0, 0, 0], [4, 1, 0, 0, 0, 0, 0xff, 1]])
  })

  it('moves out of the EBDA for 254 processors and leaves out ids that need x2APIC', () => {
    const { tableAddress, table } = buildMpTable([...Array.from({ length: 254 }, (_, id) => id), 300])
    expect(tableAddress).toBe(0xf_0000)
    expect(entries(table).get(0)).toHaveLength(254)
    expect(sum(table)).toBe(0)
  })
})
