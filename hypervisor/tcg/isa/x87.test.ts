/** The x87 instructions and the soft-float functions against results of a real processor (x87-vectors.txt, softfloat-vectors.txt). */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import * as ops from '../core/x87-ops.ts'
import { X87_NO_WAIT, X87_ROWS } from './rows-x87.ts'

const HERE = import.meta.dirname
const ROOT = path.resolve(HERE, '../../..')
const CPU = 0x20000, BUFFER = 0x60000
const CR0 = 480, CC_OP = 160, CC_SRC = 176, RFLAGS = 152, XMM = 1024, MXCSR = 1280, FCW = 1284, FSW = 1286, FTW = 1288, FOP = 1290
const FIP = 1296, FDP = 1304, FPR = 1344, MODE = 1504
const ARITHMETIC_FLAGS = 0x8d5
const numbers: Readonly<Record<string, number>> = ops

/** Node's WebAssembly: its types come without the constructors unless the DOM library is in. */
const wasm = (globalThis as unknown as { WebAssembly: {
  Memory: new (options: { initial: number, maximum: number, shared: boolean }) => { readonly buffer: SharedArrayBuffer }
  Module: new (code: Uint8Array) => object
  Instance: new (module: object, imports: object) => { readonly exports: unknown }
} }).WebAssembly

interface Core {
  x87Op(cpu: number, op: number, sti: number, mem: number): number
  x87RecordsPointers(op: number): number
  sfSetRound(mode: number): void
  sfSetFlags(flags: number): void
  sfSetMask(mask: number): void
  sfSetDenormals(daz: number, ftz: number): void
  sfUnmasked(): number
  readonly x87Stored: { value: number }
  readonly sfFlags: { value: number }
}
type SoftFunction = (...operands: (number | bigint)[]) => number | bigint

let core: Core
let functions: Readonly<Record<string, SoftFunction>>
let view: DataView
let bytes: Uint8Array

beforeAll(() => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'x87-'))
  try {
    const out = path.join(folder, 'x87.wasm')
    const compiled = spawnSync(process.execPath, [path.join(ROOT, 'node_modules/assemblyscript/bin/asc.js'),
      'hypervisor/tcg/core/x87-test-entry.ts', '-o', out, '-O3', '--noAssert', '--runtime', 'stub',
      '--importMemory', '--sharedMemory', '--initialMemory', '16', '--maximumMemory', '16',
      '--enable', 'threads,simd,bulk-memory,sign-extension,nontrapping-f2i,mutable-globals', '--memoryBase', '1024', '--use', 'abort='],
    { cwd: ROOT, encoding: 'utf8' })
    if (compiled.status !== 0) throw new Error(compiled.stderr)
    const memory = new wasm.Memory({ initial: 16, maximum: 16, shared: true })
    const instance = new wasm.Instance(new wasm.Module(fs.readFileSync(out)), { env: { memory } })
    core = instance.exports as Core
    functions = instance.exports as Record<string, SoftFunction>
    view = new DataView(memory.buffer)
    bytes = new Uint8Array(memory.buffer)
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})

function vectors(file: string): string[][] {
  const lines = fs.readFileSync(path.join(HERE, file), 'utf8').split('\n')
  return lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split(' '))
}

function resetCpu(): void {
  bytes.fill(0, CPU, CPU + 2048)
  view.setUint32(CPU + CR0, 1, true)
  view.setUint32(CPU + RFLAGS, 2, true)
  view.setUint32(CPU + MODE, 2, true)
  view.setUint32(CPU + MXCSR, 0x1f80, true)
  core.x87Op(CPU, ops.X87_FNINIT, 0, 0)
}

function writeReal(address: number, text: string): void {
  const [signExponent, significand] = text.split(':')
  view.setUint16(address + 8, parseInt(signExponent ?? '', 16), true)
  view.setBigUint64(address, BigInt(`0x${significand}`), true)
}

function readReal(address: number): string {
  return `${view.getUint16(address + 8, true).toString(16)}:${view.getBigUint64(address, true).toString(16)}`
}

