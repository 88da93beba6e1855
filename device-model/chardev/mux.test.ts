import { describe, expect, it } from 'vitest'
import { FarEnd } from '../virtio/console-bench.ts'
import { Mux } from './mux.ts'

const CTRL_A = '\x01'

function bench({ terminal = false } = {}) {
  const far = new FarEnd()
  if (terminal) far.size = { columns: 80, rows: 24 }
  let quits = 0, now = 0
  const mux = new Mux(far, { onQuit: () => { quits++ }, now: () => now })
  const seen: string[] = ['', '']
  const events: string[] = []
  const frontends = [0, 1].map((index) => {
    const frontend = mux.frontend()
    frontend.onInput((bytes) => { seen[index] += Buffer.from(bytes).toString() })
    frontend.onEvent?.((event) => events.push(`${index} ${event}`))
    frontend.setFlow(true)
    return frontend
  })
  return { far, frontends, seen, events, quits: () => quits, passes: (ms: number) => { now += ms } }
}

describe('a character device that several share', () => {
  it('gives what is typed to one, and Ctrl-A c to the next, in the middle of a line too', () => {
    const { far, seen } = bench()
    far.say(`one${CTRL_A}ctwo${CTRL_A}`)
    far.say('cthree')
    expect(seen).toEqual(['onethree', 'two'])
  })

  it('takes output of all', () => {
    const { far, frontends } = bench()
    for (const [index, frontend] of frontends.entries()) frontend.write(Buffer.from(`from ${index} `))
    expect(far.text).toBe('from 0 from 1 ')
  })

  it('has the other keys of QEMU: x quits, b breaks for who has the focus, t puts times in front of lines, h helps', () => {
    const { far, frontends, events, quits, passes } = bench()
    far.say(`${CTRL_A}b${CTRL_A}c${CTRL_A}b${CTRL_A}x`)
    expect([events, quits()]).toEqual([['0 break', '1 break'], 1])
    frontends[0]?.write(Buffer.from('plain\n'))
    far.say(`${CTRL_A}t`)
    passes(3_723_004)
    frontends[0]?.write(Buffer.from('a\nb'))
    frontends[1]?.write(Buffer.from('c\n'))
    far.say(`${CTRL_A}t`)
    frontends[0]?.write(Buffer.from('d\n'))
    expect(far.text).toBe('plain\n[01:02:03.004] a\n[01:02:03.004] bc\nd\n')
    far.say(`${CTRL_A}h`)
    expect(far.text).toMatch(/Ctrl-A c {5} +switch[^]*Ctrl-A t[^]*Ctrl-A b/)
  })

  it('holds input for one that does not listen, bounded, and slows down a sender but not a terminal, whose keys must work', () => {
    const { far, frontends, seen } = bench()
    frontends[0]?.setFlow(false)
    far.say('x'.repeat(64 * 1024))
    expect(far.flow).toBe(false)
    frontends[0]?.setFlow(true)
    expect([far.flow, seen[0]?.length]).toEqual([true, 65_536])

    const terminal = bench({ terminal: true })
    terminal.frontends[0]?.setFlow(false)
    terminal.far.say('x'.repeat(64 * 1024))
    terminal.far.say('lost')
    terminal.far.say(`${CTRL_A}x`)
    expect([terminal.far.flow, terminal.quits()]).toEqual([true, 1])
    terminal.frontends[0]?.setFlow(true)
    expect(terminal.seen[0]).toHaveLength(65_536)
  })

  it('goes on with the others when one leaves', async () => {
    const { far, frontends, seen } = bench()
    far.say(`${CTRL_A}c`)
    await frontends[0]?.close()
    far.say('still the second')
    await frontends[1]?.close()
    far.say('nobody')
    expect(seen).toEqual(['', 'still the second'])
  })
})
