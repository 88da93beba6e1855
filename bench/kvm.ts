/**
 * KVM: what an exit costs beside a loop in C, a pause, a start beside an empty Node and QEMU's microvm, and the memory of a running machine. On any /dev/kvm;
 * parts that this host cannot do are named. bench/kvm-child.ts runs the guests, bench/kvm-exits.c is the loop in C.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { build } from 'esbuild'
import { kvmKind, probeKvm, readKvmHost } from '../host/kvm-device.ts'
import type { Bench, Context } from './context.ts'
import { QEMU } from './host.ts'
import type { ChildResult } from './kvm-child.ts'
import { addressOf, DOORBELL, GUEST_RAM, HELLO, helloKernel, loopGuest, samplesOf } from './kvm-guest.ts'
import type { Access, Loop } from './kvm-guest.ts'
import { privateKib } from './kvm-memory.ts'
import { median } from './statistics.ts'
import type { Figure } from './statistics.ts'

const BENCH = 'kvm'
/** Exits of a round, and ticks of the TSC between two: where a driver comes back soon (0.1 to 0.2 ms), and where main has long been asleep (1 to 2 ms). */
const EXITS = 20_000, SOON_TICKS = 400_000, ASLEEP_TICKS = 4_000_000
const STARTS_PER_ROUND = 5
const MEMORY_MIB = 256, SETTLE_MS = 1500
const WORK = path.join('.cache', 'bench-kvm')
const C_SOURCE = path.join('bench', 'kvm-exits.c')

