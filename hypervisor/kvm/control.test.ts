/** Pause, resume, reset and end of a KVM machine, whatever its guest is doing. */
import fs from 'node:fs'
import { expect, it } from 'vitest'
import { Region } from '../../address-space/region.ts'
import { BareGuest, entryState, REPORT, startOthers } from './bare-guest.fixture.ts'
import { describeKvm } from './describe-kvm.fixture.ts'
import { Program } from './program.fixture.ts'

const COUNT_AT = 0x5000
const counted = (guest: BareGuest): number => guest.ram.view.getUint32(COUNT_AT, true)

/** Counts in memory for ever, without an exit. */
const counting = (): Program => new Program(32).mov('ecx', 0).label('again').inc('ecx').writeFrom('ecx', COUNT_AT).jump('again')

describeKvm('a pause on kvm', () => {
  it('stops a guest that never leaves its loop', async () => {
    const guest = new BareGuest()
    await guest.start(counting())
    for (let round = 0; round < 5; round++) {
      const before = counted(guest)
      await guest.until('it counts', () => counted(guest) !== before)
      await guest.hypervisor.pause()
      expect(guest.hypervisor.running).toBe(false)
      const at = counted(guest)
      const { registers } = guest.hypervisor
      expect(registers.call(guest.hypervisor, 0)).toBe(registers.call(guest.hypervisor, 0))
      expect(counted(guest)).toBe(at)
      await guest.hypervisor.resume()
    }
  })

  it('stops a guest that sleeps, which goes on sleeping after it', async () => {
    const guest = new BareGuest()
    await guest.start(new Program(32).out(REPORT, 1, 0).stop())
    await guest.untilReports(1)
    await guest.until('it sleeps', () => guest.hypervisor.isHalted(0))
    await guest.hypervisor.pause()
    expect(guest.hypervisor.isHalted(0)).toBe(true)
    expect(guest.hypervisor.registers(0)).toContain('HLT=1')
    await guest.hypervisor.resume()
    await guest.until('it sleeps', () => guest.hypervisor.isHalted(0))
    expect(guest.values()).toEqual([0])
  })

  it('may come from inside an access, which then ends as if there had been none', async () => {
    const guest = new BareGuest()
    let paused: Promise<void> | undefined
    guest.addPorts('device', 0x510, 4, {
      read: () => {
        paused = guest.hypervisor.pause()
        return 0x1234_5678
      },
    })
    await guest.start(new Program(32).in(0x510, 4).mov('edx', REPORT).outDx(4).stop())
    await guest.until('the access', () => paused !== undefined)
    await paused
    expect(guest.hypervisor.running).toBe(false)
    expect(guest.reports).toEqual([])
    await guest.hypervisor.resume()
    await guest.untilReports(1)
    expect(guest.values()).toEqual([0x1234_5678])
  })

  it('serves the accesses that are under way on all vCPUs, and none is lost or made twice in 200 rounds', async () => {
    const guest = new BareGuest({ cpus: 3 })
    // Each writes its own count and reads it back. One that comes back wrong ends it.
    const log: number[][] = [[], [], []]
    const written = [0, 0, 0]
    guest.addPorts('echo', 0x510, 12, {
      write: (offset, _, value) => {
        log[offset / 4]?.push(value)
        written[offset / 4] = value
      },
      read: (offset) => written[offset / 4] ?? 0,
    })
    const echoing = (program: Program) => program.label('again').inc('ecx').copy('edx', 'esi').copy('eax', 'ecx').outDx(4).mov('eax', 0).inDx(4)
      .compare('eax', 'ecx').jump('again', 'zero').out(REPORT, 4, 0).stop()
    const others = new Program(32, 0x2000).read(0xfee0_0020, 4).raw(0xc1, 0xe8, 22).copy('esi', 'eax') // shr eax, 22: 4 for each id
      .raw(0x81, 0xc6, 0x10, 0x05, 0, 0).mov('ecx', 0) //                                                add esi, 0x510
    guest.loadForOthers(echoing(others))
    await guest.start(echoing(startOthers(new Program(32)).mov('ecx', 0).mov('esi', 0x510)))
    await guest.until('all are up', () => log.every(({ length }) => length > 0))
    for (let round = 0; round < 200; round++) {
      await guest.hypervisor.pause()
      const lengths = log.map(({ length }) => length)
      await new Promise((resolve) => { setImmediate(resolve) })
      expect(log.map(({ length }) => length), 'nothing runs in a pause').toEqual(lengths)
      await guest.hypervisor.resume()
      if (round % 10 === 0) await guest.until('all go on', () => log.every(({ length }, index) => length > (lengths[index] ?? 0)))
    }
    await guest.hypervisor.pause()
    expect(guest.reports).toEqual([])
    for (const entries of log) expect(entries.every((value, index) => value === index + 1)).toBe(true)
  })

  it('in the middle of REP INS and REP OUTS loses no element', async () => {
    const LENGTH = 50, BUFFER = 0x1_0000
    const guest = new BareGuest()
    const out: number[] = []
    let next = 0
    guest.addPorts('fifo', 0x510, 1, { read: () => next++ & 0xff, write: (_, __, value) => out.push(value) })
    const program = new Program(32).label('again').mov('edi', BUFFER).mov('ecx', LENGTH).mov('edx', 0x510).repIns(1)
      .mov('esi', BUFFER).mov('ecx', LENGTH).mov('edx', 0x510).repOuts(1).jump('again')
    await guest.start(program)
    for (let round = 0; round < 60; round++) {
      const { length } = out
      await guest.hypervisor.pause()
      await guest.hypervisor.resume()
      await guest.until('more', () => out.length > length)
    }
    // The kernel reads ahead and may drop what REP INS does not take: within one run each element follows the one before.
    const runs = Array.from({ length: Math.floor(out.length / LENGTH) }, (_, run) => out.slice(run * LENGTH, (run + 1) * LENGTH))
    expect(runs.length).toBeGreaterThan(0)
    for (const run of runs) expect(run.every((value, index) => index === 0 || value === (((run[index - 1] ?? 0) + 1) & 0xff))).toBe(true)
  })

  it('keeps interrupts that come meanwhile for later', async () => {
    const guest = new BareGuest()
    const program = new Program(16).out(0x20, 1, 0x11).out(0x21, 1, 0x20).out(0x21, 1, 4).out(0x21, 1, 1).out(0x21, 1, 0xdf)
      .out(REPORT + 4, 1, 0).enableInterrupts().label('sleep').halt().jump('sleep')
      .label('handler').out(REPORT, 1, 1).out(0x20, 1, 0x20).interruptReturn()
    guest.setVector(0x25, program.addressOf('handler'))
    await guest.start(program)
    await guest.untilReports(1, REPORT + 4)
    for (let round = 1; round <= 20; round++) {
      await guest.hypervisor.pause()
      guest.hypervisor.line(5).pulse()
      await guest.hypervisor.resume()
      await guest.untilReports(round)
    }
    expect(guest.values()).toHaveLength(20)
  })

  it('stops machine time', async () => {
    const guest = new BareGuest()
    await guest.start(counting())
    await guest.hypervisor.pause()
    const at = guest.hypervisor.now()
    expect(guest.hypervisor.now()).toBe(at)
    expect(guest.hypervisor.statistics().machineNs).toBeLessThanOrEqual(at)
    await guest.hypervisor.resume()
    await guest.until('time goes on', () => guest.hypervisor.now() > at)
  })

  it('is what registers, memory behind linear addresses, entry and reset wait for: they are refused while the guest runs', async () => {
    const guest = new BareGuest()
    await guest.start(new Program(32).stop())
    const running = expect.objectContaining({ code: 'KVM_STATE' })
    expect(() => guest.hypervisor.registers(0)).toThrow(running)
    expect(() => guest.hypervisor.readVirtual(0, 0n, 1)).toThrow(running)
    expect(() => guest.hypervisor.enter(0, entryState(32, 0))).toThrow(running)
    await expect(guest.hypervisor.reset()).rejects.toEqual(running)
  })
})