/** Loads the state by FRSTOR: three registers given, the others 1.0 * 2^4 .. 2^8. */
function restore(words: readonly string[], registers: readonly string[]): void {
  bytes.fill(0, BUFFER, BUFFER + 108)
  words.forEach((word, i) => view.setUint16(BUFFER + i * 4, parseInt(word, 16), true))
  for (let i = 0; i < 8; i++) writeReal(BUFFER + 28 + i * 10, registers[i] ?? `${(0x4000 + i).toString(16)}:8000000000000000`)
  core.x87Op(CPU, ops.X87_FRSTOR, 0, BUFFER)
}

function hex(address: number, length: number): string {
  return Buffer.from(bytes.slice(address, address + length)).toString('hex')
}

describe('x87 instructions', () => {
  test('give the results, flags and stack of a real processor', () => {
    // arrange
    const table = vectors('x87-vectors.txt')
    const wrong: string[] = []
    for (const line of table) {
      const [name = '', sti = '', fcw = '', fsw = '', tags = '', st0 = '', st1 = '', st2 = '', loaded = '-', flags = '', , ...want] = line
      resetCpu()
      restore([fcw, fsw, tags], [st0, st1, st2])
      view.setUint32(CPU + CC_OP, 0, true)
      view.setBigUint64(CPU + CC_SRC, BigInt(`0x${flags}`), true)
      bytes.fill(0xee, BUFFER, BUFFER + 128)
      if (loaded !== '-') bytes.set(Buffer.from(loaded, 'hex'), BUFFER)

      // act
      const vector = core.x87Op(CPU, numbers[`X87_${name}`] ?? -1, Number(sti), BUFFER)

      // assert
      const stored = core.x87Stored.value === 1 ? hex(BUFFER, (want[6] ?? '').length / 2) || '-' : '-'
      const after = (view.getUint32(CPU + CC_SRC, true) & ARITHMETIC_FLAGS).toString(16)
      core.x87Op(CPU, ops.X87_FNSAVE, 0, BUFFER)
      const words = [0, 4, 8].map((offset) => view.getUint16(BUFFER + offset, true).toString(16))
      const got = [...words, readReal(BUFFER + 28), readReal(BUFFER + 38), readReal(BUFFER + 48), stored, after]
      if (vector !== 0 || got.join(' ') !== want.join(' ')) wrong.push(`${line.join(' ')} but got ${vector} ${got.join(' ')}`)
    }
    expect(wrong).toEqual([])
    expect(table.length).toBeGreaterThan(300)
  })

  test('that wait report a pending unmasked exception, the others run', () => {
    for (const row of X87_ROWS) {
      resetCpu()
      view.setUint16(CPU + FCW, 0x37b, true)
      view.setUint16(CPU + FSW, 0x8084, true) // ZE, ES, B
      view.setUint8(CPU + FTW, 0xff)
      bytes.fill(0, BUFFER, BUFFER + 512)
      const vector = core.x87Op(CPU, numbers[row.handler] ?? -1, 1, BUFFER)
      expect([row.handler, vector]).toEqual([row.handler, X87_NO_WAIT.has(row.handler) ? 0 : 16])
    }
  })

  test('record their address unless they are control instructions', () => {
    expect(core.x87RecordsPointers(ops.X87_FADD_M4)).toBeTruthy()
    expect(core.x87RecordsPointers(ops.X87_FSIN)).toBeTruthy()
    expect(core.x87RecordsPointers(ops.X87_FLDCW)).toBeFalsy()
    expect(core.x87RecordsPointers(ops.X87_FNINIT)).toBeFalsy()
  })
})