export const kvm: Bench = async (context) => {
  const host = readKvmHost()
  const problem = probeKvm(host)
  if (problem !== undefined) {
    context.note(`kvm: not measured: ${problem.what}`)
    return []
  }
  if (os.getPriority() !== 0) context.note(`kvm: at priority ${os.getPriority()} (nice)`)
  const kind = kvmKind(host)
  context.note(`kvm: ${kind === 'pvm' ? 'KVM without hardware (PVM): exits cost several times those of a processor with virtualization' : `KVM on ${kind}`}`)
  const folder = fs.mkdtempSync(path.join(fs.mkdirSync(WORK, { recursive: true }) ?? WORK, 'run-'))
  try {
    return [...await exits(context, folder), ...await starts(context, folder), ...await memory(context, folder)]
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

// ---- exits and pauses -----------------------------------------------------------------------------------------------------------------

async function exits(context: Context, folder: string): Promise<Figure[]> {
  const child = path.join(folder, 'child.mjs')
  await build({ entryPoints: [path.join('bench', 'kvm-child.ts')], outfile: child, bundle: true, platform: 'node', format: 'esm', target: 'node20', packages: 'external', logLevel: 'warning' })
  fs.symlinkSync(path.join(context.build.dist, 'kvm-vcpu-worker.js'), path.join(folder, 'kvm-vcpu-worker.js'))
  const peer = compilePeer(context)
  const ours: ChildResult[] = []
  const theirs = new Map<string, number[]>()
  for (let round = 0; round < context.rounds; round++) {
    context.step(`exits, round ${round + 1} of ${context.rounds}`)
    const result = JSON.parse(run(process.execPath, [...context.build.flags, child, String(EXITS), String(SOON_TICKS), String(ASLEEP_TICKS)]).toString()) as ChildResult
    ours.push(result)
    for (const loop of peer === undefined ? [] : result.loops.filter(({ access }) => peerCan(access))) {
      const key = keyOf(loop)
      theirs.set(key, [...theirs.get(key) ?? [], runPeer(peer as string, folder, loop)])
    }
  }
  const of = (access: Access, pause = 0) => {
    const mine = ours.map(({ loops }) => loops.find((loop) => loop.access === access && loop.pause === pause)?.microseconds ?? NaN)
    return { mine, peer: theirs.get(keyOf({ access, pause })) }
  }
  const figures: Figure[] = []
  for (const [access, name] of [
    ['port read', 'port read, answered in the vCPU thread'], ['mmio read', 'memory read, answered in the vCPU thread'],
    ['port write', 'port write, posted'], ['mmio write', 'memory write, posted'],
  ] as const) {
    const { mine, peer: other } = of(access)
    figures.push({ bench: BENCH, name, unit: 'us', better: 'lower', ours: mine, peer: other })
    if (other !== undefined) {
      figures.push({ bench: BENCH, name: `${name}: times the loop in C`, unit: 'x', better: 'lower', ours: mine.map((value, round) => value / (other[round] ?? NaN)), target: 1.1 })
    }
  }
  const over = (a: readonly number[], b: readonly number[]) => a.map((value, round) => value - (b[round] ?? NaN))
  figures.push({
    bench: BENCH, name: 'port read by main, at once again: more than in the vCPU thread', unit: 'us', better: 'lower', ours: over(of('called port read').mine, of('port read').mine), target: 6,
  })
  for (const [pause, when] of [[SOON_TICKS, 'again soon'], [ASLEEP_TICKS, 'main asleep']] as const) {
    const called = of('called port read', pause), bell = of('doorbell', pause)
    figures.push(
      {
        bench: BENCH, name: `port read by main, ${when}: more than in the vCPU thread`, unit: 'us', better: 'lower', target: 6, ours: over(called.mine, of('port read', pause).mine),
        peer: called.peer === undefined ? undefined : over(called.peer, of('port read').peer ?? []),
      },
      { bench: BENCH, name: `port write, posted, ${when}`, unit: 'us', better: 'none', ours: of('port write', pause).mine },
      { bench: BENCH, name: `ioeventfd, ${when}: from the write to what main's handler stores`, unit: 'us', better: 'lower', ours: bell.mine, peer: bell.peer, target: 10 },
    )
  }
  for (const { cpus } of ours[0]?.pauses ?? []) {
    const times = ours.flatMap(({ pauses }) => pauses.find((each) => each.cpus === cpus)?.ms ?? [])
    figures.push({ bench: BENCH, name: `pause of ${cpus} busy vCPU${cpus > 1 ? 's' : ''}`, unit: 'ms', better: 'lower', ours: times, target: 5 })
  }
  context.note('kvm: exits are timed one by one in the guest, medians of a round; peer: bench/kvm-exits.c, where a thread in poll(2) stands for main. Main and the vCPU are kept on processors of their own, except where there are pauses; "soon" is after some 0.2 ms, "asleep" after 2')
  return figures
}

function keyOf({ access, pause }: Pick<Loop, 'access' | 'pause'>): string {
  return `${access} ${pause}`
}

const peerCan = (access: Access) => ACCESSES_OF_PEER.has(access)
const ACCESSES_OF_PEER = new Set<Access>(['port read', 'port write', 'mmio read', 'mmio write', 'called port read', 'doorbell'])

/** @returns the program; undefined where there is no compiler, and none was built before */
function compilePeer({ note }: Context): string | undefined {
  const program = path.resolve(WORK, `kvm-exits-${createHash('sha256').update(fs.readFileSync(C_SOURCE)).digest('hex').slice(0, 12)}`)
  if (fs.existsSync(program)) return program
  const { error, status, stderr } = spawnSync('gcc', ['-O2', '-Wall', '-Wextra', '-static', '-pthread', '-o', program, C_SOURCE], { encoding: 'utf8' })
  if (error !== undefined) note('kvm: the loop in C is not measured: gcc is missing (apt-get install gcc libc6-dev)')
  else if (status !== 0) throw new Error(`gcc: ${stderr}`)
  return status === 0 ? program : undefined
}

function runPeer(program: string, folder: string, loop: Loop): number {
  const image = path.join(folder, 'image')
  fs.writeFileSync(image, loopGuest(loop))
  const mapped = addressOf('mmio read') + (loop.access === 'mmio write' ? 4 : 0)
  const output = run(program, [image, String(mapped), String(loop.access === 'doorbell' ? DOORBELL : 0)])
  const ram = new Uint8Array(output.buffer, output.byteOffset + 8, GUEST_RAM)
  return median([...samplesOf(ram, loop.count, output.readDoubleLE(0))]) ?? 0
}

function run(command: string, args: readonly string[]): Buffer {
  const { status, stdout, stderr, error, signal } = spawnSync(command, args, { maxBuffer: 4 * GUEST_RAM, timeout: 300_000 })
  if (error !== undefined || status !== 0) throw new Error(`${path.basename(command)} ${args[0] ?? ''} failed (${error?.message ?? signal ?? status}): ${String(stderr).slice(-600)}`)
  return stdout
}

// ---- start ----------------------------------------------------------------------------------------------------------------------------

type Machine = 'ours' | 'qemu'

function command(machine: Machine, { build: { dist, flags } }: Context, kernel: string, cpus = 1): [string, string[]] {
  const shared = ['-m', String(MEMORY_MIB), '-smp', String(cpus), '-kernel', kernel, '-serial', 'stdio']
  if (machine === 'ours') return [process.execPath, [...flags, `${dist}/mesovirt.js`, '-machine', 'microvm,hotplug=off', '-accel', 'kvm', ...shared]]
  return [QEMU, ['-M', 'microvm,acpi=off', '-accel', 'kvm', '-nodefaults', '-no-user-config', '-display', 'none', ...shared]]
}

async function starts(context: Context, folder: string): Promise<Figure[]> {
  const kernel = path.join(folder, 'hello')
  fs.writeFileSync(kernel, helloKernel())
  const nodes: number[] = []
  const times = new Map<Machine, number[]>()
  const machines = await whichStart(context, kernel)
  for (let start = 0; start < context.rounds * STARTS_PER_ROUND; start++) {
    context.step(`starts, ${start + 1} of ${context.rounds * STARTS_PER_ROUND}`)
    nodes.push(await emptyNode(context))
    for (const machine of machines) {
      const { ms, end } = await untilHello(...command(machine, context, kernel))
      await end()
      times.set(machine, [...times.get(machine) ?? [], ms])
    }
  }
  const ours = times.get('ours') ?? []
  context.note(`kvm: start: from the spawn of the process to the first byte on COM1 of a kernel of ten instructions, bzImage, ${MEMORY_MIB} MiB`)
  return [
    { bench: BENCH, name: 'start to the first guest instruction', unit: 'ms', better: 'lower', ours, peer: times.get('qemu') },
    { bench: BENCH, name: 'node -e 0', unit: 'ms', better: 'none', ours: nodes },
    { bench: BENCH, name: 'start to the first guest instruction, over node -e 0', unit: 'ms', better: 'lower', ours: ours.map((value, index) => value - (nodes[index] ?? NaN)), target: 80 },
  ]
}

async function whichStart(context: Context, kernel: string): Promise<Machine[]> {
  const machines: Machine[] = []
  for (const machine of context.sides) {
    try {
      await (await untilHello(...command(machine, context, kernel))).end()
      machines.push(machine)
    } catch (error) {
      context.note(`kvm: ${machine} does not start on this /dev/kvm: ${error instanceof Error ? error.message.split('\n')[0] ?? '' : String(error)}`)
    }
  }
  return machines
}

function emptyNode({ build: { flags } }: Context): Promise<number> {
  const started = performance.now()
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...flags, '-e', '0'], { stdio: 'ignore' })
    child.on('error', reject)
    child.on('exit', () => resolve(performance.now() - started))
  })
}

