/** Debian's stock driver uses our network card: an address by DHCP and a file by HTTP, over a router inside this process and over one beside it; cables, and cards that come and go. */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { slirpVersion } from '../host/slirp.ts'
import { describeWhere } from './support/optional.ts'
import { eventually, guests, linux, PROMPT, ROOT, Run, scratch, withMonitor } from './support/vm.ts'

const FILE = randomBytes(2 ** 20)
const SUM = createHash('md5').update(FILE).digest('hex')
const UDHCPC = '#!/bin/sh\\n[ "$1" = bound ] && ip addr add $ip/$mask dev $interface && ip route add default via $router && echo nameserver $dns > /etc/resolv.conf\\nexit 0\\n'

const HAS_SLIRP = typeof slirpVersion() === 'string'
/** A network of one's own: as root, or in a user namespace. */
const APART = ['unshare', ...(process.getuid?.() === 0 ? [] : ['-r']), '-n']
const HAS_TAP = spawnSync(APART[0] ?? '', [...APART.slice(1), 'sh', '-c', 'PATH=$PATH:/sbin:/usr/sbin ip tuntap add dev tap0 mode tap']).status === 0
const HAS_PASST = spawnSync('passt', ['--version']).status === 0

const { initrd } = guests.devices
const closers: (() => void)[] = []
afterEach(() => closers.splice(0).forEach((close) => close()))

/** A server of the file on the loopback of the host. */
async function serve(): Promise<number> {
  const server = http.createServer((_, response) => response.end(FILE))
  closers.push(() => server.close())
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done((server.address() as net.AddressInfo).port)))
}

function boot(args: readonly string[]): Run {
  return new Run(linux({ args, initrd }))
}

async function lease(vm: Run, card = 'eth0'): Promise<string> {
  await vm.shell(`mkdir -p /etc; printf '${UDHCPC}' > /udhcpc; chmod +x /udhcpc; ip link set ${card} up`)
  await vm.shell(`udhcpc -i ${card} -n -q -f -s /udhcpc 2>&1`)
  return (await vm.shell(`ip -4 -o addr show dev ${card}`)).split(/\s+/)[3] ?? ''
}

const fetched = async (vm: Run, host: string, port: number) => (await vm.shell(`wget -q -O - http://${host}:${port}/ | md5sum`)).split(' ')[0]

async function shutDown(vm: Run): Promise<void> {
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
}

