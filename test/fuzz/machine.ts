/**
 * The software CPU alone, in this process, as a hostile guest meets it: two vCPUs, little RAM, a ROM, a tiny decoded-instruction cache, canaries
 * between all areas. `check` says what no guest may ever bring about.
 */
import fs from 'node:fs'
import * as L from '../../hypervisor/tcg/core/layout.ts'

/** Node's WebAssembly: its types come without the constructors unless the DOM library is in. */
const wasm = (globalThis as unknown as { WebAssembly: {
  Memory: new (options: { initial: number, maximum: number, shared: boolean }) => { readonly buffer: SharedArrayBuffer }
  Module: new (code: Uint8Array) => object
  Instance: new (module: object, imports: object) => { readonly exports: unknown }
} }).WebAssembly

export interface Core {
  initialise(): void
  resetCpu(cpu: number, index: number, init: number): void
  refreshCpu(cpu: number): void
  runCpu(cpu: number, instructions: bigint): number
  runMachine(rounds: number): number
  skipIdle(): number
  stepCpu(cpu: number): number
  invalidateRange(host: number, length: number): void
  flushAll(): void
  setSpecialised(on: number): void
  irqLine(gsi: number, level: number): void
}

export const CPUS = 2
const MEMORY_PAGES = 1024 // what core.wasm asks for; RAM ends with it
const CANARY = 0x1000
const PATTERN = 0xa5
const PATTERNS = Buffer.alloc(0x4000, PATTERN)

export const RAM_LOW = 0x8_0000 // guest-physical 0 ..
export const ROM_START = 0xffff_0000, ROM_SIZE = 0x1_0000
export const RAM_HIGH_START = 0x1_0000_0000, RAM_HIGH = 0x4_0000
const BACKED = RAM_LOW + ROM_SIZE + RAM_HIGH
const RAM_BASE = MEMORY_PAGES * 0x1_0000 - CANARY - BACKED
const BLOCK_ENTRIES = 0x400
const UOP_BYTES = 0x1_0000
const UOP_BASE = RAM_BASE - CANARY - UOP_BYTES
const BLOCK_TABLE = UOP_BASE - CANARY - BLOCK_ENTRIES * 4
const PAGE_INFO_BYTES = BACKED / 0x1000 * L.PAGE_BYTES
const PAGE_INFO = BLOCK_TABLE - CANARY - PAGE_INFO_BYTES
const AREAS_END = L.CPU_AREA + CPUS * L.CPU_STRIDE
const EXIT_REASONS = 4
const TLBS = [
  [L.TLB_KERNEL_READ, false], [L.TLB_KERNEL_WRITE, true], [L.TLB_KERNEL_FETCH, false], [L.TLB_USER_READ, false], [L.TLB_USER_WRITE, true], [L.TLB_USER_FETCH, false],
] as const

export const cpuAt = (index: number): number => L.CPU_AREA + index * L.CPU_STRIDE

/** MSR number of IA32_APIC_BASE and friends are the guest's business; the CPUID table here only says what physical width there is. */
const CPUID_ENTRIES: readonly (readonly number[])[] = [
  [0, 0xffff_ffff, 7, 0x756e_6547, 0x6c65_746e, 0x4965_6e69], [1, 0xffff_ffff, 0x606a6, 0, 0, 0x200], [0x8000_0008, 0xffff_ffff, 46 | 48 << 8, 0, 0, 0],
]

export class FuzzMachine {
  readonly core: Core
  readonly view: DataView
  readonly bytes: Uint8Array
  /** What went wrong on the bus; the host must not throw into the core. */
  readonly busFaults: string[] = []
  private readonly words: Uint32Array
  private readonly constants: readonly (readonly [number, number])[]
  private readonly rom = Buffer.alloc(ROM_SIZE)
  private answer = 1

  constructor(file: string) {
    const memory = new wasm.Memory({ initial: MEMORY_PAGES, maximum: 65_536, shared: true })
    this.bytes = new Uint8Array(memory.buffer)
    this.view = new DataView(memory.buffer)
    this.words = new Uint32Array(memory.buffer)
    const env = {
      memory,
      busRead: (space: number, low: number, high: number, size: number): number => this.busAccess('read', space, low, high, size),
      busWrite: (space: number, low: number, high: number, size: number): void => { this.busAccess('write', space, low, high, size) },
      hostNs: () => 0,
      hostRandom: () => this.nextAnswer(),
    }
    this.core = new wasm.Instance(new wasm.Module(fs.readFileSync(file)), { env }).exports as Core
    // Tables of the core: whatever is not zero now is a constant. Buffers start as zeros.
    this.constants = [...this.words.slice(0, L.GLOBALS / 4)].map((value, at) => [at, value] as const).filter(([, value]) => value !== 0)
    this.bytes.fill(PATTERN, AREAS_END)
  }

