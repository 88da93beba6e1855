/**
 * Child process: random programs (sequence.ts) on the processor underneath and on the software CPU, interpreted and translated, until the time is over or one differs.
 * `sequences.ts CORE SEED SECONDS` prints one line of JSON; `sequences.ts CORE SEED` runs the one program of that seed and says all about it. It takes over the fatal signals.
 */
import { ARITHMETIC, DF, S_RIP, S_TRAP, SNAPSHOT } from './arena.ts'
import { differences, equal } from './compare.ts'
import { CoreExecutor } from './core.ts'
import { NativeExecutor } from './native.ts'
import { makeSequence } from './sequence.ts'
import type { Sequence } from './sequence.ts'
import { normalise } from './normalise.ts'

/** Programs after which the translating core is made anew: each is a module, and V8 keeps them while the core's table does. */
const LIFETIME = 2000
const RUN = { path: 'run', specialised: true } as const

export interface Outcome { readonly programs: number; readonly seed: string; readonly problem: string; readonly code: string }

class Comparison {
  readonly #native = new NativeExecutor()
  readonly #interpreted: CoreExecutor
  #translated: CoreExecutor
  readonly #core: string
  #runs = 0
  readonly #wanted = new Uint8Array(SNAPSHOT)
  readonly #got = new Uint8Array(SNAPSHOT)

  constructor(core: string) {
    this.#core = core
    this.#interpreted = new CoreExecutor(core)
    this.#translated = this.#translating()
  }

  #translating(): CoreExecutor {
    return new CoreExecutor(this.#core, true, { blocks: 40, uops: 600, heat: 0, farHeat: 0, farUops: 300 })
  }

  /** @returns what differs, '' if nothing does */
  check(sequence: Sequence): string {
    const { state } = sequence
    this.#native.run(state, this.#wanted)
    const wanted = new DataView(this.#wanted.buffer)
    state.flagsMask = (ARITHMETIC | DF) & ~sequence.undefinedAt(Number(wanted.getBigUint64(S_RIP, true)))
    normalise(state, this.#wanted)
    if (++this.#runs % LIFETIME === 0) this.#translated = this.#translating()
    for (const [name, core] of [['interpreted', this.#interpreted], ['translated', this.#translated]] as const) {
      core.run(state, RUN, wanted.getUint32(S_TRAP, true), this.#got)
      normalise(state, this.#got)
      if (!equal(this.#wanted, this.#got)) return `${name}: ${differences(this.#wanted, this.#got).slice(0, 12).join(', ')} (silicon/ours)`
    }
    return ''
  }

  /** Leaves out items as long as it still differs. */
  shrink(seed: string, items: number): Sequence {
    const without = new Set<number>()
    for (let item = items - 1; item >= 0; item--) {
      without.add(item)
      if (this.check(makeSequence(seed, without)) === '') without.delete(item)
    }
    return makeSequence(seed, without)
  }
}

function main([core = 'dist/core.wasm', seed = '1', seconds]: readonly string[]): void {
  const comparison = new Comparison(core)
  const end = performance.now() + Number(seconds ?? 0) * 1000
  let programs = 0
  const outcome = (failed: string, problem: string, code: string): Outcome => ({ programs, seed: failed, problem, code })
  const report = (name: string): Outcome => {
    const small = comparison.shrink(name, makeSequence(name).items)
    const problem = comparison.check(small)
    return outcome(name, problem, Buffer.from(small.state.code.subarray(0, small.state.codeLength)).toString('hex'))
  }
  do {
    const name = seconds === undefined ? seed : `${seed}:${programs}`
    const sequence = makeSequence(name)
    programs++
    if (comparison.check(sequence) === '') continue
    const result = report(name)
    process.stdout.write(`${JSON.stringify(result)}\n`)
    return
  } while (performance.now() < end)
  process.stdout.write(`${JSON.stringify(outcome('', '', ''))}\n`)
}

main(process.argv.slice(2))
