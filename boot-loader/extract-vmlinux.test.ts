import { spawnSync } from 'node:child_process'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { MesovirtError } from '../host/errors.ts'
import { extractVmlinux } from './extract-vmlinux.ts'

const elf = Uint8Array.from({ length: 100_000 }, (_, index) => index < 4 ? [0x7f, 0x45, 0x4c, 0x46][index] as number : index % 13)

/** A bzImage header of protocol 2.15 with one setup sector and the payload 0x40 bytes into the protected-mode part. */
function image(payload: Uint8Array, length = payload.length): Uint8Array {
  const bytes = new Uint8Array(2 * 512 + 0x40 + payload.length)
  const view = new DataView(bytes.buffer)
  view.setUint8(0x1f1, 1)
  view.setUint32(0x202, 0x5372_6448, true)
  view.setUint16(0x206, 0x20f, true)
  view.setUint32(0x248, 0x40, true)
  view.setUint32(0x24c, length, true)
  bytes.set(payload, 2 * 512 + 0x40)
  return bytes
}

function sized(packed: Uint8Array, size = elf.length): Uint8Array {
  const bytes = new Uint8Array(packed.length + 4)
  bytes.set(packed)
  new DataView(bytes.buffer).setUint32(packed.length, size, true)
  return bytes
}

function pack(tool: string, ...args: string[]): Uint8Array {
  const result = spawnSync(tool, args, { input: elf })
  if (result.status !== 0) throw new Error(`${tool} does not run; install Debian's xz-utils and lz4`)
  return result.stdout
}

function code(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof MesovirtError) return error.code
    throw error
  }
  return 'none'
}

describe('the ELF kernel in a bzImage', () => {
  it('is unpacked from gzip, lz4 and xz', () => {
    expect(Buffer.from(extractVmlinux(image(gzipSync(elf)))).equals(elf)).toBe(true)
    expect(Buffer.from(extractVmlinux(image(sized(pack('lz4', '-l', '-c'))))).equals(elf)).toBe(true)
    expect(Buffer.from(extractVmlinux(image(sized(pack('xz', '--check=crc32', '-c'))))).equals(elf)).toBe(true)
  })

  it('is taken as it is when it is not compressed', () => {
    expect(extractVmlinux(image(elf))).toEqual(elf)
  })

  it.each([
    ['no bzImage', elf, 'VMLINUX_NOT_FOUND'],
    ['an unknown compression of an absurd size', image(new Uint8Array(100).fill(0x77)), 'VMLINUX_DAMAGED'],
    ['an unknown compression of a believable size', image(sized(new Uint8Array(100).fill(7), 1000)), 'VMLINUX_NOT_FOUND'],
    ['a payload beyond the end', image(gzipSync(elf), 1_000_000), 'VMLINUX_DAMAGED'],
    ['a broken gzip stream', image(gzipSync(elf).subarray(0, 50)), 'VMLINUX_DAMAGED'],
    ['something else than ELF inside', image(gzipSync(new Uint8Array(1000))), 'VMLINUX_DAMAGED'],
    ['xz data of another size', image(sized(pack('xz', '--check=crc32', '-c'), 50)), 'VMLINUX_DAMAGED'],
  ])('with %s is refused', (_what, bytes, expected) => {
    expect(code(() => extractVmlinux(bytes))).toBe(expected)
  })
})