const START_LIMIT_MS = 20_000

interface Started { readonly ms: number; readonly pid: number; readonly end: () => Promise<void> }

function untilHello(program: string, args: readonly string[]): Promise<Started> {
  const started = performance.now()
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const gone = new Promise<void>((resolve) => child.on('close', () => resolve()))
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => { errors = (errors + chunk.toString()).slice(-1000) })
  return new Promise((resolve, reject) => {
    const end = async () => {
      child.kill('SIGKILL')
      await gone
    }
    const timer = setTimeout(() => void end().then(() => reject(new Error(`no guest instruction within ${START_LIMIT_MS / 1000} s; ${errors}`))), START_LIMIT_MS)
    child.on('error', reject)
    child.stdout.on('data', (chunk: Buffer) => {
      if (!chunk.includes(HELLO)) return
      clearTimeout(timer)
      resolve({ ms: performance.now() - started, pid: child.pid ?? 0, end })
    })
    child.on('close', () => {
      clearTimeout(timer)
      reject(new Error(`${program} ended; ${errors}`))
    })
  })
}

// ---- memory ---------------------------------------------------------------------------------------------------------------------------

async function memory(context: Context, folder: string): Promise<Figure[]> {
  const kernel = path.join(folder, 'busy')
  fs.writeFileSync(kernel, helloKernel(true))
  const measure = async (machine: Machine, cpus: number) => {
    context.step(`memory of ${machine}, ${cpus} vCPU${cpus > 1 ? 's' : ''}`)
    const { pid, end } = await untilHello(...command(machine, context, kernel, cpus))
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
    const kib = privateKib(pid, MEMORY_MIB * 1024)
    await end()
    return kib / 1024
  }
  const one: number[] = [], more: number[] = [], peerOne: number[] = [], peerMore: number[] = []
  const MORE = 3
  const machines = await whichStart({ ...context, note: () => undefined }, kernel)
  for (let round = 0; round < context.rounds; round++) {
    for (const [machine, single, further] of [['ours', one, more], ['qemu', peerOne, peerMore]] as const) {
      if (!machines.includes(machine)) continue
      const base = await measure(machine, 1)
      single.push(base)
      further.push((await measure(machine, 1 + MORE) - base) / MORE)
    }
  }
  const peer = (values: readonly number[]) => values.length === 0 ? undefined : values
  context.note('kvm: memory: Private_Dirty of /proc/PID/smaps without the mapping of guest RAM, a second and a half after the first byte, vCPU 0 computing')
  return [
    { bench: BENCH, name: 'private memory outside guest RAM, 1 vCPU', unit: 'MiB', better: 'lower', ours: one, peer: peer(peerOne), target: 24 },
    { bench: BENCH, name: 'private memory of each further vCPU', unit: 'MiB', better: 'lower', ours: more, peer: peer(peerMore), target: 8 },
  ]
}
