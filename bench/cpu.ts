/**
 * Small loops in a bare-metal guest (bench/guest/cpu.s) on both sides: the speed of kinds of instructions, without a kernel. Each loop is run with twice the
 * iterations until it takes long enough, which also lets V8 finish its code. Both sides must give the same results.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { inTurns } from './context.ts'
import type { Bench, Context } from './context.ts'
import { machineCommand, MachineProcess } from './machine-process.ts'
import type { Side } from './machine-process.ts'

interface Loop {
  readonly letter: string
  readonly name: string
  readonly unit: string
  /** What one second of `perSecond` iterations means in the unit. */
  readonly rate: (perSecond: number) => number
  readonly better: 'higher' | 'lower'
  /** of the first tier, the interpreter */
  readonly target?: number
}

const perSecond = (unit: number) => (rate: number) => rate * unit
const nanoseconds = (rate: number) => 1e9 / rate

/** A further loop is a row here and one in the guest's table. */
export const LOOPS: readonly Loop[] = [
  { letter: 'l', name: 'loop of 10 instructions, 1 load, 1 store', unit: 'MIPS', rate: perSecond(10 / 1e6), better: 'higher', target: 150 },
  { letter: 'm', name: 'integer mix (list, state machine, matrix, CRC)', unit: 'k/s', rate: perSecond(1e-3), better: 'higher' },
  { letter: 'h', name: 'SHA-256, scalar', unit: 'MB/s', rate: perSecond(64 / 1e6), better: 'higher', target: 2 },
  { letter: 'b', name: 'copy 64 KiB, rep movsb', unit: 'GB/s', rate: perSecond(65536 / 1e9), better: 'higher', target: 10 },
  { letter: 'v', name: 'copy 64 KiB, SSE2', unit: 'GB/s', rate: perSecond(65536 / 1e9), better: 'higher' },
  { letter: 'd', name: 'double add and multiply', unit: 'Mflop/s', rate: perSecond(4 / 1e6), better: 'higher', target: 8 },
  { letter: 'c', name: 'direct and indirect call', unit: 'ns', rate: nanoseconds, better: 'lower' },
  { letter: 's', name: 'SYSCALL and SYSRET', unit: 'ns', rate: nanoseconds, better: 'lower', target: 6000 },
  { letter: 't', name: 'load that misses the TLB', unit: 'ns', rate: nanoseconds, better: 'lower' },
  { letter: 'i', name: 'port read, serial line status', unit: 'ns', rate: nanoseconds, better: 'lower' },
  { letter: 'o', name: 'port write, 0x80', unit: 'ns', rate: nanoseconds, better: 'lower' },
]

const SOURCES = path.join('bench', 'guest')
/** A loop counts once it takes this long. */
const LONG_ENOUGH_MS = 400
const CHECK_EXPONENT = 5
const LARGEST_EXPONENT = 40

/** Assembles the guest. @returns its path */
export function buildCpuGuest(folder: string): string {
  const object = path.join(folder, 'cpu.o'), elf = path.join(folder, 'cpu.elf')
  run('as', ['--64', '-o', object, path.join(SOURCES, 'cpu.s')])
  run('ld', ['-T', path.join(SOURCES, 'link.ld'), '--no-warn-rwx-segments', '-z', 'noexecstack', '-o', elf, object])
  fs.rmSync(object)
  return elf
}

export const cpu: Bench = async (context) => {
  const elf = buildCpuGuest(context.folder)
  const rounds = await inTurns(context.sides, context.rounds, (side, round) => {
    context.step(`running loops on ${side}, round ${round + 1} of ${context.rounds}`)
    return runLoops(context, side, elf)
  })
  const [ours] = rounds.get('ours') ?? []
  const [qemu] = rounds.get('qemu') ?? []
  const different = qemu === undefined ? [] : LOOPS.filter(({ letter }) => ours?.results.get(letter) !== qemu.results.get(letter))
  for (const { name } of different) context.note(`cpu: THE RESULTS DIFFER in "${name}": one of the two computes wrongly`)
  if (qemu !== undefined && different.length === 0) context.note('cpu: both sides computed the same results')
  return LOOPS.map(({ letter, name, unit, better, rate, target }) => {
    const values = (side: Side) => rounds.get(side)?.map(({ speeds }) => rate(speeds.get(letter) ?? 0))
    return { bench: 'cpu', name, unit, better, target, ours: values('ours') ?? [], peer: values('qemu') }
  })
}

interface Loops { readonly speeds: ReadonlyMap<string, number>; readonly results: ReadonlyMap<string, string> }

async function runLoops({ build }: Context, side: Side, kernel: string): Promise<Loops> {
  const machine = new MachineProcess(...machineCommand(side, build, { kernel }))
  try {
    await machine.waitFor('\n', 30_000)
    const loop = async (letter: string, exponent: number) => {
      machine.write(letter + String.fromCharCode(0x40 + exponent))
      const start = await machine.waitFor('<', 60_000)
      const end = await machine.waitFor('>', 120_000)
      await machine.waitFor('\n', 60_000)
      return { ms: end - start, result: machine.output.trimEnd().slice(-16) }
    }
    const speeds = new Map<string, number>(), results = new Map<string, string>()
    // First, and with the same iterations everywhere: what the loops compute depends on what ran before.
    for (const { letter } of LOOPS) results.set(letter, (await loop(letter, CHECK_EXPONENT)).result)
    for (const { letter } of LOOPS) {
      let exponent = CHECK_EXPONENT
      let { ms } = await loop(letter, exponent)
      while (ms < LONG_ENOUGH_MS && exponent < LARGEST_EXPONENT) {
        // Far from the goal several doublings are taken at once.
        exponent += ms < LONG_ENOUGH_MS / 50 ? 3 : 1
        ms = (await loop(letter, exponent)).ms
      }
      speeds.set(letter, 2 ** exponent / ms * 1000)
    }
    return { speeds, results }
  } finally {
    machine.kill()
    await machine.exited
  }
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  if (error !== undefined) throw new Error(`${command} is missing: install binutils (apt-get install binutils)`)
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\n${stderr}`)
}