describeWhere(HAS_SLIRP, 'libslirp (package libslirp0)', 'a card on -netdev user', () => {
  it('gets an address by DHCP and fetches a file from the loopback of the host, without rights', async () => {
    const port = await serve()
    const vm = boot(['-netdev', 'user,id=n0', '-device', 'virtio-net-device,netdev=n0,mac=52:54:00:aa:bb:cc'])
    await vm.out.until(PROMPT)
    expect(await vm.shell('cat /sys/class/net/eth0/address')).toBe('52:54:00:aa:bb:cc')
    expect(await lease(vm)).toBe('10.0.2.15/24')
    expect(await fetched(vm, '10.0.2.2', port)).toBe(SUM)
    await shutDown(vm)
  })

  it('is reached by a forwarded port, sends long segments, and reaches nothing else where it is restricted', async () => {
    const port = await serve()
    const { port: free } = await new Promise<net.AddressInfo>((done) => {
      const server = net.createServer().listen(0, '127.0.0.1', () => {
        const address = server.address() as net.AddressInfo
        server.close(() => done(address))
      })
    })
    const vm = boot(['-netdev', `user,id=n0,restrict=on,net=192.168.7.0/24,hostfwd=tcp:127.0.0.1:${free}-:80`, '-device', 'virtio-net-device,netdev=n0,packed=off,mrg_rxbuf=off'])
    await vm.out.until(PROMPT)
    expect(await lease(vm)).toBe('192.168.7.15/24')
    expect(await fetched(vm, '192.168.7.2', port)).not.toBe(SUM)
    const sum = await vm.shell('mkdir -p /www; dd if=/dev/urandom of=/www/data bs=64k count=16 2>/dev/null; httpd -p 80 -h /www; md5sum /www/data')
    const body = await eventually('the guest\'s server', async () => {
      const answer = await fetch(`http://127.0.0.1:${free}/data`).catch(() => undefined)
      return answer?.ok === true ? Buffer.from(await answer.arrayBuffer()) : undefined
    })
    expect(createHash('md5').update(body).digest('hex')).toBe(sum.split(' ')[0])
    expect(Number(await vm.shell('cat /sys/class/net/eth0/statistics/tx_packets'))).toBeLessThan(700)
    await shutDown(vm)
  })

  it('is told when its cable is pulled out and plugged in again; another one comes and goes while the guest runs', async () => {
    const port = await serve()
    const { vm, qmp } = await withMonitor(linux({ args: ['-netdev', 'user,id=n0', '-device', 'virtio-net-device,netdev=n0,id=card0'], initrd }))
    await vm.out.until(PROMPT)
    await vm.shell('ip link set eth0 up; ip link set eth1 up')
    expect(await vm.shell('cat /sys/class/net/eth0/carrier /sys/class/net/eth1/carrier')).toMatch(/^1\s+0$/)
    await qmp.run('set_link', { name: 'card0', up: false })
    await eventually('no carrier', async () => await vm.shell('cat /sys/class/net/eth0/carrier') === '0')
    await qmp.run('set_link', { name: 'n0', up: true })
    await eventually('a carrier', async () => await vm.shell('cat /sys/class/net/eth0/carrier') === '1')
    await qmp.run('netdev_add', { id: 'net1', type: 'user', net: '10.9.0.0/24' })
    await qmp.run('device_add', { driver: 'virtio-net-mmio', id: 'net1', addr: '0x1' })
    await eventually('a carrier', async () => await vm.shell('cat /sys/class/net/eth1/carrier') === '1')
    expect(await lease(vm, 'eth1')).toBe('10.9.0.15/24')
    expect(await fetched(vm, '10.9.0.2', port)).toBe(SUM)
    await qmp.run('device_del', { id: 'net1' })
    await eventually('no carrier', async () => await vm.shell('cat /sys/class/net/eth1/carrier') === '0')
    await shutDown(vm)
  })
})

describeWhere(HAS_PASST, 'passt (package passt)', 'a card on -netdev stream', () => {
  it('gets an address from passt and fetches a file from the host', async () => {
    const folder = scratch()
    const socket = path.join(folder, 'passt.sock')
    const passt: ChildProcess = spawn('passt', ['--foreground', '--socket', socket, '--runas', '0', '-a', '10.77.0.5', '-n', '24', '-g', '10.77.0.1', '-M', '9a:55:9a:55:9a:55', '--no-ndp', '--no-dhcpv6', '-4'], { stdio: 'ignore' })
    closers.push(() => passt.kill('SIGKILL'))
    await eventually('the socket of passt', () => fs.existsSync(socket))
    const port = await serve()
    const vm = boot(['-netdev', `stream,id=n0,server=off,addr.type=unix,addr.path=${socket}`, '-device', 'virtio-net-device,netdev=n0'])
    await vm.out.until(PROMPT)
    expect(await lease(vm)).toBe('10.77.0.5/24')
    expect(await fetched(vm, '10.77.0.1', port)).toBe(SUM)
    await shutDown(vm)
  })
})

