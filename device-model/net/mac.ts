/** Ethernet addresses. IEEE 802: the lowest bit of the first byte marks a group, the next one an address that no maker gave. */
import { MesovirtError } from '../../host/errors.ts'

export const MAC_LENGTH = 6

/** QEMU's range for its own cards; the last byte counts. */
const FIRST_MAC = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56] as const

/** @param text `52:54:00:12:34:56`, also with dashes. @throws MesovirtError MAC_ADDRESS */
export function parseMac(text: string, where: string): Uint8Array {
  const parts = text.split(/[:-]/)
  if (parts.length !== MAC_LENGTH || !parts.every((part) => /^[0-9a-fA-F]{1,2}$/.test(part))) {
    throw new MesovirtError('MAC_ADDRESS', `${where}: an address has six bytes, such as 52:54:00:12:34:56`)
  }
  const mac = Uint8Array.from(parts, (part) => Number.parseInt(part, 16))
  if (isGroup(mac)) throw new MesovirtError('MAC_ADDRESS', `${where}: this is the address of a group, not of a card; use an even first byte`)
  if (mac.every((byte) => byte === 0)) throw new MesovirtError('MAC_ADDRESS', `${where}: no card has this address; use another one`)
  return mac
}

export function formatMac(mac: ArrayLike<number>): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}

/** The address of a card that was given none. @param number of the card */
export function defaultMac(number: number): Uint8Array {
  const mac = Uint8Array.from(FIRST_MAC)
  mac[5] = (FIRST_MAC[5] + number) & 0xff
  return mac
}

export function isGroup(mac: ArrayLike<number>): boolean {
  return ((mac[0] ?? 0) & 1) !== 0
}
