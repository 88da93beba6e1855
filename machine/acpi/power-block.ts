/**
 * Register offsets of the machine's power block, as the tables announce it: ACPI 6.5 section 4.8.3.7 (sleep control and status),
 * 4.8.3.6 (reset register), and an event status register of ours behind the Generic Event Device. All registers have 8 bits.
 */
export const SLEEP_CONTROL = 0, SLEEP_STATUS = 1, RESET = 2, EVENT_STATUS = 4
export const POWER_BLOCK_SIZE = 8

/** Sleep control: SLP_EN starts the transition to the state in SLP_TYP. */
export const SLP_EN = 0b0010_0000
export const SLP_TYP_SHIFT = 2
/** SLP_TYP of soft-off, as _S5 says; `poweroff` writes SLP_EN | 5 << 2 = 0x34. */
export const SLEEP_TYPE_S5 = 5
/** The value that resets when written to RESET. */
export const RESET_VALUE = 1
/** Event status: the power button was pressed. Write 1 to clear. */
export const EVENT_POWER_BUTTON = 0b0000_0001

export interface PowerBlock {
  /** 'io' (default): port base; 'memory': guest-physical base below 4 GiB */
  readonly space?: 'io' | 'memory' | undefined
  readonly base: number
  /** Interrupt of the event device: level-triggered, high while an event status bit is set. */
  readonly gsi: number
}
