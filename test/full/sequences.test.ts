/** Random programs of user mode against silicon for ten minutes, other ones in every run; see test/sequences.test.ts. */
import { expect, it } from 'vitest'
import { describeWhere } from '../support/optional.ts'
import { CAN_RUN_SEQUENCES, describeOutcome, runSequences, WHAT_IS_NEEDED } from '../vectors/run-sequences.ts'

const SECONDS = 600

describeWhere(CAN_RUN_SEQUENCES, WHAT_IS_NEEDED, 'random programs', () => {
  it('give the results of silicon for ten minutes', { timeout: 3 * SECONDS * 1000 }, async () => {
    const seed = String(Math.floor(Math.random() * 2 ** 32))
    const outcome = await runSequences(seed, SECONDS)
    process.stdout.write(`random programs: ${outcome.programs} from seed ${seed}\n`)
    expect(describeOutcome(outcome)).toBe('')
  })
})
