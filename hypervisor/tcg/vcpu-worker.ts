/**
 * The thread that runs all vCPUs of the software CPU in turns: an instance of core.wasm on the shared memory, its bus, its clock, and the sleep of an
 * idle machine. Steered as worker-control.ts says. Where each vCPU has a thread of its own, that is own-vcpu-worker.ts.
 */
import { readFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { VcpuBus } from '../../address-space/vcpu-bus.ts'
import { currentThreadId } from '../../host/thread-id.ts'
import {
  EXIT_DATA, EXIT_HALT, EXIT_KICK, EXIT_SHUTDOWN, EXIT_SLICE, EXIT_TRANSLATED, G_ICOUNT_SKIP, G_IRQ_DIRTY, G_KICK, G_WAKE, G_WALL_NS, TRIPLE_FAULT,
} from './core/layout.ts'
import { cpuAt, obey, resetMachine } from './obey.ts'
import { CONTROL_THREAD } from './worker-control.ts'
import { coreImports } from './worker-host.ts'
import { wasm } from '../../host/wasm.ts'
import { TranslatorClient } from './translator/client.ts'
import type { RegionTable } from './translator/region-table.ts'
import type { Core, WorkerMessage, WorkerSetup } from './worker-control.ts'

const setup = workerData as WorkerSetup
const memory = new DataView(setup.memory.buffer)
const words = new Int32Array(setup.memory.buffer)
const control = new Int32Array(setup.control)
const bus = new VcpuBus(setup.bus)
const counting = setup.clock.kind === 'instruction-count'
const sleeps = setup.clock.kind === 'host' || setup.clock.sleep

/** Slices of every vCPU per call: V8 replaces hot code only between calls. */
const ROUNDS = 64
const NEVER = 0xffff_ffff_ffff_ffffn
/** Atomics.wait comes back late by about this much; what is left is spent polling. */
const WAKE_EARLY_NS = 60_000
/** A lost wake-up, should there ever be one, costs no more than this. */
const LONGEST_SLEEP_NS = 1e9
/** Wall clock of machines that count instructions, so that runs repeat: 2025-01-01 00:00 UTC. */
const COUNTED_WALL_NS = 1_735_689_600_000_000_000n

// ---- clock: ns that the machine has been running ----
let origin = performance.now()
let stoppedAt: number | undefined = origin

function hostNs(): number {
  return ((stoppedAt ?? performance.now()) - origin) * 1e6
}

function send(message: WorkerMessage): void {
  parentPort?.postMessage(message)
}

// ---- running ----
function run(core: Core): WorkerMessage {
  while (true) {
    const reason = core.runMachine(ROUNDS)
    if (bus.aborted || reason === EXIT_KICK) return { kind: 'paused' }
    if (reason === EXIT_SHUTDOWN) return { kind: 'triple-fault', cpu: tripleFaulted() }
    translator?.serve()
    if (reason === EXIT_HALT) idle(core)
    else if (reason !== EXIT_SLICE && reason !== EXIT_TRANSLATED) return { kind: 'internal-error', message: `the software CPU stopped with unknown reason ${reason}` }
  }
}

/** Every vCPU sleeps: wait for a timer or for main. */
function idle(core: Core): void {
  Atomics.store(words, G_WAKE >> 2, 0)
  // Main sets its flag first and G_WAKE after, so either is seen.
  if (Atomics.load(words, G_IRQ_DIRTY >> 2) !== 0 || Atomics.load(words, G_KICK >> 2) !== 0 || bus.aborted) return
  const deadline = core.nextDeadline()
  if (deadline === NEVER) {
    waitFor(LONGEST_SLEEP_NS)
    return
  }
  if (!sleeps) {
    core.skipIdle()
    return
  }
  const left = Number(deadline - core.machineTime())
  if (!counting) {
    if (left > WAKE_EARLY_NS) waitFor(Math.min(left - WAKE_EARLY_NS, LONGEST_SLEEP_NS))
    return
  }
  const start = performance.now()
  if (left > 0 && waitFor(Math.min(left, LONGEST_SLEEP_NS))) {
    // Somebody woke us before the timer: as much machine time has passed as we have slept.
    const slept = BigInt(Math.max(0, Math.min(left, Math.round((performance.now() - start) * 1e6))))
    skip(slept)
    return
  }
  if (left <= LONGEST_SLEEP_NS) core.skipIdle()
  else skip(BigInt(LONGEST_SLEEP_NS))
}

function skip(ns: bigint): void {
  memory.setBigUint64(G_ICOUNT_SKIP, memory.getBigUint64(G_ICOUNT_SKIP, true) + ns, true)
}

/** @returns whether it was woken before the time was over */
function waitFor(ns: number): boolean {
  return Atomics.wait(words, G_WAKE >> 2, 0, ns / 1e6) !== 'timed-out'
}

function tripleFaulted(): number {
  for (let index = 0; index < setup.cpus; index++) {
    if (memory.getUint32(cpuAt(index) + TRIPLE_FAULT, true) !== 0) return index
  }
  return 0
}

function guarded(core: Core): WorkerMessage {
  try {
    return run(core)
  } catch (error) {
    return { kind: 'internal-error', message: error instanceof Error ? error.stack ?? error.message : String(error) }
  }
}

function resumeClock(): void {
  origin += performance.now() - (stoppedAt ?? performance.now())
  stoppedAt = undefined
  memory.setBigUint64(G_WALL_NS, counting ? COUNTED_WALL_NS : BigInt(Math.round(Date.now() * 1e6 - hostNs())), true)
}

function park(message: WorkerMessage): void {
  // What `info registers` shows and the fields do not hold: the flags.
  for (let index = 0; index < setup.cpus; index++) memory.setBigUint64(cpuAt(index) + EXIT_DATA, core.getRflags(cpuAt(index)), true)
  send(message)
}

Atomics.store(control, CONTROL_THREAD, currentThreadId())
Atomics.notify(control, CONTROL_THREAD)
const module = new wasm.Module(readFileSync(setup.core))
const instance = new wasm.Instance(module, { env: { memory: setup.memory, hostNs, ...coreImports(bus, counting) } })
const core = instance.exports as unknown as Core
let translator: TranslatorClient | undefined
void live()

async function live(): Promise<void> {
  if (setup.translator !== 'off') translator = new TranslatorClient(core, setup.memory, setup.translator === 'force' ? await translationAtOnce() : undefined)
  resetMachine(core, setup)
  park({ kind: 'ready' })
  while (obey(core, setup, control, bus, send)) {
    resumeClock()
    const message = guarded(core)
    stoppedAt = performance.now()
    if (bus.aborted) break
    park(message)
  }
  parentPort?.close()
}

/** The translator itself is loaded here only for that. */
async function translationAtOnce(): Promise<(table: RegionTable) => void> {
  const { translateAtOnce } = await import('./translator/at-once.ts')
  return (table) => translateAtOnce(table, core, 1, { blocks: 8, uops: 100, heat: 0, farHeat: 0, farUops: 300 })
}
