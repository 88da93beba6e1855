/**
 * The thread of one vCPU: KVM_RUN in a loop, port and memory accesses over the bus. Steered as worker-control.ts says.
 * Linux Documentation/virt/kvm/api.rst, sections 4.10 KVM_RUN and 5 "The kvm_run structure".
 */
import os from 'node:os'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { VcpuBus } from '../../address-space/vcpu-bus.ts'
import { signalEventFd } from '../../host/eventfd.ts'
import { checked, errnoName, ffi, viewOf } from '../../host/ffi.ts'
import { blockKickSignal, takeKick } from '../../host/signals.ts'
import { currentThreadId } from '../../host/thread-id.ts'
import {
  EXIT_INTR, EXIT_IO, EXIT_IRQ_WINDOW_OPEN, EXIT_MMIO, EXIT_SHUTDOWN, EXIT_SYSTEM_EVENT, KVM_RUN, RUN_EXIT_REASON, RUN_IMMEDIATE_EXIT, RUN_SYSTEM_EVENT, SYSTEM_EVENT_RESET, SYSTEM_EVENT_SHUTDOWN,
} from './abi.ts'
import { describeExit } from './describe-exit.ts'
import { AccessHandler } from './access-handler.ts'
import { CONTROL_WORDS, ENDED, REQUEST, REQUEST_PARK, REQUEST_RUN, SETUP, STATE, STATE_GONE, STATE_PARKED, STATE_RUNNING, THREAD } from './worker-control.ts'
import type { WorkerMessage, WorkerSetup, WorkerStart } from './worker-control.ts'

const PROT_READ_WRITE = 3, MAP_SHARED = 1
const { EINTR, EAGAIN } = os.constants.errno

const { index, control: allControl } = workerData as WorkerStart
const control = new Int32Array(allControl, index * CONTROL_WORDS * 4, CONTROL_WORDS)

blockKickSignal()
Atomics.store(control, THREAD, currentThreadId())
Atomics.notify(control, THREAD)
Atomics.wait(control, SETUP, 0)
const setup = (receiveMessageOnPort(parentPort as MessagePort)?.message as WorkerSetup | undefined) ?? leave()

const { libc, koffi } = ffi()
const { ioctl } = libc
const runAddress = checked(libc.mmap(0, setup.runBytes, PROT_READ_WRITE, MAP_SHARED, setup.vcpu, 0), 'mapping a vCPU')
const run = new DataView(viewOf(runAddress, setup.runBytes))
const bus = new VcpuBus({ buffer: setup.bus, slot: index, port: { postMessage: () => signalEventFd(setup.bell) } })
const accesses = new AccessHandler(run, bus)

/** Runs the guest until main asks for a pause (undefined), or something ends the vCPU. */
function runGuest(): WorkerMessage | undefined {
  const cpu = index
  for (;;) {
    if (ioctl(setup.vcpu, KVM_RUN, 0) === -1) {
      const errno = koffi.errno()
      if (errno !== EINTR && errno !== EAGAIN) return { kind: 'internal-error', cpu, detail: `KVM_RUN failed: ${errnoName(errno)}` }
      if (Atomics.load(control, REQUEST) !== REQUEST_RUN || bus.aborted) return undefined
      settle()
      continue
    }
    const reason = run.getUint32(RUN_EXIT_REASON, true)
    switch (reason) {
      case EXIT_IO: accesses.port(); break
      case EXIT_MMIO: accesses.memory(); break
      case EXIT_INTR:
      case EXIT_IRQ_WINDOW_OPEN: break
      case EXIT_SHUTDOWN: return { kind: 'triple-fault', cpu }
      case EXIT_SYSTEM_EVENT: {
        const type = run.getUint32(RUN_SYSTEM_EVENT, true)
        if (type === SYSTEM_EVENT_SHUTDOWN || type === SYSTEM_EVENT_RESET) return { kind: 'triple-fault', cpu }
        return { kind: 'internal-error', cpu, detail: describeExit(run) }
      }
      default: return { kind: 'internal-error', cpu, detail: describeExit(run) }
    }
  }
}

/** The last that this thread does. */
function leave(): never {
  Atomics.store(control, STATE, STATE_GONE)
  Atomics.notify(control, STATE)
  process.exit()
}

/** Nothing of an earlier kick is left: what comes from now on ends the next KVM_RUN. Ask for REQUEST after this. */
function settle(): void {
  run.setUint8(RUN_IMMEDIATE_EXIT, 0)
  takeKick()
}

function waitWhileParked(): number {
  for (;;) {
    const request = Atomics.load(control, REQUEST)
    if (request !== REQUEST_PARK || bus.aborted) return request
    Atomics.store(control, STATE, STATE_PARKED)
    Atomics.notify(control, STATE)
    Atomics.wait(control, REQUEST, REQUEST_PARK)
  }
}

function guarded(): WorkerMessage | undefined {
  try {
    return runGuest()
  } catch (error) {
    return { kind: 'internal-error', cpu: index, detail: error instanceof Error ? error.stack ?? error.message : String(error) }
  }
}

while (waitWhileParked() === REQUEST_RUN && !bus.aborted) {
  Atomics.store(control, STATE, STATE_RUNNING)
  settle()
  if (Atomics.load(control, REQUEST) !== REQUEST_RUN) continue
  const message = guarded()
  if (message === undefined) continue
  // What ended this vCPU ends the run of all: main asks for the pause, this thread is in it already, and stays so if main resumes before it has heard.
  Atomics.store(control, ENDED, 1)
  Atomics.compareExchange(control, REQUEST, REQUEST_RUN, REQUEST_PARK)
  parentPort?.postMessage(message)
}
libc.munmap(runAddress, setup.runBytes)
leave()
