import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { spawnSync } from 'node:child_process'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { GuestMemory } from '../address-space/guest-memory.ts'
import { MesovirtError } from '../host/errors.ts'
import { loadKernel } from './load-kernel.ts'
import { bzImage, elf, MIB, testMemory } from './synthetic-kernels.ts'

const ZERO_PAGE = 0x7000
const COMMAND_LINE = 0x2_0000
const START_INFO = 0x6000

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-boot-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))

function load(kernel: string | Uint8Array, more: Partial<Parameters<typeof loadKernel>[0]> = {}) {
  const ramLow = more.ramLow ?? 32 * MIB
  const memory = more.memory ?? testMemory(ramLow)
  const state = loadKernel({ memory, ramLow, ramHigh: 0, kernel, commandLine: 'console=ttyS0', cpus: 1, ...more })
  return { memory, state }
}

function failure(action: () => unknown): MesovirtError {
  try {
    action()
  } catch (error) {
    if (error instanceof MesovirtError) return error
    throw error
  }
  throw new Error('did not fail')
}

function e820(memory: GuestMemory): (readonly [number, number, number])[] {
  return Array.from({ length: memory.readU8(ZERO_PAGE + 0x1e8) }, (_, index) => {
    const at = ZERO_PAGE + 0x2d0 + index * 20
    return [Number(memory.readU64(at)), Number(memory.readU64(at + 8)), memory.readU32(at + 16)] as const
  })
}

/** A bzImage whose payload begins 0x400 bytes into its protected-mode part. */
function packed(payload: Uint8Array, shape: Parameters<typeof bzImage>[0] = {}): Uint8Array {
  const code = new Uint8Array(Math.ceil((0x400 + payload.length) / 16) * 16)
  code.set(payload, 0x400)
  const image = bzImage({ ...shape, code })
  const view = new DataView(image.buffer)
  view.setUint32(0x248, 0x400, true)
  view.setUint32(0x24c, payload.length, true)
  return image
}

describe('a bzImage that is unpacked on the host', () => {
  const code = Uint8Array.from({ length: 0x900 }, (_, index) => index * 7 & 0xff)

  it('is entered as the ELF kernel inside, at its linked address, with the zero page', () => {
    const { memory, state } = load(packed(gzipSync(elf({ code }))), { unpack: true })
    expect(state).toMatchObject({ protocol: 'linux64', format: 'elf', entry: 16 * MIB, zeroPage: ZERO_PAGE })
    expect(memory.read(16 * MIB, code.length)).toEqual(code)
  })

  it('by its PVH entry where it has one, with the limits of the bzImage', () => {
    const image = packed(gzipSync(elf({ code, pvhEntry: 16 * MIB + 0x100 })), { cmdlineSize: 10 })
    expect(load(image, { unpack: true, commandLine: '0123456789' }).state).toMatchObject({ protocol: 'pvh32', entry: 16 * MIB + 0x100 })
    expect(failure(() => load(image, { unpack: true, commandLine: '01234567890' })).code).toBe('COMMAND_LINE_TOO_LONG')
  })

  it('is left to the guest unless asked for, and where its compression is not known here', () => {
    expect(load(packed(gzipSync(elf()))).state).toMatchObject({ format: 'bzImage', entry: 0x10_0200 })
    const unknown = new Uint8Array(64).fill(7)
    new DataView(unknown.buffer).setUint32(60, 1000, true)
    expect(load(packed(unknown), { unpack: true }).state).toMatchObject({ format: 'bzImage', entry: 0x10_0200 })
  })

  it('is an error where its payload is damaged', () => {
    expect(failure(() => load(packed(gzipSync(elf()).subarray(0, 50)), { unpack: true })).code).toBe('KERNEL_DAMAGED')
  })
})

