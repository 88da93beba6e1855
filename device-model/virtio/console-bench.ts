/** Test part: a console device with its driver, and backends whose far ends are in the test's hand. */
import type { CharBackend, CharEvent, TerminalSize } from '../contracts.ts'
import { VirtioConsole } from './console.ts'
import type { ConsolePortOptions } from './console.ts'
import { VirtioMmio } from './mmio.ts'
import { MmioDriver } from './mmio-driver.ts'
import { newMemory } from './queue/test-bench.ts'

const CONSOLE = 3
const MULTIPORT = 1n << 1n
const DATA = 0x8_0000
const ROOM = 0x1000

export class FarEnd implements CharBackend {
  readonly label = 'far'
  readonly kind = 'test'
  readonly filename = 'test'
  connected = true
  canWrite = true
  size: TerminalSize | undefined
  flow = false
  readonly written: number[] = []
  /** Writes are counted and forgotten. */
  forgets = false
  writtenBytes = 0
  #handler: ((bytes: Uint8Array) => void) | null = null
  #onEvent: ((event: CharEvent) => void) | null = null

  get text(): string { return Buffer.from(this.written).toString('latin1') }
  get isUsed(): boolean { return this.#handler !== null || this.#onEvent !== null }
  write(bytes: Uint8Array): void {
    this.writtenBytes += bytes.length
    if (!this.forgets) for (const byte of bytes) this.written.push(byte)
  }

  onInput(handler: ((bytes: Uint8Array) => void) | null): void { this.#handler = handler }
  onEvent(handler: ((event: CharEvent) => void) | null): void { this.#onEvent = handler }
  setFlow(ready: boolean): void { this.flow = ready }
  async close(): Promise<void> {}
  say(text: string | Uint8Array): void { this.#handler?.(typeof text === 'string' ? Buffer.from(text, 'latin1') : text) }
  tell(event: CharEvent): void { this.#onEvent?.(event) }
}

export interface ConsoleBenchOptions {
  readonly maxPorts?: number
  readonly ports?: readonly Omit<ConsolePortOptions, 'backend'>[]
  readonly size?: TerminalSize
  readonly packed?: boolean
  readonly multiport?: boolean
  readonly extra?: bigint
  readonly queueSize?: number
}

/** Queues to and from a port. */
export const rxOf = (nr: number) => nr === 0 ? 0 : 2 * nr + 2
export const txOf = (nr: number) => rxOf(nr) + 1

export function consoleBench(options: ConsoleBenchOptions = {}) {
  const { maxPorts = 4, packed = false, multiport = true, extra = 0n, queueSize = 16, size } = options
  const memory = newMemory()
  const logged: string[] = []
  const events = { log: (message: string) => logged.push(message) }
  const far: FarEnd[] = []
  const newEnd = (nr: number) => {
    const end = far[nr] = new FarEnd()
    end.size = size
    return end
  }
  const deferred: (() => void)[] = []
  const ports = (options.ports ?? [{ nr: 0, isConsole: true }, { nr: 1, isConsole: false, name: 'org.example' }]).map((port) => ({ ...port, backend: newEnd(port.nr) }))
  const defer = (callback: () => void) => void deferred.push(callback)
  const wiring = { maxPorts, ports, events, defer }
  const device = VirtioConsole.create(wiring)
  let pulses = 0
  const irq = { setLevel: () => undefined, pulse: () => { pulses++ } }
  const mmio = VirtioMmio.create({ device, memory, irq, events, defer })
  const driver = new MmioDriver({ access: mmio, memory, base: 0x1000, packed, indirect: true, queueSize, features: (multiport ? MULTIPORT : 0n) | extra })
  driver.start(CONSOLE, multiport ? 2 * maxPorts + 2 : 2)

  let next = DATA
  /** Guest memory of its own for each buffer, in turns. */
  const place = (length: number) => {
    if (next + length > 0x10_0000) next = DATA
    const at = next
    next += Math.ceil(length / 16) * 16
    return at
  }
  const given = new Map<string, number>()
  /** A buffer of the driver for the device to write into. */
  const give = (queue: number, length = ROOM) => {
    const address = place(length)
    const id = driver.queue(queue).add({ writable: [{ address, length }] })
    if (id === undefined) throw new Error('the ring is full')
    given.set(`${queue}:${id}`, address)
    driver.kick(queue)
  }
  const taken = (queue: number) => driver.queue(queue).takeUsed().map(({ id, written }) => memory.read(given.get(`${queue}:${id}`) ?? 0, written))
  const send = (queue: number, bytes: Uint8Array | string) => {
    const content = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
    const address = place(content.length)
    memory.write(address, content)
    const id = driver.queue(queue).add({ readable: [{ address, length: content.length }] })
    if (id === undefined) throw new Error('the ring is full')
    driver.kick(queue)
    return id
  }
  return {
    memory, device, mmio, driver, far, logged, give, send, place, newEnd, wiring, deferred,
    pulses: () => pulses,
    used: (queue: number) => driver.queue(queue).takeUsed().length,
    /** What has come in buffers of a queue, as text. */
    received: (queue: number) => taken(queue).map((bytes) => Buffer.from(bytes).toString('latin1')).join(''),
    control: (port: number, event: number, value: number) => send(3, controlBytes(port, event, value)),
    /** Control messages that have come: port, event, value, the rest as text. */
    messages: () => taken(2).map((bytes) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
      return [view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true), Buffer.from(bytes.subarray(8)).toString('latin1')]
    }),
    runDeferred: () => {
      let turns = 0
      for (let one = deferred.shift(); one !== undefined && turns < 10_000; one = deferred.shift(), turns++) one()
      return turns
    },
  }
}

export type ConsoleBench = ReturnType<typeof consoleBench>

export function controlBytes(port: number, event: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, port, true)
  view.setUint16(4, event, true)
  view.setUint16(6, value, true)
  return bytes
}
