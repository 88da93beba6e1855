/**
 * The flat view of guest memory as KVM's memory slots: KVM_SET_USER_MEMORY_REGION (Linux Documentation/virt/kvm/api.rst, 4.35), and the log of dirty pages
 * (4.8 KVM_GET_DIRTY_LOG). Ranges that continue each other in the guest and on the host share a slot.
 */
import type { FlatView } from '../../address-space/flat-view.ts'
import { MesovirtError } from '../../host/errors.ts'
import { addressOf } from '../../host/ffi.ts'
import { KVM_GET_DIRTY_LOG, KVM_SET_USER_MEMORY_REGION, MEM_LOG_DIRTY_PAGES, MEM_READONLY } from './abi.ts'
import { request } from './descriptors.ts'

const PAGE = 4096

export interface MemorySlot {
  readonly number: number
  readonly guestAddress: number
  readonly size: number
  readonly hostAddress: number
  readonly readOnly: boolean
}

/** What the flat view asks for; `number` comes with the slot. */
export type WantedSlot = Omit<MemorySlot, 'number'>

/**
 * The slots for a view: RAM, ROM and ROM devices in ROM mode that the accelerator can see. Parts that do not fill whole pages are left to the bus.
 */
export function slotsOf(view: FlatView): WantedSlot[] {
  const slots: WantedSlot[] = []
  for (const { kind, region, start, size, offsetInRegion, readOnly: dropsWrites } of view.ranges) {
    if (kind === 'io' || region.hostOffset < 0) continue
    const guestAddress = Math.ceil(start / PAGE) * PAGE
    const end = Math.floor((start + size) / PAGE) * PAGE
    const hostAddress = region.hostOffset + offsetInRegion + guestAddress - start
    // A host page maps to one guest page: where the two are out of step the bus reads the memory.
    if (end <= guestAddress || hostAddress % PAGE !== 0) continue
    const readOnly = dropsWrites || kind !== 'ram'
    const last = slots.at(-1)
    const continues = last !== undefined && last.readOnly === readOnly && last.guestAddress + last.size === guestAddress && last.hostAddress + last.size === hostAddress
    if (continues) slots[slots.length - 1] = { ...last, size: last.size + end - guestAddress }
    else slots.push({ guestAddress, size: end - guestAddress, hostAddress, readOnly })
  }
  return slots
}

export class MemorySlots {
  readonly #vm: number
  readonly #limit: number
  #slots: MemorySlot[] = []
  readonly #free: number[] = []
  #next = 0
  #logging = false

  /** @param limit slots the kernel has */
  constructor(vm: number, limit: number) {
    this.#vm = vm
    this.#limit = limit
  }

  get slots(): readonly MemorySlot[] {
    return this.#slots
  }

  /** Whether an update to `wanted` takes something away that the guest may be using: no vCPU may run then. */
  removes(wanted: readonly WantedSlot[]): boolean {
    return this.#slots.some((slot) => !wanted.some((other) => same(slot, other)))
  }

  /** @throws MesovirtError KVM_MEMORY, SYSTEM_CALL */
  update(wanted: readonly WantedSlot[]): void {
    const kept = this.#slots.filter((slot) => wanted.some((other) => same(slot, other)))
    for (const slot of this.#slots.filter((old) => !kept.includes(old))) {
      this.#set({ ...slot, size: 0 }, 0)
      this.#free.push(slot.number)
    }
    this.#slots = kept
    for (const add of wanted.filter((other) => !kept.some((slot) => same(slot, other)))) {
      const number = this.#free.pop() ?? this.#next++
      if (number >= this.#limit) throw new MesovirtError('KVM_MEMORY', `the memory map has more pieces than the ${this.#limit} memory slots of this kernel's KVM`)
      const slot = { ...add, number }
      this.#set(slot, slot.size)
      this.#slots.push(slot)
    }
  }

  /** Whether KVM keeps a log of the pages that vCPUs write. Changes no content; may be called while they run. */
  setLogging(on: boolean): void {
    if (on === this.#logging) return
    this.#logging = on
    for (const slot of this.#slots) this.#set(slot, slot.size)
  }

  /**
   * Takes the log of one slot: a bit for each page written since the last call.
   * @throws MesovirtError SYSTEM_CALL where no log is kept
   */
  takeDirtyLog(slot: MemorySlot): Uint8Array {
    const words = Math.ceil(slot.size / PAGE / 64)
    // KVM writes it through a pointer inside the structure: memory that V8 does not move.
    const bitmap = new Uint8Array(new SharedArrayBuffer(words * 8))
    const log = new DataView(new ArrayBuffer(16))
    log.setUint32(0, slot.number, true)
    log.setBigUint64(8, BigInt(addressOf(bitmap)), true)
    request(this.#vm, KVM_GET_DIRTY_LOG, new Uint8Array(log.buffer), 'KVM_GET_DIRTY_LOG')
    return bitmap
  }

  #set(slot: MemorySlot, size: number): void {
    const region = new DataView(new ArrayBuffer(32))
    region.setUint32(0, slot.number, true)
    region.setUint32(4, (slot.readOnly ? MEM_READONLY : 0) | (this.#logging && !slot.readOnly ? MEM_LOG_DIRTY_PAGES : 0), true)
    region.setBigUint64(8, BigInt(slot.guestAddress), true)
    region.setBigUint64(16, BigInt(size), true)
    region.setBigUint64(24, BigInt(slot.hostAddress), true)
    request(this.#vm, KVM_SET_USER_MEMORY_REGION, new Uint8Array(region.buffer), `KVM_SET_USER_MEMORY_REGION at 0x${slot.guestAddress.toString(16)}`)
  }
}

function same(a: WantedSlot, b: WantedSlot): boolean {
  return a.guestAddress === b.guestAddress && a.size === b.size && a.hostAddress === b.hostAddress && a.readOnly === b.readOnly
}
