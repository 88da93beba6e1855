/**
 * The hardware of the LightMachine: memory map, I/O ports, interrupts and the devices on them. Addresses as StratoVirt's microvm has them; the
 * interrupt controllers, the interval timer and port 0x61 belong to the accelerator. No PCI, no firmware, no clock chip, virtio: light-virtio.ts.
 */
import { AddressSpace } from '../address-space/address-space.ts'
import type { BusServer, ShadowPage } from '../address-space/bus.ts'
import { GuestMemory } from '../address-space/guest-memory.ts'
import { Region } from '../address-space/region.ts'
import type { IoOps } from '../address-space/region.ts'
import { AcpiPower, ACPI_POWER_SIZE } from '../device-model/acpi-power.ts'
import type { CharBackend, Clock, RegisterShadow } from '../device-model/contracts.ts'
import { I8042 } from '../device-model/i8042.ts'
import { BootTimeline, DebugPort, DEBUG_PORT_SHADOW } from '../device-model/platform-ports.ts'
import type { BootPhase } from '../device-model/platform-ports.ts'
import { Uart16550, UART16550_SHADOW, UART16550_SIZE } from '../device-model/uart16550.ts'
import type { Hypervisor, RamRequest } from '../hypervisor/hypervisor.ts'
import { VirtioWindows } from './light-virtio.ts'
import type { LightBalloon } from './light-balloon.ts'
import type { LightCard } from './light-cards.ts'
import type { LightConsole } from './light-consoles.ts'
import type { LightDisk } from './light-disks.ts'
import type { VirtioDeviceOptions } from './light-virtio.ts'
import type { BlkError } from '../device-model/virtio/blk.ts'

const MIB = 2 ** 20, GIB = 2 ** 30

/** Guest-physical addresses, top to bottom as they lie. `owner` says who answers there. */
export const LIGHT_MEMORY = {
  ramLow: { base: 0, size: 3 * GIB, owner: 'machine' }, //                  at most: the first 3 GiB of -m
  virtioMmio: { base: 0xf010_0000, size: 0xeb0_0000, owner: 'machine' }, // windows of 0x200 bytes, interrupts 5 to 15: light-virtio.ts
  ioapic: { base: 0xfec0_0000, size: 1 * MIB, owner: 'accelerator' },
  localApic: { base: 0xfee0_0000, size: 1 * MIB, owner: 'accelerator' },
  kvmPages: { base: 0xfef0_c000, size: 0x4000, owner: 'absent' }, //        identity map and TSS of Intel hardware under KVM
  ramHigh: { base: 4 * GIB, size: 508 * GIB, owner: 'machine' }, //         what is left of -m
} as const

/** I/O ports. */
export const LIGHT_PORTS = {
  pic1: { base: 0x20, size: 2, owner: 'accelerator' },
  pit: { base: 0x40, size: 4, owner: 'accelerator' },
  keyboardData: { base: 0x60, size: 1, owner: 'machine' }, //               i8042, for its reset line
  systemControl: { base: 0x61, size: 1, owner: 'accelerator' }, //          port B: gate and output of timer 2
  keyboardCommand: { base: 0x64, size: 1, owner: 'machine' },
  clockChip: { base: 0x70, size: 2, owner: 'absent' }, //                   RTC and CMOS
  debug: { base: 0x80, size: 1, owner: 'machine' },
  pic2: { base: 0xa0, size: 2, owner: 'accelerator' },
  serial: { base: 0x3f8, size: UART16550_SIZE, owner: 'machine' }, //       COM1; its scratch register at 0x3ff takes boot markers
  picEdge: { base: 0x4d0, size: 2, owner: 'accelerator' },
  power: { base: 0x600, size: ACPI_POWER_SIZE, owner: 'machine' }, //       ACPI sleep control, reset and power button
  pci: { base: 0xcf8, size: 8, owner: 'absent' },
} as const

/** Inputs of the interrupt controllers: pin of the IOAPIC and, up to 15, of the PIC pair. */
export const LIGHT_INTERRUPTS = { timer: 0, serial: 4, virtioMmioFirst: 5, virtioMmioLast: 15, power: 16 } as const

