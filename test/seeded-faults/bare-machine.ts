/**
 * The self-checking guest (test/guest) on any build of the core, in this thread: memory, CPUID, boot loader and the interrupt controllers of the
 * core itself, the serial port on line 4, and the instruction-count clock, so that every run is the same. No other device is there.
 */
import fs from 'node:fs'
import { GuestMemory } from '../../address-space/guest-memory.ts'
import { loadKernel } from '../../boot-loader/load-kernel.ts'
import { Uart16550, UART16550_SIZE } from '../../device-model/uart16550.ts'
import type { CharBackend } from '../../device-model/contracts.ts'
import {
  CPU_AREA, CPU_STRIDE, EXIT_HALT, EXIT_SHUTDOWN, G_IRQ_DIRTY, G_KICK, G_LINES, G_RANGE_COUNT, G_RANGES, G_RETIRED, G_WALL_NS,
} from '../../hypervisor/tcg/core/layout.ts'
import { writeControlWords, writeCpuid } from '../../hypervisor/tcg/control-words.ts'
import { cpuidTable } from '../../hypervisor/tcg/cpuid.ts'
import { writeEntryState } from '../../hypervisor/tcg/debug.ts'
import { makeMemory, planMemory } from '../../hypervisor/tcg/memory-plan.ts'
import { wasm } from '../../host/wasm.ts'
import type { WasmMemory } from '../../host/wasm.ts'
import type { Core } from '../../hypervisor/tcg/worker-control.ts'

const MIB = 2 ** 20
const RAM = 128 * MIB
const PORTS = 1
const COM1 = 0x3f8, COM1_LINE = 4
const KEYBOARD_COMMAND = 0x64, PULSE_RESET = 0xfe
const LINE_BYTES = 16
const ROUNDS = 16
/** 2025-01-01 00:00 UTC */
const WALL_NS = 1_735_689_600_000_000_000n
/** One instruction takes 8 ns, much longer than on a real processor, so that the guest's delays pass in few instructions. */
const NS_SHIFT = 3
/** The guest prints some 20 KiB; a faulty one may print for ever. */
const OUTPUT_LIMIT = 1 << 20

export interface GuestRun {
  /** What it printed. */
  readonly output: string
  readonly end: 'reset' | 'triple-fault' | 'halted-for-ever' | 'instruction-limit' | 'output-limit'
  readonly instructions: bigint
}

/**
 * Runs the guest until it resets the machine, shuts down, sleeps without a timer, or has used up its instructions.
 * @param core file with the WebAssembly code, @param elf file with the guest
 */
export function runGuest(core: string, elf: string, cpus: number, limit: bigint, translator?: (core: unknown, memory: WasmMemory) => void): GuestRun {
  const plan = planMemory(cpus, [{ guestAddress: 0, size: RAM }])
  const memory = makeMemory(plan)
  const view = new DataView(memory.buffer)
  const set = (place: number, value: number): void => { view.setUint32(place, value, true) }
  const serial = serialPort((level) => {
    const line = G_LINES + COM1_LINE * LINE_BYTES
    if (level === 1) set(line + 4, view.getUint32(line + 4, true) + 1)
    set(line, level)
    set(G_IRQ_DIRTY, 1)
  })
  let wasReset = false

  const busWrite = (space: number, low: number, _high: number, _size: number, value: number): void => {
    if (space !== PORTS) return
    if (isSerial(space, low)) serial.uart.write(low - COM1, 1, value & 0xff)
    else if (low === KEYBOARD_COMMAND && (value & 0xff) === PULSE_RESET) wasReset = true
    // As for a pause: the vCPU stops behind this instruction.
    if (wasReset || serial.written() > OUTPUT_LIMIT) set(G_KICK, 1)
  }
  const busRead = (space: number, low: number): number => isSerial(space, low) ? serial.uart.read(low - COM1, 1) : -1
  let random = 1
  const hostRandom = (): number => (random = Math.imul(random, 1_664_525) + 1_013_904_223 | 0)
  const env = { memory, busRead, busWrite, hostNs: () => 0, hostRandom }
  const exports = new wasm.Instance(new wasm.Module(fs.readFileSync(core)), { env }).exports as Core

  writeControlWords(view, plan, cpus, { kind: 'instruction-count', shift: NS_SHIFT, sleep: true })
  set(G_RANGE_COUNT, 1)
  view.setBigUint64(G_RANGES, 0n, true)
  view.setBigUint64(G_RANGES + 8, BigInt(RAM), true)
  set(G_RANGES + 16, plan.ramBase)
  view.setBigUint64(G_WALL_NS, WALL_NS, true)
  exports.initialise()
  translator?.(exports, memory)
  for (let index = 0; index < cpus; index++) {
    const cpu = CPU_AREA + index * CPU_STRIDE
    exports.resetCpu(cpu, index, 0)
    writeCpuid(view, cpu, cpuidTable(index, { cpus, sockets: 1, dies: 1, cores: cpus, threads: 1 }))
  }
  const guest = new GuestMemory([{ guestAddress: 0, size: RAM, bytes: new Uint8Array(memory.buffer, plan.ramBase, RAM), hostOffset: plan.ramBase }])
  writeEntryState(view, CPU_AREA, loadKernel({ memory: guest, ramLow: RAM, ramHigh: 0, kernel: elf, commandLine: '', cpus }))
  for (let index = 0; index < cpus; index++) exports.refreshCpu(CPU_AREA + index * CPU_STRIDE)

  const retired = (): bigint => view.getBigUint64(G_RETIRED, true)
  const ended = (end: GuestRun['end']): GuestRun => ({ output: serial.output(), end, instructions: retired() })
  while (true) {
    const reason = exports.runMachine(ROUNDS)
    if (wasReset) return ended('reset')
    if (serial.written() > OUTPUT_LIMIT) return ended('output-limit')
    if (reason === EXIT_SHUTDOWN) return ended('triple-fault')
    if (reason === EXIT_HALT && exports.skipIdle() === 0) return ended('halted-for-ever')
    if (retired() >= limit) return ended('instruction-limit')
  }
}

const isSerial = (space: number, port: number): boolean => space === PORTS && port >= COM1 && port < COM1 + UART16550_SIZE

/** COM1. Nothing is ever received, so its timers need not run. */
function serialPort(onLevel: (level: 0 | 1) => void): { readonly uart: Uart16550; written(): number; output(): string } {
  const pieces: Buffer[] = []
  let written = 0, level = 0
  const backend: CharBackend = {
    label: 'serial0', kind: 'null', filename: 'null', connected: true,
    write: (bytes) => {
      pieces.push(Buffer.from(bytes))
      written += bytes.length
    },
    onInput: () => undefined, setFlow: () => undefined, close: () => Promise.resolve(),
  }
  const setLevel = (next: 0 | 1): void => {
    if (next !== level) onLevel(next)
    level = next
  }
  const uart = Uart16550.create({
    irq: { setLevel, pulse: () => { setLevel(1); setLevel(0) } },
    clock: { now: () => 0n, schedule: () => ({ cancel: () => undefined }) },
    backend,
  })
  return {
    uart,
    written: () => written,
    output: () => {
      uart.flush()
      return Buffer.concat(pieces).toString('latin1')
    },
  }
}
