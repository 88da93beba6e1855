import fs from 'node:fs'
import { expect, it } from 'vitest'
import { canLoad, describeWhere } from '../test/support/optional.ts'
import { mappings } from '../test/support/mappings.ts'
import { SharedMemory } from './shared-memory.ts'

describeWhere(process.platform === 'linux' && canLoad('koffi'), 'Linux with the package koffi (npm install koffi)', 'shared memory', () => {
  it('is the same through its descriptor, keeps its size, and is gone when it is closed', () => {
    const memory = new SharedMemory('mesovirt-test', 8192)
    memory.bytes[5] = 7
    const seen = Buffer.alloc(1)
    fs.readSync(memory.fd, seen, 0, 1, 5)
    expect(seen[0]).toBe(7)
    fs.writeSync(memory.fd, Uint8Array.of(9), 0, 1, 8191)
    expect(memory.bytes[8191]).toBe(9)
    expect(() => fs.ftruncateSync(memory.fd, 4096)).toThrow(/EPERM/)
    const isMapped = () => mappings().some(({ file }) => file.includes('mesovirt-test'))
    expect(isMapped()).toBe(true)
    memory.close()
    memory.close()
    expect(isMapped()).toBe(false)
  })
})