const IOAPIC_ID = 0

/** @returns the blocks of RAM for `size` bytes: below 3 GiB, and from 4 GiB on */
export function splitRam(size: number): RamRequest[] {
  const low = Math.min(size, LIGHT_MEMORY.ramLow.size)
  const blocks: RamRequest[] = [{ guestAddress: LIGHT_MEMORY.ramLow.base, size: low }]
  if (size > low) blocks.push({ guestAddress: LIGHT_MEMORY.ramHigh.base, size: size - low })
  return blocks
}

export interface LightBoardOptions {
  readonly hypervisor: Hypervisor
  readonly clock: Clock
  /** Backend of COM1; without one there is no COM1. */
  readonly serial: CharBackend | undefined
  /** In the order of their windows. */
  readonly virtio: readonly VirtioDeviceOptions[]
  /** Writes are never posted, so that each reaches its device at the same instruction in every run. */
  readonly repeatable: boolean
  readonly onReset: () => void
  readonly onPowerOff: () => void
  readonly onBootPhase: ((phase: BootPhase) => void) | undefined
  /** Every window for disks and network cards has one, empty or not. */
  readonly slots: boolean
  readonly onDiskError: (disk: LightDisk, error: BlkError) => void
  readonly onBalloonChange: (bytes: number) => void
  readonly onPortChange: (id: string, isOpen: boolean) => void
  readonly onBackEndChange: (id: string | undefined, connected: boolean) => void
  readonly log: (message: string) => void
}

export class LightBoard {
  readonly memory: AddressSpace
  readonly ports: AddressSpace
  readonly ram: GuestMemory
  readonly bus: BusServer
  readonly timeline: BootTimeline
  readonly #options: LightBoardOptions
  readonly #uart: Uart16550 | undefined
  readonly #power: AcpiPower
  readonly #keyboard: I8042
  readonly #debug: DebugPort
  readonly #virtio: VirtioWindows

