/**
 * The contract between a virtio device and the transport it sits behind (mmio, PCI). A device knows its type, features, configuration space and queues; status,
 * negotiation, places of rings and interrupts belong to the transport. OASIS virtio 1.2 chapter 2.
 */
import type { VirtQueue } from './queue/queue.ts'

/** What a device may ask of its transport, at any time. */
export interface VirtioHost {
  /** The bytes of `config` have changed: the driver is told. Change them inside `update`, together with this call. */
  configChanged(): void
  /** Runs a change that comes from outside (a backend, a timer) after the register writes that the driver has made so far. */
  update(change: () => void): void
  /** The driver broke the rules of this device so that nothing can go on: DEVICE_NEEDS_RESET. @param kind a constant of the device's source */
  needsReset(kind: string, detail?: string): void
}

/** What was negotiated. */
export interface Activation {
  /** By index; undefined where the driver uses none. They are valid until `reset`. */
  readonly queues: readonly (VirtQueue | undefined)[]
  readonly features: bigint
}

export interface VirtioDevice {
  /** For the log: `virtio-rng`. */
  readonly name: string
  /** Section 5. */
  readonly deviceType: number
  /** Feature bits of its own (0 to 23, and 50 up). What belongs to rings is the transport's. */
  readonly features: bigint
  /** Largest number of descriptors of each queue, a power of two up to 32768. */
  readonly queueSizes: readonly number[]
  /** Queues that have doorbells, which take time to set up on kvm; notifications of the others are ordinary writes. Default: all. */
  readonly doorbells?: readonly number[]
  /** Configuration space as the driver reads it, at most 256 bytes. */
  readonly config: Uint8Array

  /** Called once, before anything else. */
  attach(host: VirtioHost): void
  /** The driver is ready (DRIVER_OK). A kick of every queue follows. */
  activate(activation: Activation): void
  /** The driver has made buffers available in a queue, or says so. Only while active. */
  kick(queue: number): void
  /** The driver wrote to the configuration space; `config` is as before. Without it such writes are the driver's mistake. */
  configWritten?(offset: number, size: 1 | 2 | 4, value: number): void
  /**
   * Back to the state before `activate`; also called when it never was. Its queues are closed. When this returns nothing of the device touches guest memory any
   * more, whatever requests are under way.
   */
  reset(): void
  /** The driver stopped one queue of an active device; the same holds for what belongs to it. */
  stopQueue?(queue: number): void
  /** The machine stops: no kick comes any more. Resolves when nothing of the device touches guest memory any more. */
  pause?(): Promise<void>
  /** The machine goes on, after `pause`. A kick of every queue follows. */
  resume?(): void
  /** The machine has ended: lets go of what the device itself has opened. */
  close?(): void
  /** Plain data. What the queues hold is kept by the transport: buffers in flight come out of their queue again. */
  state(): unknown
}
