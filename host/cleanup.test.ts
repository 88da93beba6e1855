import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { build } from 'esbuild'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onProcessEnd, runCleanup } from './cleanup.ts'

afterEach(() => runCleanup())

/** Runs a script that imports cleanup.ts (as `registry`) in a process of its own; `ready` is called when it prints "ready". */
async function runScript(body: string, ready?: (pid: number) => void): Promise<{ output: string; code: number | null; signal: string | null }> {
  const folder = mkdtempSync(join(tmpdir(), 'cleanup-'))
  try {
    const bundle = join(folder, 'script.mjs')
    const source = `import * as registry from ${JSON.stringify(fileURLToPath(new URL('./cleanup.ts', import.meta.url)))}
      import { writeSync } from 'node:fs'
      const say = (text) => writeSync(1, text + '\\n')
      ${body}`
    await build({ stdin: { contents: source, resolveDir: folder, loader: 'ts' }, bundle: true, platform: 'node', format: 'esm', outfile: bundle })
    const child = spawn(process.execPath, [bundle], { stdio: ['ignore', 'pipe', 'ignore'] })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes('ready') && child.pid !== undefined) ready?.(child.pid)
    })
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
    return { output, code, signal }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('steps run once, last registered first, and one that throws does not stop the others', () => {
  const ran: string[] = []
  onProcessEnd(() => ran.push('first'))
  onProcessEnd(() => {
    throw new Error('broken step')
  })
  onProcessEnd(() => ran.push('third'))

  runCleanup()
  runCleanup()

  expect(ran).toEqual(['third', 'first'])
})

test('a step that was run or forgotten does not run at the end', () => {
  const ran: string[] = []
  const early = onProcessEnd(() => ran.push('early'))
  const forgotten = onProcessEnd(() => ran.push('forgotten'))

  early.run()
  early.run()
  forgotten.forget()
  runCleanup()

  expect(ran).toEqual(['early'])
})

test('no listener stays behind when there is nothing to undo', () => {
  const before = process.listenerCount('SIGTERM')

  const step = onProcessEnd(() => undefined)
  const during = process.listenerCount('SIGTERM')
  step.forget()

  expect(during).toBe(before + 1)
  expect(process.listenerCount('SIGTERM')).toBe(before)
})

test('process.exit runs the steps and keeps its status', async () => {
  const result = await runScript(`registry.onProcessEnd(() => say('undone')); process.exit(3)`)
  expect(result).toEqual({ output: 'undone\n', code: 3, signal: null })
})

test('an uncaught exception runs the steps', async () => {
  const result = await runScript(`registry.onProcessEnd(() => say('undone')); setImmediate(() => { throw new Error('x') })`)
  expect(result.output).toBe('undone\n')
  expect(result.code).not.toBe(0)
})

test('an unhandled ending signal runs the steps and still ends the process by that signal', async () => {
  const result = await runScript(`registry.onProcessEnd(() => say('undone')); setInterval(() => 0, 1000); say('ready')`, (pid) => {
    process.kill(pid, 'SIGTERM')
  })
  expect(result).toEqual({ output: 'ready\nundone\n', code: null, signal: 'SIGTERM' })
})

test('a signal that somebody else handles is left to them', async () => {
  const body = `registry.onProcessEnd(() => say('undone')); setInterval(() => 0, 1000)
    process.on('SIGTERM', () => { say('handled'); process.exit(0) }); say('ready')`
  const result = await runScript(body, (pid) => process.kill(pid, 'SIGTERM'))
  expect(result).toEqual({ output: 'ready\nhandled\nundone\n', code: 0, signal: null })
})
