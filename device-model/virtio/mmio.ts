/**
 * Virtio over MMIO, version 2: registers, negotiation, queues and interrupts of one device. OASIS virtio 1.2 section 4.2. The legacy interface, shared memory
 * regions and reset of single queues are left out.
 */
import type { GuestMemory } from '../../address-space/guest-memory.ts'
import type { AccessSize, IoOps, Notifier } from '../../address-space/region.ts'
import { GuestErrors } from '../contracts.ts'
import type { DeviceEvents, InterruptLine, RegisterShadow } from '../contracts.ts'
import { ShadowPublisher } from '../register-shadow.ts'
import {
  DEVICE_NEEDS_RESET, DRIVER, DRIVER_OK, F_EVENT_IDX, F_INDIRECT_DESC, F_RING_PACKED, F_VERSION_1, FAILED, FEATURES_OK,
} from './constants.ts'
import type { VirtioDevice } from './device.ts'
import {
  CONFIG, CONFIG_GENERATION, DEVICE_FEATURES, DEVICE_FEATURES_SEL, DEVICE_ID, DRIVER_FEATURES, DRIVER_FEATURES_SEL, INTERRUPT_ACK, INTERRUPT_CONFIG_CHANGE,
  INTERRUPT_STATUS, INTERRUPT_USED_BUFFER, MAGIC_VALUE, QUEUE_DESC_HIGH, QUEUE_DESC_LOW, QUEUE_DEVICE_HIGH, QUEUE_DEVICE_LOW, QUEUE_DRIVER_HIGH, QUEUE_DRIVER_LOW,
  QUEUE_NOTIFY, QUEUE_NUM, QUEUE_NUM_MAX, QUEUE_READY, QUEUE_SEL, SHM_BASE_HIGH, SHM_BASE_LOW, SHM_LEN_HIGH, SHM_LEN_LOW, SHM_SEL, STATUS, VENDOR_ID, VERSION,
} from './mmio-registers.ts'
import { checkMmioState, RESET_STATE } from './mmio-state.ts'
import type { VirtioMmioState } from './mmio-state.ts'
import { QueueSetup } from './queue-setup.ts'
import { nextStatus } from './status.ts'

export { VIRTIO_MMIO_SHADOW, VIRTIO_MMIO_SIZE } from './mmio-registers.ts'

const MAGIC = 0x7472_6976 // "virt"
const ALL_ONES = 0xffff_ffff

/** What rings may be like. All default to yes. */
export interface RingOptions {
  readonly packed?: boolean | undefined
  readonly indirect?: boolean | undefined
  readonly eventIndex?: boolean | undefined
}

export interface VirtioMmioWiring {
  readonly device: VirtioDevice
  readonly memory: GuestMemory
  /** Edge-triggered: one pulse for each event. */
  readonly irq: InterruptLine
  readonly rings?: RingOptions | undefined
  readonly shadow?: RegisterShadow | undefined
  readonly events?: DeviceEvents | undefined
  /** Calls back in a later turn of the event loop. Default setImmediate. */
  readonly defer?: ((callback: () => void) => void) | undefined
}

export class VirtioMmio implements IoOps {
  readonly guestErrors: GuestErrors
  readonly device: VirtioDevice
  readonly #wiring: VirtioMmioWiring
  readonly #shadow: ShadowPublisher
  readonly #offered: bigint
  readonly #queues: readonly QueueSetup[]
  #status = 0
  #interruptStatus = 0
  #configGeneration = 0
  #deviceFeaturesSel = 0
  #driverFeaturesSel = 0
  #driverFeatures: [number, number] = [0, 0]
  /** The driver accepted a feature beyond bit 63: none is offered. */
  #driverWantsMore = false
  #queueSel = 0
  /** Interrupts on their way behind posted writes. */
  #raising = 0
  /** The configuration changed before the driver was ready to hear of it. */
  #configPending = false
  /** During a pause: what was deferred. Notifications are not kept, every queue is looked at afterwards. */
  #held: (() => void)[] | undefined
  /** Counts resets: what was asked for before one has no effect after it. */
  #epoch = 0

