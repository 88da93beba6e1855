/** Posted writes and shadow reads of vCPUs on kvm, and their order: the rules are those of address-space/bus.ts. */
import { expect, it } from 'vitest'
import type { ShadowPage } from '../../address-space/bus.ts'
import { BareGuest, REPORT, sleep, startOthers } from './bare-guest.fixture.ts'
import { describeKvm } from './describe-kvm.fixture.ts'
import { Program } from './program.fixture.ts'

const DEVICE = 0xd000_0000
const POSTED = 0, SHADOWED = 4, CALLED = 8
const FLAG_0 = 0x5000, FLAG_1 = 0x5004

interface Device { readonly log: string[]; readonly reads: number[]; page: ShadowPage | undefined; onPost: (value: number) => void }

/** POSTED is written without waiting, SHADOWED reads as the value last written there, CALLED is neither. */
function addDevice(guest: BareGuest): Device {
  const device: Device = { log: [], reads: [], page: undefined, onPost: () => undefined }
  let last = 0
  const region = guest.addRegisters('device', DEVICE, 16, {
    read: (offset) => {
      device.reads.push(offset)
      return last
    },
    write: (offset, _, value) => {
      device.log.push(`${offset === POSTED ? 'posted' : 'called'} ${value}`)
      if (offset !== POSTED) return
      last = value
      device.page?.publish(SHADOWED, value)
      device.onPost(value)
    },
  })
  device.page = guest.bus.shadowPage(region, { shadow: [{ offset: SHADOWED, size: 4 }], posted: [{ offset: POSTED, size: 4 }] })
  device.page.publish(SHADOWED, 0)
  return device
}

/** As many times as `count` says, with ecx counting from 1. */
function counting(program: Program, count: number, body: (program: Program) => Program): Program {
  program.mov('ecx', 1).label('next')
  return body(program).inc('ecx').compareWith('ecx', count + 1).jump('next', 'notZero')
}

