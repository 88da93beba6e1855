/**
 * WebAssembly's binary format (core specification, chapter 5), as far as the translator writes it: instructions into a growing list, modules of functions
 * that import a memory and functions and export theirs. Nothing is checked here; V8 validates every module.
 */

export const I32 = 0x7f, I64 = 0x7e, V128 = 0x7b, VOID = 0x40

/** Opcodes that take no immediate operand. */
export const OP = {
  unreachable: 0x00, else: 0x05, end: 0x0b, return: 0x0f, drop: 0x1a, select: 0x1b,
  i32_eqz: 0x45, i32_eq: 0x46, i32_ne: 0x47, i32_lt_s: 0x48, i32_lt_u: 0x49, i32_gt_s: 0x4a, i32_gt_u: 0x4b, i32_le_s: 0x4c, i32_le_u: 0x4d, i32_ge_s: 0x4e, i32_ge_u: 0x4f,
  i64_eqz: 0x50, i64_eq: 0x51, i64_ne: 0x52, i64_lt_s: 0x53, i64_lt_u: 0x54, i64_gt_s: 0x55, i64_gt_u: 0x56, i64_le_s: 0x57, i64_le_u: 0x58, i64_ge_s: 0x59, i64_ge_u: 0x5a,
  i32_clz: 0x67, i32_ctz: 0x68, i32_popcnt: 0x69, i32_add: 0x6a, i32_sub: 0x6b, i32_mul: 0x6c, i32_and: 0x71, i32_or: 0x72, i32_xor: 0x73, i32_shl: 0x74, i32_shr_s: 0x75,
  i32_shr_u: 0x76, i32_rotl: 0x77, i32_rotr: 0x78,
  i64_clz: 0x79, i64_ctz: 0x7a, i64_popcnt: 0x7b, i64_add: 0x7c, i64_sub: 0x7d, i64_mul: 0x7e, i64_and: 0x83, i64_or: 0x84, i64_xor: 0x85, i64_shl: 0x86, i64_shr_s: 0x87,
  i64_shr_u: 0x88, i64_rotl: 0x89, i64_rotr: 0x8a,
  i32_wrap: 0xa7, i64_extend_s: 0xac, i64_extend_u: 0xad, i32_extend8_s: 0xc0, i32_extend16_s: 0xc1, i64_extend8_s: 0xc2, i64_extend16_s: 0xc3, i64_extend32_s: 0xc4,
} as const

/** Opcodes followed by alignment and offset. */
export const MEM = {
  i32_load: 0x28, i64_load: 0x29, i32_load8_s: 0x2c, i32_load8_u: 0x2d, i32_load16_s: 0x2e, i32_load16_u: 0x2f, i64_load8_u: 0x31, i64_load16_u: 0x33, i64_load32_s: 0x34,
  i64_load32_u: 0x35, i32_store: 0x36, i64_store: 0x37, i32_store8: 0x3a, i32_store16: 0x3b, i64_store32: 0x3e,
} as const

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
