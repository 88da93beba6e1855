import { mkdtempSync, rmSync, statSync, existsSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { QmpServer } from './server.ts'
import { TestMachine } from './test-machine.ts'
import type { Socket } from 'node:net'
import type { CharBackend } from '../../device-model/contracts.ts'

const GREETING = '{"QMP":{"version":{"qemu":{"micro":1,"minor":0,"major":5},"package":"mesovirt-9.8.7"},"capabilities":[]}}\r\n'
const OK = '{"return":{}}\r\n'

let folder: string
let vm: TestMachine
let server: QmpServer
let faults: string[]
let path: string
const open: Socket[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qmp-'))
  path = join(folder, 'vm.sock')
  vm = new TestMachine()
  faults = []
  server = new QmpServer({ vm, version: '9.8.7', log: (message) => faults.push(message) })
  await server.listen({ unix: path })
})

afterEach(async () => {
  for (const socket of open.splice(0)) socket.destroy()
  await server.close()
  rmSync(folder, { recursive: true, force: true })
  expect(faults).toEqual([])
})

/** A client that keeps what it receives. */
class Probe {
  readonly socket: Socket
  text = ''
  private wake: () => void = () => undefined

  constructor(socket: Socket) {
    this.socket = socket
    open.push(socket)
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      this.text += chunk.toString()
      this.wake()
    })
    socket.on('close', () => this.wake())
  }

  /** Waits until the text received so far satisfies the condition, and takes it. */
  async until(condition: (text: string) => boolean): Promise<string> {
    while (!condition(this.text)) {
      if (this.socket.destroyed) throw new Error(`closed after ${JSON.stringify(this.text)}`)
      await new Promise<void>((resolve) => { this.wake = resolve })
    }
    const { text } = this
    this.text = ''
    return text
  }

  async lines(count: number): Promise<string[]> {
    const text = await this.until((received) => received.split('\r\n').length > count)
    return text.split('\r\n').slice(0, -1)
  }

  /** The rest, until the other side hangs up. */
  async rest(): Promise<string> {
    while (!this.socket.destroyed && !this.socket.readableEnded) await new Promise<void>((resolve) => { this.wake = resolve; this.socket.once('end', resolve) })
    return this.text
  }
}

async function client(to: string | number = path, greeted = true): Promise<Probe> {
  const probe = new Probe(typeof to === 'string' ? connect({ path: to }) : connect({ port: to, host: '127.0.0.1' }))
  if (greeted) expect(await probe.until((text) => text.endsWith('\n'))).toBe(GREETING)
  return probe
}

const event = (name: string, data = '{}') => new RegExp(`^\\{"event":"${name}","data":${data},"timestamp":\\{"seconds":\\d{10},"microseconds":\\d{1,6}\\}\\}$`)

