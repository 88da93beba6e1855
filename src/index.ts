/**
 * The library: a virtual machine as an object.
 *
 * ```ts
 * import { LightMachine } from 'mesovirt'
 *
 * const machine = await LightMachine.create({
 *   memory: 256 * 2 ** 20, kernel: 'vmlinuz', initrd: 'initrd.img', commandLine: 'console=ttyS0', cpus: 2,
 * })
 * machine.serial.output.pipe(process.stdout)
 * machine.serial.input.write('uname -a; exit\n')
 * machine.on('shutdown', ({ guest, reason }) => console.log(guest, reason))
 * await machine.start()
 * await machine.ended
 * ```
 */
import { EventEmitter } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { openChardev } from '../device-model/chardev/open.ts'
import type { CharBackend } from '../device-model/contracts.ts'
import type { BootPhase } from '../device-model/platform-ports.ts'
import { MesovirtError } from '../host/errors.ts'
import { LightMachine as Machine } from '../machine/light.ts'
import type { MachineEnd, RunState, ShutdownReason } from '../machine/light.ts'
import type { CpuTopology, MachineClock } from '../hypervisor/hypervisor.ts'
import { buildOnAccelerator } from '../machine-manager/accelerator.ts'
import { DEFAULT_CANDIDATES } from '../machine-manager/options/config.ts'
import type { AcceleratorConfig, AcceleratorName } from '../machine-manager/options/config.ts'
import { StreamBackend } from './serial-stream.ts'

export { MesovirtError } from '../host/errors.ts'
export type { CharBackend } from '../device-model/contracts.ts'
export { QmpClient, QmpCommandError } from '../machine-manager/qmp/client.ts'
export type { ConnectOptions, QmpEvent, QmpGreeting, QmpReply } from '../machine-manager/qmp/client.ts'
export type { AcceleratorName } from '../machine-manager/options/config.ts'
export type { BootPhase } from '../device-model/platform-ports.ts'
export type { CpuTopology, MachineClock } from '../hypervisor/hypervisor.ts'
export type { MachineEnd, RunState, ShutdownReason } from '../machine/light.ts'

export interface LightMachineOptions {
  /** Bytes of RAM, a multiple of 4096; default 256 MiB. */
  readonly memory?: number | undefined
  /** Path of a kernel (bzImage, ELF vmlinux, flat binary), or its bytes. */
  readonly kernel: string | Uint8Array
  /** Path of an initial RAM disk, or its bytes. */
  readonly initrd?: string | Uint8Array | undefined
  /** Kernel command line, e.g. `console=ttyS0`. */
  readonly commandLine?: string | undefined
  /** Number of processors, 1 to 254, or how they are arranged; default 1. */
  readonly cpus?: number | CpuTopology | undefined
  /**
   * What runs the guest: `kvm`, `tcg` (our software CPU), or several in order of preference. Default: kvm where the processor has virtualization and /dev/kvm
   * opens, else tcg; with a clock that counts instructions always tcg.
   */
  readonly accelerator?: AcceleratorName | readonly AcceleratorName[] | undefined
  /** Whether the guest finds ACPI tables; default `auto`: unless its command line says acpi=off. */
  readonly acpi?: 'auto' | 'on' | 'off' | undefined
  /** Time of the guest: the host's (default), or counted in instructions, which makes runs repeatable. */
  readonly clock?: MachineClock | undefined
  /** The serial port: streams of this program (default), its standard input and output, nothing, or a backend of your own. */
  readonly serial?: 'streams' | 'stdio' | 'none' | CharBackend | undefined
  /** What a reset by the guest does; default `shutdown`. */
  readonly onGuestReset?: 'reset' | 'shutdown' | undefined
}

export interface LightMachineEvents {
  /** Paused. */
  stop: []
  /** Runs again. */
  resume: []
  /** Restarts. */
  reset: [{ readonly guest: boolean; readonly reason: ShutdownReason }]
  /** Ends; `ended` resolves when all is flushed. */
  shutdown: [{ readonly guest: boolean; readonly reason: ShutdownReason }]
  /** The guest reported a phase of its boot. */
  bootPhase: [BootPhase]
  /** What the guest does that is worth a line in a log. */
  log: [string]
}

const DEFAULT_MEMORY = 256 * 2 ** 20
const MIN_MEMORY = 16 * 2 ** 20
const PAGE = 4096
const MAX_CPUS = 254

/** A small machine without PCI and firmware that boots a Linux kernel directly. */
export class LightMachine extends EventEmitter<LightMachineEvents> {
  /** Resolves when the machine has ended, its output is flushed and its threads are gone. */
  readonly ended: Promise<MachineEnd>
  readonly #machine: Machine
  readonly #streams: StreamBackend | undefined

  private constructor(machine: Machine, streams: StreamBackend | undefined, backend: CharBackend | undefined) {
    super()
    this.#machine = machine
    this.#streams = streams
    machine.subscribe((event) => {
      switch (event.name) {
        case 'STOP': this.emit('stop'); break
        case 'RESUME': this.emit('resume'); break
        case 'RESET': this.emit('reset', event.data); break
        case 'SHUTDOWN': this.emit('shutdown', event.data); break
        case 'POWERDOWN': break
      }
    })
    this.ended = machine.ended.then(async (how) => {
      await machine.close()
      await backend?.close()
      return how
    })
  }

