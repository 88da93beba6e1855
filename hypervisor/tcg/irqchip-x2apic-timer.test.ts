/** x2APIC mode and the local APIC timer of the core at register level, against Intel SDM volume 3 sections 11.5.4 and 11.12. */
import { beforeAll, describe, expect, it } from 'vitest'
import { Chips, compileChips } from './irqchip-driver.ts'

const TPR = 0x80, SVR = 0xf0, IRR = 0x200, ICR = 0x300, LVT_TIMER = 0x320, INITIAL = 0x380, CURRENT = 0x390, DIVIDE = 0x3e0
const PERIODIC = 0x20000, TSC_DEADLINE = 0x40000
const NEVER = 0xffffffffffffffffn
const X2APIC_BASE = 0xfee00d00n

let module: WebAssembly.Module
beforeAll(() => { module = compileChips('irqchip-test-x2apic') })

function machine(count = 1): Chips {
  const chips = new Chips(module, count)
  for (let i = 0; i < count; i++) chips.enable(i)
  return chips
}

function x2apic(count = 1): Chips {
  const chips = machine(count)
  for (let i = 0; i < count; i++) expect(chips.x.apicBaseWrite(chips.cpu(i), i === 0 ? X2APIC_BASE : X2APIC_BASE & ~0x100n)).toBe(0)
  return chips
}

describe('x2APIC', () => {
  it('derives ID and logical ID and keeps them through INIT', () => {
    const chips = x2apic(18)
    expect(chips.rdmsr(0x802, 17)).toBe(17n)
    expect(chips.rdmsr(0x80d, 17)).toBe(0x10002n)
    chips.x.lapicInit(chips.cpu(17))
    expect(chips.rdmsr(0x802, 17)).toBe(17n)
    expect(chips.rdmsr(0x80d, 17)).toBe(0x10002n)
  })
  it('raises #GP for MSRs that do not exist, wrong direction, reserved bits, and outside the mode', () => {
    const chips = x2apic()
    for (const msr of [0x800, 0x801, 0x804, 0x809, 0x80b, 0x80c, 0x80e, 0x82f, 0x831, 0x83a, 0x83f]) expect(chips.rdmsr(msr), msr.toString(16)).toBe(null)
    for (const msr of [0x802, 0x803, 0x80a, 0x80d, 0x810, 0x820, 0x82f, 0x839]) expect(chips.wrmsr(msr, 0n), msr.toString(16)).toBe(false)
    expect(chips.wrmsr(0x808, 0x100n)).toBe(false)
    expect(chips.wrmsr(0x80b, 1n)).toBe(false)
    expect(chips.wrmsr(0x828, 1n)).toBe(false)
    expect(chips.wrmsr(0x832, 0x1_00000000n)).toBe(false)
    expect(chips.wrmsr(0x830, 0x2000n)).toBe(false)
    expect(new Chips(module).rdmsr(0x802)).toBe(null)
  })
  it('does not answer in the MMIO page', () => {
    const chips = x2apic()
    chips.write(TPR, 0x20)
    expect(chips.read(TPR)).toBe(0xffffffff)
    expect(chips.rdmsr(0x808)).toBe(0n)
  })
  it('sends by 64-bit ICR, by logical ID, by broadcast and to itself', () => {
    const chips = x2apic(18)
    expect(chips.wrmsr(0x830, (17n << 32n) | 0x41n)).toBe(true)
    expect(chips.rdmsr(0x830)).toBe((17n << 32n) | 0x41n)
    expect(chips.wrmsr(0x830, (0x10003n << 32n) | 0x842n)).toBe(true)
    expect(chips.wrmsr(0x830, (0xffffffffn << 32n) | 0x43n)).toBe(true)
    expect(chips.wrmsr(0x830, (0xffn << 32n) | 0x44n)).toBe(true)
    expect(chips.wrmsr(0x83f, 0x45n, 5)).toBe(true)
    const irr = (vector: number): number[] => Array.from({ length: 18 }, (_, i) => i).filter((i) => chips.bit(IRR, vector, i) === 1)
    expect(irr(0x41)).toEqual([17])
    expect(irr(0x42)).toEqual([16, 17])
    expect(irr(0x43)).toHaveLength(18)
    expect(irr(0x44)).toEqual([])
    expect(irr(0x45)).toEqual([5])
  })
  it('allows exactly the mode changes of SDM figure 11-27', () => {
    const off = 0xfee00100n, xapic = 0xfee00900n, x2 = 0xfee00d00n, invalid = 0xfee00500n
    const path: Record<string, bigint[]> = { off: [off], xapic: [xapic], x2: [xapic, x2] }
    const allowed = (from: string, to: bigint): boolean => {
      const chips = new Chips(module)
      for (const value of path[from] ?? []) expect(chips.x.apicBaseWrite(chips.cpu(0), value)).toBe(0)
      return chips.x.apicBaseWrite(chips.cpu(0), to) === 0
    }
    const table = Object.keys(path).map((from) => [off, xapic, x2, invalid].map((to) => allowed(from, to)))
    expect(table).toEqual([[true, true, false, false], [true, true, true, false], [true, false, true, false]])
    const chips = new Chips(module)
    expect(chips.x.apicBaseWrite(chips.cpu(0), 0xfee00901n)).toBe(-1)
    expect(chips.x.apicBaseWrite(chips.cpu(0), (1n << 52n) | xapic)).toBe(-1)
  })
  it('forgets everything when disabled', () => {
    const chips = machine()
    chips.write(ICR, 0x40041)
    chips.x.apicBaseWrite(chips.cpu(0), 0xfee00100n)
    expect(chips.pending()).toBe(-1)
    expect(chips.read(SVR)).toBe(0xffffffff)
    chips.x.apicBaseWrite(chips.cpu(0), 0xfee00900n)
    expect(chips.read(SVR)).toBe(0xff)
    expect(chips.bit(IRR, 0x41)).toBe(0)
  })
})

