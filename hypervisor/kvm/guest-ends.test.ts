/** How a guest ends by itself on kvm: shutdown, what the kernel cannot run, threads and descriptors that fail. */
import fs from 'node:fs'
import { expect, it } from 'vitest'
import { Region } from '../../address-space/region.ts'
import type { HypervisorEvent } from '../hypervisor.ts'
import { BareGuest, entryState, REPORT, sleep, startOthers } from './bare-guest.fixture.ts'
import { describeKvm } from './describe-kvm.fixture.ts'
import { Program } from './program.fixture.ts'

const PAGE = 4096
const NOTHING = 0xd000_0000

/** An interrupt table of no entries, then an exception: a fault in each step of its delivery. Not in real mode: the kernel's emulator does not check the limit there. */
function tripleFault(program: Program): Program {
  program.mov('ebx', 0x3000).raw(0x0f, 0x01, 0x1b) // lidt [ebx]
  return program.raw(0x0f, 0x0b).spin() //                                              ud2
}

/** A pause in which every message of a thread that is on its way arrives. */
async function listen(): Promise<void> {
  for (let round = 0; round < 20; round++) await new Promise((resolve) => { setTimeout(resolve, 2) })
}

const messageOf = (event: HypervisorEvent | undefined): string => event?.kind === 'internal-error' ? event.message : `${event?.kind}`

describeKvm('a shutdown of a guest on kvm', () => {
  it.each([32, 64] as const)('is told once, in %s-bit code, and the guest stands still until a reset', async (bits) => {
    const guest = new BareGuest()
    const program = tripleFault(new Program(bits).out(REPORT, 1, 1))
    await guest.start(program)
    for (let round = 1; round <= 3; round++) {
      await guest.until('the event', () => guest.events.length >= round)
      await listen()
      expect(guest.hypervisor.running).toBe(false)
      expect(guest.events).toEqual(Array.from({ length: round }, () => ({ kind: 'triple-fault', cpu: 0 })))
      expect(guest.values()).toHaveLength(round)
      await guest.restart(program)
    }
  })

  it('of one vCPU stops the others', async () => {
    const guest = new BareGuest({ cpus: 3 })
    const others = new Program(32, 0x2000).read(0xfee0_0020, 4).raw(0x3d, 0, 0, 0, 2).jump('count', 'notZero') // cmp eax, 2 << 24
    tripleFault(others.waitFor(0x5000, 'esp'))
    others.label('count').mov('ecx', 0).label('again').inc('ecx').writeFrom('ecx', 0x5004).jump('again')
    guest.loadForOthers(others)
    // The third vCPU's esp is 0, as memory at 0x5000 is.
    await guest.start(startOthers(new Program(32)).stop())
    await guest.until('the event', () => guest.events.length > 0)
    const counted = guest.ram.view.getUint32(0x5004, true)
    await listen()
    expect(guest.events).toEqual([{ kind: 'triple-fault', cpu: 2 }])
    expect(guest.ram.view.getUint32(0x5004, true)).toBe(counted)
  })

  it('is told once also where the memory map changes before main has heard of it', async () => {
    const FAULTS = 0x5000
    const guest = new BareGuest({ cpus: 2 })
    const overlay = Region.io('overlay', PAGE, { read: () => 0, write: () => undefined }, { enabled: false })
    guest.memory.root.add(overlay, 0x10_0000, 1)
    // Main is inside an access of the first vCPU while the second one shuts down; a change of the map stops and resumes both.
    guest.addPorts('device', 0x510, 1, {
      write: () => {
        guest.blockUntilStored(FAULTS)
        sleep(50)
        overlay.setEnabled(true)
        sleep(50)
      },
    })
    guest.loadForOthers(tripleFault(new Program(32, 0x2000).write(FAULTS, 4, 1)))
    await guest.start(startOthers(new Program(32)).out(0x510, 1, 0).spin())
    await guest.until('the event', () => guest.events.length > 0)
    await listen()
    expect(guest.events).toEqual([{ kind: 'triple-fault', cpu: 1 }])
  })

  it('lets nothing run before a reset, whoever resumes', async () => {
    const guest = new BareGuest()
    await guest.start(tripleFault(new Program(32).out(REPORT, 1, 1)))
    await guest.until('the event', () => guest.events.length > 0)
    await guest.hypervisor.resume()
    await listen()
    expect(guest.events).toHaveLength(1)
    expect(guest.values()).toEqual([1])
    await guest.hypervisor.pause()
    await guest.restart(new Program(32).out(REPORT, 1, 2).stop())
    await guest.until('a report', () => guest.values().includes(2))
  })
})