describe('a client', () => {
  it('is greeted, answered, and may send commands in any pieces without line ends', async () => {
    const probe = await client()
    probe.socket.write('{"execute":"query-target"}')
    expect(await probe.lines(1)).toEqual(['{"return":{"arch":"x86_64"}}'])
    probe.socket.write('{"execute":"query-target","id":1}\r\n\n  {"execute":"query-name","id":[2]}{"exec')
    expect(await probe.lines(2)).toEqual(['{"return":{"arch":"x86_64"},"id":1}', '{"return":{"name":"test vm"},"id":[2]}'])
    probe.socket.write('ute":"query-target","id":"é')
    probe.socket.write('"}')
    expect(await probe.lines(1)).toEqual(['{"return":{"arch":"x86_64"},"id":"é"}'])
  })

  it('that reads 1024 bytes at a time and sends no line end gets whole lines shorter than that', async () => {
    const socket = connect({ path, readableHighWaterMark: 1024 } as never)
    const probe = new Probe(socket)
    await probe.lines(1)
    for (const name of ['qmp_capabilities', 'query-status', 'query-cpus', 'query-events', 'query-machines']) {
      socket.write(`{"execute":"${name}"}`)
      const [line = ''] = await probe.lines(1)
      expect(JSON.parse(line)).toHaveProperty('return')
      expect(line.length).toBeLessThan(1022)
    }
  })

  it('is answered in order although commands take different times', async () => {
    let release: () => void = () => undefined
    vm.stopGate = new Promise((resolve) => { release = resolve })
    const probe = await client()
    probe.socket.write('{"execute":"stop","id":1}{"execute":"query-status","id":2}{"execute":"cont","id":3}')
    await new Promise((resolve) => setImmediate(resolve))
    release()
    const lines = await probe.lines(5)
    expect(lines[0]).toBe('{"return":{},"id":1}')
    expect(lines[1]).toMatch(event('STOP'))
    expect(lines[2]).toBe('{"return":{"running":false,"singlestep":false,"status":"paused"},"id":2}')
    expect(lines[3]).toBe('{"return":{},"id":3}')
    expect(lines[4]).toMatch(event('RESUME'))
  })

  it('gets the event of a command after its reply, with QEMU\'s data', async () => {
    const probe = await client()
    probe.socket.write('{"execute":"system_reset"}{"execute":"system_powerdown"}{"execute":"quit"}')
    const lines = await probe.lines(6)
    expect(lines.map((line) => Object.keys(JSON.parse(line) as object)[0])).toEqual(['return', 'event', 'return', 'event', 'return', 'event'])
    expect(lines[1]).toMatch(event('RESET', '\\{"guest":false,"reason":"host-qmp-system-reset"\\}'))
    expect(lines[3]).toMatch(event('POWERDOWN'))
    expect(lines[5]).toMatch(event('SHUTDOWN', '\\{"guest":false,"reason":"host-qmp-quit"\\}'))
  })

  it('may pipeline ten thousand commands', async () => {
    const probe = await client()
    const count = 10_000
    probe.socket.write(Array.from({ length: count }, (_, id) => `{"execute":"query-name","id":${id}}`).join(''))
    const lines = await probe.lines(count)
    expect(lines.map((line) => (JSON.parse(line) as { id: number }).id)).toEqual(Array.from({ length: count }, (_, id) => id))
  })

  it('that does not read is not read from, keeps a bounded number of events, and is answered in full once it reads', async () => {
    const probe = await client()
    probe.socket.pause()
    const count = 30_000
    probe.socket.write('{"execute":"query-commands"}'.repeat(count))
    for (let round = 0; round < 50; round++) await new Promise((resolve) => setImmediate(resolve))
    const other = vm
    for (let index = 0; index < 5000; index++) other.emit({ name: 'POWERDOWN' })
    expect(probe.socket.writableLength).toBeGreaterThan(0)
    probe.socket.resume()
    let replies = 0
    let events = 0
    let tail = ''
    while (replies < count) {
      const text = tail + await probe.until((received) => received.length > 0)
      const lines = text.split('\r\n')
      tail = lines.pop() ?? ''
      const answered = lines.filter((line) => line.startsWith('{"return"')).length
      replies += answered
      events += lines.length - answered
    }
    expect(replies).toBe(count)
    expect(events).toBeLessThanOrEqual(1024 + 1)
    expect(events).toBeGreaterThan(0)
  })
})

describe('a hang-up', () => {
  it('after a command lets the command run, however fast it comes', async () => {
    for (let round = 0; round < 20; round++) {
      const socket = connect({ path })
      socket.on('error', () => undefined)
      socket.write('{"execute":"system_powerdown"}')
      socket.destroySoon()
      await new Promise((resolve) => socket.once('close', resolve))
    }
    const probe = await client()
    probe.socket.write('{"execute":"quit"}')
    await probe.lines(2)
    expect(vm.calls).toEqual([...Array.from({ length: 20 }, () => 'powerdown'), 'quit'])
  })

  it('of one direction only still gets its replies, and the connection then ends', async () => {
    const probe = await client()
    probe.socket.end('{"execute":"query-target"}{"execute":"stop"')
    expect(await probe.rest()).toBe('{"return":{"arch":"x86_64"}}\r\n{"error":{"class":"GenericError","desc":"JSON parse error, premature end of input"}}\r\n')
  })

  it('is followed by the next client, as often as wanted, each with a fresh parser', async () => {
    for (let round = 0; round < 20; round++) {
      const probe = await client()
      probe.socket.write('{"execute":"qmp_capabilities"}{"half":')
      expect(await probe.until((text) => text.endsWith('\n'))).toBe(OK)
      probe.socket.destroy()
    }
  })

  it('loses events of the time without a client', async () => {
    const first = await client()
    first.socket.destroy()
    await new Promise((resolve) => first.socket.once('close', resolve))
    for (let round = 0; round < 5; round++) await new Promise((resolve) => setImmediate(resolve))
    vm.emit({ name: 'POWERDOWN' })
    const second = await client()
    second.socket.write('{"execute":"qmp_capabilities"}')
    expect(await second.until((text) => text.endsWith('\n'))).toBe(OK)
  })
})

