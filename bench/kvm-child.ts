/**
 * A process of the kvm bench: runs the guests of kvm-guest.ts on the KVM accelerator as the machine does, with the bench's devices around them. Prints one
 * line of JSON. Bundled by kvm.ts, with the built vCPU worker beside it. Arguments: passes of a loop, ticks of a short and of a long pause between two.
 */
import { spawnSync } from 'node:child_process'
import os from 'node:os'
import { AddressSpace } from '../address-space/address-space.ts'
import { Region } from '../address-space/region.ts'
import type { EntryState } from '../hypervisor/hypervisor.ts'
import { KvmHypervisor } from '../hypervisor/kvm/kvm-hypervisor.ts'
import { ANSWERED, BUSY, busyGuest, CALLED_PORT, DOORBELL, END, ENTRY, GUEST_RAM, loopGuest, MAPPED, MARKER_PORT, PORT, samplesOf, START } from './kvm-guest.ts'
import type { Access, Loop } from './kvm-guest.ts'
import { median } from './statistics.ts'

export interface LoopResult extends Loop { readonly microseconds: number }
export interface ChildResult {
  readonly loops: readonly LoopResult[]
  /** by number of vCPUs */
  readonly pauses: readonly { readonly cpus: number; readonly ms: readonly number[] }[]
}

const SEGMENT = { base: 0, limit: 0xffff_ffff }
const TABLE = { base: 0, limit: 0 }
/** 32-bit mode, flat, without paging. */
const FLAT: EntryState = {
  rip: ENTRY, rsp: ENTRY, rbp: 0, rbx: 0, rsi: 0, rflags: 2, cr0: 0x11, cr3: 0, cr4: 0, efer: 0, gdt: TABLE, idt: TABLE, fcw: 0x37f, mxcsr: 0x1f80,
  cs: { ...SEGMENT, selector: 8, attributes: 0xc09b }, data: { ...SEGMENT, selector: 8, attributes: 0xc093 },
  tr: { selector: 0, base: 0, limit: 0xffff, attributes: 0x8b }, ldtr: { selector: 0, base: 0, limit: 0xffff, attributes: 0x82 },
}
const NOTHING = { read: () => 0x60, write: () => undefined }

class Machine {
  readonly hypervisor: KvmHypervisor
  readonly ram: Uint8Array
  #onMarker: (value: number) => void = () => undefined

