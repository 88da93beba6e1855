/** The translator's encoder against two judges: V8's validation, and binaryen, which must read back what was meant. */
import binaryen from 'binaryen'
import { describe, expect, it } from 'vitest'
import { Code, F32, F64, I32, I64, MEM, moduleBytes, OP, signed, SIMD, SIMD_MEM, unsigned, V128, VOID } from './encoder.ts'
import type { FunctionType } from './encoder.ts'

const valid = (bytes: Uint8Array): boolean => (globalThis as unknown as { WebAssembly: { validate(bytes: Uint8Array): boolean } }).WebAssembly.validate(bytes)
const END = 0x0b

/** A module of one function. */
function oneFunction(type: FunctionType, write: (code: Code) => void, locals: readonly { count: number; type: number }[] = []): Uint8Array {
  const code = new Code()
  write(code)
  return moduleBytes([type], [], [{ type: 0, locals, body: [...code.bytes, END], name: 'f' }], { initial: 1, maximum: 2 })
}

function textOf(bytes: Uint8Array): string {
  const module = binaryen.readBinary(bytes)
  module.setFeatures(binaryen.Features.All)
  expect(module.validate()).toBe(1)
  const text = module.emitText()
  module.dispose()
  return text
}

const UNARY = /^i(32|64)_(eqz|clz|ctz|popcnt|wrap|extend(8_s|16_s|32_s|_s|_u)?)$/
/** Name in the text format. */
const CONVERSIONS: Readonly<Record<string, readonly [string, number, number]>> = {
  f32_demote: ['f32.demote_f64', F64, F32], f64_promote: ['f64.promote_f32', F32, F64], f64_convert_i32: ['f64.convert_i32_s', I32, F64], f64_convert_i64: ['f64.convert_i64_s', I64, F64],
  i32_reinterpret: ['i32.reinterpret_f32', F32, I32], i64_reinterpret: ['i64.reinterpret_f64', F64, I64],
}
const spelled = (name: string): string => name === 'i32_wrap' ? 'i32.wrap_i64' : name === 'i64_extend_s' ? 'i64.extend_i32_s' : name === 'i64_extend_u' ? 'i64.extend_i32_u' : name.replace('_', '.')

describe('opcodes', () => {
  const plain = Object.entries(OP).filter(([name]) => name.startsWith('i') && CONVERSIONS[name] === undefined)
  const floating = Object.entries(OP).filter(([name]) => name.startsWith('f') && CONVERSIONS[name] === undefined)

  it.each(plain)('%s is what it is called', (name, opcode) => {
    const wide = name.startsWith('i64')
    const operand = name === 'i32_wrap' ? I64 : name === 'i64_extend_s' || name === 'i64_extend_u' ? I32 : wide ? I64 : I32
    const result = name === 'i32_wrap' || /eq|ne|lt|gt|le|ge/.test(name) && !/shl|rotl/.test(name) ? I32 : wide ? I64 : I32
    const operands = UNARY.test(name) ? 1 : 2
    const bytes = oneFunction({ parameters: Array.from({ length: operands }, () => operand), results: [result] }, (code) => {
      for (let local = 0; local < operands; local++) code.get(local)
      code.op(opcode)
    })
    expect(valid(bytes)).toBe(true)
    expect(textOf(bytes)).toContain(`(${spelled(name)}`)
  })

  it.each(Object.entries(CONVERSIONS))('%s converts', (name, [text, operand, result]) => {
    const bytes = oneFunction({ parameters: [operand], results: [result] }, (code) => { code.get(0).op(OP[name as keyof typeof OP]) })
    expect(valid(bytes)).toBe(true)
    expect(textOf(bytes)).toContain(`(${text}`)
  })

  it.each(floating)('%s is what it is called', (name, opcode) => {
    const type = name.startsWith('f64') ? F64 : F32
    const operands = /abs|sqrt/.test(name) ? 1 : 2
    const bytes = oneFunction({ parameters: [type, type], results: [/_(eq|ne|lt|gt|le)$/.test(name) ? I32 : type] }, (code) => {
      for (let local = 0; local < operands; local++) code.get(local)
      code.op(opcode)
    })
    expect(valid(bytes)).toBe(true)
    expect(textOf(bytes)).toContain(`(${name.replace('_', '.')}`)
  })

  it.each(Object.entries(SIMD))('%s is what it is called', (name, opcode) => {
    const isLane = name.includes('lane')
    const scalar = /^(i8x16|i16x8|i32x4)/.test(name) ? I32 : name.startsWith('i64') ? I64 : name.startsWith('f64') ? F64 : F32
    const isUnary = /_(abs|sqrt|convert_low_i32x4_s|bitmask|all_true)$/.test(name) || name.includes('extract_lane')
    const second = name.includes('replace_lane') ? scalar : /_sh[lr](_|$)/.test(name) ? I32 : V128
    const result = name.includes('extract_lane') ? scalar : /bitmask|all_true/.test(name) ? I32 : V128
    const bytes = oneFunction({ parameters: isUnary ? [V128] : [V128, second], results: [result] }, (code) => {
      code.get(0)
      if (!isUnary) code.get(1)
      if (isLane) code.lane(opcode, 1)
      else code.simd(opcode)
    })
    expect(valid(bytes)).toBe(true)
    expect(textOf(bytes)).toContain(`(${name.replace('_', '.')}${isLane ? ' 1' : ''}`)
  })

  it.each(Object.entries(SIMD_MEM))('%s is what it is called', (name, opcode) => {
    const isStore = name.includes('store')
    const bytes = oneFunction({ parameters: [I32, V128], results: isStore ? [] : [V128] }, (code) => {
      code.get(0)
      if (isStore) code.get(1)
      code.simdMemory(opcode, 4660)
    })
    expect(valid(bytes)).toBe(true)
    expect(textOf(bytes)).toMatch(new RegExp(`\\(${name.replace('_', '\\.')} offset=4660`))
  })

  it('vector and double constants, shuffles and truncations are what they are called', () => {
    const text = textOf(oneFunction({ parameters: [V128, F64], results: [V128] }, (code) => {
      code.get(1).f64(0, 0x3ff8_0000).op(OP.f64_add).saturate(6).op(OP.drop).get(1).saturate(2).op(OP.drop)
      code.get(0).v128([1, -2, 3, 0x7fff_ffff]).shuffle([0, 17, 2, 19, 4, 21, 6, 23, 8, 25, 10, 27, 12, 29, 14, 31])
    }))
    expect(text).toContain('(f64.const 1.5)')
    expect(text).toMatch(/i64\.trunc_sat_f64_s[\s\S]*i32\.trunc_sat_f64_s/)
    expect(text).toContain('(v128.const i32x4 0x00000001 0xfffffffe 0x00000003 0x7fffffff)')
    expect(text).toContain('(i8x16.shuffle 0 17 2 19 4 21 6 23 8 25 10 27 12 29 14 31')
  })

  it.each(Object.entries(MEM))('%s is what it is called', (name, opcode) => {
    const type = name.startsWith('i64') ? I64 : name.startsWith('i32') ? I32 : name.startsWith('f64') ? F64 : F32
    const isStore = name.includes('store')
    const bytes = oneFunction({ parameters: [I32, type], results: isStore ? [] : [type] }, (code) => {
      code.get(0)
      if (isStore) code.get(1)
      code.memory(opcode, 4660)
    })
    expect(valid(bytes)).toBe(true)
    expect(textOf(bytes)).toMatch(new RegExp(`\\(${spelled(name).replace('.', '\\.')} offset=4660`))
  })

  it('drop, select, return and unreachable are what they are called', () => {
    const bytes = oneFunction({ parameters: [I32, I32, I32], results: [I32] }, (code) => {
      code.get(0).op(OP.drop).get(0).get(1).get(2).op(OP.select, OP.return, OP.unreachable)
    })
    expect(valid(bytes)).toBe(true)
    expect(textOf(bytes)).toMatch(/drop[\s\S]*select[\s\S]*unreachable/)
  })
})