  constructor(state: VirtioMmioState, wiring: VirtioMmioWiring) {
    this.#wiring = wiring
    const { device, rings = {} } = wiring
    this.device = device
    this.guestErrors = new GuestErrors(device.name, wiring.events)
    this.#shadow = new ShadowPublisher(wiring.shadow)
    this.#offered = device.features | F_VERSION_1 | (rings.packed === false ? 0n : F_RING_PACKED)
      | (rings.indirect === false ? 0n : F_INDIRECT_DESC) | (rings.eventIndex === false ? 0n : F_EVENT_IDX)
    this.#queues = device.queueSizes.map((maxSize, index) => new QueueSetup(maxSize, wiring.memory, {
      interrupt: () => this.#raise(INTERRUPT_USED_BUFFER),
      broken: (fault, detail) => this.#needsReset(fault, `queue ${index}${detail === '' ? '' : `: ${detail}`}`),
      defer: (callback) => this.#defer(callback),
    }))
    device.attach({
      configChanged: () => this.#configChanged(),
      update: (change) => this.#update(change),
      needsReset: (kind, detail) => this.#needsReset(kind, detail),
    })
    this.#load(state)
    this.#publish()
  }

  static create(wiring: VirtioMmioWiring): VirtioMmio {
    return new VirtioMmio(RESET_STATE, wiring)
  }

  /** @param state untrusted data that claims to come from `state()`; the device has been restored from its `device`. @throws MesovirtError DEVICE_STATE */
  static fromState(state: unknown, wiring: VirtioMmioWiring): VirtioMmio {
    return new VirtioMmio(checkMmioState(state, wiring.device.queueSizes.length), wiring)
  }

  state(): VirtioMmioState {
    return {
      status: this.#status, interruptStatus: this.#interruptStatus | this.#raising, configGeneration: this.#configGeneration, configPending: this.#configPending,
      deviceFeaturesSel: this.#deviceFeaturesSel, driverFeaturesSel: this.#driverFeaturesSel, driverFeatures: [...this.#driverFeatures],
      driverWantsMore: this.#driverWantsMore, queueSel: this.#queueSel, queues: this.#queues.map((queue) => queue.state()), device: this.device.state(),
    }
  }

  /** The doorbells of its queues, for the region it sits behind: without them QueueNotify is an ordinary register. */
  notifiers(): Notifier[] {
    const indices = this.device.doorbells ?? this.#queues.map((_, index) => index)
    return indices.map((index) => ({ offset: QUEUE_NOTIFY, size: 4, datamatch: BigInt(index), notify: () => this.#kick(index) }))
  }

  /** Reset by the driver or the machine, at any moment (2.4.1). */
  reset(): void {
    this.#epoch++
    for (const queue of this.#queues) queue.reset()
    this.device.reset()
    this.#load({ ...RESET_STATE, configGeneration: this.#configGeneration })
    this.#publish()
  }

  /** Resolves when the device has let go of guest memory, until `resume`. */
  async pause(): Promise<void> {
    this.#held ??= []
    await this.device.pause?.()
  }

  resume(): void {
    const held = this.#held
    if (held === undefined) return
    this.#held = undefined
    this.device.resume?.()
    this.#update(() => {
      for (const callback of held) callback()
      this.#queues.forEach((queue, index) => { if (queue.isReady) this.#kick(index) })
    })
  }

  /** @param offset 0..0x1ff */
  read(offset: number, size: AccessSize): number {
    if (offset >= CONFIG) return this.#readConfig(offset - CONFIG, size)
    if (size !== 4) {
      this.guestErrors.count('a register was read with another size than 32 bits', `0x${offset.toString(16)}`)
      return ALL_ONES
    }
    switch (offset) {
      case MAGIC_VALUE: return MAGIC
      case VERSION: return 2
      case DEVICE_ID: return this.device.deviceType
      case VENDOR_ID: return 0
      case DEVICE_FEATURES: return this.#featureWord()
      case QUEUE_NUM_MAX: return this.#selected?.maxSize ?? 0
      case QUEUE_READY: return this.#selected?.isReady === true ? 1 : 0
      case INTERRUPT_STATUS: return this.#interruptStatus
      case STATUS: return this.#status
      case SHM_LEN_LOW: case SHM_LEN_HIGH: case SHM_BASE_LOW: case SHM_BASE_HIGH: return ALL_ONES
      case CONFIG_GENERATION: return this.#configGeneration
      default:
        this.guestErrors.count('read of a register that cannot be read', `0x${offset.toString(16)}`)
        return ALL_ONES
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= CONFIG) return this.#writeConfig(offset - CONFIG, size, value)
    if (size !== 4) return this.guestErrors.count('a register was written with another size than 32 bits', `0x${offset.toString(16)}`)
    switch (offset) {
      case DEVICE_FEATURES_SEL: this.#deviceFeaturesSel = value; break
      case DRIVER_FEATURES_SEL: this.#driverFeaturesSel = value; break
      case DRIVER_FEATURES: this.#writeFeatures(value); break
      case QUEUE_SEL: this.#queueSel = value; break
      case QUEUE_NUM: this.#setUp((queue) => { queue.size = value }); break
      case QUEUE_DESC_LOW: this.#setUp((queue) => { queue.descriptors[0] = value }); break
      case QUEUE_DESC_HIGH: this.#setUp((queue) => { queue.descriptors[1] = value }); break
      case QUEUE_DRIVER_LOW: this.#setUp((queue) => { queue.driver[0] = value }); break
      case QUEUE_DRIVER_HIGH: this.#setUp((queue) => { queue.driver[1] = value }); break
      case QUEUE_DEVICE_LOW: this.#setUp((queue) => { queue.device[0] = value }); break
      case QUEUE_DEVICE_HIGH: this.#setUp((queue) => { queue.device[1] = value }); break
      case QUEUE_READY: this.#writeReady(value); break
      case QUEUE_NOTIFY: this.#kick(value); break
      case INTERRUPT_ACK:
        this.#interruptStatus &= ~value
        this.#shadow.publish(INTERRUPT_STATUS, this.#interruptStatus)
        break
      case STATUS: this.#writeStatus(value); break
      case SHM_SEL: break // there are no regions to select
      default: this.guestErrors.count('write of a register that cannot be written', `0x${offset.toString(16)}`)
    }
  }

  // Negotiation

  #featureWord(): number {
    return this.#deviceFeaturesSel < 2 ? Number((this.#offered >> BigInt(this.#deviceFeaturesSel * 32)) & 0xffff_ffffn) : 0
  }

  #writeFeatures(value: number): void {
    if ((this.#status & (DRIVER | FEATURES_OK)) !== DRIVER) return this.guestErrors.count('features were written outside of the negotiation')
    if (this.#driverFeaturesSel < 2) this.#driverFeatures[this.#driverFeaturesSel as 0 | 1] = value
    else this.#driverWantsMore ||= value !== 0
  }

  get #features(): bigint {
    return (BigInt(this.#driverFeatures[1]) << 32n) | BigInt(this.#driverFeatures[0])
  }

  /** Sections 2.2.2 and 6.1. */
  #featuresFit(): boolean {
    return (this.#features & ~this.#offered) === 0n && (this.#features & F_VERSION_1) !== 0n && !this.#driverWantsMore
  }

  #writeStatus(value: number): void {
    if (value === 0) return this.reset()
    const before = this.#status
    const { status, mistakes } = nextStatus(before, value, () => this.#featuresFit())
    for (const mistake of mistakes) this.guestErrors.count(mistake, `0x${before.toString(16)} to 0x${value.toString(16)}`)
    this.#status = status
    this.#shadow.publish(STATUS, status)
    if ((status & ~before & DRIVER_OK) !== 0) this.#activate()
  }

  // Queues

  get #selected(): QueueSetup | undefined {
    return this.#queues[this.#queueSel]
  }

  /** Section 4.2.3.2: between FEATURES_OK and DRIVER_OK, and only what is not in use. */
  #setUp(change: (queue: QueueSetup) => void): void {
    const queue = this.#selected
    if (queue === undefined) this.guestErrors.count('a queue was set up that the device does not have', `queue ${this.#queueSel}`)
    else if (!this.#mayConfigure || queue.isReady) this.guestErrors.count('a queue was set up outside of its time', `queue ${this.#queueSel}`)
    else change(queue)
  }

  get #mayConfigure(): boolean {
    return (this.#status & (FEATURES_OK | DRIVER_OK | FAILED | DEVICE_NEEDS_RESET)) === FEATURES_OK
  }

  #writeReady(value: number): void {
    const index = this.#queueSel
    const queue = this.#selected
    if (value === 1 && queue?.isReady === true) return
    if (value === 1) return this.#setUp((selected) => {
      const fault = selected.open(this.#ringFormat)
      if (fault !== undefined) this.#needsReset(fault.fault, `queue ${index}: ${fault.detail}`)
    })
    if (value !== 0) return this.guestErrors.count('QueueReady was written with another value than 0 and 1')
    // Drivers also do this after a reset, where there is nothing left to stop.
    if (queue?.isReady !== true) return
    queue.close()
    if (this.#isActive) this.device.stopQueue?.(index)
  }

  get #ringFormat() {
    const features = this.#features
    return { isPacked: (features & F_RING_PACKED) !== 0n, indirect: (features & F_INDIRECT_DESC) !== 0n, eventIndex: (features & F_EVENT_IDX) !== 0n }
  }

  get #isActive(): boolean {
    return (this.#status & (DRIVER_OK | FAILED | DEVICE_NEEDS_RESET)) === DRIVER_OK
  }

  #activate(): void {
    this.device.activate({ queues: this.#queues.map(({ queue }) => queue), features: this.#features })
    if (this.#configPending) this.#raise(INTERRUPT_CONFIG_CHANGE)
    this.#configPending = false
    // Some drivers fill their rings before DRIVER_OK and do not notify again.
    this.#queues.forEach((_, index) => this.#kick(index))
  }

  #kick(index: number): void {
    const queue = this.#queues[index]
    if (queue === undefined) this.guestErrors.count('a notification for a queue that the device does not have', `queue ${index}`)
    else if (this.#isActive && queue.isReady && this.#held === undefined) this.device.kick(index)
  }

  // Configuration space

  #readConfig(offset: number, size: AccessSize): number {
    const { config } = this.device
    if (offset + size > config.length) {
      this.guestErrors.count('read beyond the configuration space', `0x${offset.toString(16)}`)
      return ALL_ONES
    }
    let value = 0
    for (let index = size - 1; index >= 0; index--) value = value * 256 + (config[offset + index] ?? 0)
    return value
  }

  #writeConfig(offset: number, size: AccessSize, value: number): void {
    if (this.device.configWritten === undefined || offset + size > this.device.config.length) {
      return this.guestErrors.count('write to a configuration space that cannot be written', `0x${offset.toString(16)}`)
    }
    this.device.configWritten(offset, size, value)
  }

  #configChanged(): void {
    this.#update(() => {
      this.#configGeneration = (this.#configGeneration + 1) >>> 0
      this.#shadow.publish(CONFIG_GENERATION, this.#configGeneration)
      if ((this.#status & DRIVER_OK) !== 0) this.#raise(INTERRUPT_CONFIG_CHANGE)
      else this.#configPending = (this.#status & DRIVER) !== 0 // who has not begun to look at the device yet finds the new state
    })
  }

  // Interrupts

  /**
   * Sets bits of InterruptStatus and pulses the line, behind the acknowledgements that the driver has posted. The line pulses for each event, also where the
   * bit is still set: a driver that acknowledges late must not wait for ever for an edge it has lost.
   */
  #raise(bits: number): void {
    const isUnderWay = this.#raising !== 0
    this.#raising |= bits
    if (isUnderWay) return
    const epoch = this.#epoch
    this.#update(() => {
      if (epoch !== this.#epoch) return
      this.#interruptStatus |= this.#raising
      this.#raising = 0
      this.#shadow.publish(INTERRUPT_STATUS, this.#interruptStatus)
      this.#wiring.irq.pulse()
    })
  }

  /** Section 2.1.2: the driver hears of it if it had got as far as DRIVER_OK. */
  #needsReset(kind: string, detail = ''): void {
    this.guestErrors.count(kind, detail)
    if ((this.#status & DEVICE_NEEDS_RESET) !== 0) return
    const epoch = this.#epoch
    const wasActive = this.#isActive
    this.#status |= DEVICE_NEEDS_RESET
    for (const queue of this.#queues) queue.queue?.close()
    this.#update(() => {
      if (epoch !== this.#epoch) return
      this.#shadow.publish(STATUS, this.#status)
      if (wasActive) this.#raise(INTERRUPT_CONFIG_CHANGE)
    })
  }

  // World

  #update(change: () => void): void {
    const { shadow } = this.#wiring
    if (shadow?.update === undefined) change()
    else shadow.update(change)
  }

  #defer(callback: () => void): void {
    const run = () => {
      if (this.#held !== undefined) this.#held.push(callback)
      else this.#update(callback)
    }
    if (this.#wiring.defer === undefined) setImmediate(run)
    else this.#wiring.defer(run)
  }

  #load(state: VirtioMmioState): void {
    this.#status = state.status
    this.#interruptStatus = state.interruptStatus
    this.#configGeneration = state.configGeneration
    this.#configPending = state.configPending
    this.#deviceFeaturesSel = state.deviceFeaturesSel
    this.#driverFeaturesSel = state.driverFeaturesSel
    this.#driverFeatures = [state.driverFeatures[0], state.driverFeatures[1]]
    this.#driverWantsMore = state.driverWantsMore
    this.#queueSel = state.queueSel
    this.#raising = 0
    state.queues.forEach((saved, index) => this.#queues[index]?.restore(saved, this.#ringFormat))
    if ((this.#status & DEVICE_NEEDS_RESET) !== 0) for (const { queue } of this.#queues) queue?.close()
    const epoch = this.#epoch
    if (this.#isActive) this.#defer(() => { if (epoch === this.#epoch) this.#activate() })
    if (this.#interruptStatus !== 0) this.#wiring.irq.pulse()
  }

  #publish(): void {
    for (const offset of [MAGIC_VALUE, VERSION, DEVICE_ID, VENDOR_ID, INTERRUPT_STATUS, STATUS, CONFIG_GENERATION]) this.#shadow.publish(offset, this.read(offset, 4))
  }
}
