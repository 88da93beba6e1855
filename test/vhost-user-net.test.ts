/** Debian's stock driver on a network that another process carries over vhost-user: a small back end of our own, which answers pings. */
import path from 'node:path'
import { expect, it } from 'vitest'
import { startBackEnd } from '../device-model/vhost/back-end.fixture.ts'
import { canLoad, describeWhere } from './support/optional.ts'
import { eventually, guests, linux, PROMPT, Run, scratch } from './support/vm.ts'

const { initrd } = guests.devices

describeWhere(canLoad('koffi'), 'the package koffi (npm install koffi)', 'a card on -netdev vhost-user', () => {
  it('reaches what is behind it, sees its cable pulled out when that dies, and plugged in when it is back', async () => {
    const socket = path.join(scratch(), 'net.sock')
    const first = await startBackEnd({ path: socket, service: 'host' })
    const vm = new Run(linux({ args: ['-chardev', `socket,id=c,path=${socket},reconnect=1`, '-netdev', 'vhost-user,id=n0,chardev=c', '-device', 'virtio-net-device,netdev=n0'], initrd }))
    await vm.out.until(PROMPT)
    await vm.shell('ip addr add 10.1.1.2/24 dev eth0; ip link set eth0 up')
    const pings = () => vm.shell('ping -c 3 -s 1400 -W 10 10.1.1.1 | grep received')
    expect(await pings()).toContain('3 packets received')
    const carrier = () => vm.shell('cat /sys/class/net/eth0/carrier')
    await first.end()
    await eventually('no carrier', async () => await carrier() === '0')
    const second = await startBackEnd({ path: socket, service: 'host' })
    await eventually('a carrier', async () => await carrier() === '1')
    expect(await pings()).toContain('3 packets received')
    vm.type('exit\n')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    await second.end()
  })
})