describe('control flow', () => {
  it('labels name the block they were made with, however deep the branch is', () => {
    const bytes = oneFunction({ parameters: [I32], results: [I32] }, (code) => {
      const outer = code.block(I32)
      code.i32(7)
      const loop = code.loop()
      const inner = code.block(VOID)
      code.get(0).brIf(inner).get(0).if()
      code.br(loop)
      code.else()
      code.br(outer)
      code.end().end().end().end()
    })
    // `br outer` carries the constant; V8 refuses a wrong depth, for the types differ.
    expect(valid(bytes)).toBe(false)
    const right = oneFunction({ parameters: [I32], results: [I32] }, (code) => {
      const outer = code.block(I32)
      code.loop()
      code.get(0).if()
      code.i32(7).br(outer)
      code.end().i32(8).br(outer)
      code.end().op(OP.unreachable).end()
    })
    expect(valid(right)).toBe(true)
  })

  it('imports, calls, tees and several results are encoded', () => {
    const code = new Code()
    code.block(1)
    code.get(0).tee(1).get(0).op(OP.unreachable).end().set(1).call(0)
    const bytes = moduleBytes([{ parameters: [I32], results: [I32] }, { parameters: [], results: [I32, I32] }], [{ module: 'core', name: 'g', type: 0 }],
      [{ type: 0, locals: [{ count: 1, type: I32 }], body: [...code.bytes, END], name: 'f' }], { initial: 1, maximum: 65536 })
    expect(valid(bytes)).toBe(true)
    expect(textOf(bytes)).toMatch(/import "core" "g"[\s\S]*export "f"/)
  })
})

describe('constants', () => {
  const NUMBERS = [0, 1, -1, 63, 64, -64, -65, 127, 128, 8191, 8192, -8192, -8193, 0x7fff_ffff, -0x8000_0000, 0x1234_5678, -0x1234_5678]

  it.each(NUMBERS)('%i is the same as i32 and in the low half of an i64', (value) => {
    const text = textOf(oneFunction({ parameters: [], results: [I32] }, (code) => { code.i32(value) }))
    expect(text).toContain(`(i32.const ${value})`)
  })

  it.each(NUMBERS.flatMap((low) => NUMBERS.map((high) => [low, high] as const)))('the halves %i and %i make one i64', (low, high) => {
    const wanted = BigInt.asIntN(64, BigInt(high) << 32n | BigInt.asUintN(32, BigInt(low)))
    const text = textOf(oneFunction({ parameters: [], results: [I64] }, (code) => { code.i64(low, high) }))
    expect(text).toContain(`(i64.const ${wanted})`)
  })

  it('LEB128 numbers are as short as they can be', () => {
    const bytes = (write: (out: number[], value: number) => void, value: number): number[] => {
      const out: number[] = []
      write(out, value)
      return out
    }
    expect(bytes(unsigned, 624485)).toEqual([0xe5, 0x8e, 0x26])
    expect(bytes(signed, -123456)).toEqual([0xc0, 0xbb, 0x78])
    expect(bytes(unsigned, 0xffff_ffff)).toEqual([0xff, 0xff, 0xff, 0xff, 0x0f])
  })
})
