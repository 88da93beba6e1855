/** A KVM machine without a kernel: a small program in RAM, ports on which it reports, and whatever regions a test puts beside them. */
import { setTimeout } from 'node:timers/promises'
import { AddressSpace } from '../../address-space/address-space.ts'
import type { BusServer } from '../../address-space/bus.ts'
import { Region } from '../../address-space/region.ts'
import type { CpuTopology, EntryState, HypervisorEvent, SegmentRegister } from '../hypervisor.ts'
import { KvmHypervisor } from './kvm-hypervisor.ts'
import { Program } from './program.fixture.ts'
import type { Bits } from './program.fixture.ts'

/** A write to one of these ports is a report of the guest: nothing else happens. */
export const REPORT = 0x700
const REPORT_SIZE = 16
const UNEXPECTED = 15
const MIB = 2 ** 20
export const RAM_SIZE = 2 * MIB
export const SPARE_SIZE = 4 * MIB
/** The accelerator's memory behind ROM, aliases and the like: RAM of a place where the test puts nothing. */
const SPARE_ADDRESS = 0x10_0000_0000
const PAGE_TABLES = 0x1f_0000
/** Ends a wait in which nothing happens any more, on a box many times slower than ours. */
const PATIENCE_MS = process.env['MESOVIRT_TEST_LAB'] === '1' ? 400_000 : 40_000

export interface Report { readonly port: number; readonly size: number; readonly value: number }

export interface BareGuestOptions {
  readonly cpus?: number
  readonly topology?: CpuTopology
  /** What is in the guest besides RAM: called before the program runs. */
  readonly build?: (guest: BareGuest) => void
}

const OTHERS_PAGE = 9
const OTHERS_GDT = 0x9f00
const APIC_COMMAND = 0xfee0_0300
const ALL_OTHERS = 0xc_0000, INIT = 0x4500, START_UP = 0x4600
/** Local APIC: the id of the vCPU that reads it, in bits 24 to 31. */
export const APIC_ID_REGISTER = 0xfee0_0020

/** For the program of vCPU 0: starts all others where loadForOthers says. Intel SDM volume 3, 9.4.4 "MP Initialization Example". */
export function startOthers(program: Program): Program {
  return program.write(APIC_COMMAND, 4, ALL_OTHERS | INIT).write(APIC_COMMAND, 4, ALL_OTHERS | START_UP | OTHERS_PAGE)
}

const guests = new Set<BareGuest>()

export async function closeGuests(): Promise<void> {
  for (const guest of guests) await guest.close()
}

/** Stops this thread. */
export function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

export class BareGuest {
  readonly hypervisor: KvmHypervisor
  readonly memory = new AddressSpace('memory', Region.container('system', 2 ** 46))
  readonly ports = new AddressSpace('I/O', Region.container('io', 0x1_0000))
  readonly bus: BusServer
  readonly ram: Region
  /** Bytes that no region shows yet. */
  readonly spare: Uint8Array
  readonly spareHostOffset: number
  readonly reports: Report[] = []
  readonly events: HypervisorEvent[] = []
  readonly faults: unknown[] = []
  /** Called with each report, inside the access. */
  onReport: (report: Report) => void = () => undefined

  constructor({ cpus = 1, topology, build }: BareGuestOptions = {}) {
    this.hypervisor = new KvmHypervisor({
      topology: topology ?? { cpus, sockets: cpus, dies: 1, cores: 1, threads: 1 },
      ram: [{ guestAddress: 0, size: RAM_SIZE }, { guestAddress: SPARE_ADDRESS, size: SPARE_SIZE }],
      clock: { kind: 'host' },
      onEvent: (event) => this.events.push(event),
      onDeviceFault: (error) => this.faults.push(error),
    })
    guests.add(this)
    const [low, spare] = this.hypervisor.ram
    if (low === undefined || spare === undefined) throw new Error('the accelerator gave less RAM than it was asked for')
    this.spare = spare.bytes
    this.spareHostOffset = spare.hostOffset
    this.ram = Region.ram('ram', low.bytes, { hostOffset: low.hostOffset })
    this.memory.root.add(this.ram, 0)
    this.bus = this.hypervisor.attach(this.memory, this.ports)
    this.addPorts('report', REPORT, REPORT_SIZE, {
      write: (offset, size, value) => {
        if (offset === UNEXPECTED) this.events.push({ kind: 'internal-error', message: 'an interrupt or exception without a vector of the test' })
        const report = { port: REPORT + offset, size, value }
        this.reports.push(report)
        this.onReport(report)
      },
    })
    build?.(this)
  }

