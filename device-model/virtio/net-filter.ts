/** Which frames a network card takes: its address, tables of others, modes and VLANs, as the driver set them. OASIS virtio 1.2 sections 5.1.6.5.1 to 5.1.6.5.3. */
import { isGroup, MAC_LENGTH } from '../net/mac.ts'
import { vlanOf } from '../net/packet.ts'
import { damaged, stateBoolean, stateBytes, stateRecord } from '../state.ts'
import { RX_NOBCAST } from './net-config.ts'

/** Addresses of either table; a driver with more gets all frames of the kind (5.1.6.5.2.2 lets a device filter imperfectly). */
const MAX_ADDRESSES = 64
const VLANS = 4096

/** Modes by the number of their command. */
const MODES = ['promiscuous', 'allMulticast', 'allUnicast', 'noMulticast', 'noUnicast', 'noBroadcast'] as const
type Mode = (typeof MODES)[number]

interface Table {
  readonly addresses: ReadonlySet<string>
  readonly overflow: boolean
}

const EMPTY: Table = { addresses: new Set(), overflow: false }

export class NetFilter {
  #modes: ReadonlySet<Mode> = new Set()
  #unicast = EMPTY
  #multicast = EMPTY
  #vlans = new Uint8Array(VLANS / 8)
  /** CTRL_VLAN was negotiated: only VLANs of the table pass. */
  #filtersVlans = false

  /** As after a reset. @param promiscuous whether everything passes: a driver without CTRL_RX has no way to ask for it */
  clear(promiscuous: boolean, filtersVlans: boolean): void {
    this.#modes = new Set(promiscuous ? ['promiscuous'] : [])
    this.#unicast = this.#multicast = EMPTY
    this.#vlans = new Uint8Array(VLANS / 8)
    this.#filtersVlans = filtersVlans
  }

  accepts(frame: Uint8Array, mac: Uint8Array): boolean {
    if (this.#modes.has('promiscuous')) return true
    if (this.#filtersVlans) {
      const vlan = vlanOf(frame)
      if (vlan !== undefined && !this.#hasVlan(vlan)) return false
    }
    if (isGroup(frame)) {
      if (isBroadcast(frame)) return !this.#modes.has('noBroadcast')
      if (this.#modes.has('noMulticast')) return false
      return this.#modes.has('allMulticast') || has(this.#multicast, frame)
    }
    if (this.#modes.has('noUnicast')) return false
    return this.#modes.has('allUnicast') || isEqual(frame, mac) || has(this.#unicast, frame)
  }

  /** @param command of class CTRL_RX. @returns false where there is none of this number */
  setMode(command: number, on: boolean): boolean {
    const mode = MODES[command]
    if (mode === undefined || command > RX_NOBCAST) return false
    const modes = new Set(this.#modes)
    if (on) modes.add(mode)
    else modes.delete(mode)
    this.#modes = modes
    return true
  }

  /** @param data of MAC_TABLE_SET: two lists, each behind its count. @returns false where they are malformed */
  setTables(data: Uint8Array): boolean {
    const first = readTable(data, 0)
    const second = first === undefined ? undefined : readTable(data, first.end)
    if (first === undefined || second === undefined || second.end !== data.length) return false
    this.#unicast = first
    this.#multicast = second
    return true
  }

  /** @returns false for a number that no VLAN has */
  setVlan(vlan: number, on: boolean): boolean {
    if (vlan >= VLANS) return false
    const bit = 1 << (vlan & 7)
    this.#vlans[vlan >> 3] = on ? (this.#vlans[vlan >> 3] ?? 0) | bit : (this.#vlans[vlan >> 3] ?? 0) & ~bit
    return true
  }

  state() {
    return {
      modes: MODES.map((mode) => this.#modes.has(mode) ? 1 : 0), vlans: [...this.#vlans], filtersVlans: this.#filtersVlans,
      unicast: saveTable(this.#unicast), multicast: saveTable(this.#multicast),
    }
  }

  /** @throws MesovirtError DEVICE_STATE */
  restore(state: unknown): void {
    const record = stateRecord('virtio-net', state)
    const modes = stateBytes('virtio-net', record, 'modes', MODES.length)
    const vlans = stateBytes('virtio-net', record, 'vlans', VLANS / 8)
    if (vlans.length !== VLANS / 8) throw damaged('virtio-net', 'vlans has another length')
    this.#modes = new Set(MODES.filter((_, index) => modes[index] === 1))
    this.#vlans = Uint8Array.from(vlans)
    this.#filtersVlans = stateBoolean('virtio-net', record, 'filtersVlans')
    this.#unicast = restoreTable(record['unicast'])
    this.#multicast = restoreTable(record['multicast'])
  }

  #hasVlan(vlan: number): boolean {
    return ((this.#vlans[vlan >> 3] ?? 0) & (1 << (vlan & 7))) !== 0
  }
}

function readTable(data: Uint8Array, at: number): (Table & { readonly end: number }) | undefined {
  if (at + 4 > data.length) return undefined
  const count = new DataView(data.buffer, data.byteOffset).getUint32(at, true)
  const end = at + 4 + count * MAC_LENGTH
  if (end > data.length) return undefined
  const addresses = new Set<string>()
  if (count > MAX_ADDRESSES) return { addresses, overflow: true, end }
  for (let place = at + 4; place < end; place += MAC_LENGTH) addresses.add(key(data.subarray(place, place + MAC_LENGTH)))
  return { addresses, overflow: false, end }
}

function has({ addresses, overflow }: Table, frame: Uint8Array): boolean {
  return overflow || (addresses.size > 0 && addresses.has(key(frame)))
}

function key(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, MAC_LENGTH))
}

function saveTable({ addresses, overflow }: Table) {
  return { addresses: [...addresses].flatMap((address) => [...address].map((char) => char.charCodeAt(0))), overflow }
}

function restoreTable(state: unknown): Table {
  const record = stateRecord('virtio-net', state)
  const bytes = Uint8Array.from(stateBytes('virtio-net', record, 'addresses', MAX_ADDRESSES * MAC_LENGTH))
  if (bytes.length % MAC_LENGTH !== 0) throw damaged('virtio-net', 'a table of addresses is cut off')
  const addresses = new Set<string>()
  for (let at = 0; at < bytes.length; at += MAC_LENGTH) addresses.add(key(bytes.subarray(at)))
  return { addresses, overflow: stateBoolean('virtio-net', record, 'overflow') }
}

function isBroadcast(frame: Uint8Array): boolean {
  for (let at = 0; at < MAC_LENGTH; at++) if (frame[at] !== 0xff) return false
  return true
}

function isEqual(frame: Uint8Array, mac: Uint8Array): boolean {
  for (let at = 0; at < MAC_LENGTH; at++) if (frame[at] !== mac[at]) return false
  return true
}
