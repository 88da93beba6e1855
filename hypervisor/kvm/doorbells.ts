/**
 * The notifiers of both address spaces as ioeventfds: a write to one makes KVM signal an eventfd, and the vCPU runs on. Linux Documentation/virt/kvm/api.rst,
 * KVM_IOEVENTFD. KVM matches port writes of 1, 2 and 4 bytes and memory writes of 1 to 8. What it does not take rings over the bus, as a posted write.
 */
import os from 'node:os'
import type { AddressSpaceListener } from '../../address-space/address-space.ts'
import { SPACE_PORTS } from '../../address-space/bus.ts'
import type { Space } from '../../address-space/bus.ts'
import type { FlatNotifier } from '../../address-space/flat-view.ts'
import { EventFd } from '../../host/eventfd.ts'
import { watchFd } from '../../host/fd-watch.ts'
import type { FdWatch } from '../../host/fd-watch.ts'
import { errnoError, ffi, lastErrno } from '../../host/ffi.ts'
import { IOEVENTFD_DATAMATCH, IOEVENTFD_DEASSIGN, IOEVENTFD_PIO, KVM_IOEVENTFD } from './abi.ts'

const { EEXIST, ENOSPC } = os.constants.errno

interface Doorbell { readonly event: EventFd; readonly watch: FdWatch }

export class Doorbells {
  readonly #vm: number
  /** Applies the posts made before the ring, then calls. */
  readonly #ring: (notify: () => void) => void
  readonly #doorbells = new Map<FlatNotifier, Doorbell>()

  constructor(vm: number, ring: (notify: () => void) => void) {
    this.#vm = vm
    this.#ring = ring
  }

  /** What follows the notifiers of an address space. */
  listener(space: Space): AddressSpaceListener {
    return {
      notifierAdd: (notifier) => this.#add(space, notifier),
      notifierDel: (notifier) => this.#remove(space, notifier),
    }
  }

  close(): void {
    for (const { event, watch } of this.#doorbells.values()) {
      watch.close()
      event.close()
    }
    this.#doorbells.clear()
  }

  #add(space: Space, notifier: FlatNotifier): void {
    // One value in writes of any size: the kernel has no such match.
    if (notifier.size === 0 && notifier.datamatch !== undefined) return
    const event = new EventFd()
    if (!this.#control(space, notifier, event.fd, 0)) {
      event.close()
      return
    }
    const ring = () => {
      if (event.drain()) this.#ring(() => notifier.notifier.notify())
    }
    const watch = watchFd(event.fd, ring)
    watch.unref() // the bus holds the process while the machine runs
    this.#doorbells.set(notifier, { event, watch })
  }

  #remove(space: Space, notifier: FlatNotifier): void {
    const doorbell = this.#doorbells.get(notifier)
    if (doorbell === undefined) return
    this.#doorbells.delete(notifier)
    this.#control(space, notifier, doorbell.event.fd, IOEVENTFD_DEASSIGN)
    doorbell.watch.close()
    // What was rung before the doorbell went is still heard, as it would be with a slower guest.
    if (doorbell.event.drain()) this.#ring(() => notifier.notifier.notify())
    doorbell.event.close()
  }

  /** @returns false where the kernel has another doorbell for such writes already, or no room for one more */
  #control(space: Space, { address, size, datamatch }: FlatNotifier, eventFd: number, flags: number): boolean {
    const ioeventfd = new DataView(new ArrayBuffer(64))
    ioeventfd.setBigUint64(0, datamatch ?? 0n, true)
    ioeventfd.setBigUint64(8, BigInt(address), true)
    ioeventfd.setUint32(16, size, true)
    ioeventfd.setInt32(20, eventFd, true)
    ioeventfd.setUint32(24, flags | (datamatch === undefined ? 0 : IOEVENTFD_DATAMATCH) | (space === SPACE_PORTS ? IOEVENTFD_PIO : 0), true)
    if (ffi().libc.ioctlPointer(this.#vm, KVM_IOEVENTFD, new Uint8Array(ioeventfd.buffer)) === 0) return true
    const errno = lastErrno()
    if (errno === EEXIST || errno === ENOSPC) return false
    throw errnoError(`KVM_IOEVENTFD at 0x${address.toString(16)}`)
  }
}