describe('several clients', () => {
  it('of one monitor are served one after the other', async () => {
    const first = await client()
    const second = await client(path, false)
    second.socket.write('{"execute":"query-target"}')
    first.socket.write('{"execute":"query-name"}')
    await first.lines(1)
    expect(second.text).toBe('')
    first.socket.destroy()
    expect(await second.lines(2)).toEqual([GREETING.trim(), '{"return":{"arch":"x86_64"}}'])
  })

  it('of one monitor that hang up while waiting have their commands run in their turn', async () => {
    const first = await client()
    const second = connect({ path })
    second.write('{"execute":"system_powerdown"}')
    await new Promise<void>((resolve) => { second.once('connect', () => second.end(() => second.destroy())); second.once('close', () => resolve()) })
    first.socket.destroy()
    const third = await client()
    third.socket.write('{"execute":"system_reset"}')
    await third.lines(2)
    expect(vm.calls).toEqual(['powerdown', 'reset'])
  })

  it('of several monitors are served together and each gets every event', async () => {
    const address = await server.listen({ host: '127.0.0.1', port: 0 })
    const first = await client()
    const second = await client('port' in address ? address.port : 0)
    second.socket.write('{"execute":"stop"}')
    expect(await second.lines(2)).toEqual(['{"return":{}}', expect.stringMatching(event('STOP'))])
    expect(await first.lines(1)).toEqual([expect.stringMatching(event('STOP'))])
    first.socket.write('{"execute":"cont","id":1}')
    expect(await first.lines(2)).toEqual(['{"return":{},"id":1}', expect.stringMatching(event('RESUME'))])
    expect(await second.lines(1)).toEqual([expect.stringMatching(event('RESUME'))])
  })
})

describe('the server', () => {
  it('makes the socket private and removes it when it closes', async () => {
    expect(statSync(path).mode & 0o777).toBe(0o600)
    await server.close()
    expect(existsSync(path)).toBe(false)
  })

  it('sends replies and events before flush resolves', async () => {
    const probe = await client()
    const flushed = new Promise<void>((resolve) => vm.subscribe(() => void server.flush().then(resolve)))
    probe.socket.write('{"execute":"quit","id":7}')
    await flushed
    await server.close()
    expect(await probe.rest()).toMatch(/^\{"return":\{\},"id":7\}\r\n\{"event":"SHUTDOWN".*\r\n$/)
  })

  it('lets flush end although a client does not read and a command never returns', async () => {
    vm.stopGate = new Promise(() => undefined)
    const probe = await client()
    probe.socket.write('{"execute":"stop"}')
    await new Promise((resolve) => setImmediate(resolve))
    await expect(server.flush()).resolves.toBeUndefined()
  })

  it('answers any bytes and stays usable', async () => {
    const piece = fc.oneof(
      fc.constantFrom('{', '}', '[', ']', ':', ',', '"', "'", '\\', '\n', 'true', '-', '0', '"execute":', '{"execute":"query-name"}', '{"execute":"nope","id":[1]}', '{"execute":"stop","arguments":{"x":1}}')
        .map((text) => Uint8Array.from(Buffer.from(text))),
      fc.uint8Array({ minLength: 1, maxLength: 5 }))
    await fc.assert(fc.asyncProperty(fc.array(piece, { maxLength: 30 }), fc.boolean(), async (pieces, reconnect) => {
      const probe = await client()
      for (const bytes of pieces) probe.socket.write(bytes)
      if (reconnect) {
        probe.socket.destroy()
        return
      }
      probe.socket.write(Uint8Array.of(0xff))
      probe.socket.write('{"execute":"query-target","id":"after"}')
      const text = await probe.until((received) => received.includes('"id":"after"}\r\n'))
      for (const line of text.trim().split('\r\n')) expect(JSON.parse(line)).toBeTypeOf('object')
      expect(text).toContain('{"return":{"arch":"x86_64"},"id":"after"}')
      probe.socket.destroy()
    }), { numRuns: 150 })
  })
})

describe('a monitor on a character device', () => {
  it('greets, answers in order, sends events and holds input back while it works', async () => {
    let output = ''
    let input: ((bytes: Uint8Array) => void) | null = null
    const flow: boolean[] = []
    const backend: CharBackend = {
      label: 'mon0', kind: 'pty', filename: 'pty:/dev/pts/9', connected: true,
      write: (bytes) => { output += Buffer.from(bytes).toString() },
      onInput: (handler) => { input = handler },
      setFlow: (ready) => { flow.push(ready) },
      close: async () => undefined,
    }
    const type = (text: string) => input?.(Uint8Array.from(Buffer.from(text)))
    const until = async (condition: () => boolean) => { while (!condition()) await new Promise((resolve) => setImmediate(resolve)) }
    server.addChardev(backend)
    expect(output).toBe(GREETING)
    expect(flow).toEqual([true])
    type('{"execute":"stop","id"')
    type(':1}{"execute":"query-target"}')
    await until(() => output.includes('x86_64') && flow.at(-1) === true)
    expect(output.split('\r\n').slice(1, -1)).toEqual(['{"return":{},"id":1}', expect.stringMatching(event('STOP')), '{"return":{"arch":"x86_64"}}'])
    expect(flow).toEqual([true, false, false, true])
    await server.close()
    expect(input).toBeNull()
  })
})
