/** Interrupts into a KVM guest: lines through the PIC and the IOAPIC, messages, eventfds. Intel 8259A data sheet; Intel SDM volume 3, chapter 11; 82093AA data sheet. */
import { expect, it } from 'vitest'
import { EventFd } from '../../host/eventfd.ts'
import { BareGuest, REPORT } from './bare-guest.fixture.ts'
import { describeKvm } from './describe-kvm.fixture.ts'
import { Program } from './program.fixture.ts'

const PIC_COMMAND = 0x20, PIC_DATA = 0x21, SECOND_PIC_DATA = 0xa1, PIC_EDGE_LEVEL = 0x4d0
const PIC_VECTORS = 0x20
const END_OF_INTERRUPT = 0x20
const IOAPIC_SELECT = 0xfec0_0000, IOAPIC_WINDOW = 0xfec0_0010, REDIRECTIONS = 0x10
const LEVEL_TRIGGERED = 0x8000, MASKED = 0x1_0000
const APIC_SPURIOUS = 0xfee0_00f0, APIC_EOI = 0xfee0_00b0, APIC_ENABLED = 0x100
const MESSAGE_ADDRESS = 0xfee0_0000n
const READY = REPORT + 4, ACKNOWLEDGE = 0x510

/** PIC with its vectors from 0x20 on, the pins of `mask` cleared open. */
function setUpPic(program: Program, open: number): Program {
  for (const value of [PIC_VECTORS, 4, 1, 0xff & ~open]) {
    if (value === PIC_VECTORS) program.out(PIC_COMMAND, 1, 0x11)
    program.out(PIC_DATA, 1, value)
  }
  return program
}

/** The lines lead to the PIC as well, and its mask is open at power-up. */
const maskPics = (program: Program): Program => program.out(PIC_DATA, 1, 0xff).out(SECOND_PIC_DATA, 1, 0xff)

function setUpIoapic(program: Program, pin: number, low: number): Program {
  return maskPics(program).write(APIC_SPURIOUS, 4, APIC_ENABLED | 0xff)
    .write(IOAPIC_SELECT, 4, REDIRECTIONS + 2 * pin + 1).write(IOAPIC_WINDOW, 4, 0)
    .write(IOAPIC_SELECT, 4, REDIRECTIONS + 2 * pin).write(IOAPIC_WINDOW, 4, low)
}

/** Says it is ready, then sleeps for ever between interrupts; each reports its vector and runs `acknowledge`. */
function listening(guest: BareGuest, program: Program, vectors: readonly number[], acknowledge: (program: Program) => Program): Program {
  program.out(READY, 1, 0).enableInterrupts().label('sleep').halt().jump('sleep')
  for (const vector of vectors) {
    acknowledge(program.label(`vector ${vector}`).out(REPORT, 1, vector)).interruptReturn()
    guest.setVector(vector, program.addressOf(`vector ${vector}`))
  }
  return program
}

const endPic = (program: Program): Program => program.out(PIC_COMMAND, 1, END_OF_INTERRUPT)
const endApic = (program: Program): Program => program.write(APIC_EOI, 4, 0)

async function startListening(guest: BareGuest, program: Program): Promise<void> {
  await guest.start(program)
  await guest.untilReports(1, READY)
}

/** Proof that nothing more comes: an interrupt of another line, raised after, is through. */
async function afterAll(guest: BareGuest, raise: () => void, vector: number): Promise<number[]> {
  raise()
  await guest.until('the last interrupt', () => guest.values().includes(vector))
  return guest.values().slice(0, guest.values().indexOf(vector))
}

