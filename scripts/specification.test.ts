/** docs/SPECIFICATION.md and docs/THREAT-MODEL.md name tests: each must exist. */
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'

const root = path.resolve(import.meta.dirname, '..')
const read = (file: string) => fs.readFileSync(path.join(root, file), 'utf8')

/** Pairs of file and test name, from `` `file` › "name", "name" ``. */
function references(page: string): [string, string][] {
  return [...page.matchAll(/`([\w./-]+\.test\.ts)` › ((?:"[^"]+"(?:, )?)+)/g)]
    .flatMap(([, file = '', names = '']) => [...names.matchAll(/"([^"]+)"/g)].map(([, name = '']): [string, string] => [file, name]))
}

describe.each(['docs/SPECIFICATION.md', 'docs/THREAT-MODEL.md'])('%s', (page) => {
  it('names tests that exist', () => {
    const missing = references(read(page)).filter(([file, name]) => !fs.existsSync(path.join(root, file)) || !read(file).includes(name))
    expect(references(read(page)).length).toBeGreaterThan(10)
    expect(missing).toEqual([])
  })

  it('names a test in every row of its promises', () => {
    const rows = read(page).split('\n').filter((line) => /^\| \d+\.\d+ \|/.test(line))
    expect(rows.filter((row) => references(row).length === 0)).toEqual([])
  })
})
