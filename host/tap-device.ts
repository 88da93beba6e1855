/** Tap devices of Linux: an Ethernet card of the host whose cable ends in a file descriptor. Documentation/networking/tuntap.rst, linux/if_tun.h. */
import fs from 'node:fs'
import { MesovirtError } from './errors.ts'
import { errnoName, ffi, lastErrno } from './ffi.ts'

const DEVICE = '/dev/net/tun'
const TUNSETIFF = 0x4004_54ca, TUNSETOFFLOAD = 0x4004_54d0, TUNGETIFF = 0x8004_54d2, TUNSETVNETHDRSZ = 0x4004_54d8, TUNSETQUEUE = 0x4004_54d9
const IFREQ_SIZE = 40, NAME_SIZE = 16
const IFF_TAP = 0x0002, IFF_NO_PI = 0x1000, IFF_VNET_HDR = 0x4000, IFF_MULTI_QUEUE = 0x0100, IFF_ATTACH_QUEUE = 0x0200, IFF_DETACH_QUEUE = 0x0400
const F_GETFL = 3, F_SETFL = 4, O_NONBLOCK = 0o4000
const OFFLOAD = { checksum: 1, tso4: 2, tso6: 4, ecn: 8, ufo: 16 } as const
/** virtio_net_hdr_mrg_rxbuf */
const HEADER_SIZE = 12

export interface TapQueue {
  readonly fd: number
  /** of the interface */
  readonly name: string
  readonly hasHeader: boolean
}

/**
 * Opens a queue of an interface, which is made if there is none and we may.
 * @param name empty: the system chooses. @throws MesovirtError TAP_OPEN
 */
export function openTap(name: string, isMultiQueue: boolean, wantsHeader: boolean): TapQueue {
  if (Buffer.byteLength(name) >= NAME_SIZE) throw new MesovirtError('TAP_OPEN', `tap ${name}: a name has at most ${NAME_SIZE - 1} bytes; use a shorter one`)
  let fd: number
  try {
    fd = fs.openSync(DEVICE, fs.constants.O_RDWR | fs.constants.O_NONBLOCK)
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error)
    throw new MesovirtError('TAP_OPEN', `${DEVICE} cannot be opened (${code}); load the module tun, be allowed to use it, or use -netdev user`)
  }
  const request = new Uint8Array(IFREQ_SIZE)
  request.set(Buffer.from(name))
  new DataView(request.buffer).setUint16(NAME_SIZE, IFF_TAP | IFF_NO_PI | (wantsHeader ? IFF_VNET_HDR : 0) | (isMultiQueue ? IFF_MULTI_QUEUE : 0), true)
  if (ffi().libc.ioctlPointer(fd, TUNSETIFF, request) !== 0) {
    const why = errnoName(lastErrno())
    fs.closeSync(fd)
    throw new MesovirtError('TAP_OPEN', `tap ${name || '(new)'} cannot be opened (${why})${HINTS[why] ?? ''}`)
  }
  return prepare(fd, textOf(request), wantsHeader)
}

const HINTS: Readonly<Record<string, string>> = {
  EPERM: '; make it for this user first: ip tuntap add dev NAME mode tap user USER',
  EBUSY: '; another program has it: use another one',
  EINVAL: '; it is no tap device, or was made with other queues (multi_queue)',
}

/** A queue that somebody else has opened. The descriptor belongs to us from now on. @throws MesovirtError TAP_OPEN */
export function adoptTap(fd: number, wantsHeader: boolean | undefined): TapQueue {
  const request = new Uint8Array(IFREQ_SIZE)
  const { libc } = ffi()
  if (libc.ioctlPointer(fd, TUNGETIFF, request) !== 0) throw new MesovirtError('TAP_OPEN', `descriptor ${fd} is no tap device (${errnoName(lastErrno())}); open /dev/net/tun and pass it on`)
  const flags = new DataView(request.buffer).getUint16(NAME_SIZE, true)
  if ((flags & IFF_TAP) === 0 || (flags & IFF_NO_PI) === 0) throw new MesovirtError('TAP_OPEN', `descriptor ${fd}: ${textOf(request)} is no tap device of plain frames; set IFF_TAP and IFF_NO_PI`)
  const hasHeader = (flags & IFF_VNET_HDR) !== 0
  if (wantsHeader === true && !hasHeader) throw new MesovirtError('TAP_OPEN', `descriptor ${fd}: ${textOf(request)} has no IFF_VNET_HDR; set it, or leave out vnet_hdr=on`)
  const status = libc.fcntl(fd, F_GETFL, 0)
  if (status < 0 || libc.fcntl(fd, F_SETFL, status | O_NONBLOCK) !== 0) throw new MesovirtError('TAP_OPEN', `descriptor ${fd} cannot be made non-blocking (${errnoName(lastErrno())})`)
  return prepare(fd, textOf(request), hasHeader)
}

function prepare(fd: number, name: string, hasHeader: boolean): TapQueue {
  if (hasHeader) {
    const size = Uint8Array.of(HEADER_SIZE, 0, 0, 0)
    if (ffi().libc.ioctlPointer(fd, TUNSETVNETHDRSZ, size) !== 0) throw new MesovirtError('TAP_OPEN', `tap ${name} has no header of ${HEADER_SIZE} bytes (${errnoName(lastErrno())}); use vnet_hdr=off`)
  }
  return { fd, name, hasHeader }
}

/** What the kernel may leave to the reader of a tap device. A flag the kernel does not know is left out. */
export function setTapOffloads(fd: number, offloads: Readonly<Record<keyof typeof OFFLOAD, boolean>>): void {
  let flags = 0
  if (offloads.checksum) for (const key of Object.keys(OFFLOAD) as (keyof typeof OFFLOAD)[]) if (offloads[key]) flags |= OFFLOAD[key]
  const { libc } = ffi()
  if (libc.ioctl(fd, TUNSETOFFLOAD, flags) === 0) return
  if (libc.ioctl(fd, TUNSETOFFLOAD, flags & ~OFFLOAD.ufo) !== 0) libc.ioctl(fd, TUNSETOFFLOAD, 0)
}

/** Whether the kernel puts frames into this queue of a device with several. */
export function attachTapQueue(fd: number, on: boolean): void {
  const request = new Uint8Array(IFREQ_SIZE)
  new DataView(request.buffer).setUint16(NAME_SIZE, on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE, true)
  // It fails where it is as wanted already.
  ffi().libc.ioctlPointer(fd, TUNSETQUEUE, request)
}

function textOf(request: Uint8Array): string {
  return Buffer.from(request.subarray(0, NAME_SIZE)).toString('latin1').replace(/\0.*$/, '')
}
