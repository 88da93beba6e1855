/** Feature bits, configuration space and control commands of a network card. OASIS virtio 1.2 sections 5.1.3, 5.1.4 and 5.1.6.5; without RSS, hash reports, notification coalescing. */
import { MAC_LENGTH } from '../net/mac.ts'

export const F_CSUM = 1n << 0n
export const F_GUEST_CSUM = 1n << 1n
export const F_CTRL_GUEST_OFFLOADS = 1n << 2n
export const F_MTU = 1n << 3n
export const F_MAC = 1n << 5n
export const F_GUEST_TSO4 = 1n << 7n
export const F_GUEST_TSO6 = 1n << 8n
export const F_GUEST_ECN = 1n << 9n
export const F_GUEST_UFO = 1n << 10n
export const F_HOST_TSO4 = 1n << 11n
export const F_HOST_TSO6 = 1n << 12n
export const F_HOST_ECN = 1n << 13n
export const F_HOST_UFO = 1n << 14n
export const F_MRG_RXBUF = 1n << 15n
export const F_STATUS = 1n << 16n
export const F_CTRL_VQ = 1n << 17n
export const F_CTRL_RX = 1n << 18n
export const F_CTRL_VLAN = 1n << 19n
export const F_CTRL_RX_EXTRA = 1n << 20n
export const F_GUEST_ANNOUNCE = 1n << 21n
export const F_MQ = 1n << 22n
export const F_CTRL_MAC_ADDR = 1n << 23n

/** What CTRL_GUEST_OFFLOADS switches: the feature bits of the same numbers. */
export const GUEST_OFFLOADS = F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN | F_GUEST_UFO

const CONFIG_SIZE = 12
const STATUS = 6, MAX_PAIRS = 8, MTU = 10
export const S_LINK_UP = 1, S_ANNOUNCE = 2

/** Control classes and their commands. */
export const CTRL_RX = 0, CTRL_MAC = 1, CTRL_VLAN = 2, CTRL_ANNOUNCE = 3, CTRL_MQ = 4, CTRL_OFFLOADS = 5
export const RX_PROMISC = 0, RX_NOBCAST = 5
export const MAC_TABLE_SET = 0, MAC_ADDR_SET = 1
export const VLAN_ADD = 0, VLAN_DEL = 1
export const ACK_OK = 0, ACK_ERR = 1

export function netConfigSpace(mac: Uint8Array, pairs: number, mtu: number | undefined): Uint8Array {
  const bytes = new Uint8Array(CONFIG_SIZE)
  setMac(bytes, mac)
  const view = new DataView(bytes.buffer)
  view.setUint16(MAX_PAIRS, pairs, true)
  view.setUint16(MTU, mtu ?? 0, true)
  return bytes
}

export function setMac(config: Uint8Array, mac: Uint8Array): void {
  config.set(mac.subarray(0, MAC_LENGTH), 0)
}

export function setStatus(config: Uint8Array, status: number): void {
  config[STATUS] = status
}

export function getStatus(config: Uint8Array): number {
  return config[STATUS] ?? 0
}
