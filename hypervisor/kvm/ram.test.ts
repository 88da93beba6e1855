/** Guest RAM on kvm: more than one view of it, shared with other processes, in files, preallocated. What host/ram.test.ts says holds for a guest's accesses too. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { AddressSpace } from '../../address-space/address-space.ts'
import { GuestMemory } from '../../address-space/guest-memory.ts'
import { Region } from '../../address-space/region.ts'
import type { RamBacking } from '../../host/ram-backing.ts'
import { mappingAt, mappings } from '../../test/support/mappings.ts'
import type { RamRequest } from '../hypervisor.ts'
import { entryState } from './bare-guest.fixture.ts'
import { describeKvm } from './describe-kvm.fixture.ts'
import { KvmHypervisor } from './kvm-hypervisor.ts'
import { Program } from './program.fixture.ts'

const MIB = 2 ** 20, GIB = 2 ** 30
const REPORT = 0x700
const PAGE_TABLES = 0x1f_0000
const PRESENT_WRITABLE = 3n, LARGE = 0x80n
const MAPPED_GIB = 9

class Guest {
  readonly hypervisor: KvmHypervisor
  readonly ram: GuestMemory
  readonly memory = new AddressSpace('memory', Region.container('system', 2 ** 46))
  readonly ports = new AddressSpace('I/O', Region.container('io', 0x1_0000))
  readonly #waiting: ((value: number) => void)[] = []

  constructor(ram: readonly RamRequest[], ramBacking: RamBacking = {}) {
    this.hypervisor = new KvmHypervisor({
      topology: { cpus: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }, ram, ramBacking, clock: { kind: 'host' },
      onEvent: (event) => { throw new Error(JSON.stringify(event)) },
    })
    guests.push(this)
    this.ram = new GuestMemory(this.hypervisor.ram)
    for (const { guestAddress, bytes, hostOffset } of this.hypervisor.ram) this.memory.root.add(Region.ram('ram', bytes, { hostOffset }), guestAddress)
    this.hypervisor.attach(this.memory, this.ports)
    this.ports.root.add(Region.io('report', 4, { read: () => 0, write: (_offset, _size, value) => this.#waiting.shift()?.(value) }, { access: { unaligned: true } }), REPORT)
  }

  /** Runs a 64-bit program with addresses as they are; resolves with the value it reports. */
  async run(program: Program): Promise<number> {
    await this.hypervisor.ready()
    await this.hypervisor.reset()
    this.ram.write(program.origin, program.bytes)
    this.#writePageTables()
    this.hypervisor.enter(0, entryState(64, program.origin))
    const reported = new Promise<number>((resolve) => { this.#waiting.push(resolve) })
    await this.hypervisor.resume()
    const value = await reported
    await this.hypervisor.pause()
    return value
  }

  #writePageTables(): void {
    const pointers = PAGE_TABLES + 0x1000
    this.ram.writeU64(PAGE_TABLES, BigInt(pointers) | PRESENT_WRITABLE)
    for (let gib = 0; gib < MAPPED_GIB; gib++) {
      const directory = pointers + 0x1000 * (gib + 1)
      this.ram.writeU64(pointers + gib * 8, BigInt(directory) | PRESENT_WRITABLE)
      for (let entry = 0; entry < 512; entry++) this.ram.writeU64(directory + entry * 8, BigInt(gib * GIB + entry * 2 * MIB) | PRESENT_WRITABLE | LARGE)
    }
  }
}

const little = (value: bigint) => Array.from({ length: 8 }, (_, at) => Number((value >> BigInt(8 * at)) & 0xffn))
const pointTo = (address: number) => [0x48, 0xbb, ...little(BigInt(address))] // mov rbx, address
const STORE = [0x89, 0x03] // mov [rbx], eax
const LOAD = [0x8b, 0x03] //  mov eax, [rbx]

/** Stores a value at one address and reports what is at another. */
function storeAndReport(storeAt: number, value: number, loadAt: number): Program {
  return new Program(64).raw(...pointTo(storeAt)).mov('eax', value).raw(...STORE).raw(...pointTo(loadAt)).raw(...LOAD).mov('edx', REPORT).outDx(4).stop()
}

const guests: Guest[] = []
let folder: string

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-kvm-ram-'))
})

afterEach(async () => {
  for (const { hypervisor } of guests.splice(0)) await hypervisor.close()
  fs.rmSync(folder, { recursive: true })
})

function sharedMappings(): string[] {
  return mappings().flatMap(({ file }) => file.includes('mesovirt-ram') ? [file] : [])
}

