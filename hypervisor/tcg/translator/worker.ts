/** The translator's thread: takes hot blocks from the ring in shared memory, makes modules of some regions each, compiles them and hands them to the vCPU thread. */
import { workerData } from 'node:worker_threads'
import { setFlagsFromString } from 'node:v8'
import { wasm } from '../../../host/wasm.ts'
import {
  BLOCK_BYTES, CPU_AREA, CPU_JIT_READY, CPU_STRIDE, G_FLUSH, G_JIT_EPOCH, G_JIT_HEAD, G_JIT_QUEUE, G_JIT_READY, G_JIT_TAIL, JIT_QUEUE, JIT_REGIONS,
} from '../core/layout.ts'
import type { Translated, TranslatorSetup } from './client.ts'
import { translate } from './translator.ts'
import { UopReader } from './uops.ts'

/** Regions of a module: each module costs some 0.3 ms of its own. */
const BATCH = 32

const { memory, port, others, limits } = workerData as TranslatorSetup
const words = new Int32Array(memory.buffer)
const reader = new UopReader(new DataView(memory.buffer))

// For the modules made here: compile them in this thread instead of at the first call, and give only the hottest regions to the optimising compiler, whose
// time would be missed elsewhere.
for (const flag of ['--no-wasm-lazy-compilation', '--wasm-tiering-budget=1000000000']) setFlagsFromString(flag)

let slotsEpoch = 0
let nextSlot = 0

for (;;) {
  const tail = Atomics.load(words, G_JIT_TAIL >> 2)
  const head = Atomics.load(words, G_JIT_HEAD >> 2)
  if (head === tail) {
    Atomics.wait(words, G_JIT_HEAD >> 2, head)
    continue
  }
  const started = performance.now()
  const epoch = Atomics.load(words, G_JIT_EPOCH >> 2)
  const count = Math.min(head - tail, BATCH)
  const entries = Array.from({ length: count }, (_, index) => ((words[(G_JIT_QUEUE >> 2) + (tail + index & JIT_QUEUE - 1)] as number) >>> 0) + BLOCK_BYTES)
  Atomics.store(words, G_JIT_TAIL >> 2, tail + count)
  const translation = attempt(entries)
  if (translation === undefined) continue
  const module = new wasm.Module(translation.bytes)
  const firstSlot = others === undefined ? undefined : takeSlots(epoch, translation.entries.length)
  if (firstSlot === -1) continue
  const made: Translated = {
    module, entries: translation.entries, epoch, firstSlot, uops: translation.uops, bytes: translation.bytes.length, microseconds: (performance.now() - started) * 1000,
  }
  port.postMessage(made)
  if (others === undefined) Atomics.store(words, G_JIT_READY >> 2, 1)
  else {
    for (const other of others) other.postMessage(made)
    for (let index = 0; index <= others.length; index++) Atomics.store(words, CPU_AREA + index * CPU_STRIDE + CPU_JIT_READY >> 2, 1)
  }
}

/** Slots are used once between two full flushes (receiver.ts). @returns the first of `count`, -1 when there are none left: then a flush is under way */
function takeSlots(epoch: number, count: number): number {
  if (epoch !== slotsEpoch) {
    slotsEpoch = epoch
    nextSlot = 0
  }
  if (nextSlot + count > JIT_REGIONS) {
    Atomics.store(words, G_FLUSH >> 2, 1)
    return -1
  }
  const first = nextSlot
  nextSlot += count
  return first
}

/** Blocks may be dropped while they are read; then what was made of them is never put in place, and what fails to be made at all is no loss. */
function attempt(entries: readonly number[]): ReturnType<typeof translate> {
  try {
    return translate(reader, entries, limits)
  } catch {
    return undefined
  }
}
