/** Runs test/fuzz/child.ts and ends it when one case does not come back: nothing inside a process can stop its own WebAssembly. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const ROOT = path.resolve(import.meta.dirname, '../..')
/** A case takes some 25 ms. */
const PATIENCE_MS = 60_000

export interface FuzzResult { readonly cases: number; readonly seed: number | string; readonly problem: string }

/** @param first number of the first case, or the name of a scenario */
export async function fuzz(first: number | string, seconds: number): Promise<FuzzResult> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-fuzz-'))
  const progress = path.join(folder, 'case')
  const child = spawn(process.execPath, ['scripts/ts.mjs', 'test/fuzz/child.ts', 'dist/core.wasm', String(first), String(seconds), progress], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = '', err = ''
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString() })
  const current = (): string => {
    try {
      return String(fs.readFileSync(progress).readBigUInt64LE())
    } catch {
      return String(first)
    }
  }
  let seen = current(), since = Date.now(), hung = ''
  const watchdog = setInterval(() => {
    const now = current()
    if (now !== seen) {
      seen = now
      since = Date.now()
    } else if (Date.now() - since > PATIENCE_MS && child.exitCode === null) {
      hung = seen
      child.kill('SIGKILL')
    }
  }, 500)
  await new Promise((resolve) => child.once('close', resolve))
  clearInterval(watchdog)
  fs.rmSync(folder, { recursive: true })
  if (hung !== '') return { cases: 0, seed: hung, problem: `the case did not come back within ${PATIENCE_MS / 1000} s` }
  if (out === '') return { cases: 0, seed: seen, problem: `the process ended: ${err}` }
  return JSON.parse(out) as FuzzResult
}
