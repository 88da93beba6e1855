/**
 * -daemonize: Node cannot fork, so a detached copy of this command is started in a session of its own, with every inherited descriptor at its
 * number, and the command returns once the copy says that it is ready. The copy's side is machine-manager/ready.ts.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import type { Readable } from 'node:stream'
import { READY_FD_VARIABLE, READY_WORD } from '../machine-manager/ready.ts'
import { say } from './cli-output.ts'

export interface DaemonOptions {
  /** The copy keeps our standard error (-D without a file). Otherwise it goes nowhere once the copy is ready. */
  readonly keepStderr: boolean
}

const FIRST_EXTRA_FD = 3

/**
 * Starts the background copy and waits until it is ready or has failed. The copy's standard input and output are /dev/null; until it is
 * ready its error lines appear on our standard error.
 * @param argv arguments of the copy, the same as ours
 * @returns exit status for this process: 0 when the copy is ready, else 1
 */
export async function startDaemon(argv: readonly string[], options: DaemonOptions): Promise<number> {
  const script = process.argv[1] ?? ''
  const inherited = inheritedDescriptors()
  const readyFd = Math.max(FIRST_EXTRA_FD - 1, ...inherited) + 1
  const stdio: ('ignore' | 'pipe' | 'inherit' | number)[] = ['ignore', 'ignore', options.keepStderr ? 'inherit' : 'pipe']
  for (let fd = FIRST_EXTRA_FD; fd < readyFd; fd++) stdio.push(inherited.includes(fd) ? fd : 'ignore')
  stdio.push('pipe')
  const child = spawn(process.execPath, [...process.execArgv, script, ...argv], {
    detached: true, stdio, env: { ...process.env, [READY_FD_VARIABLE]: String(readyFd) },
  })
  return waitForReady(child, child.stdio[readyFd] as Readable)
}

function waitForReady(child: ChildProcess, pipe: Readable): Promise<number> {
  return new Promise((done) => {
    let text = ''
    let reported = ''
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      reported += chunk
      process.stderr.write(chunk)
    })
    const stop = (signal: NodeJS.Signals) => {
      child.kill('SIGTERM')
      finish(128 + os.constants.signals[signal])
    }
    const finish = (status: number) => {
      process.off('SIGINT', stop).off('SIGTERM', stop).off('SIGHUP', stop)
      done(status)
    }
    process.on('SIGINT', stop).on('SIGTERM', stop).on('SIGHUP', stop)
    pipe.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      if (text.startsWith(READY_WORD)) finish(0)
    })
    pipe.on('error', () => undefined)
    child.once('error', (error) => {
      say(`-daemonize: the background copy cannot be started (${error.message})`)
      finish(1)
    })
    // `close` comes after the last of standard error, so the copy's own error line is out by now.
    child.once('close', (status, signal) => {
      if (text.startsWith(READY_WORD)) return
      if (reported === '' || signal !== null) say(`-daemonize: the background copy ended before it was ready (${signal ?? `status ${status ?? 1}`})`)
      finish(1)
    })
  })
}

/**
 * Descriptors above 2 that whoever started us left open for us (tap devices, vhost, sockets). Node marks every one close-on-exec at start, so
 * those must be named again. Told from Node's own by what they are: Node holds event descriptors and pipes to itself.
 */
function inheritedDescriptors(): number[] {
  let entries: { fd: number; target: string }[]
  try {
    entries = fs.readdirSync('/proc/self/fd').map(Number).filter((fd) => fd >= FIRST_EXTRA_FD).flatMap((fd) => {
      try {
        return [{ fd, target: fs.readlinkSync(`/proc/self/fd/${fd}`) }]
      } catch {
        return [] // The descriptor that read the folder is closed by now.
      }
    })
  } catch {
    return [] // Not Linux: nothing that could use an inherited descriptor works there.
  }
  const pipeEnds = new Map<string, number>()
  for (const { target } of entries) pipeEnds.set(target, (pipeEnds.get(target) ?? 0) + 1)
  const ownNode = ({ target }: { target: string }) =>
    /^anon_inode:\[(eventpoll|eventfd|io_uring|timerfd|signalfd)\]$/.test(target) || target === '/dev/null'
    || (target.startsWith('pipe:') && (pipeEnds.get(target) ?? 0) > 1)
  return entries.filter((entry) => !ownNode(entry)).map((entry) => entry.fd)
}
