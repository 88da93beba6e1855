/**
 * Interrupts into a KVM machine: the 24 lines of PIC and IOAPIC, messages (MSI), the routing table that gives both a number (GSI), and eventfds that raise
 * one without a system call of ours. Linux Documentation/virt/kvm/api.rst: KVM_IRQ_LINE, KVM_SET_GSI_ROUTING, KVM_SIGNAL_MSI, KVM_IRQFD.
 */
import type { EventLine } from '../../address-space/bus.ts'
import { MesovirtError } from '../../host/errors.ts'
import {
  IRQCHIP_BYTES, IRQCHIP_IOAPIC, IRQCHIP_PIC_MASTER, IRQCHIP_PIC_SLAVE, IRQFD_DEASSIGN, IRQFD_RESAMPLE, KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2, KVM_GET_IRQCHIP, KVM_GET_PIT2, KVM_IRQFD, KVM_IRQ_LINE,
  KVM_SET_GSI_ROUTING, KVM_SET_IRQCHIP, KVM_SET_PIT2, KVM_SIGNAL_MSI, PIT_SPEAKER_DUMMY, PIT_STATE2_BYTES, ROUTING_IRQCHIP, ROUTING_MSI,
} from './abi.ts'
import { request, requestValue } from './descriptors.ts'

export const LINES = 24
const PIC_PINS = 8
const TIMER = 0, TIMER_PIN = 2
const ROUTE_BYTES = 48
/** KVM_MAX_IRQ_ROUTES of x86 */
const MAX_ROUTES = 4096

/** A message-signalled interrupt: PCI 3.0 section 6.8, Intel SDM volume 3, 11.11. */
export interface Message {
  readonly address: bigint
  readonly data: number
}

interface Route { readonly gsi: number; readonly chip?: number; readonly pin?: number; readonly message?: Message }

export class KvmInterrupts {
  readonly #vm: number
  readonly #levels = new Uint8Array(LINES)
  readonly #lines: readonly EventLine[]
  readonly #messages = new Map<number, Message>()
  readonly #powerUp: { readonly chips: readonly Uint8Array[]; readonly pit: Uint8Array }

