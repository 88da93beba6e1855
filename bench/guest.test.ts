import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { ITEMS, PARALLEL } from './guest.ts'

describe('the items of the guest bench', () => {
  it('are those of the guest\'s program, each once', () => {
    const table = /items\[\] = \{\n([\s\S]*?)\n\};/.exec(fs.readFileSync(path.join('bench', 'guest', 'linux', 'main.c'), 'utf8'))?.[1] ?? ''
    const words = [...table.matchAll(/\{ "(\w+)", run_\1 \}/g)].map(([, word]) => word)
    expect(words.length).toBeGreaterThan(0)
    expect([...ITEMS.map(({ word }) => word), PARALLEL]).toEqual(words)
    expect(new Set(words).size).toBe(words.length)
  })
})
