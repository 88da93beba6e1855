import { constants } from 'node:os'
import { describe, expect, it } from 'vitest'
import { addressOf, checked, errnoName, ffi, koffiVersion, lastErrno, viewOf } from './ffi.ts'

describe('the door to native code', () => {
  it('loads once, after trying koffi out', () => {
    expect(ffi()).toBe(ffi())
    expect(koffiVersion()).toMatch(/^\d+\.\d+\.\d+/)
  })

  it('brings the errno of a failed call, and its name', () => {
    const bytes = new Uint8Array(1)
    expect(ffi().libc.read(-1, bytes, 1)).toBe(-1)
    expect(lastErrno()).toBe(constants.errno.EBADF)
    ffi().libc.read(-1, bytes, 1)
    expect(() => checked(-1, 'read of nothing')).toThrow('read of nothing failed: EBADF')
    expect(errnoName(22)).toBe('EINVAL')
    expect(errnoName(999)).toBe('errno 999')
  })

  it('sees shared memory at one address, as bytes and through a view of that address', () => {
    const bytes = new Uint8Array(new SharedArrayBuffer(4096))
    const view = new Uint8Array(viewOf(addressOf(bytes), 4096))
    bytes[100] = 0xab
    expect(view[100]).toBe(0xab)
    view[101] = 0xcd
    expect(bytes[101]).toBe(0xcd)
  })
})