  /** Wasm offset of a guest-physical address, -1 outside RAM and ROM. */
  host(physical: number): number {
    if (physical < RAM_LOW) return RAM_BASE + physical
    if (physical >= ROM_START && physical < ROM_START + ROM_SIZE) return RAM_BASE + RAM_LOW + physical - ROM_START
    if (physical >= RAM_HIGH_START && physical < RAM_HIGH_START + RAM_HIGH) return RAM_BASE + RAM_LOW + ROM_SIZE + physical - RAM_HIGH_START
    return -1
  }

  /** Power-up with zeroed RAM, and a ROM of `rom`. */
  reset(seed: number, rom: Uint8Array): void {
    const { view } = this
    const set = (at: number, value: number): void => { view.setUint32(at, value, true) }
    this.answer = seed | 1
    this.busFaults.length = 0
    this.bytes.fill(0, L.GLOBALS, AREAS_END)
    this.bytes.fill(0, UOP_BASE, UOP_BASE + UOP_BYTES)
    this.bytes.fill(0, RAM_BASE, RAM_BASE + BACKED)
    this.rom.set(rom)
    this.bytes.set(this.rom, RAM_BASE + RAM_LOW)
    set(L.G_CPU_COUNT, CPUS)
    set(L.G_CLOCK_MODE, 1)
    set(L.G_ICOUNT_SHIFT, 3)
    set(L.G_UOP_BASE, UOP_BASE); set(L.G_UOP_END, UOP_BASE + UOP_BYTES); set(L.G_UOP_NEXT, UOP_BASE)
    set(L.G_BLOCK_TABLE, BLOCK_TABLE); set(L.G_BLOCK_MASK, BLOCK_ENTRIES - 1)
    set(L.G_PAGE_INFO, PAGE_INFO)
    set(L.G_RAM_BASE, RAM_BASE); set(L.G_RAM_END, RAM_BASE + BACKED)
    const ranges = [[0, RAM_LOW, 0], [ROM_START, ROM_SIZE, L.RANGE_READ_ONLY], [RAM_HIGH_START, RAM_HIGH, 0]] as const
    set(L.G_RANGE_COUNT, ranges.length)
    ranges.forEach(([start, size, flags], index) => {
      const at = L.G_RANGES + index * 32
      view.setBigUint64(at, BigInt(start), true)
      view.setBigUint64(at + 8, BigInt(start + size), true)
      set(at + 16, this.host(start))
      set(at + 20, flags)
    })
    this.core.initialise()
    this.core.skipIdle() // the core's instruction count starts at 0 again, or a case would depend on the one before
    for (let index = 0; index < CPUS; index++) {
      this.core.resetCpu(cpuAt(index), index, 0)
      set(cpuAt(index) + L.CPUID_COUNT, CPUID_ENTRIES.length)
      CPUID_ENTRIES.forEach((entry, number) => entry.forEach((word, part) => { set(cpuAt(index) + L.CPUID_TABLE + number * 32 + part * 4, word) }))
    }
  }

  /** @returns what is wrong, '' if nothing is */
  check(): string {
    return this.busFaults[0] ?? (this.checkMemory() || this.checkControl() || this.checkCpus())
  }

  private checkMemory(): string {
    const canaries = [[AREAS_END, PAGE_INFO, 'vCPU blocks'], [PAGE_INFO + PAGE_INFO_BYTES, BLOCK_TABLE, 'page records'], [BLOCK_TABLE + BLOCK_ENTRIES * 4, UOP_BASE, 'block table'],
      [UOP_BASE + UOP_BYTES, RAM_BASE, 'decoded instructions'], [RAM_BASE + BACKED, this.bytes.length, 'RAM']] as const
    for (const [from, to, name] of canaries) {
      // The wide gap behind the vCPU blocks is looked at near its ends only.
      const ends = to - from > 0x4000 ? [[from, from + 0x2000], [to - 0x2000, to]] as const : [[from, to]] as const
      for (const [start, end] of ends) if (PATTERNS.compare(this.bytes, start, end, 0, end - start) !== 0) return `a write behind the ${name}`
    }
    for (const [at, value] of this.constants) if (this.words[at] !== value) return `a table of the core changed, at 0x${(at * 4).toString(16)}`
    if (this.rom.compare(this.bytes, RAM_BASE + RAM_LOW, RAM_BASE + RAM_LOW + ROM_SIZE) !== 0) return 'the ROM changed'
    return ''
  }

