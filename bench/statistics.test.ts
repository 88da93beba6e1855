import { describe, expect, it } from 'vitest'
import { formatNumber, formatSpread, median, summarise } from './statistics.ts'
import { tableOf } from './report.ts'
import type { Figure } from './statistics.ts'

const figure = (change: Partial<Figure>): Figure => ({ bench: 'boot', name: 'to user space', unit: 's', better: 'lower', ours: [4, 6, 5], peer: [2.5], ...change })

describe('a figure of the bench', () => {
  it('is the median of its rounds', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    expect(median([])).toBeUndefined()
  })

  it('says how many times the peer is better, whichever way is better', () => {
    expect(summarise(figure({})).behind).toBe(2)
    expect(summarise(figure({ better: 'higher' })).behind).toBe(0.5)
    expect(summarise(figure({ peer: undefined })).behind).toBeUndefined()
    expect(summarise(figure({ better: 'higher', ours: [0] })).behind).toBeUndefined()
  })

  it('names its target as reached or not, and says nothing without one', () => {
    expect(summarise(figure({ target: 5 })).verdict).toBe('PASS')
    expect(summarise(figure({ target: 4.9 })).verdict).toBe('over target')
    expect(summarise(figure({ better: 'higher', target: 5.1 })).verdict).toBe('below target')
    expect(summarise(figure({})).verdict).toBe('')
  })

  it('may have a multiple of the peer as its target', () => {
    expect(summarise(figure({ timesPeer: 2 })).verdict).toBe('PASS')
    expect(summarise(figure({ timesPeer: 1.9 })).verdict).toBe('over target')
    expect(summarise(figure({ better: 'higher', timesPeer: 2.1 })).verdict).toBe('below target')
    expect(summarise(figure({ timesPeer: 2, peer: undefined })).verdict).toBe('')
    expect(tableOf([figure({ timesPeer: 1.5 })])[0]?.slice(5)).toEqual(['<= 1.50 x QEMU', 'over target'])
  })

  it('is printed with three digits', () => {
    expect([0, 1.234, 12.34, 1234.5, 7, -0.5].map((value) => formatNumber(value))).toEqual(['0', '1.23', '12.3', '1235', '7', '-0.50'])
    expect(formatNumber(undefined)).toBe('-')
    expect(formatSpread([2, 1.5, 3])).toBe('1.50 .. 3')
    expect(formatSpread([2])).toBe('')
  })

  it('makes a row of the table', () => {
    expect(tableOf([figure({ target: 20 })])[0]).toEqual(['boot: to user space', '5 s', '4 .. 6', '2.50 s', '2.00', '<= 20 s', 'PASS'])
    expect(tableOf([figure({ better: 'none', peer: undefined })])[0]).toEqual(['boot: to user space', '5 s', '4 .. 6', '-', '', '', ''])
  })
})
