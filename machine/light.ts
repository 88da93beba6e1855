/**
 * The LightMachine (`-machine microvm`): its hardware, a kernel loaded directly, and its life from power-up to the end. Emits what QMP reports;
 * knows nothing of QMP, of command lines, or of the process around it.
 */
import type { CharBackend, Clock } from '../device-model/contracts.ts'
import type { BootPhase } from '../device-model/platform-ports.ts'
import { HostClock } from '../device-model/clock.ts'
import { loadKernel } from '../boot-loader/load-kernel.ts'
import type { BlkError } from '../device-model/virtio/blk.ts'
import { MesovirtError } from '../host/errors.ts'
import { errnoName } from '../host/ffi.ts'
import type { RamBacking } from '../host/ram-backing.ts'
import type { AcceleratorStatistics, CpuTopology, Hypervisor, HypervisorEvent, HypervisorOptions, MachineClock } from '../hypervisor/hypervisor.ts'
import { buildAcpi } from './acpi/build.ts'
import { LightBoard, LIGHT_MEMORY, splitRam } from './light-board.ts'
import { announceWindows } from './light-virtio.ts'
import type { LightBalloon } from './light-balloon.ts'
import type { LightCard, PluggedNetwork } from './light-cards.ts'
import type { LightConsole, SerialPort } from './light-consoles.ts'
import type { LightDisk, PluggedDisk } from './light-disks.ts'
import type { VirtioDeviceOptions } from './light-virtio.ts'

export type RunState = 'prelaunch' | 'running' | 'paused' | 'io-error' | 'shutdown' | 'internal-error'

/** QEMU's ShutdownCause, as SHUTDOWN and RESET events print it. */
export type ShutdownReason = 'host-qmp-quit' | 'host-qmp-system-reset' | 'host-signal' | 'host-error' | 'guest-shutdown' | 'guest-reset' | 'guest-panic'

export type MachineEvent =
  | { readonly name: 'STOP' | 'RESUME' | 'POWERDOWN'; readonly data?: undefined }
  | { readonly name: 'BLOCK_IO_ERROR'; readonly data: DiskErrorData }
  | { readonly name: 'BALLOON_CHANGE'; readonly data: { readonly actual: number } }
  | { readonly name: 'MESOVIRT_BACK_END_CHANGE'; readonly data: { readonly device: string; readonly connected: boolean } }
  | { readonly name: 'DEVICE_DELETED'; readonly data: { readonly device: string; readonly path: string } }
  | { readonly name: 'VSERPORT_CHANGE'; readonly data: { readonly id: string; readonly open: boolean } }
  | { readonly name: 'SHUTDOWN' | 'RESET'; readonly data: { readonly guest: boolean; readonly reason: ShutdownReason } }

/** An operation on a disk failed on the host's side. */
export interface DiskErrorData {
  /** Id of the device; '' where it has none. */
  readonly device: string
  readonly 'node-name': string
  readonly operation: 'read' | 'write'
  readonly action: 'report' | 'ignore' | 'stop'
  /** The host's disk is full. */
  readonly nospace: boolean
  /** Name of the errno. */
  readonly reason: string
}

/** How a machine ended. */
export type MachineEnd =
  | { readonly kind: 'shutdown'; readonly guest: boolean; readonly reason: ShutdownReason }
  /** The kernel shut the processor down before it had touched any device: it was no kernel, or none for this machine. */
  | { readonly kind: 'kernel-failed'; readonly message: string }
  | { readonly kind: 'internal-error'; readonly message: string }

