/**
 * What a machine asks of whatever runs its guest instructions: the software CPU (tcg), hardware through KVM, or nothing at all (test).
 * An accelerator owns guest RAM, the vCPUs, the interrupt controllers, the interval timer and machine time; everything else is a device on its bus.
 */
import type { AddressSpace } from '../address-space/address-space.ts'
import type { BusServer, EventLine } from '../address-space/bus.ts'
import type { RamBlock } from '../address-space/guest-memory.ts'
import type { RamBacking } from '../host/ram-backing.ts'

/** sockets * dies * coresPerDie * threads is the number of processors that can exist; the first `cpus` of them do. */
export interface CpuTopology {
  readonly cpus: number
  readonly sockets: number
  readonly dies: number
  /** cores of one die, all its clusters together */
  readonly cores: number
  readonly threads: number
}

/** Where machine time comes from. */
export type MachineClock =
  | { readonly kind: 'host' }
  /** One instruction takes 2^shift ns. `sleep`: an idle machine waits for its next timer instead of jumping to it. */
  | { readonly kind: 'instruction-count'; readonly shift: number; readonly sleep: boolean }

/** Whether the software CPU makes WebAssembly of hot guest code; `force`: of all code, at its first execution, for tests. */
export type TranslatorMode = 'on' | 'off' | 'force'

/** Threads of the software CPU: one for all vCPUs, or one for each. */
export type ThreadMode = 'single' | 'multi'

/** A piece of RAM to be made. */
export interface RamRequest { readonly guestAddress: number; readonly size: number }

export interface SegmentRegister {
  readonly selector: number
  readonly base: number
  /** bytes, granularity applied */
  readonly limit: number
  /** Descriptor bits 40..47 in bits 0..7 and 52..55 in bits 12..15, as VMX and KVM count them. */
  readonly attributes: number
}

/** Registers in which a vCPU enters a kernel; those not named keep their reset value. */
export interface EntryState {
  readonly rip: number
  readonly rsp: number
  readonly rbp: number
  readonly rbx: number
  readonly rsi: number
  readonly rflags: number
  readonly cr0: number
  readonly cr3: number
  readonly cr4: number
  readonly efer: number
  readonly gdt: { readonly base: number; readonly limit: number }
  readonly idt: { readonly base: number; readonly limit: number }
  readonly cs: SegmentRegister
  /** ds, es, fs, gs and ss */
  readonly data: SegmentRegister
  readonly tr: SegmentRegister
  readonly ldtr: SegmentRegister
  readonly fcw: number
  readonly mxcsr: number
}

export interface Counter { readonly name: string; readonly value: bigint }

/** Items of -d. */
export const LOG_ITEMS = ['int', 'cpu_reset', 'in_asm', 'exec', 'mmu', 'guest_errors', 'jit'] as const
export type LogItem = (typeof LOG_ITEMS)[number]
export interface GuestLog { readonly items: readonly LogItem[]; write(text: string): void }

export interface SymbolShare { readonly name: string; readonly samples: number; readonly percent: number }

/** What an accelerator has done since the last reset, for people and for the bench. */
export interface AcceleratorStatistics {
  /** machine time since then, in ns */
  readonly machineNs: bigint
  /** Guest instructions of all vCPUs, undefined where they are not counted. A string instruction counts once per iteration or once, as suits the accelerator. */
  readonly instructions: bigint | undefined
  /** Further counters, named in plain words, in the order to show them. */
  readonly counters: readonly Counter[]
  /** What the translator has done since the launch; undefined without one. */
  readonly translator?: readonly Counter[] | undefined
  /** Functions of the guest's kernel with the most instructions, where symbols were given. */
  readonly symbols?: readonly SymbolShare[] | undefined
}

/** What an accelerator reports on its own; no vCPU runs from then on until a reset. */
export type HypervisorEvent =
  /** A vCPU shut down, as a triple fault makes it. */
  | { readonly kind: 'triple-fault'; readonly cpu: number }
  /** The accelerator itself failed. */
  | { readonly kind: 'internal-error'; readonly message: string }

export interface HypervisorOptions {
  readonly topology: CpuTopology
  readonly ram: readonly RamRequest[]
  /** What RAM consists of; default: memory of this process alone. */
  readonly ramBacking?: RamBacking | undefined
  readonly clock: MachineClock
  /** tcg; default off */
  readonly translator?: TranslatorMode | undefined
  /** tcg: what the guest does, line by line (-d) */
  readonly log?: GuestLog | undefined
  /** tcg: file with the symbols of the guest's kernel, for a profile */
  readonly symbols?: string | undefined
  /** tcg; default single */
  readonly threads?: ThreadMode | undefined
  /** Called on the main thread, never from inside a call into the accelerator. */
  readonly onEvent: (event: HypervisorEvent) => void
  /** A device threw while it served a vCPU. */
  readonly onDeviceFault?: ((error: unknown) => void) | undefined
}

export interface Hypervisor {
  readonly kind: 'kvm' | 'tcg' | 'test'
  readonly cpus: number
  /** APIC id of each vCPU. */
  readonly apicIds: readonly number[]
  /** The RAM that was asked for, in the order of the requests; a large request may be several blocks. Zeroed, unless a file with content backs it. */
  readonly ram: readonly RamBlock[]

  /**
   * Follows the memory map from now on. Called once.
   * @returns the bus for the devices
   */
  attach(memory: AddressSpace, ports: AddressSpace): BusServer
  /** Starts the vCPU threads, at the first call; resolves when they are up, paused, and RAM is preallocated. @throws MesovirtError TCG_START, RAM_PREALLOCATION */
  ready(): Promise<void>
  /** Input of the interrupt controllers, 0..23; the same object for the same number. */
  line(gsi: number): EventLine
  /** Machine time in ns; stands still while paused. */
  now(): bigint

  /** Power-up state of all vCPUs, interrupt controllers and timers. Only while paused. */
  reset(): Promise<void>
  /** Sets the registers in which a vCPU enters a kernel. Only after `reset`, before `resume`. */
  enter(cpu: number, state: EntryState): void
  /** Lets the vCPUs run. */
  resume(): Promise<void>
  /** Resolves when no vCPU runs and every posted write was applied. */
  pause(): Promise<void>
  readonly running: boolean
  /** Ends the threads. Nothing can be called afterwards. Never rejects. */
  close(): Promise<void>

  /** Host id of the thread that runs a vCPU. May wait some milliseconds for a thread that is starting. */
  threadId(cpu: number): number
  /** Whether a vCPU waits in HLT or for its start-up interrupt. */
  isHalted(cpu: number): boolean
  /** Text of `info registers`. Only while paused. */
  registers(cpu: number): string
  /** May be called at any time; counters of running vCPUs are some milliseconds old. */
  statistics(): AcceleratorStatistics
  /** Bytes behind a linear address. Only while paused. @throws MesovirtError GUEST_ADDRESS */
  readVirtual(cpu: number, address: bigint, length: number): Uint8Array
}
