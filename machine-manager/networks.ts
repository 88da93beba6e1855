/** The networks of a machine by name, and the cards on them: what the command line opens, and what QMP's network commands are about. */
import { openNetBackend } from '../device-model/net/open.ts'
import type { NetdevConfig, PeerSocket } from '../device-model/net/open.ts'
import { formatMac, defaultMac, parseMac } from '../device-model/net/mac.ts'
import type { NetBackend } from '../device-model/net/backend.ts'
import { MesovirtError } from '../host/errors.ts'
import type { LightCard } from '../machine/light-cards.ts'
import type { LightMachine } from '../machine/light.ts'
import type { VirtioNetOptions } from '../machine/light-virtio.ts'
import type { CardConfig } from './options/config.ts'
import { readVariant } from './options/interpret.ts'
import { netdevConfig } from './options/networks.ts'
import { NETDEVS } from './options/table-networks.ts'
import { parseInteger } from './options/values.ts'
import type { NetworkControl, NetworkInfo } from './vm.ts'

export class Networks implements NetworkControl {
  /** Set once it exists. */
  machine: LightMachine | undefined
  readonly #backends = new Map<string, NetBackend>()
  /** Names that are being opened. */
  readonly #opening = new Set<string>()
  readonly #log: (message: string) => void
  #cards = 0

  readonly #socketOf: (chardev: string) => PeerSocket

  /** @param socketOf what is behind a character device that the command line reserves for a network */
  constructor(log: (message: string) => void, socketOf: (chardev: string) => PeerSocket) {
    this.#log = log
    this.#socketOf = socketOf
  }

  /** @throws MesovirtError NETWORK_NAME, and of the backend */
  async open(config: NetdevConfig): Promise<void> {
    if (this.#backends.has(config.id) || this.#opening.has(config.id)) throw new MesovirtError('NETWORK_NAME', `netdev ${config.id}: another network has this name; use another name`)
    this.#opening.add(config.id)
    try {
      this.#backends.set(config.id, await openNetBackend(config, this.#log, this.#socketOf))
    } finally {
      this.#opening.delete(config.id)
    }
  }

  /** What a machine needs to know of a card. Call it once for each, in their order. */
  device(card: CardConfig): VirtioNetOptions {
    const backend = this.#get(card.netdev)
    return {
      kind: 'virtio-net', id: card.id, rings: card.rings, backend,
      net: {
        mac: card.mac ?? defaultMac(this.#cards++), pairs: card.multiQueue ? backend.queues : 1, rxQueueSize: card.rxQueueSize, txQueueSize: card.txQueueSize, mtu: card.mtu,
        checksum: card.checksum, guestChecksum: card.guestChecksum, segmentation: card.segmentation, guestSegmentation: backend.hasHeader, mergeable: card.mergeable,
      },
    }
  }

  list(): readonly NetworkInfo[] {
    return [...this.#backends.values()].map(({ id, kind, description, connected }) => {
      const card = this.#all.find(({ backend }) => backend?.id === id)
      return {
        id, kind, description, connected, used: card !== undefined, deviceId: card?.id, mac: card === undefined ? undefined : formatMac(card.device.mac),
        linkUp: card?.device.linkUp ?? false, statistics: card?.device.statistics,
      }
    })
  }

  setLink(name: string, up: boolean): void {
    const card = this.#all.find(({ id, backend }) => id === name || backend?.id === name)
    if (card === undefined) throw new MesovirtError('NETWORK_NAME', `no network card has the name ${name}`)
    card.device.setLink(up)
  }

  async add(members: Readonly<Record<string, unknown>>): Promise<void> {
    const named = readVariant(JSON.stringify({ type: 'tap', ...members }), 'type', NETDEVS, 'netdev_add')
    const config = netdevConfig(named, 'netdev_add')
    if (config.kind === 'vhost-user') throw new MesovirtError('NETWORK_NAME', 'netdev_add type=vhost-user: its character device must be reserved for it; give both on the command line')
    await this.open(config)
  }

  async remove(name: string): Promise<void> {
    const backend = this.#get(name)
    const card = this.#cardOf(backend)
    if (card !== undefined) throw new MesovirtError('NETWORK_NAME', `network ${name} is used by ${card.id ?? 'a card'}; remove that first`)
    await this.#close(backend)
  }

  plug(members: { readonly driver: string; readonly id: string; readonly [key: string]: unknown }): void {
    const { id } = members
    const machine = this.machine
    if (machine === undefined || this.#all.some((card) => card.id === id)) throw new MesovirtError('NETWORK_SLOT', `device_add id=${id}: another device has this id; use another id`)
    // StratoVirt's older callers name the network as the device, or in chardev.
    const netdev = [members['netdev'], id].find((name) => typeof name === 'string' && this.#backends.has(name))
    const backend = this.#get(String(netdev ?? members['netdev'] ?? id))
    if (this.#cardOf(backend) !== undefined) throw new MesovirtError('NETWORK_SLOT', `device_add netdev=${backend.id}: another card uses this network; add another one`)
    const mac = members['mac']
    machine.plugNetwork(this.#slot(members), { id, backend, mac: typeof mac === 'string' ? parseMac(mac, `device_add mac=${mac}`) : undefined })
  }

  async unplug(id: string): Promise<void> {
    const card = this.#all.find((one) => one.id === id)
    const backend = card?.backend
    if (card === undefined || backend === undefined) throw new MesovirtError('NETWORK_NAME', `no device has the id ${id}`)
    this.machine?.unplugNetwork(card)
    await this.#close(backend)
  }

  has(id: string): boolean {
    return this.#all.some((card) => card.id === id && card.backend !== undefined)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#backends.values()].map((backend) => this.#close(backend)))
  }

  get #all(): readonly LightCard[] {
    return this.machine?.cards ?? []
  }

  #cardOf(backend: NetBackend): LightCard | undefined {
    return this.#all.find((card) => card.backend === backend)
  }

  #get(name: string): NetBackend {
    const found = this.#backends.get(name)
    if (found === undefined) throw new MesovirtError('NETWORK_NAME', `no network has the name ${name}`)
    return found
  }

  async #close(backend: NetBackend): Promise<void> {
    this.#backends.delete(backend.id)
    await backend.close()
  }

  /** As StratoVirt: `addr`, or `lun` + 1; without either the first that is empty. */
  #slot({ addr, lun }: Readonly<Record<string, unknown>>): number {
    if (typeof addr === 'string') {
      const number = parseInteger(addr)
      if (number === undefined) throw new MesovirtError('NETWORK_SLOT', `device_add addr=${addr}: not a number of a slot; use 0 or 1`)
      return number
    }
    if (typeof lun === 'number') return lun + 1
    const empty = this.#all.findIndex(({ backend }) => backend === undefined)
    if (empty < 0) throw new MesovirtError('NETWORK_SLOT', `there is no empty network slot; ${this.#all.length === 0 ? 'use -machine hotplug=on' : 'remove a card first'}`)
    return empty
  }
}