describe('a bzImage', () => {
  it('goes to 1 MiB and is entered 0x200 bytes in, in long mode, with the zero page in RSI', () => {
    const code = Uint8Array.from({ length: 0x1000 }, (_, index) => index & 0xff)
    const { memory, state } = load(bzImage({ code }))
    expect(memory.read(MIB, code.length)).toEqual(code)
    expect(memory.readU8(MIB + code.length)).toBe(0xee)
    expect(state).toMatchObject({
      protocol: 'linux64', format: 'bzImage', entry: 0x10_0200, rip: 0x10_0200, zeroPage: 0x7000, rsi: 0x7000, rsp: 0x8ff0, rbp: 0x8ff0, rbx: 0, rflags: 2,
      cr0: 0x8000_0011, cr3: 0x9000, cr4: 0x20, efer: 0x500, gdt: { base: 0x500, limit: 31 }, idt: { base: 0x520, limit: 7 }, fcw: 0x37f, mxcsr: 0x1f80,
    })
    expect(state.cs).toEqual({ selector: 0x10, base: 0, limit: 0xffff_ffff, attributes: 0xa09b })
    expect(state.data).toEqual({ selector: 0x18, base: 0, limit: 0xffff_ffff, attributes: 0xc093 })
  })

  it('finds the descriptors and an identity map of the first GiB at their places', () => {
    const { memory } = load(bzImage())
    expect([0, 1, 2, 3].map((index) => memory.readU64(0x500 + index * 8))).toEqual([0n, 0n, 0x00af_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn])
    expect(memory.readU64(0x520)).toBe(0n)
    expect(memory.readU64(0x9000)).toBe(0xa003n)
    expect(memory.readU64(0x9008)).toBe(0n)
    expect(memory.readU64(0xa000)).toBe(0xb003n)
    expect(memory.readU64(0xb000)).toBe(0x83n)
    expect(memory.readU64(0xb000 + 511 * 8)).toBe(0x3fe0_0083n)
  })

  it('gets its setup header back in the zero page, with the loader fields filled in and the rest zero', () => {
    const image = bzImage()
    const { memory } = load(image, { acpiRsdp: 0xe_0000 })
    const page = memory.read(ZERO_PAGE, 4096)
    expect(page.slice(0x202, 0x210)).toEqual(image.slice(0x202, 0x210))
    expect(memory.readU8(ZERO_PAGE + 0x210)).toBe(0xff)
    expect(memory.readU32(ZERO_PAGE + 0x228)).toBe(COMMAND_LINE)
    expect(memory.readU64(ZERO_PAGE + 0x250)).toBe(0n)
    expect(memory.readU32(ZERO_PAGE + 0x260)).toBe(2 * MIB)
    expect(memory.readU64(ZERO_PAGE + 0x070)).toBe(0xe_0000n)
    expect(page.slice(0x26c, 0x2d0).every((byte) => byte === 0)).toBe(true)
    expect(page[0x1ef]).toBe(0)
    expect(new TextDecoder().decode(memory.read(COMMAND_LINE, 14))).toBe('console=ttyS0\0')
  })

  it('is told the memory map, with RAM above 4 GiB when there is some', () => {
    const low = [[0, 0x9_fc00, 1], [0x9_fc00, 0x400, 2], [0xd_0000, 0x3_0000, 2], [MIB, 31 * MIB, 1]]
    expect(e820(load(bzImage()).memory)).toEqual(low)
    expect(e820(load(bzImage(), { ramHigh: 5 * 1024 * MIB }).memory)).toEqual([...low, [0x1_0000_0000, 5 * 1024 * MIB, 1]])
  })

  it('with setup_sects 0 has 4 of them', () => {
    const code = new Uint8Array(0x1000).fill(0x42)
    expect(load(bzImage({ setupSects: 0, code })).memory.readU8(MIB)).toBe(0x42)
  })

  it('leaves its signature in the file', () => {
    const image = bzImage()
    const signed = new Uint8Array(image.length + 64)
    signed.set(image)
    signed.fill(0x55, image.length)
    expect(load(signed).memory.readU8(MIB + 0x1000)).toBe(0xee)
  })

  it('reserves init_size behind the preferred address for unpacking', () => {
    expect(failure(() => load(bzImage({ initSize: 17 * MIB }))).code).toBe('KERNEL_TOO_BIG')
    expect(load(bzImage({ initSize: 16 * MIB })).state.entry).toBe(0x10_0200)
  })

  it.each([
    ['a protocol older than 2.02', bzImage({ version: 0x201 }), 'KERNEL_UNSUPPORTED'],
    ['no 64-bit entry', change(bzImage(), 0x236, 0), 'KERNEL_UNSUPPORTED'],
    ['a zImage', change(bzImage(), 0x211, 0), 'KERNEL_UNSUPPORTED'],
    ['a cut-off end', bzImage().slice(0, -16), 'KERNEL_DAMAGED'],
    ['a header that runs into the next field', change(bzImage(), 0x201, 0xff), 'KERNEL_DAMAGED'],
    ['too many setup sectors', change(bzImage(), 0x1f1, 200), 'KERNEL_DAMAGED'],
    ['a load address below 1 MiB', change(bzImage(), 0x216, 0), 'KERNEL_DAMAGED'],
    ['an alignment that is no power of two', bzImage({ alignment: 3 }), 'KERNEL_DAMAGED'],
  ])('with %s is refused', (_what, image, code) => {
    expect(failure(() => load(image)).code).toBe(code)
  })
})

