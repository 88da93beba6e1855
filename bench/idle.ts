/** What a machine costs while its guest waits at a shell prompt: share of one core, how often its threads wake, memory. */
import { GREETING } from '../src/guest/initramfs.ts'
import { benchGuest, inTurns, valuesOf } from './context.ts'
import type { Bench, Context } from './context.ts'
import { cpuSeconds, memoryMib, sleeps } from './host.ts'
import { machineCommand, MachineProcess } from './machine-process.ts'
import type { Side } from './machine-process.ts'
import type { Figure } from './statistics.ts'

const SECONDS = 10
/** From the prompt to the start of the measurement: the kernel's late work ends. */
const SETTLE_SECONDS = 3
const TARGET_PERCENT = 2

interface Idle { readonly percent: number; readonly wakeups: number; readonly mib: number | undefined }

export const idle: Bench = async (context) => {
  const guest = await benchGuest('cloud')
  context.note(`idle: ${SECONDS} s at the shell prompt, all threads of the process; a core is 100 %`)
  const rounds = await inTurns(context.sides, context.rounds, (side, round) => {
    context.step(`idling on ${side}, round ${round + 1} of ${context.rounds}`)
    return idleOnce(context, side, guest.elf, guest.initrd)
  })
  const figure = (name: string, unit: string, value: (idle: Idle) => number | undefined, target?: number): Figure =>
    ({ bench: 'idle', name, unit, better: 'lower', ours: valuesOf(rounds, 'ours', value) ?? [], peer: valuesOf(rounds, 'qemu', value), target })
  return [
    figure('CPU', '%', ({ percent }) => percent, TARGET_PERCENT),
    figure('wake-ups', '/s', ({ wakeups }) => wakeups),
    figure('memory (PSS)', 'MiB', ({ mib }) => mib),
  ]
}

async function idleOnce({ build }: Context, side: Side, kernel: string, initrd: string): Promise<Idle> {
  const machine = new MachineProcess(...machineCommand(side, build, { kernel, initrd, append: 'console=ttyS0' }))
  try {
    await machine.waitFor(GREETING)
    await machine.waitFor('#')
    await wait(SETTLE_SECONDS)
    const before = { cpu: cpuSeconds(machine.pid) ?? 0, sleeps: sleeps(machine.pid), at: performance.now() }
    await wait(SECONDS)
    const seconds = (performance.now() - before.at) / 1000
    return {
      percent: ((cpuSeconds(machine.pid) ?? 0) - before.cpu) / seconds * 100, wakeups: (sleeps(machine.pid) - before.sleeps) / seconds, mib: memoryMib(machine.pid),
    }
  } finally {
    machine.kill()
    await machine.exited
  }
}

function wait(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000))
}
