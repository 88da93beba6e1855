/** Runs one command in the lab: QEMU's software CPU with AMD SVM and nested paging, which its kernel offers as /dev/kvm. Output comes over a serial port. */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { MesovirtError } from '../../host/errors.ts'
import { writeCpio } from '../../src/guest/cpio.ts'
import { buildInitramfs } from '../../src/guest/initramfs.ts'
import type { LabKernel } from './kernel.ts'
import { keepAwake, lookInside, MONITOR, SHELL } from './look.ts'

/** What QEMU's isa-debug-exit makes of the byte that init writes: 2 * byte + 1. Init adds 16, so that no status of QEMU itself (0 and 1) can be meant. */
const STATUS_OFFSET = 16
/** Init writes this byte before the command's first. */
const OUTPUT_BEGINS = 2
/** Init writes this byte every few seconds as long as the lab's timers run; no text has it. */
const HEARTBEAT = 0
/** A busy box makes a lab slow, not this slow. */
const HEARTBEAT_LIMIT_MS = 3 * 60_000
const CONSOLE_TAIL_LINES = 60

/**
 * QEMU 7.2 has no intercept for XSETBV: KVM would not learn which registers its guest saves, and lose some of them. Without XSAVE nobody executes it.
 */
const CPU = 'EPYC,+svm,+npt,-xsave,-avx,-avx2,-fma,-f16c'

const KERNEL_ARGUMENTS = [
  'console=ttyS0', 'quiet', 'loglevel=5', 'panic=-1', 'oops=panic',
  // What costs time on a software CPU and protects nobody here.
  'mitigations=off', 'nokaslr', 'init_on_alloc=0', 'audit=0', 'apparmor=0',
  // The box may be busy for seconds, which is no fault of the kernel's.
  'nowatchdog', 'rcupdate.rcu_cpu_stall_suppress=1', 'random.trust_cpu=on', 'no_timer_check',
]

export interface LabRun {
  /** folder of the lab, for this run's files */
  readonly cache: string
  readonly kernel: LabKernel
  readonly busybox: string
  readonly systemDisk: string
  readonly projectDisk: string
  /** text of the shell script init runs, in the system disk's world */
  readonly command: string
  /** settings of init.sh: `name=value` lines */
  readonly settings: string
  readonly cpus: number
  readonly memoryMb: number
  /** Takes this terminal for itself. */
  readonly interactive: boolean
  readonly timeLimitMs: number
  /** The command is taken for stuck after that much silence. */
  readonly silenceLimitMs: number
  readonly onBegin: () => void
  readonly onOutput: (chunk: Buffer) => void
}

export interface LabResult { readonly status: number; readonly seconds: { readonly begin: number; readonly total: number } }

/**
 * @returns the command's exit status
 * @throws MesovirtError LAB_DIED: QEMU, the kernel or its timers stopped, through no doing of the command; LAB_TIME: the command did not end. With the end of the console
 */
