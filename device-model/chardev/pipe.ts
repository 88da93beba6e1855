/** Character device on FIFOs that are there already: PATH.in brings input and PATH.out takes output, as QEMU has it; without them PATH serves both ways. */
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { MesovirtError } from '../../host/errors.ts'
import { QueuedBackend } from './queued-backend.ts'
import { DescriptorWriter } from './writers.ts'

const DRAIN_MS = 500

export interface PipeOptions {
  readonly label: string
  readonly path: string
  readonly log?: ((message: string) => void) | undefined
}

export class PipeBackend extends QueuedBackend {
  readonly kind = 'pipe'
  readonly filename = 'pipe'
  readonly #input: Socket
  readonly #outputFd: number
  protected readonly writer: DescriptorWriter

  /** @throws MesovirtError CHARDEV_PIPE */
  constructor({ label, path, log }: PipeOptions) {
    super(label, DRAIN_MS)
    const { input, output } = openPair(path)
    this.#outputFd = output
    this.writer = new DescriptorWriter(output, (error) => log?.(`chardev ${label}: cannot write "${path}" (${codeOf(error)}), its output is lost from here on`))
    // The stream closes its descriptor itself.
    this.#input = new Socket({ fd: input, readable: true, writable: false })
    this.#input.on('error', () => undefined)
    this.#input.on('data', (bytes: Uint8Array) => this.gate.accept(bytes))
    this.gate.attach(this.#input)
  }

  protected async release(): Promise<void> {
    const closed = new Promise((done) => this.#input.once('close', done))
    this.#input.destroy()
    closeSync(this.#outputFd)
    await closed
  }
}

/** Both ways at once: a FIFO that somebody has open at both ends neither waits for a peer nor ends when one leaves. */
const FLAGS = constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY

function openPair(path: string): { input: number; output: number } {
  const opened: number[] = []
  const open = (name: string) => {
    const fd = openSync(name, FLAGS)
    opened.push(fd)
    if (!fstatSync(fd).isFIFO()) throw Object.assign(new Error(name), { code: 'it is no FIFO' })
    return fd
  }
  try {
    try {
      return { input: open(`${path}.in`), output: open(`${path}.out`) }
    } catch (error) {
      opened.splice(0).forEach((fd) => closeSync(fd))
      if (codeOf(error) !== 'ENOENT') throw error
      return { input: open(path), output: open(path) }
    }
  } catch (error) {
    opened.forEach((fd) => closeSync(fd))
    const message = `Cannot use pipe "${path}" (${codeOf(error)}): make ${path}.in and ${path}.out with mkfifo first`
    throw new MesovirtError('CHARDEV_PIPE', message, { cause: error })
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
}
