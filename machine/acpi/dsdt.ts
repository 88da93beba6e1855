/**
 * The DSDT of a machine without PCI: serial port, virtio-mmio devices, power button behind a Generic Event Device, and _S5.
 * ACPI 6.5 sections 4.8.3.7 (sleep), 5.6.9 (event device), 7.4.2.6 (_S5). Processors are in the MADT only.
 */
import { EVENT_POWER_BUTTON, EVENT_STATUS, SLEEP_TYPE_S5 } from '../../device-model/acpi-power.ts'
import {
  SystemIO, SystemMemory, and, device, eisaId, field, ifThen, integer, interrupt, ioPorts, isaIrq, local, memory32Fixed, method, name, nameString, notify,
  operationRegion, packageOf, resourceTemplate, scope, store, string,
} from './aml.ts'
import type { Aml } from './aml.ts'
import type { PowerBlock } from './power-block.ts'

export interface VirtioMmioWindow { readonly base: number; readonly size: number; readonly gsi: number }
export interface SerialPort { readonly port: number; readonly irq: number }

const PRESENT_ENABLED_VISIBLE_WORKING = 0x0f
const NOTIFY_BUTTON_PRESSED = 0x80

/** @returns the AML of the definition block, without the table header */
export function dsdtBody(serial: SerialPort | null, virtioMmio: readonly VirtioMmioWindow[], power: PowerBlock): Aml {
  return [
    ...scope('\\_SB',
      ...serial === null ? [] : [serialPort(serial)],
      ...virtioMmio.map(virtioDevice),
      ...powerButton(power)),
    ...name('\\_S5', packageOf(integer(SLEEP_TYPE_S5), integer(0), integer(0), integer(0))),
  ]
}

function serialPort({ port, irq }: SerialPort): Aml {
  return device('COM1',
    name('_HID', eisaId('PNP0501')),
    name('_UID', integer(0)),
    name('_STA', integer(PRESENT_ENABLED_VISIBLE_WORKING)),
    name('_CRS', resourceTemplate(ioPorts(port, 8), isaIrq(irq))))
}

function virtioDevice({ base, size, gsi }: VirtioMmioWindow, index: number): Aml {
  return device(`VR${index.toString(16).toUpperCase().padStart(2, '0')}`,
    name('_HID', string('LNRO0005')),
    name('_UID', integer(index)),
    name('_CCA', integer(1)),
    name('_CRS', resourceTemplate(memory32Fixed(base, size), interrupt(gsi, 'edge'))))
}

/** A hardware-reduced platform has no fixed power button: the event device's method reads what happened and tells the button device. */
function powerButton(power: PowerBlock): Aml[] {
  const happened = local(0)
  const register = nameString('ESTS')
  return [
    device('PWRB',
      name('_HID', eisaId('PNP0C0C')),
      name('_UID', integer(0)),
      name('_STA', integer(PRESENT_ENABLED_VISIBLE_WORKING))),
    device('GED',
      name('_HID', string('ACPI0013')),
      name('_UID', integer(0)),
      // Level: an event from before the driver was there still waits in the status register.
      name('_CRS', resourceTemplate(interrupt(power.gsi, 'level'))),
      operationRegion('EREG', power.space === 'memory' ? SystemMemory : SystemIO, power.base + EVENT_STATUS, 1),
      field('EREG', ['ESTS', 8]),
      // Exactly the bits that were read are cleared, so that an event in between is kept for the next interrupt.
      method('_EVT', 1,
        store(register, happened),
        store(happened, register),
        ifThen(and(happened, integer(EVENT_POWER_BUTTON)), notify('\\_SB.PWRB', NOTIFY_BUTTON_PRESSED)))),
  ]
}
