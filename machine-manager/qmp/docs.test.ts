import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { COMMANDS } from './commands/table.ts'
import { renderQmpDocs } from './docs.ts'

const PAGE = new URL('../../docs/qmp.md', import.meta.url)

describe('docs/qmp.md', () => {
  it('is what the tables say: node scripts/ts.mjs scripts/generate-docs.ts', () => {
    expect(readFileSync(PAGE, 'utf8')).toBe(renderQmpDocs())
  })

  it('shows for every command an example that names it', () => {
    for (const { name, example } of COMMANDS) expect((JSON.parse(example) as { execute: string }).execute).toBe(name)
  })
})
