/**
 * Test part: a driver that walks the initialisation of a virtio-mmio device register by register, over whatever carries accesses. virtio 1.2 sections 3.1.1
 * and 4.2.3.
 */
import type { GuestMemory } from '../../address-space/guest-memory.ts'
import { VirtqDriver } from './virtq-driver.ts'

const MAGIC = 0x7472_6976
const ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8
const INDIRECT_DESC = 1n << 28n, EVENT_IDX = 1n << 29n, VERSION_1 = 1n << 32n, RING_PACKED = 1n << 34n
const TABLE_LENGTH = 32

/** Reads and writes at offsets of the device's window. */
export interface MmioAccess {
  read(offset: number, size: 1 | 2 | 4): number
  write(offset: number, size: 1 | 2 | 4, value: number): void
}

export interface MmioDriverOptions {
  readonly access: MmioAccess
  readonly memory: GuestMemory
  /** Guest memory for rings and indirect tables. */
  readonly base: number
  /** Wanted, besides VERSION_1 and the ring features below. */
  readonly features?: bigint
  readonly packed?: boolean
  readonly eventIndex?: boolean
  readonly indirect?: boolean
  /** Size of every queue; default: what the device allows. */
  readonly queueSize?: number
}

export class MmioDriver {
  readonly queues: VirtqDriver[] = []
  readonly #access: MmioAccess
  readonly #options: MmioDriverOptions
  #next: number

  constructor(options: MmioDriverOptions) {
    this.#options = options
    this.#access = options.access
    this.#next = options.base
  }

  get features(): bigint {
    const { features = 0n, packed = false, eventIndex = false, indirect = false } = this.#options
    return features | VERSION_1 | (packed ? RING_PACKED : 0n) | (eventIndex ? EVENT_IDX : 0n) | (indirect ? INDIRECT_DESC : 0n)
  }

  get status(): number {
    return this.read(0x070)
  }

  read(offset: number): number {
    return this.#access.read(offset, 4)
  }

  write(offset: number, value: number): void {
    this.#access.write(offset, 4, value)
  }

  /** From reset to DRIVER_OK. Throws where the device does not answer as it must. */
  start(deviceType: number, queueCount: number): this {
    this.negotiate(deviceType)
    for (let index = 0; index < queueCount; index++) this.setUpQueue(index)
    this.write(0x070, this.status | DRIVER_OK)
    return this
  }

  negotiate(deviceType: number): void {
    expectRegister('MagicValue', this.read(0x000), MAGIC)
    expectRegister('Version', this.read(0x004), 2)
    expectRegister('DeviceID', this.read(0x008), deviceType)
    this.reset()
    this.write(0x070, ACKNOWLEDGE)
    this.write(0x070, ACKNOWLEDGE | DRIVER)
    const offered = this.offered()
    if ((this.features & ~offered) !== 0n) throw new Error(`the device offers 0x${offered.toString(16)} only`)
    for (const word of [0, 1]) {
      this.write(0x024, word)
      this.write(0x020, Number((this.features >> BigInt(word * 32)) & 0xffff_ffffn))
    }
    this.write(0x070, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    expectRegister('Status', this.status, ACKNOWLEDGE | DRIVER | FEATURES_OK)
  }

  offered(): bigint {
    let features = 0n
    for (const word of [0, 1]) {
      this.write(0x014, word)
      features |= BigInt(this.read(0x010)) << BigInt(word * 32)
    }
    return features
  }

  setUpQueue(index: number): VirtqDriver {
    const { memory, packed = false, eventIndex = false, queueSize } = this.#options
    this.write(0x030, index)
    expectRegister('QueueReady', this.read(0x044), 0)
    const size = queueSize ?? this.read(0x034)
    const base = this.#take(VirtqDriver.ringBytes(size))
    const tables = { base: this.#take(size * TABLE_LENGTH * 16), tableLength: TABLE_LENGTH }
    const queue = VirtqDriver.create({ memory, size, base, packed, eventIndex, tables })
    this.write(0x038, size)
    for (const [offset, address] of [[0x080, queue.descriptors], [0x090, queue.driverArea], [0x0a0, queue.deviceArea]] as const) {
      this.write(offset, address % 2 ** 32)
      this.write(offset + 4, Math.floor(address / 2 ** 32))
    }
    this.write(0x044, 1)
    expectRegister('QueueReady', this.read(0x044), 1)
    this.queues[index] = queue
    return queue
  }

  kick(index: number): void {
    this.write(0x050, index)
  }

  /** What an interrupt handler does first. @returns InterruptStatus */
  acknowledge(): number {
    const status = this.read(0x060)
    if (status !== 0) this.write(0x064, status)
    return status
  }

  reset(): void {
    this.write(0x070, 0)
    expectRegister('Status', this.status, 0)
  }

  queue(index: number): VirtqDriver {
    const queue = this.queues[index]
    if (queue === undefined) throw new Error(`queue ${index} was not set up`)
    return queue
  }

  #take(bytes: number): number {
    const address = Math.ceil(this.#next / 4096) * 4096
    this.#next = address + bytes
    return address
  }
}

function expectRegister(name: string, value: number, expected: number): void {
  if (value !== expected) throw new Error(`${name} is 0x${value.toString(16)}, not 0x${expected.toString(16)}`)
}