export async function runInLab(run: LabRun): Promise<LabResult> {
  const folder = fs.mkdtempSync(path.join(run.cache, `run-${process.pid}-`))
  const consoleFile = path.join(folder, 'console')
  const started = Date.now()
  let begin = 0, lastOutput = started, lastBeat = started, isRunning = false
  let stopped: string | undefined
  let isDead = false
  const { child, ended } = startQemu(run, folder, consoleFile)
  const stopPulse = keepAwake(folder)
  const stop = (why: string) => {
    stopped ??= why
    child.kill('SIGKILL')
  }
  const onSignal = (signal: NodeJS.Signals) => stop(signal)
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  signals.forEach((signal) => process.on(signal, onSignal))
  const onExit = () => child.kill('SIGKILL')
  process.on('exit', onExit)
  let isLooking = false
  const lookAndStop = (why: string) => {
    if (isLooking) return
    isLooking = true
    void stopPulse().then(() => lookInside(folder)).then((seen) => {
      fs.appendFileSync(consoleFile, seen)
      stop(why)
    })
  }
  const watch = setInterval(() => {
    const now = Date.now()
    if (now - started > run.timeLimitMs) lookAndStop(`it ran for more than ${run.timeLimitMs / 60_000} minutes`)
    if (run.interactive) return
    if (now - lastBeat > HEARTBEAT_LIMIT_MS) {
      isDead = true
      lookAndStop(`its timers stood still for ${HEARTBEAT_LIMIT_MS / 60_000} minutes`)
    } else if (now - lastOutput > run.silenceLimitMs) {
      lookAndStop(`its command was silent for ${run.silenceLimitMs / 60_000} minutes`)
    }
  }, 500)
  child.stdout?.on('data', (chunk: Buffer) => {
    lastBeat = Date.now()
    let output = run.interactive ? chunk : withoutHeartbeats(chunk)
    if (output.length === 0) return
    lastOutput = lastBeat
    if (!isRunning) {
      const at = output.indexOf(OUTPUT_BEGINS)
      if (at < 0) return
      isRunning = true
      begin = Date.now() - started
      run.onBegin()
      output = output.subarray(at + 1)
    }
    if (output.length > 0) run.onOutput(output)
  })
  try {
    const { code, signal, errors } = await ended
    if (stopped !== undefined && signals.some((name) => name === stopped)) {
      // As if nobody had caught the signal: by that name our caller knows that it was interrupted.
      signals.forEach((name) => process.off(name, onSignal))
      fs.rmSync(folder, { recursive: true, force: true })
      process.kill(process.pid, stopped as NodeJS.Signals)
    }
    const status = code === null ? undefined : decodeStatus(code)
    if (stopped === undefined && status !== undefined) return { status, seconds: { begin: begin / 1000, total: (Date.now() - started) / 1000 } }
    const kept = path.join(run.cache, 'last-console.log')
    if (fs.existsSync(consoleFile)) fs.copyFileSync(consoleFile, kept)
    const why = stopped ?? (code === 0 ? 'its kernel stopped or restarted the machine' : `QEMU ended by ${signal ?? `status ${code}`}`)
    throw new MesovirtError(stopped === undefined || isDead ? 'LAB_DIED' : 'LAB_TIME', `the lab did not finish: ${why}; its console is in ${kept}${errors}${tail(consoleFile)}`)
  } finally {
    clearInterval(watch)
    void stopPulse()
    signals.forEach((signal) => process.off(signal, onSignal))
    process.off('exit', onExit)
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** @returns the status of the command, or undefined if QEMU ended for another reason */
export function decodeStatus(code: number): number | undefined {
  const status = (code - 1) / 2 - STATUS_OFFSET
  return Number.isInteger(status) && status >= 0 ? status : undefined
}

interface Qemu {
  readonly child: ChildProcess
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly errors: string }>
}

function startQemu(run: LabRun, folder: string, consoleFile: string): Qemu {
  const initrd = path.join(folder, 'initrd')
  fs.writeFileSync(initrd, buildInitrd(run))
  const disk = (id: string, file: string) =>
    ['-drive', `id=${id},file=${file.replaceAll(',', ',,')},format=raw,if=none,snapshot=on,cache=unsafe,aio=threads`, '-device', `virtio-blk-pci,drive=${id}`]
  const qemu = ['qemu-system-x86_64', '-M', 'q35', '-accel', 'tcg,thread=multi', '-cpu', CPU, '-smp', String(run.cpus), '-m', String(run.memoryMb),
    '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot',
    '-kernel', run.kernel.image, '-initrd', initrd, '-append', KERNEL_ARGUMENTS.join(' '),
    '-chardev', `file,id=console,path=${consoleFile.replaceAll(',', ',,')}`, '-serial', 'chardev:console',
    '-chardev', `stdio,id=output,signal=off${run.interactive ? ',mux=on' : ''}`, '-serial', 'chardev:output',
    '-chardev', `socket,id=shell,path=${SHELL},server=on,wait=off`, '-serial', 'chardev:shell',
    '-chardev', `socket,id=monitor,path=${MONITOR},server=on,wait=off`, '-mon', 'chardev=monitor',
    ...disk('system', run.systemDisk), ...disk('project', run.projectDisk),
    '-device', 'isa-debug-exit']
  // QEMU goes when we go, even if we are killed without a chance to say so. (setpriv is util-linux, which Debian always has.)
  const [program, ...args] = hasSetpriv() ? ['setpriv', '--pdeathsig', 'KILL', ...qemu] : qemu
  const child = spawn(program as string, args, {
    stdio: run.interactive ? ['inherit', 'inherit', 'pipe'] : ['ignore', 'pipe', 'pipe'],
    cwd: folder, // whose path may be too long for a socket's name
    env: { ...process.env, TMPDIR: folder }, // where the disks' changes go
  })
  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => { errors = (errors + text).slice(-4000) })
  return {
    child,
    ended: new Promise((resolve, reject) => {
      child.once('error', (error) => reject(new MesovirtError('TOOL_MISSING', `QEMU cannot be started (${error.message}); install qemu-system-x86`, { cause: error })))
      child.once('close', (code, signal) => resolve({ code, signal, errors: withoutNoise(errors) }))
    }),
  }
}

const hasSetpriv = (): boolean => spawnSync('setpriv', ['--pdeathsig', 'keep', 'true'], { stdio: 'ignore' }).status === 0

function buildInitrd({ busybox, kernel, command, settings, interactive }: LabRun): Uint8Array {
  // The kernel unpacks one archive after the other: what stays the same is compressed once by the same code as guests' images.
  const base = buildInitramfs({
    busybox: fs.readFileSync(busybox),
    modules: kernel.modules.map((file) => ({ name: path.basename(file), content: fs.readFileSync(file) })),
    init: fs.readFileSync(path.join('scripts', 'kvm-lab', 'init.sh'), 'utf8'),
  })
  const own = writeCpio([
    { path: 'command', type: 'file', content: command, mode: 0o755 },
    { path: 'lab.conf', type: 'file', content: settings },
    ...interactive ? [{ path: 'interactive', type: 'file', content: '' } as const] : [],
  ])
  return Buffer.concat([base, gzipSync(own)])
}

function withoutHeartbeats(chunk: Buffer): Buffer {
  return chunk.includes(HEARTBEAT) ? Buffer.from(chunk.filter((byte) => byte !== HEARTBEAT)) : chunk
}

/** QEMU says on every start which features of the named CPU its software CPU lacks. */
function withoutNoise(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.includes("TCG doesn't support requested feature"))
  return lines.length === 0 ? '' : `\n${lines.join('\n')}`
}

function tail(consoleFile: string): string {
  if (!fs.existsSync(consoleFile)) return ''
  const lines = fs.readFileSync(consoleFile, 'utf8').replaceAll('\r', '').trimEnd().split('\n').slice(-CONSOLE_TAIL_LINES)
  return `\n--- end of the lab's console ---\n${lines.join('\n')}`
}
