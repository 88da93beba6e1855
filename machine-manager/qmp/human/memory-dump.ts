/** `x` and `xp` of the human monitor: the format letters and the columns of QEMU's memory dumps. Leaves out `i`, which needs a disassembler. */

export type DumpFormat = 'x' | 'd' | 'u' | 'o' | 'c'
export interface DumpRequest { readonly count: number; readonly format: DumpFormat | 'i'; readonly size: 1 | 2 | 4 | 8 }

const SIZES = { b: 1, h: 2, w: 4, g: 8 } as const
/** Guest bytes of one dump: its text stays below 1 MiB. */
export const MAX_DUMP_BYTES = 128 * 1024
const UNREADABLE = 'Cannot access memory'

/**
 * Reads `/COUNT FORMAT SIZE`, each optional.
 * @param text what follows the slash
 * @param last what the missing parts are taken from
 * @returns a message instead when a letter is unknown
 */
export function parseDumpFormat(text: string, last: DumpRequest): DumpRequest | string {
  const digits = /^\d*/.exec(text)?.[0] ?? ''
  let { format, size } = last
  for (const letter of text.slice(digits.length)) {
    if ('xduoci'.includes(letter)) format = letter as DumpRequest['format']
    else if (letter in SIZES) size = SIZES[letter as keyof typeof SIZES]
    else return `invalid char in format: '${letter}'`
  }
  return { count: digits === '' ? 1 : Number(digits), format, size }
}

/**
 * Renders a dump; a line that cannot be read ends it.
 * @param read bytes at an address, undefined when some are not readable
 */
export async function dumpMemory(
  address: bigint,
  request: DumpRequest & { readonly format: DumpFormat },
  read: (address: bigint, length: number) => Promise<Uint8Array | undefined>,
): Promise<string> {
  const size = request.format === 'c' ? 1 : request.size
  const lineBytes = size === 1 ? 8 : 16
  const total = request.count * size
  // One read where it can be: reading through page tables may pause the vCPU each time.
  const whole = total > 0 ? await read(address, total) : undefined
  const lines: string[] = []
  for (let offset = 0; offset < total; offset += lineBytes) {
    const lineAddress = BigInt.asUintN(64, address + BigInt(offset))
    const label = `${lineAddress.toString(16).padStart(16, '0')}:`
    const length = Math.min(lineBytes, total - offset)
    const bytes = whole?.subarray(offset, offset + length) ?? await read(lineAddress, length)
    if (bytes === undefined) {
      lines.push(`${label} ${UNREADABLE}`)
      break
    }
    const words: string[] = []
    for (let at = 0; at + size <= bytes.length; at += size) words.push(formatWord(littleEndian(bytes, at, size), request.format, size))
    lines.push(`${label} ${words.join(' ')}`)
  }
  return lines.map((line) => `${line}\n`).join('')
}

function littleEndian(bytes: Uint8Array, at: number, size: number): bigint {
  let value = 0n
  for (let index = size - 1; index >= 0; index--) value = (value << 8n) | BigInt(bytes[at + index] ?? 0)
  return value
}

function formatWord(value: bigint, format: DumpFormat, size: number): string {
  switch (format) {
    case 'x': return `0x${value.toString(16).padStart(size * 2, '0')}`
    // Only the widest word shows a sign: the monitor zero-extends the others.
    case 'd': return (size === 8 ? BigInt.asIntN(64, value) : value).toString().padStart(decimalWidth(size))
    case 'u': return value.toString().padStart(decimalWidth(size))
    case 'o': return (value === 0n ? '0' : `0${value.toString(8)}`).padStart(Math.floor((size * 8 + 2) / 3))
    case 'c': return formatCharacter(Number(value))
  }
}

function decimalWidth(size: number): number {
  return { 1: 3, 2: 5, 4: 10 }[size] ?? 20
}

function formatCharacter(code: number): string {
  const escapes: Readonly<Record<number, string>> = { 0x27: "\\'", 0x5c: '\\\\', 0x0a: '\\n', 0x0d: '\\r' }
  const plain = code >= 0x20 && code <= 0x7e ? String.fromCharCode(code) : `\\x${code.toString(16).padStart(2, '0')}`
  return `'${escapes[code] ?? plain}'`
}
