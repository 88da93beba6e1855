/** Looks into a lab that does not go on: at QEMU's processors and interrupt controllers through its monitor, at who waits for what through a shell on ttyS2. */
import net from 'node:net'
import path from 'node:path'

/** Sockets in a run's folder. */
export const MONITOR = 'monitor'
export const SHELL = 'shell'

const MONITOR_QUESTIONS = ['info registers', 'info lapic', 'info pic']
const SHELL_QUESTIONS = [
  'cat /proc/uptime /proc/loadavg; cat /proc/interrupts',
  'for t in /proc/[0-9]*/task/*; do [ -s $t/cmdline ] && echo "== $t $(cat $t/comm) $(grep ^State $t/status)" && head -n 6 $t/stack; done',
]
const PULSE_MS = 500
/** Either may answer nothing at all. */
const PATIENCE_MS = 10_000
/** Both have said all when they are quiet that long. */
const QUIET_MS = 1000

/**
 * QEMU's processor clears interrupt bits of its own on each exit from a guest, without a lock, and so now and then one that a timer has just set (seen in 7.2:
 * halted, interrupts on, the timer's vector in the IRR, and nobody looks). Any further interrupt makes it look: this has the shell's port send one.
 * @returns stops it
 */
export function keepAwake(folder: string): () => Promise<void> {
  let connection: net.Socket | undefined
  const pulse = setInterval(() => {
    if (connection === undefined) {
      connection = net.connect(path.relative('.', path.join(folder, SHELL))).on('error', () => { connection = undefined })
      connection.resume()
    }
    connection.write('\n')
  }, PULSE_MS)
  return async () => {
    clearInterval(pulse)
    const open = connection
    if (open === undefined || open.destroyed) return
    await new Promise((resolve) => open.once('close', resolve).destroy())
  }
}

/** @returns what they said, in lines */
export async function lookInside(folder: string): Promise<string> {
  const monitor = await ask(path.relative('.', path.join(folder, MONITOR)), MONITOR_QUESTIONS)
  const shell = await ask(path.relative('.', path.join(folder, SHELL)), SHELL_QUESTIONS)
  return `\n--- QEMU's monitor ---\n${monitor}\n--- the lab's shell ---\n${shell || '(no answer)'}\n`
}

function ask(socket: string, questions: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    let answer = ''
    const connection = net.connect(socket).setEncoding('utf8')
    const done = () => {
      clearTimeout(limit)
      clearTimeout(quiet)
      connection.destroy()
      resolve(answer)
    }
    const limit = setTimeout(done, PATIENCE_MS)
    let quiet: NodeJS.Timeout | undefined
    connection.on('connect', () => connection.write(questions.map((question) => `${question}\n`).join('')))
    connection.on('data', (text: string) => {
      answer += text
      clearTimeout(quiet)
      quiet = setTimeout(done, QUIET_MS)
    })
    connection.on('error', (error) => {
      answer += `${socket}: ${error.message}\n`
      done()
    })
    connection.on('close', done)
  })
}
