import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { FarEnd } from '../virtio/console-bench.ts'
import { NamedBackend } from './named.ts'
import { openNamed } from './open.ts'
import { RingBackend } from './ringbuf.ts'

it('goes on with something else behind it: flow, input and output move over, and the user hears of a peer that leaves and one that comes', async () => {
  const first = new FarEnd(), second = new FarEnd()
  first.canWrite = false
  const named = new NamedBackend(first)
  let input = ''
  const events: string[] = []
  named.onInput((bytes) => { input += Buffer.from(bytes).toString() })
  named.onEvent((event) => events.push(event))
  named.setFlow(true)
  first.say('a')
  named.write(Buffer.from('1'))

  const before = named.replace(second)
  first.say('gone')
  second.say('b')
  named.write(Buffer.from('2'))

  expect(before).toEqual([first])
  expect([input, first.text, second.text]).toEqual(['ab', '1', '2'])
  expect([first.isUsed, first.flow, second.flow, named.canWrite]).toEqual([false, false, true, true])
  expect(events).toEqual(['closed', 'opened', 'writable'])
})

it('copies its output to a file, which is emptied first or not', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'chardev-named-'))
  const path = join(folder, 'log')
  for (const [text, append] of [['one', false], ['two', true], ['three', false]] as const) {
    const named = await openNamed({ kind: 'null', label: 'c', log: { path, append } })
    named.write(Buffer.from(text))
    await named.close()
    if (text === 'two') expect(readFileSync(path, 'utf8')).toBe('onetwo')
  }
  expect(readFileSync(path, 'utf8')).toBe('three')
  rmSync(folder, { recursive: true })
})

it('keeps the last bytes in a ring buffer, and gives them out once', () => {
  const ring = new RingBackend('r', 8)
  ring.write(Buffer.from('0123456'))
  ring.write(Buffer.from('789'))
  expect(Buffer.from(ring.take(3)).toString()).toBe('234')
  ring.write(Buffer.from('ab'))
  expect(Buffer.from(ring.take(100)).toString()).toBe('56789ab')
  expect(ring.take(100)).toHaveLength(0)
})
