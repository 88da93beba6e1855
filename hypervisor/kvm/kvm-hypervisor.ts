/**
 * KVM as an accelerator (x86-64 Linux): the virtual machine in the kernel, a thread for each vCPU, and main's side of memory, interrupts, pause and reset.
 * Linux Documentation/virt/kvm/api.rst. Interrupt controllers, interval timer and kvmclock are the kernel's.
 */
import fs from 'node:fs'
import os from 'node:os'
import { BusServer, SPACE_MEMORY, SPACE_PORTS } from '../../address-space/bus.ts'
import type { AddressSpace } from '../../address-space/address-space.ts'
import type { EventLine } from '../../address-space/bus.ts'
import type { FlatView } from '../../address-space/flat-view.ts'
import type { RamBlock } from '../../address-space/guest-memory.ts'
import { checkThreadRoom } from '../../host/address-space-limit.ts'
import { MesovirtError } from '../../host/errors.ts'
import { ffi, lastErrno } from '../../host/ffi.ts'
import { openKvm } from '../../host/kvm-device.ts'
import { allocateRam } from '../../host/ram.ts'
import type { Ram } from '../../host/ram.ts'
import type { AcceleratorStatistics, EntryState, Hypervisor, HypervisorOptions } from '../hypervisor.ts'
import { registersText } from '../registers-text.ts'
import { apicIdOf } from '../topology.ts'
import {
  CAP_MAX_VCPUS, CAP_NR_MEMSLOTS, CLOCK_BYTES, KVM_CREATE_VM, KVM_GET_CLOCK, KVM_GET_MSR_INDEX_LIST, KVM_GET_VCPU_MMAP_SIZE, KVM_SET_CLOCK, KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_TSS_ADDR,
} from './abi.ts'
import { extension, requireCapabilities } from './capabilities.ts'
import { guestCpuid, packCpuid, supportedCpuid } from './cpuid.ts'
import { request, requestList, requestValue } from './descriptors.ts'
import { Doorbells } from './doorbells.ts'
import { KvmInterrupts } from './interrupts.ts'
import { MemorySlots, slotsOf } from './memory-slots.ts'
import { Vcpu } from './vcpu.ts'
import { VcpuThreads } from './vcpu-threads.ts'

/** Pages that Intel processors need for real mode, above every RAM and device of our machines: identity map, then TSS (3 pages). */
const IDENTITY_MAP_PAGE = 0xfef0_c000
const TSS_PAGES = 0xfef0_d000
const DEFAULT_MEMORY_SLOTS = 32
/** xAPIC ids end at 254; more wants x2APIC and interrupt remapping in the guest. */
const MOST_VCPUS = 254
/** Somewhat longer than KVM itself looks for a reason to run before a halted vCPU sleeps (halt_poll_ns, 200): what comes again after those is still met awake. */
const POLL_MICROSECONDS = 300

type State = 'starting' | 'paused' | 'running' | 'closed'

export class KvmHypervisor implements Hypervisor {
  readonly kind = 'kvm'
  readonly cpus: number
  readonly apicIds: readonly number[]
  readonly ram: readonly RamBlock[]
  readonly interrupts: KvmInterrupts
  readonly memorySlots: MemorySlots
  readonly #options: HypervisorOptions
  readonly #kvm: number
  readonly #vm: number
  readonly #runBytes: number
  readonly #vcpus: readonly Vcpu[]
  readonly #ram: Ram
  #bus: BusServer | undefined
  #doorbells: Doorbells | undefined
  readonly #threads: VcpuThreads
  #stopListening: (() => void)[] = []
  #state: State = 'starting'
  #ready: Promise<void> | undefined
  #machineNs = 0n
  #resetNs = 0n
  #runningSince: bigint | undefined
  /** Guest time at the pause, as KVM_SET_CLOCK takes it back. */
  #pausedClock: Uint8Array | undefined

