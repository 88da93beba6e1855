/** Guest-physical space that is not RAM: the registers of the local APIC and the IOAPIC, which live in the core, and the bus. */
import { G_CHIP_LOCK, MSR_APIC_BASE, STAT_MMIO } from './layout'
import { deviceRead, deviceWrite } from './bus'
import { cutBudget, machineNs } from './time'
import { ioapicRead, ioapicWrite } from './ioapic'
import { lapicRead, lapicWrite } from './lapic'
import { physToHost } from './ram'
import { acquire, release } from './sync'
import { tally } from './counters'

/** Is this page the register window of the vCPU's local APIC? It lies over RAM, too, and moves with IA32_APIC_BASE. */
// @ts-ignore: decorator
@inline function isLapicPage(cpu: usize, physical: u64): bool {
  const base = load<u64>(cpu, MSR_APIC_BASE)
  return physical >> 12 == base >> 12 && (base & 0xc00) == 0x800
}

/** As physToHost, for the accesses of one vCPU. */
export function ramBehind(cpu: usize, physical: u64): usize {
  return isLapicPage(cpu, physical) ? 0 : physToHost(physical)
}

/** Reads 1..8 bytes of guest-physical space outside RAM. */
export function mmioRead(cpu: usize, physical: u64, size: u32): u64 {
  tally(STAT_MMIO)
  const page = physical >> 12
  if (isLapicPage(cpu, physical)) {
    acquire(G_CHIP_LOCK)
    const value: u64 = lapicRead(cpu, <u32>physical & 0xffc, machineNs())
    release(G_CHIP_LOCK)
    return value >> ((physical & 3) << 3)
  }
  if (page == 0xfec00) {
    acquire(G_CHIP_LOCK)
    const value: u64 = ioapicRead(<u32>physical & 0xffc)
    release(G_CHIP_LOCK)
    return value >> ((physical & 3) << 3)
  }
  if (size == 8) {
    const low: u64 = deviceRead(0, <u32>physical, <u32>(physical >> 32), 4)
    return low | (<u64>deviceRead(0, <u32>(physical + 4), <u32>((physical + 4) >> 32), 4) << 32)
  }
  if (size == 1 || size == 2 || size == 4) return deviceRead(0, <u32>physical, <u32>(physical >> 32), size)
  let value: u64 = 0
  for (let i: u32 = 0; i < size; i++) value |= <u64>deviceRead(0, <u32>(physical + i), <u32>((physical + i) >> 32), 1) << (i << 3)
  return value
}

export function mmioWrite(cpu: usize, physical: u64, size: u32, value: u64): void {
  tally(STAT_MMIO)
  const page = physical >> 12
  cutBudget() // the write may have raised an interrupt or asked for an exit
  if (isLapicPage(cpu, physical)) {
    if (size < 4 || physical & 3) return
    acquire(G_CHIP_LOCK)
    lapicWrite(cpu, <u32>physical & 0xffc, <u32>value, machineNs())
    release(G_CHIP_LOCK)
    return
  }
  if (page == 0xfec00) {
    if (physical & 3) return
    acquire(G_CHIP_LOCK)
    ioapicWrite(<u32>physical & 0xffc, <u32>value)
    release(G_CHIP_LOCK)
    return
  }
  if (size == 8) {
    deviceWrite(0, <u32>physical, <u32>(physical >> 32), 4, <u32>value)
    deviceWrite(0, <u32>(physical + 4), <u32>((physical + 4) >> 32), 4, <u32>(value >> 32))
  } else if (size == 1 || size == 2 || size == 4) deviceWrite(0, <u32>physical, <u32>(physical >> 32), size, <u32>value)
  else for (let i: u32 = 0; i < size; i++) deviceWrite(0, <u32>(physical + i), <u32>((physical + i) >> 32), 1, <u32>(value >> (i << 3)) & 0xff)
}
