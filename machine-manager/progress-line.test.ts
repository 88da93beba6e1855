import { expect, test } from 'vitest'
import { ProgressLine } from './progress-line.ts'

const MIB = 2 ** 20

function recorder(isTTY: boolean) {
  const written: string[] = []
  return { written, out: { isTTY, write: (text: string | Uint8Array) => written.push(String(text)) > 0 } }
}

test('a line tells how far it is, not at every step, and goes away at the end', () => {
  const { written, out } = recorder(true)
  const line = new ProgressLine('-mem-prealloc', out)
  for (let step = 1; step <= 4; step++) line.show(step * 100 * MIB, 400 * MIB)
  expect(written).toEqual(['\r\x1b[K-mem-prealloc: 25% of 400 MiB', '\r\x1b[K'])
  line.clear()
  expect(written).toHaveLength(2)
})

test('a line that is left in the middle goes away too', () => {
  const { written, out } = recorder(true)
  const line = new ProgressLine('-mem-prealloc', out)
  line.show(MIB, 400 * MIB)
  line.clear()
  expect(written.at(-1)).toBe('\r\x1b[K')
})

test('nothing is written to what is no terminal', () => {
  const { written, out } = recorder(false)
  const line = new ProgressLine('-mem-prealloc', out)
  line.show(MIB, 400 * MIB)
  line.clear()
  expect(written).toEqual([])
})
