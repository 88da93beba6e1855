/** The POST code port (0x80, IBM PC/AT Technical Reference) and the time line of boot markers. Port 0x61 belongs to the accelerator's interval timer. */
import type { Clock } from './contracts.ts'

/** One entry of the boot time line. */
export interface BootPhase {
  /** `port 0x80` or `port 0x3ff`. */
  readonly source: string
  readonly code: number
  /** What the code means, where it is known. */
  readonly name: string
  /** Nanoseconds since machine start. */
  readonly atNs: bigint
}

/** Port 0x3FF: 1 = kernel start, 2 = user space reached (StratoVirt's markers). Firmware and Cloud Hypervisor use 0x40, 0x41 on port 0x80. */
const MARKERS: Readonly<Record<number, string>> = { 1: 'kernel start', 2: 'user space reached' }
const DEBUG_CODES: Readonly<Record<number, string>> = { 0x40: 'kernel start', 0x41: 'user space reached' }
/** Per source: kernels write port 0x80 with any value as a delay, which must not crowd out the markers. */
const MAX_PHASES = 128

/** Collects boot phases with their time. It keeps the first 128 of each source and counts the rest: a guest may write as much as it likes. */
export class BootTimeline {
  readonly #clock: Clock
  readonly #onPhase: ((phase: BootPhase) => void) | undefined
  readonly #phases: BootPhase[] = []
  readonly #kept = new Map<string, number>()
  #dropped = 0

  /** @param onPhase called for each phase kept, e.g. to print it for `-trace boot` */
  constructor(clock: Clock, onPhase?: (phase: BootPhase) => void) {
    this.#clock = clock
    this.#onPhase = onPhase
  }

  get phases(): readonly BootPhase[] {
    return this.#phases
  }

  get dropped(): number {
    return this.#dropped
  }

  /** A write of port 0x3FF, which is COM1's scratch register: wire it to the UART's `onScratch`. Other values are no markers. */
  scratchWritten(value: number): void {
    const name = MARKERS[value]
    if (name !== undefined) this.#add('port 0x3ff', value, name)
  }

  debugCode(code: number): void {
    this.#add('port 0x80', code, DEBUG_CODES[code] ?? `code 0x${code.toString(16).padStart(2, '0')}`)
  }

  #add(source: string, code: number, name: string): void {
    const kept = this.#kept.get(source) ?? 0
    if (kept >= MAX_PHASES) {
      this.#dropped++
      return
    }
    this.#kept.set(source, kept + 1)
    const phase = { source, code, name, atNs: this.#clock.now() }
    this.#phases.push(phase)
    this.#onPhase?.(phase)
  }
}

/** What the bus may do with port 0x80 without asking. */
export const DEBUG_PORT_SHADOW = { posted: [{ offset: 0, size: 1 as const }] }

/** Port 0x80. Reads answer the last code. Kernels also write it as a delay, again and again: only a changed code is a phase. */
export class DebugPort {
  readonly #timeline: BootTimeline
  #code = 0
  #written = false

  constructor(timeline: BootTimeline) {
    this.#timeline = timeline
  }

  read(_offset: number, _size: 1 | 2 | 4 = 1): number {
    return this.#code
  }

  write(_offset: number, _size: 1 | 2 | 4, value: number): void {
    const code = value & 0xff
    const isNew = !this.#written || code !== this.#code
    this.#code = code
    this.#written = true
    if (isNew && code !== 0 && code !== 0xff) this.#timeline.debugCode(code)
  }

  reset(): void {
    this.#code = 0
    this.#written = false
  }
}
