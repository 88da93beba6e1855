/**
 * A static program in a Linux guest (bench/guest/linux) on both sides: what user programs and the kernel's services cost, timed by the guest's own clock. Each item is run
 * with more iterations until it takes long enough, which also lets V8 finish its code. Both sides must give the same results.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { QmpClient } from '../machine-manager/qmp/client.ts'
import { cachedInitramfs } from '../src/guest/fetch-guest.ts'
import { benchGuest, BENCH_CACHE, inTurns, valuesOf } from './context.ts'
import type { Bench, Context } from './context.ts'
import { memoryMib } from './host.ts'
import { machineCommand, MachineProcess } from './machine-process.ts'
import type { Side } from './machine-process.ts'
import type { Figure } from './statistics.ts'

interface Item {
  /** the guest's word for it */
  readonly word: string
  readonly name: string
  readonly unit: string
  /** What one second of `perSecond` iterations means in the unit. */
  readonly rate: (perSecond: number) => number
  readonly better: 'higher' | 'lower'
  /** Speed that is wanted, as a multiple of QEMU's. */
  readonly speed: number
}

const perSecond = (unit: number) => (rate: number) => rate * unit
const nanoseconds = (rate: number) => 1e9 / rate
const microseconds = (rate: number) => 1e6 / rate

/** A further item is a row here and one in the guest's table. */
export const ITEMS: readonly Item[] = [
  { word: 'loop', name: 'integer loop with memory', unit: 'MIPS', rate: perSecond(10 / 1e6), better: 'higher', speed: 0.5 },
  { word: 'mix', name: 'CoreMark-like mix', unit: 'it/s', rate: perSecond(1), better: 'higher', speed: 0.5 },
  { word: 'sha256', name: 'SHA-256', unit: 'MB/s', rate: perSecond(64 / 1e6), better: 'higher', speed: 0.5 },
  { word: 'double', name: 'double arithmetic', unit: 'Mflop/s', rate: perSecond(8 / 1e6), better: 'higher', speed: 0.5 },
  { word: 'getppid', name: 'getppid', unit: 'ns', rate: nanoseconds, better: 'lower', speed: 0.5 },
  { word: 'fork', name: 'fork, exit, wait', unit: 'us', rate: microseconds, better: 'lower', speed: 0.5 },
  { word: 'pipe', name: 'byte through two pipes and back', unit: 'us', rate: microseconds, better: 'lower', speed: 0.5 },
  { word: 'movsb', name: 'rep movsb, 64 KiB', unit: 'GB/s', rate: perSecond(65536 / 1e9), better: 'higher', speed: 5 },
  { word: 'memcpy', name: 'memcpy, 4 KiB', unit: 'GB/s', rate: perSecond(32768 / 1e9), better: 'higher', speed: 5 },
  { word: 'memset', name: 'memset, 64 KiB', unit: 'GB/s', rate: perSecond(65536 / 1e9), better: 'higher', speed: 5 },
  { word: 'touch', name: 'new page: mmap, touch, munmap', unit: 'ns', rate: (rate) => nanoseconds(rate * 64), better: 'lower', speed: 0.5 },
]

/** Two processes at once, with one and with two processors. */
export const PARALLEL = 'parallel'
const PARALLEL_TARGET = 1.6

const SOURCES = path.join('bench', 'guest', 'linux')
const APPEND = 'console=ttyS0 reboot=t quiet'
/** An item counts once it takes this long. */
const LONG_ENOUGH_MS = 400, PARALLEL_MS = 1000
const CHECK_ITERATIONS = 32
const MOST_ITERATIONS = 2 ** 40
const ANSWER_MS = 120_000

/** Flags of gcc: what a distribution would use, without anything of a C library. */
const FLAGS = [
  '-O2', '-Wall', '-Wextra', '-std=c11', '-march=x86-64', '-static', '-nostdlib', '-ffreestanding', '-fno-stack-protector', '-fno-pie', '-no-pie', '-fno-asynchronous-unwind-tables',
  '-fno-tree-loop-distribute-patterns', '-Wl,--build-id=none', '-Wl,-z,noexecstack',
]