  /** A region of ports whose accesses are not split. */
  addPorts(name: string, port: number, size: number, ops: Partial<Region['ops']>): Region {
    const region = Region.io(name, size, { read: () => 0xffff_ffff, write: () => undefined, ...ops }, { access: { unaligned: true } })
    this.ports.root.add(region, port)
    return region
  }

  /** A region of registers in memory whose accesses are not split. */
  addRegisters(name: string, address: number, size: number, ops: Partial<Region['ops']>): Region {
    const region = Region.io(name, size, { read: () => 0xffff_ffff, write: () => undefined, ...ops }, { access: { unaligned: true } })
    this.memory.root.add(region, address)
    return region
  }

  /** Part of the spare bytes, for a region that the accelerator can see. */
  spareBytes(offset: number, size: number): { readonly bytes: Uint8Array; readonly options: { readonly hostOffset: number } } {
    return { bytes: this.spare.subarray(offset, offset + size), options: { hostOffset: this.spareHostOffset + offset } }
  }

  load(program: Program): void {
    this.ram.bytes.set(program.bytes, program.origin)
  }

  /** Real-mode vector. */
  setVector(number: number, address: number): void {
    this.ram.view.setUint32(number * 4, address, true)
  }

  /**
   * What the further vCPUs run, in 32-bit code without paging, once vCPU 0 has started them (`startOthers`): the way from real mode to there.
   * They all begin at once; APIC_ID_REGISTER tells them apart.
   */
  loadForOthers(program: Program): void {
    this.load(program)
    const flat = (type: number) => BigInt(type) << 40n | 0x00cf_0000_0000_ffffn
    const { view } = this.ram
    view.setUint16(OTHERS_GDT, 23, true)
    view.setUint32(OTHERS_GDT + 2, OTHERS_GDT + 8, true)
    ;[0n, flat(CODE), flat(DATA)].forEach((descriptor, index) => view.setBigUint64(OTHERS_GDT + 8 + 8 * index, descriptor, true))
    const start = OTHERS_PAGE * 0x1000
    const code = new Program(16, start).disableInterrupts()
      .raw(0x66, 0x0f, 0x01, 0x16, OTHERS_GDT & 0xff, OTHERS_GDT >> 8) // lgdt [OTHERS_GDT]
      .raw(0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0) //             mov eax, cr0; or al, 1; mov cr0, eax
      .raw(0x66, 0xea, 0x20, OTHERS_PAGE << 4, 0, 0, 8, 0) //             jmp 8:start + 0x20
    this.load(code)
    const flatCode = new Program(32, start + 0x20).mov('eax', 16).raw(0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0) // ds, es, ss
      .mov('eax', program.origin).raw(0xff, 0xe0) //                      jmp eax
    this.load(flatCode)
  }

  /** Power-up, then vCPU 0 at the start of the program; runs it unless told otherwise. */
  async start(program: Program, { paused = false } = {}): Promise<void> {
    await this.hypervisor.ready()
    await this.restart(program, { paused })
  }

  /** Power-up once more, with the memory as it is but for the program. Only while paused. */
  async restart(program: Program, { paused = false } = {}): Promise<void> {
    this.load(program)
    await this.hypervisor.reset()
    if (program.bits === 16) this.#catchUnexpected()
    if (program.bits === 64) this.#writePageTables()
    this.hypervisor.enter(0, entryState(program.bits, program.origin))
    if (!paused) await this.hypervisor.resume()
  }

  /** Values that the guest has reported, on REPORT or the port that is named. */
  values(port = REPORT): number[] {
    return this.reports.filter((report) => report.port === port).map(({ value }) => value)
  }

  /** Waits until `condition` holds. What is waited for is named where it does not come to pass. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const end = performance.now() + PATIENCE_MS
    while (!condition()) {
      if (performance.now() > end) throw new Error(`${what}: has not happened. ${this.#situation()}`)
      await setTimeout(1)
    }
  }

  /** Main sleeps here, serving nothing, until the guest has stored something other than 0 at `address`. */
  blockUntilStored(address: number): void {
    const word = new Int32Array(this.ram.bytes.buffer, this.ram.bytes.byteOffset + address, 1)
    for (const end = performance.now() + PATIENCE_MS; Atomics.load(word, 0) === 0; sleep(1)) {
      if (performance.now() > end) throw new Error(`nothing was stored at 0x${address.toString(16)}. ${this.#situation()}`)
    }
  }

