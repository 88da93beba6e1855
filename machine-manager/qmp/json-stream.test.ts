import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { JsonStream } from './json-stream.ts'
import type { JsonItem } from './json-stream.ts'

const bytes = (text: string) => Uint8Array.from(Buffer.from(text))
const read = (...parts: (string | Uint8Array)[]): JsonItem[] => {
  const stream = new JsonStream()
  return parts.flatMap((part) => [...stream.push(typeof part === 'string' ? bytes(part) : part)])
}
const values = (...parts: (string | Uint8Array)[]) => read(...parts).map((item) => item.kind === 'value' ? JSON.parse(JSON.stringify(item.value)) as unknown : `! ${item.message}`)
const idOf = (text: string) => read(text).map((item) => item.kind === 'value' ? item.idText : item.message)

describe('values', () => {
  it('delivers a value as soon as it is complete, without a line end', () => {
    expect(values('{"a":[1,-2.5e1,true,false,null,"x"]}')).toEqual([{ a: [1, -25, true, false, null, 'x'] }])
    expect(values('"text"')).toEqual(['text'])
    expect(values('[]{}')).toEqual([[], {}])
  })

  it('takes a number or keyword only when something ends it', () => {
    expect(values('42')).toEqual([])
    expect(values('42\n', 'true ', 'null[]')).toEqual([42, true, null, []])
  })

  it('reads escapes, both kinds of quotes and characters beyond 16 bits', () => {
    expect(values(String.raw`["\"\\\/\b\f\n\r\t\u0041\ud83d\ude00\u0000", 'it\'s "q"', "it's", "\u0041\ud83d\ude00"]`))
      .toEqual([['"\\/\b\f\n\r\tA\u{1f600}\0', 'it\'s "q"', "it's", 'A\u{1f600}']])
  })

  it('keeps 64-bit integers exact', () => {
    const [item] = read('[18446744073709551615,-9223372036854775808,9007199254740991,9007199254740993]')
    expect(item?.kind === 'value' ? item.value : undefined).toEqual([18446744073709551615n, -9223372036854775808n, 9007199254740991, 9007199254740993n])
  })

  it('keeps a member named __proto__ an ordinary member', () => {
    const [item] = read('{"__proto__":{"x":1},"constructor":2}')
    const value = item?.kind === 'value' ? item.value as Record<string, unknown> : {}
    expect(Object.keys(value)).toEqual(['__proto__', 'constructor'])
    expect(({} as Record<string, unknown>)['x']).toBeUndefined()
  })

  it('reads the same from every split of the bytes', () => {
    const text = bytes(`{"execute":"a\\u00e9\\"","id":{"n":1.50,"k":'é'}} [1,{"x":tru}] 12 true {"b":[]}\r\n"s" @x {} {"open":"\xff`)
    const whole = read(text)
    for (let cut = 0; cut <= text.length; cut++) {
      expect(read(text.subarray(0, cut), text.subarray(cut))).toEqual(whole)
    }
    expect(read(...Array.from(text, (byte) => Uint8Array.of(byte)))).toEqual(whole)
  })

  it('agrees with JSON.parse on every JSON text', () => {
    fc.assert(fc.property(fc.jsonValue(), fc.nat(200), (value, cut) => {
      const text = bytes(JSON.stringify([value]))
      const [item] = read(text.subarray(0, cut), text.subarray(cut))
      expect(item?.kind === 'value' ? JSON.stringify(item.value, (_key, member: unknown) => typeof member === 'bigint' ? Number(member) : member) : item)
        .toBe(JSON.stringify([value]))
    }), { numRuns: 300 })
  })
})

describe('the text of an id', () => {
  it.each([
    ['1', '1'], ['"x"', '"x"'], ['null', 'null'], ['false', 'false'], ['1.50e2', '1.50e2'], ['-0', '-0'], ['99999999999999999999999', '99999999999999999999999'],
    ['1e999', '1e999'], ['{ "b" : 1,\n "a":[ 1.0 , {"id":2} ] }', '{"b":1,"a":[1.0,{"id":2}]}'], ["'it\\'s'", '"it\'s"'], ['[]', '[]'], ['"\\u00e9\\n"', '"é\\n"'],
  ])('%s is kept as %s', (given, kept) => {
    expect(idOf(`{"execute":"x","id":${given},"arguments":{"id":5}}`)).toEqual([kept])
    expect(idOf(`{"id":${given}}`)).toEqual([kept])
  })

  it('is absent when only a nested object has an id', () => {
    expect(idOf('{"arguments":{"id":5}}')).toEqual([undefined])
    expect(idOf('[{"id":5}]')).toEqual([undefined])
  })
})

