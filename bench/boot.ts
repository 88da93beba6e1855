/**
 * Wall time from the spawn of the process to a line printed by user space, and from there to the end of the process after `poweroff`: the same kernel
 * and initramfs on both sides. Ours also says how many guest instructions that took.
 */
import path from 'node:path'
import { QmpClient } from '../machine-manager/qmp/client.ts'
import { benchGuest, inTurns, MARKER, valuesOf } from './context.ts'
import type { Bench, Context } from './context.ts'
import { cpuSeconds } from './host.ts'
import { machineCommand, MachineProcess } from './machine-process.ts'
import type { Side } from './machine-process.ts'
import type { Figure } from './statistics.ts'

const APPEND = 'console=ttyS0 reboot=t'
/** QEMU's microvm has no power-off without ACPI; a reset ends it (-no-reboot). */
const END: Readonly<Record<Side, string>> = { ours: 'poweroff\n', qemu: 'reset\n' }
/** Of QEMU's wall time. */
const TIMES_QEMU = 1.5

interface Row {
  readonly name: string
  readonly kernel: string
  readonly initrd: string
  readonly timesPeer?: number
  /** Print what the software CPU counted. */
  readonly counters?: boolean
}
interface Boot {
  readonly userSpace: number
  readonly powerOff: number
  readonly instructions?: number | undefined
  readonly vcpuSeconds?: number | undefined
  readonly counters: ReadonlyMap<string, number>
}

export const boot: Bench = async (context) => {
  const cloud = await benchGuest('cloud')
  context.note(`boot: ${cloud.package}, 256 MiB, -append "${APPEND}"; from the spawn of the process to the first line of /init's script, then to the end of the process`)
  const rows: Row[] = [{ name: 'ELF', kernel: cloud.elf, initrd: cloud.benchInitrd, timesPeer: TIMES_QEMU, counters: true }]
  if (context.all) {
    const generic = await benchGuest('generic')
    rows.push({ name: 'bzImage', kernel: cloud.kernel, initrd: cloud.benchInitrd }, { name: 'generic ELF', kernel: generic.elf, initrd: generic.benchInitrd })
  }
  const figures: Figure[] = []
  for (const row of rows) figures.push(...await bootRow(context, row))
  return figures
}

async function bootRow(context: Context, row: Row): Promise<Figure[]> {
  const rounds = await inTurns(context.sides, context.rounds, (side, round) => {
    context.step(`booting the ${row.name} on ${side}, round ${round + 1} of ${context.rounds}`)
    return bootOnce(context, row, side)
  })
  const figure = (name: string, unit: string, better: Figure['better'], value: (boot: Boot) => number | undefined, timesPeer?: number): Figure =>
    ({ bench: 'boot', name: `${row.name}, ${name}`, unit, better, ours: valuesOf(rounds, 'ours', value) ?? [], peer: valuesOf(rounds, 'qemu', value), timesPeer })
  const names = row.counters !== true ? [] : [...rounds.get('ours')?.[0]?.counters.keys() ?? []]
  return [
    figure('to user space', 's', 'lower', (boot) => boot.userSpace / 1000, row.timesPeer),
    figure('from there to the end of the process', 's', 'lower', (boot) => boot.powerOff / 1000),
    figure('vCPU thread to user space', 's', 'lower', (boot) => boot.vcpuSeconds),
    figure('guest instructions', 'M', 'none', (boot) => boot.instructions === undefined ? undefined : boot.instructions / 1e6),
    figure('speed of the vCPU thread', 'MIPS', 'none', ({ instructions, vcpuSeconds }) =>
      instructions === undefined || vcpuSeconds === undefined || vcpuSeconds === 0 ? undefined : instructions / vcpuSeconds / 1e6),
    ...names.map((name) => figure(name, '', 'none', (boot) => boot.counters.get(name))),
  ]
}

async function bootOnce({ build, folder }: Context, { kernel, initrd }: Row, side: Side): Promise<Boot> {
  const qmp = path.join(folder, `boot-${side}.sock`)
  const machine = new MachineProcess(...machineCommand(side, build, { kernel, initrd, append: APPEND, qmp }))
  try {
    const userSpace = await machine.waitFor(MARKER)
    const facts = await askMachine(qmp, machine.pid, side)
    const released = machine.now()
    machine.write(END[side])
    return { userSpace, powerOff: await machine.exited - released, ...facts }
  } finally {
    machine.kill()
  }
}

/** The guest waits meanwhile. */
async function askMachine(socket: string, pid: number, side: Side): Promise<Pick<Boot, 'instructions' | 'vcpuSeconds' | 'counters'>> {
  const client = await QmpClient.connect({ unix: socket })
  try {
    const [cpu] = await client.execute('query-cpus-fast') as { 'thread-id': number }[]
    const vcpuSeconds = cpu === undefined ? undefined : cpuSeconds(pid, cpu['thread-id'])
    if (side === 'qemu') return { vcpuSeconds, counters: new Map() }
    const text = String(await client.execute('human-monitor-command', { 'command-line': 'info accel' }))
    const counters = new Map([...text.matchAll(/^([^:\r\n]+): (\d+)\r?$/gm)].map(([, name = '', value]) => [name, Number(value)]))
    const instructions = counters.get('instructions')
    counters.delete('instructions')
    return { instructions, vcpuSeconds, counters }
  } finally {
    client.close()
  }
}