describe('timer', () => {
  it('counts down once at the divided clock', () => {
    const chips = machine()
    chips.write(DIVIDE, 0x3) // by 16
    chips.write(LVT_TIMER, 0x30)
    chips.write(INITIAL, 1000)
    chips.now = 1600n
    expect(chips.read(CURRENT)).toBe(900)
    expect(chips.nextDeadline()).toBe(16000n)
    chips.tick(15999n)
    expect(chips.pending()).toBe(-1)
    chips.tick(16000n)
    expect(chips.ack()).toBe(0x30)
    expect(chips.read(CURRENT)).toBe(0)
    expect(chips.nextDeadline()).toBe(NEVER)
  })
  it('knows every divisor', () => {
    const chips = machine()
    const divisors = [0, 1, 2, 3, 8, 9, 10, 11].map((code) => {
      chips.write(DIVIDE, code)
      chips.write(INITIAL, 1)
      return Number(chips.nextDeadline())
    })
    expect(divisors).toEqual([2, 4, 8, 16, 32, 64, 128, 1])
  })
  it('repeats without drift and makes up for one missed period only', () => {
    const chips = machine()
    chips.write(DIVIDE, 0xb)
    chips.write(LVT_TIMER, PERIODIC | 0x31)
    chips.write(INITIAL, 1_000_000)
    chips.tick(1_000_500n)
    expect(chips.ack()).toBe(0x31)
    chips.eoi()
    expect(chips.nextDeadline()).toBe(2_000_000n)
    chips.tick(7_300_000n)
    expect(chips.ack()).toBe(0x31)
    chips.eoi()
    chips.tick(7_300_000n)
    expect(chips.pending()).toBe(-1)
    expect(chips.nextDeadline()).toBe(8_000_000n)
    expect(chips.read(CURRENT)).toBe(700_000)
  })
  it('bounds the interrupt rate of a tiny period', () => {
    const chips = machine()
    chips.write(DIVIDE, 0xb)
    chips.write(LVT_TIMER, PERIODIC | 0x31)
    chips.write(INITIAL, 1)
    chips.tick(100n)
    expect(chips.nextDeadline()).toBe(20_100n)
  })
  it('counts on while masked and fires nothing', () => {
    const chips = machine()
    chips.write(DIVIDE, 0xb)
    chips.write(INITIAL, 500)
    chips.tick(600n)
    expect(chips.read(CURRENT)).toBe(0)
    expect(chips.pending()).toBe(-1)
  })
  it('fires at the TSC deadline and clears the MSR', () => {
    const chips = machine()
    const cpu = chips.cpu(0)
    chips.setTscOffset(-1000n)
    chips.now = 2000n
    chips.x.tscDeadlineWrite(cpu, 5000n, chips.now)
    expect(chips.x.tscDeadlineRead(cpu)).toBe(0n)
    chips.write(LVT_TIMER, TSC_DEADLINE | 0x32)
    chips.write(INITIAL, 77)
    expect(chips.read(CURRENT)).toBe(0)
    chips.x.tscDeadlineWrite(cpu, 5000n, chips.now)
    expect(chips.x.tscDeadlineRead(cpu)).toBe(5000n)
    expect(chips.nextDeadline()).toBe(6000n)
    chips.setTscOffset(0n)
    chips.x.lapicTscChanged(cpu, chips.now)
    expect(chips.nextDeadline()).toBe(5000n)
    chips.tick(5000n)
    expect(chips.ack()).toBe(0x32)
    expect(chips.x.tscDeadlineRead(cpu)).toBe(0n)
    expect(chips.nextDeadline()).toBe(NEVER)
  })
  it('fires at once for a deadline in the past, never for 0, and disarms on a mode change', () => {
    const chips = machine()
    const cpu = chips.cpu(0)
    chips.now = 9000n
    chips.write(LVT_TIMER, TSC_DEADLINE | 0x32)
    chips.x.tscDeadlineWrite(cpu, 1n, chips.now)
    expect(chips.ack()).toBe(0x32)
    expect(chips.x.tscDeadlineRead(cpu)).toBe(0n)
    chips.x.tscDeadlineWrite(cpu, NEVER, chips.now)
    expect(chips.nextDeadline()).toBe(NEVER - 1n)
    chips.x.tscDeadlineWrite(cpu, 0n, chips.now)
    expect(chips.nextDeadline()).toBe(NEVER)
    chips.x.tscDeadlineWrite(cpu, 10000n, chips.now)
    chips.write(LVT_TIMER, PERIODIC | 0x32)
    expect(chips.nextDeadline()).toBe(NEVER)
  })
})
