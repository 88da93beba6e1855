/** The translator against the interpreter, side by side through the beginning of a kernel's boot. */
import { expect, inject, it } from 'vitest'
import { lockStep } from '../lock-step/machines.ts'

const guests = inject('guests')
const INSTRUCTIONS = 200_000_000n

it('200 million instructions of Linux leave the same registers, flags and counts after every slice, and the same RAM, translated at the fourth execution', () => {
  const { difference, ended, instructions, translated } = lockStep('dist/core.wasm', {
    kernel: guests.cloud.vmlinux, initrd: guests.cloud.initrd, commandLine: 'console=ttyS0 reboot=t', ram: 256 * 2 ** 20, shift: 1,
  }, INSTRUCTIONS, 4)
  expect(difference).toBeUndefined()
  expect(ended).toBe(false)
  expect(instructions).toBeGreaterThanOrEqual(INSTRUCTIONS)
  expect(Number(translated)).toBeGreaterThan(Number(instructions) * 0.8)
}, 900_000)