export interface LightMachineOptions {
  /** bytes of RAM, a multiple of 4096 */
  readonly memory: number
  /** What it consists of. Default: memory of this process alone. */
  readonly ramBacking?: RamBacking | undefined
  /** Path of a kernel file (bzImage, ELF, flat binary), or its bytes. */
  readonly kernel: string | Uint8Array
  readonly initrd?: string | Uint8Array | undefined
  readonly commandLine?: string | undefined
  readonly topology: CpuTopology
  /** How the guest learns of its devices: ACPI tables, or the command line and the MP table. Default auto: both, but no tables if the command line says acpi=off. */
  readonly acpi?: 'auto' | 'on' | 'off' | undefined
  /** Whether a bzImage is unpacked here and its kernel entered at its linked address. Default auto: on tcg, unless the command line asks for kaslr. */
  readonly unpackKernel?: 'auto' | 'on' | 'off' | undefined
  readonly clock?: MachineClock | undefined
  readonly accelerator: (options: HypervisorOptions) => Hypervisor
  /** Backend of COM1. The machine does not close it. */
  readonly serial?: CharBackend | undefined
  /** Virtio devices; those of a kind get their windows in this order: at most four disks, two network cards, and five others. */
  readonly virtio?: readonly VirtioDeviceOptions[] | undefined
  /** The machine always has four disks and two network cards, of which some may be empty slots for `plugDisk` and `plugNetwork`. */
  readonly slots?: boolean | undefined
  /** What a guest's reset does; default `shutdown`, as callers of microvms expect. */
  readonly onGuestReset?: 'reset' | 'shutdown' | undefined
  /** What a shutdown does: end the machine (default), or keep it paused for inspection. */
  readonly onShutdown?: 'poweroff' | 'pause' | undefined
  /** What an error of our own does: keep the machine for inspection, or end it (default). */
  readonly onInternalError?: 'end' | 'keep' | undefined
  readonly onBootPhase?: ((phase: BootPhase) => void) | undefined
  /** What the guest does that an operator may want to know. */
  readonly log?: ((message: string) => void) | undefined
  /** Failures of our own. */
  readonly logError?: ((message: string) => void) | undefined
}

export class LightMachine {
  readonly topology: CpuTopology
  readonly machineType = 'microvm'
  /** Resolves once, with the reason; the machine is quiet by then and its serial output with the backend. */
  readonly ended: Promise<MachineEnd>
  readonly board: LightBoard
  readonly #options: LightMachineOptions
  readonly #hypervisor: Hypervisor
  readonly #clock: HostClock
  readonly #machineClock: Clock
  readonly #listeners = new Set<(event: MachineEvent) => void>()
  #state: RunState = 'prelaunch'
  /** Changes of state come one after the other, and all after the power-up. */
  #queue: Promise<unknown>
  #openQueue!: () => void
  #end!: (how: MachineEnd) => void
  #over = false
  /** Whoever quits does not wait for gigabytes of memory to be preallocated. */
  readonly #quitting = new AbortController()
  #loading = false
  /** Its memory may be unmapped: who reads it now would end the process. */
  #closed = false
  #started = false
  #kernelFailed = false
  /** A guest's request is on its way: more of them before it is served change nothing. */
  #requested = false

