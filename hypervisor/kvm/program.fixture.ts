/**
 * Programs for bare guests, put together from functions named after instructions (Intel SDM volume 2), so that no assembler is needed.
 * The same functions serve 16-, 32- and 64-bit code; labels are within reach of a short jump unless said otherwise.
 */
export type Bits = 16 | 32 | 64
export type Size = 1 | 2 | 4 | 8
export type Register = 'eax' | 'ecx' | 'edx' | 'ebx' | 'esp' | 'ebp' | 'esi' | 'edi'

const REGISTERS: readonly Register[] = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi']
const OPERAND_SIZE = 0x66, ADDRESS_SIZE = 0x67, REX_W = 0x48, REP = 0xf3
const CONDITIONS = { always: 0xeb, zero: 0x74, notZero: 0x75, carry: 0x72, noCarry: 0x73 } as const
const POINTER_EBX = 0x03 // ModRM: register eax, memory at [ebx]

export class Program {
  readonly bits: Bits
  readonly origin: number
  readonly #bytes: number[] = []
  readonly #labels = new Map<string, number>()
  readonly #jumps: { readonly at: number; readonly label: string }[] = []

  constructor(bits: Bits, origin = 0x1000) {
    this.bits = bits
    this.origin = origin
  }

  raw(...bytes: number[]): this {
    this.#bytes.push(...bytes)
    return this
  }

  label(name: string): this {
    this.#labels.set(name, this.#bytes.length)
    return this
  }

  jump(label: string, condition: keyof typeof CONDITIONS = 'always'): this {
    this.raw(CONDITIONS[condition])
    this.#jumps.push({ at: this.#bytes.length, label })
    return this.raw(0)
  }

  /** mov register, value (zero-extended in 64-bit code) */
  mov(register: Register, value: number): this {
    return this.#prefix(4).raw(0xb8 + REGISTERS.indexOf(register), ...little(value, 4))
  }

  /** mov rax, value */
  movWide(value: bigint): this {
    return this.raw(REX_W, 0xb8, ...Array.from({ length: 8 }, (_, at) => Number((value >> BigInt(8 * at)) & 0xffn)))
  }

  /** out dx, al/ax/eax */
  outDx(size: Size): this {
    return this.#prefix(size).raw(size === 1 ? 0xee : 0xef)
  }

  /** in al/ax/eax, dx */
  inDx(size: Size): this {
    return this.#prefix(size).raw(size === 1 ? 0xec : 0xed)
  }

  out(port: number, size: Size, value: number): this {
    return this.mov('edx', port).mov('eax', value).outDx(size)
  }

  /** Reads a port into eax, whose upper bits are 0. */
  in(port: number, size: Size): this {
    return this.mov('edx', port).mov('eax', 0).inDx(size)
  }

  /** mov [ebx], al/ax/eax/rax */
  store(size: Size): this {
    return this.#memory(size).raw(size === 1 ? 0x88 : 0x89, POINTER_EBX)
  }

  /** mov al/ax/eax/rax, [ebx] */
  load(size: Size): this {
    return this.#memory(size).raw(size === 1 ? 0x8a : 0x8b, POINTER_EBX)
  }

  write(address: number, size: 1 | 2 | 4, value: number): this {
    return this.mov('ebx', address).mov('eax', value).store(size)
  }

  /** Reads memory into eax, whose upper bits are 0. */
  read(address: number, size: 1 | 2 | 4): this {
    return this.mov('ebx', address).mov('eax', 0).load(size)
  }

  /** rep outs dx, [esi], with ecx elements */
  repOuts(size: 1 | 2 | 4): this {
    return this.#prefix(size).#address().raw(REP, size === 1 ? 0x6e : 0x6f)
  }

  /** rep ins [edi], dx, with ecx elements */
  repIns(size: 1 | 2 | 4): this {
    return this.#prefix(size).#address().raw(REP, size === 1 ? 0x6c : 0x6d)
  }

  /** mov to, from */
  copy(to: Register, from: Register): this {
    return this.#prefix(4).raw(0x89, 0xc0 + REGISTERS.indexOf(from) * 8 + REGISTERS.indexOf(to))
  }

  /** cmp a, b */
  compare(a: Register, b: Register): this {
    return this.#prefix(4).raw(0x39, 0xc0 + REGISTERS.indexOf(b) * 8 + REGISTERS.indexOf(a))
  }

  /** cmp register, value */
  compareWith(register: Register, value: number): this {
    return this.#prefix(4).raw(0x81, 0xf8 + REGISTERS.indexOf(register), ...little(value, 4))
  }

  /** Writes a register to memory; takes eax and ebx. */
  writeFrom(register: Register, address: number, size: 1 | 2 | 4 = 4): this {
    return this.copy('eax', register).mov('ebx', address).store(size)
  }

  /** Waits until a word in memory has the value of a register; takes eax and ebx. */
  waitFor(address: number, register: Register): this {
    const label = `wait at ${this.#bytes.length}`
    return this.label(label).read(address, 4).compare('eax', register).jump(label, 'notZero')
  }

  inc(register: Register): this {
    return this.#prefix(4).raw(0xff, 0xc0 + REGISTERS.indexOf(register))
  }

  dec(register: Register): this {
    return this.#prefix(4).raw(0xff, 0xc8 + REGISTERS.indexOf(register))
  }

  /** test al, value */
  testAl(value: number): this {
    return this.raw(0xa8, value)
  }

  /** cmp al, value */
  compareAl(value: number): this {
    return this.raw(0x3c, value)
  }

  enableInterrupts(): this { return this.raw(0xfb) }
  disableInterrupts(): this { return this.raw(0xfa) }
  halt(): this { return this.raw(0xf4) }
  pauseHint(): this { return this.raw(REP, 0x90) }
  interruptReturn(): this { return this.bits === 64 ? this.raw(REX_W, 0xcf) : this.raw(0xcf) }

  /** cli; 1: hlt; jmp 1b */
  stop(): this {
    const label = `stop at ${this.#bytes.length}`
    return this.disableInterrupts().label(label).halt().jump(label)
  }

  /** 1: jmp 1b */
  spin(): this {
    const label = `spin at ${this.#bytes.length}`
    return this.label(label).jump(label)
  }

  addressOf(label: string): number {
    const offset = this.#labels.get(label)
    if (offset === undefined) throw new Error(`the program has no label ${label}`)
    return this.origin + offset
  }

  get bytes(): Uint8Array {
    const bytes = Uint8Array.from(this.#bytes)
    for (const { at, label } of this.#jumps) {
      const distance = this.addressOf(label) - this.origin - at - 1
      if (distance < -128 || distance > 127) throw new Error(`${label} is ${distance} bytes away: too far for a short jump`)
      bytes[at] = distance & 0xff
    }
    return bytes
  }

  /** Operand size of an instruction whose opcode serves two of them. */
  #prefix(size: Size): this {
    const natural = this.bits === 16 ? 2 : 4
    return (size === 2 || size === 4) && size !== natural ? this.raw(OPERAND_SIZE) : this
  }

  /** Pointers are 32 bits wide in every mode. */
  #address(): this {
    return this.bits === 32 ? this : this.raw(ADDRESS_SIZE)
  }

  #memory(size: Size): this {
    this.#prefix(size).#address()
    return size === 8 ? this.raw(REX_W) : this
  }
}

function little(value: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => (value >>> (8 * at)) & 0xff)
}
