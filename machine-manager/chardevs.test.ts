import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MesovirtError } from '../host/errors.ts'
import { Chardevs } from './chardevs.ts'

let folder: string
let chardevs: Chardevs
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chardevs-'))
  chardevs = new Chardevs({})
})
afterEach(async () => {
  await chardevs.close()
  fs.rmSync(folder, { recursive: true })
})

const unix = (name: string, more: object = {}) => ({ type: 'socket', data: { addr: { type: 'unix', data: { path: path.join(folder, name) } }, ...more } })
const names = () => chardevs.list().map(({ label, filename, frontendOpen }) => `${label} ${filename.replace(folder, '')} ${frontendOpen}`)

describe('character devices by name', () => {
  it('are opened as QMP writes them: a socket is a server that does not wait', async () => {
    await chardevs.add('s', unix('s.sock'))
    await chardevs.add('f', { type: 'file', data: { out: path.join(folder, 'f'), append: true } })
    await chardevs.add('n', { type: 'null' })
    await chardevs.add('r', { type: 'memory', data: { size: 1024 } })
    await chardevs.add('i', { type: 'socket', data: { addr: { type: 'inet', data: { host: '127.0.0.1', port: '0' } }, telnet: false, nodelay: true } })
    expect(names()).toEqual(['s disconnected:unix:/s.sock,server=on false', 'f file false', 'n null false', 'r ringbuf false', expect.stringMatching(/^i disconnected:tcp:127.0.0.1:\d+,server=on false$/)])
    expect(fs.statSync(path.join(folder, 's.sock')).mode & 0o777).toBe(0o600)
  })

  it('connect as StratoVirt\'s callers ask, and say where nobody listens', async () => {
    await expect(chardevs.add('c', unix('none.sock', { server: false }))).rejects.toMatchObject({ code: 'CHARDEV_CONNECT' })
    const server = net.createServer((socket) => socket.end()).listen(path.join(folder, 'c.sock'))
    await new Promise((done) => server.once('listening', done))
    await chardevs.add('c', unix('c.sock', { server: false }))
    await chardevs.add('later', unix('none.sock', { server: false, reconnect: 1 }))
    expect(names()[1]).toBe('later disconnected:unix:/none.sock false')
    server.close()
  })

  it('serve one, or up to four where they are shared, and are removed when nobody uses them', async () => {
    await chardevs.add('one', { type: 'null' })
    const frontend = chardevs.claim('one')
    expect(names()).toEqual(['one null true'])
    expect(() => chardevs.claim('one')).toThrow("Chardev 'one' is busy")
    await expect(chardevs.remove('one')).rejects.toMatchObject({ code: 'CHARDEV_BUSY' })
    chardevs.release(frontend)
    await chardevs.remove('one')
    await expect(chardevs.remove('one')).rejects.toThrow("Chardev 'one' not found")
    await chardevs.open({ kind: 'null', label: 'many', mux: true })
    for (let index = 0; index < 4; index++) chardevs.claim('many')
    expect(() => chardevs.claim('many')).toThrow('busy')
    await expect(chardevs.change('many', { type: 'null' })).rejects.toThrow('shared')
  })

  it('are changed under who uses them, and stay as they are where the new one cannot be opened', async () => {
    await chardevs.add('c', { type: 'ringbuf' })
    const frontend = chardevs.claim('c')
    frontend.write(Buffer.from('one'))
    await expect(chardevs.change('c', { type: 'file', data: { out: folder } })).rejects.toMatchObject({ code: 'CHARDEV_FILE' })
    expect(Buffer.from(chardevs.readRing('c', 100)).toString()).toBe('one')
    const file = path.join(folder, 'file')
    await chardevs.change('c', { type: 'file', data: { out: file } })
    frontend.write(Buffer.from('two'))
    expect(() => chardevs.readRing('c', 1)).toThrow('c is not a ringbuf device')
    await chardevs.close()
    expect(fs.readFileSync(file, 'utf8')).toBe('two')
  })

  it('have names of their own, also beside those of monitors and while they are being opened', async () => {
    chardevs.reserve('monitor')
    const twice = [chardevs.add('c', { type: 'null' }), chardevs.add('c', { type: 'null' })]
    expect((await Promise.allSettled(twice)).map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    for (const id of ['c', 'monitor']) await expect(chardevs.add(id, { type: 'null' })).rejects.toMatchObject({ code: 'CHARDEV_NAME' })
  })

  it('refuse whatever else a client sends with an error, and leave nothing open', async () => {
    const value = fc.oneof(fc.constantFrom<unknown>('socket', 'unix', 'inet', 'null', 'ringbuf', 'file', 'mux', 'vc', 0, -1, true, null, ''), fc.json().map((text) => JSON.parse(text) as unknown))
    const key = fc.constantFrom('addr', 'server', 'size', 'in', 'device', 'host', 'port', 'type', 'id', 'backend', 'telnet', 'reconnect', 'mux')
    const data = fc.dictionary(key, fc.oneof(value, fc.record({ type: value, data: fc.dictionary(key, value) })))
    const kinds = fc.constantFrom<unknown>('null', 'ringbuf', 'socket', 'file', 'pipe', 'udp', 'mux', 1, undefined)
    // Names of files and sockets that would be made are left out.
    await fc.assert(fc.asyncProperty(kinds, data, async (type, members) => {
      try {
        await chardevs.add('x', { type, data: members })
        await chardevs.remove('x')
      } catch (error) {
        expect(error).toBeInstanceOf(MesovirtError)
      }
      expect(chardevs.list()).toEqual([])
    }), { numRuns: 300, interruptAfterTimeLimit: 8000 })
  })
})
