/**
 * The thread of one vCPU of the software CPU, where each has its own: an instance of core.wasm on the shared memory, its bus, and the sleep of a halted
 * vCPU. Steered as worker-control.ts says; what the threads share and how is in core/sync.ts. vcpu-worker.ts is the thread that runs all vCPUs.
 */
import { readFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { VcpuBus } from '../../address-space/vcpu-bus.ts'
import { currentThreadId } from '../../host/thread-id.ts'
import { wasm } from '../../host/wasm.ts'
import {
  CPU_JIT_READY, CPU_WAKE, EXIT_DATA, EXIT_HALT, EXIT_KICK, EXIT_SHUTDOWN, EXIT_SLICE, EXIT_TRANSLATED, G_CLOCK_ORIGIN, G_IRQ_DIRTY, G_KICK,
} from './core/layout.ts'
import { cpuAt, obey, resetMachine } from './obey.ts'
import { RegionReceiver } from './translator/receiver.ts'
import { CONTROL_THREAD, CONTROL_WORDS } from './worker-control.ts'
import type { Core, OwnWorkerSetup, WorkerMessage } from './worker-control.ts'
import { coreImports } from './worker-host.ts'

const setup = workerData as OwnWorkerSetup
const memory = new DataView(setup.memory.buffer)
const words = new Int32Array(setup.memory.buffer)
const control = new Int32Array(setup.control, setup.index * CONTROL_WORDS * 4, CONTROL_WORDS)
const bus = new VcpuBus(setup.bus)
const cpu = cpuAt(setup.index)

/** Slices per call: V8 replaces hot code only between calls. */
const SLICES = 256
const NEVER = 0xffff_ffff_ffff_ffffn
/** Atomics.wait comes back late by about this much; what is left is spent polling. */
const WAKE_EARLY_NS = 60_000
/** A lost wake-up, should there ever be one, costs no more than this. */
const LONGEST_SLEEP_NS = 1e9

// ---- clock: ns that the machine has been running. All threads read the host's monotonic clock itself, so none is behind another ----
let originSeconds = 0
let originNs = 0

function hostNs(): number {
  const [seconds, ns] = process.hrtime()
  return (seconds - originSeconds) * 1e9 + (ns - originNs)
}

function readClockOrigin(): void {
  originSeconds = memory.getFloat64(G_CLOCK_ORIGIN, true)
  originNs = memory.getFloat64(G_CLOCK_ORIGIN + 8, true)
}

// ---- running ----
function run(core: Core, regions: RegionReceiver): WorkerMessage {
  while (true) {
    const reason = core.runOwn(SLICES)
    if (bus.aborted || reason === EXIT_KICK) return { kind: 'paused' }
    if (reason === EXIT_SHUTDOWN) return { kind: 'triple-fault', cpu: setup.index }
    regions.serve()
    if (reason === EXIT_HALT) idle(core)
    else if (reason !== EXIT_SLICE && reason !== EXIT_TRANSLATED) return { kind: 'internal-error', message: `the software CPU stopped with unknown reason ${reason}` }
  }
}

/** The vCPU sleeps: wait for a timer, another vCPU or main. */
function idle(core: Core): void {
  const wake = cpu + CPU_WAKE >> 2
  Atomics.store(words, wake, 0)
  // Whoever wants something stores it first and wakes second, so either is seen.
  if (Atomics.load(words, G_KICK >> 2) !== 0 || bus.aborted || core.mustSleep(cpu) === 0) return
  if (setup.index === 0 && Atomics.load(words, G_IRQ_DIRTY >> 2) !== 0) return
  const deadline = core.nextDeadline()
  const left = deadline === NEVER ? LONGEST_SLEEP_NS : Number(deadline - core.machineTime())
  if (left > WAKE_EARLY_NS) Atomics.wait(words, wake, 0, Math.min(left - WAKE_EARLY_NS, LONGEST_SLEEP_NS) / 1e6)
}

function guarded(core: Core, regions: RegionReceiver): WorkerMessage {
  try {
    return run(core, regions)
  } catch (error) {
    return { kind: 'internal-error', message: error instanceof Error ? error.stack ?? error.message : String(error) }
  }
}

function send(message: WorkerMessage): void {
  parentPort?.postMessage(message)
}

function park(message: WorkerMessage): void {
  // What `info registers` shows and the fields do not hold: the flags.
  memory.setBigUint64(cpu + EXIT_DATA, core.getRflags(cpu), true)
  send(message)
}

Atomics.store(control, CONTROL_THREAD, currentThreadId())
Atomics.notify(control, CONTROL_THREAD)
// V8 compiles what is the same in several threads once.
const instance = new wasm.Instance(new wasm.Module(readFileSync(setup.core)), { env: { memory: setup.memory, hostNs, ...coreImports(bus, false) } })
const core = instance.exports as unknown as Core
core.attachCpu(cpu)
const regions = new RegionReceiver(core, setup)
if (setup.index === 0) resetMachine(core, setup)
Atomics.store(words, cpu + CPU_JIT_READY >> 2, 0)
park({ kind: 'ready' })
while (obey(core, setup, control, bus, send)) {
  readClockOrigin()
  const message = guarded(core, regions)
  if (bus.aborted) break
  park(message)
}
parentPort?.close()
