import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import { LOOPS } from './cpu.ts'

describe('the loops of the cpu bench', () => {
  it('are those of the guest, each once', () => {
    const table = /^table:\n((?:\s+\.quad '.*\n)+)/m.exec(fs.readFileSync('bench/guest/cpu.s', 'utf8'))?.[1] ?? ''
    const guest = [...table.matchAll(/\.quad '(.)',/g)].map(([, letter]) => letter)
    expect(guest.length).toBeGreaterThan(0)
    expect(LOOPS.map(({ letter }) => letter)).toEqual(guest)
    expect(new Set(guest).size).toBe(guest.length)
  })
})
