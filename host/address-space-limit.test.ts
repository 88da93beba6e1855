import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { addressSpaceLeft, checkThreadRoom } from './address-space-limit.ts'

const MIB = 2 ** 20

function host(limit: string): string {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-limit-'))
  fs.mkdirSync(path.join(root, 'proc/self'), { recursive: true })
  fs.writeFileSync(path.join(root, 'proc/self/limits'), [
    'Limit                     Soft Limit           Hard Limit           Units     ',
    `Max address space         ${limit.padEnd(20)} unlimited            bytes     `, ''].join('\n'))
  fs.writeFileSync(path.join(root, 'proc/self/status'), 'VmPeak:\t    9999 kB\nVmSize:\t    1024 kB\n')
  return root
}

test('a limit leaves what is not used yet; without one there is no end', () => {
  expect(addressSpaceLeft(host(String(100 * MIB)))).toBe(99 * MIB)
  expect(addressSpaceLeft(host('5'))).toBe(0)
  expect(addressSpaceLeft(host('unlimited'))).toBe(Infinity)
  expect(addressSpaceLeft('/no/such/place')).toBe(Infinity)
})

test('threads that cannot be started are refused with figures', () => {
  expect(() => checkThreadRoom(254)).not.toThrow()
  expect(() => checkThreadRoom(2, 2000 * MIB)).not.toThrow()
  expect(() => checkThreadRoom(4, 2000 * MIB)).toThrow(
    "the limit of the address space (ulimit -v) leaves 2000 MiB beside the guest's memory, and its threads need 3072 MiB; raise it, or use a smaller -m or -smp")
})
