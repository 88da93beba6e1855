/**
 * WebAssembly's binary format (core specification, chapter 5), as far as the translator writes it: instructions into a growing list, modules of functions
 * that import a memory and functions and export theirs. Nothing is checked here; V8 validates every module.
 */

export const I32 = 0x7f, I64 = 0x7e, F32 = 0x7d, F64 = 0x7c, V128 = 0x7b, VOID = 0x40

/** Opcodes that take no immediate operand. */
export const OP = {
  unreachable: 0x00, else: 0x05, end: 0x0b, return: 0x0f, drop: 0x1a, select: 0x1b,
  i32_eqz: 0x45, i32_eq: 0x46, i32_ne: 0x47, i32_lt_s: 0x48, i32_lt_u: 0x49, i32_gt_s: 0x4a, i32_gt_u: 0x4b, i32_le_s: 0x4c, i32_le_u: 0x4d, i32_ge_s: 0x4e, i32_ge_u: 0x4f,
  i64_eqz: 0x50, i64_eq: 0x51, i64_ne: 0x52, i64_lt_s: 0x53, i64_lt_u: 0x54, i64_gt_s: 0x55, i64_gt_u: 0x56, i64_le_s: 0x57, i64_le_u: 0x58, i64_ge_s: 0x59, i64_ge_u: 0x5a,
  i32_clz: 0x67, i32_ctz: 0x68, i32_popcnt: 0x69, i32_add: 0x6a, i32_sub: 0x6b, i32_mul: 0x6c, i32_and: 0x71, i32_or: 0x72, i32_xor: 0x73, i32_shl: 0x74, i32_shr_s: 0x75,
  i32_shr_u: 0x76, i32_rotl: 0x77, i32_rotr: 0x78,
  i64_clz: 0x79, i64_ctz: 0x7a, i64_popcnt: 0x7b, i64_add: 0x7c, i64_sub: 0x7d, i64_mul: 0x7e, i64_and: 0x83, i64_or: 0x84, i64_xor: 0x85, i64_shl: 0x86, i64_shr_s: 0x87,
  i64_shr_u: 0x88, i64_rotl: 0x89, i64_rotr: 0x8a,
  f32_eq: 0x5b, f32_ne: 0x5c, f32_lt: 0x5d, f32_gt: 0x5e, f32_le: 0x5f, f64_eq: 0x61, f64_ne: 0x62, f64_lt: 0x63, f64_gt: 0x64, f64_le: 0x65,
  f32_abs: 0x8b, f32_sqrt: 0x91, f32_add: 0x92, f32_sub: 0x93, f32_mul: 0x94, f32_div: 0x95, f64_abs: 0x99, f64_sqrt: 0x9f, f64_add: 0xa0, f64_sub: 0xa1, f64_mul: 0xa2, f64_div: 0xa3,
  f32_demote: 0xb6, f64_convert_i32: 0xb7, f64_convert_i64: 0xb9, f64_promote: 0xbb, i32_reinterpret: 0xbc, i64_reinterpret: 0xbd,
  i32_wrap: 0xa7, i64_extend_s: 0xac, i64_extend_u: 0xad, i32_extend8_s: 0xc0, i32_extend16_s: 0xc1, i64_extend8_s: 0xc2, i64_extend16_s: 0xc3, i64_extend32_s: 0xc4,
} as const

/** Opcodes followed by alignment and offset. */
export const MEM = {
  i32_load: 0x28, i64_load: 0x29, i32_load8_s: 0x2c, i32_load8_u: 0x2d, i32_load16_s: 0x2e, i32_load16_u: 0x2f, i64_load8_u: 0x31, i64_load16_u: 0x33, i64_load32_s: 0x34,
  i64_load32_u: 0x35, f32_load: 0x2a, f64_load: 0x2b, i32_store: 0x36, i64_store: 0x37, i32_store8: 0x3a, i32_store16: 0x3b, i64_store32: 0x3e,
} as const