/** Compiles the guest's program. @returns its path */
export function buildLinuxProgram(folder: string): string {
  const program = path.join(folder, 'bench-program')
  const sources = fs.readdirSync(SOURCES).filter((name) => name.endsWith('.c')).sort().map((name) => path.join(SOURCES, name))
  const { status, stderr, error } = spawnSync('gcc', [...FLAGS, '-o', program, ...sources], { encoding: 'utf8' })
  if (error !== undefined) throw new Error('gcc is missing: install it (apt-get install gcc)')
  if (status !== 0) throw new Error(`gcc: ${stderr}`)
  return program
}

export const guest: Bench = async (context) => {
  const { elf, busybox, package: name } = await benchGuest('cloud')
  const initrd = cachedInitramfs(path.resolve(BENCH_CACHE), {
    busybox: fs.readFileSync(busybox), extraFiles: { 'run-at-boot': { content: fs.readFileSync(buildLinuxProgram(context.folder)), mode: 0o755 } },
  })
  context.note(`guest: ${name}, 256 MiB, a static program timed by the guest's clock; the parallel job is two processes, times with -smp 1 by times with -smp 2`)
  const rounds = await inTurns(context.sides, context.rounds, async (side, round) => {
    context.step(`running programs on ${side}, round ${round + 1} of ${context.rounds}`)
    const items = await runItems(context, side, elf, initrd)
    context.step(`running the parallel job on ${side}, round ${round + 1} of ${context.rounds}`)
    return { ...items, gain: await parallelGain(context, side, elf, initrd), gainOfOne: side === 'ours' ? await parallelGain(context, side, elf, initrd, 'single') : undefined }
  })
  const [ours] = rounds.get('ours') ?? []
  const [qemu] = rounds.get('qemu') ?? []
  const different = qemu === undefined ? [] : ITEMS.filter(({ word }) => ours?.results.get(word) !== qemu.results.get(word))
  for (const { name: title } of different) context.note(`guest: THE RESULTS DIFFER in "${title}": one of the two computes wrongly`)
  if (qemu !== undefined && different.length === 0) context.note('guest: both sides computed the same results')
  const facts = [...ours?.facts.keys() ?? []]
  return [
    ...ITEMS.map(({ word, name: title, unit, better, rate, speed }): Figure => {
      const values = (side: Side) => valuesOf(rounds, side, ({ speeds }) => rate(speeds.get(word) ?? 0))
      return { bench: 'guest', name: title, unit, better, ours: values('ours') ?? [], peer: values('qemu'), timesPeer: better === 'higher' ? speed : 1 / speed }
    }),
    {
      bench: 'guest', name: 'parallel job, -smp 2 over -smp 1, a thread for each vCPU', unit: 'x', better: 'higher', target: PARALLEL_TARGET,
      ours: valuesOf(rounds, 'ours', ({ gain }) => gain) ?? [], peer: valuesOf(rounds, 'qemu', ({ gain }) => gain),
    },
    { bench: 'guest', name: 'parallel job, -smp 2 over -smp 1, one thread', unit: 'x', better: 'none', ours: valuesOf(rounds, 'ours', ({ gainOfOne }) => gainOfOne) ?? [] },
    { bench: 'guest', name: 'memory of the process (PSS)', unit: 'MiB', better: 'lower', ours: valuesOf(rounds, 'ours', ({ mib }) => mib) ?? [], peer: valuesOf(rounds, 'qemu', ({ mib }) => mib) },
    ...facts.map((fact): Figure => ({ bench: 'guest', name: fact, unit: '', better: 'none', ours: valuesOf(rounds, 'ours', (run) => run.facts.get(fact)) ?? [] })),
  ]
}

/** The guest's program on a console. */
class Program {
  readonly #machine: MachineProcess

  constructor(machine: MachineProcess) {
    this.#machine = machine
  }

  async ready(): Promise<void> {
    await this.#machine.waitFor('bench: ready')
  }

