import fc from 'fast-check'
import { expect, it, test } from 'vitest'
import { CPU_AREA, CPU_STRIDE } from './core/layout.ts'
import { mappingAt } from '../../test/support/mappings.ts'
import { canLoad, describeWhere } from '../../test/support/optional.ts'
import { allocateMemory, planMemory } from './memory-plan.ts'

const MIB = 2 ** 20, GIB = 2 ** 30
const FOUR_GIB = 2 ** 32
const MIN_PAGES = 1024 // what core.wasm imports

test('256 MiB of RAM lie on a 2 MiB border behind everything else', () => {
  const plan = planMemory(1, [{ guestAddress: 0, size: 256 * MIB }])
  expect(plan.ramBase % (2 * MIB)).toBe(0)
  expect(plan.ramEnd - plan.ramBase).toBe(256 * MIB)
  expect(plan.ramOffsets).toEqual([plan.ramBase])
  expect(plan.ramBase).toBeLessThan(40 * MIB)
})

test('the largest guest of the command line fits with 254 processors or is refused with the size that fits', () => {
  const ram = (size: number) => [{ guestAddress: 0, size: 3 * GIB }, { guestAddress: FOUR_GIB, size: size - 3 * GIB }]
  expect(planMemory(254, ram(3584 * MIB)).ramEnd).toBeLessThan(FOUR_GIB)
  expect(planMemory(254, ram(3584 * MIB), 2 * MIB).pages * 65_536).toBeLessThan(FOUR_GIB)
  expect(() => planMemory(1, ram(3584 * MIB), GIB)).toThrow(/do not fit beside 1 vCPUs.*use -m 30\d\d or less/)
  expect(() => planMemory(1, ram(4 * GIB))).toThrow(/do not fit beside 1 vCPUs.*use -m \d+ or less/)
})

test('areas never overlap, whatever the number of processors and the size', () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 254 }), fc.integer({ min: 1, max: 3000 }), (cpus, mib) => {
    const plan = planMemory(cpus, [{ guestAddress: 0, size: mib * MIB }])
    const order = [CPU_AREA + cpus * CPU_STRIDE, plan.blockTable, plan.pageInfo, plan.decoded, plan.decodedEnd, plan.ramBase, plan.ramEnd, plan.pages * 65_536]
    for (let i = 1; i < order.length; i++) expect(order[i]).toBeGreaterThanOrEqual(order[i - 1] as number)
    expect(plan.pageInfo - plan.blockTable).toBe(2 ** 17 * 4)
    expect(plan.decoded - plan.pageInfo).toBeGreaterThanOrEqual(mib * MIB / 4096 * 16)
    expect(plan.pages).toBeGreaterThanOrEqual(MIN_PAGES)
  }))
})

test('memory of this process alone needs no native code', () => {
  expect(allocateMemory(1, [{ guestAddress: 0, size: 16 * MIB }], { share: false, dump: true, preallocate: false }).native).toBeUndefined()
})

describeWhere(process.platform === 'linux' && canLoad('koffi'), 'Linux with the package koffi (npm install koffi)', 'RAM that a file backs', () => {
  it('is on a border of huge pages of the host; the rest of the memory is private', async () => {
    const ram = [{ guestAddress: 0, size: 16 * MIB }, { guestAddress: FOUR_GIB, size: 8 * MIB }]
    const { plan, memory, native } = allocateMemory(2, ram, { share: true })
    const address = native?.address ?? 0
    expect(address % (2 * MIB)).toBe(0)
    expect(plan.ramOffsets).toEqual([plan.ramBase, plan.ramBase + 16 * MIB])
    expect(plan.ramEnd).toBeLessThanOrEqual(memory.buffer.byteLength)
    expect(mappingAt(address)).toMatchObject({ start: address, end: address + 24 * MIB, mode: 'rw-s' })
    expect(mappingAt(address - 1).mode).toBe('rw-p')
    new Uint8Array(memory.buffer)[plan.ramBase + 5] = 9
    expect(native?.views(5, 1)[0]?.[0]).toBe(9)
    await native?.free()
  })
})