  /**
   * Builds the machine and starts its threads; `load` puts the kernel in, `resume` runs it.
   * @throws MesovirtError of the accelerator's constructor
   */
  constructor(options: LightMachineOptions) {
    this.#options = options
    this.topology = options.topology
    this.ended = new Promise((resolve) => { this.#end = resolve })
    this.#queue = new Promise<void>((resolve) => { this.#openQueue = resolve })
    const clock: MachineClock = options.clock ?? { kind: 'host' }
    const log = options.log ?? (() => undefined)
    this.#hypervisor = options.accelerator({
      topology: options.topology, ram: splitRam(options.memory), ramBacking: { ...options.ramBacking, signal: this.#quitting.signal }, clock,
      onEvent: (event) => this.#onHypervisorEvent(event),
      onDeviceFault: (error) => this.#fail(`a device failed: ${error instanceof Error ? error.stack ?? error.message : String(error)}`),
    })
    this.#clock = new HostClock()
    this.#clock.pause()
    const hypervisor = this.#hypervisor
    this.#machineClock = { now: () => hypervisor.now(), schedule: (atNs, callback) => this.#clock.schedule(this.#clock.now() + atNs - hypervisor.now(), callback) }
    this.board = new LightBoard({
      hypervisor, clock: this.#machineClock,
      serial: options.serial, virtio: options.virtio ?? [], repeatable: clock.kind === 'instruction-count', log, onBootPhase: options.onBootPhase,
      onReset: () => this.#guestRequest('guest-reset'),
      onPowerOff: () => this.#guestRequest('guest-shutdown'),
      slots: options.slots ?? false,
      onDiskError: (disk, error) => this.#onDiskError(disk, error),
      onBackEndChange: (id, connected) => this.#emit({ name: 'MESOVIRT_BACK_END_CHANGE', data: { device: id ?? '', connected } }),
      onBalloonChange: (actual) => this.#emit({ name: 'BALLOON_CHANGE', data: { actual } }),
      onPortChange: (id, isOpen) => this.#emit({ name: 'VSERPORT_CHANGE', data: { id, open: isOpen } }),
    })
  }

  /** Time of the machine: it stands while the machine does. */
  get clock(): Clock {
    return this.#machineClock
  }

  get accelerator(): Hypervisor['kind'] {
    return this.#hypervisor.kind
  }

  status(): RunState {
    return this.#state
  }

  /** Whether the vCPUs have run. */
  get started(): boolean {
    return this.#started
  }

  /** @returns a function that unsubscribes */
  subscribe(listener: (event: MachineEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Power-up: resets everything, loads the kernel, and runs it or leaves the machine in `prelaunch`. Called once; whatever else the machine is
   * asked for waits until this is done.
   * @throws MesovirtError of boot-loader and accelerator
   */
  async load(options: { readonly run: boolean } = { run: false }): Promise<void> {
    this.#loading = true
    try {
      await this.#hypervisor.ready()
      if (!this.#over) await this.#powerUp()
      if (options.run && !this.#over) await this.#run()
    } finally {
      this.#openQueue()
    }
  }

  /** Lets the vCPUs run; no effect on a running machine. @throws MesovirtError RESET_REQUIRED after a shutdown */
  cont(): Promise<void> {
    return this.#serial(async () => {
      if (this.#over || this.#state === 'running') return
      if (this.#state === 'shutdown' || this.#state === 'internal-error') {
        throw new MesovirtError('RESET_REQUIRED', 'the machine has shut down: reset it first')
      }
      await this.#run()
      this.#emit({ name: 'RESUME' })
    })
  }

  /** Starts for the first time: like `cont`, without an event. */
  start(): Promise<void> {
    return this.#serial(() => this.#over || this.#state !== 'prelaunch' ? Promise.resolve() : this.#run())
  }

  /** Pauses; no effect unless running. */
  stop(): Promise<void> {
    return this.#serial(() => this.#pauseAs('paused'))
  }

  /** Restarts from the kernel. A machine that was not running waits for `cont`. */
  reset(): Promise<void> {
    return this.#serial(() => this.#restart({ guest: false, reason: 'host-qmp-system-reset' }))
  }

  powerdown(): void {
    if (this.#over) return
    this.#emit({ name: 'POWERDOWN' })
    this.board.pressPowerButton()
  }

  /** Ends the machine whatever it does. */
  quit(reason: ShutdownReason): void {
    if (this.#over) return
    this.#over = true
    this.#quitting.abort()
    this.#emit({ name: 'SHUTDOWN', data: { guest: false, reason } })
    if (!this.#loading) this.#openQueue()
    void this.#serial(() => this.#finish({ kind: 'shutdown', guest: false, reason }))
  }

  /** Releases threads and memory. Call it last; pending calls are rejected. */
  async close(): Promise<void> {
    this.#over = true
    this.#closed = true
    await this.#hypervisor.close()
    this.board.close()
  }

  /** In the order of their slots; one without an image is an empty slot. */
  get disks(): readonly LightDisk[] {
    return this.board.disks
  }

  /** Fills a slot; the guest is told. @throws MesovirtError DISK_SLOT */
  plugDisk(slot: number, disk: PluggedDisk): void {
    const place = this.disks[slot]
    if (place === undefined) throw new MesovirtError('DISK_SLOT', `there is no disk slot ${slot}; ${this.disks.length === 0 ? 'this machine has none' : `use 0 to ${this.disks.length - 1}`}`)
    if (place.image !== undefined) throw new MesovirtError('DISK_SLOT', `disk slot ${slot} is taken by ${place.id ?? place.image.config.id}; use another one`)
    place.plug(disk)
  }

  /** Empties a slot; the guest is told, and not asked. */
  unplugDisk(disk: LightDisk): void {
    const id = disk.id ?? ''
    disk.unplug()
    this.#emit({ name: 'DEVICE_DELETED', data: { device: id, path: id } })
  }

  /** In the order of their slots; one without a backend is an empty slot. */
  get cards(): readonly LightCard[] {
    return this.board.cards
  }

  /** Fills a slot; the guest is told. @throws MesovirtError NETWORK_SLOT */
  plugNetwork(slot: number, network: PluggedNetwork): void {
    const place = this.cards[slot]
    if (place === undefined) throw new MesovirtError('NETWORK_SLOT', `there is no network slot ${slot}; ${this.cards.length === 0 ? 'this machine has none' : `use 0 to ${this.cards.length - 1}`}`)
    if (place.backend !== undefined) throw new MesovirtError('NETWORK_SLOT', `network slot ${slot} is taken by ${place.id ?? place.backend.id}; use another one`)
    place.plug(network)
  }

  /** Empties a slot; the guest is told, and not asked. */
  unplugNetwork(card: LightCard): void {
    const id = card.id ?? ''
    card.unplug()
    this.#emit({ name: 'DEVICE_DELETED', data: { device: id, path: id } })
  }

  get balloon(): LightBalloon | undefined {
    return this.board.balloon
  }

  /** Controllers of consoles and channels, in the order of the command line. */
  get consoles(): readonly LightConsole[] {
    return this.board.consoles
  }

  /** Adds a console or channel; the guest is told. @throws MesovirtError SERIAL_PORT */
  plugPort(controller: LightConsole, port: Omit<SerialPort, 'nr'> & { readonly nr?: number | undefined }): void {
    controller.plug(port)
  }

  /** Takes a console or channel out; the guest is told, and not asked. @returns what it was connected to */
  unplugPort(controller: LightConsole, id: string): CharBackend | undefined {
    const backend = controller.unplug(id)
    this.#emit({ name: 'DEVICE_DELETED', data: { device: id, path: id } })
    return backend
  }

  threadId(cpu: number): number {
    return this.#hypervisor.threadId(cpu)
  }

  isHalted(cpu: number): boolean {
    return this.#hypervisor.isHalted(cpu)
  }

  acceleratorStatistics(): AcceleratorStatistics {
    return this.#hypervisor.statistics()
  }

  memoryTree(): string {
    return `${this.board.memory.describe()}\n${this.board.ports.describe()}`
  }

  /** @throws MesovirtError GUEST_ADDRESS, MACHINE_CLOSED */
  readPhysical(address: number, length: number): Uint8Array {
    if (this.#closed) throw new MesovirtError('MACHINE_CLOSED', 'the machine has ended, and its memory is gone')
    return this.board.ram.read(address, length)
  }

  registers(cpu: number): Promise<string> {
    return this.#whilePaused(() => this.#hypervisor.registers(cpu))
  }

  /** @throws MesovirtError GUEST_ADDRESS */
  readVirtual(cpu: number, address: bigint, length: number): Promise<Uint8Array> {
    return this.#whilePaused(() => this.#hypervisor.readVirtual(cpu, address, length))
  }

  // ---- inside ----

  #serial<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(action)
    this.#queue = result.catch(() => undefined)
    return result
  }

  #emit(event: MachineEvent): void {
    for (const listener of this.#listeners) listener(event)
  }

  async #run(): Promise<void> {
    this.#clock.resume()
    this.board.resumeDevices()
    await this.#hypervisor.resume()
    this.#state = 'running'
    this.#started = true
  }

  async #halt(): Promise<void> {
    await this.#hypervisor.pause()
    this.#clock.pause()
    this.board.flush()
    await this.board.pauseDevices()
  }

  async #pauseAs(state: RunState): Promise<void> {
    if (this.#state !== 'running') return
    await this.#halt()
    if (this.#state !== 'running') return
    this.#state = state
    this.#emit({ name: 'STOP' })
  }

  async #whilePaused<T>(read: () => T): Promise<T> {
    return await this.#serial(async () => {
      const wasRunning = this.#hypervisor.running
      if (wasRunning) await this.#hypervisor.pause()
      try {
        return read()
      } finally {
        if (wasRunning && !this.#over && this.#state === 'running') await this.#hypervisor.resume()
      }
    })
  }

  async #powerUp(): Promise<void> {
    const { kernel, initrd, memory, topology } = this.#options
    const commandLine = this.#options.commandLine ?? ''
    await this.#hypervisor.reset()
    this.board.reset()
    const tables = this.#wantsAcpi(commandLine) ? buildAcpi({ cpus: this.#hypervisor.apicIds, ...this.board.acpiHardware }) : undefined
    const ramLow = Math.min(memory, LIGHT_MEMORY.ramLow.size)
    const announced = this.#options.acpi === 'on' ? commandLine : announceWindows(commandLine, this.board.acpiHardware.virtioMmio)
    const entry = loadKernel({
      memory: this.board.ram, ramLow, ramHigh: memory - ramLow, kernel, initrd, commandLine: announced, unpack: this.#unpacks(commandLine), cpus: topology.cpus, apicIds: this.#hypervisor.apicIds, acpiRsdp: tables?.rsdp,
    })
    for (const { address, bytes } of tables?.blobs ?? []) this.board.ram.write(address, bytes)
    this.#hypervisor.enter(0, entry)
    this.#requested = false
  }

  #unpacks(commandLine: string): boolean {
    const wanted = this.#options.unpackKernel ?? 'auto'
    return wanted === 'auto' ? this.accelerator === 'tcg' && !commandLine.split(/\s+/).includes('kaslr') : wanted === 'on'
  }

  /** In auto mode a kernel told not to use ACPI finds no tables either; the last word on its command line counts. */
  #wantsAcpi(commandLine: string): boolean {
    if (this.#options.acpi === 'on' || this.#options.acpi === 'off') return this.#options.acpi === 'on'
    return commandLine.split(/\s+/).filter((word) => word.startsWith('acpi=')).at(-1) !== 'acpi=off'
  }

  async #restart(cause: { readonly guest: boolean; readonly reason: ShutdownReason }): Promise<void> {
    if (this.#over) return
    const wasRunning = this.#state === 'running'
    await this.#halt()
    try {
      await this.#powerUp()
    } catch (error) {
      // The kernel file may have changed or gone since the start.
      this.#state = 'running'
      this.#fail(`the machine cannot be restarted: ${error instanceof Error ? error.message : String(error)}`)
      throw error
    }
    this.#emit({ name: 'RESET', data: cause })
    if (wasRunning) await this.#run()
    else this.#state = 'prelaunch'
  }

  /** From inside a device, or a vCPU that shut down: what follows happens outside of both. */
  #guestRequest(reason: 'guest-reset' | 'guest-shutdown'): void {
    if (this.#requested || this.#over) return
    this.#requested = true
    const cause = { guest: true, reason }
    if (reason === 'guest-reset' && this.#options.onGuestReset === 'reset' && !this.#kernelFailed) {
      this.#serial(() => this.#restart(cause)).catch(() => undefined)
      return
    }
    void this.#serial(async () => {
      if (this.#over) return
      await this.#halt().catch(() => undefined)
      this.#emit({ name: 'SHUTDOWN', data: cause })
      if (this.#options.onShutdown !== 'pause') {
        this.#over = true
        const message = 'the kernel ended in a triple fault before it had touched any device: it is no kernel for this machine'
        await this.#finish(this.#kernelFailed ? { kind: 'kernel-failed', message } : { kind: 'shutdown', ...cause })
      } else if (this.#state === 'running') {
        this.#state = 'shutdown'
        this.#emit({ name: 'STOP' })
      }
    })
  }

  async #finish(how: MachineEnd): Promise<void> {
    // An accelerator that failed at this very moment is no reason not to end.
    await this.#halt().catch(() => undefined)
    this.#state = 'shutdown'
    this.#end(how)
  }

