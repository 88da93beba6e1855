/** Test part: compiles the interrupt chips of the core on their own and drives their exported functions on a private memory. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

const CPU_AREA = 0x20000
const CPU_STRIDE = 0x2b000
const LAPIC = 4096
const EVENTS = 1484
const HALTED = 1480
const SIPI_VECTOR = 1512
const TSC_OFFSET = 696
const CPU_COUNT = 0x10000
const LINES = 0x10200
const IRQ_DIRTY = 0x1002c
const WAKE = 0x10034

const FLAGS = ['-O3', '--noAssert', '--runtime', 'stub', '--importMemory', '--sharedMemory', '--initialMemory', '1024', '--maximumMemory', '65536',
  '--enable', 'threads,simd,bulk-memory,sign-extension,nontrapping-f2i,mutable-globals', '--memoryBase', '1024', '--use', 'abort=']

/** Node's WebAssembly: its types come without the constructors unless the DOM library is in. */
const wasm = (globalThis as unknown as { WebAssembly: {
  Module: new (bytes: Uint8Array) => WebAssembly.Module
  Instance: new (module: WebAssembly.Module, imports: object) => { exports: unknown }
  Memory: new (options: { initial: number, maximum: number, shared: boolean }) => { buffer: SharedArrayBuffer }
} }).WebAssembly

/** Compiles lapic.ts and irqchip.ts into .cache. `name` keeps test files that run at the same time apart. */
export function compileChips(name: string): WebAssembly.Module {
  const output = path.join('.cache', `${name}.wasm`)
  fs.mkdirSync('.cache', { recursive: true })
  const result = spawnSync(process.execPath, ['node_modules/assemblyscript/bin/asc.js', 'hypervisor/tcg/core/lapic.ts', 'hypervisor/tcg/core/irqchip.ts',
    '-o', output, ...FLAGS], { encoding: 'utf8' })
  if (result.status !== 0) throw new Error(result.stderr)
  return new wasm.Module(fs.readFileSync(output))
}

interface Exports {
  lapicReset(cpu: number, index: number, bsp: boolean): void
  lapicInit(cpu: number): void
  lapicRead(cpu: number, offset: number, now: bigint): number
  lapicWrite(cpu: number, offset: number, value: number, now: bigint): void
  lapicPending(cpu: number): number
  lapicAck(cpu: number): number
  lapicEoi(cpu: number): void
  lapicNmi(cpu: number): void
  getTpr(cpu: number): number
  setTpr(cpu: number, cr8: number): void
  x2apicRead(cpu: number, msr: number, now: bigint): number
  x2apicWrite(cpu: number, msr: number, value: bigint, now: bigint): number
  apicValue(): bigint
  apicBaseWrite(cpu: number, value: bigint): number
  tscDeadlineWrite(cpu: number, value: bigint, now: bigint): void
  tscDeadlineRead(cpu: number): bigint
  lapicTscChanged(cpu: number, now: bigint): void
  irqchipReset(): void
  irqLine(gsi: number, level: number): void
  irqApplyLines(): void
  irqchipTick(now: bigint): void
  irqchipNextDeadline(): bigint
  ioapicRead(offset: number): number
  ioapicWrite(offset: number, value: number): void
  picPending(): number
  picRead(port: number): number
  picWrite(port: number, value: number): void
  pitRead(port: number, now: bigint): number
  pitWrite(port: number, value: number, now: bigint): void
  pitPort61Read(now: bigint): number
  pitPort61Write(value: number, now: bigint): void
}

/** A machine of `count` vCPUs after power-up, with a clock that the test sets. */
export class Chips {
  readonly x: Exports
  readonly view: DataView
  readonly words: Int32Array
  now = 0n

  constructor(module: WebAssembly.Module, count = 1) {
    const memory = new wasm.Memory({ initial: 1024, maximum: 1024, shared: true })
    this.x = new wasm.Instance(module, { env: { memory } }).exports as Exports
    this.view = new DataView(memory.buffer)
    this.words = new Int32Array(memory.buffer)
    this.view.setUint32(CPU_COUNT, count, true)
    this.x.irqchipReset()
    for (let i = 0; i < count; i++) this.x.lapicReset(this.cpu(i), i, i === 0)
  }

  cpu(index: number): number { return CPU_AREA + index * CPU_STRIDE }
  read(offset: number, cpu = 0): number { return this.x.lapicRead(this.cpu(cpu), offset, this.now) >>> 0 }
  write(offset: number, value: number, cpu = 0): void { this.x.lapicWrite(this.cpu(cpu), offset, value, this.now) }
  pending(cpu = 0): number { return this.x.lapicPending(this.cpu(cpu)) }
  ack(cpu = 0): number { return this.x.lapicAck(this.cpu(cpu)) }
  eoi(cpu = 0): void { this.write(0xb0, 0, cpu) }
  /** Turns the APIC on in SVR with spurious vector 0xff and masks LINT0. */
  enable(cpu = 0): void {
    this.write(0xf0, 0x1ff, cpu)
    this.write(0x350, 0x10000, cpu)
  }

  events(cpu = 0): number { return this.view.getInt32(this.cpu(cpu) + EVENTS, true) }
  clearEvents(cpu = 0): void { this.view.setInt32(this.cpu(cpu) + EVENTS, 0, true) }
  setHalted(cpu: number, state: number): void { this.view.setUint32(this.cpu(cpu) + HALTED, state, true) }
  sipiVector(cpu: number): number { return this.view.getUint32(this.cpu(cpu) + SIPI_VECTOR, true) }
  setTscOffset(value: bigint, cpu = 0): void { this.view.setBigUint64(this.cpu(cpu) + TSC_OFFSET, BigInt.asUintN(64, value), true) }
  bit(set: number, vector: number, cpu = 0): number {
    return this.view.getUint32(this.cpu(cpu) + LAPIC + set + (vector >> 5) * 16, true) >>> (vector & 31) & 1
  }

  takeWake(): number { return Atomics.exchange(this.words, WAKE / 4, 0) }
  redirect(pin: number, low: number, destination = 0): void {
    this.x.ioapicWrite(0, 0x11 + 2 * pin)
    this.x.ioapicWrite(0x10, destination << 24)
    this.x.ioapicWrite(0, 0x10 + 2 * pin)
    this.x.ioapicWrite(0x10, low)
  }

  redirection(pin: number): number {
    this.x.ioapicWrite(0, 0x10 + 2 * pin)
    return this.x.ioapicRead(0x10) >>> 0
  }

  tick(now: bigint): void {
    this.now = now
    this.x.irqchipTick(now)
  }

  rdmsr(msr: number, cpu = 0): bigint | null {
    return this.x.x2apicRead(this.cpu(cpu), msr, this.now) === 0 ? BigInt.asUintN(64, this.x.apicValue()) : null
  }

  wrmsr(msr: number, value: bigint, cpu = 0): boolean { return this.x.x2apicWrite(this.cpu(cpu), msr, value, this.now) === 0 }
  nextDeadline(): bigint { return BigInt.asUintN(64, this.x.irqchipNextDeadline()) }

  /** What the main thread does to drive line `gsi`. */
  drive(gsi: number, level: 0 | 1): void {
    const record = (LINES + gsi * 16) / 4
    const before = Atomics.exchange(this.words, record, level)
    if (level === 1 && before === 0) Atomics.add(this.words, record + 1, 1)
    Atomics.store(this.words, IRQ_DIRTY / 4, 1)
  }

  dirty(): number { return Atomics.load(this.words, IRQ_DIRTY / 4) }
}
