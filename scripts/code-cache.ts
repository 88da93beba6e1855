/**
 * Last step of the build: starts a machine, paused, on each accelerator that this host has, has it answer over QMP and quit, and keeps the code that V8
 * compiled for that in dist/program.code (src/bin.ts reads it). `node scripts/ts.mjs scripts/code-cache.ts`.
 */
import fs from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import vm from 'node:vm'
import { bzImage } from '../boot-loader/synthetic-kernels.ts'

const PROGRAM = path.resolve('dist/program.js')
const QUESTIONS = ['qmp_capabilities', 'query-status', 'query-cpus-fast', 'quit']
const RETRY_MS = 5

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-build-'))
const kernel = path.join(folder, 'kernel')
fs.writeFileSync(kernel, bzImage({ code: new Uint8Array(4096).fill(0xf4) })) // hlt
const script = new vm.Script(fs.readFileSync(PROGRAM, 'latin1'), { filename: PROGRAM })
const run = script.runInThisContext() as (exports: object, require: NodeJS.Require, module: object, filename: string, dirname: string) => void
const exit = process.exit.bind(process)
const accelerators = ['tcg', ...canUseKvm() ? ['kvm'] : []]

/** The program ends its process when its machine has quit: here, until all have. */
process.exit = ((status?: number): void => {
  if (status !== 0) {
    process.stderr.write(`the start of a machine on ${accelerators[0]} failed: there is no code of it to keep\n`)
    finish(1)
  }
  accelerators.shift()
  if (accelerators.length > 0) start()
  else finish(0)
}) as typeof process.exit

start()

function start(): void {
  const socket = path.join(folder, 'qmp')
  process.argv.splice(2, Infinity, '-machine', 'microvm', '-accel', accelerators[0] as string, '-kernel', kernel, '-S', '-serial', 'null', '-qmp', `unix:${socket},server=on,wait=off`)
  run({}, createRequire(PROGRAM), {}, PROGRAM, path.dirname(PROGRAM))
  quit(socket)
}

function quit(socket: string): void {
  const connection = net.connect(socket)
  connection.on('error', () => setTimeout(() => quit(socket), RETRY_MS))
  connection.on('connect', () => connection.write(QUESTIONS.map((execute) => `${JSON.stringify({ execute })}\n`).join('')))
  connection.resume()
}

function finish(status: number): void {
  if (status === 0) fs.writeFileSync(path.join(path.dirname(PROGRAM), 'program.code'), script.createCachedData())
  fs.rmSync(folder, { recursive: true })
  exit(status)
}

function canUseKvm(): boolean {
  try {
    fs.closeSync(fs.openSync('/dev/kvm', 'r+'))
    return true
  } catch {
    return false
  }
}