  private checkControl(): string {
    const { view } = this
    const word = (at: number): number => view.getUint32(at, true)
    if (word(L.G_CPU_COUNT) !== CPUS || word(L.G_RAM_BASE) !== RAM_BASE || word(L.G_RAM_END) !== RAM_BASE + BACKED || word(L.G_UOP_BASE) !== UOP_BASE
      || word(L.G_UOP_END) !== UOP_BASE + UOP_BYTES || word(L.G_BLOCK_TABLE) !== BLOCK_TABLE || word(L.G_PAGE_INFO) !== PAGE_INFO || word(L.G_RANGE_COUNT) !== 3) return 'a control word changed'
    const next = word(L.G_UOP_NEXT)
    if (next < UOP_BASE || next > UOP_BASE + UOP_BYTES) return `the cache's next free byte is 0x${next.toString(16)}`
    for (let at = L.G_NEVER_TLB; at < L.G_NEVER_TLB + L.TLB_BYTES; at += 16) if (view.getBigUint64(at, true) !== 0xffff_ffff_ffff_ffffn) return 'the never-matching TLB changed'
    for (let entry = 0; entry < BLOCK_ENTRIES; entry++) {
      const block = word(BLOCK_TABLE + entry * 4)
      if (block !== 0 && (block < UOP_BASE || block >= next)) return 'a block-table entry points outside the cache'
    }
    return ''
  }

  private checkCpus(): string {
    for (let index = 0; index < CPUS; index++) {
      const cpu = cpuAt(index)
      const word = (at: number): number => this.view.getUint32(cpu + at, true)
      if (this.view.getBigUint64(cpu + L.ZERO, true) !== 0n) return 'the zero register is not zero'
      if (word(L.CPL) > 3) return `CPL is ${word(L.CPL)}`
      if (word(L.MODE) > 2) return `the mode is ${word(L.MODE)}`
      if (word(L.HALTED) > 2) return `the halt state is ${word(L.HALTED)}`
      const bad = this.checkTlbs(cpu)
      if (bad !== '') return bad
    }
    return ''
  }

  private checkTlbs(cpu: number): string {
    const { words } = this
    for (const [array, write] of TLBS) {
      for (let entry = 0; entry < L.TLB_ENTRIES; entry++) {
        const at = (cpu + array + entry * 16) >> 2
        const low = words[at] as number, high = words[at + 1] as number
        if (low === 0xffff_ffff && high === 0xffff_ffff) continue
        const host = (low + (words[at + 2] as number)) >>> 0
        if (low & 0xfff || host & 0xfff || host < RAM_BASE || host >= RAM_BASE + BACKED) return `a TLB entry leads to 0x${host.toString(16)}`
        if (!write) continue
        if (host >= RAM_BASE + RAM_LOW && host < RAM_BASE + RAM_LOW + ROM_SIZE) return 'a TLB entry lets the guest write ROM'
        const record = (PAGE_INFO + (host - RAM_BASE) / 0x1000 * L.PAGE_BYTES + L.PAGE_LINES) >> 2
        if ((words[record] as number) !== 0 || (words[record + 1] as number) !== 0) return 'a TLB entry lets the guest write decoded code unseen'
      }
    }
    return ''
  }

  private busAccess(what: string, space: number, low: number, high: number, size: number): number {
    const address = (high >>> 0) * 2 ** 32 + (low >>> 0)
    if (![1, 2, 4].includes(size)) this.fault(`${what} of ${size} bytes`)
    if (space === 1 ? address > 0xffff + 3 : space !== 0) this.fault(`${what} of space ${space} at ${address}`)
    if (space === 0 && this.host(address) >= 0) this.fault(`${what} of RAM at ${address} through the bus`)
    if (space === 0 && address >= 2 ** 52) this.fault(`${what} beyond the physical address space at ${address}`)
    return this.nextAnswer()
  }

  private fault(text: string): void {
    if (this.busFaults.length < 8) this.busFaults.push(text)
  }

  private nextAnswer(): number {
    this.answer = Math.imul(this.answer, 0x0019_660d) + 0x3c6e_f35f >>> 0
    return this.answer
  }
}

export { EXIT_REASONS }
