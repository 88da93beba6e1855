/** The consoles and channels of a machine by name: what the command line gives it, and what device_add and device_del are about. */
import { MesovirtError } from '../host/errors.ts'
import type { LightConsole, SerialPort } from '../machine/light-consoles.ts'
import type { LightMachine } from '../machine/light.ts'
import type { VirtioSerialOptions } from '../machine/light-virtio.ts'
import type { Chardevs } from './chardevs.ts'
import type { SerialConfig } from './options/config.ts'
import { controllerOf, portConfig } from './options/consoles.ts'
import { readVariant } from './options/interpret.ts'
import { DEVICES } from './options/table-devices.ts'
import type { ConsoleControl } from './vm.ts'

export class Consoles implements ConsoleControl {
  /** Set once it exists. */
  machine: LightMachine | undefined
  readonly #chardevs: Chardevs

  constructor(chardevs: Chardevs) {
    this.#chardevs = chardevs
  }

  /** What a machine needs to know of a controller. @throws MesovirtError CHARDEV_NAME, CHARDEV_BUSY */
  device({ ports, ...controller }: SerialConfig): VirtioSerialOptions {
    return { ...controller, ports: ports.map(({ chardev, ...port }) => ({ ...port, backend: this.#claim(chardev, port.isConsole) })) }
  }

  plug(members: Readonly<Record<string, unknown>> & { readonly driver: string; readonly id: string }): void {
    const given = portConfig(readVariant(JSON.stringify(members), 'driver', DEVICES, 'device_add'), 'device_add')
    const { machine } = this
    if (machine === undefined || this.has(members.id)) throw new MesovirtError('SERIAL_PORT', `device_add id=${members.id}: another device has this id; use another id`)
    const controller = this.#all[controllerOf(given, this.#all.map(({ id }) => id))]
    if (controller === undefined) return
    const { id, isConsole, name, nr, chardev } = given
    const backend = this.#claim(chardev, isConsole)
    try {
      machine.plugPort(controller, { id, isConsole, name, nr, backend })
    } catch (error) {
      this.#chardevs.release(backend)
      throw error
    }
  }

  unplug(id: string): void {
    const controller = this.#all.find(({ ports }) => ports.some((port) => port.id === id))
    if (controller === undefined) throw new MesovirtError('SERIAL_PORT', `no console or channel has the id ${id}`)
    const backend = this.machine?.unplugPort(controller, id)
    if (backend !== undefined) this.#chardevs.release(backend)
  }

  has(id: string): boolean {
    return this.#all.some(({ ports }) => ports.some((port) => port.id === id))
  }

  get #all(): readonly LightConsole[] {
    return this.machine?.consoles ?? []
  }

  /** A console listens always, a channel while the guest has it open. */
  #claim(label: string, isConsole: boolean) {
    const backend = this.#chardevs.claim(label, () => isConsole || this.#all.some((controller) => controller.ports.some((port: SerialPort) => port.backend === backend && controller.isGuestOpen(port))))
    return backend
  }
}