  /** Makes interrupt controllers and interval timer; before any vCPU. */
  constructor(vm: number) {
    this.#vm = vm
    requestValue(vm, KVM_CREATE_IRQCHIP, 0, 'KVM_CREATE_IRQCHIP')
    const pit = new Uint8Array(64)
    pit[0] = PIT_SPEAKER_DUMMY
    request(vm, KVM_CREATE_PIT2, pit, 'KVM_CREATE_PIT2')
    this.#lines = Array.from({ length: LINES }, (_, gsi) => ({
      setLevel: (level: 0 | 1) => this.#setLevel(gsi, level),
      pulse: () => {
        this.#setLevel(gsi, 1)
        this.#setLevel(gsi, 0)
      },
    }))
    this.#publishRoutes()
    this.#powerUp = this.#save()
  }

  line(gsi: number): EventLine {
    const line = this.#lines[gsi]
    if (line === undefined) throw new MesovirtError('INTERRUPT_LINE', `there is no interrupt line ${gsi}: lines are 0 to ${LINES - 1}`)
    return line
  }

  /** Power-up state of the controllers and the timer. Lines keep the level that devices gave them. */
  reset(): void {
    for (const chip of this.#powerUp.chips) request(this.#vm, KVM_SET_IRQCHIP, chip, 'KVM_SET_IRQCHIP')
    request(this.#vm, KVM_SET_PIT2, this.#powerUp.pit, 'KVM_SET_PIT2')
    // The controllers have forgotten what is still high.
    this.#levels.forEach((level, gsi) => {
      if (level === 1) this.#drive(gsi, 1)
    })
  }

  /** Sends a message at once. @returns whether an interrupt controller took it */
  signal({ address, data }: Message): boolean {
    const msi = new DataView(new ArrayBuffer(32))
    msi.setBigUint64(0, address, true)
    msi.setUint32(8, data, true)
    return request(this.#vm, KVM_SIGNAL_MSI, new Uint8Array(msi.buffer), 'KVM_SIGNAL_MSI') > 0
  }

  /** Gives a message a number, for an eventfd to raise. @throws MesovirtError KVM_ROUTES where there are no more */
  addMessage(message: Message): number {
    let gsi = LINES
    while (this.#messages.has(gsi)) gsi++
    if (gsi >= MAX_ROUTES - 2 * PIC_PINS) throw new MesovirtError('KVM_ROUTES', `more than ${MAX_ROUTES} interrupt routes are asked for; use fewer devices or queues`)
    this.#messages.set(gsi, message)
    this.#publishRoutes()
    return gsi
  }

  /** Where the number points from now on; what an eventfd raised before goes the old way. */
  changeMessage(gsi: number, message: Message): void {
    if (!this.#messages.has(gsi)) throw new MesovirtError('KVM_ROUTES', `interrupt ${gsi} is not a message`)
    this.#messages.set(gsi, message)
    this.#publishRoutes()
  }

  removeMessage(gsi: number): void {
    if (this.#messages.delete(gsi)) this.#publishRoutes()
  }

  /**
   * From now on each write to the eventfd raises interrupt `gsi`: an edge, or with `resample` a level that stays until the guest acknowledges it, whereupon
   * that second eventfd is signalled.
   */
  attach(eventFd: number, gsi: number, resample?: number): void {
    this.#irqfd(eventFd, gsi, resample === undefined ? 0 : IRQFD_RESAMPLE, resample)
  }

  detach(eventFd: number, gsi: number): void {
    this.#irqfd(eventFd, gsi, IRQFD_DEASSIGN)
  }

  #irqfd(eventFd: number, gsi: number, flags: number, resample = 0): void {
    const irqfd = new Uint32Array(8)
    irqfd.set([eventFd, gsi, flags, resample])
    request(this.#vm, KVM_IRQFD, new Uint8Array(irqfd.buffer), 'KVM_IRQFD')
  }

  /** A device's line is told to the kernel when it changes only. */
  #setLevel(gsi: number, level: 0 | 1): void {
    if (this.#levels[gsi] === level) return
    this.#levels[gsi] = level
    this.#drive(gsi, level)
  }

  #drive(gsi: number, level: number): void {
    request(this.#vm, KVM_IRQ_LINE, new Uint8Array(Uint32Array.of(gsi, level).buffer), 'KVM_IRQ_LINE')
  }

  /**
   * Lines 0 to 15 go to the PIC pair and the IOAPIC, 16 to 23 to the IOAPIC. The timer's line, 0, is on IOAPIC pin 2, as the guest's tables say; the kernel's
   * own routes have it on pin 0.
   */
  #publishRoutes(): void {
    const routes: Route[] = []
    for (let gsi = 0; gsi < 2 * PIC_PINS; gsi++) routes.push({ gsi, chip: gsi < PIC_PINS ? IRQCHIP_PIC_MASTER : IRQCHIP_PIC_SLAVE, pin: gsi % PIC_PINS })
    for (let gsi = 0; gsi < LINES; gsi++) if (gsi !== TIMER_PIN) routes.push({ gsi, chip: IRQCHIP_IOAPIC, pin: gsi === TIMER ? TIMER_PIN : gsi })
    for (const [gsi, message] of this.#messages) routes.push({ gsi, message })
    const table = new DataView(new ArrayBuffer(8 + routes.length * ROUTE_BYTES))
    table.setUint32(0, routes.length, true)
    routes.forEach(({ gsi, chip, pin, message }, index) => {
      const at = 8 + index * ROUTE_BYTES
      table.setUint32(at, gsi, true)
      table.setUint32(at + 4, message === undefined ? ROUTING_IRQCHIP : ROUTING_MSI, true)
      if (message === undefined) {
        table.setUint32(at + 16, chip ?? 0, true)
        table.setUint32(at + 20, pin ?? 0, true)
      } else {
        table.setBigUint64(at + 16, message.address, true)
        table.setUint32(at + 24, message.data, true)
      }
    })
    request(this.#vm, KVM_SET_GSI_ROUTING, new Uint8Array(table.buffer), 'KVM_SET_GSI_ROUTING')
  }

  #save(): { chips: Uint8Array[]; pit: Uint8Array } {
    const chips = [IRQCHIP_PIC_MASTER, IRQCHIP_PIC_SLAVE, IRQCHIP_IOAPIC].map((id) => {
      const chip = new Uint8Array(IRQCHIP_BYTES)
      chip[0] = id
      request(this.#vm, KVM_GET_IRQCHIP, chip, 'KVM_GET_IRQCHIP')
      return chip
    })
    const pit = new Uint8Array(PIT_STATE2_BYTES)
    request(this.#vm, KVM_GET_PIT2, pit, 'KVM_GET_PIT2')
    return { chips, pit }
  }
}