describe('an ELF kernel', () => {
  it('with a PVH note is entered there in 32-bit mode, with the start info in EBX', () => {
    const { memory, state } = load(elf({ pvhEntry: 16 * MIB + 0x40 }), { initrd: new Uint8Array(5000).fill(1), acpiRsdp: 0xe_0000 })
    expect(state).toMatchObject({ protocol: 'pvh32', format: 'elf', entry: 16 * MIB + 0x40, rbx: START_INFO, startInfo: START_INFO, cr0: 0x11, cr3: 0, cr4: 0, efer: 0, rflags: 2 })
    expect(state.zeroPage).toBeUndefined()
    expect(state.cs.attributes).toBe(0xc09b)
    expect(state.tr).toEqual({ selector: 8, base: 0, limit: 0x67, attributes: 0x8b })
    expect(memory.readU64(0x508)).toBe(0x0000_8b00_0000_0067n)
    expect(memory.readU32(START_INFO)).toBe(0x336e_c578)
    expect([memory.readU32(START_INFO + 4), memory.readU32(START_INFO + 8), memory.readU32(START_INFO + 12)]).toEqual([1, 0, 1])
    const module = Number(memory.readU64(START_INFO + 16))
    expect(memory.readU64(START_INFO + 24)).toBe(BigInt(COMMAND_LINE))
    expect(memory.readU64(START_INFO + 32)).toBe(0xe_0000n)
    const map = Number(memory.readU64(START_INFO + 40))
    expect(memory.readU32(START_INFO + 48)).toBe(4)
    expect([memory.readU64(map + 72), memory.readU64(map + 80), memory.readU64(map + 88)]).toEqual([BigInt(MIB), BigInt(31 * MIB), 1n])
    const initrd = Number(memory.readU64(module))
    expect(memory.readU64(module + 8)).toBe(5000n)
    expect(memory.read(initrd, 5000).every((byte) => byte === 1)).toBe(true)
  })

  it('without a PVH note is entered at its physical entry with a zero page', () => {
    const { memory, state } = load(elf({ entry: BigInt(16 * MIB + 0x10) }))
    expect(state).toMatchObject({ protocol: 'linux64', format: 'elf', entry: 16 * MIB + 0x10, rsi: 0x7000 })
    expect(memory.readU32(ZERO_PAGE + 0x202)).toBe(0x5372_6448)
    expect(memory.readU8(ZERO_PAGE + 0x210)).toBe(0xff)
    expect(memory.readU32(ZERO_PAGE + 0x228)).toBe(COMMAND_LINE)
  })

  it('may name a virtual entry', () => {
    expect(load(elf({ entry: 0xffff_ffff_8100_0020n })).state.entry).toBe(16 * MIB + 0x20)
  })

  it('has its BSS cleared and nothing behind it touched', () => {
    const code = new Uint8Array(0x800).fill(0x90)
    const { memory } = load(elf({ code, bss: 0x400 }))
    expect(memory.read(16 * MIB, 0x800)).toEqual(code)
    expect(memory.read(16 * MIB + 0x800, 0x400).every((byte) => byte === 0)).toBe(true)
    expect(memory.readU8(16 * MIB + 0xc00)).toBe(0xee)
  })

  it.each([
    ['another machine', change(elf(), 18, 40), 'KERNEL_UNSUPPORTED'],
    ['32-bit class', change(elf(), 4, 1), 'KERNEL_UNSUPPORTED'],
    ['object type', change(elf(), 16, 1), 'KERNEL_UNSUPPORTED'],
    ['no program headers', change(elf(), 56, 0), 'KERNEL_DAMAGED'],
    ['a program header table beyond the end', change(elf(), 34, 0xff), 'KERNEL_DAMAGED'],
    ['a segment beyond the end', elf().slice(0, 0x900), 'KERNEL_DAMAGED'],
    ['a segment below 1 MiB', elf({ paddr: 0x7000n }), 'KERNEL_UNSUPPORTED'],
    ['a segment above 4 GiB', elf({ paddr: 0x2_0000_0000n }), 'KERNEL_DAMAGED'],
    ['a segment behind the end of memory', elf({ paddr: BigInt(64 * MIB), entry: BigInt(64 * MIB) }), 'KERNEL_TOO_BIG'],
    ['an entry outside its segments', elf({ entry: 0x123n }), 'KERNEL_DAMAGED'],
    ['a PVH entry outside its segments', elf({ pvhEntry: 0x123 }), 'KERNEL_DAMAGED'],
  ])('with %s is refused', (_what, image, code) => {
    expect(failure(() => load(image)).code).toBe(code)
  })
})

