/** Doorbells (Notifier of region.ts) as ioeventfds. Linux Documentation/virt/kvm/api.rst, 4.59 KVM_IOEVENTFD. */
import fs from 'node:fs'
import { expect, it } from 'vitest'
import type { Notifier, Region } from '../../address-space/region.ts'
import { BareGuest, REPORT, startOthers } from './bare-guest.fixture.ts'
import { describeKvm } from './describe-kvm.fixture.ts'
import { Program } from './program.fixture.ts'

const DEVICE = 0xd000_0000
const PORT = 0x510

/** What happened, in order: `write` reached the device's registers, the rest is doorbells. */
function addDevice(guest: BareGuest, space: 'memory' | 'ports'): { region: Region; log: string[]; bell(name: string, notifier: Omit<Notifier, 'notify'>): Notifier } {
  const log: string[] = []
  const ops = {
    write: (offset: number, size: number, value: number) => log.push(`write ${offset}/${size} ${value}`),
    write64: (offset: number, value: bigint) => log.push(`write ${offset}/8 ${value}`), read64: () => 0n,
  }
  const region = space === 'memory' ? guest.addRegisters('device', DEVICE, 64, ops) : guest.addPorts('device', PORT, 16, ops)
  return {
    region, log,
    bell: (name, notifier) => {
      const added = { ...notifier, notify: () => void log.push(name) }
      region.addNotifier(added)
      return added
    },
  }
}

const done = (program: Program): Program => program.out(REPORT, 1, 0).stop()

