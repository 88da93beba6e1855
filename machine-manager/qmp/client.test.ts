import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest'
import { QmpClient } from './client.ts'
import { QmpServer } from './server.ts'
import { TestMachine } from './test-machine.ts'
import type { Server } from 'node:net'

let folder: string
let path: string
let vm: TestMachine
let server: QmpServer
const others: Server[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qmp-client-'))
  path = join(folder, 'vm.sock')
  vm = new TestMachine()
  server = new QmpServer({ vm, version: '9.8.7' })
  await server.listen({ unix: path })
})

afterEach(async () => {
  await server.close()
  for (const other of others.splice(0)) other.close()
  rmSync(folder, { recursive: true, force: true })
})

describe('QmpClient', () => {
  it('knows the types of commands, arguments and results', async () => {
    const client = await QmpClient.connect({ unix: path })
    expect(client.greeting.QMP.version.package).toBe('mesovirt-9.8.7')
    const status = await client.execute('query-status')
    expectTypeOf(status.running).toEqualTypeOf<boolean>()
    expect(status).toEqual({ running: true, singlestep: false, status: 'running' })
    const text = await client.execute('human-monitor-command', { 'command-line': 'info status' })
    expectTypeOf(text).toEqualTypeOf<string>()
    expect(text).toBe('VM status: running\r\n')
    client.close()
    await client.closed
  })

  it('answers commands sent together in their order, errors among them', async () => {
    const client = await QmpClient.connect({ unix: path })
    const results = await Promise.allSettled([client.execute('query-target'), client.execute('no-such'), client.execute('query-name'), client.send({ execute: 'query-name', id: 5 })])
    expect(results).toMatchObject([
      { value: { arch: 'x86_64' } },
      { reason: { code: 'QMP_COMMAND', errorClass: 'CommandNotFound', message: 'The command no-such has not been found' } },
      { value: { name: 'test vm' } },
      { value: { return: { name: 'test vm' }, id: 5 } },
    ])
    client.close()
  })

  it('hands over events until told otherwise', async () => {
    const client = await QmpClient.connect({ unix: path })
    const names: string[] = []
    const stop = client.onEvent(({ event }) => names.push(event))
    const shutdown = client.waitForEvent('SHUTDOWN')
    await client.execute('stop')
    await client.execute('cont')
    stop()
    await client.execute('quit')
    expect((await shutdown).data).toEqual({ guest: false, reason: 'host-qmp-quit' })
    expect(names).toEqual(['STOP', 'RESUME'])
    client.close()
  })

  it('rejects what is under way when the connection ends', async () => {
    vm.stopGate = new Promise(() => undefined)
    const client = await QmpClient.connect({ unix: path })
    const command = client.execute('stop')
    const event = client.waitForEvent('STOP')
    client.close()
    await expect(command).rejects.toMatchObject({ code: 'QMP_CLOSED' })
    await expect(event).rejects.toMatchObject({ code: 'QMP_CLOSED' })
    await expect(client.execute('cont')).rejects.toMatchObject({ code: 'QMP_CLOSED' })
  })

  it('says what is wrong when nobody listens, nobody greets, or somebody else answers', async () => {
    await expect(QmpClient.connect({ unix: join(folder, 'none') })).rejects.toMatchObject({ code: 'QMP_CONNECT', message: expect.stringContaining('is the machine running') as string })
    await expect(QmpClient.connect({ host: '127.0.0.1', port: 1 })).rejects.toMatchObject({ code: 'QMP_CONNECT' })
    const holder = await QmpClient.connect({ unix: path })
    await expect(QmpClient.connect({ unix: path }, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'QMP_TIMEOUT' })
    holder.close()
    const listening = async (answer: string | null) => {
      const other = createServer((socket) => { socket.on('error', () => undefined); if (answer === null) socket.destroy(); else socket.end(answer) })
      others.push(other)
      const address = join(folder, `other-${others.length}`)
      await new Promise<void>((resolve) => { other.listen(address, resolve) })
      return { unix: address }
    }
    await expect(QmpClient.connect(await listening('SSH-2.0\r\n'))).rejects.toMatchObject({ code: 'QMP_PROTOCOL' })
    await expect(QmpClient.connect(await listening('[1]\n'))).rejects.toMatchObject({ code: 'QMP_PROTOCOL' })
    await expect(QmpClient.connect(await listening(null))).rejects.toMatchObject({ code: 'QMP_PROTOCOL' })
  })
})
