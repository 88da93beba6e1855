/**
 * The self-checking guest (test/guest) on any build of the core, in this thread.
 */
import { createHash } from 'node:crypto'
import { EXIT_HALT, EXIT_SHUTDOWN, G_KICK } from '../../hypervisor/tcg/core/layout.ts'
import type { WasmMemory } from '../../host/wasm.ts'
import type { Core } from '../../hypervisor/tcg/worker-control.ts'
import { CoreMachine } from '../support/core-machine.ts'

const RAM = 128 * 2 ** 20
const KEYBOARD_COMMAND = 0x64, PULSE_RESET = 0xfe
const ROUNDS = 16
/** One instruction takes 8 ns, much longer than on a real processor, so that the guest's delays pass in few instructions. */
const NS_SHIFT = 3
/** The guest prints some 20 KiB; a faulty one may print for ever. */
const OUTPUT_LIMIT = 1 << 20

export interface GuestRun {
  /** What it printed. */
  readonly output: string
  readonly end: 'reset' | 'triple-fault' | 'halted-for-ever' | 'instruction-limit' | 'output-limit'
  readonly instructions: bigint
  /** SHA-1 of its memory in the end */
  readonly ram: string
}

/**
 * Runs the guest until it resets the machine, shuts down, sleeps without a timer, or has used up its instructions.
 * @param core file with the WebAssembly code, @param elf file with the guest
 */
export function runGuest(core: string, elf: string, cpus: number, limit: bigint, translator?: (core: Core, memory: WasmMemory) => void): GuestRun {
  let wasReset = false
  const machine: CoreMachine = new CoreMachine({
    core, ram: RAM, cpus, kernel: elf, commandLine: '', shift: NS_SHIFT, translator,
    onPort: (port, value) => {
      if (port !== KEYBOARD_COMMAND || (value & 0xff) !== PULSE_RESET) return
      wasReset = true
      machine.view.setUint32(G_KICK, 1, true) // as for a pause: the vCPU stops behind this instruction
    },
  })
  const ended = (end: GuestRun['end']): GuestRun => ({ output: machine.console, end, instructions: machine.retired, ram: createHash('sha1').update(machine.ram).digest('hex') })
  while (true) {
    const reason = machine.run(ROUNDS)
    if (wasReset) return ended('reset')
    if (machine.console.length > OUTPUT_LIMIT) return ended('output-limit')
    if (reason === EXIT_SHUTDOWN) return ended('triple-fault')
    if (reason === EXIT_HALT) return ended('halted-for-ever')
    if (machine.retired >= limit) return ended('instruction-limit')
  }
}