describe('state in memory', () => {
  test('FXSAVE64 and FXRSTOR64 carry everything and leave the last 48 bytes alone', () => {
    // arrange
    resetCpu()
    restore(['37f', '3841', 'fffc'], ['4000:c90fdaa22168c235'])
    view.setUint16(CPU + FOP, 0x123, true)
    view.setBigUint64(CPU + FIP, 0xffff800012345678n, true)
    view.setBigUint64(CPU + FDP, 0x7fff00001111n, true)
    for (let i = 0; i < 256; i++) bytes[CPU + XMM + i] = i
    const before = hex(CPU + XMM, FPR + 128 - XMM)
    bytes.fill(0xaa, BUFFER, BUFFER + 512)

    // act
    core.x87Op(CPU, ops.X87_FXSAVE64, 0, BUFFER)
    const image = hex(BUFFER, 512)
    resetCpu()
    const vector = core.x87Op(CPU, ops.X87_FXRSTOR64, 0, BUFFER)

    // assert
    expect(vector).toBe(0)
    expect(hex(CPU + XMM, FPR + 128 - XMM)).toBe(before)
    expect(image.slice(464 * 2)).toBe('aa'.repeat(48))
    expect(image.slice(0, 32)).toBe('7f0341380100' + '2301' + '7856341200' + '80ffff')
    expect(image.slice(48, 64)).toBe('801f0000' + 'ffff0000')
  })

  test('legacy FXSAVE outside 64-bit mode has 32-bit pointers and leaves XMM8..XMM15 alone', () => {
    resetCpu()
    view.setUint32(CPU + MODE, 1, true)
    view.setBigUint64(CPU + FIP, 0xffff800012345678n, true)
    bytes.fill(0xaa, BUFFER, BUFFER + 512)
    core.x87Op(CPU, ops.X87_FXSAVE, 0, BUFFER)
    expect(hex(BUFFER + 8, 8)).toBe('7856341200000000')
    expect(hex(BUFFER + 160, 128)).toBe('00'.repeat(128))
    expect(hex(BUFFER + 288, 224)).toBe('aa'.repeat(224))
  })

  test('reserved MXCSR bits are a general protection fault and change nothing', () => {
    resetCpu()
    bytes.fill(0, BUFFER, BUFFER + 512)
    view.setUint32(BUFFER, 0x10000, true)
    view.setUint32(BUFFER + 24, 0x10000, true)
    expect(core.x87Op(CPU, ops.X87_LDMXCSR, 0, BUFFER)).toBe(13)
    expect(core.x87Op(CPU, ops.X87_FXRSTOR, 0, BUFFER)).toBe(13)
    expect(view.getUint32(CPU + MXCSR, true)).toBe(0x1f80)
    expect(view.getUint16(CPU + FCW, true)).toBe(0x37f)
  })

  test('FNSAVE and FRSTOR agree with each other in both sizes and initialise in between', () => {
    for (const [save, load, length] of [[ops.X87_FNSAVE, ops.X87_FRSTOR, 108], [ops.X87_FNSAVE94, ops.X87_FRSTOR94, 94]] as const) {
      resetCpu()
      restore(['27f', '2801', '3'], ['bfff:8000000000000000', '0:0', '7fff:c000000000000001'])
      const registers = hex(CPU + FPR, 128)
      bytes.fill(0xaa, BUFFER, BUFFER + 128)
      core.x87Op(CPU, save, 0, BUFFER)
      expect([view.getUint16(CPU + FCW, true), view.getUint16(CPU + FSW, true), view.getUint8(CPU + FTW)]).toEqual([0x37f, 0, 0])
      expect(hex(BUFFER + length, 128 - length)).toBe('aa'.repeat(128 - length))
      core.x87Op(CPU, load, 0, BUFFER)
      expect(hex(CPU + FPR, 128)).toBe(registers)
      expect([view.getUint16(CPU + FCW, true), view.getUint16(CPU + FSW, true), view.getUint8(CPU + FTW)]).toEqual([0x27f, 0x2801, 0xfe])
    }
  })

  test('the real-mode environment has linear addresses and the opcode', () => {
    resetCpu()
    view.setUint32(CPU + CR0, 0, true)
    view.setBigUint64(CPU + FIP, 0x2345n, true)
    view.setUint16(CPU + 1312, 0x1000, true)
    view.setUint16(CPU + FOP, 0x5d8, true)
    core.x87Op(CPU, ops.X87_FNSTENV14, 0, BUFFER)
    expect(hex(BUFFER, 14)).toBe('7f03' + '0000' + 'ffff' + '4523' + 'd815' + '0000' + '0000')
  })
})