describeWhere(HAS_TAP, 'a network namespace with /dev/net/tun (and the package iproute2)', 'a card on -netdev tap', () => {
  /** A namespace in which an interface, made as `kind` says, has 10.5.0.1 and a server of the file. */
  async function apart(kind: string): Promise<{ under: string[]; inside: (command: string) => string }> {
    const holder = spawn(APART[0] ?? '', [...APART.slice(1), 'sh', '-c', 'echo ready; exec sleep 3600'], { stdio: ['ignore', 'pipe', 'ignore'] })
    closers.push(() => holder.kill('SIGKILL'))
    await new Promise((done) => holder.stdout.once('data', done))
    const under = ['nsenter', '-t', String(holder.pid), ...(APART.includes('-r') ? ['-U', '--preserve-credentials'] : []), '-n']
    const inside = (command: string) => {
      const { status, stdout, stderr } = spawnSync(under[0] ?? '', [...under.slice(1), 'sh', '-c', `PATH=$PATH:/sbin:/usr/sbin; ${command}`], { encoding: 'utf8' })
      expect({ command, status, stderr }).toEqual({ command, status: 0, stderr: '' })
      return stdout
    }
    inside(`ip tuntap add dev tap0 mode tap ${kind}; ip addr add 10.5.0.1/24 dev tap0; ip link set tap0 up`)
    const folder = scratch()
    fs.writeFileSync(path.join(folder, 'index.html'), FILE)
    const server = spawn(under[0] ?? '', [...under.slice(1), path.join(ROOT, '.cache/guest/busybox'), 'httpd', '-f', '-p', '80', '-h', folder], { stdio: 'ignore' })
    closers.push(() => server.kill('SIGKILL'))
    return { under, inside }
  }

  it.each([
    ['queues=1', 'vnet_hdr', '', 1], ['queues=2', 'vnet_hdr multi_queue', ',mq=on', 2], ['vnet_hdr=off', '', ',packed=off', 1], ['queues=1', 'vnet_hdr', ',guest_csum=off,csum=off,mrg_rxbuf=off', 1],
  ])('reaches the host and is reached, with %s of an interface made with %s, card %s', async (netdev, kind, device, queues) => {
    const { under, inside } = await apart(kind)
    const vm = new Run(linux({ args: ['-smp', '2', '-netdev', `tap,id=n0,ifname=tap0,${netdev}`, '-device', `virtio-net-device,netdev=n0${device}`], initrd }), { under })
    await vm.out.until(PROMPT)
    await vm.shell('ip addr add 10.5.0.2/24 dev eth0; ip link set eth0 up')
    expect(await vm.shell('ls /sys/class/net/eth0/queues | grep -c tx')).toBe(String(queues))
    expect(await fetched(vm, '10.5.0.1', 80)).toBe(SUM)
    const sum = await vm.shell('mkdir -p /www; dd if=/dev/urandom of=/www/data bs=64k count=16 2>/dev/null; httpd -p 80 -h /www; md5sum /www/data')
    expect(inside(`${path.join(ROOT, '.cache/guest/busybox')} wget -q -O - http://10.5.0.2/data | md5sum`).split(' ')[0]).toBe(sum.split(' ')[0])
    inside('ip link del tap0')
    await eventually('no carrier', async () => await vm.shell('cat /sys/class/net/eth0/carrier') === '0')
    await shutDown(vm)
  })
})

describe('two machines with one cable', () => {
  it('reach each other', async () => {
    const socket = path.join(scratch(), 'cable.sock')
    const machine = (server: string) => boot(['-netdev', `stream,id=n0,addr.type=unix,addr.path=${socket},${server}`, '-device', 'virtio-net-device,netdev=n0,csum=off'])
    const first = machine('server=on')
    const second = machine('reconnect-ms=100')
    await Promise.all([first.out.until(PROMPT), second.out.until(PROMPT)])
    await Promise.all([first.shell('ip addr add 10.1.1.1/24 dev eth0; ip link set eth0 up'), second.shell('ip addr add 10.1.1.2/24 dev eth0; ip link set eth0 up')])
    expect(await second.shell('ping -c 3 -W 5 10.1.1.1 >/dev/null && echo there')).toBe('there')
    await Promise.all([shutDown(first), shutDown(second)])
  })
})
