/** Would the checks of the software CPU notice a mistake? Each fault is built into a core of its own, and its check must fail. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { buildGuest } from '../guest/build.ts'
import { buildCore, run } from '../seeded-faults/build-core.ts'
import { FAULTS } from '../seeded-faults/faults.ts'
import type { Check, Fault } from '../seeded-faults/faults.ts'
import type { Verdict } from '../seeded-faults/judge.ts'

const LEAST = 20
/** A core that does not come to an end by itself is ended, and counts as caught. */
const HANG_MS = 300_000
const AT_ONCE = 2
const EVERYTHING: readonly Check[] = [{ by: 'vectors', units: ['int', 'int-32', 'sys', 'sys-32', 'x87', 'sse', 'mmx'] }, { by: 'guest' }]

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-faults-'))
const elf = path.resolve(buildGuest())
const evidence = new Map<Fault, string>()
afterAll(() => {
  fs.rmSync(folder, { recursive: true, force: true })
  const caught = FAULTS.filter((fault) => evidence.has(fault))
  const by = (kind: Check['by']): number => caught.filter((fault) => fault.caught.by === kind).length
  const lines = caught.map((fault) => `  ${fault.name} (${fault.file})\n    ${fault.caught.by}: ${evidence.get(fault)}`)
  const summary = `seeded faults: ${caught.length} of ${FAULTS.length} caught, ${by('vectors')} by the vectors, ${by('guest')} by the guest`
  console.log([summary, ...lines].join('\n'))
})

let running = 0
const queue: (() => void)[] = []
/** At most AT_ONCE compilers and cores at a time. */
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= AT_ONCE) await new Promise<void>((resolve) => { queue.push(resolve) })
  else running++
  try {
    return await work()
  } finally {
    const next = queue.shift()
    if (next === undefined) running--
    else next()
  }
}

async function judge(wasm: string, check: Check): Promise<Verdict> {
  const checks = check.by === 'guest' ? ['guest'] : check.units
  const { status, output } = await run(['scripts/ts.mjs', 'test/seeded-faults/judge.ts', wasm, elf, ...checks], HANG_MS)
  if (status === null) return { caught: true, evidence: 'the core hangs' }
  if (status !== 0) throw new Error(output)
  return JSON.parse(output.trim().split('\n').at(-1) ?? '') as Verdict
}

/** Without it a check that always fails would "catch" everything. */
const control = inTurn(async () => {
  const place = path.join(folder, 'control')
  const wasm = await buildCore(place)
  const verdicts: Verdict[] = []
  for (const check of EVERYTHING) verdicts.push(await judge(wasm, check))
  return verdicts.filter((verdict) => verdict.caught).map((verdict) => verdict.evidence)
})

test('the core as it is passes the checks, built and run as the faulty ones are', async () => {
  expect(await control).toEqual([])
})

test('there are enough faults, each with a name of its own', () => {
  expect(FAULTS.length).toBeGreaterThanOrEqual(LEAST)
  expect(new Set(FAULTS.map((fault) => fault.name)).size).toBe(FAULTS.length)
})

for (const [index, fault] of FAULTS.entries()) test.concurrent(`caught by the ${fault.caught.by}: ${fault.name}`, async () => {
  expect(await control).toEqual([])
  const place = path.join(folder, String(index))

  const verdict = await inTurn(async () => judge(await buildCore(place, fault), fault.caught))

  fs.rmSync(place, { recursive: true })
  expect(verdict.caught, verdict.evidence).toBe(true)
  evidence.set(fault, verdict.evidence)
})
