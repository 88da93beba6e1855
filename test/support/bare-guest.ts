/**
 * Guests of a few instructions, for what needs a machine and no operating system. Each is an ELF kernel in 64-bit mode; the bytes come from a few
 * functions named after the instructions (Intel SDM volume 2), so that no assembler is needed.
 */
import fs from 'node:fs'
import path from 'node:path'
import { elf } from '../../boot-loader/synthetic-kernels.ts'
import { ACCELERATOR } from './accelerator.ts'

const COM1 = 0x3f8, COM1_IER = 0x3f9, COM1_MCR = 0x3fc, COM1_LSR = 0x3fd, COM1_SCRATCH = 0x3ff
const IER_RECEIVED = 1, MCR_OUT2 = 8, LSR_DATA_READY = 1
const KEYBOARD_COMMAND = 0x64, PULSE_RESET = 0xfe

const dx = (port: number): number[] => [0x66, 0xba, port & 0xff, port >> 8] //       mov dx, port
const OUT_AL = 0xee //                                                              out dx, al
const IN_AL = 0xec //                                                               in al, dx
const out = (port: number, value: number): number[] => [...dx(port), 0xb0, value, OUT_AL]
const say = (text: string): number[] => [...dx(COM1), ...[...Buffer.from(text)].flatMap((byte) => [0xb0, byte, OUT_AL])]
const HALT = [0xfa, 0xf4, 0xeb, 0xfd] //                                            cli; 1: hlt; jmp 1b

const kernel = (...code: number[][]): Uint8Array => elf({ code: Uint8Array.from(code.flat()) })

/** Says `text` and halts for good. */
export const saying = (text: string): Uint8Array => kernel(say(text), HALT)

/** Says `ready`, then sends back each byte it gets. It polls, yet asks for interrupts (which it masks): that opens the port for input. */
export const echoing = (): Uint8Array => kernel(out(COM1_MCR, MCR_OUT2), out(COM1_IER, IER_RECEIVED), say('ready\r\n'), [
  ...dx(COM1_LSR), //        1: mov dx, LSR
  IN_AL, //                     in al, dx
  0xa8, LSR_DATA_READY, //      test al, 1
  0x74, 0xf7, //                jz 1b (9 bytes back)
  ...dx(COM1),
  IN_AL, OUT_AL,
  0xeb, 0xef, //                jmp 1b (17 bytes back)
])

/** Says `.` for ever, about as often as it can take a million steps. */
export const ticking = (): Uint8Array => kernel(say('ready\r\n'), [
  0xb9, 0x40, 0x42, 0x0f, 0x00, // 1: mov ecx, 1000000
  0xff, 0xc9, //                   2: dec ecx
  0x75, 0xfc, //                      jnz 2b
  ...dx(COM1), 0xb0, 0x2e, OUT_AL, // '.'
  0xeb, 0xee, //                      jmp 1b (18 bytes back)
])

/** Loads an interrupt table of no entries and takes an exception: the processor shuts down. */
export const tripleFaulting = (text: string): Uint8Array => kernel(say(text), [
  0x31, 0xc0, //                     xor eax, eax
  0x50, 0x50, //                     push rax (twice)
  0x0f, 0x01, 0x1c, 0x24, //         lidt [rsp]
  0x0f, 0x0b, //                     ud2
])

/** Pulses the reset line through the keyboard controller. */
export const resetting = (text: string): Uint8Array => kernel(say(text), out(KEYBOARD_COMMAND, PULSE_RESET), HALT)

/** Leaves markers: kernel start and user space reached, on both ports. */
export const marking = (): Uint8Array => kernel(out(COM1_SCRATCH, 1), out(0x80, 0x41), out(COM1_SCRATCH, 2), say('marked\r\n'), HALT)

/** Says the time stamp counter 32 times in binary, with work in between, then `done`: under -icount the same in every run. */
export const timing = (): Uint8Array => kernel([
  0xbe, 32, 0, 0, 0, //               mov esi, 32
  0xb9, 0x10, 0x27, 0x00, 0x00, // 1: mov ecx, 10000
  0xff, 0xc9, //                   2: dec ecx
  0x75, 0xfc, //                      jnz 2b
  0x0f, 0x31, //                      rdtsc
  0x89, 0xc3, //                      mov ebx, eax
  0xb9, 32, 0, 0, 0, //               mov ecx, 32
  ...dx(COM1),
  0xd1, 0xc3, //                   3: rol ebx, 1
  0x88, 0xd8, //                      mov al, bl
  0x24, 0x01, //                      and al, 1
  0x04, 0x30, //                      add al, '0'
  OUT_AL,
  0xff, 0xc9, //                      dec ecx
  0x75, 0xf3, //                      jnz 3b (13 bytes back)
  0xb0, 0x0a, OUT_AL, //              '\n'
  0xff, 0xce, //                      dec esi
  0x75, 0xd6, //                      jnz 1b (42 bytes back)
], say('done\n'), HALT)

