/** The serial port on each kind of back-end, with a machine behind it. */
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import tty from 'node:tty'
import { describe, expect, it } from 'vitest'
import { bareMachine, echoing, saying } from './support/bare-guest.ts'
import { describeWhere } from './support/optional.ts'
import { Qmp } from './support/qmp.ts'
import { HAS_TERMINALS, TERMINALS } from './support/terminal.ts'
import { Transcript } from './support/transcript.ts'
import { eventually, linux, PROMPT, Run, scratch, withMonitor } from './support/vm.ts'

function read(socket: net.Socket): Transcript {
  const transcript = new Transcript('the serial socket')
  socket.setEncoding('utf8').on('data', (text: string) => transcript.append(text))
  socket.on('error', () => undefined).on('close', () => transcript.end('it closed'))
  return transcript
}

describe('the serial port on a socket', () => {
  it('carries a Linux console: connect, type, read, come back later', async () => {
    const folder = scratch()
    const serial = path.join(folder, 'serial.sock')
    const { vm, qmp } = await withMonitor(linux({ args: ['-chardev', `socket,id=s0,path=${serial},server=on,wait=off`, '-serial', 'chardev:s0'] }))
    const first = await eventually('the serial socket', () => Qmp.dial({ path: serial }).catch(() => undefined))
    const console1 = read(first)
    await console1.until(PROMPT)
    first.write('echo one-$((1 + 1))\n')
    await console1.until('one-2')
    await console1.until(PROMPT)
    first.destroy()
    const second = await Qmp.dial({ path: serial })
    const console2 = read(second)
    second.write('echo two-$((1 + 1)); exit\n')
    await console2.until('two-2')
    expect(await qmp.event('SHUTDOWN')).toMatchObject({ data: { reason: 'guest-shutdown' } })
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    expect(fs.existsSync(serial)).toBe(false)
  })

  it('with wait=on holds the machine until somebody connects, on TCP too', async () => {
    const reserved = net.createServer().listen(0, '127.0.0.1')
    const port = await new Promise<number>((resolve) => reserved.once('listening', () => resolve((reserved.address() as net.AddressInfo).port)))
    await new Promise((resolve) => reserved.close(resolve))
    const vm = new Run(bareMachine(scratch(), echoing(), ['-serial', `tcp:127.0.0.1:${port},server=on,wait=on`]))
    const socket = await eventually('the serial port', () => Qmp.dial({ host: '127.0.0.1', port }).catch(() => undefined))
    const console1 = read(socket)
    await console1.until('ready\r\n')
    socket.write('abc')
    await console1.until('abc')
    vm.child.kill('SIGTERM')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})

describe('the serial port on a file', () => {
  it('writes what the guest says', async () => {
    const folder = scratch()
    const file = path.join(folder, 'console')
    const { vm, qmp } = await withMonitor(bareMachine(folder, saying('to a file\n'), ['-serial', `file:${file}`]))
    await eventually('the text', () => fs.existsSync(file) && fs.readFileSync(file, 'utf8') === 'to a file\n')
    await qmp.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    expect(fs.readFileSync(file, 'utf8')).toBe('to a file\n')
  })
})

describeWhere(HAS_TERMINALS, TERMINALS, 'the serial port on a pseudo terminal', () => {
  it('answers whoever opens the terminal that query-chardev names', async () => {
    const { vm, qmp } = await withMonitor(bareMachine(scratch(), echoing(), ['-serial', 'pty']))
    const name = await eventually('the name of the terminal', async () =>
      (await qmp.run<{ filename: string }[]>('query-chardev')).map(({ filename }) => /^pty:(\/dev\/.+)$/.exec(filename)?.[1]).find((text) => text !== undefined))
    const fd = fs.openSync(name, fs.constants.O_RDWR | fs.constants.O_NOCTTY)
    const terminal = new tty.ReadStream(fd)
    const text = read(terminal as unknown as net.Socket)
    terminal.setRawMode(true)
    // Typed again until it answers: a pty forgets what came before somebody listened.
    await eventually('an echo', async () => {
      fs.writeSync(fd, 'x')
      return text.until('x', 200).then(() => true, () => false)
    })
    terminal.destroy()
    await qmp.run('quit')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})
