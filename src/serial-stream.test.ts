import { expect, test } from 'vitest'
import { StreamBackend } from './serial-stream.ts'

const BOUND = 1024 * 1024
const soon = () => new Promise((resolve) => setImmediate(resolve))

test('what the guest writes comes out of the stream, and the stream ends with the machine', async () => {
  const backend = new StreamBackend()
  backend.write(Buffer.from('hello '))
  backend.write(Buffer.from('world'))
  await backend.close()
  let text = ''
  for await (const chunk of backend.output) text += String(chunk)
  expect(text).toBe('hello world')
})

test('a write completes only when the guest takes it', async () => {
  const backend = new StreamBackend()
  const received: string[] = []
  let done = false
  backend.input.write('abc', () => { done = true })
  await soon()
  expect(done).toBe(false)
  backend.onInput((bytes) => {
    received.push(Buffer.from(bytes).toString())
    backend.setFlow(false)
  })
  backend.setFlow(true)
  backend.input.write('def')
  await soon()
  expect([done, received]).toEqual([true, ['abc']])
  backend.setFlow(true)
  await soon()
  expect(received).toEqual(['abc', 'def'])
})

test('output that nobody reads is bounded: the oldest goes', () => {
  const backend = new StreamBackend()
  const chunk = new Uint8Array(64 * 1024)
  for (let written = 0; written < 4 * BOUND; written += chunk.length) backend.write(chunk)
  expect(backend.dropped).toBeGreaterThanOrEqual(2 * BOUND)
  expect(backend.dropped).toBeLessThan(4 * BOUND)
})

test('closing releases a write that the guest never took', async () => {
  const backend = new StreamBackend()
  const written = new Promise((resolve) => backend.input.write('x', resolve))
  await backend.close()
  await written
})