  constructor(cpus: number) {
    this.hypervisor = new KvmHypervisor({
      topology: { cpus, sockets: cpus, dies: 1, cores: 1, threads: 1 }, ram: [{ guestAddress: 0, size: GUEST_RAM }], clock: { kind: 'host' },
      onEvent: (event) => fail(event.kind === 'triple-fault' ? 'the guest shut down' : event.message),
    })
    const [block] = this.hypervisor.ram
    if (block === undefined) throw new Error('no RAM')
    this.ram = block.bytes
    const memory = Region.container('memory', 2 ** 32), ports = Region.container('ports', 2 ** 16)
    memory.add(Region.ram('ram', block.bytes, { hostOffset: block.hostOffset }), 0)
    const near = Region.io('ports answered near', 4, NOTHING), mapped = Region.io('registers answered near', 8, NOTHING)
    ports.add(near, PORT)
    ports.add(Region.io('ports answered by main', 4, NOTHING), CALLED_PORT)
    ports.add(Region.io('marker', 1, { read: () => 0, write: (_offset, _size, value) => this.#onMarker(value) }), MARKER_PORT)
    memory.add(mapped, MAPPED)
    const answered = new Int32Array(this.ram.buffer, this.ram.byteOffset + ANSWERED, 1)
    const bell = Region.io('doorbell', 4, NOTHING)
    memory.add(bell, DOORBELL)
    const bus = this.hypervisor.attach(new AddressSpace('memory', memory), new AddressSpace('ports', ports))
    bus.shadowPage(near, { shadow: [{ offset: 0, size: 1 }], posted: [{ offset: 1, size: 1, keepsShadow: true }] }).publish(0, 0x60)
    bus.shadowPage(mapped, { shadow: [{ offset: 0, size: 4 }], posted: [{ offset: 4, size: 4, keepsShadow: true }] }).publish(0, 0x60)
    bell.addNotifier({ offset: 0, size: 4, notify: () => void Atomics.add(answered, 0, 1) })
  }

  async prepare(code: Uint8Array): Promise<void> {
    await this.hypervisor.ready()
    await this.hypervisor.reset()
    this.ram.set(code, ENTRY)
    this.hypervisor.enter(0, FLAT)
  }

  /**
   * `apart`: main and the vCPU's thread each on a processor of its own, which is what a loop that keeps both busy is about; on a busy host the scheduler
   * may put both on one. False: where the scheduler likes, as for a main that sleeps.
   */
  place(apart: boolean): void {
    const all = `0-${os.cpus().length - 1}`
    if (os.cpus().length < 2) return
    for (const [thread, processor] of [[process.pid, '0'], [this.hypervisor.threadId(0), '1']] as const) {
      spawnSync('taskset', ['-pc', apart ? processor : all, String(thread)])
    }
  }

  async run(loop: Loop): Promise<LoopResult> {
    await this.prepare(loopGuest(loop))
    this.place(loop.pause !== asleep)
    let startedAt = 0n
    const elapsed = await new Promise<bigint>((resolve) => {
      this.#onMarker = (value) => {
        const now = process.hrtime.bigint()
        if (value === START) startedAt = now
        else if (value === END) resolve(now - startedAt)
      }
      void this.hypervisor.resume()
    })
    await this.hypervisor.pause()
    return { ...loop, microseconds: median([...samplesOf(this.ram, loop.count, Number(elapsed))]) ?? 0 }
  }
}

function fail(message: string): never {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const PAUSES = 7, BETWEEN_PAUSES_MS = 15, START_LIMIT_MS = 10_000

/** Times of pauses while all vCPUs compute. */
async function pauses(cpus: number): Promise<number[]> {
  const machine = new Machine(cpus)
  const { entry, others, othersAt } = busyGuest()
  const times: number[] = []
  await machine.prepare(entry)
  machine.ram.set(others, othersAt)
  const words = new DataView(machine.ram.buffer, machine.ram.byteOffset + BUSY)
  await machine.hypervisor.resume()
  for (const end = performance.now() + START_LIMIT_MS; words.getUint32(0, true) === 0 || (cpus > 1 && words.getUint16(4, true) === 0);) {
    if (performance.now() > end) fail(`the ${cpus} vCPUs of the busy guest do not start`)
    await sleep(1)
  }
  for (let round = 0; round < PAUSES; round++) {
    await sleep(BETWEEN_PAUSES_MS)
    const start = performance.now()
    await machine.hypervisor.pause()
    times.push(performance.now() - start)
    await machine.hypervisor.resume()
  }
  await machine.hypervisor.close()
  return times
}

const [count = 0, soon = 0, asleep = 0] = process.argv.slice(2).map(Number)
/** Fewer passes where there are pauses. */
const PAUSED = 1 / 20
const LOOPS: readonly Loop[] = [
  ...(['port read', 'port write', 'mmio read', 'mmio write', 'called port read'] satisfies Access[]).map((access) => ({ access, count, pause: 0 })),
  ...[soon, asleep].flatMap((pause) => (['port read', 'port write', 'called port read', 'doorbell'] satisfies Access[]).map((access) => ({ access, count: Math.ceil(count * PAUSED), pause }))),
]
const loops: LoopResult[] = []
const machine = new Machine(1)
for (const loop of LOOPS) loops.push(await machine.run(loop))
await machine.hypervisor.close()
const result: ChildResult = { loops, pauses: [{ cpus: 1, ms: await pauses(1) }, { cpus: 4, ms: await pauses(4) }] }
process.stdout.write(`${JSON.stringify(result)}\n`)
process.exit(0)