  async run(word: string, iterations: number): Promise<{ readonly ns: number; readonly result: string }> {
    const answer = `= ${word} ${iterations} `
    this.#machine.write(`${word} ${iterations}\n`)
    await this.#machine.waitFor(answer, ANSWER_MS)
    await this.#machine.waitFor('\n')
    const { output } = this.#machine
    const [, ns, result] = /^(\d+) ([0-9a-f]+)/.exec(output.slice(output.lastIndexOf(answer) + answer.length)) ?? []
    if (ns === undefined || result === undefined) throw new Error(`the guest answered ${JSON.stringify(output.slice(-200))}`)
    return { ns: Number(ns), result }
  }

  /** Runs with more and more iterations, then once more with the last. */
  async speed(word: string, longEnoughMs: number): Promise<{ readonly iterations: number; readonly ns: number }> {
    let iterations = CHECK_ITERATIONS
    for (;;) {
      const { ns } = await this.run(word, iterations)
      if (ns >= longEnoughMs * 1e6 || iterations >= MOST_ITERATIONS) break
      // Far from the goal several doublings are taken at once.
      iterations *= ns < longEnoughMs * 1e6 / 50 ? 8 : 2
    }
    return { iterations, ns: (await this.run(word, iterations)).ns }
  }
}

interface Processors { readonly cpus: number; readonly thread?: 'single' | 'multi' }

async function onMachine<T>(
  { build, folder }: Context, side: Side, kernel: string, initrd: string, { cpus, thread }: Processors, job: (program: Program, pid: number, qmp: string) => Promise<T>,
): Promise<T> {
  const qmp = path.join(folder, `guest-${side}.sock`)
  fs.rmSync(qmp, { force: true })
  const machine = new MachineProcess(...machineCommand(side, build, { kernel, initrd, append: APPEND, qmp, thread, extra: ['-smp', String(cpus)] }))
  try {
    const program = new Program(machine)
    await program.ready()
    return await job(program, machine.pid, qmp)
  } finally {
    machine.kill()
    await machine.exited
  }
}

interface Items {
  /** iterations a second */
  readonly speeds: ReadonlyMap<string, number>
  readonly results: ReadonlyMap<string, string>
  readonly mib: number | undefined
  readonly facts: ReadonlyMap<string, number>
}

function runItems(context: Context, side: Side, kernel: string, initrd: string): Promise<Items> {
  return onMachine(context, side, kernel, initrd, { cpus: 1 }, async (program, pid, qmp) => {
    const speeds = new Map<string, number>(), results = new Map<string, string>()
    for (const { word } of ITEMS) results.set(word, (await program.run(word, CHECK_ITERATIONS)).result)
    for (const { word } of ITEMS) {
      const { iterations, ns } = await program.speed(word, LONG_ENOUGH_MS)
      speeds.set(word, iterations / ns * 1e9)
    }
    return { speeds, results, mib: memoryMib(pid), facts: side === 'ours' ? await cacheFacts(qmp) : new Map() }
  })
}

/** What `info jit` says of memory for translated and decoded code. */
async function cacheFacts(socket: string): Promise<ReadonlyMap<string, number>> {
  const client = await QmpClient.connect({ unix: socket })
  try {
    const text = String(await client.execute('human-monitor-command', { 'command-line': 'info jit' }))
    return new Map([...text.matchAll(/^([^:\r\n]*(?:bytes|alive)[^:\r\n]*): (\d+)\r?$/gm)].map(([, name = '', value]) => [name, Number(value)]))
  } finally {
    client.close()
  }
}

/** How much sooner two processors are done with the same work than one. */
async function parallelGain(context: Context, side: Side, kernel: string, initrd: string, thread: 'single' | 'multi' = 'multi'): Promise<number> {
  const one = await onMachine(context, side, kernel, initrd, { cpus: 1 }, (program) => program.speed(PARALLEL, PARALLEL_MS))
  const two = await onMachine(context, side, kernel, initrd, { cpus: 2, thread }, async (program) => {
    await program.run(PARALLEL, Math.ceil(one.iterations / 2))
    return program.run(PARALLEL, one.iterations)
  })
  return one.ns / two.ns
}
