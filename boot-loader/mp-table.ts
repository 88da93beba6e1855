/**
 * The MP floating pointer and configuration table: processors, one ISA bus, one IOAPIC with the ISA interrupts on pins of their number, the timer on pin 2.
 * Intel MultiProcessor Specification 1.4, chapter 4. For kernels that read no ACPI. Left out: PCI buses, extended entries.
 */
import { EBDA_ADDRESS, LARGE_MP_TABLE_ADDRESS, VGA_HOLE_ADDRESS } from './layout.ts'

const FLOATING_POINTER_SIZE = 16
const HEADER_SIZE = 44
const MP_SPEC_1_4 = 4
const LOCAL_APIC_ADDRESS = 0xfee0_0000
const IOAPIC_ADDRESS = 0xfec0_0000
const APIC_VERSION = 0x14

const ENTRY_PROCESSOR = 0, ENTRY_BUS = 1, ENTRY_IOAPIC = 2, ENTRY_IO_INTERRUPT = 3, ENTRY_LOCAL_INTERRUPT = 4
const CPU_ENABLED = 0b01
const CPU_BOOT = 0b10
const CPU_SIGNATURE = 0x0600 // family 6; Linux reads CPUID instead
const CPU_FEATURES = 0x0201 // APIC and FPU
const IOAPIC_ENABLED = 1
const INT = 0, NMI = 1, EXTINT = 3 // interrupt types
const ISA_BUS_ID = 0
const ISA_INTERRUPTS = 16
/** As PCs are wired: the timer on the pin that the second PIC's interrupt leaves free. The ACPI tables say the same. */
const TIMER = 0, CASCADE = 2, TIMER_PIN = 2
const ALL_LOCAL_APICS = 0xff
/** Ids from here on do not fit: 0xff means "all", and the table knows 8-bit ids only. */
const APIC_ID_LIMIT = 0xff

export interface MpTable {
  readonly pointerAddress: number
  readonly pointer: Uint8Array
  readonly tableAddress: number
  readonly table: Uint8Array
}

/** @param apicIds one per processor, the boot processor first; those above 254 exist for ACPI only */
export function buildMpTable(apicIds: readonly number[]): MpTable {
  const ids = apicIds.filter((id) => id < APIC_ID_LIMIT)
  const ioapicId = (ids.length + 1) & 0xff
  const entries: number[][] = [
    ...ids.map((id, index) => [ENTRY_PROCESSOR, id, APIC_VERSION, CPU_ENABLED | (index === 0 ? CPU_BOOT : 0),
      ...u32(CPU_SIGNATURE), ...u32(CPU_FEATURES), ...u32(0), ...u32(0)]),
    [ENTRY_BUS, ISA_BUS_ID, ...ascii('ISA', 6)],
    [ENTRY_IOAPIC, ioapicId, APIC_VERSION, IOAPIC_ENABLED, ...u32(IOAPIC_ADDRESS)],
    ...Array.from({ length: ISA_INTERRUPTS }, (_, irq) => irq).filter((irq) => irq !== CASCADE)
      .map((irq) => [ENTRY_IO_INTERRUPT, INT, 0, 0, ISA_BUS_ID, irq, ioapicId, irq === TIMER ? TIMER_PIN : irq]),
    [ENTRY_LOCAL_INTERRUPT, EXTINT, 0, 0, ISA_BUS_ID, 0, 0, 0],
    [ENTRY_LOCAL_INTERRUPT, NMI, 0, 0, ISA_BUS_ID, 0, ALL_LOCAL_APICS, 1],
  ]
  const body = entries.flat()
  const length = HEADER_SIZE + body.length
  const table = Uint8Array.from([
    ...ascii('PCMP', 4), ...u16(length), MP_SPEC_1_4, 0, ...ascii('MESOVIRT', 8), ...ascii('LIGHT', 12),
    ...u32(0), ...u16(0), ...u16(entries.length), ...u32(LOCAL_APIC_ADDRESS), ...u16(0), 0, 0, ...body,
  ])
  table[7] = checksum(table)

  const fitsEbda = EBDA_ADDRESS + FLOATING_POINTER_SIZE + length <= VGA_HOLE_ADDRESS
  const tableAddress = fitsEbda ? EBDA_ADDRESS + FLOATING_POINTER_SIZE : LARGE_MP_TABLE_ADDRESS
  const pointer = Uint8Array.from([...ascii('_MP_', 4), ...u32(tableAddress), 1, MP_SPEC_1_4, 0, 0, 0, 0, 0, 0])
  pointer[10] = checksum(pointer)
  return { pointerAddress: EBDA_ADDRESS, pointer, tableAddress, table }
}

function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff
}

function ascii(text: string, length: number): number[] {
  return Array.from(text.padEnd(length), (char) => char.charCodeAt(0))
}

function u16(value: number): number[] {
  return [value & 0xff, value >> 8 & 0xff]
}

function u32(value: number): number[] {
  return [value & 0xff, value >>> 8 & 0xff, value >>> 16 & 0xff, value >>> 24]
}