/** Opcodes behind the prefix 0xfd that take operands from the stack only; those with `lane` in their name take a lane number, too. */
export const SIMD = {
  i8x16_swizzle: 14, i8x16_extract_lane_u: 22, i8x16_replace_lane: 23, i16x8_extract_lane_u: 25, i16x8_replace_lane: 26, i32x4_extract_lane: 27, i32x4_replace_lane: 28, i64x2_extract_lane: 29,
  i64x2_replace_lane: 30, f32x4_extract_lane: 31, f32x4_replace_lane: 32, f64x2_extract_lane: 33, f64x2_replace_lane: 34,
  i8x16_eq: 35, i8x16_gt_s: 39, i16x8_eq: 45, i16x8_gt_s: 49, i32x4_eq: 55, i32x4_gt_s: 59, f32x4_eq: 65, f32x4_lt: 67, f32x4_gt: 68, f32x4_ge: 70, f64x2_eq: 71, f64x2_lt: 73, f64x2_gt: 74, f64x2_ge: 76,
  v128_and: 78, v128_andnot: 79, v128_or: 80, v128_xor: 81, i8x16_abs: 96, i8x16_bitmask: 100, i8x16_narrow_i16x8_s: 101, i8x16_narrow_i16x8_u: 102, i8x16_add: 110, i8x16_add_sat_s: 111, i8x16_add_sat_u: 112,
  i8x16_sub: 113, i8x16_sub_sat_s: 114, i8x16_sub_sat_u: 115, i8x16_min_s: 118, i8x16_min_u: 119, i8x16_max_s: 120, i8x16_max_u: 121, i8x16_avgr_u: 123, i16x8_abs: 128, i16x8_narrow_i32x4_s: 133,
  i16x8_narrow_i32x4_u: 134, i16x8_shl: 139, i16x8_shr_s: 140, i16x8_shr_u: 141, i16x8_add: 142, i16x8_add_sat_s: 143, i16x8_add_sat_u: 144, i16x8_sub: 145, i16x8_sub_sat_s: 146, i16x8_sub_sat_u: 147,
  i16x8_mul: 149, i16x8_min_s: 150, i16x8_min_u: 151, i16x8_max_s: 152, i16x8_max_u: 153, i16x8_avgr_u: 155, i32x4_abs: 160, i32x4_all_true: 163, i32x4_bitmask: 164, i32x4_shl: 171, i32x4_shr_s: 172,
  i32x4_shr_u: 173, i32x4_add: 174, i32x4_sub: 177, i32x4_mul: 181, i32x4_min_s: 182, i32x4_min_u: 183, i32x4_max_s: 184, i32x4_max_u: 185, i32x4_dot_i16x8_s: 186, i64x2_all_true: 195, i64x2_bitmask: 196,
  i64x2_shl: 203, i64x2_shr_u: 205, i64x2_add: 206, i64x2_sub: 209, i64x2_mul: 213, i64x2_eq: 214, i64x2_gt_s: 217, f32x4_abs: 224, f32x4_sqrt: 227, f32x4_add: 228, f32x4_sub: 229, f32x4_mul: 230, f32x4_div: 231,
  f64x2_abs: 236, f64x2_sqrt: 239, f64x2_add: 240, f64x2_sub: 241, f64x2_mul: 242, f64x2_div: 243, f64x2_convert_low_i32x4_s: 254,
} as const

/** ... followed by alignment and offset. */
export const SIMD_MEM = { v128_load: 0, v128_load32_zero: 92, v128_load64_zero: 93, v128_store: 11 } as const

export function unsigned(out: number[], value: number): void {
  let rest = value >>> 0
  while (rest >= 0x80) {
    out.push(rest & 0x7f | 0x80)
    rest >>>= 7
  }
  out.push(rest)
}

export function signed(out: number[], value: number): void {
  let rest = value | 0
  for (;;) {
    const byte = rest & 0x7f
    rest >>= 7
    if (rest === 0 && (byte & 0x40) === 0 || rest === -1 && (byte & 0x40) !== 0) {
      out.push(byte)
      return
    }
    out.push(byte | 0x80)
  }
}

/** A label that `br` can name. */
export type Label = number

/** The body of one function. */
export class Code {
  readonly bytes: number[] = []
  /** places in `bytes` that hold the number of a local, one byte each */
  readonly locals: number[] = []
  /** open blocks */
  #depth = 0