describe('other files', () => {
  it('without a known magic are flat kernels at 16 MiB', () => {
    const image = new Uint8Array(3000).fill(0x90)
    const { memory, state } = load(image)
    expect(state).toMatchObject({ protocol: 'linux64', format: 'flat', entry: 16 * MIB })
    expect(memory.read(16 * MIB, 3000)).toEqual(image)
  })

  it.each([
    ['nothing', new Uint8Array(0), 'KERNEL_DAMAGED'],
    ['a few bytes', new Uint8Array(100), 'KERNEL_DAMAGED'],
    ['zeros', new Uint8Array(1000), 'KERNEL_UNSUPPORTED'],
    ['a text', new TextEncoder().encode('Größe: no kernel at all.\n'.repeat(40)), 'KERNEL_UNSUPPORTED'],
    ['gzip', Uint8Array.from([0x1f, 0x8b, ...new Uint8Array(1000).fill(8)]), 'KERNEL_UNSUPPORTED'],
    ['an initrd', Uint8Array.from([...new TextEncoder().encode('070701'), ...new Uint8Array(1000).fill(48)]), 'KERNEL_UNSUPPORTED'],
    ['more than memory holds', new Uint8Array(17 * MIB).fill(0x90), 'KERNEL_TOO_BIG'],
  ])('that hold %s are refused', (_what, image, code) => {
    expect(failure(() => load(image)).code).toBe(code)
  })

  it('that are missing, a folder or a pipe give an error that names the path', () => {
    const pipe = path.join(folder, 'pipe')
    spawnSync('mkfifo', [pipe])
    for (const file of [path.join(folder, 'missing'), folder, pipe]) {
      const error = failure(() => load(file))
      expect(error.code).toBe('KERNEL_UNREADABLE')
      expect(error.message).toContain(file)
      expect(error.message).not.toContain('\n')
    }
  })
})

describe('an initrd', () => {
  it('from a file lands page-aligned as high as it may, in shared memory too', () => {
    const file = path.join(folder, 'initrd')
    const content = Uint8Array.from({ length: 70_001 }, (_, index) => index % 251)
    fs.writeFileSync(file, content)
    const kernel = path.join(folder, 'kernel')
    fs.writeFileSync(kernel, bzImage())
    const bytes = new Uint8Array(new SharedArrayBuffer(32 * MIB))
    const memory = new GuestMemory([{ guestAddress: 0, size: bytes.length, bytes, hostOffset: 0 }])
    load(kernel, { memory, initrd: file })
    const address = memory.readU32(ZERO_PAGE + 0x218)
    expect(address).toBe(32 * MIB - 18 * 4096)
    expect(memory.readU32(ZERO_PAGE + 0x21c)).toBe(70_001)
    expect(Buffer.from(memory.read(address, 70_001)).equals(Buffer.from(content))).toBe(true)
  })

  it('stays below what the kernel allows', () => {
    const { memory } = load(bzImage({ initrdAddrMax: 0x17f_ffff }), { initrd: new Uint8Array(4096) })
    expect(memory.readU32(ZERO_PAGE + 0x218)).toBe(0x17f_f000)
  })

  it('that would reach into the room the kernel unpacks into is refused', () => {
    const room = 32 * MIB - 18 * MIB
    expect(load(bzImage(), { initrd: new Uint8Array(room) }).memory.readU32(ZERO_PAGE + 0x218)).toBe(18 * MIB)
    const error = failure(() => load(bzImage(), { initrd: new Uint8Array(room + 1) }))
    expect(error.code).toBe('INITRD_TOO_BIG')
    expect(error.message).toContain(`${room} are free`)
    expect(failure(() => load(bzImage(), { initrd: new Uint8Array(40 * MIB) })).code).toBe('INITRD_TOO_BIG')
  })

  it('that is empty or missing is refused', () => {
    expect(failure(() => load(bzImage(), { initrd: new Uint8Array(0) })).code).toBe('INITRD_DAMAGED')
    expect(failure(() => load(bzImage(), { initrd: path.join(folder, 'none') })).code).toBe('INITRD_UNREADABLE')
  })
})