describeKvm('doorbells on kvm', () => {
  it.each(['memory', 'ports'] as const)('a write of the right size at the right address rings, and the vCPU runs on without a call or a post (%s)', async (space) => {
    const guest = new BareGuest()
    const { log, bell } = addDevice(guest, space)
    bell('rung', { offset: 8, size: 2 })
    const program = new Program(32)
    const write = (offset: number, size: 1 | 2 | 4) => space === 'memory' ? program.write(DEVICE + offset, size, 1) : program.out(PORT + offset, size, 1)
    write(8, 2)
    write(8, 4)
    write(8, 1)
    write(10, 2)
    await guest.start(done(program))
    await guest.until('the ring', () => log.includes('rung'))
    await guest.untilReports(1)
    expect(log.filter((entry) => entry !== 'rung')).toEqual(['write 8/4 1', 'write 8/1 1', 'write 10/2 1'])
    expect(log).toHaveLength(4)
    expect(guest.bus.counters).toMatchObject({ posts: 0, calls: 4 })
  })

  it.each(['memory', 'ports'] as const)('a doorbell with a value rings for that value only, and several share an address (%s)', async (space) => {
    const guest = new BareGuest()
    const { log, bell } = addDevice(guest, space)
    bell('queue 1', { offset: 4, size: 4, datamatch: 1n })
    bell('queue 2', { offset: 4, size: 4, datamatch: 0x8000_0002n })
    const program = new Program(32)
    for (const value of [0x8000_0002, 3]) {
      if (space === 'memory') program.write(DEVICE + 4, 4, value)
      else program.out(PORT + 4, 4, value)
    }
    await guest.start(done(program))
    await guest.until('the ring', () => log.includes('queue 2'))
    await guest.untilReports(1)
    expect([...log].sort()).toEqual(['queue 2', 'write 4/4 3'])
    expect(guest.bus.counters.posts).toBe(0)
  })

  it.each(['memory', 'ports'] as const)('a doorbell of size 0 rings for writes of every size (%s)', async (space) => {
    const guest = new BareGuest()
    const { log, bell } = addDevice(guest, space)
    bell('rung', { offset: 8, size: 0 })
    for (const size of [1, 2, 4] as const) {
      log.length = 0
      const program = new Program(32)
      if (space === 'memory') program.write(DEVICE + 8, size, 5)
      else program.out(PORT + 8, size, 5)
      done(program)
      await (size === 1 ? guest.start(program) : guest.hypervisor.pause().then(() => guest.restart(program)))
      await guest.until('the ring', () => log.length > 0)
      expect(log).toEqual(['rung'])
    }
    expect(guest.bus.counters.posts).toBe(0)
  })

  it('a doorbell of any size for one value, which the kernel does not have, rings all the same', async () => {
    const guest = new BareGuest()
    const { log, bell } = addDevice(guest, 'memory')
    bell('rung', { offset: 8, size: 0, datamatch: 7n })
    await guest.start(done(new Program(32).write(DEVICE + 8, 2, 7).write(DEVICE + 8, 4, 7).write(DEVICE + 8, 4, 8)))
    await guest.untilReports(1)
    expect(log).toEqual(['rung', 'rung', 'write 8/4 8'])
  })

  it('a doorbell of 8 bytes rings for its value', async () => {
    const VALUE = 0x1_0000_0002n
    const guest = new BareGuest()
    const { log, bell } = addDevice(guest, 'memory')
    bell('rung', { offset: 16, size: 8, datamatch: VALUE })
    await guest.start(done(new Program(64).mov('ebx', DEVICE + 16).movWide(2n).store(8).movWide(VALUE).store(8)))
    await guest.until('the ring', () => log.includes('rung'))
    await guest.untilReports(1)
    expect([...log].sort()).toEqual(['rung', 'write 16/8 2'])
  })

  it('what was posted before the ring has happened when it is heard', async () => {
    const guest = new BareGuest()
    const { region, log, bell } = addDevice(guest, 'memory')
    guest.bus.shadowPage(region, { posted: [{ offset: 0, size: 4 }] })
    bell('rung', { offset: 8, size: 4 })
    const program = new Program(32)
    for (let round = 1; round <= 5; round++) program.write(DEVICE, 4, round).write(DEVICE + 8, 4, 0)
    await guest.start(done(program))
    await guest.untilReports(1)
    await guest.until('the ring', () => log.includes('rung'))
    expect(log.indexOf('rung')).toBeGreaterThanOrEqual(log.indexOf('write 0/4 1'))
    expect(log.filter((entry) => entry !== 'rung')).toEqual([1, 2, 3, 4, 5].map((value) => `write 0/4 ${value}`))
  })

  it('a doorbell can be taken away and put back while the guest runs', async () => {
    const guest = new BareGuest()
    const { region, log, bell } = addDevice(guest, 'ports')
    const notifier = bell('rung', { offset: 0, size: 1 })
    await guest.start(new Program(32).label('again').out(PORT, 1, 7).jump('again'))
    const descriptors = fs.readdirSync('/proc/self/fd').length
    for (let round = 0; round < 3; round++) {
      await guest.until('a ring', () => log.includes('rung'))
      region.removeNotifier(notifier)
      log.length = 0
      await guest.until('writes', () => log.length > 3)
      expect(new Set(log)).toEqual(new Set(['write 0/1 7']))
      region.addNotifier(notifier)
      log.length = 0
    }
    expect(fs.readdirSync('/proc/self/fd')).toHaveLength(descriptors)
  })

  it('a ring just before the doorbell is taken away is heard', async () => {
    const GO = 0x5000, RUNG = 0x5004
    const guest = new BareGuest({ cpus: 2 })
    const { region, log, bell } = addDevice(guest, 'memory')
    const notifier = bell('rung', { offset: 8, size: 4 })
    let before = -1
    // While main is inside an access of the first vCPU the second one rings: main cannot have come round to the eventfd.
    guest.onReport = () => {
      guest.ram.view.setUint32(GO, 1, true)
      guest.blockUntilStored(RUNG)
      before = log.length
      region.removeNotifier(notifier)
    }
    guest.loadForOthers(new Program(32, 0x2000).mov('ecx', 1).waitFor(GO, 'ecx').write(DEVICE + 8, 4, 1).writeFrom('ecx', RUNG).stop())
    await guest.start(startOthers(new Program(32)).out(REPORT, 1, 0).write(DEVICE + 8, 4, 2).stop())
    await guest.until('both', () => log.length >= 2)
    expect(before).toBe(0)
    expect(log).toEqual(['rung', 'write 8/4 2'])
  })

  it('doorbells that the kernel refuses, for one value beside one for all, ring over the bus and leave no descriptor', async () => {
    const guest = new BareGuest()
    const { log, bell, region } = addDevice(guest, 'memory')
    bell('value 5', { offset: 8, size: 4, datamatch: 5n })
    const descriptors = fs.readdirSync('/proc/self/fd').length
    const all = bell('any value', { offset: 8, size: 4 })
    expect(fs.readdirSync('/proc/self/fd')).toHaveLength(descriptors)
    await guest.start(done(new Program(32).write(DEVICE + 8, 4, 6)))
    await guest.untilReports(1)
    region.removeNotifier(all)
    expect(log).toEqual(['any value'])
  })

  it('a doorbell moves with its region, and goes and comes with it', async () => {
    const guest = new BareGuest()
    const { region, log, bell } = addDevice(guest, 'memory')
    bell('rung', { offset: 8, size: 4 })
    const steps = [() => region.move(DEVICE + 0x1000), () => region.setEnabled(false), () => region.setEnabled(true)]
    guest.onReport = () => steps.shift()?.()
    const program = new Program(32)
    for (let step = 0; step < 4; step++) program.write(DEVICE + 8, 4, 1).write(DEVICE + 0x1008, 4, 1).out(REPORT, 1, 0)
    await guest.start(program.stop())
    await guest.untilReports(4)
    await guest.until('all rings', () => log.length >= 3)
    expect(log).toEqual(['rung', 'rung', 'rung'])
    expect(guest.memory.counters.unassignedWrites).toBe(5)
  })
})
