import { describe, expect, it } from 'vitest'
import {
  SystemIO, and, buffer, device, eisaId, field, ifThen, integer, interrupt, ioPorts, isaIrq, local, memory32Fixed, method, name, nameString, notify, operationRegion,
  packageOf, resourceTemplate, scope, store, string, withPkgLength,
} from './aml.ts'

const ascii = (text: string) => Array.from(text, (char) => char.charCodeAt(0))

describe('AML encoding (ACPI 6.5 section 20.2)', () => {
  it.each([
    [0, [0x00]], [1, [0x01]], [2, [0x0a, 2]], [0xff, [0x0a, 0xff]], [0x100, [0x0b, 0, 1]], [0x1_0000, [0x0c, 0, 0, 1, 0]],
    [0xffff_ffff_ffff_ffffn, [0x0e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
  ])('writes the integer %s in its shortest form', (value, bytes) => {
    expect(integer(value)).toEqual(bytes)
  })

  it.each([[62, [0x3f]], [63, [0x41, 0x04]], [4093, [0x4f, 0xff]], [4094, [0x81, 0x00, 0x01]], [1_048_572, [0x8f, 0xff, 0xff]], [1_048_573, [0xc1, 0x00, 0x00, 0x01]]])(
    'counts a package of %i bytes with its own length bytes', (size, prefix) => {
      const encoded = withPkgLength(new Array<number>(size).fill(7))
      expect(encoded.slice(0, prefix.length)).toEqual(prefix)
      expect(encoded).toHaveLength(size + prefix.length)
    })

  it.each([
    ['_HID', ascii('_HID')], ['GED', ascii('GED_')], ['\\', [0x5c, 0]], ['\\_SB', ascii('\\_SB_')],
    ['\\_SB.PWRB', [0x5c, 0x2e, ...ascii('_SB_PWRB')]], ['A.B.C', [0x2f, 3, ...ascii('A___B___C___')]],
  ])('writes the name %s', (path, bytes) => {
    expect(nameString(path)).toEqual(bytes)
  })

  it.each(['abc', 'TOOLONG', '1ABC', 'A..TOOLONG'])('refuses the name %s', (path) => {
    expect(() => nameString(path)).toThrow(/ACPI name/)
  })

  it('compresses EISA ids', () => {
    expect(eisaId('PNP0501')).toEqual([0x0c, 0x41, 0xd0, 0x05, 0x01])
    expect(eisaId('PNP0C0C')).toEqual([0x0c, 0x41, 0xd0, 0x0c, 0x0c])
  })

  it('writes terms with their opcodes', () => {
    expect(string('AB')).toEqual([0x0d, 0x41, 0x42, 0])
    expect(name('_UID', integer(3))).toEqual([0x08, ...ascii('_UID'), 0x0a, 3])
    expect(scope('\\_SB', [0xaa])).toEqual([0x10, 7, ...ascii('\\_SB_'), 0xaa])
    expect(device('GED', [0xaa])).toEqual([0x5b, 0x82, 6, ...ascii('GED_'), 0xaa])
    expect(packageOf(integer(5), integer(0))).toEqual([0x12, 5, 2, 0x0a, 5, 0])
    expect(buffer([1, 2, 3])).toEqual([0x11, 6, 0x0a, 3, 1, 2, 3])
    expect(method('_EVT', 1, [0xaa])).toEqual([0x14, 7, ...ascii('_EVT'), 0b1001, 0xaa])
    expect(operationRegion('EREG', SystemIO, 0x604, 1)).toEqual([0x5b, 0x80, ...ascii('EREG'), 1, 0x0b, 4, 6, 1])
    expect(field('EREG', ['ESTS', 8])).toEqual([0x5b, 0x81, 11, ...ascii('EREG'), 0x41, ...ascii('ESTS'), 8])
    expect(ifThen(and(local(0), integer(1)), notify('PWRB', 0x80))).toEqual([0xa0, 12, 0x7b, 0x60, 1, 0, 0x86, ...ascii('PWRB'), 0x0a, 0x80])
    expect(store(local(0), nameString('ESTS'))).toEqual([0x70, 0x60, ...ascii('ESTS')])
  })

  it('writes resource descriptors (section 6.4)', () => {
    expect(ioPorts(0x3f8, 8)).toEqual([0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8])
    expect(isaIrq(4)).toEqual([0x23, 0x10, 0, 1])
    expect(memory32Fixed(0xf010_0000, 0x200)).toEqual([0x86, 9, 0, 1, 0, 0, 0x10, 0xf0, 0, 2, 0, 0])
    expect(interrupt(20, 'edge')).toEqual([0x89, 6, 0, 0b11, 1, 20, 0, 0, 0])
    expect(interrupt(20, 'level')).toEqual([0x89, 6, 0, 0b01, 1, 20, 0, 0, 0])
    expect(resourceTemplate(isaIrq(4))).toEqual([0x11, 9, 0x0a, 6, 0x23, 0x10, 0, 1, 0x79, 0])
  })
})
