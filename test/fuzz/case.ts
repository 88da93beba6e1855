/** One hostile guest from one number: memory, tables and registers at random, in any mode; then it runs, and the machine is checked. */
import * as L from '../../hypervisor/tcg/core/layout.ts'
import { stream } from './code.ts'
import { CPUS, cpuAt, EXIT_REASONS, RAM_HIGH, RAM_HIGH_START, RAM_LOW, ROM_SIZE, ROM_START } from './machine.ts'
import type { FuzzMachine } from './machine.ts'
import { Random } from './random.ts'

const PAGES = RAM_LOW / 0x1000
/** Pages with a purpose; the code lies wherever the page tables say. */
const TOP = 0x1000, POINTERS = 0x2000, DIRECTORY = 0x3000, TABLE = 0x4000, GDT = 0x5000, IDT = 0x6000, TSS = 0x7000, LDT = 0x8000
const CODE = 0x1_0000, CODE_PAGES = 8
const MODES = ['real', 'unreal', 'protected', 'paging', 'pae', 'compatibility', 'long', 'long', 'long', 'v86'] as const
type Mode = typeof MODES[number]
const INSTRUCTIONS = 1500
const TURNS = 10

/** @returns what went wrong, '' if nothing did */
export function runCase(machine: FuzzMachine, seed: number): string {
  const random = new Random(seed)
  const mode = random.pick(MODES)
  machine.reset(seed, stream(random, ROM_SIZE / 16))
  fillMemory(machine, random, mode)
  machine.core.setSpecialised(random.chance(70) ? 1 : 0)
  for (let index = 0; index < CPUS; index++) {
    if (index === 0 || random.chance(30)) setState(machine, random, cpuAt(index), random.chance(90) ? mode : random.pick(MODES))
  }
  try {
    run(machine, random, mode)
  } catch (error) {
    return `the core trapped: ${error instanceof Error ? error.stack ?? error.message : String(error)}`
  }
  return machine.check()
}

function run(machine: FuzzMachine, random: Random, mode: Mode): void {
  const { core, view } = machine
  const alone = random.chance(50)
  for (let turn = 0; turn < TURNS; turn++) {
    const reason = alone ? core.runCpu(cpuAt(0), BigInt(random.pick([1, 7, 200, INSTRUCTIONS]))) : core.runMachine(1)
    if (reason >= EXIT_REASONS) throw new Error(`runCpu returned ${reason}`)
    if (reason === L.EXIT_SHUTDOWN || random.chance(10)) { // the same memory seen from another state
      for (let index = 0; index < CPUS; index++) {
        view.setUint32(cpuAt(index) + L.TRIPLE_FAULT, 0, true)
        view.setInt32(cpuAt(index) + L.EXCEPTION, -1, true)
        setState(machine, random, cpuAt(index), random.chance(80) ? mode : random.pick(MODES))
      }
    }
    if (random.chance(30)) core.irqLine(random.below(26) - 1, random.below(2))
    if (random.chance(20)) {
      view.setUint32(L.G_LINES + random.below(24) * 16 + 4, random.u32(), true)
      view.setUint32(L.G_IRQ_DIRTY, 1, true)
    }
    if (random.chance(10)) view.setUint32(cpuAt(random.below(CPUS)) + L.EVENTS, random.below(32), true)
    if (reason === L.EXIT_HALT) core.skipIdle()
    if (random.chance(5)) core.flushAll()
    if (random.chance(5)) core.invalidateRange(machine.host(CODE), 0x2000)
  }
}

