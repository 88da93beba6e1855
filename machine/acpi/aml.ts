/**
 * An encoder for the part of AML that our tables need, each function named after its ASL term. ACPI 6.5 section 20.2.
 * Left out: expressions beyond If/And/Store, loops, references, anything that needs a name table.
 */
import { MesovirtError } from '../../host/errors.ts'

/** Encoded AML bytes; terms compose by concatenation. */
export type Aml = readonly number[]

const ZeroOp = 0x00, OneOp = 0x01, NameOp = 0x08, BytePrefix = 0x0a, WordPrefix = 0x0b, DWordPrefix = 0x0c, StringPrefix = 0x0d, QWordPrefix = 0x0e
const ScopeOp = 0x10, BufferOp = 0x11, PackageOp = 0x12, MethodOp = 0x14
const DualNamePrefix = 0x2e, MultiNamePrefix = 0x2f, ExtOpPrefix = 0x5b, RootChar = 0x5c
const Local0Op = 0x60, Arg0Op = 0x68, StoreOp = 0x70, AndOp = 0x7b, NotifyOp = 0x86, IfOp = 0xa0
const OpRegionOp = 0x80, FieldOp = 0x81, DeviceOp = 0x82 // after ExtOpPrefix

export const SystemMemory = 0, SystemIO = 1
const ByteAcc = 1, WriteAsZeros = 2 << 5

/** Integer in its shortest form. @param value 0 .. 2^64-1 */
export function integer(value: number | bigint): Aml {
  const big = BigInt(value)
  if (big === 0n) return [ZeroOp]
  if (big === 1n) return [OneOp]
  if (big <= 0xffn) return [BytePrefix, Number(big)]
  if (big <= 0xffffn) return [WordPrefix, ...littleEndian(big, 2)]
  if (big <= 0xffff_ffffn) return [DWordPrefix, ...littleEndian(big, 4)]
  return [QWordPrefix, ...littleEndian(big, 8)]
}

/** @param text ASCII without NUL */
export function string(text: string): Aml {
  return [StringPrefix, ...Array.from(text, (char) => char.charCodeAt(0)), 0]
}

/** Compressed EISA id such as `PNP0501`: three letters of five bits, then four hex digits, big-endian. */
export function eisaId(id: string): Aml {
  const letter = (index: number) => (id.charCodeAt(index) - 0x40) & 0x1f
  const code = letter(0) << 26 | letter(1) << 21 | letter(2) << 16 | parseInt(id.slice(3), 16)
  return [DWordPrefix, code >>> 24, code >>> 16 & 0xff, code >>> 8 & 0xff, code & 0xff]
}

/** Name string: `\_SB.PWRB`, `_HID`. Segments are padded with underscores. */
export function nameString(path: string): Aml {
  const absolute = path.startsWith('\\')
  const segments = (absolute ? path.slice(1) : path).split('.').filter((part) => part !== '')
  const bytes = segments.flatMap((part) => {
    if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(part)) throw new MesovirtError('ACPI_NAME', `'${part}' is no ACPI name segment`)
    return Array.from(part.padEnd(4, '_'), (char) => char.charCodeAt(0))
  })
  const prefix = segments.length === 0 ? [0] : segments.length === 1 ? [] : segments.length === 2 ? [DualNamePrefix] : [MultiNamePrefix, segments.length]
  return [...absolute ? [RootChar] : [], ...prefix, ...bytes]
}

/** PkgLength in front of `body`; the length counts its own one to four bytes. */
export function withPkgLength(body: Aml): Aml {
  if (body.length + 1 <= 0x3f) return [body.length + 1, ...body]
  const extra = body.length + 2 <= 0xfff ? 1 : body.length + 3 <= 0xf_ffff ? 2 : 3
  const length = body.length + 1 + extra
  return [extra << 6 | length & 0xf, ...littleEndian(BigInt(length >> 4), extra), ...body]
}

export function name(path: string, value: Aml): Aml {
  return [NameOp, ...nameString(path), ...value]
}