describeKvm('posted writes and shadow reads on kvm', () => {
  it('a register without side effects is read without asking its device', async () => {
    const guest = new BareGuest()
    const device = addDevice(guest)
    device.page?.publish(SHADOWED, 0x60)
    const program = counting(new Program(32), 500, (body) => body.read(DEVICE + SHADOWED, 4)).mov('edx', REPORT).outDx(4).stop()
    await guest.start(program)
    await guest.untilReports(1)
    expect(guest.values()).toEqual([0x60])
    expect(device.reads).toEqual([])
    expect(guest.bus.counters.calls).toBe(1)
  })

  it('posted writes arrive in order, also where they outrun the main thread, and none is lost', async () => {
    const COUNT = 2000
    const guest = new BareGuest()
    const device = addDevice(guest)
    device.onPost = (value) => {
      if (value === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
    }
    await guest.start(counting(new Program(32), COUNT, (body) => body.writeFrom('ecx', DEVICE + POSTED)).out(REPORT, 1, 0).stop())
    await guest.untilReports(1)
    expect(device.log).toEqual(Array.from({ length: COUNT }, (_, index) => `posted ${index + 1}`))
    expect(guest.bus.counters.posts).toBeGreaterThan(COUNT / 2)
  })

  it('a driver that writes a register and reads another one back sees what it wrote', async () => {
    const COUNT = 500
    const guest = new BareGuest()
    const device = addDevice(guest)
    const program = counting(new Program(32).mov('esi', 0), COUNT, (body) => body
      .writeFrom('ecx', DEVICE + POSTED).read(DEVICE + SHADOWED, 4).compare('eax', 'ecx').jump('same', 'zero').inc('esi').label('same'))
    await guest.start(program.copy('eax', 'esi').mov('edx', REPORT).outDx(4).stop())
    await guest.untilReports(1)
    expect(guest.values(), 'stale reads').toEqual([0])
    expect(device.log).toHaveLength(COUNT)
  })

  it('what one vCPU posts is there when another, told of it through memory, reads the shadow or makes a call', async () => {
    const COUNT = 300
    const guest = new BareGuest({ cpus: 2 })
    const device = addDevice(guest)
    const first = counting(startOthers(new Program(32)), COUNT, (body) => body
      .writeFrom('ecx', DEVICE + POSTED).writeFrom('ecx', FLAG_0).waitFor(FLAG_1, 'ecx')).stop()
    const second = counting(new Program(32, 0x2000).mov('esi', 0), COUNT, (body) => body
      .waitFor(FLAG_0, 'ecx')
      .read(DEVICE + SHADOWED, 4).compare('eax', 'ecx').jump('same', 'zero').inc('esi').label('same')
      .writeFrom('ecx', DEVICE + CALLED).writeFrom('ecx', FLAG_1)).copy('eax', 'esi').mov('edx', REPORT).outDx(4).stop()
    guest.loadForOthers(second)
    await guest.start(first)
    await guest.untilReports(1)
    expect(guest.values(), 'stale reads').toEqual([0])
    expect(device.log).toEqual(Array.from({ length: 2 * COUNT }, (_, index) => `${index % 2 === 0 ? 'posted' : 'called'} ${Math.floor(index / 2) + 1}`))
    expect(guest.bus.counters.posts).toBeGreaterThanOrEqual(COUNT / 2)
  })

  it('posts of two vCPUs that take turns arrive in the order of the turns', async () => {
    const COUNT = 300
    const guest = new BareGuest({ cpus: 2 })
    const device = addDevice(guest)
    const first = counting(startOthers(new Program(32)), COUNT, (body) => body
      .copy('eax', 'ecx').raw(0x01, 0xc0).mov('ebx', DEVICE + POSTED).store(4) // add eax, eax
      .writeFrom('ecx', FLAG_0).waitFor(FLAG_1, 'ecx')).out(REPORT, 1, 0).stop()
    const second = counting(new Program(32, 0x2000), COUNT, (body) => body
      .waitFor(FLAG_0, 'ecx').copy('eax', 'ecx').raw(0x01, 0xc0, 0x40).mov('ebx', DEVICE + POSTED).store(4) // add eax, eax; inc eax
      .writeFrom('ecx', FLAG_1)).stop()
    guest.loadForOthers(second)
    await guest.start(first)
    await guest.untilReports(1)
    expect(device.log).toEqual(Array.from({ length: 2 * COUNT }, (_, index) => `posted ${index + 2}`))
  })

  it('a pause comes after every write posted before it', async () => {
    const guest = new BareGuest()
    const device = addDevice(guest)
    await guest.start(new Program(32).mov('ecx', 0).label('next').inc('ecx').writeFrom('ecx', DEVICE + POSTED).writeFrom('ecx', FLAG_0).jump('next'))
    for (let round = 0; round < 20; round++) {
      const seen = device.log.length
      await guest.until('more posts', () => device.log.length > seen)
      await guest.hypervisor.pause()
      // The store to RAM comes after the post: at most one post is ahead of it.
      const stored = guest.ram.view.getUint32(FLAG_0, true)
      expect([stored, stored + 1]).toContain(device.log.length)
      await guest.hypervisor.resume()
    }
    await guest.hypervisor.pause()
    expect(device.log).toEqual(Array.from({ length: device.log.length }, (_, index) => `posted ${index + 1}`))
  })

  it('what a vCPU posts before it shuts down is there after a pause', async () => {
    const guest = new BareGuest()
    const device = addDevice(guest)
    // Posts, then loads an interrupt table of no entries and faults: its thread stands still by itself.
    const program = counting(new Program(32), 10, (body) => body.writeFrom('ecx', DEVICE + POSTED)).writeFrom('ecx', FLAG_0).mov('ebx', 0x3000).raw(0x0f, 0x01, 0x1b, 0x0f, 0x0b)
    await guest.start(program, { paused: true })
    const resumed = guest.hypervisor.resume()
    guest.blockUntilStored(FLAG_0)
    sleep(50)
    await resumed
    await guest.hypervisor.pause()
    expect(device.log).toHaveLength(10)
  })
})
