import net from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { slirpVersion } from '../../host/slirp.ts'
import { describeWhere } from '../../test/support/optional.ts'
import type { UserConfig } from './open.ts'
import { UserBackend } from './user.ts'

const GUEST = [2, 0, 0, 0, 0, 1]
const BROADCAST = [255, 255, 255, 255, 255, 255]
const config: UserConfig = {
  kind: 'user', id: 'n0', forwards: [],
  slirp: {
    restricted: false, ipv4: true, network: Uint8Array.of(10, 0, 2, 0), mask: Uint8Array.of(255, 255, 255, 0), host: Uint8Array.of(10, 0, 2, 2), dhcpStart: Uint8Array.of(10, 0, 2, 15),
    dns: Uint8Array.of(10, 0, 2, 3), ipv6: false, prefix6: new Uint8Array(16), prefix6Length: 64, host6: new Uint8Array(16), dns6: new Uint8Array(16), hostname: 'guest',
    domainName: undefined, dnsSearch: ['example.org'], tftp: undefined, tftpServerName: undefined, bootFile: undefined,
  },
}
const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const arp = (target: number[]) => [...BROADCAST, ...GUEST, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, ...GUEST, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, ...target, ...new Array<number>(18).fill(0)]

function open(changes: Partial<UserConfig> = {}) {
  const backend = new UserBackend({ ...config, ...changes })
  const frames: number[][] = []
  const collect = () => { for (let frame = backend.take(); frame !== undefined; frame = backend.take()) frames.push([...frame]) }
  backend.attach({ readable: collect, writable: () => undefined, linkChanged: () => undefined })
  closers.push(() => backend.close())
  return { backend, frames }
}

async function until(what: string, look: () => boolean): Promise<void> {
  for (let turn = 0; !look(); turn++) {
    if (turn > 5000) throw new Error(`waited for ${what} in vain`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

describe('what is there without libslirp', () => {
  it('is a version, or an error that names the package', () => {
    const version = slirpVersion()
    expect(typeof version === 'string' ? version : version.message).toMatch(/^4\.|libslirp/)
  })
})

describeWhere(typeof slirpVersion() === 'string', 'libslirp (package libslirp0)', 'a router inside this process', () => {
  it('answers who has its address', async () => {
    const { backend, frames } = open()
    backend.send(Uint8Array.from(arp([10, 0, 2, 2])))
    await until('an answer', () => frames.length > 0)
    expect(frames[0]?.slice(0, 6)).toEqual(GUEST)
    expect(frames[0]?.slice(20, 22)).toEqual([0, 2])
    expect(frames[0]?.slice(28, 32)).toEqual([10, 0, 2, 2])
  })

  it('opens a port of the host, and asks the guest when somebody comes', async () => {
    const probe = net.createServer()
    const port = await new Promise<number>((done) => probe.listen(0, '127.0.0.1', () => done((probe.address() as net.AddressInfo).port)))
    await new Promise((done) => probe.close(done))
    const forward = { protocol: 'tcp', hostAddress: Uint8Array.of(127, 0, 0, 1), hostPort: port, guestAddress: new Uint8Array(4), guestPort: 22 } as const
    const { backend, frames } = open({ forwards: [forward] })
    backend.send(Uint8Array.from(arp([10, 0, 2, 2])))
    await until('an answer', () => frames.length > 0)
    const client = net.connect(port, '127.0.0.1').on('error', () => undefined)
    closers.push(() => client.destroy())
    const isSyn = (frame: number[]) => frame[12] === 8 && frame[13] === 0 && frame[23] === 6 && ((frame[36] ?? 0) << 8 | (frame[37] ?? 0)) === 22 && frame[47] === 2
    await until('a connection for the guest', () => frames.some(isSyn))
    expect(() => backend.addForward(forward)).toThrow(expect.objectContaining({ code: 'NETDEV_FORWARD' }))
  })

  it('takes frames that are none, and bounds what waits for a guest that takes nothing', async () => {
    const { backend } = open()
    const none = { readable: () => undefined, writable: () => undefined, linkChanged: () => undefined }
    backend.attach(none)
    for (let length = 0; length < 60; length++) backend.send(Uint8Array.from(arp([10, 0, 2, 2])).subarray(0, length))
    for (let count = 0; count < 3000; count++) backend.send(Uint8Array.from(arp([10, 0, 2, 2])))
    expect(backend.dropped).toBeGreaterThan(1900)
    let waiting = 0
    while (backend.take() !== undefined) waiting++
    expect(waiting).toBeLessThanOrEqual(1024)
  })

  it('may be opened and closed again and again', async () => {
    for (let count = 0; count < 20; count++) {
      const { backend } = open()
      backend.send(Uint8Array.from(arp([10, 0, 2, 2])))
      await backend.close()
      backend.send(Uint8Array.from(arp([10, 0, 2, 2])))
      expect(backend.take()).toBeUndefined()
    }
  })
})