const SEED = [0x0f, 0x31, 0x89, 0xc3] // rdtsc; mov ebx, eax
const NEXT_RANDOM = [
  0x69, 0xdb, 0x0d, 0x66, 0x19, 0x00, // imul ebx, ebx, 1664525
  0x81, 0xc3, 0x5f, 0xf3, 0x6e, 0x3c, // add ebx, 1013904223
]
/** Runs `body` for ever. */
function forever(...body: number[][]): number[] {
  const bytes = body.flat()
  const JUMP_SIZE = 5
  const back = new Uint8Array(Int32Array.of(-bytes.length - JUMP_SIZE).buffer)
  return [...bytes, 0xe9, ...back]
}

/** Writes and reads random ports, in all sizes, with random values. */
export const hammeringPorts = (): Uint8Array => kernel(SEED, forever(
  NEXT_RANDOM,
  [0x89, 0xda, 0xc1, 0xea, 0x10], //       mov edx, ebx; shr edx, 16
  [0x89, 0xd8], //                         mov eax, ebx
  [0xee, 0xec, 0xef, 0xed, 0x66, 0xef, 0x66, 0xed],
  NEXT_RANDOM,
  [0x89, 0xda, 0xc1, 0xea, 0x16], //       mov edx, ebx; shr edx, 22: the lowest 1024 ports, where the devices are
  [0x89, 0xd8, 0xee, 0xec],
))

/** Maps 511 GiB and writes and reads random addresses from 3 GiB on, and those of the interrupt controllers. */
export const hammeringMemory = (): Uint8Array => kernel(SEED, [
  0xbf, 0x08, 0xa0, 0x00, 0x00, //         mov edi, 0xa008: second entry of the boot page-directory-pointer table
  0xb8, 0x83, 0x00, 0x00, 0x40, //         mov eax, 1 GiB, present, writable, 1 GiB page
  0xba, 0x00, 0x00, 0x00, 0x40, //         mov edx, 1 GiB
  0xb9, 0xff, 0x01, 0x00, 0x00, //         mov ecx, 511
  0x48, 0x89, 0x07, //                  1: mov [rdi], rax
  0x48, 0x01, 0xd0, //                     add rax, rdx
  0x48, 0x83, 0xc7, 0x08, //               add rdi, 8
  0xff, 0xc9, 0x75, 0xf2, //               dec ecx; jnz 1b (14 bytes back)
  0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, //   mov rax, cr3; mov cr3, rax
], forever(
  NEXT_RANDOM,
  [0x89, 0xd9, 0xc1, 0xc1, 0x0d], //       mov ecx, ebx; rol ecx, 13
  [0x89, 0xd8, 0xc1, 0xe8, 0x02], //       mov eax, ebx; shr eax, 2
  [0x0d, 0x00, 0x00, 0x00, 0xc0], //       or eax, 3 GiB
  [0x89, 0x08, 0x8b, 0x08, 0x88, 0x08], // mov [rax], ecx; mov ecx, [rax]; mov [rax], cl
  [0x48, 0x8b, 0x10, 0x48, 0x89, 0x10], // mov rdx, [rax]; mov [rax], rdx
  [0x89, 0xd8, 0xc1, 0xe8, 0x14], //       mov eax, ebx; shr eax, 20
  [0x25, 0xf0, 0x0f, 0x00, 0x00], //       and eax, 0xff0
  [0x0d, 0x00, 0x00, 0xe0, 0xfe], //       or eax, the local APIC
  [0x89, 0xd9, 0x89, 0x08, 0x8b, 0x08], // mov ecx, ebx; mov [rax], ecx; mov ecx, [rax]
  [0x89, 0xd8, 0xc1, 0xe8, 0x1b], //       mov eax, ebx; shr eax, 27
  [0x0d, 0x00, 0x00, 0xc0, 0xfe], //       or eax, the IOAPIC
  [0x89, 0xd9, 0x89, 0x08, 0x8b, 0x08],
))

/** 64 KiB of random bytes, the same for the same seed (xorshift). */
export function randomCode(seed: number): Uint8Array {
  let state = Math.imul(seed, 0x9e37_79b1) || 1
  return kernel(Array.from({ length: 0x1_0000 }, () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state & 0xff
  }))
}

/** Arguments of a machine with such a guest; the file is written into `folder`. */
export function bareMachine(folder: string, image: Uint8Array, args: readonly string[] = ['-serial', 'stdio']): string[] {
  const file = path.join(folder, 'guest.elf')
  fs.writeFileSync(file, image)
  return ['-machine', 'microvm', '-accel', ACCELERATOR, '-m', '128', '-kernel', file, ...args]
}
