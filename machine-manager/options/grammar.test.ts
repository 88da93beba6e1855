import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MesovirtError } from '../../host/errors.ts'
import { parseKeyValues, renderKeyValues, splitArguments } from './grammar.ts'
import type { Arity, OptionSet, OptionShape } from './grammar.ts'
import { editDistance, nearest } from './suggest.ts'
import { formatSize, parseBoolean, parseInteger, parseSize } from './values.ts'

const SHAPES: Record<string, Arity> = { S: 'none', kernel: 'required', initrd: 'required', D: 'optional', append: 'words', name: 'required' }
const options: OptionSet<OptionShape> = {
  get: (name) => {
    const arity = Object.hasOwn(SHAPES, name) ? SHAPES[name] : undefined
    return arity === undefined ? undefined : { name, arity }
  },
  names: () => Object.keys(SHAPES),
}
const split = (...argv: string[]) => splitArguments(argv, options).map(({ option, value }) => [option.name, value])

describe('splitting argv into options', () => {
  it.each<[string[], (string | undefined)[][]]>([
    [[], []],
    [['-S'], [['S', undefined]]],
    [['--S'], [['S', undefined]]],
    [['-kernel', 'k'], [['kernel', 'k']]],
    [['-kernel', ''], [['kernel', '']]],
    [['-D', '-S'], [['D', undefined], ['S', undefined]]],
    [['-D', 'file', '-S'], [['D', 'file'], ['S', undefined]]],
    [['-append', 'console=ttyS0 root=/dev/vda'], [['append', 'console=ttyS0 root=/dev/vda']]],
    [['-append', 'console=ttyS0', 'root=/dev/vda', '-S'], [['append', 'console=ttyS0 root=/dev/vda'], ['S', undefined]]],
    [['-append', '--- quiet'], [['append', '--- quiet']]],
    [['-append', 'dm="a,b ro" x'], [['append', 'dm="a,b ro" x']]],
    [['-append', 'a', '-S', '-append', 'b'], [['append', 'a'], ['S', undefined], ['append', 'b']]],
    [['-name', '-odd-name'], [['name', '-odd-name']]],
    [['-S', '--'], [['S', undefined]]],
  ])('%j', (argv, expected) => {
    expect(split(...argv)).toEqual(expected)
  })

  it.each<[string[], string]>([
    [['-kernle', 'x'], '-kernle: unknown option; did you mean -kernel?'],
    [['-zzzzzzz'], '-zzzzzzz: unknown option; see mesovirt -help'],
    [['-kernel'], '-kernel: needs a value'],
    [['-kernel', '-append', 'x'], '-kernel: needs a value, but the next word is -append'],
    [['-kernel', '--'], '-kernel: needs a value, but the next word is --'],
    [['-kernel', 'a', 'b'], 'b: not an option (-kernel takes one value); options start with a dash, quote values that hold spaces'],
    [['-S', 'on'], 'on: not an option (-S takes no value); options start with a dash, quote values that hold spaces'],
    [['-S', '--', 'x'], 'x: mesovirt takes nothing after --; remove it'],
    [['-kernel=vmlinuz'], '-kernel=vmlinuz: write -kernel vmlinuz, with a space'],
    [['-append', 'quiet', '-dvice', 'x'], '-dvice: unknown option; see mesovirt -help'],
    [['-append', 'a', '-1'], '-1: unknown option; see mesovirt -help'],
    [['-'], '-: unknown option; see mesovirt -help'],
    [['-\n'], '-?: unknown option; see mesovirt -help'],
    [[''], '"": not an option; options start with a dash, quote values that hold spaces'],
    [['-__proto__', 'x'], '-__proto__: unknown option; see mesovirt -help'],
  ])('%j is refused: %s', (argv, message) => {
    const code = message.includes('needs a value') ? 'OPTION_MISSING' : 'OPTION_UNKNOWN'
    expect(() => split(...argv)).toThrowError(new MesovirtError(code, message))
  })
})

