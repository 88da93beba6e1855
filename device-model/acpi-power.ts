/**
 * Power and reset registers of a hardware-reduced ACPI machine (ACPI 6.5 sections 4.8.3.6 reset register, 4.8.3.7 sleep control and status) and the
 * status byte of its power button, read by our own AML. Left out: sleep states other than S5, wake-up sources.
 */
import { GuestErrors, type DeviceEvents, type InterruptLine } from './contracts.ts'
import { stateBoolean, stateRecord } from './state.ts'

/** Offsets in the block, all one byte wide; offset 3 and 5..7 are reserved. */
export const SLEEP_CONTROL = 0, SLEEP_STATUS = 1, RESET = 2, EVENT_STATUS = 4
/** Bytes the block takes. */
export const ACPI_POWER_SIZE = 8
/** What the guest writes to RESET. */
export const RESET_VALUE = 1
/** SLP_TYPx of S5, as the AML's \_S5 package must say. */
export const SLEEP_TYPE_S5 = 5

const SLEEP_ENABLE = 0b0010_0000
const SLEEP_TYPE_SHIFT = 2
const SLEEP_TYPE_MASK = 0b111
/** Bit of EVENT_STATUS, cleared by writing 1. */
export const EVENT_POWER_BUTTON = 0b0000_0001

export interface AcpiPowerState {
  readonly buttonPressed: boolean
}

export interface AcpiPowerWiring {
  /** Level-triggered: high while an event waits in EVENT_STATUS. */
  readonly irq: InterruptLine
  readonly onPowerOff: () => void
  readonly onReset: () => void
  readonly events?: DeviceEvents | undefined
}

export class AcpiPower {
  readonly guestErrors: GuestErrors
  readonly #wiring: AcpiPowerWiring
  #buttonPressed = false

  constructor(state: AcpiPowerState, wiring: AcpiPowerWiring) {
    this.#wiring = wiring
    this.guestErrors = new GuestErrors('acpi-power', wiring.events)
    this.#setButton(state.buttonPressed)
  }

  static create(wiring: AcpiPowerWiring): AcpiPower {
    return new AcpiPower({ buttonPressed: false }, wiring)
  }

  /** @throws MesovirtError DEVICE_STATE */
  static fromState(state: unknown, wiring: AcpiPowerWiring): AcpiPower {
    return new AcpiPower({ buttonPressed: stateBoolean('acpi-power', stateRecord('acpi-power', state), 'buttonPressed') }, wiring)
  }

  state(): AcpiPowerState {
    return { buttonPressed: this.#buttonPressed }
  }

  reset(): void {
    this.#setButton(false)
  }

  /** Presses the power button: the guest decides what follows. */
  press(): void {
    this.#setButton(true)
  }

  read(offset: number, _size: 1 | 2 | 4 = 1): number {
    return offset === EVENT_STATUS && this.#buttonPressed ? EVENT_POWER_BUTTON : 0
  }

  write(offset: number, _size: 1 | 2 | 4, value: number): void {
    const byte = value & 0xff
    switch (offset) {
      case SLEEP_CONTROL: this.#sleep(byte); break
      case SLEEP_STATUS: break // WAK_STS is never set: clearing it changes nothing
      case RESET:
        if (byte === RESET_VALUE) this.#wiring.onReset()
        else this.guestErrors.count('reset register written with another value', `0x${byte.toString(16)}`)
        break
      case EVENT_STATUS:
        if ((byte & EVENT_POWER_BUTTON) !== 0) this.#setButton(false)
        break
      default:
        this.guestErrors.count('write of a reserved register')
    }
  }

  #sleep(value: number): void {
    if ((value & SLEEP_ENABLE) === 0) return
    const type = (value >> SLEEP_TYPE_SHIFT) & SLEEP_TYPE_MASK
    if (type === SLEEP_TYPE_S5) this.#wiring.onPowerOff()
    else this.guestErrors.count('sleep state that the tables do not offer', `SLP_TYP ${type}`)
  }

  #setButton(pressed: boolean): void {
    if (pressed === this.#buttonPressed) return
    this.#buttonPressed = pressed
    this.#wiring.irq.setLevel(pressed ? 1 : 0)
  }
}