describe('the command line', () => {
  it('may be as long as the kernel says, in bytes', () => {
    const kernel = bzImage({ cmdlineSize: 20 })
    expect(load(kernel, { commandLine: 'x'.repeat(20) }).memory.readU8(COMMAND_LINE + 20)).toBe(0)
    expect(failure(() => load(kernel, { commandLine: 'x'.repeat(21) })).code).toBe('COMMAND_LINE_TOO_LONG')
    expect(failure(() => load(kernel, { commandLine: 'ö'.repeat(11) })).code).toBe('COMMAND_LINE_TOO_LONG')
  })

  it('holds no NUL', () => {
    expect(failure(() => load(bzImage(), { commandLine: 'a\0b' })).code).toBe('COMMAND_LINE_INVALID')
  })
})

describe('a kernel that jumps to the reset vector', () => {
  it('finds code there that pulls the reset line of port 0x64 and halts', () => {
    const { memory } = load(bzImage())
    expect(memory.read(0xf_fff0, 7)).toEqual(Uint8Array.of(0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd))
  })
})

describe('a second load into the same memory', () => {
  it('gives the same bytes as the first, as a reset needs', () => {
    const { memory, state } = load(elf({ pvhEntry: 16 * MIB }), { initrd: new Uint8Array(100).fill(3) })
    const before = Buffer.from(memory.read(0, 32 * MIB))
    memory.fill(16 * MIB, 0x1000, 0x77)
    memory.fill(0x9_fc00, 0x400, 0x77)
    const again = load(elf({ pvhEntry: 16 * MIB }), { memory, initrd: new Uint8Array(100).fill(3) })
    expect(again.state).toEqual(state)
    memory.fill(16 * MIB + 0xc00, 0x400, 0xee)
    expect(Buffer.from(memory.read(0, 32 * MIB)).equals(before)).toBe(true)
  })
})

describe('a damaged kernel', () => {
  const images = [bzImage(), bzImage({ version: 0x203 }), elf(), elf({ pvhEntry: 16 * MIB })]
  const edge = fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)
  // Where the headers and notes are: elsewhere a change is only other code.
  const mutation = fc.record({ image: fc.nat(images.length - 1), at: fc.oneof(fc.nat(0x80), fc.integer({ min: 0x1f0, max: 0x26c }), fc.nat(0x1400)), values: fc.array(edge, { minLength: 1, maxLength: 8 }) })

  it('either loads inside memory or gives a MesovirtError', () => {
    const ramLow = 20 * MIB
    const memory = testMemory(ramLow)
    fc.assert(fc.property(fc.array(mutation, { minLength: 1, maxLength: 3 }), fc.option(fc.nat(0x1400)), (mutations, cut) => {
      const image = (images[mutations[0]?.image ?? 0] as Uint8Array).slice()
      for (const { at, values } of mutations) values.forEach((value, index) => { if (at + index < image.length) image[at + index] = value })
      try {
        const state = loadKernel({ memory, ramLow, ramHigh: 0, kernel: cut === null ? image : image.slice(0, cut), initrd: new Uint8Array(4096), commandLine: '', cpus: 2 })
        expect(state.entry).toBeGreaterThanOrEqual(MIB)
        expect(state.entry).toBeLessThan(ramLow)
      } catch (error) {
        if (!(error instanceof MesovirtError)) throw error
        expect(error.code).toMatch(/^(KERNEL|INITRD)_(DAMAGED|UNSUPPORTED|TOO_BIG)$/)
        expect(error.message).not.toContain('\n')
      }
    }), { numRuns: 3000, interruptAfterTimeLimit: 10_000 })
  })
})

function change(image: Uint8Array, at: number, value: number): Uint8Array {
  const copy = image.slice()
  copy[at] = value
  return copy
}
