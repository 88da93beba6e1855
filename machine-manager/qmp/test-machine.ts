/** Test part: a machine that runs nothing, keeps the promises of VirtualMachine and remembers what it was asked. */
import { MesovirtError } from '../../host/errors.ts'
import type { AcceleratorStatistics } from '../../hypervisor/hypervisor.ts'
import type { ChardevControl, ConsoleControl, CpuInfo, DiskControl, NetworkControl, RunState, ShutdownReason, VirtualMachine, VmEvent } from '../vm.ts'

/** Guest-physical address of the machine's RAM, and the linear address it shows at. */
export const RAM_START = 0x1000
export const LINEAR_OFFSET = 0xffff_8000_0000_0000n

export class TestMachine implements VirtualMachine {
  name: string | undefined = 'test vm'
  uuid: string | undefined = '12345678-1234-1234-1234-123456789abc'
  accelerator: 'kvm' | 'tcg' | 'test' = 'tcg'
  machineType = 'microvm'
  maxCpus = 2
  state: RunState = 'running'
  readonly calls: string[] = []
  readonly ram = Uint8Array.from([0x41, 0x42, 0x0a, 0x27, 0x5c, 0xff, 0x80, 0x00, ...Array.from({ length: 56 }, (_, index) => index + 8)])
  /** Set: what `stop` waits for. */
  stopGate: Promise<void> | undefined
  private readonly listeners = new Set<(event: VmEvent) => void>()

  status(): RunState {
    return this.state
  }

  async stop(): Promise<void> {
    this.calls.push('stop')
    await this.stopGate
    this.state = 'paused'
    this.emit({ name: 'STOP' })
  }

  async cont(): Promise<void> {
    this.calls.push('cont')
    this.state = 'running'
    this.emit({ name: 'RESUME' })
  }

  async reset(): Promise<void> {
    this.calls.push('reset')
    this.emit({ name: 'RESET', data: { guest: false, reason: 'host-qmp-system-reset' } })
  }

  powerdown(): void {
    this.calls.push('powerdown')
    this.emit({ name: 'POWERDOWN' })
  }

  quit(reason: ShutdownReason): void {
    this.calls.push('quit')
    this.state = 'shutdown'
    this.emit({ name: 'SHUTDOWN', data: { guest: false, reason } })
  }

  cpus(): readonly CpuInfo[] {
    return [0, 1].map((index) => ({ index, threadId: 4001 + index, halted: index === 1, props: { socketId: 0, dieId: 0, coreId: index, threadId: 0 } }))
  }

  readonly chardevs: ChardevControl = {
    list: () => [{ label: 'serial0', filename: 'pty:/dev/pts/7', frontendOpen: true }],
    add: async (id) => {
      this.calls.push(`add chardev ${id}`)
      return {}
    },
    change: async (id) => {
      this.calls.push(`change chardev ${id}`)
      return {}
    },
    remove: async (id) => void this.calls.push(`remove chardev ${id}`),
    readRing: (id, count) => Buffer.from(`${id} ${count} \xe9`, 'latin1'),
    writeRing: (id, bytes) => void this.calls.push(`write ring ${id} ${Buffer.from(bytes).toString('hex')}`),
  }

  readonly consoles: ConsoleControl = {
    plug: ({ id }) => void this.calls.push(`plug port ${id}`),
    unplug: (id) => void this.calls.push(`unplug port ${id}`),
    has: (id) => id === 'port1',
  }

  readonly disks: DiskControl = {
    list: () => [],
    resize: (name, bytes) => void this.calls.push(`resize ${name} ${bytes}`),
    setThrottle: (name) => void this.calls.push(`throttle ${name}`),
    add: async () => void this.calls.push('add'),
    remove: async (name) => void this.calls.push(`remove ${name}`),
    plug: ({ id }) => void this.calls.push(`plug ${id}`),
    unplug: async (id) => void this.calls.push(`unplug ${id}`),
  }

  balloon: VirtualMachine['balloon'] = {
    id: 'balloon0', options: { deflateOnOom: true, freePageReporting: false }, bytesLeft: 0x1000_0000, setTarget: (bytes) => void this.calls.push(`balloon ${bytes}`),
    statistics: { stats: { 'stat-free-memory': 4096 }, lastUpdate: 1_700_000_000 }, pollSeconds: 0,
  }

  readonly networks: NetworkControl = {
    list: () => [],
    setLink: (name, up) => void this.calls.push(`link ${name} ${up ? 'up' : 'down'}`),
    add: async ({ id }) => void this.calls.push(`add network ${String(id)}`),
    remove: async (name) => void this.calls.push(`remove network ${name}`),
    plug: ({ id }) => void this.calls.push(`plug network ${id}`),
    unplug: async (id) => void this.calls.push(`unplug network ${id}`),
    has: (id) => id === 'net1',
  }

  async registers(cpuIndex: number): Promise<string> {
    return `RAX=0000000000000000 RBX=00000000deadbeef\nRIP=ffff800000001004 RFL=00000002 CPU=${cpuIndex}\n`
  }

  statistics: AcceleratorStatistics = { machineNs: 2_500_000_000n, instructions: 1_000_000_000n, counters: [{ name: 'TLB fills', value: 7n }] }
  acceleratorStatistics() {
    return this.statistics
  }

  memoryTree(): string {
    return 'address-space: memory\n  0000000000001000-000000000000103f (prio 0, ram): ram'
  }

  readPhysical(address: number, length: number): Uint8Array {
    if (address < RAM_START || address + length > RAM_START + this.ram.length) throw new MesovirtError('GUEST_ADDRESS', 'outside RAM')
    return this.ram.slice(address - RAM_START, address - RAM_START + length)
  }

  async readVirtual(_cpuIndex: number, address: bigint, length: number): Promise<Uint8Array> {
    if (address < LINEAR_OFFSET) throw new MesovirtError('GUEST_ADDRESS', 'not mapped')
    return this.readPhysical(Number(address - LINEAR_OFFSET), length)
  }

  subscribe(listener: (event: VmEvent) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  emit(event: VmEvent): void {
    for (const listener of this.listeners) listener(event)
  }
}