  /** @throws MesovirtError KVM_* and RAM_*: nothing is left open then */
  constructor(options: HypervisorOptions) {
    this.#options = options
    this.cpus = options.topology.cpus
    this.apicIds = Array.from({ length: this.cpus }, (_, index) => apicIdOf(index, options.topology))
    if (options.clock.kind !== 'host') throw new MesovirtError('KVM_CLOCK', 'hardware does not count instructions: -icount needs -accel tcg')
    const opened: number[] = []
    let allocated: Ram | undefined, threads: VcpuThreads | undefined
    try {
      this.#kvm = openKvm()
      opened.push(this.#kvm)
      requireCapabilities(this.#kvm)
      this.#checkCpus()
      allocated = allocateRam(options.ram.reduce((sum, { size }) => sum + size, 0), options.ramBacking)
      this.#ram = allocated
      checkThreadRoom(this.cpus)
      threads = new VcpuThreads(this.cpus)
      this.#threads = threads
      this.#vm = createVm(this.#kvm)
      opened.push(this.#vm)
      requestValue(this.#vm, KVM_SET_TSS_ADDR, TSS_PAGES, 'KVM_SET_TSS_ADDR')
      request(this.#vm, KVM_SET_IDENTITY_MAP_ADDR, new Uint8Array(BigUint64Array.of(BigInt(IDENTITY_MAP_PAGE)).buffer), 'KVM_SET_IDENTITY_MAP_ADDR')
      this.interrupts = new KvmInterrupts(this.#vm)
      this.#runBytes = requestValue(this.#kvm, KVM_GET_VCPU_MMAP_SIZE, 0, 'KVM_GET_VCPU_MMAP_SIZE')
      const supported = supportedCpuid(this.#kvm)
      const msrs = resettableMsrs(this.#kvm)
      this.#vcpus = this.apicIds.map((apicId, index) => {
        const vcpu = new Vcpu(this.#vm, apicId, packCpuid(guestCpuid(supported, index, options.topology)), msrs)
        opened.push(vcpu.fd)
        return vcpu
      })
    } catch (error) {
      for (const fd of opened.reverse()) fs.closeSync(fd)
      void allocated?.free()
      void threads?.close()
      throw error
    }
    this.memorySlots = new MemorySlots(this.#vm, extension(this.#kvm, CAP_NR_MEMSLOTS) || DEFAULT_MEMORY_SLOTS)
    let offset = 0
    this.ram = options.ram.flatMap(({ guestAddress, size }) => {
      const start = offset
      offset += size
      let done = 0
      return this.#ram.views(start, size).map((bytes) => {
        const { address, sharedFd } = this.#ram
        const shared = sharedFd === undefined ? undefined : { fd: sharedFd, offset: start + done }
        const from = start + done
        const discard = (offset: number, length: number) => this.#ram.discard(from + offset, length)
        const block = { guestAddress: guestAddress + done, size: bytes.length, bytes, hostOffset: address + from, shared, discard }
        done += bytes.length
        return block
      })
    })
  }

  attach(memory: AddressSpace, ports: AddressSpace): BusServer {
    const bus = new BusServer({ memory, ports, slots: this.cpus, pollMicroseconds: os.availableParallelism() > 1 ? POLL_MICROSECONDS : 0, ...(this.#options.onDeviceFault === undefined ? {} : { onFault: this.#options.onDeviceFault }) })
    this.#bus = bus
    this.#threads.attach({
      vcpus: this.#vcpus.map(({ fd }) => fd), runBytes: this.#runBytes, bus,
      onEnd: (message) => {
        if (message.kind === 'triple-fault') this.#onEnd(() => ({ kind: 'triple-fault', cpu: message.cpu }))
        else this.#onEnd(() => ({ kind: 'internal-error', message: `${message.detail}\n${this.#postMortem(message.cpu)}` }))
      },
    })
    this.#doorbells = new Doorbells(this.#vm, (notify) => bus.ring(notify))
    this.#stopListening = [
      memory.addListener({ ...this.#doorbells.listener(SPACE_MEMORY), commit: (view) => this.#publishSlots(view) }),
      ports.addListener(this.#doorbells.listener(SPACE_PORTS)),
    ]
    return bus
  }

  ready(): Promise<void> {
    return this.#ready ??= this.#start()
  }

  async #start(): Promise<void> {
    if (this.#bus === undefined) throw closed()
    this.#requireOpen()
    this.#threads.start()
    await this.#ram.preallocate()
    this.#requireOpen()
    this.#state = 'paused'
  }

  line(gsi: number): EventLine {
    return this.interrupts.line(gsi)
  }

  now(): bigint {
    return this.#runningSince === undefined ? this.#machineNs : this.#machineNs + process.hrtime.bigint() - this.#runningSince
  }

  get running(): boolean {
    return this.#state === 'running'
  }

  async reset(): Promise<void> {
    this.#requirePaused()
    this.interrupts.reset()
    for (const vcpu of this.#vcpus) vcpu.reset()
    this.#threads.forgetEnds()
    this.#pausedClock = undefined
    this.#resetNs = this.now()
  }

  enter(cpu: number, state: EntryState): void {
    this.#requirePaused()
    this.#vcpu(cpu).enter(state)
  }

  async resume(): Promise<void> {
    if (this.#state !== 'paused') return
    if (this.#pausedClock !== undefined) {
      request(this.#vm, KVM_SET_CLOCK, this.#pausedClock, 'KVM_SET_CLOCK')
      for (const vcpu of this.#vcpus) vcpu.excusePause()
    }
    this.#state = 'running'
    this.#ram.keepFile()
    this.#runningSince = process.hrtime.bigint()
    this.#bus?.ref()
    this.#threads.resume()
  }

  async pause(): Promise<void> {
    if (this.#state !== 'running') return
    this.#threads.park()
    this.#stopped()
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    for (const stop of this.#stopListening) stop()
    this.#bus?.close()
    await this.#threads.close()
    this.#threads.closeBell()
    this.#doorbells?.close()
    for (const vcpu of this.#vcpus) vcpu.close()
    fs.closeSync(this.#vm)
    fs.closeSync(this.#kvm)
    await this.#ram.free()
  }

  threadId(cpu: number): number {
    this.ready().catch(() => undefined) // reported to whoever loads the machine
    return this.#threads.threadId(cpu)
  }

  /** Of a vCPU that runs, the kernel's own count of its thread's sleep tells. */
  isHalted(cpu: number): boolean {
    return this.#state === 'running' ? this.#vcpu(cpu).isBlocking : this.#vcpu(cpu).isHalted
  }

  registers(cpu: number): string {
    this.#requireStill()
    return registersText(this.#vcpu(cpu).registers(cpu))
  }

  statistics(): AcceleratorStatistics {
    return { machineNs: this.now() - this.#resetNs, instructions: undefined, counters: [] }
  }

  readVirtual(cpu: number, address: bigint, length: number): Uint8Array {
    this.#requireStill()
    const result = new Uint8Array(length)
    for (let done = 0; done < length;) {
      const linear = BigInt.asUintN(64, address + BigInt(done))
      const count = Math.min(length - done, 4096 - Number(linear % 4096n))
      const physical = this.#vcpu(cpu).translate(linear)
      const block = physical === undefined ? undefined : this.ram.find((ram) => physical >= ram.guestAddress && physical + count <= ram.guestAddress + ram.size)
      if (physical === undefined || block === undefined) throw new MesovirtError('GUEST_ADDRESS', `linear address 0x${linear.toString(16)} is not mapped to RAM`)
      const from = physical - block.guestAddress
      result.set(block.bytes.subarray(from, from + count), done)
      done += count
    }
    return result
  }

  #vcpu(index: number): Vcpu {
    const vcpu = this.#vcpus[index]
    if (vcpu === undefined) throw new MesovirtError('KVM_STATE', `there is no vCPU ${index}`)
    return vcpu
  }

  #checkCpus(): void {
    const most = Math.min(extension(this.#kvm, CAP_MAX_VCPUS) || 4, MOST_VCPUS)
    if (this.cpus > most) throw new MesovirtError('KVM_VCPUS', `-smp ${this.cpus} is more than the ${most} vCPUs of KVM on this host; use -smp ${most} or less`)
    const apicId = this.apicIds.at(-1) ?? 0
    if (apicId > MOST_VCPUS) throw new MesovirtError('KVM_VCPUS', `the topology of -smp needs APIC id ${apicId}, and ids end at ${MOST_VCPUS}; use fewer sockets, or powers of two`)
  }

  #requireOpen(): void {
    if (this.#state === 'closed') throw closed()
  }

  #requirePaused(): void {
    if (this.#state !== 'paused') throw new MesovirtError('KVM_STATE', `the vCPUs are ${this.#state}: pause them first`)
    this.#threads.settle()
  }

  /** The kernel answers for a vCPU that runs only once it has left the guest: main would wait, for a sleeping guest without end. */
  #requireStill(): void {
    if (this.#state !== 'starting') this.#requirePaused()
  }

  #stopped(): void {
    this.#machineNs = this.now()
    this.#runningSince = undefined
    this.#state = 'paused'
    const clock = new Uint8Array(CLOCK_BYTES)
    request(this.#vm, KVM_GET_CLOCK, clock, 'KVM_GET_CLOCK')
    clock.fill(0, 8) // KVM_SET_CLOCK without flags: this is the time now
    this.#pausedClock = clock
    this.#bus?.applyPosts()
  }

  /** A vCPU has ended the run of all of them. */
  #onEnd(event: () => Parameters<HypervisorOptions['onEvent']>[0]): void {
    if (this.#state === 'closed') return
    if (this.#state === 'running') {
      this.#threads.park()
      this.#stopped()
    }
    this.#options.onEvent(event())
  }

  /** Registers and the code at RIP, as far as they can be had. */
  #postMortem(cpu: number): string {
    try {
      const shown = this.#vcpu(cpu).registers(cpu)
      return `${registersText(shown).trim()}\nCode=${this.#codeAt(cpu, (shown.segments[1]?.base ?? 0n) + shown.rip)}`
    } catch (error) {
      return `its registers cannot be read: ${error instanceof Error ? error.message : String(error)}`
    }
  }

  #codeAt(cpu: number, address: bigint): string {
    try {
      return Array.from(this.readVirtual(cpu, address, 16), (byte) => byte.toString(16).padStart(2, '0')).join(' ')
    } catch {
      return '(not in RAM)'
    }
  }

  /** The guest must not run while a piece of memory it may use is away between two calls. */
  #publishSlots(view: FlatView): void {
    const wanted = slotsOf(view)
    const running = this.#state === 'running' && this.memorySlots.removes(wanted)
    if (running) this.#threads.park()
    try {
      this.memorySlots.update(wanted)
    } finally {
      if (running) this.#threads.resume()
    }
  }
}

function createVm(kvm: number): number {
  const { EINTR, EBUSY, ENOMEM } = os.constants.errno
  for (;;) {
    const vm = ffi().libc.ioctl(kvm, KVM_CREATE_VM, 0)
    if (vm >= 0) return vm
    const errno = lastErrno()
    if (errno === EINTR) continue
    if (errno === EBUSY) throw new MesovirtError('KVM_BUSY', 'the processor\'s virtualization is in use by another hypervisor (VirtualBox, VMware); end that one, or use -accel tcg')
    if (errno === ENOMEM) throw new MesovirtError('KVM_MEMORY', 'the kernel has no memory left for a virtual machine; end something, or use -accel tcg')
    return requestValue(kvm, KVM_CREATE_VM, 0, 'KVM_CREATE_VM')
  }
}

/** What the kernel says it can save and set back. */
function resettableMsrs(kvm: number): number[] {
  const { bytes, count } = requestList(kvm, KVM_GET_MSR_INDEX_LIST, 4, 'KVM_GET_MSR_INDEX_LIST')
  const view = new DataView(bytes.buffer)
  return Array.from({ length: count }, (_, index) => view.getUint32(4 + index * 4, true))
}

function closed(): MesovirtError {
  return new MesovirtError('KVM_CLOSED', 'the machine has ended')
}
