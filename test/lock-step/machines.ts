/**
 * Two machines in this thread, one interpreted and one translated, that must not differ: registers, flags and the instruction count after every slice, RAM
 * now and then. Memory, CPUID, boot loader, the controllers of the core, the serial port on line 4; instructions are the clock.
 */
import fs from 'node:fs'
import { GuestMemory } from '../../address-space/guest-memory.ts'
import { loadKernel } from '../../boot-loader/load-kernel.ts'
import type { CharBackend } from '../../device-model/contracts.ts'
import { Uart16550, UART16550_SIZE } from '../../device-model/uart16550.ts'
import {
  CPU_AREA, EXIT_HALT, EXIT_SHUTDOWN, G_IRQ_DIRTY, G_JIT_RETIRED, G_LINES, G_RANGE_COUNT, G_RANGES, G_RETIRED, G_WALL_NS, RIP,
} from '../../hypervisor/tcg/core/layout.ts'
import { writeControlWords, writeCpuid } from '../../hypervisor/tcg/control-words.ts'
import { cpuidTable } from '../../hypervisor/tcg/cpuid.ts'
import { writeEntryState } from '../../hypervisor/tcg/debug.ts'
import { makeMemory, planMemory } from '../../hypervisor/tcg/memory-plan.ts'
import { translateAtOnce } from '../../hypervisor/tcg/translator/at-once.ts'
import { RegionTable } from '../../hypervisor/tcg/translator/region-table.ts'
import { wasm } from '../../host/wasm.ts'
import type { Core } from '../../hypervisor/tcg/worker-control.ts'

const MIB = 2 ** 20
const RAM = 256 * MIB
const COM1 = 0x3f8, COM1_LINE = 4, PORTS = 1, LINE_BYTES = 16
const WALL_NS = 1_735_689_600_000_000_000n
const NS_SHIFT = 1
const REGISTERS = 16

export interface Guest { readonly kernel: string; readonly initrd: string }

class Machine {
  readonly #view: DataView
  readonly #core: Core
  readonly #regions: RegionTable | undefined
  readonly ram: Buffer
  console = ''

  /** @param threshold entries after which a block is translated; 0: never */
  constructor(core: string, { kernel, initrd }: Guest, threshold: number) {
    const plan = planMemory(1, [{ guestAddress: 0, size: RAM }])
    const memory = makeMemory(plan)
    const view = this.#view = new DataView(memory.buffer)
    this.ram = Buffer.from(memory.buffer, plan.ramBase, RAM)
    const set = (place: number, value: number): void => { view.setUint32(place, value, true) }
    const uart = this.#serial()
    const isSerial = (space: number, port: number): boolean => space === PORTS && port >= COM1 && port < COM1 + UART16550_SIZE
    let random = 1
    const env = {
      memory,
      busWrite: (space: number, low: number, _high: number, _size: number, value: number) => {
        if (!isSerial(space, low)) return
        uart.write(low - COM1, 1, value & 0xff)
        if (low === COM1) uart.flush()
      },
      busRead: (space: number, low: number) => isSerial(space, low) ? uart.read(low - COM1, 1) : -1,
      hostNs: () => 0,
      hostRandom: () => (random = Math.imul(random, 1_664_525) + 1_013_904_223 | 0),
    }
    this.#core = new wasm.Instance(new wasm.Module(fs.readFileSync(core)), { env }).exports as Core
    writeControlWords(view, plan, 1, { kind: 'instruction-count', shift: NS_SHIFT, sleep: true })
    set(G_RANGE_COUNT, 1)
    view.setBigUint64(G_RANGES, 0n, true)
    view.setBigUint64(G_RANGES + 8, BigInt(RAM), true)
    set(G_RANGES + 16, plan.ramBase)
    view.setBigUint64(G_WALL_NS, WALL_NS, true)
    this.#core.initialise()
    this.#core.resetCpu(CPU_AREA, 0, 0)
    writeCpuid(view, CPU_AREA, cpuidTable(0, { cpus: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }))
    const guest = new GuestMemory([{ guestAddress: 0, size: RAM, bytes: new Uint8Array(memory.buffer, plan.ramBase, RAM), hostOffset: plan.ramBase }])
    writeEntryState(view, CPU_AREA, loadKernel({ memory: guest, ramLow: RAM, ramHigh: 0, kernel, initrd, commandLine: 'console=ttyS0 reboot=t', cpus: 1 }))
    this.#core.refreshCpu(CPU_AREA)
    if (threshold > 0) {
      this.#regions = new RegionTable(this.#core, memory)
      translateAtOnce(this.#regions, this.#core, threshold)
    }
  }

  get retired(): bigint {
    return this.#view.getBigUint64(G_RETIRED, true)
  }
  get translated(): bigint {
    return this.#view.getBigUint64(G_JIT_RETIRED, true)
  }

  /** One slice. @returns the state behind it in words */
  slice(): string {
    const reason = this.#core.runMachine(1)
    this.#regions?.sweep()
    if (reason === EXIT_SHUTDOWN || reason === EXIT_HALT && this.#core.skipIdle() === 0) return 'ended'
    const long = (at: number): string => this.#view.getBigUint64(at, true).toString(16)
    const registers = Array.from({ length: REGISTERS }, (_, number) => long(CPU_AREA + number * 8)).join(' ')
    return `${registers} rip ${long(CPU_AREA + RIP)} flags ${this.#core.getRflags(CPU_AREA).toString(16)} retired ${this.retired}`
  }

  #serial(): Uart16550 {
    let level = 0
    const setLevel = (next: 0 | 1): void => {
      if (next === level) return
      level = next
      const line = G_LINES + COM1_LINE * LINE_BYTES
      if (next === 1) this.#view.setUint32(line + 4, this.#view.getUint32(line + 4, true) + 1, true)
      this.#view.setUint32(line, next, true)
      this.#view.setUint32(G_IRQ_DIRTY, 1, true)
    }
    const backend: CharBackend = {
      label: 'serial0', kind: 'null', filename: 'null', connected: true, write: (bytes) => { this.console += Buffer.from(bytes).toString('latin1') },
      onInput: () => undefined, setFlow: () => undefined, close: () => Promise.resolve(),
    }
    return Uart16550.create({ irq: { setLevel, pulse: () => { setLevel(1); setLevel(0) } }, clock: { now: () => 0n, schedule: () => ({ cancel: () => undefined }) }, backend })
  }
}

export interface LockStep { readonly difference: string | undefined; readonly instructions: bigint; readonly translated: bigint }

/** Instructions between comparisons of RAM. */
const RAM_EVERY = 20_000_000n

/** Runs both machines side by side until they differ, end, or have retired `limit` instructions. */
export function lockStep(core: string, guest: Guest, limit: bigint, threshold: number): LockStep {
  const one = new Machine(core, guest, 0), other = new Machine(core, guest, threshold)
  let checked = 0n
  const result = (difference?: string): LockStep => ({ difference, instructions: one.retired, translated: other.translated })
  while (one.retired < limit) {
    const wanted = one.slice(), got = other.slice()
    if (wanted !== got) return result(`interpreted: ${wanted}\ntranslated:  ${got}`)
    if (one.retired - checked >= RAM_EVERY || wanted === 'ended' || one.retired >= limit) {
      checked = one.retired
      if (one.console !== other.console) return result('the consoles differ')
      if (!one.ram.equals(other.ram)) return result(`RAM differs after ${checked} instructions`)
    }
    if (wanted === 'ended') return result('both ended early')
  }
  return result()
}