function fillMemory(machine: FuzzMachine, random: Random, mode: Mode): void {
  const { bytes, view } = machine
  const physical = (): number => random.chance(75) ? random.below(PAGES) * 0x1000
    : random.pick([0xfee0_0000, 0xfec0_0000, ROM_START, ROM_START + ROM_SIZE - 0x1000, RAM_HIGH_START, RAM_HIGH_START + RAM_HIGH - 0x1000, RAM_LOW, 0xd000_0000, 0x3fff_ffff_f000])
  const flags = (): bigint => random.chance(60) ? 0x67n : BigInt(random.below(0x200)) | (random.chance(90) ? 1n : 0n) | (random.chance(10) ? 1n << 63n : 0n) | (random.chance(3) ? 1n << BigInt(46 + random.below(16)) : 0n)
  const put64 = (at: number, value: bigint): void => { view.setBigUint64(machine.host(at), BigInt.asUintN(64, value), true) }
  // Page tables that serve 4-level and PAE paging; TABLE maps the first 2 MiB at random, identity for the pages with a purpose.
  put64(TOP, BigInt(POINTERS) | (random.chance(90) ? 7n : flags()))
  put64(POINTERS, BigInt(DIRECTORY) | 1n | (random.chance(50) ? 6n : 0n))
  for (let i = 1; i < 4; i++) put64(POINTERS + i * 8, random.chance(50) ? BigInt(DIRECTORY) | 1n : 0n)
  put64(DIRECTORY, BigInt(TABLE) | (random.chance(95) ? 7n : flags()))
  for (let i = 1; i < 16; i++) put64(DIRECTORY + random.below(512) * 8, BigInt(physical()) | flags())
  put64(DIRECTORY + 0x1f6 * 8, 0xfec0_0087n) // with PAE's or 4-level's fourth GiB: IOAPIC and local APIC
  put64(DIRECTORY + 0x1f7 * 8, 0xfee0_0087n)
  for (let i = 0; i < 512; i++) put64(TABLE + i * 8, i < 0x20 && random.chance(97) ? BigInt(i * 0x1000) | 7n : BigInt(physical()) | flags())
  // Code, and data that looks like code.
  bytes.set(stream(random, CODE_PAGES * 0x1000), machine.host(CODE))
  for (let i = 0; i < 4; i++) bytes.set(stream(random, 0x200), machine.host(random.below(RAM_LOW - 0x200)))
  if (random.chance(30)) bytes.set(stream(random, 0x1000), machine.host(RAM_HIGH_START))
  fillDescriptors(machine, random, mode === 'long' || mode === 'compatibility')
  fillChips(machine, random)
}

/** Interrupt controllers that are switched on, with entries at random. */
function fillChips(machine: FuzzMachine, random: Random): void {
  const { view } = machine
  const IOAPIC_ENTRIES = L.G_IRQCHIP + 0x140, SVR = 0xf0, LVT_TIMER = 0x320, LVT_LINT0 = 0x350
  if (random.chance(50)) for (let pin = 0; pin < 24; pin++) view.setBigUint64(IOAPIC_ENTRIES + pin * 8, random.u64() & 0xff00_0000_0001_afffn, true)
  for (let index = 0; index < CPUS; index++) {
    const apic = cpuAt(index) + L.LAPIC
    if (random.chance(70)) view.setUint32(apic + SVR, 0x1ff, true)
    if (random.chance(50)) view.setUint32(apic + LVT_TIMER, random.below(256) | random.below(4) << 17, true)
    if (random.chance(50)) view.setUint32(apic + LVT_LINT0, random.below(0x800), true)
  }
}

