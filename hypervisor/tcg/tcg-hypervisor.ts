/**
 * The software CPU as an accelerator: the shared memory, the threads that run core.wasm on it (vcpu-threads.ts), and main's side of interrupt lines, pause
 * and reset.
 */
import { BusServer } from '../../address-space/bus.ts'
import type { AddressSpace } from '../../address-space/address-space.ts'
import type { EventLine } from '../../address-space/bus.ts'
import type { FlatView } from '../../address-space/flat-view.ts'
import type { RamBlock } from '../../address-space/guest-memory.ts'
import { MesovirtError } from '../../host/errors.ts'
import { steadyAddressOf } from '../../host/ffi.ts'
import { discardPages } from '../../host/ram.ts'
import type { Ram } from '../../host/ram.ts'
import type { AcceleratorStatistics, EntryState, Hypervisor, HypervisorOptions } from '../hypervisor.ts'
import {
  CPU_AREA, CPU_STRIDE, G_IRQ_DIRTY, G_LINES, G_RANGE_COUNT, G_RANGES, G_VIRTUAL_NS, HALTED, RANGE_READ_ONLY,
} from './core/layout.ts'
import { CoreLog } from './core-log.ts'
import { GuestProfile, SymbolTable } from './profile.ts'
import { HostStores } from './host-stores.ts'
import { writeControlWords, writeCpuid } from './control-words.ts'
import { cpuidTable } from './cpuid.ts'
import { registersText } from '../registers-text.ts'
import { readLinear, shownRegisters, writeEntryState } from './debug.ts'
import { clearStatistics, coreStatistics, translatorStatistics } from './statistics.ts'
import { allocateMemory } from './memory-plan.ts'
import { apicIdOf } from '../topology.ts'
import { threadMode } from './thread-mode.ts'
import { VcpuThreads } from './vcpu-threads.ts'
import type { RunEnd } from './vcpu-threads.ts'
import { COMMAND_REFRESH, COMMAND_RESET } from './worker-control.ts'
import type { WasmMemory } from '../../host/wasm.ts'

const MAX_RANGES = 64
const RANGE_BYTES = 32
const LINE_WORDS = 4
const LINES = 24
const TOP_SYMBOLS = 20

type State = 'starting' | 'paused' | 'running' | 'closed'

export class TcgHypervisor implements Hypervisor {
  readonly kind = 'tcg'
  readonly cpus: number
  readonly apicIds: readonly number[]
  readonly ram: readonly RamBlock[]
  readonly #options: HypervisorOptions
  readonly #memory: WasmMemory
  readonly #nativeRam: Ram | undefined
  readonly #words: Int32Array
  readonly #view: DataView
  readonly #lines: readonly EventLine[]
  readonly #profile: GuestProfile | undefined
  readonly #log: CoreLog | undefined
  readonly #threads: VcpuThreads
  #bus: BusServer | undefined
  #stopListening: (() => void) | undefined
  #state: State = 'starting'
  #ready: Promise<void> | undefined
  /** Time of the last pause, and when the last run began: machine time without asking the worker. */
  #machineNs = 0n
  #resetNs = 0n
  #runningSince: bigint | undefined