export function scope(path: string, ...terms: Aml[]): Aml {
  return [ScopeOp, ...withPkgLength([...nameString(path), ...terms.flat()])]
}

export function device(path: string, ...terms: Aml[]): Aml {
  return [ExtOpPrefix, DeviceOp, ...withPkgLength([...nameString(path), ...terms.flat()])]
}

/** A serialized method. @param argumentCount 0..7 */
export function method(path: string, argumentCount: number, ...terms: Aml[]): Aml {
  const SERIALIZED = 0b1000
  return [MethodOp, ...withPkgLength([...nameString(path), argumentCount | SERIALIZED, ...terms.flat()])]
}

export function packageOf(...elements: Aml[]): Aml {
  return [PackageOp, ...withPkgLength([elements.length, ...elements.flat()])]
}

export function buffer(bytes: Aml): Aml {
  return [BufferOp, ...withPkgLength([...integer(bytes.length), ...bytes])]
}

export function operationRegion(path: string, space: typeof SystemMemory | typeof SystemIO, offset: number, length: number): Aml {
  return [ExtOpPrefix, OpRegionOp, ...nameString(path), space, ...integer(offset), ...integer(length)]
}

/** Consecutive fields of a region, accessed by bytes; a field is a name and its width in bits (up to 63). */
export function field(region: string, ...units: (readonly [unit: string, bits: number])[]): Aml {
  return [ExtOpPrefix, FieldOp, ...withPkgLength([...nameString(region), ByteAcc | WriteAsZeros, ...units.flatMap(([unit, bits]) => [...nameString(unit), bits])])]
}

export function ifThen(condition: Aml, ...terms: Aml[]): Aml {
  return [IfOp, ...withPkgLength([...condition, ...terms.flat()])]
}

export function and(left: Aml, right: Aml): Aml {
  return [AndOp, ...left, ...right, ZeroOp] // no target
}

export function store(source: Aml, target: Aml): Aml {
  return [StoreOp, ...source, ...target]
}

export function notify(path: string, value: number): Aml {
  return [NotifyOp, ...nameString(path), ...integer(value)]
}

export function local(index: number): Aml {
  return [Local0Op + index]
}

export function arg(index: number): Aml {
  return [Arg0Op + index]
}

/** ResourceTemplate: descriptors and the end tag, whose checksum byte 0 means "not checked". ACPI 6.5 section 6.4. */
export function resourceTemplate(...descriptors: Aml[]): Aml {
  return buffer([...descriptors.flat(), 0x79, 0])
}

/** IO(Decode16, port, port, 1, length). */
export function ioPorts(port: number, length: number): Aml {
  return [0x47, 1, ...u16(port), ...u16(port), 1, length]
}

/** IRQ(Edge, ActiveHigh, Exclusive) { irq }, for ISA interrupts 0..15. */
export function isaIrq(irq: number): Aml {
  const EDGE = 0b1
  return [0x23, ...u16(1 << irq), EDGE]
}

/** Memory32Fixed(ReadWrite, base, size). */
export function memory32Fixed(base: number, size: number): Aml {
  return [0x86, ...u16(9), 1, ...u32(base), ...u32(size)]
}

/** Interrupt(ResourceConsumer, Edge or Level, ActiveHigh, Exclusive) { gsi }. */
export function interrupt(gsi: number, trigger: 'edge' | 'level'): Aml {
  const CONSUMER = 0b01, EDGE = 0b10
  return [0x89, ...u16(6), trigger === 'edge' ? CONSUMER | EDGE : CONSUMER, 1, ...u32(gsi)]
}

function u16(value: number): number[] {
  return littleEndian(BigInt(value), 2)
}

function u32(value: number): number[] {
  return littleEndian(BigInt(value), 4)
}

function littleEndian(value: bigint, size: number): number[] {
  return Array.from({ length: size }, (_, index) => Number(value >> BigInt(index * 8) & 0xffn))
}
