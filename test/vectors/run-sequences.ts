/** Runs random programs (sequences.ts) in a process of its own, for they take over its signals. */
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import { promisify } from 'node:util'
import { canLoad } from '../support/optional.ts'
import type { Outcome } from './sequences.ts'

const FEATURES = ['fsgsbase', 'sse4_2', 'popcnt', 'cx16']

/** The processor must be of the kind that the software CPU is, and a process must be able to run machine code of its own. */
export const CAN_RUN_SEQUENCES = process.platform === 'linux' && process.arch === 'x64' && canLoad('koffi')
  && FEATURES.every((feature) => new RegExp(`^flags\\s*:.*\\b${feature}\\b`, 'm').test(fs.readFileSync('/proc/cpuinfo', 'utf8')))
export const WHAT_IS_NEEDED = 'koffi on Linux on an x86-64-v2 processor with FSGSBASE'

/** @param seconds how long; undefined: the one program of that seed */
export async function runSequences(seed: string, seconds?: number): Promise<Outcome> {
  const { stdout } = await promisify(execFile)(process.execPath, ['scripts/ts.mjs', 'test/vectors/sequences.ts', 'dist/core.wasm', seed, ...seconds === undefined ? [] : [String(seconds)]])
  return JSON.parse(stdout) as Outcome
}

/** What to look at and how to see it again. */
export function describeOutcome({ seed, problem, code }: Outcome): string {
  return problem === '' ? '' : `${problem}\ncode ${code}\nnode scripts/ts.mjs test/vectors/sequences.ts dist/core.wasm ${seed}`
}
