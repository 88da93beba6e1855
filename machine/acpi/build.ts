/**
 * Minimal hardware-reduced ACPI for a machine without firmware: RSDP, XSDT, FADT (revision 6), MADT, DSDT. ACPI 6.5 chapter 5.
 * Linux finds processors, IOAPIC, virtio-mmio devices, serial port, power button, power-off and reset in it. Left out: FACS (no sleep
 * state but S5), MCFG (no PCI), SRAT/SLIT (no NUMA), processor objects (no C-states or hot-plug).
 */
import { RESET, RESET_VALUE, SLEEP_CONTROL, SLEEP_STATUS } from '../../device-model/acpi-power.ts'
import { MesovirtError } from '../../host/errors.ts'
import { SystemIO, SystemMemory } from './aml.ts'
import type { Aml } from './aml.ts'
import { dsdtBody } from './dsdt.ts'
import type { SerialPort, VirtioMmioWindow } from './dsdt.ts'
import type { PowerBlock } from './power-block.ts'

/** Inside the area that e820 reserves and that a kernel scans for the RSDP; ends where a large MP table may begin. */
export const ACPI_ADDRESS = 0xe_0000
const ACPI_END = 0xf_0000

const OEM_ID = 'MESOVT', OEM_TABLE_ID = 'MESOVIRT', CREATOR_ID = 'MESO'
const HEADER_SIZE = 36
const RSDP_SIZE = 36
const TABLE_ALIGNMENT = 16

const LOCAL_APIC_ADDRESS = 0xfee0_0000
const PCAT_COMPAT = 1 // MADT flags: there is a pair of 8259
const LAPIC_ENABLED = 1
const LOCAL_APIC = 0, IO_APIC = 1, INTERRUPT_SOURCE_OVERRIDE = 2, LOCAL_APIC_NMI = 4, LOCAL_X2APIC = 9, LOCAL_X2APIC_NMI = 0xa
const ACTIVE_HIGH_EDGE = 0b0101 // MPS INTI flags
/** 0xff addresses all local APICs, so ids from there on need x2APIC entries. */
const X2APIC_ID_MIN = 0xff

const FADT_SIZE = 276
const FADT_REVISION = 6, FADT_MINOR = 5
const VGA_NOT_PRESENT = 1 << 2, CMOS_RTC_NOT_PRESENT = 1 << 5 // IAPC_BOOT_ARCH
const WBINVD = 1 << 0, PROC_C1 = 1 << 2, PWR_BUTTON = 1 << 4, SLP_BUTTON = 1 << 5, RESET_REG_SUP = 1 << 10, HEADLESS = 1 << 12, HW_REDUCED_ACPI = 1 << 20

export interface AcpiOptions {
  /** APIC id of each processor, the boot processor first. */
  readonly cpus: readonly number[]
  readonly ioapic: { readonly id: number; readonly address: number; readonly gsiBase?: number | undefined }
  /** null: the machine has no serial port */
  readonly serial: SerialPort | null
  readonly virtioMmio: readonly VirtioMmioWindow[]
  readonly power: PowerBlock
  /** Whether there is a CMOS clock at ports 0x70/0x71; absent means no. */
  readonly rtc?: boolean | undefined
}

export interface AcpiTables {
  /** Guest-physical address of the RSDP, for boot_params.acpi_rsdp_addr or the PVH start info. */
  readonly rsdp: number
  /** To be written into guest memory before every start. */
  readonly blobs: readonly { readonly name: string; readonly address: number; readonly bytes: Uint8Array }[]
}

/** @throws MesovirtError ACPI_TOO_BIG when the tables outgrow their 64 KiB (thousands of processors) */
export function buildAcpi(options: AcpiOptions): AcpiTables {
  const blobs: { name: string; address: number; bytes: Uint8Array }[] = []
  let next = ACPI_ADDRESS + align(RSDP_SIZE)
  const place = (name: string, bytes: Uint8Array): number => {
    const address = next
    next += align(bytes.length)
    if (next > ACPI_END) throw new MesovirtError('ACPI_TOO_BIG', `the ACPI tables of ${options.cpus.length} processors and ${options.virtioMmio.length} devices do not fit; use fewer`)
    blobs.push({ name, address, bytes })
    return address
  }
  const dsdt = place('DSDT', table('DSDT', 2, dsdtBody(options.serial, options.virtioMmio, options.power)))
  const fadt = place('FACP', buildFadt(dsdt, options.power, options.rtc ?? false))
  const madt = place('APIC', buildMadt(options.cpus, options.ioapic))
  const xsdt = place('XSDT', table('XSDT', 1, [...u64(fadt), ...u64(madt)]))
  return { rsdp: ACPI_ADDRESS, blobs: [{ name: 'RSDP', address: ACPI_ADDRESS, bytes: buildRsdp(xsdt) }, ...blobs] }
}

