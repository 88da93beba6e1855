import { describe, expect, it } from 'vitest'
import { QmpSession } from './session.ts'
import { TestMachine } from './test-machine.ts'
import type { Outlet } from './session.ts'

const GREETING_LINES = 1
const MAX_QUEUED_EVENTS = 1024

/** A session whose receiver takes a line only when told. */
function setup() {
  const lines: string[] = []
  let behind = false
  let release: () => void = () => undefined
  const outlet: Outlet = {
    write(line) {
      lines.push(line.trim())
      return !behind
    },
    drained: () => new Promise((resolve) => { release = resolve }),
    get empty() { return !behind },
  }
  const context = { vm: new TestMachine(), version: '1', commandNames: [], humanMonitor: async () => '' }
  const session = new QmpSession(outlet, context, () => undefined)
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  return {
    session, lines, settle,
    fallBehind: () => { behind = true },
    catchUp: async () => {
      behind = false
      release()
      await settle()
    },
  }
}

const commands = (count: number) => Buffer.from('{"execute":"query-target"}'.repeat(count))

describe('a session', () => {
  it('answers no further command while its client is behind', async () => {
    const { session, lines, settle, fallBehind, catchUp } = setup()
    session.greet()
    fallBehind()
    const fed = session.feed(commands(3))
    await settle()
    expect(lines).toHaveLength(GREETING_LINES + 1)
    await catchUp()
    await fed
    expect(lines).toHaveLength(GREETING_LINES + 3)
  })

  it('keeps events before the greeting and while the client is behind, the newest 1024 of them, in order', async () => {
    const { session, lines, fallBehind, catchUp, settle } = setup()
    session.event('before')
    expect(lines).toEqual([])
    expect(session.settled).toBe(false)
    session.greet()
    expect(lines[1]).toBe('before')
    fallBehind()
    session.event('filler')
    for (let index = 0; index < MAX_QUEUED_EVENTS + 10; index++) session.event(`event ${index}`)
    await settle()
    expect(lines).toHaveLength(3)
    await catchUp()
    expect(lines).toHaveLength(3 + MAX_QUEUED_EVENTS)
    expect(lines[3]).toBe('event 10')
    expect(lines.at(-1)).toBe(`event ${MAX_QUEUED_EVENTS + 9}`)
    expect(session.settled).toBe(true)
  })
})