describe('keys and values', () => {
  it.each<[string, string | undefined, [string, string | undefined][]]>([
    ['microvm', 'type', [['type', 'microvm']]],
    ['type=microvm,accel=tcg', 'type', [['type', 'microvm'], ['accel', 'tcg']]],
    ['unix,server,nowait', 'kind', [['kind', 'unix'], ['server', undefined], ['nowait', undefined]]],
    ['a,,b', 'guest', [['guest', 'a,b']]],
    ['path=/x,,,server', undefined, [['path', '/x,'], ['server', undefined]]],
    ['path=a=b', undefined, [['path', 'a=b']]],
    ['a=', undefined, [['a', '']]],
    ['a=1,', undefined, [['a', '1']]],
    ['', 'size', [['size', '']]],
    ['{"driver":"x","a":{"b":1,"c":[true,false]}}', 'driver', [['driver', 'x'], ['a.b', '1'], ['a.c.0', 'on'], ['a.c.1', 'off']]],
    ['{}', 'driver', []],
  ])('%s', (text, implied, expected) => {
    expect(parseKeyValues(text, implied, '-x').map(({ key, value }) => [key, value])).toEqual(expected)
  })

  it.each<[string, string]>([
    ['=x', '-x: "=x" has no key before the equals sign'],
    ['{"a":null}', '-x a: null is not a value; leave the member out'],
    [`${'{"a":'.repeat(30)}1${'}'.repeat(30)}`, '-x: JSON nested deeper than 16'],
    [`{"a":"${'x'.repeat(70_000)}"}`, '-x: a JSON value may have at most 65536 characters'],
    [`{"a":[${'1,'.repeat(2000)}1]}`, '-x: more than 1024 JSON members'],
    ['a=1,'.repeat(2000), '-x: more than 1024 comma-separated parts'],
  ])('%.40s is refused', (text, message) => {
    expect(() => parseKeyValues(text, undefined, '-x')).toThrowError(message)
  })

  it('damaged JSON is refused with one line', () => {
    expect(() => parseKeyValues('{"a":\n', undefined, '-device')).toThrowError(/^-device: not valid JSON: [^\n]*$/)
  })

  it('what is rendered parses to the same keys and values', () => {
    const key = fc.stringMatching(/^[a-z][a-z.-]{0,8}$/)
    const value = fc.string({ maxLength: 20 })
    fc.assert(fc.property(fc.array(fc.record({ key, value }), { minLength: 1, maxLength: 5 }), (pairs) => {
      expect(parseKeyValues(renderKeyValues(pairs, pairs[0]?.key), pairs[0]?.key, '-x')).toEqual(pairs)
    }), { interruptAfterTimeLimit: 3000 })
  })
})

describe('values', () => {
  it.each<[string, number, number | undefined]>([
    ['256', 1024 * 1024, 268435456], ['256', 1, 256], ['1k', 1, 1024], ['1K', 1, 1024], ['2m', 1, 2097152], ['2G', 1, 2147483648],
      ['1t', 1, 1099511627776],
    ['1.5G', 1, 1610612736], ['512b', 1048576, 512], ['0x10', 1, 16], ['1.3', 1, undefined], ['-1', 1, undefined], ['1GB', 1, undefined],
      ['', 1, undefined],
    ['G', 1, undefined], ['1e3', 1, undefined], ['9999999999999999', 1, undefined], [' 1', 1, undefined],
  ])('size %j with unit %i is %s', (text, unit, expected) => {
    expect(parseSize(text, unit)).toBe(expected)
  })

  it('a size that is written out reads back', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 40 }), (bytes) => {
      expect(parseSize(formatSize(bytes), 1024 * 1024)).toBe(bytes)
    }))
  })

  it.each<[string, boolean | undefined]>([
    ['on', true], ['yes', true], ['true', true], ['ON', true], ['unmap', true], ['off', false], ['no', false], ['false', false], ['ignore', false],
      ['1', undefined], ['', undefined],
  ])('boolean %j is %s', (text, expected) => {
    expect(parseBoolean(text)).toBe(expected)
  })

  it.each<[string, number | undefined]>([
    ['0', 0], ['010', 10], ['0x1f', 31], ['-1', undefined], ['1.0', undefined], ['', undefined], ['0x', undefined], ['9007199254740993', undefined],
  ])('integer %j is %s', (text, expected) => {
    expect(parseInteger(text)).toBe(expected)
  })
})

describe('suggestions', () => {
  it.each<[string, string, number]>([['kernel', 'kernel', 0], ['kernle', 'kernel', 1], ['smp', 'spm', 1], ['a', '', 1],
    ['kitten', 'sitting', 3]])('%s and %s are %i apart', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance)
    expect(editDistance(b, a)).toBe(distance)
  })

  it('nothing is suggested for a word that resembles nothing', () => {
    expect(nearest('frobnicate', ['kernel', 'm', 'S'])).toBeUndefined()
    expect(nearest('x', ['m', 'S'])).toBeUndefined()
  })
})
