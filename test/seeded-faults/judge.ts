/**
 * Does a check notice that a core is faulty? A script of its own, so that a core that hangs can be ended from outside:
 * `node scripts/ts.mjs test/seeded-faults/judge.ts CORE.wasm GUEST.elf guest|UNIT...` prints one line of JSON, a Verdict.
 */
import { parseReport } from '../guest/build.ts'
import { CoreExecutor } from '../vectors/core.ts'
import type { Mode } from '../vectors/core.ts'
import { replay } from '../vectors/replay.ts'
import { runGuest } from './bare-machine.ts'

export interface Verdict {
  readonly caught: boolean
  /** What gave the fault away; without one, what was checked. */
  readonly evidence: string
}

/** Two, because the guest has checks for the messages between processors. */
const CPUS = 2
/** Four times what the guest needs; a faulty core may never come to an end. */
const INSTRUCTION_LIMIT = 1_000_000_000n
const MODES: readonly Mode[] = [{ path: 'run', specialised: true }, { path: 'step', specialised: false }]

function judgeByGuest(wasm: string, elf: string): Verdict {
  const { output, end, instructions } = runGuest(wasm, elf, CPUS, INSTRUCTION_LIMIT)
  const report = parseReport(output)
  if (report.failed.length > 0) return { caught: true, evidence: `${report.failed.length} checks: ${report.failed.slice(0, 3).join('; ')}` }
  if (!report.complete || end !== 'reset') {
    return { caught: true, evidence: `the guest ends by ${end} after ${report.passed.length} checks, the last ${report.passed.at(-1) ?? 'none'}` }
  }
  return { caught: false, evidence: `${report.passed.length} checks of the guest, ${instructions} instructions` }
}

function judgeByVectors(wasm: string, units: readonly string[]): Verdict {
  const core = new CoreExecutor(wasm)
  let vectors = 0
  for (const unit of units) {
    for (const mode of MODES) {
      const report = replay(core, unit, mode)
      const first = report.disagreements[0]
      if (first !== undefined) {
        const example = (first.examples[0] ?? '').slice(0, 160)
        return { caught: true, evidence: `${report.disagreements.length} forms: ${first.group}: ${example}` }
      }
      for (const count of report.counts.values()) vectors += count
    }
  }
  return { caught: false, evidence: `${vectors} runs of vectors` }
}

function judge(wasm: string, elf: string, checks: readonly string[]): Verdict {
  try {
    return checks[0] === 'guest' ? judgeByGuest(wasm, elf) : judgeByVectors(wasm, checks)
  } catch (error) {
    // The code of the core trapped: an access outside its memory, an endless recursion.
    const trapped = error instanceof Error && (error.name === 'RuntimeError' || error instanceof RangeError)
    if (!trapped) throw error
    return { caught: true, evidence: `the core fails: ${error.message}` }
  }
}

const [wasm = '', elf = '', ...checks] = process.argv.slice(2)
process.stdout.write(`${JSON.stringify(judge(wasm, elf, checks))}\n`)