function fillDescriptors(machine: FuzzMachine, random: Random, long: boolean): void {
  const { view } = machine
  const put64 = (at: number, value: bigint): void => { view.setBigUint64(machine.host(at), BigInt.asUintN(64, value), true) }
  const good = [0n, 0x00af_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn, 0x00cf_9b00_0000_ffffn, 0x00cf_fb00_0000_ffffn, 0x00cf_f300_0000_ffffn, 0x00af_fb00_0000_ffffn, 0x0000_9b00_0000_ffffn,
    0x0000_9300_0000_ffffn, 0x0000_8900_7000_0fffn, 0n, 0x0000_8200_8000_0fffn, 0n, 0x0000_8900_7800_0067n, 0x0000_e500_0048_0000n, 0x0000_8100_7c00_002bn, 0x0000_ec00_0018_0000n | BigInt(CODE), 0n]
  for (let i = 0; i < 32; i++) put64(GDT + i * 8, random.chance(85) ? good[i] ?? random.u64() : random.u64())
  for (let i = 0; i < 16; i++) put64(LDT + i * 8, random.chance(50) ? random.pick(good) : random.u64())
  for (let i = 0; i < 512; i++) {
    const target = CODE + random.below(CODE_PAGES * 0x1000)
    const type = random.chance(85) ? random.pick([0x8e, 0x8f, 0xee, 0xef]) : random.pick([0x86, 0x87, 0x85, 0xe5, 0x0e])
    const selector = random.chance(85) ? (long ? 8 : 0x18) : random.pick([8, 0x18, 0x38, 0x48, 0x68])
    const gate = BigInt(target & 0xffff) | BigInt(selector) << 16n | BigInt(type) << 40n | BigInt(target >>> 16) << 48n
    put64(IDT + i * 8, random.chance(5) ? random.u64() : long && i % 2 === 1 ? 0n : gate)
  }
  for (let i = 0; i < 0x1000; i += 8) put64(TSS + i, random.chance(50) ? BigInt(random.below(RAM_LOW)) : random.u64())
  if (random.chance(80)) for (let i = 0; i < 12; i++) view.setBigUint64(machine.host(TSS + 4 + i * 8), long ? 0xf000n : 0xf000n | 0x10n << 32n, true) // stacks
  for (let i = 0; i < 0x100; i++) view.setUint32(machine.host(i * 4), random.chance(90) ? CODE >>> 4 << 16 | random.below(0x8000) : random.u32(), true) // real-mode vectors
}

