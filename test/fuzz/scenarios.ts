/** Small guests for what a hostile guest once brought about, or must never: each returns what is wrong, '' if nothing is. */
import * as L from '../../hypervisor/tcg/core/layout.ts'
import { cpuAt, RAM_HIGH_START, ROM_START } from './machine.ts'
import type { FuzzMachine } from './machine.ts'

const CODE = 0x1000
const BUDGET = 1000n
const KVM_WALL_CLOCK = 0x4b56_4d00, KVM_SYSTEM_TIME = 0x4b56_4d01
const INVALID_OPCODE = 6, GENERAL_PROTECTION = 13, PAGE_FAULT = 14

const u32 = (value: number): number[] => [value & 0xff, value >>> 8 & 0xff, value >>> 16 & 0xff, value >>> 24]
const u16 = (value: number): number[] => u32(value).slice(0, 2)
const UD2 = [0x0f, 0x0b], HLT = [0xf4]

/** Real mode with flat 4 GiB segments, at `code`. */
function start(machine: FuzzMachine, code: readonly number[], at = CODE): void {
  const { view } = machine
  machine.reset(1, new Uint8Array(16))
  machine.bytes.set(code, machine.host(at))
  const cpu = cpuAt(0)
  for (let segment = L.ES; segment <= L.GS; segment++) {
    view.setBigUint64(cpu + L.SEG + segment * L.SEG_SIZE + L.SEG_BASE, 0n, true)
    view.setUint32(cpu + L.SEG + segment * L.SEG_SIZE + L.SEG_LIMIT, 0xffff_ffff, true)
    view.setUint16(cpu + L.SEG + segment * L.SEG_SIZE + L.SEG_SELECTOR, 0, true)
  }
  view.setBigUint64(cpu + L.GPR + 4 * 8, 0x7000n, true)
  view.setBigUint64(cpu + L.RIP, BigInt(at), true)
  machine.core.refreshCpu(cpu)
}
const run = (machine: FuzzMachine): number => machine.core.runCpu(cpuAt(0), BUDGET)
/** WRMSR with 32-bit operands, in 16-bit code. */
const wrmsr = (msr: number, low: number, high: number): number[] => [0x66, 0xb9, ...u32(msr), 0x66, 0xb8, ...u32(low), 0x66, 0xba, ...u32(high), 0x0f, 0x30]
const invalidations = (machine: FuzzMachine): number => Number(machine.view.getBigUint64(L.G_STATS + L.STAT_INVALIDATIONS * 8, true))
const vector = (machine: FuzzMachine, number: number, at: number): void => { machine.view.setUint32(machine.host(number * 4), at, true) }
/** MOV byte [disp16], imm8 */
const poke = (at: number, value: number): number[] => [0xc6, 0x06, ...u16(at), value]