  /** Assembles the machine and starts the accelerator's threads, paused. @throws MesovirtError VIRTIO_WINDOWS */
  constructor(options: LightBoardOptions) {
    this.#options = options
    const { hypervisor, clock, log } = options
    const onUnassigned = ({ space, address, size, isWrite }: { space: string; address: number; size: number; isWrite: boolean }) =>
      log(`guest ${isWrite ? 'writes' : 'reads'} ${size} bytes at ${space} 0x${address.toString(16)}, where nothing is`)
    this.memory = new AddressSpace('memory', Region.container('system', 2 ** 46), { onUnassigned })
    this.ports = new AddressSpace('I/O', Region.container('io', 0x1_0000), { onUnassigned })
    this.ram = new GuestMemory(hypervisor.ram)
    this.memory.transaction(() => hypervisor.ram.forEach(({ guestAddress, bytes, hostOffset }) => {
      this.memory.root.add(Region.ram(guestAddress === 0 ? 'ram.low' : 'ram.high', bytes, { hostOffset }), guestAddress)
    }))
    this.bus = hypervisor.attach(this.memory, this.ports)

    const events = { log }
    const line = (gsi: number) => this.bus.orderedLine(hypervisor.line(gsi))
    this.timeline = new BootTimeline(clock, options.onBootPhase)
    this.ports.begin()

    this.#keyboard = I8042.create({ onReset: options.onReset, events })
    this.#addPort('i8042-data', LIGHT_PORTS.keyboardData, this.#keyboard)
    this.#addPort('i8042-command', LIGHT_PORTS.keyboardCommand, {
      read: (offset, size) => this.#keyboard.read(offset + 4, size),
      write: (offset, size, value) => this.#keyboard.write(offset + 4, size, value),
    })

    this.#debug = new DebugPort(this.timeline)
    const debugPort = this.#addPort('debug-port', LIGHT_PORTS.debug, this.#debug)
    if (!options.repeatable) this.bus.shadowPage(debugPort, DEBUG_PORT_SHADOW)

    this.#power = AcpiPower.create({ irq: line(LIGHT_INTERRUPTS.power), onPowerOff: options.onPowerOff, onReset: options.onReset, events })
    this.#addPort('acpi-power', LIGHT_PORTS.power, this.#power)

    this.#uart = options.serial === undefined ? undefined : this.#addSerial(options.serial)
    this.ports.commit()
    this.#virtio = this.memory.transaction(() => new VirtioWindows(options.virtio, {
      memoryRoot: this.memory.root, ram: this.ram, bus: this.bus, clock, events, repeatable: options.repeatable, line, onDiskError: options.onDiskError, onBalloonChange: options.onBalloonChange,
      onPortChange: options.onPortChange, onBackEndChange: options.onBackEndChange, slots: options.slots,
    }))
  }

  /** Where the guest's ACPI tables say things are. */
  get acpiHardware() {
    return {
      ioapic: { id: IOAPIC_ID, address: LIGHT_MEMORY.ioapic.base },
      serial: this.#uart === undefined ? null : { port: LIGHT_PORTS.serial.base, irq: LIGHT_INTERRUPTS.serial },
      virtioMmio: this.#virtio.used,
      power: { base: LIGHT_PORTS.power.base, gsi: LIGHT_INTERRUPTS.power },
    }
  }

  reset(): void {
    this.bus.applyPosts()
    this.#keyboard.reset()
    this.#debug.reset()
    this.#power.reset()
    this.#uart?.reset()
    this.#virtio.reset()
  }

  /** Once posts are applied and no vCPU runs: resolves when no device touches guest memory any more, until `resumeDevices`. */
  async pauseDevices(): Promise<void> {
    await this.#virtio.pause()
  }

  resumeDevices(): void {
    for (const disk of this.#virtio.disks) disk.ioStatus = 'ok'
    this.#virtio.resume()
  }

  /** In the order of their slots. */
  get disks(): readonly LightDisk[] {
    return this.#virtio.disks
  }

  /** In the order of their slots. */
  get cards(): readonly LightCard[] {
    return this.#virtio.cards
  }

  get balloon(): LightBalloon | undefined {
    return this.#virtio.balloon
  }

  /** Controllers of consoles and channels, in the order of the command line. */
  get consoles(): readonly LightConsole[] {
    return this.#virtio.consoles
  }

  pressPowerButton(): void {
    this.bus.update(() => this.#power.press())
  }

  /** Hands the backend what the guest has written to the serial port so far. */
  flush(): void {
    this.bus.applyPosts()
    this.#uart?.flush()
  }

  close(): void {
    this.#virtio.close()
    this.memory.close()
    this.ports.close()
  }

  #addPort(name: string, place: { readonly base: number; readonly size: number }, ops: IoOps): Region {
    // The devices here have registers of one byte: the address space splits wider accesses.
    const region = Region.io(name, place.size, ops, { access: { max: 1 } })
    this.ports.root.add(region, place.base)
    return region
  }

  #addSerial(backend: CharBackend): Uart16550 {
    const { hypervisor, clock, log, repeatable } = this.#options
    // The region wants its device and the device its page of the bus, which wants the region.
    const late: { uart?: Uart16550 } = {}
    const region = this.#addPort('serial', LIGHT_PORTS.serial, {
      read: (offset, size) => late.uart?.read(offset, size) ?? 0xff,
      write: (offset, size, value) => late.uart?.write(offset, size, value),
    })
    const page = this.bus.shadowPage(region, repeatable ? { shadow: UART16550_SHADOW.shadow } : UART16550_SHADOW)
    late.uart = Uart16550.create({
      irq: this.bus.orderedLine(hypervisor.line(LIGHT_INTERRUPTS.serial)), clock, backend, events: { log }, shadow: repeatable ? withoutPosting(page) : page,
      onScratch: (value) => this.timeline.scratchWritten(value),
    })
    return late.uart
  }
}

function withoutPosting(page: ShadowPage): RegisterShadow {
  return {
    publish: (offset, value) => page.publish(offset, value),
    withdraw: (offset) => page.withdraw(offset),
    setPosted: () => undefined,
    update: (change) => page.update(change),
  }
}
