import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MesovirtError } from '../host/errors.ts'
import { decodeLz4Legacy } from './lz4.ts'

const MAGIC = [0x02, 0x21, 0x4c, 0x18]
const frame = (...blocks: number[][]) => Uint8Array.from([...MAGIC, ...blocks.flatMap((block) => [block.length & 0xff, block.length >> 8, 0, 0, ...block])])
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const ascii = (word: string) => [...new TextEncoder().encode(word)]

describe('the legacy lz4 frame', () => {
  it('holds literals', () => {
    expect(text(decodeLz4Legacy(frame([0x50, ...ascii('hello')]), 5))).toBe('hello')
  })

  it('holds matches, overlapping ones too', () => {
    // "ab", then 8 bytes from 2 back, then the closing literal.
    expect(text(decodeLz4Legacy(frame([0x24, ...ascii('ab'), 2, 0, 0x10, ...ascii('!')]), 11))).toBe('ababababab!')
    // a match that does not overlap
    expect(text(decodeLz4Legacy(frame([0x50, ...ascii('abcde'), 5, 0, 0x10, ...ascii('!')]), 10))).toBe('abcdeabcd!')
  })

  it('extends lengths of 15 and more', () => {
    const literals = new Array<number>(300).fill(0x61)
    expect(text(decodeLz4Legacy(frame([0xf0, 255, 30, ...literals]), 300))).toBe('a'.repeat(300))
    // one literal, then 15 + 255 + 0 + 4 = 274 bytes of it
    expect(text(decodeLz4Legacy(frame([0x1f, 0x62, 1, 0, 255, 0, 0x10, 0x21]), 276))).toBe(`${'b'.repeat(275)}!`)
  })

  it('may have several blocks, and another frame behind it', () => {
    const two = frame([0x20, ...ascii('ab')], [0x20, ...ascii('cd')])
    expect(text(decodeLz4Legacy(Uint8Array.from([...two, ...frame([0x10, 0x65])]), 5))).toBe('abcde')
  })

  it.each([
    ['another magic', Uint8Array.from([1, 2, 3, 4]), 0],
    ['a block longer than the data', Uint8Array.from([...MAGIC, 9, 0, 0, 0, 0x10]), 1],
    ['literals past the block', frame([0x50, 1]), 5],
    ['a length that does not end', frame([0xf0, 255]), 300],
    ['an offset of zero', frame([0x10, 1, 0, 0]), 9],
    ['a match before the start', frame([0x10, 1, 2, 0]), 9],
    ['a match into the block before', frame([0x20, 1, 2], [0x00, 1, 0]), 6],
    ['more than promised', frame([0x20, 1, 2]), 1],
    ['less than promised', frame([0x20, 1, 2]), 3],
  ])('with %s is damaged', (_what, bytes, size) => {
    expect(() => decodeLz4Legacy(bytes, size)).toThrow(MesovirtError)
  })

  it('of any bytes gives a result of the promised size or an error', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(2000), (bytes, size) => {
      try {
        expect(decodeLz4Legacy(frame([...bytes]), size)).toHaveLength(size)
      } catch (error) {
        if (!(error instanceof MesovirtError)) throw error
      }
    }), { numRuns: 2000, interruptAfterTimeLimit: 5000 })
  })
})
