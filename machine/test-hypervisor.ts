/** Test part: an accelerator that runs nothing and remembers what it was asked. Guest accesses are made by the test on the address spaces. */
import { BusServer } from '../address-space/bus.ts'
import type { AddressSpace } from '../address-space/address-space.ts'
import type { EventLine } from '../address-space/bus.ts'
import type { RamBlock } from '../address-space/guest-memory.ts'
import type { AcceleratorStatistics, EntryState, Hypervisor, HypervisorOptions } from '../hypervisor/hypervisor.ts'

export class TestHypervisor implements Hypervisor {
  readonly kind = 'test'
  readonly cpus: number
  readonly apicIds: readonly number[]
  readonly ram: readonly RamBlock[]
  readonly options: HypervisorOptions
  readonly calls: string[] = []
  readonly levels = new Map<number, number>()
  entry: EntryState | undefined
  running = false
  time = 0n
  /** What pause waits for. */
  gate: Promise<void> = Promise.resolve()
  #bus: BusServer | undefined

  constructor(options: HypervisorOptions) {
    this.options = options
    this.cpus = options.topology.cpus
    this.apicIds = Array.from({ length: this.cpus }, (_, index) => index)
    this.ram = options.ram.map(({ guestAddress, size }) => ({ guestAddress, size, bytes: new Uint8Array(size), hostOffset: guestAddress }))
  }

  attach(memory: AddressSpace, ports: AddressSpace): BusServer {
    this.#bus = new BusServer({ memory, ports, slots: 1 })
    return this.#bus
  }

  async ready(): Promise<void> {}

  line(gsi: number): EventLine {
    const set = (level: 0 | 1) => void this.levels.set(gsi, level)
    return { setLevel: set, pulse: () => { set(1); set(0) } }
  }

  now(): bigint {
    return this.time
  }

  async reset(): Promise<void> {
    this.calls.push('reset')
  }

  enter(_cpu: number, state: EntryState): void {
    this.entry = state
    this.calls.push('enter')
  }

  async resume(): Promise<void> {
    this.calls.push('resume')
    this.running = true
  }

  async pause(): Promise<void> {
    if (!this.running) return
    await this.gate
    this.calls.push('pause')
    this.running = false
  }

  async close(): Promise<void> {
    this.calls.push('close')
    this.running = false
    this.#bus?.close()
  }

  threadId(): number {
    return 4711
  }

  isHalted(): boolean {
    return false
  }

  registers(cpu: number): string {
    return `CPU#${cpu}\n`
  }

  statistics(): AcceleratorStatistics {
    return { machineNs: this.time, instructions: undefined, counters: [] }
  }

  readVirtual(_cpu: number, _address: bigint, length: number): Uint8Array {
    return new Uint8Array(length)
  }
}
