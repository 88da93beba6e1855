/** Time from the spawn of the command to the QMP greeting on a unix socket, less an empty Node in the same run; `-version`; QEMU beside them. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { benchGuest, inTurns } from './context.ts'
import type { Bench, Context } from './context.ts'
import { memoryMib } from './host.ts'
import { machineCommand } from './machine-process.ts'
import type { Side } from './machine-process.ts'

/** Starts are short and vary: each round has this many. */
const STARTS_PER_ROUND = 5
const TARGET_MS = 80

export const startup: Bench = async (context) => {
  const { elf } = await benchGuest('cloud')
  const nodes: number[] = [], versions: number[] = []
  const greetings = await inTurns(context.sides, context.rounds * STARTS_PER_ROUND, async (side, round) => {
    context.step(`starting ${side}, ${round + 1} of ${context.rounds * STARTS_PER_ROUND}`)
    if (side === 'ours') {
      nodes.push(await timeOf(process.execPath, [...context.build.flags, '-e', '0']))
      versions.push(await timeOf(process.execPath, [...context.build.flags, `${context.build.dist}/mesovirt.js`, '-version']))
    }
    return greeting(context, side, elf)
  })
  const ours = greetings.get('ours') ?? []
  const qemu = greetings.get('qemu')
  const less = (values: readonly number[]) => values.map((value, index) => value - (nodes[index] ?? 0))
  context.note('startup: from the spawn to the bytes of the QMP greeting, machine started paused (-S) with the same kernel')
  return [
    { bench: 'startup', name: 'node -e 0', unit: 'ms', better: 'none', ours: nodes },
    { bench: 'startup', name: '-version', unit: 'ms', better: 'none', ours: versions },
    { bench: 'startup', name: 'QMP greeting', unit: 'ms', better: 'lower', ours: ours.map(({ ms }) => ms), peer: qemu?.map(({ ms }) => ms) },
    { bench: 'startup', name: 'QMP greeting over node -e 0', unit: 'ms', better: 'lower', ours: less(ours.map(({ ms }) => ms)), target: TARGET_MS },
    { bench: 'startup', name: 'memory at the greeting (PSS)', unit: 'MiB', better: 'lower', ours: ours.map(({ mib }) => mib), peer: qemu?.map(({ mib }) => mib) },
  ]
}

function timeOf(command: string, args: readonly string[]): Promise<number> {
  const started = performance.now()
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'ignore' })
    child.on('error', reject)
    child.on('exit', (status) => status === 0 ? resolve(performance.now() - started) : reject(new Error(`${command} ${args.join(' ')} ended with status ${status}`)))
  })
}

async function greeting({ build, folder }: Context, side: Side, kernel: string): Promise<{ ms: number; mib: number }> {
  const socket = path.join(folder, `start-${side}.sock`)
  fs.rmSync(socket, { force: true })
  const [command, args] = machineCommand(side, build, { kernel, qmp: socket, extra: ['-S'] })
  const started = performance.now()
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] })
  child.stdin.on('error', () => undefined)
  child.stdout.resume()
  const ended = new Promise<never>((_, reject) => child.on('exit', (status) => reject(new Error(`${command} ${args.join(' ')} ended with status ${status}`))))
  ended.catch(() => undefined)
  try {
    await Promise.race([firstBytes(socket), ended])
    return { ms: performance.now() - started, mib: memoryMib(child.pid ?? 0) ?? 0 }
  } finally {
    child.removeAllListeners('exit')
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
    fs.rmSync(socket, { force: true })
  }
}

/** Connects as soon as somebody listens. */
async function firstBytes(socket: string): Promise<void> {
  while (true) {
    const came = await new Promise<boolean>((resolve) => {
      const connection = net.connect(socket)
      const done = (greeted: boolean) => {
        connection.destroy()
        resolve(greeted)
      }
      connection.on('data', () => done(true))
      connection.on('error', () => done(false))
    })
    if (came) return
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