  #onDiskError({ id, image }: LightDisk, { operation, action, noSpace, errno }: BlkError): void {
    this.#emit({ name: 'BLOCK_IO_ERROR', data: { device: id ?? '', 'node-name': image?.config.id ?? '', operation, action, nospace: noSpace, reason: errnoName(errno) } })
    if (action === 'stop') void this.#serial(() => this.#pauseAs('io-error'))
  }

  #onHypervisorEvent(event: HypervisorEvent): void {
    if (event.kind === 'triple-fault') {
      this.#options.log?.(`vCPU ${event.cpu} shut down (triple fault)`)
      const { calls, posts } = this.board.bus.counters
      this.#kernelFailed = calls + posts === 0
      this.#guestRequest('guest-reset')
    } else {
      this.#fail(event.message)
    }
  }

  #fail(message: string): void {
    if (this.#over || this.#state === 'internal-error') return
    this.#options.logError?.(message)
    void this.#serial(async () => {
      if (this.#over || this.#state === 'internal-error') return
      await this.#halt().catch(() => undefined)
      this.#state = 'internal-error'
      this.#emit({ name: 'STOP' })
      if (this.#options.onInternalError === 'keep') return
      this.#over = true
      this.#emit({ name: 'SHUTDOWN', data: { guest: false, reason: 'host-error' } })
      this.#end({ kind: 'internal-error', message })
    })
  }
}
