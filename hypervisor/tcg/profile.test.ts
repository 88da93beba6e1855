import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { GuestProfile, SymbolTable } from './profile.ts'

const PROFILE_ON = 0x10178, PROFILE_COUNT = 0x1017c, RING = 0x1c000, RING_SLOTS = 1024
const MAP = `ffffffff81000000 T _text
ffffffff81000100 t first
ffffffff81000200 D data_not_code
ffffffff81000300 W second\t[module]
0000000000000000 A absolute
not a symbol
`

describe('symbols of a guest kernel', () => {
  it('name the function that an address is in', () => {
    const symbols = new SymbolTable(MAP, 'System.map')
    expect([0xffff_ffff_8100_0000n, 0xffff_ffff_8100_00ffn, 0xffff_ffff_8100_0100n, 0xffff_ffff_8100_0250n, 0xffff_ffff_ffff_ffffn].map((address) => symbols.nameOf(address)))
      .toEqual(['_text', '_text', 'first', 'first', 'second'])
    expect(symbols.nameOf(0xffff_ffff_80ff_ffffn)).toBe('(kernel, no symbol)')
    expect(symbols.nameOf(0x40_1000n)).toBe('(user space)')
  })

  it('that are none, or not there, are an error that says so', () => {
    expect(() => new SymbolTable('hello\n', 'x')).toThrow(/symbols=x holds no symbol; give a System.map/)
    expect(() => SymbolTable.read('/no/such/System.map')).toThrow(/symbols=\/no\/such\/System.map cannot be read .*; check the path/)
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'mv-')), 'System.map')
    fs.writeFileSync(file, MAP)
    expect(SymbolTable.read(file).nameOf(0xffff_ffff_8100_0300n)).toBe('second')
    fs.rmSync(path.dirname(file), { recursive: true })
  })
})

describe('a profile', () => {
  it('counts samples by symbol, and goes on when the ring has turned round', () => {
    const memory = new SharedArrayBuffer(0x20000)
    const view = new DataView(memory)
    const profile = new GuestProfile(memory, new SymbolTable(MAP, 'System.map'))
    expect(view.getUint32(PROFILE_ON, true)).toBe(1)
    const sample = (address: bigint): void => {
      const count = view.getUint32(PROFILE_COUNT, true)
      view.setBigUint64(RING + count % RING_SLOTS * 8, address, true)
      view.setUint32(PROFILE_COUNT, count + 1, true)
    }
    for (let count = 0; count < 3; count++) sample(0xffff_ffff_8100_0110n)
    sample(0x1234n)
    expect(profile.top(5)).toEqual([{ name: 'first', samples: 3, percent: 75 }, { name: '(user space)', samples: 1, percent: 25 }])
    for (let count = 0; count < 3 * RING_SLOTS; count++) sample(0xffff_ffff_8100_0310n)
    expect(profile.top(1)).toMatchObject([{ name: 'second', samples: RING_SLOTS }])
    profile.stop()
  })
})