  /**
   * Builds a machine and loads its kernel. It does not run yet.
   * @throws MesovirtError MACHINE_OPTION for options that cannot be, KERNEL_*, INITRD_*, COMMAND_LINE_*, KVM_*, TCG_*
   */
  static async create(options: LightMachineOptions): Promise<LightMachine> {
    const memory = options.memory ?? DEFAULT_MEMORY
    if (!Number.isSafeInteger(memory) || memory < MIN_MEMORY || memory % PAGE !== 0) {
      throw new MesovirtError('MACHINE_OPTION', `memory: ${memory} is no multiple of 4096 bytes from 16 MiB up`)
    }
    const topology = topologyOf(options.cpus ?? 1)
    const serial = options.serial ?? 'streams'
    const streams = serial === 'streams' ? new StreamBackend() : undefined
    const late: { public?: LightMachine } = {}
    const backend = serial === 'none' ? undefined : serial === 'stdio'
      ? await openChardev({ kind: 'stdio', label: 'serial0' }, { onQuit: () => void late.public?.quit() }) : streams ?? serial as CharBackend
    let machine: Machine
    try {
      const notice = (line: string) => void late.public?.emit('log', line)
      machine = await buildOnAccelerator(candidatesOf(options), { memory, notice }, (accelerator) => new Machine({
        memory, accelerator, topology, kernel: options.kernel, initrd: options.initrd, commandLine: options.commandLine, acpi: options.acpi, clock: options.clock, serial: backend,
        onGuestReset: options.onGuestReset, onBootPhase: (phase) => late.public?.emit('bootPhase', phase), log: (message) => late.public?.emit('log', message),
      }))
    } catch (error) {
      await backend?.close()
      throw error
    }
    try {
      await machine.load()
    } catch (error) {
      await machine.close()
      await backend?.close()
      throw error
    }
    late.public = new LightMachine(machine, streams, backend)
    return late.public
  }

  /** Both directions of the serial port. @throws MesovirtError MACHINE_OPTION where it has another owner */
  get serial(): { readonly output: Readable; readonly input: Writable } {
    if (this.#streams === undefined) throw new MesovirtError('MACHINE_OPTION', "the serial port has another owner; create the machine with serial: 'streams'")
    return this.#streams
  }

  get accelerator(): AcceleratorName {
    return this.#machine.accelerator === 'kvm' ? 'kvm' : 'tcg'
  }

  get status(): RunState {
    return this.#machine.status()
  }

  /** Runs the machine for the first time. */
  start(): Promise<void> {
    return this.#machine.start()
  }

  /** Pauses every processor; the guest's time stands still. */
  pause(): Promise<void> {
    return this.#machine.stop()
  }

  resume(): Promise<void> {
    return this.#machine.cont()
  }

  /** Restarts from the kernel. */
  reset(): Promise<void> {
    return this.#machine.reset()
  }

  /** Presses the power button: the guest decides. */
  powerdown(): void {
    this.#machine.powerdown()
  }

  /** Ends the machine without asking the guest. */
  quit(): Promise<MachineEnd> {
    this.#machine.quit('host-qmp-quit')
    return this.ended
  }

  /** Guest-physical bytes, RAM only. @throws MesovirtError GUEST_ADDRESS */
  readPhysical(address: number, length: number): Uint8Array {
    return this.#machine.readPhysical(address, length)
  }

  /** Text of one processor's registers; pauses it for a moment. */
  registers(cpu = 0): Promise<string> {
    return this.#machine.registers(cpu)
  }
}

function candidatesOf({ accelerator, clock }: LightMachineOptions): AcceleratorConfig {
  if (accelerator === undefined) return { candidates: clock?.kind === 'instruction-count' ? ['tcg'] : DEFAULT_CANDIDATES, chosenBy: 'default' }
  const candidates = typeof accelerator === 'string' ? [accelerator] : accelerator
  if (candidates.length === 0 || candidates.some((name) => name !== 'kvm' && name !== 'tcg')) {
    throw new MesovirtError('MACHINE_OPTION', `accelerator: '${candidates.join(', ')}' is not kvm, tcg, or several of them`)
  }
  return { candidates, chosenBy: 'user' }
}

function topologyOf(cpus: number | CpuTopology): CpuTopology {
  const topology = typeof cpus === 'number' ? { cpus, sockets: 1, dies: 1, cores: cpus, threads: 1 } : cpus
  const { sockets, dies, cores, threads } = topology
  const counts = [topology.cpus, sockets, dies, cores, threads]
  const valid = counts.every((count) => Number.isSafeInteger(count) && count >= 1) && topology.cpus <= MAX_CPUS && sockets * dies * cores * threads >= topology.cpus
  if (!valid) throw new MesovirtError('MACHINE_OPTION', `cpus: ${counts.join(', ')} is no arrangement of 1 to ${MAX_CPUS} processors`)
  return topology
}
