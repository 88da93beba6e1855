/** virtio-serial-device, virtconsole and virtserialport: from checked values to controllers with their ports, and what they mean together. */
import { choosePort } from '../../machine/light-consoles.ts'
import type { DeviceConfig, PortConfig, SerialConfig } from './config.ts'
import { optionError, printable } from './errors.ts'
import type { NamedValues, Values } from './interpret.ts'
import { didYouMean } from './suggest.ts'

const MOST_PORTS = 31
/** Name of the bus of a controller without an id, as QEMU has it. */
const FIRST_BUS = 'virtio-serial-bus.0'

/** A port as it was asked for. */
export interface GivenPort extends Omit<PortConfig, 'nr'> {
  readonly nr: number | undefined
  readonly bus: string | undefined
  /** For error messages. */
  readonly origin: string
}

export function isPort(driver: string): boolean {
  return driver === 'virtconsole' || driver === 'virtserialport'
}

export function serialConfig(values: Values, rings: DeviceConfig['rings']): SerialConfig {
  return { kind: 'virtio-serial', id: values.text('id'), rings, maxPorts: values.number('max_ports') ?? MOST_PORTS, ports: [] }
}

/** @param where the option, for error messages */
export function portConfig({ name: driver, values }: NamedValues, where: string): GivenPort {
  const id = values.text('id')
  const chardev = values.text('chardev') ?? ''
  return {
    id, chardev, isConsole: driver === 'virtconsole', name: values.text('name'), nr: values.number('nr'), bus: values.text('bus'),
    origin: `${where} ${driver} ${id === undefined ? `chardev=${printable(chardev, 60)}` : `id=${printable(id, 60)}`}`,
  }
}

/** Which controller a port is on, of those with these ids. @throws MesovirtError OPTION_MISSING */
export function controllerOf({ bus, origin }: Pick<GivenPort, 'bus' | 'origin'>, ids: readonly (string | undefined)[]): number {
  if (ids.length === 0) throw optionError('OPTION_MISSING', origin, 'needs a controller; add -device virtio-serial-device')
  if (bus === undefined || (bus === FIRST_BUS && !ids.includes('virtio-serial-bus'))) return 0
  const names = ids.flatMap((id) => id === undefined ? [] : [id])
  const index = ids.findIndex((id) => id !== undefined && (bus === id || bus === `${id}.0`))
  if (index < 0) throw optionError('OPTION_MISSING', `${origin} bus=${printable(bus, 60)}`, `no virtio-serial-device has this bus${didYouMean(bus, names.map((id) => `${id}.0`)) || '; use its id and .0'}`)
  return index
}

/** The devices with each port on its controller. Numbers that are asked for come before those that are not. @throws MesovirtError OPTION_MISSING, SERIAL_PORT */
export function placePorts(devices: readonly DeviceConfig[], given: readonly GivenPort[]): DeviceConfig[] {
  const ids = devices.filter((device) => device.kind === 'virtio-serial').map(({ id }) => id)
  const placed = ids.map((): PortConfig[] => [])
  const maxPorts = devices.flatMap((device) => device.kind === 'virtio-serial' ? [device.maxPorts] : [])
  for (const port of [...given.filter(({ nr }) => nr !== undefined), ...given.filter(({ nr }) => nr === undefined)]) {
    const at = controllerOf(port, ids)
    const { id, isConsole, chardev, name, origin } = port
    placed[at]?.push({ id, isConsole, chardev, name, nr: choosePort(port, placed[at].map(({ nr }) => nr), maxPorts[at] ?? 0, origin) })
  }
  let index = 0
  return devices.map((device) => device.kind === 'virtio-serial' ? { ...device, ports: placed[index++] ?? [] } : device)
}
