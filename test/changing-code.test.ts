/** Code that changes: what it costs, and that it cannot make the translator grow without bound. What it does is in the bare-metal guest's suite `smc`. */
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { translateAtOnce } from '../hypervisor/tcg/translator/at-once.ts'
import { RegionTable } from '../hypervisor/tcg/translator/region-table.ts'
import { countingBeside, makingFunctions, MIB, PORT, sumOfFunctions } from './support/code-guest.ts'
import { CoreMachine } from './support/core-machine.ts'
import { scratch } from './support/vm.ts'

const INVALIDATIONS = 6, FLUSHES = 7

interface Ran { readonly results: number[]; readonly machine: CoreMachine; readonly regions: RegionTable | undefined; readonly mostAlive: number; readonly tableLength: number }

/** Runs a guest until it has said `count` results. @param threshold entries after which a block is translated; 0: never @param most entries alive */
function ran(kernel: Uint8Array, count: number, threshold: number, most?: number): Ran {
  const file = path.join(scratch(), 'kernel')
  fs.writeFileSync(file, kernel)
  const results: number[] = []
  let regions: RegionTable | undefined
  let mostAlive = 0
  const machine = new CoreMachine({
    ram: 128 * MIB, kernel: file, commandLine: '', shift: 3,
    translator: threshold === 0 ? undefined : (core, memory) => {
      regions = new RegionTable(core, memory, most)
      translateAtOnce(regions, core, threshold, { blocks: 8, uops: 100, heat: 0, farHeat: 0, farUops: 300 })
    },
    onPort: (port, value) => { if (port === PORT && results.length < count) results.push(value) },
  })
  while (results.length < count) {
    machine.run(1)
    regions?.makeRoom()
    mostAlive = Math.max(mostAlive, regions?.regions ?? 0)
  }
  return { results, machine, regions, mostAlive, tableLength: machine.core.table.length }
}

describe('data on a page of code', () => {
  it.each([['interpreted', 0], ['translated', 1]])('costs no decoded code where it has lines of its own, %s', (_, threshold) => {
    const { results, machine } = ran(countingBeside(0x400, 10_000), 5, threshold)
    expect(results).toEqual([10_000, 10_000, 10_000, 10_000, 10_000])
    expect(machine.counter(INVALIDATIONS)).toBe(0)
    if (threshold > 0) expect(machine.translated).toBeGreaterThan(machine.retired / 2n)
  })

  it('in the line of the code that writes it is right all the same', () => {
    const { results, machine } = ran(countingBeside(0x30, 20), 3, 1)
    expect(results).toEqual([20, 20, 20])
    expect(machine.counter(INVALIDATIONS)).toBeGreaterThan(0)
  })
})

describe('a guest that makes new code for ever', () => {
  const FROM = 32 * MIB, TO = FROM + 0x8_0000, STEP = 256
  const MOST = 256

  it('gives the right results while regions come and go, and no more of them live than are allowed', () => {
    const { results, machine, regions, mostAlive, tableLength } = ran(makingFunctions(FROM, TO, STEP), 3, 2, MOST)
    expect(results).toEqual(Array.from({ length: 3 }, () => sumOfFunctions(FROM, TO, STEP)))
    expect(regions?.installed).toBeGreaterThan(3 * MOST)
    expect(mostAlive).toBeLessThanOrEqual(MOST)
    expect(tableLength).toBeLessThan(MOST + 1024)
    expect(machine.counter(FLUSHES)).toBeGreaterThan(3)
  })

  it('gives the same results interpreted, each function decoded once for each time it is written', () => {
    const { results, machine } = ran(makingFunctions(FROM, TO, STEP), 3, 0)
    expect(results).toEqual(Array.from({ length: 3 }, () => sumOfFunctions(FROM, TO, STEP)))
    // A store drops the blocks of its page: the first of each page's functions drops all, the rest find nothing left.
    expect(machine.counter(INVALIDATIONS)).toBeLessThanOrEqual(3 * (TO - FROM) / 4096 * 2)
  })
})
