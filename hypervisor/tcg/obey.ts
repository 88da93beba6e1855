/** The paused side of a vCPU thread: it obeys main's commands (worker-control.ts) until one lets the vCPUs run. */
import type { VcpuBus } from '../../address-space/vcpu-bus.ts'
import { APIC_ID, CPU_AREA, CPU_STRIDE, LAPIC } from './core/layout.ts'
import { COMMAND_NONE, COMMAND_QUIT, COMMAND_REFRESH, COMMAND_RESET, COMMAND_RUN, CONTROL_COMMAND } from './worker-control.ts'
import type { Core, WorkerMessage, WorkerSetup } from './worker-control.ts'

const LAPIC_ID_REGISTER = 0x20
/** A lost notification, should there ever be one, costs no more than this. */
const WAIT_MS = 1000

export function cpuAt(index: number): number {
  return CPU_AREA + index * CPU_STRIDE
}

/** Power-up state of all vCPUs and of what they share. No vCPU runs. */
export function resetMachine(core: Core, { memory, cpus, apicIds }: WorkerSetup): void {
  const view = new DataView(memory.buffer)
  core.initialise()
  for (let index = 0; index < cpus; index++) {
    const cpu = cpuAt(index)
    core.resetCpu(cpu, index, 0)
    const apicId = apicIds[index] ?? index
    view.setUint32(cpu + APIC_ID, apicId, true)
    view.setUint32(cpu + LAPIC + LAPIC_ID_REGISTER, apicId << 24, true)
  }
}

/** @returns false at the end of the thread */
export function obey(core: Core, setup: WorkerSetup, control: Int32Array, bus: VcpuBus, send: (message: WorkerMessage) => void): boolean {
  while (true) {
    if (bus.aborted) return false
    Atomics.wait(control, CONTROL_COMMAND, COMMAND_NONE, WAIT_MS)
    switch (Atomics.exchange(control, CONTROL_COMMAND, COMMAND_NONE)) {
      case COMMAND_RUN: return true
      case COMMAND_QUIT: return false
      case COMMAND_RESET:
        resetMachine(core, setup)
        send({ kind: 'done' })
        break
      case COMMAND_REFRESH:
        core.flushAll()
        for (let index = 0; index < setup.cpus; index++) core.refreshCpu(cpuAt(index))
        send({ kind: 'done' })
        break
      default: break
    }
  }
}
