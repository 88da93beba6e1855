import { describe, expect, it } from 'vitest'
import { MesovirtError } from '../../host/errors.ts'
import { buildAcpi } from './build.ts'
import type { AcpiOptions } from './build.ts'

const POWER_BASE = 0x600
const options: AcpiOptions = {
  cpus: [0, 1], ioapic: { id: 2, address: 0xfec0_0000 }, serial: { port: 0x3f8, irq: 4 },
  virtioMmio: [{ base: 0xf010_0000, size: 0x200, gsi: 5 }], power: { base: POWER_BASE, gsi: 20 },
}

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => total + byte, 0) & 0xff
const text = (bytes: Uint8Array) => new TextDecoder('latin1').decode(bytes)

/** Finds the tables as a kernel does: from the RSDP through the XSDT and the FADT. */
function walk(more: Partial<AcpiOptions> = {}) {
  const { rsdp, blobs } = buildAcpi({ ...options, ...more })
  const at = (address: number) => {
    const blob = blobs.find((candidate) => candidate.address === address)
    if (blob === undefined) throw new Error(`nothing at 0x${address.toString(16)}`)
    return { bytes: blob.bytes, view: new DataView(blob.bytes.buffer), signature: text(blob.bytes.subarray(0, 4)) }
  }
  const root = at(rsdp)
  const xsdt = at(Number(root.view.getBigUint64(24, true)))
  const fadt = at(Number(xsdt.view.getBigUint64(36, true)))
  const madt = at(Number(xsdt.view.getBigUint64(44, true)))
  const dsdt = at(Number(fadt.view.getBigUint64(140, true)))
  return { rsdp, blobs, root, xsdt, fadt, madt, dsdt }
}

function madtEntries(bytes: Uint8Array): number[][] {
  const entries: number[][] = []
  for (let at = 44; at < bytes.length; at += bytes[at + 1] as number) entries.push([...bytes.subarray(at, at + (bytes[at + 1] as number))])
  return entries
}

describe('the ACPI tables', () => {
  it('hang together from an RSDP in the scanned area, with valid checksums and lengths', () => {
    const { rsdp, root, xsdt, fadt, madt, dsdt } = walk()
    expect(rsdp % 16).toBe(0)
    expect(rsdp).toBeGreaterThanOrEqual(0xe_0000)
    expect(text(root.bytes.subarray(0, 8))).toBe('RSD PTR ')
    expect(sum(root.bytes.subarray(0, 20))).toBe(0)
    expect(sum(root.bytes)).toBe(0)
    expect(root.bytes[15]).toBe(2)
    expect([xsdt, fadt, madt, dsdt].map(({ signature }) => signature)).toEqual(['XSDT', 'FACP', 'APIC', 'DSDT'])
    for (const { bytes, view } of [xsdt, fadt, madt, dsdt]) {
      expect(sum(bytes)).toBe(0)
      expect(view.getUint32(4, true)).toBe(bytes.length)
    }
  })

  it('do not overlap and stay below 0xF0000 with 254 processors', () => {
    const { blobs } = walk({ cpus: Array.from({ length: 254 }, (_, id) => id) })
    const sorted = [...blobs].sort((a, b) => a.address - b.address)
    sorted.forEach(({ address, bytes }, index) => expect(address + bytes.length).toBeLessThanOrEqual(sorted[index + 1]?.address ?? 0xf_0000))
  })

  it('that would outgrow their area are an error', () => {
    expect(() => walk({ cpus: Array.from({ length: 5000 }, (_, id) => id) })).toThrow(MesovirtError)
  })

  it('announce a hardware-reduced platform with sleep and reset registers', () => {
    const { fadt: { bytes, view }, dsdt, blobs } = walk()
    const HW_REDUCED_ACPI = 1 << 20, RESET_REG_SUP = 1 << 10
    const io = (port: number) => [1, 8, 0, 1, port & 0xff, port >> 8, 0, 0, 0, 0, 0, 0]
    expect(bytes[8]).toBe(6)
    expect(bytes).toHaveLength(276)
    expect(view.getUint32(112, true) & (HW_REDUCED_ACPI | RESET_REG_SUP)).toBe(HW_REDUCED_ACPI | RESET_REG_SUP)
    expect([...bytes.subarray(116, 129)]).toEqual([...io(POWER_BASE + 2), 1])
    expect([...bytes.subarray(244, 268)]).toEqual([...io(POWER_BASE), ...io(POWER_BASE + 1)])
    expect(view.getUint32(40, true)).toBe(blobs.find(({ name }) => name === 'DSDT')?.address)
    expect(dsdt.bytes.length).toBeGreaterThan(36)
  })

  it('can place the power block in memory instead of ports', () => {
    const { fadt: { bytes, view } } = walk({ power: { space: 'memory', base: 0xfed0_0000, gsi: 20 } })
    expect(bytes[244]).toBe(0)
    expect(view.getBigUint64(248, true)).toBe(0xfed0_0000n)
  })

  it('say that there is no CMOS clock unless there is one', () => {
    const NO_CMOS_RTC = 1 << 5
    expect(walk().fadt.view.getUint16(109, true) & NO_CMOS_RTC).toBe(NO_CMOS_RTC)
    expect(walk({ rtc: true }).fadt.view.getUint16(109, true) & NO_CMOS_RTC).toBe(0)
  })

  it('list processors, IOAPIC, the timer override and the NMI', () => {
    expect(madtEntries(walk().madt.bytes)).toEqual([
      [0, 8, 0, 0, 1, 0, 0, 0], [0, 8, 1, 1, 1, 0, 0, 0],
      [1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
      [2, 10, 0, 0, 2, 0, 0, 0, 5, 0],
      [4, 6, 0xff, 5, 0, 1],
    ])
  })

  it('use x2APIC entries for ids from 255 on', () => {
    const entries = madtEntries(walk({ cpus: [0, 254, 255, 300] }).madt.bytes)
    expect(entries.filter(([type]) => type === 0).map((entry) => entry[3])).toEqual([0, 254])
    expect(entries.filter(([type]) => type === 9)).toEqual([[9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0], [9, 16, 0, 0, 44, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0]])
    expect(entries.some(([type]) => type === 10)).toBe(true)
  })

  it('describe each device once', () => {
    const body = (more?: Partial<AcpiOptions>) => text(walk(more).dsdt.bytes)
    const count = (haystack: string, needle: string) => haystack.split(needle).length - 1
    const windows = Array.from({ length: 11 }, (_, index) => ({ base: 0xf010_0000 + index * 0x200, size: 0x200, gsi: 5 + index }))
    expect(count(body({ virtioMmio: windows }), 'LNRO0005')).toBe(11)
    expect(count(body(), 'ACPI0013')).toBe(1)
    expect(count(body(), 'COM1')).toBe(1)
    expect(count(body({ serial: null }), 'COM1')).toBe(0)
  })
})
