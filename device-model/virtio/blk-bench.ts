/** Test part: a block device with its image, behind a transport, and the driver in front of it. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { GuestMemory } from '../../address-space/guest-memory.ts'
import type { BlockImageConfig } from '../block/config.ts'
import { BlockImage } from '../block/image.ts'
import { VirtualClock } from '../clock.ts'
import { VirtioBlk } from './blk.ts'
import type { BlkError, BlkOptions } from './blk.ts'
import { VirtioMmio } from './mmio.ts'
import { MmioDriver } from './mmio-driver.ts'
import type { MmioDriverOptions } from './mmio-driver.ts'
import { newMemory } from './queue/test-bench.ts'

const BLOCK = 2
export const HEADERS = 0x10_0000, STATUSES = 0x18_0000, DATA = 0x20_0000
const RAM = 0x60_0000

export const PLAIN_IMAGE: BlockImageConfig = {
  id: 'd0', filename: '', readOnly: false, aio: 'threads', direct: false, noFlush: false, discard: 'unmap', detectZeroes: 'off', locking: 'off',
}
export const PLAIN_DISK: BlkOptions = {
  serial: 'mesovirt', queues: 1, queueSize: 64, topology: { logicalBlockSize: 512, physicalBlockSize: 512, minIoSize: 0, optIoSize: 0, discardGranularity: 0 },
  readOnly: false, configWce: true, writeCache: true, discard: true, writeZeroes: true, onWriteError: 'enospc', onReadError: 'report',
}

export interface BlkBenchOptions {
  readonly image?: Partial<BlockImageConfig>
  readonly disk?: Partial<BlkOptions>
  readonly driver?: Partial<MmioDriverOptions>
  /** bytes of the image's file */
  readonly size?: number
}

export class BlkBench {
  readonly memory: GuestMemory = newMemory(RAM)
  readonly clock = new VirtualClock()
  readonly file: string
  readonly image: BlockImage
  readonly device: VirtioBlk
  readonly mmio: VirtioMmio
  readonly driver: MmioDriver
  readonly errors: BlkError[] = []
  readonly log: string[] = []
  interrupts = 0
  #next = 0
  readonly #folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-blk-'))

  constructor({ image = {}, disk = {}, driver = {}, size = 1 << 20 }: BlkBenchOptions = {}) {
    this.file = path.join(this.#folder, 'image')
    const content = Buffer.alloc(size)
    for (let at = 0; at < size; at += 512) content.fill((at >> 9) & 0xff, at, Math.min(at + 512, size))
    fs.writeFileSync(this.file, content)
    this.image = BlockImage.open({ ...PLAIN_IMAGE, filename: this.file, ...image }, { clock: this.clock })
    const events = { log: (message: string) => void this.log.push(message) }
    this.device = VirtioBlk.create({ options: { ...PLAIN_DISK, ...disk }, image: this.image, onError: (error) => this.errors.push(error), events })
    this.mmio = VirtioMmio.create({ device: this.device, memory: this.memory, irq: { setLevel: () => undefined, pulse: () => { this.interrupts++ } }, events })
    this.driver = new MmioDriver({
      access: { read: (offset, bytes) => this.mmio.read(offset, bytes), write: (offset, bytes, value) => this.mmio.write(offset, bytes, value) },
      memory: this.memory, base: 0x1000, ...driver,
    })
  }

  start(): this {
    this.driver.start(BLOCK, this.device.options.queues)
    return this
  }

  /** Puts a request into a queue without telling the device. @returns where its status will be */
  add(type: number, sector: number, { out = [], into = [], queue = 0, room = true }: { out?: readonly Piece[]; into?: readonly Piece[]; queue?: number; room?: boolean } = {}): number {
    const slot = this.#next++ % 1024
    const header = HEADERS + slot * 16, status = STATUSES + slot
    this.memory.writeU32(header, type)
    this.memory.writeU32(header + 4, 0)
    this.memory.writeU64(header + 8, BigInt(sector))
    this.memory.writeU8(status, 0xff)
    const id = this.driver.queue(queue).add({ readable: [{ address: header, length: 16 }, ...out], writable: [...into, ...(room ? [{ address: status, length: 1 }] : [])] })
    if (id === undefined) throw new Error('the ring is full')
    return status
  }

  /** Waits until the device has given back everything. */
  async settled(queue = 0): Promise<void> {
    for (let turn = 0; this.driver.queue(queue).outstanding > 0; turn++) {
      if (turn > 20_000) throw new Error(`${this.driver.queue(queue).outstanding} requests do not come back; status ${this.driver.status}`)
      this.driver.queue(queue).takeUsed()
      await new Promise((resolve) => turn > 50 ? setTimeout(resolve, 1) : setImmediate(resolve))
    }
  }

  /** One request to its end. @returns its status byte */
  async request(type: number, sector: number, options: Parameters<BlkBench['add']>[2] = {}): Promise<number> {
    const status = this.add(type, sector, options)
    this.driver.kick(options.queue ?? 0)
    await this.settled(options.queue)
    return this.memory.readU8(status)
  }

  content(): Buffer {
    return fs.readFileSync(this.file)
  }

  async close(): Promise<void> {
    this.mmio.reset()
    await this.image.close()
    fs.rmSync(this.#folder, { recursive: true })
  }
}

interface Piece { readonly address: number; readonly length: number }
