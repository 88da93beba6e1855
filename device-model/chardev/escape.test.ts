import { expect, test, vi } from 'vitest'
import { EscapeFilter } from './escape.ts'

function filterAll(...chunks: string[]) {
  const quit = vi.fn()
  const show = vi.fn()
  const filter = new EscapeFilter({ quit, show })
  const guest = chunks.map((chunk) => {
    let text = ''
    filter.feed(Buffer.from(chunk), (bytes) => { text += Buffer.from(bytes).toString() })
    return text
  }).join('|')
  return { guest, quits: quit.mock.calls.length, shown: show.mock.calls.map(([text]) => String(text)).join('') }
}

test('text passes, Ctrl-A x quits, Ctrl-A Ctrl-A sends one Ctrl-A', () => {
  expect(filterAll('ls\r')).toMatchObject({ guest: 'ls\r', quits: 0 })
  expect(filterAll('a\x01xb')).toMatchObject({ guest: 'ab', quits: 1 })
  expect(filterAll('\x01\x01')).toMatchObject({ guest: '\x01', quits: 0 })
})

test('a command may be split over two reads', () => {
  expect(filterAll('a\x01', 'x')).toMatchObject({ guest: 'a|', quits: 1 })
})

test('help and unknown commands answer on the terminal, not to the guest', () => {
  expect(filterAll('\x01h')).toMatchObject({ guest: '', quits: 0, shown: expect.stringContaining('Ctrl-A x') })
  expect(filterAll('\x01q')).toMatchObject({ guest: '', quits: 0, shown: expect.stringContaining('Ctrl-A h') })
})
