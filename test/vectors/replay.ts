/** Stored vectors on a processor: counts, and what disagrees, by group. */
import fs from 'node:fs'
import path from 'node:path'
import { S_TRAP, SNAPSHOT } from './arena.ts'
import { differences, equal, forgive } from './compare.ts'
import type { Mode } from './core.ts'
import { Generator } from './generate.ts'
import { allGroups } from './groups.ts'
import type { Group } from './groups.ts'
import { normalise } from './normalise.ts'
import { checkState, Reader } from './store.ts'
import type { State } from './state.ts'

export const DATA_FOLDER = path.resolve('test/vectors/data')

/** What runs vectors: the software CPU, or the processor underneath. */
export interface Executor {
  /** Whether it can run a group's vectors at all; every one where this is absent. */
  takes?(group: Group): boolean
  /** `declined`: something else than the processor has run it, and `result` says nothing. */
  run(state: State, mode: Mode, expectedTrap: number, result: Uint8Array): void | 'declined'
}

export interface Disagreement { readonly group: string, readonly wrong: number, readonly of: number, readonly examples: string[] }
export interface Report {
  /** vectors of each group that were compared */
  readonly counts: Map<string, number>
  readonly stale: string[]
  readonly disagreements: Disagreement[]
  /** vectors that the executor declined, and groups that it does not take */
  declined: number
  readonly notTaken: string[]
}

/** One disagreement in one line. */
export function describe(n: number, state: State, wanted: Uint8Array, got: Uint8Array): string {
  const code = Buffer.from(state.code.subarray(0, state.codeLength)).toString('hex')
  return `#${n} ${code}: ${differences(wanted, got).join(', ')} (wanted/got)`
}

/** Replays one family's file. @param examples how many disagreements per group are described; @param most how many vectors of a group are run; @param every of so many vectors one is run */
export function replay(core: Executor, unit: string, mode: Mode, examples = 1, only = '', most = Infinity, every = 1): Report {
  const reader = new Reader(fs.readFileSync(path.join(DATA_FOLDER, `${unit}.bin.br`)))
  const groups = new Map(allGroups().map((group) => [group.key, group]))
  const report: Report = { counts: new Map(), stale: [], disagreements: [], declined: 0, notTaken: [] }
  const wanted = new Uint8Array(SNAPSHOT), got = new Uint8Array(SNAPSHOT)
  const wantedView = new DataView(wanted.buffer)
  for (const stored of reader.groups) {
    const group = groups.get(stored.key)
    if (group === undefined) throw new Error(`${unit}.bin.br holds "${stored.key}", which the decode table no longer has: run npm run vectors`)
    const generator = new Generator(group)
    const taken = core.takes?.(group) ?? true
    let check = 0x811c9dc5, wrong = 0, compared = 0
    const shown: string[] = []
    for (let n = 0; n < stored.vectors; n++) {
      const state = generator.next()
      check = checkState(check, state.bytes, state.code, state.codeLength)
      wanted.set(state.bytes)
      reader.apply(wanted)
      if (n >= most || n % every !== 0 || !taken || !stored.key.includes(only)) continue
      if (core.run(state, mode, wantedView.getUint32(S_TRAP, true), got) === 'declined') {
        report.declined++
        continue
      }
      compared++
      normalise(state, got)
      forgive(group.row, wanted, got)
      if (equal(wanted, got)) continue
      wrong++
      if (shown.length < examples) shown.push(describe(n, state, wanted, got))
    }
    if (check !== stored.check) report.stale.push(stored.key)
    if (!taken) report.notTaken.push(stored.key)
    report.counts.set(stored.key, compared)
    if (wrong > 0) report.disagreements.push({ group: stored.key, wrong, of: compared, examples: shown })
  }
  return report
}
