/** Commands of a network card's control queue. OASIS virtio 1.2 section 5.1.6.5. */
import { isGroup, MAC_LENGTH } from '../net/mac.ts'
import {
  ACK_ERR, ACK_OK, CTRL_ANNOUNCE, CTRL_MAC, CTRL_MQ, CTRL_OFFLOADS, CTRL_RX, CTRL_VLAN, F_CTRL_GUEST_OFFLOADS, F_CTRL_MAC_ADDR, F_CTRL_RX, F_CTRL_RX_EXTRA, F_CTRL_VLAN,
  F_GUEST_ANNOUNCE, MAC_ADDR_SET, MAC_TABLE_SET, VLAN_ADD, VLAN_DEL,
} from './net-config.ts'
import type { NetFilter } from './net-filter.ts'
import { copyFrom, copyTo } from './queue/chain.ts'
import type { Chain } from './queue/chain.ts'

const HEADER = 2
/** Two tables of some five thousand addresses each. */
const LONGEST = 2 ** 16
const FIRST_EXTRA_MODE = 2

/** What commands act on. */
export interface NetControlled {
  readonly filter: NetFilter
  setMac(address: Uint8Array): void
  acknowledgeAnnouncement(): void
  /** @returns false where it cannot be */
  setPairs(count: number): boolean
  /** @returns false where it cannot be */
  setOffloads(offloads: bigint): boolean
}

/** Runs the command in a buffer. @returns bytes written: 1, or 0 where there is no room for the answer */
export function runControl(chain: Chain, features: bigint, card: NetControlled): number {
  if (chain.writableLength === 0) return 0
  const length = chain.readableLength
  let isDone = false
  if (length >= HEADER && length <= LONGEST) {
    const bytes = new Uint8Array(length)
    copyFrom(chain.readable, 0, bytes)
    isDone = run(bytes[0] ?? 0, bytes[1] ?? 0, bytes.subarray(HEADER), features, card)
  }
  copyTo(chain.writable, 0, Uint8Array.of(isDone ? ACK_OK : ACK_ERR))
  return 1
}

function run(kind: number, command: number, data: Uint8Array, features: bigint, card: NetControlled): boolean {
  const has = (feature: bigint) => (features & feature) !== 0n
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  switch (kind) {
    case CTRL_RX:
      if (data.length !== 1 || !has(command < FIRST_EXTRA_MODE ? F_CTRL_RX : F_CTRL_RX_EXTRA)) return false
      return card.filter.setMode(command, data[0] !== 0)
    case CTRL_MAC:
      if (command === MAC_TABLE_SET) return has(F_CTRL_RX) && card.filter.setTables(data)
      if (command !== MAC_ADDR_SET || !has(F_CTRL_MAC_ADDR) || data.length !== MAC_LENGTH || isGroup(data)) return false
      card.setMac(data)
      return true
    case CTRL_VLAN:
      if (!has(F_CTRL_VLAN) || data.length !== 2 || (command !== VLAN_ADD && command !== VLAN_DEL)) return false
      return card.filter.setVlan(view.getUint16(0, true), command === VLAN_ADD)
    case CTRL_ANNOUNCE:
      if (!has(F_GUEST_ANNOUNCE) || command !== 0) return false
      card.acknowledgeAnnouncement()
      return true
    case CTRL_MQ: return command === 0 && data.length === 2 && card.setPairs(view.getUint16(0, true))
    case CTRL_OFFLOADS: return command === 0 && data.length === 8 && has(F_CTRL_GUEST_OFFLOADS) && card.setOffloads(view.getBigUint64(0, true))
    default: return false
  }
}
