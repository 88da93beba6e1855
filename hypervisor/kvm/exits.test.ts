/** Port and memory accesses of a guest, as its devices see them. Linux Documentation/virt/kvm/api.rst, section 5: KVM_EXIT_IO, KVM_EXIT_MMIO. */
import { expect, it } from 'vitest'
import { Region } from '../../address-space/region.ts'
import { BareGuest, RAM_SIZE, REPORT } from './bare-guest.fixture.ts'
import { describeKvm } from './describe-kvm.fixture.ts'
import { Program } from './program.fixture.ts'
import type { Size } from './program.fixture.ts'

const DEVICE = 0xd000_0000
const PAGE = 4096

/** Registers that remember writes and answer 8-byte reads with 0x8877665544332211, narrower ones with the bytes at their offset in it. */
function addDevice(guest: BareGuest, address = DEVICE, size = 2 * PAGE): [offset: number, size: number, value: bigint][] {
  const PATTERN = 0x8877_6655_4433_2211n
  const written: [number, number, bigint][] = []
  guest.addRegisters('device', address, size, {
    read: (offset, bytes) => Number(BigInt.asUintN(8 * bytes, PATTERN >> BigInt(8 * (offset % 8)))),
    read64: () => PATTERN,
    write: (offset, bytes, value) => written.push([offset, bytes, BigInt(value)]),
    write64: (offset, value) => written.push([offset, 8, value]),
  })
  return written
}

const report = (program: Program): Program => program.mov('edx', REPORT).outDx(4)
/** Reports rax, low half first. */
const reportWide = (program: Program): Program => report(program).raw(0x48, 0xc1, 0xe8, 32).outDx(4) // shr rax, 32

