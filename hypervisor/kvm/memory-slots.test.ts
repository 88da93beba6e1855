/** Guest memory on kvm: what the flat view becomes (no /dev/kvm needed), and what a guest sees of changes while it runs. */
import { describe, expect, it } from 'vitest'
import { AddressSpace } from '../../address-space/address-space.ts'
import { Region } from '../../address-space/region.ts'
import { BareGuest, RAM_SIZE, REPORT, SPARE_SIZE, startOthers } from './bare-guest.fixture.ts'
import { describeKvm } from './describe-kvm.fixture.ts'
import { MemorySlots, slotsOf } from './memory-slots.ts'
import { Program } from './program.fixture.ts'

const PAGE = 4096
const HOST = 0x7f00_0000_0000

describe('memory slots of a flat view', () => {
  const space = () => new AddressSpace('memory', Region.container('system', 2 ** 40))
  const ram = (pages: number, hostOffset: number, name = 'ram') => Region.ram(name, new Uint8Array(pages * PAGE), { hostOffset })
  const io = (size: number) => Region.io('io', size, { read: () => 0, write: () => undefined })

  it('RAM is a slot, a device in it cuts it in two, and what the accelerator cannot see is none', () => {
    const memory = space()
    memory.root.add(ram(8, HOST), 0)
    memory.root.add(io(PAGE), 2 * PAGE, 1)
    memory.root.add(Region.ram('invisible', new Uint8Array(PAGE)), 0x10_0000)
    expect(slotsOf(memory.view)).toEqual([
      { guestAddress: 0, size: 2 * PAGE, hostAddress: HOST, readOnly: false },
      { guestAddress: 3 * PAGE, size: 5 * PAGE, hostAddress: HOST + 3 * PAGE, readOnly: false },
    ])
  })

  it('ROM, a ROM device in ROM mode and read-only RAM are read-only slots; a ROM device out of it is none', () => {
    const memory = space()
    const ops = { read: () => 0, write: () => undefined }
    const flash = Region.romd('flash', new Uint8Array(PAGE), ops, { hostOffset: HOST + 0x10_0000 })
    memory.root.add(Region.rom('rom', new Uint8Array(PAGE), { hostOffset: HOST }), 0)
    memory.root.add(flash, 0x10_0000)
    memory.root.add(Region.ram('sealed', new Uint8Array(PAGE), { hostOffset: HOST + 0x20_0000, readOnly: true }), 0x20_0000)
    expect(slotsOf(memory.view).map(({ guestAddress, readOnly }) => [guestAddress, readOnly])).toEqual([[0, true], [0x10_0000, true], [0x20_0000, true]])
    flash.setRomdMode(false)
    expect(slotsOf(memory.view).map(({ guestAddress }) => guestAddress)).toEqual([0, 0x20_0000])
  })

  it('pieces that continue each other in the guest and on the host share a slot, others do not', () => {
    const memory = space()
    memory.root.add(ram(1, HOST), 0)
    memory.root.add(ram(1, HOST + PAGE), PAGE)
    memory.root.add(ram(1, HOST + 5 * PAGE), 2 * PAGE)
    memory.root.add(Region.rom('rom', new Uint8Array(PAGE), { hostOffset: HOST + 6 * PAGE }), 3 * PAGE)
    expect(slotsOf(memory.view)).toEqual([
      { guestAddress: 0, size: 2 * PAGE, hostAddress: HOST, readOnly: false },
      { guestAddress: 2 * PAGE, size: PAGE, hostAddress: HOST + 5 * PAGE, readOnly: false },
      { guestAddress: 3 * PAGE, size: PAGE, hostAddress: HOST + 6 * PAGE, readOnly: true },
    ])
  })

  it('only whole pages are slots, and none where guest and host pages are out of step', () => {
    const memory = space()
    memory.root.add(Region.ram('odd', new Uint8Array(0x2800), { hostOffset: HOST + 0x400 }), 0x1_0400)
    memory.root.add(Region.ram('small', new Uint8Array(0x800), { hostOffset: HOST + 0x1_0000 }), 0x2_0000)
    memory.root.add(Region.ram('out of step', new Uint8Array(2 * PAGE), { hostOffset: HOST + 0x2_0200 }), 0x3_0000)
    expect(slotsOf(memory.view)).toEqual([{ guestAddress: 0x1_1000, size: PAGE, hostAddress: HOST + 0x1000, readOnly: false }])
  })

  it('more pieces than the kernel has slots are an error that says so', () => {
    const memory = space()
    memory.root.add(ram(1, HOST), 0)
    expect(() => new MemorySlots(-1, 0).update(slotsOf(memory.view))).toThrow(expect.objectContaining({ code: 'KVM_MEMORY' }))
  })
})