  async untilReports(count: number, port = REPORT): Promise<void> {
    await this.until(`${count} reports`, () => this.values(port).length >= count || this.events.length > 0)
    if (this.values(port).length < count) throw new Error(`the guest has ended before ${count} reports. ${this.#situation()}`)
  }

  async close(): Promise<void> {
    guests.delete(this)
    await this.hypervisor.close()
  }

  #situation(): string {
    const events = this.events.map((event) => event.kind === 'internal-error' ? event.message : event.kind).join('; ')
    return `Reports ${JSON.stringify(this.reports.slice(-20))}, events ${events || 'none'}`
  }

  /** Real-mode vectors that the test has not set end the program, instead of running through memory from address 0 on. */
  #catchUnexpected(): void {
    const catcher = new Program(16, 0x600).out(REPORT + UNEXPECTED, 1, 0).stop()
    this.load(catcher)
    for (let vector = 0; vector < 256; vector++) if (this.ram.view.getUint32(vector * 4, true) === 0) this.setVector(vector, catcher.origin)
  }

  /** The first 4 GiB, each address to itself, in pages of 2 MiB. */
  #writePageTables(): void {
    const { view } = this.ram
    const PRESENT_WRITABLE = 3n, LARGE = 0x80n
    const directories = PAGE_TABLES + 0x2000
    view.setBigUint64(PAGE_TABLES, BigInt(PAGE_TABLES + 0x1000) | PRESENT_WRITABLE, true)
    for (let gib = 0; gib < 4; gib++) {
      const directory = directories + gib * 0x1000
      view.setBigUint64(PAGE_TABLES + 0x1000 + gib * 8, BigInt(directory) | PRESENT_WRITABLE, true)
      for (let entry = 0; entry < 512; entry++) {
        view.setBigUint64(directory + entry * 8, BigInt(gib * 2 ** 30 + entry * 2 * MIB) | PRESENT_WRITABLE | LARGE, true)
      }
    }
  }
}

const CODE = 0x9b, DATA = 0x93
const BIG_FLAT = 0xc000, LONG_FLAT = 0xa000 // granularity and default size 32, or 64-bit code
const CR0_PE = 1, CR0_ET = 0x10, CR0_PG = 0x8000_0000
const CR4_PAE = 0x20
const EFER_LME_LMA = 0x500

/**
 * Registers for the start of a program. 16 bits: real mode with data segments of 4 GiB, so that a program reaches every address; 32: flat, without
 * paging; 64: flat, each address mapped to itself.
 */
export function entryState(bits: Bits, rip: number): EntryState {
  const code: SegmentRegister = bits === 16 ? { selector: 0, base: 0, limit: 0xffff, attributes: CODE }
    : { selector: 8, base: 0, limit: 0xffff_ffff, attributes: CODE | (bits === 32 ? BIG_FLAT : LONG_FLAT) }
  const data: SegmentRegister = { selector: bits === 16 ? 0 : 16, base: 0, limit: 0xffff_ffff, attributes: bits === 16 ? DATA | 0x8000 : DATA | BIG_FLAT }
  return {
    rip, rsp: 0x8000, rbp: 0, rbx: 0, rsi: 0, rflags: 2,
    cr0: CR0_ET + (bits === 16 ? 0 : CR0_PE) + (bits === 64 ? CR0_PG : 0), cr3: bits === 64 ? PAGE_TABLES : 0, cr4: bits === 64 ? CR4_PAE : 0, efer: bits === 64 ? EFER_LME_LMA : 0,
    gdt: { base: 0, limit: 0xffff }, idt: { base: 0, limit: bits === 16 ? 0x3ff : 0xffff }, cs: code, data,
    tr: { selector: 0, base: 0, limit: 0xffff, attributes: 0x8b }, ldtr: { selector: 0, base: 0, limit: 0xffff, attributes: 0x82 }, fcw: 0x37f, mxcsr: 0x1f80,
  }
}
