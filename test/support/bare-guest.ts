/**
 * Guests of a few instructions, for what needs a machine and no operating system. Each is an ELF kernel in 64-bit mode; the bytes come from a few
 * functions named after the instructions (Intel SDM volume 2), so that no assembler is needed.
 */
import fs from 'node:fs'
import path from 'node:path'
import { elf } from '../../boot-loader/synthetic-kernels.ts'

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

/** Arguments of a machine with such a guest; the file is written into `folder`. */
export function bareMachine(folder: string, image: Uint8Array, args: readonly string[] = ['-serial', 'stdio']): string[] {
  const file = path.join(folder, 'guest.elf')
  fs.writeFileSync(file, image)
  return ['-machine', 'microvm', '-accel', 'tcg', '-m', '128', '-kernel', file, ...args]
}