describeKvm('accesses of a guest on kvm', () => {
  it.each([16, 32, 64] as const)('ports are written and read with 1, 2 and 4 bytes in %s-bit code', async (bits) => {
    const written: [number, number, number][] = []
    const guest = new BareGuest()
    guest.addPorts('device', 0x510, 8, {
      write: (offset, size, value) => written.push([offset, size, value]),
      read: (offset, size) => (0x8765_4321 + offset + size) >>> 0,
    })
    const program = new Program(bits).out(0x510, 1, 0xa1).out(0x512, 2, 0xb1b2).out(0x514, 4, 0xc1c2_c3c4)
    report(program.in(0x510, 1))
    report(program.in(0x512, 2))
    report(program.in(0x514, 4)).stop()
    await guest.start(program)
    await guest.untilReports(3)
    expect(written).toEqual([[0, 1, 0xa1], [2, 2, 0xb1b2], [4, 4, 0xc1c2_c3c4]])
    expect(guest.values()).toEqual([0x22, 0x4325, 0x8765_4329])
  })

  it.each([[1, 3000], [2, 700], [4, 5]] as const)('REP OUTS writes its elements of %s bytes one after the other, all %s of them', async (size, count) => {
    const SOURCE = 0x4000
    const written: number[] = []
    const guest = new BareGuest()
    guest.addPorts('fifo', 0x510, 4, { write: (_, bytes, value) => written.push(bytes === size ? value : -1) })
    const data = Array.from({ length: count }, (_, index) => (index * 0x0101_0101 + 7) % 2 ** (8 * size))
    data.forEach((value, index) => guest.ram.view.setUint32(SOURCE + index * size, value, true))
    const program = new Program(32).mov('esi', SOURCE).mov('ecx', count).mov('edx', 0x510).repOuts(size)
    await guest.start(program.raw(0x89, 0xf0).mov('edx', REPORT).outDx(4).stop()) // mov eax, esi
    await guest.untilReports(1)
    expect(written).toEqual(data)
    expect(guest.values()).toEqual([SOURCE + size * count])
  })

  it.each([[1, 3000], [2, 700], [4, 5]] as const)('REP INS reads its elements of %s bytes one after the other, all %s of them', async (size, count) => {
    const TARGET = 0x4000
    const guest = new BareGuest()
    let next = 0
    guest.addPorts('fifo', 0x510, 4, { read: (_, bytes) => bytes === size ? (next++ * 0x0101_0101 + 7) % 2 ** (8 * size) : 0 })
    const program = new Program(32).mov('edi', TARGET).mov('ecx', count).mov('edx', 0x510).repIns(size)
    await guest.start(report(program.raw(0x89, 0xf8)).stop()) // mov eax, edi
    await guest.untilReports(1)
    const read = Array.from({ length: count }, (_, index) => guest.ram.view.getUint32(TARGET + index * size, true) % 2 ** (8 * size))
    expect(read).toEqual(Array.from({ length: count }, (_, index) => (index * 0x0101_0101 + 7) % 2 ** (8 * size)))
    expect(guest.values()).toEqual([TARGET + size * count])
    // The kernel reads ahead, and keeps what the instruction did not take: no more than a page of it.
    expect(next - count).toBeLessThanOrEqual(PAGE / size)
  })

  it('memory of a device is written with 1, 2, 4 and 8 bytes', async () => {
    const guest = new BareGuest()
    const written = addDevice(guest)
    const program = new Program(64).write(DEVICE + 1, 1, 0xa1).write(DEVICE + 2, 2, 0xb1b2).write(DEVICE + 4, 4, 0xc1c2_c3c4)
      .mov('ebx', DEVICE + 8).movWide(0xd1d2_d3d4_d5d6_d7d8n).store(8)
    await guest.start(report(program).stop())
    await guest.untilReports(1)
    expect(written).toEqual([[1, 1, 0xa1n], [2, 2, 0xb1b2n], [4, 4, 0xc1c2_c3c4n], [8, 8, 0xd1d2_d3d4_d5d6_d7d8n]])
  })

  it('memory of a device is read with 1, 2, 4 and 8 bytes', async () => {
    const guest = new BareGuest()
    addDevice(guest)
    const program = new Program(64)
    for (const [offset, size] of [[1, 1], [2, 2], [4, 4]] as const) report(program.read(DEVICE + offset, size))
    await guest.start(reportWide(program.mov('ebx', DEVICE).load(8)).stop())
    await guest.untilReports(5)
    expect(guest.values()).toEqual([0x22, 0x4433, 0x8877_6655, 0x4433_2211, 0x8877_6655])
  })

  it.each([1, 2, 3, 4, 5, 6, 7])('an access of 8 bytes that crosses a page after %s of them reaches the device whole and in order', async (before) => {
    const guest = new BareGuest()
    const written = addDevice(guest)
    const address = DEVICE + PAGE - before
    const VALUE = 0x0807_0605_0403_0201n
    const program = new Program(64).mov('ebx', address).movWide(VALUE).store(8).load(8)
    await guest.start(reportWide(program).stop())
    await guest.untilReports(2)
    const bytes = written.flatMap(([offset, size, value]) => Array.from({ length: size }, (_, at) => [offset + at, Number((value >> BigInt(8 * at)) & 0xffn)]))
    expect(bytes).toEqual(Array.from({ length: 8 }, (_, at) => [PAGE - before + at, at + 1]))
    const pattern = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]
    const expected = Uint8Array.from({ length: 8 }, (_, at) => pattern[(PAGE - before + at) % 8] ?? 0)
    expect(guest.values()).toEqual([...new Uint32Array(expected.buffer)])
  })

  it('an access that begins in RAM and ends in a device reaches both', async () => {
    const guest = new BareGuest()
    const written = addDevice(guest, RAM_SIZE)
    const program = new Program(32).write(RAM_SIZE - 2, 4, 0x4433_2211)
    await guest.start(report(program.read(RAM_SIZE - 2, 4)).stop())
    await guest.untilReports(1)
    expect([...guest.ram.bytes.subarray(-2)]).toEqual([0x11, 0x22])
    expect(written).toEqual([[0, 2, 0x4433n]])
    expect(guest.values()).toEqual([0x2211_2211])
  })

  it('nothing reads as all ones and swallows writes, in memory and at ports', async () => {
    const guest = new BareGuest()
    const program = new Program(64)
    for (const size of [1, 2, 4] as const) {
      program.out(0x999, size, 0).write(DEVICE, size, 0)
      report(program.in(0x999, size))
      report(program.read(DEVICE, size))
    }
    report(program.in(0xffff, 4)) // leaves the ports
    await guest.start(reportWide(program.mov('ebx', DEVICE).movWide(0n).store(8).load(8)).stop())
    await guest.untilReports(9)
    expect(guest.values()).toEqual([0xff, 0xff, 0xffff, 0xffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff])
    expect(guest.memory.counters).toMatchObject({ unassignedReads: 4, unassignedWrites: 4 })
  })

  it('an access to memory above 4 GiB keeps its address', async () => {
    const HIGH = 0x40_0000_0000 - 0x1000
    const guest = new BareGuest()
    const written = addDevice(guest, HIGH, PAGE)
    // 2 MiB page at linear 0xc0000000 onto HIGH's.
    const DIRECTORY_3 = 0x1f_0000 + 0x5000
    await guest.start(report(new Program(64).write(0xc01f_f008, 4, 0x1234_5678)).stop(), { paused: true })
    guest.ram.view.setBigUint64(DIRECTORY_3, BigInt(HIGH - (HIGH % 0x20_0000)) | 0x83n, true)
    await guest.hypervisor.resume()
    await guest.untilReports(1)
    expect(written).toEqual([[8, 4, 0x1234_5678n]])
  })

  it('a device that throws answers all ones, its error is told, and the guest runs on', async () => {
    const guest = new BareGuest()
    guest.addPorts('broken', 0x510, 4, {
      read: () => { throw new Error('a mistake in a device') },
      write: () => { throw new Error('another one') },
    })
    await guest.start(report(new Program(32).out(0x510, 4, 1).in(0x510, 4)).stop())
    await guest.untilReports(1)
    expect(guest.values()).toEqual([0xffff_ffff])
    expect(guest.faults.map((fault) => (fault as Error).message)).toEqual(['another one', 'a mistake in a device'])
  })

  it('a device of narrow registers gets a wide access in pieces', async () => {
    const guest = new BareGuest()
    const offsets: [number, Size, number][] = []
    guest.memory.root.add(Region.io('bytes', 16, { read: (offset) => offset, write: (offset, size, value) => offsets.push([offset, size, value]) }, { access: { max: 1 } }), DEVICE)
    await guest.start(report(new Program(32).write(DEVICE + 4, 4, 0x4433_2211).read(DEVICE + 8, 4)).stop())
    await guest.untilReports(1)
    expect(offsets).toEqual([[4, 1, 0x11], [5, 1, 0x22], [6, 1, 0x33], [7, 1, 0x44]])
    expect(guest.values()).toEqual([0x0b0a_0908])
  })
})