describe('mistakes', () => {
  const after = '{"ok":1}'
  it.each([
    ['{"a" 1}', 'missing : in object pair'], ['{"a"}', 'missing : in object pair'], ['{1:2}', 'key is not a string in object'], ['{"a":1 "b":2}', 'expected separator in dict'],
    ['[1 2]', 'expected separator in list'], ['{,}', 'expecting value'], ['[,]', 'expecting value'], ['{"a":1,}', 'expecting value'], ['[1,]', 'expecting value'],
    ['{"a":1,"a":2}', 'duplicate key'], ['{"a":{"b":1,"b":2}}', 'duplicate key'], ['{"a":tru}', "invalid keyword 'tru'"], ['}', 'expecting value'], [',', 'expecting value'],
    ['{"a":"\\z"}', 'invalid escape sequence in string'], ['{"a":"\\ud800"}', '\\ud800 is not a valid Unicode character'], ['{"a":"\\u12"}', '\\u12 is not a valid Unicode character'],
    ['{"a":"\\udc00\\ud800"}', '\\udc00 is not a valid Unicode character'], ['[1}', "'}' closes the wrong bracket"], ['{"a":"\\U0041"}', 'invalid escape sequence in string'],
  ])('%s is one error, and the next message is read', (text, message) => {
    expect(values(text + after)).toEqual([`! JSON parse error, ${message}`, { ok: 1 }])
  })

  it.each([['{"a":@', "stray '@'"], ['\xef', "stray '\ufffd'"], ['"abc\n', "stray '\"abc\n'"], ['01', "stray '01'"], ['-x', "stray '-x'"], ['1.}', "stray '1.}'"], ['TRUE', "stray 'T'"]])(
    '%j starts no token: reading goes on at the next bracket', (text, message) => {
      expect(values(text, after)[0]).toBe(`! JSON parse error, ${message}`)
      expect(values(text, ' garbage ', after).at(-1)).toEqual({ ok: 1 })
    })

  it('reports invalid UTF-8 in a string', () => {
    expect(values(Uint8Array.of(0x22, 0xc3, 0x22), after)).toEqual(['! JSON parse error, invalid UTF-8 sequence in string', { ok: 1 }])
  })

  it('ends whatever is half-read at a byte 0xFF', () => {
    for (const half of ['{"a":"', '[[[', '{"a":', '{"a":1,', 'tr', '-', '']) {
      expect(values(half, Uint8Array.of(0xff), after).at(-1)).toEqual({ ok: 1 })
    }
  })

  it('ends a broken message at the line end, not a long one that is still right', () => {
    expect(values('{"a":1\n', '{"b":2}\n', after)).toEqual(['! JSON parse error, expected separator in dict', { ok: 1 }])
    expect(values('{"a":\n1\n}')).toEqual([{ a: 1 }])
  })

  it('reports a pending message at the end of input, and nothing otherwise', () => {
    for (const half of ['{"a":1', '"abc', '-', '[']) {
      const stream = new JsonStream()
      expect([...stream.push(bytes(half)), ...stream.end()]).toEqual([{ kind: 'error', message: 'JSON parse error, premature end of input' }])
    }
    const stream = new JsonStream()
    expect([...stream.push(bytes('{} 42')), ...stream.end()].map(({ kind }) => kind)).toEqual(['value', 'value'])
    expect([...new JsonStream().end()]).toEqual([])
  })
})

describe('limits', () => {
  const MAX_NESTING = 1024, MIB = 1024 * 1024, MAX_TOKENS = 262144

  it('takes 1024 levels of nesting and refuses one more with one error', () => {
    expect(read('['.repeat(MAX_NESTING) + ']'.repeat(MAX_NESTING)).map(({ kind }) => kind)).toEqual(['value'])
    expect(values('['.repeat(5000) + ']'.repeat(5000), '{}')).toEqual(['! JSON nesting depth limit exceeded', {}])
    expect(values('['.repeat(5000), '\n{}')).toEqual(['! JSON nesting depth limit exceeded', {}])
  })

  it('refuses more than 8 MiB in one message and reads the next', () => {
    const long = new Uint8Array(8 * MIB + 1).fill(0x61)
    expect(values('{"a":"', long, '"}{}')).toEqual(['! JSON token size limit exceeded', {}])
    expect(values('"', long, '"{}')).toEqual(['! JSON token size limit exceeded', {}])
  })

  it('refuses more than 256 Ki tokens in one message', () => {
    expect(values(`[${'1,'.repeat(MAX_TOKENS)}1]{}`)).toEqual(['! JSON token count limit exceeded', {}])
  })
})

describe('any bytes', () => {
  const soup = fc.array(fc.oneof(
    fc.constantFrom('{', '}', '[', ']', ':', ',', '"', "'", '\\', '\n', 'true', 'nul', '-', '0', '1.5', 'e', ' ', '{"execute":"x"}', '\\u00', '"id":').map((text) => bytes(text)),
    fc.uint8Array({ minLength: 1, maxLength: 3 })), { maxLength: 40 }).map((parts) => Uint8Array.from(parts.flatMap((part) => [...part])))

  it('never throw, and a flush byte makes the next message readable', () => {
    fc.assert(fc.property(soup, (garbage) => {
      expect(values(garbage, Uint8Array.of(0xff), '{"ok":1}').at(-1)).toEqual({ ok: 1 })
    }), { numRuns: 2000 })
  })

  it('let a line through after at most two lines without a flush byte', () => {
    fc.assert(fc.property(soup, (garbage) => {
      expect(values(garbage, '\n{"first":1}\n{"second":1}\n{"ok":1}\n').at(-1)).toEqual({ ok: 1 })
    }), { numRuns: 2000 })
  })
})
