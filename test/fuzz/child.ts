/**
 * Runs hostile guests one after the other: `node scripts/ts.mjs test/fuzz/child.ts core.wasm first-seed seconds progress-file`, with 0 seconds the one case;
 * or a scenario: `... child.ts core.wasm "its name"`. Prints a JSON line {cases, seed, problem}. The number of the case at work is in the progress file,
 * for whoever has to end a hang.
 */
import fs from 'node:fs'
import { runCase } from './case.ts'
import { FuzzMachine } from './machine.ts'
import { scenarios } from './scenarios.ts'

const [file = 'dist/core.wasm', first = '1', seconds = '0', progress = '/dev/null'] = process.argv.slice(2)
const machine = new FuzzMachine(file)

function fuzz(): object {
  const fd = fs.openSync(progress, 'w')
  const number = Buffer.alloc(8)
  const end = performance.now() + Number(seconds) * 1000
  let cases = 0
  for (let seed = Number(first); ; seed++) {
    number.writeBigUInt64LE(BigInt(seed))
    if (progress !== '/dev/null') fs.writeSync(fd, number, 0, 8, 0)
    const problem = runCase(machine, seed)
    cases++
    if (problem !== '' || performance.now() >= end) return { cases, seed, problem }
  }
}

const scenario = scenarios[first]
const result = scenario === undefined ? fuzz() : { cases: 1, seed: first, problem: scenario(machine) || machine.check() }
process.stdout.write(`${JSON.stringify(result)}\n`)
