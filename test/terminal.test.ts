/** A person at a terminal: keys reach the guest, the escape keys reach us, and the terminal is as before afterwards. */
import { expect, it } from 'vitest'
import { bareMachine, echoing } from './support/bare-guest.ts'
import { describeWhere } from './support/optional.ts'
import { HAS_TERMINALS, Terminal, TERMINALS } from './support/terminal.ts'
import { GREETING, linux, PROMPT, scratch } from './support/vm.ts'

const CTRL_A = '\x01', CTRL_C = '\x03'

describeWhere(HAS_TERMINALS, TERMINALS, 'on a terminal', () => {
  it('boots to a shell, gives Ctrl-C to the guest, powers off on exit with status 0 and puts the terminal back', async () => {
    const terminal = await Terminal.open()
    const before = await terminal.settings()
    terminal.start(linux())
    await terminal.screen.until(GREETING)
    await terminal.screen.until(PROMPT)
    terminal.type('uname -a\r')
    await terminal.screen.until(/Linux mesovirt \S+ .* x86_64 GNU\/Linux/)
    await terminal.screen.until(PROMPT)
    // By the time it speaks it is the terminal's foreground job: before that a Ctrl-C would be the shell's, which then waited for the sleep.
    terminal.type(`sh -c 'echo asleep-$((1 + 1)); exec sleep 1000'\r`)
    await terminal.screen.until('asleep-2')
    terminal.type(CTRL_C)
    await terminal.screen.until('^C')
    await terminal.screen.until(PROMPT)
    terminal.type('echo al$((1 + 1))ive\r')
    await terminal.screen.until('al2ive')
    await terminal.screen.until(PROMPT)
    terminal.type('exit\r')
    expect(await terminal.ended()).toBe(0)
    expect(await terminal.settings()).toBe(before)
    terminal.close()
  })

  it('is raw while the machine runs and put back by Ctrl-A x', async () => {
    const terminal = await Terminal.open()
    const before = await terminal.settings()
    terminal.start(bareMachine(scratch(), echoing()))
    await terminal.screen.until('ready')
    // The guest echoes each byte once: twice would be the terminal's own echo, and no line end was typed.
    terminal.type('q')
    await terminal.screen.until('q')
    terminal.type(CTRL_A + CTRL_A)
    await terminal.screen.until('\x01')
    terminal.type(`${CTRL_A}h`)
    await terminal.screen.until('Ctrl-A x')
    terminal.type('z')
    await terminal.screen.until(/z/)
    expect(terminal.screen.all.split('ready')[1]?.split('q')).toHaveLength(3) // once typed, once in the help's "quit"
    terminal.type(`${CTRL_A}x`)
    expect(await terminal.ended()).toBe(0)
    expect(await terminal.settings()).toBe(before)
    terminal.close()
  })

  it('is put back when a signal ends the machine', async () => {
    const terminal = await Terminal.open()
    const before = await terminal.settings()
    const folder = scratch()
    terminal.start([...bareMachine(folder, echoing()), '-pidfile', `${folder}/pid`])
    await terminal.screen.until('ready')
    const other = await Terminal.open()
    expect(await other.host(`kill -TERM $(cat ${folder}/pid) && echo sent`)).toBe('sent')
    expect(await terminal.ended()).toBe(0)
    expect(await terminal.settings()).toBe(before)
    other.close()
    terminal.close()
  })

  it('with signal=on, Ctrl-C ends the machine and the terminal is put back', async () => {
    const terminal = await Terminal.open()
    const before = await terminal.settings()
    terminal.start(bareMachine(scratch(), echoing(), ['-chardev', 'stdio,id=c,signal=on', '-serial', 'chardev:c']))
    await terminal.screen.until('ready')
    terminal.type(CTRL_C)
    expect(await terminal.ended()).toBe(0)
    expect(await terminal.settings()).toBe(before)
    terminal.close()
  })
})