describeKvm('what the kernel cannot run', () => {
  it('code where nothing is: an internal error, its first line short, with registers and code bytes below', async () => {
    const guest = new BareGuest()
    await guest.start(new Program(32).mov('eax', NOTHING).mov('ebx', 0x1234_5678).raw(0xff, 0xe0).stop()) // jmp eax
    await guest.until('the event', () => guest.events.length > 0)
    await listen()
    expect(guest.events).toHaveLength(1)
    expect(guest.hypervisor.running).toBe(false)
    const [first = '', ...rest] = messageOf(guest.events[0]).split('\n')
    expect(first).toMatch(/^KVM_EXIT_INTERNAL_ERROR: suberror 1 \(the kernel cannot emulate an instruction\)/)
    expect(first.length).toBeLessThan(300)
    expect(rest.join('\n')).toMatch(/^CPU#0$/m)
    expect(rest.join('\n')).toMatch(/RBX=0000000012345678/)
    expect(rest.join('\n')).toMatch(/^RIP=00000000d0000000 /m)
    expect(rest.at(-1)).toBe('Code=(not in RAM)')
  })

  it('an instruction that does not work on a device: its bytes are there', async () => {
    const guest = new BareGuest()
    const program = new Program(32).mov('ebx', NOTHING).label('here').raw(0xd9, 0x03).stop() // fld dword [ebx]
    await guest.start(program)
    await guest.until('the event', () => guest.events.length > 0)
    const lines = messageOf(guest.events[0]).split('\n')
    expect(lines[0]).toMatch(/^KVM_EXIT_INTERNAL_ERROR/)
    expect(lines.find((line) => line.startsWith('RIP='))).toContain(`RIP=${program.addressOf('here').toString(16).padStart(16, '0')}`)
    expect(lines.at(-1)).toMatch(/^Code=d9 03 fa f4 eb /)
  })

  it('a guest that ended so runs again after a reset', async () => {
    const guest = new BareGuest()
    await guest.start(new Program(32).mov('eax', NOTHING).raw(0xff, 0xe0).stop())
    await guest.until('the event', () => guest.events.length > 0)
    await guest.restart(new Program(32).out(REPORT, 1, 2).stop())
    await guest.until('a report', () => guest.reports.length > 0)
    expect(guest.values()).toEqual([2])
  })

  it('an entry state that no processor has is refused before the guest runs', async () => {
    const guest = new BareGuest()
    const program = new Program(32).stop()
    await guest.start(program, { paused: true })
    const CR0_PG = 0x8000_0000
    expect(() => guest.hypervisor.enter(0, { ...entryState(32, 0x1000), cr0: CR0_PG })).toThrow(expect.objectContaining({ code: 'SYSTEM_CALL' }))
    expect(() => guest.hypervisor.enter(1, entryState(32, 0x1000))).toThrow(expect.objectContaining({ code: 'KVM_STATE' }))
  })
})

/** Puts another file behind the descriptor of the vCPU that was made last. */
function replaceVcpu(cpu: number, file: string): void {
  const link = (fd: string) => { try { return fs.readlinkSync(`/proc/self/fd/${fd}`) } catch { return '' } }
  const fd = Number(fs.readdirSync('/proc/self/fd').findLast((name) => link(name) === `anon_inode:kvm-vcpu:${cpu}`))
  fs.closeSync(fd)
  // The lowest free number is taken: open until it is that one.
  const opened: number[] = []
  for (;;) {
    const next = fs.openSync(file, 'r+')
    if (next === fd) break
    opened.push(next)
  }
  for (const other of opened) fs.closeSync(other)
}

describeKvm('threads of vCPUs that fail', () => {
  it('a KVM_RUN that the kernel refuses is an internal error that names the errno', async () => {
    const guest = new BareGuest()
    await guest.start(new Program(32).stop(), { paused: true })
    replaceVcpu(0, '/dev/zero')
    await guest.hypervisor.resume()
    await guest.until('the event', () => guest.events.length > 0)
    expect(messageOf(guest.events[0])).toMatch(/^KVM_RUN failed: ENOTTY\nits registers cannot be read: /)
  })

  it('a thread that dies at its start is an internal error, and the machine can be closed', async () => {
    const guest = new BareGuest({ cpus: 2 })
    const ready = guest.hypervisor.ready()
    replaceVcpu(1, '/dev/null')
    await ready
    await guest.until('the event', () => guest.events.length > 0)
    expect(messageOf(guest.events[0])).toMatch(/^the thread of vCPU 1 failed: mapping a vCPU failed: ENODEV/)
    await guest.close()
  })
})
