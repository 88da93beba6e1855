/** A machine under measurement: the process, its serial port on pipes, and when what came. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { QEMU } from './host.ts'

export type Side = 'ours' | 'qemu'

/** What of ours is measured. */
export interface Build {
  /** folder of the built files */
  readonly dist: string
  /** flags of Node */
  readonly flags: readonly string[]
}

export interface MachineSpec {
  readonly kernel: string
  readonly initrd?: string | undefined
  readonly append?: string | undefined
  /** MiB, default 256 */
  readonly memory?: number | undefined
  /** path of a QMP socket */
  readonly qmp?: string | undefined
  /** who runs our vCPUs; QEMU's each have a thread */
  readonly thread?: 'single' | 'multi' | undefined
  readonly extra?: readonly string[] | undefined
}

/** Program and arguments of a machine with COM1 on standard input and output. */
export function machineCommand(side: Side, { dist, flags }: Build, { kernel, initrd, append, memory = 256, qmp, thread, extra = [] }: MachineSpec): [string, string[]] {
  const shared = [
    '-m', String(memory), '-kernel', kernel, ...initrd === undefined ? [] : ['-initrd', initrd], ...append === undefined ? [] : ['-append', append],
    ...qmp === undefined ? [] : ['-qmp', `unix:${qmp},server,nowait`], '-serial', 'stdio', ...extra,
  ]
  // QEMU's microvm announces no empty slots for disks either.
  if (side === 'ours') return [process.execPath, [...flags, `${dist}/mesovirt.js`, '-machine', 'microvm,hotplug=off', '-accel', thread === undefined ? 'tcg' : `tcg,thread=${thread}`, ...shared]]
  // No ACPI: with it, a busy host and no clock of KVM's, Linux fails to calibrate the time stamp counter and hangs for want of another timer.
  return [QEMU, ['-M', 'microvm,acpi=off,pit=on,pic=on,rtc=on', '-accel', 'tcg', '-cpu', 'max', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', ...shared]]
}

interface Waiting { readonly text: string; readonly resolve: (ms: number) => void; readonly reject: (error: Error) => void; readonly timer: NodeJS.Timeout }

/** Times are ms since the process was spawned. */
export class MachineProcess {
  readonly exited: Promise<number>
  output = ''
  readonly #child: ChildProcess
  readonly #started: number
  #errors = ''
  #seen = 0
  #over = false
  readonly #waiting: Waiting[] = []

  constructor(command: string, args: readonly string[]) {
    this.#started = performance.now()
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stdin?.on('error', () => undefined) // it may end before it has read all
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.output += chunk.toString('latin1')
      this.#look()
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => { this.#errors = (this.#errors + chunk.toString()).slice(-4000) })
    this.exited = new Promise((resolve, reject) => {
      this.#child.on('error', (error) => reject(error))
      this.#child.on('exit', () => resolve(this.now()))
    })
    const over = () => {
      this.#over = true
      for (const { reject, timer } of this.#waiting.splice(0)) {
        clearTimeout(timer)
        reject(this.#failure('ended early'))
      }
    }
    this.exited.then(() => setTimeout(over, 100), over)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  now(): number {
    return performance.now() - this.#started
  }

  write(text: string): void {
    this.#child.stdin?.write(text)
  }

  /** Waits for text that the machine prints after whatever was waited for last. @returns when it came */
  waitFor(text: string, timeoutMs = 300_000): Promise<number> {
    if (this.#over) return Promise.reject(this.#failure('ended early'))
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(this.#failure(`did not print ${JSON.stringify(text)} within ${timeoutMs / 1000} s`))
        this.kill()
      }, timeoutMs)
      this.#waiting.push({ text, resolve, reject, timer })
      this.#look()
    })
  }

  kill(): void {
    if (!this.#over) this.#child.kill('SIGKILL')
  }

  #look(): void {
    const first = this.#waiting[0]
    if (first === undefined) return
    const at = this.output.indexOf(first.text, this.#seen)
    if (at === -1) return
    this.#seen = at + first.text.length
    this.#waiting.shift()
    clearTimeout(first.timer)
    first.resolve(this.now())
    this.#look()
  }

  #failure(what: string): Error {
    return new Error(`${this.#child.spawnargs.join(' ')}\n${what}; it said:\n${this.output.slice(-600)}\n${this.#errors}`)
  }
}
