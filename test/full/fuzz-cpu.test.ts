/** Hostile guests against the software CPU for a quarter of an hour, other ones in every run; see test/fuzz-cpu.test.ts. */
import { expect, it } from 'vitest'
import { fuzz } from '../fuzz/watch.ts'

const SECONDS = 900

it('no random guest harms the machine', { timeout: 2 * SECONDS * 1000 }, async () => {
  const first = Math.floor(Math.random() * 2 ** 32) + 2 ** 32
  const { cases, seed, problem } = await fuzz(first, SECONDS)
  process.stdout.write(`hostile guests: ${cases} cases from ${first}\n`)
  expect(problem, `case ${seed}`).toBe('')
})
