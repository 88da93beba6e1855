/** Random programs of user mode: the processor underneath, the interpreter and the translator must agree on registers, flags that are defined, and memory. */
import { expect, it } from 'vitest'
import { describeWhere } from './support/optional.ts'
import { CAN_RUN_SEQUENCES, describeOutcome, runSequences, WHAT_IS_NEEDED } from './vectors/run-sequences.ts'

const SECONDS = 30
/** Far below what the slowest box manages. */
const LEAST_PROGRAMS = 50
/** Programs that once were different, by seed; and a few that hold everything, to begin with. */
const FIXED = ['5:87', '1:7']

describeWhere(CAN_RUN_SEQUENCES, WHAT_IS_NEEDED, 'random programs', () => {
  it.each(FIXED)('program %s gives the results of silicon', async (seed) => {
    expect(describeOutcome(await runSequences(seed))).toBe('')
  })

  it('give the results of silicon, interpreted and translated', async () => {
    const seed = String(Math.floor(Math.random() * 2 ** 32))
    const outcome = await runSequences(seed, SECONDS)
    process.stdout.write(`random programs: ${outcome.programs} from seed ${seed}\n`)
    expect(describeOutcome(outcome)).toBe('')
    expect(outcome.programs).toBeGreaterThan(LEAST_PROGRAMS)
  })
})
