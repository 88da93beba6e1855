/** Debian's stock driver uses our socket device: streams both ways, ports where nobody listens, resets with connections open. The program in the guest is test/support/vsock.c. */
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { writeCpio } from '../src/guest/cpio.ts'
import { describeWhere } from './support/optional.ts'
import { eventually, guests, linux, mesovirt, PROMPT, ROOT, scratch, withMonitor } from './support/vm.ts'
import type { Run } from './support/vm.ts'

const BYTES = 2 ** 20
const PORT = 5000
const CID = 42
const SOURCE = path.join(ROOT, 'test/support/vsock.c')
const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex')
const compile = (program: string) => spawnSync('gcc', ['-O2', '-static', '-s', '-o', program, SOURCE]).status === 0
const HAS_COMPILER = compile('/dev/null')

const devices = (socket: string, more = '') => ['-device', `virtio-vsock-device,guest-cid=${CID},path=${socket},id=vsock0${more}`]

async function shutDown(vm: Run): Promise<void> {
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
}

/** All that comes, to its end. */
function readAll(stream: net.Socket): Promise<Buffer> {
  const parts: Buffer[] = []
  return new Promise((resolve) => {
    stream.on('data', (part: Buffer) => parts.push(part))
    stream.once('end', () => resolve(Buffer.concat(parts)))
  })
}

/** A program of the host that calls a port of the guest. */
function call(socket: string, port: number): net.Socket {
  const client = net.connect({ path: socket, allowHalfOpen: true })
  client.on('error', () => undefined).write(`CONNECT ${port}\n`)
  return client
}

describeWhere(HAS_COMPILER, 'gcc with libc6-dev', 'virtio-vsock', () => {
  let program = Buffer.alloc(0)

  beforeAll(() => {
    const file = path.join(scratch(), 'vsock')
    if (!compile(file)) throw new Error('test/support/vsock.c does not compile')
    program = fs.readFileSync(file)
  })

  /** The initramfs with the program behind it: the kernel takes several archives in one file. */
  function initrd(): string {
    const file = path.join(scratch(), 'initrd')
    const archive = writeCpio([{ path: 'bin', type: 'directory', mode: 0o755 }, { path: 'bin/vsock', type: 'file', content: program, mode: 0o755 }])
    const first = fs.readFileSync(guests.devices.initrd)
    fs.writeFileSync(file, Buffer.concat([first, Buffer.alloc((4 - first.length % 4) % 4), archive]))
    return file
  }

  it.each([['', 'packed'], [',packed=off,event_idx=off,indirect_desc=off', 'plain split']])('carries a MiB each way, whoever calls, refuses, and survives a reset with connections open: rings%s', async (options) => {
    const folder = scratch(), socket = path.join(folder, 'vm.vsock')
    const toGuest = randomBytes(BYTES)
    const received: string[] = []
    const taken: net.Socket[] = []
    const server = net.createServer({ allowHalfOpen: true }, (stream) => {
      taken.push(stream)
      stream.on('error', () => undefined)
      void readAll(stream).then((bytes) => {
        received.push(md5(bytes))
        stream.end(toGuest)
      })
    }).listen(`${socket}_${PORT}`)
    try {
      const { vm, qmp } = await withMonitor(linux({ initrd: initrd(), args: ['-action', 'reboot=reset', ...devices(socket, options)] }))
      await vm.out.until(PROMPT)
      await vm.shell(`dd if=/dev/urandom of=/tmp/a bs=64k count=${BYTES / 65536} 2>/dev/null`)
      const sum = (await vm.shell('md5sum </tmp/a')).split(' ')[0]

      // The guest calls.
      expect(await vm.shell(`vsock connect 2 ${PORT} </tmp/a >/tmp/b; md5sum </tmp/b`)).toBe(`${md5(toGuest)}  -`)
      expect(received).toEqual([sum])
      expect(await vm.shell('vsock connect 2 9 </dev/null')).toBe('connect: Connection reset by peer')

      // The host calls.
      await vm.shell('vsock listen 52 </tmp/a >/tmp/c & while ! pidof vsock >/dev/null; do :; done; sleep 1')
      const client = call(socket, 52)
      client.end(toGuest)
      const answer = await readAll(client)
      expect(answer.subarray(0, answer.indexOf('\n')).toString()).toMatch(/^OK \d+$/)
      expect(md5(answer.subarray(answer.indexOf('\n') + 1))).toBe(sum)
      expect(await vm.shell('wait; md5sum </tmp/c')).toContain(`${md5(toGuest)}  -`)
      expect(await readAll(call(socket, 53))).toEqual(Buffer.alloc(0))

      // A host that does not read makes the guest wait, not the machine.
      await vm.shell('vsock listen 54 </dev/zero >/dev/null 2>/dev/null & sleep 1')
      const idle = call(socket, 54).pause()
      expect(await vm.shell('sleep 1; echo $((6 * 7))')).toContain('42')

      const open = taken.length
      await vm.shell(`sleep 1000 | vsock connect 2 ${PORT} &`)
      await eventually('the connection', () => taken.length > open)
      vm.type('reboot -f\n')
      await eventually('the end of the connection', () => received.length === 2)
      expect(received[1]).toBe(md5(Buffer.alloc(0)))
      await vm.out.until(PROMPT)
      idle.destroy()
      expect(await vm.shell(`echo again | vsock connect 2 ${PORT} | md5sum`)).toBe(`${md5(toGuest)}  -`)
      expect(received[2]).toBe(md5(Buffer.from('again\n')))
      expect(await vm.shell('dmesg | grep -ciE "oops|BUG:|virtio.*(fail|broken)"')).toBe('0')
      expect(await qmp.status()).toBe('running')
      await shutDown(vm)
      expect(fs.existsSync(socket)).toBe(false)
    } finally {
      taken.forEach((stream) => stream.destroy())
      server.close()
    }
  })
})

describe('a socket device', () => {
  it('whose path is taken, and the one of the kernel of the host, are refused with one line', async () => {
    const folder = scratch()
    fs.writeFileSync(path.join(folder, 'file'), '')
    const refused = async (...args: string[]) => {
      const vm = mesovirt('-kernel', guests.cloud.vmlinux, ...args)
      expect(await vm.end()).toEqual({ status: 1, signal: null })
      return vm.err.all.replaceAll('\r', '')
    }
    expect(await refused(...devices(path.join(folder, 'file')))).toBe(`mesovirt: "${folder}/file" exists and is not a socket: remove it or use another path\n`)
    expect(await refused('-device', 'vhost-vsock-device,id=vsock-id,guest-cid=3041233,vhostfd=3')).toBe('mesovirt: -device vhost-vsock-device: sockets of the kernel of the host (/dev/vhost-vsock) '
      + 'are not in this version; use virtio-vsock-device,guest-cid=N,path=FILE, which has unix sockets in their place\n')
  })
})
