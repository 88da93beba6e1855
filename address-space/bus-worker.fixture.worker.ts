import { parentPort, workerData } from 'node:worker_threads'
import type { BusConnection } from './bus-layout.ts'
import type { BusWorkerTask } from './bus-worker.fixture.ts'
import { VcpuBus } from './vcpu-bus.ts'

/** The vCPU side of bus.stress.test.ts and bus-latency.ts; what it does to which register is explained there. */
const { task, slot, seed, rounds, shared, connection } = workerData as BusWorkerTask & { connection: BusConnection }
const words = new Int32Array(shared)
const bus = new VcpuBus(connection)
const faults: string[] = []
let state = seed

function random(below: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
  return (state >>> 8) % below
}

function fault(text: string): void {
  if (faults.length < 10) faults.push(text)
}

function stress(): void {
  const own = 0x1000 + slot * 0x1000
  let posts = 0
  let done = 0
  for (let i = 1; i <= rounds; i++) {
    switch (random(8)) {
      case 0: case 1: case 2: {
        posts++
        bus.write(0, own, 4, i)
        if (bus.read(0, own + 4, 4) !== i) fault(`round ${i}: did not see its own posted write`)
        break
      }
      case 3:
        if (bus.read(0, own + 8, 4) !== posts) fault(`round ${i}: a call overtook a post`)
        break
      case 4: case 5: {
        // What every other worker has finished by now must be applied before this post.
        const other = Atomics.load(words, 1 - slot)
        words[16 + slot * 65_536 + done] = other
        bus.write(0, 0x8000, 4, (slot << 24) | done)
        Atomics.store(words, slot, ++done)
        break
      }
      case 6:
        posts++
        bus.write(0, own, 4, i)
        for (let burst = random(600); burst > 0; burst--) {
          posts++
          bus.write(0, own, 4, i)
        }
        if (bus.read(0, own + 4, 4) !== i) fault(`round ${i}: did not see the last of its burst`)
        break
      default: {
        bus.write64(0, own + 0x10, BigInt(i) << 20n)
        if (bus.read64(0, own + 0x10) !== BigInt(i) << 20n) fault(`round ${i}: 8-byte write lost`)
      }
    }
  }
  report({ slot, posts, done })
}

function interrupts(): void {
  let consumed = 0
  let spurious = 0
  while (consumed < rounds && !bus.aborted) {
    if (Atomics.exchange(words, 1, 0) === 0) continue
    const status = bus.read(0, 0x9000, 4)
    if (status === 0) {
      spurious++
      continue
    }
    bus.write(0, 0x9004, 4, status)
    consumed = Atomics.load(words, 0)
    Atomics.store(words, 2, consumed)
  }
  report({ consumed, spurious })
}

function hang(): void {
  const value = bus.read(0, 0x1008, 4)
  bus.write(0, 0x1000, 4, 7)
  report({ value, wide: String(bus.read64(0, 0x1010)), aborted: bus.aborted })
}

function latency(): void {
  const figures: Record<string, number> = {}
  const measure = (name: string, count: number, action: (i: number) => void): void => {
    for (let i = 0; i < count / 4; i++) action(i)
    const start = performance.now()
    for (let i = 0; i < count; i++) action(i)
    figures[name] = (performance.now() - start) * 1000 / count
  }
  const pause = (microseconds: number): void => {
    const end = performance.now() + microseconds / 1000
    while (performance.now() < end);
  }
  measure('shadow read', 2_000_000, () => bus.read(0, 0x1004, 4))
  measure('call, one after the other', 20_000, () => bus.read(0, 0x1008, 4))
  for (const gap of [200, 2000]) {
    measure(`pause of ${gap}`, 500, () => pause(gap))
    measure(`call after ${gap} us`, 500, () => {
      pause(gap)
      bus.read(0, 0x1008, 4)
    })
  }
  measure('posted write in bursts of 100', 100_000, (i) => {
    bus.write(0, 0x1000, 4, i)
    if (i % 100 === 99) bus.read(0, 0x1008, 4)
  })
  report(figures)
}

function report(result: object): void {
  parentPort?.postMessage({ ...result, faults, counters: bus.counters })
}

switch (task) {
  case 'stress': stress(); break
  case 'interrupts': interrupts(); break
  case 'hang': hang(); break
  default: latency()
}
