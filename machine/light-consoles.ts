/** One controller of virtio consoles and channels of the LightMachine, and the ports on it, which may come and go while the guest runs. */
import type { CharBackend, Clock, DeviceEvents } from '../device-model/contracts.ts'
import { VirtioConsole } from '../device-model/virtio/console.ts'
import { MesovirtError } from '../host/errors.ts'

/** As QEMU: a guest that opens and closes a port without end makes no flood of events. */
const QUIET_NS = 1_000_000_000n

export interface SerialPort {
  readonly id: string | undefined
  /** 0 is for a console. */
  readonly nr: number
  readonly isConsole: boolean
  readonly name: string | undefined
  /** The machine does not close it. */
  readonly backend: CharBackend
}

export interface LightConsoleOptions {
  readonly id: string | undefined
  /** 1..31 */
  readonly maxPorts: number
  readonly ports: readonly SerialPort[]
  readonly clock: Clock
  readonly events: DeviceEvents
  readonly onChange: (id: string, isOpen: boolean) => void
}

export class LightConsole {
  readonly id: string | undefined
  readonly device: VirtioConsole
  readonly #options: LightConsoleOptions
  /** By number. */
  readonly #ports = new Map<number, SerialPort>()
  /** What was told of which number, and what is not yet. */
  readonly #told = new Map<number, { isOpen: boolean; quietUntil: bigint; waits: boolean }>()

  constructor(options: LightConsoleOptions) {
    this.#options = options
    this.id = options.id
    for (const port of options.ports) this.#ports.set(port.nr, port)
    this.device = VirtioConsole.create({ maxPorts: options.maxPorts, ports: options.ports.map((port) => this.#wire(port)), events: options.events })
  }

  get ports(): readonly SerialPort[] {
    return [...this.#ports.values()]
  }

  isGuestOpen(port: SerialPort): boolean {
    return this.device.isGuestOpen(port.nr)
  }

  /** @throws MesovirtError SERIAL_PORT */
  plug(port: Omit<SerialPort, 'nr'> & { readonly nr?: number | undefined }): void {
    const nr = choosePort(port, [...this.#ports.keys()], this.#options.maxPorts, `device_add id=${port.id ?? ''}`)
    const placed = { ...port, nr }
    this.#ports.set(nr, placed)
    this.device.addPort(this.#wire(placed))
  }

  /** Nothing uses the backend any more when this returns. */
  unplug(id: string): CharBackend | undefined {
    const port = this.ports.find((one) => one.id === id)
    if (port === undefined) return undefined
    this.device.removePort(port.nr)
    this.#ports.delete(port.nr)
    this.#told.delete(port.nr)
    return port.backend
  }

  #wire(port: SerialPort) {
    const { nr, isConsole, name, backend, id } = port
    return { nr, isConsole, name, backend, onGuestOpen: (isOpen: boolean) => { if (id !== undefined) this.#changed(nr, id, isOpen) } }
  }

  #changed(nr: number, id: string, isOpen: boolean): void {
    const { clock, onChange } = this.#options
    const told = this.#told.get(nr) ?? { isOpen: false, quietUntil: 0n, waits: false }
    this.#told.set(nr, told)
    const now = clock.now()
    if (told.waits) return
    if (now >= told.quietUntil) {
      told.isOpen = isOpen
      told.quietUntil = now + QUIET_NS
      onChange(id, isOpen)
      return
    }
    told.waits = true
    clock.schedule(told.quietUntil, () => {
      told.waits = false
      const current = this.device.isGuestOpen(nr)
      if (this.#told.get(nr) === told && current !== told.isOpen) this.#changed(nr, id, current)
    })
  }
}

/**
 * The number a port gets: what it asks for, else the first that is free, where 0 is for the first console.
 * @param where for error messages. @throws MesovirtError SERIAL_PORT
 */
export function choosePort(port: { readonly nr?: number | undefined; readonly isConsole: boolean }, taken: readonly number[], maxPorts: number, where: string): number {
  const { nr, isConsole } = port
  const refuse = (why: string) => new MesovirtError('SERIAL_PORT', `${where}: ${why}`)
  if (nr === undefined) {
    const free = Array.from({ length: maxPorts }, (_, index) => index).find((index) => !taken.includes(index) && (index > 0 || isConsole))
    if (free === undefined) throw refuse(`all ${maxPorts} ports are taken${isConsole ? '' : ', or are for consoles'}; use a larger max_ports`)
    return free
  }
  if (nr >= maxPorts) throw refuse(`nr=${nr} is beyond the last port, ${maxPorts - 1}; use a lower one, or a larger max_ports`)
  if (nr === 0 && !isConsole) throw refuse('nr=0 is for a virtconsole; use 1 or more')
  if (taken.includes(nr)) throw refuse(`nr=${nr} is taken by another port; use another number, or leave it out`)
  return nr
}
