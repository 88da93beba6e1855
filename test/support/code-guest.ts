/** Guests that make code: machine code by hand, as kernels of a few instructions in 64-bit mode, loaded at 16 MiB. */
import { elf } from '../../boot-loader/synthetic-kernels.ts'

export const MIB = 2 ** 20
export const ENTRY = 16 * MIB
/** Where results go. */
export const PORT = 0x80

export function dword(value: number): number[] {
  return [value & 255, value >> 8 & 255, value >> 16 & 255, value >>> 24]
}

const JB = 0x72, JMP = 0xeb

/** Bytes of a loop: `body`, then a conditional jump back to its beginning. */
function again(opcode: number, body: readonly number[]): number[] {
  const distance = -(body.length + 2)
  return distance >= -128 ? [...body, opcode, distance & 0xff] : opcode === JMP ? [...body, 0xe9, ...dword(distance - 3)] : [...body, 0x0f, opcode + 0x10, ...dword(distance - 4)]
}

export const CALLS = 4

/**
 * Writes a new function at every `step` bytes of [from, to), each returning its address, and calls it 4 times; then writes the sum of what they returned to the
 * port, and begins again.
 */
export function makingFunctions(from: number, to: number, step: number): Uint8Array {
  const body = [
    0xc6, 0x07, 0xb8, //               mov byte [rdi], 0xb8         mov eax,
    0x89, 0x7f, 0x01, //               mov [rdi+1], edi                      address
    0xc6, 0x47, 0x05, 0xc3, //         mov byte [rdi+5], 0xc3       ret
    ...Array.from({ length: CALLS }, () => [0xff, 0xd7, 0x01, 0xc3]).flat(), // call rdi; add ebx, eax
    0x81, 0xc7, ...dword(step), //     add edi, step
    0x81, 0xff, ...dword(to), //       cmp edi, to
  ]
  return elf({ code: Uint8Array.from(again(JMP, [
    0xbf, ...dword(from), //           mov edi, from
    0x31, 0xdb, //                     xor ebx, ebx
    ...again(JB, body),
    0x89, 0xd8, 0xe7, PORT, //         mov eax, ebx; out 0x80, eax
  ])) })
}

/** What makingFunctions says. */
export function sumOfFunctions(from: number, to: number, step: number): number {
  let sum = 0
  for (let at = from; at < to; at += step) sum = sum + at * CALLS >>> 0
  return sum
}

/** A loop of `rounds` that counts in the page it runs on, `distance` bytes behind its own first instruction; then the count goes to the port, and it begins again. */
export function countingBeside(distance: number, rounds: number): Uint8Array {
  const to = ENTRY + distance
  return elf({ code: Uint8Array.from(again(JMP, [
    0xb9, ...dword(rounds), //                             mov ecx, rounds
    0x83, 0x04, 0x25, ...dword(to), 1, //               1: add dword [to], 1
    0xff, 0xc9, //                                         dec ecx
    0x75, 0xf4, //                                         jnz 1b (12 bytes back)
    0x8b, 0x04, 0x25, ...dword(to), 0xe7, PORT, //         mov eax, [to]; out 0x80, eax
    0xc7, 0x04, 0x25, ...dword(to), ...dword(0), //        mov dword [to], 0
  ])) })
}