describeKvm('interrupts on kvm', () => {
  it('each pulse of a line is one interrupt through the PIC, in real mode', async () => {
    const guest = new BareGuest()
    const line = guest.hypervisor.line(5)
    await startListening(guest, listening(guest, setUpPic(new Program(16), 1 << 5 | 1 << 6), [0x25, 0x26], endPic))
    for (let count = 1; count <= 10; count++) {
      line.pulse()
      await guest.untilReports(count)
    }
    expect(await afterAll(guest, () => guest.hypervisor.line(6).pulse(), 0x26)).toEqual(Array.from({ length: 10 }, () => 0x25))
  })

  it('an edge-triggered line that stays high is one interrupt', async () => {
    const guest = new BareGuest()
    await startListening(guest, listening(guest, setUpPic(new Program(16), 1 << 5 | 1 << 6), [0x25, 0x26], endPic))
    guest.hypervisor.line(5).setLevel(1)
    guest.hypervisor.line(5).setLevel(1)
    await guest.untilReports(1)
    expect(await afterAll(guest, () => guest.hypervisor.line(6).pulse(), 0x26)).toEqual([0x25])
  })

  it('a level-triggered line interrupts until the device lowers it', async () => {
    const guest = new BareGuest()
    const line = guest.hypervisor.line(5)
    let asked = 0
    guest.addPorts('acknowledge', ACKNOWLEDGE, 1, { write: () => { if (++asked === 3) line.setLevel(0) } })
    const program = setUpPic(new Program(16).out(PIC_EDGE_LEVEL, 1, 1 << 5), 1 << 5 | 1 << 6)
    await startListening(guest, listening(guest, program, [0x25, 0x26], (handler) => endPic(handler.out(ACKNOWLEDGE, 1, 0))))
    line.setLevel(1)
    await guest.untilReports(3)
    expect(await afterAll(guest, () => guest.hypervisor.line(6).pulse(), 0x26)).toEqual([0x25, 0x25, 0x25])
  })

  it('a line reaches the IOAPIC pin of its number, those above 15 too', async () => {
    const guest = new BareGuest()
    const program = setUpIoapic(setUpIoapic(new Program(16), 4, 0x44), 23, 0x57)
    await startListening(guest, listening(guest, program, [0x44, 0x57], endApic))
    guest.hypervisor.line(4).pulse()
    await guest.untilReports(1)
    guest.hypervisor.line(23).pulse()
    await guest.untilReports(2)
    expect(guest.values()).toEqual([0x44, 0x57])
  })

  it('lines above 23 are refused', () => {
    const guest = new BareGuest()
    expect(() => guest.hypervisor.line(24)).toThrow(expect.objectContaining({ code: 'INTERRUPT_LINE' }))
  })

  it('a message interrupts at once, and one that no processor wants is told so', async () => {
    const guest = new BareGuest()
    await startListening(guest, listening(guest, new Program(16).write(APIC_SPURIOUS, 4, APIC_ENABLED | 0xff), [0x51], endApic))
    expect(guest.hypervisor.interrupts.signal({ address: MESSAGE_ADDRESS, data: 0x51 })).toBe(true)
    await guest.untilReports(1)
    expect(guest.values()).toEqual([0x51])
    expect(guest.hypervisor.interrupts.signal({ address: MESSAGE_ADDRESS | 7n << 12n, data: 0x51 })).toBe(false)
  })

  it('an eventfd raises a message through its route, and the other message once the route has changed', async () => {
    const { interrupts } = new BareGuest().hypervisor
    const guest = new BareGuest()
    const bell = new EventFd()
    await startListening(guest, listening(guest, new Program(16).write(APIC_SPURIOUS, 4, APIC_ENABLED | 0xff), [0x51, 0x52, 0x53], endApic))
    const routes = guest.hypervisor.interrupts
    const gsi = routes.addMessage({ address: MESSAGE_ADDRESS, data: 0x51 })
    const other = routes.addMessage({ address: MESSAGE_ADDRESS, data: 0x53 })
    expect([gsi, other]).toEqual([24, 25])
    routes.attach(bell.fd, gsi)
    bell.signal()
    await guest.untilReports(1)
    routes.changeMessage(gsi, { address: MESSAGE_ADDRESS, data: 0x52 })
    bell.signal()
    await guest.untilReports(2)
    routes.detach(bell.fd, gsi)
    bell.signal()
    expect(await afterAll(guest, () => routes.signal({ address: MESSAGE_ADDRESS, data: 0x53 }), 0x53)).toEqual([0x51, 0x52])
    routes.removeMessage(gsi)
    expect(routes.addMessage({ address: MESSAGE_ADDRESS, data: 0x51 })).toBe(gsi)
    expect(() => interrupts.changeMessage(gsi, { address: MESSAGE_ADDRESS, data: 0x51 })).toThrow(expect.objectContaining({ code: 'KVM_ROUTES' }))
    bell.close()
  })

  it('an eventfd raises an edge of a line', async () => {
    const guest = new BareGuest()
    const bell = new EventFd()
    await startListening(guest, listening(guest, setUpPic(new Program(16), 1 << 5), [0x25], endPic))
    guest.hypervisor.interrupts.attach(bell.fd, 5)
    for (let count = 1; count <= 3; count++) {
      bell.signal()
      await guest.untilReports(count)
    }
    expect(guest.values()).toEqual([0x25, 0x25, 0x25])
    guest.hypervisor.interrupts.detach(bell.fd, 5)
    bell.close()
  })

  it('an eventfd with a resample keeps a level until the guest acknowledges it, and tells then', async () => {
    const guest = new BareGuest()
    const bell = new EventFd(), resample = new EventFd()
    await startListening(guest, listening(guest, setUpIoapic(setUpIoapic(new Program(16), 10, 0x4a | LEVEL_TRIGGERED), 11, 0x4b), [0x4a, 0x4b], endApic))
    guest.hypervisor.interrupts.attach(bell.fd, 10, resample.fd)
    for (let count = 1; count <= 3; count++) {
      bell.signal()
      await guest.untilReports(count)
      await guest.until('the acknowledgement', () => resample.drain())
    }
    expect(await afterAll(guest, () => guest.hypervisor.line(11).pulse(), 0x4b)).toEqual([0x4a, 0x4a, 0x4a])
    expect(resample.drain()).toBe(false)
    guest.hypervisor.interrupts.detach(bell.fd, 10)
    bell.close()
    resample.close()
  })

  it('the interval timer ticks through the PIC', async () => {
    const guest = new BareGuest()
    const program = setUpPic(new Program(16).out(0x43, 1, 0x34).out(0x40, 1, 0).out(0x40, 1, 0x10), 1) // 4096 / 1.193182 MHz
    await startListening(guest, listening(guest, program, [0x20], endPic))
    await guest.untilReports(5)
    expect(new Set(guest.values())).toEqual(new Set([0x20]))
  })

  it('a reset puts the controllers back to power-up, and keeps the level that a device gives its line', async () => {
    const guest = new BareGuest()
    const program = listening(guest, setUpIoapic(new Program(16), 10, 0x4a | LEVEL_TRIGGERED), [0x4a], (handler) => endApic(handler.out(ACKNOWLEDGE, 1, 0)))
    guest.addPorts('acknowledge', ACKNOWLEDGE, 1, { write: () => guest.hypervisor.line(10).setLevel(0) })
    await startListening(guest, program)
    guest.hypervisor.line(10).setLevel(1)
    await guest.untilReports(1)
    await guest.hypervisor.pause()

    // The redirection is masked again, so a program that only looks at it hears nothing of the line ...
    guest.hypervisor.line(10).setLevel(1)
    const looking = maskPics(new Program(16)).write(IOAPIC_SELECT, 4, REDIRECTIONS + 20).read(IOAPIC_WINDOW, 4).mov('edx', READY).outDx(4)
    looking.enableInterrupts().write(IOAPIC_WINDOW, 4, 0x4a | LEVEL_TRIGGERED | MASKED).out(READY, 1, 1)
    // ... until it opens it: the line is still high.
    looking.write(APIC_SPURIOUS, 4, APIC_ENABLED | 0xff).write(IOAPIC_WINDOW, 4, 0x4a | LEVEL_TRIGGERED).label('sleep').halt().jump('sleep')
    looking.label('handler').out(REPORT, 1, 0x99).label('end').halt().jump('end')
    guest.reports.length = 0
    guest.load(looking)
    guest.setVector(0x4a, looking.addressOf('handler'))
    await guest.restart(looking)
    await guest.untilReports(1)
    // No further: on the PVM host seen, a local APIC ends an interrupt as it delivers it, so a level that is still high comes once more.
    expect(guest.reports.slice(0, 3).map(({ value }) => value)).toEqual([MASKED, 1, 0x99])
  })
})
