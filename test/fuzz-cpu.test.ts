/**
 * Hostile guests against the software CPU (threat model: nothing a guest does may trap the core, keep it for ever, or write outside the guest's memory).
 * Reproduce a case: `node scripts/ts.mjs test/fuzz/child.ts dist/core.wasm SEED`.
 */
import { expect, it } from 'vitest'
import { scenarios } from './fuzz/scenarios.ts'
import { fuzz } from './fuzz/watch.ts'

const SECONDS = 60
/** Far below what the slowest box manages. */
const LEAST_CASES = 20

it.each(Object.keys(scenarios))('%s', async (name) => {
  expect(await fuzz(name, 0)).toEqual({ cases: 1, seed: name, problem: '' })
})

it('no random guest harms the machine', async () => {
  const { cases, seed, problem } = await fuzz(1, SECONDS)
  process.stdout.write(`hostile guests: ${cases} cases\n`)
  expect(problem, `case ${seed}`).toBe('')
  expect(cases).toBeGreaterThan(LEAST_CASES)
})
