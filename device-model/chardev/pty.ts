/** Character device on a pseudo terminal: other programs open its slave, `/dev/pts/N`. Left out: noticing whether somebody has it open. */
import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import { MesovirtError } from '../../host/errors.ts'
import type { CharBackend } from '../contracts.ts'
import { QueuedBackend } from './queued-backend.ts'
import { DescriptorWriter } from './writers.ts'

const DRAIN_MS = 100

/** node-pty's `open`, which its type declarations leave out. */
interface PtyModule {
  open(options: { encoding: null }): { readonly ptsName: string; readonly fd: number; readonly master: ReadStream; readonly slave: ReadStream }
}

/** @param load replaced in tests; @throws MesovirtError CHARDEV_PTY when node-pty is not installed or the system gives no pty */
export async function openPty(label: string, load: () => Promise<unknown> = () => import('node-pty')): Promise<CharBackend> {
  return new PtyBackend(label, await loadPty(load))
}

async function loadPty(load: () => Promise<unknown>): Promise<PtyModule> {
  try {
    const loaded = (await load()) as { default?: unknown }
    return (loaded.default ?? loaded) as PtyModule
  } catch (error) {
    throw new MesovirtError('CHARDEV_PTY', 'A pty needs the optional package node-pty: npm install node-pty (needs a C++ compiler)', { cause: error })
  }
}

class PtyBackend extends QueuedBackend {
  readonly kind = 'pty'
  readonly filename: string
  readonly #master: ReadStream
  readonly #slaveFd: number
  protected readonly writer: DescriptorWriter

  constructor(label: string, pty: PtyModule) {
    super(label, DRAIN_MS)
    try {
      const opened = pty.open({ encoding: null })
      // node-pty would read the slave itself and so swallow our output: its stream goes, and a descriptor of ours keeps the pty alive.
      this.#slaveFd = openSync(opened.ptsName, constants.O_RDWR | constants.O_NOCTTY)
      opened.slave.destroy()
      this.#master = opened.master
      this.filename = `pty:${opened.ptsName}`
      this.writer = new DescriptorWriter(opened.fd, () => undefined)
    } catch (error) {
      throw new MesovirtError('CHARDEV_PTY', `Cannot open a pty (${String(error)}): see whether /dev/pts is mounted and has room`, { cause: error })
    }
    makeRaw(this.#slaveFd)
    this.#master.removeAllListeners('error')
    this.#master.on('error', () => undefined)
    this.gate.attach(this.#master)
    this.#master.on('data', (bytes: Uint8Array) => this.gate.accept(bytes))
  }

  protected async release(): Promise<void> {
    const closed = new Promise((done) => this.#master.once('close', done))
    this.#master.destroy()
    closeSync(this.#slaveFd)
    await closed
  }
}

/** Without this the slave's line discipline echoes the guest's output back to it as input. stty does all of cfmakeraw, Node most of it. */
function makeRaw(slaveFd: number): void {
  if (spawnSync('stty', ['raw', '-echo'], { stdio: [slaveFd, 'ignore', 'ignore'] }).status === 0) return
  const slave = new ReadStream(openSync(`/proc/self/fd/${slaveFd}`, constants.O_RDWR | constants.O_NOCTTY))
  slave.setRawMode(true)
  // Closing the stream would put the mode back at process end only; it is not read and does not keep the process alive.
  slave.unref()
}