describe('soft float', () => {
  test('gives the results and flags of a real processor', () => {
    const table = vectors('softfloat-vectors.txt')
    const wrong: string[] = []
    for (const line of table) {
      const [what = '', mxcsrText = '', a = '', b = '', want = '', flags = ''] = line
      const [name = '', argument] = what.split('.')
      const mxcsr = parseInt(mxcsrText, 16)
      const narrow = name.startsWith('f32') || name.startsWith('i32')
      const operand = (text: string): number | bigint => narrow ? parseInt(text, 16) : BigInt(`0x${text}`)
      const operands: (number | bigint)[] = [operand(a)]
      if (b !== '-') operands.push(operand(b))
      if (name.endsWith('Round')) operands.push(Number(argument), argument === '3' ? 1 : 0) // round to zero was captured without the inexact flag
      else if (/ToI|Compare/.test(name)) operands.push(argument === undefined ? 0 : 1)

      core.sfSetRound((mxcsr >> 13) & 3)
      core.sfSetFlags(0)
      core.sfSetMask(0x3f)
      core.sfSetDenormals(mxcsr & 0x40, mxcsr & 0x8000)
      let result = functions[name]?.(...operands) ?? 0
      if (name.endsWith('Compare')) result = result === 2 ? 0x45 : result === 0 ? 0x40 : result === -1 ? 1 : 0
      const wide = /F64$|I64$|I32$|^f64(?!To)/.test(name) // integers were captured sign-extended
      const got = BigInt.asUintN(wide ? 64 : 32, BigInt(result)).toString(16)
      if (got !== want || core.sfFlags.value !== parseInt(flags, 16)) wrong.push(`${line.join(' ')} but got ${got} ${core.sfFlags.value}`)
    }
    expect(wrong).toEqual([])
    expect(table.length).toBeGreaterThan(250)
  })

  test('the short way for inexact results agrees with the long one', () => {
    let seed = 1
    const random = (): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0)
    const view64 = new DataView(new ArrayBuffer(8))
    core.sfSetRound(0)
    core.sfSetMask(0x3f)
    core.sfSetDenormals(0, 0)
    for (let i = 0; i < 4000; i++) {
      view64.setUint32(0, random())
      view64.setUint32(4, random())
      const a = view64.getBigUint64(0)
      view64.setUint32(0, i & 1 ? random() : view64.getUint32(0) ^ (random() & 0x00300000))
      const b = view64.getBigUint64(0)
      for (const name of ['f64Add', 'f64Sub', 'f64Mul', 'f64Div'] as const) {
        core.sfSetFlags(0)
        const long = functions[name]?.(a, b)
        core.sfSetFlags(0x20)
        expect([name, a, b, functions[name]?.(a, b)]).toEqual([name, a, b, long])
      }
    }
  })

  test('an unmasked exception found before the operation hides those found after it', () => {
    core.sfSetRound(0)
    core.sfSetFlags(0)
    core.sfSetMask(0x3d) // DE unmasked
    core.sfSetDenormals(0, 0)
    functions['f64Mul']?.(1n, 0x3fd5555555555555n) // denormal times a third: DE, UE, PE
    expect(core.sfFlags.value).toBe(0x32)
    expect(core.sfUnmasked()).toBe(2)
    expect(core.sfFlags.value).toBe(2)
  })
})

describe('decode rows', () => {
  test('no encoding matches two rows, and the documented holes match none', () => {
    const holes: string[] = []
    for (let op = 0xd8; op <= 0xdf; op++) {
      for (let modrm = 0; modrm < 256; modrm++) {
        const form = modrm >= 0xc0 ? 'r' : 'm'
        const found = X87_ROWS.filter((row) => row.op === op && row.mod === form && row.reg === ((modrm >> 3) & 7) &&
          (row.rm === undefined || row.rm === (modrm & 7)))
        expect(found.length).toBeLessThanOrEqual(1)
        if (found.length === 0 && (modrm & 7) === 0) holes.push(`${op.toString(16)}/${(modrm >> 3) & 7}${form}`)
      }
    }
    expect([...new Set(holes)]).toEqual(['d9/1m', 'da/4r', 'da/5r', 'da/6r', 'da/7r', 'db/4m', 'db/6m', 'db/7r', 'dd/5m', 'dd/6r', 'dd/7r', 'de/3r',
      'df/7r'])
  })

  test('every handler has a number of its own', () => {
    const values = Object.values(numbers)
    expect(new Set(values).size).toBe(values.length)
    for (const row of X87_ROWS) expect(numbers[row.handler], row.handler).toBeTypeOf('number')
    for (const name of X87_NO_WAIT) expect(numbers[name], name).toBeTypeOf('number')
  })
})
