/** Drives the built binary as a user or a program does: arguments in, text and an exit status out. Whatever a test leaves running is ended by its pid. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, inject } from 'vitest'
import { ACCELERATOR } from './accelerator.ts'
import { Qmp } from './qmp.ts'
import { PATIENCE_MS, Transcript } from './transcript.ts'

export const ROOT = path.resolve(import.meta.dirname, '../..')
export const MESOVIRT = path.join(ROOT, 'dist/mesovirt.js')
/** Boots of the stock kernels end in this shell. */
export const PROMPT = 'mesovirt:~# '
export const GREETING = 'Welcome to Linux'

export const guests = inject('guests')

export interface Exit { readonly status: number | null; readonly signal: NodeJS.Signals | null }

const running = new Set<number>()

/** Ends what is still there, when the process of the test itself ends early too. */
process.on('exit', () => running.forEach(kill))
afterAll(() => running.forEach(kill))

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone.
  }
  running.delete(pid)
}

/** Has a process that is no child of ours (a daemon) ended with the tests. */
export function endAfterwards(pid: number): void {
  running.add(pid)
}

/** Waits for something that can only be looked at, e.g. a file. */
export async function eventually<T>(what: string, look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const seen = await look()
    if (seen !== undefined && seen !== false) return seen
    if (Date.now() > deadline) throw new Error(`waited for ${what} in vain`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const folders: string[] = []
afterEach(() => folders.splice(0).forEach((folder) => fs.rmSync(folder, { recursive: true, force: true })))

/** A new folder, removed after the test (short: it holds sockets). */
export function scratch(parent = os.tmpdir()): string {
  const folder = fs.mkdtempSync(path.join(parent, 'mv-'))
  folders.push(folder)
  return folder
}

/** One run of the command. */
export class Run {
  readonly child: ChildProcess
  /** Standard output: the serial console of most machines here. */
  readonly out: Transcript
  readonly err: Transcript
  readonly exited: Promise<Exit>

  /** @param options `under`: a command that runs another one, with its arguments */
  constructor(argv: readonly string[], { cwd, env, under = [] }: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv; readonly under?: readonly string[] } = {}) {
    const [command = '', ...words] = [...under, process.execPath, MESOVIRT, ...argv]
    this.child = spawn(command, words, { cwd: cwd ?? os.tmpdir(), env: env ?? process.env, stdio: ['pipe', 'pipe', 'pipe'] })
    const pid = this.pid
    running.add(pid)
    this.err = new Transcript(`standard error of ${pid}`)
    this.out = new Transcript(`standard output of ${pid}`)
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.out.append(text))
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.err.append(text))
    // A command that ended no longer reads what is typed.
    this.child.stdin?.on('error', () => undefined)
    this.exited = new Promise((resolve) => {
      this.child.once('close', (status, signal) => {
        running.delete(pid)
        const why = `the command ended (${signal ?? `status ${status}`}); standard error: ${JSON.stringify(this.err.all.slice(-1000))}`
        this.out.end(why)
        this.err.end(why)
        resolve({ status, signal })
      })
    })
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the command could not be started')
    return this.child.pid
  }

  /** Types on standard input. */
  type(text: string | Uint8Array): void {
    this.child.stdin?.write(text)
  }

  endOfInput(): void {
    this.child.stdin?.end()
  }

  /** Waits for the end. A command that does not end is killed and fails the test. */
  async end(): Promise<Exit> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        kill(this.pid)
        reject(new Error(`the command did not end; the last it said: ${JSON.stringify(this.out.all.slice(-1000))}`))
      }, PATIENCE_MS)
    })
    try {
      return await Promise.race([this.exited, late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Ends it without asking. */
  async kill(): Promise<void> {
    kill(this.pid)
    await this.exited
  }

  /** Answers typed at the shell: the lines between the command and the next prompt. */
  async shell(command: string): Promise<string> {
    this.type(`${command}\n`)
    // The guest's shell breaks lines at its 80th column.
    const echo = [...command].map((character) => character.replace(/[.*+?^${}()|[\]\\]/, '\\$&')).join('[\\r\\n]*')
    await this.out.until(new RegExp(`${echo}\r\n`))
    const text = await this.out.until(PROMPT)
    return text.slice(0, -PROMPT.length).replaceAll('\r\n', '\n').trim()
  }
}

export function mesovirt(...argv: string[]): Run {
  return new Run(argv)
}

export interface LinuxOptions { readonly kernel?: string; readonly initrd?: string; readonly append?: string; readonly args?: readonly string[] }

/** Arguments of a Linux guest with its console on standard input and output. */
export function linux({ kernel = guests.cloud.vmlinux, initrd = guests.cloud.initrd, append = 'console=ttyS0 panic=1 quiet', args = [] }: LinuxOptions = {}): string[] {
  const defaults = [['-machine', 'microvm'], ['-m', '256'], ['-serial', 'stdio']].filter(([option]) => !args.includes(option as string)).flat()
  return [...args.includes('-accel') ? [] : ['-accel', ACCELERATOR], ...defaults, '-kernel', kernel, '-initrd', initrd, ...args, '-append', append]
}

/** Starts a machine with a monitor and connects to it. */
export async function withMonitor(argv: readonly string[]): Promise<{ vm: Run; qmp: Qmp; folder: string; socket: string }> {
  const folder = scratch()
  const socket = path.join(folder, 'qmp.sock')
  const vm = new Run([...argv, '-qmp', `unix:${socket},server,nowait`])
  const qmp = await connectQmp(vm, socket)
  return { vm, qmp, folder, socket }
}

/** Connects once the socket listens. */
export async function connectQmp(vm: Run, socket: string): Promise<Qmp> {
  let over: Exit | undefined
  void vm.exited.then((exit) => { over = exit })
  return eventually(`a monitor at ${socket}`, async () => {
    if (over !== undefined) throw new Error(`the command ended before its monitor listened: ${JSON.stringify(over)} ${vm.err.all}`)
    return fs.existsSync(socket) ? await Qmp.connect({ path: socket }).catch(() => undefined) : undefined
  })
}