function setState(machine: FuzzMachine, random: Random, cpu: number, mode: Mode): void {
  const { view } = machine
  const long = mode === 'long' || mode === 'compatibility'
  const paged = long || mode === 'pae' || mode === 'paging' || (mode === 'v86' && random.chance(50))
  const big = (at: number, value: bigint): void => { view.setBigUint64(cpu + at, BigInt.asUintN(64, value), true) }
  const word = (at: number, value: number): void => { view.setUint32(cpu + at, value, true) }
  const address = (): bigint => random.chance(70) ? BigInt(random.below(0x20_0000)) : random.chance(50) ? BigInt(random.below(0x100) * 0x1000 + random.below(33) - 16) : random.value()
  for (let i = 0; i < 16; i++) big(L.GPR + i * 8, long ? address() : address() & 0xffff_ffffn)
  big(L.GPR + 32, BigInt(0x9000 + random.below(0x6000)))
  if (random.chance(70)) big(L.GPR + 8, BigInt(random.below(0x3000)))
  const protectedMode = mode !== 'real' && mode !== 'unreal'
  big(L.CR0, 0x10n | (protectedMode ? 1n : 0n) | (paged ? 0x8000_0000n : 0n) | (random.chance(30) ? BigInt(random.u32() & 0x5002e) & ~0x20000000n : 0n))
  big(L.CR3, BigInt(mode === 'pae' ? POINTERS : TOP))
  big(L.CR4, 0x600n | (long || mode === 'pae' ? 0x20n : 0n) | (random.chance(30) ? BigInt(random.u32() & 0x1000dc) : 0n) | (random.chance(30) ? 0x10000n : 0n))
  big(L.EFER, (long ? 0x500n : 0n) | (random.chance(80) ? 1n : 0n) | (random.chance(70) ? 0x800n : 0n))
  const cpl = mode === 'v86' ? 3 : protectedMode && random.chance(35) ? random.pick([3, 3, 1, 2]) : 0
  word(L.CPL, cpl)
  big(L.RFLAGS, BigInt(2 | random.pick([0, 0x200, 0x200, 0x100]) | (random.chance(20) ? random.u32() & 0x257400 : 0) | (mode === 'v86' ? 0x20000 : 0)))
  const code = mode === 'long' ? 0xa09b00 : mode === 'compatibility' || mode === 'paging' || mode === 'pae' || mode === 'protected' ? (random.chance(80) ? 0xc09b00 : 0x9b00) : 0x9b00
  const flat = code & 0x800000 ? 0xffff_ffff : 0xffff
  const base = flat === 0xffff ? CODE : 0
  const segment = (number: number, selector: number, at: number, limit: number, attributes: number): void => {
    const where = L.SEG + number * L.SEG_SIZE
    big(where + L.SEG_BASE, BigInt(at))
    word(where + L.SEG_LIMIT, limit)
    word(where + L.SEG_ATTR, attributes)
    view.setUint16(cpu + where + L.SEG_SELECTOR, selector, true)
  }
  segment(L.CS, protectedMode ? 8 | cpl : CODE >>> 4, base, flat, code | cpl << 13)
  for (const number of [L.ES, L.SS, L.DS, L.FS, L.GS]) {
    const small = mode === 'real' || mode === 'v86' || random.chance(5)
    segment(number, (protectedMode ? 0x10 | cpl : random.below(0x8000)), number === L.SS ? 0 : random.chance(80) ? 0 : random.below(RAM_LOW), small ? 0xffff : 0xffff_ffff,
      (random.chance(95) ? 0xc09300 : random.pick([0xc09700, 0xc09100, 1, 0x9300])) | cpl << 13)
  }
  segment(L.LDTR, 0x58, LDT, 0xfff, 0x8200)
  segment(L.TR, 0x48, TSS, random.pick([0xfff, 0x67, 0x20]), random.chance(90) ? 0x8b00 : 0x8300)
  big(L.GDTR_BASE, BigInt(GDT)); word(L.GDTR_LIMIT, random.chance(95) ? 0xff : random.below(0x10000))
  big(L.IDTR_BASE, BigInt(protectedMode ? IDT : 0)); word(L.IDTR_LIMIT, random.chance(95) ? 0xfff : random.below(0x1000))
  big(L.RIP, BigInt((base === 0 ? CODE : 0) + random.below(0x4000)))
  if (random.chance(15)) for (let i = 0; i < 4; i++) big(L.DR + i * 8, BigInt(random.below(0x2_0000)))
  if (random.chance(15)) big(L.DR + 56, BigInt((random.u32() & 0xffff23ff | 0x400) >>> 0))
  for (let i = 0; i < 16; i++) { big(L.XMM + i * 16, random.value()); big(L.XMM + i * 16 + 8, random.u64()) }
  word(L.MXCSR, random.chance(70) ? 0x1f80 : random.u32() & 0xffff)
  for (let i = 0; i < 8; i++) { big(L.FPR + i * 16, random.u64()); view.setUint16(cpu + L.FPR + i * 16 + 8, random.u32() & 0xffff, true) }
  view.setUint16(cpu + L.FCW, random.chance(70) ? 0x37f : random.u32() & 0xffff, true)
  view.setUint16(cpu + L.FSW, random.u32() & 0x7fff, true)
  view.setUint8(cpu + L.FTW, random.below(256))
  big(L.MSR_STAR, 0x0023_0008_0000_0000n); big(L.MSR_LSTAR, BigInt(CODE + random.below(0x4000))); big(L.MSR_FMASK, BigInt(random.u32()))
  big(L.MSR_SYSENTER_CS, 8n); big(L.MSR_SYSENTER_EIP, BigInt(CODE + random.below(0x4000))); big(L.MSR_SYSENTER_ESP, 0xa000n)
  word(L.HALTED, 0)
  machine.core.refreshCpu(cpu)
}
