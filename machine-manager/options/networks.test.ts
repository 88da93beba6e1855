import { describe, expect, it } from 'vitest'
import { parseCommandLine } from './parse.ts'
import { hostIn, parseIpv6, parseNetwork } from './addresses.ts'

function config(...argv: string[]) {
  const parsed = parseCommandLine(['-accel', 'tcg', '-kernel', '/k', ...argv])
  if (parsed.kind !== 'launch') throw new Error('this is no launch')
  return parsed.config
}

const refusal = (...argv: string[]) => {
  try {
    config(...argv)
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

describe('networks on the command line', () => {
  it('have addresses as QEMU\'s by default', () => {
    const [netdev] = config('-netdev', 'user,id=n0').netdevs
    expect(netdev).toMatchObject({ kind: 'user', id: 'n0', forwards: [], slirp: {
      restricted: false, network: Uint8Array.of(10, 0, 2, 0), mask: Uint8Array.of(255, 255, 255, 0), host: Uint8Array.of(10, 0, 2, 2), dhcpStart: Uint8Array.of(10, 0, 2, 15), dns: Uint8Array.of(10, 0, 2, 3),
    } })
  })

  it('take several rules, and move all addresses with the network', () => {
    const [netdev] = config('-netdev', 'user,id=n0,net=192.168.9.77/24,hostfwd=tcp::2222-:22,hostfwd=udp:127.0.0.1:53-192.168.9.20:5353,dnssearch=a,dnssearch=b').netdevs
    expect(netdev).toMatchObject({
      forwards: [
        { protocol: 'tcp', hostAddress: new Uint8Array(4), hostPort: 2222, guestAddress: new Uint8Array(4), guestPort: 22 },
        { protocol: 'udp', hostAddress: Uint8Array.of(127, 0, 0, 1), hostPort: 53, guestAddress: Uint8Array.of(192, 168, 9, 20), guestPort: 5353 },
      ],
      slirp: { network: Uint8Array.of(192, 168, 9, 0), host: Uint8Array.of(192, 168, 9, 2), dnsSearch: ['a', 'b'] },
    })
  })

  it('say the same in the spellings of StratoVirt and QEMU, for a tap device', () => {
    const kata = config('-netdev', 'tap,id=tap0_kata,fds=4', '-device', 'virtio-net-device,netdev=tap0_kata,id=tap0_kata,mac=02:42:ac:11:00:02')
    expect(kata.netdevs).toEqual(config('-netdev', 'tap,id=tap0_kata,fd=4,vhost=off,script=no,downscript=no').netdevs)
    expect(kata.netdevs).toEqual([{ kind: 'tap', id: 'tap0_kata', fds: [4], ifname: undefined, queues: 1, header: undefined }])
    expect(kata.devices).toMatchObject([{ kind: 'virtio-net', id: 'tap0_kata', netdev: 'tap0_kata', mac: Uint8Array.of(2, 0x42, 0xac, 0x11, 0, 2), multiQueue: false, rxQueueSize: 256, txQueueSize: 256 }])
    expect(config('-netdev', 'tap,id=t,fds=4:5', '-device', 'virtio-net,netdev=t,mq=on,queue-size=1024').devices).toMatchObject([{ multiQueue: true, rxQueueSize: 1024 }])
  })

  it('are streams to unix sockets, to TCP ports and on descriptors', () => {
    expect(config('-netdev', '{"type":"stream","id":"n0","addr":{"type":"unix","path":"/run/passt"},"server":false,"reconnect-ms":500}').netdevs)
      .toEqual([{ kind: 'stream', id: 'n0', address: { unix: '/run/passt' }, server: false, reconnectMs: 500 }])
    expect(config('-netdev', 'stream,id=n0,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=0').netdevs).toMatchObject([{ address: { host: '127.0.0.1', port: 0 }, server: true }])
    expect(config('-netdev', 'stream,id=n0,addr.type=fd,addr.str=7').netdevs).toMatchObject([{ address: { fd: 7 } }])
  })

  it.each([
    ['-netdev user', '-netdev user: needs id=; add it'],
    ['-netdev user,id=a,net=10.0.0.0/33', '"33" is no length of a network'],
    ['-netdev user,id=a,host=10.0.3.2', 'lies outside of the network 10.0.2.0'],
    ['-netdev user,id=a,hostfwd=tcp:1-2', 'is no rule; write one such as tcp:127.0.0.1:2222-:22'],
    ['-netdev user,id=a,hostfwd=tcp::99999-:1', 'is no rule'],
    ['-netdev user,id=a,guestfwd=tcp:10.0.2.9:1-cmd:x', 'addresses that lead to the host (guestfwd) are not in this version'],
    ['-netdev user,id=a,ipv4=off,ipv6=off', 'nothing is left of the network'],
    ['-netdev user,id=a,ipv6-host=1.2.3.4', 'is no IPv6 address'],
    ['-netdev stream,id=a,addr.type=unix', 'needs addr.path=; add it'],
    ['-netdev stream,id=a,addr.type=inet,addr.port=0', 'needs addr.port=; add it'],
    ['-netdev stream,id=a,addr.type=unix,addr.path=/x,server=on,reconnect=1', 'only a client that connects by itself'],
    ['-netdev tap,id=a,fd=3,ifname=x', 'an interface is given by ifname=, fd= or fds='],
    ['-netdev tap,id=a,fds=3:x', '"x" is no inherited descriptor'],
    ['-netdev tap,id=a,fds=3:4,queues=3', 'there are 2 descriptors; leave queues= out'],
    ['-netdev tap,id=a,script=/etc/qemu-ifup', 'script'],
    ['-netdev tap,id=a,vhost=on', 'vhost'],
    ['-netdev vhost-user,id=a,chardev=c', 'no character device has the id c; add -chardev'],
    ['-netdev vhost-user,id=a,chardev=c -chardev pty,id=c', '-netdev vhost-user chardev=c: is no unix socket of its own; use -chardev socket,id=...,path=...'],
    ['-netdev vhost-user,id=a,chardev=c -chardev socket,id=c,path=/s,server=on,wait=off', '-netdev vhost-user chardev=c: the other process has to listen; leave server out'],
    ['-netdev user,id=a -netdev user,id=a', 'another one has this id'],
    ['-device virtio-net-device,netdev=b', 'no network has this id; add -netdev user,id=...'],
    ['-netdev user,id=a -device virtio-net-device,netdev=a -device virtio-net-device,netdev=a', 'another card has this network'],
    ['-netdev user,id=a -device virtio-net-device,netdev=a,mac=01:00:00:00:00:00', 'the address of a group'],
    ['-netdev user,id=a -device virtio-net-device,netdev=a,mac=52:54', 'an address has six bytes'],
    ['-netdev user,id=a -device virtio-net-device,netdev=a,queue-size=300', 'is no power of two'],
  ])('are refused with one line: %s', (line, message) => {
    expect(refusal(...line.split(' '))).toContain(message)
  })

  it('are cards for two, no more', () => {
    const three = ['a', 'b', 'c'].flatMap((id) => ['-netdev', `user,id=${id}`, '-device', `virtio-net-device,netdev=${id}`])
    expect(refusal(...three)).toContain('3 network cards are given, 2 are possible')
    expect(config(...three.slice(0, 8)).devices.length).toBe(2)
  })
})

describe('addresses', () => {
  it.each([['::', []], ['fec0::2', [[0, 0xfe], [1, 0xc0], [15, 2]]], ['1:2:3:4:5:6:7:8', [[1, 1], [3, 2], [5, 3], [7, 4], [9, 5], [11, 6], [13, 7], [15, 8]]], ['::ffff:1.2.3.4', [[10, 255], [11, 255], [12, 1], [13, 2], [14, 3], [15, 4]]]])(
    'of IPv6 such as %s become bytes', (text, bytes) => {
      const expected = new Uint8Array(16)
      for (const [at, value] of bytes) expected[at as number] = value as number
      expect(parseIpv6(text, 'here')).toEqual(expected)
    })

  it('of hosts lie in their network, however large it is', () => {
    expect([...hostIn(parseNetwork('10.0.0.0/8', 'here'), 0x20f)]).toEqual([10, 0, 2, 15])
    expect([...hostIn(parseNetwork('10.7.0.0', 'here'), 0x203)]).toEqual([10, 0, 2, 3])
    expect([...hostIn(parseNetwork('192.168.1.9/255.255.255.0', 'here'), 0x202)]).toEqual([192, 168, 1, 2])
  })
})
