/** Builds core.wasm from a copy of its sources, with or without a fault in them. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { ascArguments, CORE } from '../../scripts/asc-options.mjs'
import type { Fault } from './faults.ts'

/** @throws Error when the text to replace is not there as often as the fault says: the source has moved on, and the fault must follow */
export function applyFault(source: string, fault: Fault): string {
  const pieces = source.split(fault.find)
  const times = fault.times ?? 1
  if (pieces.length - 1 === times) return pieces.join(fault.replace)
  throw new Error(`${fault.file} has the text of the fault "${fault.name}" ${pieces.length - 1} times, not ${times}: adapt test/seeded-faults/faults.ts`)
}

/** @param folder an empty folder to work in, @returns the path of the .wasm file. @throws Error with the compiler's message */
export async function buildCore(folder: string, fault?: Fault): Promise<string> {
  const copy = path.join(folder, 'core')
  fs.cpSync(CORE, copy, { recursive: true })
  if (fault !== undefined) {
    const file = path.join(copy, fault.file)
    fs.writeFileSync(file, applyFault(fs.readFileSync(file, 'utf8'), fault))
  }
  const out = path.join(folder, 'core.wasm')
  // Without optimisation: the same results, and the compiler needs a sixth of the time.
  const { status, output } = await run(ascArguments(path.join(copy, 'index.ts'), out, '-O0'))
  if (status !== 0) throw new Error(`the core does not compile${fault === undefined ? '' : ` with the fault "${fault.name}"`}:\n${output}`)
  return out
}

/** Runs a script of ours or of a package, without blocking. `status` is null when it took longer than `limitMs` and was killed. */
export function run(argv: readonly string[], limitMs = 600_000): Promise<{ status: number | null, output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'], timeout: limitMs, killSignal: 'SIGKILL' })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { output += chunk.toString() })
    child.on('error', reject)
    child.on('close', (status, signal) => {
      if (signal !== null && !child.killed) reject(new Error(`node ${argv.join(' ')} ended by ${signal}\n${output}`))
      else resolve({ status, output })
    })
  })
}
