/** Debian's stock driver uses our consoles and channels: hvc0 as the only console, an agent's channel both ways with a host that stops reading, ports that come and go. */
import { createHash, randomBytes } from 'node:crypto'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Qmp } from './support/qmp.ts'
import { Transcript } from './support/transcript.ts'
import { eventually, GREETING, guests, linux, PROMPT, Run, scratch, withMonitor } from './support/vm.ts'

const BYTES = 2 ** 21
const SERIAL = ['-device', 'virtio-serial-device,id=vs0']

const { initrd } = guests.devices

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex')
const dial = (socket: string) => eventually(`a connection to ${socket}`, () => Qmp.dial({ path: socket }).catch(() => undefined))
const onHvc = (args: readonly string[]) => linux({ args: ['-serial', 'none', ...args], initrd, append: 'console=hvc0 panic=1 quiet' })

async function shutDown(vm: Run): Promise<void> {
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
}

describe('a virtconsole', () => {
  it('is the only console of the cloud kernel: boots to a shell on hvc0 that answers, and powers off on exit', async () => {
    const vm = new Run(onHvc(['-chardev', 'stdio,id=c0', ...SERIAL, '-device', 'virtconsole,chardev=c0,id=con0,nr=0']))
    await vm.out.until(GREETING)
    await vm.out.until(PROMPT)
    expect(await vm.shell('tty; cat /sys/class/tty/console/active')).toBe('/dev/hvc0\nhvc0')
    // Much at once, through buffers of the driver and of the host.
    const much = await vm.shell('seq 1 5000 | md5sum; seq 1 5000')
    const text = Array.from({ length: 5000 }, (_, index) => `${index + 1}\n`).join('')
    expect(much).toBe(`${md5(Buffer.from(text))}  -\n${text.trim()}`)
    await shutDown(vm)
  })

  it('takes the command line of Kata Containers: one controller, a server socket, packed rings or not', async () => {
    const socket = path.join(scratch(), 'console.sock')
    const vm = new Run(onHvc(['-device', 'virtio-serial-device,id=virtio-serial0,max_ports=1,packed=off', '-chardev', `socket,id=charconsole0,path=${socket},server,nowait`,
      '-device', 'virtconsole,chardev=charconsole0,id=virtio-console0,nr=0']))
    const client = await dial(socket)
    const screen = new Transcript('the console')
    client.setEncoding('utf8').on('data', (text: string) => screen.append(text))
    await screen.until(PROMPT)
    client.write('echo from-$((6 * 7)); exit\n')
    await screen.until('from-42')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
  })
})

describe('a virtserialport', () => {
  it('is a channel of bytes both ways with a name, of which none is lost, also where the host stops reading', async () => {
    const socket = path.join(scratch(), 'agent.sock')
    const { vm, qmp } = await withMonitor(linux({ initrd, args: [...SERIAL, '-chardev', `socket,id=agent,path=${socket},server=on,wait=off`,
      '-device', 'virtserialport,bus=vs0.0,nr=3,chardev=agent,name=org.example.agent,id=port0'] }))
    await vm.out.until(PROMPT)
    expect(await vm.shell('cat /sys/class/virtio-ports/vport*p3/name')).toBe('org.example.agent')
    await vm.shell('port=$(echo /dev/vport*p3)')
    const client = await dial(socket)

    const toGuest = randomBytes(BYTES)
    client.write(toGuest)
    expect(await vm.shell(`head -c ${BYTES} $port | md5sum`)).toBe(`${md5(toGuest)}  -`)
    expect((await qmp.event('VSERPORT_CHANGE')).data).toEqual({ id: 'port0', open: true })

    client.pause()
    const sum = await vm.shell(`dd if=/dev/urandom of=/tmp/data bs=64k count=${BYTES / 65536} 2>/dev/null; md5sum </tmp/data`)
    await vm.shell('cat /tmp/data >$port & sleep 1')
    const received: Buffer[] = []
    client.on('data', (bytes: Buffer) => received.push(bytes))
    client.resume()
    await eventually('all of it', () => received.reduce((total, { length }) => total + length, 0) >= BYTES)
    expect(`${md5(Buffer.concat(received))}  -`).toBe(sum)
    client.destroy()
    // The guest sees that its peer has gone: the end of the file.
    expect(await vm.shell('wait; wc -c <$port')).toBe('0')
    await shutDown(vm)
  })
})

describe('ports and what is behind them', () => {
  it('come and go while the guest runs: a ring buffer, then a socket behind the same channel, then another channel in its place', async () => {
    const folder = scratch()
    const server = (name: string) => ({ type: 'socket', data: { addr: { type: 'unix', data: { path: path.join(folder, name) } } } })
    const { vm, qmp } = await withMonitor(linux({ initrd, args: SERIAL }))
    await vm.out.until(PROMPT)
    await qmp.run('chardev-add', { id: 'c1', backend: { type: 'ringbuf', data: { size: 4096 } } })
    await qmp.run('device_add', { driver: 'virtserialport', id: 'p1', chardev: 'c1', name: 'one', nr: 4 })
    const ports = () => vm.shell('cat /sys/class/virtio-ports/*/name 2>/dev/null; echo /dev/vport*')
    expect(await eventually('the port in the guest', async () => (await ports()).includes('one') && await ports())).toMatch(/^one\n\/dev\/vport\dp4$/)
    await vm.shell('port=$(echo /dev/vport*p4); echo to the ring >$port')
    expect(await qmp.run('ringbuf-read', { device: 'c1', size: 100 })).toBe('to the ring\n')
    expect(await qmp.event('VSERPORT_CHANGE')).toMatchObject({ data: { id: 'p1', open: true } })

    await qmp.run('chardev-change', { id: 'c1', backend: server('a.sock') })
    const client = await dial(path.join(folder, 'a.sock'))
    client.write('from the socket\n')
    expect(await vm.shell('head -n 1 $port')).toBe('from the socket')
    await expect(qmp.run('chardev-remove', { id: 'c1' })).rejects.toThrow(/Chardev 'c1' is busy/)

    await qmp.run('device_del', { id: 'p1' })
    expect((await qmp.event('DEVICE_DELETED')).data).toEqual({ device: 'p1', path: 'p1' })
    await eventually('no port in the guest', async () => await ports() === '/dev/vport*')
    await qmp.run('chardev-remove', { id: 'c1' })
    client.destroy()

    await qmp.run('chardev-add', { id: 'c2', backend: server('b.sock') })
    await qmp.run('device_add', { driver: 'virtserialport', id: 'p2', chardev: 'c2', name: 'two', nr: 4, bus: 'vs0.0' })
    await eventually('the second port in the guest', async () => (await ports()).includes('two'))
    const second = await dial(path.join(folder, 'b.sock'))
    second.write('again\n')
    expect(await vm.shell('head -n 1 $port')).toBe('again')
    second.destroy()
    await shutDown(vm)
  })
})