  /** @throws MesovirtError TCG_SYMBOLS, TCG_MEMORY, TCG_THREADS, RAM_*, FFI_MISSING */
  constructor(options: HypervisorOptions) {
    this.#options = options
    this.cpus = options.topology.cpus
    this.apicIds = Array.from({ length: this.cpus }, (_, index) => apicIdOf(index, options.topology))
    const symbols = options.symbols === undefined ? undefined : SymbolTable.read(options.symbols)
    const mode = threadMode({ cpus: this.cpus, clock: options.clock, wanted: options.threads })
    const { plan, memory, native } = allocateMemory(this.cpus, options.ram, options.ramBacking, mode === 'multi' ? this.cpus : 1)
    this.#memory = memory
    this.#nativeRam = native
    this.#words = new Int32Array(this.#memory.buffer)
    this.#view = new DataView(this.#memory.buffer)
    this.#log = options.log === undefined ? undefined : new CoreLog(this.#memory.buffer, options.log)
    this.#profile = symbols === undefined ? undefined : new GuestProfile(this.#memory.buffer, symbols)
    const stores = new HostStores(this.#memory.buffer)
    this.ram = options.ram.map(({ guestAddress, size }, index) => {
      const hostOffset = plan.ramOffsets[index] as number
      const shared = native?.sharedFd === undefined ? undefined : { fd: native.sharedFd, offset: hostOffset - plan.ramBase }
      const written = (offset: number, length: number): void => stores.written(hostOffset + offset, length)
      const bytes = new Uint8Array(this.#memory.buffer, hostOffset, size)
      const discard = (offset: number, length: number) => native?.discard(hostOffset - plan.ramBase + offset, length) ?? discardPages(steadyAddressOf(bytes) + offset, length)
      return { guestAddress, size, hostOffset, bytes, shared, written, discard }
    })
    this.#threads = new VcpuThreads({
      mode, memory, cpus: this.cpus, apicIds: this.apicIds, clock: options.clock, translator: options.translator ?? 'on',
      onStopped: (end) => this.#onStopped(end), onGone: (reason) => this.#onThreadGone(reason),
    })
    this.#lines = Array.from({ length: LINES }, (_, gsi) => this.#makeLine(gsi))
    writeControlWords(this.#view, plan, this.cpus, options.clock)
    for (let index = 0; index < this.cpus; index++) writeCpuid(this.#view, CPU_AREA + index * CPU_STRIDE, cpuidTable(index, options.topology))
  }

  attach(memory: AddressSpace, ports: AddressSpace): BusServer {
    const bus = new BusServer({ memory, ports, slots: this.#threads.count, ...(this.#options.onDeviceFault === undefined ? {} : { onFault: this.#options.onDeviceFault }) })
    this.#bus = bus
    this.#stopListening = memory.addListener({ commit: (view) => this.#publishRanges(view) })
    return bus
  }

  ready(): Promise<void> {
    return this.#ready ??= this.#startThreads()
  }

  /** Not before somebody waits for it: the threads' start would compete with that of the monitors. */
  async #startThreads(): Promise<void> {
    const bus = this.#bus
    if (bus === undefined) throw closed()
    this.#requireOpen()
    const ready = this.#threads.start(bus)
    await Promise.all([ready, this.#nativeRam?.preallocate()])
    this.#requireOpen()
    this.#state = 'paused'
  }

  line(gsi: number): EventLine {
    const line = this.#lines[gsi]
    if (line === undefined) throw new MesovirtError('INTERRUPT_LINE', `there is no interrupt line ${gsi}: lines are 0 to ${LINES - 1}`)
    return line
  }

  now(): bigint {
    if (this.#options.clock.kind === 'instruction-count') return this.#view.getBigUint64(G_VIRTUAL_NS, true)
    return this.#runningSince === undefined ? this.#machineNs : this.#machineNs + process.hrtime.bigint() - this.#runningSince
  }

  get running(): boolean {
    return this.#state === 'running'
  }

  async reset(): Promise<void> {
    await this.#command(COMMAND_RESET)
    clearStatistics(this.#view)
    this.#resetNs = this.now()
  }

  enter(cpu: number, state: EntryState): void {
    writeEntryState(this.#view, CPU_AREA + cpu * CPU_STRIDE, state)
  }

  async resume(): Promise<void> {
    if (this.#state !== 'paused') return
    await this.#command(COMMAND_REFRESH)
    if (this.#state !== 'paused') return
    this.#state = 'running'
    this.#nativeRam?.keepFile()
    this.#runningSince = process.hrtime.bigint()
    this.#threads.run()
  }

  async pause(): Promise<void> {
    if (this.#state !== 'running') return
    await this.#threads.pause()
    this.#bus?.applyPosts()
  }

  async close(): Promise<void> {
    if (this.#state !== 'closed') await this.#end()
    await this.#nativeRam?.free()
  }

  async #end(): Promise<void> {
    this.#state = 'closed'
    this.#threads.abandon(closed())
    this.#stopListening?.()
    this.#profile?.stop()
    this.#bus?.close()
    await this.#threads.close(closed())
    this.#log?.stop()
  }

  threadId(cpu: number): number {
    this.ready().catch(() => undefined) // reported to whoever loads the machine
    return this.#threads.threadId(cpu)
  }

  isHalted(cpu: number): boolean {
    return this.#view.getUint32(CPU_AREA + cpu * CPU_STRIDE + HALTED, true) !== 0
  }

  registers(cpu: number): string {
    return registersText(shownRegisters(this.#view, CPU_AREA + cpu * CPU_STRIDE))
  }

  statistics(): AcceleratorStatistics {
    const own = { machineNs: this.now() - this.#resetNs, ...coreStatistics(this.#view) }
    const symbols = this.#profile === undefined ? {} : { symbols: this.#profile.top(TOP_SYMBOLS) }
    return { ...own, ...symbols, ...this.#options.translator === 'off' ? {} : { translator: translatorStatistics(this.#view) } }
  }

  readVirtual(cpu: number, address: bigint, length: number): Uint8Array {
    return readLinear(this.#view, CPU_AREA + cpu * CPU_STRIDE, this.ram, address, length)
  }

  #requireOpen(): void {
    if (this.#state === 'closed') throw closed()
  }

  #makeLine(gsi: number): EventLine {
    const words = this.#words
    const level = (G_LINES >> 2) + gsi * LINE_WORDS
    const edges = level + 1
    const raise = () => {
      if (Atomics.exchange(words, level, 1) === 1) return
      Atomics.add(words, edges, 1)
      this.#linesChanged()
    }
    // Lowering wakes nobody: there is nothing to do for a vCPU that sleeps.
    const lower = () => {
      if (Atomics.exchange(words, level, 0) === 1) Atomics.store(words, G_IRQ_DIRTY >> 2, 1)
    }
    return {
      setLevel: (value) => value === 1 ? raise() : lower(),
      pulse: () => {
        raise()
        lower()
      },
    }
  }

  #linesChanged(): void {
    Atomics.store(this.#words, G_IRQ_DIRTY >> 2, 1)
    this.#threads.lineChanged()
  }

  async #command(command: number): Promise<void> {
    if (this.#state !== 'paused') throw new MesovirtError('TCG_STATE', `the vCPUs are ${this.#state}: pause them first`)
    await this.#threads.command(command)
  }

  #onStopped(end: RunEnd | undefined): void {
    this.#machineNs = this.now()
    this.#runningSince = undefined
    this.#state = 'paused'
    if (end === undefined) return
    this.#bus?.applyPosts()
    this.#options.onEvent(end)
  }

  #onThreadGone(reason: string): void {
    if (this.#state === 'closed') return
    const wasStarting = this.#state === 'starting'
    this.#state = 'closed'
    this.#threads.abandon(new MesovirtError('TCG_START', `the software CPU cannot run here (${reason})`))
    if (!wasStarting) this.#options.onEvent({ kind: 'internal-error', message: `a vCPU thread failed: ${reason}` })
  }

  /** RAM and ROM that vCPUs reach without the bus. While they run, they are paused around the change. */
  #publishRanges(view: FlatView): void {
    const write = () => {
      const ranges = view.ranges.filter(({ kind, region }) => kind !== 'io' && region.hostOffset >= 0)
      if (ranges.length > MAX_RANGES) throw new MesovirtError('TCG_RANGES', `the memory map has ${ranges.length} pieces of RAM, the tcg accelerator takes ${MAX_RANGES}`)
      ranges.forEach(({ start, size, region, offsetInRegion, readOnly, kind }, index) => {
        const at = G_RANGES + index * RANGE_BYTES
        this.#view.setBigUint64(at, BigInt(start), true)
        this.#view.setBigUint64(at + 8, BigInt(start + size), true)
        this.#view.setUint32(at + 16, region.hostOffset + offsetInRegion, true)
        this.#view.setUint32(at + 20, readOnly || kind !== 'ram' ? RANGE_READ_ONLY : 0, true)
      })
      this.#view.setUint32(G_RANGE_COUNT, ranges.length, true)
    }
    if (this.#state === 'running') void this.pause().then(write).then(() => this.resume())
    else write()
  }
}

function closed(): MesovirtError {
  return new MesovirtError('TCG_CLOSED', 'the machine has ended')
}