describeKvm('guest RAM', () => {
  it('of 8 GiB is one memory for the guest, and accesses across the borders of our views agree with its own', async () => {
    const guest = new Guest([{ guestAddress: 0, size: 3 * GIB }, { guestAddress: 4 * GIB, size: 5 * GIB }])
    expect(guest.hypervisor.ram.map(({ guestAddress, size }) => [guestAddress / GIB, size / GIB])).toEqual([[0, 2], [2, 1], [4, 2], [6, 2], [8, 1]])
    expect(guest.ram.size).toBe(8 * GIB)
    guest.ram.writeU32(8 * GIB - 2, 0xcafe_f00d)
    expect(await guest.run(storeAndReport(6 * GIB - 2, 0x1122_3344, 8 * GIB - 2))).toBe(0xcafe_f00d)
    expect(guest.ram.readU32(6 * GIB - 2)).toBe(0x1122_3344)
    expect(guest.ram.read(6 * GIB - 3, 6)).toEqual(Uint8Array.of(0, 0x44, 0x33, 0x22, 0x11, 0))
    expect(guest.ram.contains(3 * GIB - 1, 2)).toBe(false)
  })

  it.each([['of this process', {}], ['that others can map', { share: true }]])('that a balloon gave back is zeros for the guest, and memory again when it writes: memory %s', async (_, backing) => {
    const guest = new Guest([{ guestAddress: 0, size: 16 * MIB }], backing)
    expect(await guest.run(storeAndReport(8 * MIB, 0x1234_5678, 8 * MIB))).toBe(0x1234_5678)
    expect(guest.ram.discard(8 * MIB, 4 * MIB)).toBe('zeros')
    expect(await guest.run(storeAndReport(10 * MIB, 0x55aa_55aa, 8 * MIB))).toBe(0)
    expect(guest.ram.readU32(10 * MIB)).toBe(0x55aa_55aa)
  })

  it.each([['a WebAssembly memory', 16 * MIB, 16 * MIB], ['a mapping', 3 * GIB, 5 * GIB]])('in %s is shared on request: others see what the guest writes, at the offset of its block', async (_, low, high) => {
    const guest = new Guest([{ guestAddress: 0, size: low }, { guestAddress: 4 * GIB, size: high }], { share: true })
    const block = guest.hypervisor.ram.find(({ guestAddress }) => guestAddress === 4 * GIB)
    const { fd, offset } = block?.shared ?? { fd: -1, offset: -1 }
    expect(offset).toBe(low)
    fs.writeSync(fd, Buffer.from([0x78, 0x56, 0x34, 0x12]), 0, 4, offset + 0x2000)
    expect(await guest.run(storeAndReport(4 * GIB + 0x1000, 0x55aa_1234, 4 * GIB + 0x2000))).toBe(0x1234_5678)
    const seen = Buffer.alloc(4)
    fs.readSync(fd, seen, 0, 4, offset + 0x1000)
    expect(seen.readUInt32LE()).toBe(0x55aa_1234)
    expect(mappingAt(block?.hostOffset ?? 0).mode).toBe('rw-s')
    await guest.hypervisor.close()
    expect(() => fs.fstatSync(fd)).toThrow(/EBADF/)
    expect(sharedMappings()).toEqual([])
  })

  it('in a file is the guest\'s own copy, unless it is shared', async () => {
    const file = path.join(folder, 'ram')
    fs.writeFileSync(file, Buffer.alloc(4 * MIB, 0x77))
    const copy = new Guest([{ guestAddress: 0, size: 4 * MIB }], { path: file })
    expect(await copy.run(storeAndReport(0x20_1000, 1, 0x20_2000))).toBe(0x7777_7777)
    expect(copy.hypervisor.ram[0]?.shared).toBeUndefined()
    expect(fs.readFileSync(file).every((byte) => byte === 0x77)).toBe(true)
    const shared = new Guest([{ guestAddress: 0, size: 4 * MIB }], { path: file, share: true })
    await shared.run(storeAndReport(0x20_1000, 0x0403_0201, 0x20_2000))
    expect(fs.readFileSync(file).readUInt32LE(0x20_1000)).toBe(0x0403_0201)
    expect(shared.hypervisor.ram[0]?.shared).toMatchObject({ offset: 0 })
  })

  it('is preallocated when the machine is ready', async () => {
    const guest = new Guest([{ guestAddress: 0, size: 64 * MIB }], { preallocate: true, dump: false })
    await guest.hypervisor.ready()
    const { bytes, flags } = mappingAt(guest.hypervisor.ram[0]?.hostOffset ?? 0)
    expect(bytes('Rss')).toBeGreaterThanOrEqual(64 * MIB)
    expect(flags).toContain('dd')
    expect(await guest.run(storeAndReport(0x20_1000, 5, 0x20_1000))).toBe(5)
  })

  it('that cannot be had leaves nothing open', () => {
    const open = () => fs.readdirSync('/proc/self/fd').length
    const before = open()
    expect(() => new Guest([{ guestAddress: 0, size: 4 * MIB }], { path: path.join(folder, 'no/ram') })).toThrow(/its folder does not exist/)
    expect(open()).toBe(before)
  })
})
