import { beforeEach, expect, test } from 'vitest'
import { registersText } from '../registers-text.ts'
import { readLinear, shownRegisters, translateLinear, writeEntryState } from './debug.ts'

// Offsets of core/layout.ts, declared again.
const GPR = 0, RIP = 144, SEG = 192, SEG_SIZE = 32, SEG_LIMIT = 8, SEG_ATTR = 12, CS = 1, DS = 3, CR0 = 480, CR3 = 496, CR4 = 504, EFER = 512, EXIT_DATA = 1560
const CPU = 0x100
const RAM_SIZE = 0x10000
const PAGING = 0x8000_0001n, PAE = 0x20n, PSE = 0x10n, LONG = 0x500n

let view: DataView
let bytes: Uint8Array
let ram: [{ guestAddress: number; size: number; hostOffset: number; bytes: Uint8Array }]

const set = (place: number, value: bigint) => view.setBigUint64(CPU + place, value, true)
const entry64 = (at: number, value: bigint) => new DataView(bytes.buffer).setBigUint64(at, value, true)
const entry32 = (at: number, value: number) => new DataView(bytes.buffer).setUint32(at, value, true)

beforeEach(() => {
  view = new DataView(new ArrayBuffer(0x4000))
  bytes = new Uint8Array(RAM_SIZE)
  ram = [{ guestAddress: 0, size: RAM_SIZE, hostOffset: 0, bytes }]
})

test('registers have the names and widths that QEMU prints', () => {
  set(GPR, 0x1234n)
  set(GPR + 3 * 8, 0xdead_beefn)
  set(RIP, 0xffff_ffff_8100_0000n)
  set(EXIT_DATA, 0x246n)
  const text = registersText(shownRegisters(view, CPU))
  expect(text).toContain('CPU#0\nRAX=0000000000001234 RBX=00000000deadbeef RCX=')
  expect(text).toContain('RIP=ffffffff81000000 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0')
  expect(text).toMatch(/^CR0=00000000 CR2=0{16} CR3=0{16} CR4=00000000$/m)
  expect(text).toMatch(/^XMM14=0{16} 0{16} XMM15=0{16} 0{16}$/m)
})

test('entry state: segments get the attributes of a descriptor, the rest its place', () => {
  const segment = (selector: number, attributes: number) => ({ selector, base: 0, limit: 0xffff_ffff, attributes })
  writeEntryState(view, CPU, {
    rip: 0x100_0000, rsp: 0x8ff0, rbp: 0x8ff0, rbx: 0, rsi: 0x7000, rflags: 2, cr0: 0x8000_0011, cr3: 0x9000, cr4: 0x20, efer: 0x500,
    gdt: { base: 0x500, limit: 31 }, idt: { base: 0x520, limit: 7 }, cs: segment(0x10, 0xa09b), data: segment(0x18, 0xc093), tr: segment(0, 0x8b), ldtr: segment(0, 0x82),
    fcw: 0x37f, mxcsr: 0x1f80,
  })
  expect(view.getUint32(CPU + SEG + CS * SEG_SIZE + SEG_ATTR, true)).toBe(0x00a0_9b00)
  expect(view.getUint32(CPU + SEG + DS * SEG_SIZE + SEG_ATTR, true)).toBe(0x00c0_9300)
  expect(view.getUint32(CPU + SEG + DS * SEG_SIZE + SEG_LIMIT, true)).toBe(0xffff_ffff)
  expect(view.getBigUint64(CPU + GPR + 6 * 8, true)).toBe(0x7000n)
  expect(registersText(shownRegisters(view, CPU))).toContain('CS =0010 0000000000000000 ffffffff 00a09b00 DPL=0 CS64')
})

test('without paging a linear address is physical', () => {
  expect(translateLinear(view, CPU, ram, 0x1234n)).toBe(0x1234n)
})

test('4-level tables: 4 KiB, 2 MiB and 1 GiB pages, and holes', () => {
  set(CR0, PAGING)
  set(CR4, PAE)
  set(EFER, LONG)
  set(CR3, 0x1000n)
  entry64(0x1000 + 511 * 8, 0x2003n) // top half
  entry64(0x2000 + 510 * 8, 0x3003n)
  entry64(0x2000 + 511 * 8, 0x4000_0083n) // 1 GiB page
  entry64(0x3000, 0x4003n)
  entry64(0x3000 + 8, 0x60_0083n) // 2 MiB page
  entry64(0x4000 + 5 * 8, 0x8000_0000_0000_7003n) // NX
  expect(translateLinear(view, CPU, ram, 0xffff_ffff_8000_5678n)).toBe(0x7678n)
  expect(translateLinear(view, CPU, ram, 0xffff_ffff_8023_4567n)).toBe(0x63_4567n)
  expect(translateLinear(view, CPU, ram, 0xffff_ffff_c123_4567n)).toBe(0x4123_4567n)
  expect(translateLinear(view, CPU, ram, 0xffff_ffff_8000_6000n)).toBeUndefined()
  expect(translateLinear(view, CPU, ram, 0x1000n)).toBeUndefined()
})

test('PAE tables without long mode, and 32-bit tables with 4 MiB pages', () => {
  set(CR0, PAGING)
  set(CR4, PAE)
  set(CR3, 0x1020n) // 32-byte aligned
  entry64(0x1020 + 3 * 8, 0x2001n)
  entry64(0x2000, 0x3003n)
  entry64(0x3000, 0x9003n)
  expect(translateLinear(view, CPU, ram, 0xc000_0abcn)).toBe(0x9abcn)

  set(CR4, PSE)
  set(CR3, 0x5000n)
  entry32(0x5000 + 4, 0x6003)
  entry32(0x6000, 0xa003)
  entry32(0x5000 + 8, 0x40_0083)
  expect(translateLinear(view, CPU, ram, 0x40_0010n)).toBe(0xa010n)
  expect(translateLinear(view, CPU, ram, 0x80_1234n)).toBe(0x40_1234n)
})

test('a read crosses pages that are not neighbours, and stops at a hole with an error', () => {
  set(CR0, PAGING)
  set(CR4, PSE)
  set(CR3, 0x5000n)
  entry32(0x5000, 0x6003)
  entry32(0x6000, 0xb003)
  entry32(0x6004, 0x9003)
  bytes.set([1, 2], 0xbffe)
  bytes.set([3, 4], 0x9000)
  expect([...readLinear(view, CPU, ram, 0xffen, 4)]).toEqual([1, 2, 3, 4])
  expect(() => readLinear(view, CPU, ram, 0x1ffen, 4)).toThrow(/0x2000 is not mapped/)
})

test('page tables that point outside RAM are holes', () => {
  set(CR0, PAGING)
  set(CR4, PAE)
  set(EFER, LONG)
  set(CR3, 0x000f_ffff_ffff_f000n)
  expect(translateLinear(view, CPU, ram, 0n)).toBeUndefined()
})