describeKvm('a reset on kvm', () => {
  it('gives a guest that was busy its power-up registers again, those of the vector unit, debug and model-specific ones too', async () => {
    const guest = new BareGuest()
    await guest.start(counting(), { paused: true })
    await guest.hypervisor.reset()
    const powerUp = guest.hypervisor.registers(0)
    const MSRS = [0x174, 0x175, 0x176, 0x277, 0xc000_0081, 0xc000_0082, 0xc000_0084, 0xc000_0102]
    /** SYSENTER_CS is a selector: a processor may keep 16 bits of it. */
    const newValue = (msr: number) => msr === 0x174 ? 0x0406 : 0x0001_0406
    const readMsrs = (program: Program): Program => {
      for (const msr of MSRS) program.mov('ecx', msr).raw(0x0f, 0x32).mov('edx', REPORT).outDx(4) // rdmsr
      return program
    }
    const dirty = readMsrs(new Program(64))
    for (const msr of MSRS) dirty.mov('ecx', msr).mov('eax', newValue(msr)).mov('edx', 0).raw(0x0f, 0x30) // wrmsr
    dirty.raw(0x0f, 0x20, 0xe0).raw(0x0d, 0x00, 0x06, 0x00, 0x00).raw(0x0f, 0x22, 0xe0) // cr4: FXSR and SIMD exceptions
      .mov('ebx', 0x1000).raw(0xf3, 0x0f, 0x6f, 0x03) //                                    movdqu xmm0, [rbx]
      .mov('eax', 0x1234).raw(0x0f, 0x23, 0xc0) //                                          mov dr0, rax
      .raw(0x0f, 0x22, 0xd0) //                                                             mov cr2, rax
    readMsrs(dirty)
    for (const register of ['esi', 'edi', 'ebp', 'ecx'] as const) dirty.mov(register, 0x7777_7777)
    await guest.restart(dirty.spin())
    await guest.untilReports(2 * MSRS.length)
    await guest.hypervisor.pause()
    expect(guest.hypervisor.registers(0)).not.toBe(powerUp)
    expect(guest.values().slice(MSRS.length)).toEqual(MSRS.map(newValue))
    await guest.hypervisor.reset()
    expect(guest.hypervisor.registers(0)).toBe(powerUp)
    await guest.restart(readMsrs(new Program(64)).stop())
    await guest.untilReports(3 * MSRS.length)
    expect(guest.values().slice(2 * MSRS.length)).toEqual(guest.values().slice(0, MSRS.length))
  })

  it('wakes a guest that sleeps with interrupts off, as often as one likes', async () => {
    const guest = new BareGuest()
    const program = new Program(32).out(REPORT, 1, 1).stop()
    await guest.start(program)
    for (let round = 1; round <= 20; round++) {
      await guest.untilReports(round)
      await guest.until('it sleeps', () => guest.hypervisor.isHalted(0))
      await guest.hypervisor.pause()
      await guest.restart(program)
    }
    await guest.untilReports(21)
  })

  it('puts the other vCPUs back to waiting for their start-up, and clears a local APIC', async () => {
    const guest = new BareGuest({ cpus: 2 })
    guest.loadForOthers(new Program(32, 0x2000).write(0xfee0_00f0, 4, 0x1ff).out(REPORT, 1, 2).spin())
    const program = startOthers(new Program(32)).write(0xfee0_00f0, 4, 0x1ee).spin()
    const asking = new Program(32).read(0xfee0_00f0, 4).mov('edx', REPORT + 4).outDx(4).stop()
    for (let round = 1; round <= 3; round++) {
      await (round === 1 ? guest.start(program) : guest.restart(program))
      await guest.untilReports(round)
      await guest.hypervisor.pause()
      await guest.restart(asking)
      await guest.untilReports(round, REPORT + 4)
      await guest.until('the other one waits', () => guest.hypervisor.isHalted(1))
      expect(guest.values()).toHaveLength(round)
      await guest.hypervisor.pause()
    }
    expect(guest.values(REPORT + 4)).toEqual([0xff, 0xff, 0xff])
  })

  it('forgets an access that a pause inside it has interrupted, which ends before the registers change', async () => {
    const guest = new BareGuest()
    let before = '', after = ''
    guest.addPorts('device', 0x510, 4, {
      read: () => {
        // Goes on as soon as the access is answered: the vCPU's thread is then busy with the answer.
        void guest.hypervisor.pause().then(async () => {
          before = guest.hypervisor.registers(0)
          after = guest.hypervisor.registers(0)
          await guest.restart(telling)
        })
        return 0x1234_5678
      },
    })
    const asking = new Program(32).in(0x510, 4).mov('edx', REPORT).outDx(4).stop()
    // No register but what the entry sets: what the access left in eax would show.
    const telling = new Program(32, 0x2000).raw(0x89, 0xc1).mov('edx', REPORT).outDx(4).stop() // mov ecx, eax
    await guest.start(asking)
    for (let round = 1; round <= 100; round++) {
      await guest.untilReports(round)
      expect(after).toBe(before)
      expect(before, 'the access has ended').toContain('RAX=0000000012345678')
      await guest.hypervisor.pause()
      if (round < 100) await guest.restart(asking)
    }
    expect(new Set(guest.values())).toEqual(new Set([0]))
  })
})

