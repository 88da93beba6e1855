/**
 * Two machines in this thread, one interpreted and one translated, that must not differ: registers, flags and the instruction count after every slice, RAM
 * now and then.
 */
import { translateAtOnce } from '../../hypervisor/tcg/translator/at-once.ts'
import { RegionTable } from '../../hypervisor/tcg/translator/region-table.ts'
import { CoreMachine } from '../support/core-machine.ts'
import type { CoreMachineOptions } from '../support/core-machine.ts'

/** What both run: a kernel and its surroundings. */
export type Guest = Pick<CoreMachineOptions, 'kernel' | 'initrd' | 'commandLine' | 'ram' | 'shift' | 'cpus'>

class Machine {
  readonly machine: CoreMachine
  #regions: RegionTable | undefined

  /** @param threshold entries after which a block is translated; 0: never */
  constructor(core: string, guest: Guest, threshold: number) {
    this.machine = new CoreMachine({
      core, ...guest,
      translator: threshold === 0 ? undefined : (exports, memory) => {
        this.#regions = new RegionTable(exports, memory)
        translateAtOnce(this.#regions, exports, threshold)
      },
    })
  }

  /** One slice. @returns the state behind it in words */
  slice(): string {
    const reason = this.machine.run(1)
    this.#regions?.sweep()
    return reason === 0 ? this.machine.state() : 'ended'
  }
}

export interface LockStep {
  readonly difference: string | undefined
  /** Both came to an end before the limit. */
  readonly ended: boolean
  readonly instructions: bigint
  readonly translated: bigint
  readonly console: string
}

/** Instructions between comparisons of RAM. */
const RAM_EVERY = 20_000_000n

/** Runs both machines side by side until they differ, end, or have retired `limit` instructions. */
export function lockStep(core: string, guest: Guest, limit: bigint, threshold: number): LockStep {
  const first = new Machine(core, guest, 0), second = new Machine(core, guest, threshold)
  const one = first.machine, other = second.machine
  let checked = 0n
  const result = (difference?: string, ended = false): LockStep => ({ difference, ended, instructions: one.retired, translated: other.translated, console: one.console })
  while (one.retired < limit) {
    const wanted = first.slice(), got = second.slice()
    if (wanted !== got) return result(`interpreted: ${wanted}\ntranslated:  ${got}`)
    if (one.retired - checked >= RAM_EVERY || wanted === 'ended' || one.retired >= limit) {
      checked = one.retired
      if (one.console !== other.console) return result('the consoles differ')
      if (!one.ram.equals(other.ram)) return result(`RAM differs after ${checked} instructions`)
    }
    if (wanted === 'ended') return result(undefined, true)
  }
  return result()
}