const WINDOW = 0x4000_0000
const SEEN = 0x5000

const report = (program: Program): Program => program.mov('edx', REPORT).outDx(4)

/** Reads a word for ever and keeps it in RAM at SEEN. */
const watching = (address: number): Program => new Program(32).label('again').read(address, 4).mov('ebx', SEEN).store(4).jump('again')
const seen = (guest: BareGuest): number => guest.ram.view.getUint32(SEEN, true)

describeKvm('guest memory on kvm', () => {
  it('a write to ROM changes nothing and is counted', async () => {
    const guest = new BareGuest()
    const { bytes, options } = guest.spareBytes(0, PAGE)
    bytes.set([1, 2, 3, 4])
    guest.memory.root.add(Region.rom('rom', bytes, options), WINDOW)
    await guest.start(report(new Program(32).write(WINDOW, 4, 0x5555_5555).write(WINDOW + 2, 1, 9).read(WINDOW, 4)).stop())
    await guest.untilReports(1)
    expect(guest.values()).toEqual([0x0403_0201])
    expect([...bytes.subarray(0, 4)]).toEqual([1, 2, 3, 4])
    expect(guest.memory.counters.readOnlyWrites).toBe(2)
    expect(guest.bus.counters.calls, 'two writes and a report').toBe(3)
  })

  it('a ROM device is read as memory in ROM mode and asked otherwise; it gets every write', async () => {
    const guest = new BareGuest()
    const { bytes, options } = guest.spareBytes(0, PAGE)
    bytes.set([1, 2, 3, 4])
    const log: string[] = []
    // 0x98 begins a query, 0xff ends it, as flash chips have it.
    const flash: Region = Region.romd('flash', bytes, {
      read: (offset) => {
        log.push(`read ${offset}`)
        return 0x5152_5359
      },
      write: (offset, _, value) => {
        log.push(`write ${offset} ${value}`)
        flash.setRomdMode(value === 0xff)
      },
    }, options)
    guest.memory.root.add(flash, WINDOW)
    const program = report(new Program(32).read(WINDOW, 4))
    for (let round = 0; round < 3; round++) {
      report(program.write(WINDOW + 4, 1, 0x98).read(WINDOW, 4))
      report(program.write(WINDOW + 4, 1, 0xff).read(WINDOW, 4))
    }
    await guest.start(program.stop())
    await guest.untilReports(7)
    expect(guest.values()).toEqual([0x0403_0201, 0x5152_5359, 0x0403_0201, 0x5152_5359, 0x0403_0201, 0x5152_5359, 0x0403_0201])
    expect(log.slice(0, 3)).toEqual(['write 4 152', 'read 0', 'write 4 255'])
    expect(log).toHaveLength(9)
  })

  it('an alias shows the same bytes a second time', async () => {
    const guest = new BareGuest()
    guest.memory.root.add(Region.alias('window', guest.ram, 0x1_0000, 0x1_0000), WINDOW)
    await guest.start(report(new Program(32).write(WINDOW + 0x10, 4, 0x1234_5678).read(0x1_0010, 4)).stop())
    await guest.untilReports(1)
    expect(guest.values()).toEqual([0x1234_5678])
    expect(guest.bus.counters.calls).toBe(1)
  })

  it('memory that comes, goes, moves and changes its size while the guest reads it is seen as it is', async () => {
    const guest = new BareGuest()
    const { bytes, options } = guest.spareBytes(0, 4 * PAGE)
    const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    words.setUint32(0, 0x1111, true)
    words.setUint32(PAGE, 0x2222, true)
    const piece = Region.ram('piece', bytes, { ...options, enabled: false })
    guest.memory.root.add(piece, WINDOW)
    await guest.start(watching(WINDOW + PAGE))
    const expectSeen = async (value: number) => {
      await guest.until(`the guest reads ${value.toString(16)}`, () => seen(guest) === value)
    }
    for (let round = 0; round < 10; round++) {
      await expectSeen(0xffff_ffff)
      piece.setEnabled(true)
      await expectSeen(0x2222)
      piece.move(WINDOW + PAGE)
      await expectSeen(0x1111)
      piece.move(WINDOW)
      piece.resize(PAGE)
      await expectSeen(0xffff_ffff)
      piece.resize(2 * PAGE)
      await expectSeen(0x2222)
      piece.setEnabled(false)
    }
    expect(guest.events).toEqual([])
  })

  it('memory beside a piece that comes and goes is never away, for code, reads and writes of several vCPUs', async () => {
    const guest = new BareGuest({ cpus: 2 })
    const overlay = Region.io('overlay', PAGE, { read: () => 0, write: () => undefined }, { enabled: false })
    guest.memory.root.add(overlay, 0x10_0000, 1)
    // Each counts in memory beside the overlay and reads it back; a word that is not as written is a report.
    const counting = (program: Program, address: number) => program.mov('ecx', 0).label('again').inc('ecx').writeFrom('ecx', address)
      .read(address, 4).compare('eax', 'ecx').jump('again', 'zero').out(REPORT, 4, address).stop()
    guest.loadForOthers(counting(new Program(32, 0x2000), 0x10_1000))
    await guest.start(counting(startOthers(new Program(32)), 0xf_f000))
    const word = (address: number) => guest.ram.view.getUint32(address, true)
    await guest.until('both count', () => word(0xf_f000) > 0 && word(0x10_1000) > 0)
    for (let round = 0; round < 200; round++) {
      overlay.setEnabled(round % 2 === 0)
      const [first, second] = [word(0xf_f000), word(0x10_1000)]
      if (round % 20 === 0) await guest.until('both go on', () => word(0xf_f000) !== first && word(0x10_1000) !== second)
    }
    expect(guest.reports).toEqual([])
    expect(guest.events).toEqual([])
    expect(guest.bus.counters.calls).toBe(0)
  })

  it('a device may change the memory map inside an access, while another vCPU runs and a third waits in an access of its own', async () => {
    const guest = new BareGuest({ cpus: 3 })
    const overlay = Region.io('overlay', PAGE, { read: () => 0x77, write: () => undefined }, { enabled: false })
    guest.memory.root.add(overlay, 0x10_0000, 1)
    guest.addPorts('switch', 0x510, 1, { write: (_, __, value) => overlay.setEnabled(value === 1) })
    guest.addPorts('register', 0x520, 4, { read: () => 0x55 })
    // The first switches, the second asks a device all the time, the third only counts.
    const others = new Program(32, 0x2000).read(0xfee0_0020, 4).raw(0x3d, 0, 0, 0, 2).jump('third', 'zero') // cmp eax, 2 << 24
      .label('ask').in(0x520, 4).compareWith('eax', 0x55).jump('ask', 'zero').out(REPORT + 4, 4, 0).stop()
      .label('third').mov('ecx', 0).label('count').inc('ecx').writeFrom('ecx', SEEN).jump('count')
    const first = startOthers(new Program(32)).mov('ecx', 0).label('again').inc('ecx')
      .out(0x510, 1, 1).read(0x10_0000, 4).compareWith('eax', 0x77).jump('bad', 'notZero')
      .out(0x510, 1, 0).read(0x10_0000, 4).compareWith('eax', 0).jump('bad', 'notZero')
      .compareWith('ecx', 100).jump('again', 'notZero').label('bad').copy('eax', 'ecx').mov('edx', REPORT).outDx(4).stop()
    guest.loadForOthers(others)
    await guest.start(first)
    await guest.untilReports(1)
    expect(guest.reports).toEqual([{ port: REPORT, size: 4, value: 100 }])
    const counted = seen(guest)
    await guest.until('the third goes on', () => seen(guest) !== counted)
  })

  it('more than 32 pieces of memory at once', async () => {
    const PIECES = 100
    const guest = new BareGuest()
    guest.memory.transaction(() => {
      for (let piece = 0; piece < PIECES; piece++) {
        const { bytes, options } = guest.spareBytes(piece * 2 * PAGE, PAGE)
        bytes[0] = piece + 1
        guest.memory.root.add(Region.ram(`piece ${piece}`, bytes, options), WINDOW + piece * 3 * PAGE)
      }
    })
    expect(guest.hypervisor.memorySlots.slots).toHaveLength(PIECES + 1)
    const program = new Program(32).mov('ecx', PIECES).mov('esi', 0).mov('ebx', WINDOW).label('next')
      .mov('eax', 0).load(1).raw(0x01, 0xc6) //                            add esi, eax
      .raw(0x81, 0xc3, 0x00, 0x30, 0, 0).dec('ecx').jump('next', 'notZero') // add ebx, 0x3000
    await guest.start(report(program.copy('eax', 'esi')).stop())
    await guest.untilReports(1)
    expect(guest.values()).toEqual([PIECES * (PIECES + 1) / 2])
    expect(guest.bus.counters.calls).toBe(1)
  })

  it('slots that went are used again', () => {
    const guest = new BareGuest()
    for (let round = 0; round < 50; round++) {
      const { bytes, options } = guest.spareBytes(0, PAGE)
      const piece = Region.ram('piece', bytes, options)
      guest.memory.root.add(piece, WINDOW + round * PAGE)
      expect(Math.max(...guest.hypervisor.memorySlots.slots.map(({ number }) => number))).toBe(1)
      guest.memory.root.remove(piece)
    }
  })

  it('memory that does not fill whole pages is read and written over the bus where the pages are not whole', async () => {
    const guest = new BareGuest()
    const { bytes, options } = guest.spareBytes(0x400, 0x2800)
    const start = WINDOW + 0x400
    guest.memory.root.add(Region.ram('odd', bytes, options), start)
    bytes.forEach((_, index) => { bytes[index] = (index * 7 + 3) & 0xff })
    const before = bytes.slice()
    // Adds 1 to every byte and reports the sum of what was there.
    const program = new Program(32).mov('ecx', bytes.length).mov('esi', 0).mov('ebx', start).label('next')
      .mov('eax', 0).load(1).raw(0x01, 0xc6).inc('eax').store(1).inc('ebx').dec('ecx').jump('next', 'notZero')
    await guest.start(report(program.copy('eax', 'esi')).stop())
    await guest.untilReports(1)
    expect(guest.values()).toEqual([before.reduce((sum, byte) => sum + byte, 0)])
    expect(bytes).toEqual(before.map((byte) => byte + 1))
    // Two accesses for each byte outside the whole page in the middle, and the report.
    expect(guest.bus.counters.calls).toBe(2 * (0x2800 - PAGE) + 1)
  })

  it('the log of dirty pages names the pages written since it was last taken', async () => {
    const guest = new BareGuest()
    const { hypervisor } = guest
    const slots = hypervisor.memorySlots
    const [slot] = slots.slots
    if (slot === undefined) throw new Error('RAM has no slot')
    const dirty = () => {
      const log = slots.takeDirtyLog(slot)
      return Array.from({ length: RAM_SIZE / PAGE }, (_, page) => page).filter((page) => ((log[page >> 3] ?? 0) >> (page & 7)) & 1)
    }
    expect(dirty).toThrow(expect.objectContaining({ code: 'SYSTEM_CALL' }))
    const program = new Program(32).write(0x10_3000, 4, 1).write(0x10_7ffe, 4, 1).out(REPORT, 1, 0).write(0x18_0000, 1, 1).out(REPORT, 1, 0).stop()
    slots.setLogging(true)
    let first: number[] = []
    guest.onReport = () => { if (first.length === 0) first = dirty() }
    await guest.start(program)
    await guest.untilReports(2)
    // The kernel may count a page that was only read or run: it maps it writable while it is at it.
    expect(first).toEqual(expect.arrayContaining([0x103, 0x107, 0x108]))
    expect(first).not.toContain(0x180)
    const second = dirty()
    expect(second).toContain(0x180)
    expect(second).not.toContain(0x103)
    expect(dirty()).toEqual([])
    slots.setLogging(false)
    expect(dirty).toThrow(expect.objectContaining({ code: 'SYSTEM_CALL' }))
  })

  it('a change that the kernel refuses is an error, and the guest runs on', async () => {
    const guest = new BareGuest()
    await guest.start(watching(0x1_0000))
    // The overlay makes it a change that stops the vCPUs; the address of the other piece is none of this process.
    expect(() => guest.memory.transaction(() => {
      guest.memory.root.add(Region.io('overlay', PAGE, { read: () => 0, write: () => undefined }), 0x10_0000, 1)
      guest.memory.root.add(Region.ram('nowhere', new Uint8Array(PAGE), { hostOffset: 2 ** 50 }), WINDOW)
    })).toThrow(expect.objectContaining({ code: 'SYSTEM_CALL' }))
    guest.ram.view.setUint32(0x1_0000, 0x77, true)
    await guest.until('the guest reads it', () => seen(guest) === 0x77)
  })

  it('RAM is where the guest and the host agree it is, up to its last byte', async () => {
    const guest = new BareGuest()
    const { bytes, options } = guest.spareBytes(0, SPARE_SIZE)
    guest.memory.root.add(Region.ram('spare', bytes, options), WINDOW)
    await guest.start(new Program(32).write(WINDOW, 1, 0xaa).write(WINDOW + SPARE_SIZE - 4, 4, 0x1234_5678).out(REPORT, 1, 0).stop())
    await guest.untilReports(1)
    await guest.hypervisor.pause()
    expect(bytes[0]).toBe(0xaa)
    expect([...bytes.subarray(-4)]).toEqual([0x78, 0x56, 0x34, 0x12])
    expect(guest.hypervisor.readVirtual(0, BigInt(RAM_SIZE - 4), 4)).toEqual(new Uint8Array(4))
    expect(() => guest.hypervisor.readVirtual(0, BigInt(RAM_SIZE - 2), 4)).toThrow(expect.objectContaining({ code: 'GUEST_ADDRESS' }))
  })
})
