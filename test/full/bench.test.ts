/** The bench runs, measures ours against QEMU, and prints its figures. They are reported; no figure decides whether this test passes. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { ROOT, scratch } from '../support/vm.ts'

interface Figure { readonly bench: string; readonly name: string }

it('npm run bench -- boot startup idle guest prints its figures', ({ task }) => {
  const file = path.join(scratch(), 'bench.json')
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/ts.mjs', 'bench/main.ts', 'boot', 'startup', 'idle', 'guest', '--rounds', '1', '--json', file], { cwd: ROOT, encoding: 'utf8', timeout: 25 * 60_000 })
  expect(status, stderr).toBe(0)
  const { figures } = JSON.parse(fs.readFileSync(file, 'utf8')) as { figures: readonly Figure[] }
  for (const bench of ['boot', 'startup', 'idle', 'guest']) expect(figures.some((figure) => figure.bench === bench), bench).toBe(true)
  Object.assign(task.meta, { measured: stdout.trim() })
}, 30 * 60_000)
