/**
 * A machine around any build of the core, in this thread: memory, CPUID, boot loader, the controllers of the core itself, the serial port on line 4, and instructions as
 * the clock, so that every run is the same. No other device is there. Nothing is ever received.
 */
import fs from 'node:fs'
import { GuestMemory } from '../../address-space/guest-memory.ts'
import { loadKernel } from '../../boot-loader/load-kernel.ts'
import type { CharBackend } from '../../device-model/contracts.ts'
import { Uart16550, UART16550_SIZE } from '../../device-model/uart16550.ts'
import {
  CPU_AREA, CPU_STRIDE, EXIT_HALT, G_IRQ_DIRTY, G_JIT_RETIRED, G_LINES, G_RANGE_COUNT, G_RANGES, G_RETIRED, G_STATS, G_WALL_NS, RIP,
} from '../../hypervisor/tcg/core/layout.ts'
import { writeControlWords, writeCpuid } from '../../hypervisor/tcg/control-words.ts'
import { cpuidTable } from '../../hypervisor/tcg/cpuid.ts'
import { writeEntryState } from '../../hypervisor/tcg/debug.ts'
import { HostStores } from '../../hypervisor/tcg/host-stores.ts'
import { makeMemory, planMemory } from '../../hypervisor/tcg/memory-plan.ts'
import { steadyAddressOf } from '../../host/ffi.ts'
import { discardPages } from '../../host/ram.ts'
import { wasm } from '../../host/wasm.ts'
import type { WasmMemory } from '../../host/wasm.ts'
import type { Core } from '../../hypervisor/tcg/worker-control.ts'

export const CORE = 'dist/core.wasm'
const COM1 = 0x3f8, COM1_LINE = 4, PORTS = 1, LINE_BYTES = 16
/** 2025-01-01 00:00 UTC */
const WALL_NS = 1_735_689_600_000_000_000n
const REGISTERS = 16

export interface CoreMachineOptions {
  /** file with the WebAssembly code, default the built one */
  readonly core?: string
  /** bytes of RAM */
  readonly ram: number
  readonly cpus?: number
  readonly kernel: string
  readonly initrd?: string
  readonly commandLine: string
  /** One instruction takes 2^shift ns. */
  readonly shift: number
  /** Called with the core before anything runs: starts a translator. */
  readonly translator?: ((core: Core, memory: WasmMemory) => void) | undefined
  /** Writes to ports of no device. */
  readonly onPort?: (port: number, value: number) => void
}

export class CoreMachine {
  readonly core: Core
  readonly view: DataView
  /** What devices see. */
  readonly guest: GuestMemory
  readonly ram: Buffer
  /** What was printed. Of a line that is not over some may be missing. */
  console = ''
  readonly #uart: Uart16550

  constructor({ core = CORE, ram, cpus = 1, kernel, initrd, commandLine, shift, translator, onPort }: CoreMachineOptions) {
    const plan = planMemory(cpus, [{ guestAddress: 0, size: ram }])
    const memory = makeMemory(plan)
    const view = this.view = new DataView(memory.buffer)
    this.ram = Buffer.from(memory.buffer, plan.ramBase, ram)
    const uart = this.#uart = this.#serial()
    const isSerial = (space: number, port: number): boolean => space === PORTS && port >= COM1 && port < COM1 + UART16550_SIZE
    let random = 1
    const env = {
      memory,
      busWrite: (space: number, low: number, _high: number, _size: number, value: number) => {
        if (isSerial(space, low)) uart.write(low - COM1, 1, value & 0xff)
        else if (space === PORTS) onPort?.(low, value >>> 0)
      },
      busRead: (space: number, low: number) => isSerial(space, low) ? uart.read(low - COM1, 1) : -1,
      hostNs: () => 0,
      hostRandom: () => (random = Math.imul(random, 1_664_525) + 1_013_904_223 | 0),
    }
    this.core = new wasm.Instance(new wasm.Module(fs.readFileSync(core)), { env }).exports as Core
    writeControlWords(view, plan, cpus, { kind: 'instruction-count', shift, sleep: true })
    view.setUint32(G_RANGE_COUNT, 1, true)
    view.setBigUint64(G_RANGES, 0n, true)
    view.setBigUint64(G_RANGES + 8, BigInt(ram), true)
    view.setUint32(G_RANGES + 16, plan.ramBase, true)
    view.setBigUint64(G_WALL_NS, WALL_NS, true)
    this.core.initialise()
    for (let index = 0; index < cpus; index++) {
      this.core.resetCpu(CPU_AREA + index * CPU_STRIDE, index, 0)
      writeCpuid(view, CPU_AREA + index * CPU_STRIDE, cpuidTable(index, { cpus, sockets: 1, dies: 1, cores: cpus, threads: 1 }))
    }
    const stores = new HostStores(memory.buffer)
    const bytes = new Uint8Array(memory.buffer, plan.ramBase, ram)
    this.guest = new GuestMemory([{
      guestAddress: 0, size: ram, bytes, hostOffset: plan.ramBase, written: (offset, length) => stores.written(plan.ramBase + offset, length),
      discard: (offset, length) => discardPages(steadyAddressOf(bytes) + offset, length),
    }])
    const state = loadKernel({ memory: this.guest, ramLow: ram, ramHigh: 0, kernel, ...initrd === undefined ? {} : { initrd }, commandLine, cpus })
    writeEntryState(view, CPU_AREA, state)
    for (let index = 0; index < cpus; index++) this.core.refreshCpu(CPU_AREA + index * CPU_STRIDE)
    translator?.(this.core, memory)
  }

  get retired(): bigint {
    return this.view.getBigUint64(G_RETIRED, true)
  }
  /** ... in translated code */
  get translated(): bigint {
    return this.view.getBigUint64(G_JIT_RETIRED, true)
  }
  /** @param index STAT_* */
  counter(index: number): number {
    return Number(this.view.getBigUint64(G_STATS + index * 8, true))
  }

  /** @returns EXIT_*; EXIT_HALT where nothing will ever happen again */
  run(rounds: number): number {
    const reason = this.core.runMachine(rounds)
    this.#uart.flush()
    return reason === EXIT_HALT && this.core.skipIdle() !== 0 ? 0 : reason
  }

  /** Registers of the first vCPU, and how much was executed. */
  state(): string {
    const long = (at: number): string => this.view.getBigUint64(at, true).toString(16)
    const registers = Array.from({ length: REGISTERS }, (_, number) => long(CPU_AREA + number * 8)).join(' ')
    return `${registers} rip ${long(CPU_AREA + RIP)} flags ${this.core.getRflags(CPU_AREA).toString(16)} retired ${this.retired}`
  }

  #serial(): Uart16550 {
    let level = 0
    const setLevel = (next: 0 | 1): void => {
      if (next === level) return
      level = next
      const line = G_LINES + COM1_LINE * LINE_BYTES
      if (next === 1) this.view.setUint32(line + 4, this.view.getUint32(line + 4, true) + 1, true)
      this.view.setUint32(line, next, true)
      this.view.setUint32(G_IRQ_DIRTY, 1, true)
    }
    const backend: CharBackend = {
      label: 'serial0', kind: 'null', filename: 'null', connected: true, write: (bytes) => { this.console += Buffer.from(bytes).toString('latin1') },
      onInput: () => undefined, setFlow: () => undefined, close: () => Promise.resolve(),
    }
    return Uart16550.create({ irq: { setLevel, pulse: () => { setLevel(1); setLevel(0) } }, clock: { now: () => 0n, schedule: () => ({ cancel: () => undefined }) }, backend })
  }
}
