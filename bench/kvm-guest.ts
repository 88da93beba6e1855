/**
 * Guests of the kvm bench: loops of one kind of access, each access timed by the guest's own time stamp counter, in 32-bit mode without paging; and a
 * kernel of ten instructions. Bytes as in Intel SDM volume 2, so that no assembler is needed.
 */
import { bzImage } from '../boot-loader/synthetic-kernels.ts'

export const GUEST_RAM = 1 << 20
export const ENTRY = 0x1000
/** What main (or the peer's thread) counts up when the doorbell has rung. */
export const ANSWERED = 0x900
/** Counters of vCPUs that run, in the guest that keeps all of them busy. */
export const BUSY = 0x7000
const TICKS_AT_START = 0x904, TICKS_AT_END = 0x90c
const SAMPLES = 0x1_0000
export const MOST_SAMPLES = (GUEST_RAM - SAMPLES) / 4

/** Ports and addresses of the devices that the loops reach: 4 bytes each. */
export const PORT = 0x300, MARKER_PORT = 0x80, MAPPED = 0xd000_0000, DOORBELL = 0xd000_1000
/** A second pair of registers, which are neither shadowed nor posted. */
export const CALLED_PORT = 0x310
export const START = 1, END = 2

export const ACCESSES = ['port read', 'port write', 'mmio read', 'mmio write', 'called port read', 'doorbell'] as const
export type Access = typeof ACCESSES[number]

export interface Loop {
  readonly access: Access
  readonly count: number
  /** ticks between two accesses */
  readonly pause: number
}

const dword = (value: number) => [...new Uint8Array(Uint32Array.of(value >>> 0).buffer)]
const RDTSC = [0x0f, 0x31]
const marker = (value: number) => [0xb0, value, 0xe6, MARKER_PORT] //                       mov al, value; out 0x80, al
const storeTicks = (at: number) => [...RDTSC, 0xa3, ...dword(at), 0x89, 0x15, ...dword(at + 4)] // mov [at], eax; mov [at + 4], edx
const HALT = [0xf4, 0xeb, 0xfd]

function accessCode(access: Access): number[] {
  const dx = (port: number) => [0x66, 0xba, port & 0xff, port >> 8]
  switch (access) {
    case 'port read': return [...dx(PORT), 0xec] //             in al, dx
    case 'port write': return [...dx(PORT + 1), 0xee] //        out dx, al
    case 'called port read': return [...dx(CALLED_PORT), 0xec]
    case 'mmio read': return [0x8b, 0x07] //                    mov eax, [edi]
    case 'mmio write': return [0x89, 0x47, 0x04] //             mov [edi + 4], eax
    case 'doorbell': return [
      0x89, 0x07, //                                            mov [edi], eax
      0xf3, 0x90, //                                         1: pause
      0x3b, 0x0d, ...dword(ANSWERED), //                        cmp ecx, [ANSWERED]
      0x74, 0xf6, //                                            je 1b (10 bytes back)
    ]
  }
}

/** Address of an access of memory, for edi. */
export function addressOf(access: Access): number {
  return access === 'doorbell' ? DOORBELL : MAPPED
}

/** Makes the accesses and leaves the ticks of each in RAM. Starts at ENTRY, writes START and END to MARKER_PORT. */
export function loopGuest({ access, count, pause }: Loop): Uint8Array {
  const body = [
    0x8b, 0x0d, ...dword(ANSWERED), //           mov ecx, [ANSWERED]
    ...RDTSC, 0x89, 0xc3, //                     rdtsc; mov ebx, eax
    ...accessCode(access),
    ...RDTSC, 0x29, 0xd8, 0x89, 0x06, //         rdtsc; sub eax, ebx; mov [esi], eax
    0x83, 0xc6, 0x04, //                         add esi, 4
    ...pause === 0 ? [] : [
      ...RDTSC, 0x89, 0xc3, //                   rdtsc; mov ebx, eax
      0xf3, 0x90, ...RDTSC, 0x29, 0xd8, //    1: pause; rdtsc; sub eax, ebx
      0x3d, ...dword(pause), 0x72, 0xf3, //      cmp eax, pause; jb 1b (13 bytes back)
    ],
    0x4d, //                                     dec ebp
  ]
  return Uint8Array.from([
    ...marker(START), ...storeTicks(TICKS_AT_START),
    0xbd, ...dword(count), 0xbe, ...dword(SAMPLES), 0xbf, ...dword(addressOf(access)), // mov ebp, count; mov esi, SAMPLES; mov edi, address
    ...body, 0x0f, 0x85, ...dword(-(body.length + 6)), //                                 jnz body
    ...storeTicks(TICKS_AT_END), ...marker(END), ...HALT,
  ])
}

/** Microseconds of each access, from the RAM of a guest that has ended. @param elapsedNs host time between START and END */
export function samplesOf(ram: Uint8Array, count: number, elapsedNs: number): Float64Array {
  const view = new DataView(ram.buffer, ram.byteOffset)
  const ticks = Number(view.getBigUint64(TICKS_AT_END, true) - view.getBigUint64(TICKS_AT_START, true))
  const microseconds = elapsedNs / 1000 / ticks
  return Float64Array.from({ length: count }, (_, index) => view.getUint32(SAMPLES + index * 4, true) * microseconds)
}

/** Where the other vCPUs of busyGuest start: real mode. */
const OTHERS = 0x8000
const APIC_COMMAND = 0xfee0_0300, INIT_OTHERS = 0xc_4500, START_OTHERS = 0xc_4600 | OTHERS >> 12

/** All vCPUs count in RAM for ever. */
export function busyGuest(): { readonly entry: Uint8Array; readonly others: Uint8Array; readonly othersAt: number } {
  const command = (value: number) => [0xc7, 0x05, ...dword(APIC_COMMAND), ...dword(value)] // mov dword [APIC_COMMAND], value
  return {
    entry: Uint8Array.from([...command(INIT_OTHERS), ...command(START_OTHERS), 0xff, 0x05, ...dword(BUSY), 0xeb, 0xf8]), //   1: inc dword [BUSY]; jmp 1b
    others: Uint8Array.from([0x31, 0xc0, 0x8e, 0xd8, 0xf0, 0xff, 0x06, ...dword(BUSY + 4).slice(0, 2), 0xeb, 0xf9]), // ds = 0; 1: lock inc word [BUSY + 4]; jmp 1b
    othersAt: OTHERS,
  }
}

const COM1 = 0x3f8
/** What helloKernel says. */
export const HELLO = '!'
const SETUP_ENTRY = 0x26c, ENTRY_64 = 0x200

/**
 * A bzImage that says HELLO on COM1 and goes on for ever, for each of the ways into a kernel: from real mode, as QEMU's firmware does, and in 64-bit mode.
 * @param busy computes instead of halting
 */
export function helloKernel(busy = false): Uint8Array {
  const end = busy ? [0x90, 0xeb, 0xfd] : [0xfa, 0xf4, 0xeb, 0xfd] // nop; jmp, or cli; hlt; jmp
  const say = [0xb0, HELLO.charCodeAt(0), 0xee, ...end] //           mov al, HELLO; out dx, al
  const code = new Uint8Array(0x1000).fill(0x90)
  for (const entry of [0, ENTRY_64]) code.set([0x66, 0xba, COM1 & 0xff, COM1 >> 8, ...say], entry)
  const image = bzImage({ code })
  image.set([0xba, COM1 & 0xff, COM1 >> 8, ...say], SETUP_ENTRY) //  in 16-bit mode
  return image
}