  op(...opcodes: readonly number[]): this {
    for (const opcode of opcodes) this.bytes.push(opcode)
    return this
  }
  /** Locals have numbers below 128. */
  get(local: number): this {
    this.locals.push(this.bytes.push(0x20))
    this.bytes.push(local)
    return this
  }
  set(local: number): this {
    this.locals.push(this.bytes.push(0x21))
    this.bytes.push(local)
    return this
  }
  tee(local: number): this {
    this.locals.push(this.bytes.push(0x22))
    this.bytes.push(local)
    return this
  }
  i32(value: number): this {
    this.bytes.push(0x41)
    signed(this.bytes, value)
    return this
  }
  /** The 64-bit number of two halves. */
  i64(low: number, high = low >> 31): this {
    const out = this.bytes
    out.push(0x42)
    let lo = low | 0, hi = high | 0
    for (;;) {
      const byte = lo & 0x7f
      lo = lo >>> 7 | hi << 25
      hi >>= 7
      if (hi === 0 && lo === 0 && (byte & 0x40) === 0 || hi === -1 && lo === -1 && (byte & 0x40) !== 0) {
        out.push(byte)
        return this
      }
      out.push(byte | 0x80)
    }
  }
  /** A load or store at the address on the stack. Alignment is only a hint and given as none. */
  memory(opcode: number, offset: number): this {
    this.bytes.push(opcode, 0)
    unsigned(this.bytes, offset)
    return this
  }
  simd(opcode: number): this {
    this.bytes.push(0xfd)
    unsigned(this.bytes, opcode)
    return this
  }
  lane(opcode: number, lane: number): this {
    this.simd(opcode).bytes.push(lane)
    return this
  }
  simdMemory(opcode: number, offset: number): this {
    this.simd(opcode).bytes.push(0)
    unsigned(this.bytes, offset)
    return this
  }
  /** A constant of four words, lowest first. */
  v128(words: readonly number[]): this {
    this.simd(12)
    for (const word of words) this.bytes.push(word & 0xff, word >>> 8 & 0xff, word >>> 16 & 0xff, word >>> 24)
    return this
  }
  /** Bytes of the two vectors on the stack: 0 to 15 of the lower, 16 to 31 of the upper one. */
  shuffle(lanes: readonly number[]): this {
    this.simd(13).bytes.push(...lanes)
    return this
  }
  /** The number whose halves these are. */
  f64(low: number, high: number): this {
    this.bytes.push(0x44)
    for (const word of [low, high]) this.bytes.push(word & 0xff, word >>> 8 & 0xff, word >>> 16 & 0xff, word >>> 24)
    return this
  }
  /** Truncation that does not trap. @param opcode behind the prefix 0xfc */
  saturate(opcode: number): this {
    this.bytes.push(0xfc, opcode)
    return this
  }
  call(index: number): this {
    this.bytes.push(0x10)
    unsigned(this.bytes, index)
    return this
  }
  /** @param type a value type, VOID, or the index of a function type */
  block(type: number = VOID): Label {
    return this.#open(0x02, type)
  }
  loop(): Label {
    return this.#open(0x03, VOID)
  }
  if(type: number = VOID): Label {
    return this.#open(0x04, type)
  }
  else(): this {
    this.bytes.push(OP.else)
    return this
  }
  end(): this {
    this.#depth--
    this.bytes.push(OP.end)
    return this
  }
  br(label: Label): this {
    this.bytes.push(0x0c)
    unsigned(this.bytes, this.#depth - label)
    return this
  }
  brIf(label: Label): this {
    this.bytes.push(0x0d)
    unsigned(this.bytes, this.#depth - label)
    return this
  }

  #open(opcode: number, type: number): Label {
    this.bytes.push(opcode)
    if (type >= 0x40) this.bytes.push(type)
    else signed(this.bytes, type)
    return ++this.#depth
  }
}

export interface FunctionType { readonly parameters: readonly number[]; readonly results: readonly number[] }
export interface ImportedFunction { readonly module: string; readonly name: string; readonly type: number }
export interface WasmFunction { readonly type: number; readonly locals: readonly { readonly count: number; readonly type: number }[]; readonly body: readonly number[]; readonly name: string }

/** @param memory limits of the imported memory `env.memory`, shared; undefined: none */
export function moduleBytes(types: readonly FunctionType[], imports: readonly ImportedFunction[], functions: readonly WasmFunction[], memory: { readonly initial: number; readonly maximum: number } | undefined): Uint8Array {
  const out: number[] = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
  const section = (id: number, content: number[]): void => {
    out.push(id)
    unsigned(out, content.length)
    append(out, content)
  }
  const list = <T>(items: readonly T[], write: (content: number[], item: T, index: number) => void): number[] => {
    const content: number[] = []
    unsigned(content, items.length)
    items.forEach((item, index) => { write(content, item, index) })
    return content
  }
  section(1, list(types, (content, { parameters, results }) => content.push(0x60, parameters.length, ...parameters, results.length, ...results)))
  const imported = list(imports, (content, { module, name, type }) => {
    text(content, module)
    text(content, name)
    content.push(0)
    unsigned(content, type)
  })
  if (memory !== undefined) {
    imported[0] = (imported[0] as number) + 1 // fewer than 127 imports
    text(imported, 'env')
    text(imported, 'memory')
    imported.push(2, 3)
    unsigned(imported, memory.initial)
    unsigned(imported, memory.maximum)
  }
  section(2, imported)
  section(3, list(functions, (content, { type }) => { unsigned(content, type) }))
  section(7, list(functions, (content, { name }, index) => {
    text(content, name)
    content.push(0)
    unsigned(content, imports.length + index)
  }))
  section(10, list(functions, (content, { locals, body }) => {
    const code = list(locals, (into, { count, type }) => {
      unsigned(into, count)
      into.push(type)
    })
    unsigned(content, code.length + body.length)
    append(content, code)
    append(content, body)
  }))
  return Uint8Array.from(out)
}

function append(out: number[], more: readonly number[]): void {
  for (const byte of more) out.push(byte)
}

function text(out: number[], value: string): void {
  const bytes = Buffer.from(value)
  unsigned(out, bytes.length)
  out.push(...bytes)
}
