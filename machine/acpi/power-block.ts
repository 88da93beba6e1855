/** Where the machine's power block lies, as the ACPI tables announce it; its registers are those of device-model/acpi-power.ts. */
export interface PowerBlock {
  /** 'io' (default): port base; 'memory': guest-physical base below 4 GiB */
  readonly space?: 'io' | 'memory' | undefined
  readonly base: number
  /** Interrupt of the event device: level-triggered, high while an event status bit is set. */
  readonly gsi: number
}
