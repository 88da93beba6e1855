/** What the host stores into guest memory, as devices do, is seen by code that is decoded or translated already. */
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { elf } from '../boot-loader/synthetic-kernels.ts'
import { translateAtOnce } from '../hypervisor/tcg/translator/at-once.ts'
import { RegionTable } from '../hypervisor/tcg/translator/region-table.ts'
import { CoreMachine } from './support/core-machine.ts'
import { scratch } from './support/vm.ts'

const MIB = 2 ** 20
const ENTRY = 16 * MIB
/** The function that is rewritten, on a page of its own. */
const TARGET = ENTRY + 0x2000
const PORT = 0x80
const RESULT_AT = 1 // of the immediate in "mov eax, imm32"
const INVALIDATIONS = 6, FLUSHES = 7

/** 1: call TARGET; out 0x80, al; jmp 1b */
const caller = [0xe8, ...dword(TARGET - (ENTRY + 5)), 0xe6, PORT, 0xeb, 0xf7]
const target = [0xb8, ...dword(1), 0xc3] // mov eax, 1; ret

function dword(value: number): number[] {
  return [value & 255, value >> 8 & 255, value >> 16 & 255, value >>> 24]
}

/** Runs `rounds` calls of the function; `between` is called after each. @returns what they returned, and the machine */
function called(rounds: number, threshold: number, between: (machine: CoreMachine, round: number) => void): { readonly results: number[]; readonly machine: CoreMachine } {
  const kernel = path.join(scratch(), 'kernel')
  const code = new Uint8Array(0x3000).fill(0x90)
  code.set(caller)
  code.set(target, TARGET - ENTRY)
  fs.writeFileSync(kernel, elf({ code }))
  const results: number[] = []
  const machine: CoreMachine = new CoreMachine({
    ram: 128 * MIB, kernel, commandLine: '', shift: 3,
    translator: threshold === 0 ? undefined : (core, memory) => translateAtOnce(new RegionTable(core, memory), core, threshold, { blocks: 8, uops: 100, heat: 0, farHeat: 0, farUops: 300 }),
    onPort: (port, value) => {
      if (port !== PORT || results.length === rounds) return
      results.push(value & 0xff)
      between(machine, results.length)
    },
  })
  while (results.length < rounds) machine.run(1)
  return { results, machine }
}

describe.each([['interpreted', 0], ['translated', 1]])('code that is %s', (_name, threshold) => {
  it('changes when the host stores into it', () => {
    const { results } = called(100, threshold, (machine, round) => machine.guest.writeU8(TARGET + RESULT_AT, round + 1))
    expect(results).toEqual(Array.from({ length: 100 }, (_, index) => index + 1))
  })

  it('changes when a device that had a live view of guest memory announces its store', () => {
    const { results } = called(50, threshold, (machine, round) => {
      machine.guest.slice(TARGET, 16)[RESULT_AT] = round + 1
      machine.guest.written(TARGET + RESULT_AT, 1)
    })
    expect(results).toEqual(Array.from({ length: 50 }, (_, index) => index + 1))
  })

  it('goes with its page when a balloon takes that away, and what is stored there afterwards is executed', () => {
    const { results, machine } = called(30, threshold, (own, round) => {
      if (round !== 10 && round !== 20) return
      expect(own.guest.discard(TARGET, 4096)).toBe('zeros')
      expect([...own.guest.read(TARGET, 6)]).toEqual([0, 0, 0, 0, 0, 0])
      own.guest.write(TARGET, Uint8Array.from([0xb8, ...dword(round), 0xc3]))
    })
    expect(results).toEqual([1, 10, 20].flatMap((value) => Array.from({ length: 10 }, () => value)))
    expect(machine.counter(INVALIDATIONS)).toBeGreaterThan(0)
  })

  it('changes when the host stored more often than there is room to remember', () => {
    const { results, machine } = called(20, threshold, (own, round) => {
      if (round !== 10) return
      for (let count = 0; count < 3000; count++) own.guest.writeU8(TARGET + 64 + count % 64, 0x90)
      own.guest.writeU8(TARGET + RESULT_AT, 7)
      for (let count = 0; count < 3000; count++) own.guest.writeU8(TARGET + 64 + count % 64, 0x90)
    })
    expect(results).toEqual([...Array.from({ length: 10 }, () => 1), ...Array.from({ length: 10 }, () => 7)])
    expect(machine.counter(FLUSHES)).toBeGreaterThan(1)
  })

  it('is kept when the host stores elsewhere, on the same page or on others', () => {
    const { results, machine } = called(1000, threshold, (own, round) => {
      own.guest.writeU32(TARGET + 128, round)
      own.guest.fill(64 * MIB, MIB, round)
    })
    expect(new Set(results)).toEqual(new Set([1]))
    expect(machine.counter(INVALIDATIONS)).toBe(0)
    expect(machine.counter(FLUSHES)).toBe(1)
  })
})
