/**
 * The i8042 keyboard controller (IBM PC/AT Technical Reference, keyboard controller commands) as far as resetting the machine and Linux's probe
 * need it: no keyboard, no mouse. Left out: both devices, their interrupts, the A20 gate's effect.
 */
import { GuestErrors, type DeviceEvents } from './contracts.ts'
import { stateBytes, stateNumber, stateRecord } from './state.ts'

/** Offsets from port 0x60; the controller answers at 0x60 and 0x64 only. */
export const DATA = 0, STATUS_COMMAND = 4

const STATUS_OUTPUT_FULL = 0b0000_0001 // a reply waits at the data port
const STATUS_SYSTEM = 0b0000_0100 // self test passed
const STATUS_COMMAND_LAST = 0b0000_1000
const STATUS_UNLOCKED = 0b0001_0000
// "Input buffer full" (bit 1) is never set: commands take no time.

const READ_CONFIG = 0x20, WRITE_CONFIG = 0x60
const DISABLE_AUX = 0xa7, ENABLE_AUX = 0xa8, TEST_AUX = 0xa9, SELF_TEST = 0xaa, TEST_KEYBOARD = 0xab, DISABLE_KEYBOARD = 0xad, ENABLE_KEYBOARD = 0xae
const READ_OUTPUT_PORT = 0xd0, WRITE_OUTPUT_PORT = 0xd1, WRITE_KEYBOARD_BUFFER = 0xd2, WRITE_AUX_BUFFER = 0xd3, WRITE_AUX = 0xd4
const PULSE_RESET = 0xfe

const CONFIG_SYSTEM = 0b0000_0100
const CONFIG_KEYBOARD_DISABLED = 0b0001_0000
const CONFIG_AUX_DISABLED = 0b0010_0000
const CONFIG_RESET = CONFIG_SYSTEM | CONFIG_KEYBOARD_DISABLED | CONFIG_AUX_DISABLED

const SELF_TEST_PASSED = 0x55
const LINE_STUCK_LOW = 0x01 // the answer of an interface that nothing is plugged into
const OUTPUT_PORT_IDLE = 0b0000_0011 // reset line inactive, A20 open

export interface I8042State {
  readonly config: number
  /** Command whose parameter the next write of the data port is; 0: none. */
  readonly pending: number
  /** Replies not yet read: none or one. */
  readonly replies: readonly number[]
}

export interface I8042Wiring {
  readonly onReset: () => void
  readonly events?: DeviceEvents | undefined
}

export class I8042 {
  readonly guestErrors: GuestErrors
  readonly #wiring: I8042Wiring
  #config: number
  #pending: number
  #reply: number | undefined
  #lastWasCommand = false

  constructor(state: I8042State, wiring: I8042Wiring) {
    this.#wiring = wiring
    this.guestErrors = new GuestErrors('i8042', wiring.events)
    this.#config = state.config
    this.#pending = state.pending
    this.#reply = state.replies[0]
  }

  static create(wiring: I8042Wiring): I8042 {
    return new I8042({ config: CONFIG_RESET, pending: 0, replies: [] }, wiring)
  }

  /** @throws MesovirtError DEVICE_STATE */
  static fromState(state: unknown, wiring: I8042Wiring): I8042 {
    const record = stateRecord('i8042', state)
    const number = (field: string) => stateNumber('i8042', record, field, 0xff)
    return new I8042({ config: number('config'), pending: number('pending'), replies: stateBytes('i8042', record, 'replies', 1) }, wiring)
  }

  state(): I8042State {
    return { config: this.#config, pending: this.#pending, replies: this.#reply === undefined ? [] : [this.#reply] }
  }

  reset(): void {
    this.#config = CONFIG_RESET
    this.#pending = 0
    this.#reply = undefined
    this.#lastWasCommand = false
  }

  read(offset: number, _size: 1 | 2 | 4 = 1): number {
    if (offset === STATUS_COMMAND) {
      const full = this.#reply === undefined ? 0 : STATUS_OUTPUT_FULL
      return STATUS_UNLOCKED | STATUS_SYSTEM | (this.#lastWasCommand ? STATUS_COMMAND_LAST : 0) | full
    }
    if (offset !== DATA) return 0xff
    const reply = this.#reply ?? 0
    this.#reply = undefined
    return reply
  }

  write(offset: number, _size: 1 | 2 | 4, value: number): void {
    const byte = value & 0xff
    if (offset === STATUS_COMMAND) this.#command(byte)
    else if (offset === DATA) this.#data(byte)
  }

  #command(command: number): void {
    this.#lastWasCommand = true
    this.#pending = 0
    switch (command) {
      case READ_CONFIG: this.#reply = this.#config; break
      case SELF_TEST: this.#reply = SELF_TEST_PASSED; break
      case TEST_KEYBOARD:
      case TEST_AUX: this.#reply = LINE_STUCK_LOW; break
      case READ_OUTPUT_PORT: this.#reply = OUTPUT_PORT_IDLE; break
      case DISABLE_KEYBOARD: this.#config |= CONFIG_KEYBOARD_DISABLED; break
      case ENABLE_KEYBOARD: this.#config &= ~CONFIG_KEYBOARD_DISABLED; break
      case DISABLE_AUX: this.#config |= CONFIG_AUX_DISABLED; break
      case ENABLE_AUX: break // there is no second interface: its disable bit stays, as probes look for
      case WRITE_CONFIG:
      case WRITE_OUTPUT_PORT:
      case WRITE_KEYBOARD_BUFFER:
      case WRITE_AUX_BUFFER:
      case WRITE_AUX: this.#pending = command; break
      case PULSE_RESET: this.#wiring.onReset(); break
      default:
        // 0xF0..0xFF pulse output lines that lead nowhere; the rest is unknown. Both are harmless.
        if (command < 0xf0) this.guestErrors.count('unknown controller command', `0x${command.toString(16)}`)
    }
  }

  #data(byte: number): void {
    this.#lastWasCommand = false
    const command = this.#pending
    this.#pending = 0
    switch (command) {
      case WRITE_CONFIG: this.#config = byte | CONFIG_AUX_DISABLED; break
      case WRITE_OUTPUT_PORT:
        if ((byte & 1) === 0) this.#wiring.onReset()
        break
      case WRITE_KEYBOARD_BUFFER: this.#reply = byte; break
      // Without a second interface the byte is not looped back as it was written: Linux then looks no further for a mouse.
      case WRITE_AUX_BUFFER: this.#reply = 0xff; break
      default: break // for a device that is not there
    }
  }
}