function buildRsdp(xsdt: number): Uint8Array {
  const bytes = Uint8Array.from([...ascii('RSD PTR '), 0, ...ascii(OEM_ID), 2, ...u32(0), ...u32(RSDP_SIZE), ...u64(xsdt), 0, 0, 0, 0])
  bytes[8] = checksum(bytes.subarray(0, 20)) // the ACPI 1.0 part
  bytes[32] = checksum(bytes)
  return bytes
}

function buildFadt(dsdt: number, power: PowerBlock, rtc: boolean): Uint8Array {
  const body = new Uint8Array(FADT_SIZE - HEADER_SIZE)
  const put = (offset: number, bytes: Aml) => body.set(bytes, offset - HEADER_SIZE)
  const register = (offset: number) => genericAddress(power.space === 'memory' ? SystemMemory : SystemIO, power.base + offset)
  put(40, u32(dsdt)) // DSDT
  put(96, [...u16(101), ...u16(1001)]) // P_LVL2_LAT, P_LVL3_LAT: no C2, no C3
  put(109, u16(VGA_NOT_PRESENT | (rtc ? 0 : CMOS_RTC_NOT_PRESENT))) // IAPC_BOOT_ARCH
  put(112, u32(WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | RESET_REG_SUP | HEADLESS | HW_REDUCED_ACPI)) // buttons: none in fixed hardware
  put(116, register(RESET)) // RESET_REG
  put(128, [RESET_VALUE])
  put(131, [FADT_MINOR])
  put(140, u64(dsdt)) // X_DSDT
  put(244, register(SLEEP_CONTROL)) // SLEEP_CONTROL_REG
  put(256, register(SLEEP_STATUS)) // SLEEP_STATUS_REG
  put(268, ascii(OEM_TABLE_ID)) // Hypervisor Vendor Identity
  return table('FACP', FADT_REVISION, [...body])
}

function buildMadt(cpus: readonly number[], ioapic: AcpiOptions['ioapic']): Uint8Array {
  const needsX2apic = cpus.some((id) => id >= X2APIC_ID_MIN)
  return table('APIC', 5, [
    ...u32(LOCAL_APIC_ADDRESS), ...u32(PCAT_COMPAT),
    ...cpus.flatMap((id, uid) => id < X2APIC_ID_MIN
      ? [LOCAL_APIC, 8, uid & 0xff, id, ...u32(LAPIC_ENABLED)]
      : [LOCAL_X2APIC, 16, 0, 0, ...u32(id), ...u32(LAPIC_ENABLED), ...u32(uid)]),
    ...[IO_APIC, 12, ioapic.id, 0, ...u32(ioapic.address), ...u32(ioapic.gsiBase ?? 0)],
    // The timer reaches pin 2 as well as pin 0; ACPI systems expect it on 2. All other ISA interrupts keep their number.
    ...[INTERRUPT_SOURCE_OVERRIDE, 10, 0, 0, ...u32(2), ...u16(ACTIVE_HIGH_EDGE)],
    ...[LOCAL_APIC_NMI, 6, 0xff, ...u16(ACTIVE_HIGH_EDGE), 1], // LINT1 of every processor
    ...needsX2apic ? [LOCAL_X2APIC_NMI, 12, ...u16(ACTIVE_HIGH_EDGE), ...u32(0xffff_ffff), 1, 0, 0, 0] : [],
  ])
}

function table(signature: string, revision: number, body: Aml): Uint8Array {
  const bytes = Uint8Array.from([
    ...ascii(signature), ...u32(HEADER_SIZE + body.length), revision, 0, ...ascii(OEM_ID), ...ascii(OEM_TABLE_ID), ...u32(1), ...ascii(CREATOR_ID), ...u32(1), ...body,
  ])
  bytes[9] = checksum(bytes)
  return bytes
}

/** Generic Address Structure of an 8-bit register with byte access. */
function genericAddress(space: number, address: number): number[] {
  return [space, 8, 0, 1, ...u64(address)]
}

function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff
}

function align(size: number): number {
  return Math.ceil(size / TABLE_ALIGNMENT) * TABLE_ALIGNMENT
}

function ascii(text: string): number[] {
  return Array.from(text, (char) => char.charCodeAt(0))
}

function u16(value: number): number[] {
  return [value & 0xff, value >>> 8 & 0xff]
}

function u32(value: number): number[] {
  return [...u16(value), ...u16(value >>> 16)]
}

function u64(value: number): number[] {
  return [...u32(value >>> 0), ...u32(Math.floor(value / 0x1_0000_0000))]
}
