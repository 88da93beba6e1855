/**
 * Takes the uncompressed ELF kernel out of a bzImage: an emulated CPU then need not unpack it at every boot.
 * Linux Documentation/arch/x86/boot.rst, payload_offset and payload_length (protocol 2.08 and later).
 */
import { spawnSync } from 'node:child_process'
import { gunzipSync } from 'node:zlib'
import { MesovirtError } from '../host/errors.ts'
import { LZ4_LEGACY_MAGIC, decodeLz4Legacy } from './lz4.ts'

const setup_sects = 0x1f1, header = 0x202, version = 0x206, payload_offset = 0x248, payload_length = 0x24c
const HEADER_MAGIC = 0x5372_6448
const HEADER_END = 0x250
const SECTOR = 512
/** The largest kernels with everything built in have about 100 MB. */
const MAX_SIZE = 512 * 1024 * 1024
const ELF_MAGIC = 0x464c_457f

/** Compressions that host tools undo; the kernel appends the uncompressed size to all of them. */
const TOOLS: readonly { readonly magic: readonly number[]; readonly tool: string }[] = [
  { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], tool: 'xz' },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], tool: 'zstd' },
  { magic: [0x42, 0x5a, 0x68], tool: 'bzip2' },
  { magic: [0x5d, 0x00, 0x00], tool: 'lzma' },
]

/**
 * @param image the whole bzImage
 * @returns the ELF file it carries
 * @throws MesovirtError VMLINUX_NOT_FOUND, VMLINUX_DAMAGED, TOOL_MISSING (xz or zstd kernels on a host without that tool), LZ4_DAMAGED
 */
export function extractVmlinux(image: Uint8Array): Uint8Array {
  const payload = findPayload(image)
  const kernel = decompress(payload)
  if (kernel.length < 4 || new DataView(kernel.buffer, kernel.byteOffset).getUint32(0, true) !== ELF_MAGIC) throw damaged('its payload is no ELF file')
  return kernel
}

function findPayload(image: Uint8Array): Uint8Array {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  if (image.length < HEADER_END || view.getUint32(header, true) !== HEADER_MAGIC || view.getUint16(version, true) < 0x208) {
    throw new MesovirtError('VMLINUX_NOT_FOUND', 'the kernel is no bzImage with a payload (boot protocol 2.08 or later); boot it as it is')
  }
  const start = ((view.getUint8(setup_sects) || 4) + 1) * SECTOR + view.getUint32(payload_offset, true)
  const length = view.getUint32(payload_length, true)
  if (length < 8 || start + length > image.length) throw damaged('its payload lies outside the file')
  return image.subarray(start, start + length)
}

function decompress(payload: Uint8Array): Uint8Array {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
  const startsWith = (magic: readonly number[]) => magic.every((byte, index) => payload[index] === byte)
  if (startsWith([0x7f, 0x45, 0x4c, 0x46])) return payload.slice()
  if (startsWith([0x1f, 0x8b])) return gunzip(payload)

  const size = view.getUint32(payload.length - 4, true)
  if (size > MAX_SIZE) throw damaged(`its payload claims ${size} bytes`)
  const packed = payload.subarray(0, payload.length - 4)
  if (view.getUint32(0, true) === LZ4_LEGACY_MAGIC) return decodeLz4Legacy(packed, size)
  const tool = TOOLS.find(({ magic }) => startsWith(magic))?.tool
  if (tool === undefined) throw new MesovirtError('VMLINUX_NOT_FOUND', 'the kernel is compressed in a way that is not known here (gzip, lz4, xz, zstd, bzip2, lzma are); boot the bzImage as it is')
  const kernel = runTool(tool, packed, size)
  if (kernel.length !== size) throw damaged(`its payload unpacks to ${kernel.length} bytes, not ${size}`)
  return kernel
}

function gunzip(payload: Uint8Array): Uint8Array {
  try {
    return gunzipSync(payload, { maxOutputLength: MAX_SIZE })
  } catch (error) {
    throw damaged(`its gzip payload does not unpack (${(error as Error).message})`)
  }
}

function runTool(tool: string, input: Uint8Array, size: number): Uint8Array {
  const result = spawnSync(tool, ['-dc'], { input, maxBuffer: size + 1, stdio: ['pipe', 'pipe', 'ignore'] })
  const code = (result.error as NodeJS.ErrnoException | undefined)?.code
  if (code === 'ENOENT') throw new MesovirtError('TOOL_MISSING', `the kernel is compressed with ${tool}, which is not installed; install ${tool === 'xz' || tool === 'lzma' ? 'xz-utils' : tool}, or boot the bzImage as it is`)
  if (result.error !== undefined || result.status !== 0) throw damaged(`${tool} cannot unpack its payload`)
  return result.stdout
}

function damaged(what: string): MesovirtError {
  return new MesovirtError('VMLINUX_DAMAGED', `the kernel image is damaged: ${what}; fetch it again`)
}
