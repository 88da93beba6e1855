import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { buildSync } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

/** Watching wants Node's main thread, and vitest's tests run elsewhere: each test is a small program of its own. */
let folder: string
const here = path.dirname(new URL(import.meta.url).pathname)

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-watch-'))
})

afterAll(() => fs.rmSync(folder, { recursive: true }))

function program(name: string, body: string): string {
  const entry = path.join(folder, `${name}.ts`)
  const out = path.join(here, '..', 'dist', `.test-${path.basename(folder)}-${name}.mjs`)
  const imports = ['fd-watch', 'eventfd', 'ffi'].map((file) => `import * as ${file.replace('-', '')} from ${JSON.stringify(path.join(here, `${file}.ts`))}`)
  fs.writeFileSync(entry, `${imports.join('\n')}\nconst { watchFd } = fdwatch, { EventFd, TimerFd } = eventfd\nvoid ffi, TimerFd, EventFd\n${body}`)
  buildSync({ entryPoints: [entry], outfile: out, bundle: true, platform: 'node', format: 'esm', target: 'node20', packages: 'external' })
  return pathToFileURL(out).pathname
}

function run(name: string, body: string): string {
  const file = program(name, body)
  try {
    return execFileSync(process.execPath, [file], { encoding: 'utf8', timeout: 20_000 })
  } finally {
    fs.rmSync(file)
  }
}

describe('watching descriptors on the event loop', () => {
  it('calls back for an eventfd signalled by a worker, among timers and microtasks, and ends with its watches', () => {
    const output = run('eventfd', `
      import { Worker } from 'node:worker_threads'
      const bell = new EventFd()
      let rings = 0, microtasks = 0
      const ticking = setInterval(() => undefined, 1)
      const watch = watchFd(bell.fd, () => {
        bell.drain()
        rings++
        Promise.resolve().then(() => microtasks++)
      })
      const worker = new Worker(\`const { workerData } = require('node:worker_threads')
        const { writeSync } = require('node:fs')
        const one = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0])
        for (let i = 0; i < 5; i++) { writeSync(workerData, one); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20) }\`, { eval: true, workerData: bell.fd })
      worker.on('exit', () => setTimeout(() => {
        console.log(rings >= 1 && rings <= 5 && microtasks === rings ? 'rung' : \`rings \${rings}, microtasks \${microtasks}\`)
        clearInterval(ticking)
        watch.close()
        bell.close()
      }, 50))`)
    expect(output).toBe('rung\n')
  })

  it('fires a timer of the monotonic clock', () => {
    const output = run('timerfd', `
      const timer = new TimerFd()
      const due = process.hrtime.bigint() + 20_000_000n
      const watch = watchFd(timer.fd, () => {
        console.log(timer.drain(), process.hrtime.bigint() >= due, timer.drain())
        watch.close()
        timer.close()
      })
      timer.arm(due)`)
    expect(output).toBe('true true false\n')
  })

  it('does not keep the process alive once told so', () => {
    expect(run('unref', 'watchFd(new EventFd().fd, () => undefined).unref()\nconsole.log(1)')).toBe('1\n')
  })

  it('refuses a descriptor that cannot be polled', () => {
    const output = run('refused', `
      import fs from 'node:fs'
      try { watchFd(fs.openSync('/proc/self/exe', 'r'), () => undefined) } catch (error) { console.log(error.code) }`)
    expect(output).toBe('FD_WATCH\n')
  })

  it('sends what a callback throws to the fatal path, and later callbacks still come', () => {
    const file = program('throwing', `
      const bell = new EventFd()
      let calls = 0
      const watch = watchFd(bell.fd, () => {
        bell.drain()
        calls++
        if (calls === 1) throw new Error('thrown in a callback')
        console.log('second call')
        watch.close()
        bell.close()
      })
      process.on('uncaughtException', (error) => {
        console.log('uncaught:', error.message)
        bell.signal()
      })
      bell.signal()`)
    const { stdout, status } = spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: 20_000 })
    fs.rmSync(file)
    expect(stdout).toBe('uncaught: thrown in a callback\nsecond call\n')
    expect(status).toBe(0)
  })

  it('gives back the memory of many short watches', () => {
    const output = run('many', `
      const bell = new EventFd()
      let left = 3000
      const next = () => {
        if (left-- === 0) { console.log('done'); bell.close(); return }
        const watch = watchFd(bell.fd, () => undefined)
        watch.close()
        watch.close()
        setImmediate(next)
      }
      next()`)
    expect(output).toBe('done\n')
  })
})
