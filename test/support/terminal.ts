/** A person at a terminal: a pseudo terminal with a shell in it, which runs the command and is still there afterwards. */
import { createRequire } from 'node:module'
import type * as nodePty from 'node-pty'
import { afterAll } from 'vitest'
import { canLoad } from './optional.ts'
import { Transcript } from './transcript.ts'
import { MESOVIRT } from './vm.ts'

export const HAS_TERMINALS = canLoad('node-pty')
export const TERMINALS = 'the optional package node-pty (it needs a C++ compiler when npm installs it)'

const open = new Set<Terminal>()
afterAll(() => open.forEach((terminal) => terminal.close()))

const HOST_PROMPT = 'host$ '

export class Terminal {
  readonly screen: Transcript
  readonly #pty: nodePty.IPty

  /** Opens one and waits for its shell's prompt. */
  static async open(): Promise<Terminal> {
    const terminal = new Terminal()
    await terminal.screen.until(HOST_PROMPT)
    return terminal
  }

  private constructor() {
    const { spawn } = createRequire(import.meta.url)('node-pty') as typeof nodePty
    this.#pty = spawn('sh', [], { cols: 120, rows: 40, env: { PATH: process.env['PATH'] ?? '', PS1: HOST_PROMPT, TERM: 'xterm', ENV: '' } })
    this.screen = new Transcript('the terminal')
    this.#pty.onData((text) => this.screen.append(text))
    this.#pty.onExit(() => this.screen.end('its shell ended'))
    open.add(this)
  }

  type(text: string): void {
    this.#pty.write(text)
  }

  resize(columns: number, rows: number): void {
    this.#pty.resize(columns, rows)
  }

  /** Runs a command of the host's shell. @returns its output */
  async host(command: string): Promise<string> {
    this.type(`${command}; printf 'over:%s\\n' $?\r`)
    await this.screen.until("$?\r\n")
    const text = await this.screen.until(/over:\d+\r\n/)
    await this.screen.until(HOST_PROMPT)
    return text.replace(/over:\d+\r\n$/, '').trim()
  }

  /** Settings of the terminal, as stty prints them for itself. */
  settings(): Promise<string> {
    return this.host('stty -g')
  }

  /** Starts mesovirt; `ended` gives its status. */
  start(argv: readonly string[]): void {
    const quoted = [process.execPath, MESOVIRT, ...argv].map((word) => `'${word}'`).join(' ')
    this.type(`clear; ${quoted}; printf 'ended:%s\\n' $?\r`)
  }

  async ended(): Promise<number> {
    const text = await this.screen.until(/ended:\d+/)
    await this.screen.until(HOST_PROMPT)
    return Number(/ended:(\d+)$/.exec(text)?.[1])
  }

  /** Hangs up: whatever runs in it gets SIGHUP. */
  close(): void {
    open.delete(this)
    this.#pty.kill('SIGKILL')
  }
}