describeKvm('the end of a machine on kvm', () => {
  it.each([
    ['spins', new Program(32).spin()],
    ['sleeps', new Program(32).stop()],
    ['asks a device all the time', new Program(32).label('again').in(0x510, 4).jump('again')],
    ['writes posted registers all the time', new Program(32).label('again').out(0x514, 4, 1).jump('again')],
  ])('comes at once for a guest that %s, from inside an access too, and leaves no thread and no descriptor', async (_, program) => {
    const threads = () => fs.readdirSync('/proc/self/task').filter((task) => /^kvm|node/.test(comm(task))).length
    const comm = (task: string) => { try { return fs.readFileSync(`/proc/self/task/${task}/comm`, 'utf8') } catch { return '' } }
    const settle = async (count: () => number, wanted: number) => {
      for (let left = 20_000; count() > wanted && left > 0; left--) await new Promise((resolve) => { setTimeout(resolve, 1) })
      return count()
    }
    const descriptors = () => fs.readdirSync('/proc/self/fd').map((fd) => { try { return fs.readlinkSync(`/proc/self/fd/${fd}`) } catch { return '' } }).filter((link) => /kvm|eventfd|eventpoll/.test(link)).length
    const before = { threads: threads(), descriptors: descriptors() }
    const guest = new BareGuest({ cpus: 2 })
    const region = guest.addPorts('device', 0x510, 8, {})
    guest.bus.shadowPage(region, { posted: [{ offset: 4, size: 4 }] })
    guest.memory.root.add(Region.io('doorbell', 16, { read: () => 0, write: () => undefined }), 0xd000_0000)
    await guest.start(program)
    await new Promise((resolve) => { setTimeout(resolve, 5) })
    await guest.close()
    await guest.close()
    expect(await settle(threads, before.threads)).toBeLessThanOrEqual(before.threads)
    expect(await settle(descriptors, before.descriptors)).toBeLessThanOrEqual(before.descriptors)
    await expect(guest.hypervisor.ready()).resolves.toBeUndefined()
  })

  it('may come before the start, while the threads start, and without one', async () => {
    await new BareGuest().close()
    const guest = new BareGuest()
    const ready = guest.hypervisor.ready().catch((error: unknown) => error)
    await guest.close()
    await ready
    expect(guest.events).toEqual([])
  })
})