export const scenarios: Readonly<Record<string, (machine: FuzzMachine) => string>> = {
  'the clocks of KVM are not written into ROM': (machine) => {
    start(machine, [...wrmsr(KVM_WALL_CLOCK, ROM_START + 0x100, 0), ...wrmsr(KVM_SYSTEM_TIME, ROM_START + 0x200 | 1, 0), ...HLT])
    return run(machine) === L.EXIT_HALT ? '' : 'the guest did not reach its HLT'
  },

  'the clocks of KVM are not written across the end of a page or of memory': (machine) => {
    const ends = [0xffc, 0x7_fffc, 0x3_fffc]
    start(machine, [...ends.flatMap((end, index) => [...wrmsr(KVM_WALL_CLOCK, end, index === 2 ? 1 : 0), ...wrmsr(KVM_SYSTEM_TIME, end | 1, index === 2 ? 1 : 0)]), ...HLT])
    if (run(machine) !== L.EXIT_HALT) return 'the guest did not reach its HLT'
    return machine.view.getUint32(machine.host(RAM_HIGH_START + 0x3_fffc), true) === 0 ? '' : 'a clock was written across the end of memory'
  },

  'a handler that faults at once, forever, does not hold the machine': (machine) => {
    start(machine, UD2)
    vector(machine, INVALID_OPCODE, 0x1100)
    machine.bytes.set(UD2, machine.host(0x1100))
    return run(machine) === L.EXIT_SLICE ? '' : 'the slice did not end'
  },

  'a handler that cannot even be fetched does not hold the machine': (machine) => {
    start(machine, UD2)
    vector(machine, INVALID_OPCODE, 0x1100)
    // Nothing is behind this code segment: every fetch is #UD again.
    machine.view.setUint32(machine.host(INVALID_OPCODE * 4), 0xf800_0000, true)
    return [L.EXIT_SLICE, L.EXIT_SHUTDOWN].includes(run(machine)) ? '' : 'the slice did not end'
  },

  'faults that fault in turn end in a shutdown': (machine) => {
    start(machine, UD2)
    for (const number of [INVALID_OPCODE, GENERAL_PROTECTION, PAGE_FAULT, 8]) vector(machine, number, 0x1100)
    machine.view.setUint32(cpuAt(0) + L.IDTR_LIMIT, 0, true)
    return run(machine) === L.EXIT_SHUTDOWN ? '' : 'no shutdown'
  },

  'REP with the largest count comes back at every slice': (machine) => {
    start(machine, [0x66, 0xb9, ...u32(0xffff_ffff), 0x66, 0x67, 0xf3, 0xac]) // mov ecx, -1; rep lodsb with 32-bit addresses
    return run(machine) === L.EXIT_SLICE ? '' : 'the slice did not end'
  },

  'a repeat uses up the slice like other instructions': (machine) => {
    start(machine, [0x66, 0xb9, ...u32(0xffff_ffff), 0x66, 0x67, 0xf3, 0xac])
    machine.core.runCpu(cpuAt(0), 100_000n)
    const done = 0xffff_ffff - machine.view.getUint32(cpuAt(0) + L.GPR + 8, true)
    return done > 50_000 && done < 150_000 ? '' : `${done} iterations in a slice of 100000 instructions`
  },

  'data beside code drops no decoded code': (machine) => {
    start(machine, [...poke(CODE + 0x80, 1), ...poke(CODE + 0xfff, 2), ...poke(CODE + 0x40, 3), ...HLT])
    if (run(machine) !== L.EXIT_HALT) return 'the guest did not reach its HLT'
    return invalidations(machine) === 0 ? '' : `${invalidations(machine)} invalidations`
  },

  'data in the same line as code drops it': (machine) => {
    start(machine, [...poke(CODE + 0x3f, 1), ...HLT])
    if (run(machine) !== L.EXIT_HALT) return 'the guest did not reach its HLT'
    return invalidations(machine) === 1 ? '' : `${invalidations(machine)} invalidations`
  },

  'a store into the very next instruction is executed': (machine) => {
    start(machine, [...poke(CODE + 5, 0xf4), 0x90, ...UD2])
    return run(machine) === L.EXIT_HALT ? '' : 'the old byte ran'
  },

  'a cache that overflows again and again runs on': (machine) => {
    // 48 KiB of NOPs, then back to the start by a jump: more uops than the little cache of this machine holds.
    start(machine, [])
    machine.bytes.fill(0x90, machine.host(CODE), machine.host(CODE) + 0xc000)
    machine.bytes.set([0xe9, ...u16(0x10000 - 0xc003)], machine.host(CODE + 0xc000))
    machine.view.setBigUint64(cpuAt(0) + L.GPR + 4 * 8, 0xfff0n, true)
    for (let turn = 0; turn < 300; turn++) if (run(machine) !== L.EXIT_SLICE) return 'the loop ended'
    const flushes = Number(machine.view.getBigUint64(L.G_STATS + L.STAT_CACHE_FLUSHES * 8, true))
    return flushes > 5 ? '' : `only ${flushes} flushes`
  },

  'single steps end a HLT': (machine) => {
    start(machine, [...HLT, ...UD2])
    vector(machine, 1, 0x1100)
    machine.bytes.set([0x90, ...UD2], machine.host(0x1100))
    vector(machine, INVALID_OPCODE, 0x1200)
    machine.bytes.set([...poke(0x500, 7), ...HLT], machine.host(0x1200))
    machine.view.setBigUint64(cpuAt(0) + L.RFLAGS, 0x102n, true)
    run(machine)
    return machine.bytes[machine.host(0x500)] === 7 ? '' : 'the handler of #DB did not run'
  },
}
